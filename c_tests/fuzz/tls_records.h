/* A record layer of the fuzzer's own: once OpenSSL has made the handshake, it encrypts whatever the
 * script wants to send, also what no TLS library would: empty records, halves of messages, unknown
 * types. TLS 1.3 and 1.2, AES-128-GCM with SHA-256 alone. */
#ifndef FUZZ_TLS_RECORDS_H
#define FUZZ_TLS_RECORDS_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

enum { RECORD_MOST = 18 * 1024, RECORD_ROOM = RECORD_MOST + 64 };

struct tls_records {
    int is_13;
    uint8_t secret[32]; /* TLS 1.3: from which the next keys are made */
    uint8_t key[16];
    uint8_t iv[12];
    uint64_t sequence;
};

/* Before the handshake: the keys of TLS 1.3 are seen through the key log of `ctx`. */
void tls_records_watch(SSL_CTX *ctx, SSL *ssl, struct tls_records *records);

/* After the handshake; OpenSSL must send nothing from now on. */
void tls_records_take_over(struct tls_records *records, SSL *ssl);

/* Encrypts `size` bytes, at most RECORD_MOST with the padding, into `out`, which has RECORD_ROOM;
 * returns its size. `padding` counts for TLS 1.3 alone. */
size_t tls_records_seal(struct tls_records *records, uint8_t type, const uint8_t *data, size_t size,
                        size_t padding, uint8_t *out);

/* The keys after a key update of TLS 1.3. */
void tls_records_next_keys(struct tls_records *records);

#endif
