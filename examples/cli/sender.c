/*
 * Lines to batches, batches to nodes. A batch that no node takes is tried again for a bounded time and
 * only then counts as lost; nothing is ever lost without a message.
 */
#include "cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_BYTES ((size_t)4 * 1024 * 1024) /* a batch goes out at this size, whatever its records */
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 2000

static void use_packed(forward_config *config) {
    config->packed = true;
}

static bool load(sender *s) {
    upstream_error_t *err = NULL;
    char message[FORWARD_REASON_MAX] = "no memory";

    upstream_options_set_logger(s->settings->options, s->settings->log_level, report_log, NULL);
    if (upstream_create(s->settings->upstream_file, s->settings->options, &s->up, &err) != UPSTREAM_OK) {
        report(UPSTREAM_LOG_ERROR, "%s", err == NULL ? "the upstream file cannot be loaded" : upstream_error_message(err));
        upstream_error_free(err);
        return false;
    }
    if (forward_prepare(s->up, s->settings->packed ? use_packed : NULL, message, sizeof message) != UPSTREAM_OK) {
        report(UPSTREAM_LOG_ERROR, "%s: %s", s->settings->upstream_file, message);
        return false;
    }
    return true;
}

bool sender_open(sender *s, const settings *set) {
    memset(s, 0, sizeof *s);
    s->settings = set;
    s->flush_at = -1;
    msgpack_sbuffer_init(&s->record);
    if (!load(s)) {
        return false;
    }
    s->tally_count = upstream_node_count(s->up);
    s->tallies = calloc(s->tally_count, sizeof *s->tallies);
    s->batch = forward_batch_create(set->tag);
    if (s->tallies == NULL || s->batch == NULL) {
        report(UPSTREAM_LOG_ERROR, "no memory");
        return false;
    }
    for (size_t i = 0; i < s->tally_count; i++) {
        s->tallies[i].node = upstream_node_at(s->up, i);
    }
    return true;
}

void sender_close(sender *s) {
    msgpack_sbuffer_destroy(&s->record);
    forward_batch_destroy(s->batch);
    free(s->tallies);
    upstream_destroy(s->up);
}

/* {"log": line, and the --field pairs} */
static bool encode(sender *s, const char *line, size_t len) {
    const settings *set = s->settings;
    msgpack_packer pk;

    msgpack_sbuffer_clear(&s->record);
    msgpack_packer_init(&pk, &s->record, msgpack_sbuffer_write);
    return msgpack_pack_map(&pk, 1 + set->field_count) == 0 && msgpack_pack_str(&pk, 3) == 0 &&
           msgpack_pack_str_body(&pk, "log", 3) == 0 && msgpack_pack_str(&pk, len) == 0 &&
           msgpack_pack_str_body(&pk, line, len) == 0 &&
           (set->fields.size == 0 || msgpack_sbuffer_write(&s->record, set->fields.data, set->fields.size) == 0);
}

void sender_add(sender *s, const char *line, size_t len) {
    struct timespec now;
    upstream_status_t status = UPSTREAM_ERR_NO_MEMORY;

    s->counts.read++;
    clock_gettime(CLOCK_REALTIME, &now);
    if (encode(s, line, len)) {
        status = forward_batch_append(s->batch, &now, s->record.data, s->record.size);
    }
    if (status != UPSTREAM_OK) {
        s->counts.lost++;
        report(UPSTREAM_LOG_ERROR, "a line of %zu bytes could not be taken up: %s", len, upstream_status_name(status));
        return;
    }
    if (s->flush_at < 0) {
        s->flush_at = clock_ms() + s->settings->flush_ms;
    }
    if (forward_batch_count(s->batch) >= s->settings->batch_records || forward_batch_bytes(s->batch) >= BATCH_BYTES) {
        sender_flush(s);
    }
}

static void note_failure(const forward_delivery *d, const upstream_node_t *node, upstream_status_t status,
                         const char *reason) {
    (void)d;
    char message[FORWARD_REASON_MAX + 400];
    snprintf(message, sizeof message, "%s (%s:%u): %s (%s)", upstream_node_name(node), upstream_node_host(node),
             (unsigned)upstream_node_port(node), reason, upstream_status_name(status));
    report_log(UPSTREAM_LOG_WARN, message, NULL);
}

