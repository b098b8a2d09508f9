/* Hot reload and workers: what the plugin can say of a fault of the agent's. */
#ifndef RELOAD_H
#define RELOAD_H

#include "instance.h"

/* The agent has just made an instance, on its own thread. */
void reload_begin(void);

/* A flush begins. */
void reload_look(const struct instance *in);

#endif
