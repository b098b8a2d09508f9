/* Files of TLS that change on disk, seen by the next connection; and what a plugin may ask about
 * the other end. The peer is the system's OpenSSL. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/openssl.h"
#include "support/process.h"

#include <pthread.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wformat-nonliteral"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char logged[64 * 1024];

static void keep(int32_t level, const char *message, void *ctx)
{
    size_t used;
    (void)ctx;
    pthread_mutex_lock(&mutex);
    used = strlen(logged);
    snprintf(logged + used, sizeof(logged) - used, "%d %s\n", (int)level, message);
    pthread_mutex_unlock(&mutex);
}

/* How often the log holds `part`. */
static size_t told(const char *part)
{
    const char *at;
    size_t count = 0;
    pthread_mutex_lock(&mutex);
    for (at = logged; (at = strstr(at, part)) != NULL; at++) {
        count++;
    }
    pthread_mutex_unlock(&mutex);
    return count;
}

static upstream_t *node(uint16_t port, const char *keys)
{
    char filled[1024], text[2048];
    upstream_options_t *options = NULL;
    upstream_t *up;
    snprintf(filled, sizeof(filled), keys, openssl_folder, openssl_folder, openssl_folder,
             openssl_folder);
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\nhealth.backoff 1ms\nhealth.backoff_max 1ms\n[NODE]\nname n\n"
             "host localhost\nport %u\ntls on\n%s\n",
             (unsigned)port, filled);
    assert_status(upstream_options_create(&options), UPSTREAM_OK);
    assert_status(upstream_options_set_logger(options, UPSTREAM_LOG_INFO, keep, NULL), UPSTREAM_OK);
    logged[0] = '\0';
    up = check_create(text, options);
    upstream_options_destroy(options);
    return up;
}

/* A new connection ends this way. */
static void next_is(upstream_t *up, upstream_status_t status, const char *part)
{
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    upstream_status_t outcome = upstream_node_connect(upstream_node_at(up, 0), &conn, &err);
    if (outcome != status) {
        print_error("%s\n", err ? upstream_error_message(err) : "connected");
    }
    assert_status(outcome, status);
    if (part != NULL) {
        check_contains(upstream_error_message(err), part);
    }
    upstream_error_free(err);
    upstream_conn_discard(conn);
}

static void shell(const char *line)
{
    const char *arguments[] = {"sh", "-c", line, NULL};
    assert_int_equal(process_run(arguments, openssl_folder), 0);
}

static void a_changed_ca_file_counts_at_the_next_connection(void **state)
{
    struct openssl_server *server = openssl_start(openssl_folder, "-cert valid.crt -key valid.key");
    upstream_t *up;
    int i;
    (void)state;
    shell("cp ca.crt live.crt");
    up = node(openssl_port(server), "tls.ca_file %s/live.crt");
    next_is(up, UPSTREAM_OK, NULL);
    assert_int_equal(told("changed, and read again"), 0);

    shell("cp other-ca.crt new && mv new live.crt");
    next_is(up, UPSTREAM_ERR_CERT, "issuer is not trusted");
    next_is(up, UPSTREAM_ERR_CERT, "issuer is not trusted");
    assert_int_equal(told("live.crt: changed, and read again"), 1);

    shell("cat ca.crt >live.crt"); /* in place */
    next_is(up, UPSTREAM_OK, NULL);
    assert_int_equal(told("live.crt: changed, and read again"), 2);

    /* What is broken or gone changes nothing, and is told once. */
    shell("echo nonsense >live.crt");
    for (i = 0; i < 3; i++) {
        next_is(up, UPSTREAM_OK, NULL);
    }
    assert_int_equal(told("holds no certificate"), 1);
    assert_int_equal(told("until then what was read before stays in use"), 1);
    shell("rm live.crt");
    for (i = 0; i < 3; i++) {
        next_is(up, UPSTREAM_OK, NULL);
    }
    assert_int_equal(told("there is no such file"), 1);
    shell("cp ca.crt live.crt");
    next_is(up, UPSTREAM_OK, NULL);
    assert_int_equal(told("the files are good again"), 1);
    assert_int_equal(told("changed, and read again"), 2);
    upstream_destroy(up);
    openssl_stop(server);
}

