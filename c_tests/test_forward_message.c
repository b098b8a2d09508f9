/*
 * Messages of the Forward example, byte for byte: records and times, the two framings, options,
 * gzip and chunk ids.
 */
#include "support/check.h"
#include "support/forward_framed.h"

static void forward_mode_is_exact(void **state)
{
    (void)state;
    static const char expected[] =
        "\x92\xa3\x61pp\x92"
        "\x92\xd7\x00\x12\x34\x56\x78\x0a\xbc\xde\xf0\x81\xa3log\xa1\x61"
        "\x92\xd7\x00\x12\x34\x56\x78\x0a\xbc\xde\xf0\x81\xa3log\xa2\x62\x63";
    forward_config c = framed_config();
    forward_batch *b = forward_batch_create("app");
    forward_frame f;
    size_t len;

    framed_append(b, "a");
    framed_append(b, "bc");
    assert_int_equal(forward_batch_count(b), 2);
    assert_int_equal(forward_frame_build(&f, b, &c, &(size_t){0}), UPSTREAM_OK);
    char *bytes = framed_bytes(&f, &len);
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
    forward_config c = framed_config();
    forward_batch *b = forward_batch_create("app");
    forward_frame f;
    size_t len;

    c.time_as_integer = true;
    framed_append(b, "a");
    framed_append(b, "bc");
    for (int round = 0; round < 2; round++) { /* made for the first node, kept for the second */
        assert_int_equal(forward_frame_build(&f, b, &c, &(size_t){0}), UPSTREAM_OK);
        char *bytes = framed_bytes(&f, &len);
        assert_int_equal(len, sizeof expected - 1);
        assert_memory_equal(bytes, expected, len);
        free(bytes);
        forward_frame_destroy(&f);
    }
    framed_append(b, "later"); /* must appear in the derived form too */
    assert_int_equal(forward_frame_build(&f, b, &c, &(size_t){0}), UPSTREAM_OK);
    assert_int_equal(f.bytes, sizeof expected - 1 + 6 + 6 + 5);
    forward_frame_destroy(&f);
    forward_batch_destroy(b);
}

static void node_tag_goes_before_the_batch(void **state)
{
    (void)state;
    forward_config c = framed_config();
    forward_batch *b = forward_batch_create("batch.tag");
    msgpack_unpacked m;
    char *bytes;

    framed_append(b, "x");
    framed_decode(b, &c, &m, &bytes);
    assert_true(forward_text_is(&m.data.via.array.ptr[0], "batch.tag"));
    msgpack_unpacked_destroy(&m);
    free(bytes);
    c.tag = "node.tag";
    framed_decode(b, &c, &m, &bytes);
    assert_true(forward_text_is(&m.data.via.array.ptr[0], "node.tag"));
    msgpack_unpacked_destroy(&m);
    free(bytes);
    forward_batch_destroy(b);
}

