/* The fault matrix for a plugin that only writes: what the kernel took is booked as delivered, and
 * each row limits how much of that may be lost. Servers that take all and store none are in
 * test_fault_evidence, TLS in test_fault_no_answers_tls, the partition in test_fault_net. Rows of
 * docs/testing.md. */
#define _GNU_SOURCE
#include "support/unanswered.h"

#include <pthread.h>
#include <unistd.h>

enum { RECORD = UNANSWERED_RECORD, MAX_FAILS = 3 };

#define OUT_FOR_GOOD "health.backoff 1h\nhealth.backoff_max 1h\n"
#define OUT_FOR_A_MOMENT STAYS_IN "net.keepalive off\nhealth.backoff 1ms\nhealth.backoff_max 1ms\n"
#define OUT_FOR_SHORT "health.backoff 20ms\nhealth.backoff_max 50ms\n"
/* A node that fails stays in the rotation, so that each delivery's turn is known. */
#define STAYS_IN "health.max_fails 1000\n"

static const struct script faithful;
static const enum fault endings[] = {FAULT_RESET, FAULT_CLOSE, FAULT_HALF_CLOSE};

static int state_of(const struct unanswered *un, size_t node)
{
    return upstream_node_state(testbed_node(&un->bed, node));
}

static uint64_t ejections_of(const struct unanswered *un, size_t node)
{
    return testbed_stats(&un->bed, node).ejections;
}

/* Waits until the proxy has broken that many connections, each of which is over then. */
static void await_faults(struct unanswered *un, size_t node, size_t faults)
{
    long until = check_now_ms() + 6 * testbed_patience_ms();
    while (proxy_faults(un->bed.proxies[node]) < faults) {
        if (check_now_ms() > until) {
            fail_msg("%zu connections broke, and should be %zu",
                     proxy_faults(un->bed.proxies[node]), faults);
        }
        usleep(500);
    }
    proxy_reset_all(un->bed.proxies[node]);
}

/* Waits until the connection is so old that its end blames nobody (evidence.rs in the library). */
static void let_it_stand(void)
{
    usleep(300 * 1000);
}

/* Nothing is written to a node that refuses. */
static void refused_without_answers(void **state)
{
    struct unanswered un;
    (void)state;
    unanswered_open(&un, 3, OUT_FOR_GOOD, NULL);
    proxy_close(un.bed.proxies[0]);
    unanswered_arrive(&un, 61, 0);
    assert_int_equal(state_of(&un, 0), UPSTREAM_NODE_EJECTED);
    assert_int_equal(testbed_stats(&un.bed, 0).connects_failed, 1);
    assert_int_equal(testbed_stats(&un.bed, 0).bytes_out, 0);
    unanswered_close(&un, 0, 0);
}

/* Node 1 of three breaks each connection after that many bytes of the first record or the second.
 * Each connection loses one payload, the one under way; those before it have arrived. */
static void at_each_byte(enum fault fault)
{
    struct script script = {.fault = fault, .direction = TO_RECEIVER};
    struct unanswered un;
    size_t faults = 0, lost;
    unanswered_open(&un, 3, STAYS_IN, NULL);
    for (script.after = 0; script.after < 2 * RECORD; script.after++) {
        proxy_play(un.bed.proxies[0], &script);
        unanswered_arrive(&un, 3, script.after < RECORD ? faults + 1 : faults);
        if (script.after >= RECORD) {
            unanswered_arrive(&un, 3, faults + 1);
        }
        await_faults(&un, 0, ++faults);
        proxy_play(un.bed.proxies[0], &faithful);
        unanswered_arrive(&un, 3, faults); /* the end is seen, and costs nothing more */
        proxy_fin_all(un.bed.proxies[0]);
    }
    lost = unanswered_lost(&un);
    assert_int_equal(lost, faults);
    assert_int_equal(proxy_accepted(un.bed.proxies[1]), 1);
    assert_int_equal(ejections_of(&un, 0), 0);
    unanswered_close(&un, faults, faults);
}

