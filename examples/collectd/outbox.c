/*
 * Batches are built and queued with the lock held, and delivered without it. A thread that delivers
 * waits for the nodes. So while no node takes anything, only few threads deliver: the batches wait
 * in the queue, and collectd's threads go on.
 */
#define _POSIX_C_SOURCE 200809L

#include "outbox.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* After this time a flush begins no other batch; the next flush goes on. */
#define FLUSH_MS 5000
/* The same for a flush that somebody waits for, while no node takes anything. A node that is back
 * answers faster than that. */
#define FAILING_MS 2000
/* The time of the last flush, when collectd stops. If the nodes take nothing any more, or if
 * collectd's own last flush left something, it counts from when that began. */
#define LAST_FLUSH_MS 10000
/* If deliveries are under way and none has ended well for this long, no other thread joins them. */
#define HELD_UP_MS 3000

typedef struct waiting {
    struct waiting *next;
    forward_batch *batch;
} waiting;

struct outbox {
    upstream_t *up;
    char *tag;
    size_t batch_records;
    size_t limit_records;
    outbox_log_fn log;
    void *log_ctx;
    pthread_mutex_t lock;
    forward_batch *filling; /* the batch that is being filled; NULL until a record comes */
    waiting *first;         /* the queue, the oldest batch first */
    waiting **end;
    size_t records;   /* in the queue */
    bool resend;      /* deliver.resend: send a batch again although it may have arrived */
    unsigned running; /* deliveries under way */
    int64_t moved_ms; /* when a delivery last ended well, or when the first of these began */
    /* Since then no node has taken anything; 0: the last delivery went well. */
    int64_t failing_since_ms;
    /* When the last flush began, if it left something; else 0. */
    int64_t flushing_since_ms;
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void say(const outbox *box, int32_t level, const char *format, ...)
{
    char line[FORWARD_REASON_MAX + 256];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    box->log(level, line, box->log_ctx);
}

static void use_packed(forward_config *config)
{
    config->packed = true;
}

static bool open_set(outbox *box, const outbox_settings *settings)
{
    upstream_error_t *err = NULL;
    char message[FORWARD_REASON_MAX] = "no memory";
    if (upstream_create(settings->file, settings->options, &box->up, &err) != UPSTREAM_OK) {
        say(box, UPSTREAM_LOG_ERROR, "%s", err == NULL ? "no memory" : upstream_error_message(err));
        upstream_error_free(err);
        return false;
    }
    if (forward_prepare(box->up, use_packed, message, sizeof message) != UPSTREAM_OK) {
        say(box, UPSTREAM_LOG_ERROR, "%s: %s", settings->file, message);
        return false;
    }
    box->resend =
        upstream_node_get_prop_bool(upstream_node_at(box->up, 0), "deliver.resend", 1) != 0;
    return true;
}

outbox *outbox_create(const outbox_settings *settings)
{
    outbox *box = calloc(1, sizeof *box);
    if (box == NULL) {
        return NULL;
    }
    box->batch_records = settings->batch_records;
    box->limit_records = settings->limit_records;
    box->log = settings->log;
    box->log_ctx = settings->log_ctx;
    box->end = &box->first;
    pthread_mutex_init(&box->lock, NULL);
    box->tag = strdup(settings->tag);
    if (box->tag == NULL || !open_set(box, settings)) {
        outbox_destroy(box);
        return NULL;
    }
    return box;
}

static void node_failed(const forward_delivery *d, const upstream_node_t *node,
                        upstream_status_t status, const char *reason)
{
    char address[FORWARD_ADDRESS_MAX];
    (void)status;
    forward_format_address(node, address, sizeof(address));
    say(d->user, UPSTREAM_LOG_WARN, "%s (%s): %s", upstream_node_name(node), address, reason);
}

static void give_up(const outbox *box, forward_batch *batch, const char *why)
{
    say(box, UPSTREAM_LOG_ERROR, "%zu values are lost: %s", forward_batch_count(batch), why);
    forward_batch_destroy(batch);
}

/* With deliver.resend off: a node that did not confirm the batch may have it. */
static void give_up_unconfirmed(const outbox *box, forward_batch *batch, const char *why)
{
    say(box, UPSTREAM_LOG_ERROR,
        "%zu values may have arrived and are not sent again, because deliver.resend is off: %s",
        forward_batch_count(batch), why);
    forward_batch_destroy(batch);
}

/* Delivers the batch. Destroys it, unless `*again` says that it must be tried again. UPSTREAM_OK
 * and UPSTREAM_STOP: a node has answered. */
static upstream_status_t deliver(outbox *box, forward_batch *batch, uint32_t timeout_ms,
                                 bool *again)
{
    forward_delivery d = FORWARD_DELIVERY_INIT(batch);
    upstream_error_t *err = NULL;
    d.on_failure = node_failed;
    d.user = box;
    upstream_status_t status = upstream_deliver(box->up, forward_deliver_fn, &d, timeout_ms, &err);
    const char *why = err == NULL ? upstream_status_name(status) : upstream_error_message(err);
    *again = false;
    if (status == UPSTREAM_OK) {
        forward_batch_destroy(batch);
    } else if (status == UPSTREAM_STOP) {
        give_up(box, batch, d.reason);
    } else if (!box->resend && upstream_error_may_have_arrived(err)) {
        give_up_unconfirmed(box, batch, why);
    } else {
        *again = true;
        say(box, UPSTREAM_LOG_WARN, "no node took %zu values; they wait for another try: %s",
            forward_batch_count(batch), why);
    }
    upstream_error_free(err);
    return status;
}

/* With the lock held. */
static waiting *take_first(outbox *box)
{
    waiting *w = box->first;
    if (w != NULL) {
        box->first = w->next;
        box->end = box->first == NULL ? &box->first : box->end;
        box->records -= forward_batch_count(w->batch);
    }
    return w;
}

static waiting *wait_for_another(forward_batch *batch)
{
    waiting *w = malloc(sizeof *w);
    if (w != NULL) {
        w->next = NULL;
        w->batch = batch;
    }
    return w;
}

/* With the lock held. */
static void put_last(outbox *box, waiting *w)
{
    *box->end = w;
    box->end = &w->next;
    box->records += forward_batch_count(w->batch);
}

/* With the lock held: the oldest batch stays the first. */
static void put_first(outbox *box, waiting *w)
{
    w->next = box->first;
    box->first = w;
    box->end = w->next == NULL ? &w->next : box->end;
    box->records += forward_batch_count(w->batch);
}

/* Gives up the oldest batches while more values wait than BufferLimit allows. */
static void keep_to_the_limit(outbox *box)
{
    for (;;) {
        pthread_mutex_lock(&box->lock);
        waiting *w = box->records > box->limit_records ? take_first(box) : NULL;
        pthread_mutex_unlock(&box->lock);
        if (w == NULL) {
            return;
        }
        give_up(box, w->batch, "more values wait than BufferLimit allows");
        free(w);
    }
}

/* With the lock held: puts the batch that is being filled at the end of the queue. */
static void close_batch(outbox *box)
{
    waiting *w = box->filling == NULL ? NULL : wait_for_another(box->filling);
    if (w != NULL) { /* without memory the batch goes on filling */
        box->filling = NULL;
        put_last(box, w);
    }
}

/*
 * With the lock held. False while every node is out. False also while other deliveries get nowhere:
 * this thread would only wait for the same nodes.
 */
static bool worth_a_try(const outbox *box)
{
    if (upstream_retry_after_ms(box->up) > 0) {
        return false;
    }
    return box->running == 0 ||
           (box->failing_since_ms == 0 && now_ms() - box->moved_ms < HELD_UP_MS);
}

/* With the lock held, but not during the delivery: delivers the oldest batch. False: it must wait
 * again. */
static bool send_first(outbox *box, uint32_t timeout_ms)
{
    waiting *w = take_first(box);
    int64_t begun_ms = now_ms();
    if (w == NULL) {
        return true;
    }
    box->moved_ms = box->running++ == 0 ? begun_ms : box->moved_ms;
    pthread_mutex_unlock(&box->lock);
    bool again;
    upstream_status_t status = deliver(box, w->batch, timeout_ms, &again);
    pthread_mutex_lock(&box->lock);
    box->running--;
    if (status == UPSTREAM_OK || status == UPSTREAM_STOP) {
        box->moved_ms = now_ms();
        box->failing_since_ms = 0;
    } else if (box->failing_since_ms == 0) {
        box->failing_since_ms = begun_ms;
    }
    if (again) {
        put_first(box, w);
    } else {
        free(w);
    }
    return !again;
}

/*
 * With the lock held: delivers the queue until `end_ms`, each batch within `most_ms` (0: the
 * configured time). Stops early if worth_a_try() says so; with `last` it tries in any case.
 */
static bool send_what_waits(outbox *box, int64_t end_ms, uint32_t most_ms, bool last)
{
    size_t left = box->records; /* without what other threads add meanwhile */
    while (left > 0 && box->first != NULL) {
        int64_t time_left = end_ms - now_ms();
        size_t count = forward_batch_count(box->first->batch);
        if (time_left <= 0 || (!last && !worth_a_try(box)) ||
            !send_first(box, last ? (uint32_t)time_left : most_ms)) {
            return false;
        }
        left = count > left ? 0 : left - count;
    }
    return true;
}

bool outbox_flush(outbox *box, bool waited_for)
{
    int64_t begun_ms = now_ms();
    pthread_mutex_lock(&box->lock);
    bool hurry = waited_for && box->failing_since_ms != 0;
    close_batch(box);
    bool done = send_what_waits(box, begun_ms + (hurry ? FAILING_MS : FLUSH_MS),
                                hurry ? FAILING_MS : 0, false);
    box->flushing_since_ms = done ? 0 : begun_ms;
    pthread_mutex_unlock(&box->lock);
    keep_to_the_limit(box);
    return done;
}

/* With the lock held. */
static bool append(outbox *box, const struct timespec *time, const void *record, size_t len)
{
    if (box->filling == NULL) {
        box->filling = forward_batch_create(box->tag);
    }
    return box->filling != NULL &&
           forward_batch_append(box->filling, time, record, len) == UPSTREAM_OK;
}

/* With the lock held: sends two batches for each one that was added, so that the queue shrinks. */
static void send_some(outbox *box)
{
    for (int i = 0; i < 2 && box->first != NULL; i++) {
        if (!worth_a_try(box) || !send_first(box, 0)) {
            return;
        }
    }
}

bool outbox_add(outbox *box, const struct timespec *time, const void *record, size_t len)
{
    pthread_mutex_lock(&box->lock);
    bool added = append(box, time, record, len);
    if (added && forward_batch_count(box->filling) >= box->batch_records) {
        close_batch(box);
        send_some(box);
    }
    pthread_mutex_unlock(&box->lock);
    keep_to_the_limit(box);
    return added;
}

/* The last flush, and the message about what is left after it. */
static void flush_for_the_last_time(outbox *box)
{
    int64_t since = now_ms();
    size_t lost = 0;
    /* collectd flushes before it ends the plugins: that flush has used some of the time. */
    if (box->flushing_since_ms != 0) {
        since = box->flushing_since_ms;
    }
    if (box->failing_since_ms != 0 && box->failing_since_ms < since) {
        since = box->failing_since_ms;
    }
    pthread_mutex_lock(&box->lock);
    close_batch(box);
    send_what_waits(box, since + LAST_FLUSH_MS, 0, true);
    pthread_mutex_unlock(&box->lock);
    for (waiting *w; (w = take_first(box)) != NULL; free(w)) {
        lost += forward_batch_count(w->batch);
        forward_batch_destroy(w->batch);
    }
    if (box->filling != NULL) { /* without memory it could not be queued */
        lost += forward_batch_count(box->filling);
        forward_batch_destroy(box->filling);
    }
    if (lost > 0) {
        say(box, UPSTREAM_LOG_ERROR,
            "%zu values are lost: collectd stops, and no node took them in time", lost);
    }
}

void outbox_destroy(outbox *box)
{
    if (box == NULL) {
        return;
    }
    if (box->up != NULL) {
        flush_for_the_last_time(box);
    }
    upstream_destroy(box->up);
    pthread_mutex_destroy(&box->lock);
    free(box->tag);
    free(box);
}
