/*
 * What the Forward example does with a server's bytes before it trusts them: the scan that limits
 * what they may announce, and the digests.
 */
#include "../examples/forward/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Values of each shape that the format has, and where they end. */
static void scan_agrees_with_msgpack(void **state)
{
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
        assert_int_equal(forward_scan_value(&whole, data, all.size - at, all.size),
                         FORWARD_SCAN_DONE);
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

static void scan_refuses_what_cannot_fit(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len, limit;
    } bad[] = {
        {"\xdd\xff\xff\xff\xff", 5, 65536},
        {"\xdf\xff\xff\xff\xff", 5, 65536},
        {"\xdb\xff\xff\xff\xff", 5, 65536},
        {"\xc6\x00\x01\x00\x00", 5, 65536},
        {"\xdc\xff\xff", 3, 65536},
        {"\xc1", 1, 65536},
        {"\x92\xc0\xc0", 3, 2},
        {"\xa3", 1, 3},
        {"\xc9\xff\xff\xff\xff", 5, 65536},
        {"\x92\xdd\x00\x00\xff\xfb", 6, 65536},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        forward_scan scan = FORWARD_SCAN_INIT;
        assert_int_equal(forward_scan_value(&scan, (const unsigned char *)bad[i].bytes, bad[i].len,
                                            bad[i].limit),
                         FORWARD_SCAN_BAD);
    }
    forward_scan scan = FORWARD_SCAN_INIT; /* exactly at the limit is well */
    assert_int_equal(forward_scan_value(&scan, (const unsigned char *)"\xa3\x61\x62\x63", 4, 4),
                     FORWARD_SCAN_DONE);
}

static void digests_are_sha512(void **state)
{
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scan_agrees_with_msgpack),
        cmocka_unit_test(scan_refuses_what_cannot_fit),
        cmocka_unit_test(digests_are_sha512),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
