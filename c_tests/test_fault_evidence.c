/* The fault matrix: servers that take payloads and store none, met by a plugin that only writes.
 * The only evidence is the end of the connection. Rows of docs/testing.md. */
#define _GNU_SOURCE
#include "support/acceptor.h"
#include "support/loopback.h"
#include "support/openssl.h"
#include "support/testbed.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECORD = 8, MAX_FAILS = 3, MANY = 100 };

#define OUT_FOR_GOOD "health.backoff 1h\nhealth.backoff_max 1h\n"
#define OUT_FOR_SHORT "health.backoff 50ms\nhealth.backoff_max 100ms\n"

/* What the log said. */
struct lines {
    atomic_size_t warnings; /* that payloads may be lost */
    atomic_size_t all;      /* at WARN and above */
};

static void take_line(int32_t level, const char *message, void *ctx)
{
    struct lines *lines = ctx;
    if (level <= UPSTREAM_LOG_WARN) {
        lines->all++;
        lines->warnings += strstr(message, "may be lost") != NULL;
    }
}

static upstream_t *create(const char *text, struct lines *lines)
{
    upstream_options_t *options = NULL;
    upstream_t *up;
    assert_status(upstream_options_create(&options), UPSTREAM_OK);
    assert_status(upstream_options_set_logger(options, UPSTREAM_LOG_WARN, take_line, lines),
                  UPSTREAM_OK);
    up = check_create(text, options);
    upstream_options_destroy(options);
    return up;
}

static upstream_t *open_nodes(const uint16_t *ports, size_t nodes, const char *keys,
                              struct lines *lines)
{
    char *text = check_nodes_text(ports, nodes, keys);
    upstream_t *up = create(text, lines);
    free(text);
    return up;
}

static upstream_status_t write_record(upstream_conn_t *conn, void *ctx)
{
    return upstream_conn_write(conn, ctx, RECORD);
}

/* True if it was booked as delivered. */
static size_t deliver(upstream_t *up)
{
    char record[RECORD] = "record\r\n";
    return upstream_deliver(up, write_record, record, 10000, NULL) == UPSTREAM_OK;
}

static int32_t state_of(upstream_t *up, size_t node)
{
    return upstream_node_state(upstream_node_at(up, node));
}

static uint64_t ejections_of(upstream_t *up, size_t node)
{
    return check_node_stats(upstream_node_at(up, node)).ejections;
}

/* Waits, at most 30 seconds, until it is out of the rotation. */
static void await_ejection(upstream_t *up, size_t node)
{
    long until = check_now_ms() + 30000 + testbed_patience_ms();
    while (ejections_of(up, node) == 0 && check_now_ms() < until) {
        usleep(10000);
    }
    assert_true(ejections_of(up, node) > 0);
}

/* Waits until each connection that was made to the node has reached the server and ended there. */
static void await_ends(upstream_t *up, struct loopback *bad)
{
    upstream_stats_t stats = check_node_stats(upstream_node_at(up, 0));
    loopback_wait_ended(bad, (size_t)(stats.connects + stats.connects_failed));
}

/* Nothing arrives. At most health.max_fails payloads are booked as delivered; then each delivery
 * fails. */
static void accept_and_close_alone(void **state)
{
    struct loopback *closer = loopback_start(LOOPBACK_CLOSE);
    uint16_t port = loopback_port(closer);
    struct lines lines = {0};
    upstream_t *up = open_nodes(&port, 1, OUT_FOR_GOOD, &lines);
    size_t booked = 0, i;
    (void)state;
    for (i = 0; i < MANY; i++) {
        booked += deliver(up);
        await_ends(up, closer);
    }
    assert_in_range(booked, 1, MAX_FAILS);
    assert_int_equal(state_of(up, 0), UPSTREAM_NODE_EJECTED);
    assert_in_range(lines.warnings, 1, MAX_FAILS);
    upstream_destroy(up);
    loopback_stop(closer);
}

/* The first of two nodes accepts connections only to end them, and is tried again and again. The
 * payloads that a trial may cost are limited. */
