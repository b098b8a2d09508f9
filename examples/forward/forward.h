/*
 * A client of the Forward protocol (fluentd and Fluent Bit) over libupstream: the settings of a
 * node, a batch of records, and the callback for upstream_deliver. Copy this folder into your
 * plugin. It knows nothing of any agent, and keeps all its state in the handles that you give it.
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
 * Threads: any number of threads may share the settings; do not change them after forward_prepare.
 * A batch or a delivery belongs to one thread at a time.
 *
 * Stack: each function takes at most 4 KiB, plus what the library's own calls take.
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

#define FORWARD_REASON_MAX 512  /* size of a failure's reason, with its final NUL */
#define FORWARD_CHUNK_ID_LEN 24 /* 16 random bytes in base64 */

/* ---- settings of a node ---- */

/*
 * The Forward keys of one node (examples/README.md lists them). The strings are properties of the
 * node: they live until upstream_destroy of the set.
 */
typedef struct forward_config {
    bool secured;              /* the server demands HELO, PING, PONG before the first record */
    const char *shared_key;    /* "" with empty_shared_key; never NULL if `secured` */
    const char *username;      /* NULL: unset */
    const char *password;      /* NULL: unset */
    const char *self_hostname; /* NULL: unset; then the machine's name and a random suffix */
    const char *tag;           /* replaces the tag of the batch; NULL: unset */
    bool time_as_integer;
    bool retain_metadata; /* send metadata too; off: [time, record], all that fluentd reads */
    bool send_options;
    bool require_ack_response;
    bool gzip;               /* compress gzip; implies PackedForward */
    bool packed;             /* PackedForward instead of Forward; set by the caller, not by a key */
    uint32_t ack_timeout_ms; /* for each answer of the server: HELO, PONG, ack */
    int64_t silent_until_ms; /* for greeting.c: until then do not wait for a greeting */
} forward_config;

/*
 * Reads the keys of one node. UPSTREAM_ERR_CONFIG if a value is wrong or two keys contradict each
 * other: `message` (of `cap` bytes) then names the node, the key, the value and the fix.
 */
upstream_status_t forward_config_from_node(const upstream_node_t *node, forward_config *out,
                                           char *message, size_t cap);

/*
 * Declares the keys of this protocol, so that upstream_create finds a typing error
 * (`require_ack_respons on`) or a wrong value, and names its line and column. Call it on the
 * options that you give to upstream_create.
 */
upstream_status_t forward_declare_keys(upstream_options_t *options);

/*
 * Reads the keys of every node and stores them as the node's data; forward_deliver_fn takes them
 * from there. Call it right after upstream_create, so that a wrong value of any node is found at
 * the start. `adjust`, if not NULL, may change each config before it is stored (for example set
 * `packed`). After an error do not deliver with `up`.
 */
upstream_status_t forward_prepare(upstream_t *up, void (*adjust)(forward_config *config),
                                  char *message, size_t cap);

/* ---- a batch of records ---- */

/* What a chunk holds; the numbers are those of the option `fluent_signal`. */
typedef enum forward_signal {
    FORWARD_LOGS = 0,
    FORWARD_METRICS = 1,
    FORWARD_TRACES = 2
} forward_signal;

/*
 * The records of one chunk. They are encoded once, and framed anew for each node. The chunk keeps
 * its id through all retries, until forward_batch_clear.
 */
typedef struct forward_batch forward_batch;

/* An empty batch with this tag, which is copied. NULL: no memory. */
forward_batch *forward_batch_create(const char *tag);
void forward_batch_destroy(forward_batch *batch);

/*
 * Appends one record: `record` is exactly one map in msgpack, and is copied as it is.
 * UPSTREAM_ERR_INVALID_ARG: it is not one map, or the time is outside 1970..2106.
 * UPSTREAM_ERR_LIMIT: the chunk would be larger than 2^32 - 1 bytes. UPSTREAM_ERR_NO_MEMORY. After
 * an error the batch is as before.
 */
upstream_status_t forward_batch_append(forward_batch *batch, const struct timespec *time,
                                       const void *record, size_t len);

/*
 * Replaces the records of the batch by an agent's chunk, which gets a new id. Keep `events` as it
 * is until the batch is cleared or destroyed: the bytes are not copied. They are one of
 *
 * - logs: `[time, record]` or `[[time, metadata], record]`, one after the other; the time is an
 *   EventTime or a number;
 * - metrics or traces: maps, as Fluent Bit makes them. Each is sent as it is, in PackedForward; the
 *   option `fluent_signal` says what it is.
 *
 * UPSTREAM_ERR_INVALID_ARG: it is something else. UPSTREAM_ERR_LIMIT: it is larger than 2^32 - 1
 * bytes. After an error the batch is empty.
 */
