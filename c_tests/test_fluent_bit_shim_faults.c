/* upstream/fluent_bit.h, as in test_fluent_bit_shim: nodes that are down, silent or full, files
 * that the library refuses, and workers side by side. */
#define _GNU_SOURCE
#include "guest_agent/shim_bed.h"
#include "support/loopback.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

static void all_nodes_down(void **state)
{
    struct shim_three three = shim_three_start();
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        counter_kill(three.counters[i]);
    }
    shim_start(WITH_FLAG, three.ports, 3,
               "    health.backoff 50ms\n    health.backoff_max 100ms\n");
    assert_int_equal(shim_flush(0, 20, 4, FLB_RETRY), 20);
    assert_int_equal(atomic_load(&shim_records()->picked), 0);
    counter_revive(three.counters[2]);
    shim_flush_until_picked('c', 3);
    shim_stop();
    shim_three_stop(&three);
}

static void a_connect_that_runs_out_of_time_is_one_of_max_fails(void **state)
{
    struct shim_three three = shim_three_start();
    (void)state;
    guest_set_connect_hangs(three.ports[0]);
    shim_start(WITH_FLAG, three.ports, 2, "    health.max_fails 2\n    health.backoff 60s\n");
    assert_int_equal(shim_flush(0, 8, 1, FLB_OK), 8);
    assert_int_equal(guest_connects_failed(), 2);
    guest_set_connect_hangs(0);
    shim_stop();
    shim_three_stop(&three);
}

static void a_node_that_accepts_and_is_silent_is_out_after_max_fails(void **state)
{
    static const char lines[] =
        "    health.max_fails 2\n    health.backoff 60s\n    net.io_timeout 1s\n";
    struct loopback *silent = loopback_start(LOOPBACK_SILENT);
    struct loopback *good = loopback_start(LOOPBACK_ECHO);
    uint16_t ports[2] = {loopback_port(silent), loopback_port(good)};
    size_t arrived_at_once;
    (void)state;
    shim_start(WITH_FLAG, ports, 2, lines);
    /* One by one: two flushes wait for the silent node. */
    assert_int_equal(shim_flush(0, 20, 1, FLB_OK), 18);
    assert_int_equal(shim_flush(0, 20, 8, FLB_OK), 20);
    assert_int_equal(shim_picks_of('a'), 2);
    assert_int_equal(loopback_connections(silent), 2); /* no connection that was silent is kept */
    shim_stop();

    /* Those that are on their way to it at the time come back too, and each only once. */
    shim_start(WITH_FLAG, ports, 2, lines);
    arrived_at_once = shim_flush(0, 40, 8, FLB_OK);
    assert_int_equal(arrived_at_once, 40 - shim_picks_of('a'));
    assert_in_range(shim_picks_of('a'), 8, 9); /* all eight wait there by then */
    assert_int_equal(shim_flush(0, 20, 8, FLB_OK), 20);
    shim_stop();
    loopback_stop(silent);
    loopback_stop(good);
}

static void silence_is_bounded_however_the_plugin_sets_its_nodes_up(void **state)
{
    static const struct {
        const char *in_file;
        int of_output, expected;
    } rows[] = {
        {"", 0, 60}, /* the library's default in place of the agent's, which is for ever */
        {"", 7, 7},
        {"    net.io_timeout 5s\n", 0, 5},
        {"    NET.io_timeout 5s\n", 7, 5},
        {"    net.io_timeout 2500ms\n", 7, 3},
        {"    net.io_timeout 2m\n", 0, 120},
        /* the library refuses the file; its nodes are balanced */
        {"    net.io_timeout 0s\n", 0, 60},
        {"    tls.no_such_key on\n    net.io_timeout 4s\n", 0, 4},
    };
    static const enum guest_net_setup_for ways[] = {GUEST_FOR_THE_SET, GUEST_FOR_EACH_NODE,
                                                    GUEST_FOR_NONE};
    struct shim_three three = shim_three_start();
    (void)state;
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        for (size_t way = 0; way < sizeof(ways) / sizeof(ways[0]); way++) {
            int expected = rows[row].expected, of_output = rows[row].of_output;
            struct mk_list *at;
            if (ways[way] == GUEST_FOR_NONE && expected == of_output) {
                expected = 60; /* what the output says does not reach the nodes */
            }
            guest_set_io_timeout(of_output, ways[way]);
            shim_start(WITH_FLAG, three.ports, 3, rows[row].in_file);
            mk_list_foreach (at, &shim_records()->ha->nodes) {
                const struct flb_upstream_node *node =
                    mk_list_entry(at, struct flb_upstream_node, _head);
                assert_int_equal(node->u->base.net.io_timeout, expected);
            }
            assert_int_equal(shim_flush(0, 3, 1, FLB_OK), 3);
            shim_stop();
        }
    }
    guest_set_io_timeout(0, GUEST_FOR_THE_SET);
    /* A plugin with a single server gets what the agent gives it. */
    guest_start(&shim_guest, WITH_FLAG, "out_records_plugin", NULL, three.ports[0], NULL);
    assert_int_equal(shim_records()->u->base.net.io_timeout, 0);
    shim_stop();
    shim_three_stop(&three);
}

static void a_full_worker_blames_no_node(void **state)
{
    struct shim_three three = shim_three_start();
    (void)state;
    guest_set_connect_limit(1);
    shim_start(WITH_FLAG, three.ports, 3, "    health.max_fails 1\n    health.backoff 60s\n");
    /* Four at once over three connections: one of them finds every node full now and then. */
    assert_in_range(shim_flush(0, 60, 4, FLB_OK), 45, 60);
    guest_set_connect_limit(0);
    assert_int_equal(guest_connects_failed(), 0);
    assert_int_equal(guest_warnings(), 0); /* an ejection would be one */
    shim_stop();
    shim_three_stop(&three);
}

