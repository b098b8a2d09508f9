/*
 * Makes a message of the bytes of a batch: an array header and the tag before them, the options
 * after them. The bytes themselves are not copied.
 */
#include "internal.h"

#include <string.h>

static int pack_text(msgpack_packer *pk, const char *text)
{
    size_t len = strlen(text);
    return msgpack_pack_str(pk, len) || msgpack_pack_str_body(pk, text, len);
}

/*
 * {"chunk": id, "size": n, "compressed": "gzip", "fluent_signal": signal}: the same order and the
 * same conditions as in Fluent Bit's own plugin. `size` counts records, and only logs have it.
 */
static int pack_options(msgpack_packer *pk, const forward_frame *f, const forward_entries *body,
                        forward_signal signal, bool gzip)
{
    bool ack = f->chunk[0] != '\0', logs = signal == FORWARD_LOGS;
    if (msgpack_pack_map(pk, (size_t)ack + (size_t)logs + (size_t)gzip + 1) ||
        (ack && (pack_text(pk, "chunk") || pack_text(pk, f->chunk))) ||
        (logs && (pack_text(pk, "size") || msgpack_pack_uint64(pk, body->records))) ||
        (gzip && (pack_text(pk, "compressed") || pack_text(pk, "gzip")))) {
        return -1;
    }
    return pack_text(pk, "fluent_signal") || msgpack_pack_uint64(pk, (uint64_t)signal);
}

static upstream_status_t pack(forward_frame *f, const forward_batch *batch,
                              const forward_config *config, const forward_entries *body)
{
    forward_signal signal = forward_batch_signal(batch);
    bool packed = config->packed || config->gzip || signal != FORWARD_LOGS;
    bool options = config->send_options || config->require_ack_response || config->gzip ||
                   signal != FORWARD_LOGS;
    msgpack_packer pk;

    msgpack_packer_init(&pk, &f->head, msgpack_sbuffer_write);
    const char *tag = config->tag != NULL ? config->tag : forward_batch_tag(batch);
    if (msgpack_pack_array(&pk, options ? 3 : 2) || pack_text(&pk, tag) ||
        (packed ? msgpack_pack_bin(&pk, body->bytes.len) : msgpack_pack_array(&pk, body->count))) {
        return UPSTREAM_ERR_NO_MEMORY;
    }
    msgpack_packer_init(&pk, &f->tail, msgpack_sbuffer_write);
    if (options && pack_options(&pk, f, body, signal, config->gzip)) {
        return UPSTREAM_ERR_NO_MEMORY;
    }
    return UPSTREAM_OK;
}

static void add(forward_frame *f, forward_bytes part)
{
    if (part.len > 0) {
        /* struct iovec has no const; the bytes are only read. */
        f->iov[f->iov_count].iov_base = (void *)(uintptr_t)part.data;
        f->iov[f->iov_count].iov_len = part.len;
        f->iov_count++;
        f->bytes += part.len;
    }
}

static forward_bytes bytes_of(const msgpack_sbuffer *buffer)
{
    return (forward_bytes){buffer->data, buffer->size};
}

static forward_form form_for(const forward_config *config)
{
    if (config->time_as_integer) {
        return FORWARD_INTEGER;
    }
    return config->retain_metadata ? FORWARD_AS_GIVEN : FORWARD_PLAIN;
}

/* The body of a chunk of logs: all of it. */
static upstream_status_t logs_of(forward_batch *batch, const forward_config *config, size_t *at,
                                 forward_entries *out)
{
    *at = forward_batch_bytes(batch);
    return config->gzip ? forward_batch_gzip(batch, form_for(config), out)
                        : forward_batch_entries(batch, form_for(config), out);
}

/* The body of the next message of metrics or traces: one map. */
static upstream_status_t map_of(forward_frame *f, const forward_batch *batch,
                                const forward_config *config, size_t *at, forward_entries *out)
{
    forward_bytes rest = forward_batch_given(batch);
    rest.data += *at;
    rest.len -= *at;
    if (!forward_next_map(&rest, &out->bytes)) {
        return UPSTREAM_ERR_INVALID_ARG;
    }
    *at += out->bytes.len;
    out->count = out->records = 1;
    if (!config->gzip) {
        return UPSTREAM_OK;
    }
    upstream_status_t status = forward_gzip(&f->body, out->bytes);
    out->bytes = bytes_of(&f->body);
    return status;
}

upstream_status_t forward_frame_build(forward_frame *f, forward_batch *batch,
                                      const forward_config *config, size_t *at)
{
    forward_entries body;

    if (f == NULL || config == NULL || at == NULL || forward_batch_count(batch) == 0 ||
        *at >= forward_batch_bytes(batch)) {
        return UPSTREAM_ERR_INVALID_ARG;
    }
    memset(f, 0, sizeof *f);
    if (config->require_ack_response && !forward_batch_message_id(batch, *at, f->chunk)) {
        return UPSTREAM_ERR_IO;
    }
    bool logs = forward_batch_signal(batch) == FORWARD_LOGS;
    upstream_status_t status =
        logs ? logs_of(batch, config, at, &body) : map_of(f, batch, config, at, &body);
    if (status == UPSTREAM_OK) {
        status = pack(f, batch, config, &body);
    }
    if (status != UPSTREAM_OK) {
        forward_frame_destroy(f);
        return status;
    }
    add(f, bytes_of(&f->head));
    add(f, body.bytes);
    add(f, bytes_of(&f->tail));
    return UPSTREAM_OK;
}

void forward_frame_destroy(forward_frame *f)
{
    if (f != NULL) {
        msgpack_sbuffer_destroy(&f->head);
        msgpack_sbuffer_destroy(&f->body);
        msgpack_sbuffer_destroy(&f->tail);
        memset(f, 0, sizeof *f);
    }
}
