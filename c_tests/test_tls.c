/* TLS against the system's OpenSSL: each way a handshake can end, with its exact status and the
 * fix. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/loopback.h"
#include "support/openssl.h"

#include <signal.h>

/* A set of one TLS node on `port`; "%s" of `keys` stands for openssl_folder, up to four times. */
static upstream_t *tls_node(uint16_t port, const char *host, const char *keys)
{
    char filled[1024], text[2048];
    snprintf(filled, sizeof(filled), keys, openssl_folder, openssl_folder, openssl_folder,
             openssl_folder);
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\n[NODE]\nname n\nhost %s\nport %u\ntls on\n"
             "%s",
             host, (unsigned)port, filled);
    return check_create(text, NULL);
}

#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"

/* A line there and its reverse back. */
static void talk(upstream_conn_t *conn)
{
    char back[6];
    assert_status(upstream_conn_write(conn, "hello\n", 6), UPSTREAM_OK);
    assert_status(upstream_conn_read_exact(conn, back, 6), UPSTREAM_OK);
    assert_memory_equal(back, "olleh\n", 6);
}

static void works(const char *server_arguments, const char *host, const char *keys,
                  const char *version)
{
    struct openssl_server *server = openssl_start(openssl_folder, server_arguments);
    upstream_t *up = tls_node(openssl_port(server), host, keys);
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    upstream_stats_t stats;
    if (upstream_connect(up, &conn, &err) != UPSTREAM_OK) {
        print_error("%s\n", upstream_error_message(err));
        fail();
    }
    assert_int_equal(upstream_node_tls(upstream_conn_node(conn)), 1);
    assert_string_equal(upstream_conn_tls_version(conn), version);
    talk(conn);
    upstream_conn_release(conn);
    assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
    /* tickets that came meanwhile do not matter */
    assert_int_equal(upstream_conn_reused(conn), 1);
    talk(conn);
    upstream_conn_release(conn);
    stats = check_stats(up);
    assert_int_equal(stats.handshakes, 1);
    upstream_destroy(up);
    openssl_stop(server);
}

static void fails_at(uint16_t port, const char *host, const char *keys, upstream_status_t status,
                     const char *const *parts)
{
    upstream_t *up = tls_node(port, host, keys);
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    assert_status(upstream_connect(up, &conn, &err), status);
    assert_null(conn);
    assert_string_equal(upstream_error_node(err), "n");
    check_contains(upstream_error_message(err), "): TLS: ");
    for (; *parts != NULL; parts++) {
        check_contains(upstream_error_message(err), *parts);
    }
    upstream_error_free(err);
    upstream_destroy(up);
}

#define fails(server_arguments, host, keys, status, ...)                                 \
    do {                                                                                 \
        static const char *const parts[] = {__VA_ARGS__, NULL};                          \
        struct openssl_server *server = openssl_start(openssl_folder, server_arguments); \
        fails_at(openssl_port(server), host, keys, status, parts);                       \
        openssl_stop(server);                                                            \
    } while (0)

static void valid(void **state)
{
    (void)state;
    works("-cert valid.crt -key valid.key", "localhost", "tls.ca_file %s/ca.crt", "TLSv1.3");
    works("-cert valid.crt -key valid.key", "127.0.0.1", "tls.ca_file %s/ca.crt", "TLSv1.3");
    works("-cert valid.crt -key valid.key", "127.0.0.1", "tls.ca_path %s/roots", "TLSv1.3");
    works("-cert valid.crt -key valid.key", "127.0.0.1",
          "tls.ca_file %s/other-ca.crt\n"
          "tls.ca_path %s/roots",
          "TLSv1.3");
}

static void self_signed(void **state)
{
    (void)state;
    works("-cert self.crt -key self.key", "127.0.0.1", "tls.verify off", "TLSv1.3");
    works("-cert self.crt -key self.key", "127.0.0.1", "tls.ca_file %s/self.crt", "TLSv1.3");
    fails("-cert self.crt -key self.key", "127.0.0.1", "tls.ca_file %s/ca.crt", UPSTREAM_ERR_CERT,
          "tls.ca_file");
}

static void wrong_name(void **state)
{
    (void)state;
    fails("-cert wrong-name.crt -key wrong-name.key", "localhost", "tls.ca_file %s/ca.crt",
          UPSTREAM_ERR_CERT, "is for a.example, *.b.example, not for \"localhost\"", "tls.vhost",
          "tls.verify_hostname off");
    fails("-cert wrong-name.crt -key wrong-name.key", "127.0.0.1", "tls.ca_file %s/ca.crt",
          UPSTREAM_ERR_CERT, "not for \"127.0.0.1\"");
    works("-cert wrong-name.crt -key wrong-name.key", "127.0.0.1",
          "tls.ca_file %s/ca.crt\ntls.verify_hostname off", "TLSv1.3");
    works("-cert wrong-name.crt -key wrong-name.key", "127.0.0.1",
          "tls.ca_file %s/ca.crt\ntls.vhost a.example", "TLSv1.3");
    works("-cert wrong-name.crt -key wrong-name.key", "127.0.0.1",
          "tls.ca_file %s/ca.crt\ntls.vhost x.b.example", "TLSv1.3");
}

