#define _GNU_SOURCE
#include "tls_server.h"

#include "contract.h"
#include "tls_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

enum { ALERT = 21, HANDSHAKE = 22, DATA = 23, HANDSHAKE_MS = 400, STALL_MS = 300 };

static SSL_CTX *context;
static int listener = -1;
static pthread_t thread;

/* What is being played. */
static struct {
    const uint8_t *at, *end;
    int how;
    void (*on_cancel)(void);
    int repeats; /* of the next operation */
} script;

static uint8_t next_byte(void)
{
    return script.at < script.end ? *script.at++ : 0;
}

/* A connection: OpenSSL reads and writes memory, and the script decides what of it is sent. */
struct session {
    struct tls_wire wire;
    SSL *ssl;
    struct tls_records records;
    int own_records, is_done;
    size_t received;
};

static void flush_openssl(struct session *session)
{
    static uint8_t out[1 << 17];
    int size;
    while ((size = BIO_read(SSL_get_wbio(session->ssl), out, sizeof(out))) > 0) {
        if (!session->own_records) { /* OpenSSL's own records would have wrong numbers then */
            tls_wire_send(&session->wire, out, (size_t)size);
        }
    }
}

static void take_data(struct session *session)
{
    uint8_t data[4096];
    int size, i;
    while ((size = SSL_read(session->ssl, data, sizeof(data))) > 0) {
        for (i = 0; i < size; i++) {
            if (data[i] != tls_server_byte(session->wire.client_port, 1, session->received++)) {
                contract_breach("the server got what the client did not write, at byte %zu",
                                session->received - 1);
            }
        }
    }
    ERR_clear_error();
}

/* Reads what the client sends within `ms`; 0 if nothing came. */
static int pump(struct session *session, int ms)
{
    uint8_t in[16384];
    size_t size = tls_wire_receive(&session->wire, in, sizeof(in), ms);
    if (size > 0) {
        BIO_write(SSL_get_rbio(session->ssl), in, (int)size);
        if (session->is_done) {
            take_data(session);
            flush_openssl(session);
        }
    }
    return size > 0;
}

static void shake_hands(struct session *session)
{
    while (!session->is_done && !tls_wire_is_over(&session->wire)) {
        int result = SSL_do_handshake(session->ssl);
        flush_openssl(session);
        if (result == 1) {
            session->is_done = 1;
            if (script.how & SERVER_OWN_RECORDS) {
                tls_records_take_over(&session->records, session->ssl);
                session->own_records = 1;
            }
            take_data(session);
        } else if (SSL_get_error(session->ssl, result) != SSL_ERROR_WANT_READ ||
                   !pump(session, HANDSHAKE_MS)) {
            break;
        }
    }
    ERR_clear_error();
}

static void send_record(struct session *session, uint8_t type, const uint8_t *data, size_t size,
                        size_t padding)
{
    static uint8_t out[RECORD_ROOM];
    size_t length = tls_records_seal(&session->records, type, data, size, padding, out);
    tls_wire_send(&session->wire, out, length);
}

static void send_data(struct session *session, size_t size, size_t padding)
{
    static uint8_t data[RECORD_MOST];
    size_t i, from = session->wire.sent;
    for (i = 0; i < size; i++) {
        data[i] = tls_server_byte(session->wire.client_port, 0, from + i);
    }
    tls_wire_count(&session->wire, size);
    if (session->own_records) {
        send_record(session, DATA, data, size, padding);
    } else if (session->is_done && size > 0) {
        if (SSL_write(session->ssl, data, (int)size) <= 0) {
            session->wire.sent = from; /* as amid a renegotiation */
        }
        flush_openssl(session);
    }
}

/* The next bytes of the script as they are, in a record of any type. */
static void send_script(struct session *session, uint8_t type, size_t size)
{
    uint8_t data[256];
    size_t i;
    for (i = 0; i < size && i < sizeof(data); i++) {
        data[i] = next_byte();
    }
    send_record(session, type, data, i, 0);
}

static void send_alert(struct session *session, uint8_t level, uint8_t code)
{
    uint8_t alert[] = {level, code};
    if (session->own_records) {
        send_record(session, ALERT, alert, 2, 0);
        if ((level == 1 && code == 0) || (level == 2 && code != 0 && code != 90)) {
            session->wire.spoilt = 1;
        }
    } else {
        uint8_t raw[] = {ALERT, 3, 3, 0, 2, level, code};
        tls_wire_send_whole(&session->wire, raw, sizeof(raw));
        session->wire.spoilt = session->wire.spoilt || session->is_done;
    }
}

