/*
 * The four functions that the agent looks for. No state of their own: what belongs to an instance hangs on its context.
 */
#define _POSIX_C_SOURCE 200809L /* under a strict -std=: strdup */

#include <string.h>

#include "instance.h"
#include "reload.h"

int FLBPluginRegister(struct proxy_definition *def);
int FLBPluginInit(struct proxy_plugin *plugin);
int FLBPluginFlushCtx(void *context, const void *events, size_t len, const char *tag);
int FLBPluginExitCtx(void *context);

#define EXPORT __attribute__((visibility("default")))

EXPORT int FLBPluginRegister(struct proxy_definition *def) {
    def->type = PROXY_OUTPUT_PLUGIN;
    def->proxy = PROXY_GOLANG;
    def->flags = 0;
    def->event_type = 0;
    def->name = strdup("upstream");
    def->description = strdup("Forward, balanced over the nodes of an upstream file");
    return def->name == NULL || def->description == NULL ? -1 : 0;
}

/* Above 0 for success. */
EXPORT int FLBPluginInit(struct proxy_plugin *plugin) {
    struct instance *in = instance_create(plugin);
    plugin->context->remote_context = in;
    reload_begin();
    return in == NULL ? -1 : 1;
}

EXPORT int FLBPluginFlushCtx(void *context, const void *events, size_t len, const char *tag) {
    reload_look(context);
    return instance_flush(context, events, len, tag);
}

/* No flush comes after it; one may be under way. */
EXPORT int FLBPluginExitCtx(void *context) {
    instance_destroy(context);
    return 1;
}
