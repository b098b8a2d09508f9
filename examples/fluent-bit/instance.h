/*
 * One [OUTPUT] section of the agent: its upstream set, and how a chunk goes out. Nothing is shared
 * between instances, and there are no globals: the agent may load, run and unload any number of
 * them.
 */
#ifndef INSTANCE_H
#define INSTANCE_H

#include <stddef.h>

#include "proxy.h"

struct instance;

/* Reads the section's properties and the upstream file. NULL where they are no good, which the
 * agent's log then tells. */
struct instance *instance_create(const struct proxy_plugin *plugin);

/* Sends one chunk; PROXY_OK, PROXY_RETRY or PROXY_ERROR. Any number of threads at once. */
int instance_flush(struct instance *in, const void *events, size_t len, const char *tag);

/* Ends the flushes under way, each of which asks for a retry, waits for them, and frees. None may
 * begin any more. */
void instance_destroy(struct instance *in);

/* A line in the agent's log, if its log_level has warnings. */
void instance_warn(const struct instance *in, const char *text);

#endif
