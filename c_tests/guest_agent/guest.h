/*
 * What the test says to its agent. guest_base.h and guest_upstream.h, which this brings along, have
 * what it sets and asks of the clock, the log and the connections.
 */
#ifndef GUEST_H
#define GUEST_H

#include "guest_base.h"
#include "guest_upstream.h"

struct guest_run;

struct guest {
    void *module;
    struct flb_output_plugin *plugin;
    struct flb_output_instance instance;
    struct flb_config config;
    struct guest_run *timer; /* the last one that is over */
};

/* Loads a plugin as the agent does and initialises it. Ends the test if that fails. */
void guest_start(struct guest *guest, const char *module, const char *symbol,
                 const char *upstream_file, int port, const char *conf_path);
void guest_stop(struct guest *guest);

struct guest_task {
    uint64_t record;
    int word; /* what the flush returned */
};

/* Flushes each task once, `at_once` coroutines side by side on this thread, as worker number
 * `worker`. */
void guest_flush(struct guest *guest, int worker, struct guest_task *tasks, size_t count,
                 size_t at_once);

/* Begins with a flush and drops its coroutine at the first yield, as the agent does at its end. */
void guest_flush_given_up(struct guest *guest, uint64_t record);

/* Runs the plugin's timer in a coroutine, or without one. At most once for each guest_start(). */
void guest_timer(struct guest *guest, int in_coroutine);

#endif
