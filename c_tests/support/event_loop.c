/* See event_loop.h. */
#define _GNU_SOURCE
#include "event_loop.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { PATIENCE = 30 * 1000 };

void event_loop_open(struct event_loop *loop, enum event_loop_kind kind)
{
    loop->kind = kind;
    loop->watched = -1;
    loop->epoll = -1;
    if (kind != EVENT_LOOP_POLL) {
        loop->epoll = epoll_create1(EPOLL_CLOEXEC);
        assert_true(loop->epoll >= 0);
    }
}

void event_loop_leave(struct event_loop *loop)
{
    int kept = errno;
    if (loop->watched >= 0) {
        /* fails if the descriptor was closed, and then there is nothing to remove */
        (void)epoll_ctl(loop->epoll, EPOLL_CTL_DEL, loop->watched, NULL);
        loop->watched = -1;
    }
    errno = kept;
}

void event_loop_close(struct event_loop *loop)
{
    if (loop->epoll >= 0) {
        close(loop->epoll);
    }
}

static int wait_by_poll(int fd, uint32_t events, int timeout)
{
    struct pollfd watched = {fd, 0, 0};
    int ready;
    if (events & UPSTREAM_POLL_IN) {
        watched.events |= POLLIN;
    }
    if (events & UPSTREAM_POLL_OUT) {
        watched.events |= POLLOUT;
    }
    do {
        ready = poll(&watched, 1, timeout);
    } while (ready < 0 && errno == EINTR);
    return ready;
}

static int wait_by_epoll(struct event_loop *loop, int fd, uint32_t events, int timeout)
{
    struct epoll_event event, seen;
    int ready;
    memset(&event, 0, sizeof(event));
    event.data.fd = fd;
    if (events & UPSTREAM_POLL_IN) {
        event.events |= EPOLLIN;
    }
    if (events & UPSTREAM_POLL_OUT) {
        event.events |= EPOLLOUT;
    }
    if (fd == loop->watched) {
        assert_int_equal(epoll_ctl(loop->epoll, EPOLL_CTL_MOD, fd, &event), 0);
    } else {
        /* The header says that the old descriptor is out of the epoll by now: its number is free,
         * or another's. */
        assert_true(loop->watched < 0 ||
                    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, loop->watched, NULL) < 0);
        assert_int_equal(epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event), 0);
        loop->watched = fd;
    }
    do {
        ready = epoll_wait(loop->epoll, &seen, 1, timeout);
    } while (ready < 0 && errno == EINTR);
    assert_true(ready <= 0 || seen.data.fd == fd);
    if (loop->kind == EVENT_LOOP_STOP) {
        assert_int_equal(epoll_ctl(loop->epoll, EPOLL_CTL_DEL, fd, NULL), 0);
        loop->watched = -1;
    }
    return ready;
}

int event_loop_wait(struct event_loop *loop, upstream_conn_t *conn)
{
    int fd = upstream_conn_fd(conn), ready;
    uint32_t events = upstream_conn_poll_events(conn);
    int64_t left = upstream_conn_timeout_ms(conn);
    int timeout = left >= 0 && left < PATIENCE ? (int)left : PATIENCE;
    int kept = errno; /* the library's calls keep it, which tests look at */
    assert_true(fd >= 0);
    assert_true(events != 0);
    assert_true(left >= 0); /* every want ends */
    ready = loop->kind == EVENT_LOOP_POLL ? wait_by_poll(fd, events, timeout)
                                          : wait_by_epoll(loop, fd, events, timeout);
    assert_true(ready >= 0);
    errno = kept;
    if (ready == 0 && timeout == PATIENCE) {
        fail_msg("nothing came for %d ms", PATIENCE);
    }
    return ready;
}

upstream_status_t event_loop_connect(struct event_loop *loop, upstream_conn_t *conn,
                                     upstream_status_t started)
{
    event_loop_leave(loop);
    while (started == UPSTREAM_WANT_READ) {
        event_loop_wait(loop, conn);
        started = upstream_conn_connect_continue(conn);
    }
    return started;
}

static int wants(upstream_status_t status)
{
    return status == UPSTREAM_WANT_READ || status == UPSTREAM_WANT_WRITE;
}

upstream_status_t event_loop_write(struct event_loop *loop, upstream_conn_t *conn, const void *data,
                                   size_t len)
{
    upstream_status_t status = UPSTREAM_OK;
    size_t done = 0, written;
    while (done < len && (status == UPSTREAM_OK || wants(status))) {
        status = upstream_conn_try_write(conn, (const char *)data + done, len - done, &written);
        done += written;
        if (wants(status)) {
            event_loop_wait(loop, conn);
        }
    }
    while (done == len && wants(status = upstream_conn_flush(conn))) {
        event_loop_wait(loop, conn);
    }
    return status;
}

upstream_status_t event_loop_read(struct event_loop *loop, upstream_conn_t *conn, void *buf,
                                  size_t len)
{
    upstream_status_t status = UPSTREAM_OK;
    size_t done = 0, got;
    while (done < len && (status == UPSTREAM_OK || wants(status))) {
        status = upstream_conn_try_read(conn, (char *)buf + done, len - done, &got);
        done += got;
        if (wants(status)) {
            event_loop_wait(loop, conn);
        }
    }
    return status;
}
