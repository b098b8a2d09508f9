/*
 * Messages of the Forward example, byte for byte: records and times, the two framings, options,
 * gzip and chunk ids.
 */
#include "../examples/forward/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

static const struct timespec WHEN = {0x12345678, 0x0abcdef0};

static forward_config plain_config(void)
{
    forward_config c;
    memset(&c, 0, sizeof c);
    c.self_hostname = "localhost";
    c.ack_timeout_ms = 1000;
    return c;
}

static void append(forward_batch *b, const char *line)
{
    char record[256] = "\x81\xa3log";
    size_t len = strlen(line);
    record[5] = (char)(0xa0 | len);
    memcpy(record + 6, line, len);
    assert_int_equal(forward_batch_append(b, &WHEN, record, 6 + len), UPSTREAM_OK);
}

/* The message as one piece; the caller frees it. */
static char *joined(const forward_frame *f, size_t *len)
{
    char *all = malloc(f->bytes);
    size_t at = 0;
    assert_non_null(all);
    for (size_t i = 0; i < f->iov_count; i++) {
        memcpy(all + at, f->iov[i].iov_base, f->iov[i].iov_len);
        at += f->iov[i].iov_len;
    }
    assert_int_equal(at, f->bytes);
    *len = at;
    return all;
}

/* Frames a batch and decodes the message, which has to be one value and nothing else. */
static void decode(forward_batch *b, const forward_config *c, msgpack_unpacked *out, char **bytes)
{
    forward_frame f;
    size_t len, at = 0, begin = 0;
    assert_int_equal(forward_frame_build(&f, b, c, &begin), UPSTREAM_OK);
    assert_int_equal(begin, forward_batch_bytes(b)); /* one message */
    *bytes = joined(&f, &len);
    forward_frame_destroy(&f);
    msgpack_unpacked_init(out);
    assert_int_equal(msgpack_unpack_next(out, *bytes, len, &at), MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(at, len);
    assert_int_equal(out->data.type, MSGPACK_OBJECT_ARRAY);
}

static const msgpack_object *option(const msgpack_object *message, const char *key)
{
    assert_int_equal(message->via.array.size, 3);
    return forward_map_get(&message->via.array.ptr[2], key);
}

static void forward_mode_is_exact(void **state)
{
    (void)state;
    static const char expected[] =
        "\x92\xa3\x61pp\x92"
        "\x92\xd7\x00\x12\x34\x56\x78\x0a\xbc\xde\xf0\x81\xa3log\xa1\x61"
        "\x92\xd7\x00\x12\x34\x56\x78\x0a\xbc\xde\xf0\x81\xa3log\xa2\x62\x63";
    forward_config c = plain_config();
    forward_batch *b = forward_batch_create("app");
    forward_frame f;
    size_t len;

    append(b, "a");
    append(b, "bc");
    assert_int_equal(forward_batch_count(b), 2);
    assert_int_equal(forward_frame_build(&f, b, &c, &(size_t){0}), UPSTREAM_OK);
    char *bytes = joined(&f, &len);
    assert_int_equal(len, sizeof expected - 1);
    assert_memory_equal(bytes, expected, len);
    free(bytes);
    forward_frame_destroy(&f);
    forward_batch_destroy(b);
}

static void integer_time_is_exact(void **state)
{
    (void)state;
    static const char expected[] = "\x92\xa3\x61pp\x92"
                                   "\x92\xce\x12\x34\x56\x78\x81\xa3log\xa1\x61"
                                   "\x92\xce\x12\x34\x56\x78\x81\xa3log\xa2\x62\x63";
    forward_config c = plain_config();
    forward_batch *b = forward_batch_create("app");
    forward_frame f;
    size_t len;

    c.time_as_integer = true;
    append(b, "a");
    append(b, "bc");
    for (int round = 0; round < 2; round++) { /* made for the first node, kept for the second */
        assert_int_equal(forward_frame_build(&f, b, &c, &(size_t){0}), UPSTREAM_OK);
        char *bytes = joined(&f, &len);
        assert_int_equal(len, sizeof expected - 1);
        assert_memory_equal(bytes, expected, len);
        free(bytes);
        forward_frame_destroy(&f);
    }
    append(b, "later"); /* must appear in the derived form too */
    assert_int_equal(forward_frame_build(&f, b, &c, &(size_t){0}), UPSTREAM_OK);
    assert_int_equal(f.bytes, sizeof expected - 1 + 6 + 6 + 5);
    forward_frame_destroy(&f);
    forward_batch_destroy(b);
}

static void node_tag_goes_before_the_batch(void **state)
{
    (void)state;
    forward_config c = plain_config();
    forward_batch *b = forward_batch_create("batch.tag");
    msgpack_unpacked m;
    char *bytes;

    append(b, "x");
    decode(b, &c, &m, &bytes);
    assert_true(forward_text_is(&m.data.via.array.ptr[0], "batch.tag"));
    msgpack_unpacked_destroy(&m);
    free(bytes);
    c.tag = "node.tag";
    decode(b, &c, &m, &bytes);
    assert_true(forward_text_is(&m.data.via.array.ptr[0], "node.tag"));
    msgpack_unpacked_destroy(&m);
    free(bytes);
    forward_batch_destroy(b);
}

static void options_only_where_needed(void **state)
{
    (void)state;
    forward_batch *b = forward_batch_create("t");
    append(b, "x");
    append(b, "y");
    for (int i = 0; i < 8; i++) {
        forward_config c = plain_config();
        c.send_options = i & 1;
        c.require_ack_response = i & 2;
        c.gzip = i & 4;
        msgpack_unpacked m;
        char *bytes;
        decode(b, &c, &m, &bytes);
        if (i == 0) {
            assert_int_equal(m.data.via.array.size, 2);
        } else {
            const msgpack_object *size = option(&m.data, "size");
            assert_non_null(size);
            assert_int_equal(size->via.u64, 2);
            assert_int_equal(option(&m.data, "chunk") != NULL, c.require_ack_response);
            assert_int_equal(option(&m.data, "compressed") != NULL, c.gzip);
            assert_non_null(option(&m.data, "fluent_signal"));
            assert_int_equal(option(&m.data, "fluent_signal")->via.u64, FORWARD_LOGS);
            assert_int_equal(m.data.via.array.ptr[2].via.map.size,
                             2 + c.require_ack_response + c.gzip);
        }
        msgpack_unpacked_destroy(&m);
        free(bytes);
    }
    forward_batch_destroy(b);
}

static void chunk_id_stays_with_its_chunk(void **state)
{
    (void)state;
    forward_batch *b = forward_batch_create("t");
    char first[FORWARD_CHUNK_ID_LEN + 1];

    append(b, "x");
    assert_int_equal(strlen(forward_batch_chunk_id(b)), FORWARD_CHUNK_ID_LEN);
    assert_string_equal(forward_batch_chunk_id(b) + 22, "=="); /* 16 bytes in base64 */
    strcpy(first, forward_batch_chunk_id(b));
    for (int i = 0; i < 4; i++) { /* whatever node it is framed for */
        forward_config c = plain_config();
        msgpack_unpacked m;
        char *bytes;
        c.require_ack_response = true;
        c.time_as_integer = i & 1;
        c.gzip = i & 2;
        decode(b, &c, &m, &bytes);
        assert_true(forward_text_is(option(&m.data, "chunk"), first));
        msgpack_unpacked_destroy(&m);
        free(bytes);
    }
    forward_batch_clear(b);
    assert_int_equal(forward_batch_count(b), 0);
    append(b, "x");
    assert_string_not_equal(forward_batch_chunk_id(b), first);
    forward_batch_destroy(b);
}

/* The body of a packed message, inflated if it is compressed. */
static char *packed_body(const msgpack_object *message, bool gzip, size_t *len)
{
    const msgpack_object *body = &message->via.array.ptr[1];
    assert_int_equal(body->type, MSGPACK_OBJECT_BIN);
    size_t cap = 1 << 20;
    char *out = malloc(cap);
    assert_non_null(out);
    if (!gzip) {
        memcpy(out, body->via.bin.ptr, body->via.bin.size);
        *len = body->via.bin.size;
        return out;
    }
    z_stream z;
    memset(&z, 0, sizeof z);
    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)body->via.bin.ptr;
    z.avail_in = body->via.bin.size;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)cap;
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.avail_in, 0);
    *len = z.total_out;
    inflateEnd(&z);
    return out;
}

