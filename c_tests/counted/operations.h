/*
 * The operations whose cost is counted, one row of bounds.h each: what has to be there before, and
 * one of them. The programs that count allocations, system calls and instructions all run these
 * same ones.
 */
#ifndef COUNTED_OPERATIONS_H
#define COUNTED_OPERATIONS_H

#include <stddef.h>
#include <stdint.h>

struct operation {
    const char *name;
    void (*prepare)(void); /* ended by operations_finish() */
    void (*run)(void);
    /* The bounds of one, from bounds.h. */
    size_t allocations, clock_readings, system_calls, atomics, instructions;
};

extern const struct operation operations[];
extern const size_t operations_count;

/* NULL where there is none of that name. */
const struct operation *operations_named(const char *name);

/* How often it is run to be counted: a write as often as fits the socket's buffers, should the far
 * end be slow; the others often enough for what they do only now and then. */
size_t operations_times(const struct operation *operation);

/* Runs it as often as it takes until it costs what it costs from then on. */
void operations_warm_up(const struct operation *operation);

/* Where they find their servers: a sink, and `openssl s_server` with a certificate for localhost
 * from `ca_file`. */
void operations_servers(uint16_t sink_port, uint16_t tls_port, const char *ca_file);

/* Ends what an operation's `prepare` made. */
void operations_finish(void);

#endif