/* The server picks its certificate by the name it is asked for, and refuses a name it does not
 * know. */
static void server_name_indication(void **state)
{
    static const char arguments[] = "-cert wrong-name.crt -key wrong-name.key -servername "
                                    "localhost -cert2 valid.crt -key2 valid.key -servername_fatal";
    (void)state;
    works(arguments, "localhost", "tls.ca_file %s/ca.crt", "TLSv1.3");
    works(arguments, "127.0.0.1", "tls.ca_file %s/ca.crt\ntls.vhost localhost", "TLSv1.3");
    /* No SNI is sent for an address, so the server gives its first certificate. */
    fails(arguments, "127.0.0.1", "tls.ca_file %s/ca.crt", UPSTREAM_ERR_CERT, "a.example");
    fails(arguments, "127.0.0.1", "tls.ca_file %s/ca.crt\ntls.vhost other.example",
          UPSTREAM_ERR_TLS, "other.example", "tls.vhost");
}

static void expired(void **state)
{
    (void)state;
    fails("-cert expired.crt -key expired.key", "localhost", "tls.ca_file %s/ca.crt",
          UPSTREAM_ERR_CERT, "expired", "renew it", "clock");
    works("-cert expired.crt -key expired.key", "localhost", "tls.verify off", "TLSv1.3");
}

static void unknown_ca(void **state)
{
    (void)state;
    fails("-cert valid.crt -key valid.key", "localhost", "tls.ca_file %s/other-ca.crt",
          UPSTREAM_ERR_CERT, "issuer is not trusted", "set tls.ca_file");
    fails("-cert valid.crt -key valid.key", "localhost", "", UPSTREAM_ERR_CERT,
          "system's certificate store", "set tls.ca_file");
}

static void versions(void **state)
{
    (void)state;
    works("-cert valid.crt -key valid.key -tls1_2", "localhost", "tls.ca_file %s/ca.crt",
          "TLSv1.2");
    works("-cert valid.crt -key valid.key -tls1_3", "localhost", "tls.ca_file %s/ca.crt",
          "TLSv1.3");
    works("-cert valid.crt -key valid.key", "localhost",
          "tls.ca_file %s/ca.crt\ntls.max_version TLSv1.2", "TLSv1.2");
    fails("-cert valid.crt -key valid.key -tls1_2", "localhost",
          "tls.ca_file %s/ca.crt\ntls.min_version TLSv1.3", UPSTREAM_ERR_TLS,
          "no TLS version between tls.min_version and tls.max_version");
    fails("-cert valid.crt -key valid.key -tls1_3", "localhost",
          "tls.ca_file %s/ca.crt\ntls.max_version TLSv1.2", UPSTREAM_ERR_TLS,
          "no TLS version between tls.min_version and tls.max_version");
}

static void ciphers(void **state)
{
    (void)state;
    works("-cert valid.crt -key valid.key", "localhost",
          "tls.ca_file %s/ca.crt\n"
          "tls.ciphers ECDHE-ECDSA-AES128-GCM-SHA256",
          "TLSv1.2");
    works("-cert valid.crt -key valid.key", "localhost",
          "tls.ca_file %s/ca.crt\n"
          "tls.ciphers TLS_CHACHA20_POLY1305_SHA256",
          "TLSv1.3");
    fails("-cert valid.crt -key valid.key -tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384",
          "localhost", "tls.ca_file %s/ca.crt\ntls.ciphers ECDHE-ECDSA-AES128-GCM-SHA256",
          UPSTREAM_ERR_TLS, "tls.ciphers");
}

#define ASKS "-cert valid.crt -key valid.key -Verify 1 -verify_return_error -CAfile ca.crt "

static void client_certificate(void **state)
{
    static const char *const keys[] = {"tls.key_file %s/client.key", "tls.key_file %s/client.p1",
                                       "tls.key_file %s/client.enc\ntls.key_passwd secret"};
    char lines[256];
    size_t i;
    (void)state;
    for (i = 0; i < 3; i++) {
        snprintf(lines, sizeof(lines), "tls.ca_file %%s/ca.crt\ntls.crt_file %%s/client.crt\n%s",
                 keys[i]);
        works(ASKS, "localhost", lines, "TLSv1.3");
        works(ASKS "-tls1_2", "localhost", lines, "TLSv1.2");
    }
    works(ASKS, "localhost",
          "tls.ca_file %s/ca.crt\ntls.crt_file %s/client-rsa.crt\n"
          "tls.key_file %s/client-rsa.p1",
          "TLSv1.3");
}

