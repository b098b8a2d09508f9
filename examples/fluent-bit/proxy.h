/*
 * What Fluent Bit (2.0 and later, and the agents built on it) hands to an output plugin over its
 * proxy ABI, the one its Go plugins use. Layouts alone, so that no header of the agent is needed;
 * only the fields that this plugin reads are named.
 */
#ifndef PROXY_H
#define PROXY_H

#include <stddef.h>

/* What a flush may return. */
enum { PROXY_ERROR = 0, PROXY_OK = 1, PROXY_RETRY = 2 };

/* Of proxy_definition. */
enum { PROXY_OUTPUT_PLUGIN = 2, PROXY_GOLANG = 11 };

/* What chunks a plugin takes: bits of proxy_definition.event_type. */
enum { PROXY_LOGS = 1, PROXY_METRICS = 2, PROXY_TRACES = 4 };

/* Filled in by FLBPluginRegister. The agent frees both strings. */
struct proxy_definition {
    int type;
    int proxy;
    int flags;
    char *name;
    char *description;
    int event_type; /* from 4.2.3 on: before, the agent's memory ends here */
};

struct proxy_api {
    /* NULL for a key that the configuration does not set, or that the agent keeps for itself. */
    const char *(*output_get_property)(const char *key, void *instance);
    void (*input_get_property)(void);
    void (*output_get_cmt_instance)(void);
    void (*input_get_cmt_instance)(void);
    void (*log_print)(int level, const char *file, int line, const char *format, ...);
    void (*input_log_check)(void);
    /* whether this level is wanted; NULL in an agent without */
    int (*output_log_check)(void *instance, int level);
};

struct proxy_context {
    /* the plugin's own: what FLBPluginFlushCtx and FLBPluginExitCtx are called with */
    void *remote_context;
};

/* One for all instances of the plugin, written anew before each FLBPluginInit. */
struct proxy_plugin {
    char *name;
    struct proxy_api *api;
    void *instance;
    struct proxy_context *context;
};

#endif