static void reset_at_each_byte_without_answers(void **state)
{
    (void)state;
    at_each_byte(FAULT_RESET);
}

static void fin_at_each_byte_without_answers(void **state)
{
    (void)state;
    at_each_byte(FAULT_CLOSE);
}

static void half_close_at_each_byte_without_answers(void **state)
{
    (void)state;
    at_each_byte(FAULT_HALF_CLOSE);
}

/* A large payload is cut in the middle: the write fails, and the whole payload goes to another
 * node. What the first node had read by then comes twice. */
static void a_large_payload_is_cut_without_answers(void **state)
{
    enum { LARGE = 32768, READ = 1000 };
    static const struct testbed_node nodes[2] = {{.narrow = 1}};
    static const struct script cut = {
        .fault = FAULT_RESET, .direction = TO_RECEIVER, .after = READ * RECORD};
    struct unanswered un;
    (void)state;
    unanswered_open(&un, 2, STAYS_IN, nodes);
    un.may_come_twice = READ;
    proxy_play(un.bed.proxies[0], &cut);
    assert_status(unanswered_write(&un, LARGE, NULL), UPSTREAM_OK);
    await_faults(&un, 0, 1);
    assert_int_equal(testbed_stats(&un.bed, 0).deliveries_failed, 1);
    unanswered_close(&un, 0, 0);
}

/* The end of what lies in the pool is seen before it is used again. */
static void on_an_idle_connection(void (*end_all)(struct proxy *))
{
    struct unanswered un;
    size_t round;
    unanswered_open(&un, 3, "health.max_fails 1\n", NULL);
    for (round = 0; round < 5; round++) {
        unanswered_arrive(&un, 3 * 5, 0);
        assert_int_equal(proxy_accepted(un.bed.proxies[0]), round + 1);
        let_it_stand();
        end_all(un.bed.proxies[0]);
    }
    unanswered_arrive(&un, 3, 0);
    assert_int_equal(proxy_accepted(un.bed.proxies[1]), 1);
    assert_int_equal(ejections_of(&un, 0), 0);
    unanswered_close(&un, 0, 0);
}

static void fin_on_an_idle_connection_without_answers(void **state)
{
    (void)state;
    on_an_idle_connection(proxy_fin_all);
}

static void reset_on_an_idle_connection_without_answers(void **state)
{
    (void)state;
    on_an_idle_connection(proxy_reset_all);
}

/* Each connection takes one record, and dies at the first byte of the next, which is lost. An end
 * so early counts as a failure; after health.max_fails of them the node is out. */
static void close_at_reuse_without_answers(void **state)
{
    size_t i, lost;
    (void)state;
    for (i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        struct script script = {.fault = endings[i], .direction = TO_RECEIVER, .after = RECORD};
        struct unanswered un;
        unanswered_open(&un, 2, OUT_FOR_GOOD, NULL);
        proxy_play(un.bed.proxies[0], &script);
        for (lost = 0; lost < MAX_FAILS; lost++) {
            unanswered_arrive(&un, 2, lost);
            unanswered_arrive(&un, 2, lost + 1);
            await_faults(&un, 0, lost + 1);
        }
        unanswered_arrive(&un, 40, MAX_FAILS);
        assert_int_equal(ejections_of(&un, 0), 1);
        unanswered_close(&un, MAX_FAILS, MAX_FAILS);
    }
}

/* A server that takes five records on each connection and ends it at the sixth is well, and loses
 * one of six. With net.keepalive_max_recycle 5 nothing is lost. */
