/*
 * A loopback port with a thread for each connection: the base of the servers of the fault tests. It
 * can die and come back on the same port, which nobody else can get in between. Never used outside
 * the tests.
 */
#ifndef SUPPORT_ACCEPTOR_H
#define SUPPORT_ACCEPTOR_H

#include <stddef.h>
#include <stdint.h>

struct session {
    int socket;
    int wake;      /* readable once the session is to end */
    size_t number; /* of the connection, from 0 */
};

enum ending { ENDING_CLOSE, ENDING_RESET };

/* Serves one connection, which is closed or reset when it returns. */
typedef enum ending (*session_serve)(const struct session *session, void *ctx);

struct acceptor;

/* Listens on a free port of `address`; `narrow`: with the smallest receive buffer there is. Never
 * NULL: a test that cannot start one ends. */
struct acceptor *acceptor_start(const char *address, int narrow, session_serve serve, void *ctx);
uint16_t acceptor_port(const struct acceptor *acceptor);

/* From now on the port refuses; sessions under way are woken and waited for, and their connections
 * reset. */
void acceptor_close(struct acceptor *acceptor);
/* Listens again, on the same port. */
void acceptor_open(struct acceptor *acceptor);

/* Wakes all sessions, waits for them, and ends their connections in this way. The port stays as it
 * is. */
void acceptor_end_sessions(struct acceptor *acceptor, enum ending how);

size_t acceptor_accepted(struct acceptor *acceptor); /* connections so far */

void acceptor_stop(struct acceptor *acceptor);

/* Waits until `fd` can do `events`: 1; or the session is to end: 0; or `ms` (-1: no limit) have
 * passed: 0. */
int session_wait(const struct session *session, int fd, short events, int ms);
/* Sends all of it: 1; the peer is gone, or the session is to end: 0. */
int session_send(const struct session *session, int fd, const void *data, size_t len);

#endif
