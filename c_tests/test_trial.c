/* How an ejected node comes back: by the trial that a delivery makes on its way, or by the active
 * check; and what a node that does not answer costs. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/loopback.h"

#include <sys/socket.h>
#include <unistd.h>

static upstream_status_t send_line(upstream_conn_t *conn, void *ctx)
{
    (void)ctx;
    return upstream_conn_write(conn, "line\n", 5);
}

static void deliver(upstream_t *up, uint32_t timeout_ms)
{
    upstream_error_t *err = NULL;
    if (upstream_deliver(up, send_line, NULL, timeout_ms, &err) != UPSTREAM_OK) {
        print_error("%s\n", upstream_error_message(err));
        upstream_error_free(err);
        fail_msg("a delivery failed though a node was up");
    }
}

static void pause_ms(unsigned ms)
{
    usleep(ms * 1000);
}

/* Waits, at most 30 seconds, for a node's state; 1 if it came. */
static int wait_state(upstream_node_t *node, int32_t state)
{
    int i;
    for (i = 0; i < 3000 && upstream_node_state(node) != state; i++) {
        pause_ms(10);
    }
    return upstream_node_state(node) == state;
}

/* A set of two nodes: a sink, and one on `port` with `more` lines. */
static upstream_t *sink_and(struct loopback *sink, uint16_t port, const char *more)
{
    char text[512];
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname test\n[NODE]\nname good\nhost 127.0.0.1\nport %u\n"
             "[NODE]\nname bad\nhost 127.0.0.1\nport %u\n%s\n",
             (unsigned)loopback_port(sink), (unsigned)port, more);
    return check_create(text, NULL);
}

static void a_healed_node_is_found_by_a_delivery(void **state)
{
    struct loopback *sink = loopback_start(LOOPBACK_SINK);
    int healing;
    uint16_t port = loopback_refusing_port(&healing);
    upstream_t *up = sink_and(sink, port, "health.backoff 50ms");
    upstream_node_t *bad = upstream_node_at(up, 1);
    int i;
    (void)state;
    deliver(up, 0);
    deliver(up, 0);
    assert_int_equal(upstream_node_state(bad), UPSTREAM_NODE_EJECTED);
    assert_int_equal(check_node_stats(bad).connects_failed, 1);
    for (i = 0; i < 200; i++) {
        deliver(up, 0);
    }
    assert_int_equal(check_node_stats(bad).deliveries, 0);
    assert_true(check_node_stats(bad).connects_failed <= 1 + check_node_stats(bad).ejections);
    assert_int_equal(listen(healing, 64), 0);
    for (i = 0; i < 3000 && check_node_stats(bad).deliveries == 0; i++) {
        deliver(up, 0);
        pause_ms(1);
    }
    assert_int_equal(upstream_node_state(bad), UPSTREAM_NODE_UP);
    assert_int_equal(check_node_stats(bad).connects, 1); /* the trial's own connection served */
    assert_int_equal(check_node_stats(upstream_node_at(up, 0)).deliveries_failed, 0);
    assert_int_equal(upstream_retry_after_ms(up), 0);
    upstream_destroy(up);
    close(healing);
    loopback_stop(sink);
}