static void close_at_a_limit_of_uses_without_answers(void **state)
{
    enum { USES = 5, ROUNDS = 3 };
    static const struct script limit = {
        .fault = FAULT_CLOSE, .direction = TO_RECEIVER, .after = USES * RECORD};
    struct unanswered un;
    size_t round;
    (void)state;
    unanswered_open(&un, 1, "health.max_fails 1\n" OUT_FOR_GOOD, NULL);
    proxy_play(un.bed.proxies[0], &limit);
    for (round = 1; round <= ROUNDS; round++) {
        unanswered_arrive(&un, USES, round - 1);
        let_it_stand();
        unanswered_arrive(&un, 1, round);
        await_faults(&un, 0, round);
    }
    assert_int_equal(ejections_of(&un, 0), 0);
    unanswered_close(&un, ROUNDS, ROUNDS);
    unanswered_open(&un, 1, "health.max_fails 1\nnet.keepalive_max_recycle 5\n" OUT_FOR_GOOD, NULL);
    proxy_play(un.bed.proxies[0], &limit);
    unanswered_arrive(&un, ROUNDS * (USES + 1), 0);
    assert_int_equal(proxy_faults(un.bed.proxies[0]), 0);
    assert_int_equal(ejections_of(&un, 0), 0);
    unanswered_close(&un, 0, 0);
}

/* A receiver is stopped: its kernel still takes what comes. If the receiver goes on, all of it
 * arrives. */
static void stopped_and_gone_on_without_answers(void **state)
{
    static const struct script stopped = {.fault = FAULT_STALL, .direction = TO_RECEIVER};
    struct unanswered un;
    (void)state;
    unanswered_open(&un, 2, "health.max_fails 1\n", NULL);
    proxy_play(un.bed.proxies[0], &stopped);
    unanswered_arrive(&un, 60, 30);
    assert_int_equal(unanswered_lost(&un), 30);
    assert_int_equal(ejections_of(&un, 0), 0);
    proxy_release(un.bed.proxies[0]);
    unanswered_settle(&un, 0);
    unanswered_close(&un, 0, 0);
}

/* If it dies instead, everything that was written to it since it stopped is lost. */
static void stopped_and_killed_without_answers(void **state)
{
    static const struct script stopped = {
        .fault = FAULT_STALL, .direction = TO_RECEIVER, .after = 5 * RECORD};
    struct unanswered un;
    (void)state;
    unanswered_open(&un, 2, OUT_FOR_GOOD, NULL);
    proxy_play(un.bed.proxies[0], &stopped);
    unanswered_arrive(&un, 10, 0);
    unanswered_arrive(&un, 60, 30);
    proxy_close(un.bed.proxies[0]);
    unanswered_arrive(&un, 60, 30);
    assert_int_equal(ejections_of(&un, 0), 1); /* it refuses now */
    unanswered_close(&un, 30, 30);
}

/* It stays stopped until the window is full: net.io_timeout ends the write, and the payload goes to
 * the other node. What the buffers of health.max_fails connections took is lost, in whole
 * payloads. */
static void window_full_without_answers(void **state)
{
    enum { SEND_BUFFER = 8192, BUFFERS = 2 * SEND_BUFFER + 16384, LARGE = 128, MOST = 200 };
    static const struct testbed_node nodes[2] = {{.narrow = 1, .keys = "net.io_timeout 300ms"}};
    static const struct script stopped = {.fault = FAULT_STALL, .direction = TO_RECEIVER};
    struct unanswered un;
    size_t i, taken, connections;
    (void)state;
    unanswered_open(&un, 2, OUT_FOR_GOOD, nodes);
    un.send_buffer = SEND_BUFFER;
    proxy_play(un.bed.proxies[0], &stopped);
    for (i = 0; ejections_of(&un, 0) == 0 && i < MOST; i++) {
        assert_status(unanswered_write(&un, LARGE, NULL), UPSTREAM_OK);
    }
    assert_int_equal(ejections_of(&un, 0), 1);
    taken = (size_t)testbed_stats(&un.bed, 0).deliveries;
    connections = proxy_accepted(un.bed.proxies[0]);
    print_message("%zu payloads of 1 KiB on %zu connections\n", taken, connections);
    assert_in_range(connections, 1, MAX_FAILS);
    assert_in_range(taken * LARGE * RECORD, 1, connections * BUFFERS);
    assert_status(unanswered_write(&un, LARGE, NULL), UPSTREAM_OK);
    unanswered_close(&un, taken * LARGE, taken * LARGE);
}

