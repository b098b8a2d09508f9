/* The fault matrix: handshakes that stall, break or are refused, and servers that speak something
 * else. Rows of docs/testing.md. */
#define _GNU_SOURCE
#include "support/openssl.h"
#include "support/testbed.h"

#include <unistd.h>

#define OUT_FOR_GOOD "health.backoff 1h\nhealth.backoff_max 1h\n"
#define VALID "-cert valid.crt -key valid.key"

/* Three nodes, the first over TLS to `receiver` (0: a counting one, for what never gets there),
 * trusting `roots` of openssl_folder, with more `keys`. */
static void open_with_tls(struct testbed *bed, const char *keys, uint16_t receiver,
                          const char *roots)
{
    char lines[1024];
    struct testbed_node nodes[3] = {{.keys = lines, .receiver = receiver}};
    snprintf(lines, sizeof(lines), "tls on\ntls.vhost localhost\ntls.ca_file %s/%s\n%s",
             openssl_folder, roots, keys);
    testbed_open(bed, 3, "", nodes, NULL);
}

/* The delivery that meets node 1 goes on to another node before any byte of it was sent. After that
 * node 1 is out, and the others take its share. */
static void node_1_is_left_out(struct testbed *bed, upstream_status_t status, const char *words)
{
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    testbed_deliver_each(bed, 1);
    assert_int_equal(upstream_node_state(testbed_node(bed, 0)), UPSTREAM_NODE_EJECTED);
    assert_int_equal(testbed_stats(bed, 0).deliveries_failed, 1);
    testbed_shares_are_even(bed, 6, 10);
    assert_int_equal(testbed_stats(bed, 0).connects_failed, 1);
    assert_status(upstream_node_connect(testbed_node(bed, 0), &conn, &err), status);
    assert_null(conn);
    check_contains(upstream_error_message(err), words);
    upstream_error_free(err);
    assert_int_equal(testbed_stats(bed, 0).handshakes, 0);
    assert_int_equal(testbed_stats(bed, 0).bytes_out, 0);
    assert_int_equal(testbed_twice(bed), 0);
}

static void refused_by_certificate(const char *server_arguments, const char *roots,
                                   const char *words)
{
    struct openssl_server *server = openssl_start(openssl_folder, server_arguments);
    struct testbed bed;
    open_with_tls(&bed, OUT_FOR_GOOD, openssl_port(server), roots);
    node_1_is_left_out(&bed, UPSTREAM_ERR_CERT, words);
    testbed_close(&bed);
    openssl_stop(server);
}

static void certificate_expired(void **state)
{
    (void)state;
    refused_by_certificate("-cert expired.crt -key expired.key", "ca.crt", "expired");
}

static void certificate_of_another_name(void **state)
{
    (void)state;
    refused_by_certificate("-cert wrong-name.crt -key wrong-name.key", "ca.crt",
                           "not for \"localhost\"");
}

static void certificate_of_an_unknown_ca(void **state)
{
    (void)state;
    refused_by_certificate(VALID, "other-ca.crt", "issuer is not trusted");
}

static void certificate_self_signed(void **state)
{
    (void)state;
    refused_by_certificate("-cert self.crt -key self.key", "ca.crt", "tls.ca_file");
}

/*
 * The server asks for a client certificate, and gets none, or one that it refuses. Under TLS 1.2 it
 * says so in the handshake, under TLS 1.3 after it, with or without tickets for good clients. In
 * each case no byte of a record is sent there.
 */
static void client_certificate_is_refused(const char *keys, const char *words)
{
    static const char *const versions[] = {"-tls1_2", "-tls1_3", "-tls1_3 -num_tickets 0"};
    size_t i;
    for (i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        char arguments[256], lines[512];
        struct openssl_server *server;
        struct testbed bed;
        snprintf(arguments, sizeof(arguments),
                 VALID " -Verify 1 -verify_return_error -CAfile ca.crt %s", versions[i]);
        snprintf(lines, sizeof(lines), keys, openssl_folder, openssl_folder);
        strcat(lines, OUT_FOR_GOOD);
        server = openssl_start(openssl_folder, arguments);
        open_with_tls(&bed, lines, openssl_port(server), "ca.crt");
        node_1_is_left_out(&bed, UPSTREAM_ERR_CERT, words);
        testbed_close(&bed);
        openssl_stop(server);
    }
}

static void client_certificate_missing(void **state)
{
    (void)state;
    client_certificate_is_refused("", "set tls.crt_file and tls.key_file");
}

static void client_certificate_expired(void **state)
{
    (void)state;
    client_certificate_is_refused("tls.crt_file %s/expired.crt\ntls.key_file %s/expired.key\n",
                                  "it has expired");
}

