/* See senders.h. */
#define _GNU_SOURCE
#include "senders.h"

#include "check.h"

#include <time.h>
#include <unistd.h>

struct record {
    struct senders *senders;
    uint64_t number;
};

void senders_start(struct senders *senders, const char *const *addresses, size_t nodes,
                   unsigned timeout_ms)
{
    size_t i;
    memset(senders, 0, sizeof(*senders));
    senders->nodes = nodes;
    senders->timeout_ms = timeout_ms;
    senders->unacknowledged = calloc(SENDERS_RECORDS, 1);
    senders->given_up = calloc(SENDERS_RECORDS, 1);
    assert_non_null(senders->unacknowledged);
    assert_non_null(senders->given_up);
    assert_int_equal(pthread_mutex_init(&senders->words, NULL), 0);
    for (i = 0; i < nodes; i++) {
        senders->ledgers[i] = ledger_create(SENDERS_RECORDS);
        senders->counters[i] = counter_start_at(senders->ledgers[i], addresses[i], 0);
    }
}

uint16_t senders_port(const struct senders *senders, size_t node)
{
    return counter_port(senders->counters[node]);
}

char *senders_text(const struct senders *senders, const char *const *hosts, const char *more)
{
    size_t room = 256 + senders->nodes * (128 + strlen(more)), used, i;
    char *text = malloc(room);
    assert_non_null(text);
    used = (size_t)snprintf(text, room, "[UPSTREAM]\n    name test\n");
    for (i = 0; i < senders->nodes; i++) {
        used += (size_t)snprintf(text + used, room - used,
                                 "[NODE]\n    name node-%zu\n    host %s\n"
                                 "    port %u\n%s\n",
                                 i + 1, hosts[i], (unsigned)senders_port(senders, i), more);
    }
    assert_true(used < room);
    return text;
}

static upstream_status_t send_record(upstream_conn_t *conn, void *ctx)
{
    const struct record *record = ctx;
    uint64_t answer = 0;
    upstream_status_t status = upstream_conn_write(conn, &record->number, 8);
    if (status == UPSTREAM_OK) {
        status = upstream_conn_read_exact(conn, &answer, 8);
    }
    if (status == UPSTREAM_OK && answer != record->number) {
        status = UPSTREAM_ERR_PROTOCOL;
    }
    if (status != UPSTREAM_OK) {
        atomic_store(&record->senders->unacknowledged[record->number], 1);
    }
    return status;
}

static size_t times(const struct senders *senders, uint64_t number)
{
    size_t sum = 0, i;
    for (i = 0; i < senders->nodes; i++) {
        sum += ledger_times(senders->ledgers[i], number);
    }
    return sum;
}

upstream_status_t senders_deliver(struct senders *senders)
{
    struct record record = {senders, atomic_fetch_add(&senders->next, 1)};
    upstream_error_t *err = NULL;
    long begun = check_now_ms(), took, slowest = atomic_load(&senders->slowest);
    upstream_status_t status;
    if (record.number >= SENDERS_RECORDS) {
        fprintf(stderr, "more records than the ledgers hold\n");
        abort();
    }
    status = upstream_deliver(senders->up, send_record, &record, senders->timeout_ms, &err);
    took = check_now_ms() - begun;
    while (took > slowest && !atomic_compare_exchange_weak(&senders->slowest, &slowest, took)) {
    }
    if (status != UPSTREAM_OK) {
        atomic_store(&senders->given_up[record.number], 1);
        pthread_mutex_lock(&senders->words);
        if (atomic_fetch_add(&senders->failed, 1) == 0) {
            snprintf(senders->word, sizeof(senders->word), "%s", upstream_error_message(err));
        }
        pthread_mutex_unlock(&senders->words);
        upstream_error_free(err);
    } else if (times(senders, record.number) == 0) {
        atomic_fetch_add(&senders->unseen, 1);
    }
    return status;
}

static void *go(void *argument)
{
    struct senders *senders = argument;
    while (atomic_load(&senders->going)) {
        senders_deliver(senders);
        usleep(1000);
    }
    return NULL;
}

void senders_go(struct senders *senders, size_t threads)
{
    size_t i;
    assert_in_range(threads, 1, SENDERS_THREADS);
    atomic_store(&senders->going, 1);
    senders->threads = threads;
    for (i = 0; i < threads; i++) {
        assert_int_equal(pthread_create(&senders->thread[i], NULL, go, senders), 0);
    }
}

void senders_rest(struct senders *senders)
{
    size_t i;
    atomic_store(&senders->going, 0);
    for (i = 0; i < senders->threads; i++) {
        pthread_join(senders->thread[i], NULL);
    }
    senders->threads = 0;
}

size_t senders_came(const struct senders *senders, size_t node)
{
    size_t sum = 0, number, most = atomic_load(&senders->next);
    for (number = 0; number < most; number++) {
        sum += ledger_times(senders->ledgers[node], number);
    }
    return sum;
}

upstream_stats_t senders_stats(const struct senders *senders, size_t node)
{
    return check_node_stats(upstream_node_at(senders->up, node));
}

void senders_heal(struct senders *senders)
{
    upstream_stats_t stats;
    long begun = check_now_ms();
    for (;;) {
        stats = check_stats(senders->up);
        if (stats.nodes_up == senders->nodes) {
            return;
        }
        if (check_now_ms() - begun > (check_slow() ? 300000 : 30000)) {
            fail_msg("%zu nodes of %zu are up, and no more come back", (size_t)stats.nodes_up,
                     senders->nodes);
        }
        senders_deliver(senders);
        usleep(5000);
    }
}

void senders_even(struct senders *senders, unsigned mask)
{
    size_t before[SENDERS_NODES], least = SIZE_MAX, most = 0, i;
    for (i = 0; i < senders->nodes; i++) {
        before[i] = senders_came(senders, i);
    }
    for (i = 0; i < 60; i++) {
        senders_deliver(senders);
    }
    for (i = 0; i < senders->nodes; i++) {
        size_t share = senders_came(senders, i) - before[i];
        if ((mask & 1U << i) == 0) {
            assert_int_equal(share, 0);
            continue;
        }
        least = share < least ? share : least;
        most = share > most ? share : most;
    }
    assert_in_range(most - least, 0, 1);
}

size_t senders_balance(struct senders *senders, long slack_ms)
{
    size_t number, sent = atomic_load(&senders->next), again = 0;
    if (atomic_load(&senders->failed) > 0 && !senders->may_fail) {
        fail_msg("%zu of %zu deliveries failed; the first: %s", atomic_load(&senders->failed), sent,
                 senders->word);
    }
    assert_int_equal(atomic_load(&senders->unseen), 0);
    for (number = 0; number < sent; number++) {
        size_t came = times(senders, number);
        if (atomic_load(&senders->given_up[number])) {
            continue;
        }
        if (came == 0 || (came > 1 && !atomic_load(&senders->unacknowledged[number]))) {
            fail_msg("record %zu of %zu came %zu times", number, sent, came);
        }
        again += came > 1;
    }
    assert_in_range(atomic_load(&senders->slowest), 0, (long)senders->timeout_ms + slack_ms);
    return again;
}

void senders_stop(struct senders *senders)
{
    size_t i;
    upstream_destroy(senders->up);
    for (i = 0; i < senders->nodes; i++) {
        counter_stop(senders->counters[i]);
        ledger_free(senders->ledgers[i]);
    }
    pthread_mutex_destroy(&senders->words);
    free((void *)senders->unacknowledged);
    free((void *)senders->given_up);
}