static void packed_bodies_hold_the_entries(void **state)
{
    (void)state;
    forward_batch *b = forward_batch_create("t");
    for (int i = 0; i < 1000; i++) {
        append(b, "the same line again and again");
    }
    for (int i = 0; i < 4; i++) {
        forward_config c = plain_config();
        msgpack_unpacked m;
        char *bytes;
        size_t len;
        c.packed = true;
        c.gzip = i & 1;
        c.time_as_integer = i & 2;
        decode(b, &c, &m, &bytes);
        char *body = packed_body(&m.data, c.gzip, &len);
        forward_entries entries;
        forward_form form = c.time_as_integer ? FORWARD_INTEGER : FORWARD_AS_GIVEN;
        assert_int_equal(forward_batch_entries(b, form, &entries), UPSTREAM_OK);
        assert_int_equal(len, entries.bytes.len);
        assert_memory_equal(body, entries.bytes.data, len);
        if (c.gzip) {
            assert_true(m.data.via.array.ptr[1].via.bin.size < len / 10);
            assert_true(forward_text_is(option(&m.data, "compressed"), "gzip"));
        }
        free(body);
        free(bytes);
        msgpack_unpacked_destroy(&m);
    }
    forward_batch_destroy(b);
}

static void gzip_follows_the_batch(void **state)
{
    (void)state;
    forward_config c = plain_config();
    forward_batch *b = forward_batch_create("t");
    msgpack_unpacked m;
    char *bytes;
    size_t len;

    c.gzip = true;
    for (int i = 1; i <= 3; i++) { /* what was compressed before must not be sent again */
        append(b, "x");
        decode(b, &c, &m, &bytes);
        char *body = packed_body(&m.data, true, &len);
        assert_int_equal(len, (size_t)i * 18);
        assert_int_equal(option(&m.data, "size")->via.u64, i);
        free(body);
        free(bytes);
        msgpack_unpacked_destroy(&m);
    }
    forward_batch_destroy(b);
}

