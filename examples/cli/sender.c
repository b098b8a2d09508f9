/*
 * Puts lines into batches and sends the batches to nodes. A batch that no node takes is retried for
 * --retry-for seconds and then given up, always with a message. With `deliver.resend off` a batch
 * is not retried once a node may have bytes of it: the records could arrive twice.
 */
#include "cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A batch of this size is sent, however few records it has. */
#define BATCH_BYTES ((size_t)4 * 1024 * 1024)
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 2000

static void use_packed(forward_config *config)
{
    config->packed = true;
}

static void use_no_acks(forward_config *config)
{
    config->require_ack_response = false;
}

static void use_packed_and_no_acks(forward_config *config)
{
    use_packed(config);
    use_no_acks(config);
}

static bool load(sender *s)
{
    upstream_error_t *err = NULL;
    char message[FORWARD_REASON_MAX] = "no memory";
    void (*const adjust[])(forward_config *) = {NULL, use_packed, use_no_acks,
                                                use_packed_and_no_acks};

    upstream_options_set_logger(s->settings->options, s->settings->log_level, report_log, NULL);
    if (upstream_create(s->settings->upstream_file, s->settings->options, &s->up, &err) !=
        UPSTREAM_OK) {
        report(UPSTREAM_LOG_ERROR, "%s", err == NULL ? "no memory" : upstream_error_message(err));
        upstream_error_free(err);
        return false;
    }
    if (forward_prepare(s->up, adjust[s->settings->packed + 2 * s->settings->no_acks], message,
                        sizeof message) != UPSTREAM_OK) {
        report(UPSTREAM_LOG_ERROR, "%s: %s", s->settings->upstream_file, message);
        return false;
    }
    return true;
}

bool sender_open(sender *s, const settings *set)
{
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
        tally *t = &s->tallies[i];
        t->node = upstream_node_at(s->up, i);
        const forward_config *config = upstream_node_get_data(t->node);
        t->acks = config != NULL && config->require_ack_response;
        s->counts.acks = s->counts.acks || t->acks;
        s->counts.no_acks = s->counts.no_acks || !t->acks;
    }
    s->resend = upstream_node_get_prop_bool(upstream_node_at(s->up, 0), "deliver.resend", 1) != 0;
    stop_cancels(s->up);
    return true;
}

void sender_close(sender *s)
{
    stop_cancels(NULL);
    msgpack_sbuffer_destroy(&s->record);
    forward_batch_destroy(s->batch);
    free(s->tallies);
    upstream_destroy(s->up);
}

/* {"log": line, and the --field pairs} */
static bool encode(sender *s, const char *line, size_t len)
{
    const settings *set = s->settings;
    msgpack_packer pk;

    msgpack_sbuffer_clear(&s->record);
    msgpack_packer_init(&pk, &s->record, msgpack_sbuffer_write);
    return msgpack_pack_map(&pk, 1 + set->field_count) == 0 && msgpack_pack_str(&pk, 3) == 0 &&
           msgpack_pack_str_body(&pk, "log", 3) == 0 && msgpack_pack_str(&pk, len) == 0 &&
           msgpack_pack_str_body(&pk, line, len) == 0 &&
           (set->fields.size == 0 ||
            msgpack_sbuffer_write(&s->record, set->fields.data, set->fields.size) == 0);
}

void sender_add(sender *s, const char *line, size_t len)
{
    struct timespec now;
    upstream_status_t status = UPSTREAM_ERR_NO_MEMORY;

    s->counts.read++;
    clock_gettime(CLOCK_REALTIME, &now);
    if (encode(s, line, len)) {
        status = forward_batch_append(s->batch, &now, s->record.data, s->record.size);
    }
    if (status != UPSTREAM_OK) {
        s->counts.lost++;
        report(UPSTREAM_LOG_ERROR, "a line of %zu bytes could not be added to a batch: %s", len,
               upstream_status_name(status));
        return;
    }
    if (s->flush_at < 0) {
        s->flush_at = clock_ms() + s->settings->flush_ms;
    }
    if (forward_batch_count(s->batch) >= s->settings->batch_records ||
        forward_batch_bytes(s->batch) >= BATCH_BYTES) {
        sender_flush(s);
    }
}

static void note_failure(const forward_delivery *d, const upstream_node_t *node,
                         upstream_status_t status, const char *reason)
{
    (void)d;
    char address[FORWARD_ADDRESS_MAX], message[FORWARD_REASON_MAX + sizeof address + 100];
    forward_format_address(node, address, sizeof address);
    snprintf(message, sizeof message, "%s (%s): %s (%s)", upstream_node_name(node), address, reason,
             upstream_status_name(status));
    report_log(UPSTREAM_LOG_WARN, message, NULL);
}

static void note_success(sender *s, const forward_delivery *d)
{
    size_t count = forward_batch_count(s->batch);
    for (size_t i = 0; i < s->tally_count; i++) {
        tally *t = &s->tallies[i];
        if (t->node == d->node) {
            *(t->acks ? &s->counts.delivered : &s->counts.sent) += count;
            t->records += count;
            t->bytes += d->bytes;
            memcpy(t->tls_version, d->tls_version, sizeof d->tls_version);
        }
    }
}

/* How the tries of a batch went so far. */
typedef struct trial {
    upstream_status_t status;
    bool may_be_there; /* some node got bytes of it and did not confirm them */
    char why[1024];
} trial;