static void note_success(sender *s, const forward_delivery *d) {
    size_t count = forward_batch_count(s->batch);
    s->counts.delivered += count;
    for (size_t i = 0; i < s->tally_count; i++) {
        if (s->tallies[i].node == d->node) {
            s->tallies[i].records += count;
            s->tallies[i].bytes += d->bytes;
            memcpy(s->tallies[i].tls_version, d->tls_version, sizeof d->tls_version);
        }
    }
}

/* One round over the nodes. `why` tells of a failure. */
static upstream_status_t try_once(sender *s, char *why, size_t cap) {
    forward_delivery d = FORWARD_DELIVERY_INIT(s->batch);
    upstream_error_t *err = NULL;

    d.on_failure = note_failure;
    upstream_status_t status = upstream_deliver(s->up, forward_deliver_fn, &d, 0, &err);
    if (status == UPSTREAM_OK) {
        note_success(s, &d);
    } else if (status == UPSTREAM_STOP) {
        snprintf(why, cap, "%s", d.reason);
    } else {
        const char *message = err == NULL ? upstream_status_name(status) : upstream_error_message(err);
        snprintf(why, cap, "%s%s%s", message, d.failures > 0 ? ": " : "", d.reason);
    }
    upstream_error_free(err);
    return status;
}

/* Whether another round may end better: not where the fault is in the program or the batch. */
static bool may_retry(upstream_status_t status) {
    return status <= UPSTREAM_ERR_NO_NODE;
}

void sender_flush(sender *s) {
    const settings *set = s->settings;
    int64_t give_up_at = clock_ms() + set->retry_for_ms;
    int64_t backoff = BACKOFF_FIRST_MS;
    char why[1024];

    s->flush_at = -1;
    if (forward_batch_count(s->batch) == 0) {
        return;
    }
    upstream_status_t status = try_once(s, why, sizeof why);
    for (int64_t retry = 0; status != UPSTREAM_OK; retry++) {
        bool last = stop_requested(); /* then it gets one more chance, and no wait */
        if (!may_retry(status) || (set->retries >= 0 && retry >= set->retries) || clock_ms() + backoff > give_up_at) {
            break;
        }
        report(UPSTREAM_LOG_INFO, "no node took the batch, trying again in %" PRId64 " ms: %s", backoff, why);
        wait_readable(-1, clock_ms() + backoff);
        backoff = 2 * backoff > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : 2 * backoff;
        status = try_once(s, why, sizeof why);
        if (last) {
            break;
        }
    }
    if (status != UPSTREAM_OK) {
        s->counts.lost += forward_batch_count(s->batch);
        report(UPSTREAM_LOG_ERROR, "%zu records not delivered: %s", forward_batch_count(s->batch), why);
    }
    forward_batch_clear(s->batch);
    report_progress(&s->counts);
}

static const char *tls_column(const tally *t) {
    if (!upstream_node_tls(t->node)) {
        return "off";
    }
    return t->tls_version[0] == '\0' ? "on" : t->tls_version;
}

static void format_address(const upstream_node_t *node, char *out, size_t cap) {
    const char *host = upstream_node_host(node);
    bool v6 = strchr(host, ':') != NULL && host[0] != '[';
    snprintf(out, cap, v6 ? "[%s]:%u" : "%s:%u", host, (unsigned)upstream_node_port(node));
}

void sender_print_table(const sender *s) {
    static const char head[] = "%-*s  %-*s  %10s  %12s  %11s  %-7s  %8s\n";
    static const char row[] = "%-*s  %-*s  %10" PRIu64 "  %12" PRIu64 "  %11" PRIu64 "  %-7s  %8" PRIu64 "\n";
    char address[300];
    int name_width = 4, address_width = 7;

    for (size_t i = 0; i < s->tally_count; i++) {
        int n = (int)strlen(upstream_node_name(s->tallies[i].node));
        format_address(s->tallies[i].node, address, sizeof address);
        name_width = n > name_width ? n : name_width;
        n = (int)strlen(address);
        address_width = n > address_width ? n : address_width;
    }
    printf(head, name_width, "NODE", address_width, "ADDRESS", "RECORDS", "BYTES", "CONNECTIONS", "TLS", "FAILURES");
    for (size_t i = 0; i < s->tally_count; i++) {
        const tally *t = &s->tallies[i];
        upstream_stats_t stats = UPSTREAM_STATS_INIT;
        upstream_node_stats(t->node, &stats);
        format_address(t->node, address, sizeof address);
        printf(row, name_width, upstream_node_name(t->node), address_width, address, t->records, t->bytes, stats.connects,
               tls_column(t), stats.deliveries_failed);
    }
}
