/* Busy is not broken: a node that answers "busy" is paused, keeps its connection and its count of
 * failures, and comes back by itself. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/loopback.h"
#include "support/scripted.h"
#include "support/virtual.h"

#include <poll.h>

static const uint16_t nowhere[3] = {43000, 43001, 43002};

static upstream_node_t *at(upstream_t *up, size_t place)
{
    return upstream_node_at(up, place);
}

/* ---- two nodes, one of which answers 429 to every second request ---- */

static void the_payload_goes_on_and_nothing_is_lost_by_it(void **state)
{
    struct scripted *good = scripted_start(SCRIPTED_GOOD),
                    *busy = scripted_start(SCRIPTED_EACH_SECOND_BUSY);
    uint16_t ports[2] = {scripted_port(busy), scripted_port(good)};
    upstream_t *up = virtual_nodes(ports, 2, "health.max_fails 2");
    size_t i;
    int two_calls = 0;
    (void)state;
    virtual_report(up, 0, UPSTREAM_ERR_PROTOCOL); /* a count that must stay as it is */
    scripted_behave(busy, SCRIPTED_BUSY);
    for (i = 0; i < 50; i++) {
        struct scripted_payload payload = {1000, 0, {NULL}};
        assert_status(scripted_deliver(up, &payload, 0), UPSTREAM_OK);
        assert_ptr_equal(payload.nodes[payload.calls - 1], at(up, 1));
        assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_PAUSED);
        assert_int_equal(check_stats(up).nodes_up, 1);
        two_calls += payload.calls == 2;
        virtual_now += VIRTUAL_SECOND;
        assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_UP); /* by itself */
    }
    assert_true(two_calls >= 20);
    assert_int_equal(scripted_requests(busy), two_calls);
    assert_int_equal(check_node_stats(upstream_node_at(up, 0)).connects, 1); /* kept each time */
    assert_int_equal(check_node_stats(upstream_node_at(up, 0)).ejections, 0);
    assert_int_equal(check_stats(up).connects, 2);
    assert_int_equal(check_stats(up).deliveries_failed, 0);
    upstream_destroy(up);
    scripted_stop(good);
    scripted_stop(busy);
}

/* Its count of failures is still there: one more failure is the second. */
static void the_count_of_failures_stays(void **state)
{
    struct scripted *busy = scripted_start(SCRIPTED_BUSY);
    uint16_t port = scripted_port(busy);
    upstream_t *up = virtual_nodes(&port, 1, "health.max_fails 3");
    int i;
    (void)state;
    virtual_report(up, 0, UPSTREAM_ERR_PROTOCOL);
    virtual_report(up, 0, UPSTREAM_ERR_PROTOCOL);
    for (i = 0; i < 5; i++) {
        assert_status(scripted_deliver(up, NULL, 0), UPSTREAM_ERR_BUSY);
        virtual_now += 2 * VIRTUAL_SECOND;
        assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_UP);
    }
    assert_int_equal(scripted_requests(busy), 5);
    assert_int_equal(check_stats(up).connects, 1);
    virtual_report(up, 0, UPSTREAM_ERR_PROTOCOL);
    assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_EJECTED);
    upstream_destroy(up);
    scripted_stop(busy);
}

enum manner { DELIVER, CONNECT, OWN_IO, MANNERS };
static const char *const manners[] = {"deliver", "attempt_connect", "attempt_next and _report"};

enum { BUSY_NODES = 30 };

/* However a payload is sent, a busy node costs nothing from the retry budget as long as another
 * node is up: thirty at one moment are more than the budget has. */
