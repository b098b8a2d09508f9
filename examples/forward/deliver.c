/*
 * The callback that upstream_deliver calls with a ready connection: log in, write, wait for the
 * ack. After any failure it returns an error, so that the library closes the connection instead of
 * using it again.
 */
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

upstream_status_t forward_fail(forward_delivery *d, upstream_status_t status, const char *format,
                               ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(d->reason, sizeof d->reason, format, args);
    va_end(args);
    d->own_words = true;
    return status;
}

void forward_format_address(const upstream_node_t *node, char *out, size_t cap)
{
    const char *host = upstream_node_host(node);
    unsigned port = upstream_node_port(node);
    bool is_v6 = strchr(host, ':') != NULL;
    if (port == 0) {
        snprintf(out, cap, "%s", host); /* a socket of this machine */
    } else {
        snprintf(out, cap, is_v6 ? "[%s]:%u" : "%s:%u", host, port);
    }
}

/* The message without its beginning "NODE (ADDRESS): ". A reason is shown after the node's name. */
static const char *without_node(const char *message, const char *node)
{
    size_t len = strlen(node);
    const char *end = strncmp(message, node, len) == 0 ? strstr(message + len, "): ") : NULL;
    return end == NULL ? message : end + 3;
}

upstream_status_t forward_fail_io(forward_delivery *d, const upstream_conn_t *conn,
                                  upstream_status_t status, const char *doing)
{
    const upstream_error_t *err = upstream_conn_last_error(conn);
    const char *message = err == NULL ? NULL : upstream_error_message(err);
    const char *node = upstream_node_name(upstream_conn_node(conn));
    forward_fail(d, status, "%s: %s", doing,
                 message == NULL ? upstream_status_name(status) : without_node(message, node));
    d->own_words = false;
    return status;
}

/* This address is the data of a connection once it may carry records. */
static char begun;

/*
 * What comes before the first record on a connection: the login. Without a login and without acks,
 * a short wait instead: the server may say that it wants a login (greeting.c).
 */
static upstream_status_t begin_once(upstream_conn_t *conn, forward_config *config,
                                    forward_delivery *d)
{
    bool keepalive = true;
    upstream_status_t status = UPSTREAM_OK;

    if (upstream_conn_get_data(conn) == &begun) {
        return UPSTREAM_OK;
    }
    if (config->secured) {
        status = forward_handshake(conn, config, &keepalive, d);
    } else if (!config->require_ack_response) {
        status = forward_await_silence(conn, config, d);
    }
    if (status != UPSTREAM_OK) {
        return status;
    }
    if (!keepalive) {
        /* It still carries this message, and is closed when the callback returns. */
        upstream_conn_discard(conn);
    }
    return upstream_conn_set_data(conn, &begun, NULL);
}

/* Expects {"ack": id}. An ack for another chunk means that the server is out of step. */
static upstream_status_t check_ack(const msgpack_object *o, const char *chunk_id,
                                   forward_delivery *d)
{
    if (o->type == MSGPACK_OBJECT_ARRAY && o->via.array.size > 0 &&
        forward_text_is(&o->via.array.ptr[0], "HELO")) {
        return forward_login_wanted(d);
    }
    const msgpack_object *ack = forward_map_get(o, "ack");
    if (ack == NULL) {
        return forward_fail(d, UPSTREAM_ERR_PROTOCOL,
                            "the server's answer is not {\"ack\": chunk}");
    }
    if (!forward_text_is(ack, chunk_id)) {
        return forward_fail(d, UPSTREAM_ERR_PROTOCOL,
                            "the server acknowledged another chunk than %s", chunk_id);
    }
    return UPSTREAM_OK;
}

static upstream_status_t wait_for_ack(upstream_conn_t *conn, const forward_config *config,
                                      const char *chunk_id, forward_delivery *d)
{
    forward_answer answer;
    upstream_status_t status =
        forward_answer_read(&answer, conn, config->ack_timeout_ms, "the ack", d);
    if (status == UPSTREAM_OK) {
        status = check_ack(&answer.value.data, chunk_id, d);
    }
    if (status == UPSTREAM_OK && answer.extra > 0) {
        /* The chunk is safe. But the extra bytes would be taken for the answer to the next
         * chunk. */
        upstream_conn_discard(conn);
    }
    forward_answer_destroy(&answer);
    return status;
}

