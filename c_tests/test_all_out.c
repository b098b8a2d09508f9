/* Every node is out: how many nodes a payload asks, which ones, and what it waits for. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/loopback.h"
#include "support/scripted.h"
#include "support/virtual.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

enum { HUNDRED = 100, MOST_ASKED = 3, ALL_ASKED = (HUNDRED + MOST_ASKED - 1) / MOST_ASKED };

/* ---- a hundred that refuse ---- */

struct hundred {
    int refusing[HUNDRED];
    uint16_t ports[HUNDRED];
    upstream_t *up;
    uint64_t failed[HUNDRED];
};

/* All refuse and are out, for an hour. */
static void hundred_open(struct hundred *all)
{
    size_t i;
    for (i = 0; i < HUNDRED; i++) {
        all->ports[i] = loopback_refusing_port(&all->refusing[i]);
    }
    all->up = virtual_nodes(all->ports, HUNDRED, "health.backoff 1h\nhealth.backoff_max 1h");
    for (i = 0; i < HUNDRED; i++) {
        virtual_report(all->up, i, UPSTREAM_ERR_CONNECT);
        all->failed[i] = 0;
    }
}

static void hundred_close(struct hundred *all)
{
    size_t i;
    upstream_destroy(all->up);
    for (i = 0; i < HUNDRED; i++) {
        close(all->refusing[i]);
    }
}

enum manner { DELIVER, CONNECT, CONNECT_LOOP, WISH, WISH_LOOP, OWN_IO, MANNERS };
static const char *const manners[] = {
    "deliver",          "attempt_connect", "attempt_connect_start",
    "upstream_connect", "connect_start",   "attempt_next"};

static upstream_status_t go_on(upstream_conn_t *conn, upstream_status_t status)
{
    while (status == UPSTREAM_WANT_READ) {
        struct pollfd fd = {upstream_conn_fd(conn), POLLIN, 0};
        poll(&fd, fd.fd >= 0, (int)upstream_conn_timeout_ms(conn));
        status = upstream_conn_connect_continue(conn);
    }
    return status;
}

/* Sends one payload; `asked` says which nodes it asked. A plugin with its own I/O reports each node
 * itself. */
static size_t send_by(enum manner manner, struct hundred *all, uint64_t *asked)
{
    upstream_t *up = all->up;
    upstream_attempt_t *attempt;
    upstream_conn_t *conn = NULL;
    upstream_node_t *node;
    upstream_status_t status = UPSTREAM_ERR_CONNECT;
    size_t i, count = 0;
    memset(asked, 0, HUNDRED * sizeof(*asked));
    assert_status(upstream_attempt_begin(up, &attempt), UPSTREAM_OK);
    switch (manner) {
    case DELIVER:
        status = scripted_deliver(up, NULL, 0);
        break;
    case CONNECT:
        status = upstream_attempt_connect(attempt, &conn, NULL);
        break;
    case CONNECT_LOOP:
        status = upstream_attempt_connect_start(attempt, &conn, NULL);
        status = go_on(conn, status);
        break;
    case WISH:
        status = upstream_connect(up, &conn, NULL);
        break;
    case WISH_LOOP:
        status = upstream_connect_start(up, &conn, NULL);
        status = go_on(conn, status);
        break;
    default:
        while ((node = upstream_attempt_next(attempt)) != NULL) {
            for (i = 0; node != upstream_node_at(up, i); i++) {
            }
            asked[i]++;
            assert_status(upstream_attempt_report(attempt, UPSTREAM_ERR_CONNECT), UPSTREAM_OK);
        }
    }
    /* An attempt says that no node is left to ask; the others say how the last one failed. */
    if (status != (manner == CONNECT || manner == CONNECT_LOOP ? UPSTREAM_ERR_NO_NODE
                                                               : UPSTREAM_ERR_CONNECT)) {
        fail_msg("%s: %s", manners[manner], upstream_status_name(status));
    }
    upstream_conn_discard(conn);
    upstream_attempt_end(attempt, UPSTREAM_ERR_CONNECT);
    for (i = 0; i < HUNDRED; i++) {
        uint64_t failed = check_node_stats(upstream_node_at(up, i)).connects_failed;
        asked[i] += failed - all->failed[i];
        all->failed[i] = failed;
        count += (size_t)asked[i];
    }
    return count;
}

