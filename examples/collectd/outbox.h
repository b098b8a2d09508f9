/*
 * What lies between collectd's write threads and the nodes: records gather in a batch, batches go
 * out, and those that no node took wait, up to a limit, for the next try. One per `<Plugin
 * upstream>` block; knows nothing of collectd.
 */
#ifndef OUTBOX_H
#define OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <forward.h>

typedef struct outbox outbox;

/* A line for the host's log; from any thread. `level` is one of UPSTREAM_LOG_*. */
typedef void (*outbox_log_fn)(int32_t level, const char *message, void *ctx);

typedef struct outbox_settings {
    const char *file; /* the upstream file */
    const char *tag;
    const upstream_options_t *options; /* with the log in it */
    size_t batch_records;              /* a batch goes out at this many */
    /* more than these never wait: the oldest batch is given up, which the log tells */
    size_t limit_records;
    outbox_log_fn log;
    void *log_ctx;
} outbox_settings;

/* Reads the file. NULL where it is no good, which the log then tells. Strings and options are
 * needed during the call only. */
outbox *outbox_create(const outbox_settings *settings);

/*
 * Adds a record, the msgpack text of one map, and sends the batch that it fills, or leaves it to a
 * later call where no node takes anything. False where it is no record.
 */
bool outbox_add(outbox *box, const struct timespec *time, const void *record, size_t len);

/*
 * Sends what is there, however little, and what has waited; for five seconds and the delivery that
 * is then under way. While every node is out it returns at once. One that is `waited_for` takes two
 * seconds where no node has taken anything lately. False where records still wait.
 */
bool outbox_flush(outbox *box, bool waited_for);

/*
 * Sends what it can in ten seconds, tells of what it cannot, and ends it. Where for as long no node
 * has taken anything, none is tried again. No other call may be under way.
 */
void outbox_destroy(outbox *box);

#endif
