/*
 * The parts of the Forward example that need no network: settings of a node, records and times, the two
 * framings, chunk ids, the scan that bounds what a server may announce, and the digests.
 */
#include "../examples/forward/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

static const struct timespec WHEN = {0x12345678, 0x0abcdef0};

static forward_config plain_config(void) {
    forward_config c;
    memset(&c, 0, sizeof c);
    c.self_hostname = "localhost";
    c.ack_timeout_ms = 1000;
    return c;
}

static void append(forward_batch *b, const char *line) {
    char record[256] = "\x81\xa3log";
    size_t len = strlen(line);
    record[5] = (char)(0xa0 | len);
    memcpy(record + 6, line, len);
    assert_int_equal(forward_batch_append(b, &WHEN, record, 6 + len), UPSTREAM_OK);
}

/* The message as one piece; the caller frees it. */
static char *joined(const forward_frame *f, size_t *len) {
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
static void decode(forward_batch *b, const forward_config *c, msgpack_unpacked *out, char **bytes) {
    forward_frame f;
    size_t len, at = 0;
    assert_int_equal(forward_frame_build(&f, b, c), UPSTREAM_OK);
    *bytes = joined(&f, &len);
    forward_frame_destroy(&f);
    msgpack_unpacked_init(out);
    assert_int_equal(msgpack_unpack_next(out, *bytes, len, &at), MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(at, len);
    assert_int_equal(out->data.type, MSGPACK_OBJECT_ARRAY);
}

static const msgpack_object *option(const msgpack_object *message, const char *key) {
    assert_int_equal(message->via.array.size, 3);
    return forward_map_get(&message->via.array.ptr[2], key);
}

static void forward_mode_is_exact(void **state) {
    (void)state;
    static const char expected[] = "\x92\xa3" "app" "\x92"
                                   "\x92\xd7\x00\x12\x34\x56\x78\x0a\xbc\xde\xf0\x81\xa3" "log\xa1" "a"
                                   "\x92\xd7\x00\x12\x34\x56\x78\x0a\xbc\xde\xf0\x81\xa3" "log\xa2" "bc";
    forward_config c = plain_config();
    forward_batch *b = forward_batch_create("app");
    forward_frame f;
    size_t len;

    append(b, "a");
    append(b, "bc");
    assert_int_equal(forward_batch_count(b), 2);
    assert_int_equal(forward_frame_build(&f, b, &c), UPSTREAM_OK);
    char *bytes = joined(&f, &len);
    assert_int_equal(len, sizeof expected - 1);
    assert_memory_equal(bytes, expected, len);
    free(bytes);
    forward_frame_destroy(&f);
    forward_batch_destroy(b);
}

static void integer_time_is_exact(void **state) {
    (void)state;
    static const char expected[] = "\x92\xa3" "app" "\x92"
                                   "\x92\xce\x12\x34\x56\x78\x81\xa3" "log\xa1" "a"
                                   "\x92\xce\x12\x34\x56\x78\x81\xa3" "log\xa2" "bc";
    forward_config c = plain_config();
    forward_batch *b = forward_batch_create("app");
    forward_frame f;
    size_t len;

    c.time_as_integer = true;
    append(b, "a");
    append(b, "bc");
    for (int round = 0; round < 2; round++) { /* made at the first, kept for the second */
        assert_int_equal(forward_frame_build(&f, b, &c), UPSTREAM_OK);
        char *bytes = joined(&f, &len);
        assert_int_equal(len, sizeof expected - 1);
        assert_memory_equal(bytes, expected, len);
        free(bytes);
        forward_frame_destroy(&f);
    }
    append(b, "later"); /* has to appear in the derived form as well */
    assert_int_equal(forward_frame_build(&f, b, &c), UPSTREAM_OK);
    assert_int_equal(f.bytes, sizeof expected - 1 + 6 + 6 + 5);
    forward_frame_destroy(&f);
    forward_batch_destroy(b);
}

static void node_tag_goes_before_the_batch(void **state) {
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

static void options_only_where_needed(void **state) {
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
            assert_int_equal(m.data.via.array.ptr[2].via.map.size, 1 + c.require_ack_response + c.gzip);
        }
        msgpack_unpacked_destroy(&m);
        free(bytes);
    }
    forward_batch_destroy(b);
}

static void chunk_id_stays_with_its_chunk(void **state) {
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

/* The body of a packed message, inflated where it is compressed. */
static char *packed_body(const msgpack_object *message, bool gzip, size_t *len) {
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

static void packed_bodies_hold_the_entries(void **state) {
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
        const msgpack_sbuffer *entries;
        assert_int_equal(forward_batch_entries(b, c.time_as_integer, &entries), UPSTREAM_OK);
        assert_int_equal(len, entries->size);
        assert_memory_equal(body, entries->data, len);
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

static void gzip_follows_the_batch(void **state) {
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

static void what_is_no_record_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {{"", 0},         {"\xc0", 1},         {"\x91\xc0", 2},     {"\x81\xa1" "a", 3}, {"\x80\xc0", 2},
               {"\x81\xc1\xc0", 3}, {"\xdf\xff\xff\xff\xff", 5}, {"\xde\x00", 2}, {"\x81\xa1" "a\xd9\x05" "abc", 8}};
    static const struct timespec bad_times[] = {{-1, 0}, {1, -1}, {1, 1000000000}, {(time_t)1 << 32, 0}};
    forward_batch *b = forward_batch_create("t");
    forward_config c = plain_config();
    forward_frame f;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(forward_batch_append(b, &WHEN, bad[i].bytes, bad[i].len), UPSTREAM_ERR_INVALID_ARG);
    }
    for (size_t i = 0; i < sizeof bad_times / sizeof bad_times[0]; i++) {
        assert_int_equal(forward_batch_append(b, &bad_times[i], "\x80", 1), UPSTREAM_ERR_INVALID_ARG);
    }
    assert_int_equal(forward_batch_append(b, &WHEN, NULL, 1), UPSTREAM_ERR_INVALID_ARG);
    assert_int_equal(forward_batch_append(b, NULL, "\x80", 1), UPSTREAM_ERR_INVALID_ARG);
    assert_int_equal(forward_batch_append(NULL, &WHEN, "\x80", 1), UPSTREAM_ERR_INVALID_ARG);
    assert_int_equal(forward_batch_count(b), 0);
    assert_int_equal(forward_batch_bytes(b), 0);
    assert_int_equal(forward_frame_build(&f, b, &c), UPSTREAM_ERR_INVALID_ARG); /* nothing to send */
    assert_int_equal(forward_batch_append(b, &WHEN, "\x80", 1), UPSTREAM_OK);
    forward_batch_destroy(b);
    forward_batch_destroy(NULL);
}

static void large_batches_are_whole(void **state) {
    (void)state;
    enum { LINES = 70000, BIG = 2 * 1024 * 1024 }; /* past array 16; a str 32 */
    forward_config c = plain_config();
    forward_batch *b = forward_batch_create("t");
    msgpack_unpacked m;
    char *bytes;
    char *big = malloc(BIG + 10);
    assert_non_null(big);
    memset(big, 'x', BIG + 10);
    memcpy(big, "\x81\xa3" "log\xdb\x00\x20\x00\x00", 10);

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

/* Values of each shape that the format has, and where they end. */
static void scan_agrees_with_msgpack(void **state) {
    (void)state;
    msgpack_sbuffer all;
    msgpack_packer pk;
    msgpack_sbuffer_init(&all);
    msgpack_packer_init(&pk, &all, msgpack_sbuffer_write);
    static const char filler[70000] = {0};

    msgpack_pack_nil(&pk);
    msgpack_pack_true(&pk);
    for (int shift = 0; shift < 64; shift++) {
        msgpack_pack_uint64(&pk, (uint64_t)1 << shift);
        msgpack_pack_int64(&pk, -(int64_t)((uint64_t)1 << (shift % 63)));
    }
    msgpack_pack_float(&pk, 1.5f);
    msgpack_pack_double(&pk, 1.5);
    static const size_t sizes[] = {0, 1, 2, 4, 8, 15, 16, 17, 31, 32, 255, 256, 65535, 65536};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t n = sizes[i];
        msgpack_pack_str(&pk, n);
        msgpack_pack_str_body(&pk, filler, n);
        msgpack_pack_bin(&pk, n);
        msgpack_pack_bin_body(&pk, filler, n);
        if (n > 0) {
            msgpack_pack_ext(&pk, n, 5);
            msgpack_pack_ext_body(&pk, filler, n);
        }
        msgpack_pack_array(&pk, n);
        msgpack_pack_str_body(&pk, filler, n); /* n times the integer 0 */
        msgpack_pack_map(&pk, n / 2);
        msgpack_pack_str_body(&pk, filler, n / 2 * 2);
    }

    size_t at = 0;
    unsigned values = 0;
    msgpack_unpacked v;
    msgpack_unpacked_init(&v);
    while (at < all.size) {
        size_t end = at;
        const unsigned char *data = (const unsigned char *)all.data + at;
        assert_int_equal(msgpack_unpack_next(&v, all.data, all.size, &end), MSGPACK_UNPACK_SUCCESS);
        size_t len = end - at;
        forward_scan whole = FORWARD_SCAN_INIT;
        assert_int_equal(forward_scan_value(&whole, data, all.size - at, all.size), FORWARD_SCAN_DONE);
        assert_int_equal(whole.at, len);
        forward_scan pieces = FORWARD_SCAN_INIT; /* as it arrives, never read past what is there */
        for (size_t have = 0; have < len; have += len < 1000 ? 1 : 997) {
            assert_int_equal(forward_scan_value(&pieces, data, have, all.size), FORWARD_SCAN_MORE);
        }
        assert_int_equal(forward_scan_value(&pieces, data, len, all.size), FORWARD_SCAN_DONE);
        assert_int_equal(pieces.at, len);
        at = end;
        values++;
    }
    assert_true(values > 190);
    msgpack_unpacked_destroy(&v);
    msgpack_sbuffer_destroy(&all);
}

static void scan_refuses_what_cannot_fit(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t len, limit;
    } bad[] = {
        {"\xdd\xff\xff\xff\xff", 5, 65536}, {"\xdf\xff\xff\xff\xff", 5, 65536}, {"\xdb\xff\xff\xff\xff", 5, 65536},
        {"\xc6\x00\x01\x00\x00", 5, 65536}, {"\xdc\xff\xff", 3, 65536},         {"\xc1", 1, 65536},
        {"\x92\xc0\xc0", 3, 2},             {"\xa3", 1, 3},                     {"\xc9\xff\xff\xff\xff", 5, 65536},
        {"\x92\xdd\x00\x00\xff\xfb", 6, 65536},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        forward_scan scan = FORWARD_SCAN_INIT;
        assert_int_equal(forward_scan_value(&scan, (const unsigned char *)bad[i].bytes, bad[i].len, bad[i].limit),
                         FORWARD_SCAN_BAD);
    }
    forward_scan scan = FORWARD_SCAN_INIT; /* exactly at the limit is well */
    assert_int_equal(forward_scan_value(&scan, (const unsigned char *)"\xa3" "abc", 4, 4), FORWARD_SCAN_DONE);
}

static void digests_are_sha512(void **state) {
    (void)state;
    /* FIPS 180-4: SHA-512 of "abc" */
    static const char abc[] = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                              "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    char digest[FORWARD_DIGEST_LEN + 1];
    char other[FORWARD_DIGEST_LEN + 1];
    forward_bytes parts[] = {{"a", 1}, {"", 0}, {"bc", 2}};

    forward_digest(digest, parts, 3);
    assert_string_equal(digest, abc);
    assert_true(forward_digest_equal(digest, (forward_bytes){abc, 128}));
    assert_false(forward_digest_equal(digest, (forward_bytes){abc, 127}));
    assert_false(forward_digest_equal(digest, (forward_bytes){"", 0}));
    for (int i = 0; i < FORWARD_DIGEST_LEN; i++) {
        memcpy(other, abc, sizeof other);
        other[i] ^= 1;
        assert_false(forward_digest_equal(digest, (forward_bytes){other, 128}));
    }
}

static upstream_t *set_with(const char *keys) {
    char text[1024];
    upstream_t *up = NULL;
    upstream_error_t *err = NULL;
    int len = snprintf(text, sizeof text, "[UPSTREAM]\n    name u\n[NODE]\n    name n1\n    host 127.0.0.1\n    port 1\n%s", keys);
    if (upstream_create_from_text(text, (size_t)len, "test", NULL, &up, &err) != UPSTREAM_OK) {
        fail_msg("%s", upstream_error_message(err));
    }
    return up;
}

static void settings_have_their_defaults(void **state) {
    (void)state;
    upstream_t *up = set_with("");
    forward_config c;
    char message[FORWARD_REASON_MAX];

    assert_int_equal(forward_config_from_node(upstream_node_at(up, 0), &c, message, sizeof message), UPSTREAM_OK);
    assert_false(c.secured || c.time_as_integer || c.send_options || c.require_ack_response || c.gzip || c.packed);
    assert_null(c.shared_key);
    assert_null(c.username);
    assert_null(c.password);
    assert_null(c.tag);
    assert_string_equal(c.self_hostname, "localhost");
    assert_int_equal(c.ack_timeout_ms, 10000);
    assert_int_equal(forward_config_from_node(NULL, &c, message, sizeof message), UPSTREAM_ERR_INVALID_ARG);
    upstream_destroy(up);
}

static void settings_are_read(void **state) {
    (void)state;
    upstream_t *up = set_with("    shared_key a key # with more\n    Username me\n    PASSWORD pw\n    self_hostname here\n"
                              "    time_as_integer on\n    send_options YES\n    require_ack_response True\n"
                              "    tag my.tag\n    compress GZIP\n    ack_timeout 250ms\n");
    forward_config c;
    char message[FORWARD_REASON_MAX];

    assert_int_equal(forward_config_from_node(upstream_node_at(up, 0), &c, message, sizeof message), UPSTREAM_OK);
    assert_true(c.secured && c.time_as_integer && c.send_options && c.require_ack_response && c.gzip);
    assert_string_equal(c.shared_key, "a key # with more");
    assert_string_equal(c.username, "me");
    assert_string_equal(c.password, "pw");
    assert_string_equal(c.self_hostname, "here");
    assert_string_equal(c.tag, "my.tag");
    assert_int_equal(c.ack_timeout_ms, 250);
    upstream_destroy(up);

    up = set_with("    empty_shared_key on\n    compress text\n");
    assert_int_equal(forward_config_from_node(upstream_node_at(up, 0), &c, message, sizeof message), UPSTREAM_OK);
    assert_true(c.secured);
    assert_false(c.gzip);
    assert_string_equal(c.shared_key, "");
    upstream_destroy(up);
}

static void bad_settings_are_told(void **state) {
    (void)state;
    static const struct {
        const char *keys, *named, *mend;
    } bad[] = {
        {"    require_ack_response maybe\n", "require_ack_response", "on or off"},
        {"    time_as_integer 1\n", "time_as_integer", "on or off"},
        {"    send_options yess\n", "send_options", "on or off"},
        {"    empty_shared_key 0\n", "empty_shared_key", "on or off"},
        {"    compress zstd\n", "zstd", "text or gzip"},
        {"    ack_timeout 10x\n", "10x", "10s"},
        {"    ack_timeout 0\n", "ack_timeout", "above 0"},
        {"    ack_timeout -5\n", "-5", "above 0"},
        {"    shared_key k\n    empty_shared_key on\n", "empty_shared_key", "one of the two"},
        {"    shared_key k\n    username u\n", "username", "set password"},
        {"    shared_key k\n    password p\n", "password", "set username"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        upstream_t *up = set_with(bad[i].keys);
        char message[FORWARD_REASON_MAX] = "";
        assert_int_equal(forward_prepare(up, NULL, message, sizeof message), UPSTREAM_ERR_CONFIG);
        assert_non_null(strstr(message, "n1"));
        assert_non_null(strstr(message, bad[i].named));
        assert_non_null(strstr(message, bad[i].mend));
        upstream_destroy(up);
    }
}

static void a_later_node_is_checked_at_the_start(void **state) {
    (void)state;
    upstream_t *up = set_with("[NODE]\n    name n2\n    host 127.0.0.1\n    port 2\n    compress lz4\n");
    char message[FORWARD_REASON_MAX] = "";

    assert_int_equal(forward_prepare(up, NULL, message, sizeof message), UPSTREAM_ERR_CONFIG);
    assert_non_null(strstr(message, "n2"));
    assert_int_equal(forward_prepare(NULL, NULL, message, sizeof message), UPSTREAM_ERR_INVALID_ARG);
    char tiny[4] = "";
    assert_int_equal(forward_prepare(up, NULL, tiny, sizeof tiny), UPSTREAM_ERR_CONFIG);
    assert_int_equal(forward_prepare(up, NULL, NULL, 0), UPSTREAM_ERR_CONFIG);
    upstream_destroy(up);
}

int main(void) {
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
        cmocka_unit_test(scan_agrees_with_msgpack),
        cmocka_unit_test(scan_refuses_what_cannot_fit),
        cmocka_unit_test(digests_are_sha512),
        cmocka_unit_test(settings_have_their_defaults),
        cmocka_unit_test(settings_are_read),
        cmocka_unit_test(bad_settings_are_told),
        cmocka_unit_test(a_later_node_is_checked_at_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
