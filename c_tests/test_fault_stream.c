/* The fault matrix: connections that break, end or stall at each byte of a message, and receivers
 * that are slow. Rows of docs/testing.md. */
#define _GNU_SOURCE
#include "support/testbed.h"

#include <unistd.h>

enum { RECORD = 8, LARGE = 32768 };

/* A node that fails stays in the rotation, so that each delivery's turn is known. */
#define STAYS_IN "health.max_fails 1000\n"

/*
 * Node 1 of three plays `fault` at each byte of the record, and of its answer. A round has two
 * deliveries: one begins at node 1 and ends at node 2, the other goes to node 3. If the whole
 * record had come to node 1, only its answer was lost, and the record comes twice.
 */
static void at_each_byte(enum fault fault, struct event_loop *loop)
{
    struct script script = {.fault = fault};
    struct testbed bed;
    size_t first = 0;
    testbed_open(&bed, 3, STAYS_IN, NULL, NULL);
    bed.loop = loop;
    for (script.direction = TO_RECEIVER; script.direction <= TO_CLIENT; script.direction++) {
        for (script.after = 0; script.after < RECORD; script.after++) {
            size_t twice = testbed_twice(&bed), faults = proxy_faults(bed.proxies[0]);
            uint64_t failed = testbed_stats(&bed, 0).deliveries_failed;
            proxy_play(bed.proxies[0], &script);
            testbed_shares_are_even(&bed, 6, 1);
            assert_int_equal(proxy_faults(bed.proxies[0]), faults + 1);
            assert_int_equal(testbed_stats(&bed, 0).deliveries_failed, failed + 1);
            assert_int_equal(testbed_twice(&bed), twice + (script.direction == TO_CLIENT));
            proxy_reset_all(bed.proxies[0]); /* which waits for the proxy's side of it */
            first = first == 0 ? descriptors_open() : first;
        }
    }
    testbed_wait_descriptors(first + 2); /* of so many rounds none left one */
    assert_int_equal(testbed_stats(&bed, 0).picks, testbed_stats(&bed, 1).picks);
    assert_int_equal(testbed_stats(&bed, 0).picks, testbed_stats(&bed, 2).picks);
    assert_int_equal(testbed_stats(&bed, 0).ejections, 0);
    testbed_close(&bed);
}

static void reset_at_each_byte(void **state)
{
    (void)state;
    at_each_byte(FAULT_RESET, NULL);
}

static void fin_at_each_byte(void **state)
{
    (void)state;
    at_each_byte(FAULT_CLOSE, NULL);
}

static void half_close_at_each_byte(void **state)
{
    (void)state;
    at_each_byte(FAULT_HALF_CLOSE, NULL);
}

static void event_loop_at_each_byte(void **state)
{
    static const enum event_loop_kind kinds[] = {EVENT_LOOP_POLL, EVENT_LOOP_EPOLL,
                                                 EVENT_LOOP_STOP};
    size_t i;
    (void)state;
    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct event_loop loop;
        event_loop_open(&loop, kinds[i]);
        at_each_byte(FAULT_RESET, &loop);
        at_each_byte(FAULT_CLOSE, &loop);
        event_loop_close(&loop);
    }
}

/* The server ends the connections in the pool: that harms no delivery, and is not the node's
 * fault. */
static void on_an_idle_connection(void (*end_all)(struct proxy *))
{
    struct testbed bed;
    size_t round;
    testbed_open(&bed, 3, "", NULL, NULL);
    for (round = 0; round < 10; round++) {
        testbed_shares_are_even(&bed, 7, 2);
        assert_int_equal(proxy_accepted(bed.proxies[0]), round + 1);
        end_all(bed.proxies[0]);
    }
    assert_int_equal(proxy_accepted(bed.proxies[1]), 1);
    assert_int_equal(testbed_stats(&bed, 0).deliveries_failed, 0);
    assert_int_equal(testbed_stats(&bed, 0).ejections, 0);
    assert_int_equal(testbed_twice(&bed), 0);
    testbed_close(&bed);
}

static void fin_on_an_idle_connection(void **state)
{
    (void)state;
    on_an_idle_connection(proxy_fin_all);
}

static void reset_on_an_idle_connection(void **state)
{
    (void)state;
    on_an_idle_connection(proxy_reset_all);
}

/* Each connection takes one record, and dies at the first byte of the next: that says nothing about
 * the node, which gets the record once more on a new connection. */
static void at_reuse(struct event_loop *loop)
{
    static const enum fault faults[] = {FAULT_RESET, FAULT_CLOSE, FAULT_HALF_CLOSE};
    size_t i;
    for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        struct script script = {.fault = faults[i], .direction = TO_RECEIVER, .after = RECORD};
        struct testbed bed;
        testbed_open(&bed, 2, "health.max_fails 1\n", NULL, NULL);
        bed.loop = loop;
        proxy_play(bed.proxies[0], &script);
        testbed_shares_are_even(&bed, 3, 30);
        assert_int_equal(proxy_faults(bed.proxies[0]), 29);
        assert_int_equal(testbed_stats(&bed, 0).deliveries_failed, 0);
        assert_int_equal(testbed_stats(&bed, 0).ejections, 0);
        assert_int_equal(testbed_twice(&bed), 0);
        testbed_close(&bed);
    }
}

