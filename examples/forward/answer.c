/*
 * Reads one message of the server. It may arrive in any pieces; one deadline holds for all of it,
 * and its size is limited before msgpack-c sees it.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

#define ANSWER_FIRST_CAP 1024
#define ANSWER_MAX (64 * 1024) /* a HELO, PONG or ack is a few hundred bytes */

int64_t forward_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool make_room(forward_answer *a)
{
    if (a->len < a->cap) {
        return true;
    }
    size_t cap = a->cap == 0 ? ANSWER_FIRST_CAP : 2 * a->cap;
    unsigned char *data = cap <= ANSWER_MAX ? realloc(a->data, cap) : NULL;
    if (data == NULL) {
        return false;
    }
    a->data = data;
    a->cap = cap;
    return true;
}

/* Does one read, and appends what came. */
static upstream_status_t read_some(forward_answer *a, upstream_conn_t *conn, int64_t deadline,
                                   const char *what, forward_delivery *d)
{
    int64_t left = deadline - forward_now_ms();
    if (left <= 0) {
        return forward_fail(d, UPSTREAM_ERR_TIMEOUT, "%s did not come within ack_timeout", what);
    }
    if (!make_room(a)) {
        return forward_fail(d, UPSTREAM_ERR_NO_MEMORY, "no memory for %s", what);
    }
    upstream_conn_set_timeout_ms(conn, (uint32_t)left);
    size_t got = 0;
    upstream_status_t status = upstream_conn_read(conn, a->data + a->len, a->cap - a->len, &got);
    a->len += got;
    if (status == UPSTREAM_EOF) {
        return forward_fail(d, UPSTREAM_ERR_CLOSED, "the server closed the connection before %s",
                            what);
    }
    /* A timeout before the deadline: the delivery gives this node less time than ack_timeout. The
     * library's own error says so. */
    if (status == UPSTREAM_ERR_TIMEOUT && forward_now_ms() >= deadline) {
        return forward_fail(d, status, "%s did not come within ack_timeout", what);
    }
    return status == UPSTREAM_OK ? status : forward_fail_io(d, conn, status, what);
}

static upstream_status_t parse(forward_answer *a, size_t end, const char *what, forward_delivery *d)
{
    size_t offset = 0;
    /* msgpack-c stops at 32 levels of nesting, with the same result as without memory. */
    if (msgpack_unpack_next(&a->value, (const char *)a->data, end, &offset) !=
        MSGPACK_UNPACK_SUCCESS) {
        return forward_fail(d, UPSTREAM_ERR_PROTOCOL,
                            "%s is nested too deeply, or there is no memory for it", what);
    }
    a->extra = a->len - end;
    return UPSTREAM_OK;
}

upstream_status_t forward_answer_read(forward_answer *a, upstream_conn_t *conn, uint32_t timeout_ms,
                                      const char *what, forward_delivery *d)
{
    int64_t deadline = forward_now_ms() + timeout_ms;
    forward_scan scan = FORWARD_SCAN_INIT;
    forward_scan_result found = FORWARD_SCAN_MORE;
    upstream_status_t status = UPSTREAM_OK;

    memset(a, 0, sizeof *a);
    msgpack_unpacked_init(&a->value);
    while (found == FORWARD_SCAN_MORE && status == UPSTREAM_OK) {
        status = read_some(a, conn, deadline, what, d);
        found = forward_scan_value(&scan, a->data, a->len, ANSWER_MAX);
    }
    upstream_conn_set_timeout_ms(conn, 0);
    if (status != UPSTREAM_OK) {
        return status;
    }
    if (found == FORWARD_SCAN_BAD) {
        return forward_fail(
            d, UPSTREAM_ERR_PROTOCOL,
            "the server sent something other than %s (msgpack of at most %d bytes); "
            "is this a Forward server, and is tls set as it expects?",
            what, ANSWER_MAX);
    }
    return parse(a, scan.at, what, d);
}

void forward_answer_destroy(forward_answer *a)
{
    msgpack_unpacked_destroy(&a->value);
    free(a->data);
    memset(a, 0, sizeof *a);
}

bool forward_text(const msgpack_object *o, forward_bytes *out)
{
    if (o->type == MSGPACK_OBJECT_STR) {
        *out = (forward_bytes){o->via.str.ptr, o->via.str.size};
        return true;
    }
    if (o->type == MSGPACK_OBJECT_BIN) {
        *out = (forward_bytes){o->via.bin.ptr, o->via.bin.size};
        return true;
    }
    return false;
}

bool forward_text_is(const msgpack_object *o, const char *expected)
{
    forward_bytes text;
    size_t len = strlen(expected);
    return forward_text(o, &text) && text.len == len &&
           (len == 0 || memcmp(text.data, expected, len) == 0);
}

const msgpack_object *forward_map_get(const msgpack_object *map, const char *key)
{
    if (map->type != MSGPACK_OBJECT_MAP) {
        return NULL;
    }
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        if (forward_text_is(&map->via.map.ptr[i].key, key)) {
            return &map->via.map.ptr[i].val;
        }
    }
    return NULL;
}
