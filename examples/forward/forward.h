/*
 * The Forward protocol (fluentd and Fluent Bit) as a client speaks it over libupstream: settings of
 * a node, a batch of records, and the callback for upstream_deliver. What a plugin author copies;
 * it knows nothing of any agent, and never keeps state outside the handles it was given.
 *
 * In short:
 *
 *     forward_declare_keys(options);                            once, before upstream_create
 *     forward_prepare(up, NULL, message, sizeof message);       once, after it
 *     batch = forward_batch_create("app.log");
 *     forward_batch_append(batch, &now, record, record_len);    once for each record
 *     forward_delivery d = FORWARD_DELIVERY_INIT(batch);
 *     upstream_deliver(up, forward_deliver_fn, &d, 0, &err);
 *     forward_batch_clear(batch);                               a new chunk begins
 *
 * Threads: settings are not to be changed after forward_prepare and may be shared; a batch and a
 * delivery belong to one thread at a time. No function takes more than 4 KiB of stack beside the
 * library's calls.
 */
#ifndef FORWARD_H
#define FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <time.h>

#include <msgpack.h>
#include <upstream/upstream.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FORWARD_REASON_MAX 512  /* longest reason of a failure, with its final NUL */
#define FORWARD_CHUNK_ID_LEN 24 /* 16 random bytes in base64 */

/* ---- settings of a node ---- */

/*
 * What a node's own keys say (examples/README.md lists them). The strings are the node's
 * properties: they live until upstream_destroy of the set.
 */
typedef struct forward_config {
    bool secured;              /* the server demands HELO, PING, PONG before the first record */
    const char *shared_key;    /* "" with empty_shared_key; never NULL where secured */
    const char *username;      /* NULL where unset */
    const char *password;      /* NULL where unset */
    const char *self_hostname; /* NULL where unset: the machine's name and a random suffix */
    const char *tag;           /* replaces the batch's own; NULL where unset */
    bool time_as_integer;
    bool retain_metadata; /* as the agent has it; off: [time, record], all that fluentd reads */
    bool send_options;
    bool require_ack_response;
    bool gzip;               /* compress gzip; implies PackedForward */
    bool packed;             /* PackedForward in place of Forward; the caller's word, no key */
    uint32_t ack_timeout_ms; /* for each answer of the server: HELO, PONG, ack */
    int64_t silent_until_ms; /* the deliveries' own: until then it is not asked for a greeting */
} forward_config;

/*
 * Reads the keys of one node. UPSTREAM_ERR_CONFIG where a value is bad or two keys contradict each
 * other; `message` (of `cap` bytes) then names node, key, value and the fix.
 */
upstream_status_t forward_config_from_node(const upstream_node_t *node, forward_config *out,
                                           char *message, size_t cap);

/*
 * Declares the keys of this protocol, so that upstream_create finds a slip (`require_ack_respons
 * on`) or a bad value with its line and column. Call it on the options that the set is made with.
 */
upstream_status_t forward_declare_keys(upstream_options_t *options);

/*
 * Reads the keys of every node and leaves each node's settings with it as node data, where
 * forward_deliver_fn looks for them. Call it right after upstream_create, so that a bad value of
 * any node is found at the start. `adjust`, where not NULL, sees each config before it is stored
 * (to set `packed`, for one). On an error no delivery may be made with `up`.
 */
upstream_status_t forward_prepare(upstream_t *up, void (*adjust)(forward_config *config),
                                  char *message, size_t cap);

/* ---- a batch of records ---- */

/* What a chunk holds, in the numbers of the option `fluent_signal`. */
typedef enum forward_signal {
    FORWARD_LOGS = 0,
    FORWARD_METRICS = 1,
    FORWARD_TRACES = 2
} forward_signal;

/*
 * The records of one chunk, encoded once and framed anew for each node. A chunk has one id through
 * all its retries; forward_batch_clear ends it.
 */
typedef struct forward_batch forward_batch;

/* An empty batch under a tag (copied). NULL without memory. */
forward_batch *forward_batch_create(const char *tag);
void forward_batch_destroy(forward_batch *batch);

/*
 * Appends one record: `record` is the msgpack text of exactly one map, copied as it is.
 * UPSTREAM_ERR_INVALID_ARG where it is not one, or where the time is outside 1970..2106;
 * UPSTREAM_ERR_LIMIT where the chunk would pass 2^32 - 1 bytes; UPSTREAM_ERR_NO_MEMORY. The batch
 * is unchanged after an error.
 */
upstream_status_t forward_batch_append(forward_batch *batch, const struct timespec *time,
                                       const void *record, size_t len);

