/*
 * The digests of the handshake and the random ids. Nettle gives SHA-512, base64 and a comparison in
 * constant time, without any initialisation or exit handler in the host. Keys are never copied.
 */
#include "internal.h"

#include <errno.h>
#include <nettle/base64.h>
#include <nettle/memops.h>
#include <nettle/sha2.h>
#include <sys/random.h>

static void hexadecimal(char *out, const uint8_t *bytes, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = hex[bytes[i] >> 4];
        out[2 * i + 1] = hex[bytes[i] & 0x0f];
    }
    out[2 * len] = '\0';
}

void forward_digest(char out[FORWARD_DIGEST_LEN + 1], const forward_bytes *parts, size_t count)
{
    struct sha512_ctx sha;
    uint8_t digest[SHA512_DIGEST_SIZE];

    sha512_init(&sha);
    for (size_t i = 0; i < count; i++) {
        sha512_update(&sha, parts[i].len, (const uint8_t *)parts[i].data);
    }
    sha512_digest(&sha, sizeof digest, digest);
    hexadecimal(out, digest, sizeof digest);
}

bool forward_digest_equal(const char expected[FORWARD_DIGEST_LEN + 1], forward_bytes given)
{
    return given.len == FORWARD_DIGEST_LEN && memeql_sec(expected, given.data, FORWARD_DIGEST_LEN);
}

static bool random_bytes(uint8_t *out, size_t len)
{
    ssize_t got;
    do {
        got = getrandom(out, len, 0);
    } while (got < 0 && errno == EINTR);
    return got == (ssize_t)len;
}

bool forward_random_id(char out[FORWARD_CHUNK_ID_LEN + 1])
{
    uint8_t raw[16];
    if (!random_bytes(raw, sizeof raw)) {
        return false;
    }
    base64_encode_raw(out, sizeof raw, raw);
    out[FORWARD_CHUNK_ID_LEN] = '\0';
    return true;
}

void forward_derived_id(char out[FORWARD_CHUNK_ID_LEN + 1], forward_bytes text)
{
    struct sha512_ctx sha;
    uint8_t digest[SHA512_DIGEST_SIZE];

    sha512_init(&sha);
    sha512_update(&sha, text.len, (const uint8_t *)text.data);
    sha512_digest(&sha, sizeof digest, digest);
    base64_encode_raw(out, 16, digest);
    out[FORWARD_CHUNK_ID_LEN] = '\0';
}

bool forward_random_suffix(char out[FORWARD_SUFFIX_LEN + 1])
{
    uint8_t raw[FORWARD_SUFFIX_LEN / 2];
    if (!random_bytes(raw, sizeof raw)) {
        return false;
    }
    hexadecimal(out, raw, sizeof raw);
    return true;
}
