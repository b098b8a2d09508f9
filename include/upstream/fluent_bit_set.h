/**
 * @file
 *
 * A part of upstream/fluent_bit.h: do not include it yourself.
 *
 * It makes the library's set of nodes for a set that the agent has read from the same file.
 */
#ifndef UPSTREAM_FLUENT_BIT_SET_H
#define UPSTREAM_FLUENT_BIT_SET_H

#include <fluent-bit/flb_info.h>
#include <fluent-bit/flb_config.h>
#include <fluent-bit/flb_log.h>
#include <fluent-bit/flb_upstream.h>
#include <fluent-bit/flb_upstream_ha.h>
#include <fluent-bit/flb_upstream_node.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <upstream/upstream.h>

/** @cond INSIDE */

/* The library and the agent number their log levels alike. */
static inline void upstream_flb_log(int32_t level, const char *message, void *ctx)
{
    (void)ctx;
    if (flb_log_check(level)) {
        flb_log_print(level, NULL, 0, "[upstream] %s", message);
    }
}

/*
 * Attaches each of the agent's nodes to the library's: 1, or 0 if they are not the same ones in the
 * same order.
 */
static inline int upstream_flb_bind(upstream_t *up, struct flb_upstream_ha *ha)
{
    struct mk_list *head;
    size_t place = 0;
    mk_list_foreach (head, &ha->nodes) {
        struct flb_upstream_node *node = mk_list_entry(head, struct flb_upstream_node, _head);
        upstream_node_t *own = upstream_node_at(up, place++);
        if (own == NULL || strcmp(upstream_node_name(own), node->name) != 0) {
            return 0;
        }
        upstream_node_set_data(own, node, NULL);
    }
    return place == upstream_node_count(up);
}

/*
 * The file that the agent found under this name, by its own rule: `path` as it is, else in the
 * folder of the configuration.
 */
static inline const char *upstream_flb_path(const char *path, const struct flb_config *config,
                                            char *buffer, size_t size)
{
    struct stat st;
    if (stat(path, &st) == 0 || path[0] == '/' || config->conf_path == NULL) {
        return path;
    }
    snprintf(buffer, size, "%s%s", config->conf_path, path);
    return buffer;
}

/* The library's default of net.io_timeout. The agent's is for ever. */
#define UPSTREAM_FLB_IO_TIMEOUT_SECONDS 60

/*
 * Limits the silence of a node: to net.io_timeout of the upstream file, else that of the output,
 * else the library's default. In the agent the limit holds for all connections of `u`, also the
 * kept ones, and is checked every 1.5 seconds.
 */
static inline void upstream_flb_bound_silence(struct flb_upstream *u, const upstream_node_t *own)
{
    int64_t ms = upstream_node_get_prop_ms(own, "net.io_timeout", 0);
    if (ms > 0) {
        ms = ms / 1000 + (ms % 1000 > 0); /* the agent counts seconds, and 0 is for ever */
        u->base.net.io_timeout = ms < INT_MAX ? (int)ms : INT_MAX;
    } else if (u->base.net.io_timeout <= 0) {
        u->base.net.io_timeout = UPSTREAM_FLB_IO_TIMEOUT_SECONDS;
    }
}

/* The same for the node of `u`; if that is NULL, for all nodes of the set. */
static inline void upstream_flb_bound_silence_of(upstream_t *up, const struct flb_upstream *u)
{
    size_t place;
    for (place = 0; place < upstream_node_count(up); place++) {
        upstream_node_t *own = upstream_node_at(up, place);
        struct flb_upstream_node *node = upstream_node_get_data(own);
        if (u == NULL || node->u == u) {
            upstream_flb_bound_silence(node->u, own);
        }
    }
}

/* A set of the nodes that the agent has read, with those of their keys that the library needs. */
static inline upstream_status_t upstream_flb_create_from_nodes(struct flb_upstream_ha *ha,
                                                               const upstream_options_t *options,
                                                               upstream_t **up,
                                                               upstream_error_t **err)
{
    static const char *const keys[] = {"weight",         "priority",           "health.max_fails",
                                       "health.backoff", "health.backoff_max", "net.io_timeout"};
    upstream_status_t status = UPSTREAM_ERR_NO_MEMORY;
    struct mk_list *head;
    char *text = NULL;
    size_t len = 0, i;
    FILE *out = open_memstream(&text, &len);
    if (out == NULL) {
        return status;
    }
    fprintf(out, "[UPSTREAM]\n    name %s\n", ha->name);
    mk_list_foreach (head, &ha->nodes) {
        struct flb_upstream_node *node = mk_list_entry(head, struct flb_upstream_node, _head);
        fprintf(out, "[NODE]\n    name %s\n    host %s\n    port %s\n", node->name, node->host,
                node->port);
        for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
            const char *value = flb_upstream_node_get_property(keys[i], node);
            /* 0 is for ever to the agent, but no time at all to the library. */
            if (value != NULL && (strcmp(keys[i], "net.io_timeout") != 0 || atoi(value) > 0)) {
                fprintf(out, "    %s %s\n", keys[i], value);
            }
        }
    }
    if (fclose(out) == 0) {
        status = upstream_create_from_text(text, len, "the agent's nodes", options, up, err);
    }
    free(text);
    return status;
}

/* The library's set for the agent's; NULL if there can be none, and the agent's order stays. */
static inline upstream_t *upstream_flb_create(struct flb_upstream_ha *ha, const char *file,
                                              struct flb_config *config)
{
    char buffer[PATH_MAX + 1];
    const char *path = upstream_flb_path(file, config, buffer, sizeof(buffer));
    upstream_options_t *options = NULL;
    upstream_error_t *err = NULL;
    upstream_t *up = NULL;
    if (upstream_options_create(&options) == UPSTREAM_OK) {
        upstream_options_set_logger(options, UPSTREAM_LOG_INFO, upstream_flb_log, NULL);
    }
    if (upstream_create(path, options, &up, &err) == UPSTREAM_OK && !upstream_flb_bind(up, ha)) {
        upstream_destroy(up);
        up = NULL;
    }
    if (up == NULL) {
        flb_warn("[upstream] %s; balancing the nodes of %s as the agent read them",
                 err != NULL ? upstream_error_message(err) : "the agent reads it differently",
                 path);
        upstream_error_free(err);
        err = NULL;
        if (upstream_flb_create_from_nodes(ha, options, &up, &err) == UPSTREAM_OK &&
            !upstream_flb_bind(up, ha)) {
            upstream_destroy(up);
            up = NULL;
        }
    }
    if (up == NULL) {
        flb_error("[upstream] %s: %s; the order stays the agent's own", path,
                  err != NULL ? upstream_error_message(err) : "the nodes cannot be told apart");
    }
    upstream_error_free(err);
    upstream_options_destroy(options);
    return up;
}

/** @endcond */

#endif
