/*
 * An event loop for one connection, as the header tells plugin authors to write it: on poll(), on
 * epoll, or as with libuv. It watches only what the connection asks for, so the test fails if the
 * library forgets a wake-up.
 */
#ifndef SUPPORT_EVENT_LOOP_H
#define SUPPORT_EVENT_LOOP_H

#include "check.h"

enum event_loop_kind {
    EVENT_LOOP_POLL,
    EVENT_LOOP_EPOLL, /* keeps a descriptor registered for as long as its number stays */
    /* stops watching before each call, as libuv asks: there a watched descriptor must not be
     * closed */
    EVENT_LOOP_STOP,
};

struct event_loop {
    enum event_loop_kind kind;
    int epoll;
    int watched; /* the descriptor that epoll knows; -1 if none */
};

void event_loop_open(struct event_loop *loop, enum event_loop_kind kind);
void event_loop_close(struct event_loop *loop);

/* Waits as the connection asks. Fails the test if the connection asks for nothing, or if nothing
 * comes for 30 seconds. 1 if the descriptor was ready, 0 if the connection's time was up. */
int event_loop_wait(struct event_loop *loop, upstream_conn_t *conn);

/* Stops watching. Call it before you use another connection: a kept one stays open after its
 * release, and descriptor numbers are used again. */
void event_loop_leave(struct event_loop *loop);

/* Leaves what was watched before and goes on with what upstream_connect_start() returned, to its
 * end. */
upstream_status_t event_loop_connect(struct event_loop *loop, upstream_conn_t *conn,
                                     upstream_status_t started);

/* All of it, flushed; or the first status that is neither done nor a want. */
upstream_status_t event_loop_write(struct event_loop *loop, upstream_conn_t *conn, const void *data,
                                   size_t len);
upstream_status_t event_loop_read(struct event_loop *loop, upstream_conn_t *conn, void *buf,
                                  size_t len);

#endif