/* A receiver that reads, but slowly, loses nothing. */
static void slow_reader_without_answers(void **state)
{
    enum { LARGE = 16384 };
    static const struct testbed_node nodes[2] = {{.narrow = 1}, {.narrow = 1}};
    static const struct script slow = {.piece = 4096, .pause_us = 1000};
    struct unanswered un;
    size_t i;
    (void)state;
    unanswered_open(&un, 2, "net.io_timeout 10s\nhealth.max_fails 1\n", nodes);
    proxy_play(un.bed.proxies[0], &slow);
    proxy_play(un.bed.proxies[1], &slow);
    for (i = 0; i < 4; i++) {
        assert_status(unanswered_write(&un, LARGE, NULL), UPSTREAM_OK);
    }
    unanswered_settle(&un, 0);
    assert_int_equal(testbed_stats(&un.bed, 0).deliveries, 2);
    assert_int_equal(testbed_stats(&un.bed, 1).deliveries, 2);
    unanswered_close(&un, 0, 0);
}

/* A node dies with a connection in the pool after everything has arrived: nothing is lost, and the
 * others take its share. */
static void one_of_n_down_without_answers(void **state)
{
    struct unanswered un;
    size_t i;
    (void)state;
    unanswered_open(&un, 5, OUT_FOR_GOOD, NULL);
    unanswered_arrive(&un, 50, 0);
    proxy_close(un.bed.proxies[2]);
    unanswered_arrive(&un, 5, 0);
    assert_int_equal(state_of(&un, 2), UPSTREAM_NODE_EJECTED);
    unanswered_arrive(&un, 40, 0);
    for (i = 0; i < 5; i++) {
        assert_int_equal(ejections_of(&un, i), i == 2);
        assert_in_range(testbed_stats(&un.bed, i).deliveries, i == 2 ? 10 : 20, i == 2 ? 10 : 22);
    }
    unanswered_close(&un, 0, 0);
}

/* With all nodes down nothing is booked and nothing is written. Each node in turn is the one that
 * comes back. */
static void all_down_then_one_back_without_answers(void **state)
{
    struct unanswered un;
    size_t i, back;
    (void)state;
    unanswered_open(&un, 3, OUT_FOR_GOOD, NULL);
    unanswered_arrive(&un, 21, 0);
    for (back = 0; back < 3; back++) {
        for (i = 0; i < 3; i++) {
            proxy_close(un.bed.proxies[i]);
        }
        for (i = 0; i < 10; i++) {
            assert_status(unanswered_write(&un, 1, NULL), UPSTREAM_ERR_CONNECT);
        }
        proxy_open(un.bed.proxies[back]);
        unanswered_arrive(&un, 20, 0);
        assert_int_equal(state_of(&un, back), UPSTREAM_NODE_UP);
    }
    assert_int_equal(unanswered_came(&un, 21), 0);
    unanswered_close(&un, 0, 0);
}

/* A node goes down and comes back again and again, each time after everything has arrived. The
 * library sees that its pooled connections are dead. */
static void flapping_without_answers(void **state)
{
    enum { FLAPS = 8 };
    struct unanswered un;
    size_t i, turn;
    (void)state;
    unanswered_open(&un, 3, OUT_FOR_SHORT, NULL);
    for (i = 0; i < FLAPS; i++) {
        proxy_close(un.bed.proxies[0]);
        unanswered_arrive(&un, 12, 0);
        assert_true(state_of(&un, 0) != UPSTREAM_NODE_UP);
        proxy_open(un.bed.proxies[0]);
        for (turn = 0; state_of(&un, 0) != UPSTREAM_NODE_UP && turn < 5000; turn++) {
            unanswered_arrive(&un, 1, 0);
            usleep(5000);
        }
        assert_int_equal(state_of(&un, 0), UPSTREAM_NODE_UP);
        unanswered_arrive(&un, 12, 0);
    }
    assert_in_range(ejections_of(&un, 0), FLAPS, 1000000);
    assert_int_equal(ejections_of(&un, 1) + ejections_of(&un, 2), 0);
    unanswered_close(&un, 0, 0);
}