static void close_at_reuse(void **state)
{
    (void)state;
    at_reuse(NULL);
}

static void event_loop_close_at_reuse(void **state)
{
    struct event_loop loop;
    (void)state;
    event_loop_open(&loop, EVENT_LOOP_EPOLL);
    at_reuse(&loop);
    event_loop_close(&loop);
}

/* A receiver that stops reading: the window closes in the middle of a payload. */
static void window_full(void **state)
{
    static const struct testbed_node nodes[2] = {{.narrow = 1, .keys = "net.io_timeout 500ms"}};
    static const struct script stall = {
        .fault = FAULT_STALL, .direction = TO_RECEIVER, .after = 1000 * RECORD};
    struct testbed bed;
    size_t i;
    (void)state;
    testbed_open(&bed, 2, STAYS_IN, nodes, NULL);
    proxy_play(bed.proxies[0], &stall);
    assert_status(testbed_deliver(&bed, LARGE, 0), UPSTREAM_OK);
    assert_int_equal(testbed_stats(&bed, 0).deliveries_failed, 1);
    /* it was the write that waited */
    assert_true(testbed_stats(&bed, 0).bytes_out < LARGE * RECORD);
    assert_int_equal(testbed_stats(&bed, 1).deliveries, 1);
    /* A delivery that has less time than net.io_timeout, and meets the silent node last: at the
     * first node it would get only half of its time. */
    proxy_close(bed.proxies[1]);
    assert_ptr_equal(upstream_next_node(bed.up), testbed_node(&bed, 0));
    assert_status(testbed_deliver(&bed, LARGE, 300), UPSTREAM_ERR_TIMEOUT);
    for (i = 1000; i < LARGE; i++) {
        /* those before it were sent again: they had no answer */
        assert_int_equal(ledger_times(bed.ledger, i), 1);
    }
    testbed_close(&bed);
}

/* A receiver that reads, but slowly: nothing fails, however often the window closes. */
static void slow_reader(void **state)
{
    static const struct testbed_node nodes[2] = {{.narrow = 1}, {.narrow = 1}};
    static const struct script slow = {.piece = 4096, .pause_us = 1000};
    struct testbed bed;
    (void)state;
    testbed_open(&bed, 2, "net.io_timeout 10s\n", nodes, NULL);
    proxy_play(bed.proxies[0], &slow);
    proxy_play(bed.proxies[1], &slow);
    assert_status(testbed_deliver(&bed, LARGE, 0), UPSTREAM_OK);
    assert_status(testbed_deliver(&bed, LARGE, 0), UPSTREAM_OK);
    assert_int_equal(testbed_stats(&bed, 0).deliveries, 1);
    assert_int_equal(testbed_stats(&bed, 1).deliveries, 1);
    assert_int_equal(testbed_twice(&bed), 0);
    testbed_shares_are_even(&bed, 3, 5); /* and the connections serve on */
    assert_int_equal(proxy_accepted(bed.proxies[0]) + proxy_accepted(bed.proxies[1]), 2);
    testbed_close(&bed);
}

/* Both directions a byte at a time. */
static void byte_by_byte(void **state)
{
    static const struct script bytes = {.piece = 1, .pause_us = 300};
    struct testbed bed;
    (void)state;
    testbed_open(&bed, 2, "", NULL, NULL);
    proxy_play(bed.proxies[0], &bytes);
    proxy_play(bed.proxies[1], &bytes);
    testbed_shares_are_even(&bed, 3, 20);
    assert_int_equal(testbed_twice(&bed), 0);
    assert_int_equal(proxy_accepted(bed.proxies[0]), 1);
    testbed_close(&bed);
}

/* A stall at each byte of a record and its answer, shorter than every timeout: nothing happens. */
static void stall_and_go_on(void **state)
{
    struct script script = {.fault = FAULT_STALL, .stall_ms = 5};
    (void)state;
    for (script.direction = TO_RECEIVER; script.direction <= TO_CLIENT; script.direction++) {
        for (script.after = 0; script.after < RECORD; script.after++) {
            struct testbed bed;
            testbed_open(&bed, 2, "", NULL, NULL);
            proxy_play(bed.proxies[0], &script);
            testbed_shares_are_even(&bed, 3, 2);
            assert_int_equal(proxy_faults(bed.proxies[0]), 1);
            assert_int_equal(proxy_accepted(bed.proxies[0]), 1);
            assert_int_equal(testbed_twice(&bed), 0);
            testbed_close(&bed);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reset_at_each_byte),
        cmocka_unit_test(fin_at_each_byte),
        cmocka_unit_test(half_close_at_each_byte),
        cmocka_unit_test(event_loop_at_each_byte),
        cmocka_unit_test(fin_on_an_idle_connection),
        cmocka_unit_test(reset_on_an_idle_connection),
        cmocka_unit_test(close_at_reuse),
        cmocka_unit_test(event_loop_close_at_reuse),
        cmocka_unit_test(window_full),
        cmocka_unit_test(slow_reader),
        cmocka_unit_test(byte_by_byte),
        cmocka_unit_test(stall_and_go_on),
    };
    return check_run_tests(tests, NULL, NULL);
}
