/* upstream/fluent_bit.h: an unchanged plugin for the agent, compiled with the flag and without it,
 * in a stand-in for the agent. Both are loaded as modules, as the agent loads them. */
#define _GNU_SOURCE
#include "guest_agent/guest.h"
#include "guest_agent/out_records.h"
#include "support/check.h"
#include "support/counter.h"
#include "support/loopback.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

enum { MOST_TASKS = 1000 };

static char path[] = "/tmp/upstream-shim.XXXXXX"; /* the upstream file */
static struct guest guest;
static struct guest_task tasks[MOST_TASKS];
static struct ledger *ledger;

static struct records *records(void)
{
    return guest.instance.context;
}

/* Writes the file: nodes a, b, c.. of these ports, each with `more` lines. */
static void write_nodes(const uint16_t *ports, size_t count, const char *more)
{
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fprintf(out, "[UPSTREAM]\n    name u\n");
    for (size_t i = 0; i < count; i++) {
        fprintf(out,
                "[NODE]\n    name node-%zu\n    host 127.0.0.1\n    port %u\n    label %c\n"
                "%s",
                i + 1, ports[i], (char)('a' + (char)i), more);
    }
    assert_int_equal(fclose(out), 0);
}

static void start(const char *module, const uint16_t *ports, size_t count, const char *more)
{
    write_nodes(ports, count, more);
    guest_start(&guest, module, "out_records_plugin", path, 0, NULL);
}

/* Ends the plugin; no connection may then be left in use. */
static void stop(void)
{
    assert_int_equal(atomic_load(&records()->misplaced), 0);
    assert_int_equal(guest_connections_busy(), 0);
    guest_stop(&guest);
    assert_int_equal(guest_connections_kept(), 0);
}

/* Flushes records `from`.. as worker 0 and gives how many flushes returned `word`. */
static size_t flush(uint64_t from, size_t count, size_t at_once, int word)
{
    size_t returned = 0;
    assert_true(count <= MOST_TASKS);
    for (size_t i = 0; i < count; i++) {
        tasks[i] = (struct guest_task){from + i, -1};
    }
    guest_flush(&guest, 0, tasks, count, at_once);
    for (size_t i = 0; i < count; i++) {
        returned += tasks[i].word == word;
    }
    return returned;
}

static void arrived(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_true(ledger_times(ledger, i) > 0);
    }
}

/* How often the plugin got the node `label`. */
static size_t picks_of(char label)
{
    size_t picks = 0;
    for (size_t i = 0; i < atomic_load(&records()->picked); i++) {
        picks += records()->order[i] == label;
    }
    return picks;
}

/* Flushes one by one, for ten seconds at most, until `label` was picked so often. */
static void flush_until_picked(char label, size_t picks)
{
    for (int i = 0; i < 1000 && picks_of(label) < picks; i++) {
        flush(0, 1, 1, FLB_OK);
        usleep(10000);
    }
    assert_true(picks_of(label) >= picks);
}

struct three {
    struct counter *counters[3];
    uint16_t ports[3];
};

static struct three three_start(void)
{
    struct three three;
    ledger = ledger_create(MOST_TASKS);
    for (size_t i = 0; i < 3; i++) {
        three.counters[i] = counter_start(ledger);
        three.ports[i] = counter_port(three.counters[i]);
    }
    return three;
}

static void three_stop(struct three *three)
{
    for (size_t i = 0; i < 3; i++) {
        counter_stop(three->counters[i]);
    }
    ledger_free(ledger);
}

