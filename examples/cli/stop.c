/*
 * The wish to stop, and every wait of the program: a signal writes to a pipe, so that no wait can miss
 * it.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static int stop_pipe[2] = {-1, -1};
static volatile sig_atomic_t stopped;

static void on_signal(int number) {
    int saved = errno;
    (void)number;
    stopped = 1;
    ssize_t sent = write(stop_pipe[1], "", 1);
    (void)sent; /* a full pipe wakes the waiter as well */
    errno = saved;
}

bool stop_listen(void) {
    struct sigaction action;

    if (pipe(stop_pipe) != 0) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        fcntl(stop_pipe[i], F_SETFD, FD_CLOEXEC);
        fcntl(stop_pipe[i], F_SETFL, O_NONBLOCK);
    }
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = (int)SA_RESETHAND; /* the second signal does what signals do */
    sigemptyset(&action.sa_mask);
    return sigaction(SIGINT, &action, NULL) == 0 && sigaction(SIGTERM, &action, NULL) == 0;
}

bool stop_requested(void) {
    return stopped != 0;
}

int64_t clock_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool wait_readable(int fd, int64_t until_ms) {
    for (;;) {
        struct pollfd p[2] = {{stop_pipe[0], POLLIN, 0}, {fd, POLLIN, 0}};
        int64_t left = until_ms < 0 ? -1 : until_ms - clock_ms();
        if (until_ms >= 0 && left < 0) {
            left = 0;
        }
        int ready = poll(p, fd < 0 ? 1 : 2, left > INT_MAX ? INT_MAX : (int)left);
        if (stopped) {
            return false;
        }
        if (ready >= 0) {
            return ready > 0 && fd >= 0 && p[1].revents != 0;
        }
        if (errno != EINTR) {
            return fd >= 0; /* let the read tell what is wrong */
        }
    }
}
