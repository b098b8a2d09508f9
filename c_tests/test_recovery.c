/* Trials: what a late one proves, what they cost a payload, which node stands in meanwhile, and how
 * long a node is out at most. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/loopback.h"
#include "support/scripted.h"
#include "support/virtual.h"

#include <unistd.h>

enum { DEAD = 30 };

static const uint16_t nowhere[2] = {43000, 43001};

/* An attempt whose first node is the first of the set: its trial, if it is due. */
static upstream_attempt_t *attempt_at_the_first(upstream_t *up)
{
    upstream_attempt_t *attempt = check_attempt(up);
    assert_ptr_equal(upstream_attempt_next(attempt), upstream_node_at(up, 0));
    return attempt;
}

/* ---- a trial longer than its lease ---- */

static void a_trial_that_outlasts_its_lease_restores_the_node(void **state)
{
    static const uint64_t waits[] = {2 * VIRTUAL_SECOND, 4 * VIRTUAL_SECOND, 60 * VIRTUAL_SECOND,
                                     VIRTUAL_HOUR};
    size_t i;
    int taken;
    (void)state;
    for (i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
        for (taken = 0; taken < 2; taken++) {
            upstream_t *up = virtual_nodes(nowhere, 2, "net.connect_timeout 2s");
            upstream_attempt_t *trial, *other = NULL;
            virtual_report(up, 0, UPSTREAM_ERR_CONNECT);
            virtual_now += 2 * VIRTUAL_SECOND;
            trial = attempt_at_the_first(up);
            virtual_now += waits[i];
            if (taken &&
                waits[i] >
                    3 * VIRTUAL_SECOND) { /* the lease is over: another caller has the next trial */
                other = attempt_at_the_first(up);
            }
            upstream_attempt_end(trial, UPSTREAM_OK);
            assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_UP);
            /* The other one's outcome is late, and changes nothing. */
            upstream_attempt_end(other, UPSTREAM_ERR_CONNECT);
            assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_UP);
            assert_int_equal(check_stats(up).ejections, 1);
            upstream_destroy(up);
        }
    }
}

/* It belongs to the earlier ejection: the node has failed a trial since. */
static void a_trial_of_an_earlier_ejection_restores_nobody(void **state)
{
    upstream_t *up = virtual_nodes(nowhere, 2, "net.connect_timeout 2s");
    upstream_attempt_t *trial;
    (void)state;
    virtual_report(up, 0, UPSTREAM_ERR_CONNECT);
    virtual_now += 2 * VIRTUAL_SECOND;
    trial = attempt_at_the_first(up);
    virtual_now += 4 * VIRTUAL_SECOND;
    upstream_attempt_end(attempt_at_the_first(up), UPSTREAM_ERR_CONNECT);
    upstream_attempt_end(trial, UPSTREAM_OK);
    assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_EJECTED);
    upstream_destroy(up);
}

static upstream_status_t answered_an_hour_later(upstream_conn_t *conn, void *ctx)
{
    virtual_now += VIRTUAL_HOUR;
    return scripted_exchange(conn, ctx);
}

/* The same for a delivery's trial of a node that was ejected for silence and must answer. */
static void a_delivery_that_outlasts_its_lease_restores_the_node(void **state)
{
    struct scripted *server = scripted_start(SCRIPTED_GOOD);
    uint16_t port = scripted_port(server);
    upstream_t *up = virtual_nodes(&port, 1, "net.connect_timeout 2s\nhealth.max_fails 1");
    (void)state;
    virtual_report(up, 0, UPSTREAM_ERR_TIMEOUT);
    virtual_now += 2 * VIRTUAL_SECOND;
    assert_status(upstream_deliver(up, answered_an_hour_later, NULL, 0, NULL), UPSTREAM_OK);
    assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_UP);
    upstream_destroy(up);
    scripted_stop(server);
}

/* ---- many dead nodes that are due ---- */

