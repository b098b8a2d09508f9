#include "tls_wire.h"

#include "contract.h"
#include "tls_server.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

enum { STREAMS = 256, SLICE_MS = 5, SEND_MS = 300 };

static atomic_int stopped;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    uint16_t port;
    size_t good;
} streams[STREAMS];
static size_t stream_count;

void tls_wire_reset(void)
{
    atomic_store(&stopped, 0);
    stream_count = 0;
}

void tls_wire_stop(void)
{
    atomic_store(&stopped, 1);
}

int tls_wire_stopped(void)
{
    return atomic_load(&stopped);
}

size_t tls_server_sent(uint16_t client_port)
{
    size_t i, good = 0;
    pthread_mutex_lock(&lock);
    for (i = 0; i < stream_count; i++) {
        if (streams[i].port == client_port) {
            good = streams[i].good;
        }
    }
    pthread_mutex_unlock(&lock);
    return good;
}

void tls_wire_count(struct tls_wire *wire, size_t size)
{
    size_t i;
    wire->sent += size;
    pthread_mutex_lock(&lock);
    for (i = 0; i < stream_count && streams[i].port != wire->client_port; i++) {
    }
    if (i == stream_count && i < STREAMS) {
        streams[stream_count++].port = wire->client_port;
        streams[i].good = 0;
    }
    if (i < STREAMS && !wire->spoilt) {
        streams[i].good += size;
    }
    pthread_mutex_unlock(&lock);
}

void tls_wire_begin(struct tls_wire *wire, int fd, uint16_t client_port)
{
    int on = 1;
    memset(wire, 0, sizeof(*wire));
    wire->fd = fd;
    wire->client_port = client_port;
    wire->armed = -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

int tls_wire_is_over(const struct tls_wire *wire)
{
    return wire->is_over || tls_wire_stopped();
}

void tls_wire_end(struct tls_wire *wire, int hard)
{
    struct linger at_once = {.l_onoff = 1};
    if (wire->fd < 0) {
        return;
    }
    if (hard) {
        setsockopt(wire->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    }
    close(wire->fd);
    wire->fd = -1;
    wire->is_over = 1;
}

void tls_wire_arm(struct tls_wire *wire, int what, uint8_t a, uint8_t b)
{
    wire->armed = what;
    wire->where = a;
    wire->how_much = b;
}

/* Waits for `events` in slices, so that the end of the input ends it too. */
static int ready(struct tls_wire *wire, short events, int ms)
{
    struct pollfd watched = {.fd = wire->fd, .events = events};
    for (; !tls_wire_is_over(wire); ms -= SLICE_MS) {
        if (poll(&watched, 1, ms < SLICE_MS ? ms : SLICE_MS) > 0) {
            return 1;
        }
        if (ms <= SLICE_MS) {
            break;
        }
    }
    return 0;
}

void tls_wire_wait(struct tls_wire *wire, int ms)
{
    (void)ready(wire, 0, ms); /* an end of the connection ends it */
}

size_t tls_wire_receive(struct tls_wire *wire, uint8_t *data, size_t size, int ms)
{
    ssize_t got;
    if (!ready(wire, POLLIN, ms)) {
        return 0;
    }
    got = recv(wire->fd, data, size, MSG_DONTWAIT);
    if (got <= 0 && !(got < 0 && errno == EAGAIN)) {
        wire->is_over = got < 0; /* after an end the client may still read */
        return 0;
    }
    return got > 0 ? (size_t)got : 0;
}

void tls_wire_send_whole(struct tls_wire *wire, const uint8_t *data, size_t size)
{
    while (size > 0 && !tls_wire_is_over(wire)) {
        ssize_t sent = send(wire->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            data += sent;
            size -= (size_t)sent;
        } else if (errno != EAGAIN || !ready(wire, POLLOUT, SEND_MS)) {
            wire->is_over = 1;
        }
    }
}

/* Whether a changed byte at `place` must be noticed: the version in a record's header need not be,
 * nor anything about ChangeCipherSpec. */
static int matters(const uint8_t *data, size_t size, size_t place)
{
    size_t at = 0;
    while (at + 5 <= size) {
        size_t length = (size_t)(data[at + 3] << 8 | data[at + 4]);
        if (place < at + 5 + length) {
            return data[at] != 20 && place >= at + 5;
        }
        at += 5 + length;
    }
    return 0;
}

static void send_flipped(struct tls_wire *wire, const uint8_t *data, size_t size)
{
    static uint8_t copy[1 << 17];
    size_t place = wire->where % size;
    memcpy(copy, data, size);
    copy[place] ^= (uint8_t)(1 << wire->how_much % 8);
    wire->spoilt = wire->spoilt || matters(data, size, place);
    tls_wire_send_whole(wire, copy, size);
}

void tls_wire_send(struct tls_wire *wire, const uint8_t *data, size_t size)
{
    int what = size == 0 ? -1 : wire->armed;
    size_t part = wire->where < size ? wire->where : size;
    wire->armed = size == 0 ? wire->armed : -1;
    switch (what) {
    case WIRE_CUT: /* here it ends, or a part is missing */
        tls_wire_send_whole(wire, data, part);
        wire->spoilt = wire->spoilt || part < size;
        if (wire->how_much % 2) {
            tls_wire_end(wire, wire->how_much % 4 == 3);
        }
        break;
    case WIRE_FLIP:
        send_flipped(wire, data, size);
        break;
    case WIRE_SPLIT:
        tls_wire_send_whole(wire, data, part);
        tls_wire_wait(wire, (int)wire->how_much % 32);
        tls_wire_send_whole(wire, data + part, size - part);
        break;
    case WIRE_TWICE:
        tls_wire_send_whole(wire, data, size);
        wire->spoilt = 1;
        tls_wire_send_whole(wire, data, size);
        break;
    default:
        tls_wire_send_whole(wire, data, size);
    }
}
