/* What a failed node costs. A node that refuses costs the payload that meets it some time; a node
 * that swallows packets costs attempts. */
#define _GNU_SOURCE
#include "bench.h"
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SETS = 101, PAYLOADS = 300, NODES = 3 };
static const double MOST_MICROSECONDS = 1000, MOST_ATTEMPTS = 1;

static upstream_status_t send_it(upstream_conn_t *conn, void *context)
{
    char answer;
    upstream_status_t status = upstream_conn_write(conn, "x", 1);
    (void)context;
    return status == UPSTREAM_OK ? upstream_conn_read_exact(conn, &answer, 1) : status;
}

static void deliver(upstream_t *up)
{
    upstream_error_t *err = NULL;
    upstream_status_t status;
    status = upstream_deliver(up, send_it, NULL, 0, &err);
    bench_ok(status, err, "upstream_deliver");
}

/* A set of three nodes, of which the second is at `port`. */
static upstream_t *set_with(const struct peer *good, uint16_t port)
{
    char text[512];
    int length = snprintf(text, sizeof(text),
                          "[UPSTREAM]\n    name bench\n    net.connect_timeout 200ms\n"
                          "    health.backoff 1h\n    health.backoff_max 1h\n"
                          "[NODE]\n    name a\n    host 127.0.0.1\n    port %u\n"
                          "[NODE]\n    name b\n    host 127.0.0.1\n    port %u\n"
                          "[NODE]\n    name c\n    host 127.0.0.1\n    port %u\n",
                          (unsigned)good[0].port, (unsigned)port, (unsigned)good[1].port);
    return bench_create(text, (size_t)length);
}

/* The second payload of a set meets the node that refuses and goes to the third; the first went to
 * the first. Both open a connection, so the difference is what the refusal cost. */
static void refusal(const struct peer *good)
{
    double extra[SETS];
    uint16_t port;
    int fd = peer_bind(&port), i;
    for (i = 0; i < SETS; i++) {
        upstream_t *up = set_with(good, port);
        upstream_stats_t stats = UPSTREAM_STATS_INIT;
        double begun = bench_now(), first, second;
        deliver(up);
        first = bench_now() - begun;
        begun = bench_now();
        deliver(up);
        second = bench_now() - begun;
        upstream_node_stats(upstream_node_at(up, 1), &stats);
        bench_system(stats.connects_failed == 1, "one payload met the node that refuses");
        extra[i] = (second - first) / 1e3;
        upstream_destroy(up);
    }
    bench_print(&(struct bench_row){.suite = "failover",
                                    .what = "a payload that meets a node that refuses",
                                    .who = "libupstream",
                                    .unit = "us more",
                                    .value = bench_median(extra, SETS),
                                    .most = MOST_MICROSECONDS,
                                    .note = "median of 101 sets; beside the set's first payload, "
                                            "which the dialer's thread is started by"});
    close(fd);
}

/* A listener whose queue is full: like a filter that drops packets, it answers nothing. */
static int black_hole(uint16_t *port, int *filling, size_t count)
{
    int fd = peer_bind(port);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    size_t i;
    bench_system(listen(fd, 0) == 0, "listen");
    for (i = 0; i < count; i++) {
        filling[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        bench_system(connect(filling[i], (struct sockaddr *)&address, sizeof(address)) == 0 ||
                         errno == EINPROGRESS,
                     "connect");
    }
    return fd;
}

static void swallowed(const struct peer *good)
{
    int filling[8], i;
    uint16_t port;
    int fd = black_hole(&port, filling, 8);
    upstream_t *up = set_with(good, port);
    upstream_stats_t stats = UPSTREAM_STATS_INIT;
    for (i = 0; i < PAYLOADS; i++) {
        deliver(up);
    }
    upstream_node_stats(upstream_node_at(up, 1), &stats);
    bench_print(&(struct bench_row){.suite = "failover",
                                    .what = "300 payloads, one of three nodes swallows packets",
                                    .who = "libupstream",
                                    .unit = "attempts on it",
                                    .value = (double)(stats.connects + stats.connects_failed),
                                    .most = MOST_ATTEMPTS,
                                    .note = "every payload delivered"});
    upstream_destroy(up);
    for (i = 0; i < 8; i++) {
        close(filling[i]);
    }
    close(fd);
}

int main(void)
{
    struct peer good[2] = {peer_start(1), peer_start(1)};
    refusal(good);
    swallowed(good);
    peer_end(&good[0]);
    peer_end(&good[1]);
    return 0;
}
