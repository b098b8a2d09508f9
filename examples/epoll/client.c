/*
 * One client: connect, then send a record and read its ack, again and again. Where its connection fails it sends the record over
 * another, which the library takes from the next node; a record counts as failed once every node has had its chance.
 */
#include "fleet.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void make_record(client *c) {
    memcpy(c->out, &c->record, RECORD_BYTES);
    c->moved = 0;
    c->failures = 0;
}

static void next_record(client *c) {
    c->record += c->fleet->size;
    if (c->record < c->fleet->records) {
        make_record(c);
        c->step = CLIENT_SENDING;
        return;
    }
    c->step = CLIENT_DONE;
    c->fleet->done++;
}

static upstream_status_t connect_on(client *c) {
    upstream_status_t status = upstream_conn_connect_continue(c->conn);
    if (status == UPSTREAM_OK) {
        c->step = CLIENT_SENDING;
        c->moved = 0;
    }
    return status;
}

static upstream_status_t send_on(client *c) {
    size_t written;
    upstream_status_t status = upstream_conn_try_write(c->conn, c->out + c->moved, RECORD_BYTES - c->moved, &written);

    c->moved += written;
    if (status == UPSTREAM_OK && c->moved == RECORD_BYTES) {
        /* What TLS may hold of it goes with the reads: the connection asks for UPSTREAM_POLL_OUT meanwhile. */
        c->step = CLIENT_RECEIVING;
        c->moved = 0;
    }
    return status;
}

static upstream_status_t receive_on(client *c) {
    size_t got;
    upstream_status_t status = upstream_conn_try_read(c->conn, c->in + c->moved, RECORD_BYTES - c->moved, &got);

    c->moved += got;
    if (status == UPSTREAM_EOF) {
        return UPSTREAM_ERR_CLOSED;
    }
    if (status == UPSTREAM_OK && c->moved == RECORD_BYTES) {
        if (memcmp(c->in, c->out, RECORD_BYTES) != 0) {
            return UPSTREAM_ERR_PROTOCOL;
        }
        c->fleet->acknowledged++;
        next_record(c);
    }
    return status;
}

static upstream_status_t step_on(client *c) {
    switch (c->step) {
    case CLIENT_CONNECTING:
        return connect_on(c);
    case CLIENT_SENDING:
        return send_on(c);
    default:
        return receive_on(c);
    }
}

/* No record may be left without a word. */
static void give_up(client *c, upstream_status_t status, const char *why) {
    fprintf(stderr, "record %" PRIu64 ": %s: %s\n", c->record, upstream_status_name(status), why);
    c->fleet->failed++;
    next_record(c);
}

static void drop_connection(client *c) {
    loop_leave(c);
    upstream_conn_discard(c->conn);
    c->conn = NULL;
}

static void connection_failed(client *c, upstream_status_t status) {
    const upstream_error_t *err = upstream_conn_last_error(c->conn);

    c->failures++;
    if (c->failures >= upstream_node_count(c->fleet->up)) {
        give_up(c, status, err == NULL ? "the answer was no ack" : upstream_error_message(err));
    }
    drop_connection(c);
}

/* A connection to the next node, ready or under way. False where none can even be begun with. */
static bool begin_connection(client *c) {
    upstream_error_t *err = NULL;
    upstream_status_t status = upstream_connect_start(c->fleet->up, &c->conn, &err);

    if (status == UPSTREAM_OK || status == UPSTREAM_WANT_READ) {
        c->step = CLIENT_CONNECTING; /* one that is ready already says so when it is asked to go on */
        return true;
    }
    give_up(c, status, err == NULL ? "no memory" : upstream_error_message(err));
    upstream_error_free(err);
    return false;
}

void client_start(client *c, fleet *f, size_t index) {
    c->fleet = f;
    c->fd = -1;
    c->due_ms = -1;
    c->record = index;
    make_record(c);
    client_go(c);
}

void client_go(client *c) {
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
            give_up(c, UPSTREAM_ERR_NO_MEMORY, "epoll has no more room");
            drop_connection(c);
        }
    }
    if (c->conn != NULL) {
        loop_leave(c);
    }
}

void client_end(client *c) {
    loop_leave(c);
    if (c->step == CLIENT_DONE) {
        upstream_conn_release(c->conn);
    } else {
        upstream_conn_discard(c->conn);
    }
    c->conn = NULL;
}
