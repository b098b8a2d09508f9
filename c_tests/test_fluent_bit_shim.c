/* upstream/fluent_bit.h: an unchanged plugin for the agent, compiled with the flag and without it,
 * in a stand-in for the agent. Both are loaded as modules, as the agent loads them. Here: which
 * node a flush gets, and what its end says. */
#define _GNU_SOURCE
#include "guest_agent/shim_bed.h"
#include "support/loopback.h"

#include <time.h>
#include <unistd.h>

static void the_order_is_the_librarys(void **state)
{
    struct shim_three three = shim_three_start();
    (void)state;
    shim_start(WITH_FLAG, three.ports, 3, "    weight 2\n");
    assert_int_equal(shim_flush(0, 9, 1, FLB_OK), 9);
    assert_memory_equal(shim_records()->order, "abcabcabc", 9);
    shim_stop();

    /* A draining node is never handed out, although the agent does not know about it. */
    shim_start(WITH_FLAG, three.ports, 3, "    weight ${NONE:-1}\n");
    assert_int_equal(guest_warnings(), 0);
    shim_stop();
    shim_write_nodes(three.ports, 2, "");
    FILE *out = fopen(shim_path, "a");
    assert_non_null(out);
    fprintf(out,
            "[NODE]\n    name drained\n    host 127.0.0.1\n    port %u\n    label c\n"
            "    weight 0\n",
            three.ports[2]);
    fclose(out);
    guest_start(&shim_guest, WITH_FLAG, "out_records_plugin", shim_path, 0, NULL);
    assert_int_equal(shim_flush(0, 6, 1, FLB_OK), 6);
    assert_memory_equal(shim_records()->order, "ababab", 6);
    shim_stop();
    shim_three_stop(&three);
}

static void one_of_three_refuses_and_no_flush_fails(void **state)
{
    struct shim_three three = shim_three_start();
    (void)state;
    counter_kill(three.counters[1]);
    shim_start(WITHOUT_FLAG, three.ports, 3, "");
    assert_int_equal(shim_flush(0, 300, 8, FLB_OK), 200);
    shim_stop();

    shim_start(WITH_FLAG, three.ports, 3, "    health.backoff 60s\n    health.backoff_max 60s\n");
    assert_int_equal(shim_flush(0, 300, 8, FLB_OK), 300);
    shim_arrived(300);
    assert_int_equal(shim_picks_of('b'), 0);
    /* once, and by those that were on their way there at the time */
    assert_in_range(guest_connects_failed(), 1, 8);
    shim_stop();
    shim_three_stop(&three);
}

static void a_node_that_comes_back_is_used_again(void **state)
{
    struct shim_three three = shim_three_start();
    (void)state;
    counter_kill(three.counters[0]);
    shim_start(WITH_FLAG, three.ports, 3,
               "    health.backoff 50ms\n    health.backoff_max 100ms\n");
    assert_int_equal(shim_flush(0, 30, 4, FLB_OK), 30);
    assert_int_equal(shim_picks_of('a'), 0);
    counter_revive(three.counters[0]);
    shim_flush_until_picked('a', 5);
    shim_stop();
    shim_three_stop(&three);
}

static void what_breaks_under_the_plugin_counts(void **state)
{
    static const struct {
        enum loopback_behaviour behaviour;
    } kinds[] = {
        {LOOPBACK_RESET}, /* a network error */
        /* an answer, and then a kept connection that ends: no fault at all */
        {LOOPBACK_CLOSE_AFTER},
        {LOOPBACK_DRIP}, /* the wrong answer: only FLB_RETRY shows it */
    };
    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct loopback *bad = loopback_start(kinds[i].behaviour),
                        *good = loopback_start(LOOPBACK_ECHO);
        uint16_t ports[2] = {loopback_port(bad), loopback_port(good)};
        shim_start(WITH_FLAG, ports, 2, "    health.max_fails 3\n    health.backoff 60s\n");
        shim_flush(0, 20, 1, FLB_OK);
        assert_int_equal(shim_picks_of('a'), kinds[i].behaviour == LOOPBACK_CLOSE_AFTER ? 10 : 3);
        assert_int_equal(shim_picks_of('a') + shim_picks_of('b'), 20);
        shim_stop();
        loopback_stop(bad);
        loopback_stop(good);
    }
}

static void unsendable_chunks_blame_no_node(void **state)
{
    struct shim_three three = shim_three_start();
    (void)state;
    shim_start(WITH_FLAG, three.ports, 3, "    health.max_fails 1\n    health.backoff 60s\n");
    shim_records()->manner = RECORDS_UNSENDABLE;
    assert_int_equal(shim_flush(0, 12, 1, FLB_ERROR), 12);
    assert_memory_equal(shim_records()->order, "abcabcabcabc", 12);
    shim_stop();
    shim_three_stop(&three);
}

static void coming_back_after_a_network_error_meets_other_nodes(void **state)
{
    struct loopback *bad[2] = {loopback_start(LOOPBACK_RESET), loopback_start(LOOPBACK_RESET)};
    struct loopback *good = loopback_start(LOOPBACK_ECHO);
    uint16_t ports[3] = {loopback_port(bad[0]), loopback_port(bad[1]), loopback_port(good)};
    (void)state;
    shim_start(WITH_FLAG, ports, 3, "    health.max_fails 1000\n");
    shim_records()->manner = RECORDS_AGAIN;
    assert_int_equal(shim_flush(0, 1, 1, FLB_OK), 1);
    assert_memory_equal(shim_records()->order, "abc", 3);
    assert_int_equal(shim_flush(0, 10, 5, FLB_OK), 10);
    assert_in_range(atomic_load(&shim_records()->picked), 13, 33);
    shim_stop();

    /* If every node breaks, the plugin's ten rounds end when no node is left. */
    shim_start(WITH_FLAG, ports, 2, "    health.max_fails 1000\n");
    shim_records()->manner = RECORDS_AGAIN;
    assert_int_equal(shim_flush(0, 1, 1, FLB_RETRY), 1);
    assert_memory_equal(shim_records()->order, "ab", 2);
    assert_int_equal(atomic_load(&shim_records()->picked), 2);
    shim_stop();
    loopback_stop(bad[0]);
    loopback_stop(bad[1]);
    loopback_stop(good);
}

