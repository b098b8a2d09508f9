/* Loading a file of many nodes: time and memory for each, and whether both grow no faster than the
 * nodes. */
#define _GNU_SOURCE
#include "support/bench.h"

#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double MOST_MICROSECONDS = 1, MOST_BYTES = 1024;

static char *text_of(size_t nodes, size_t *length)
{
    char *text = NULL;
    size_t i;
    FILE *out = open_memstream(&text, length);
    bench_system(out != NULL, "open_memstream");
    fprintf(out, "[UPSTREAM]\n    name bench\n");
    for (i = 0; i < nodes; i++) {
        fprintf(out,
                "[NODE]\n    name       node-%zu\n    host       127.0.0.1\n"
                "    port       %zu\n    shared_key secret\n",
                i, i % 65000 + 1);
    }
    fclose(out);
    return text;
}

struct load {
    double create, destroy; /* microseconds a node */
    double bytes;           /* a node */
};

static size_t in_use(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* The best of several: whatever else the machine does only adds time. */
static struct load load(size_t nodes, int from_file)
{
    size_t length = 0;
    char *text = text_of(nodes, &length), path[] = "/tmp/upstream-bench-XXXXXX";
    struct load best = {1e9, 1e9, 0};
    int turns = nodes >= 10000 ? 5 : 20, i, file = mkstemp(path);
    bench_system(file >= 0 && write(file, text, length) == (ssize_t)length, path);
    for (i = 0; i < turns; i++) {
        upstream_t *up = NULL;
        upstream_error_t *err = NULL;
        upstream_status_t status;
        size_t before = in_use();
        double begun = bench_now(), made, full, ended;
        status = from_file ? upstream_create(path, NULL, &up, &err)
                           : upstream_create_from_text(text, length, "bench.conf", NULL, &up, &err);
        made = bench_now();
        bench_ok(status, err, "upstream_create");
        best.bytes = (double)(in_use() - before) / (double)nodes;
        full = bench_now();
        upstream_destroy(up);
        ended = bench_now();
        best.create = fmin(best.create, (made - begun) / 1e3 / (double)nodes);
        best.destroy = fmin(best.destroy, (ended - full) / 1e3 / (double)nodes);
    }
    close(file);
    unlink(path);
    free(text);
    return best;
}

int main(void)
{
    static const size_t sizes[] = {100, 1000, 10000, 100000};
    double thousand = 0;
    size_t i;
    for (i = 0; i < 4; i++) {
        char what[64];
        struct bench_row row = {.suite = "load", .what = what, .who = "libupstream"};
        struct load text = load(sizes[i], 0), file = load(sizes[i], 1);
        thousand = sizes[i] == 1000 ? text.create : thousand;
        snprintf(what, sizeof(what), "%zu nodes", sizes[i]);
        row.unit = "us/node, from memory";
        row.value = text.create;
        row.most = MOST_MICROSECONDS;
        if (sizes[i] == 100) {
            row.most = 0;
            row.note = "a thread for the load is part of it";
        }
        bench_print(&row);
        row.unit = "us/node, from a file";
        row.value = file.create;
        bench_print(&row);
        row.note = NULL;
        row.unit = "us/node, to destroy";
        row.value = text.destroy;
        row.most = 0;
        bench_print(&row);
        row.unit = "bytes/node";
        row.value = text.bytes;
        row.most = MOST_BYTES;
        row.note = "heap in use as glibc counts it";
        bench_print(&row);
        if (sizes[i] == 100000) {
            struct bench_row growth = {.suite = "load",
                                       .what = "100000 nodes beside 1000",
                                       .who = "libupstream",
                                       .unit = "times as long for each",
                                       .value = text.create / thousand,
                                       .most = 1.5};
            bench_print(&growth);
        }
    }
    return 0;
}
