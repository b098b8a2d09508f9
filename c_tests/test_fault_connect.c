/* The fault matrix: nodes that cannot be connected to, that never answer, that are down and come
 * back. Rows of docs/testing.md. */
#define _GNU_SOURCE
#include "support/testbed.h"

#include <errno.h>
#include <unistd.h>

/* What is out stays out, unless the test calls it back. */
#define OUT_FOR_GOOD "health.backoff 1h\nhealth.backoff_max 1h\n"

static void refused(void **state)
{
    struct testbed bed;
    (void)state;
    testbed_open(&bed, 3, OUT_FOR_GOOD, NULL, NULL);
    proxy_close(bed.proxies[0]);
    testbed_deliver_each(&bed, 1); /* the first is the one that meets it */
    assert_int_equal(upstream_node_state(testbed_node(&bed, 0)), UPSTREAM_NODE_EJECTED);
    testbed_shares_are_even(&bed, 6, 30);
    assert_int_equal(testbed_stats(&bed, 0).connects_failed, 1);
    assert_int_equal(testbed_stats(&bed, 0).deliveries_failed, 1);
    assert_int_equal(testbed_twice(&bed), 0);
    testbed_close(&bed);
}

static void accept_then_silence(void **state)
{
    static const struct script silence = {.fault = FAULT_STALL, .direction = TO_RECEIVER};
    static const struct testbed_node nodes[3] = {{.keys = "net.io_timeout 300ms"}};
    struct testbed bed;
    size_t i;
    (void)state;
    testbed_open(&bed, 3, OUT_FOR_GOOD, nodes, NULL);
    proxy_play(bed.proxies[0], &silence);
    for (i = 0; testbed_stats(&bed, 0).ejections == 0 && i < 100; i++) {
        testbed_deliver_each(&bed, 1);
    }
    assert_int_equal(testbed_stats(&bed, 0).deliveries_failed, 3); /* health.max_fails */
    assert_int_equal(proxy_accepted(bed.proxies[0]), 3);
    testbed_shares_are_even(&bed, 6, 20);
    assert_int_equal(testbed_twice(&bed), 0);
    /* With all of them silent a delivery ends by its own deadline; net.io_timeout is a minute. */
    proxy_play(bed.proxies[1], &silence);
    proxy_play(bed.proxies[2], &silence);
    proxy_reset_all(bed.proxies[1]);
    proxy_reset_all(bed.proxies[2]);
    assert_status(testbed_deliver(&bed, 1, 400), UPSTREAM_ERR_TIMEOUT);
    testbed_close(&bed);
}

static void one_of_n_down(void **state)
{
    struct testbed bed;
    size_t i;
    (void)state;
    testbed_open(&bed, 5, OUT_FOR_GOOD, NULL, NULL);
    testbed_shares_are_even(&bed, 31, 10);
    proxy_close(bed.proxies[2]); /* with a connection to it in the pool */
    for (i = 0; testbed_stats(&bed, 2).ejections == 0 && i < 100; i++) {
        testbed_deliver_each(&bed, 1);
    }
    assert_int_equal(testbed_stats(&bed, 2).deliveries_failed, 1);
    testbed_shares_are_even(&bed, 27, 30);
    assert_int_equal(testbed_twice(&bed), 0);
    testbed_close(&bed);
}

static void all_down(void **state)
{
    struct testbed bed;
    upstream_error_t *err = NULL;
    upstream_conn_t *conn = NULL;
    size_t i, first;
    (void)state;
    testbed_open(&bed, 3, OUT_FOR_GOOD, NULL, NULL);
    testbed_shares_are_even(&bed, 7, 3);
    for (i = 0; i < 3; i++) {
        proxy_close(bed.proxies[i]);
    }
    assert_status(testbed_deliver(&bed, 1, 5000), UPSTREAM_ERR_CONNECT);
    first = descriptors_open();
    for (i = 0; i < 50; i++) {
        assert_status(testbed_deliver(&bed, 1, 5000), UPSTREAM_ERR_CONNECT);
    }
    testbed_wait_descriptors(first + 2); /* of so many none left one */
    assert_status(upstream_connect(bed.up, &conn, &err), UPSTREAM_ERR_CONNECT);
    assert_int_equal(upstream_error_errno(err), ECONNREFUSED);
    for (i = 0; i < 3; i++) {
        check_contains(upstream_error_message(err), upstream_node_name(testbed_node(&bed, i)));
    }
    check_contains(upstream_error_message(err), "all nodes are out, one may be back in");
    upstream_error_free(err);
    assert_true(upstream_retry_after_ms(bed.up) > 0);
    for (i = 0; i < 51; i++) {
        assert_int_equal(ledger_times(bed.ledger, 9 + i), 0); /* nobody had them */
    }
    testbed_close(&bed);
}

static void all_down_then_one_back(void **state)
{
    struct testbed bed;
    size_t i, back;
    (void)state;
    testbed_open(&bed, 3, OUT_FOR_GOOD, NULL, NULL);
    testbed_shares_are_even(&bed, 7, 3);
    for (back = 0; back < 3; back++) {
        for (i = 0; i < 3; i++) {
            proxy_close(bed.proxies[i]);
        }
        assert_status(testbed_deliver(&bed, 1, 5000), UPSTREAM_ERR_CONNECT);
        assert_status(testbed_deliver(&bed, 1, 5000), UPSTREAM_ERR_CONNECT);
        proxy_open(bed.proxies[back]);
        /* Its hour is not over, but with all nodes out each is asked. */
        testbed_shares_are_even(&bed, 1u << back, 20);
        assert_int_equal(upstream_node_state(testbed_node(&bed, back)), UPSTREAM_NODE_UP);
        assert_int_equal(upstream_retry_after_ms(bed.up), 0);
    }
    assert_int_equal(testbed_twice(&bed), 0);
    testbed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused),
        cmocka_unit_test(accept_then_silence),
        cmocka_unit_test(one_of_n_down),
        cmocka_unit_test(all_down),
        cmocka_unit_test(all_down_then_one_back),
    };
    return check_run_tests(tests, NULL, NULL);
}