static void the_order_is_the_librarys(void **state)
{
    struct three three = three_start();
    (void)state;
    start(WITH_FLAG, three.ports, 3, "    weight 2\n");
    assert_int_equal(flush(0, 9, 1, FLB_OK), 9);
    assert_memory_equal(records()->order, "abcabcabc", 9);
    stop();

    /* A draining node is never handed out, although the agent does not know about it. */
    start(WITH_FLAG, three.ports, 3, "    weight ${NONE:-1}\n");
    assert_int_equal(guest_warnings(), 0);
    stop();
    write_nodes(three.ports, 2, "");
    FILE *out = fopen(path, "a");
    assert_non_null(out);
    fprintf(out,
            "[NODE]\n    name drained\n    host 127.0.0.1\n    port %u\n    label c\n"
            "    weight 0\n",
            three.ports[2]);
    fclose(out);
    guest_start(&guest, WITH_FLAG, "out_records_plugin", path, 0, NULL);
    assert_int_equal(flush(0, 6, 1, FLB_OK), 6);
    assert_memory_equal(records()->order, "ababab", 6);
    stop();
    three_stop(&three);
}

static void one_of_three_refuses_and_no_flush_fails(void **state)
{
    struct three three = three_start();
    (void)state;
    counter_kill(three.counters[1]);
    start(WITHOUT_FLAG, three.ports, 3, "");
    assert_int_equal(flush(0, 300, 8, FLB_OK), 200);
    stop();

    start(WITH_FLAG, three.ports, 3, "    health.backoff 60s\n    health.backoff_max 60s\n");
    assert_int_equal(flush(0, 300, 8, FLB_OK), 300);
    arrived(300);
    assert_int_equal(picks_of('b'), 0);
    /* once, and by those that were on their way there at the time */
    assert_in_range(guest_connects_failed(), 1, 8);
    stop();
    three_stop(&three);
}

static void a_node_that_comes_back_is_used_again(void **state)
{
    struct three three = three_start();
    (void)state;
    counter_kill(three.counters[0]);
    start(WITH_FLAG, three.ports, 3, "    health.backoff 50ms\n    health.backoff_max 100ms\n");
    assert_int_equal(flush(0, 30, 4, FLB_OK), 30);
    assert_int_equal(picks_of('a'), 0);
    counter_revive(three.counters[0]);
    flush_until_picked('a', 5);
    stop();
    three_stop(&three);
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
        start(WITH_FLAG, ports, 2, "    health.max_fails 3\n    health.backoff 60s\n");
        flush(0, 20, 1, FLB_OK);
        assert_int_equal(picks_of('a'), kinds[i].behaviour == LOOPBACK_CLOSE_AFTER ? 10 : 3);
        assert_int_equal(picks_of('a') + picks_of('b'), 20);
        stop();
        loopback_stop(bad);
        loopback_stop(good);
    }
}

static void unsendable_chunks_blame_no_node(void **state)
{
    struct three three = three_start();
    (void)state;
    start(WITH_FLAG, three.ports, 3, "    health.max_fails 1\n    health.backoff 60s\n");
    records()->manner = RECORDS_UNSENDABLE;
    assert_int_equal(flush(0, 12, 1, FLB_ERROR), 12);
    assert_memory_equal(records()->order, "abcabcabcabc", 12);
    stop();
    three_stop(&three);
}

static void coming_back_after_a_network_error_meets_other_nodes(void **state)
{
    struct loopback *bad[2] = {loopback_start(LOOPBACK_RESET), loopback_start(LOOPBACK_RESET)};
    struct loopback *good = loopback_start(LOOPBACK_ECHO);
    uint16_t ports[3] = {loopback_port(bad[0]), loopback_port(bad[1]), loopback_port(good)};
    (void)state;
    start(WITH_FLAG, ports, 3, "    health.max_fails 1000\n");
    records()->manner = RECORDS_AGAIN;
    assert_int_equal(flush(0, 1, 1, FLB_OK), 1);
    assert_memory_equal(records()->order, "abc", 3);
    assert_int_equal(flush(0, 10, 5, FLB_OK), 10);
    assert_in_range(atomic_load(&records()->picked), 13, 33);
    stop();

    /* If every node breaks, the plugin's ten rounds end when no node is left. */
    start(WITH_FLAG, ports, 2, "    health.max_fails 1000\n");
    records()->manner = RECORDS_AGAIN;
    assert_int_equal(flush(0, 1, 1, FLB_RETRY), 1);
    assert_memory_equal(records()->order, "ab", 2);
    assert_int_equal(atomic_load(&records()->picked), 2);
    stop();
    loopback_stop(bad[0]);
    loopback_stop(bad[1]);
    loopback_stop(good);
}