/*
 * Puts an agent's chunk in place of the batch's records. Logs: `[time, record]` or
 * `[[time, metadata], record]`, one after the other, time as EventTime or a number. Metrics or
 * traces: maps, as Fluent Bit has them; each goes out as it is, in PackedForward, and the options
 * tell what it is. The bytes are pointed at: they must stay until the batch is cleared or ended.
 * The chunk has a new id. UPSTREAM_ERR_INVALID_ARG for anything else; UPSTREAM_ERR_LIMIT over 2^32
 * - 1 bytes. The batch is then empty.
 */
upstream_status_t forward_batch_set_events(forward_batch *batch, const void *events, size_t len);

/* Empties the batch and keeps its memory. What is appended afterwards is a new chunk with a new
 * id. */
void forward_batch_clear(forward_batch *batch);

/* Records; the marks that open and close a group in an agent's chunk are none. */
size_t forward_batch_count(const forward_batch *batch);
size_t forward_batch_bytes(const forward_batch *batch); /* as encoded, without framing */

/*
 * The chunk's id, drawn from the system's random source at the first call; until the next
 * forward_batch_clear it stays the same. NULL where that source fails.
 */
const char *forward_batch_chunk_id(forward_batch *batch);

/* ---- one message ---- */

/*
 * A message of a batch, framed for one node: Forward `[tag, [[time, record], ...], options]` or
 * PackedForward `[tag, bin, options]`. The record bytes are the batch's own: valid until it
 * changes.
 */
typedef struct forward_frame {
    struct iovec iov[3];
    size_t iov_count;
    size_t bytes;
    char chunk[FORWARD_CHUNK_ID_LEN +
               1];        /* the id that its ack names; "" without require_ack_response */
    msgpack_sbuffer head; /* array header, tag, header of the body */
    msgpack_sbuffer body; /* where it is neither the batch's own nor kept there */
    msgpack_sbuffer tail; /* options */
} forward_frame;

/*
 * Frames the message of `batch` that begins at `*at`, 0 for the first, and moves `*at` to the next:
 * there is none once it has come to forward_batch_bytes. Logs are one message. Metrics and traces
 * are one for each map, since Fluent Bit's server reads the first map of a message and forgets the
 * others.
 *
 * On success end it with forward_frame_destroy. UPSTREAM_ERR_INVALID_ARG for an empty batch or one
 * that this config cannot carry; UPSTREAM_ERR_NO_MEMORY; UPSTREAM_ERR_IO where the system gives no
 * random bytes.
 */
upstream_status_t forward_frame_build(forward_frame *frame, forward_batch *batch,
                                      const forward_config *config, size_t *at);
void forward_frame_destroy(forward_frame *frame);

/* ---- delivering ---- */

typedef struct forward_delivery forward_delivery;

/*
 * Told of each node that failed inside forward_deliver_fn (not of failed connects). The library
 * logs both, in these words. `reason` is valid during the call.
 */
typedef void (*forward_failure_fn)(const forward_delivery *delivery, const upstream_node_t *node,
                                   upstream_status_t status, const char *reason);

/* The context of forward_deliver_fn for one upstream_deliver. */
struct forward_delivery {
    forward_batch *batch;          /* in: what to deliver */
    forward_failure_fn on_failure; /* in: may be NULL */
    void *user;                    /* in: the caller's own */

    upstream_node_t *node;           /* out: the node that took the batch; NULL where none did */
    size_t bytes;                    /* out: size of the message it took */
    char tls_version[16];            /* out: "TLSv1.3"; "" on plaintext */
    unsigned failures;               /* out: nodes that failed inside the callback */
    upstream_node_t *failed;         /* out: the last of them, or NULL */
    upstream_status_t status;        /* out: its status, UPSTREAM_OK after a success */
    char reason[FORWARD_REASON_MAX]; /* out: why; "" where nothing failed */
    bool may_have_arrived;           /* out: records went to a node that did not confirm them */
    bool own_words;                  /* the reason is no failed call's; of no use outside */
};

#define FORWARD_DELIVERY_INIT(batch_) \
    {(batch_), NULL, NULL, NULL, 0, "", 0, NULL, UPSTREAM_OK, "", false, false}

/*
 * The callback for upstream_deliver; its context is a forward_delivery. Logs in once per connection
 * where the node's settings say so, writes the message, and waits for the ack where one is
 * required.
 *
 * Whatever the server does against the protocol gives an error, so that the library closes this
 * connection and tries the next node. UPSTREAM_STOP where the fault is in the batch itself and no
 * other node could do better: `status` and `reason` then say what is wrong.
 */
upstream_status_t forward_deliver_fn(upstream_conn_t *conn, void *delivery);

#ifdef __cplusplus
}
#endif

#endif
