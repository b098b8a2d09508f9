/*
 * The event loop: level-triggered epoll, and a time for each connection at which it must be called.
 * Of a connection it knows only what to watch: descriptor, events, time.
 */
#include "fleet.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_AT_ONCE = 256 };

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool loop_open(fleet *f)
{
    f->epoll = epoll_create1(EPOLL_CLOEXEC);
    return f->epoll >= 0;
}

void loop_close(fleet *f)
{
    if (f->epoll >= 0) {
        close(f->epoll);
    }
}

static bool tell_epoll(client *c, int action, int fd, uint32_t wanted)
{
    struct epoll_event event;

    memset(&event, 0, sizeof event);
    event.events = (wanted & UPSTREAM_POLL_IN ? (uint32_t)EPOLLIN : 0) |
                   (wanted & UPSTREAM_POLL_OUT ? (uint32_t)EPOLLOUT : 0);
    event.data.ptr = c;
    return epoll_ctl(c->fleet->epoll, action, fd, &event) == 0;
}

bool loop_watch(client *c)
{
    int fd = upstream_conn_fd(c->conn);
    uint32_t wanted = upstream_conn_poll_events(c->conn);
    int64_t left = upstream_conn_timeout_ms(c->conn);
    bool good = true;

    c->due_ms = left < 0 ? -1 : now_ms() + left;
    if (fd < 0) {
        /* Only the time is watched: a retry waits until the library allows it. */
        wanted = 0;
    } else if (fd != c->fd) {
        /* The library has closed the old descriptor, which took it out of epoll. Do not remove it
         * here: another client may have the same number by now. */
        good = tell_epoll(c, EPOLL_CTL_ADD, fd, wanted);
    } else if (wanted != c->events) {
        good = tell_epoll(c, EPOLL_CTL_MOD, fd, wanted);
    }
    if (good) {
        c->fd = fd;
        c->events = wanted;
    }
    return good;
}

void loop_leave(client *c)
{
    /* The socket of a kept connection stays open, and would go on waking the loop. */
    if (c->fd >= 0 && c->fd == upstream_conn_fd(c->conn)) {
        tell_epoll(c, EPOLL_CTL_DEL, c->fd, 0);
    }
    c->fd = -1;
    c->events = 0;
    c->due_ms = -1;
}

/* How long epoll may wait: until the first client is due. For very many clients, use a heap instead
 * of looking at each. */
static int patience(const fleet *f)
{
    int64_t first = -1, left;

    for (size_t i = 0; i < f->size; i++) {
        int64_t due = f->clients[i].due_ms;
        if (due >= 0 && (first < 0 || due < first)) {
            first = due;
        }
    }
    if (first < 0) {
        return -1;
    }
    left = first - now_ms();
    return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

static void serve_those_due(fleet *f)
{
    int64_t now = now_ms();

    for (size_t i = 0; i < f->size; i++) {
        if (f->clients[i].due_ms >= 0 && f->clients[i].due_ms <= now) {
            client_go(&f->clients[i]);
        }
    }
}

bool loop_run(fleet *f)
{
    struct epoll_event ready[EVENTS_AT_ONCE];

    while (f->done < f->size) {
        int count = epoll_wait(f->epoll, ready, EVENTS_AT_ONCE, patience(f));
        if (count < 0 && errno != EINTR) {
            return false;
        }
        for (int i = 0; i < count; i++) {
            client_go(ready[i].data.ptr);
        }
        serve_those_due(f);
    }
    return true;
}
