/*
 * The Forward keys of a node. A wrong value is an error that names its fix. It never silently
 * becomes a default: a mistyped `require_ack_response` would lose records without a word.
 */
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The default of ack_timeout: a quarter of deliver.timeout, so that a node that takes a chunk and
 * then stays silent leaves time for the others; but at most 10 s, which is long for a few bytes.
 */
#define ACK_TIMEOUT_MOST_MS 10000
#define DELIVERY_MS 60000 /* the default of deliver.timeout */

/* Where to report a wrong value. */
typedef struct reader {
    const upstream_node_t *node;
    char *message;
    size_t cap;
} reader;

static bool refuse(const reader *r, const char *format, ...) FORWARD_PRINTF(2, 3);

static bool refuse(const reader *r, const char *format, ...)
{
    if (r->message == NULL || r->cap == 0) {
        return false;
    }
    int at = snprintf(r->message, r->cap, "%s: ", upstream_node_name(r->node));
    if (at >= 0 && (size_t)at < r->cap) {
        va_list args;
        va_start(args, format);
        vsnprintf(r->message + at, r->cap - (size_t)at, format, args);
        va_end(args);
    }
    return false;
}

/* True if `a` is the word `b`, in any case of letters: ASCII only, whatever the host's locale. */
static bool same_word(const char *a, const char *b)
{
    for (; *a != '\0' && *b != '\0'; a++, b++) {
        char x = *a >= 'A' && *a <= 'Z' ? (char)(*a + ('a' - 'A')) : *a;
        if (x != *b) {
            return false;
        }
    }
    return *a == *b;
}

/* A switch that is not set is off. */
static bool read_switch(const reader *r, const char *key, bool *out)
{
    const char *value = upstream_node_get_prop(r->node, key);
    *out = false;
    if (value == NULL || same_word(value, "off") || same_word(value, "false") ||
        same_word(value, "no")) {
        return true;
    }
    if (same_word(value, "on") || same_word(value, "true") || same_word(value, "yes")) {
        *out = true;
        return true;
    }
    return refuse(r, "%s is \"%s\"; set it to on or off", key, value);
}

static bool read_compress(const reader *r, bool *gzip)
{
    const char *value = upstream_node_get_prop(r->node, "compress");
    *gzip = value != NULL && same_word(value, "gzip");
    if (value == NULL || *gzip || same_word(value, "text")) {
        return true;
    }
    return refuse(r, "compress is \"%s\"; set it to text or gzip", value);
}

static bool read_ack_timeout(const reader *r, uint32_t *out)
{
    const char *value = upstream_node_get_prop(r->node, "ack_timeout");
    if (value == NULL) {
        int64_t quarter = upstream_node_get_prop_ms(r->node, "deliver.timeout", DELIVERY_MS) / 4;
        *out = quarter > ACK_TIMEOUT_MOST_MS ? ACK_TIMEOUT_MOST_MS
               : quarter < 1                 ? 1
                                             : (uint32_t)quarter;
        return true;
    }
    int64_t ms = upstream_node_get_prop_ms(r->node, "ack_timeout", -1);
    if (ms < 1 || ms > UINT32_MAX) {
        return refuse(r, "ack_timeout is \"%s\"; set it to a time above 0, as 10s, 500ms or 1m",
                      value);
    }
    *out = (uint32_t)ms;
    return true;
}

static bool read_login(const reader *r, forward_config *c)
{
    bool empty_key;
    if (!read_switch(r, "empty_shared_key", &empty_key)) {
        return false;
    }
    c->shared_key = upstream_node_get_prop(r->node, "shared_key");
    c->username = upstream_node_get_prop(r->node, "username");
    c->password = upstream_node_get_prop(r->node, "password");
    if (c->shared_key != NULL && empty_key) {
        return refuse(r, "shared_key is set and empty_shared_key is on; keep one of the two");
    }
    if (c->username != NULL && c->password == NULL) {
        return refuse(r, "username is set without password; set password as well");
    }
    if (c->password != NULL && c->username == NULL) {
        return refuse(r, "password is set without username; set username as well");
    }
    c->secured = c->shared_key != NULL || empty_key || c->username != NULL;
    if (c->secured && c->shared_key == NULL) {
        c->shared_key = "";
    }
    c->self_hostname = upstream_node_get_prop(r->node, "self_hostname");
    if (c->self_hostname != NULL && c->self_hostname[0] == '\0') {
        return refuse(r, "self_hostname is empty; give it a name, or leave it out");
    }
    return true;
}

upstream_status_t forward_config_from_node(const upstream_node_t *node, forward_config *out,
                                           char *message, size_t cap)
{
    reader r = {node, message, cap};
    forward_config c;

    if (node == NULL || out == NULL) {
        return UPSTREAM_ERR_INVALID_ARG;
    }
    memset(&c, 0, sizeof c);
    c.tag = upstream_node_get_prop(node, "tag");
    if (!read_login(&r, &c) || !read_switch(&r, "time_as_integer", &c.time_as_integer) ||
        !read_switch(&r, "retain_metadata_in_forward_mode", &c.retain_metadata) ||
        !read_switch(&r, "send_options", &c.send_options) ||
        !read_switch(&r, "require_ack_response", &c.require_ack_response) ||
        !read_compress(&r, &c.gzip) || !read_ack_timeout(&r, &c.ack_timeout_ms)) {
        return UPSTREAM_ERR_CONFIG;
    }
    *out = c;
    return UPSTREAM_OK;
}

upstream_status_t forward_declare_keys(upstream_options_t *options)
{
    static const struct {
        const char *key;
        int32_t type;
    } keys[] = {
        {"tag", UPSTREAM_KEY_TEXT},
        {"shared_key", UPSTREAM_KEY_SECRET},
        {"empty_shared_key", UPSTREAM_KEY_BOOL},
        {"username", UPSTREAM_KEY_TEXT},
        {"password", UPSTREAM_KEY_SECRET},
        {"self_hostname", UPSTREAM_KEY_TEXT},
        {"time_as_integer", UPSTREAM_KEY_BOOL},
        {"retain_metadata_in_forward_mode", UPSTREAM_KEY_BOOL},
        {"send_options", UPSTREAM_KEY_BOOL},
        {"require_ack_response", UPSTREAM_KEY_BOOL},
        {"ack_timeout", UPSTREAM_KEY_MS},
        {"compress", UPSTREAM_KEY_TEXT},
    };
    upstream_status_t status = UPSTREAM_OK;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && status == UPSTREAM_OK; i++) {
        status = upstream_options_declare_key(options, keys[i].key, keys[i].type, NULL);
    }
    return status;
}

upstream_status_t forward_prepare(upstream_t *up, void (*adjust)(forward_config *config),
                                  char *message, size_t cap)
{
    if (up == NULL) {
        return UPSTREAM_ERR_INVALID_ARG;
    }
    for (size_t i = 0; i < upstream_node_count(up); i++) {
        upstream_node_t *node = upstream_node_at(up, i);
        forward_config *config = malloc(sizeof *config);
        if (config == NULL) {
            return UPSTREAM_ERR_NO_MEMORY;
        }
        upstream_status_t status = forward_config_from_node(node, config, message, cap);
        if (status == UPSTREAM_OK) {
            if (adjust != NULL) {
                adjust(config);
            }
            status = upstream_node_set_data(node, config, free);
        }
        if (status != UPSTREAM_OK) {
            free(config);
            return status;
        }
    }
    return UPSTREAM_OK;
}