static void beside_a_good_node(enum loopback_behaviour behaviour, size_t each_trial)
{
    struct loopback *bad = loopback_start(behaviour), *good = loopback_start(LOOPBACK_SINK);
    uint16_t ports[2] = {loopback_port(bad), loopback_port(good)};
    struct lines lines = {0};
    upstream_t *up = open_nodes(ports, 2, OUT_FOR_SHORT, &lines);
    size_t booked = 0, failed = 0, lost;
    long until = check_now_ms() + testbed_patience_ms();
    while (ejections_of(up, 0) < 6 && check_now_ms() < until) {
        size_t done = deliver(up);
        booked += done;
        failed += !done;
        await_ends(up, bad);
        usleep(5000);
    }
    lost = MAX_FAILS + (size_t)ejections_of(up, 0) * each_trial;
    assert_in_range(ejections_of(up, 0), 6, 1000000);
    assert_int_equal(failed, 0); /* the good one takes what is not lost */
    assert_int_equal(ejections_of(up, 1), 0);
    assert_true(loopback_wait_bytes(good, (booked - lost) * RECORD));
    assert_true(lines.warnings > 0);
    upstream_destroy(up);
    loopback_stop(bad);
    loopback_stop(good);
}

static void accept_and_close_beside_a_good_node(void **state)
{
    (void)state;
    /* a trial is not used before it has stood for a moment */
    beside_a_good_node(LOOPBACK_CLOSE, 0);
}

/* It resets each connection after the first bytes, so that a trial shows nothing until its
 * connection is used. */
static void accept_and_reset_beside_a_good_node(void **state)
{
    (void)state;
    beside_a_good_node(LOOPBACK_RESET, 1);
}

/* A single payload, and no other one that would use the connection again: the look one second later
 * finds the end. */
static void accept_and_close_is_seen_without_a_caller(void **state)
{
    struct loopback *closer = loopback_start(LOOPBACK_CLOSE);
    uint16_t port = loopback_port(closer);
    struct lines lines = {0};
    upstream_t *up = open_nodes(&port, 1, OUT_FOR_GOOD "health.max_fails 1", &lines);
    (void)state;
    assert_int_equal(deliver(up), 1);
    await_ejection(up, 0);
    assert_int_equal(lines.warnings, 1);
    assert_int_equal(lines.all, 1);
    upstream_destroy(up);
    loopback_stop(closer);
}

/* The same if the set ends right after the payload: then it is in the log. */
static void accept_and_close_is_told_at_the_end(void **state)
{
    struct loopback *closer = loopback_start(LOOPBACK_CLOSE);
    uint16_t port = loopback_port(closer);
    struct lines lines = {0};
    upstream_t *up = open_nodes(&port, 1, "", &lines);
    (void)state;
    assert_int_equal(deliver(up), 1);
    assert_true(loopback_wait_ended(closer, 1));
    upstream_destroy(up);
    assert_int_equal(lines.warnings, 1);
    loopback_stop(closer);
}

/* Reads what comes, and closes when it has. */
static enum ending close_after_reading(const struct session *session, void *ctx)
{
    char record[RECORD];
    (void)ctx;
    if (session_wait(session, session->socket, POLLIN, -1)) {
        (void)!recv(session->socket, record, sizeof(record), MSG_WAITALL);
    }
    return ENDING_CLOSE;
}

static enum ending close_at_once(const struct session *session, void *ctx)
{
    (void)session;
    (void)ctx;
    return ENDING_CLOSE;
}

/* With net.keepalive off each connection is closed after its payload. It means nothing that the
 * server closes it too. But if the server closes it without having read the payload, the kernel
 * resets the connection: that is a sign. */
static void without_keepalive(void **state)
{
    struct acceptor *good = acceptor_start("127.0.0.1", 0, close_after_reading, NULL);
    struct acceptor *bad = acceptor_start("127.0.0.1", 0, close_at_once, NULL);
    uint16_t ports[2] = {acceptor_port(bad), acceptor_port(good)};
    struct lines lines = {0};
    upstream_t *up = open_nodes(ports, 2, "net.keepalive off\n" OUT_FOR_GOOD, &lines);
    long until = check_now_ms() + testbed_patience_ms();
    size_t i;
    (void)state;
    while (ejections_of(up, 0) == 0 && check_now_ms() < until) {
        assert_int_equal(deliver(up), 1);
        usleep(20000);
    }
    assert_int_equal(ejections_of(up, 0), 1);
    assert_true(lines.warnings > 0);
    for (i = 0; i < MANY; i++) {
        assert_int_equal(deliver(up), 1);
    }
    assert_int_equal(ejections_of(up, 1), 0);
    upstream_destroy(up);
    acceptor_stop(good);
    acceptor_stop(bad);
}

