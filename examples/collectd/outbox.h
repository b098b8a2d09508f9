/*
 * Stands between collectd's write threads and the nodes. Records gather in a batch, and batches are
 * sent. A batch that no node took waits for the next try; how much may wait is limited. There is
 * one outbox for each `<Plugin upstream>` block. It knows nothing of collectd.
 */
#ifndef OUTBOX_H
#define OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <forward.h>

typedef struct outbox outbox;

/* Writes a line to the host's log. Called from any thread. `level` is one of UPSTREAM_LOG_*. */
typedef void (*outbox_log_fn)(int32_t level, const char *message, void *ctx);

typedef struct outbox_settings {
    const char *file; /* the upstream file */
    const char *tag;
    const upstream_options_t *options; /* its logger is set already */
    size_t batch_records;              /* a batch of this many records is sent */
    /* At most this many records wait; beyond that the oldest batch is given up and logged. */
    size_t limit_records;
    outbox_log_fn log;
    void *log_ctx;
} outbox_settings;

/* Reads the file. NULL: it is wrong, and the log says why. The strings and the options need to live
 * only until it returns. */
outbox *outbox_create(const outbox_settings *settings);

/*
 * Adds a record, which is one map in msgpack. If that fills the batch, it is sent; if no node takes
 * anything now, a later call sends it. False: `record` is not one map, or there is no memory.
 */
bool outbox_add(outbox *box, const struct timespec *time, const void *record, size_t len);

/*
 * Sends everything that waits, also a batch that is not full. After 5 seconds it begins no other
 * delivery. With `waited_for`, if no node has taken anything lately, that becomes 2 seconds, and
 * each delivery gets at most 2 seconds. While every node is out it returns at once. False: records
 * still wait.
 */
bool outbox_flush(outbox *box, bool waited_for);

/*
 * Sends what it can within 10 seconds, logs how much is lost, and frees the outbox. The 10 seconds
 * include the time in which no node has taken anything: if that is longer already, it tries
 * nothing. No other call may be under way.
 */
void outbox_destroy(outbox *box);

#endif