/* Thirty nodes that refuse, out and due, and two that are well. */
struct crowd {
    int refusing[DEAD];
    uint16_t ports[DEAD + 2];
    struct scripted *well[2];
    upstream_t *up;
};

static void crowd_open(struct crowd *crowd)
{
    size_t i;
    for (i = 0; i < DEAD; i++) {
        crowd->ports[i] = loopback_refusing_port(&crowd->refusing[i]);
    }
    scripted_start_all(crowd->well, crowd->ports + DEAD, 2, SCRIPTED_GOOD);
    crowd->up = virtual_nodes(crowd->ports, DEAD + 2, "");
    for (i = 0; i < DEAD; i++) {
        virtual_report(crowd->up, i, UPSTREAM_ERR_CONNECT);
    }
    virtual_now += 2 * VIRTUAL_SECOND;
}

static void crowd_close(struct crowd *crowd)
{
    size_t i;
    upstream_destroy(crowd->up);
    for (i = 0; i < DEAD; i++) {
        close(crowd->refusing[i]);
    }
    scripted_stop_all(crowd->well, 2);
}

static int is_dead(upstream_t *up, upstream_node_t *node)
{
    return node != upstream_node_at(up, DEAD) && node != upstream_node_at(up, DEAD + 1);
}

/* The retry budget is full: ten tokens and the ten of this second, and no more. */
static void nothing_was_paid(upstream_t *up)
{
    size_t retries = 0;
    upstream_node_t *second;
    do {
        upstream_attempt_t *attempt = check_attempt(up);
        assert_non_null(upstream_attempt_next(attempt));
        upstream_attempt_report(attempt, UPSTREAM_STOP); /* the node is well */
        second = upstream_attempt_next(attempt);
        retries += second != NULL;
        upstream_attempt_end(attempt, UPSTREAM_STOP);
    } while (second != NULL && retries < 100);
    assert_int_equal(retries, 20);
}

static void an_attempt_gets_a_healthy_node_after_one_trial_and_pays_nothing(void **state)
{
    struct crowd crowd;
    size_t i;
    (void)state;
    crowd_open(&crowd);
    for (i = 0; i < DEAD; i++) {
        upstream_attempt_t *attempt = check_attempt(crowd.up);
        /* one trial each, while there is one */
        assert_true(is_dead(crowd.up, upstream_attempt_next(attempt)));
        assert_status(upstream_attempt_report(attempt, UPSTREAM_ERR_CONNECT), UPSTREAM_OK);
        assert_false(is_dead(crowd.up, upstream_attempt_next(attempt)));
        /* The node is well, but this is no success that would pay for retries. */
        upstream_attempt_end(attempt, UPSTREAM_STOP);
    }
    for (i = 0; i < DEAD; i++) {
        /* each had its own */
        assert_int_equal(check_node_stats(upstream_node_at(crowd.up, i)).ejections, 2);
    }
    nothing_was_paid(crowd.up);
    crowd_close(&crowd);
}

enum manner { DELIVER, CONNECT, CONNECT_LOOP, WISH, WISH_LOOP, MANNERS };

static upstream_status_t loop(upstream_status_t status, upstream_conn_t *conn)
{
    while (status == UPSTREAM_WANT_READ) {
        usleep(1000);
        status = upstream_conn_connect_continue(conn);
    }
    return status;
}

/* One payload by each of the library's own ways to connect. */
static void send_by(enum manner manner, upstream_t *up)
{
    upstream_attempt_t *attempt = check_attempt(up);
    upstream_conn_t *conn = NULL;
    upstream_status_t status = UPSTREAM_OK;
    switch (manner) {
    case DELIVER:
        assert_status(scripted_deliver(up, NULL, 0), UPSTREAM_OK);
        break;
    case CONNECT:
        status = upstream_attempt_connect(attempt, &conn, NULL);
        break;
    case CONNECT_LOOP:
        status = upstream_attempt_connect_start(attempt, &conn, NULL);
        break;
    case WISH:
        status = upstream_connect(up, &conn, NULL);
        break;
    default:
        status = upstream_connect_start(up, &conn, NULL);
    }
    assert_status(loop(status, conn), UPSTREAM_OK);
    if (conn != NULL) {
        assert_status(scripted_exchange(conn, NULL), UPSTREAM_OK);
        upstream_conn_release(conn);
    }
    upstream_attempt_end(attempt, UPSTREAM_STOP);
}

