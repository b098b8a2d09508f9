/*
 * An agent's chunks in the messages of the Forward example, byte for byte: logs with their times,
 * metadata and groups, metrics, traces, and what is refused.
 */
#include "support/check.h"
#include "support/forward_framed.h"

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
    framed_decode(b, c, &m, &bytes);
    const msgpack_object *packed = &m.data.via.array.ptr[1];
    assert_int_equal(packed->type, MSGPACK_OBJECT_BIN);
    assert_int_equal(packed->via.bin.size, body_len);
    assert_memory_equal(packed->via.bin.ptr, body, body_len);
    assert_int_equal(framed_option(&m.data, "size")->via.u64, records);
    assert_int_equal(framed_option(&m.data, "fluent_signal")->via.u64, FORWARD_LOGS);
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
    forward_config c = framed_config();
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
        forward_config c = framed_config();
        forward_batch *b = forward_batch_create("t");
        msgpack_unpacked m;
        char *bytes;
        c.retain_metadata = i == 1;
        c.send_options = true;
        assert_int_equal(forward_batch_set_events(b, chunk, sizeof chunk - 1), UPSTREAM_OK);
        framed_decode(b, &c, &m, &bytes);
        assert_int_equal(m.data.via.array.ptr[1].type, MSGPACK_OBJECT_ARRAY);
        assert_int_equal(m.data.via.array.ptr[1].via.array.size, i == 1 ? 3 : 1);
        assert_int_equal(framed_option(&m.data, "size")->via.u64, 1);
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
    forward_config c = framed_config();
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
    char *bytes = framed_bytes(f, &len);
    msgpack_unpacked_init(&m);
    assert_int_equal(msgpack_unpack_next(&m, bytes, len, &at), MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(at, len);
    char *body = framed_body(&m.data, c->gzip, &len);
    assert_int_equal(len, map_len);
    assert_memory_equal(body, map, len);
    assert_int_equal(framed_option(&m.data, "fluent_signal")->via.u64, signal);
    assert_null(framed_option(&m.data, "size"));
    assert_int_equal(framed_option(&m.data, "chunk") != NULL, c->require_ack_response);
    assert_int_equal(strlen(f->chunk), c->require_ack_response ? FORWARD_CHUNK_ID_LEN : 0);
    assert_true(!c->require_ack_response ||
                forward_text_is(framed_option(&m.data, "chunk"), f->chunk));
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
            forward_config c = framed_config();
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
    framed_append(b, "x");
    forward_config c = framed_config();
    msgpack_unpacked m;
    char *bytes;
    c.send_options = true;
    framed_decode(b, &c, &m, &bytes);
    assert_int_equal(framed_option(&m.data, "fluent_signal")->via.u64, FORWARD_LOGS);
    msgpack_unpacked_destroy(&m);
    free(bytes);
    forward_batch_destroy(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chunk_is_times_and_records),
        cmocka_unit_test(marks_count_where_entries_do),
        cmocka_unit_test(marks_alone_are_nothing),
        cmocka_unit_test(metrics_and_traces_are_told_apart),
        cmocka_unit_test(what_is_no_chunk_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
