/*
 * The records of one chunk. They are encoded when they are appended, or they are an agent's own
 * bytes, which are not copied. A node may need another form of them (without metadata, with integer
 * times, with gzip): it is made when a node first needs it, and kept for retries. No record is ever
 * decoded.
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

struct forward_batch {
    char *tag;
    forward_signal signal;
    forward_survey survey;                  /* of what was appended or set */
    forward_bytes events;                   /* the caller's bytes, if they were set */
    msgpack_sbuffer entries[FORWARD_FORMS]; /* [FORWARD_AS_GIVEN] is what was appended */
    msgpack_sbuffer gzip[FORWARD_FORMS];
    char chunk_id[FORWARD_CHUNK_ID_LEN + 1]; /* "" until it is drawn */
};

forward_batch *forward_batch_create(const char *tag)
{
    forward_batch *b = calloc(1, sizeof *b);
    if (b == NULL || tag == NULL || (b->tag = strdup(tag)) == NULL) {
        free(b);
        return NULL;
    }
    for (int i = 0; i < FORWARD_FORMS; i++) {
        msgpack_sbuffer_init(&b->entries[i]);
        msgpack_sbuffer_init(&b->gzip[i]);
    }
    forward_batch_clear(b);
    return b;
}

void forward_batch_destroy(forward_batch *b)
{
    if (b == NULL) {
        return;
    }
    for (int i = 0; i < FORWARD_FORMS; i++) {
        msgpack_sbuffer_destroy(&b->entries[i]);
        msgpack_sbuffer_destroy(&b->gzip[i]);
    }
    free(b->tag);
    free(b);
}

/* Drops the other forms: the entries have changed. */
static void forget_derived(forward_batch *b)
{
    for (int form = 0; form < FORWARD_FORMS; form++) {
        if (form != FORWARD_AS_GIVEN) {
            msgpack_sbuffer_clear(&b->entries[form]);
        }
        msgpack_sbuffer_clear(&b->gzip[form]);
    }
}

forward_bytes forward_batch_given(const forward_batch *b)
{
    const msgpack_sbuffer *appended = &b->entries[FORWARD_AS_GIVEN];
    return b->events.data != NULL ? b->events : (forward_bytes){appended->data, appended->size};
}

upstream_status_t forward_batch_append(forward_batch *b, const struct timespec *time,
                                       const void *record, size_t len)
{
    unsigned char head[FORWARD_EVENT_HEAD];

    if (b == NULL || time == NULL || record == NULL || !forward_is_one_map(record, len) ||
        time->tv_sec < 0 || (uint64_t)time->tv_sec > UINT32_MAX || time->tv_nsec < 0 ||
        time->tv_nsec > 999999999 || b->events.data != NULL) {
        return UPSTREAM_ERR_INVALID_ARG;
    }
    msgpack_sbuffer *entries = &b->entries[FORWARD_AS_GIVEN];
    if ((uint64_t)entries->size + sizeof head + len > UINT32_MAX) {
        return UPSTREAM_ERR_LIMIT;
    }
    forward_event_head(head, (uint32_t)time->tv_sec, (uint32_t)time->tv_nsec);
    size_t before = entries->size;
    if (msgpack_sbuffer_write(entries, (const char *)head, sizeof head) != 0 ||
        msgpack_sbuffer_write(entries, record, len) != 0) {
        entries->size = before;
        return UPSTREAM_ERR_NO_MEMORY;
    }
    b->survey.entries++;
    b->survey.records++;
    forget_derived(b);
    return UPSTREAM_OK;
}

void forward_batch_clear(forward_batch *b)
{
    if (b == NULL) {
        return;
    }
    b->signal = FORWARD_LOGS;
    b->survey = (forward_survey){0, 0, true};
    b->chunk_id[0] = '\0';
    b->events = (forward_bytes){NULL, 0};
    msgpack_sbuffer_clear(&b->entries[FORWARD_AS_GIVEN]);
    forget_derived(b);
}

/* The survey of metrics or traces: each map is an entry and a record. */
static bool survey_maps(forward_bytes chunk, forward_signal *signal, forward_survey *survey)
{
    *survey = (forward_survey){0, 0, true};
    *signal = forward_signal_of(chunk, &survey->entries);
    survey->records = survey->entries;
    return *signal != FORWARD_LOGS;
}