struct load {
    struct unanswered un;
    atomic_int going;
    atomic_size_t kills, failed;
    unsigned pause_us;
};

/* Each thread has one payload on its way: it waits for it, or until a node was killed. */
static void *write_on(void *ctx)
{
    struct load *load = ctx;
    while (atomic_load(&load->going)) {
        size_t kills = atomic_load(&load->kills);
        uint64_t record;
        atomic_fetch_add(&load->failed, unanswered_write(&load->un, 1, &record) != UPSTREAM_OK);
        do {
            usleep(load->pause_us);
        } while (!unanswered_came(&load->un, record) && atomic_load(&load->kills) == kills);
    }
    return NULL;
}

/* Each node in turn is killed with all its connections, is missed, and comes back. Only what was
 * under way is lost: at most one payload for each thread and kill. */
static void nodes_die_under_load(size_t nodes, size_t rounds, size_t count)
{
    pthread_t threads[64];
    struct load load;
    size_t i, turn;
    memset(&load, 0, sizeof(load));
    unanswered_open(&load.un, nodes, OUT_FOR_SHORT, NULL);
    load.pause_us = (unsigned)count * 100;
    atomic_store(&load.going, 1);
    for (i = 0; i < count; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, write_on, &load), 0);
    }
    for (turn = 0; turn < rounds * nodes; turn++) {
        size_t node = turn % nodes;
        uint64_t ejections = ejections_of(&load.un, node);
        proxy_close(load.un.bed.proxies[node]);
        atomic_fetch_add(&load.kills, 1);
        while (ejections_of(&load.un, node) == ejections) {
            usleep(1000); /* the time limit of the test ends it, should nobody ever notice */
        }
        proxy_open(load.un.bed.proxies[node]);
        testbed_wait_state(&load.un.bed, node, UPSTREAM_NODE_UP);
    }
    atomic_store(&load.going, 0);
    for (i = 0; i < count; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(load.failed, 0);
    unanswered_close(&load.un, 0, count * rounds * nodes);
}

static void rolling_restart_without_answers(void **state)
{
    (void)state;
    nodes_die_under_load(4, 2, 4);
}

static void threads_64_without_answers(void **state)
{
    (void)state;
    nodes_die_under_load(5, 1, 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused_without_answers),
        cmocka_unit_test(reset_at_each_byte_without_answers),
        cmocka_unit_test(fin_at_each_byte_without_answers),
        cmocka_unit_test(half_close_at_each_byte_without_answers),
        cmocka_unit_test(a_large_payload_is_cut_without_answers),
        cmocka_unit_test(fin_on_an_idle_connection_without_answers),
        cmocka_unit_test(reset_on_an_idle_connection_without_answers),
        cmocka_unit_test(close_at_reuse_without_answers),
        cmocka_unit_test(close_at_a_limit_of_uses_without_answers),
        cmocka_unit_test(stopped_and_gone_on_without_answers),
        cmocka_unit_test(stopped_and_killed_without_answers),
        cmocka_unit_test(window_full_without_answers),
        cmocka_unit_test(slow_reader_without_answers),
        cmocka_unit_test(one_of_n_down_without_answers),
        cmocka_unit_test(all_down_then_one_back_without_answers),
        cmocka_unit_test(flapping_without_answers),
        cmocka_unit_test(rolling_restart_without_answers),
        cmocka_unit_test(threads_64_without_answers),
    };
    return check_run_tests(tests, NULL, NULL);
}