static void client_certificate_missing(void **state)
{
    static const char *const versions[] = {ASKS "-tls1_2", ASKS "-tls1_3",
                                           ASKS "-tls1_3 -num_tickets 0"};
    size_t i;
    (void)state;
    /* With TLS 1.3 the client is done before the server has decided, so it waits for the
     * decision. */
    for (i = 0; i < 3; i++) {
        fails(versions[i], "localhost", "tls.ca_file %s/ca.crt", UPSTREAM_ERR_CERT,
              "asks for a client certificate", "set tls.crt_file and tls.key_file");
    }
}

static void client_certificate_refused(void **state)
{
    static const char *const versions[] = {"-tls1_2", "-tls1_3", "-tls1_3 -num_tickets 0"};
    char arguments[256];
    size_t i;
    (void)state;
    for (i = 0; i < 3; i++) {
        snprintf(
            arguments, sizeof(arguments),
            "-cert valid.crt -key valid.key -Verify 1 -verify_return_error -CAfile other-ca.crt %s",
            versions[i]);
        fails(arguments, "localhost",
              "tls.ca_file %s/ca.crt\ntls.crt_file %s/client.crt\n"
              "tls.key_file %s/client.key",
              UPSTREAM_ERR_CERT, "refuses the client certificate of tls.crt_file",
              "does not trust the CA that signed it");
        snprintf(arguments, sizeof(arguments), ASKS "%s", versions[i]);
        fails(arguments, "localhost",
              "tls.ca_file %s/ca.crt\ntls.crt_file %s/expired.crt\n"
              "tls.key_file %s/expired.key",
              UPSTREAM_ERR_CERT, "refuses the client certificate of tls.crt_file",
              "it has expired");
    }
}

static void refused_at_create(const char *keys, const char *place, const char *fix)
{
    char filled[1024], text[2048];
    upstream_error_t *err;
    snprintf(filled, sizeof(filled), keys, openssl_folder, openssl_folder, openssl_folder,
             openssl_folder);
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\n[NODE]\nname n\nhost localhost\nport 1\n"
             "tls on\n%s\n",
             filled);
    err = check_refused(text, NULL);
    check_contains(upstream_error_message(err), place);
    check_contains(upstream_error_message(err), fix);
    upstream_error_free(err);
}

static void bad_files_are_found_at_create(void **state)
{
    (void)state;
    refused_at_create("tls.ca_file %s/none.crt", "test.conf:8:", "none.crt");
    refused_at_create("tls.ca_file %s/empty.crt", "test.conf:8:", "empty");
    refused_at_create("tls.ca_file %s", "test.conf:8:", "tls.ca_file");
    refused_at_create("tls.ca_file %s/client.key", "test.conf:8:", "holds no certificate");
    refused_at_create("tls.ca_path %s/none", "test.conf:8:", "none");
    refused_at_create("tls.crt_file %s/client.crt", "test.conf:8:", "tls.key_file");
    refused_at_create("tls.key_file %s/client.key", "test.conf:8:", "tls.crt_file");
    refused_at_create("tls.crt_file %s/client.crt\ntls.key_file %s/valid.key",
                      "test.conf:9:", "does not belong to the certificate of tls.crt_file");
    refused_at_create("tls.crt_file %s/client-rsa.crt\ntls.key_file %s/valid.key",
                      "test.conf:9:", "does not belong to the certificate of tls.crt_file");
    refused_at_create("tls.crt_file %s/client.crt\ntls.key_file %s/ca.crt",
                      "test.conf:9:", "holds no private key");
    refused_at_create("tls.crt_file %s/client.crt\ntls.key_file %s/client.enc",
                      "test.conf:9:", "set tls.key_passwd");
    refused_at_create("tls.crt_file %s/client.crt\ntls.key_file %s/client.enc\n"
                      "tls.key_passwd wrong",
                      "test.conf:9:", "is tls.key_passwd its passphrase?");
    refused_at_create("tls.crt_file %s/client-rsa.crt\ntls.key_file %s/client-rsa.old\n"
                      "tls.key_passwd secret",
                      "test.conf:9:", "openssl pkcs8 -topk8");
    refused_at_create("tls.ciphers RC4-MD5", "test.conf:8:", "the known names are");
    refused_at_create("tls.ciphers TLS_AES_128_GCM_SHA256\ntls.max_version TLSv1.2",
                      "test.conf:8:", "tls.max_version");
    refused_at_create("tls.min_version TLSv1.3\ntls.max_version TLSv1.2",
                      "test.conf:", "tls.min_version");
    refused_at_create("tls.min_version TLSv1.1", "test.conf:8:", "TLSv1.2");
}

