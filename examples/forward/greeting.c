/*
 * Does the server say something before the first record? A server that demands a login sends HELO
 * as soon as it accepts a connection. A client without a key that asks for no acks would never read
 * it, and would go on writing records to a server that takes none of them.
 *
 * So on a new connection to such a node we wait a moment before the first record. We may see a
 * HELO, the greeting of a server that does not speak Forward, or the end of the connection (a
 * balancer without a server accepts and closes). Nothing has been written by then, so the batch can
 * safely go to another node.
 *
 * If the server says nothing, we wait for the whole moment. After that the node is not checked
 * again for SILENT_FOR_MS, on any connection, so the cost stays small. No wait is long enough for
 * every server. Set require_ack_response on to be sure: then no moment is needed, because a HELO is
 * read where the ack should be.
 */
#include "internal.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/*
 * How long the moment is: 3 round trips, between 250 and 1000 ms. HELO comes when the server has
 * looked at its listener, at the earliest one round trip after the connect. A fluentd on a busy
 * machine took more than 50 ms. The upper bound is for very slow links.
 */
#define MOMENT_LEAST_MS 250
#define MOMENT_MOST_MS 1000
#define ROUND_TRIPS 3
#define SLICE_MS 50         /* a cancelled delivery is noticed within this time */
#define SILENT_FOR_MS 10000 /* after a silent moment the node is not checked for this long */

static const unsigned char helo[] = {0x92, 0xa4, 'H', 'E', 'L', 'O'};

static int64_t moment_ms(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    memset(&info, 0, sizeof info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0) {
        return MOMENT_LEAST_MS;
    }
    int64_t trips = (int64_t)info.tcpi_rtt * ROUND_TRIPS / 1000; /* tcpi_rtt is in microseconds */
    return trips < MOMENT_LEAST_MS  ? MOMENT_LEAST_MS
           : trips > MOMENT_MOST_MS ? MOMENT_MOST_MS
                                    : trips;
}

upstream_status_t forward_login_wanted(forward_delivery *d)
{
    return forward_fail(d, UPSTREAM_ERR_PROTOCOL,
                        "the server asks for a login; set shared_key, or empty_shared_key on");
}

static upstream_status_t greeted(const unsigned char *data, size_t len, forward_delivery *d)
{
    size_t known = len < sizeof helo ? len : sizeof helo;
    if (memcmp(data, helo, known) == 0) {
        return forward_login_wanted(d);
    }
    return forward_fail(d, UPSTREAM_ERR_PROTOCOL,
                        "the server's greeting (%zu bytes) is not HELO; is this a Forward server, "
                        "and is tls set as it expects?",
                        len);
}

static void wait_for_bytes(int fd, int64_t ms)
{
    struct pollfd wait = {fd, POLLIN, 0};
    /* a signal may end it early: the caller loops */
    poll(&wait, 1, ms < SLICE_MS ? (int)ms : SLICE_MS);
}

/* Waits until `end`. UPSTREAM_OK: nothing came. */
static upstream_status_t listen_until(int64_t end, upstream_conn_t *conn, forward_delivery *d)
{
    for (;;) {
        unsigned char bytes[64];
        size_t got = 0;
        upstream_status_t status = upstream_conn_try_read(conn, bytes, sizeof bytes, &got);
        if (status == UPSTREAM_OK) {
            return greeted(bytes, got, d);
        }
        if (status == UPSTREAM_EOF) {
            return forward_fail(d, UPSTREAM_ERR_CLOSED,
                                "the server closed the connection before the records");
        }
        if (status != UPSTREAM_WANT_READ && status != UPSTREAM_WANT_WRITE) {
            return forward_fail_io(d, conn, status, "before the records");
        }
        int64_t left = end - forward_now_ms();
        if (left <= 0) {
            return UPSTREAM_OK;
        }
        wait_for_bytes(upstream_conn_fd(conn), left);
    }
}

/* At most a quarter of the time that the delivery has left: the rest is for the records. */
static int64_t within_the_delivery(const upstream_conn_t *conn, int64_t ms)
{
    int64_t left = upstream_conn_time_left_ms(conn);
    return left >= 0 && left / 4 < ms ? left / 4 : ms;
}

upstream_status_t forward_await_silence(upstream_conn_t *conn, forward_config *config,
                                        forward_delivery *d)
{
    int64_t now = forward_now_ms();
    if (now < __atomic_load_n(&config->silent_until_ms, __ATOMIC_RELAXED)) {
        return UPSTREAM_OK;
    }
    int64_t moment = moment_ms(upstream_conn_fd(conn));
    int64_t wait = within_the_delivery(conn, moment);
    upstream_status_t status = listen_until(now + wait, conn, d);
    if (status == UPSTREAM_OK && wait == moment) {
        __atomic_store_n(&config->silent_until_ms, forward_now_ms() + SILENT_FOR_MS,
                         __ATOMIC_RELAXED);
    }
    return status;
}
