/* Load: 64 threads deliver over 5 nodes while nodes are killed and started again at random. Nothing
 * is lost, the healthy share evenly at each quiet point, descriptors and memory stay flat. Under
 * valgrind or a sanitizer fewer threads, for a shorter time. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/counter.h"
#include "support/descriptors.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

enum { NODES = 5, MOST_THREADS = 64, MOST_DOWN = 2, WINDOW = 50, RECORDS = 1 << 23 };

static struct {
    upstream_t *up;
    struct ledger *ledger;
    struct counter *counters[NODES];
    size_t threads;
    atomic_int storming;  /* senders go on */
    atomic_size_t next;   /* record */
    atomic_size_t failed; /* deliveries */
    atomic_size_t unseen; /* acknowledged by a node that has not marked them */
    atomic_long slowest;  /* microseconds */
    pthread_mutex_t words;
    char word[2048]; /* of the first failure */
} load = {.words = PTHREAD_MUTEX_INITIALIZER};

static long microseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static upstream_status_t send_record(upstream_conn_t *conn, void *ctx)
{
    uint64_t answer = 0;
    upstream_status_t status = upstream_conn_write(conn, ctx, 8);
    if (status == UPSTREAM_OK) {
        status = upstream_conn_read_exact(conn, &answer, 8);
    }
    if (status == UPSTREAM_OK && answer != *(uint64_t *)ctx) {
        status = UPSTREAM_ERR_PROTOCOL;
    }
    return status;
}

static void deliver_one(void)
{
    uint64_t record = atomic_fetch_add(&load.next, 1);
    upstream_error_t *err = NULL;
    long begun = microseconds(), took, slowest = atomic_load(&load.slowest);
    if (record >= RECORDS) {
        return;
    }
    if (upstream_deliver(load.up, send_record, &record, 0, &err) != UPSTREAM_OK) {
        pthread_mutex_lock(&load.words);
        if (atomic_fetch_add(&load.failed, 1) == 0) {
            snprintf(load.word, sizeof(load.word), "%s", upstream_error_message(err));
        }
        pthread_mutex_unlock(&load.words);
        upstream_error_free(err);
        return;
    }
    if (ledger_times(load.ledger, record) == 0) {
        atomic_fetch_add(&load.unseen, 1);
    }
    took = microseconds() - begun;
    while (took > slowest && !atomic_compare_exchange_weak(&load.slowest, &slowest, took)) {
    }
}

static void *storm(void *argument)
{
    (void)argument;
    while (atomic_load(&load.storming)) {
        deliver_one();
        usleep(1000);
    }
    return NULL;
}

static void *window(void *argument)
{
    int i;
    (void)argument;
    for (i = 0; i < WINDOW; i++) {
        deliver_one();
    }
    return NULL;
}

static void start(pthread_t *threads, void *(*body)(void *))
{
    size_t i;
    for (i = 0; i < load.threads; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, body, NULL), 0);
    }
}

