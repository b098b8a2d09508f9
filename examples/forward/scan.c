/*
 * Finds the end of a msgpack value without building it. msgpack-c allocates an array as soon as it
 * has read its header, so five bytes of a hostile server could ask for gigabytes: a value is handed
 * to it only when this scan has seen it whole. It never allocates and never recurses.
 */
#include "internal.h"

/* The big-endian number of `len` bytes. */
static uint64_t number(const unsigned char *p, size_t len)
{
    uint64_t n = 0;
    for (size_t i = 0; i < len; i++) {
        n = n << 8 | p[i];
    }
    return n;
}

/* What a value's first byte says of the rest of it. */
typedef struct shape {
    size_t width;     /* bytes of the length or count that follows the first byte */
    uint64_t bytes;   /* payload known at once, beside what the length says */
    uint64_t values;  /* values inside, known at once */
    unsigned per_one; /* values inside for each one that the count says; 0 where it counts bytes */
} shape;

static bool shape_of(unsigned char first, shape *s)
{
    static const unsigned char fixed[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 8, 1, 2, 4, 8};
    *s = (shape){0, 0, 0, 0};
    if (first < 0x80 || first >= 0xe0) {
        return true;
    }
    if (first < 0x90) {
        s->values = 2 * (uint64_t)(first & 0x0f);
    } else if (first < 0xa0) {
        s->values = first & 0x0f;
    } else if (first < 0xc0) {
        s->bytes = first & 0x1f;
    } else if (first == 0xc1) {
        return false; /* the one byte that the format never uses */
    } else if (first < 0xc4) {
        return true;
    } else if (first < 0xc7) {
        s->width = (size_t)1 << (first - 0xc4); /* bin */
    } else if (first < 0xca) {
        s->width = (size_t)1 << (first - 0xc7); /* ext */
        s->bytes = 1;
    } else if (first < 0xd0) {
        s->bytes = fixed[first - 0xc0]; /* float, uint */
    } else if (first < 0xd4) {
        s->bytes = (uint64_t)1 << (first - 0xd0); /* int */
    } else if (first < 0xd9) {
        s->bytes = 1 + ((uint64_t)1 << (first - 0xd4)); /* fixext */
    } else if (first < 0xdc) {
        s->width = (size_t)1 << (first - 0xd9); /* str */
    } else {
        s->width = first & 1 ? 4 : 2; /* array, map */
        s->per_one = first < 0xde ? 1 : 2;
    }
    return true;
}

forward_scan_result forward_scan_value(forward_scan *scan, const unsigned char *data, size_t len,
                                       size_t limit)
{
    while (scan->need > 0) {
        if (scan->at >= len) {
            return FORWARD_SCAN_MORE;
        }
        shape s;
        if (!shape_of(data[scan->at], &s)) {
            return FORWARD_SCAN_BAD;
        }
        size_t head = 1 + s.width;
        if (len - scan->at < head) {
            return FORWARD_SCAN_MORE;
        }
        uint64_t count = number(data + scan->at + 1, s.width);
        uint64_t bytes = s.per_one ? s.bytes : s.bytes + count;
        uint64_t values = s.values + s.per_one * count;
        /* Each value is at least one byte: a count that could not fit is refused before it is
         * believed. */
        uint64_t need = scan->need - 1 + values;
        if (head + bytes + need > limit - scan->at) {
            return FORWARD_SCAN_BAD;
        }
        if (len - scan->at < head + bytes) {
            return FORWARD_SCAN_MORE;
        }
        scan->at += head + (size_t)bytes;
        scan->need = need;
    }
    return FORWARD_SCAN_DONE;
}
