/* The agent's engine of guest_agent.h: plugins loaded, and their flushes run as coroutines. Never used outside the tests. */
#define _GNU_SOURCE
#include "guest_agent.h"
#include "guest_internal.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <valgrind/valgrind.h>

enum { STACK = 24 * 1024, PAGE = 4096, MOST_AT_ONCE = 64 }; /* STACK: the smallest of the agents in the field */

struct flb_coro {
    ucontext_t caller, callee;
    struct guest *guest;
    struct guest_task *task;
    struct flb_event_chunk chunk;
    char *stack; /* below a page that may not be touched */
    unsigned registered;
    int over;
};

__thread int guest_worker;
static __thread struct flb_coro *current;

static atomic_int seconds_passed;

/* Stands in for the C library's, in the whole program: plugins and their headers go by it. */
time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec += atomic_load(&seconds_passed);
    if (out != NULL) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}

void guest_time_passes(int seconds)
{
    atomic_fetch_add(&seconds_passed, seconds);
}

struct flb_coro *flb_coro_get(void)
{
    return current;
}

void flb_coro_yield(struct flb_coro *coro, int ended)
{
    (void)ended;
    swapcontext(&coro->callee, &coro->caller);
}

void guest_flush_over(struct flb_coro *coro, int word)
{
    coro->task->word = word;
    coro->over = 1;
}

static void enter(void)
{
    struct flb_coro *coro = current;
    struct guest *guest = coro->guest;
    if (coro->task == NULL) {
        guest->plugin->cb_timer(guest->instance.context);
        coro->over = 1;
        flb_coro_yield(coro, FLB_TRUE);
    }
    guest->plugin->cb_flush(&coro->chunk, NULL, NULL, guest->instance.context, &guest->config);
    guest_need(0, "a flush returned by itself");
}

static void resume(struct flb_coro *coro)
{
    current = coro;
    swapcontext(&coro->caller, &coro->callee);
    current = NULL;
}

static struct flb_coro *begin(struct guest *guest, struct guest_task *task)
{
    struct flb_coro *coro = calloc(1, sizeof(*coro));
    guest_need(coro != NULL, "calloc");
    coro->guest = guest;
    coro->task = task;
    if (task != NULL) {
        coro->chunk = (struct flb_event_chunk){&task->record, sizeof(task->record)};
    }
    coro->stack = mmap(NULL, STACK + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    guest_need(coro->stack != MAP_FAILED && mprotect(coro->stack, PAGE, PROT_NONE) == 0, "mmap");
    coro->registered = VALGRIND_STACK_REGISTER(coro->stack + PAGE, coro->stack + PAGE + STACK - 1);
    getcontext(&coro->callee);
    coro->callee.uc_stack.ss_sp = coro->stack + PAGE;
    coro->callee.uc_stack.ss_size = STACK;
    makecontext(&coro->callee, enter, 0);
    return coro;
}

static void end(struct flb_coro *coro)
{
    VALGRIND_STACK_DEREGISTER(coro->registered);
    munmap(coro->stack, STACK + PAGE);
    free(coro);
}

void guest_flush(struct guest *guest, int worker, struct guest_task *tasks, size_t count, size_t at_once)
{
    struct flb_coro *running[MOST_AT_ONCE] = {NULL};
    size_t begun = 0, over = 0;
    guest_need(at_once <= MOST_AT_ONCE && worker < GUEST_WORKERS, "guest_flush");
    guest_worker = worker;
    while (over < count) {
        for (size_t i = 0; i < at_once; i++) {
            if (running[i] == NULL && begun < count) {
                running[i] = begin(guest, &tasks[begun++]);
            }
            if (running[i] == NULL) {
                continue;
            }
            resume(running[i]);
            if (running[i]->over) {
                end(running[i]);
                running[i] = NULL;
                over++;
            }
        }
    }
}

void guest_flush_given_up(struct guest *guest, uint64_t record)
{
    struct guest_task task = {record, -1};
    struct flb_coro *coro = begin(guest, &task);
    guest_worker = 0;
    resume(coro);
    guest_need(!coro->over, "the flush ended at once");
    end(coro);
}

void guest_timer(struct guest *guest, int in_coroutine)
{
    guest_worker = 0;
    if (!in_coroutine) {
        guest->plugin->cb_timer(guest->instance.context);
        return;
    }
    guest_need(guest->timer == NULL, "guest_timer");
    guest->timer = begin(guest, NULL); /* kept, so that no other coroutine comes to lie at its address */
    while (!guest->timer->over) {
        resume(guest->timer);
    }
}

void guest_start(struct guest *guest, const char *module, const char *symbol, const char *upstream_file, int port,
                 const char *conf_path)
{
    guest_forget_counts();
    guest->module = dlopen(module, RTLD_NOW | RTLD_LOCAL);
    guest_need(guest->module != NULL, dlerror());
    guest->plugin = dlsym(guest->module, symbol);
    guest_need(guest->plugin != NULL, symbol);
    guest->instance = (struct flb_output_instance){.upstream_file = upstream_file, .port = port};
    guest_set_up(&guest->instance);
    guest->config.conf_path = (char *)conf_path;
    guest->timer = NULL;
    guest_need(guest->plugin->cb_init(&guest->instance, &guest->config, NULL) == 0, "cb_init");
}

void guest_stop(struct guest *guest)
{
    guest->plugin->cb_exit(guest->instance.context, &guest->config);
    if (guest->timer != NULL) {
        end(guest->timer);
    }
    dlclose(guest->module);
}