/* ---- an agent's chunks ---- */

#define TIME "\xd7\x00\x12\x34\x56\x78\x0a\xbc\xde\xf0"
#define RECORD(text) "\x81\xa3log\xa3" text
#define GROUP_START \
    "\x92\x92\xd7\x00\xff\xff\xff\xff\x00\x00\x00\x00\x81\xa6schema\xa4otlp\x81\xa8resource\x80"
#define GROUP_END "\x92\x92\xd7\x00\xff\xff\xff\xfe\x00\x00\x00\x00\x80\x80"

/* The message of a chunk, in the form that `c` asks for: its body, and what its options say. */
static void chunk_becomes(const char *chunk, size_t chunk_len, const forward_config *c,
                          const char *body, size_t body_len, size_t records)
{
    forward_batch *b = forward_batch_create("t");
    msgpack_unpacked m;
    char *bytes;
    assert_int_equal(forward_batch_set_events(b, chunk, chunk_len), UPSTREAM_OK);
    assert_int_equal(forward_batch_count(b), records);
    decode(b, c, &m, &bytes);
    const msgpack_object *packed = &m.data.via.array.ptr[1];
    assert_int_equal(packed->type, MSGPACK_OBJECT_BIN);
    assert_int_equal(packed->via.bin.size, body_len);
    assert_memory_equal(packed->via.bin.ptr, body, body_len);
    assert_int_equal(option(&m.data, "size")->via.u64, records);
    assert_int_equal(option(&m.data, "fluent_signal")->via.u64, FORWARD_LOGS);
    msgpack_unpacked_destroy(&m);
    free(bytes);
    forward_batch_destroy(b);
}

/* The default is what every server reads, and what the agent's own plugin sends with an upstream
 * file: [EventTime, record]. */
