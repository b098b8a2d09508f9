/*
 * What the .c files of this folder share and a caller never sees.
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

/* Writes the reason of a failure and gives `status` back, so that a check reads `return
 * forward_fail(...)`. */
upstream_status_t forward_fail(forward_delivery *d, upstream_status_t status, const char *format,
                               ...) FORWARD_PRINTF(3, 4);

/* The same after a call on `conn` failed: `doing` says at what, the connection's last error says
 * why. */
upstream_status_t forward_fail_io(forward_delivery *d, const upstream_conn_t *conn,
                                  upstream_status_t status, const char *doing);

/* Of the clock that nobody sets. */
int64_t forward_now_ms(void);

/* ---- scan.c: where does a msgpack value end? ---- */

typedef enum forward_scan_result {
    FORWARD_SCAN_DONE,
    FORWARD_SCAN_MORE,
    FORWARD_SCAN_BAD
} forward_scan_result;

/* Progress through one value, so that each byte is looked at once however the bytes arrive. */
typedef struct forward_scan {
    size_t at;     /* bytes understood so far */
    uint64_t need; /* values still to come */
} forward_scan;

#define FORWARD_SCAN_INIT {0, 1}

/*
 * Goes on through `data` (the same bytes as before, and more). DONE: the value ends at scan->at.
 * MORE: it is not complete. BAD: it is no msgpack, or could never end within `limit` bytes.
 */
forward_scan_result forward_scan_value(forward_scan *scan, const unsigned char *data, size_t len,
                                       size_t limit);

/* ---- events.c: the entries of a chunk ---- */

typedef struct forward_bytes {
    const char *data;
    size_t len;
} forward_bytes;

/* What an entry looks like on the wire. */
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
    size_t records; /* without the marks that open and close a group */
} forward_entries;

/* `[time, record]` opens with an array header and the time as ext type 0: 2 + 8 bytes. */
#define FORWARD_EVENT_HEAD 11

void forward_event_head(unsigned char head[FORWARD_EVENT_HEAD], uint32_t seconds,
                        uint32_t nanoseconds);

/* Whether `record` is the msgpack text of exactly one map. */
bool forward_is_one_map(const unsigned char *record, size_t len);

typedef struct forward_survey {
    size_t entries;
    size_t records; /* entries that are no mark of a group */
    bool plain;     /* each is FORWARD_PLAIN as it stands */
} forward_survey;

/* What stands in `events`; false where that is anything else than whole events. */
bool forward_events_survey(forward_bytes events, forward_survey *out);

/* Appends the records in another form to `out`. The marks of groups carry no record, and go. */
upstream_status_t forward_events_convert(forward_bytes events, forward_form form,
                                         msgpack_sbuffer *out);

/* Takes the map that `rest` starts with off it; false where there is none. */
bool forward_next_map(forward_bytes *rest, forward_bytes *map);

/* What a chunk of maps holds, and how many; FORWARD_LOGS where it is neither metrics nor traces. */
forward_signal forward_signal_of(forward_bytes chunk, size_t *maps);

/* ---- batch.c ---- */

forward_signal forward_batch_signal(const forward_batch *batch);
/* What was appended or set, as it is. */
forward_bytes forward_batch_given(const forward_batch *batch);
/* The entries of a chunk of logs in a form. */
upstream_status_t forward_batch_entries(forward_batch *batch, forward_form form,
                                        forward_entries *out);
/* The same entries as one gzip member. */
upstream_status_t forward_batch_gzip(forward_batch *batch, forward_form form, forward_entries *out);
/* Appends `from` to `to` as one gzip member. */
upstream_status_t forward_gzip(msgpack_sbuffer *to, forward_bytes from);
const char *forward_batch_tag(const forward_batch *batch);
/* The id of the message that begins at `at`: the chunk's own for the first. The same at every call.
 */
bool forward_batch_message_id(forward_batch *batch, size_t at, char out[FORWARD_CHUNK_ID_LEN + 1]);

/* ---- digest.c ---- */

#define FORWARD_DIGEST_LEN 128 /* SHA-512 in hexadecimal */

/* The hexadecimal SHA-512 of the parts one after the other; `out` gets a final NUL. */
void forward_digest(char out[FORWARD_DIGEST_LEN + 1], const forward_bytes *parts, size_t count);
/* Whether two digests are the same, in a time that does not depend on where they differ. */
bool forward_digest_equal(const char expected[FORWARD_DIGEST_LEN + 1], forward_bytes given);
/* 16 bytes of the system's random source in base64, with a final NUL. */
bool forward_random_id(char out[FORWARD_CHUNK_ID_LEN + 1]);
/* The same of a text's digest. */
void forward_derived_id(char out[FORWARD_CHUNK_ID_LEN + 1], forward_bytes text);
#define FORWARD_SUFFIX_LEN 8 /* of a name: 4 random bytes in hexadecimal */
bool forward_random_suffix(char out[FORWARD_SUFFIX_LEN + 1]);

/* ---- answer.c ---- */

/* One message of the server. */
typedef struct forward_answer {
    unsigned char *data;
    size_t len;
    size_t cap;
    size_t extra; /* bytes that came behind it */
    msgpack_unpacked value;
} forward_answer;

/*
 * Reads one msgpack value, within `timeout_ms` in all; `what` ("HELO", "PONG", "the ack") is for
 * the reason of a failure. Always end it with forward_answer_destroy.
 */
upstream_status_t forward_answer_read(forward_answer *a, upstream_conn_t *conn, uint32_t timeout_ms,
                                      const char *what, forward_delivery *d);
void forward_answer_destroy(forward_answer *a);

/* The text of a str or bin: servers send either. False for any other type. */
bool forward_text(const msgpack_object *o, forward_bytes *out);
bool forward_text_is(const msgpack_object *o, const char *expected);
/* The value under a text key of a map, or NULL. */
const msgpack_object *forward_map_get(const msgpack_object *map, const char *key);

/* ---- greeting.c ---------------------------------------------------------------------------------
 */

/*
 * A new connection to a server that, as far as this client was told, asks for no login and will
 * answer nothing: waits a moment for what it says all the same. UPSTREAM_OK where it said nothing.
 */
upstream_status_t forward_await_silence(upstream_conn_t *conn, forward_config *config,
                                        forward_delivery *d);

/* The reason for a HELO to a client that was given no key. */
upstream_status_t forward_login_wanted(forward_delivery *d);

/* ---- handshake.c ---- */

/*
 * HELO, PING, PONG. UPSTREAM_OK means that the server has proved that it knows the shared key;
 * `keepalive` is false where it wants no second message on this connection.
 */
upstream_status_t forward_handshake(upstream_conn_t *conn, const forward_config *config,
                                    bool *keepalive, forward_delivery *d);

#endif
