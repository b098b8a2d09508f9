/*
 * Turns properties into options, chunks into deliveries, and lines of the library's log into lines
 * of the agent's. Most agents run a flush on a coroutine's stack of 24 KiB, so everything large is
 * on the heap.
 */
#define _POSIX_C_SOURCE 200809L /* under a strict -std=: struct timespec */

#include "instance.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <forward.h>

/*
 * When the agent stops, it waits for flushes under way for `grace` (5 s), and it does not tell a
 * plugin that it stops. So a flush must end earlier; the agent then retries the chunk or keeps it.
 * An answer may take a quarter of this time (see ack_timeout), so that a node that takes a chunk
 * and then stays silent leaves time for the others.
 */
#define DELIVER_TIMEOUT "4s"

#define SILENCES 2         /* in a row; a single one may be a chunk that took long */
#define SILENT_FOR_MS 1000 /* the default of health.backoff */

/* The properties that may stand in the [OUTPUT] section: the agent gives out a property only by its
 * name. A value in the upstream file overrides one of these. */
static const char *const properties[] = {
    "upstream.name",
    "config.dir",
    "balance",
    "start",
    "deliver.attempts",
    "deliver.timeout",
    "deliver.resend",
    "health.max_fails",
    "health.backoff",
    "health.backoff_max",
    "health.check",
    "health.interval",
    "tag",
    "shared_key",
    "empty_shared_key",
    "username",
    "password",
    "self_hostname",
    "time_as_integer",
    "retain_metadata_in_forward_mode",
    "send_options",
    "require_ack_response",
    "ack_timeout",
    "compress",
};

struct instance {
    const struct proxy_api *api; /* belongs to the agent, and outlives the plugin */
    void *output;
    upstream_t *up;
    char *name; /* of the upstream file, for the log */
    bool at_most_once;
    pthread_mutex_t lock;
    pthread_cond_t idle;
    size_t flushing; /* under way; guarded by `lock` */
    /* About the last deliveries; guarded by `lock`. */
    unsigned silences;    /* how many in a row ended because every node was silent */
    int64_t silent_until; /* monotonic milliseconds: no delivery before then */
    bool asking;          /* one delivery is under way to find out whether a node answers again */
};

/* The agent's log levels have the same numbers as the library's. */
static bool wanted(const struct instance *in, int level)
{
    return in->api->output_log_check == NULL || in->api->output_log_check(in->output, level);
}

static void say(const struct instance *in, int level, const char *what, const char *text)
{
    if (wanted(in, level)) {
        in->api->log_print(level, NULL, 0, "[output:upstream] %s: %s%s", in->name, what, text);
    }
}

static void log_line(int32_t level, const char *message, void *ctx)
{
    say(ctx, level, "", message);
}

void instance_warn(const struct instance *in, const char *text)
{
    say(in, UPSTREAM_LOG_WARN, "", text);
}

static bool set_option(const struct instance *in, upstream_options_t *options, const char *key,
                       const char *value)
{
    upstream_error_t *err = NULL;
    if (upstream_options_set(options, key, value, &err) == UPSTREAM_OK) {
        return true;
    }
    say(in, UPSTREAM_LOG_ERROR, "", err == NULL ? "no memory" : upstream_error_message(err));
    upstream_error_free(err);
    return false;
}

static bool set_options(struct instance *in, upstream_options_t *options)
{
    if (!set_option(in, options, "deliver.timeout", DELIVER_TIMEOUT)) {
        return false;
    }
    for (size_t i = 0; i < sizeof properties / sizeof *properties; i++) {
        const char *value = in->api->output_get_property(properties[i], in->output);
        if (value != NULL && !set_option(in, options, properties[i], value)) {
            return false;
        }
    }
    return upstream_options_set_logger(options, UPSTREAM_LOG_TRACE, log_line, in) == UPSTREAM_OK;
}

/* PackedForward: the chunk is sent exactly as the agent has it in memory. */
static void use_packed(forward_config *config)
{
    config->packed = true;
}