static void options_only_where_needed(void **state)
{
    (void)state;
    forward_batch *b = forward_batch_create("t");
    framed_append(b, "x");
    framed_append(b, "y");
    for (int i = 0; i < 8; i++) {
        forward_config c = framed_config();
        c.send_options = i & 1;
        c.require_ack_response = i & 2;
        c.gzip = i & 4;
        msgpack_unpacked m;
        char *bytes;
        framed_decode(b, &c, &m, &bytes);
        if (i == 0) {
            assert_int_equal(m.data.via.array.size, 2);
        } else {
            const msgpack_object *size = framed_option(&m.data, "size");
            assert_non_null(size);
            assert_int_equal(size->via.u64, 2);
            assert_int_equal(framed_option(&m.data, "chunk") != NULL, c.require_ack_response);
            assert_int_equal(framed_option(&m.data, "compressed") != NULL, c.gzip);
            assert_non_null(framed_option(&m.data, "fluent_signal"));
            assert_int_equal(framed_option(&m.data, "fluent_signal")->via.u64, FORWARD_LOGS);
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

    framed_append(b, "x");
    assert_int_equal(strlen(forward_batch_chunk_id(b)), FORWARD_CHUNK_ID_LEN);
    assert_string_equal(forward_batch_chunk_id(b) + 22, "=="); /* 16 bytes in base64 */
    strcpy(first, forward_batch_chunk_id(b));
    for (int i = 0; i < 4; i++) { /* whatever node it is framed for */
        forward_config c = framed_config();
        msgpack_unpacked m;
        char *bytes;
        c.require_ack_response = true;
        c.time_as_integer = i & 1;
        c.gzip = i & 2;
        framed_decode(b, &c, &m, &bytes);
        assert_true(forward_text_is(framed_option(&m.data, "chunk"), first));
        msgpack_unpacked_destroy(&m);
        free(bytes);
    }
    forward_batch_clear(b);
    assert_int_equal(forward_batch_count(b), 0);
    framed_append(b, "x");
    assert_string_not_equal(forward_batch_chunk_id(b), first);
    forward_batch_destroy(b);
}

static void packed_bodies_hold_the_entries(void **state)
{
    (void)state;
    forward_batch *b = forward_batch_create("t");
    for (int i = 0; i < 1000; i++) {
        framed_append(b, "the same line again and again");
    }
    for (int i = 0; i < 4; i++) {
        forward_config c = framed_config();
        msgpack_unpacked m;
        char *bytes;
        size_t len;
        c.packed = true;
        c.gzip = i & 1;
        c.time_as_integer = i & 2;
        framed_decode(b, &c, &m, &bytes);
        char *body = framed_body(&m.data, c.gzip, &len);
        forward_entries entries;
        forward_form form = c.time_as_integer ? FORWARD_INTEGER : FORWARD_AS_GIVEN;
        assert_int_equal(forward_batch_entries(b, form, &entries), UPSTREAM_OK);
        assert_int_equal(len, entries.bytes.len);
        assert_memory_equal(body, entries.bytes.data, len);
        if (c.gzip) {
            assert_true(m.data.via.array.ptr[1].via.bin.size < len / 10);
            assert_true(forward_text_is(framed_option(&m.data, "compressed"), "gzip"));
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
    forward_config c = framed_config();
    forward_batch *b = forward_batch_create("t");
    msgpack_unpacked m;
    char *bytes;
    size_t len;

    c.gzip = true;
    for (int i = 1; i <= 3; i++) { /* what was compressed before must not be sent again */
        framed_append(b, "x");
        framed_decode(b, &c, &m, &bytes);
        char *body = framed_body(&m.data, true, &len);
        assert_int_equal(len, (size_t)i * 18);
        assert_int_equal(framed_option(&m.data, "size")->via.u64, i);
        free(body);
        free(bytes);
        msgpack_unpacked_destroy(&m);
    }
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
    forward_config c = framed_config();
    forward_frame f;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(forward_batch_append(b, &framed_time, bad[i].bytes, bad[i].len),
                         UPSTREAM_ERR_INVALID_ARG);
    }
    for (size_t i = 0; i < sizeof bad_times / sizeof bad_times[0]; i++) {
        assert_int_equal(forward_batch_append(b, &bad_times[i], "\x80", 1),
                         UPSTREAM_ERR_INVALID_ARG);
    }
    assert_int_equal(forward_batch_append(b, &framed_time, NULL, 1), UPSTREAM_ERR_INVALID_ARG);
    assert_int_equal(forward_batch_append(b, NULL, "\x80", 1), UPSTREAM_ERR_INVALID_ARG);
    assert_int_equal(forward_batch_append(NULL, &framed_time, "\x80", 1), UPSTREAM_ERR_INVALID_ARG);
    assert_int_equal(forward_batch_count(b), 0);
    assert_int_equal(forward_batch_bytes(b), 0);
    /* nothing to send */
    assert_int_equal(forward_frame_build(&f, b, &c, &(size_t){0}), UPSTREAM_ERR_INVALID_ARG);
    assert_int_equal(forward_batch_append(b, &framed_time, "\x80", 1), UPSTREAM_OK);
    forward_batch_destroy(b);
    forward_batch_destroy(NULL);
}

static void large_batches_are_whole(void **state)
{
    (void)state;
    enum { LINES = 70000, BIG = 2 * 1024 * 1024 }; /* past array 16; a str 32 */
    forward_config c = framed_config();
    forward_batch *b = forward_batch_create("t");
    msgpack_unpacked m;
    char *bytes;
    char *big = malloc(BIG + 10);
    assert_non_null(big);
    memset(big, 'x', BIG + 10);
    memcpy(big, "\x81\xa3log\xdb\x00\x20\x00\x00", 10);

    for (int i = 1; i < LINES; i++) {
        framed_append(b, "x");
    }
    assert_int_equal(forward_batch_append(b, &framed_time, big, BIG + 10), UPSTREAM_OK);
    framed_decode(b, &c, &m, &bytes);
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
        cmocka_unit_test(what_is_no_record_is_refused),
        cmocka_unit_test(large_batches_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
