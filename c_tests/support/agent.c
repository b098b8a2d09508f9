/* See agent.h. */
#define _GNU_SOURCE
#include "agent.h"

#include "check.h"
#include "small_stack.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <strings.h>

/* ---- what the agent and its plugins have agreed upon ---- */

struct definition {
    int type;
    int proxy;
    int flags;
    char *name;
    char *description;
    int event_type;
};

struct output_context {
    void *remote_context;
    void *proxy;
};

struct api {
    const char *(*output_get_property)(const char *key, void *output);
    void (*input_get_property)(void);
    void (*output_get_cmt_instance)(void);
    void (*input_get_cmt_instance)(void);
    void (*log_print)(int level, const char *file, int line, const char *format, ...);
    void (*input_log_check)(void);
    int (*output_log_check)(void *output, int level);
    void (*custom_get_property)(void);
    void (*custom_log_check)(void);
};

struct shared {
    char *name;
    struct api *api;
    void *output;
    struct output_context *context;
};

/* ---- */

struct agent {
    void *library;
    struct definition definition;
    struct shared shared; /* one for all instances, filled again before each init */
    int (*start)(struct shared *shared);
    int (*flush)(void *context, const void *events, size_t len, const char *tag);
    int (*stop)(void *context);
};

struct agent_output {
    struct agent *agent;
    const char *const *section;
    struct output_context context;
};

/* log_print does not know which instance a line comes from. */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char *log_text;
static size_t log_len;
static atomic_size_t deepest;

static int kept_by_the_agent(const char *key)
{
    static const char *const keys[] = {"host",        "port",  "match",     "workers",
                                       "retry_limit", "alias", "log_level", "tls"};
    size_t i;
    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (strcasecmp(key, keys[i]) == 0) {
            return 1;
        }
    }
    return strncasecmp(key, "net.", 4) == 0 || strncasecmp(key, "tls.", 4) == 0;
}

static const char *get_property(const char *key, void *opaque)
{
    const struct agent_output *output = opaque;
    size_t i;
    for (i = 0; !kept_by_the_agent(key) && output->section[i] != NULL; i += 2) {
        if (strcasecmp(key, output->section[i]) == 0) {
            return output->section[i + 1];
        }
    }
    return NULL;
}

/* With as much on the stack as the agent's own. */
__attribute__((format(printf, 4, 5))) static void log_print(int level, const char *file, int line,
                                                            const char *format, ...)
{
    char text[4096];
    va_list arguments;
    int len;
    (void)file;
    (void)line;
    va_start(arguments, format);
    len = snprintf(text, sizeof(text), "%d ", level);
    vsnprintf(text + len, sizeof(text) - (size_t)len - 1, format, arguments);
    va_end(arguments);
    strcat(text, "\n");
    pthread_mutex_lock(&log_lock);
    log_text = realloc(log_text, log_len + strlen(text) + 1);
    if (log_text == NULL) {
        abort();
    }
    strcpy(log_text + log_len, text);
    log_len += strlen(text);
    pthread_mutex_unlock(&log_lock);
}

/* `log_level` of the section; info by default. */
static int log_check(void *opaque, int level)
{
    const struct agent_output *output = opaque;
    size_t i;
    for (i = 0; output->section[i] != NULL; i += 2) {
        if (strcmp(output->section[i], "log_level") == 0) {
            return level <= atoi(output->section[i + 1]);
        }
    }
    return level <= 3;
}

static void not_for_outputs(void)
{
    abort();
}

static void *symbol(const struct agent *agent, const char *name)
{
    void *found = dlsym(agent->library, name);
    if (found == NULL) {
        fail_msg("%s", dlerror());
    }
    return found;
}

