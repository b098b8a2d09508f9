/*
 * A server and a client of a small protocol of lines, for the tests of what an exchange says about
 * its node. The server answers each request of five bytes as the test says, and counts the
 * requests. Never used outside the tests.
 */
#ifndef SUPPORT_SCRIPTED_H
#define SUPPORT_SCRIPTED_H

#include "check.h"

enum scripted_way {
    SCRIPTED_GOOD, /* answers "good\n" */
    SCRIPTED_BAD,  /* answers "bad!\n": the client reports UPSTREAM_ERR_PROTOCOL, "HTTP 502" */
    SCRIPTED_BUSY, /* answers "busy\n": the client reports UPSTREAM_ERR_BUSY, "HTTP 429" */
    SCRIPTED_EACH_SECOND_BUSY, /* "good\n" and "busy\n" by turns */
    SCRIPTED_STOP,             /* answers "stop\n": the client reports UPSTREAM_STOP, "HTTP 400" */
    SCRIPTED_END,              /* takes the request and ends the connection */
    SCRIPTED_RESET,            /* takes the request and resets it */
    SCRIPTED_SILENT            /* takes requests and does not answer */
};

struct scripted;

/* Starts a server on a free port of 127.0.0.1. Never NULL: a test that cannot start one ends. */
struct scripted *scripted_start(enum scripted_way way);
/* As many of them, and their ports. */
void scripted_start_all(struct scripted **servers, uint16_t *ports, size_t count,
                        enum scripted_way way);
uint16_t scripted_port(const struct scripted *server);

/* What it does with the requests from now on. */
void scripted_behave(struct scripted *server, enum scripted_way way);
/* Refuses from now on, its connections reset; and takes new ones again. */
void scripted_refuse(struct scripted *server);
void scripted_accept(struct scripted *server);

size_t scripted_requests(struct scripted *server);    /* taken so far */
size_t scripted_connections(struct scripted *server); /* accepted so far */

void scripted_stop(struct scripted *server);
void scripted_stop_all(struct scripted **servers, size_t count);

/* ---- the client ---- */

enum { SCRIPTED_MOST = 128 };

struct scripted_payload {
    uint32_t pause_ms; /* of a server that is busy */
    int calls;
    upstream_node_t *nodes[SCRIPTED_MOST]; /* in their order */
};

/* One exchange: as a callback of upstream_deliver(), with a struct scripted_payload; or called
 * directly, with NULL. */
upstream_status_t scripted_exchange(upstream_conn_t *conn, void *payload);

/* A delivery of one payload. `*payload` is emptied first, except for its pause. NULL: the caller
 * does not look at it. */
upstream_status_t scripted_deliver(upstream_t *up, struct scripted_payload *payload,
                                   uint32_t timeout_ms);

#endif
