/* What every benchmark does alike: rounds that time two things by turns in one process, and one
 * line of JSON for each figure. */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>
#include <upstream/upstream.h>

enum { BENCH_ROUNDS = 15, BENCH_THREADS = 8 };

/* One figure. What is 0 or NULL is left out of the line, but for `value`. */
struct bench_row {
    const char *suite; /* the table it belongs to */
    const char *what;  /* its line there */
    const char *who;
    const char *unit; /* of `value` and `floor` */
    int threads;
    double value;
    double floor; /* what it is compared with, measured in the same rounds */
    double ratio; /* median over the rounds of value / floor */
    /* the target of the ratio, or of the value where there is no floor: not above it */
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

/* Does a piece of work `count` times. Returns what keeps the compiler from leaving it out. */
typedef uintptr_t bench_work(void *context, uint64_t count);

struct bench_pair {
    double value; /* nanoseconds each, median over the rounds */
    double floor;
    /* median of the rounds' own ratios: what disturbs a round disturbs both of its halves */
    double ratio;
};

/* Times `work` and `floor` by turns, each for about `milliseconds` a round, on so many threads at
 * once. Nanoseconds are wall time by all that was done on all threads. With `threads` 0 it is
 * processor time of the calling thread. */
struct bench_pair bench_compare(bench_work *work, bench_work *floor, void *context, int threads,
                                double milliseconds);

/* How long `work` takes each, without a comparison: processor time of the calling thread in
 * nanoseconds, of the best round. */
double bench_time(bench_work *work, void *context, double milliseconds);

double bench_median(double *values, size_t count);

/* A set of so many nodes on 127.0.0.1; `keys` goes into [UPSTREAM], `node_keys`, a format with one
 * %d, into each node. Ends the program where it cannot be made. */
upstream_t *bench_set(size_t nodes, const char *keys, const char *node_keys);

/* The same with one port for all nodes. */
upstream_t *bench_set_at(uint16_t port, size_t nodes, const char *keys);

/* The set that a text describes. Ends the program where it cannot be made. */
upstream_t *bench_create(const char *text, size_t length);

/* Ends the program with what went wrong where `status` is not UPSTREAM_OK; takes the error. */
void bench_ok(upstream_status_t status, upstream_error_t *err, const char *what);

/* Ends the program with errno's text where `good` is 0. */
void bench_system(int good, const char *what);

#endif