/* As Kubernetes changes the files of a mounted secret: a link on the way is replaced. */
static void a_link_that_leads_elsewhere_is_a_change(void **state)
{
    struct openssl_server *server = openssl_start(openssl_folder, "-cert valid.crt -key valid.key");
    upstream_t *up;
    (void)state;
    shell("mkdir -p k/v1 k/v2 && cp ca.crt k/v1/ca.crt && cp other-ca.crt k/v2/ca.crt &&"
          "ln -s v1 k/..data && ln -s ..data/ca.crt k/ca.crt");
    up = node(openssl_port(server), "tls.ca_path %s/k");
    next_is(up, UPSTREAM_OK, NULL);
    shell("ln -s v2 k/new && mv -T k/new k/..data");
    next_is(up, UPSTREAM_ERR_CERT, "issuer is not trusted");
    shell("ln -s v1 k/new && mv -T k/new k/..data");
    next_is(up, UPSTREAM_OK, NULL);
    upstream_destroy(up);
    openssl_stop(server);
}

static void a_half_written_pair_is_not_used(void **state)
{
    struct openssl_server *server =
        openssl_start(openssl_folder, "-cert valid.crt -key valid.key -Verify 1 "
                                      "-verify_return_error -CAfile ca.crt");
    upstream_t *up;
    int i;
    (void)state;
    shell("cp client.crt live-c.crt && cp client.key live-c.key");
    up = node(openssl_port(server), "tls.ca_file %s/ca.crt\ntls.crt_file %s/live-c.crt\n"
                                    "tls.key_file %s/live-c.key");
    next_is(up, UPSTREAM_OK, NULL);
    /* The new certificate is there, its key is not yet. */
    shell("cp client-rsa.crt live-c.crt");
    for (i = 0; i < 3; i++) {
        next_is(up, UPSTREAM_OK, NULL);
    }
    assert_int_equal(told("does not belong to the certificate of tls.crt_file"), 1);
    shell("cp client-rsa.key live-c.key");
    next_is(up, UPSTREAM_OK, NULL);
    assert_int_equal(told("changed, and read again"), 1);
    /* And a pair that the server refuses: the session with the old one is not resumed. */
    shell("cp expired.crt live-c.crt && cp expired.key live-c.key");
    next_is(up, UPSTREAM_ERR_CERT, "refuses the client certificate");
    assert_int_equal(told("the certificate expired on 2024-02-01"), 1);
    upstream_destroy(up);
    openssl_stop(server);
}

static void a_revoked_server_is_refused(void **state)
{
    struct openssl_server *server = openssl_start(openssl_folder, "-cert valid.crt -key valid.key");
    upstream_t *up;
    (void)state;
    shell(
        "echo 01 >crlnumber && sed -i '/^policy/a crlnumber=crlnumber' ca.cnf &&"
        "openssl ca -config ca.cnf -cert ca.crt -keyfile ca.key -gencrl -crldays 9 -out live.crl");
    up = node(openssl_port(server), "tls.ca_file %s/ca.crt\ntls.crl_file %s/live.crl");
    next_is(up, UPSTREAM_OK, NULL);
    shell(
        "openssl ca -config ca.cnf -cert ca.crt -keyfile ca.key -revoke valid.crt &&"
        "openssl ca -config ca.cnf -cert ca.crt -keyfile ca.key -gencrl -crldays 9 -out live.crl");
    next_is(up, UPSTREAM_ERR_CERT, "the certificate is revoked");
    shell("openssl ca -config ca.cnf -cert ca.crt -keyfile ca.key -gencrl "
          "-crl_lastupdate 20240101000000Z -crl_nextupdate 20240201000000Z -out live.crl");
    next_is(up, UPSTREAM_ERR_CERT, "");
    assert_int_equal(told("the list of ca ended on 2024-02-01"), 1);
    /* The list of another CA says nothing of this server. */
    shell("openssl ca -config ca.cnf -cert other-ca.crt -keyfile other-ca.key -gencrl -crldays 9 "
          "-out live.crl");
    next_is(up, UPSTREAM_ERR_CERT, "add that CA's list to tls.crl_file");
    upstream_destroy(up);
    openssl_stop(server);
}