static void join(pthread_t *threads)
{
    size_t i;
    for (i = 0; i < load.threads; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
}

static size_t resident_kib(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    size_t all, resident;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%zu %zu", &all, &resident), 2);
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

static uint64_t picks_of(size_t place)
{
    return check_node_stats(upstream_node_at(load.up, place)).picks;
}

/* All nodes are up, and the senders rest. The shares of the nodes must then differ by at most one
 * pick. */
static void quiet_point(void)
{
    pthread_t threads[MOST_THREADS];
    uint64_t picks[NODES], least = UINT64_MAX, most = 0;
    upstream_stats_t stats;
    size_t i, turns;
    for (turns = 0; turns < 60000; turns++) {
        stats = check_stats(load.up);
        if (stats.nodes_up == NODES) {
            break;
        }
        deliver_one();
        usleep(1000);
    }
    assert_int_equal(stats.nodes_up, NODES);
    for (i = 0; i < NODES; i++) {
        picks[i] = picks_of(i);
    }
    start(threads, window);
    join(threads);
    for (i = 0; i < NODES; i++) {
        picks[i] = picks_of(i) - picks[i];
        least = picks[i] < least ? picks[i] : least;
        most = picks[i] > most ? picks[i] : most;
    }
    assert_in_range(most - least, 0, 1);
    assert_int_equal(picks[0] + picks[1] + picks[2] + picks[3] + picks[4], load.threads * WINDOW);
}

/* Kills and revives at random for `seconds`, with at most MOST_DOWN nodes down at once. All are up
 * at the end. */
static void havoc(unsigned *seed, long seconds)
{
    int up[NODES] = {1, 1, 1, 1, 1}, down = 0;
    long end = microseconds() + seconds * 1000000;
    size_t i;
    while (microseconds() < end) {
        i = (size_t)rand_r(seed) % NODES;
        if (up[i] && down < MOST_DOWN) {
            counter_kill(load.counters[i]);
            up[i] = 0;
            down++;
        } else if (!up[i]) {
            counter_revive(load.counters[i]);
            up[i] = 1;
            down--;
        }
        usleep(20000 + (unsigned)rand_r(seed) % 180000);
    }
    for (i = 0; i < NODES; i++) {
        if (!up[i]) {
            counter_revive(load.counters[i]);
        }
    }
}

static void nothing_is_lost_while_nodes_come_and_go(void **state)
{
    int slow = check_slow();
    long rounds = slow ? 2 : 6, seconds = slow ? 3 : 10, round;
    unsigned seed = 20240;
    uint16_t ports[NODES];
    pthread_t threads[MOST_THREADS];
    upstream_stats_t stats;
    size_t before = descriptors_open(), flat = 0, first_kib = 0, kib = 0, i, twice = 0, sent;
    (void)state;
    load.threads = slow ? 8 : MOST_THREADS;
    load.ledger = ledger_create(RECORDS);
    for (i = 0; i < NODES; i++) {
        load.counters[i] = counter_start(load.ledger);
        ports[i] = counter_port(load.counters[i]);
    }
    load.up = check_nodes(ports, NODES, "health.backoff 100ms\nhealth.backoff_max 500ms");
    quiet_point();
    flat = descriptors_open();
    for (round = 0; round < rounds; round++) {
        atomic_store(&load.storming, 1);
        start(threads, storm);
        havoc(&seed, seconds);
        atomic_store(&load.storming, 0);
        join(threads);
        quiet_point();
        kib = resident_kib();
        first_kib = round == 0 ? kib : first_kib;
        /* Two for each connection, one at either end; a node's pool holds no more than there are
         * threads. */
        assert_in_range(descriptors_open(), before, flat + 2 * NODES * load.threads);
    }
    sent = atomic_load(&load.next);
    assert_in_range(sent, 1, RECORDS);
    if (atomic_load(&load.failed) > 0) {
        fail_msg("%zu of %zu deliveries failed; the first: %s", atomic_load(&load.failed), sent,
                 load.word);
    }
    assert_int_equal(atomic_load(&load.unseen), 0);
    for (i = 0; i < sent; i++) {
        assert_true(ledger_times(load.ledger, i) > 0);
        twice += ledger_times(load.ledger, i) > 1;
    }
    stats = check_stats(load.up);
    assert_true(stats.ejections > 0);
    print_message("%zu records, none lost, %zu came more than once; %llu redeliveries, %llu "
                  "ejections; slowest delivery %ld ms; resident %zu KiB, then %zu KiB\n",
                  sent, twice, (unsigned long long)stats.redeliveries,
                  (unsigned long long)stats.ejections, atomic_load(&load.slowest) / 1000, first_kib,
                  kib);
    if (!check_sanitized("thread")) { /* which keeps what it knows of each address */
        assert_in_range(kib, 0, first_kib + 8192);
    }
    upstream_destroy(load.up);
    for (i = 0; i < NODES; i++) {
        counter_stop(load.counters[i]);
    }
    assert_int_equal(descriptors_open(), before);
    ledger_free(load.ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_while_nodes_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
