#define _GNU_SOURCE
#include "peer.h"
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in loopback(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

int peer_bind(uint16_t *port)
{
    struct sockaddr_in address = loopback(0);
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bench_system(fd >= 0 && bind(fd, (struct sockaddr *)&address, length) == 0, "bind");
    bench_system(getsockname(fd, (struct sockaddr *)&address, &length) == 0, "getsockname");
    *port = ntohs(address.sin_port);
    return fd;
}

/* Reads what is there. Returns 0 if the connection is over. */
static int take_in(int fd, size_t answer_each, size_t *unanswered)
{
    /* With MSG_TRUNC and without a buffer, TCP throws the bytes away: the cheapest way to read, see
     * tcp(7). */
    ssize_t got = recv(fd, NULL, 4 << 20, MSG_TRUNC | MSG_DONTWAIT);
    if (got <= 0) {
        return got < 0 && errno == EAGAIN;
    }
    *unanswered += (size_t)got;
    while (answer_each != 0 && *unanswered >= answer_each) {
        *unanswered -= answer_each;
        if (send(fd, "", 1, MSG_NOSIGNAL) != 1) {
            return 0;
        }
    }
    return 1;
}

static void serve(int listener, size_t answer_each)
{
    size_t room = peer_descriptors(40000);
    size_t *unanswered = calloc(room, sizeof(*unanswered));
    struct epoll_event events[64], event = {.events = EPOLLIN, .data = {.fd = listener}};
    int epoll = epoll_create1(0);
    bench_system(unanswered != NULL && epoll >= 0, "epoll_create1");
    bench_system(epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) == 0, "epoll_ctl");
    for (;;) {
        int i, count = epoll_wait(epoll, events, 64, -1);
        for (i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int one = 1;
                fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                if (fd >= 0) {
                    unanswered[fd] = 0;
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
                    event.data.fd = fd;
                    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
                }
            } else if (!take_in(fd, answer_each, &unanswered[fd])) {
                close(fd);
            }
        }
    }
}

struct peer peer_start(size_t answer_each)
{
    struct peer peer;
    pid_t parent = getpid();
    int listener = peer_bind(&peer.port);
    bench_system(listen(listener, 4096) == 0, "listen");
    peer.process = fork();
    bench_system(peer.process >= 0, "fork");
    if (peer.process == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) {
            serve(listener, answer_each);
        }
        _exit(1);
    }
    close(listener);
    return peer;
}

void peer_end(struct peer *peer)
{
    kill(peer->process, SIGKILL);
    waitpid(peer->process, NULL, 0);
}

int peer_dial(uint16_t port, int flags)
{
    struct sockaddr_in address = loopback(port);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bench_system(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0,
                 "connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if ((flags & SOCK_NONBLOCK) != 0) {
        bench_system(ioctl(fd, FIONBIO, &one) == 0, "ioctl");
    }
    return fd;
}

void peer_drain(int fd)
{
    struct timespec pause = {.tv_nsec = 50000};
    int waiting = 1, tries = 0;
    while (ioctl(fd, SIOCOUTQ, &waiting) == 0 && waiting != 0 && tries++ < 100000) {
        nanosleep(&pause, NULL);
    }
}

size_t peer_descriptors(size_t count)
{
    struct rlimit limit;
    bench_system(getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
    if (limit.rlim_cur < count) {
        limit.rlim_cur = limit.rlim_max < count ? limit.rlim_max : count;
        bench_system(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
    }
    return limit.rlim_cur < count ? (size_t)limit.rlim_cur : count;
}