/* One upstream_deliver(): it goes from node to node by itself. */
static void try_once(sender *s, trial *t)
{
    forward_delivery d = FORWARD_DELIVERY_INIT(s->batch);
    upstream_error_t *err = NULL;

    d.on_failure = note_failure;
    t->status = upstream_deliver(s->up, forward_deliver_fn, &d, 0, &err);
    if (t->status == UPSTREAM_OK) {
        note_success(s, &d);
    } else if (t->status == UPSTREAM_STOP) {
        snprintf(t->why, sizeof t->why, "%s", d.reason);
    } else {
        const char *message =
            err == NULL ? upstream_status_name(t->status) : upstream_error_message(err);
        snprintf(t->why, sizeof t->why, "%s%s%s", message, d.failures > 0 ? ": " : "", d.reason);
        t->may_be_there = t->may_be_there || upstream_error_may_have_arrived(err);
    }
    upstream_error_free(err);
}

/* True if a retry is allowed and may succeed. */
static bool may_retry(const sender *s, const trial *t)
{
    /* UPSTREAM_STOP, or an error of the program itself: no node can help. */
    bool fault_of_the_batch = t->status > UPSTREAM_ERR_NO_NODE;
    return t->status != UPSTREAM_OK && !fault_of_the_batch && stop_asked() < STOP_SENDING &&
           (s->resend || !t->may_be_there);
}

/* Waits until some node may be tried again, at least `backoff`, but not beyond `give_up_at`. */
static void pause_before_retry(const sender *s, const trial *t, int64_t backoff, int64_t give_up_at)
{
    int64_t now = clock_ms(), due = upstream_retry_after_ms(s->up);
    int64_t until = now + (due > backoff ? due : backoff);
    until = until < give_up_at ? until : give_up_at;
    report(UPSTREAM_LOG_INFO, "no node took the batch, trying again in %" PRId64 " ms: %s",
           until - now, t->why);
    wait_to_send(until);
}

static void try_again(sender *s, trial *t)
{
    const settings *set = s->settings;
    int64_t give_up_at = clock_ms() + set->retry_for_ms;
    int64_t backoff = BACKOFF_FIRST_MS;

    for (int64_t retry = 0; may_retry(s, t) && (set->retries < 0 || retry < set->retries);
         retry++) {
        if (clock_ms() >= give_up_at) {
            return;
        }
        pause_before_retry(s, t, backoff, give_up_at);
        backoff = 2 * backoff > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : 2 * backoff;
        if (stop_asked() == STOP_SENDING) {
            return;
        }
        try_once(s, t);
    }
}

static void note_given_up(sender *s, const trial *t)
{
    size_t count = forward_batch_count(s->batch);
    if (t->may_be_there) {
        s->counts.may_be_there += count;
        report(UPSTREAM_LOG_ERROR, "%zu records were not acknowledged and may have arrived: %s",
               count, t->why);
    } else if (stop_asked() == STOP_SENDING) {
        s->counts.not_sent += count;
    } else {
        s->counts.lost += count;
        report(UPSTREAM_LOG_ERROR, "%zu records not delivered: %s", count, t->why);
    }
}

void sender_flush(sender *s)
{
    trial t = {UPSTREAM_ERR_CANCELLED, false, ""};

    s->flush_at = -1;
    if (forward_batch_count(s->batch) == 0) {
        return;
    }
    if (stop_asked() < STOP_SENDING) {
        try_once(s, &t);
        try_again(s, &t);
    }
    if (t.status != UPSTREAM_OK) {
        note_given_up(s, &t);
    }
    forward_batch_clear(s->batch);
    report_progress(&s->counts);
}

static const char *tls_column(const tally *t)
{
    if (!upstream_node_tls(t->node)) {
        return "off";
    }
    return t->tls_version[0] == '\0' ? "on" : t->tls_version;
}

void sender_print_table(const sender *s, FILE *out)
{
    static const char head[] = "%-*s  %-*s  %9s  %11s  %11s  %-7s  %8s\n";
    static const char row[] =
        "%-*s  %-*s  %9" PRIu64 "  %11" PRIu64 "  %11" PRIu64 "  %-7s  %8" PRIu64 "\n";
    char address[FORWARD_ADDRESS_MAX];
    int name_width = 4, address_width = 7;

    for (size_t i = 0; i < s->tally_count; i++) {
        int n = (int)strlen(upstream_node_name(s->tallies[i].node));
        forward_format_address(s->tallies[i].node, address, sizeof address);
        name_width = n > name_width ? n : name_width;
        n = (int)strlen(address);
        address_width = n > address_width ? n : address_width;
    }
    fprintf(out, head, name_width, "NODE", address_width, "ADDRESS", "RECORDS", "BYTES",
            "CONNECTIONS", "TLS", "FAILURES");
    for (size_t i = 0; i < s->tally_count; i++) {
        const tally *t = &s->tallies[i];
        upstream_stats_t stats = UPSTREAM_STATS_INIT;
        upstream_node_stats(t->node, &stats);
        forward_format_address(t->node, address, sizeof address);
        fprintf(out, row, name_width, upstream_node_name(t->node), address_width, address,
                t->records, t->bytes, stats.connects, tls_column(t), stats.deliveries_failed);
    }
}
