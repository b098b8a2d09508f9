/*
 * Messages and the progress line, both on stderr. The library may log from threads of its own, so a
 * message is one write. A node that stays down says the same again and again: once is enough for a while.
 */
#include "cli.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_MAX 2048
#define SAID_MAX 32        /* different messages that are remembered */
#define SAID_AGAIN_MS 60000

static struct {
    int32_t level;
    bool progress;
    int64_t drawn_at, started_at;
} view = {UPSTREAM_LOG_WARN, false, 0, 0};

static struct {
    pthread_mutex_t lock;
    uint64_t hash[SAID_MAX];
    int64_t at[SAID_MAX];
    unsigned next;
} said = {PTHREAD_MUTEX_INITIALIZER, {0}, {0}, 0};

/* Whether the same was said a short while ago; remembers it where not. */
static bool said_lately(const char *message) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    int64_t now = clock_ms();
    bool found = false;

    for (const char *p = message; *p != '\0'; p++) {
        hash = (hash ^ (unsigned char)*p) * 1099511628211u;
    }
    pthread_mutex_lock(&said.lock);
    for (unsigned i = 0; i < SAID_MAX && !found; i++) {
        found = said.hash[i] == hash && said.at[i] != 0 && now - said.at[i] < SAID_AGAIN_MS;
    }
    if (!found) {
        said.hash[said.next] = hash;
        said.at[said.next] = now;
        said.next = (said.next + 1) % SAID_MAX;
    }
    pthread_mutex_unlock(&said.lock);
    return found;
}

static void print(int32_t level, const char *message) {
    static const char *const names[] = {"", "error", "warning", "info", "debug", "trace"};
    if (level <= view.level && level >= UPSTREAM_LOG_ERROR && level <= UPSTREAM_LOG_TRACE) {
        fprintf(stderr, "%supstream-forward: %s: %s\n", view.progress ? "\r\033[K" : "", names[level], message);
    }
}

void report_start(int32_t level, bool progress) {
    view.level = level;
    view.progress = progress;
    view.started_at = clock_ms();
}

void report_log(int32_t level, const char *message, void *ctx) {
    (void)ctx;
    if (view.level > UPSTREAM_LOG_WARN || !said_lately(message)) {
        print(level, message);
    }
}

void report(int32_t level, const char *format, ...) {
    char message[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    print(level, message);
}

void report_progress(const counts *c) {
    int64_t now = view.progress ? clock_ms() : 0;
    if (!view.progress || now - view.drawn_at < 100) {
        return;
    }
    view.drawn_at = now;
    double seconds = (double)(now - view.started_at) / 1000;
    double rate = seconds > 0 ? (double)c->delivered / seconds : 0;
    fprintf(stderr, "\r\033[K%" PRIu64 " read, %" PRIu64 " delivered, %" PRIu64 " lost, %.0f/s", c->read, c->delivered,
            c->lost, rate);
    fflush(stderr);
}

void report_end(void) {
    if (view.progress && view.drawn_at != 0) {
        fprintf(stderr, "\r\033[K");
    }
}