static upstream_status_t send_frame(upstream_conn_t *conn, const forward_config *config,
                                    const forward_frame *frame, forward_delivery *d)
{
    d->may_have_arrived = true;
    upstream_status_t status = upstream_conn_writev(conn, frame->iov, frame->iov_count);
    if (status != UPSTREAM_OK) {
        return forward_fail_io(d, conn, status, "writing the records");
    }
    return config->require_ack_response ? wait_for_ack(conn, config, frame->chunk, d) : UPSTREAM_OK;
}

/* Sends all messages of the batch. `frame` is the first; the next ones replace it. */
static upstream_status_t exchange(upstream_conn_t *conn, forward_config *config,
                                  forward_frame *frame, size_t at, size_t *bytes,
                                  forward_delivery *d)
{
    upstream_status_t status = begin_once(conn, config, d);
    while (status == UPSTREAM_OK) {
        status = send_frame(conn, config, frame, d);
        *bytes += frame->bytes;
        if (status != UPSTREAM_OK || at >= forward_batch_bytes(d->batch)) {
            break;
        }
        forward_frame_destroy(frame);
        status = forward_frame_build(frame, d->batch, config, &at);
        if (status != UPSTREAM_OK) {
            status = forward_fail(d, status, "the batch cannot be framed: %s",
                                  upstream_status_name(status));
        }
    }
    return status;
}

static void note_success(forward_delivery *d, upstream_conn_t *conn, upstream_node_t *node,
                         size_t bytes)
{
    const char *tls = upstream_conn_tls_version(conn);
    d->node = node;
    d->may_have_arrived = false;
    d->bytes = bytes;
    d->status = UPSTREAM_OK;
    snprintf(d->tls_version, sizeof d->tls_version, "%s", tls == NULL ? "" : tls);
}

/*
 * Tells the library of a failure that it cannot see by itself, for its error, its log and the
 * node's health. If one of its own calls failed, it knows more than we do: nothing is reported.
 */
static upstream_status_t note_failure(forward_delivery *d, upstream_conn_t *conn,
                                      upstream_node_t *node, upstream_status_t status)
{
    d->status = status;
    d->failed = node;
    d->failures++;
    if (d->on_failure != NULL) {
        d->on_failure(d, node, status, d->reason);
    }
    return d->own_words ? upstream_conn_report(conn, status, d->reason) : status;
}

/* The batch or the caller is at fault: no other node could take it. */
static upstream_status_t give_up(forward_delivery *d, upstream_conn_t *conn,
                                 upstream_status_t status)
{
    d->status = status;
    return upstream_conn_report(conn, UPSTREAM_STOP, d->reason);
}

upstream_status_t forward_deliver_fn(upstream_conn_t *conn, void *delivery)
{
    forward_delivery *d = delivery;
    upstream_node_t *node = upstream_conn_node(conn);
    forward_config *config = upstream_node_get_data(node);
    forward_frame frame;
    size_t at = 0, bytes = 0;

    if (config == NULL) {
        return give_up(d, conn,
                       forward_fail(d, UPSTREAM_ERR_INVALID_ARG,
                                    "forward_prepare was not called for this set"));
    }
    upstream_status_t status = forward_frame_build(&frame, d->batch, config, &at);
    if (status != UPSTREAM_OK) {
        return give_up(d, conn,
                       forward_fail(d, status, "the batch cannot be framed: %s",
                                    upstream_status_name(status)));
    }
    status = exchange(conn, config, &frame, at, &bytes, d);
    if (status == UPSTREAM_OK) {
        note_success(d, conn, node, bytes);
    } else {
        status = note_failure(d, conn, node, status);
    }
    forward_frame_destroy(&frame);
    return status;
}
