/*
 * Memory: bytes of a node and of an idle plaintext connection, both in proportion to their number.
 * Counted in the allocator itself (counted/allocations.h), bounds in counted/bounds.h.
 */
#define _GNU_SOURCE
#include "counted/allocations.h"
#include "counted/bounds.h"
#include "counted/sets.h"
#include "counted/sink.h"

enum { CONNECTIONS = 500 };

static struct sink sink;

static int start_sink(void **state)
{
    (void)state;
    sink_raise_descriptors();
    sink = sink_start();
    return 0;
}

static int stop_sink(void **state)
{
    (void)state;
    sink_stop(&sink);
    return 0;
}

/* What a set of so many nodes takes once it is loaded. */
static size_t bytes_of(size_t nodes)
{
    char *text = sets_text(nodes, 1, "");
    size_t before = allocations_live(), taken;
    upstream_t *up = check_create(text, NULL);
    taken = allocations_live() - before;
    upstream_destroy(up);
    free(text);
    return taken;
}

static void a_node_is_small(void **state)
{
    size_t one, thousand, ten_thousand, each, each_beyond, before;
    (void)state;
    bytes_of(1); /* what is made once for all sets */
    before = allocations_live();
    one = bytes_of(1);
    thousand = bytes_of(1000);
    ten_thousand = bytes_of(10000);
    /* nothing is left of them: what was counted belonged to them */
    assert_int_equal(allocations_live(), before);
    each = thousand / 1000;
    each_beyond = (ten_thousand - thousand) / 9000;
    print_message(
        "a set of one node %zu bytes; for each node %zu of 1,000, %zu of 10,000, bound %d\n", one,
        each, ten_thousand / 10000, BOUND_BYTES_PER_NODE);
    assert_in_range(each, 1, BOUND_BYTES_PER_NODE);
    assert_in_range(ten_thousand / 10000, 1, BOUND_BYTES_PER_NODE);
    assert_true(each_beyond * 100 <= each * (100 + BOUND_GROWTH_PERCENT));
}

static void connect_and_keep(upstream_t *up, size_t connections)
{
    static upstream_conn_t *held[CONNECTIONS];
    size_t i;
    for (i = 0; i < connections; i++) {
        assert_status(upstream_connect(up, &held[i], NULL), UPSTREAM_OK);
    }
    for (i = 0; i < connections; i++) {
        upstream_conn_release(held[i]);
    }
}

static size_t idle_in(upstream_t *up)
{
    return check_stats(up).idle;
}

/* Without what comes with the first connection of a set: its thread, its tables. */
static void an_idle_connection_is_small(void **state)
{
    upstream_t *up = sets_create(1, sink.port, "net.keepalive_idle_timeout 1h\n");
    size_t before, each;
    (void)state;
    connect_and_keep(up, 1);
    before = allocations_live();
    connect_and_keep(up, CONNECTIONS);
    assert_int_equal(idle_in(up), CONNECTIONS);
    each = (allocations_live() - before) / (CONNECTIONS - 1);
    print_message("for each idle connection %zu bytes, of %d, bound %d\n", each, CONNECTIONS,
                  BOUND_BYTES_PER_IDLE_CONNECTION);
    upstream_destroy(up);
    assert_in_range(each, 1, BOUND_BYTES_PER_IDLE_CONNECTION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_is_small),
        cmocka_unit_test(an_idle_connection_is_small),
    };
    return cmocka_run_group_tests(tests, start_sink, stop_sink);
}
