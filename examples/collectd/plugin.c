/*
 * A write plugin for collectd. Each `<Plugin upstream>` block gets an outbox. The outboxes are made
 * in the init callback and not earlier, because collectd forks into the background before it, and
 * threads and connections do not survive a fork.
 */
#include <stdlib.h>
#include <string.h>

#include <collectd/core/daemon/collectd.h>
#include <collectd/core/daemon/plugin.h>

#include "outbox.h"
#include "record.h"

#define BATCH_RECORDS 512
#define BUFFER_RECORDS 100000
#define FLUSH_INTERVAL TIME_T_TO_CDTIME_T_STATIC(1)
/* Short, because collectd waits for all of its threads when it stops, and they may wait in a
 * delivery. An Option or the upstream file overrides it. */
#define DELIVER_TIMEOUT "5s"

typedef struct block {
    struct block *next;
    char name[32]; /* in collectd's log, and for its callbacks */
    char *file;
    char *tag;
    upstream_options_t *options;
    int batch_records;
    int buffer_records;
    cdtime_t interval;
    outbox *box;
} block;

/* Global, because collectd's configuration callback has no context. */
static block *blocks;

__attribute__((visibility("default"))) void module_register(void);

static void log_line(int32_t level, const char *message, void *ctx)
{
    static const int severities[] = {LOG_ERR, LOG_ERR, LOG_WARNING, LOG_INFO};
    const block *b = ctx;
    int severity = level >= 0 && level <= UPSTREAM_LOG_INFO ? severities[level] : LOG_DEBUG;
    plugin_log(severity, "%s plugin: %s", b->name, message);
}

/* ---- configuration ---- */

static int refuse(const block *b, const oconfig_item_t *item, const char *fix)
{
    plugin_log(LOG_ERR, "%s plugin: %s: %s", b->name, item->key, fix);
    return -1;
}

static int set_option(block *b, const oconfig_item_t *item)
{
    upstream_error_t *err = NULL;
    if (item->values_num != 2 || item->values[0].type != OCONFIG_TYPE_STRING ||
        item->values[1].type != OCONFIG_TYPE_STRING) {
        return refuse(
            b, item, "takes a key and a value, both in quotes: Option \"deliver.timeout\" \"10s\"");
    }
    if (upstream_options_set(b->options, item->values[0].value.string, item->values[1].value.string,
                             &err) == UPSTREAM_OK) {
        return 0;
    }
    int status = refuse(b, item, err == NULL ? "no memory" : upstream_error_message(err));
    upstream_error_free(err);
    return status;
}

static int set_count(const block *b, const oconfig_item_t *item, int *out)
{
    if (cf_util_get_int(item, out) != 0 || *out < 1) {
        return refuse(b, item, "takes a number above 0");
    }
    return 0;
}

static int configure_item(block *b, oconfig_item_t *item)
{
    if (strcasecmp(item->key, "UpstreamFile") == 0) {
        return cf_util_get_string(item, &b->file);
    }
    if (strcasecmp(item->key, "Tag") == 0) {
        return cf_util_get_string(item, &b->tag);
    }
    if (strcasecmp(item->key, "Option") == 0) {
        return set_option(b, item);
    }
    if (strcasecmp(item->key, "BatchSize") == 0) {
        return set_count(b, item, &b->batch_records);
    }
    if (strcasecmp(item->key, "BufferLimit") == 0) {
        return set_count(b, item, &b->buffer_records);
    }
    if (strcasecmp(item->key, "FlushInterval") == 0) {
        return cf_util_get_cdtime(item, &b->interval) == 0 && b->interval > 0
                   ? 0
                   : refuse(b, item, "takes seconds above 0");
    }
    return refuse(b, item,
                  "is not an option of this plugin; the options are UpstreamFile, Tag, Option, "
                  "BatchSize, BufferLimit and FlushInterval");
}

static void block_free(block *b)
{
    outbox_destroy(b->box);
    upstream_options_destroy(b->options);
    free(b->file);
    free(b->tag);
    free(b);
}

