/*
 * Fluent Bit 2.2 to 5.1.1 starts the workers of a plugin like this one twice, and aborts after a
 * hot reload (docs/agents.md). A plugin cannot prevent that, and does not know whether it has
 * workers. But it can see that a flush runs on another thread than the agent's own, and warn once,
 * in time.
 */
#define _POSIX_C_SOURCE 200809L /* under a strict -std=: pthread_equal */

#include "reload.h"

#include <pthread.h>
#include <stdbool.h>

int FLBPluginOutputPreRun(int hot_reload);

/* The agent's state, one for all instances. */
static struct {
    pthread_mutex_t lock;
    pthread_t engine; /* makes the instances; it also flushes if there are no workers */
    bool reloads;
    bool said;
} agent = {.lock = PTHREAD_MUTEX_INITIALIZER};

void reload_begin(void)
{
    pthread_mutex_lock(&agent.lock);
    agent.engine = pthread_self();
    agent.said = false;
    pthread_mutex_unlock(&agent.lock);
}

/* The agent calls it for each instance, after all have been made. `hot_reload`: it is on. */
__attribute__((visibility("default"))) int FLBPluginOutputPreRun(int hot_reload)
{
    pthread_mutex_lock(&agent.lock);
    agent.reloads = hot_reload != 0;
    pthread_mutex_unlock(&agent.lock);
    return 0;
}

void reload_look(const struct instance *in)
{
    pthread_mutex_lock(&agent.lock);
    bool is_new = agent.reloads && !agent.said && !pthread_equal(agent.engine, pthread_self());
    agent.said = agent.said || is_new;
    pthread_mutex_unlock(&agent.lock);
    if (is_new) {
        instance_warn(in, "hot_reload is on and this output has workers: Fluent Bit 2.2 to 5.1.1 "
                          "then aborts on a reload; remove `workers`, or restart the agent instead "
                          "of reloading it");
    }
}
