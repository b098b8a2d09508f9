/*
 * upstream-forward: sends log files to the nodes of an upstream file, as records of the Forward
 * protocol. Here is the loop over files and lines; the other files of this folder do the rest.
 */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The earlier of two times; -1 means never. */
static int64_t sooner(int64_t a, int64_t b)
{
    if (a < 0 || b < 0) {
        return a < 0 ? b : a;
    }
    return a < b ? a : b;
}

/*
 * Waits until the file is readable (true), until the time comes, or until a stop is asked for
 * (false). If the batch falls due during the wait, it is sent.
 */
static bool wait_and_flush(sender *s, int fd, int64_t until_ms)
{
    for (;;) {
        bool readable = wait_readable(fd, sooner(until_ms, s->flush_at));
        int64_t now = clock_ms();
        if (s->flush_at >= 0 && now >= s->flush_at) {
            sender_flush(s);
        }
        if (readable || stop_asked() != STOP_NOT || (until_ms >= 0 && now >= until_ms)) {
            return readable;
        }
    }
}

/* With --rate: waits until the next line may be sent. */
static void keep_rate(sender *s, int64_t started_ms)
{
    if (s->settings->rate > 0) {
        int64_t due = started_ms + (int64_t)((double)s->counts.read * 1000 / s->settings->rate);
        if (due > clock_ms()) {
            wait_and_flush(s, -1, due);
        }
    }
}

static void add_line(sender *s, const lines *in, lines_result result, const char *line, size_t len)
{
    if (result == LINES_LINE) {
        sender_add(s, line, len);
    } else {
        s->counts.read++;
        s->counts.lost++;
        report(UPSTREAM_LOG_ERROR, "%s:%" PRIu64 ": the line is over %zu bytes and was left out",
               in->name, in->number, LINE_MAX_BYTES);
    }
    report_progress(&s->counts);
}

/* Reports that the input was not read to its end, and why. Half a line that was read from a pipe or
 * terminal is counted too: nobody else has it any more. */
static void note_unread(sender *s, const lines *in, const char *why)
{
    report(UPSTREAM_LOG_ERROR, "%s: %s after line %" PRIu64 "; the rest was not read", in->name,
           why, in->number);
    if (lines_inside(in) && !in->regular) { /* a regular file still has the whole line */
        s->counts.read++;
        s->counts.not_sent++;
        report(UPSTREAM_LOG_ERROR, "%s: the beginning of line %" PRIu64 " was taken and not sent",
               in->name, in->number + 1);
    }
}

/* False if the file was not read to its end. When a stop is asked for, the lines that are in the
 * buffer by then are still sent. */
static bool send_lines(sender *s, lines *in, int64_t started_ms)
{
    const char *line;
    size_t len;
    for (;;) {
        lines_result next = lines_next(in, &line, &len);
        if (next == LINES_END && lines_truncated(in)) {
            report(UPSTREAM_LOG_ERROR,
                   "%s: became shorter while it was read; lines of it may be missing", in->name);
            return false;
        }
        if (next == LINES_END) {
            return true;
        }
        if (next != LINES_NEED) {
            keep_rate(s, started_ms);
            add_line(s, in, next, line, len);
            continue;
        }
        bool readable = wait_and_flush(s, in->fd, -1);
        if (stop_asked() != STOP_NOT && !lines_at_end(in)) {
            note_unread(s, in, "stopped");
            return false;
        }
        if ((readable || stop_asked() != STOP_NOT) && !lines_fill(in)) {
            note_unread(s, in, strerror(errno));
            return false;
        }
    }
}

static bool send_file(sender *s, const char *name, int64_t started_ms)
{
    lines in;
    if (stop_asked() != STOP_NOT) {
        report(UPSTREAM_LOG_ERROR, "%s: was not read", name);
        return false;
    }
    if (!lines_open(&in, name)) {
        report(UPSTREAM_LOG_ERROR, "%s: %s", name, strerror(errno));
        return false;
    }
    bool good = send_lines(s, &in, started_ms);
    lines_close(&in);
    return good;
}

static bool send_all(sender *s)
{
    const settings *set = s->settings;
    int64_t started = clock_ms();
    bool good = true;

    if (set->file_count == 0) {
        good = send_file(s, "-", started);
    }
    for (int i = 0; i < set->file_count; i++) {
        good = send_file(s, set->files[i], started) && good;
    }
    sender_flush(s);
    return good;
}

/* Prints the table and the counts. If stdout does not take them, the counts go to stderr as an
 * error message, because the user must see them. */
static bool print_report(const sender *s)
{
    char counts[256];
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    report_counts(counts, sizeof counts, &s->counts);
    if (out != NULL) {
        if (!s->settings->quiet) {
            sender_print_table(s, out);
        }
        fprintf(out, "%s\n", counts);
    }
    bool printed = out != NULL && fclose(out) == 0 && report_output(text, len);
    if (!printed) {
        report(UPSTREAM_LOG_ERROR, "%s (this could not be written to standard output: %s)", counts,
               strerror(errno));
    }
    free(text);
    return printed;
}

static int run(const settings *set)
{
    sender s;
    report_start(set->log_level, !set->quiet && isatty(STDERR_FILENO));
    if (!sender_open(&s, set)) {
        sender_close(&s);
        return EXIT_USAGE;
    }
    bool all = send_all(&s);
    all = all && s.counts.read == s.counts.delivered + s.counts.sent;
    report_end();
    if (stop_signal() != 0) {
        report(UPSTREAM_LOG_ERROR, "stopped by %s", stop_signal_name());
    }
    bool printed = print_report(&s);
    sender_close(&s);
    if (!all && stop_signal() != 0) {
        stop_die(stop_signal());
    }
    return all && printed ? EXIT_ALL : EXIT_NOT_ALL;
}

int main(int argc, char **argv)
{
    settings set;
    if (!report_hold_descriptors()) {
        return EXIT_NOT_ALL; /* there is nowhere to say why */
    }
    /* A reader that has gone, or a limit on the size of files, must not end the program. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    int status = settings_read(&set, argc, argv);
    if (status < 0 && !stop_listen(set.grace_ms)) {
        fprintf(stderr, "upstream-forward: %s\n", strerror(errno));
        status = EXIT_NOT_ALL;
    }
    if (status < 0) {
        status = run(&set);
    }
    stop_end();
    settings_free(&set);
    return status;
}
