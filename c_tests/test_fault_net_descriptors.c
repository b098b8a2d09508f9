/* The fault matrix: this process has no descriptors left. The error says so, no node is blamed, and
 * everything works again as soon as there are some. Each row is a ctest (see docs/testing.md). */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/descriptors.h"
#include "support/senders.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT = 30000, SLACK = 5000, NODES = 3 };

static const char *const addresses[] = {"127.0.0.1", "127.0.0.1", "127.0.0.1"};

static struct senders senders;
static size_t descriptors_before;

static void start(const char *settings)
{
    char *text;
    descriptors_before = descriptors_open();
    senders_start(&senders, addresses, NODES, TIMEOUT);
    text = senders_text(&senders, addresses, settings);
    senders.up = check_create(text, NULL);
    free(text);
}

static void stop(void)
{
    senders_stop(&senders);
    assert_true(descriptors_fall_to(descriptors_before));
}

/* What every call says that fails because there is no descriptor. */
static void says_so(upstream_error_t *err)
{
    assert_non_null(err);
    assert_int_equal(upstream_error_errno(err), EMFILE);
    check_contains(upstream_error_message(err), "raise its limit (ulimit -n");
    upstream_error_free(err);
}

static upstream_status_t never_called(upstream_conn_t *conn, void *ctx)
{
    (void)conn;
    *(int *)ctx = 1;
    return UPSTREAM_OK;
}

static double processor_seconds(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static void descriptors_exhausted(void **state)
{
    upstream_conn_t *conn = NULL;
    upstream_t *another = NULL;
    upstream_error_t *err = NULL;
    char *text;
    double used;
    int called = 0;
    (void)state;
    start("");
    text = senders_text(&senders, addresses, "");
    descriptors_forbid(0);
    assert_status(upstream_deliver(senders.up, never_called, &called, 0, &err),
                  UPSTREAM_ERR_CONNECT);
    check_contains(upstream_error_message(err), "node-1 (127.0.0.1:");
    check_contains(upstream_error_message(err), "node-3 (127.0.0.1:");
    says_so(err);
    err = NULL;
    assert_status(upstream_connect(senders.up, &conn, &err), UPSTREAM_ERR_CONNECT);
    says_so(err);
    err = NULL;
    assert_status(upstream_node_connect(upstream_node_at(senders.up, 0), &conn, &err),
                  UPSTREAM_ERR_CONNECT);
    says_so(err);
    err = NULL;
    assert_status(upstream_connect_start(senders.up, &conn, &err), UPSTREAM_ERR_CONNECT);
    says_so(err);
    err = NULL;
    assert_true(upstream_create_from_text(text, strlen(text), "test.conf", NULL, &another, &err) <
                0);
    assert_int_equal(upstream_error_errno(err), EMFILE);
    upstream_error_free(err);
    assert_null(another);
    assert_null(conn);
    assert_int_equal(called, 0);
    used = processor_seconds();
    usleep(1000 * 1000);
    assert_true(processor_seconds() - used < 0.5); /* nothing goes round in circles */
    descriptors_allow();
    free(text);

    assert_int_equal(check_stats(senders.up).nodes_up, NODES);
    assert_int_equal(check_stats(senders.up).ejections, 0);
    assert_int_equal(check_stats(senders.up).active, 0);
    senders_even(&senders, 7);
    assert_int_equal(senders_balance(&senders, SLACK), 0);
    stop();
}

static void descriptors_exhausted_pooled(void **state)
{
    int i;
    (void)state;
    start("");
    for (i = 0; i < NODES; i++) {
        senders_deliver(&senders);
    }
    assert_int_equal(check_stats(senders.up).idle, NODES);
    descriptors_forbid(0);
    senders_even(&senders, 7); /* what is open serves on */
    assert_int_equal(senders.failed, 0);
    senders.may_fail = 1;
    senders_go(&senders, 8); /* more than there are connections */
    usleep(500 * 1000);
    senders_rest(&senders);
    descriptors_allow();
    if (senders.failed > 0) {
        check_contains(senders.word, "raise its limit");
    }
    assert_int_equal(check_stats(senders.up).nodes_up, NODES);
    assert_int_equal(check_stats(senders.up).ejections, 0);
    senders.may_fail = 0;
    senders.failed = 0;
    senders_go(&senders, 8);
    usleep(200 * 1000);
    senders_rest(&senders);
    senders_even(&senders, 7);
    assert_int_equal(senders_balance(&senders, SLACK), 0);
    stop();
}

static void descriptors_exhausted_trial(void **state)
{
    (void)state;
    start("net.connect_timeout 10m\nhealth.backoff 100ms\nhealth.backoff_max 100ms");
    counter_kill(senders.counters[1]);
    senders_even(&senders, 1 | 4);
    assert_int_equal(check_stats(senders.up).nodes_up, NODES - 1);
    usleep(300 * 1000);
    descriptors_forbid(0);
    /* one of them is a trial that cannot be made: it proves nothing, and the next one is soon */
    senders_even(&senders, 1 | 4);
    descriptors_allow();
    counter_revive(senders.counters[1]);
    senders_heal(&senders);
    senders_even(&senders, 7);
    assert_int_equal(senders_balance(&senders, SLACK), 0);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptors_exhausted),
        cmocka_unit_test(descriptors_exhausted_pooled),
        cmocka_unit_test(descriptors_exhausted_trial),
    };
    return check_run_tests(tests, NULL, NULL);
}