/* A server is well if it closes connections that were idle for more than a second. It is also well
 * if it ends a connection earlier, but had answered on it. */
static void a_late_end_and_one_after_an_answer_blame_nobody(void **state)
{
    struct loopback *good = loopback_start(LOOPBACK_SINK);
    struct proxy *proxy = proxy_start("127.0.0.1", loopback_port(good), 0);
    uint16_t port = proxy_port(proxy);
    struct lines lines = {0};
    upstream_t *up = open_nodes(&port, 1, OUT_FOR_GOOD "health.max_fails 1", &lines);
    struct testbed bed;
    size_t i;
    (void)state;
    for (i = 0; i < 2; i++) {
        assert_int_equal(deliver(up), 1);
        /* past the second, and the look that comes then */
        usleep(check_slow() ? 20000000 : 2000000);
        proxy_fin_all(proxy);
    }
    assert_int_equal(deliver(up), 1);
    assert_true(loopback_wait_bytes(good, 3 * RECORD));
    assert_int_equal(ejections_of(up, 0), 0);
    assert_int_equal(lines.all, 0);
    upstream_destroy(up);
    proxy_stop(proxy);
    loopback_stop(good);
    testbed_open(&bed, 1, OUT_FOR_GOOD "health.max_fails 1\n", NULL, NULL);
    for (i = 0; i < 10; i++) {
        testbed_deliver_each(&bed, 1);
        proxy_fin_all(bed.proxies[0]);
    }
    assert_int_equal(testbed_stats(&bed, 0).ejections, 0);
    testbed_close(&bed);
}

/* A TLS 1.3 server refuses the client certificate long after the library has stopped waiting for
 * that. What was sent until then is lost, and the log says so. The first look after that ejects the
 * node. */
static void client_certificate_refused_late(void **state)
{
    static const struct script slow = {
        .fault = FAULT_STALL, .direction = TO_RECEIVER, .after = 400};
    char *folder = openssl_make_folder();
    struct openssl_server *server = openssl_start(
        folder,
        "-cert valid.crt -key valid.key -tls1_3 -Verify 1 -verify_return_error -CAfile ca.crt");
    struct proxy *proxy = proxy_start("127.0.0.1", openssl_port(server), 0);
    struct lines lines = {0};
    char text[1024];
    upstream_t *up;
    (void)state;
    proxy_play(proxy, &slow);
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\n" OUT_FOR_GOOD "[NODE]\nname n\nhost 127.0.0.1\nport %u\ntls on\n"
             "tls.ca_file %s/ca.crt\ntls.crt_file %s/self.crt\ntls.key_file %s/self.key\n",
             (unsigned)proxy_port(proxy), folder, folder, folder);
    up = create(text, &lines);
    assert_int_equal(deliver(up), 1);
    proxy_release(proxy);
    await_ejection(up, 0);
    assert_int_equal(lines.warnings, 1);
    assert_int_equal(lines.all, 1);
    upstream_destroy(up);
    proxy_stop(proxy);
    openssl_stop(server);
    openssl_remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accept_and_close_alone),
        cmocka_unit_test(accept_and_close_beside_a_good_node),
        cmocka_unit_test(accept_and_reset_beside_a_good_node),
        cmocka_unit_test(accept_and_close_is_seen_without_a_caller),
        cmocka_unit_test(accept_and_close_is_told_at_the_end),
        cmocka_unit_test(without_keepalive),
        cmocka_unit_test(a_late_end_and_one_after_an_answer_blame_nobody),
        cmocka_unit_test(client_certificate_refused_late),
    };
    return check_run_tests(tests, NULL, NULL);
}
