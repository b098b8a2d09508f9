/* What a pick costs, compared with one raw increment of a shared word: a strict order over all
 * threads cannot cost less. A separate run counts how evenly the nodes were picked, so that a fast
 * but wrong pick cannot win. */
#define _GNU_SOURCE
#include "support/bench.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PICKS = 300000, MILLISECONDS = 8 };
#define STAY_OUT "    health.backoff 1h\n    health.backoff_max 1h\n"
static const double MOST = 1.5;

static _Alignas(128) atomic_ulong word;

static uintptr_t pick(void *up, uint64_t count)
{
    uintptr_t seen = 0;
    while (count-- > 0) {
        seen ^= (uintptr_t)upstream_next_node(up);
    }
    return seen;
}

static uintptr_t increment(void *up, uint64_t count)
{
    uintptr_t seen = 0;
    (void)up;
    while (count-- > 0) {
        seen ^= atomic_fetch_add(&word, 1);
    }
    return seen;
}

/* The plain way: take the increment's result modulo the number of turns, and look it up in one
 * table. */
static struct {
    uint64_t length, reciprocal;
    void *nodes[3];
} order = {3, UINT64_MAX / 3 + 1, {&order.nodes[0], &order.nodes[1], &order.nodes[2]}};

__attribute__((noinline)) static uintptr_t pick_by_remainder(void)
{
    uint64_t turn = atomic_fetch_add(&word, 1);
    uint64_t fraction = order.reciprocal * (uint32_t)turn;
    __extension__ typedef unsigned __int128 wide;
    return (uintptr_t)order.nodes[(uint64_t)(((wide)fraction * order.length) >> 64)];
}

static uintptr_t plain_order(void *unused, uint64_t count)
{
    uintptr_t seen = 0;
    (void)unused;
    while (count-- > 0) {
        seen ^= pick_by_remainder();
    }
    return seen;
}

static void measure_plain_order(int threads)
{
    struct bench_pair pair = bench_compare(plain_order, increment, NULL, threads, MILLISECONDS);
    bench_print(&(struct bench_row){.suite = "pick",
                                    .what = "3 nodes",
                                    .who = "model: increment, remainder, table",
                                    .unit = "ns/pick",
                                    .threads = threads,
                                    .value = pair.value,
                                    .floor = pair.floor,
                                    .ratio = pair.ratio,
                                    .note = "no change of the set, no check of any kind"});
}

struct member {
    uintptr_t node;
    size_t place;
};

static int by_node(const void *a, const void *b)
{
    const struct member *left = a, *right = b;
    return (left->node > right->node) - (left->node < right->node);
}

struct tally {
    upstream_t *up;
    const struct member *members;
    size_t nodes;
    pthread_barrier_t *gate;
    uint64_t *of;
    uint64_t longest;
};

static void *tally_picks(void *argument)
{
    struct tally *tally = argument;
    uintptr_t last = 0;
    uint64_t run = 0;
    int i;
    pthread_barrier_wait(tally->gate);
    for (i = 0; i < PICKS; i++) {
        struct member key = {(uintptr_t)upstream_next_node(tally->up), 0};
        const struct member *found =
            bsearch(&key, tally->members, tally->nodes, sizeof(key), by_node);
        tally->of[found->place]++;
        run = key.node == last ? run + 1 : 1;
        last = key.node;
        tally->longest = run > tally->longest ? run : tally->longest;
    }
    return NULL;
}

/* The largest difference between how often a node was handed out and its due, over all threads; and
 * the longest run of one node in the picks of one thread. `weight` gives the share that is due: 0
 * for a node that is out. */
static void count_shares(struct bench_row *row, upstream_t *up, size_t nodes, int threads,
                         double (*weight)(size_t))
{
    struct member *members = calloc(nodes, sizeof(*members));
    struct tally *tallies = calloc((size_t)threads, sizeof(*tallies));
    pthread_t pickers[BENCH_THREADS];
    pthread_barrier_t gate;
    double all = 0;
    size_t i;
    int t;
    bench_system(members != NULL && tallies != NULL, "calloc");
    for (i = 0; i < nodes; i++) {
        members[i] = (struct member){(uintptr_t)upstream_node_at(up, i), i};
        all += weight(i);
    }
    qsort(members, nodes, sizeof(*members), by_node);
    pthread_barrier_init(&gate, NULL, (unsigned)threads);
    for (t = 0; t < threads; t++) {
        tallies[t] = (struct tally){up, members, nodes, &gate, calloc(nodes, sizeof(uint64_t)), 0};
        bench_system(pthread_create(&pickers[t], NULL, tally_picks, &tallies[t]) == 0,
                     "pthread_create");
    }
    for (t = 0; t < threads; t++) {
        pthread_join(pickers[t], NULL);
        row->longest_run =
            tallies[t].longest > row->longest_run ? tallies[t].longest : row->longest_run;
    }
    for (i = 0; i < nodes; i++) {
        double had = 0, astray;
        for (t = 0; t < threads; t++) {
            had += (double)tallies[t].of[i];
        }
        astray = had - weight(i) * PICKS * threads / all;
        astray = astray < 0 ? -astray : astray;
        row->deviation = astray > row->deviation ? astray : row->deviation;
    }
    for (t = 0; t < threads; t++) {
        free(tallies[t].of);
    }
    pthread_barrier_destroy(&gate);
    free(tallies);
    free(members);
}