static void one_payload_tries_all_that_are_due_and_pays_nothing(void **state)
{
    int manner;
    (void)state;
    for (manner = 0; manner < MANNERS; manner++) {
        struct crowd crowd;
        size_t i;
        crowd_open(&crowd);
        send_by((enum manner)manner, crowd.up);
        for (i = 0; i < 3000 && check_stats(crowd.up).connects_failed < DEAD; i++) {
            usleep(10000);
        }
        assert_int_equal(check_stats(crowd.up).connects_failed, DEAD);
        for (i = 0; i < DEAD; i++) {
            assert_int_equal(check_node_stats(upstream_node_at(crowd.up, i)).connects_failed, 1);
        }
        send_by((enum manner)manner, crowd.up); /* the next one has none to try */
        assert_int_equal(check_stats(crowd.up).connects_failed, DEAD);
        assert_int_equal(scripted_requests(crowd.well[0]) + scripted_requests(crowd.well[1]), 2);
        nothing_was_paid(crowd.up);
        crowd_close(&crowd);
    }
}

/* ---- reserves ---- */

/* A set of primaries and of reserves, by their ports. */
static upstream_t *tiers(const uint16_t *primaries, size_t most, const uint16_t *reserves,
                         size_t more, const char *keys)
{
    char text[2048];
    size_t used = (size_t)snprintf(text, sizeof(text), "[UPSTREAM]\nname tiers\n"), i;
    for (i = 0; i < most + more; i++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used,
                                 "[NODE]\nname n%zu\nhost 127.0.0.1\nport %u\npriority %d\n%s\n", i,
                                 (unsigned)(i < most ? primaries[i] : reserves[i - most]),
                                 i < most ? 0 : 1, keys);
    }
    assert_true(used < sizeof(text));
    return virtual_create(text, NULL, NULL);
}

static upstream_status_t bad_and_two_seconds_later(upstream_conn_t *conn, void *ctx)
{
    virtual_now += 2 * VIRTUAL_SECOND;
    return scripted_exchange(conn, ctx);
}

/* One node of the primary tier was tried. The other falls due and is silent: the reserve does not
 * wait for it. */
static void a_reserve_stands_in_for_a_trial(void **state)
{
    int hole[LOOPBACK_HOLE_DESCRIPTORS], i;
    struct scripted *primary = scripted_start(SCRIPTED_BAD),
                    *reserve = scripted_start(SCRIPTED_GOOD);
    uint16_t primaries[2] = {scripted_port(primary), loopback_black_hole(hole)},
             spare = scripted_port(reserve);
    upstream_t *up = tiers(primaries, 2, &spare, 1, "net.connect_timeout 60s");
    struct scripted_payload payload = {0, 0, {NULL}};
    (void)state;
    virtual_report(up, 1, UPSTREAM_ERR_CONNECT);
    assert_status(upstream_deliver(up, bad_and_two_seconds_later, &payload, 600 * 1000, NULL),
                  UPSTREAM_OK);
    assert_int_equal(payload.calls, 2);
    assert_ptr_equal(payload.nodes[0], upstream_node_at(up, 0));
    assert_ptr_equal(payload.nodes[1], upstream_node_at(up, 2));
    /* it is dialled on, for a minute */
    assert_int_equal(virtual_state(up, 1), UPSTREAM_NODE_PROBING);
    assert_int_equal(check_node_stats(upstream_node_at(up, 1)).connects_failed, 0);
    upstream_destroy(up);
    for (i = 0; i < LOOPBACK_HOLE_DESCRIPTORS; i++) {
        close(hole[i]);
    }
    scripted_stop(primary);
    scripted_stop(reserve);
}