static void client_certificate_foreign(void **state)
{
    (void)state;
    client_certificate_is_refused("tls.crt_file %s/self.crt\ntls.key_file %s/self.key\n",
                                  "client certificate of tls.crt_file");
}

static void tls_alert(void **state)
{
    /* TLS 1.2 record of 2 bytes: fatal (2), handshake_failure (40). RFC 8446 section 6. */
    static const char record[] = "\x15\x03\x03\x00\x02\x02\x28";
    static const struct script alert = {.fault = FAULT_CLOSE,
                                        .direction = TO_RECEIVER,
                                        .says = record,
                                        .says_len = sizeof(record) - 1};
    struct testbed bed;
    (void)state;
    open_with_tls(&bed, OUT_FOR_GOOD, 0, "ca.crt");
    proxy_play(bed.proxies[0], &alert);
    node_1_is_left_out(&bed, UPSTREAM_ERR_TLS, "TLS");
    testbed_close(&bed);
}

static void plaintext_where_tls_is_set(void **state)
{
    static const char answer[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    static const struct script http = {.fault = FAULT_CLOSE,
                                       .direction = TO_RECEIVER,
                                       .says = answer,
                                       .says_len = sizeof(answer) - 1};
    struct testbed bed;
    (void)state;
    open_with_tls(&bed, OUT_FOR_GOOD, 0, "ca.crt");
    proxy_play(bed.proxies[0], &http);
    node_1_is_left_out(&bed, UPSTREAM_ERR_TLS, "does not answer in TLS");
    testbed_close(&bed);
}

/* The server takes the record for a broken handshake and hangs up: three times there is no answer,
 * and the node is out. */
static void tls_where_plaintext_is_set(void **state)
{
    struct openssl_server *server = openssl_start(openssl_folder, VALID);
    struct testbed_node nodes[3] = {{.receiver = openssl_port(server)}};
    struct testbed bed;
    size_t i;
    (void)state;
    testbed_open(&bed, 3, OUT_FOR_GOOD, nodes, NULL);
    for (i = 0; testbed_stats(&bed, 0).ejections == 0 && i < 100; i++) {
        testbed_deliver_each(&bed, 1);
    }
    assert_int_equal(testbed_stats(&bed, 0).deliveries_failed, 3);
    assert_int_equal(testbed_stats(&bed, 0).deliveries, 0);
    testbed_shares_are_even(&bed, 6, 10);
    assert_int_equal(testbed_twice(&bed), 0);
    testbed_close(&bed);
    openssl_stop(server);
}

static void tls_stall(void **state)
{
    /* Before ClientHello, in its middle, before the server's answer, in its middle. */
    static const struct script stalls[] = {
        {.fault = FAULT_STALL, .direction = TO_RECEIVER, .after = 0},
        {.fault = FAULT_STALL, .direction = TO_RECEIVER, .after = 50},
        {.fault = FAULT_STALL, .direction = TO_CLIENT, .after = 0},
        {.fault = FAULT_STALL, .direction = TO_CLIENT, .after = 300},
    };
    struct openssl_server *server = openssl_start(openssl_folder, VALID);
    size_t i;
    (void)state;
    for (i = 0; i < sizeof(stalls) / sizeof(stalls[0]); i++) {
        struct testbed bed;
        long begun = check_now_ms();
        open_with_tls(&bed, OUT_FOR_GOOD "net.connect_timeout 400ms\n", openssl_port(server),
                      "ca.crt");
        proxy_play(bed.proxies[0], &stalls[i]);
        node_1_is_left_out(&bed, UPSTREAM_ERR_TIMEOUT,
                           "did not finish the TLS handshake within net.connect_timeout");
        /* two waited, of 23 */
        assert_in_range(check_now_ms() - begun, 0, 800 + testbed_patience_ms());
        testbed_close(&bed);
    }
    openssl_stop(server);
}

/* The connection ends in the handshake, at many different bytes of both sides. */
static void tls_cut_short(void **state)
{
    static const enum fault faults[] = {FAULT_RESET, FAULT_CLOSE};
    struct openssl_server *server = openssl_start(openssl_folder, VALID);
    struct testbed bed;
    size_t i, round = 0, first = 0;
    (void)state;
    open_with_tls(&bed, "health.max_fails 1000\nhealth.backoff 1ms\nhealth.backoff_max 1ms\n",
                  openssl_port(server), "ca.crt");
    for (i = 0; i < 2; i++) {
        struct script script = {.fault = faults[i]};
        for (script.direction = TO_RECEIVER; script.direction <= TO_CLIENT; script.direction++) {
            for (script.after = 0; script.after < 600; script.after += 50) {
                upstream_conn_t *conn = NULL;
                upstream_error_t *err = NULL;
                upstream_status_t status;
                if (script.direction == TO_RECEIVER && script.after >= 200) {
                    break; /* a ClientHello is not much longer */
                }
                proxy_play(bed.proxies[0], &script);
                status = upstream_node_connect(testbed_node(&bed, 0), &conn, &err);
                if (status != UPSTREAM_ERR_TLS && status != UPSTREAM_ERR_NETWORK &&
                    status != UPSTREAM_ERR_CLOSED) {
                    fail_msg("after %zu bytes: %s", script.after, upstream_status_name(status));
                }
                assert_null(conn);
                check_contains(upstream_error_message(err), "TLS");
                upstream_error_free(err);
                assert_int_equal(proxy_faults(bed.proxies[0]), ++round);
                proxy_reset_all(bed.proxies[0]);
                first = round == 1 ? descriptors_open() : first;
            }
        }
    }
    assert_int_equal(testbed_stats(&bed, 0).connects_failed, round);
    testbed_wait_descriptors(first + 2); /* of so many rounds none left one */
    testbed_close(&bed);
    openssl_stop(server);
}

/* A trial: the caller that began it has gone to another node long before the handshake ends well.
 * Then the connection is in the pool, and the node is back. */
static void handshake_outlives_its_caller(void **state)
{
    static const struct script stall = {.fault = FAULT_STALL, .direction = TO_CLIENT, .after = 300};
    struct openssl_server *server = openssl_start(openssl_folder, VALID);
    upstream_conn_t *conn = NULL;
    struct testbed bed;
    char back[6];
    size_t i;
    (void)state;
    open_with_tls(&bed, "health.backoff 20ms\nhealth.backoff_max 20ms\nnet.connect_timeout 60s\n",
                  openssl_port(server), "ca.crt");
    proxy_play(bed.proxies[0], &stall);
    assert_status(upstream_node_report(testbed_node(&bed, 0), UPSTREAM_ERR_CONNECT), UPSTREAM_OK);
    for (i = 0; proxy_accepted(bed.proxies[0]) == 0 && i < 10000; i++) {
        testbed_deliver_each(&bed, 1);
        usleep(1000);
    }
    /* That delivery came to its end at another node, and those after it do not wait. */
    testbed_shares_are_even(&bed, 6, 10);
    assert_int_equal(upstream_node_state(testbed_node(&bed, 0)), UPSTREAM_NODE_PROBING);
    assert_int_equal(testbed_stats(&bed, 0).active, 1);
    assert_int_equal(testbed_stats(&bed, 0).idle, 0);
    proxy_release(bed.proxies[0]);
    testbed_wait_state(&bed, 0, UPSTREAM_NODE_UP);
    assert_status(upstream_node_connect(testbed_node(&bed, 0), &conn, NULL), UPSTREAM_OK);
    assert_int_equal(upstream_conn_reused(conn), 1);
    assert_status(upstream_conn_write(conn, "hello\n", 6), UPSTREAM_OK);
    assert_status(upstream_conn_read_exact(conn, back, 6), UPSTREAM_OK);
    assert_memory_equal(back, "olleh\n", 6);
    upstream_conn_release(conn);
    assert_int_equal(proxy_accepted(bed.proxies[0]), 1);
    assert_int_equal(testbed_stats(&bed, 0).connects, 1);
    assert_int_equal(testbed_stats(&bed, 0).handshakes, 1);
    assert_int_equal(testbed_stats(&bed, 0).connects_failed, 0);
    assert_int_equal(testbed_stats(&bed, 0).idle, 1);
    testbed_close(&bed);
    openssl_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(certificate_expired),
        cmocka_unit_test(certificate_of_another_name),
        cmocka_unit_test(certificate_of_an_unknown_ca),
        cmocka_unit_test(certificate_self_signed),
        cmocka_unit_test(client_certificate_missing),
        cmocka_unit_test(client_certificate_expired),
        cmocka_unit_test(client_certificate_foreign),
        cmocka_unit_test(tls_alert),
        cmocka_unit_test(plaintext_where_tls_is_set),
        cmocka_unit_test(tls_where_plaintext_is_set),
        cmocka_unit_test(tls_stall),
        cmocka_unit_test(tls_cut_short),
        cmocka_unit_test(handshake_outlives_its_caller),
    };
    return check_run_tests(tests, openssl_folder_setup, openssl_folder_teardown);
}
