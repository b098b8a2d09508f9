/*
 * The records of one chunk. They are encoded when they are appended; the other forms that nodes may
 * ask for (integer time, gzip) are made from those bytes when first asked for, and kept for retries.
 * Never decodes a record.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* `[time, record]` opens with an array header and the time as ext type 0: 2 + 8 bytes. */
#define EVENT_HEAD 11

struct forward_batch {
    char *tag;
    size_t count;
    msgpack_sbuffer entries[2]; /* by time_as_integer */
    msgpack_sbuffer gzip[2];
    char chunk_id[FORWARD_CHUNK_ID_LEN + 1]; /* "" until it is drawn */
};

forward_batch *forward_batch_create(const char *tag) {
    forward_batch *b = calloc(1, sizeof *b);
    if (b == NULL || tag == NULL || (b->tag = strdup(tag)) == NULL) {
        free(b);
        return NULL;
    }
    for (int i = 0; i < 2; i++) {
        msgpack_sbuffer_init(&b->entries[i]);
        msgpack_sbuffer_init(&b->gzip[i]);
    }
    return b;
}

void forward_batch_destroy(forward_batch *b) {
    if (b == NULL) {
        return;
    }
    for (int i = 0; i < 2; i++) {
        msgpack_sbuffer_destroy(&b->entries[i]);
        msgpack_sbuffer_destroy(&b->gzip[i]);
    }
    free(b->tag);
    free(b);
}

static bool is_one_map(const unsigned char *record, size_t len) {
    forward_scan scan = FORWARD_SCAN_INIT;
    if (len == 0 || !((record[0] & 0xf0) == 0x80 || record[0] == 0xde || record[0] == 0xdf)) {
        return false;
    }
    return forward_scan_value(&scan, record, len, len) == FORWARD_SCAN_DONE && scan.at == len;
}

static void put_u32(unsigned char *p, uint32_t n) {
    p[0] = (unsigned char)(n >> 24);
    p[1] = (unsigned char)(n >> 16);
    p[2] = (unsigned char)(n >> 8);
    p[3] = (unsigned char)n;
}

