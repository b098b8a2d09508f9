/* See counter.h. One thread per receiver, over poll; a pipe takes the commands, another tells that
 * they were obeyed. */
#define _GNU_SOURCE
#include "counter.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECORD = 8, MOST_CONNECTIONS = 1024 };

struct ledger {
    size_t most;
    _Atomic unsigned char *times;
};

struct connection {
    int fd;
    size_t have;
    unsigned char record[RECORD];
};

struct counter {
    struct ledger *ledger;
    struct in_addr address;
    uint16_t port;
    int mute;
    int listener; /* -1 while it is dead */
    int commands[2], answers[2];
    pthread_t thread;
    size_t connections;
    struct connection of[MOST_CONNECTIONS];
};

static void need(int holds, const char *what)
{
    if (!holds) {
        perror(what);
        abort();
    }
}

struct ledger *ledger_create(size_t most)
{
    struct ledger *ledger = malloc(sizeof(*ledger));
    need(ledger != NULL, "malloc");
    ledger->most = most;
    ledger->times = malloc(most);
    need(ledger->times != NULL, "malloc");
    memset((void *)ledger->times, 0, most);
    return ledger;
}

size_t ledger_times(const struct ledger *ledger, uint64_t record)
{
    return atomic_load(&ledger->times[record]);
}

void ledger_free(struct ledger *ledger)
{
    free((void *)ledger->times);
    free(ledger);
}

static void mark(struct ledger *ledger, uint64_t record)
{
    if (record >= ledger->most) {
        fprintf(stderr, "a record that nobody sent: %llu\n", (unsigned long long)record);
        abort();
    }
    if (atomic_load(&ledger->times[record]) < 2) {
        atomic_fetch_add(&ledger->times[record], 1);
    }
}

static void listen_again(struct counter *counter)
{
    struct sockaddr_in address;
    socklen_t length = sizeof(address);
    int yes = 1;
    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_port = htons(counter->port);
    address.sin_addr = counter->address;
    counter->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    need(counter->listener >= 0, "socket");
    need(setsockopt(counter->listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) == 0,
         "SO_REUSEADDR");
    need(bind(counter->listener, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
    need(listen(counter->listener, 512) == 0, "listen");
    need(getsockname(counter->listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
    counter->port = ntohs(address.sin_port);
}

static void reset(int fd)
{
    struct linger none = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    close(fd);
}

static void die(struct counter *counter)
{
    if (counter->listener >= 0) {
        close(counter->listener);
        counter->listener = -1;
    }
    while (counter->connections > 0) {
        reset(counter->of[--counter->connections].fd);
    }
}

static void accept_all(struct counter *counter)
{
    while (counter->connections < MOST_CONNECTIONS) {
        int fd = accept4(counter->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            return;
        }
        counter->of[counter->connections].fd = fd;
        counter->of[counter->connections++].have = 0;
    }
}

/* Whether the connection goes on. */
static int serve(struct counter *counter, struct connection *connection)
{
    ssize_t got =
        recv(connection->fd, connection->record + connection->have, RECORD - connection->have, 0);
    uint64_t record;
    if (got <= 0) {
        return 0;
    }
    connection->have += (size_t)got;
    if (connection->have < RECORD) {
        return 1;
    }
    connection->have = 0;
    memcpy(&record, connection->record, RECORD);
    mark(counter->ledger, record);
    return counter->mute ||
           send(connection->fd, connection->record, RECORD, MSG_NOSIGNAL) == RECORD;
}

static void *run(void *argument)
{
    struct counter *counter = argument;
    struct pollfd *watched = calloc(MOST_CONNECTIONS + 2, sizeof(*watched));
    need(watched != NULL, "calloc");
    for (;;) {
        size_t i, count = counter->connections;
        char command;
        watched[0] = (struct pollfd){counter->commands[0], POLLIN, 0};
        watched[1] = (struct pollfd){counter->listener, POLLIN, 0}; /* -1 is passed over */
        for (i = 0; i < count; i++) {
            watched[2 + i] = (struct pollfd){counter->of[i].fd, POLLIN, 0};
        }
        need(poll(watched, count + 2, -1) > 0, "poll");
        for (i = count; i-- > 0;) {
            if (watched[2 + i].revents != 0 && !serve(counter, &counter->of[i])) {
                close(counter->of[i].fd);
                counter->of[i] = counter->of[--counter->connections];
            }
        }
        if (watched[1].revents != 0 && counter->listener >= 0) {
            accept_all(counter);
        }
        if (watched[0].revents == 0) {
            continue;
        }
        need(read(counter->commands[0], &command, 1) == 1, "read");
        if (command == 'r') {
            listen_again(counter);
        } else {
            die(counter);
        }
        need(write(counter->answers[1], "", 1) == 1, "write");
        if (command == 's') {
            free(watched);
            return NULL;
        }
    }
}

static void order(struct counter *counter, const char *command)
{
    char answer;
    need(write(counter->commands[1], command, 1) == 1, "write");
    need(read(counter->answers[0], &answer, 1) == 1, "read");
}

static struct counter *start(struct ledger *ledger, const char *address, uint16_t port, int mute)
{
    struct counter *counter = calloc(1, sizeof(*counter));
    need(counter != NULL, "calloc");
    counter->ledger = ledger;
    counter->mute = mute;
    counter->port = port;
    need(inet_aton(address, &counter->address), "address");
    need(pipe(counter->commands) == 0 && pipe(counter->answers) == 0, "pipe");
    listen_again(counter);
    need(pthread_create(&counter->thread, NULL, run, counter) == 0, "pthread_create");
    return counter;
}

struct counter *counter_start(struct ledger *ledger)
{
    return counter_start_at(ledger, "127.0.0.1", 0);
}

struct counter *counter_start_at(struct ledger *ledger, const char *address, uint16_t port)
{
    return start(ledger, address, port, 0);
}

struct counter *counter_start_mute(struct ledger *ledger)
{
    return start(ledger, "127.0.0.1", 0, 1);
}

uint16_t counter_port(const struct counter *counter)
{
    return counter->port;
}

void counter_kill(struct counter *counter)
{
    order(counter, "k");
}

void counter_revive(struct counter *counter)
{
    order(counter, "r");
}

void counter_stop(struct counter *counter)
{
    order(counter, "s");
    pthread_join(counter->thread, NULL);
    close(counter->commands[0]);
    close(counter->commands[1]);
    close(counter->answers[0]);
    close(counter->answers[1]);
    free(counter);
}