struct agent *agent_load(const char *plugin)
{
    struct agent *agent = calloc(1, sizeof(*agent));
    int (*enlist)(struct definition *);
    assert_non_null(agent);
    assert_non_null(plugin);
    agent->library = dlopen(plugin, RTLD_LAZY);
    if (agent->library == NULL) {
        fail_msg("%s", dlerror());
    }
    *(void **)&enlist = symbol(agent, "FLBPluginRegister");
    *(void **)&agent->start = symbol(agent, "FLBPluginInit");
    *(void **)&agent->flush = symbol(agent, "FLBPluginFlushCtx");
    *(void **)&agent->stop = symbol(agent, "FLBPluginExitCtx");
    assert_int_equal(enlist(&agent->definition), 0);
    assert_int_equal(agent->definition.type, 2);   /* an output plugin */
    assert_int_equal(agent->definition.proxy, 11); /* over the ABI of the Go plugins */
    assert_string_equal(agent->definition.name, "upstream");
    assert_non_null(agent->definition.description);
    assert_int_equal(agent->definition.event_type, 1 | 2 | 4); /* logs, metrics, traces */
    return agent;
}

void agent_unload(struct agent *agent)
{
    free(agent->definition.name);
    free(agent->definition.description);
    assert_int_equal(dlclose(agent->library), 0);
    free(agent);
}

struct agent_output *agent_output_start(struct agent *agent, const char *const *section)
{
    static struct api api = {
        get_property,    not_for_outputs, not_for_outputs, not_for_outputs, log_print,
        not_for_outputs, log_check,       not_for_outputs, not_for_outputs,
    };
    struct agent_output *output = calloc(1, sizeof(*output));
    int started;
    assert_non_null(output);
    output->agent = agent;
    output->section = section;
    agent->shared = (struct shared){agent->definition.name, &api, output, &output->context};
    started = agent->start(&agent->shared);
    memset(&agent->shared, 0, sizeof(agent->shared));
    if (started <= 0) {
        free(output);
        return NULL;
    }
    return output;
}

struct flush {
    struct agent_output *output;
    void *events;
    size_t len;
    char *tag;
    int result;
};

static void flush_here(void *argument)
{
    struct flush *flush = argument;
    flush->result = flush->output->agent->flush(flush->output->context.remote_context,
                                                flush->events, flush->len, flush->tag);
}

int agent_output_flush(struct agent_output *output, const void *events, size_t len, const char *tag)
{
    struct flush flush = {output, malloc(len == 0 ? 1 : len), len, strdup(tag), -1};
    size_t used, most = atomic_load(&deepest);
    if (flush.events == NULL || flush.tag == NULL) {
        abort();
    }
    memcpy(flush.events, events, len);
    used = small_stack_run(flush_here, &flush);
    while (used > most && !atomic_compare_exchange_weak(&deepest, &most, used)) {
    }
    memset(flush.events, 0xc1, len);
    free(flush.events);
    free(flush.tag);
    return flush.result;
}

void agent_output_exit(struct agent_output *output)
{
    assert_int_equal(output->agent->stop(output->context.remote_context), 1);
    free(output);
}

size_t agent_deepest(void)
{
    return atomic_load(&deepest);
}

char *agent_log(void)
{
    char *copy;
    pthread_mutex_lock(&log_lock);
    copy = strdup(log_text == NULL ? "" : log_text);
    pthread_mutex_unlock(&log_lock);
    assert_non_null(copy);
    return copy;
}

void agent_log_clear(void)
{
    pthread_mutex_lock(&log_lock);
    free(log_text);
    log_text = NULL;
    log_len = 0;
    pthread_mutex_unlock(&log_lock);
}

void agent_log_contains(const char *part, const char *other)
{
    char *text = agent_log(), *copy = strdup(text), *rest = copy, *line;
    int found = 0;
    assert_non_null(copy);
    while ((line = strsep(&rest, "\n")) != NULL) {
        found = found || (strstr(line, part) != NULL && strstr(line, other) != NULL);
    }
    if (!found) {
        fail_msg("no line of the log holds \"%s\" and \"%s\":\n%s", part, other, text);
    }
    free(copy);
    free(text);
}

void agent_pre_run(struct agent *agent, int hot_reload)
{
    void *found = symbol(agent, "FLBPluginOutputPreRun");
    int (*pre_run)(int);
    memcpy(&pre_run, &found, sizeof(pre_run));
    pre_run(hot_reload);
}
