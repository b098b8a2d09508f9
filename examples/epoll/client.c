/*
 * One client: it sends a record, reads its ack, and begins again. Each record is an attempt: the
 * library gives it connections, kept or new, to one node after the other, never twice to the same
 * node. The record has failed when no node is left.
 */
#include "fleet.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void make_record(client *c)
{
    memcpy(c->out, &c->record, RECORD_BYTES);
    c->moved = 0;
}

/* Ends the attempt of the current record with its outcome, and goes on to the next record. */
static void next_record(client *c, upstream_status_t outcome)
{
    upstream_attempt_end(c->attempt, outcome);
    c->attempt = NULL;
    c->record += c->fleet->size;
    if (c->record < c->fleet->records) {
        make_record(c);
        return;
    }
    c->step = CLIENT_DONE;
    c->fleet->done++;
}

static upstream_status_t connect_on(client *c)
{
    upstream_status_t status = upstream_conn_connect_continue(c->conn);
    if (status == UPSTREAM_OK) {
        c->step = CLIENT_SENDING;
        c->moved = 0;
    }
    return status;
}

static upstream_status_t send_on(client *c)
{
    size_t written;
    upstream_status_t status =
        upstream_conn_try_write(c->conn, c->out + c->moved, RECORD_BYTES - c->moved, &written);

    c->moved += written;
    if (status == UPSTREAM_OK && c->moved == RECORD_BYTES) {
        /* TLS may still hold some of the bytes. The reads send them: until then the connection asks
         * for UPSTREAM_POLL_OUT too. */
        c->step = CLIENT_RECEIVING;
        c->moved = 0;
    }
    return status;
}

static void end_connection(client *c, void (*end)(upstream_conn_t *conn))
{
    loop_leave(c);
    end(c->conn);
    c->conn = NULL;
}

static upstream_status_t receive_on(client *c)
{
    size_t got;
    upstream_status_t status =
        upstream_conn_try_read(c->conn, c->in + c->moved, RECORD_BYTES - c->moved, &got);

    c->moved += got;
    if (status == UPSTREAM_EOF) {
        return upstream_conn_report(c->conn, UPSTREAM_ERR_CLOSED,
                                    "the server closed the connection before its ack");
    }
    if (status == UPSTREAM_OK && c->moved == RECORD_BYTES) {
        if (memcmp(c->in, c->out, RECORD_BYTES) != 0) {
            return upstream_conn_report(c->conn, UPSTREAM_ERR_PROTOCOL,
                                        "the answer is not the ack of this record");
        }
        c->fleet->acknowledged++;
        end_connection(c, upstream_conn_release); /* kept open for a later record */
        next_record(c, UPSTREAM_OK);
    }
    return status;
}

static upstream_status_t step_on(client *c)
{
    switch (c->step) {
    case CLIENT_CONNECTING:
        return connect_on(c);
    case CLIENT_SENDING:
        return send_on(c);
    default:
        return receive_on(c);
    }
}

/* Reports the record as failed, and goes on to the next one. */
static void give_up(client *c, upstream_status_t status, const char *why)
{
    fprintf(stderr, "record %" PRIu64 ": %s: %s\n", c->record, upstream_status_name(status), why);
    c->fleet->failed++;
    next_record(c, status);
}

/* True if the node may have the record although it has not acknowledged it. */
static bool may_have_arrived(const client *c)
{
    return c->step == CLIENT_RECEIVING ? c->moved == 0 : c->step == CLIENT_SENDING && c->moved > 0;
}

/* Discards the connection. The next turn takes the next node, unless the record could then arrive
 * twice and must not. */
static void connection_failed(client *c, upstream_status_t status)
{
    bool is_over = !c->fleet->resend && may_have_arrived(c);

    end_connection(c, upstream_conn_discard);
    if (is_over) {
        give_up(c, status, "it may have arrived, and deliver.resend is off");
    }
}

/* Starts a connection to the next node. False: there is none, and the record was given up. */
static bool begin_connection(client *c)
{
    upstream_error_t *err = NULL;
    upstream_status_t status = UPSTREAM_OK;

    if (c->attempt == NULL) {
        status = upstream_attempt_begin(c->fleet->up, &c->attempt);
    }
    if (status == UPSTREAM_OK) {
        status = upstream_attempt_connect_start(c->attempt, &c->conn, &err);
    }
    if (status == UPSTREAM_OK || status == UPSTREAM_WANT_READ || status == UPSTREAM_WANT_WRITE) {
        /* A connection that is ready already says so in upstream_conn_connect_continue(). */
        c->step = CLIENT_CONNECTING;
        return true;
    }
    give_up(c, status, err == NULL ? "no memory" : upstream_error_message(err));
    upstream_error_free(err);
    return false;
}

void client_start(client *c, fleet *f, size_t index)
{
    c->fleet = f;
    c->fd = -1;
    c->due_ms = -1;
    c->record = index;
    make_record(c);
    client_go(c);
}

void client_go(client *c)
{
    while (c->step != CLIENT_DONE) {
        upstream_status_t status;
        if (c->conn == NULL && !begin_connection(c)) {
            continue;
        }
        status = step_on(c);
        if (status == UPSTREAM_OK) {
            continue;
        }
        if (status != UPSTREAM_WANT_READ && status != UPSTREAM_WANT_WRITE) {
            connection_failed(c, status);
        } else if (loop_watch(c)) {
            return;
        } else {
            end_connection(c, upstream_conn_discard);
            give_up(c, UPSTREAM_ERR_NO_MEMORY, "epoll has no more room");
        }
    }
}

void client_end(client *c)
{
    if (c->conn != NULL) {
        end_connection(c, upstream_conn_discard);
    }
    upstream_attempt_end(c->attempt, UPSTREAM_ERR_CANCELLED);
    c->attempt = NULL;
}
