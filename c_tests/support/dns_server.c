/* See dns_server.h. One thread, over poll; late answers wait in a queue. Of RFC 1035 only what the
 * system resolver needs. */
#define _GNU_SOURCE
#include "dns_server.h"

#include "check.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    HEADER = 12,
    MOST_BYTES = 512,
    MOST_NAMES = 512,
    MOST_ADDRESSES = 8,
    MOST_LATE = 2048,
    TYPE_A = 1,
    TYPE_AAAA = 28
};

struct entry {
    char name[64];
    enum dns_way way;
    struct in_addr addresses[MOST_ADDRESSES];
    size_t count;
    unsigned delay_ms;
    size_t asked, asked_v6;
};

struct late {
    long due; /* milliseconds */
    struct sockaddr_in to;
    unsigned char bytes[MOST_BYTES];
    size_t length;
};

struct dns_server {
    int socket, stop[2];
    pthread_t thread;
    pthread_mutex_t lock;
    struct entry names[MOST_NAMES];
    size_t count;
    int v6_is_silent;
    struct late late[MOST_LATE];
    size_t waiting;
};

static void need(int holds, const char *what)
{
    if (!holds) {
        perror(what);
        abort();
    }
}

static struct entry *find(struct dns_server *server, const char *name)
{
    size_t i;
    for (i = 0; i < server->count; i++) {
        if (strcasecmp(server->names[i].name, name) == 0) {
            return &server->names[i];
        }
    }
    return NULL;
}

/* The name and the type of a query's only question; its length, or 0 if it is none. */
static size_t read_question(const unsigned char *bytes, size_t length, char *name, size_t room,
                            unsigned *type)
{
    size_t at = HEADER, used = 0;
    while (at < length && bytes[at] != 0) {
        size_t label = bytes[at];
        if (label > 63 || at + 1 + label >= length || used + label + 2 > room) {
            return 0;
        }
        if (used > 0) {
            name[used++] = '.';
        }
        memcpy(name + used, bytes + at + 1, label);
        used += label;
        at += 1 + label;
    }
    name[used] = '\0';
    if (at + 5 > length) {
        return 0;
    }
    *type = (unsigned)bytes[at + 1] << 8 | bytes[at + 2];
    return at + 5 - HEADER;
}

/* Makes the answer in the place of the query, and gives its length. */
static size_t write_answer(unsigned char *bytes, size_t question, const struct entry *entry,
                           unsigned type)
{
    size_t at = HEADER + question, i, answers = 0;
    unsigned code = 0;
    if (entry == NULL || entry->way == DNS_NO_SUCH_NAME) {
        code = 3;
    } else if (entry->way == DNS_FAILURE) {
        code = 2;
    }
    if (code == 0 && type == TYPE_A) {
        answers = entry->count;
    }
    bytes[2] = 0x85; /* an answer, with authority, recursion was wanted */
    bytes[3] = (unsigned char)(0x80 | code);
    memset(bytes + 4, 0, 8);
    bytes[5] = 1; /* question */
    bytes[7] = (unsigned char)answers;
    for (i = 0; i < answers; i++) {
        /* the name of the question; no time to live */
        static const unsigned char fixed[] = {0xc0, HEADER, 0, TYPE_A, 0, 1, 0, 0, 0, 0, 0, 4};
        memcpy(bytes + at, fixed, sizeof(fixed));
        memcpy(bytes + at + sizeof(fixed), &entry->addresses[i], 4);
        at += sizeof(fixed) + 4;
    }
    return at;
}

static void take_query(struct dns_server *server)
{
    struct late *late = &server->late[server->waiting];
    socklen_t size = sizeof(late->to);
    ssize_t got = recvfrom(server->socket, late->bytes, MOST_BYTES / 2, 0,
                           (struct sockaddr *)&late->to, &size);
    char name[256];
    unsigned type;
    size_t question =
        got > HEADER ? read_question(late->bytes, (size_t)got, name, sizeof(name), &type) : 0;
    struct entry *entry;
    if (question == 0) {
        return;
    }
    entry = find(server, name);
    if (entry != NULL && type == TYPE_A) {
        entry->asked++;
    }
    if (entry != NULL && type == TYPE_AAAA) {
        entry->asked_v6++;
    }
    if (entry != NULL && entry->way == DNS_SILENCE) {
        return;
    }
    if (server->v6_is_silent && type == TYPE_AAAA) {
        return;
    }
    late->length = write_answer(late->bytes, question, entry, type);
    late->due = check_now_ms() + (entry != NULL ? (long)entry->delay_ms : 0);
    server->waiting++;
    need(server->waiting < MOST_LATE, "too many late answers");
}

