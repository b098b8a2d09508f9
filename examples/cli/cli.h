/*
 * What the parts of upstream-forward share: settings, input lines, batches, and what the user sees.
 * One thread does the work; another one takes the signals (stop.c).
 *
 * Each line that was read is counted once: as delivered, sent, lost, possibly arrived, or not sent.
 * The exit status is 0 only if every line of the input was delivered (or, without acks, sent).
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
    char **files; /* NULL: read standard input */
    int file_count;
    size_t batch_records;
    int64_t flush_ms;     /* send a batch that is not full after this time */
    int64_t retry_for_ms; /* how long to retry a batch that no node took */
    int64_t retries;      /* the most retries; -1: only the time counts */
    int64_t grace_ms;     /* how long sending may go on after the first signal */
    double rate;          /* lines a second; 0: as fast as they come */
    bool packed;
    /* Never ask for acks. Otherwise the upstream file decides, and its default here is on. */
    bool no_acks;
    bool quiet;
    int32_t log_level;
    msgpack_sbuffer fields; /* --field pairs, encoded */
    size_t field_count;
    upstream_options_t *options;
} settings;

/*
 * Reads the command line. Returns -1 if the program must go on, else the exit status. The answer to
 * --help and --version goes to stdout, a complaint about the command line to stderr.
 */
int settings_read(settings *s, int argc, char **argv);
void settings_free(settings *s);

/* ---- stop.c: SIGINT, SIGTERM, SIGHUP, and waiting ---- */

typedef enum stop_level {
    STOP_NOT,
    STOP_READING, /* from the first signal on: read no more, send what was read */
    STOP_SENDING  /* from the second on, or after grace_ms: only count what is left */
} stop_level;

/* Starts to count signals; the third one ends the process at once. False: errno says why. */
bool stop_listen(int64_t grace_ms);
void stop_end(void);
/* At STOP_SENDING the calls on this set are cancelled. Give NULL before you destroy the set. */
void stop_cancels(upstream_t *up);
stop_level stop_asked(void);
int stop_signal(void); /* the first signal; 0: none came */
const char *stop_signal_name(void);
/* Ends the process as the signal does if nobody handles it. */
void stop_die(int number);

int64_t clock_ms(void); /* monotonic */

/*
 * Waits until `fd` is readable, until the time comes, or until STOP_READING. True if `fd` is
 * readable. With `fd` -1 only the time and the stop count. The time is one of clock_ms(); -1: none.
 */
bool wait_readable(int fd, int64_t until_ms);
/* Waits until the time comes, or until STOP_SENDING. */
void wait_to_send(int64_t until_ms);

/* ---- lines.c: a file as lines ---- */

typedef enum lines_result { LINES_LINE, LINES_TOO_LONG, LINES_NEED, LINES_END } lines_result;

typedef struct lines {
    int fd;
    const char *name;
    char *data;
    size_t start, len, cap; /* what is buffered: data[start .. len] */
    size_t seen;            /* data[start .. seen] holds no newline */
    uint64_t number;        /* of the last line that was returned */
    bool regular;           /* a regular file: what was not read stays in it */
    bool ended;
    bool skipping; /* inside a line that is too long */
} lines;

#define LINE_MAX_BYTES ((size_t)64 * 1024 * 1024)

/* Opens a file, or standard input for "-". False: errno says why. */
bool lines_open(lines *in, const char *name);
/* The next line without its LF or CRLF, valid until the next call. LINES_NEED: call
 * lines_fill(). */
lines_result lines_next(lines *in, const char **line, size_t *len);
/* One read(). False: errno says why. The end of the file is not an error. */
bool lines_fill(lines *in);
/* True if the beginning of a line was read, but not yet its end. */
bool lines_inside(const lines *in);
/* True if the next lines_fill() would find the end at once. */
bool lines_at_end(const lines *in);
/* True if the file is now shorter than what was read of it: lines may be missing. */
bool lines_truncated(const lines *in);
void lines_close(lines *in);

/* ---- report.c: what the user sees ---- */

typedef struct counts {
    uint64_t read;
    uint64_t delivered;    /* acknowledged by a node */
    uint64_t sent;         /* written to a node that is not asked for an ack */
    uint64_t lost;         /* given up, and no node has it */
    uint64_t may_be_there; /* given up, but a node may have it without having confirmed it */
    uint64_t not_sent;     /* read, but not sent: the program was stopped, or the input failed */
    bool acks, no_acks;    /* some node is asked for acks; some node is not */
} counts;

/*
 * Opens /dev/null on each of the descriptors 0 to 2 that is closed, in such a way that to read or
 * write it fails. Otherwise the next file or socket would get that number, and with it what is
 * meant for the user. False: errno says why.
 */
bool report_hold_descriptors(void);
/* `progress`: show one line on stderr and rewrite it. Messages above `level` are left out. */
void report_start(int32_t level, bool progress);
/* An upstream_log_fn. Without --verbose it drops a message that it printed in the last minute. */
void report_log(int32_t level, const char *message, void *ctx);
void report(int32_t level, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;
void report_progress(
    const counts *c);  /* call it as often as you like: it draws 10 times a second */
void report_end(void); /* clears the progress line */
/* "9 read, 9 delivered, 0 lost" */
void report_counts(char *out, size_t cap, const counts *c);
/* Writes all of it to stdout, be it a file, a pipe or a terminal. False: errno says why. */
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
    bool resend; /* deliver.resend: send a batch again although it may have arrived */
    msgpack_sbuffer record;
    int64_t flush_at; /* when to send the current batch; -1 while it is empty */
    counts counts;
} sender;

/* Loads the upstream file and checks every node. False: the reason was reported. */
bool sender_open(sender *s, const settings *set);
/* Adds one line to the batch, and sends the batch if it is full. */
void sender_add(sender *s, const char *line, size_t len);
/* Sends the batch. Returns when a node has taken it, or when it was given up. */
void sender_flush(sender *s);
/* Prints the table of nodes. */
void sender_print_table(const sender *s, FILE *out);
void sender_close(sender *s);

#endif
