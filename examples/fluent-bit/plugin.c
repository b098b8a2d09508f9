/*
 * The four functions that the agent looks for. They have no state: each instance is in its context.
 */
#define _GNU_SOURCE /* under a strict -std=: strdup, RTLD_DEFAULT */

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

#include "instance.h"
#include "reload.h"

int FLBPluginRegister(struct proxy_definition *def);
int FLBPluginInit(struct proxy_plugin *plugin);
int FLBPluginFlushCtx(void *context, const void *events, size_t len, const char *tag);
int FLBPluginExitCtx(void *context);

#define EXPORT __attribute__((visibility("default")))

/*
 * An agent older than 4.2.3 has no event_type: to write it would damage the agent's memory. The ABI
 * has no version number, but Fluent Bit exports its functions, and the one looked for here came
 * with 5.0. Older ones route only logs to such plugins anyway.
 */
static bool has_event_type(void)
{
    bool fluent_bit = dlsym(RTLD_DEFAULT, "flb_output_get_property") != NULL;
    return !fluent_bit || dlsym(RTLD_DEFAULT, "flb_output_oauth2_property_check") != NULL;
}

EXPORT int FLBPluginRegister(struct proxy_definition *def)
{
    def->type = PROXY_OUTPUT_PLUGIN;
    def->proxy = PROXY_GOLANG;
    def->flags = 0;
    if (has_event_type()) {
        def->event_type = PROXY_LOGS | PROXY_METRICS | PROXY_TRACES;
    }
    def->name = strdup("upstream");
    def->description = strdup("Forward, balanced over the nodes of an upstream file");
    return def->name == NULL || def->description == NULL ? -1 : 0;
}

/* The agent takes a result above 0 as success. */
EXPORT int FLBPluginInit(struct proxy_plugin *plugin)
{
    struct instance *in = instance_create(plugin);
    plugin->context->remote_context = in;
    reload_begin();
    return in == NULL ? -1 : 1;
}

EXPORT int FLBPluginFlushCtx(void *context, const void *events, size_t len, const char *tag)
{
    reload_look(context);
    return instance_flush(context, events, len, tag);
}

/* No flush begins after this call, but one may still be under way. */
EXPORT int FLBPluginExitCtx(void *context)
{
    instance_destroy(context);
    return 1;
}
