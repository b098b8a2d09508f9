/*
 * A server in a separate process, so that its memory, system calls and instructions do not count as
 * the library's. It takes any number of connections, reads what comes and drops it. Never used
 * outside the tests.
 */
#ifndef COUNTED_SINK_H
#define COUNTED_SINK_H

#include <stdint.h>
#include <sys/types.h>

struct sink {
    pid_t id;
    uint16_t port; /* on 127.0.0.1 */
};

/* A test that cannot start one ends. It ends with the thread that started it. */
struct sink sink_start(void);
void sink_stop(struct sink *sink);

/* Lets this process, and those it starts, have as many descriptors as the system allows. */
void sink_raise_descriptors(void);

#endif
