/* The fault matrix: nodes that flap, restarts under load, and clocks that jump. Rows of
 * docs/testing.md. */
#define _GNU_SOURCE
#include "support/testbed.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define MILLISECOND 1000000ull
#define SECOND (1000 * MILLISECOND)
#define DAY (86400 * SECOND)

enum { THREADS = 8 };

/* nanoseconds; what health goes by in the tests that ask for it */
static _Atomic uint64_t virtual_now;

static uint64_t the_clock(void *ctx)
{
    (void)ctx;
    return atomic_load(&virtual_now);
}

static void open_by_virtual_clock(struct testbed *bed, size_t count, const char *keys)
{
    upstream_options_t *options;
    atomic_store(&virtual_now, 1000 * DAY);
    assert_status(upstream_options_create(&options), UPSTREAM_OK);
    assert_status(upstream_options_set_clock(options, the_clock, NULL), UPSTREAM_OK);
    testbed_open(bed, count, keys, NULL, options);
    upstream_options_destroy(options);
}

/* Deliveries that all succeed, `pace` of virtual time apart, until `span` of it is over. */
static void deliver_for(struct testbed *bed, uint64_t span, uint64_t pace)
{
    uint64_t until = atomic_load(&virtual_now) + span;
    while (atomic_load(&virtual_now) < until) {
        testbed_deliver_each(bed, 1);
        atomic_fetch_add(&virtual_now, pace);
    }
}

static void node_flapping_each_second(void **state)
{
    enum { MINUTES = 2, OUTAGES = MINUTES * 30 };
    struct testbed bed;
    uint64_t second, third, ejections;
    size_t i;
    (void)state;
    open_by_virtual_clock(&bed, 3, "");
    /* The backoff is random. Once in some hundred runs, all trials of two minutes meet an outage;
     * within an hour that does not happen. */
    for (i = 0; i < OUTAGES || (testbed_stats(&bed, 0).deliveries == 0 && i < 30 * OUTAGES); i++) {
        proxy_close(bed.proxies[0]);
        deliver_for(&bed, SECOND, 50 * MILLISECOND);
        proxy_open(bed.proxies[0]);
        deliver_for(&bed, SECOND, 50 * MILLISECOND);
    }
    second = testbed_stats(&bed, 1).deliveries;
    third = testbed_stats(&bed, 2).deliveries;
    ejections = testbed_stats(&bed, 0).ejections;
    assert_in_range(ejections, 2, i / 3); /* damped: it is left alone for longer and longer */
    assert_in_range(testbed_stats(&bed, 0).deliveries_failed, 1, ejections);
    assert_true(testbed_stats(&bed, 0).deliveries > 0);
    /* one for each change of the rotation */
    assert_in_range(second > third ? second - third : third - second, 0, ejections);
    assert_int_equal(
        testbed_stats(&bed, 1).deliveries_failed + testbed_stats(&bed, 2).deliveries_failed, 0);
    assert_int_equal(testbed_twice(&bed), 0);
    /* Once it stays, it is back within the longest backoff and a fifth, and has its full share. */
    deliver_for(&bed, 73 * SECOND, 500 * MILLISECOND);
    assert_int_equal(upstream_node_state(testbed_node(&bed, 0)), UPSTREAM_NODE_UP);
    testbed_shares_are_even(&bed, 7, 20);
    testbed_close(&bed);
}

static const int64_t jumps[] = {(int64_t)DAY, -(int64_t)DAY, -(int64_t)(50 * DAY),
                                (int64_t)(400 * DAY)};

static void clock_jumps(void **state)
{
    struct testbed bed;
    size_t i, dead;
    (void)state;
    open_by_virtual_clock(&bed, 3, "");
    for (i = 0; i < sizeof(jumps) / sizeof(jumps[0]); i++) {
        /* a jump while all are up, and one while a node is out */
        for (dead = 0; dead < 2; dead++) {
            if (dead) {
                proxy_close(bed.proxies[0]);
                deliver_for(&bed, SECOND / 2, 50 * MILLISECOND);
                assert_int_equal(upstream_node_state(testbed_node(&bed, 0)), UPSTREAM_NODE_EJECTED);
            }
            atomic_fetch_add(&virtual_now, (uint64_t)jumps[i]);
            deliver_for(&bed, SECOND / 2, 50 * MILLISECOND);
            if (dead) {
                testbed_shares_are_even(&bed, 6, 10);
                proxy_open(bed.proxies[0]);
                /* health.backoff_max and its fifth */
                deliver_for(&bed, 73 * SECOND, 500 * MILLISECOND);
            }
            assert_int_equal(upstream_node_state(testbed_node(&bed, 0)), UPSTREAM_NODE_UP);
            testbed_shares_are_even(&bed, 7, 10);
        }
    }
    assert_int_equal(testbed_twice(&bed), 0);
    testbed_close(&bed);
}