/* The system's store: changed roots count, and a failure to read it is not remembered. */
static void the_systems_store_is_read_again(void **state)
{
    static char path[512], folder[512];
    struct openssl_server *server = openssl_start(openssl_folder, "-cert valid.crt -key valid.key");
    upstream_error_t *err = NULL;
    upstream_t *up = NULL;
    static const char text[] =
        "[UPSTREAM]\nname u\n[NODE]\nname n\nhost localhost\nport 1\ntls on\n";
    (void)state;
    snprintf(path, sizeof(path), "%s/store.crt", openssl_folder);
    snprintf(folder, sizeof(folder), "%s/none", openssl_folder);
    setenv("SSL_CERT_FILE", path, 1);
    setenv("SSL_CERT_DIR", folder, 1);
    assert_status(upstream_create_from_text(text, sizeof(text) - 1, "t.conf", NULL, &up, &err),
                  UPSTREAM_ERR_CONFIG);
    check_contains(upstream_error_message(err), "certificate store cannot be read");
    upstream_error_free(err);
    shell("cp other-ca.crt store.crt");
    up = node(openssl_port(server), "");
    next_is(up, UPSTREAM_ERR_CERT, "issuer is not trusted");
    shell("cp ca.crt store.crt");
    next_is(up, UPSTREAM_OK, NULL);
    unlink(path);
    next_is(up, UPSTREAM_OK, NULL);
    assert_int_equal(told("certificate store cannot be read"), 1);
    upstream_destroy(up);
    unsetenv("SSL_CERT_FILE");
    unsetenv("SSL_CERT_DIR");
    openssl_stop(server);
}

static void the_protocol_agreed_on_is_told(void **state)
{
    struct openssl_server *server =
        openssl_start(openssl_folder, "-cert valid.crt -key valid.key -alpn http/1.1");
    upstream_t *up = node(openssl_port(server), "tls.ca_file %s/ca.crt\ntls.alpn h2 http/1.1");
    upstream_conn_t *conn = NULL;
    (void)state;
    assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
    assert_string_equal(upstream_conn_alpn(conn), "http/1.1");
    upstream_conn_discard(conn);
    upstream_destroy(up);
    up = node(openssl_port(server), "tls.ca_file %s/ca.crt\ntls.alpn h2");
    next_is(up, UPSTREAM_ERR_TLS, "none of the protocols of tls.alpn (h2)");
    upstream_destroy(up);
    up = node(openssl_port(server), "tls.ca_file %s/ca.crt");
    assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
    assert_null(upstream_conn_alpn(conn));
    upstream_conn_discard(conn);
    upstream_destroy(up);
    openssl_stop(server);
}

static void the_address_of_the_other_end_is_told(void **state)
{
    struct openssl_server *server = openssl_start(openssl_folder, "-cert valid.crt -key valid.key");
    upstream_t *up = node(openssl_port(server), "tls.ca_file %s/ca.crt");
    upstream_conn_t *conn = NULL;
    char expected[64], buffer[64];
    size_t length, cap;
    (void)state;
    snprintf(expected, sizeof(expected), "127.0.0.1:%u", (unsigned)openssl_port(server));
    length = strlen(expected);
    assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
    assert_status(upstream_conn_peer(conn, buffer, sizeof(buffer)), UPSTREAM_OK);
    assert_string_equal(buffer, expected);
    assert_status(upstream_conn_peer(conn, buffer, length + 1), UPSTREAM_OK);
    for (cap = 1; cap <= length; cap++) {
        char needed[32];
        memset(buffer, 'x', sizeof(buffer));
        snprintf(needed, sizeof(needed), "needs %zu;", length + 1);
        assert_status(upstream_conn_peer(conn, buffer, cap), UPSTREAM_ERR_INVALID_ARG);
        check_contains(upstream_error_message(upstream_conn_last_error(conn)), needed);
        assert_string_equal(buffer, "");
        assert_int_equal(buffer[cap], 'x');
    }
    assert_status(upstream_conn_peer(conn, buffer, 0), UPSTREAM_ERR_INVALID_ARG);
    assert_status(upstream_conn_write(conn, "still good\n", 11), UPSTREAM_OK);
    upstream_conn_discard(conn);
    upstream_destroy(up);
    openssl_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_changed_ca_file_counts_at_the_next_connection),
        cmocka_unit_test(a_link_that_leads_elsewhere_is_a_change),
        cmocka_unit_test(a_half_written_pair_is_not_used),
        cmocka_unit_test(a_revoked_server_is_refused),
        cmocka_unit_test(the_systems_store_is_read_again),
        cmocka_unit_test(the_protocol_agreed_on_is_told),
        cmocka_unit_test(the_address_of_the_other_end_is_told),
    };
    return check_run_tests(tests, openssl_folder_setup, openssl_folder_teardown);
}