static void a_plaintext_server(void **state)
{
    static const char *const parts[] = {"does not answer in TLS", "Set tls off", NULL};
    static const char *const closed[] = {"does it speak TLS on this port?", NULL};
    struct loopback *greeter = loopback_start(LOOPBACK_GREETER),
                    *closer = loopback_start(LOOPBACK_CLOSE);
    (void)state;
    fails_at(loopback_port(greeter), "127.0.0.1", "tls.verify off", UPSTREAM_ERR_TLS, parts);
    fails_at(loopback_port(closer), "127.0.0.1", "tls.verify off", UPSTREAM_ERR_TLS, closed);
    loopback_stop(greeter);
    loopback_stop(closer);
}

static void a_silent_server(void **state)
{
    static const char *const parts[] = {
        "did not finish the TLS handshake within net.connect_timeout", NULL};
    struct loopback *server = loopback_start(LOOPBACK_SILENT);
    (void)state;
    fails_at(loopback_port(server), "127.0.0.1", "tls.verify off\nnet.connect_timeout 700ms",
             UPSTREAM_ERR_TIMEOUT, parts);
    loopback_stop(server);
}

static void much_data(void **state)
{
    enum { SIZE = 4 * 1024 * 1024 };
    struct openssl_server *server = openssl_start(openssl_folder, "-cert valid.crt -key valid.key");
    upstream_t *up = tls_node(openssl_port(server), "localhost", "tls.ca_file %s/ca.crt");
    upstream_conn_t *conn = NULL;
    char *out = malloc(SIZE), *in = malloc(SIZE);
    size_t i;
    (void)state;
    /* Lines of 1,024 bytes, each of which comes back reversed. */
    for (i = 0; i < SIZE; i++) {
        out[i] = (i % 1024 == 1023) ? '\n' : (char)('a' + i / 1024 % 26);
    }
    assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
    for (i = 0; i < SIZE; i += 65536) {
        struct iovec parts[2] = {{out + i, 1000}, {out + i + 1000, 65536 - 1000}};
        assert_status(upstream_conn_writev(conn, parts, 2), UPSTREAM_OK);
        assert_status(upstream_conn_read_exact(conn, in + i, 65536), UPSTREAM_OK);
    }
    assert_memory_equal(in, out, SIZE);
    upstream_conn_release(conn);
    upstream_destroy(up);
    openssl_stop(server);
    free(out);
    free(in);
}

static void a_server_that_goes_away(void **state)
{
    struct openssl_server *server = openssl_start(openssl_folder, "-cert valid.crt -key valid.key");
    upstream_t *up = tls_node(openssl_port(server), "localhost", "tls.ca_file %s/ca.crt");
    upstream_conn_t *conn = NULL;
    upstream_status_t status = UPSTREAM_OK;
    char byte;
    int i;
    (void)state;
    /* a write that raised it would end this program */
    assert_true(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
    talk(conn);
    openssl_stop(server);
    /* Killed, so there was no close_notify: an end that anyone on the way could have made. */
    status = upstream_conn_read_exact(conn, &byte, 1);
    assert_true(status == UPSTREAM_ERR_CLOSED || status == UPSTREAM_ERR_NETWORK);
    for (i = 0; i < 50 && (status == UPSTREAM_OK || i < 3); i++) {
        status = upstream_conn_write(conn, openssl_folder, strlen(openssl_folder));
    }
    assert_true(status == UPSTREAM_ERR_CLOSED || status == UPSTREAM_ERR_NETWORK);
    upstream_conn_discard(conn);
    upstream_destroy(up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid),
        cmocka_unit_test(self_signed),
        cmocka_unit_test(wrong_name),
        cmocka_unit_test(server_name_indication),
        cmocka_unit_test(expired),
        cmocka_unit_test(unknown_ca),
        cmocka_unit_test(versions),
        cmocka_unit_test(ciphers),
        cmocka_unit_test(client_certificate),
        cmocka_unit_test(client_certificate_missing),
        cmocka_unit_test(client_certificate_refused),
        cmocka_unit_test(bad_files_are_found_at_create),
        cmocka_unit_test(a_plaintext_server),
        cmocka_unit_test(a_silent_server),
        cmocka_unit_test(much_data),
        cmocka_unit_test(a_server_that_goes_away),
    };
    return cmocka_run_group_tests(tests, openssl_folder_setup, openssl_folder_teardown);
}
