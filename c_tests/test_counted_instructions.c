/*
 * Instructions and locks: of each operation, and of loading; and that they do not grow with the
 * number of nodes, of nodes that are out, of idle connections. The program runs itself under
 * callgrind (counted/instructions.h), bounds in counted/bounds.h.
 */
#define _GNU_SOURCE
#include "counted/bounds.h"
#include "counted/instructions.h"
#include "counted/operations.h"
#include "counted/servers.h"
#include "counted/sets.h"
#include "counted/sink.h"

#include <stdatomic.h>

enum { KNOWN = 1000 };

#ifdef __x86_64__
enum { BOUNDS_HOLD = 1 };
#else
/* another processor has other instructions: there, only what may not grow is tested */
enum { BOUNDS_HOLD = 0 };
#endif

/* ---- under callgrind ---- */

static void measure_known(void)
{
    static atomic_int counter;
    int i;
    instructions_begin();
    for (i = 0; i < KNOWN; i++) {
        atomic_fetch_add(&counter, 1);
    }
    instructions_end("known");
}

static void measure(const struct operation *operation)
{
    size_t times = operations_times(operation), i;
    operation->prepare();
    operations_warm_up(operation);
    instructions_begin();
    for (i = 0; i < times; i++) {
        operation->run();
    }
    instructions_end(operation->name);
    operations_finish();
}

static void measure_loading(const char *name, size_t nodes)
{
    char *text = sets_text(nodes, 1, "");
    upstream_t *up;
    instructions_begin();
    up = check_create(text, NULL);
    instructions_end(name);
    upstream_destroy(up);
    free(text);
}

static int measure_operations(const char *sink_port)
{
    size_t i;
    setenv("CMOCKA_TEST_ABORT", "1", 1);
    operations_servers((uint16_t)strtoul(sink_port, NULL, 10), 0, "");
    measure_known();
    for (i = 0; i < operations_count; i++) {
        if (operations[i].instructions != NOT_COUNTED) {
            measure(&operations[i]);
        }
    }
    return 0;
}

static int measure_both_loads(void)
{
    setenv("CMOCKA_TEST_ABORT", "1", 1);
    measure_loading("load_1000", 1000);
    measure_loading("load_10000", 10000);
    return 0;
}

/* ---- what came of it ---- */

static struct sink sink;

static int run_under_callgrind(void **state)
{
    char port[16];
    const char *operations_at[] = {"operations", port, NULL}, *loads[] = {"loads", NULL};
    (void)state;
    sink_raise_descriptors();
    sink = sink_start();
    snprintf(port, sizeof(port), "%u", (unsigned)sink.port);
    instructions_run(BY_FIRST_THREAD, operations_at);
    instructions_run(BY_ALL_THREADS, loads); /* a thread of the library's own loads */
    return 0;
}

static int clean_up(void **state)
{
    (void)state;
    instructions_forget();
    sink_stop(&sink);
    return 0;
}

/* Else every count might be none. */
static void what_runs_is_counted(void **state)
{
    struct instructions known = instructions_of("known");
    (void)state;
    assert_int_equal(BOUNDS_HOLD ? known.atomics : KNOWN, KNOWN);
    assert_in_range(known.instructions, 2 * KNOWN, 20 * KNOWN);
}

static void operations_stay_within_their_instructions(void **state)
{
    size_t i, above = 0;
    (void)state;
    for (i = 0; i < operations_count; i++) {
        const struct operation *operation = &operations[i];
        size_t times = operations_times(operation);
        struct instructions counted;
        int over;
        if (operation->instructions == NOT_COUNTED) {
            continue;
        }
        counted = instructions_of(operation->name);
        /* What is done only now and then (a look at the clock at each 256th pick) counts as 0 for a
         * single operation. */
        over = counted.instructions > operation->instructions * times ||
               counted.atomics > operation->atomics * times + times / 50;
        print_message("%-26s %9.1f instructions, bound %zu; %5.2f atomics, bound %zu%s\n",
                      operation->name, (double)counted.instructions / (double)times,
                      operation->instructions, (double)counted.atomics / (double)times,
                      operation->atomics, over ? "  ABOVE" : "");
        above += (size_t)over;
    }
    assert_int_equal(BOUNDS_HOLD ? above : 0, 0);
}

static void loading_stays_in_proportion(void **state)
{
    size_t thousand = instructions_of("load_1000").instructions;
    size_t ten_thousand = instructions_of("load_10000").instructions;
    (void)state;
    print_message(
        "loading, for each node: %zu instructions of 1,000 nodes, %zu of 10,000, bound %d\n",
        thousand / 1000, ten_thousand / 10000, BOUND_LOAD_INSTRUCTIONS_PER_NODE);
    assert_true(!BOUNDS_HOLD || ten_thousand <= 10000 * (size_t)BOUND_LOAD_INSTRUCTIONS_PER_NODE);
    assert_true(!BOUNDS_HOLD || thousand <= 1000 * (size_t)BOUND_LOAD_INSTRUCTIONS_PER_NODE);
    assert_true(ten_thousand * 100 <= thousand * 10 * (100 + BOUND_GROWTH_PERCENT));
}

/* Compares two operations that run equally often: 1 if the first costs more. A difference of two
 * instructions does not count. */
static int costs_more(const char *large, const char *small)
{
    size_t more = instructions_of(large).instructions, less = instructions_of(small).instructions;
    size_t allowed =
        less + less * BOUND_GROWTH_PERCENT / 100 + 2 * operations_times(operations_named(small));
    print_message("%s: %.1f%% of %s, bound %.1f%%%s\n", large, 100.0 * (double)more / (double)less,
                  small, 100.0 * (double)allowed / (double)less, more > allowed ? "  ABOVE" : "");
    return more > allowed;
}

static void nothing_grows(void **state)
{
    int above = 0;
    (void)state;
    above += costs_more("pick_of_10000", "pick");
    above += costs_more("pick_weighted", "pick");
    above += costs_more("pick_half_ejected", "pick");
    above += costs_more("pick_of_10000_ejected", "pick_half_ejected");
    above += costs_more("connect_release_2000_idle", "connect_release_10_idle");
    above += costs_more("write_4096", "write_64");
    assert_int_equal(above, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_runs_is_counted),
        cmocka_unit_test(operations_stay_within_their_instructions),
        cmocka_unit_test(loading_stays_in_proportion),
        cmocka_unit_test(nothing_grows),
    };
    if (argc == 3) {
        return measure_operations(argv[2]);
    }
    if (argc == 2) {
        return measure_both_loads();
    }
    return cmocka_run_group_tests(tests, run_under_callgrind, clean_up);
}