static void a_pick_without_a_connection_leaks_none(void **state)
{
    struct shim_three three = shim_three_start();
    (void)state;
    shim_start(WITH_FLAG, three.ports, 3, "    health.max_fails 1\n");
    shim_records()->manner = RECORDS_PICK_ONLY;
    assert_int_equal(shim_flush(0, 30, 5, FLB_ERROR), 30);
    assert_int_equal(guest_connections_busy(), 0);
    /* A new connection that nobody has used must not look used to a plugin that logs in once per
     * connection. */
    assert_int_equal(guest_connections_kept(), 0);

    shim_records()->manner = RECORDS_SEND;
    assert_int_equal(shim_flush(0, 3, 1, FLB_OK), 3);
    assert_int_equal(guest_connections_kept(), 3);
    shim_records()->manner = RECORDS_PICK_ONLY;
    assert_int_equal(shim_flush(0, 3, 1, FLB_ERROR), 3);
    assert_int_equal(guest_connections_kept(), 3); /* a used one is kept on */

    shim_records()->manner = RECORDS_PICK_TWICE;
    assert_int_equal(shim_flush(0, 30, 5, FLB_OK), 30);
    shim_stop();
    shim_three_stop(&three);
}

static void two_connections_in_hand_at_once(void **state)
{
    struct shim_three three = shim_three_start();
    (void)state;
    shim_start(WITH_FLAG, three.ports, 3, "");
    shim_records()->manner = RECORDS_TWO;
    assert_int_equal(shim_flush(0, 30, 5, FLB_OK), 30);
    assert_int_equal(atomic_load(&shim_records()->picked), 60);
    shim_stop();
    shim_three_stop(&three);
}

static void several_payloads_in_one_flush(void **state)
{
    struct shim_three three = shim_three_start();
    (void)state;
    shim_start(WITH_FLAG, three.ports, 3, "");
    shim_records()->manner = RECORDS_SEVERAL;
    assert_int_equal(shim_flush(0, 2, 1, FLB_OK), 2);
    assert_memory_equal(shim_records()->order, "abcabcabcabc", 12);
    shim_stop();
    shim_three_stop(&three);
}

static void another_server_between_pick_and_connection(void **state)
{
    struct shim_three three = shim_three_start();
    (void)state;
    shim_start(WITH_FLAG, three.ports, 2, "");
    shim_records()->manner = RECORDS_LOOK_UP;
    shim_records()->u = flb_upstream_create(NULL, "127.0.0.1", three.ports[2], 0, NULL);
    assert_int_equal(shim_flush(0, 40, 10, FLB_OK), 40);
    shim_arrived(40);
    shim_stop();
    shim_three_stop(&three);
}

static void work_that_is_no_flush(void **state)
{
    struct loopback *bad = loopback_start(LOOPBACK_RESET), *good = loopback_start(LOOPBACK_ECHO);
    uint16_t ports[2] = {loopback_port(bad), loopback_port(good)};
    (void)state;
    /* In a coroutine nothing says when the exchange is over, so its outcome counts a while later;
     * outside of coroutines it counts at once. */
    shim_start(WITH_FLAG, ports, 2, "    health.max_fails 1\n    health.backoff 60s\n");
    guest_timer(&shim_guest, 1);
    assert_int_equal(shim_flush(0, 1, 1, FLB_OK), 1);
    assert_int_equal(guest_warnings(), 0);
    guest_time_passes(60);
    assert_int_equal(shim_flush(0, 1, 1, FLB_OK), 1);
    assert_memory_equal(shim_records()->order, "abb", 3);
    assert_int_equal(guest_warnings(), 1);
    shim_stop();

    shim_start(WITH_FLAG, ports, 2, "    health.max_fails 1\n    health.backoff 60s\n");
    guest_timer(&shim_guest, 0);
    assert_int_equal(guest_warnings(), 1);
    assert_int_equal(shim_flush(0, 3, 1, FLB_OK), 3);
    assert_memory_equal(shim_records()->order, "abbb", 4);
    shim_stop();
    loopback_stop(bad);
    loopback_stop(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_order_is_the_librarys),
        cmocka_unit_test(one_of_three_refuses_and_no_flush_fails),
        cmocka_unit_test(a_node_that_comes_back_is_used_again),
        cmocka_unit_test(what_breaks_under_the_plugin_counts),
        cmocka_unit_test(unsendable_chunks_blame_no_node),
        cmocka_unit_test(coming_back_after_a_network_error_meets_other_nodes),
        cmocka_unit_test(a_pick_without_a_connection_leaks_none),
        cmocka_unit_test(two_connections_in_hand_at_once),
        cmocka_unit_test(several_payloads_in_one_flush),
        cmocka_unit_test(another_server_between_pick_and_connection),
        cmocka_unit_test(work_that_is_no_flush),
    };
    return cmocka_run_group_tests(tests, shim_make_path, shim_remove_path);
}