static void a_chunk_is_times_and_records(void **state)
{
    (void)state;
    /* An entry a line. */
    /* clang-format off */
    static const char chunk[] =
        GROUP_START "\x92\x92" TIME "\x81\xa1k\xa1v" RECORD("one") /* with metadata */
        "\x92\x92" TIME "\x80" RECORD("two") GROUP_END
        "\x92\x92\xc7\x08\x00\x12\x34\x56\x78\x0a\xbc\xde\xf0\x80" RECORD("thr")
        "\x92\xce\x12\x34\x56\x78" RECORD("fou")                 /* whole seconds */
        "\x92\xcb\x41\xd1\x00\x00\x00\x60\x00\x00" RECORD("fiv") /* a double with a half */
        "\x92\xca\x3f\xc0\x00\x00" RECORD("six");                /* 1.5 as float */
    static const char plain[] =
        "\x92" TIME RECORD("one")
        "\x92" TIME RECORD("two")
        "\x92" TIME RECORD("thr")
        "\x92\xd7\x00\x12\x34\x56\x78\x00\x00\x00\x00" RECORD("fou")
        "\x92\xd7\x00\x44\x00\x00\x01\x1d\xcd\x65\x00" RECORD("fiv")
        "\x92\xd7\x00\x00\x00\x00\x01\x1d\xcd\x65\x00" RECORD("six");
    static const char whole[] =
        "\x92\xce\x12\x34\x56\x78" RECORD("one")
        "\x92\xce\x12\x34\x56\x78" RECORD("two")
        "\x92\xce\x12\x34\x56\x78" RECORD("thr")
        "\x92\xce\x12\x34\x56\x78" RECORD("fou")
        "\x92\xce\x44\x00\x00\x01" RECORD("fiv")
        "\x92\xce\x00\x00\x00\x01" RECORD("six");
    /* clang-format on */
    forward_config c = plain_config();
    c.packed = true;
    c.send_options = true;
    chunk_becomes(chunk, sizeof chunk - 1, &c, plain, sizeof plain - 1, 6);
    chunk_becomes(plain, sizeof plain - 1, &c, plain, sizeof plain - 1, 6);
    c.time_as_integer = true;
    chunk_becomes(chunk, sizeof chunk - 1, &c, whole, sizeof whole - 1, 6);
    /* As it is in the agent's memory. The marks of groups are entries, but not records. */
    c.time_as_integer = false;
    c.retain_metadata = true;
    chunk_becomes(chunk, sizeof chunk - 1, &c, chunk, sizeof chunk - 1, 6);
}

/* In Forward the length of the array counts all entries, also marks. */
static void marks_count_where_entries_do(void **state)
{
    (void)state;
    static const char chunk[] = GROUP_START "\x92\x92" TIME "\x80" RECORD("one") GROUP_END;
    for (int i = 0; i < 2; i++) {
        forward_config c = plain_config();
        forward_batch *b = forward_batch_create("t");
        msgpack_unpacked m;
        char *bytes;
        c.retain_metadata = i == 1;
        c.send_options = true;
        assert_int_equal(forward_batch_set_events(b, chunk, sizeof chunk - 1), UPSTREAM_OK);
        decode(b, &c, &m, &bytes);
        assert_int_equal(m.data.via.array.ptr[1].type, MSGPACK_OBJECT_ARRAY);
        assert_int_equal(m.data.via.array.ptr[1].via.array.size, i == 1 ? 3 : 1);
        assert_int_equal(option(&m.data, "size")->via.u64, 1);
        msgpack_unpacked_destroy(&m);
        free(bytes);
        forward_batch_destroy(b);
    }
}

/* A chunk that holds only marks has nothing to send. */
static void marks_alone_are_nothing(void **state)
{
    (void)state;
    forward_batch *b = forward_batch_create("t");
    forward_config c = plain_config();
    forward_frame f;
    assert_int_equal(
        forward_batch_set_events(b, GROUP_START GROUP_END, sizeof GROUP_START GROUP_END - 1),
        UPSTREAM_OK);
    assert_int_equal(forward_batch_count(b), 0);
    assert_int_equal(forward_frame_build(&f, b, &c, &(size_t){0}), UPSTREAM_ERR_INVALID_ARG);
    forward_batch_destroy(b);
}

#define METRICS "\x82\xa4meta\x80\xa7metrics\x90"
#define TRACES "\x81\xadresourceSpans\x90"

