/* See proxy.h. One thread for each connection, over poll. */
#define _GNU_SOURCE
#include "proxy.h"

#include "acceptor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct proxy {
    struct acceptor *acceptor;
    uint16_t receiver;
    int released; /* an eventfd: readable once what stalls may go on */
    pthread_mutex_t lock;
    struct script script;
    size_t since;  /* connections accepted before the script was set */
    size_t faults; /* that came true */
};

/* One direction of a connection. */
struct way {
    int from, to;
    size_t forwarded;
    int over; /* the sender has ended it */
};

enum outcome { WENT_ON, STALLED, ENDED, BROKEN };

static void need(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
        abort();
    }
}

/* -1 if the receiver refuses. */
static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    need(fd >= 0, "socket");
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static struct script script_for(struct proxy *proxy, const struct session *session)
{
    static const struct script faithful;
    struct script script;
    pthread_mutex_lock(&proxy->lock);
    script = proxy->script;
    if (script.connections > 0 && session->number >= proxy->since + script.connections) {
        script = faithful;
    }
    pthread_mutex_unlock(&proxy->lock);
    return script;
}

static void came_true(struct proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    proxy->faults++;
    pthread_mutex_unlock(&proxy->lock);
}

/* Whether the fault may still come in `way`. */
static int is_due(const struct script *script, const struct way *way, const struct session *session)
{
    enum direction direction = way->from == session->socket ? TO_RECEIVER : TO_CLIENT;
    return script->fault != FAULT_NONE && script->direction == direction;
}

/* Forwards what has come, up to the fault. */
static enum outcome forward(const struct session *session, const struct script *script,
                            struct way *way)
{
    char buffer[16384];
    int due = is_due(script, way, session);
    size_t room =
               script->piece > 0 && script->piece < sizeof(buffer) ? script->piece : sizeof(buffer),
           good;
    ssize_t got;
    if (due && script->fault == FAULT_STALL) {
        /* What comes after the fault stays unread until the connection goes on. */
        size_t left = script->after - way->forwarded;
        if (left == 0) {
            return STALLED;
        }
        room = room < left ? room : left;
    }
    got = recv(way->from, buffer, room, MSG_DONTWAIT);
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR ? WENT_ON : ENDED;
    }
    if (got == 0) {
        shutdown(way->to, SHUT_WR);
        way->over = 1;
        return WENT_ON;
    }
    good = (size_t)got;
    if (due && way->forwarded + good > script->after) {
        good = script->after - way->forwarded;
    }
    if (!session_send(session, way->to, buffer, good)) {
        return ENDED;
    }
    way->forwarded += good;
    if (script->pause_us > 0) {
        usleep(script->pause_us);
    }
    return good < (size_t)got ? BROKEN : WENT_ON;
}

/* Reads what the client still sends, until the client or the session ends: a close with unread
 * bytes would be a reset. */
static void drain(const struct session *session)
{
    char buffer[16384];
    while (session_wait(session, session->socket, POLLIN, -1) &&
           recv(session->socket, buffer, sizeof(buffer), 0) > 0) {
    }
}

/* The fault; 1 if the connection goes on. */
static int strike(struct proxy *proxy, const struct session *session, struct script *script,
                  int receiver, enum ending *how)
{
    int goes_on = 0;
    came_true(proxy);
    if (script->says != NULL) {
        (void)session_send(session, session->socket, script->says, script->says_len);
    }
    if (script->fault == FAULT_RESET) {
        *how = ENDING_RESET;
    } else if (script->fault == FAULT_CLOSE) {
        shutdown(receiver, SHUT_WR);
        shutdown(session->socket, SHUT_WR);
        if (script->says != NULL) {
            drain(session);
        }
    } else if (script->fault == FAULT_HALF_CLOSE) {
        shutdown(session->socket, SHUT_WR);
        drain(session);
    } else {
        goes_on = session_wait(session, proxy->released, POLLIN,
                               script->stall_ms > 0 ? script->stall_ms : -1) ||
                  script->stall_ms > 0;
    }
    script->fault = FAULT_NONE;
    return goes_on;
}

static enum ending relay(const struct session *session, void *ctx)
{
    struct proxy *proxy = ctx;
    struct script script = script_for(proxy, session);
    int receiver = connect_to(proxy->receiver), on = 1;
    struct way ways[2] = {{session->socket, receiver, 0, 0}, {receiver, session->socket, 0, 0}};
    enum ending how = ENDING_CLOSE;
    if (receiver < 0) {
        return ENDING_RESET;
    }
    while (on) {
        struct pollfd fds[3] = {{session->wake, POLLIN, 0},
                                {ways[0].over ? -1 : ways[0].from, POLLIN, 0},
                                {ways[1].over ? -1 : ways[1].from, POLLIN, 0}};
        int i;
        if (poll(fds, 3, -1) < 0) {
            continue;
        }
        on = fds[0].revents == 0;
        for (i = 0; i < 2 && on; i++) {
            enum outcome outcome =
                fds[1 + i].revents != 0 ? forward(session, &script, &ways[i]) : WENT_ON;
            if (outcome == STALLED || outcome == BROKEN) {
                on = strike(proxy, session, &script, receiver, &how);
            } else if (outcome == ENDED) {
                how = ENDING_RESET;
                on = 0;
            }
        }
        on = on && !(ways[0].over && ways[1].over);
    }
    close(receiver);
    return how;
}

struct proxy *proxy_start(const char *address, uint16_t receiver, int narrow)
{
    struct proxy *proxy = calloc(1, sizeof(*proxy));
    need(proxy != NULL, "calloc");
    proxy->receiver = receiver;
    proxy->released = eventfd(0, EFD_CLOEXEC);
    need(proxy->released >= 0, "eventfd");
    pthread_mutex_init(&proxy->lock, NULL);
    proxy->acceptor = acceptor_start(address, narrow, relay, proxy);
    return proxy;
}

uint16_t proxy_port(const struct proxy *proxy)
{
    return acceptor_port(proxy->acceptor);
}

void proxy_stop(struct proxy *proxy)
{
    acceptor_stop(proxy->acceptor);
    close(proxy->released);
    pthread_mutex_destroy(&proxy->lock);
    free(proxy);
}

void proxy_play(struct proxy *proxy, const struct script *script)
{
    size_t accepted = acceptor_accepted(proxy->acceptor);
    pthread_mutex_lock(&proxy->lock);
    proxy->script = *script;
    proxy->since = accepted;
    pthread_mutex_unlock(&proxy->lock);
}

void proxy_release(struct proxy *proxy)
{
    uint64_t one = 1;
    need(write(proxy->released, &one, sizeof(one)) == sizeof(one), "eventfd");
}

void proxy_close(struct proxy *proxy)
{
    acceptor_close(proxy->acceptor);
}

void proxy_open(struct proxy *proxy)
{
    acceptor_open(proxy->acceptor);
}

void proxy_fin_all(struct proxy *proxy)
{
    acceptor_end_sessions(proxy->acceptor, ENDING_CLOSE);
}

void proxy_reset_all(struct proxy *proxy)
{
    acceptor_end_sessions(proxy->acceptor, ENDING_RESET);
}

size_t proxy_accepted(struct proxy *proxy)
{
    return acceptor_accepted(proxy->acceptor);
}

size_t proxy_faults(struct proxy *proxy)
{
    size_t faults;
    pthread_mutex_lock(&proxy->lock);
    faults = proxy->faults;
    pthread_mutex_unlock(&proxy->lock);
    return faults;
}
