/*
 * System calls: none in a pick and a lookup, one in a plaintext write, one in taking a connection
 * from the pool and giving it back. Counted by tracing a child (counted/system_calls.h), bounds in
 * counted/bounds.h.
 */
#define _GNU_SOURCE
#include "counted/bounds.h"
#include "counted/operations.h"
#include "counted/servers.h"
#include "counted/system_calls.h"
#include "support/check.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Whether this machine's clock is read without a system call, as it is nearly everywhere. */
static int clock_is_free = 1;

static void prepare_nothing(void)
{
}

static void ask_for_something(void)
{
    (void)syscall(SYS_getppid);
}

static void read_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
}

/* The operation that is counted now. */
static const struct operation *current;

static void prepare_current(void)
{
    current->prepare();
    operations_warm_up(current);
}

static size_t count_current(size_t times, struct system_calls *counted)
{
    assert_int_equal(system_calls_count(prepare_current, current->run, times, counted), 1);
    return counted->all - (clock_is_free ? 0 : counted->of[SYS_clock_gettime]);
}

/* Else every count would be none. */
static void what_is_called_is_counted(void **state)
{
    struct system_calls counted;
    (void)state;
    assert_int_equal(system_calls_count(prepare_nothing, ask_for_something, 100, &counted), 1);
    assert_int_equal(counted.all, 100);
    assert_int_equal(counted.of[SYS_getppid], 100);
    assert_int_equal(system_calls_count(prepare_nothing, read_clock, 100, &counted), 1);
    clock_is_free = counted.all == 0;
    if (!clock_is_free) {
        print_message(
            "here a reading of the clock is a system call: those are left out of what follows\n");
    }
}

static void print_calls(const struct system_calls *counted)
{
    size_t number;
    for (number = 0; number < SYSTEM_CALL_NUMBERS; number++) {
        if (counted->of[number] != 0) {
            print_message("    %zu times number %zu%s\n", counted->of[number], number,
                          number == SYS_futex           ? " (futex)"
                          : number == SYS_clock_gettime ? " (clock_gettime)"
                          : number == SYS_recvfrom      ? " (recvfrom)"
                          : number == SYS_sendmsg       ? " (sendmsg)"
                          : number == SYS_sendto        ? " (sendto)"
                          : number == SYS_ppoll         ? " (ppoll)"
                          : number == SYS_write         ? " (write)"
                                                        : "");
        }
    }
}

static void operations_stay_within_their_calls(void **state)
{
    size_t i, above = 0;
    (void)state;
    for (i = 0; i < operations_count; i++) {
        const struct operation *operation = &operations[i];
        size_t times = operations_times(operation), calls;
        struct system_calls counted;
        int over;
        current = operation;
        calls = count_current(times, &counted);
        over = calls > operation->system_calls * times;
        print_message("%-26s %8.2f system calls, bound %zu%s\n", operation->name,
                      (double)calls / (double)times, operation->system_calls,
                      over ? "  ABOVE:" : "");
        if (over) {
            print_calls(&counted);
        }
        above += (size_t)over;
    }
    assert_int_equal(above, 0);
}

/* The one call looks whether the peer is still there: without it, a connection that died in the
 * pool would be handed out. */
static void a_pooled_connection_is_looked_at_once(void **state)
{
    struct system_calls counted;
    (void)state;
    current = operations_named("connect_release");
    count_current(100, &counted);
    assert_int_equal(counted.peeks, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_called_is_counted),
        cmocka_unit_test(operations_stay_within_their_calls),
        cmocka_unit_test(a_pooled_connection_is_looked_at_once),
    };
    struct system_calls counted;
    if (!system_calls_count(prepare_nothing, ask_for_something, 1, &counted)) {
        return 77; /* ctest shows it as skipped */
    }
    return cmocka_run_group_tests(tests, servers_start, servers_stop);
}
