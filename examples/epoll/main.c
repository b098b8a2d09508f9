/*
 * upstream-epoll: very many connections through the library, served by one thread with epoll. If
 * your agent has an event loop, take client.c and loop.c as a model; this file is only a command
 * line to run them.
 */
#include "fleet.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { EXIT_ACKNOWLEDGED = 0, EXIT_NOT_ACKNOWLEDGED = 1, EXIT_USAGE = 2 };

/* The soft limit is low for the sake of programs that use select(); epoll takes any number. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        /* If this fails, the call that lacks a descriptor will say so. */
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static bool read_number(const char *text, uint64_t most, uint64_t *number)
{
    char *end;

    errno = 0;
    *number = strtoull(text, &end, 10);
    return errno == 0 && *text >= '0' && *text <= '9' && *end == '\0' && *number >= 1 &&
           *number <= most;
}

static bool serve(fleet *f)
{
    bool good;

    f->clients = calloc(f->size, sizeof *f->clients);
    if (f->clients == NULL || !loop_open(f)) {
        fprintf(stderr, "upstream-epoll: %s\n", strerror(errno));
        return false;
    }
    for (size_t i = 0; i < f->size; i++) {
        client_start(&f->clients[i], f, i);
    }
    good = loop_run(f);
    if (!good) {
        fprintf(stderr, "upstream-epoll: epoll: %s\n", strerror(errno));
    }
    for (size_t i = 0; i < f->size; i++) {
        client_end(&f->clients[i]);
    }
    return good;
}

static void report(const fleet *f)
{
    upstream_stats_t stats = UPSTREAM_STATS_INIT;

    if (upstream_stats(f->up, &stats) == UPSTREAM_OK) {
        printf("%" PRIu64 " connections made, %" PRIu64 " failed\n", stats.connects,
               stats.connects_failed);
    }
    printf("%" PRIu64 " records acknowledged, %" PRIu64 " failed\n", f->acknowledged, f->failed);
}

int main(int argc, char **argv)
{
    fleet f;
    upstream_error_t *err = NULL;
    uint64_t clients, each;
    bool good;

    memset(&f, 0, sizeof f);
    f.epoll = -1;
    if (argc != 4 || !read_number(argv[2], 1000000, &clients) ||
        !read_number(argv[3], 1000000, &each)) {
        fprintf(stderr, "usage: upstream-epoll UPSTREAM-FILE CONNECTIONS RECORDS-ON-EACH\n");
        return EXIT_USAGE;
    }
    f.size = (size_t)clients;
    f.records = clients * each;
    raise_descriptor_limit();
    if (upstream_create(argv[1], NULL, &f.up, &err) != UPSTREAM_OK) {
        fprintf(stderr, "upstream-epoll: %s\n",
                err == NULL ? "no memory" : upstream_error_message(err));
        upstream_error_free(err);
        return EXIT_USAGE;
    }
    f.resend = upstream_node_get_prop_bool(upstream_node_at(f.up, 0), "deliver.resend", 1) != 0;
    good = serve(&f);
    report(&f);
    good = fflush(stdout) == 0 && good && f.acknowledged == f.records;
    upstream_destroy(f.up);
    loop_close(&f);
    free(f.clients);
    return good ? EXIT_ACKNOWLEDGED : EXIT_NOT_ACKNOWLEDGED;
}