static void no_retry_is_paid_for_a_busy_node(void **state)
{
    int manner;
    (void)state;
    for (manner = 0; manner < MANNERS; manner++) {
        struct scripted *servers[BUSY_NODES + 1];
        uint16_t ports[BUSY_NODES + 1];
        upstream_attempt_t *attempt;
        upstream_conn_t *conn = NULL;
        upstream_node_t *node = NULL;
        upstream_status_t status = UPSTREAM_ERR_BUSY;
        upstream_t *up;
        int asked = 0;
        scripted_start_all(servers, ports, BUSY_NODES + 1, SCRIPTED_BUSY);
        scripted_behave(servers[BUSY_NODES], SCRIPTED_GOOD);
        up = virtual_nodes(ports, BUSY_NODES + 1, "");
        attempt = check_attempt(up);
        switch (manner) {
        case DELIVER:
            status = scripted_deliver(up, NULL, 5000);
            break;
        case CONNECT:
            while (status == UPSTREAM_ERR_BUSY &&
                   upstream_attempt_connect(attempt, &conn, NULL) == UPSTREAM_OK) {
                status = scripted_exchange(conn, NULL);
                upstream_conn_release(conn);
            }
            break;
        default:
            while (asked++ < BUSY_NODES + 1 && (node = upstream_attempt_next(attempt)) != NULL) {
                status = node == at(up, BUSY_NODES) ? UPSTREAM_OK : UPSTREAM_ERR_BUSY;
                upstream_attempt_report(attempt, status);
            }
        }
        if (status != UPSTREAM_OK) {
            fail_msg("%s: %s", manners[manner], upstream_status_name(status));
        }
        upstream_attempt_end(attempt, UPSTREAM_OK);
        assert_int_equal(check_stats(up).picks, BUSY_NODES + 1);
        assert_int_equal(check_stats(up).nodes_up, 1);
        assert_int_equal(upstream_retry_after_ms(up), 0);
        upstream_destroy(up);
        scripted_stop_all(servers, BUSY_NODES + 1);
    }
}

static void retry_after_is_kept_to(void **state)
{
    struct scripted *good = scripted_start(SCRIPTED_GOOD), *busy = scripted_start(SCRIPTED_BUSY);
    uint16_t ports[2] = {scripted_port(busy), scripted_port(good)};
    upstream_t *up = virtual_nodes(ports, 2, "");
    int i;
    (void)state;
    for (i = 0; i < 290; i++) { /* 29 seconds */
        struct scripted_payload payload = {30000, 0, {NULL}};
        assert_status(scripted_deliver(up, &payload, 0), UPSTREAM_OK);
        virtual_now += 100 * VIRTUAL_MS;
    }
    assert_int_equal(scripted_requests(busy), 1);
    scripted_behave(busy, SCRIPTED_GOOD);
    virtual_now += VIRTUAL_SECOND;
    for (i = 0; i < 10; i++) {
        assert_status(scripted_deliver(up, NULL, 0), UPSTREAM_OK);
    }
    assert_int_equal(scripted_requests(busy), 6); /* its half, over the same connection */
    assert_int_equal(check_node_stats(upstream_node_at(up, 0)).connects, 1);
    upstream_destroy(up);
    scripted_stop(good);
    scripted_stop(busy);
}

/* ---- pauses ---- */

static void pause_node(upstream_t *up, size_t place, uint32_t ms)
{
    assert_status(upstream_node_pause(at(up, place), ms), UPSTREAM_OK);
}

static int64_t left(upstream_t *up, size_t place)
{
    return upstream_node_retry_after_ms(at(up, place));
}

