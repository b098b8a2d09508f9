/* See guest_coro.h. */
#define _GNU_SOURCE
#include "guest_coro.h"

#include "guest_base.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <valgrind/valgrind.h>

enum { STACK = 24 * 1024, PAGE = 4096 }; /* STACK: the smallest of the agents in the field */

struct flb_coro {
    ucontext_t caller, callee;
    void (*run)(void *ctx);
    void *ctx;
    char *stack; /* below it a page that may not be touched */
    unsigned registered;
};

__thread int guest_worker;
static __thread struct flb_coro *current;

struct flb_coro *flb_coro_get(void)
{
    return current;
}

void flb_coro_yield(struct flb_coro *coro, int ended)
{
    (void)ended;
    swapcontext(&coro->callee, &coro->caller);
}

static void enter(void)
{
    current->run(current->ctx);
    guest_need(0, "a coroutine returned by itself");
}

struct flb_coro *guest_coro_begin(void (*run)(void *ctx), void *ctx)
{
    struct flb_coro *coro = calloc(1, sizeof(*coro));
    guest_need(coro != NULL, "calloc");
    coro->run = run;
    coro->ctx = ctx;
    coro->stack =
        mmap(NULL, STACK + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    guest_need(coro->stack != MAP_FAILED && mprotect(coro->stack, PAGE, PROT_NONE) == 0, "mmap");
    coro->registered = VALGRIND_STACK_REGISTER(coro->stack + PAGE, coro->stack + PAGE + STACK - 1);
    getcontext(&coro->callee);
    coro->callee.uc_stack.ss_sp = coro->stack + PAGE;
    coro->callee.uc_stack.ss_size = STACK;
    makecontext(&coro->callee, enter, 0);
    return coro;
}

void *guest_coro_context(const struct flb_coro *coro)
{
    return coro->ctx;
}

void guest_coro_resume(struct flb_coro *coro)
{
    current = coro;
    swapcontext(&coro->caller, &coro->callee);
    current = NULL;
}

void guest_coro_end(struct flb_coro *coro)
{
    VALGRIND_STACK_DEREGISTER(coro->registered);
    munmap(coro->stack, STACK + PAGE);
    free(coro);
}
