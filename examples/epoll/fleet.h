/*
 * What the parts of upstream-epoll share: a fleet of clients, each with one connection at a time,
 * all served by one thread with epoll. The protocol is as small as possible: a record is its number
 * in eight bytes, in this machine's byte order, and its ack is the same eight bytes.
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
    upstream_attempt_t *attempt; /* of the current record; NULL before its first connection */
    upstream_conn_t *conn;       /* NULL between two connections */
    client_step step;
    uint64_t record;                 /* the number of the current record */
    unsigned char out[RECORD_BYTES]; /* the current record */
    unsigned char in[RECORD_BYTES];  /* its ack */
    size_t moved;                    /* bytes of `out` sent, or bytes of `in` received */
    int fd;                          /* the descriptor that epoll watches; -1: none */
    uint32_t events;                 /* what epoll watches it for: UPSTREAM_POLL_* */
    int64_t due_ms;                  /* when to call even if nothing happens; -1: never */
} client;

typedef struct fleet {
    upstream_t *up;
    bool resend; /* deliver.resend: try another node although the record may have arrived */
    int epoll;
    client *clients;
    size_t size;      /* how many clients */
    uint64_t records; /* how many in all; client i sends i, i + size, i + 2 size... */
    size_t done;      /* clients that are CLIENT_DONE */
    uint64_t acknowledged, failed;
} fleet;

/* ---- client.c: what one client does ---- */

/* Begins with record number `index`. */
void client_start(client *c, fleet *f, size_t index);

/* Goes on as far as possible, then tells the loop what to wait for. */
void client_go(client *c);

/* Ends the connection and the attempt, if there are any. */
void client_end(client *c);

/* ---- loop.c: waiting ---- */

bool loop_open(fleet *f);
void loop_close(fleet *f);

/* Watches what the client's connection asks for now. False: the system has no more room. */
bool loop_watch(client *c);

/* Stops watching. Call it before you release or discard the client's connection. */
void loop_leave(client *c);

/* Serves the clients until all are done. False: epoll failed, and errno says why. */
bool loop_run(fleet *f);

#endif