static void send_ticket(struct session *session, uint8_t size, uint8_t cut)
{
    /* NewSessionTicket of TLS 1.3: lifetime, age, nonce, ticket, extensions. */
    uint8_t ticket[300] = {4, 0, 0, 0, 0, 0, 14, 16, 1, 2, 3, 4, 1, 0, 0, 0};
    size_t length = 16u + size + 2;
    if (!session->own_records) {
        SSL_new_session_ticket(session->ssl);
        SSL_do_handshake(session->ssl);
        flush_openssl(session);
        return;
    }
    ticket[2] = (uint8_t)((length - 4) >> 8);
    ticket[3] = (uint8_t)(length - 4);
    ticket[15] = size;
    if (cut > 0 && cut < length) { /* in two records */
        send_record(session, HANDSHAKE, ticket, cut, 0);
        send_record(session, HANDSHAKE, ticket + cut, length - cut, 0);
    } else {
        send_record(session, HANDSHAKE, ticket, length, 0);
    }
}

static void update_keys(struct session *session, uint8_t request)
{
    uint8_t update[] = {24, 0, 0, 1, request};
    if (session->own_records && session->records.is_13) {
        send_record(session, HANDSHAKE, update, sizeof(update), 0);
        tls_records_next_keys(&session->records);
    } else if (!session->own_records) {
        SSL_key_update(session->ssl, request & 1);
        SSL_do_handshake(session->ssl);
        flush_openssl(session);
    }
}

static void ask_to_renegotiate(struct session *session)
{
    uint8_t hello_request[] = {0, 0, 0, 0};
    if (session->own_records) {
        send_record(session, HANDSHAKE, hello_request, sizeof(hello_request), 0);
    } else {
        SSL_renegotiate(session->ssl);
        SSL_do_handshake(session->ssl);
        flush_openssl(session);
    }
}

static void send_raw(struct session *session, uint8_t type, uint8_t length)
{
    uint8_t raw[5 + 256] = {type, 3, 3, 0, length};
    size_t i, size = length % 64;
    for (i = 0; i < size; i++) {
        raw[5 + i] = next_byte();
    }
    tls_wire_send_whole(&session->wire, raw, 5 + size);
    session->wire.spoilt = session->wire.spoilt || (session->is_done && type != 20);
}

/* What needs a finished handshake and has none does nothing. */
static void play_sealed(struct session *session, uint8_t code, uint8_t a, uint8_t b)
{
    switch (code) {
    case 0:
        send_data(session, a, b);
        break;
    case 1:
        send_data(session, a * 66u, b * 4u); /* up to over the 16 KiB that a record may have */
        break;
    case 2:
        send_ticket(session, a, b);
        break;
    case 3:
        update_keys(session, a);
        break;
    case 4:
        ask_to_renegotiate(session);
        break;
    case 5:
        if (session->own_records) {
            send_script(session, a, b % 64);
        }
        break;
    case 6:
        if (session->own_records) { /* an empty record of any type */
            send_record(session, a % 2 ? DATA : b, NULL, 0, a % 4 ? 0 : b * 64u);
        }
        break;
    default:
        (void)SSL_shutdown(session->ssl);
        flush_openssl(session);
        session->wire.spoilt = session->wire.spoilt || !session->own_records;
    }
}

/* One operation; 0 once the connection has ended. */
static int play(struct session *session, uint8_t code, uint8_t a, uint8_t b)
{
    switch (code % 20) {
    case 0:
        shake_hands(session);
        break;
    case 1:
        send_alert(session, a, b);
        break;
    case 2:
        send_raw(session, a, b);
        break;
    case 3:
        pump(session, a % 32);
        break;
    case 4:
        tls_wire_wait(&session->wire, a < 250 ? a % 16 : STALL_MS);
        break;
    case 5:
        shutdown(session->wire.fd, a % 2 ? SHUT_WR : SHUT_RD);
        break;
    case 6:
        tls_wire_end(&session->wire, a % 2);
        return 0;
    case 7:
        if (a > 128) {
            script.on_cancel();
        }
        break;
    case 8:
    case 9:
    case 10:
    case 11:
        tls_wire_arm(&session->wire, code % 4, a, b);
        break;
    default:
        if (session->is_done) {
            play_sealed(session, (code % 20) - 12, a, b);
        }
    }
    return !tls_wire_is_over(&session->wire);
}

static int waits(uint8_t code)
{
    return code % 20 == 0 || code % 20 == 3 || code % 20 == 4;
}

/* Each operation has three bytes. Code 255 repeats the next one. A session that plays nothing more
 * ends, but it takes what the client still has to say. */
