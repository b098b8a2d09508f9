/*
 * A set over scripted Forward servers, for tests: ends the test program if it cannot be made.
 */
#include "forward_client.h"
#include "forward_server_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define KEYS_MAX 4096

static void check(bool good, const char *words)
{
    if (!good) {
        fprintf(stderr, "forward_client: %s\n", words);
        abort();
    }
}

upstream_t *forward_client_over_each(forward_server **servers, size_t count,
                                     const char *const *keys)
{
    char text[KEYS_MAX], words[FORWARD_REASON_MAX] = "no memory";
    upstream_t *up = NULL;
    upstream_error_t *err = NULL;
    size_t at = (size_t)snprintf(text, sizeof text,
                                 "[UPSTREAM]\n    name traps\n"
                                 "    health.max_fails 1000\n");

    for (size_t i = 0; i < count; i++) {
        at += (size_t)snprintf(text + at, sizeof text - at,
                               "[NODE]\n    name node-%zu\n    host 127.0.0.1\n    port %u\n%s",
                               i + 1, (unsigned)forward_server_port(servers[i]), keys[i]);
        check(at < sizeof text, "too many keys");
    }
    upstream_status_t status = upstream_create_from_text(text, at, "traps", NULL, &up, &err);
    check(status == UPSTREAM_OK, status == UPSTREAM_OK ? "" : upstream_error_message(err));
    check(forward_prepare(up, NULL, words, sizeof words) == UPSTREAM_OK, words);
    return up;
}

upstream_t *forward_client_over(forward_server **servers, size_t count, const char *keys)
{
    const char **each = forward_alloc(NULL, count * sizeof *each);
    for (size_t i = 0; i < count; i++) {
        each[i] = keys;
    }
    upstream_t *up = forward_client_over_each(servers, count, each);
    free(each);
    return up;
}

void forward_client_fill(forward_batch *b, unsigned number)
{
    char record[64];
    struct timespec now = {1700000000, 5};
    int len = snprintf(record, sizeof record,
                       "\x81\xa3log\xab"
                       "record %04u",
                       number);
    check(len == 17 && forward_batch_append(b, &now, record, (size_t)len) == UPSTREAM_OK, "record");
}

upstream_status_t forward_client_send(upstream_t *up, unsigned number, forward_delivery *d)
{
    forward_batch *b = forward_batch_create("tag");
    forward_client_fill(b, number);
    *d = (forward_delivery)FORWARD_DELIVERY_INIT(b);
    upstream_status_t status = upstream_deliver(up, forward_deliver_fn, d, 0, NULL);
    forward_batch_destroy(b);
    d->batch = NULL;
    return status;
}

unsigned forward_client_arrived(forward_server *s, unsigned number)
{
    char text[16];
    snprintf(text, sizeof text, "record %04u", number);
    return forward_server_count(s, text);
}