static void reserves_take_turns_at_retries(void **state)
{
    size_t reserves, i;
    int refuses, own_io;
    (void)state;
    for (reserves = 2; reserves <= 3; reserves++) {
        for (refuses = 0; refuses < 2; refuses++) {
            for (own_io = 0; own_io < 2; own_io++) {
                struct scripted *primary = scripted_start(SCRIPTED_BAD), *spare[3];
                uint16_t port = scripted_port(primary), ports[3];
                size_t had[3] = {0, 0, 0};
                upstream_t *up;
                scripted_start_all(spare, ports, reserves, SCRIPTED_GOOD);
                up = tiers(&port, 1, ports, reserves,
                           "health.max_fails 1000\nhealth.backoff 1ms\nhealth.backoff_max 1ms");
                if (refuses) {
                    scripted_refuse(primary);
                }
                for (i = 0; i < 18; i++) {
                    upstream_attempt_t *attempt = check_attempt(up);
                    upstream_node_t *node;
                    size_t place;
                    virtual_now += VIRTUAL_SECOND; /* the primary is well again, for a moment */
                    if (!own_io) {
                        struct scripted_payload payload = {0, 0, {NULL}};
                        virtual_report(up, 0, UPSTREAM_OK);
                        assert_status(scripted_deliver(up, &payload, 0), UPSTREAM_OK);
                        node = payload.nodes[payload.calls - 1];
                    } else {
                        virtual_report(up, 0, UPSTREAM_OK);
                        assert_ptr_equal(upstream_attempt_next(attempt), upstream_node_at(up, 0));
                        assert_status(upstream_attempt_report(attempt, refuses
                                                                           ? UPSTREAM_ERR_CONNECT
                                                                           : UPSTREAM_ERR_PROTOCOL),
                                      UPSTREAM_OK);
                        node = upstream_attempt_next(attempt);
                    }
                    for (place = 0; place < reserves; place++) {
                        had[place] += node == upstream_node_at(up, 1 + place);
                    }
                    upstream_attempt_end(attempt, UPSTREAM_OK);
                }
                for (i = 0; i < reserves; i++) {
                    if (had[i] != 18 / reserves) {
                        fail_msg("%zu reserves, %s, %s: %zu of 18 at reserve %zu", reserves,
                                 refuses ? "refused" : "failed", own_io ? "attempt" : "deliver",
                                 had[i], i);
                    }
                }
                upstream_destroy(up);
                scripted_stop(primary);
                scripted_stop_all(spare, reserves);
            }
        }
    }
}

/* ---- how long a node is out ---- */

/* A second of patience and at most two; an hour; and one that is up. */
static const char three[] =
    "[UPSTREAM]\nname three\n"
    "[NODE]\nname short\nhost 127.0.0.1\nport 43000\nhealth.backoff 1s\nhealth.backoff_max 2s\n"
    "[NODE]\nname long\nhost 127.0.0.1\nport 43001\nhealth.backoff 1h\nhealth.backoff_max 1h\n"
    "[NODE]\nname up\nhost 127.0.0.1\nport 43002\n";

static void a_clock_that_goes_back_holds_no_node_longer_than_its_own_maximum(void **state)
{
    static const uint64_t back[] = {500 * VIRTUAL_MS,    VIRTUAL_SECOND,       5 * VIRTUAL_SECOND,
                                    10 * VIRTUAL_SECOND, 100 * VIRTUAL_SECOND, VIRTUAL_HOUR,
                                    99 * VIRTUAL_HOUR};
    size_t i;
    int order, step, had;
    (void)state;
    for (i = 0; i < sizeof(back) / sizeof(back[0]); i++) {
        for (order = 0; order < 2; order++) {
            upstream_t *up = virtual_create(three, NULL, NULL);
            virtual_report(up, (size_t)order, UPSTREAM_ERR_CONNECT);
            virtual_report(up, (size_t)!order, UPSTREAM_ERR_CONNECT);
            virtual_now -= back[i];
            assert_in_range(upstream_node_retry_after_ms(upstream_node_at(up, 0)), 0, 2400);
            for (step = 0, had = 0; step <= 24 && !had; step++) {
                int pick;
                for (pick = 0; pick < 4; pick++) { /* whatever else is due comes before it, once */
                    had |= upstream_next_node(up) == upstream_node_at(up, 0);
                }
                virtual_now += 100 * VIRTUAL_MS;
            }
            if (!had) {
                fail_msg("%llu ms back: out for longer than 2.4 s",
                         (unsigned long long)(back[i] / VIRTUAL_MS));
            }
            upstream_destroy(up);
        }
    }
}