/* Checks the message of one map; gives its id. */
static void map_becomes(const forward_frame *f, const forward_config *c, const char *map,
                        size_t map_len, forward_signal signal, char id[FORWARD_CHUNK_ID_LEN + 1])
{
    msgpack_unpacked m;
    size_t len, at = 0;
    char *bytes = joined(f, &len);
    msgpack_unpacked_init(&m);
    assert_int_equal(msgpack_unpack_next(&m, bytes, len, &at), MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(at, len);
    char *body = packed_body(&m.data, c->gzip, &len);
    assert_int_equal(len, map_len);
    assert_memory_equal(body, map, len);
    assert_int_equal(option(&m.data, "fluent_signal")->via.u64, signal);
    assert_null(option(&m.data, "size"));
    assert_int_equal(option(&m.data, "chunk") != NULL, c->require_ack_response);
    assert_int_equal(strlen(f->chunk), c->require_ack_response ? FORWARD_CHUNK_ID_LEN : 0);
    assert_true(!c->require_ack_response || forward_text_is(option(&m.data, "chunk"), f->chunk));
    strcpy(id, f->chunk);
    free(body);
    msgpack_unpacked_destroy(&m);
    free(bytes);
}

/*
 * Metrics and traces: each map is sent as it is, in a separate message, whatever the form of logs
 * would be. The options say which they are. Fluent Bit's server reads only one map of a message.
 */
static void metrics_and_traces_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *map;
        size_t len;
        forward_signal signal;
    } maps[] = {
        {METRICS, sizeof METRICS - 1, FORWARD_METRICS},
        {"\xde\x00\x01\xa7metrics\x90", 12, FORWARD_METRICS},
        {TRACES, sizeof TRACES - 1, FORWARD_TRACES},
    };
    enum { MAPS = 3 };
    for (size_t i = 0; i < sizeof maps / sizeof maps[0]; i++) {
        char chunk[256], ids[MAPS][FORWARD_CHUNK_ID_LEN + 1], first[MAPS][FORWARD_CHUNK_ID_LEN + 1];
        forward_batch *b = forward_batch_create("t");
        for (size_t n = 0; n < MAPS; n++) {
            memcpy(chunk + n * maps[i].len, maps[i].map, maps[i].len);
        }
        assert_int_equal(forward_batch_set_events(b, chunk, MAPS * maps[i].len), UPSTREAM_OK);
        assert_int_equal(forward_batch_count(b), MAPS);
        for (int keys = 0; keys < 8; keys++) {
            forward_config c = plain_config();
            forward_frame f;
            size_t at = 0;
            c.require_ack_response = keys & 1;
            c.gzip = keys & 2;
            c.time_as_integer = keys & 4;
            for (size_t n = 0; n < MAPS; n++) {
                assert_int_equal(forward_frame_build(&f, b, &c, &at), UPSTREAM_OK);
                assert_int_equal(at, (n + 1) * maps[i].len);
                map_becomes(&f, &c, maps[i].map, maps[i].len, maps[i].signal, ids[n]);
                forward_frame_destroy(&f);
            }
            /* that was all */
            assert_int_equal(forward_frame_build(&f, b, &c, &at), UPSTREAM_ERR_INVALID_ARG);
            if (keys == 1) {
                assert_string_equal(ids[0], forward_batch_chunk_id(b));
                assert_string_not_equal(ids[1], ids[0]);
                assert_string_not_equal(ids[2], ids[1]);
                memcpy(first, ids, sizeof ids);
            } else if (keys & 1) { /* the same for every node */
                assert_memory_equal(ids, first, sizeof ids);
            }
        }
        forward_batch_destroy(b);
    }
}

static void what_is_no_chunk_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
        {"\x80", 1},
        {"\x81\xa3log\xa1x", 7},
        {METRICS TRACES, sizeof METRICS TRACES - 1},
        {METRICS "\x92\x01\x80", sizeof METRICS "\x92\x01\x80" - 1},
        {"\x92\x01\x80" METRICS, sizeof "\x92\x01\x80" METRICS - 1},
        {METRICS, sizeof METRICS - 2},
        {"\x81\xa7metricz\x90", 10},
        {"\x82\xa4meta\x80", 7},
        {"\x81\xa8\x61metrics\x90", 11},
    };
    forward_batch *b = forward_batch_create("t");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(forward_batch_set_events(b, bad[i].bytes, bad[i].len),
                         UPSTREAM_ERR_INVALID_ARG);
        assert_int_equal(forward_batch_count(b), 0);
    }
    /* And what follows is logs again. */
    assert_int_equal(forward_batch_set_events(b, METRICS, sizeof METRICS - 1), UPSTREAM_OK);
    forward_batch_clear(b);
    append(b, "x");
    forward_config c = plain_config();
    msgpack_unpacked m;
    char *bytes;
    c.send_options = true;
    decode(b, &c, &m, &bytes);
    assert_int_equal(option(&m.data, "fluent_signal")->via.u64, FORWARD_LOGS);
    msgpack_unpacked_destroy(&m);
    free(bytes);
    forward_batch_destroy(b);
}

