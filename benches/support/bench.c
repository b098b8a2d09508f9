#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double read_clock(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

double bench_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

double bench_thread_cpu(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

double bench_process_cpu(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

static void print_text(const char *key, const char *text)
{
    printf(",\"%s\":\"", key);
    for (; *text != '\0'; text++) {
        printf(*text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    }
    printf("\"");
}

static void print_number(const char *key, double number)
{
    if (number != 0) {
        printf(",\"%s\":%.4g", key, number);
    }
}

void bench_print(const struct bench_row *row)
{
    printf("{\"suite\":\"%s\"", row->suite);
    print_text("case", row->what);
    print_text("who", row->who);
    print_text("unit", row->unit);
    printf(",\"value\":%.6g", row->value);
    print_number("threads", row->threads);
    print_number("floor", row->floor);
    print_number("ratio", row->ratio);
    print_number("most", row->most);
    print_number("least", row->least);
    if (row->is_pick) {
        printf(",\"deviation\":%.6g,\"longest_run\":%llu", row->deviation,
               (unsigned long long)row->longest_run);
    }
    if (row->note != NULL) {
        print_text("note", row->note);
    }
    printf("}\n");
    fflush(stdout);
}

static int by_size(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

double bench_median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), by_size);
    return values[count / 2];
}

struct crew {
    bench_work *work;
    void *context;
    uint64_t count;
    int over;
    pthread_barrier_t gate;
    uintptr_t seen;
};

static void *member(void *argument)
{
    struct crew *crew = argument;
    for (;;) {
        pthread_barrier_wait(&crew->gate);
        if (crew->over) {
            return NULL;
        }
        __atomic_fetch_xor(&crew->seen, crew->work(crew->context, crew->count), __ATOMIC_RELAXED);
        pthread_barrier_wait(&crew->gate);
    }
}

/* Nanoseconds for doing it `count` times on each of the threads. */
static double go(struct crew *crew, int threads, bench_work *work, uint64_t count)
{
    double begun = threads == 0 ? bench_thread_cpu() : bench_now();
    crew->work = work;
    crew->count = count;
    if (threads <= 1) {
        crew->seen ^= work(crew->context, count);
    } else {
        pthread_barrier_wait(&crew->gate);
        pthread_barrier_wait(&crew->gate);
    }
    return (threads == 0 ? bench_thread_cpu() : bench_now()) - begun;
}

/* How many repetitions fill the time. A slow result is measured again: the thread may have lost its
 * processor for a moment. */
static uint64_t fill(struct crew *crew, int threads, bench_work *work, double milliseconds)
{
    uint64_t count = 1;
    double wanted = milliseconds * 1e6;
    for (;;) {
        double took = go(crew, threads, work, count);
        int again;
        for (again = 0; again < 3 && took >= wanted / 4; again++) {
            double next = go(crew, threads, work, count);
            took = next < took ? next : took;
        }
        if (took >= wanted / 4) {
            double exact = (double)count * wanted / took;
            return exact < 1 ? 1 : (uint64_t)exact;
        }
        count *= 4;
    }
}

struct bench_pair bench_compare(bench_work *work, bench_work *floor, void *context, int threads,
                                double milliseconds)
{
    struct crew crew = {.context = context};
    double values[BENCH_ROUNDS], floors[BENCH_ROUNDS], ratios[BENCH_ROUNDS];
    uint64_t count, floor_count;
    double share = threads > 1 ? threads : 1;
    pthread_t others[BENCH_THREADS];
    int i;
    bench_system(threads <= BENCH_THREADS, "so many threads");
    if (threads > 1) {
        bench_system(pthread_barrier_init(&crew.gate, NULL, (unsigned)threads + 1) == 0,
                     "pthread_barrier_init");
        for (i = 0; i < threads; i++) {
            bench_system(pthread_create(&others[i], NULL, member, &crew) == 0, "pthread_create");
        }
    }
    count = fill(&crew, threads, work, milliseconds);
    floor_count = fill(&crew, threads, floor, milliseconds);
    for (i = 0; i < BENCH_ROUNDS; i++) {
        floors[i] = go(&crew, threads, floor, floor_count) / (double)floor_count / share;
        values[i] = go(&crew, threads, work, count) / (double)count / share;
        ratios[i] = values[i] / floors[i];
    }
    if (threads > 1) {
        crew.over = 1;
        pthread_barrier_wait(&crew.gate);
        for (i = 0; i < threads; i++) {
            pthread_join(others[i], NULL);
        }
        pthread_barrier_destroy(&crew.gate);
    }
    return (struct bench_pair){bench_median(values, BENCH_ROUNDS),
                               bench_median(floors, BENCH_ROUNDS),
                               bench_median(ratios, BENCH_ROUNDS)};
}

double bench_time(bench_work *work, void *context, double milliseconds)
{
    struct crew crew = {.context = context};
    double least = 0;
    uint64_t count = fill(&crew, 0, work, milliseconds);
    int i;
    for (i = 0; i < BENCH_ROUNDS; i++) {
        double each = go(&crew, 0, work, count) / (double)count;
        least = i == 0 || each < least ? each : least;
    }
    return least;
}

upstream_t *bench_create(const char *text, size_t length)
{
    upstream_t *up = NULL;
    upstream_error_t *err = NULL;
    upstream_status_t status;
    status = upstream_create_from_text(text, length, "bench.conf", NULL, &up, &err);
    bench_ok(status, err, "upstream_create_from_text");
    return up;
}

static upstream_t *set(uint16_t port, size_t nodes, const char *keys, const char *node_keys)
{
    size_t length = 0, i;
    char *text = NULL;
    upstream_t *up;
    FILE *out = open_memstream(&text, &length);
    bench_system(out != NULL, "open_memstream");
    fprintf(out, "[UPSTREAM]\n    name bench\n%s", keys);
    for (i = 0; i < nodes; i++) {
        fprintf(out, "[NODE]\n    name node-%zu\n    host 127.0.0.1\n    port %d\n", i,
                port != 0 ? port : (int)(i % 65000) + 1);
        fprintf(out, node_keys, (int)(i % 100) + 1);
    }
    fclose(out);
    up = bench_create(text, length);
    free(text);
    return up;
}

upstream_t *bench_set(size_t nodes, const char *keys, const char *node_keys)
{
    return set(0, nodes, keys, node_keys);
}

upstream_t *bench_set_at(uint16_t port, size_t nodes, const char *keys)
{
    return set(port, nodes, keys, "");
}

void bench_ok(upstream_status_t status, upstream_error_t *err, const char *what)
{
    if (status != UPSTREAM_OK) {
        fprintf(stderr, "bench: %s: %s\n", what,
                err != NULL ? upstream_error_message(err) : upstream_status_name(status));
        exit(1);
    }
    upstream_error_free(err);
}

void bench_system(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}
