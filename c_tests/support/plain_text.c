/* See plain_text.h. */
#include "plain_text.h"

#include <stddef.h>

/* The length of the character at `at`; 0 if it must not be in a message. */
static size_t plain_character(const unsigned char *at)
{
    size_t length = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4, i;
    if (at[0] < 0x20 || at[0] == 0x7f || (at[0] >= 0x80 && at[0] < 0xc2) || at[0] > 0xf4) {
        return 0;
    }
    for (i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if (at[0] == 0xc2 && at[1] < 0xa0) {
        return 0; /* C1 */
    }
    if (at[0] == 0xe2 && at[1] == 0x80 && at[2] >= 0xa8 && at[2] <= 0xae) {
        return 0; /* U+2028 to U+202E */
    }
    if (at[0] == 0xe2 && at[1] == 0x81 && at[2] >= 0xa6 && at[2] <= 0xa9) {
        return 0; /* U+2066 to U+2069 */
    }
    return length;
}

const char *plain_text_flaw(const char *message)
{
    const unsigned char *at = (const unsigned char *)message;
    size_t one;
    if (message[0] == '\0') {
        return message;
    }
    for (; *at != '\0'; at += one) {
        one = plain_character(at);
        if (one == 0 || (const char *)at - message >= PLAIN_TEXT_MOST) {
            return (const char *)at;
        }
    }
    return NULL;
}
