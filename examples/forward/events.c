/*
 * The entries of a chunk, as bytes: where each one ends, what time it has, and how to write it in
 * another form. Records and metadata are skipped, never decoded.
 */
#include "internal.h"

#include <string.h>

#define ARRAY_OF_2 0x92
#define NANOSECONDS 1000000000

/* One event, taken apart. */
typedef struct event {
    forward_bytes time;
    forward_bytes record;
    bool bare; /* [time, record], without metadata */
} event;

typedef struct event_time {
    uint32_t seconds;
    uint32_t nanoseconds;
} event_time;

static void put_u32(unsigned char *p, uint32_t n)
{
    p[0] = (unsigned char)(n >> 24);
    p[1] = (unsigned char)(n >> 16);
    p[2] = (unsigned char)(n >> 8);
    p[3] = (unsigned char)n;
}

static uint64_t number(const unsigned char *p, size_t len)
{
    uint64_t n = 0;
    while (len-- > 0) {
        n = n << 8 | *p++;
    }
    return n;
}

void forward_event_head(unsigned char head[FORWARD_EVENT_HEAD], uint32_t seconds,
                        uint32_t nanoseconds)
{
    head[0] = ARRAY_OF_2;
    head[1] = 0xd7; /* fixext 8 */
    head[2] = 0x00; /* of type 0: EventTime */
    put_u32(head + 3, seconds);
    put_u32(head + 7, nanoseconds);
}

static bool is_map(unsigned char first)
{
    return (first & 0xf0) == 0x80 || first == 0xde || first == 0xdf;
}

