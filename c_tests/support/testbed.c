/* See testbed.h. */
#define _GNU_SOURCE
#include "testbed.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define LOCAL "127.0.0.1"

/* One record, as its sender saw it. */
struct entry {
    _Atomic unsigned char written; /* attempts that wrote it; saturates */
    _Atomic unsigned char acknowledged;
};

struct books {
    atomic_size_t next; /* record */
    pthread_mutex_t lock;
    char violation[2048]; /* the first */
    char last_error[2048];
    struct entry entries[TESTBED_RECORDS];
};

struct payload {
    struct testbed *bed;
    size_t first, records;
    uint64_t *numbers, *answers;
};

long testbed_patience_ms(void)
{
    return check_slow() ? 50000 : 5000;
}

void testbed_wait_descriptors(size_t most)
{
    long until = check_now_ms() + testbed_patience_ms();
    size_t open;
    while ((open = descriptors_open()) > most) {
        if (check_now_ms() > until) {
            fail_msg("%zu descriptors are open, and should be %zu at most", open, most);
        }
        usleep(1000);
    }
}

/* Notes what did not hold; testbed_close() reports the first of these. */
__attribute__((format(printf, 2, 3))) static void violated(struct testbed *bed, const char *format,
                                                           ...)
{
    struct books *books = bed->books;
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&books->lock);
    if (books->violation[0] == '\0') {
        vsnprintf(books->violation, sizeof(books->violation), format, arguments);
    }
    pthread_mutex_unlock(&books->lock);
    va_end(arguments);
}

static char *text_of(const struct testbed *bed, const char *keys, const struct testbed_node *nodes)
{
    char *text = NULL;
    size_t size, i;
    FILE *file = open_memstream(&text, &size);
    assert_non_null(file);
    fprintf(file, "[UPSTREAM]\nname test\n%s\n", keys);
    for (i = 0; i < bed->nodes; i++) {
        fprintf(file, "[NODE]\nname node-%zu\nhost %s\nport %u\n%s\n", i + 1,
                nodes[i].host != NULL ? nodes[i].host : LOCAL,
                (unsigned)proxy_port(bed->proxies[i]), nodes[i].keys != NULL ? nodes[i].keys : "");
    }
    fclose(file);
    return text;
}

