/* Health on a clock of the test: which node is ejected, which nodes are picked then, which one gets
 * the trial, and when a node is back. */
#define _GNU_SOURCE
#include "support/check.h"

#define SECOND 1000000000ull

static const uint16_t ports[6] = {43000, 43001, 43002, 43003, 43004, 43005};
static uint64_t now; /* nanoseconds; the clock of the sets in this file */

static uint64_t the_clock(void *ctx)
{
    return *(const uint64_t *)ctx;
}

static upstream_t *set_of(const char *text)
{
    upstream_options_t *options;
    upstream_t *up;
    now = 1000 * SECOND;
    assert_status(upstream_options_create(&options), UPSTREAM_OK);
    assert_status(upstream_options_set_clock(options, the_clock, &now), UPSTREAM_OK);
    up = check_create(text, options);
    upstream_options_destroy(options);
    return up;
}

static upstream_t *nodes(size_t count, const char *more)
{
    char *text = check_nodes_text(ports, count, more);
    upstream_t *up = set_of(text);
    free(text);
    return up;
}

/* Expects the next picks to be these nodes, by their places in the file from 1: "1231". */
static void picks_are(upstream_t *up, const char *places)
{
    for (; *places != '\0'; places++) {
        upstream_node_t *node = upstream_next_node(up);
        assert_non_null(node);
        assert_ptr_equal(node, upstream_node_at(up, (size_t)(*places - '1')));
    }
}

static void report(upstream_t *up, size_t place, upstream_status_t outcome, size_t times)
{
    while (times-- > 0) {
        assert_status(upstream_node_report(upstream_node_at(up, place - 1), outcome), UPSTREAM_OK);
    }
}

static void state_is(upstream_t *up, size_t place, int32_t state)
{
    assert_int_equal(upstream_node_state(upstream_node_at(up, place - 1)), state);
}

static void three_failures_in_a_row_take_a_node_out(void **state)
{
    upstream_t *up = nodes(3, "");
    upstream_stats_t stats;
    (void)state;
    picks_are(up, "12");
    report(up, 2, UPSTREAM_ERR_TIMEOUT, 2);
    report(up, 2, UPSTREAM_OK, 1); /* the count starts anew */
    report(up, 2, UPSTREAM_ERR_CLOSED, 2);
    state_is(up, 2, UPSTREAM_NODE_UP);
    picks_are(up, "3123");
    report(up, 2, UPSTREAM_ERR_PROTOCOL, 1);
    state_is(up, 2, UPSTREAM_NODE_EJECTED);
    /* Its share goes to both of the others, from the one that is next. */
    picks_are(up, "131313");
    assert_in_range(upstream_node_retry_after_ms(upstream_node_at(up, 1)), 800, 1200);
    assert_int_equal(upstream_node_retry_after_ms(upstream_node_at(up, 0)), 0);
    assert_int_equal(upstream_retry_after_ms(up), 0);
    stats = check_stats(up);
    assert_int_equal(stats.nodes_up, 2);
    assert_int_equal(stats.ejections, 1);
    upstream_destroy(up);
}

static void hard_faults_take_it_out_at_once_and_the_callers_own_do_not(void **state)
{
    static const upstream_status_t hard[] = {UPSTREAM_ERR_CONNECT, UPSTREAM_ERR_TLS,
                                             UPSTREAM_ERR_CERT};
    static const upstream_status_t none[] = {UPSTREAM_ERR_INVALID_ARG, UPSTREAM_ERR_CANCELLED,
                                             UPSTREAM_ERR_LIMIT, UPSTREAM_STOP};
    upstream_t *up = nodes(5, "");
    size_t i;
    (void)state;
    for (i = 0; i < 3; i++) {
        report(up, i + 1, hard[i], 1);
        state_is(up, i + 1, UPSTREAM_NODE_EJECTED);
    }
    for (i = 0; i < 4; i++) {
        report(up, 4, none[i], 10);
        state_is(up, 4, UPSTREAM_NODE_UP);
    }
    picks_are(up, "454545");
    upstream_destroy(up);
}

static void one_caller_gets_the_trial_and_a_success_ends_it(void **state)
{
    upstream_t *up = nodes(3, "");
    (void)state;
    picks_are(up, "1");
    report(up, 1, UPSTREAM_ERR_CONNECT, 1);
    now += SECOND * 12 / 10;
    /* The trial takes no turn from the others. */
    picks_are(up, "123232");
    state_is(up, 1, UPSTREAM_NODE_PROBING);
    report(up, 1, UPSTREAM_OK, 1);
    state_is(up, 1, UPSTREAM_NODE_UP);
    picks_are(up, "312312");
    upstream_destroy(up);
}

