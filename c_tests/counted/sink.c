/* See sink.h. */
#define _GNU_SOURCE
#include "sink.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 2500 };

static void need(int good, const char *what)
{
    if (!good) {
        perror(what);
        abort();
    }
}

static void watch(int epoll, int fd)
{
    struct epoll_event event = {EPOLLIN, {.fd = fd}};
    need(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "sink: epoll_ctl");
}

static void serve(int listener)
{
    static char dropped[1 << 16];
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    need(epoll >= 0, "sink: epoll_create1");
    watch(epoll, listener);
    for (;;) {
        struct epoll_event event;
        if (epoll_wait(epoll, &event, 1, -1) != 1) {
            continue;
        }
        if (event.data.fd == listener) {
            int socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            if (socket >= 0) {
                watch(epoll, socket);
            }
        } else if (read(event.data.fd, dropped, sizeof(dropped)) <= 0) {
            close(event.data.fd);
        }
    }
}

struct sink sink_start(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    struct sink sink;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    need(listener >= 0, "sink: socket");
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    need(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0, "sink: bind");
    need(listen(listener, 512) == 0, "sink: listen");
    need(getsockname(listener, (struct sockaddr *)&address, &size) == 0, "sink: getsockname");
    sink.port = ntohs(address.sin_port);
    sink.id = fork();
    need(sink.id >= 0, "sink: fork");
    if (sink.id == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(listener);
    }
    close(listener);
    return sink;
}

void sink_stop(struct sink *sink)
{
    kill(sink->id, SIGKILL);
    waitpid(sink->id, NULL, 0);
}

void sink_raise_descriptors(void)
{
    struct rlimit limit;
    need(getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
    if (limit.rlim_max < MOST) {
        fprintf(stderr,
                "sink: the counted tests open more connections than the %zu descriptors that the "
                "hard limit allows; raise it (ulimit -Hn %d)\n",
                (size_t)limit.rlim_max, MOST);
        abort();
    }
    limit.rlim_cur = limit.rlim_max;
    need(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
}
