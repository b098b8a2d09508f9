/*
 * What the .c files of this folder share. A caller needs only forward.h.
 */
#ifndef FORWARD_INTERNAL_H
#define FORWARD_INTERNAL_H

#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L /* under a strict -std=: strdup, clock_gettime */
#endif

#include "forward.h"

#if defined(__GNUC__)
#define FORWARD_PRINTF(format_at, args_at) __attribute__((format(printf, format_at, args_at)))
#else
#define FORWARD_PRINTF(format_at, args_at)
#endif

/* Writes the reason of a failure and returns `status`: `return forward_fail(d, status, ...);` */
upstream_status_t forward_fail(forward_delivery *d, upstream_status_t status, const char *format,
                               ...) FORWARD_PRINTF(3, 4);

/* The same for a call on `conn` that failed. The reason is `doing`, followed by the connection's
 * last error. */
upstream_status_t forward_fail_io(forward_delivery *d, const upstream_conn_t *conn,
                                  upstream_status_t status, const char *doing);

/* Milliseconds of the monotonic clock. */
int64_t forward_now_ms(void);

/* ---- scan.c: where does a msgpack value end? ---- */

typedef enum forward_scan_result {
    FORWARD_SCAN_DONE,
    FORWARD_SCAN_MORE,
    FORWARD_SCAN_BAD
} forward_scan_result;

/* How far the scan of one value has come, so that each byte is looked at once. */
typedef struct forward_scan {
    size_t at;     /* bytes scanned so far */
    uint64_t need; /* values still to come */
} forward_scan;

#define FORWARD_SCAN_INIT {0, 1}

/*
 * Goes on through `data`, which holds the same bytes as at the last call, and more. DONE: the value
 * ends at scan->at. MORE: it is not complete. BAD: it is not msgpack, or it would be longer than
 * `limit` bytes.
 */
forward_scan_result forward_scan_value(forward_scan *scan, const unsigned char *data, size_t len,
                                       size_t limit);

/* ---- events.c: the entries of a chunk ---- */

typedef struct forward_bytes {
    const char *data;
    size_t len;
} forward_bytes;

/* The forms of an entry on the wire. */
typedef enum forward_form {
    FORWARD_AS_GIVEN,
    FORWARD_PLAIN,   /* [time, record], with an EventTime; no group marks */
    FORWARD_INTEGER, /* [seconds, record]; no group marks */
    FORWARD_FORMS
} forward_form;

/* The body of a message, and what it holds. */
typedef struct forward_entries {
    forward_bytes bytes;
    size_t count;   /* entries, one after the other */
    size_t records; /* entries without the marks that open and close a group */
} forward_entries;

/* The bytes before the record in `[time, record]`: the array header, and the time as ext type 0
 * with its header of 2 bytes and 8 bytes of time. */
#define FORWARD_EVENT_HEAD 11

void forward_event_head(unsigned char head[FORWARD_EVENT_HEAD], uint32_t seconds,
                        uint32_t nanoseconds);

/* True if `record` is exactly one map in msgpack. */
bool forward_is_one_map(const unsigned char *record, size_t len);

typedef struct forward_survey {
    size_t entries;
    size_t records; /* entries that are not marks of a group */
    bool plain;     /* each entry is in the form FORWARD_PLAIN already */
} forward_survey;

/* Counts what is in `events`. False if that is anything other than whole events. */
bool forward_events_survey(forward_bytes events, forward_survey *out);

/* Appends the records to `out` in another form. The marks of groups are left out. */
upstream_status_t forward_events_convert(forward_bytes events, forward_form form,
                                         msgpack_sbuffer *out);

/* Takes one map from the beginning of `rest`. False if there is none. */
bool forward_next_map(forward_bytes *rest, forward_bytes *map);

/* What a chunk of maps holds, and how many maps. FORWARD_LOGS: neither metrics nor traces. */
forward_signal forward_signal_of(forward_bytes chunk, size_t *maps);

