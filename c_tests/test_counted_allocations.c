/*
 * Allocations, and readings of the clock: none in a pick, a lookup and a plaintext write, a
 * bounded number in the other operations; and those of loading grow with the nodes. Counted in the
 * functions themselves (counted/allocations.h, counted/clock.h), bounds in counted/bounds.h.
 */
#define _GNU_SOURCE
#include "counted/allocations.h"
#include "counted/bounds.h"
#include "counted/clock.h"
#include "counted/operations.h"
#include "counted/servers.h"
#include "counted/sets.h"

#include <time.h>

/* Otherwise every count might be 0: allocations of the program and of the library are seen, blocks
 * and bytes. */
static void what_is_allocated_is_counted(void **state)
{
    upstream_t *up;
    upstream_attempt_t *attempt;
    size_t made = allocations_made(), live = allocations_live();
    void *volatile block = malloc(1000);
    (void)state;
    assert_int_equal(allocations_made(), made + 1);
    assert_in_range(allocations_live(), live + 1000, live + 1032);
    block = realloc(block, 2000);
    assert_int_equal(allocations_made(), made + 2);
    assert_in_range(allocations_live(), live + 2000, live + 2032);
    free(block);
    assert_int_equal(allocations_live(), live);
    up = sets_create(3, 1, "");
    made = allocations_made();
    live = allocations_live();
    assert_status(upstream_attempt_begin(up, &attempt), UPSTREAM_OK);
    assert_true(allocations_made() > made);
    assert_true(allocations_live() > live);
    upstream_attempt_end(attempt, UPSTREAM_OK);
    assert_int_equal(allocations_live(), live);
    upstream_destroy(up);
}

static void clock_readings_are_counted(void **state)
{
    struct timespec now, later;
    upstream_t *up = sets_create(3, 1, "");
    size_t before = clock_readings();
    (void)state;
    clock_step(5);
    clock_gettime(CLOCK_MONOTONIC, &now);
    clock_gettime(CLOCK_MONOTONIC, &later);
    assert_int_equal(clock_readings(), before + 2);
    assert_int_equal((later.tv_nsec - now.tv_nsec + 1000000000) % 1000000000, 5);
    clock_step(0);
    assert_status(upstream_node_report(upstream_node_at(up, 0), UPSTREAM_ERR_CONNECT), UPSTREAM_OK);
    /* by the library, for the time when the node is due */
    assert_true(clock_readings() > before + 2);
    upstream_destroy(up);
}

static void operations_stay_within_their_bounds(void **state)
{
    size_t i, n, above = 0;
    (void)state;
    for (i = 0; i < operations_count; i++) {
        const struct operation *operation = &operations[i];
        size_t times = operations_times(operation), made, read;
        int over;
        operation->prepare();
        operations_warm_up(operation);
        made = allocations_made();
        read = clock_readings();
        for (n = 0; n < times; n++) {
            operation->run();
        }
        made = allocations_made() - made;
        read = clock_readings() - read;
        operations_finish();
        /* What is done only now and then (a look at the clock at each 256th pick) counts as 0 for a
         * single operation. */
        over = made > operation->allocations * times ||
               read > operation->clock_readings * times + times / 100;
        print_message("%-26s %5.2f allocations, bound %zu; %5.2f clock readings, bound %zu%s\n",
                      operation->name, (double)made / (double)times, operation->allocations,
                      (double)read / (double)times, operation->clock_readings,
                      over ? "  ABOVE" : "");
        above += (size_t)over;
    }
    assert_int_equal(above, 0);
}

/* A thread of the library's own may do it. */
static size_t made_by_loading(size_t nodes)
{
    char *text = sets_text(nodes, 1, "");
    size_t before = allocations_made_by_all(), made;
    upstream_t *up = check_create(text, NULL);
    made = allocations_made_by_all() - before;
    upstream_destroy(up);
    free(text);
    return made;
}

static void loading_allocates_in_proportion(void **state)
{
    size_t thousand = made_by_loading(1000), ten_thousand = made_by_loading(10000);
    (void)state;
    print_message(
        "loading, for each node: %.2f allocations of 1,000 nodes, %.2f of 10,000, bound %d\n",
        (double)thousand / 1000, (double)ten_thousand / 10000, BOUND_ALLOCATIONS_PER_NODE);
    assert_true(ten_thousand <= 10000 * (size_t)BOUND_ALLOCATIONS_PER_NODE);
    assert_true(ten_thousand * 100 <= thousand * 10 * (100 + BOUND_GROWTH_PERCENT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_allocated_is_counted),
        cmocka_unit_test(clock_readings_are_counted),
        cmocka_unit_test(operations_stay_within_their_bounds),
        cmocka_unit_test(loading_allocates_in_proportion),
    };
    return cmocka_run_group_tests(tests, servers_start, servers_stop);
}
