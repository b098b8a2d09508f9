/* A warning about a fault of the agent: hot reload with workers. */
#ifndef RELOAD_H
#define RELOAD_H

#include "instance.h"

/* Call it when the agent has made an instance: this thread is then the agent's own. */
void reload_begin(void);

/* Call it at the beginning of each flush: warns once if hot reload and workers come together. */
void reload_look(const struct instance *in);

#endif
