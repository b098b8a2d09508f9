/*
 * upstream-forward: log files to the nodes of an upstream file, as records of the Forward protocol.
 * The loop over files and lines; everything else stands in the files beside it.
 */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The earlier of two times, where -1 is never. */
static int64_t sooner(int64_t a, int64_t b) {
    if (a < 0 || b < 0) {
        return a < 0 ? b : a;
    }
    return a < b ? a : b;
}

/*
 * Waits for the file or a time, and sends the batch at hand when its own time comes meanwhile. True
 * where the file is readable; false at the time, or where a stop is asked for.
 */
static bool wait_and_flush(sender *s, int fd, int64_t until_ms) {
    for (;;) {
        bool readable = wait_readable(fd, sooner(until_ms, s->flush_at));
        int64_t now = clock_ms();
        if (s->flush_at >= 0 && now >= s->flush_at) {
            sender_flush(s);
        }
        if (readable || stop_requested() || (until_ms >= 0 && now >= until_ms)) {
            return readable;
        }
    }
}

/* With --rate: waits until the next line is due. */
static void keep_rate(sender *s, int64_t started_ms) {
    if (s->settings->rate > 0) {
        int64_t due = started_ms + (int64_t)((double)s->counts.read * 1000 / s->settings->rate);
        if (due > clock_ms()) {
            wait_and_flush(s, -1, due);
        }
    }
}

/* False where the file could not be read to its end. */
static bool send_file(sender *s, const char *name, int64_t started_ms) {
    lines in;
    const char *line;
    size_t len;
    bool good = true;

    if (!lines_open(&in, name)) {
        report(UPSTREAM_LOG_ERROR, "%s: %s", name, strerror(errno));
        return false;
    }
    while (good && !stop_requested()) {
        lines_result next = lines_next(&in, &line, &len);
        if (next == LINES_END) {
            break;
        }
        if (next == LINES_NEED) {
            good = !wait_and_flush(s, in.fd, -1) || lines_fill(&in);
            continue;
        }
        keep_rate(s, started_ms);
        if (next == LINES_TOO_LONG) {
            s->counts.read++;
            s->counts.lost++;
            report(UPSTREAM_LOG_ERROR, "%s:%" PRIu64 ": the line is over %zu bytes and was left out", in.name, in.number,
                   LINE_MAX_BYTES);
        } else {
            sender_add(s, line, len);
        }
        report_progress(&s->counts);
    }
    if (!good) {
        report(UPSTREAM_LOG_ERROR, "%s: %s", in.name, strerror(errno));
    }
    lines_close(&in);
    return good;
}

static bool send_all(sender *s) {
    const settings *set = s->settings;
    int64_t started = clock_ms();
    bool good = true;

    if (set->file_count == 0) {
        good = send_file(s, "-", started);
    }
    for (int i = 0; i < set->file_count && !stop_requested(); i++) {
        good = send_file(s, set->files[i], started) && good;
    }
    sender_flush(s);
    return good;
}

static int run(const settings *set) {
    sender s;
    bool good;

    report_start(set->log_level, !set->quiet && isatty(STDERR_FILENO));
    if (!sender_open(&s, set)) {
        sender_close(&s);
        return EXIT_USAGE;
    }
    good = send_all(&s);
    report_end();
    if (!set->quiet) {
        sender_print_table(&s);
    }
    printf("%" PRIu64 " read, %" PRIu64 " delivered, %" PRIu64 " lost\n", s.counts.read, s.counts.delivered, s.counts.lost);
    good = fflush(stdout) == 0 && good && s.counts.lost == 0;
    sender_close(&s);
    return good ? EXIT_DELIVERED : EXIT_NOT_DELIVERED;
}

int main(int argc, char **argv) {
    settings set;
    int status = settings_read(&set, argc, argv);

    if (status < 0 && !stop_listen()) {
        fprintf(stderr, "upstream-forward: %s\n", strerror(errno));
        status = EXIT_NOT_DELIVERED;
    }
    if (status < 0) {
        status = run(&set);
    }
    settings_free(&set);
    return status;
}