static block *block_create(void)
{
    block *b = calloc(1, sizeof *b), **end = &blocks;
    size_t number = 1;
    if (b == NULL) {
        return NULL;
    }
    if (upstream_options_create(&b->options) != UPSTREAM_OK ||
        forward_declare_keys(b->options) != UPSTREAM_OK ||
        upstream_options_set(b->options, "deliver.timeout", DELIVER_TIMEOUT, NULL) != UPSTREAM_OK) {
        block_free(b);
        return NULL;
    }
    for (; *end != NULL; end = &(*end)->next) {
        number++;
    }
    snprintf(b->name, sizeof b->name, number == 1 ? "upstream" : "upstream/%zu", number);
    b->batch_records = BATCH_RECORDS;
    b->buffer_records = BUFFER_RECORDS;
    b->interval = FLUSH_INTERVAL;
    *end = b;
    return b;
}

static outbox *open_outbox(block *b)
{
    const outbox_settings settings = {
        .file = b->file,
        .tag = b->tag == NULL ? "collectd" : b->tag,
        .options = b->options,
        .batch_records = (size_t)b->batch_records,
        .limit_records = (size_t)b->buffer_records,
        .log = log_line,
        .log_ctx = b,
    };
    upstream_options_set_logger(b->options, UPSTREAM_LOG_INFO, log_line, b);
    return outbox_create(&settings);
}

/* Opens an outbox and ends it at once, only to check the upstream file. If the configuration
 * callback fails, collectd does not start; if init fails, it goes on without the plugin. */
static int check(block *b)
{
    outbox *box = open_outbox(b);
    outbox_destroy(box);
    return box == NULL ? -1 : 0;
}

static int configure(oconfig_item_t *config)
{
    block *b = block_create();
    if (b == NULL) {
        return -1;
    }
    for (int i = 0; i < config->children_num; i++) {
        if (configure_item(b, &config->children[i]) != 0) {
            return -1;
        }
    }
    if (b->file == NULL) {
        plugin_log(LOG_ERR, "%s plugin: no upstream file is set; add a line UpstreamFile \"/path\"",
                   b->name);
        return -1;
    }
    if (b->file[0] != '/') {
        plugin_log(LOG_ERR,
                   "%s plugin: UpstreamFile is \"%s\"; set it to an absolute path, because "
                   "collectd changes its directory",
                   b->name, b->file);
        return -1;
    }
    return check(b);
}

/* ---- values ---- */

/* Called by any of collectd's write threads. */
static int write_values(const data_set_t *ds, const value_list_t *vl, user_data_t *data)
{
    const block *b = data->data;
    struct timespec time = CDTIME_T_TO_TIMESPEC(vl->time);
    msgpack_sbuffer record;
    msgpack_sbuffer_init(&record);
    bool added =
        record_pack(&record, ds, vl) && outbox_add(b->box, &time, record.data, record.size);
    msgpack_sbuffer_destroy(&record);
    if (!added) {
        plugin_log(LOG_ERR,
                   "%s plugin: a value of %s/%s could not be stored: no memory, or it does not "
                   "match its type",
                   b->name, vl->plugin, vl->type);
    }
    return added ? 0 : -1;
}

/* Called by a read thread at each interval. Always 0: what could not be sent is in the log, and is
 * not a failure of reading. */
static int flush_in_time(user_data_t *data)
{
    outbox_flush(((block *)data->data)->box, false);
    return 0;
}

/* Called for FLUSH on the command socket, and before collectd stops. */
static int flush_now(cdtime_t timeout, const char *identifier, user_data_t *data)
{
    (void)timeout;
    (void)identifier;
    return outbox_flush(((block *)data->data)->box, true) ? 0 : -1;
}

/* ---- life ---- */

static int start(block *b)
{
    user_data_t data = {b, NULL};
    b->box = open_outbox(b);
    if (b->box == NULL) {
        return -1;
    }
    plugin_register_write(b->name, write_values, &data);
    plugin_register_complex_read("upstream", b->name, flush_in_time, b->interval, &data);
    plugin_register_flush(b->name, flush_now, &data);
    return 0;
}

static int start_all(void)
{
    for (block *b = blocks; b != NULL; b = b->next) {
        if (start(b) != 0) {
            return -1;
        }
    }
    return 0;
}

/* Called after the last callback of any other kind. */
static int stop_all(void)
{
    while (blocks != NULL) {
        block *b = blocks;
        blocks = b->next;
        block_free(b);
    }
    return 0;
}

void module_register(void)
{
    plugin_register_complex_config("upstream", configure);
    plugin_register_init("upstream", start_all);
    plugin_register_shutdown("upstream", stop_all);
}
