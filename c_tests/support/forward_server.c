/*
 * The scripted Forward server: its connections, and what a test asks about them. What it answers is
 * in forward_script.c, what it keeps of messages in forward_notes.c.
 */
#include "forward_script.h"
#include "forward_server_internal.h"

#include "backlog.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The connection went wrong: whatever still comes is counted as stray, and the client must
 * close. */
static void drain(peer *p)
{
    char rest[4096];
    ssize_t got;
    while ((got = recv(p->fd, rest, sizeof rest, 0)) > 0) {
        pthread_mutex_lock(&p->server->lock);
        p->server->stray += (size_t)got;
        pthread_mutex_unlock(&p->server->lock);
    }
    pthread_mutex_lock(&p->server->lock);
    p->server->dropped++;
    pthread_mutex_unlock(&p->server->lock);
}

static void *serve_one(void *arg)
{
    peer *p = arg;
    if (!forward_play(p)) {
        pthread_mutex_lock(&p->server->lock);
        p->server->wrong++;
        pthread_mutex_unlock(&p->server->lock);
        drain(p);
    }
    shutdown(p->fd, SHUT_RDWR);
    msgpack_unpacker_destroy(&p->unpacker);
    return NULL;
}

static void *accept_all(void *arg)
{
    forward_server *s = arg;
    int fd;
    struct pollfd queue = {s->listener, POLLIN, 0};
    for (;;) {
        if (poll(&queue, 1, -1) < 0) {
            continue;
        }
        pthread_mutex_lock(&s->lock);
        if ((fd = accept(s->listener, NULL, NULL)) < 0) {
            pthread_mutex_unlock(&s->lock);
            return NULL; /* it was shut down */
        }
        if (s->peer_count == PEERS_MAX) {
            forward_die("too many connections");
        }
        peer *p = &s->peers[s->peer_count];
        p->server = s;
        p->fd = fd;
        p->well_behaved = s->script.connections > 0 && s->peer_count >= s->script.connections;
        msgpack_unpacker_init(&p->unpacker, 4096);
        s->peer_count++;
        if (pthread_create(&p->thread, NULL, serve_one, p) != 0) {
            forward_die("thread");
        }
        pthread_mutex_unlock(&s->lock);
    }
}

forward_server *forward_server_start(const forward_script *script)
{
    forward_server *s = calloc(1, sizeof *s);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;

    if (s == NULL || (s->listener = socket(AF_INET, SOCK_STREAM, 0)) < 0 ||
        bind(s->listener, (struct sockaddr *)&address, len) != 0 || listen(s->listener, 64) != 0 ||
        getsockname(s->listener, (struct sockaddr *)&address, &len) != 0) {
        forward_die("listen");
    }
    s->script = *script;
    s->port = ntohs(address.sin_port);
    pthread_mutex_init(&s->lock, NULL);
    if (pthread_create(&s->acceptor, NULL, accept_all, s) != 0) {
        forward_die("thread");
    }
    return s;
}

void forward_server_stop(forward_server *s)
{
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->acceptor, NULL);
    close(s->listener);
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < s->peer_count; i++) {
        shutdown(s->peers[i].fd, SHUT_RDWR);
        pthread_join(s->peers[i].thread, NULL);
        close(s->peers[i].fd);
    }
    for (size_t i = 0; i < s->record_count; i++) {
        free(s->records[i]);
    }
    for (unsigned i = 0; i < s->message_count; i++) {
        free(s->messages[i].tag);
        free(s->messages[i].chunk);
        free(s->messages[i].packed);
    }
    free(s->records);
    free(s->messages);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

uint16_t forward_server_port(const forward_server *s)
{
    return s->port;
}

#define LOCKED(type, expression)        \
    do {                                \
        pthread_mutex_lock(&s->lock);   \
        type value_ = (expression);     \
        pthread_mutex_unlock(&s->lock); \
        return value_;                  \
    } while (0)

unsigned forward_server_accepted(forward_server *s)
{
    backlog_drained(s->listener);
    LOCKED(unsigned, s->peer_count);
}

unsigned forward_server_logins(forward_server *s)
{
    LOCKED(unsigned, s->logins);
}

unsigned forward_server_messages(forward_server *s)
{
    LOCKED(unsigned, s->message_count);
}

size_t forward_server_records(forward_server *s)
{
    LOCKED(size_t, s->record_count);
}

size_t forward_server_stray(forward_server *s)
{
    LOCKED(size_t, s->stray);
}

const char *forward_server_chunk(forward_server *s, unsigned i)
{
    LOCKED(const char *, i < s->message_count ? s->messages[i].chunk : NULL);
}

const char *forward_server_tag(forward_server *s, unsigned i)
{
    LOCKED(const char *, i < s->message_count ? s->messages[i].tag : NULL);
}

bool forward_server_integer_times(forward_server *s, unsigned i)
{
    LOCKED(bool, i < s->message_count && s->messages[i].integer_times);
}

long forward_server_size(forward_server *s, unsigned i)
{
    LOCKED(long, i < s->message_count ? s->messages[i].size : -1);
}

long forward_server_signal(forward_server *s, unsigned i)
{
    LOCKED(long, i < s->message_count ? s->messages[i].signal : -1);
}

const char *forward_server_packed(forward_server *s, unsigned i, size_t *len)
{
    const char *bytes = NULL;
    pthread_mutex_lock(&s->lock);
    if (i < s->message_count) {
        bytes = s->messages[i].packed;
        *len = s->messages[i].packed_len;
    }
    pthread_mutex_unlock(&s->lock);
    return bytes;
}

unsigned forward_server_count(forward_server *s, const char *text)
{
    unsigned n = 0;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->record_count; i++) {
        n += strcmp(s->records[i], text) == 0;
    }
    pthread_mutex_unlock(&s->lock);
    return n;
}

bool forward_server_await(forward_server *s, unsigned messages)
{
    for (int i = 0; i < 1000; i++) {
        if (forward_server_messages(s) >= messages) {
            return true;
        }
        usleep(10000);
    }
    return false;
}

static bool none_left(forward_server *s)
{
    LOCKED(bool, s->wrong > 0 && s->dropped == s->wrong);
}

bool forward_server_all_dropped(forward_server *s)
{
    for (int i = 0; i < 1000; i++) {
        if (none_left(s)) {
            return true;
        }
        usleep(10000);
    }
    return false;
}