static void what_is_no_record_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {{"", 0},
               {"\xc0", 1},
               {"\x91\xc0", 2},
               {"\x81\xa1\x61", 3},
               {"\x80\xc0", 2},
               {"\x81\xc1\xc0", 3},
               {"\xdf\xff\xff\xff\xff", 5},
               {"\xde\x00", 2},
               {"\x81\xa1\x61\xd9\x05\x61\x62\x63", 8}};
    static const struct timespec bad_times[] = {
        {-1, 0}, {1, -1}, {1, 1000000000}, {(time_t)1 << 32, 0}};
    forward_batch *b = forward_batch_create("t");
    forward_config c = plain_config();
    forward_frame f;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(forward_batch_append(b, &WHEN, bad[i].bytes, bad[i].len),
                         UPSTREAM_ERR_INVALID_ARG);
    }
    for (size_t i = 0; i < sizeof bad_times / sizeof bad_times[0]; i++) {
        assert_int_equal(forward_batch_append(b, &bad_times[i], "\x80", 1),
                         UPSTREAM_ERR_INVALID_ARG);
    }
    assert_int_equal(forward_batch_append(b, &WHEN, NULL, 1), UPSTREAM_ERR_INVALID_ARG);
    assert_int_equal(forward_batch_append(b, NULL, "\x80", 1), UPSTREAM_ERR_INVALID_ARG);
    assert_int_equal(forward_batch_append(NULL, &WHEN, "\x80", 1), UPSTREAM_ERR_INVALID_ARG);
    assert_int_equal(forward_batch_count(b), 0);
    assert_int_equal(forward_batch_bytes(b), 0);
    /* nothing to send */
    assert_int_equal(forward_frame_build(&f, b, &c, &(size_t){0}), UPSTREAM_ERR_INVALID_ARG);
    assert_int_equal(forward_batch_append(b, &WHEN, "\x80", 1), UPSTREAM_OK);
    forward_batch_destroy(b);
    forward_batch_destroy(NULL);
}

static void large_batches_are_whole(void **state)
{
    (void)state;
    enum { LINES = 70000, BIG = 2 * 1024 * 1024 }; /* past array 16; a str 32 */
    forward_config c = plain_config();
    forward_batch *b = forward_batch_create("t");
    msgpack_unpacked m;
    char *bytes;
    char *big = malloc(BIG + 10);
    assert_non_null(big);
    memset(big, 'x', BIG + 10);
    memcpy(big, "\x81\xa3log\xdb\x00\x20\x00\x00", 10);

    for (int i = 1; i < LINES; i++) {
        append(b, "x");
    }
    assert_int_equal(forward_batch_append(b, &WHEN, big, BIG + 10), UPSTREAM_OK);
    decode(b, &c, &m, &bytes);
    const msgpack_object *entries = &m.data.via.array.ptr[1];
    assert_int_equal(entries->via.array.size, LINES);
    const msgpack_object *last = &entries->via.array.ptr[LINES - 1];
    assert_int_equal(last->via.array.ptr[1].via.map.ptr[0].val.via.str.size, BIG);
    msgpack_unpacked_destroy(&m);
    free(bytes);
    free(big);
    forward_batch_destroy(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_mode_is_exact),
        cmocka_unit_test(integer_time_is_exact),
        cmocka_unit_test(node_tag_goes_before_the_batch),
        cmocka_unit_test(options_only_where_needed),
        cmocka_unit_test(chunk_id_stays_with_its_chunk),
        cmocka_unit_test(packed_bodies_hold_the_entries),
        cmocka_unit_test(gzip_follows_the_batch),
        cmocka_unit_test(a_chunk_is_times_and_records),
        cmocka_unit_test(marks_count_where_entries_do),
        cmocka_unit_test(marks_alone_are_nothing),
        cmocka_unit_test(metrics_and_traces_are_told_apart),
        cmocka_unit_test(what_is_no_chunk_is_refused),
        cmocka_unit_test(what_is_no_record_is_refused),
        cmocka_unit_test(large_batches_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
