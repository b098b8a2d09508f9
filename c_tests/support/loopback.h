/*
 * A loopback TCP server in a thread, for the tests: it behaves in one way and counts what it sees.
 * Never used outside the tests.
 */
#ifndef SUPPORT_LOOPBACK_H
#define SUPPORT_LOOPBACK_H

#include <stddef.h>
#include <stdint.h>

enum loopback_behaviour {
    LOOPBACK_SINK,        /* reads and counts */
    LOOPBACK_ECHO,        /* sends back what it reads */
    LOOPBACK_SILENT,      /* accepts, reads nothing, sends nothing */
    LOOPBACK_CLOSE,       /* closes each connection as soon as it is accepted */
    LOOPBACK_RESET,       /* resets each connection after the first bytes */
    LOOPBACK_CLOSE_AFTER, /* reads the first bytes, sends them back and closes */
    LOOPBACK_GREETER,     /* sends "hello" when a connection comes, then reads and counts */
    /* sends "hello", reads nothing for 300 ms, then reads slowly and counts */
    LOOPBACK_LATE,
    LOOPBACK_DRIP /* sends one byte each 20 ms */
};

struct loopback;

/* Starts a server on a free port of 127.0.0.1. Never NULL: a test that cannot start one ends. */
struct loopback *loopback_start(enum loopback_behaviour behaviour);

/* The same with the smallest socket buffers the system has, so that both directions fill at
 * once. */
struct loopback *loopback_start_narrow(enum loopback_behaviour behaviour);

uint16_t loopback_port(const struct loopback *server);
size_t loopback_connections(struct loopback *server); /* made so far */
size_t loopback_bytes(struct loopback *server);       /* read so far */

/* Waits, at most ten seconds, until that many connections were accepted; 1 if they were. */
int loopback_wait_connections(struct loopback *server, size_t connections);

/* Waits, at most ten seconds, until that many bytes were read; 1 if they were. */
int loopback_wait_bytes(struct loopback *server, size_t bytes);

/* Waits, at most ten seconds, until that many connections have ended at the server's side; 1 if
 * they have. */
int loopback_wait_ended(struct loopback *server, size_t connections);

/* Closes every connection and the port, joins the threads, frees. */
void loopback_stop(struct loopback *server);

/* A port of 127.0.0.1 that refuses connections: bound, never listening. The caller closes the
 * descriptor. */
uint16_t loopback_refusing_port(int *descriptor);

/* A port of 127.0.0.1 that never answers: its queue is full, so that the kernel drops each SYN. The
 * caller closes the descriptors. */
enum { LOOPBACK_HOLE_DESCRIPTORS = 9 };
uint16_t loopback_black_hole(int descriptors[LOOPBACK_HOLE_DESCRIPTORS]);

#endif