static uint32_t get_u32(const unsigned char *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The forms made from the entries no longer fit them. */
static void forget_derived(forward_batch *b) {
    msgpack_sbuffer_clear(&b->entries[1]);
    msgpack_sbuffer_clear(&b->gzip[0]);
    msgpack_sbuffer_clear(&b->gzip[1]);
}

upstream_status_t forward_batch_append(forward_batch *b, const struct timespec *time, const void *record, size_t len) {
    unsigned char head[EVENT_HEAD] = {0x92, 0xd7, 0x00}; /* array of 2, fixext 8, type 0: EventTime */

    if (b == NULL || time == NULL || record == NULL || !is_one_map(record, len) || time->tv_sec < 0 ||
        (uint64_t)time->tv_sec > UINT32_MAX || time->tv_nsec < 0 || time->tv_nsec > 999999999) {
        return UPSTREAM_ERR_INVALID_ARG;
    }
    msgpack_sbuffer *entries = &b->entries[0];
    if ((uint64_t)entries->size + sizeof head + len > UINT32_MAX) {
        return UPSTREAM_ERR_LIMIT;
    }
    put_u32(head + 3, (uint32_t)time->tv_sec);
    put_u32(head + 7, (uint32_t)time->tv_nsec);
    size_t before = entries->size;
    if (msgpack_sbuffer_write(entries, (const char *)head, sizeof head) != 0 ||
        msgpack_sbuffer_write(entries, record, len) != 0) {
        entries->size = before;
        return UPSTREAM_ERR_NO_MEMORY;
    }
    b->count++;
    forget_derived(b);
    return UPSTREAM_OK;
}

void forward_batch_clear(forward_batch *b) {
    if (b == NULL) {
        return;
    }
    b->count = 0;
    b->chunk_id[0] = '\0';
    msgpack_sbuffer_clear(&b->entries[0]);
    forget_derived(b);
}

size_t forward_batch_count(const forward_batch *b) {
    return b == NULL ? 0 : b->count;
}

size_t forward_batch_bytes(const forward_batch *b) {
    return b == NULL ? 0 : b->entries[0].size;
}

const char *forward_batch_tag(const forward_batch *b) {
    return b->tag;
}

const char *forward_batch_chunk_id(forward_batch *b) {
    if (b == NULL || (b->chunk_id[0] == '\0' && !forward_random_id(b->chunk_id))) {
        return NULL;
    }
    return b->chunk_id;
}

/* Copies the entries with the time as a plain integer of seconds. */
static upstream_status_t make_integer_entries(forward_batch *b) {
    const unsigned char *from = (const unsigned char *)b->entries[0].data;
    size_t left = b->entries[0].size;
    msgpack_sbuffer *to = &b->entries[1];

    while (left > 0) {
        forward_scan scan = FORWARD_SCAN_INIT;
        unsigned char head[6] = {0x92, 0xce}; /* array of 2, uint 32 */
        if (forward_scan_value(&scan, from, left, left) != FORWARD_SCAN_DONE) {
            return UPSTREAM_ERR_INVALID_ARG;
        }
        put_u32(head + 2, get_u32(from + 3));
        if (msgpack_sbuffer_write(to, (const char *)head, sizeof head) != 0 ||
            msgpack_sbuffer_write(to, (const char *)from + EVENT_HEAD, scan.at - EVENT_HEAD) != 0) {
            msgpack_sbuffer_clear(to);
            return UPSTREAM_ERR_NO_MEMORY;
        }
        from += scan.at;
        left -= scan.at;
    }
    return UPSTREAM_OK;
}

upstream_status_t forward_batch_entries(forward_batch *b, bool time_as_integer, const msgpack_sbuffer **out) {
    if (time_as_integer && b->entries[1].size == 0) {
        upstream_status_t status = make_integer_entries(b);
        if (status != UPSTREAM_OK) {
            return status;
        }
    }
    *out = &b->entries[time_as_integer];
    return UPSTREAM_OK;
}

static upstream_status_t deflate_into(msgpack_sbuffer *to, const msgpack_sbuffer *from) {
    z_stream z;
    int status;

    memset(&z, 0, sizeof z);
    /* 15 + 16: the largest window, in a gzip envelope; 8 is zlib's default memory level. */
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        return UPSTREAM_ERR_NO_MEMORY;
    }
    size_t bound = deflateBound(&z, from->size);
    char *room = bound <= UINT32_MAX ? malloc(bound) : NULL;
    if (room == NULL) {
        deflateEnd(&z);
        return UPSTREAM_ERR_NO_MEMORY;
    }
    z.next_in = (Bytef *)from->data;
    z.avail_in = (uInt)from->size; /* a chunk never passes 2^32 - 1 bytes */
    z.next_out = (Bytef *)room;
    z.avail_out = (uInt)bound;
    status = deflate(&z, Z_FINISH);
    size_t size = z.total_out;
    deflateEnd(&z);
    bool stored = status == Z_STREAM_END && msgpack_sbuffer_write(to, room, size) == 0;
    free(room);
    return stored ? UPSTREAM_OK : UPSTREAM_ERR_NO_MEMORY;
}

upstream_status_t forward_batch_gzip(forward_batch *b, bool time_as_integer, const msgpack_sbuffer **out) {
    msgpack_sbuffer *gzip = &b->gzip[time_as_integer];
    if (gzip->size == 0) {
        const msgpack_sbuffer *entries;
        upstream_status_t status = forward_batch_entries(b, time_as_integer, &entries);
        if (status == UPSTREAM_OK) {
            status = deflate_into(gzip, entries);
        }
        if (status != UPSTREAM_OK) {
            return status;
        }
    }
    *out = gzip;
    return UPSTREAM_OK;
}