static void a_payload_asks_three_and_the_next_ones_the_others_in_turn(void **state)
{
    int manner;
    (void)state;
    for (manner = 0; manner < MANNERS; manner++) {
        struct hundred all;
        uint64_t asked[HUNDRED], times[HUNDRED];
        size_t payload, i;
        hundred_open(&all);
        memset(times, 0, sizeof(times));
        for (payload = 0; payload < ALL_ASKED; payload++) {
            size_t count = send_by((enum manner)manner, &all, asked);
            if (manner == OWN_IO) { /* here the retry budget is not waited for; let it fill */
                virtual_now += VIRTUAL_SECOND;
            }
            assert_in_range(count, 1, MOST_ASKED);
            for (i = 0; i < HUNDRED; i++) {
                assert_true(asked[i] <= 1);
                times[i] += asked[i];
            }
        }
        for (i = 0; i < HUNDRED; i++) {
            if (times[i] < 1 || times[i] > 2) {
                fail_msg("%s: node %zu was asked %llu times", manners[manner], i + 1,
                         (unsigned long long)times[i]);
            }
        }
        hundred_close(&all);
    }
}

/* One node is well again, though it is out for an hour. Wherever it is in the file, it is found
 * within as many deliveries as it takes to ask all nodes. */
static void one_that_is_back_is_found_while_all_are_asked(void **state)
{
    static const size_t places[] = {0, 49, 99};
    size_t i, payload;
    (void)state;
    for (i = 0; i < 3; i++) {
        struct scripted *back = scripted_start(SCRIPTED_GOOD);
        struct hundred all;
        upstream_status_t status = UPSTREAM_ERR_CONNECT;
        hundred_open(&all);
        upstream_destroy(all.up);
        all.ports[places[i]] = scripted_port(back);
        all.up = virtual_nodes(all.ports, HUNDRED, "health.backoff 1h\nhealth.backoff_max 1h");
        for (payload = 0; payload < HUNDRED; payload++) {
            virtual_report(all.up, payload, UPSTREAM_ERR_CONNECT);
        }
        for (payload = 0; payload < ALL_ASKED && status != UPSTREAM_OK; payload++) {
            status = scripted_deliver(all.up, NULL, 0);
        }
        assert_status(status, UPSTREAM_OK);
        assert_int_equal(virtual_state(all.up, places[i]), UPSTREAM_NODE_UP);
        hundred_close(&all);
        scripted_stop(back);
    }
}

/* ---- the retry budget ---- */

static void a_plugin_is_told_when_to_come_again_while_the_budget_is_spent(void **state)
{
    static const uint16_t ports[2] = {43000, 43001};
    upstream_t *up = virtual_nodes(ports, 2, "");
    upstream_attempt_t *attempt;
    int i, retries = 0;
    int64_t wait;
    (void)state;
    assert_int_equal(upstream_retry_after_ms(up), 0);
    for (i = 0; i < 50; i++) {
        assert_status(upstream_attempt_begin(up, &attempt), UPSTREAM_OK);
        assert_non_null(upstream_attempt_next(attempt)); /* the first of each costs nothing */
        assert_status(upstream_attempt_report(attempt, UPSTREAM_STOP), UPSTREAM_OK);
        retries += upstream_attempt_next(attempt) != NULL;
        upstream_attempt_end(attempt, UPSTREAM_STOP);
        assert_true((upstream_retry_after_ms(up) > 0) == (retries == 20));
    }
    assert_int_equal(retries, 20);
    assert_int_equal(check_stats(up).nodes_up, 2);
    wait = upstream_retry_after_ms(up);
    assert_in_range(wait, 1, 100);
    virtual_now += (uint64_t)wait * VIRTUAL_MS; /* and then there is one */
    assert_int_equal(upstream_retry_after_ms(up), 0);
    assert_status(upstream_attempt_begin(up, &attempt), UPSTREAM_OK);
    upstream_attempt_next(attempt);
    upstream_attempt_report(attempt, UPSTREAM_STOP);
    assert_non_null(upstream_attempt_next(attempt));
    upstream_attempt_end(attempt, UPSTREAM_STOP);
    assert_true(upstream_retry_after_ms(up) > 0);
    upstream_destroy(up);
}

/* ---- deliver.wait ---- */

enum outage { EJECTED, SILENT, PAUSED, MIXED, OUTAGES };
static const char *const outages[] = {"ejected", "silent", "paused", "one ejected, one paused"};