/* Resends are paid from the retry budget, which uses the same clock: no jump may leave it empty for
 * ever. */
static void clock_jumps_amid_resends(void **state)
{
    static const struct script reset = {.fault = FAULT_RESET, .direction = TO_RECEIVER, .after = 4};
    struct testbed bed;
    size_t i;
    (void)state;
    open_by_virtual_clock(&bed, 3, "health.max_fails 1000\ndeliver.timeout 20s\n");
    proxy_play(bed.proxies[0], &reset);
    for (i = 0; i < sizeof(jumps) / sizeof(jumps[0]); i++) {
        testbed_shares_are_even(&bed, 6, 5); /* at one moment, within what may come at once */
        atomic_fetch_add(&virtual_now, (uint64_t)jumps[i]);
        /* five resends a second; ten are allowed */
        deliver_for(&bed, 5 * SECOND, 100 * MILLISECOND);
    }
    assert_int_equal(testbed_stats(&bed, 0).deliveries_failed, proxy_faults(bed.proxies[0]));
    assert_int_equal(testbed_twice(&bed), 0);
    testbed_close(&bed);
}

struct load {
    struct testbed bed;
    atomic_int going;
    atomic_size_t failed, delivered;
};

static void *deliver_on(void *ctx)
{
    struct load *load = ctx;
    while (atomic_load(&load->going)) {
        upstream_status_t status = testbed_deliver(&load->bed, 1, 20000);
        atomic_fetch_add(status == UPSTREAM_OK ? &load->delivered : &load->failed, 1);
        usleep(2000);
    }
    return NULL;
}

/* Each node in turn is killed with all its connections, and comes back after a delivery has missed
 * it. Threads deliver without a pause. */
static void rolling_restart(void **state)
{
    enum { NODES = 4, ROUNDS = 2 };
    struct load load;
    pthread_t threads[THREADS];
    size_t i, round;
    (void)state;
    memset(&load, 0, sizeof(load));
    testbed_open(&load.bed, NODES, "health.backoff 50ms\nhealth.backoff_max 100ms\n", NULL, NULL);
    atomic_store(&load.going, 1);
    for (i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, deliver_on, &load), 0);
    }
    for (round = 0; round < ROUNDS; round++) {
        for (i = 0; i < NODES; i++) {
            size_t delivered = atomic_load(&load.delivered);
            uint64_t ejections = testbed_stats(&load.bed, i).ejections;
            proxy_close(load.bed.proxies[i]);
            while (testbed_stats(&load.bed, i).ejections == ejections) {
                usleep(1000); /* the time limit of the test ends it, should nobody ever notice */
            }
            proxy_open(load.bed.proxies[i]);
            testbed_wait_state(&load.bed, i, UPSTREAM_NODE_UP);
            assert_true(atomic_load(&load.delivered) > delivered);
        }
    }
    atomic_store(&load.going, 0);
    for (i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    if (atomic_load(&load.failed) > 0) {
        fail_msg("%zu deliveries failed, the last: %s", atomic_load(&load.failed),
                 testbed_last_error(&load.bed));
    }
    for (i = 0; i < NODES; i++) {
        testbed_wait_state(&load.bed, i, UPSTREAM_NODE_UP);
    }
    testbed_shares_are_even(&load.bed, 15, 25);
    testbed_close(&load.bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(node_flapping_each_second),
        cmocka_unit_test(clock_jumps),
        cmocka_unit_test(clock_jumps_amid_resends),
        cmocka_unit_test(rolling_restart),
    };
    return check_run_tests(tests, NULL, NULL);
}
