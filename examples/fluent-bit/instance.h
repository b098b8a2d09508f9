/*
 * One [OUTPUT] section of the agent: its upstream set, and how a chunk is sent. Instances share
 * nothing, so the agent may load, run and unload any number of them.
 */
#ifndef INSTANCE_H
#define INSTANCE_H

#include <stddef.h>

#include "proxy.h"

struct instance;

/* Reads the section's properties and the upstream file. NULL: one of them is wrong, and the agent's
 * log says what. */
struct instance *instance_create(const struct proxy_plugin *plugin);

/* Sends one chunk: PROXY_OK, PROXY_RETRY or PROXY_ERROR. Any number of threads may call it at
 * once. */
int instance_flush(struct instance *in, const void *events, size_t len, const char *tag);

/* Cancels the flushes under way, so that each asks for a retry, waits for them, and frees the
 * instance. No new flush may begin. */
void instance_destroy(struct instance *in);

/* Writes a warning to the agent's log, if its log_level shows warnings. */
void instance_warn(const struct instance *in, const char *text);

#endif
