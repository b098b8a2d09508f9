/* What each message of an error and each line of the log is: one line of at most 2000 bytes of
 * UTF-8, without control characters. */
#ifndef SUPPORT_PLAIN_TEXT_H
#define SUPPORT_PLAIN_TEXT_H

enum { PLAIN_TEXT_MOST = 2000 };

/* Where the message is not so; NULL if it is good. */
const char *plain_text_flaw(const char *message);

#endif