static void play_session(struct session *session)
{
    int goes_on = 1;
    while (goes_on && script.at < script.end) {
        uint8_t code = next_byte(), a = next_byte(), b = next_byte();
        int times = 1;
        if (code == 255) {
            times = waits(b) ? 1 : a * 4 + 1;
            code = b;
            a = next_byte();
            b = next_byte();
        }
        while (goes_on && times-- > 0) {
            goes_on = play(session, code, a, b);
        }
    }
    if (goes_on) {
        shake_hands(session);
        while (pump(session, 20) && !tls_wire_is_over(&session->wire)) {
        }
    }
}

static void serve(int fd, const struct sockaddr_in *from)
{
    struct session session;
    memset(&session, 0, sizeof(session));
    tls_wire_begin(&session.wire, fd, ntohs(from->sin_port));
    session.ssl = SSL_new(context);
    if (session.ssl == NULL) {
        contract_breach("OpenSSL has no memory");
    }
    SSL_set_bio(session.ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(session.ssl);
    SSL_set_min_proto_version(session.ssl, script.how & SERVER_13_ONLY ? TLS1_3_VERSION : 0);
    SSL_set_max_proto_version(session.ssl, script.how & SERVER_12_ONLY ? TLS1_2_VERSION : 0);
    SSL_set_num_tickets(session.ssl, script.how & SERVER_OWN_RECORDS ? 0 : 2);
    SSL_set_verify(session.ssl, script.how & SERVER_ASKS_FOR_A_CERTIFICATE ? SSL_VERIFY_PEER : 0,
                   NULL);
    tls_records_watch(context, session.ssl, &session.records);
    play_session(&session);
    tls_wire_end(&session.wire, 0);
    SSL_free(session.ssl);
    ERR_clear_error();
}

static void *accept_all(void *unused)
{
    (void)unused;
    while (!tls_wire_stopped()) {
        struct pollfd ready = {.fd = listener, .events = POLLIN};
        struct sockaddr_in from;
        socklen_t length = sizeof(from);
        int fd;
        if (poll(&ready, 1, 5) <= 0) {
            continue;
        }
        fd = accept4(listener, (struct sockaddr *)&from, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            serve(fd, &from);
        }
    }
    OPENSSL_thread_stop();
    return NULL;
}

void tls_server_start(const uint8_t *data, size_t size, int how, void (*on_cancel)(void))
{
    script.at = data;
    script.end = data + size;
    script.how = how;
    script.on_cancel = on_cancel;
    tls_wire_reset();
    if (pthread_create(&thread, NULL, accept_all, NULL) != 0) {
        contract_breach("no thread can be started");
    }
}

void tls_server_stop(void)
{
    int fd;
    tls_wire_stop();
    pthread_join(thread, NULL);
    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        close(fd);
    }
}

uint16_t tls_server_port(void)
{
    struct sockaddr_in own;
    socklen_t length = sizeof(own);
    getsockname(listener, (struct sockaddr *)&own, &length);
    return ntohs(own.sin_port);
}

uint8_t tls_server_byte(uint16_t client_port, int from_client, size_t at)
{
    return (uint8_t)((at * 7) ^ (at >> 8) ^ client_port ^ (from_client ? 0x5a : 0));
}

/* One certificate, which is its own authority and is for 127.0.0.1. */
static void make_certificate(const char *path)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    X509_NAME *name = X509_get_subject_name(cert);
    FILE *file = fopen(path, "w");
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"fuzz", -1, -1, 0);
    X509_set_issuer_name(cert, name);
    X509_add_ext(cert, names, -1);
    if (file == NULL || X509_sign(cert, key, EVP_sha256()) == 0 || !PEM_write_X509(file, cert) ||
        SSL_CTX_use_certificate(context, cert) != 1 || SSL_CTX_use_PrivateKey(context, key) != 1) {
        contract_breach("no certificate can be made");
    }
    fclose(file);
    X509_EXTENSION_free(names);
    X509_free(cert);
    EVP_PKEY_free(key);
}

void tls_server_prepare(const char *path)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    context = SSL_CTX_new(TLS_server_method());
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (context == NULL || listener < 0 ||
        bind(listener, (struct sockaddr *)&any, sizeof(any)) != 0 || listen(listener, 16) != 0) {
        contract_breach("no server can be made: %s", strerror(errno));
    }
    make_certificate(path);
    SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set_cipher_list(context, "ECDHE-ECDSA-AES128-GCM-SHA256");
    SSL_CTX_set_session_id_context(context, (const uint8_t *)"fuzz", 4);
}

void tls_server_end(void)
{
    SSL_CTX_free(context);
    close(listener);
}
