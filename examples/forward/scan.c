/*
 * Finds the end of a msgpack value without building it. msgpack-c allocates an array as soon as it
 * has read the array's header, so five bytes from a hostile server could make it allocate
 * gigabytes. So a value goes to msgpack-c only after this scan has seen all of it. The scan never
 * allocates and never recurses.
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

/* What the first byte of a value says about the rest. */
typedef struct shape {
    size_t width;     /* bytes of the length or count that follows the first byte */
    uint64_t bytes;   /* payload by the first byte alone; the length adds to it */
    uint64_t values;  /* values inside, by the first byte alone */
    unsigned per_one; /* values inside for each one of the count; 0: it counts bytes */
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
        return false; /* the only byte that the format does not use */
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
        /* Each value takes at least one byte, so a count that cannot fit is refused here. */
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