/* ---- batch.c ---- */

forward_signal forward_batch_signal(const forward_batch *batch);
/* The bytes that were appended or set. */
forward_bytes forward_batch_given(const forward_batch *batch);
/* The entries of a chunk of logs, in one of the forms. */
upstream_status_t forward_batch_entries(forward_batch *batch, forward_form form,
                                        forward_entries *out);
/* The same entries as one gzip member. */
upstream_status_t forward_batch_gzip(forward_batch *batch, forward_form form, forward_entries *out);
/* Appends `from` to `to` as one gzip member. */
upstream_status_t forward_gzip(msgpack_sbuffer *to, forward_bytes from);
const char *forward_batch_tag(const forward_batch *batch);
/* The id of the message that begins at `at`. The first message has the chunk's id. Each call gives
 * the same id for the same message. False: the system gives no random bytes. */
bool forward_batch_message_id(forward_batch *batch, size_t at, char out[FORWARD_CHUNK_ID_LEN + 1]);

/* ---- digest.c ---- */

#define FORWARD_DIGEST_LEN 128 /* SHA-512 in hexadecimal */

/* The SHA-512 of the parts, one after the other, in hexadecimal with a final NUL. */
void forward_digest(char out[FORWARD_DIGEST_LEN + 1], const forward_bytes *parts, size_t count);
/* True if the digests are equal. Takes equal time wherever they differ. */
bool forward_digest_equal(const char expected[FORWARD_DIGEST_LEN + 1], forward_bytes given);
/* 16 bytes from the system's random source, in base64 with a final NUL. */
bool forward_random_id(char out[FORWARD_CHUNK_ID_LEN + 1]);
/* An id made from a text: the same text gives the same id. */
void forward_derived_id(char out[FORWARD_CHUNK_ID_LEN + 1], forward_bytes text);
#define FORWARD_SUFFIX_LEN 8 /* 4 random bytes in hexadecimal, to be added to a name */
bool forward_random_suffix(char out[FORWARD_SUFFIX_LEN + 1]);

/* ---- answer.c ---- */

/* One message of the server. */
typedef struct forward_answer {
    unsigned char *data;
    size_t len;
    size_t cap;
    size_t extra; /* bytes that were read after it */
    msgpack_unpacked value;
} forward_answer;

/*
 * Reads one msgpack value, within `timeout_ms` in all. `what` ("HELO", "PONG", "the ack") stands in
 * the reason of a failure. Always end the answer with forward_answer_destroy, also after a failure.
 */
upstream_status_t forward_answer_read(forward_answer *a, upstream_conn_t *conn, uint32_t timeout_ms,
                                      const char *what, forward_delivery *d);
void forward_answer_destroy(forward_answer *a);

/* The text of a str or a bin: servers send both. False for any other type. */
bool forward_text(const msgpack_object *o, forward_bytes *out);
bool forward_text_is(const msgpack_object *o, const char *expected);
/* The value of a key of a map, or NULL. */
const msgpack_object *forward_map_get(const msgpack_object *map, const char *key);

/* ---- greeting.c ---- */

/*
 * For a new connection to a server that, by the node's settings, asks for no login and sends no
 * acks: waits a moment in case it says something anyway. UPSTREAM_OK: it said nothing.
 */
upstream_status_t forward_await_silence(upstream_conn_t *conn, forward_config *config,
                                        forward_delivery *d);

/* Fails with the reason for a HELO that reaches a client without a key. */
upstream_status_t forward_login_wanted(forward_delivery *d);

/* ---- handshake.c ---- */

/*
 * HELO, PING, PONG. UPSTREAM_OK: the server has proved that it knows the shared key. `*keepalive`
 * is false if the server wants no second message on this connection.
 */
upstream_status_t forward_handshake(upstream_conn_t *conn, const forward_config *config,
                                    bool *keepalive, forward_delivery *d);

#endif
