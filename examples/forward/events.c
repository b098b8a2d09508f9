/*
 * The entries of a chunk as bytes: where one ends, what opens it, and how it looks in another form. Records and metadata
 * are stepped over, never decoded.
 */
#include "internal.h"

#include <string.h>

#define ARRAY_OF_2 0x92

/* One event, taken apart. */
typedef struct event {
    forward_bytes time;
    forward_bytes record;
} event;

static void put_u32(unsigned char *p, uint32_t n) {
    p[0] = (unsigned char)(n >> 24);
    p[1] = (unsigned char)(n >> 16);
    p[2] = (unsigned char)(n >> 8);
    p[3] = (unsigned char)n;
}

static uint64_t number(const unsigned char *p, size_t len) {
    uint64_t n = 0;
    while (len-- > 0) {
        n = n << 8 | *p++;
    }
    return n;
}

void forward_event_head(unsigned char head[FORWARD_EVENT_HEAD], uint32_t seconds, uint32_t nanoseconds) {
    head[0] = ARRAY_OF_2;
    head[1] = 0xd7; /* fixext 8 */
    head[2] = 0x00; /* of type 0: EventTime */
    put_u32(head + 3, seconds);
    put_u32(head + 7, nanoseconds);
}

static bool is_map(unsigned char first) {
    return (first & 0xf0) == 0x80 || first == 0xde || first == 0xdf;
}

/* Takes the value that `rest` starts with off it. */
static bool next_value(forward_bytes *rest, forward_bytes *value) {
    forward_scan scan = FORWARD_SCAN_INIT;
    const unsigned char *data = (const unsigned char *)rest->data;
    if (forward_scan_value(&scan, data, rest->len, rest->len) != FORWARD_SCAN_DONE) {
        return false;
    }
    *value = (forward_bytes){rest->data, scan.at};
    rest->data += scan.at;
    rest->len -= scan.at;
    return true;
}

/* EventTime, an integer or a float. */
static bool is_time(forward_bytes value) {
    const unsigned char *p = (const unsigned char *)value.data;
    switch (p[0]) {
    case 0xd7: /* fixext 8 */
        return p[1] == 0;
    case 0xc7: /* ext 8 */
        return p[1] == 8 && p[2] == 0;
    default:
        return p[0] < 0x80 || p[0] >= 0xe0 || (p[0] >= 0xca && p[0] <= 0xd3);
    }
}

/* Steps over an array's header of two. Other encodings of that header are legal, and no encoder writes them. */
static bool enter_pair(forward_bytes *rest) {
    if (rest->len == 0 || (unsigned char)rest->data[0] != ARRAY_OF_2) {
        return false;
    }
    rest->data++;
    rest->len--;
    return true;
}

static bool next_map(forward_bytes *rest, forward_bytes *map) {
    return next_value(rest, map) && is_map((unsigned char)map->data[0]);
}

static bool next_event(forward_bytes *rest, event *e) {
    forward_bytes metadata;
    if (!enter_pair(rest)) {
        return false;
    }
    if (enter_pair(rest)) {
        return next_value(rest, &e->time) && is_time(e->time) && next_map(rest, &metadata) && next_map(rest, &e->record);
    }
    return next_value(rest, &e->time) && is_time(e->time) && next_map(rest, &e->record);
}

bool forward_is_one_map(const unsigned char *record, size_t len) {
    forward_bytes rest = {(const char *)record, len}, map;
    return next_map(&rest, &map) && rest.len == 0;
}

bool forward_events_count(forward_bytes events, size_t *count) {
    event e;
    *count = 0;
    while (events.len > 0) {
        if (!next_event(&events, &e)) {
            return false;
        }
        (*count)++;
    }
    return true;
}

/* Whole seconds; what lies outside of 32 bits comes out as their end. */
static uint32_t seconds_of(forward_bytes time) {
    const unsigned char *p = (const unsigned char *)time.data;
    double seconds;
    if (p[0] == 0xd7) {
        return (uint32_t)number(p + 2, 4);
    }
    if (p[0] == 0xc7) {
        return (uint32_t)number(p + 3, 4);
    }
    if (p[0] < 0x80) {
        return p[0];
    }
    if (p[0] == 0xca) {
        uint32_t bits = (uint32_t)number(p + 1, 4);
        float f;
        memcpy(&f, &bits, sizeof f);
        seconds = f;
    } else if (p[0] == 0xcb) {
        uint64_t bits = number(p + 1, 8);
        memcpy(&seconds, &bits, sizeof seconds);
    } else {
        uint64_t n = number(p + 1, time.len - 1);
        bool negative = p[0] >= 0xe0 || (p[0] >= 0xd0 && (p[1] & 0x80) != 0);
        return negative ? 0 : n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
    }
    return !(seconds > 0) ? 0 : seconds >= (double)UINT32_MAX ? UINT32_MAX : (uint32_t)seconds;
}

/*
 * Fluent Bit opens and closes a group of events by one whose seconds are -1 or -2 as 32 bits: its content tells of the group
 * and is no record.
 */
static bool is_group_mark(forward_bytes time) {
    return (unsigned char)time.data[0] == 0xd7 && seconds_of(time) >= UINT32_MAX - 1;
}

upstream_status_t forward_events_convert(forward_bytes events, forward_form form, msgpack_sbuffer *out, size_t *count) {
    event e;
    *count = 0;
    while (events.len > 0) {
        unsigned char seconds[6] = {ARRAY_OF_2, 0xce}; /* uint 32 */
        if (!next_event(&events, &e)) {
            return UPSTREAM_ERR_INVALID_ARG;
        }
        if (is_group_mark(e.time)) {
            continue;
        }
        (*count)++;
        put_u32(seconds + 2, seconds_of(e.time));
        bool whole = form == FORWARD_INTEGER;
        if (msgpack_sbuffer_write(out, (const char *)seconds, whole ? sizeof seconds : 1) != 0 ||
            (!whole && msgpack_sbuffer_write(out, e.time.data, e.time.len) != 0) ||
            msgpack_sbuffer_write(out, e.record.data, e.record.len) != 0) {
            return UPSTREAM_ERR_NO_MEMORY;
        }
    }
    return UPSTREAM_OK;
}
