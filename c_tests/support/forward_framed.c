/* See forward_framed.h. */
#include "forward_framed.h"

#include "check.h"

#include <zlib.h>

const struct timespec framed_time = {0x12345678, 0x0abcdef0};

forward_config framed_config(void)
{
    forward_config c;
    memset(&c, 0, sizeof c);
    c.self_hostname = "localhost";
    c.ack_timeout_ms = 1000;
    return c;
}

void framed_append(forward_batch *b, const char *line)
{
    char record[256] = "\x81\xa3log";
    size_t len = strlen(line);
    record[5] = (char)(0xa0 | len);
    memcpy(record + 6, line, len);
    assert_int_equal(forward_batch_append(b, &framed_time, record, 6 + len), UPSTREAM_OK);
}

char *framed_bytes(const forward_frame *f, size_t *len)
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

void framed_decode(forward_batch *b, const forward_config *c, msgpack_unpacked *out, char **bytes)
{
    forward_frame f;
    size_t len, at = 0, begin = 0;
    assert_int_equal(forward_frame_build(&f, b, c, &begin), UPSTREAM_OK);
    assert_int_equal(begin, forward_batch_bytes(b)); /* one message */
    *bytes = framed_bytes(&f, &len);
    forward_frame_destroy(&f);
    msgpack_unpacked_init(out);
    assert_int_equal(msgpack_unpack_next(out, *bytes, len, &at), MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(at, len);
    assert_int_equal(out->data.type, MSGPACK_OBJECT_ARRAY);
}

const msgpack_object *framed_option(const msgpack_object *message, const char *key)
{
    assert_int_equal(message->via.array.size, 3);
    return forward_map_get(&message->via.array.ptr[2], key);
}

char *framed_body(const msgpack_object *message, bool gzip, size_t *len)
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
