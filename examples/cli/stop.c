/*
 * Signals that ask the program to stop, and all of its waits. A separate thread takes the signals,
 * so no handler interrupts a call, and no wait can miss a signal.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* One wish to stop often sends the signal twice: a terminal and its shell both send it, and
 * timeout(1) sends it to the child and to its group. Within this time both count as one. */
#define SAME_STOP_MS 100

static struct {
    pthread_mutex_t lock;
    stop_level level;
    int number;      /* of the first signal */
    int pipes[2][2]; /* [0] is readable from STOP_READING on, [1] from STOP_SENDING on */
    int64_t grace_ms;
    upstream_t *up;
    sigset_t set;
    pthread_t thread;
    bool running;
} stop = {.lock = PTHREAD_MUTEX_INITIALIZER, .pipes = {{-1, -1}, {-1, -1}}};

int64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void raise_to(stop_level level, int number)
{
    pthread_mutex_lock(&stop.lock);
    stop.level = level;
    stop.number = stop.number == 0 ? number : stop.number;
    if (level == STOP_SENDING) {
        upstream_cancel(stop.up);
    }
    pthread_mutex_unlock(&stop.lock);
    ssize_t sent = write(stop.pipes[level - STOP_READING][1], "", 1);
    (void)sent; /* cannot fail: an empty pipe takes a byte */
}

/* The next signal, or 0 when the time (of clock_ms; -1: never) has come. */
static int next_signal(int64_t until_ms)
{
    for (;;) {
        int64_t left = until_ms < 0 ? 60000 : until_ms - clock_ms();
        left = left < 0 ? 0 : left;
        struct timespec t = {(time_t)(left / 1000), (long)(left % 1000) * 1000000};
        int number = sigtimedwait(&stop.set, NULL, &t);
        if (number > 0 || (until_ms >= 0 && clock_ms() >= until_ms)) {
            return number > 0 ? number : 0;
        }
    }
}

static void *watch(void *unused)
{
    (void)unused;
    int number = next_signal(-1);
    int64_t since = clock_ms();
    raise_to(STOP_READING, number);
    do {
        number = next_signal(since + stop.grace_ms);
    } while (number != 0 && clock_ms() - since < SAME_STOP_MS);
    raise_to(STOP_SENDING, number);
    stop_die(next_signal(-1)); /* the third signal ends the process */
    return NULL;
}

/* A signal that was ignored at the start stays ignored: the program runs under nohup or in the
 * background. */
static void watch_for(int number)
{
    struct sigaction action;
    if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_IGN) {
        sigaddset(&stop.set, number);
    }
}

bool stop_listen(int64_t grace_ms)
{
    for (int i = 0; i < 2; i++) {
        if (pipe(stop.pipes[i]) != 0) {
            return false;
        }
        fcntl(stop.pipes[i][0], F_SETFD, FD_CLOEXEC);
        fcntl(stop.pipes[i][1], F_SETFD, FD_CLOEXEC);
    }
    stop.grace_ms = grace_ms;
    sigemptyset(&stop.set);
    watch_for(SIGINT);
    watch_for(SIGTERM);
    watch_for(SIGHUP);
    errno = pthread_sigmask(SIG_BLOCK, &stop.set, NULL);
    if (errno == 0) {
        errno = pthread_create(&stop.thread, NULL, watch, NULL);
        stop.running = errno == 0;
    }
    return stop.running;
}

void stop_cancels(upstream_t *up)
{
    pthread_mutex_lock(&stop.lock);
    stop.up = up;
    pthread_mutex_unlock(&stop.lock);
}

stop_level stop_asked(void)
{
    pthread_mutex_lock(&stop.lock);
    stop_level level = stop.level;
    pthread_mutex_unlock(&stop.lock);
    return level;
}

int stop_signal(void)
{
    pthread_mutex_lock(&stop.lock);
    int number = stop.number;
    pthread_mutex_unlock(&stop.lock);
    return number;
}

const char *stop_signal_name(void)
{
    switch (stop_signal()) {
    case SIGINT:
        return "SIGINT";
    case SIGHUP:
        return "SIGHUP";
    default:
        return "SIGTERM";
    }
}

void stop_die(int number)
{
    sigset_t set;
    signal(number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    kill(getpid(), number);
    pause(); /* the signal may first reach another thread */
}

void stop_end(void)
{
    if (stop.running) {
        pthread_cancel(stop.thread);
        pthread_join(stop.thread, NULL);
    }
    for (int i = 0; i < 4; i++) {
        if (stop.pipes[i / 2][i % 2] >= 0) {
            close(stop.pipes[i / 2][i % 2]);
        }
    }
}

/* True if `fd` is ready for `events`; false if the time has come, or at a stop of this level. */
static bool wait_for(int fd, short events, int64_t until_ms, stop_level level)
{
    for (;;) {
        struct pollfd p[2] = {{stop.pipes[level - STOP_READING][0], POLLIN, 0}, {fd, events, 0}};
        int64_t left = until_ms < 0 ? -1 : until_ms - clock_ms();
        if (until_ms >= 0 && left < 0) {
            left = 0;
        }
        int ready = poll(p, fd < 0 ? 1 : 2, left > INT_MAX ? INT_MAX : (int)left);
        if (stop_asked() >= level) {
            return false;
        }
        if (ready >= 0) {
            return ready > 0 && fd >= 0 && p[1].revents != 0;
        }
        if (errno != EINTR) {
            return fd >= 0; /* the read or write will say what is wrong */
        }
    }
}

bool wait_readable(int fd, int64_t until_ms)
{
    return wait_for(fd, POLLIN, until_ms, STOP_READING);
}

void wait_to_send(int64_t until_ms)
{
    wait_for(-1, 0, until_ms, STOP_SENDING);
}
