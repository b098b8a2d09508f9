/*
 * What the parts of upstream-epoll share: a fleet of clients, one connection each at a time, all
 * served by one thread from epoll. The protocol is the least there can be: a record is its number
 * in eight bytes, in this machine's order, and its ack is the same eight bytes.
 */
#ifndef UPSTREAM_EPOLL_FLEET_H
#define UPSTREAM_EPOLL_FLEET_H

#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <upstream/upstream.h>

enum { RECORD_BYTES = 8 };

typedef enum client_step {
    CLIENT_CONNECTING,
    CLIENT_SENDING,
    CLIENT_RECEIVING,
    CLIENT_DONE
} client_step;

typedef struct client {
    struct fleet *fleet;
    upstream_attempt_t
        *attempt;          /* the record at hand on its way; NULL before its first connection */
    upstream_conn_t *conn; /* NULL between two connections */
    client_step step;
    uint64_t record;                 /* the number of the one at hand */
    unsigned char out[RECORD_BYTES]; /* the record at hand */
    unsigned char in[RECORD_BYTES];  /* its ack */
    size_t moved;                    /* bytes of it sent, or of its ack received */
    int fd;                          /* what epoll watches for it; -1 where nothing */
    uint32_t events;                 /* and for what, in the library's words */
    int64_t due_ms;                  /* when a call is due even if nothing happens; -1 never */
} client;

typedef struct fleet {
    upstream_t *up;
    bool resend; /* deliver.resend: whether what may have arrived is sent to another node */
    int epoll;
    client *clients;
    size_t size;      /* how many clients */
    uint64_t records; /* how many in all; client i sends i, i + size, i + 2 size... */
    size_t done;      /* clients that have no more to do */
    uint64_t acknowledged, failed;
} fleet;

/* ---- client.c: what one client does ---- */

/* Begins with its first record. */
void client_start(client *c, fleet *f, size_t index);

/* Goes on as far as it can, and has the loop wait for what it then wants. */
void client_go(client *c);

/* Ends what is under way. */
void client_end(client *c);

/* ---- loop.c: waiting ---- */

bool loop_open(fleet *f);
void loop_close(fleet *f);

/* Watches what the client's connection asks for now. False where the system has no more room. */
bool loop_watch(client *c);

/* Watches it no more: due before its connection is released or discarded. */
void loop_leave(client *c);

/* Serves the clients until all are done. */
bool loop_run(fleet *f);

#endif