/* Takes one value from the beginning of `rest`. */
static bool next_value(forward_bytes *rest, forward_bytes *value)
{
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

/* True for an EventTime, an integer or a float. */
static bool is_time(forward_bytes value)
{
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

/* Skips the header of an array of two. Longer encodings of it are legal, but no encoder writes
 * them. */
static bool enter_pair(forward_bytes *rest)
{
    if (rest->len == 0 || (unsigned char)rest->data[0] != ARRAY_OF_2) {
        return false;
    }
    rest->data++;
    rest->len--;
    return true;
}

bool forward_next_map(forward_bytes *rest, forward_bytes *map)
{
    return next_value(rest, map) && is_map((unsigned char)map->data[0]);
}

static bool next_event(forward_bytes *rest, event *e)
{
    forward_bytes metadata;
    if (!enter_pair(rest)) {
        return false;
    }
    e->bare = !enter_pair(rest);
    return next_value(rest, &e->time) && is_time(e->time) &&
           (e->bare || forward_next_map(rest, &metadata)) && forward_next_map(rest, &e->record);
}

bool forward_is_one_map(const unsigned char *record, size_t len)
{
    forward_bytes rest = {(const char *)record, len}, map;
    return forward_next_map(&rest, &map) && rest.len == 0;
}

static bool is_event_time(forward_bytes time)
{
    unsigned char first = (unsigned char)time.data[0];
    return first == 0xd7 || first == 0xc7;
}

/* Times outside 32 bits of seconds become the nearest time inside. */
static event_time of_float(double seconds)
{
    if (!(seconds > 0)) {
        return (event_time){0, 0};
    }
    if (seconds >= (double)UINT32_MAX) {
        return (event_time){UINT32_MAX, 0};
    }
    uint32_t whole = (uint32_t)seconds;
    uint32_t rest = (uint32_t)((seconds - whole) * NANOSECONDS);
    return (event_time){whole, rest < NANOSECONDS ? rest : NANOSECONDS - 1};
}

static event_time read_time(forward_bytes time)
{
    const unsigned char *p = (const unsigned char *)time.data;
    if (is_event_time(time)) {
        const unsigned char *at = p + time.len - 8; /* the last 8 bytes, in both encodings */
        return (event_time){(uint32_t)number(at, 4), (uint32_t)number(at + 4, 4)};
    }
    if (p[0] < 0x80) {
        return (event_time){p[0], 0};
    }
    if (p[0] == 0xca) {
        uint32_t bits = (uint32_t)number(p + 1, 4);
        float f;
        memcpy(&f, &bits, sizeof f);
        return of_float(f);
    }
    if (p[0] == 0xcb) {
        uint64_t bits = number(p + 1, 8);
        double f;
        memcpy(&f, &bits, sizeof f);
        return of_float(f);
    }
    uint64_t n = number(p + 1, time.len - 1);
    bool negative = p[0] >= 0xe0 || (p[0] >= 0xd0 && (p[1] & 0x80) != 0);
    return (event_time){negative ? 0 : n > UINT32_MAX ? UINT32_MAX : (uint32_t)n, 0};
}

/*
 * Fluent Bit opens and closes a group of events with a mark: an event whose seconds are -1 or -2 in
 * 32 bits. Its content describes the group; it is not a record.
 */
static bool is_group_mark(forward_bytes time)
{
    return is_event_time(time) && read_time(time).seconds >= UINT32_MAX - 1;
}

bool forward_events_survey(forward_bytes events, forward_survey *out)
{
    event e;
    *out = (forward_survey){0, 0, true};
    while (events.len > 0) {
        if (!next_event(&events, &e)) {
            return false;
        }
        bool mark = is_group_mark(e.time);
        out->entries++;
        out->records += !mark;
        out->plain = out->plain && !mark && e.bare && (unsigned char)e.time.data[0] == 0xd7;
    }
    return true;
}

/* Writes the beginning of `[time, record]` in this form; returns its length. */
static size_t entry_head(unsigned char head[FORWARD_EVENT_HEAD], forward_form form, event_time t)
{
    if (form == FORWARD_INTEGER) {
        head[0] = ARRAY_OF_2;
        head[1] = 0xce; /* uint 32 */
        put_u32(head + 2, t.seconds);
        return 6;
    }
    forward_event_head(head, t.seconds, t.nanoseconds);
    return FORWARD_EVENT_HEAD;
}

upstream_status_t forward_events_convert(forward_bytes events, forward_form form,
                                         msgpack_sbuffer *out)
{
    unsigned char head[FORWARD_EVENT_HEAD];
    event e;
    while (events.len > 0) {
        if (!next_event(&events, &e)) {
            return UPSTREAM_ERR_INVALID_ARG;
        }
        if (is_group_mark(e.time)) {
            continue;
        }
        size_t len = entry_head(head, form, read_time(e.time));
        if (msgpack_sbuffer_write(out, (const char *)head, len) != 0 ||
            msgpack_sbuffer_write(out, e.record.data, e.record.len) != 0) {
            return UPSTREAM_ERR_NO_MEMORY;
        }
    }
    return UPSTREAM_OK;
}

/* True if the value is this short text, in the one way in which encoders write it. */
static bool is_text(forward_bytes value, const char *text)
{
    size_t len = strlen(text);
    return value.len == 1 + len && (unsigned char)value.data[0] == (0xa0 | len) &&
           memcmp(value.data + 1, text, len) == 0;
}

/* What an agent's map holds, by its keys. FORWARD_LOGS: neither metrics nor traces. */
static forward_signal signal_of(forward_bytes map)
{
    unsigned char first = (unsigned char)map.data[0];
    size_t head = first == 0xde ? 3 : first == 0xdf ? 5 : 1;
    forward_bytes rest = {map.data + head, map.len - head}, key, value;
    while (rest.len > 0 && next_value(&rest, &key) && next_value(&rest, &value)) {
        if (is_text(key, "metrics")) {
            return FORWARD_METRICS;
        }
        if (is_text(key, "resourceSpans")) {
            return FORWARD_TRACES;
        }
    }
    return FORWARD_LOGS;
}

forward_signal forward_signal_of(forward_bytes chunk, size_t *maps)
{
    forward_signal all = FORWARD_LOGS;
    forward_bytes map;
    for (*maps = 0; chunk.len > 0; (*maps)++) {
        forward_signal one = forward_next_map(&chunk, &map) ? signal_of(map) : FORWARD_LOGS;
        if (one == FORWARD_LOGS || (*maps > 0 && one != all)) {
            return FORWARD_LOGS;
        }
        all = one;
    }
    return all;
}
