/* See acceptor.h. A socket that is bound but never listens holds the port; the one that listens
 * comes and goes. */
#define _GNU_SOURCE
#include "acceptor.h"

#include "backlog.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct served {
    struct session session;
    struct acceptor *acceptor;
    pthread_t thread;
    int woken;       /* it is waited for */
    enum ending how; /* then it ends so, whatever it says */
    int finished;
    struct served *next;
};

struct acceptor {
    session_serve serve;
    void *ctx;
    int narrow;
    struct sockaddr_in address;
    int holder;
    int listener; /* -1 while closed */
    int wake;     /* readable once the accepting thread is to end */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct served *sessions;
    size_t accepted;
};

static void need(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "acceptor: %s: %s\n", what, strerror(errno));
        abort();
    }
}

static int bound_socket(const struct sockaddr_in *address)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    need(fd >= 0, "socket");
    need(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0, "SO_REUSEADDR");
    need(bind(fd, (const struct sockaddr *)address, sizeof(*address)) == 0, "bind");
    return fd;
}

static void wake(int fd)
{
    uint64_t one = 1;
    need(write(fd, &one, sizeof(one)) == sizeof(one), "eventfd");
}

static void end(int socket, enum ending how)
{
    struct linger linger = {1, 0};
    if (how == ENDING_RESET) {
        setsockopt(socket, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    }
    close(socket);
}

static void *serve(void *argument)
{
    struct served *served = argument;
    struct acceptor *acceptor = served->acceptor;
    enum ending how = acceptor->serve(&served->session, acceptor->ctx);
    pthread_mutex_lock(&acceptor->lock);
    end(served->session.socket, served->woken ? served->how : how);
    served->finished = 1;
    pthread_cond_broadcast(&acceptor->changed);
    pthread_mutex_unlock(&acceptor->lock);
    return NULL;
}

/* Frees the sessions that have ended. With the lock held. */
static void reap(struct acceptor *acceptor)
{
    struct served **link = &acceptor->sessions;
    while (*link != NULL) {
        struct served *served = *link;
        if (served->finished) {
            *link = served->next;
            /* it only gives the lock back and returns */
            pthread_join(served->thread, NULL);
            close(served->session.wake);
            free(served);
        } else {
            link = &served->next;
        }
    }
}

static void *accept_all(void *argument)
{
    struct acceptor *acceptor = argument;
    struct pollfd fds[2] = {{acceptor->listener, POLLIN, 0}, {acceptor->wake, POLLIN, 0}};
    for (;;) {
        struct served *served;
        int socket, on = 1;
        if (poll(fds, 2, -1) < 0) {
            continue;
        }
        if (fds[1].revents != 0) {
            return NULL;
        }
        pthread_mutex_lock(&acceptor->lock);
        socket = accept4(acceptor->listener, NULL, NULL, SOCK_CLOEXEC);
        if (socket < 0) {
            pthread_mutex_unlock(&acceptor->lock);
            continue;
        }
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        served = calloc(1, sizeof(*served));
        need(served != NULL, "calloc");
        served->acceptor = acceptor;
        served->session.socket = socket;
        served->session.wake = eventfd(0, EFD_CLOEXEC);
        need(served->session.wake >= 0, "eventfd");
        reap(acceptor);
        served->session.number = acceptor->accepted++;
        served->next = acceptor->sessions;
        acceptor->sessions = served;
        need(pthread_create(&served->thread, NULL, serve, served) == 0, "pthread_create");
        pthread_cond_broadcast(&acceptor->changed);
        pthread_mutex_unlock(&acceptor->lock);
    }
}

void acceptor_open(struct acceptor *acceptor)
{
    acceptor->listener = bound_socket(&acceptor->address);
    acceptor->wake = eventfd(0, EFD_CLOEXEC);
    need(acceptor->wake >= 0, "eventfd");
    if (acceptor->narrow) {
        int smallest = 1; /* the kernel rounds it up; what is accepted takes it over */
        /* so that one fits the window: else each waits for the timer of a closed window */
        int segment = 536;
        need(setsockopt(acceptor->listener, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment)) ==
                 0,
             "TCP_MAXSEG");
        need(setsockopt(acceptor->listener, SOL_SOCKET, SO_RCVBUF, &smallest, sizeof(smallest)) ==
                 0,
             "SO_RCVBUF");
    }
    need(listen(acceptor->listener, 512) == 0, "listen");
    need(pthread_create(&acceptor->thread, NULL, accept_all, acceptor) == 0, "pthread_create");
}