static void a_plugin_with_one_server_is_as_before(void **state)
{
    struct shim_three three = shim_three_start();
    (void)state;
    guest_start(&shim_guest, WITH_FLAG, "out_records_plugin", NULL, three.ports[0], NULL);
    assert_int_equal(shim_flush(0, 30, 5, FLB_OK), 30);
    shim_arrived(30);
    counter_kill(three.counters[0]);
    assert_int_equal(shim_flush(0, 5, 5, FLB_RETRY), 5);
    shim_stop();
    shim_three_stop(&three);
}

static void a_file_the_library_refuses_is_balanced_all_the_same(void **state)
{
    struct shim_three three = shim_three_start();
    (void)state;
    counter_kill(three.counters[1]);
    shim_start(WITH_FLAG, three.ports, 3, "    tls.no_such_key on\n    health.backoff 60s\n");
    assert_int_equal(guest_warnings(), 1);
    assert_int_equal(shim_flush(0, 30, 1, FLB_OK), 30);
    assert_int_equal(guest_connects_failed(), 1); /* so the health keys were taken over */
    shim_stop();

    /* If not even the nodes can be used, the agent's own order is left. */
    shim_start(WITH_FLAG, three.ports, 3, "    health.max_fails none\n");
    assert_int_equal(guest_warnings(), 2);
    assert_int_equal(shim_flush(0, 30, 1, FLB_OK), 20);
    shim_stop();
    shim_three_stop(&three);
}

static void a_relative_file_is_found_where_the_agent_finds_it(void **state)
{
    struct shim_three three = shim_three_start();
    (void)state;
    counter_kill(three.counters[0]);
    shim_write_nodes(three.ports, 3, "");
    guest_start(&shim_guest, WITH_FLAG, "out_records_plugin", shim_path + strlen("/tmp/"), 0,
                "/tmp/");
    assert_int_equal(guest_warnings(), 0);
    assert_int_equal(shim_flush(0, 9, 1, FLB_OK), 9);
    shim_stop();
    shim_three_stop(&three);
}

static void ending_with_flushes_under_way(void **state)
{
    struct shim_three three = shim_three_start();
    (void)state;
    shim_start(WITH_FLAG, three.ports, 3, "");
    for (uint64_t i = 0; i < 5; i++) {
        guest_flush_given_up(&shim_guest, i);
    }
    /* each was given up while it was still connecting */
    assert_int_equal(guest_connections_busy(), 0);
    shim_stop();
    shim_three_stop(&three);
}

struct worker {
    pthread_t thread;
    int number;
    struct guest_task *tasks;
    size_t count, again; /* `again`: tasks that did not go at once */
};

static void *work(void *ctx)
{
    struct worker *worker = ctx;
    guest_flush(&shim_guest, worker->number, worker->tasks, worker->count, 16);
    /* What was on its way to a node that died must be sent again by the agent, as without the
     * header. */
    for (size_t i = 0; i < worker->count; i++) {
        worker->again += worker->tasks[i].word != FLB_OK;
        for (int tries = 0; tries < 1000 && worker->tasks[i].word != FLB_OK; tries++) {
            usleep(1000);
            guest_flush(&shim_guest, worker->number, &worker->tasks[i], 1, 1);
        }
    }
    return NULL;
}

static void workers_and_coroutines_at_once(void **state)
{
    struct shim_three three = shim_three_start();
    struct worker workers[GUEST_WORKERS];
    size_t again = 0, share = SHIM_MOST_TASKS / GUEST_WORKERS;
    (void)state;
    shim_start(WITH_FLAG, three.ports, 3, "    health.backoff 20ms\n    health.backoff_max 50ms\n");
    for (size_t i = 0; i < SHIM_MOST_TASKS; i++) {
        shim_tasks[i] = (struct guest_task){i, -1};
    }
    counter_kill(three.counters[0]);
    for (int i = 0; i < GUEST_WORKERS; i++) {
        workers[i] =
            (struct worker){.number = i, .tasks = shim_tasks + (size_t)i * share, .count = share};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    usleep(20000);
    counter_kill(three.counters[1]);
    counter_revive(three.counters[0]);
    usleep(20000);
    counter_revive(three.counters[1]);
    for (int i = 0; i < GUEST_WORKERS; i++) {
        pthread_join(workers[i].thread, NULL);
        again += workers[i].again;
    }
    for (size_t i = 0; i < SHIM_MOST_TASKS; i++) {
        assert_int_equal(shim_tasks[i].word, FLB_OK);
    }
    print_message("%zu of %d flushes came again\n", again, SHIM_MOST_TASKS);
    shim_arrived(SHIM_MOST_TASKS);
    shim_stop();
    shim_three_stop(&three);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_nodes_down),
        cmocka_unit_test(a_connect_that_runs_out_of_time_is_one_of_max_fails),
        cmocka_unit_test(a_node_that_accepts_and_is_silent_is_out_after_max_fails),
        cmocka_unit_test(silence_is_bounded_however_the_plugin_sets_its_nodes_up),
        cmocka_unit_test(a_full_worker_blames_no_node),
        cmocka_unit_test(a_plugin_with_one_server_is_as_before),
        cmocka_unit_test(a_file_the_library_refuses_is_balanced_all_the_same),
        cmocka_unit_test(a_relative_file_is_found_where_the_agent_finds_it),
        cmocka_unit_test(ending_with_flushes_under_way),
        cmocka_unit_test(workers_and_coroutines_at_once),
    };
    return cmocka_run_group_tests(tests, shim_make_path, shim_remove_path);
}