static void a_trial_that_fails_makes_the_next_wait_longer(void **state)
{
    /* The backoff: 1 s, then times 1.6 each time, up to the maximum, and randomly 20 % more or
     * less. */
    static const unsigned millis[] = {1000, 1600, 2560, 4000, 4000};
    upstream_t *up = nodes(2, "health.backoff_max 4s");
    upstream_node_t *first = upstream_node_at(up, 0);
    size_t i;
    (void)state;
    report(up, 1, UPSTREAM_ERR_CONNECT, 1);
    for (i = 0; i < 5; i++) {
        int64_t wait = upstream_node_retry_after_ms(first);
        assert_in_range(wait, millis[i] * 8 / 10, millis[i] * 12 / 10 + 1);
        now += (uint64_t)(wait - 2) * 1000000;
        picks_are(up, "222"); /* not before its time */
        now += 2 * 1000000;
        picks_are(up, "1");
        report(up, 1, UPSTREAM_ERR_TIMEOUT, 1); /* one failure is enough on trial */
        state_is(up, 1, UPSTREAM_NODE_EJECTED);
    }
    upstream_destroy(up);
}

static void a_trial_nobody_reports_of_is_handed_out_again(void **state)
{
    upstream_t *up = nodes(2, "net.connect_timeout 5s");
    (void)state;
    report(up, 1, UPSTREAM_ERR_CONNECT, 1);
    now += 2 * SECOND;
    picks_are(up, "1222");
    now += 5 * SECOND; /* a connect may just have failed, and its outcome is on its way */
    picks_are(up, "222");
    now += SECOND;
    picks_are(up, "1222");
    upstream_destroy(up);
}

static void with_all_out_the_one_that_is_back_first_is_handed_out(void **state)
{
    upstream_t *up = nodes(3, "");
    int64_t soonest;
    (void)state;
    report(up, 1, UPSTREAM_ERR_CONNECT, 1);
    now += SECOND * 9 / 10;
    report(up, 2, UPSTREAM_ERR_CONNECT, 1);
    now += SECOND / 100;
    report(up, 3, UPSTREAM_ERR_CONNECT, 1);
    soonest = upstream_node_retry_after_ms(upstream_node_at(up, 0));
    assert_int_equal(upstream_retry_after_ms(up), soonest);
    assert_in_range(soonest, 0, 290);
    picks_are(up, "1"); /* its time may even be up */
    report(up, 1, UPSTREAM_OK, 1);
    picks_are(up, "111");
    assert_int_equal(upstream_retry_after_ms(up), 0);
    upstream_destroy(up);
}

static void a_clock_that_jumps_locks_nobody_out(void **state)
{
    upstream_t *up = nodes(2, "");
    (void)state;
    report(up, 1, UPSTREAM_ERR_CONNECT, 1);
    now -= 900 * SECOND; /* back */
    picks_are(up, "12");
    report(up, 1, UPSTREAM_OK, 1);
    picks_are(up, "12");
    report(up, 1, UPSTREAM_ERR_CONNECT, 1);
    now += 100 * 86400 * SECOND; /* and far ahead */
    picks_are(up, "12");
    upstream_destroy(up);
}

static void weights_are_exact_in_each_cycle_and_spread_within_it(void **state)
{
    upstream_t *up = set_of("[UPSTREAM]\nname u\n"
                            "[NODE]\nname a\nhost h\nport 1\nweight 5\n"
                            "[NODE]\nname b\nhost h\nport 2\nweight 1\n"
                            "[NODE]\nname c\nhost h\nport 3\nweight 1\n"
                            "[NODE]\nname d\nhost h\nport 4\nweight 0\n");
    static const double weights[] = {5, 1, 1, 0};
    size_t picks[4] = {0, 0, 0, 0}, turn, i;
    (void)state;
    state_is(up, 4, UPSTREAM_NODE_DRAINING);
    for (turn = 1; turn <= 700; turn++) {
        upstream_node_t *node = upstream_next_node(up);
        for (i = 0; i < 4; i++) {
            double due = (double)turn * weights[i] / 7;
            picks[i] += node == upstream_node_at(up, i);
            /* Tijdeman's bound */
            assert_true((double)picks[i] - due < 1 && due - (double)picks[i] < 1);
            if (turn % 7 == 0) {
                assert_int_equal(picks[i], (size_t)weights[i] * turn / 7);
            }
        }
    }
    upstream_destroy(up);
}

