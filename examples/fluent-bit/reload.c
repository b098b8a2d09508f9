/*
 * Fluent Bit from 2.2 to 5.1.1 starts the workers of a plugin like this one twice, and dies after a
 * hot reload (docs/agents.md). A plugin cannot help it, and is not told of its workers; but it sees
 * a flush on another thread than the agent's own, and says so once, while there is time.
 */
#define _POSIX_C_SOURCE 200809L /* under a strict -std=: pthread_equal */

#include "reload.h"

#include <pthread.h>
#include <stdbool.h>

int FLBPluginOutputPreRun(int hot_reload);

/* Of the agent, and so one for all instances. */
static struct {
    pthread_mutex_t lock;
    pthread_t engine; /* the thread that makes instances, and flushes where there are no workers */
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

/* Called once for each instance, after all are made, with whether hot_reload is on. */
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
        instance_warn(in, "hot_reload is on and this output has workers: a Fluent Bit from 2.2 to "
                          "5.1.1 aborts when it is reloaded then; leave workers out, or restart "
                          "the agent in place of a reload");
    }
}
