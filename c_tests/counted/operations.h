/*
 * The operations whose cost is counted; each has a row in bounds.h. For each there is a
 * preparation, and the operation itself. The programs that count allocations, system calls and
 * instructions all run the same ones.
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

/* NULL if there is none of that name. */
const struct operation *operations_named(const char *name);

/* How often it is run while it is counted. A write: as often as fits in the socket's buffers if the
 * server is slow. The others: often enough to include what they do only now and then. */
size_t operations_times(const struct operation *operation);

/* Runs it until its cost no longer changes. */
void operations_warm_up(const struct operation *operation);

/* Where they find their servers: a sink, and `openssl s_server` with a certificate for localhost
 * from `ca_file`. */
void operations_servers(uint16_t sink_port, uint16_t tls_port, const char *ca_file);

/* Ends what an operation's `prepare` made. */
void operations_finish(void);

#endif