static void a_pause_has_its_length_and_its_end(void **state)
{
    upstream_t *up = virtual_nodes(nowhere, 3, "health.backoff 5s");
    int i;
    (void)state;
    for (i = 0; i < 5; i++) { /* 0 is health.backoff, and never grows */
        pause_node(up, 0, 0);
        assert_int_equal(left(up, 0), 5000);
        virtual_now += 4999 * VIRTUAL_MS;
        assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_PAUSED);
        virtual_now += VIRTUAL_MS;
        assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_UP);
        assert_int_equal(left(up, 0), 0);
    }
    /* Of two the later end holds. */
    pause_node(up, 0, 2000);
    pause_node(up, 0, 9000);
    assert_int_equal(left(up, 0), 9000);
    pause_node(up, 0, 1000);
    assert_int_equal(left(up, 0), 9000);
    virtual_now += 8000 * VIRTUAL_MS;
    pause_node(up, 0, 3000);
    assert_int_equal(left(up, 0), 3000);
    /* An hour at most. */
    pause_node(up, 1, UINT32_MAX);
    assert_int_equal(left(up, 1), 3600 * 1000);
    /* A success of another exchange does not end it, nor does a failure eject beyond it. */
    virtual_report(up, 0, UPSTREAM_OK);
    assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_PAUSED);
    assert_int_equal(left(up, 0), 3000);
    assert_int_equal(check_stats(up).nodes_up, 1);
    assert_int_equal(check_stats(up).ejections, 0);
    for (i = 0; i < 10; i++) {
        assert_ptr_equal(upstream_next_node(up), at(up, 2));
    }
    virtual_now += 3000 * VIRTUAL_MS;
    assert_int_equal(check_stats(up).nodes_up, 2);
    for (i = 0; i < 10; i++) { /* strictly by turns with the third */
        assert_ptr_equal(upstream_next_node(up), at(up, i % 2 == 0 ? 0 : 2));
    }
    virtual_now += VIRTUAL_HOUR;
    assert_int_equal(check_stats(up).nodes_up, 3);
    upstream_destroy(up);
}

/* A pause ends when its time has come. If that were further away than the longest pause, it ends at
 * once. */
static void a_clock_that_goes_back_leaves_no_pause_longer_than_an_hour(void **state)
{
    static const uint64_t back[] = {5 * VIRTUAL_SECOND, 1800 * VIRTUAL_SECOND, 2 * VIRTUAL_HOUR,
                                    99 * VIRTUAL_HOUR};
    size_t i;
    (void)state;
    for (i = 0; i < 4; i++) {
        upstream_t *up = virtual_nodes(nowhere, 2, "");
        int pick, had = 0;
        pause_node(up, 0, 2000);
        virtual_now -= back[i];
        assert_in_range(left(up, 0), 0, 3600 * 1000);
        if (back[i] < VIRTUAL_HOUR) {
            virtual_now += back[i] + 2 * VIRTUAL_SECOND;
        }
        for (pick = 0; pick < 3; pick++) {
            had |= upstream_next_node(up) == at(up, 0);
        }
        if (!had || virtual_state(up, 0) != UPSTREAM_NODE_UP) {
            fail_msg("%llu ms back: still paused", (unsigned long long)(back[i] / VIRTUAL_MS));
        }
        upstream_destroy(up);
    }
}

static void with_all_paused_nobody_is_handed_out(void **state)
{
    upstream_t *up = virtual_nodes(nowhere, 3, "");
    upstream_attempt_t *attempt = check_attempt(up);
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    (void)state;
    pause_node(up, 0, 3000);
    pause_node(up, 1, 2000);
    pause_node(up, 2, 4000);
    assert_null(upstream_next_node(up));
    assert_int_equal(upstream_retry_after_ms(up), 2000);
    assert_int_equal(check_stats(up).nodes_up, 0);
    assert_status(upstream_deliver(up, scripted_exchange, NULL, 0, &err), UPSTREAM_ERR_BUSY);
    assert_int_equal(upstream_error_may_have_arrived(err), 0);
    check_contains(upstream_error_message(err), "2000 ms");
    upstream_error_free(err);
    assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_ERR_BUSY);
    assert_status(upstream_connect_start(up, &conn, NULL), UPSTREAM_ERR_BUSY);
    assert_status(upstream_attempt_connect(attempt, &conn, NULL), UPSTREAM_ERR_BUSY);
    assert_status(upstream_attempt_connect_start(attempt, &conn, NULL), UPSTREAM_ERR_BUSY);
    assert_null(upstream_attempt_next(attempt));
    upstream_attempt_end(attempt, UPSTREAM_ERR_BUSY);
    assert_int_equal(check_stats(up).picks, 0);
    virtual_now += 2000 * VIRTUAL_MS;
    assert_int_equal(upstream_retry_after_ms(up), 0);
    assert_ptr_equal(upstream_next_node(up), at(up, 1));
    assert_int_equal(check_stats(up).picks, 1);
    upstream_destroy(up);
}

