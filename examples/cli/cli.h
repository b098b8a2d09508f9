/*
 * What the parts of upstream-forward share: settings, lines in, batches out, and what the user sees.
 * One thread; the only state outside these structs is the signal flag of stop.c.
 */
#ifndef UPSTREAM_FORWARD_CLI_H
#define UPSTREAM_FORWARD_CLI_H

#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include "../forward/forward.h"

enum { EXIT_DELIVERED = 0, EXIT_NOT_DELIVERED = 1, EXIT_USAGE = 2 };

/* ---- settings.c: the command line --------------------------------------------------------------- */

typedef struct settings {
    const char *upstream_file;
    const char *tag;
    char **files; /* NULL where standard input is to be read */
    int file_count;
    size_t batch_records;
    int64_t flush_ms;     /* a batch that is not full goes out after this */
    int64_t retry_for_ms; /* how long a batch no node took is tried again */
    int64_t retries;      /* how often at most; -1 where only the time counts */
    double rate;          /* lines a second; 0 is as fast as they come */
    bool packed;
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

/* ---- stop.c: SIGINT, SIGTERM, and waiting ------------------------------------------------------- */

/* From here on the first SIGINT or SIGTERM asks for a stop; the second ends the process at once. */
bool stop_listen(void);
bool stop_requested(void);

int64_t clock_ms(void); /* monotonic */

/*
 * Waits until `fd` is readable (-1: until the time alone), the time (of clock_ms; -1 for ever) is
 * reached, or a stop is asked for. True where `fd` is readable.
 */
bool wait_readable(int fd, int64_t until_ms);

/* ---- lines.c: a file as lines ------------------------------------------------------------------- */

typedef enum lines_result { LINES_LINE, LINES_TOO_LONG, LINES_NEED, LINES_END } lines_result;

typedef struct lines {
    int fd;
    const char *name;
    char *data;
    size_t start, len, cap; /* what is buffered: data[start .. len] */
    size_t seen;            /* data[start .. seen] holds no newline */
    uint64_t number;        /* of the line given last */
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
void lines_close(lines *in);

/* ---- report.c: what the user sees --------------------------------------------------------------- */

typedef struct counts {
    uint64_t read, delivered, lost;
} counts;

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

/* ---- sender.c: batches to nodes ----------------------------------------------------------------- */

typedef struct tally {
    upstream_node_t *node;
    uint64_t records, bytes;
    char tls_version[16];
} tally;

typedef struct sender {
    const settings *settings;
    upstream_t *up;
    forward_batch *batch;
    tally *tallies; /* one for each node, in the order of the file */
    size_t tally_count;
    msgpack_sbuffer record;
    int64_t flush_at; /* when the batch at hand is to go out; -1 while it is empty */
    counts counts;
} sender;

/* Loads the upstream file and checks every node. False after reporting what is wrong. */
bool sender_open(sender *s, const settings *set);
/* Takes one line into the batch, and sends the batch where that fills it. */
void sender_add(sender *s, const char *line, size_t len);
/* Sends what is waiting: until a node took it or it counts as lost. */
void sender_flush(sender *s);
/* The table of nodes, on stdout. */
void sender_print_table(const sender *s);
void sender_close(sender *s);

#endif