static void a_pick_without_a_connection_leaks_none(void **state)
{
    struct three three = three_start();
    (void)state;
    start(WITH_FLAG, three.ports, 3, "    health.max_fails 1\n");
    records()->manner = RECORDS_PICK_ONLY;
    assert_int_equal(flush(0, 30, 5, FLB_ERROR), 30);
    assert_int_equal(guest_connections_busy(), 0);
    /* A new connection that nobody has used must not look used to a plugin that logs in once per
     * connection. */
    assert_int_equal(guest_connections_kept(), 0);

    records()->manner = RECORDS_SEND;
    assert_int_equal(flush(0, 3, 1, FLB_OK), 3);
    assert_int_equal(guest_connections_kept(), 3);
    records()->manner = RECORDS_PICK_ONLY;
    assert_int_equal(flush(0, 3, 1, FLB_ERROR), 3);
    assert_int_equal(guest_connections_kept(), 3); /* a used one is kept on */

    records()->manner = RECORDS_PICK_TWICE;
    assert_int_equal(flush(0, 30, 5, FLB_OK), 30);
    stop();
    three_stop(&three);
}

static void two_connections_in_hand_at_once(void **state)
{
    struct three three = three_start();
    (void)state;
    start(WITH_FLAG, three.ports, 3, "");
    records()->manner = RECORDS_TWO;
    assert_int_equal(flush(0, 30, 5, FLB_OK), 30);
    assert_int_equal(atomic_load(&records()->picked), 60);
    stop();
    three_stop(&three);
}

static void several_payloads_in_one_flush(void **state)
{
    struct three three = three_start();
    (void)state;
    start(WITH_FLAG, three.ports, 3, "");
    records()->manner = RECORDS_SEVERAL;
    assert_int_equal(flush(0, 2, 1, FLB_OK), 2);
    assert_memory_equal(records()->order, "abcabcabcabc", 12);
    stop();
    three_stop(&three);
}

static void another_server_between_pick_and_connection(void **state)
{
    struct three three = three_start();
    (void)state;
    start(WITH_FLAG, three.ports, 2, "");
    records()->manner = RECORDS_LOOK_UP;
    records()->u = flb_upstream_create(NULL, "127.0.0.1", three.ports[2], 0, NULL);
    assert_int_equal(flush(0, 40, 10, FLB_OK), 40);
    arrived(40);
    stop();
    three_stop(&three);
}

static void work_that_is_no_flush(void **state)
{
    struct loopback *bad = loopback_start(LOOPBACK_RESET), *good = loopback_start(LOOPBACK_ECHO);
    uint16_t ports[2] = {loopback_port(bad), loopback_port(good)};
    (void)state;
    /* In a coroutine nothing says when the exchange is over, so its outcome counts a while later;
     * outside of coroutines it counts at once. */
    start(WITH_FLAG, ports, 2, "    health.max_fails 1\n    health.backoff 60s\n");
    guest_timer(&guest, 1);
    assert_int_equal(flush(0, 1, 1, FLB_OK), 1);
    assert_int_equal(guest_warnings(), 0);
    guest_time_passes(60);
    assert_int_equal(flush(0, 1, 1, FLB_OK), 1);
    assert_memory_equal(records()->order, "abb", 3);
    assert_int_equal(guest_warnings(), 1);
    stop();

    start(WITH_FLAG, ports, 2, "    health.max_fails 1\n    health.backoff 60s\n");
    guest_timer(&guest, 0);
    assert_int_equal(guest_warnings(), 1);
    assert_int_equal(flush(0, 3, 1, FLB_OK), 3);
    assert_memory_equal(records()->order, "abbb", 4);
    stop();
    loopback_stop(bad);
    loopback_stop(good);
}

