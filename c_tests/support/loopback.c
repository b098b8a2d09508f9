/* See loopback.h. One thread accepts, one serves each connection. */
#define _GNU_SOURCE
#include "loopback.h"

#include "backlog.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_CONNECTIONS 4096

struct loopback {
    enum loopback_behaviour behaviour;
    int listener;
    int stop[2]; /* a pipe: readable once the server is to stop */
    uint16_t port;
    pthread_t acceptor;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t connections;
    size_t ended;
    size_t bytes;
    pthread_t serving[MOST_CONNECTIONS];
};

struct session {
    struct loopback *server;
    int socket;
};

static void need(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "loopback: %s: %s\n", what, strerror(errno));
        abort();
    }
}

static int listen_on_free_port(uint16_t *port, int backlog)
{
    struct sockaddr_in address;
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    need(listener >= 0, "socket");
    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    need(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
    if (backlog > 0) {
        need(listen(listener, backlog) == 0, "listen");
    }
    need(getsockname(listener, (struct sockaddr *)&address, &size) == 0, "getsockname");
    *port = ntohs(address.sin_port);
    return listener;
}

/* Waits until `fd` is readable: 1; or the server is to stop: 0; or `ms` have passed: 0. */
static int readable(struct loopback *server, int fd, int ms)
{
    struct pollfd fds[2] = {{fd, POLLIN, 0}, {server->stop[0], POLLIN, 0}};
    int ready;
    do {
        ready = poll(fds, 2, ms);
    } while (ready < 0 && errno == EINTR);
    return ready > 0 && fds[1].revents == 0;
}

static int stopping(struct loopback *server)
{
    struct pollfd fd = {server->stop[0], POLLIN, 0};
    return poll(&fd, 1, 0) > 0;
}

/* Reads once and counts; 0 at the end of the stream or of the server. */
static size_t take(struct session *session, char *buffer, size_t size)
{
    ssize_t got;
    if (!readable(session->server, session->socket, -1)) {
        return 0;
    }
    got = read(session->socket, buffer, size);
    if (got <= 0) {
        return 0;
    }
    pthread_mutex_lock(&session->server->lock);
    session->server->bytes += (size_t)got;
    pthread_cond_broadcast(&session->server->changed);
    pthread_mutex_unlock(&session->server->lock);
    return (size_t)got;
}

static void reset(int socket)
{
    struct linger linger = {1, 0};
    setsockopt(socket, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static void behave(struct session *session)
{
    char buffer[65536];
    size_t got;
    switch (session->server->behaviour) {
    case LOOPBACK_LATE: {
        struct timespec pause = {0, 300 * 1000 * 1000};
        (void)send(session->socket, "hello", 5, MSG_NOSIGNAL);
        do {
            nanosleep(&pause, NULL);
            pause.tv_nsec = 1000 * 1000;
        } while (take(session, buffer, sizeof(buffer)) > 0);
        break;
    }
    case LOOPBACK_GREETER:
        (void)send(session->socket, "hello", 5, MSG_NOSIGNAL);
        /* fall through */
    case LOOPBACK_SINK:
        while (take(session, buffer, sizeof(buffer)) > 0) {
        }
        break;
    case LOOPBACK_ECHO:
        while ((got = take(session, buffer, sizeof(buffer))) > 0) {
            /* blocks until all of it has gone */
            (void)send(session->socket, buffer, got, MSG_NOSIGNAL);
        }
        break;
    case LOOPBACK_SILENT: {
        struct pollfd stop = {session->server->stop[0], POLLIN, 0};
        (void)poll(&stop, 1, -1);
        break;
    }
    case LOOPBACK_CLOSE:
        break;
    case LOOPBACK_RESET:
        (void)take(session, buffer, sizeof(buffer));
        reset(session->socket);
        break;
    case LOOPBACK_CLOSE_AFTER:
        got = take(session, buffer, sizeof(buffer));
        (void)send(session->socket, buffer, got, MSG_NOSIGNAL);
        break;
    case LOOPBACK_DRIP:
        while (!stopping(session->server) && send(session->socket, ".", 1, MSG_NOSIGNAL) == 1) {
            struct timespec pause = {0, 20 * 1000 * 1000};
            nanosleep(&pause, NULL);
        }
        break;
    }
}

static void *serve(void *argument)
{
    struct session *session = argument;
    struct loopback *server = session->server;
    behave(session);
    close(session->socket);
    pthread_mutex_lock(&server->lock);
    server->ended++;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
    free(session);
    return NULL;
}

static void *accept_all(void *argument)
{
    struct loopback *server = argument;
    while (readable(server, server->listener, -1)) {
        struct session *session = malloc(sizeof(*session));
        need(session != NULL, "malloc");
        session->server = server;
        pthread_mutex_lock(&server->lock);
        session->socket = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
        if (session->socket < 0) {
            pthread_mutex_unlock(&server->lock);
            free(session);
            continue;
        }
        need(server->connections < MOST_CONNECTIONS, "too many connections");
        need(pthread_create(&server->serving[server->connections], NULL, serve, session) == 0,
             "pthread_create");
        server->connections++;
        pthread_cond_broadcast(&server->changed);
        pthread_mutex_unlock(&server->lock);
    }
    return NULL;
}

static struct loopback *start(enum loopback_behaviour behaviour, int narrow)
{
    struct loopback *server = calloc(1, sizeof(*server));
    need(server != NULL, "calloc");
    server->behaviour = behaviour;
    need(pipe2(server->stop, O_CLOEXEC) == 0, "pipe");
    server->listener = listen_on_free_port(&server->port, 512);
    if (narrow) {
        int smallest = 1; /* the kernel rounds it up; what is accepted takes it over */
        /* so that one fits the window: else each waits for the timer of a closed window */
        int segment = 536;
        need(setsockopt(server->listener, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment)) == 0,
             "TCP_MAXSEG");
        need(setsockopt(server->listener, SOL_SOCKET, SO_SNDBUF, &smallest, sizeof(smallest)) == 0,
             "SO_SNDBUF");
        need(setsockopt(server->listener, SOL_SOCKET, SO_RCVBUF, &smallest, sizeof(smallest)) == 0,
             "SO_RCVBUF");
    }
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->changed, NULL);
    need(pthread_create(&server->acceptor, NULL, accept_all, server) == 0, "pthread_create");
    return server;
}

struct loopback *loopback_start(enum loopback_behaviour behaviour)
{
    return start(behaviour, 0);
}

struct loopback *loopback_start_narrow(enum loopback_behaviour behaviour)
{
    return start(behaviour, 1);
}

uint16_t loopback_port(const struct loopback *server)
{
    return server->port;
}

static size_t locked(struct loopback *server, const size_t *value)
{
    size_t copy;
    pthread_mutex_lock(&server->lock);
    copy = *value;
    pthread_mutex_unlock(&server->lock);
    return copy;
}

size_t loopback_connections(struct loopback *server)
{
    backlog_drained(server->listener);
    return locked(server, &server->connections);
}

size_t loopback_bytes(struct loopback *server)
{
    return locked(server, &server->bytes);
}

static int wait_for(struct loopback *server, const size_t *value, size_t least)
{
    struct timespec until;
    int reached;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    pthread_mutex_lock(&server->lock);
    while (*value < least && pthread_cond_timedwait(&server->changed, &server->lock, &until) == 0) {
    }
    reached = *value >= least;
    pthread_mutex_unlock(&server->lock);
    return reached;
}

int loopback_wait_connections(struct loopback *server, size_t connections)
{
    return wait_for(server, &server->connections, connections);
}

int loopback_wait_bytes(struct loopback *server, size_t bytes)
{
    return wait_for(server, &server->bytes, bytes);
}

int loopback_wait_ended(struct loopback *server, size_t connections)
{
    return wait_for(server, &server->ended, connections);
}

void loopback_stop(struct loopback *server)
{
    size_t i;
    need(write(server->stop[1], "s", 1) == 1, "write");
    pthread_join(server->acceptor, NULL);
    for (i = 0; i < server->connections; i++) {
        pthread_join(server->serving[i], NULL);
    }
    close(server->listener);
    close(server->stop[0]);
    close(server->stop[1]);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
    free(server);
}

uint16_t loopback_refusing_port(int *descriptor)
{
    uint16_t port;
    *descriptor = listen_on_free_port(&port, 0);
    return port;
}

uint16_t loopback_black_hole(int descriptors[LOOPBACK_HOLE_DESCRIPTORS])
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    uint16_t port;
    size_t i;
    descriptors[0] = listen_on_free_port(&port, 0);
    need(listen(descriptors[0], 1) == 0, "listen");
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    /* Nobody accepts: two of these fill the queue, the others only make sure of it. */
    for (i = 1; i < LOOPBACK_HOLE_DESCRIPTORS; i++) {
        descriptors[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        need(descriptors[i] >= 0, "socket");
        need(connect(descriptors[i], (struct sockaddr *)&address, sizeof(address)) == 0 ||
                 errno == EINPROGRESS,
             "connect");
    }
    return port;
}
