/* What an ejection costs where the weights are uneven, beside one where they are equal; and the
 * memory that a cycle of weights takes. */
#define _GNU_SOURCE
#include "bench.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_WEIGHT = 1000, STEP = 7919, EJECTED = 200, ROUNDS = 5 };

static int weight_of(size_t place)
{
    return (int)(place * STEP % MOST_WEIGHT) + 1;
}

static upstream_t *set_of(size_t nodes, int uneven)
{
    size_t length = 0, i;
    char *text = NULL;
    upstream_t *up;
    FILE *out = open_memstream(&text, &length);
    bench_system(out != NULL, "open_memstream");
    fprintf(out, "[UPSTREAM]\n    name bench\n    health.backoff 1h\n    health.backoff_max 1h\n");
    for (i = 0; i < nodes; i++) {
        fprintf(out, "[NODE]\n    name n%zu\n    host 127.0.0.1\n    port 1\n    weight %d\n", i,
                uneven ? weight_of(i) : 1);
    }
    fclose(out);
    up = bench_create(text, length);
    free(text);
    return up;
}

/* Nanoseconds of one of EJECTED ejections in a row. */
static double ejection(size_t nodes, int uneven)
{
    upstream_t *up = set_of(nodes, uneven);
    double begun = bench_thread_cpu(), each;
    size_t i;
    for (i = 0; i < EJECTED; i++) {
        bench_ok(upstream_node_report(upstream_node_at(up, i), UPSTREAM_ERR_CONNECT), NULL,
                 "upstream_node_report");
    }
    each = (bench_thread_cpu() - begun) / EJECTED;
    upstream_destroy(up);
    return each;
}

/* `most`: the target for the ratio; 0 is none. */
static void measure_ejection(size_t nodes, double most)
{
    double uneven[ROUNDS], even[ROUNDS], ratios[ROUNDS];
    char what[64];
    size_t i;
    for (i = 0; i < ROUNDS; i++) {
        even[i] = ejection(nodes, 0);
        uneven[i] = ejection(nodes, 1);
        ratios[i] = uneven[i] / even[i];
    }
    snprintf(what, sizeof(what), "ejection, %zu nodes of weights 1 to 1000", nodes);
    bench_print(&(struct bench_row){.suite = "eject",
                                    .what = what,
                                    .who = "libupstream",
                                    .unit = "ns",
                                    .threads = 1,
                                    .value = bench_median(uneven, ROUNDS),
                                    .floor = bench_median(even, ROUNDS),
                                    .ratio = bench_median(ratios, ROUNDS),
                                    .most = most,
                                    .note = "floor: the same with equal weights"});
}

static double heap(void)
{
    struct mallinfo2 info = mallinfo2();
    return (double)(info.uordblks + info.hblkhd);
}

static double memory_of(size_t nodes, int uneven)
{
    double before = heap(), taken;
    upstream_t *up = set_of(nodes, uneven);
    taken = heap() - before;
    upstream_destroy(up);
    return taken;
}

static void measure_memory(size_t nodes)
{
    char what[64];
    double even, uneven;
    (void)memory_of(nodes, 1); /* what is allocated once */
    even = memory_of(nodes, 0);
    uneven = memory_of(nodes, 1);
    snprintf(what, sizeof(what), "heap of a cycle of weights for each of %zu nodes", nodes);
    bench_print(&(struct bench_row){.suite = "eject",
                                    .what = what,
                                    .who = "libupstream",
                                    .unit = "bytes",
                                    .value = (uneven - even) / (double)nodes,
                                    .most = 1536});
}

int main(void)
{
    measure_ejection(1000, 10);
    measure_ejection(10000, 0);
    measure_memory(1000);
    measure_memory(10000);
    return 0;
}
