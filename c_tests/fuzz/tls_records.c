#include "tls_records.h"

#include "contract.h"

#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

static void hmac(const uint8_t *key, size_t key_size, const uint8_t *data, size_t size,
                 uint8_t out[32])
{
    unsigned length = 32;
    if (HMAC(EVP_sha256(), key, (int)key_size, data, size, out, &length) == NULL) {
        contract_breach("HMAC failed");
    }
}

/* HKDF-Expand-Label of RFC 8446, without a context, for at most 32 bytes. */
static void expand(const uint8_t secret[32], const char *label, uint8_t *out, size_t size)
{
    uint8_t info[64] = {0}, block[32];
    size_t length = strlen(label);
    info[1] = (uint8_t)size;
    info[2] = (uint8_t)(6 + length);
    memcpy(info + 3, "tls13 ", 6);
    memcpy(info + 9, label, length);
    info[9 + length] = 0;
    info[10 + length] = 1;
    hmac(secret, 32, info, 11 + length, block);
    memcpy(out, block, size);
}

static void keys_of_secret(struct tls_records *records)
{
    expand(records->secret, "key", records->key, sizeof(records->key));
    expand(records->secret, "iv", records->iv, sizeof(records->iv));
    records->sequence = 0;
}

static void on_key_log(const SSL *ssl, const char *line)
{
    static const char name[] = "SERVER_TRAFFIC_SECRET_0 ";
    struct tls_records *records = SSL_get_app_data(ssl);
    const char *hex = strrchr(line, ' ');
    size_t i;
    if (records == NULL || strncmp(line, name, sizeof(name) - 1) != 0 || strlen(hex) != 65) {
        return;
    }
    for (i = 0; i < 32; i++) {
        records->secret[i] = (uint8_t)(OPENSSL_hexchar2int((unsigned char)hex[1 + 2 * i]) << 4 |
                                       OPENSSL_hexchar2int((unsigned char)hex[2 + 2 * i]));
    }
}

void tls_records_watch(SSL_CTX *ctx, SSL *ssl, struct tls_records *records)
{
    memset(records, 0, sizeof(*records));
    SSL_set_app_data(ssl, records);
    SSL_CTX_set_keylog_callback(ctx, on_key_log);
}

/* The key block of RFC 5246: client key, server key, client IV, server IV. */
static void keys_of_master(struct tls_records *records, SSL *ssl)
{
    uint8_t master[48], seed[13 + 64 + 32], a[32], input[32 + 13 + 64], block[64];
    size_t i;
    SSL_SESSION_get_master_key(SSL_get_session(ssl), master, sizeof(master));
    memcpy(seed, "key expansion", 13);
    SSL_get_server_random(ssl, seed + 13, 32);
    SSL_get_client_random(ssl, seed + 45, 32);
    hmac(master, 48, seed, 77, a);
    for (i = 0; i < 2; i++) {
        memcpy(input, a, 32);
        memcpy(input + 32, seed, 77);
        hmac(master, 48, input, 32 + 77, block + 32 * i);
        hmac(master, 48, input, 32, a);
    }
    memcpy(records->key, block + 16, 16);
    memcpy(records->iv, block + 36, 4);
    records->sequence = 1; /* Finished was record 0 */
}

void tls_records_take_over(struct tls_records *records, SSL *ssl)
{
    records->is_13 = SSL_version(ssl) == TLS1_3_VERSION;
    if (records->is_13) {
        keys_of_secret(records);
    } else {
        keys_of_master(records, ssl);
    }
}

void tls_records_next_keys(struct tls_records *records)
{
    uint8_t next[32];
    expand(records->secret, "traffic upd", next, sizeof(next));
    memcpy(records->secret, next, sizeof(next));
    keys_of_secret(records);
}

static void put64(uint8_t *out, uint64_t number)
{
    size_t i;
    for (i = 0; i < 8; i++) {
        out[i] = (uint8_t)(number >> (56 - 8 * i));
    }
}

/* AES-128-GCM; the tag follows the text. */
static void encrypt(const struct tls_records *records, const uint8_t nonce[12],
                    const uint8_t *extra, int extra_size, const uint8_t *text, int size,
                    uint8_t *out)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int length = 0;
    if (ctx == NULL || !EVP_EncryptInit_ex(ctx, EVP_aes_128_gcm(), NULL, records->key, nonce) ||
        !EVP_EncryptUpdate(ctx, NULL, &length, extra, extra_size) ||
        !EVP_EncryptUpdate(ctx, out, &length, text, size) ||
        !EVP_EncryptFinal_ex(ctx, out + size, &length) ||
        !EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, 16, out + size)) {
        contract_breach("encryption failed");
    }
    EVP_CIPHER_CTX_free(ctx);
}

static size_t header(uint8_t *out, uint8_t type, size_t size)
{
    out[0] = type;
    out[1] = 3;
    out[2] = 3;
    out[3] = (uint8_t)(size >> 8);
    out[4] = (uint8_t)size;
    return 5 + size;
}

static size_t seal_13(struct tls_records *records, uint8_t type, const uint8_t *data, size_t size,
                      size_t padding, uint8_t *out)
{
    static _Thread_local uint8_t text[RECORD_ROOM];
    uint8_t nonce[12] = {0};
    size_t i, whole = size + 1 + padding;
    memcpy(text, data, size);
    text[size] = type;
    memset(text + size + 1, 0, padding);
    put64(nonce + 4, records->sequence++);
    for (i = 0; i < 12; i++) {
        nonce[i] ^= records->iv[i];
    }
    header(out, 23, whole + 16);
    encrypt(records, nonce, out, 5, text, (int)whole, out + 5);
    return 5 + whole + 16;
}

static size_t seal_12(struct tls_records *records, uint8_t type, const uint8_t *data, size_t size,
                      uint8_t *out)
{
    uint8_t nonce[12], extra[13];
    put64(extra, records->sequence);
    header(extra + 8, type, size);
    memcpy(nonce, records->iv, 4);
    put64(nonce + 4, records->sequence++);
    header(out, type, 8 + size + 16);
    memcpy(out + 5, nonce + 4, 8);
    encrypt(records, nonce, extra, 13, data, (int)size, out + 13);
    return 13 + size + 16;
}

size_t tls_records_seal(struct tls_records *records, uint8_t type, const uint8_t *data, size_t size,
                        size_t padding, uint8_t *out)
{
    return records->is_13 ? seal_13(records, type, data, size, padding, out)
                          : seal_12(records, type, data, size, out);
}