/* Sends what is due; the time until the next is, or -1. */
static int send_due(struct dns_server *server)
{
    long now = check_now_ms(), next = -1;
    size_t i;
    for (i = server->waiting; i-- > 0;) {
        struct late *late = &server->late[i];
        if (late->due <= now) {
            (void)sendto(server->socket, late->bytes, late->length, 0, (struct sockaddr *)&late->to,
                         sizeof(late->to));
            *late = server->late[--server->waiting];
        } else if (next < 0 || late->due - now < next) {
            next = late->due - now;
        }
    }
    return (int)next;
}

static void *run(void *argument)
{
    struct dns_server *server = argument;
    int pause = -1;
    for (;;) {
        struct pollfd watched[2] = {{server->socket, POLLIN, 0}, {server->stop[0], POLLIN, 0}};
        need(poll(watched, 2, pause) >= 0, "poll");
        if (watched[1].revents != 0) {
            return NULL;
        }
        pthread_mutex_lock(&server->lock);
        if (watched[0].revents != 0) {
            take_query(server);
        }
        pause = send_due(server);
        pthread_mutex_unlock(&server->lock);
    }
}

struct dns_server *dns_server_start(void)
{
    struct dns_server *server = calloc(1, sizeof(*server));
    struct sockaddr_in address;
    need(server != NULL, "calloc");
    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_port = htons(53);
    address.sin_addr.s_addr = inet_addr("127.0.0.53");
    server->socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    need(server->socket >= 0, "socket");
    need(bind(server->socket, (struct sockaddr *)&address, sizeof(address)) == 0,
         "bind 127.0.0.53:53");
    need(pipe2(server->stop, O_CLOEXEC) == 0, "pipe");
    need(pthread_mutex_init(&server->lock, NULL) == 0, "mutex");
    need(pthread_create(&server->thread, NULL, run, server) == 0, "pthread_create");
    return server;
}

void dns_server_set(struct dns_server *server, const char *name, enum dns_way way,
                    const char *addresses, unsigned delay_ms)
{
    struct entry *entry;
    char list[256], *rest = NULL, *address;
    pthread_mutex_lock(&server->lock);
    entry = find(server, name);
    if (entry == NULL) {
        need(server->count < MOST_NAMES, "too many names");
        entry = &server->names[server->count++];
        snprintf(entry->name, sizeof(entry->name), "%s", name);
    }
    entry->way = way;
    entry->delay_ms = delay_ms;
    entry->count = 0;
    snprintf(list, sizeof(list), "%s", addresses);
    for (address = strtok_r(list, " ", &rest); address != NULL;
         address = strtok_r(NULL, " ", &rest)) {
        need(entry->count < MOST_ADDRESSES && inet_aton(address, &entry->addresses[entry->count++]),
             "address");
    }
    pthread_mutex_unlock(&server->lock);
}

void dns_server_silence_v6(struct dns_server *server, int silent)
{
    pthread_mutex_lock(&server->lock);
    server->v6_is_silent = silent;
    pthread_mutex_unlock(&server->lock);
}

static size_t count_asked(struct dns_server *server, const char *name, unsigned type)
{
    struct entry *entry;
    size_t asked = 0;
    pthread_mutex_lock(&server->lock);
    entry = find(server, name);
    if (entry != NULL) {
        asked = type == TYPE_A ? entry->asked : entry->asked_v6;
    }
    pthread_mutex_unlock(&server->lock);
    return asked;
}

size_t dns_server_asked(struct dns_server *server, const char *name)
{
    return count_asked(server, name, TYPE_A);
}

size_t dns_server_asked_v6(struct dns_server *server, const char *name)
{
    return count_asked(server, name, TYPE_AAAA);
}

void dns_server_stop(struct dns_server *server)
{
    need(write(server->stop[1], "", 1) == 1, "write");
    pthread_join(server->thread, NULL);
    close(server->socket);
    close(server->stop[0]);
    close(server->stop[1]);
    pthread_mutex_destroy(&server->lock);
    free(server);
}