static void all_nodes_down(void **state)
{
    struct three three = three_start();
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        counter_kill(three.counters[i]);
    }
    start(WITH_FLAG, three.ports, 3, "    health.backoff 50ms\n    health.backoff_max 100ms\n");
    assert_int_equal(flush(0, 20, 4, FLB_RETRY), 20);
    assert_int_equal(atomic_load(&records()->picked), 0);
    counter_revive(three.counters[2]);
    flush_until_picked('c', 3);
    stop();
    three_stop(&three);
}

static void a_connect_that_runs_out_of_time_is_one_of_max_fails(void **state)
{
    struct three three = three_start();
    (void)state;
    guest_set_connect_hangs(three.ports[0]);
    start(WITH_FLAG, three.ports, 2, "    health.max_fails 2\n    health.backoff 60s\n");
    assert_int_equal(flush(0, 8, 1, FLB_OK), 8);
    assert_int_equal(guest_connects_failed(), 2);
    guest_set_connect_hangs(0);
    stop();
    three_stop(&three);
}

static void a_node_that_accepts_and_is_silent_is_out_after_max_fails(void **state)
{
    static const char lines[] =
        "    health.max_fails 2\n    health.backoff 60s\n    net.io_timeout 300ms\n";
    struct loopback *silent = loopback_start(LOOPBACK_SILENT);
    struct loopback *good = loopback_start(LOOPBACK_ECHO);
    uint16_t ports[2] = {loopback_port(silent), loopback_port(good)};
    size_t arrived_at_once;
    (void)state;
    start(WITH_FLAG, ports, 2, lines);
    /* One by one: two flushes wait for the silent node. */
    assert_int_equal(flush(0, 20, 1, FLB_OK), 18);
    assert_int_equal(flush(0, 20, 8, FLB_OK), 20);
    assert_int_equal(picks_of('a'), 2);
    assert_int_equal(loopback_connections(silent), 2); /* no connection that was silent is kept */
    stop();

    /* Those that are on their way to it at the time come back too, and each only once. */
    start(WITH_FLAG, ports, 2, lines);
    arrived_at_once = flush(0, 40, 8, FLB_OK);
    assert_int_equal(arrived_at_once, 40 - picks_of('a'));
    assert_in_range(picks_of('a'), 8, 9); /* all eight wait there by then */
    assert_int_equal(flush(0, 20, 8, FLB_OK), 20);
    stop();
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
    struct three three = three_start();
    (void)state;
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        for (size_t way = 0; way < sizeof(ways) / sizeof(ways[0]); way++) {
            int expected = rows[row].expected, of_output = rows[row].of_output;
            struct mk_list *at;
            if (ways[way] == GUEST_FOR_NONE && expected == of_output) {
                expected = 60; /* what the output says does not reach the nodes */
            }
            guest_set_io_timeout(of_output, ways[way]);
            start(WITH_FLAG, three.ports, 3, rows[row].in_file);
            mk_list_foreach (at, &records()->ha->nodes) {
                const struct flb_upstream_node *node =
                    mk_list_entry(at, struct flb_upstream_node, _head);
                assert_int_equal(node->u->base.net.io_timeout, expected);
            }
            assert_int_equal(flush(0, 3, 1, FLB_OK), 3);
            stop();
        }
    }
    guest_set_io_timeout(0, GUEST_FOR_THE_SET);
    /* A plugin with a single server gets what the agent gives it. */
    guest_start(&guest, WITH_FLAG, "out_records_plugin", NULL, three.ports[0], NULL);
    assert_int_equal(records()->u->base.net.io_timeout, 0);
    stop();
    three_stop(&three);
}

static void a_full_worker_blames_no_node(void **state)
{
    struct three three = three_start();
    (void)state;
    guest_set_connect_limit(1);
    start(WITH_FLAG, three.ports, 3, "    health.max_fails 1\n    health.backoff 60s\n");
    /* Four at once over three connections: one of them finds every node full now and then. */
    assert_in_range(flush(0, 60, 4, FLB_OK), 45, 60);
    guest_set_connect_limit(0);
    assert_int_equal(guest_connects_failed(), 0);
    assert_int_equal(guest_warnings(), 0); /* an ejection would be one */
    stop();
    three_stop(&three);
}