static void
of_paused_and_ejected_nodes_the_ejected_one_that_is_due_first_is_handed_out(void **state)
{
    int i;
    upstream_t *up = virtual_nodes(nowhere, 3, "health.backoff 10s");
    (void)state;
    pause_node(up, 0, 1000);
    virtual_report(up, 1, UPSTREAM_ERR_CONNECT);
    virtual_now += VIRTUAL_SECOND / 2;
    virtual_report(up, 2, UPSTREAM_ERR_CONNECT);
    {
        size_t first = left(up, 1) <= left(up, 2) ? 1 : 2;
        for (i = 0; i < 5; i++) {
            assert_ptr_equal(upstream_next_node(up), at(up, first));
        }
    }
    assert_int_equal(upstream_retry_after_ms(up), 500);
    virtual_now += VIRTUAL_SECOND / 2; /* the pause is over: it is up */
    for (i = 0; i < 5; i++) {
        assert_ptr_equal(upstream_next_node(up), at(up, 0));
    }
    upstream_destroy(up);
}

/* A node that is ejected and paused is not tried and not up before both are over. */
static void a_pause_and_an_ejection_are_both_waited_for(void **state)
{
    static const uint32_t pauses[] = {100, 60000};
    size_t i;
    (void)state;
    for (i = 0; i < 2; i++) {
        upstream_t *up = virtual_nodes(nowhere, 2, "health.backoff 10s");
        int64_t wait;
        int pick;
        virtual_report(up, 0, UPSTREAM_ERR_CONNECT);
        wait = left(up, 0);
        pause_node(up, 0, pauses[i]);
        wait = wait > (int64_t)pauses[i] ? wait : (int64_t)pauses[i];
        assert_int_equal(left(up, 0), wait);
        virtual_now += (uint64_t)(wait - 1) * VIRTUAL_MS - 1000;
        for (pick = 0; pick < 5; pick++) {
            assert_ptr_equal(upstream_next_node(up), at(up, 1));
        }
        virtual_now += 2 * VIRTUAL_MS;
        assert_ptr_equal(upstream_next_node(up), at(up, 0));
        assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_PROBING); /* busy is not well */
        upstream_destroy(up);
    }
}

/* A node on trial that answers "busy" has answered: it is back, and paused. */
static void a_busy_answer_ends_a_trial(void **state)
{
    struct scripted *busy = scripted_start(SCRIPTED_BUSY);
    uint16_t port = scripted_port(busy);
    upstream_t *up = virtual_nodes(&port, 1, "health.max_fails 1");
    (void)state;
    virtual_report(up, 0, UPSTREAM_ERR_TIMEOUT);
    virtual_now += 2 * VIRTUAL_SECOND;
    assert_status(scripted_deliver(up, NULL, 0), UPSTREAM_ERR_BUSY);
    assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_PAUSED);
    virtual_now += 2 * VIRTUAL_SECOND;
    assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_UP);
    upstream_destroy(up);
    scripted_stop(busy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_payload_goes_on_and_nothing_is_lost_by_it),
        cmocka_unit_test(the_count_of_failures_stays),
        cmocka_unit_test(no_retry_is_paid_for_a_busy_node),
        cmocka_unit_test(retry_after_is_kept_to),
        cmocka_unit_test(a_pause_has_its_length_and_its_end),
        cmocka_unit_test(a_clock_that_goes_back_leaves_no_pause_longer_than_an_hour),
        cmocka_unit_test(with_all_paused_nobody_is_handed_out),
        cmocka_unit_test(
            of_paused_and_ejected_nodes_the_ejected_one_that_is_due_first_is_handed_out),
        cmocka_unit_test(a_pause_and_an_ejection_are_both_waited_for),
        cmocka_unit_test(a_busy_answer_ends_a_trial),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