upstream_status_t forward_batch_set_events(forward_batch *batch, const void *events, size_t len);

/* Empties the batch, and keeps its memory for the next chunk, which gets a new id. */
void forward_batch_clear(forward_batch *batch);

/* How many records. The marks that open and close a group in an agent's chunk do not count. */
size_t forward_batch_count(const forward_batch *batch);
size_t forward_batch_bytes(const forward_batch *batch); /* encoded records, without framing */

/*
 * The chunk's id. The first call draws it from the system's random source; it stays the same until
 * forward_batch_clear. NULL: the random source failed.
 */
const char *forward_batch_chunk_id(forward_batch *batch);

/* ---- one message ---- */

/*
 * A message of a batch, framed for one node: Forward `[tag, [[time, record], ...], options]` or
 * PackedForward `[tag, bin, options]`. It points at the bytes of the batch: do not change the batch
 * while you use the frame.
 */
typedef struct forward_frame {
    struct iovec iov[3];
    size_t iov_count;
    size_t bytes;
    /* The id that its ack must name; "" without require_ack_response. */
    char chunk[FORWARD_CHUNK_ID_LEN + 1];
    msgpack_sbuffer head; /* array header, tag, header of the body */
    msgpack_sbuffer body; /* the body, if the batch does not keep it */
    msgpack_sbuffer tail; /* options */
} forward_frame;

/*
 * Frames the message of `batch` that begins at `*at`, and moves `*at` to the next message. Start
 * with 0; when `*at` has reached forward_batch_bytes(), that was the last message. Logs are one
 * message. Metrics and traces are one message for each map, because Fluent Bit's server reads only
 * the first map of a message.
 *
 * On success end the frame with forward_frame_destroy. UPSTREAM_ERR_INVALID_ARG: the batch is
 * empty, or no message begins at `*at`. UPSTREAM_ERR_NO_MEMORY. UPSTREAM_ERR_IO: the system gives
 * no random bytes.
 */
upstream_status_t forward_frame_build(forward_frame *frame, forward_batch *batch,
                                      const forward_config *config, size_t *at);
void forward_frame_destroy(forward_frame *frame);

/* ---- delivering ---- */

typedef struct forward_delivery forward_delivery;

/*
 * Called for each node that failed inside forward_deliver_fn, but not for failed connects. The
 * library logs both in its own log. `reason` is valid only during the call.
 */
typedef void (*forward_failure_fn)(const forward_delivery *delivery, const upstream_node_t *node,
                                   upstream_status_t status, const char *reason);

/* Room for every text of forward_format_address. */
#define FORWARD_ADDRESS_MAX 300

/* Writes the address of a node for people to read: "host:port", "[::1]:port" or "unix:/path". */
void forward_format_address(const upstream_node_t *node, char *out, size_t cap);

/* The context of forward_deliver_fn for one upstream_deliver. */
struct forward_delivery {
    forward_batch *batch;          /* in: what to deliver */
    forward_failure_fn on_failure; /* in: may be NULL */
    void *user;                    /* in: yours */

    upstream_node_t *node;           /* out: the node that took the batch, or NULL */
    size_t bytes;                    /* out: size of the message it took */
    char tls_version[16];            /* out: "TLSv1.3"; "" on plaintext */
    unsigned failures;               /* out: nodes that failed inside the callback */
    upstream_node_t *failed;         /* out: the last of them, or NULL */
    upstream_status_t status;        /* out: its status, UPSTREAM_OK after a success */
    char reason[FORWARD_REASON_MAX]; /* out: why it failed, or "" */
    bool may_have_arrived;           /* out: records went to a node that did not confirm them */
    bool own_words;                  /* internal: `reason` is not that of a failed library call */
};

#define FORWARD_DELIVERY_INIT(batch_) \
    {(batch_), NULL, NULL, NULL, 0, "", 0, NULL, UPSTREAM_OK, "", false, false}

/*
 * The callback for upstream_deliver; its context is a forward_delivery. It logs in once per
 * connection if the node's settings ask for that, writes the message, and waits for the ack if
 * require_ack_response is on.
 *
 * If the server breaks the protocol, it returns an error: the library then closes the connection
 * and tries the next node. It returns UPSTREAM_STOP if the batch itself is at fault, so that no
 * other node could take it: `status` and `reason` then say what is wrong.
 */
upstream_status_t forward_deliver_fn(upstream_conn_t *conn, void *delivery);

#ifdef __cplusplus
}
#endif

#endif
