/*
 * What Fluent Bit (2.0 and later, and agents built on it) passes to an output plugin through its
 * proxy ABI, which its Go plugins use too. Only layouts, so that no header of the agent is needed,
 * and only the fields that this plugin uses have their true types.
 */
#ifndef PROXY_H
#define PROXY_H

#include <stddef.h>

/* What a flush may return. */
enum { PROXY_ERROR = 0, PROXY_OK = 1, PROXY_RETRY = 2 };

/* For proxy_definition.type and .proxy. */
enum { PROXY_OUTPUT_PLUGIN = 2, PROXY_GOLANG = 11 };

/* Which chunks a plugin takes: bits of proxy_definition.event_type. */
enum { PROXY_LOGS = 1, PROXY_METRICS = 2, PROXY_TRACES = 4 };

/* FLBPluginRegister fills it in. The agent frees both strings. */
struct proxy_definition {
    int type;
    int proxy;
    int flags;
    char *name;
    char *description;
    int event_type; /* only from 4.2.3 on: in older agents the memory ends before it */
};

struct proxy_api {
    /* NULL: the configuration does not set this key, or the agent keeps it for itself. */
    const char *(*output_get_property)(const char *key, void *instance);
    void (*input_get_property)(void);
    void (*output_get_cmt_instance)(void);
    void (*input_get_cmt_instance)(void);
    void (*log_print)(int level, const char *file, int line, const char *format, ...);
    void (*input_log_check)(void);
    /* True if the log shows this level. NULL in agents that do not have it. */
    int (*output_log_check)(void *instance, int level);
};

struct proxy_context {
    /* The plugin's own pointer: FLBPluginFlushCtx and FLBPluginExitCtx get it. */
    void *remote_context;
};

/* One for all instances of the plugin: the agent fills it again before each FLBPluginInit. */
struct proxy_plugin {
    char *name;
    struct proxy_api *api;
    void *instance;
    struct proxy_context *context;
};

#endif