static void a_trial_without_an_answer_holds_no_delivery_up(void **state)
{
    struct loopback *sink = loopback_start(LOOPBACK_SINK),
                    *silent = loopback_start(LOOPBACK_SILENT);
    /* The handshake stalls until net.connect_timeout ends it. */
    upstream_t *up = sink_and(sink, loopback_port(silent),
                              "tls on\ntls.verify off\n"
                              "net.connect_timeout 2s\nhealth.backoff 50ms");
    upstream_node_t *bad = upstream_node_at(up, 1);
    upstream_stats_t set;
    (void)state;
    deliver(up, 0);
    deliver(up, 0); /* waits for the handshake, once */
    assert_true(wait_state(bad, UPSTREAM_NODE_EJECTED));
    pause_ms(100);
    deliver(up, 0); /* goes on by itself after a moment: the dial is still under way */
    assert_int_equal(upstream_node_state(bad), UPSTREAM_NODE_PROBING);
    deliver(up, 0);
    deliver(up, 0); /* and nobody else tries meanwhile */
    /* the dial may begin after the delivery went on */
    assert_true(loopback_wait_connections(silent, 2));
    assert_int_equal(loopback_connections(silent), 2);
    /* a trial is no failed delivery */
    assert_int_equal(check_node_stats(bad).deliveries_failed, 1);
    assert_int_equal(check_node_stats(bad).active, 1);
    assert_true(wait_state(bad, UPSTREAM_NODE_EJECTED)); /* the dial has ended and counted */
    assert_int_equal(check_node_stats(bad).active, 0);
    assert_int_equal(check_node_stats(bad).connects_failed, 2);
    set = check_stats(up);
    assert_int_equal(set.deliveries, 5);
    assert_int_equal(set.deliveries_failed, 0);
    assert_int_equal(set.redeliveries, 1);
    upstream_destroy(up);
    loopback_stop(silent);
    loopback_stop(sink);
}

static void a_black_hole_costs_one_delivery_its_wait_and_no_more(void **state)
{
    struct loopback *sink = loopback_start(LOOPBACK_SINK);
    int hole[LOOPBACK_HOLE_DESCRIPTORS], i;
    uint16_t port = loopback_black_hole(hole);
    upstream_t *up = sink_and(sink, port,
                              "net.connect_timeout 500ms\nhealth.backoff 1h\n"
                              "health.backoff_max 1h");
    upstream_node_t *bad = upstream_node_at(up, 1);
    (void)state;
    for (i = 0; i < 100; i++) {
        deliver(up, 0);
    }
    assert_true(loopback_wait_bytes(sink, 100 * 5));
    assert_int_equal(loopback_bytes(sink), 100 * 5);
    assert_int_equal(upstream_node_state(bad), UPSTREAM_NODE_EJECTED);
    assert_int_equal(check_node_stats(bad).connects_failed, 1);
    assert_int_equal(check_node_stats(bad).deliveries_failed, 1);
    assert_int_equal(check_node_stats(bad).active, 0);
    upstream_destroy(up);
    for (i = 0; i < LOOPBACK_HOLE_DESCRIPTORS; i++) {
        close(hole[i]);
    }
    loopback_stop(sink);
}

static void destroying_ends_a_trial_under_way(void **state)
{
    struct loopback *sink = loopback_start(LOOPBACK_SINK),
                    *silent = loopback_start(LOOPBACK_SILENT);
    upstream_t *up = sink_and(sink, loopback_port(silent),
                              "tls on\ntls.verify off\n"
                              "net.connect_timeout 60s");
    upstream_node_t *bad = upstream_node_at(up, 1);
    (void)state;
    assert_status(upstream_node_report(bad, UPSTREAM_ERR_CONNECT), UPSTREAM_OK);
    while (loopback_connections(silent) == 0) {
        deliver(up, 0);
        pause_ms(10);
    }
    upstream_destroy(up);
    assert_true(loopback_wait_ended(sink, loopback_connections(sink)));
    loopback_stop(silent);
    loopback_stop(sink);
}

static void one_silent_node_leaves_time_for_the_others(void **state)
{
    struct loopback *sink = loopback_start(LOOPBACK_SINK),
                    *silent = loopback_start(LOOPBACK_SILENT);
    upstream_t *up = sink_and(sink, loopback_port(silent), "tls on\ntls.verify off");
    (void)state;
    deliver(up, 0);
    deliver(up, 3000); /* half of it for the silent one, whose net.connect_timeout is 10 s */
    assert_int_equal(check_node_stats(upstream_node_at(up, 0)).deliveries, 2);
    upstream_destroy(up);
    loopback_stop(silent);
    loopback_stop(sink);
}