/* For a tag with `$`, the agent's own plugin makes the tag from the record. This plugin cannot, so
 * it refuses the configuration instead of sending a wrong tag. */
static bool tags_are_plain(const struct instance *in)
{
    for (size_t i = 0; i < upstream_node_count(in->up); i++) {
        const upstream_node_t *node = upstream_node_at(in->up, i);
        const char *tag = upstream_node_get_prop(node, "tag");
        if (tag != NULL && strchr(tag, '$') != NULL) {
            in->api->log_print(UPSTREAM_LOG_ERROR, NULL, 0,
                               "[output:upstream] %s: %s: tag is \"%s\"; this plugin cannot make a "
                               "tag from the record's content: write it without `$`, or leave it "
                               "out",
                               in->name, upstream_node_name(node), tag);
            return false;
        }
    }
    return true;
}

static bool open_set(struct instance *in, const upstream_options_t *options)
{
    upstream_error_t *err = NULL;
    char *message;
    bool done;

    if (upstream_create(in->name, options, &in->up, &err) != UPSTREAM_OK) {
        say(in, UPSTREAM_LOG_ERROR, "", err == NULL ? "no memory" : upstream_error_message(err));
        upstream_error_free(err);
        return false;
    }
    message = calloc(1, FORWARD_REASON_MAX);
    done = message != NULL &&
           forward_prepare(in->up, use_packed, message, FORWARD_REASON_MAX) == UPSTREAM_OK;
    if (!done) {
        say(in, UPSTREAM_LOG_ERROR, "",
            message == NULL || *message == '\0' ? "no memory" : message);
    }
    free(message);
    return done && tags_are_plain(in);
}

static char *copy(const char *text)
{
    size_t size = strlen(text) + 1;
    char *out = malloc(size);
    return out == NULL ? NULL : memcpy(out, text, size);
}

static bool start(struct instance *in)
{
    upstream_options_t *options = NULL;
    const char *file = in->api->output_get_property("upstream", in->output);
    if (file == NULL) {
        in->api->log_print(UPSTREAM_LOG_ERROR, NULL, 0,
                           "[output:upstream] no upstream file is set; add a line \"upstream "
                           "FILE\" to this [OUTPUT]");
        return false;
    }
    in->name = copy(file);
    if (in->name == NULL || upstream_options_create(&options) != UPSTREAM_OK) {
        return false;
    }
    bool done = forward_declare_keys(options) == UPSTREAM_OK && set_options(in, options) &&
                open_set(in, options);
    upstream_options_destroy(options);
    if (done) {
        in->at_most_once =
            !upstream_node_get_prop_bool(upstream_node_at(in->up, 0), "deliver.resend", 1);
    }
    return done;
}

struct instance *instance_create(const struct proxy_plugin *plugin)
{
    struct instance *in = calloc(1, sizeof *in);
    if (in == NULL) {
        return NULL;
    }
    in->api = plugin->api;
    in->output = plugin->instance;
    pthread_mutex_init(&in->lock, NULL);
    pthread_cond_init(&in->idle, NULL);
    if (!start(in)) {
        instance_destroy(in);
        return NULL;
    }
    return in;
}

/*
 * Asks the agent for a retry, with two exceptions: a chunk that no node can ever take, and, with
 * deliver.resend off, a chunk that may have arrived. Why each node failed is in the library's log;
 * the agent itself logs each retry.
 */
