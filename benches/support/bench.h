/* What all benchmarks share: rounds that time two things in turn in one process, and one line of
 * JSON for each figure. */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>
#include <upstream/upstream.h>

enum { BENCH_ROUNDS = 15, BENCH_THREADS = 8 };

/* One figure. A field that is 0 or NULL is left out of the line, except `value`. */
struct bench_row {
    const char *suite; /* the table it belongs to */
    const char *what;  /* its line there */
    const char *who;
    const char *unit; /* of `value` and `floor` */
    int threads;
    double value;
    double floor; /* what it is compared with, measured in the same rounds */
    double ratio; /* median over the rounds of value / floor */
    /* the most that the ratio may be, or the value if there is no floor */
    double most;
    double least; /* the same: not below it */
    int is_pick;  /* deviation and longest_run belong to it */
    double deviation;
    uint64_t longest_run;
    const char *note;
};

/* One line on standard output. */
void bench_print(const struct bench_row *row);

/* Nanoseconds of the monotonic clock; of processor time of this thread; of this process. */
double bench_now(void);
double bench_thread_cpu(void);
double bench_process_cpu(void);

/* Does a piece of work `count` times. The result only keeps the compiler from leaving the work
 * out. */
typedef uintptr_t bench_work(void *context, uint64_t count);

struct bench_pair {
    double value; /* nanoseconds each, median over the rounds */
    double floor;
    /* median of the ratios of the rounds: a disturbance hits both halves of a round */
    double ratio;
};

/* Times `work` and `floor` in turn, each for about `milliseconds` a round, on that many threads at
 * once. Nanoseconds are wall time divided by the work of all threads. With `threads` 0 they are
 * processor time of the calling thread. */
struct bench_pair bench_compare(bench_work *work, bench_work *floor, void *context, int threads,
                                double milliseconds);

/* How long one `work` takes, without a comparison: processor time of the calling thread in
 * nanoseconds, in the best round. */
double bench_time(bench_work *work, void *context, double milliseconds);

double bench_median(double *values, size_t count);

/* A set of that many nodes on 127.0.0.1. `keys` goes into [UPSTREAM]; `node_keys`, a format with
 * one %d, goes into each node. Ends the program if it cannot be made. */
upstream_t *bench_set(size_t nodes, const char *keys, const char *node_keys);

/* The same with one port for all nodes. */
upstream_t *bench_set_at(uint16_t port, size_t nodes, const char *keys);

/* The set that a text describes. Ends the program if it cannot be made. */
upstream_t *bench_create(const char *text, size_t length);

/* If `status` is not UPSTREAM_OK, prints what went wrong and ends the program. Frees the error. */
void bench_ok(upstream_status_t status, upstream_error_t *err, const char *what);

/* Ends the program with errno's text if `good` is 0. */
void bench_system(int good, const char *what);

#endif
