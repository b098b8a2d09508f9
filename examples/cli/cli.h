/*
 * What the parts of upstream-forward share: settings, lines in, batches out, and what the user
 * sees. One thread does the work; another takes the signals (stop.c).
 *
 * The books are kept by the line: what was read is delivered, sent, lost, perhaps arrived, or not
 * sent, and the exit status is 0 only where that is "delivered" (or, without acks, "sent") for all
 * the input.
 */
#ifndef UPSTREAM_FORWARD_CLI_H
#define UPSTREAM_FORWARD_CLI_H

#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <stdio.h>

#include "../forward/forward.h"

enum { EXIT_ALL = 0, EXIT_NOT_ALL = 1, EXIT_USAGE = 2 };

/* ---- settings.c: the command line ---- */

typedef struct settings {
    const char *upstream_file;
    const char *tag;
    char **files; /* NULL where standard input is to be read */
    int file_count;
    size_t batch_records;
    int64_t flush_ms;     /* a batch that is not full goes out after this */
    int64_t retry_for_ms; /* how long a batch no node took is tried again */
    int64_t retries;      /* how often at most; -1 where only the time counts */
    int64_t grace_ms;     /* how long the rest may take after the first signal */
    double rate;          /* lines a second; 0 is as fast as they come */
    bool packed;
    bool no_acks; /* whatever the file says; else the file's word counts, and without one acks are
                     on */
    bool quiet;
    int32_t log_level;
    msgpack_sbuffer fields; /* --field pairs, encoded */
    size_t field_count;
    upstream_options_t *options;
} settings;

/*
 * Reads the command line. Returns -1 where the program is to run, else the exit status: --help and
 * --version are answered on stdout, a wrong use on stderr.
 */
int settings_read(settings *s, int argc, char **argv);
void settings_free(settings *s);

/* ---- stop.c: SIGINT, SIGTERM, SIGHUP, and waiting -----------------------------------------------
 */

typedef enum stop_level {
    STOP_NOT,
    STOP_READING, /* from the first signal on: read nothing more, send what was taken */
    STOP_SENDING  /* from the second on, or after the grace: count what is left */
} stop_level;

/* From here on signals are counted; the third ends the process at once. False with errno set. */
bool stop_listen(int64_t grace_ms);
void stop_end(void);
/* The set whose calls are cancelled when sending is to stop; NULL before it is destroyed. */
void stop_cancels(upstream_t *up);
stop_level stop_asked(void);
int stop_signal(void); /* the first; 0 where none came */
const char *stop_signal_name(void);
/* Ends the process as the signal would have, without a handler. */
void stop_die(int number);

int64_t clock_ms(void); /* monotonic */

/*
 * Waits until `fd` is readable (-1: until the time alone), the time (of clock_ms; -1 for ever) is
 * reached, or reading is to stop. True where `fd` is readable.
 */
bool wait_readable(int fd, int64_t until_ms);
/* Waits until the time, or until sending is to stop. */
void wait_to_send(int64_t until_ms);

/* ---- lines.c: a file as lines ---- */

typedef enum lines_result { LINES_LINE, LINES_TOO_LONG, LINES_NEED, LINES_END } lines_result;

typedef struct lines {
    int fd;
    const char *name;
    char *data;
    size_t start, len, cap; /* what is buffered: data[start .. len] */
    size_t seen;            /* data[start .. seen] holds no newline */
    uint64_t number;        /* of the line given last */
    bool regular;           /* a file: what is left in it is still there afterwards */
    bool ended;
    bool skipping; /* inside a line that is too long */
} lines;

#define LINE_MAX_BYTES ((size_t)64 * 1024 * 1024)

/* Opens a file, or standard input for "-". False with errno set. */
bool lines_open(lines *in, const char *name);
/* The next line without its LF or CRLF, valid until the next call. NEED: call lines_fill first. */
lines_result lines_next(lines *in, const char **line, size_t *len);
/* One read. False with errno set; the end of the file is no error. */
bool lines_fill(lines *in);
/* Whether the beginning of a line was taken whose end was not. */
bool lines_inside(const lines *in);
/* Whether the next lines_fill() would find the end, without waiting. */
bool lines_at_end(const lines *in);
/* Whether the file is shorter than what was read of it: lines may have gone unseen. */
bool lines_truncated(const lines *in);
void lines_close(lines *in);

/* ---- report.c: what the user sees ---- */

typedef struct counts {
    uint64_t read;
    uint64_t delivered;    /* acknowledged by a node */
    uint64_t sent;         /* written to a node from which no ack is asked */
    uint64_t lost;         /* given up; no node has it */
    uint64_t may_be_there; /* given up; a node may have it that did not confirm it */
    uint64_t not_sent; /* taken, and not sent because the program was stopped or the input failed */
    bool acks, no_acks; /* whether some node is asked for acks, and some is not */
} counts;

/*
 * Descriptors 0 to 2 that are closed are held by something that refuses to be read or written: a
 * file or a socket of their number would get what is meant for the user. False with errno set.
 */
bool report_hold_descriptors(void);
/* `progress`: rewrite one line on stderr. Messages above `level` are left out. */
void report_start(int32_t level, bool progress);
/* An upstream_log_fn; without --verbose, what was said within the last minute is not said again. */
void report_log(int32_t level, const char *message, void *ctx);
void report(int32_t level, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;
void report_progress(const counts *c); /* as often as one likes; draws at most ten times a second */
void report_end(void);                 /* takes the progress line away */
/* "9 read, 9 delivered, 0 lost" */
void report_counts(char *out, size_t cap, const counts *c);
/* All of it to stdout, whatever its kind. False with errno set. */
bool report_output(const char *text, size_t len);

/* ---- sender.c: batches to nodes ---- */

typedef struct tally {
    upstream_node_t *node;
    bool acks;
    uint64_t records, bytes;
    char tls_version[16];
} tally;

typedef struct sender {
    const settings *settings;
    upstream_t *up;
    forward_batch *batch;
    tally *tallies; /* one for each node, in the order of the file */
    size_t tally_count;
    bool resend; /* deliver.resend: whether what may have arrived is sent again */
    msgpack_sbuffer record;
    int64_t flush_at; /* when the batch at hand is to go out; -1 while it is empty */
    counts counts;
} sender;

/* Loads the upstream file and checks every node. False after reporting what is wrong. */
bool sender_open(sender *s, const settings *set);
/* Takes one line into the batch, and sends the batch where that fills it. */
void sender_add(sender *s, const char *line, size_t len);
/* Sends what is waiting: until a node took it or it is given up. */
void sender_flush(sender *s);
/* The table of nodes. */
void sender_print_table(const sender *s, FILE *out);
void sender_close(sender *s);

#endif
