/* Batches are built and queued under the lock, and delivered without it. */
#define _POSIX_C_SOURCE 200809L

#include "outbox.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Of the last flush, when collectd stops; with it go the seconds in which no node took anything any more. */
#define LAST_FLUSH_MS 10000

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
    forward_batch *filling; /* NULL until a record comes */
    waiting *first;         /* oldest first */
    waiting **end;
    size_t records; /* in `first` and its successors */
    int64_t failing_since_ms; /* since then no node has taken anything; 0 where the last delivery went well */
};

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void say(const outbox *box, int32_t level, const char *format, ...) {
    char line[FORWARD_REASON_MAX + 256];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    box->log(level, line, box->log_ctx);
}

static void use_packed(forward_config *config) {
    config->packed = true;
}

static bool open_set(outbox *box, const outbox_settings *settings) {
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
    return true;
}

outbox *outbox_create(const outbox_settings *settings) {
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

static void node_failed(const forward_delivery *d, const upstream_node_t *node, upstream_status_t status,
                        const char *reason) {
    (void)status;
    say(d->user, UPSTREAM_LOG_WARN, "%s (%s:%u): %s", upstream_node_name(node), upstream_node_host(node),
        (unsigned)upstream_node_port(node), reason);
}

static void give_up(const outbox *box, forward_batch *batch, const char *why) {
    say(box, UPSTREAM_LOG_ERROR, "%zu values are lost: %s", forward_batch_count(batch), why);
    forward_batch_destroy(batch);
}

static void note_outcome(outbox *box, int64_t begun_ms, bool failed) {
    pthread_mutex_lock(&box->lock);
    if (!failed) {
        box->failing_since_ms = 0;
    } else if (box->failing_since_ms == 0) {
        box->failing_since_ms = begun_ms;
    }
    pthread_mutex_unlock(&box->lock);
}

/* Ends the batch, unless it is worth another try. `timeout_ms` 0: the configured one. */
static bool deliver(outbox *box, forward_batch *batch, uint32_t timeout_ms) {
    int64_t begun_ms = now_ms();
    forward_delivery d = FORWARD_DELIVERY_INIT(batch);
    upstream_error_t *err = NULL;
    d.on_failure = node_failed;
    d.user = box;
    upstream_status_t status = upstream_deliver(box->up, forward_deliver_fn, &d, timeout_ms, &err);
    bool done = true;
    note_outcome(box, begun_ms, status != UPSTREAM_OK && status != UPSTREAM_STOP);
    if (status == UPSTREAM_OK) {
        forward_batch_destroy(batch);
    } else if (status == UPSTREAM_STOP) {
        give_up(box, batch, d.reason);
    } else {
        done = false;
        say(box, UPSTREAM_LOG_WARN, "no node took %zu values, which wait for another try: %s", forward_batch_count(batch),
            err == NULL ? upstream_status_name(status) : upstream_error_message(err));
    }
    upstream_error_free(err);
    return done;
}

/* With the lock held. */
static waiting *take_first(outbox *box) {
    waiting *w = box->first;
    if (w != NULL) {
        box->first = w->next;
        box->end = box->first == NULL ? &box->first : box->end;
        box->records -= forward_batch_count(w->batch);
    }
    return w;
}

static waiting *wait_for_another(forward_batch *batch) {
    waiting *w = malloc(sizeof *w);
    if (w != NULL) {
        w->next = NULL;
        w->batch = batch;
    }
    return w;
}

/* With the lock held. */
static void put_last(outbox *box, waiting *w) {
    *box->end = w;
    box->end = &w->next;
    box->records += forward_batch_count(w->batch);
}

/* With the lock held: what came first is retried first. */
static void put_first(outbox *box, waiting *w) {
    w->next = box->first;
    box->first = w;
    box->end = w->next == NULL ? &w->next : box->end;
    box->records += forward_batch_count(w->batch);
}

/* The oldest values go first where more wait than may. */
static void keep_to_the_limit(outbox *box) {
    for (;;) {
        pthread_mutex_lock(&box->lock);
        waiting *w = box->records > box->limit_records ? take_first(box) : NULL;
        pthread_mutex_unlock(&box->lock);
        if (w == NULL) {
            return;
        }
        give_up(box, w->batch, "more would wait than BufferLimit allows");
        free(w);
    }
}

/* With the lock held: the batch so far, if any, to the end of those that wait. */
static void close_batch(outbox *box) {
    waiting *w = box->filling == NULL ? NULL : wait_for_another(box->filling);
    if (w != NULL) { /* without memory it goes on filling */
        box->filling = NULL;
        put_last(box, w);
    }
}

/* How long a delivery may take that ends at `end_ms`; 0 means the configured time, for an end of 0. False once it is over. */
static bool time_left(int64_t end_ms, uint32_t *timeout_ms) {
    int64_t left = end_ms == 0 ? 0 : end_ms - now_ms();
    *timeout_ms = (uint32_t)(left > 0 ? left : 0);
    return end_ms == 0 || left > 0;
}

static bool flush_until(outbox *box, int64_t end_ms) {
    uint32_t timeout_ms;
    bool done = true;
    pthread_mutex_lock(&box->lock);
    close_batch(box);
    size_t left = box->records;
    while (done && left > 0 && box->first != NULL) {
        if (!time_left(end_ms, &timeout_ms)) {
            done = false;
            break;
        }
        waiting *w = take_first(box);
        size_t count = forward_batch_count(w->batch);
        left = count > left ? 0 : left - count; /* not what others add meanwhile */
        pthread_mutex_unlock(&box->lock);
        done = deliver(box, w->batch, timeout_ms);
        pthread_mutex_lock(&box->lock);
        if (done) {
            free(w);
        } else {
            put_first(box, w);
        }
    }
    pthread_mutex_unlock(&box->lock);
    keep_to_the_limit(box);
    return done;
}

bool outbox_flush(outbox *box) {
    return flush_until(box, 0);
}

/* With the lock held. */
static bool append(outbox *box, const struct timespec *time, const void *record, size_t len) {
    if (box->filling == NULL) {
        box->filling = forward_batch_create(box->tag);
    }
    return box->filling != NULL && forward_batch_append(box->filling, time, record, len) == UPSTREAM_OK;
}

bool outbox_add(outbox *box, const struct timespec *time, const void *record, size_t len) {
    waiting *full = NULL;
    pthread_mutex_lock(&box->lock);
    bool added = append(box, time, record, len);
    if (added && forward_batch_count(box->filling) >= box->batch_records) {
        bool others_wait = box->first != NULL;
        close_batch(box);
        /* Where others wait, no node takes anything: the next flush looks, and the write threads go on. */
        full = others_wait ? NULL : take_first(box);
    }
    pthread_mutex_unlock(&box->lock);
    if (full != NULL && !deliver(box, full->batch, 0)) {
        pthread_mutex_lock(&box->lock);
        put_first(box, full);
        pthread_mutex_unlock(&box->lock);
    } else {
        free(full);
    }
    keep_to_the_limit(box);
    return added;
}

/* The last flush, and what is left after it. */
static void flush_for_the_last_time(outbox *box) {
    int64_t since = box->failing_since_ms == 0 ? now_ms() : box->failing_since_ms;
    size_t lost = 0;
    flush_until(box, since + LAST_FLUSH_MS);
    for (waiting *w; (w = take_first(box)) != NULL; free(w)) {
        lost += forward_batch_count(w->batch);
        forward_batch_destroy(w->batch);
    }
    if (box->filling != NULL) { /* there was no memory to close it */
        lost += forward_batch_count(box->filling);
        forward_batch_destroy(box->filling);
    }
    if (lost > 0) {
        say(box, UPSTREAM_LOG_ERROR, "%zu values are lost: collectd stops, and no node took them in time", lost);
    }
}

void outbox_destroy(outbox *box) {
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