upstream_status_t forward_batch_set_events(forward_batch *b, const void *events, size_t len)
{
    forward_bytes given = {events, len};
    if (b == NULL || events == NULL) {
        return UPSTREAM_ERR_INVALID_ARG;
    }
    forward_batch_clear(b);
    if (len > UINT32_MAX) {
        return UPSTREAM_ERR_LIMIT;
    }
    if (!forward_events_survey(given, &b->survey) && !survey_maps(given, &b->signal, &b->survey)) {
        b->survey = (forward_survey){0, 0, true};
        return UPSTREAM_ERR_INVALID_ARG;
    }
    b->events = given;
    return UPSTREAM_OK;
}

size_t forward_batch_count(const forward_batch *b)
{
    return b == NULL ? 0 : b->survey.records;
}

size_t forward_batch_bytes(const forward_batch *b)
{
    return b == NULL ? 0 : forward_batch_given(b).len;
}

const char *forward_batch_tag(const forward_batch *b)
{
    return b->tag;
}

forward_signal forward_batch_signal(const forward_batch *b)
{
    return b->signal;
}

const char *forward_batch_chunk_id(forward_batch *b)
{
    if (b == NULL || (b->chunk_id[0] == '\0' && !forward_random_id(b->chunk_id))) {
        return NULL;
    }
    return b->chunk_id;
}

bool forward_batch_message_id(forward_batch *b, size_t at, char out[FORWARD_CHUNK_ID_LEN + 1])
{
    const char *chunk = forward_batch_chunk_id(b);
    char text[FORWARD_CHUNK_ID_LEN + 24];
    if (chunk == NULL) {
        return false;
    }
    if (at == 0) {
        memcpy(out, chunk, FORWARD_CHUNK_ID_LEN + 1);
        return true;
    }
    int len = snprintf(text, sizeof text, "%s %zu", chunk, at);
    forward_derived_id(out, (forward_bytes){text, (size_t)len});
    return true;
}

upstream_status_t forward_batch_entries(forward_batch *b, forward_form form, forward_entries *out)
{
    msgpack_sbuffer *converted = &b->entries[form];
    bool given = form == FORWARD_AS_GIVEN || (form == FORWARD_PLAIN && b->survey.plain);
    if (!given && converted->size == 0) {
        upstream_status_t status = forward_events_convert(forward_batch_given(b), form, converted);
        if (status != UPSTREAM_OK) {
            msgpack_sbuffer_clear(converted);
            return status;
        }
    }
    out->bytes = given ? forward_batch_given(b) : (forward_bytes){converted->data, converted->size};
    out->count = given ? b->survey.entries : b->survey.records;
    out->records = b->survey.records;
    return UPSTREAM_OK;
}

upstream_status_t forward_gzip(msgpack_sbuffer *to, forward_bytes from)
{
    z_stream z;
    int status;

    memset(&z, 0, sizeof z);
    /* 15: the largest window; + 16: with a gzip header; 8: zlib's default memory level. */
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) !=
        Z_OK) {
        return UPSTREAM_ERR_NO_MEMORY;
    }
    size_t bound = deflateBound(&z, from.len);
    char *room = bound <= UINT32_MAX ? malloc(bound) : NULL;
    if (room == NULL) {
        deflateEnd(&z);
        return UPSTREAM_ERR_NO_MEMORY;
    }
    z.next_in = (Bytef *)from.data;
    z.avail_in = (uInt)from.len; /* a chunk has at most 2^32 - 1 bytes */
    z.next_out = (Bytef *)room;
    z.avail_out = (uInt)bound;
    status = deflate(&z, Z_FINISH);
    size_t size = z.total_out;
    deflateEnd(&z);
    bool stored = status == Z_STREAM_END && msgpack_sbuffer_write(to, room, size) == 0;
    free(room);
    return stored ? UPSTREAM_OK : UPSTREAM_ERR_NO_MEMORY;
}

upstream_status_t forward_batch_gzip(forward_batch *b, forward_form form, forward_entries *out)
{
    msgpack_sbuffer *gzip = &b->gzip[form];
    upstream_status_t status = forward_batch_entries(b, form, out);
    if (status == UPSTREAM_OK && gzip->size == 0) {
        status = forward_gzip(gzip, out->bytes);
    }
    out->bytes = (forward_bytes){gzip->data, gzip->size};
    return status;
}