static void take_out(upstream_t *up, size_t place, enum outage outage)
{
    if (outage == PAUSED || (outage == MIXED && place == 1)) {
        assert_status(upstream_node_pause(upstream_node_at(up, place), 300), UPSTREAM_OK);
    } else {
        virtual_report(up, place, outage == SILENT ? UPSTREAM_ERR_TIMEOUT : UPSTREAM_ERR_CONNECT);
    }
}

/* On the system's clock. `wait` is deliver.wait. */
static upstream_status_t deliver_while_all_are_out(enum outage outage, const char *wait,
                                                   struct scripted_payload *payload)
{
    struct scripted *servers[2];
    uint16_t ports[2];
    char text[512];
    upstream_t *up;
    upstream_status_t status;
    size_t i;
    scripted_start_all(servers, ports, 2, SCRIPTED_GOOD);
    if (outage == EJECTED) { /* a node that connects is had as a last resort too */
        scripted_refuse(servers[0]);
        scripted_refuse(servers[1]);
    }
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname w\ndeliver.wait %s\nhealth.max_fails 1\nhealth.backoff "
             "300ms\nhealth.backoff_max 300ms\n"
             "[NODE]\nname a\nhost 127.0.0.1\nport %u\n[NODE]\nname b\nhost 127.0.0.1\nport %u\n",
             wait, (unsigned)ports[0], (unsigned)ports[1]);
    up = check_create(text, NULL);
    for (i = 0; i < 2; i++) {
        take_out(up, i, outage);
    }
    if (outage == EJECTED) {
        assert_status(scripted_deliver(up, payload, 100), UPSTREAM_ERR_CONNECT);
        scripted_accept(servers[0]);
    }
    status = scripted_deliver(up, payload, 20000);
    upstream_destroy(up);
    scripted_stop_all(servers, 2);
    return status;
}

static void with_deliver_wait_a_payload_waits_for_the_first_that_is_due(void **state)
{
    int outage;
    (void)state;
    for (outage = 0; outage < OUTAGES; outage++) {
        struct scripted_payload payload = {0, 0, {NULL}};
        upstream_status_t status = deliver_while_all_are_out((enum outage)outage, "on", &payload);
        if (status != UPSTREAM_OK || payload.calls != 1) {
            fail_msg("%s: %s after %d calls", outages[outage], upstream_status_name(status),
                     payload.calls);
        }
    }
}

static void without_it_a_payload_comes_back_at_once(void **state)
{
    struct scripted_payload payload = {0, 0, {NULL}};
    (void)state;
    assert_status(deliver_while_all_are_out(SILENT, "off", &payload), UPSTREAM_ERR_NO_NODE);
    assert_int_equal(payload.calls, 0);
    assert_status(deliver_while_all_are_out(PAUSED, "off", &payload), UPSTREAM_ERR_BUSY);
    assert_int_equal(payload.calls, 0);
}

/* The wait still ends at the deadline, and by upstream_cancel(). */
static void *cancel(void *up)
{
    usleep(100 * 1000);
    upstream_cancel(up);
    return NULL;
}

static void the_wait_has_an_end(void **state)
{
    static const char text[] = "[UPSTREAM]\nname w\ndeliver.wait on\nhealth.max_fails "
                               "1\nhealth.backoff 1h\nhealth.backoff_max 1h\n"
                               "[NODE]\nname a\nhost 127.0.0.1\nport 43000\n";
    int cancelled;
    (void)state;
    for (cancelled = 0; cancelled < 2; cancelled++) {
        upstream_t *up = check_create(text, NULL);
        pthread_t thread;
        virtual_report(up, 0, UPSTREAM_ERR_TIMEOUT);
        if (cancelled) {
            assert_int_equal(pthread_create(&thread, NULL, cancel, up), 0);
        }
        assert_int_not_equal(scripted_deliver(up, NULL, cancelled ? 600 * 1000 : 100), UPSTREAM_OK);
        if (cancelled) {
            pthread_join(thread, NULL);
        }
        upstream_destroy(up);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_payload_asks_three_and_the_next_ones_the_others_in_turn),
        cmocka_unit_test(one_that_is_back_is_found_while_all_are_asked),
        cmocka_unit_test(a_plugin_is_told_when_to_come_again_while_the_budget_is_spent),
        cmocka_unit_test(with_deliver_wait_a_payload_waits_for_the_first_that_is_due),
        cmocka_unit_test(without_it_a_payload_comes_back_at_once),
        cmocka_unit_test(the_wait_has_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
