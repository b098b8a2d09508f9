/* See small_stack.h. */
#define _GNU_SOURCE
#include "small_stack.h"

#include "check.h"

#include <sys/mman.h>
#include <ucontext.h>

/* Large guards lie around it: valgrind takes a short jump of the stack pointer for a deep call. */
enum { APART = 8 * 1024 * 1024, RESERVED = 2 * APART + SMALL_STACK, PAINT = 0x5a };

struct run {
    ucontext_t caller, coroutine;
    void (*body)(void *);
    void *argument;
};

static _Thread_local struct run *current;

static void enter(void)
{
    current->body(current->argument);
}

/* For valgrind, a stack that was left is no longer valid memory. */
static size_t used_of(const char *stack)
{
    size_t untouched = 0;
    while (!check_slow() && untouched < SMALL_STACK && stack[untouched] == PAINT) {
        untouched++;
    }
    return check_slow() ? 0 : SMALL_STACK - untouched;
}

size_t small_stack_run(void (*body)(void *), void *argument)
{
    struct run *run = calloc(1, sizeof(*run));
    char *reserved =
        mmap(NULL, RESERVED, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char *stack = reserved + APART;
    size_t used;
    if (run == NULL || reserved == MAP_FAILED ||
        mprotect(stack, SMALL_STACK, PROT_READ | PROT_WRITE) != 0) {
        perror("a small stack");
        abort();
    }
    memset(stack, PAINT, SMALL_STACK);
    run->body = body;
    run->argument = argument;
    current = run;
    getcontext(&run->coroutine);
    run->coroutine.uc_stack.ss_sp = stack;
    run->coroutine.uc_stack.ss_size = SMALL_STACK;
    run->coroutine.uc_link = &run->caller;
    makecontext(&run->coroutine, enter, 0);
    swapcontext(&run->caller, &run->coroutine);
    used = used_of(stack);
    munmap(reserved, RESERVED);
    free(run);
    return used;
}
