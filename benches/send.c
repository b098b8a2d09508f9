/* What sending through the library costs, compared with bare sendmsg() calls of the same buffers to
 * the same server. Both send bursts that fit in the connection's buffers, to a server that has read
 * everything before. So only the sender's work is timed, not the server's. */
#define _GNU_SOURCE
#include "bench.h"
#include "peer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { ROUNDS = 300, WARM = 30, HEADER = 32 };

static char data[1 << 16];

struct room {
    upstream_conn_t *conn;
    int fd;
    size_t size;
    int vectored;
};

/* The buffers of one write: header and body, or all in one. */
static size_t buffers(const struct room *room, struct iovec *iov)
{
    size_t header = room->vectored ? HEADER : 0;
    iov[0] = (struct iovec){data, header};
    iov[header != 0] = (struct iovec){data + header, room->size - header};
    return header != 0 ? 2 : 1;
}

static void send_bare(struct room *room, size_t count)
{
    while (count-- > 0) {
        struct iovec iov[2];
        struct msghdr message = {.msg_iov = iov};
        size_t left = room->size;
        message.msg_iovlen = buffers(room, iov);
        for (;;) {
            ssize_t sent = sendmsg(room->fd, &message, MSG_NOSIGNAL);
            struct pollfd writable = {.fd = room->fd, .events = POLLOUT};
            if (sent >= 0 && (left -= (size_t)sent) == 0) {
                break;
            }
            bench_system(sent >= 0 || errno == EAGAIN, "sendmsg");
            /* The rest belongs to the body: the header is far smaller than any room that the system
             * reports. */
            iov[0] = (struct iovec){data + room->size - left, left};
            message.msg_iovlen = 1;
            poll(&writable, 1, -1);
        }
    }
}

static void send_library(struct room *room, size_t count)
{
    while (count-- > 0) {
        upstream_status_t status;
        if (room->vectored) {
            struct iovec iov[2];
            size_t parts = buffers(room, iov);
            status = upstream_conn_writev(room->conn, iov, parts);
        } else {
            status = upstream_conn_write(room->conn, data, room->size);
        }
        bench_ok(status, NULL, "upstream_conn_write");
    }
}

struct spent {
    double wall;
    double cpu;
};

static struct spent timed(void (*work)(struct room *, size_t), struct room *room, int fd,
                          size_t count)
{
    struct spent spent;
    peer_drain(fd);
    spent.wall = bench_now();
    spent.cpu = bench_thread_cpu();
    work(room, count);
    spent.cpu = (bench_thread_cpu() - spent.cpu) / (double)count;
    spent.wall = (bench_now() - spent.wall) / (double)count;
    return spent;
}

/* `shares`: for each round, the time of the bare loop divided by the library's. */
static void print(const struct room *room, const char *clock, double *values, double *floors,
                  double *shares, double least)
{
    char what[64];
    if (room->vectored) {
        snprintf(what, sizeof(what), "writev %d + %zu bytes, %s", HEADER, room->size - HEADER,
                 clock);
    } else {
        snprintf(what, sizeof(what), "write %zu bytes, %s", room->size, clock);
    }
    bench_print(&(struct bench_row){.suite = "send",
                                    .what = what,
                                    .who = "libupstream",
                                    .unit = "ns/write",
                                    .value = bench_median(values, ROUNDS),
                                    .floor = bench_median(floors, ROUNDS),
                                    .ratio = bench_median(shares, ROUNDS),
                                    .least = least,
                                    .note = "ratio: share of the bare loop's speed"});
}

static void measure(struct room *room)
{
    static double values[2][ROUNDS], floors[2][ROUNDS], shares[2][ROUNDS];
    size_t count = (1 << 20) / room->size;
    double least = room->size >= 4096 ? 0.97 : 0;
    int i, k;
    count = count > 500 ? 500 : count;
    for (i = -WARM; i < ROUNDS; i++) {
        struct spent floor = {0, 0}, value = {0, 0};
        for (k = 0; k < 2; k++) {
            /* Each goes first as often as the other. */
            if ((k ^ i) & 1) {
                value = timed(send_library, room, upstream_conn_fd(room->conn), count);
            } else {
                floor = timed(send_bare, room, room->fd, count);
            }
        }
        if (i >= 0) {
            values[0][i] = value.wall;
            floors[0][i] = floor.wall;
            shares[0][i] = floor.wall / value.wall;
            values[1][i] = value.cpu;
            floors[1][i] = floor.cpu;
            shares[1][i] = floor.cpu / value.cpu;
        }
    }
    print(room, "wall time", values[0], floors[0], shares[0], least);
    print(room, "processor time", values[1], floors[1], shares[1], least);
}

int main(void)
{
    static const size_t sizes[] = {256, 4096, 65536};
    struct peer peer = peer_start(0);
    upstream_t *up = bench_set_at(peer.port, 1, "");
    struct room room = {.fd = peer_dial(peer.port, SOCK_NONBLOCK)};
    upstream_error_t *err = NULL;
    upstream_status_t status;
    size_t i;
    status = upstream_connect(up, &room.conn, &err);
    bench_ok(status, err, "upstream_connect");
    for (i = 0; i < 6; i++) {
        room.size = sizes[i % 3];
        room.vectored = i >= 3;
        measure(&room);
    }
    upstream_conn_release(room.conn);
    upstream_destroy(up);
    peer_end(&peer);
    return 0;
}