static int verdict(const struct instance *in, const forward_delivery *d, upstream_status_t status,
                   const upstream_error_t *err)
{
    const char *why = err == NULL ? d->reason : upstream_error_message(err);
    if (status == UPSTREAM_OK) {
        return PROXY_OK;
    }
    if (status == UPSTREAM_STOP) {
        say(in, UPSTREAM_LOG_ERROR, "a chunk is given up: ", why);
        return PROXY_ERROR;
    }
    if (in->at_most_once && d->may_have_arrived) {
        say(in, UPSTREAM_LOG_ERROR,
            "a chunk is given up, because it may have arrived and deliver.resend is off: ", why);
        return PROXY_ERROR;
    }
    say(in, UPSTREAM_LOG_DEBUG, "no node took a chunk; the agent keeps it for a retry: ", why);
    return PROXY_RETRY;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/*
 * Whether a delivery may begin. If every node stayed silent in SILENCES deliveries in a row, one
 * more would take its whole time only to see that again. Then a single delivery, once a
 * second at most, asks whether a node answers; all other chunks go back to the agent at once.
 * Otherwise an agent that stops would wait the full time for each chunk that is left.
 */
static bool may_ask(struct instance *in, bool *asks)
{
    pthread_mutex_lock(&in->lock);
    bool silent = in->silences >= SILENCES;
    bool may = !silent || (!in->asking && now_ms() >= in->silent_until &&
                           upstream_retry_after_ms(in->up) == 0);
    *asks = silent && may;
    in->asking = in->asking || *asks;
    pthread_mutex_unlock(&in->lock);
    return may;
}

static void has_asked(struct instance *in, bool asks, bool silent)
{
    pthread_mutex_lock(&in->lock);
    in->silences = silent ? in->silences + 1 : 0;
    in->silent_until = now_ms() + SILENT_FOR_MS;
    in->asking = in->asking && !asks;
    pthread_mutex_unlock(&in->lock);
}

static int deliver(struct instance *in, forward_delivery *d)
{
    upstream_error_t *err = NULL;
    bool asks;
    if (!may_ask(in, &asks)) {
        say(in, UPSTREAM_LOG_DEBUG, "",
            "every node is silent: a chunk goes back to the agent untried");
        return PROXY_RETRY;
    }
    upstream_status_t status = upstream_deliver(in->up, forward_deliver_fn, d, 0, &err);
    bool silent = status == UPSTREAM_ERR_TIMEOUT ||
                  (status != UPSTREAM_OK && d->status == UPSTREAM_ERR_TIMEOUT);
    has_asked(in, asks, silent);
    int result = verdict(in, d, status, err);
    upstream_error_free(err);
    return result;
}

static int flush(struct instance *in, const void *events, size_t len, const char *tag)
{
    forward_batch *batch = forward_batch_create(tag);
    forward_delivery *d = calloc(1, sizeof *d);
    int result = PROXY_RETRY;

    if (batch == NULL || d == NULL) {
        say(in, UPSTREAM_LOG_WARN, "", "no memory for a chunk; the agent keeps it for a retry");
    } else if (forward_batch_set_events(batch, events, len) != UPSTREAM_OK) {
        say(in, UPSTREAM_LOG_ERROR, "",
            "a chunk is given up: it holds neither log events nor metrics nor traces");
        result = PROXY_ERROR;
    } else if (forward_batch_count(batch) == 0) {
        result = PROXY_OK;
    } else {
        d->batch = batch;
        result = deliver(in, d);
    }
    free(d);
    forward_batch_destroy(batch);
    return result;
}

int instance_flush(struct instance *in, const void *events, size_t len, const char *tag)
{
    pthread_mutex_lock(&in->lock);
    in->flushing++;
    pthread_mutex_unlock(&in->lock);
    int result = flush(in, events, len, tag);
    pthread_mutex_lock(&in->lock);
    if (--in->flushing == 0) {
        pthread_cond_broadcast(&in->idle);
    }
    pthread_mutex_unlock(&in->lock);
    return result;
}

void instance_destroy(struct instance *in)
{
    if (in == NULL) {
        return;
    }
    upstream_cancel(in->up); /* deliveries under way end within 50 ms */
    pthread_mutex_lock(&in->lock);
    while (in->flushing > 0) {
        pthread_cond_wait(&in->idle, &in->lock);
    }
    pthread_mutex_unlock(&in->lock);
    upstream_destroy(in->up);
    pthread_cond_destroy(&in->idle);
    pthread_mutex_destroy(&in->lock);
    free(in->name);
    free(in);
}