static void a_lower_tier_serves_only_while_none_above_can(void **state)
{
    upstream_t *up = set_of("[UPSTREAM]\nname u\n"
                            "[NODE]\nname a\nhost h\nport 1\n[NODE]\nname b\nhost h\nport 2\n"
                            "[NODE]\nname c\nhost h\nport 3\npriority 1\n[NODE]\nname d\nhost h\n"
                            "port 4\npriority 1\n");
    (void)state;
    picks_are(up, "1212");
    report(up, 1, UPSTREAM_ERR_CONNECT, 1);
    picks_are(up, "222");
    report(up, 2, UPSTREAM_ERR_CONNECT, 1);
    picks_are(up, "3434");
    report(up, 2, UPSTREAM_OK, 1);
    picks_are(up, "222"); /* at once */
    upstream_destroy(up);
}

static void an_attempt_meets_each_node_once(void **state)
{
    upstream_t *up = nodes(3, "");
    upstream_attempt_t *attempt;
    upstream_node_t *met[3];
    size_t i;
    (void)state;
    assert_status(upstream_attempt_begin(up, &attempt), UPSTREAM_OK);
    for (i = 0; i < 3; i++) {
        met[i] = upstream_attempt_next(attempt);
        assert_ptr_equal(met[i], upstream_node_at(up, i));
        assert_status(upstream_node_report(met[i], UPSTREAM_ERR_CONNECT), UPSTREAM_OK);
    }
    assert_null(upstream_attempt_next(attempt));
    assert_null(upstream_attempt_next(attempt));
    upstream_attempt_end(attempt, UPSTREAM_ERR_CONNECT);
    assert_in_range(upstream_retry_after_ms(up), 800, 1201);
    /* Another one still gets nodes: the soonest back first. */
    assert_status(upstream_attempt_begin(up, &attempt), UPSTREAM_OK);
    assert_non_null(upstream_attempt_next(attempt));
    upstream_attempt_end(attempt, UPSTREAM_OK);
    assert_int_equal(upstream_retry_after_ms(up), 0);
    upstream_destroy(up);
}

static void attempts_and_the_retry_budget_bound_it(void **state)
{
    upstream_t *up = set_of("[UPSTREAM]\nname u\ndeliver.attempts 2\n[NODE]\nname a\nhost h\n"
                            "port 1\n"
                            "[NODE]\nname b\nhost h\nport 2\n[NODE]\nname c\nhost h\nport 3\n");
    upstream_attempt_t *attempt;
    size_t second = 0, i;
    (void)state;
    for (i = 0; i < 100; i++) {
        assert_status(upstream_attempt_begin(up, &attempt), UPSTREAM_OK);
        assert_non_null(upstream_attempt_next(attempt));
        second += upstream_attempt_next(attempt) != NULL;
        assert_null(upstream_attempt_next(attempt));
        /* this test does not ask whose fault it is */
        upstream_attempt_end(attempt, UPSTREAM_ERR_LIMIT);
    }
    assert_int_equal(second, 20); /* ten tokens, and the ten of this second */
    now += SECOND;
    for (i = 0, second = 0; i < 100; i++) {
        assert_status(upstream_attempt_begin(up, &attempt), UPSTREAM_OK);
        assert_non_null(upstream_attempt_next(attempt));
        second += upstream_attempt_next(attempt) != NULL;
        upstream_attempt_end(attempt, UPSTREAM_ERR_LIMIT);
    }
    assert_int_equal(second, 10);
    upstream_destroy(up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_failures_in_a_row_take_a_node_out),
        cmocka_unit_test(hard_faults_take_it_out_at_once_and_the_callers_own_do_not),
        cmocka_unit_test(one_caller_gets_the_trial_and_a_success_ends_it),
        cmocka_unit_test(a_trial_that_fails_makes_the_next_wait_longer),
        cmocka_unit_test(a_trial_nobody_reports_of_is_handed_out_again),
        cmocka_unit_test(with_all_out_the_one_that_is_back_first_is_handed_out),
        cmocka_unit_test(a_clock_that_jumps_locks_nobody_out),
        cmocka_unit_test(weights_are_exact_in_each_cycle_and_spread_within_it),
        cmocka_unit_test(a_lower_tier_serves_only_while_none_above_can),
        cmocka_unit_test(an_attempt_meets_each_node_once),
        cmocka_unit_test(attempts_and_the_retry_budget_bound_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