static void a_plugin_with_one_server_is_as_before(void **state)
{
    struct three three = three_start();
    (void)state;
    guest_start(&guest, WITH_FLAG, "out_records_plugin", NULL, three.ports[0], NULL);
    assert_int_equal(flush(0, 30, 5, FLB_OK), 30);
    arrived(30);
    counter_kill(three.counters[0]);
    assert_int_equal(flush(0, 5, 5, FLB_RETRY), 5);
    stop();
    three_stop(&three);
}

static void a_file_the_library_refuses_is_balanced_all_the_same(void **state)
{
    struct three three = three_start();
    (void)state;
    counter_kill(three.counters[1]);
    start(WITH_FLAG, three.ports, 3, "    tls.no_such_key on\n    health.backoff 60s\n");
    assert_int_equal(guest_warnings(), 1);
    assert_int_equal(flush(0, 30, 1, FLB_OK), 30);
    assert_int_equal(guest_connects_failed(), 1); /* so the health keys were taken over */
    stop();

    /* If not even the nodes can be used, the agent's own order is left. */
    start(WITH_FLAG, three.ports, 3, "    health.max_fails none\n");
    assert_int_equal(guest_warnings(), 2);
    assert_int_equal(flush(0, 30, 1, FLB_OK), 20);
    stop();
    three_stop(&three);
}

static void a_relative_file_is_found_where_the_agent_finds_it(void **state)
{
    struct three three = three_start();
    (void)state;
    counter_kill(three.counters[0]);
    write_nodes(three.ports, 3, "");
    guest_start(&guest, WITH_FLAG, "out_records_plugin", path + strlen("/tmp/"), 0, "/tmp/");
    assert_int_equal(guest_warnings(), 0);
    assert_int_equal(flush(0, 9, 1, FLB_OK), 9);
    stop();
    three_stop(&three);
}

static void ending_with_flushes_under_way(void **state)
{
    struct three three = three_start();
    (void)state;
    start(WITH_FLAG, three.ports, 3, "");
    for (uint64_t i = 0; i < 5; i++) {
        guest_flush_given_up(&guest, i);
    }
    /* each was given up while it was still connecting */
    assert_int_equal(guest_connections_busy(), 0);
    stop();
    three_stop(&three);
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
    guest_flush(&guest, worker->number, worker->tasks, worker->count, 16);
    /* What was on its way to a node that died must be sent again by the agent, as without the
     * header. */
    for (size_t i = 0; i < worker->count; i++) {
        worker->again += worker->tasks[i].word != FLB_OK;
        for (int tries = 0; tries < 1000 && worker->tasks[i].word != FLB_OK; tries++) {
            usleep(1000);
            guest_flush(&guest, worker->number, &worker->tasks[i], 1, 1);
        }
    }
    return NULL;
}

static void workers_and_coroutines_at_once(void **state)
{
    struct three three = three_start();
    struct worker workers[GUEST_WORKERS];
    size_t again = 0, share = MOST_TASKS / GUEST_WORKERS;
    (void)state;
    start(WITH_FLAG, three.ports, 3, "    health.backoff 20ms\n    health.backoff_max 50ms\n");
    for (size_t i = 0; i < MOST_TASKS; i++) {
        tasks[i] = (struct guest_task){i, -1};
    }
    counter_kill(three.counters[0]);
    for (int i = 0; i < GUEST_WORKERS; i++) {
        workers[i] =
            (struct worker){.number = i, .tasks = tasks + (size_t)i * share, .count = share};
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
    for (size_t i = 0; i < MOST_TASKS; i++) {
        assert_int_equal(tasks[i].word, FLB_OK);
    }
    print_message("%zu of %d flushes came again\n", again, MOST_TASKS);
    arrived(MOST_TASKS);
    stop();
    three_stop(&three);
}

static int make_path(void **state)
{
    int fd = mkstemp(path);
    (void)state;
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
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
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