static double alike(size_t place)
{
    (void)place;
    return 1;
}

static double odd_ones(size_t place)
{
    return place % 2 == 1 ? 1 : 0;
}

static double by_place(size_t place)
{
    return (double)(place % 5 + 1);
}

static void measure(upstream_t *up, size_t nodes, const char *what, int threads,
                    double (*weight)(size_t))
{
    char text[64];
    struct bench_pair pair = bench_compare(pick, increment, up, threads, MILLISECONDS);
    struct bench_row row = {.suite = "pick",
                            .what = text,
                            .who = "libupstream",
                            .unit = "ns/pick",
                            .threads = threads,
                            .value = pair.value,
                            .floor = pair.floor,
                            .ratio = pair.ratio,
                            .most = threads <= 2 ? MOST : 0,
                            .is_pick = weight != NULL};
    snprintf(text, sizeof(text), "%zu nodes%s%s", nodes, *what != '\0' ? ", " : "", what);
    if (weight != NULL) {
        count_shares(&row, up, nodes, threads, weight);
    } else {
        row.note = "the order changes each millisecond, so there is no due to count by";
    }
    bench_print(&row);
}

/* A set in which the nodes at even places are out, for longer than this program runs. */
static upstream_t *half_out(size_t nodes)
{
    upstream_t *up = bench_set(nodes, STAY_OUT, "");
    size_t i;
    for (i = 0; i < nodes; i += 2) {
        bench_ok(upstream_node_report(upstream_node_at(up, i), UPSTREAM_ERR_CONNECT), NULL,
                 "upstream_node_report");
    }
    return up;
}

/* Nodes at places 0 to 4 weigh 1 to 5, and so on. */
static upstream_t *weighted(size_t nodes)
{
    size_t length = 0, i;
    char *text = NULL;
    upstream_t *up;
    FILE *out = open_memstream(&text, &length);
    bench_system(out != NULL, "open_memstream");
    fprintf(out, "[UPSTREAM]\n    name bench\n");
    for (i = 0; i < nodes; i++) {
        fprintf(out, "[NODE]\n    name n%zu\n    host 127.0.0.1\n    port 1\n    weight %d\n", i,
                (int)by_place(i));
    }
    fclose(out);
    up = bench_create(text, length);
    free(text);
    return up;
}

static atomic_int over;

/* One node falls out and is back, each in turn, every millisecond. */
static void *flap(void *up)
{
    upstream_node_t *node = upstream_node_at(up, 1);
    int out = 0;
    while (!atomic_load(&over)) {
        out = !out;
        upstream_node_report(node, out ? UPSTREAM_ERR_CONNECT : UPSTREAM_OK);
        usleep(1000);
    }
    return NULL;
}

static void measure_flapping(size_t nodes, int threads)
{
    upstream_t *up = bench_set(nodes, "    health.backoff 1ms\n    health.backoff_max 1ms\n", "");
    pthread_t flapper;
    atomic_store(&over, 0);
    bench_system(pthread_create(&flapper, NULL, flap, up) == 0, "pthread_create");
    measure(up, nodes, "one flapping each ms", threads, NULL);
    atomic_store(&over, 1);
    pthread_join(flapper, NULL);
    upstream_destroy(up);
}

int main(void)
{
    static const size_t sizes[] = {3, 16, 100, 1000, 10000};
    static const int threads[] = {1, 2, 4};
    size_t i, t;
    for (t = 0; t < 3; t++) {
        measure_plain_order(threads[t]);
        for (i = 0; i < 5; i++) {
            upstream_t *up = bench_set(sizes[i], "", "");
            measure(up, sizes[i], "", threads[t], alike);
            upstream_destroy(up);
        }
        for (i = 0; i < 5; i += 2) {
            upstream_t *up = half_out(sizes[i] + sizes[i] % 2);
            measure(up, sizes[i] + sizes[i] % 2, "half of them out", threads[t], odd_ones);
            upstream_destroy(up);
        }
        for (i = 0; i < 4; i += 3) {
            upstream_t *up = weighted(sizes[i]);
            measure(up, sizes[i], "of weights 1 to 5", threads[t], by_place);
            upstream_destroy(up);
        }
        measure_flapping(3, threads[t]);
        measure_flapping(1000, threads[t]);
    }
    return 0;
}