void testbed_open(struct testbed *bed, size_t count, const char *keys,
                  const struct testbed_node *nodes, const upstream_options_t *options)
{
    static const struct testbed_node plain[TESTBED_NODES];
    char *text;
    size_t i;
    assert_in_range(count, 1, TESTBED_NODES);
    nodes = nodes != NULL ? nodes : plain;
    /* a write that raised it would end this program */
    assert_true(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    memset(bed, 0, sizeof(*bed));
    bed->descriptors = descriptors_open();
    bed->nodes = count;
    bed->ledger = ledger_create(TESTBED_RECORDS);
    bed->books = calloc(1, sizeof(*bed->books));
    assert_non_null(bed->books);
    pthread_mutex_init(&bed->books->lock, NULL);
    for (i = 0; i < count; i++) {
        uint16_t receiver = nodes[i].receiver;
        if (receiver == 0) {
            bed->counters[i] =
                nodes[i].mute ? counter_start_mute(bed->ledger) : counter_start(bed->ledger);
            receiver = counter_port(bed->counters[i]);
        }
        bed->proxies[i] = proxy_start(nodes[i].address != NULL ? nodes[i].address : LOCAL, receiver,
                                      nodes[i].narrow);
    }
    text = text_of(bed, keys, nodes);
    bed->up = check_create(text, options);
    free(text);
}

static upstream_status_t write_all(struct testbed *bed, upstream_conn_t *conn, const void *data,
                                   size_t size)
{
    return bed->loop != NULL ? event_loop_write(bed->loop, conn, data, size)
                             : upstream_conn_write(conn, data, size);
}

static upstream_status_t read_all(struct testbed *bed, upstream_conn_t *conn, void *data,
                                  size_t size)
{
    return bed->loop != NULL ? event_loop_read(bed->loop, conn, data, size)
                             : upstream_conn_read_exact(conn, data, size);
}

/* Records of eight bytes, each of which is answered with itself once the receiver has marked it. */
static upstream_status_t send_payload(upstream_conn_t *conn, void *ctx)
{
    struct payload *payload = ctx;
    size_t size = payload->records * sizeof(uint64_t), i;
    upstream_status_t status = write_all(payload->bed, conn, payload->numbers, size);
    if (status != UPSTREAM_OK && payload->records == 1) {
        return status; /* so few bytes go at once or not at all; of more some may have gone */
    }
    for (i = 0; i < payload->records; i++) {
        _Atomic unsigned char *written = &payload->bed->books->entries[payload->first + i].written;
        if (atomic_load(written) < 2) {
            atomic_fetch_add(written, 1);
        }
    }
    if (status == UPSTREAM_OK) {
        status = read_all(payload->bed, conn, payload->answers, size);
    }
    if (status == UPSTREAM_OK && memcmp(payload->numbers, payload->answers, size) != 0) {
        status = UPSTREAM_ERR_PROTOCOL;
    }
    return status;
}

/* As upstream_deliver(), from an event loop: a node that failed is reported and the next one asked;
 * a kept connection that turns out dead says nothing about its node, which is asked again. */
static upstream_status_t send_by_loop(struct testbed *bed, struct payload *payload)
{
    upstream_status_t status = UPSTREAM_ERR_NO_NODE;
    upstream_node_t *again = NULL;
    size_t turns;
    for (turns = 0; turns < 2 * bed->nodes; turns++) {
        upstream_conn_t *conn = NULL;
        int stale;
        status = again != NULL ? upstream_node_connect_start(again, &conn, NULL)
                               : upstream_connect_start(bed->up, &conn, NULL);
        if (conn == NULL) {
            break;
        }
        status = event_loop_connect(bed->loop, conn, status);
        if (status != UPSTREAM_OK) {
            event_loop_leave(bed->loop);
            upstream_conn_discard(conn);
            break;
        }
        status = send_payload(conn, payload);
        status = status == UPSTREAM_EOF ? UPSTREAM_ERR_CLOSED : status;
        stale = upstream_conn_reused(conn) &&
                (status == UPSTREAM_ERR_CLOSED || status == UPSTREAM_ERR_NETWORK);
        again = stale ? upstream_conn_node(conn) : NULL;
        if (!stale) {
            upstream_node_report(upstream_conn_node(conn), status);
        }
        event_loop_leave(bed->loop);
        if (status == UPSTREAM_OK) {
            upstream_conn_release(conn);
            break;
        }
        upstream_conn_discard(conn);
    }
    return status;
}

upstream_status_t testbed_deliver(struct testbed *bed, size_t records, uint32_t timeout_ms)
{
    size_t first = atomic_fetch_add(&bed->books->next, records), i;
    struct payload payload = {bed, first, records, NULL, NULL};
    upstream_error_t *err = NULL;
    upstream_status_t status;
    long begun = check_now_ms(), took;
    if (first + records > TESTBED_RECORDS) {
        violated(bed, "more records than the books have room for");
        return UPSTREAM_ERR_LIMIT;
    }
    payload.numbers = malloc(records * sizeof(uint64_t));
    payload.answers = malloc(records * sizeof(uint64_t));
    for (i = 0; i < records; i++) {
        payload.numbers[i] = first + i;
    }
    status = bed->loop != NULL
                 ? send_by_loop(bed, &payload)
                 : upstream_deliver(bed->up, send_payload, &payload, timeout_ms, &err);
    took = check_now_ms() - begun;
    if (took > (timeout_ms > 0 ? (long)timeout_ms : 60000) + testbed_patience_ms()) {
        violated(bed, "a delivery with %u ms took %ld ms", timeout_ms, took);
    }
    if (bed->loop == NULL && (status == UPSTREAM_OK) != (err == NULL)) {
        violated(bed, "%s, and the error says: %s", upstream_status_name(status),
                 upstream_error_message(err));
    }
    for (i = first; i < first + records && status == UPSTREAM_OK; i++) {
        atomic_store(&bed->books->entries[i].acknowledged, 1);
        if (ledger_times(bed->ledger, i) == 0) {
            violated(bed, "record %zu was acknowledged, and no receiver has it", i);
        }
    }
    if (err != NULL) {
        pthread_mutex_lock(&bed->books->lock);
        snprintf(bed->books->last_error, sizeof(bed->books->last_error), "%s",
                 upstream_error_message(err));
        pthread_mutex_unlock(&bed->books->lock);
    }
    upstream_error_free(err);
    free(payload.numbers);
    free(payload.answers);
    return status;
}

void testbed_deliver_each(struct testbed *bed, size_t times)
{
    while (times-- > 0) {
        upstream_status_t status = testbed_deliver(bed, 1, 0);
        if (status != UPSTREAM_OK) {
            fail_msg("%s: %s", upstream_status_name(status), testbed_last_error(bed));
        }
    }
}

void testbed_shares_are_even(struct testbed *bed, unsigned nodes, size_t rounds)
{
    uint64_t before[TESTBED_NODES], had;
    size_t i, members = 0;
    for (i = 0; i < bed->nodes; i++) {
        before[i] = testbed_stats(bed, i).deliveries;
        members += nodes >> i & 1;
    }
    testbed_deliver_each(bed, members * rounds);
    for (i = 0; i < bed->nodes; i++) {
        had = testbed_stats(bed, i).deliveries - before[i];
        if (had != (nodes >> i & 1) * rounds) {
            fail_msg("node %zu had %llu of %zu deliveries, in %zu rounds", i + 1,
                     (unsigned long long)had, members * rounds, rounds);
        }
    }
}

const char *testbed_last_error(const struct testbed *bed)
{
    return bed->books->last_error;
}

size_t testbed_sent(const struct testbed *bed)
{
    return atomic_load(&bed->books->next);
}

size_t testbed_twice(const struct testbed *bed)
{
    size_t sent = testbed_sent(bed), twice = 0, i;
    for (i = 0; i < sent; i++) {
        twice += ledger_times(bed->ledger, i) > 1;
    }
    return twice;
}

upstream_node_t *testbed_node(const struct testbed *bed, size_t node)
{
    return upstream_node_at(bed->up, node);
}

upstream_stats_t testbed_stats(const struct testbed *bed, size_t node)
{
    return check_node_stats(testbed_node(bed, node));
}

void testbed_wait_state(const struct testbed *bed, size_t node, int32_t state)
{
    long until = check_now_ms() + 6 * testbed_patience_ms();
    while (upstream_node_state(testbed_node(bed, node)) != state) {
        if (check_now_ms() > until) {
            fail_msg("node %zu is in state %d, not in %d", node + 1,
                     upstream_node_state(testbed_node(bed, node)), state);
        }
        usleep(5000);
    }
}

void testbed_close(struct testbed *bed)
{
    size_t sent = testbed_sent(bed), i;
    assert_int_equal(check_stats(bed->up).active, 0);
    upstream_destroy(bed->up);
    for (i = 0; i < bed->nodes; i++) {
        proxy_stop(bed->proxies[i]);
    }
    for (i = 0; i < bed->nodes; i++) {
        if (bed->counters[i] != NULL) {
            counter_stop(bed->counters[i]);
        }
    }
    if (bed->books->violation[0] != '\0') {
        fail_msg("%s", bed->books->violation);
    }
    for (i = 0; i < sent; i++) {
        const struct entry *entry = &bed->books->entries[i];
        size_t times = ledger_times(bed->ledger, i);
        if (times == 0 && atomic_load(&entry->acknowledged)) {
            fail_msg("record %zu was acknowledged and is lost", i);
        }
        if (times > 1 && atomic_load(&entry->written) < 2) {
            fail_msg("record %zu came more than once, and was written only once", i);
        }
    }
    testbed_wait_descriptors(bed->descriptors);
    ledger_free(bed->ledger);
    pthread_mutex_destroy(&bed->books->lock);
    free(bed->books);
}
