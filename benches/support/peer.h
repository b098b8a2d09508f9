/* The server for the benchmarks that send. It is a separate process, so that its processor time and
 * descriptors do not count as the library's. It ends with the program that started it. */
#ifndef PEER_H
#define PEER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct peer {
    pid_t process;
    uint16_t port; /* on 127.0.0.1 */
};

/* Reads whatever comes and throws it away. On each connection every `answer_each` bytes are
 * answered with one byte; with 0 it never answers. */
struct peer peer_start(size_t answer_each);
void peer_end(struct peer *peer);

/* A socket bound to a port of 127.0.0.1 and not listening: a connect there is refused. */
int peer_bind(uint16_t *port);

/* A connected socket with the same options as the library's: TCP_NODELAY, close-on-exec, and
 * non-blocking if `flags` is SOCK_NONBLOCK. */
int peer_dial(uint16_t port, int flags);

/* Waits until all that was sent has reached the other end. */
void peer_drain(int fd);

/* Raises the limit to `count` descriptors, or to the hard limit if that is lower. Returns the new
 * limit. */
size_t peer_descriptors(size_t count);

#endif
