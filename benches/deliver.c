/* What a delivery costs: the callback of upstream_deliver() writes a payload and reads an answer of
 * one byte. Compared with the same bytes and answers over a bare connected socket. */
#define _GNU_SOURCE
#include "bench.h"
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { MOST_NODES = 3, MILLISECONDS = 20 };

static char data[1 << 20];

struct room {
    upstream_t *up;
    int fd;
    size_t size;
};

static upstream_status_t exchange(upstream_conn_t *conn, void *context)
{
    const struct room *room = context;
    char answer;
    upstream_status_t status = upstream_conn_write(conn, data, room->size);
    return status == UPSTREAM_OK ? upstream_conn_read_exact(conn, &answer, 1) : status;
}

static uintptr_t deliver(void *context, uint64_t count)
{
    struct room *room = context;
    while (count-- > 0) {
        upstream_error_t *err = NULL;
        upstream_status_t status;
        status = upstream_deliver(room->up, exchange, room, 0, &err);
        bench_ok(status, err, "upstream_deliver");
    }
    return 0;
}

static uintptr_t bare(void *context, uint64_t count)
{
    struct room *room = context;
    while (count-- > 0) {
        size_t sent = 0;
        char answer;
        while (sent < room->size) {
            ssize_t now = send(room->fd, data + sent, room->size - sent, MSG_NOSIGNAL);
            bench_system(now > 0, "send");
            sent += (size_t)now;
        }
        bench_system(recv(room->fd, &answer, 1, 0) == 1, "recv");
    }
    return 0;
}

static upstream_t *set_over(const struct peer *peers, size_t nodes)
{
    char text[512] = "[UPSTREAM]\n    name bench\n    net.keepalive_max_recycle 0\n";
    size_t length = strlen(text), i;
    for (i = 0; i < nodes; i++) {
        length += (size_t)snprintf(text + length, sizeof(text) - length,
                                   "[NODE]\n    name n%zu\n    host 127.0.0.1\n"
                                   "    port %u\n",
                                   i, (unsigned)peers[i].port);
    }
    return bench_create(text, length);
}

static void measure(size_t size, size_t nodes)
{
    struct peer peers[MOST_NODES];
    struct room room = {.size = size};
    struct bench_pair pair;
    char what[64];
    size_t i;
    for (i = 0; i < nodes; i++) {
        peers[i] = peer_start(size);
    }
    room.up = set_over(peers, nodes);
    room.fd = peer_dial(peers[0].port, 0);
    pair = bench_compare(deliver, bare, &room, 1, MILLISECONDS);
    snprintf(what, sizeof(what), "%zu KiB over %zu node%s", size >> 10, nodes,
             nodes > 1 ? "s" : "");
    bench_print(&(struct bench_row){.suite = "deliver",
                                    .what = what,
                                    .who = "libupstream",
                                    .unit = "us/payload",
                                    .value = pair.value / 1e3,
                                    .floor = pair.floor / 1e3,
                                    .ratio = pair.ratio});
    upstream_destroy(room.up);
    for (i = 0; i < nodes; i++) {
        peer_end(&peers[i]);
    }
}

int main(void)
{
    static const size_t sizes[] = {1 << 10, 64 << 10, 1 << 20};
    size_t i;
    for (i = 0; i < 3; i++) {
        measure(sizes[i], 1);
        measure(sizes[i], MOST_NODES);
    }
    return 0;
}
