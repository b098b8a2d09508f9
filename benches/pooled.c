/* What a pooled connection costs: to take one and give it back, with few and with very many idle
 * ones. Compared with one recv(MSG_PEEK), the only way to know that a connection is still good.
 * Also: how much heap an idle one holds. */
#define _GNU_SOURCE
#include "bench.h"
#include "peer.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { MANY = 10000, SPARE = 100 };

static const char keys[] = "    net.keepalive_max_recycle 0\n    net.keepalive_idle_timeout 1h\n";

struct room {
    upstream_node_t *node;
    int fd; /* of a bare connection to the same server */
};

static upstream_conn_t *take(upstream_node_t *node)
{
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    upstream_status_t status;
    status = upstream_node_connect(node, &conn, &err);
    bench_ok(status, err, "upstream_node_connect");
    return conn;
}

/* Has `count` connections lie idle. */
static void fill(upstream_node_t *node, size_t count)
{
    upstream_conn_t **conns = calloc(count, sizeof(*conns));
    size_t i;
    bench_system(conns != NULL, "calloc");
    for (i = 0; i < count; i++) {
        conns[i] = take(node);
    }
    for (i = 0; i < count; i++) {
        upstream_conn_release(conns[i]);
    }
    free(conns);
}

static uintptr_t take_and_release(void *context, uint64_t count)
{
    struct room *room = context;
    uint64_t i;
    for (i = 0; i < count; i++) {
        upstream_conn_release(take(room->node));
    }
    return count;
}

static uintptr_t peek(void *context, uint64_t count)
{
    struct room *room = context;
    uintptr_t seen = 0;
    uint64_t i;
    char byte;
    for (i = 0; i < count; i++) {
        seen += (uintptr_t)recv(room->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    }
    return seen;
}

static void measure(struct peer *peer, int fd, size_t idle)
{
    upstream_t *up = bench_set_at(peer->port, 1, keys);
    struct room room = {upstream_node_at(up, 0), fd};
    upstream_stats_t stats = UPSTREAM_STATS_INIT;
    struct bench_pair pair;
    char what[64];
    fill(room.node, idle);
    pair = bench_compare(take_and_release, peek, &room, 1, 20);
    upstream_stats(up, &stats);
    if (stats.connects != idle) {
        fprintf(stderr, "bench: pooled: %llu connections were made where %zu should do\n",
                (unsigned long long)stats.connects, idle);
        exit(1);
    }
    snprintf(what, sizeof(what), "take and release, %zu idle", idle);
    bench_print(&(struct bench_row){.suite = "pooled",
                                    .what = what,
                                    .who = "libupstream",
                                    .unit = "ns",
                                    .threads = 1,
                                    .value = pair.value,
                                    .floor = pair.floor,
                                    .ratio = pair.ratio,
                                    .most = 1.5,
                                    .note = "floor: recv(MSG_PEEK)"});
    upstream_destroy(up);
}

static double heap(void)
{
    struct mallinfo2 info = mallinfo2();
    return (double)(info.uordblks + info.hblkhd);
}

static void measure_memory(struct peer *peer, size_t idle)
{
    enum { FIRST = 16 }; /* the first connections also pay for what the set itself allocates once */
    upstream_t *up = bench_set_at(peer->port, 1, keys);
    upstream_node_t *node = upstream_node_at(up, 0);
    char what[64];
    double before;
    fill(node, FIRST);
    before = heap();
    fill(node, idle);
    snprintf(what, sizeof(what), "heap of an idle connection, of %zu", idle);
    bench_print(&(struct bench_row){.suite = "pooled",
                                    .what = what,
                                    .who = "libupstream",
                                    .unit = "bytes",
                                    .value = (heap() - before) / (double)(idle - FIRST),
                                    .most = 1536});
    upstream_destroy(up);
}

int main(void)
{
    size_t room = peer_descriptors(MANY + SPARE);
    size_t many = room - SPARE;
    struct peer peer;
    int fd;
    bench_system(room > 2 * SPARE, "descriptors");
    peer = peer_start(0);
    fd = peer_dial(peer.port, SOCK_NONBLOCK);
    measure_memory(&peer, many);
    measure(&peer, fd, 1);
    measure(&peer, fd, 10);
    measure(&peer, fd, many);
    peer_end(&peer);
    return 0;
}
