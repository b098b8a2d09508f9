/*
 * Messages and the progress line, both on stderr. The library may log from threads of its own, so a
 * message is one write.
 */
#include "cli.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_MAX 2048

static struct {
    int32_t level;
    bool progress;
    int64_t drawn_at, started_at;
} view = {UPSTREAM_LOG_WARN, false, 0, 0};

void report_start(int32_t level, bool progress) {
    view.level = level;
    view.progress = progress;
    view.started_at = clock_ms();
}

void report_log(int32_t level, const char *message, void *ctx) {
    static const char *const names[] = {"", "error", "warning", "info", "debug", "trace"};
    (void)ctx;
    if (level <= view.level && level >= UPSTREAM_LOG_ERROR && level <= UPSTREAM_LOG_TRACE) {
        fprintf(stderr, "%supstream-forward: %s: %s\n", view.progress ? "\r\033[K" : "", names[level], message);
    }
}

void report(int32_t level, const char *format, ...) {
    char message[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    report_log(level, message, NULL);
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