static void a_delivery_names_the_time_that_it_left(void **state)
{
    struct loopback *silent = loopback_start(LOOPBACK_SILENT);
    uint16_t ports[] = {loopback_port(silent), loopback_port(silent)};
    upstream_t *up = check_nodes(ports, 2, "tls on\ntls.verify off");
    upstream_error_t *err = NULL;
    (void)state;
    assert_status(upstream_deliver(up, send_line, NULL, 600, &err), UPSTREAM_ERR_TIMEOUT);
    check_contains(upstream_error_message(err), "ms that were left for it");
    assert_null(strstr(upstream_error_message(err), "net.connect_timeout"));
    upstream_error_free(err);
    upstream_destroy(up);
    loopback_stop(silent);
}

/* Only the active check can bring it back: a trial is an hour away, and nobody calls. */
#define CHECKED "health.backoff 1h\nhealth.backoff_max 1h\nhealth.interval 20ms\n"

static void the_active_check_brings_a_node_back_without_a_caller(void **state)
{
    struct loopback *sink = loopback_start(LOOPBACK_SINK);
    int healing;
    uint16_t port = loopback_refusing_port(&healing);
    upstream_t *up = sink_and(sink, port, CHECKED "health.check tcp");
    upstream_node_t *bad = upstream_node_at(up, 1);
    (void)state;
    deliver(up, 0);
    deliver(up, 0);
    assert_int_equal(upstream_node_state(bad), UPSTREAM_NODE_EJECTED);
    pause_ms(100);
    assert_int_equal(upstream_node_state(bad), UPSTREAM_NODE_EJECTED);
    assert_int_equal(listen(healing, 64), 0);
    assert_true(wait_state(bad, UPSTREAM_NODE_UP));
    assert_int_equal(check_node_stats(bad).connects, 0); /* no connection of a caller's was made */
    deliver(up, 0);
    deliver(up, 0);
    assert_int_equal(check_node_stats(bad).deliveries, 1);
    upstream_destroy(up);
    close(healing);
    loopback_stop(sink);
}

static void a_check_by_tls_wants_the_handshake_and_one_by_tcp_does_not(void **state)
{
    static const char *const checks[] = {"tls on\ntls.verify off\n" CHECKED "health.check tls",
                                         "tls on\ntls.verify off\n" CHECKED "health.check tcp"};
    int i;
    (void)state;
    for (i = 0; i < 2; i++) {
        struct loopback *sink = loopback_start(LOOPBACK_SINK),
                        *closing = loopback_start(LOOPBACK_CLOSE);
        upstream_t *up = sink_and(sink, loopback_port(closing), checks[i]);
        upstream_node_t *bad = upstream_node_at(up, 1);
        /* No dial has been made yet: the check starts the thread it needs. */
        assert_status(upstream_node_report(bad, UPSTREAM_ERR_CONNECT), UPSTREAM_OK);
        assert_true(loopback_wait_ended(closing, i == 0 ? 5 : 1));
        if (i == 0) {
            assert_int_equal(upstream_node_state(bad), UPSTREAM_NODE_EJECTED);
        } else {
            assert_true(wait_state(bad, UPSTREAM_NODE_UP));
        }
        assert_int_equal(loopback_bytes(sink), 0);
        upstream_destroy(up);
        loopback_stop(closing);
        loopback_stop(sink);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_healed_node_is_found_by_a_delivery),
        cmocka_unit_test(a_trial_without_an_answer_holds_no_delivery_up),
        cmocka_unit_test(a_black_hole_costs_one_delivery_its_wait_and_no_more),
        cmocka_unit_test(destroying_ends_a_trial_under_way),
        cmocka_unit_test(one_silent_node_leaves_time_for_the_others),
        cmocka_unit_test(a_delivery_names_the_time_that_it_left),
        cmocka_unit_test(the_active_check_brings_a_node_back_without_a_caller),
        cmocka_unit_test(a_check_by_tls_wants_the_handshake_and_one_by_tcp_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