static void no_ejection_is_longer_than_the_longest(void **state)
{
    static const char *const keys[] = {"health.backoff_max 2s",
                                       "health.backoff 2s\nhealth.backoff_max 2s",
                                       "health.backoff 50ms\nhealth.backoff_max 60ms"};
    static const int64_t longest[] = {2000, 2000, 60};
    size_t row;
    int i;
    (void)state;
    for (row = 0; row < 3; row++) {
        upstream_t *up = virtual_nodes(nowhere, 2, keys[row]);
        upstream_node_t *first = upstream_node_at(up, 0);
        int64_t most = 0;
        for (i = 0; i < 200; i++) {
            int64_t wait;
            virtual_report(up, 0, UPSTREAM_ERR_CONNECT);
            assert_int_equal(check_stats(up).ejections, i + 1);
            wait = upstream_node_retry_after_ms(first);
            assert_in_range(wait, 1, longest[row]);
            most = wait > most ? wait : most;
            virtual_now += (uint64_t)wait * VIRTUAL_MS;
            while (virtual_state(up, 0) != UPSTREAM_NODE_PROBING) {
                upstream_next_node(up);
            }
        }
        assert_true(most > longest[row] * 9 / 10); /* and it does reach it */
        upstream_destroy(up);
    }
}

/* A plugin that only picks and reports failures, on the system's clock: however often it picked
 * before, the first picks after the node's time is up get the trial. */
static void no_trial_comes_late_to_a_plugin_that_only_picks(void **state)
{
    upstream_t *up = check_nodes(nowhere, 2, "health.backoff 200ms\nhealth.backoff_max 200ms");
    upstream_node_t *first = upstream_node_at(up, 0);
    int round, i, had;
    (void)state;
    for (round = 0; round < 3; round++) {
        assert_status(upstream_node_report(first, UPSTREAM_ERR_CONNECT), UPSTREAM_OK);
        for (i = 0; i < 100000 && upstream_node_retry_after_ms(first) > 100; i++) {
            upstream_next_node(up);
        }
        while (upstream_node_retry_after_ms(first) > 0) {
            usleep(1000);
        }
        usleep(500 * 1000); /* enough for the timer, however busy the machine is */
        for (i = 0, had = 0; i < 2; i++) {
            had |= upstream_next_node(up) == first;
        }
        assert_true(had);
    }
    upstream_destroy(up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trial_that_outlasts_its_lease_restores_the_node),
        cmocka_unit_test(a_trial_of_an_earlier_ejection_restores_nobody),
        cmocka_unit_test(a_delivery_that_outlasts_its_lease_restores_the_node),
        cmocka_unit_test(an_attempt_gets_a_healthy_node_after_one_trial_and_pays_nothing),
        cmocka_unit_test(one_payload_tries_all_that_are_due_and_pays_nothing),
        cmocka_unit_test(a_reserve_stands_in_for_a_trial),
        cmocka_unit_test(reserves_take_turns_at_retries),
        cmocka_unit_test(a_clock_that_goes_back_holds_no_node_longer_than_its_own_maximum),
        cmocka_unit_test(no_ejection_is_longer_than_the_longest),
        cmocka_unit_test(no_trial_comes_late_to_a_plugin_that_only_picks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
