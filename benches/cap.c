/* Threads at net.max_connections. What a use costs with many of them at the cap, beside two; and
 * what a slow node at its cap takes from those that are quick. */
#define _GNU_SOURCE
#include "bench.h"
#include "peer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MOST_THREADS = 256, USES = 20000, ROUNDS = 5 };

static const char keys[] = "    net.keepalive_max_recycle 0\n    net.keepalive_idle_timeout 1h\n"
                           "    net.connect_timeout 60s\n    net.max_connections 1\n";

static upstream_t *up;
static atomic_size_t left;

/* Takes uses until none is left. */
static void *use(void *unused)
{
    (void)unused;
    while (atomic_fetch_sub(&left, 1) - 1 < USES) {
        upstream_conn_t *conn = NULL;
        upstream_error_t *err = NULL;
        upstream_status_t status = upstream_connect(up, &conn, &err);
        bench_ok(status, err, "upstream_connect");
        upstream_conn_release(conn);
    }
    return unused;
}

static double on_threads(size_t threads, size_t count, void *(*work)(void *))
{
    pthread_t ids[MOST_THREADS];
    double begun;
    size_t i;
    atomic_store(&left, count);
    begun = bench_now();
    for (i = 0; i < threads; i++) {
        bench_system(pthread_create(&ids[i], NULL, work, NULL) == 0, "pthread_create");
    }
    for (i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
    }
    return (bench_now() - begun) / (double)count;
}

static void many_threads(struct peer *peer)
{
    double many[ROUNDS], few[ROUNDS], ratios[ROUNDS];
    size_t i;
    up = bench_set_at(peer->port, 1, keys);
    for (i = 0; i < ROUNDS; i++) {
        few[i] = on_threads(2, USES, use);
        many[i] = on_threads(MOST_THREADS, USES, use);
        ratios[i] = many[i] / few[i];
    }
    upstream_destroy(up);
    bench_print(&(struct bench_row){.suite = "cap",
                                    .what = "take and release at a cap of 1",
                                    .who = "libupstream",
                                    .unit = "ns",
                                    .threads = MOST_THREADS,
                                    .value = bench_median(many, ROUNDS),
                                    .floor = bench_median(few, ROUNDS),
                                    .ratio = bench_median(ratios, ROUNDS),
                                    .most = 3,
                                    .note = "floor: the same with 2 threads"});
}

/* So many that the end, where the last payload may be at the slow node, hardly counts. */
enum { SENDERS = 16, QUICK_MS = 2, SLOW_MS = 200, PAYLOADS = 4000 };

static upstream_node_t *slow; /* NULL: none is */

static upstream_status_t answer(upstream_conn_t *conn, void *unused)
{
    long ms = upstream_conn_node(conn) == slow ? SLOW_MS : QUICK_MS;
    struct timespec time = {0, ms * 1000 * 1000};
    (void)unused;
    nanosleep(&time, NULL);
    return UPSTREAM_OK;
}

static void *deliver(void *unused)
{
    while (atomic_fetch_sub(&left, 1) - 1 < PAYLOADS) {
        upstream_error_t *err = NULL;
        upstream_status_t status = upstream_deliver(up, answer, NULL, 0, &err);
        bench_ok(status, err, "upstream_deliver");
    }
    return unused;
}

static double deliveries(struct peer *peer, size_t nodes, int has_slow)
{
    double each;
    up = bench_set_at(peer->port, nodes, keys);
    slow = has_slow ? upstream_node_at(up, 0) : NULL;
    each = on_threads(SENDERS, PAYLOADS, deliver);
    upstream_destroy(up);
    return 1e9 / each;
}

static void a_slow_node(struct peer *peer)
{
    double with[ROUNDS], without[ROUNDS], ratios[ROUNDS];
    size_t i;
    for (i = 0; i < ROUNDS; i++) {
        without[i] = deliveries(peer, 2, 0);
        with[i] = deliveries(peer, 3, 1);
        ratios[i] = with[i] / without[i];
    }
    bench_print(
        &(struct bench_row){.suite = "cap",
                            .what = "three nodes at a cap of 1, one of them 100 times slower",
                            .who = "libupstream",
                            .unit = "deliveries/s",
                            .threads = SENDERS,
                            .value = bench_median(with, ROUNDS),
                            .floor = bench_median(without, ROUNDS),
                            .ratio = bench_median(ratios, ROUNDS),
                            .least = 0.9,
                            .note = "floor: the two quick nodes alone"});
}

int main(void)
{
    struct peer peer = peer_start(0);
    many_threads(&peer);
    a_slow_node(&peer);
    peer_end(&peer);
    return 0;
}