struct acceptor *acceptor_start(const char *address, int narrow, session_serve serve, void *ctx)
{
    struct acceptor *acceptor = calloc(1, sizeof(*acceptor));
    socklen_t size = sizeof(acceptor->address);
    need(acceptor != NULL, "calloc");
    acceptor->serve = serve;
    acceptor->narrow = narrow;
    acceptor->ctx = ctx;
    acceptor->address.sin_family = AF_INET;
    need(inet_pton(AF_INET, address, &acceptor->address.sin_addr) == 1, "inet_pton");
    acceptor->holder = bound_socket(&acceptor->address);
    need(getsockname(acceptor->holder, (struct sockaddr *)&acceptor->address, &size) == 0,
         "getsockname");
    pthread_mutex_init(&acceptor->lock, NULL);
    pthread_cond_init(&acceptor->changed, NULL);
    acceptor_open(acceptor);
    return acceptor;
}

uint16_t acceptor_port(const struct acceptor *acceptor)
{
    return ntohs(acceptor->address.sin_port);
}

/* Whether a session that was woken goes on. With the lock held. */
static int some_linger(const struct acceptor *acceptor)
{
    const struct served *served;
    for (served = acceptor->sessions; served != NULL; served = served->next) {
        if (served->woken && !served->finished) {
            return 1;
        }
    }
    return 0;
}

void acceptor_end_sessions(struct acceptor *acceptor, enum ending how)
{
    struct served *served;
    pthread_mutex_lock(&acceptor->lock);
    for (served = acceptor->sessions; served != NULL; served = served->next) {
        served->woken = 1;
        served->how = how;
        wake(served->session.wake);
    }
    while (some_linger(acceptor)) {
        pthread_cond_wait(&acceptor->changed, &acceptor->lock);
    }
    reap(acceptor);
    pthread_mutex_unlock(&acceptor->lock);
}

void acceptor_close(struct acceptor *acceptor)
{
    if (acceptor->listener < 0) {
        return;
    }
    wake(acceptor->wake);
    pthread_join(acceptor->thread, NULL);
    close(acceptor->listener);
    close(acceptor->wake);
    acceptor->listener = -1;
    acceptor_end_sessions(acceptor, ENDING_RESET);
}

size_t acceptor_accepted(struct acceptor *acceptor)
{
    size_t accepted;
    backlog_drained(acceptor->listener);
    pthread_mutex_lock(&acceptor->lock);
    accepted = acceptor->accepted;
    pthread_mutex_unlock(&acceptor->lock);
    return accepted;
}

void acceptor_stop(struct acceptor *acceptor)
{
    acceptor_close(acceptor);
    close(acceptor->holder);
    pthread_cond_destroy(&acceptor->changed);
    pthread_mutex_destroy(&acceptor->lock);
    free(acceptor);
}

int session_wait(const struct session *session, int fd, short events, int ms)
{
    struct pollfd fds[2] = {{session->wake, POLLIN, 0}, {fd, events, 0}};
    int ready;
    do {
        ready = poll(fds, 2, ms);
    } while (ready < 0 && errno == EINTR);
    return ready > 0 && fds[0].revents == 0;
}

int session_send(const struct session *session, int fd, const void *data, size_t len)
{
    const char *rest = data;
    while (len > 0) {
        ssize_t sent;
        if (!session_wait(session, fd, POLLOUT, -1)) {
            return 0;
        }
        sent = send(fd, rest, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            return 0;
        }
        if (sent > 0) {
            rest += sent;
            len -= (size_t)sent;
        }
    }
    return 1;
}
