/* The agent's engine: plugins are loaded, and their flushes run as coroutines. Never used outside
 * the tests. */
#define _GNU_SOURCE
#include "guest.h"
#include "guest_coro.h"

#include <dlfcn.h>
#include <stdlib.h>

enum { MOST_AT_ONCE = 64 };

/* What one coroutine is for: a flush, or the timer. */
struct guest_run {
    struct guest *guest;
    struct guest_task *task; /* NULL: the timer */
    struct flb_event_chunk chunk;
    struct flb_coro *coro;
    int over;
};

void guest_flush_over(struct flb_coro *coro, int word)
{
    struct guest_run *run = guest_coro_context(coro);
    run->task->word = word;
    run->over = 1;
}

static void enter(void *ctx)
{
    struct guest_run *run = ctx;
    struct guest *guest = run->guest;
    if (run->task == NULL) {
        guest->plugin->cb_timer(guest->instance.context);
        run->over = 1;
        flb_coro_yield(run->coro, FLB_TRUE);
    }
    guest->plugin->cb_flush(&run->chunk, NULL, NULL, guest->instance.context, &guest->config);
}

static struct guest_run *begin(struct guest *guest, struct guest_task *task)
{
    struct guest_run *run = calloc(1, sizeof(*run));
    guest_need(run != NULL, "calloc");
    run->guest = guest;
    run->task = task;
    if (task != NULL) {
        run->chunk = (struct flb_event_chunk){&task->record, sizeof(task->record)};
    }
    run->coro = guest_coro_begin(enter, run);
    return run;
}

static void end(struct guest_run *run)
{
    guest_coro_end(run->coro);
    free(run);
}

void guest_flush(struct guest *guest, int worker, struct guest_task *tasks, size_t count,
                 size_t at_once)
{
    struct guest_run *running[MOST_AT_ONCE] = {NULL};
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
            guest_coro_resume(running[i]->coro);
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
    struct guest_run *run = begin(guest, &task);
    guest_worker = 0;
    guest_coro_resume(run->coro);
    guest_need(!run->over, "the flush ended at once");
    end(run);
}

void guest_timer(struct guest *guest, int in_coroutine)
{
    guest_worker = 0;
    if (!in_coroutine) {
        guest->plugin->cb_timer(guest->instance.context);
        return;
    }
    guest_need(guest->timer == NULL, "guest_timer");
    /* kept, so that no other coroutine comes to lie at its address */
    guest->timer = begin(guest, NULL);
    while (!guest->timer->over) {
        guest_coro_resume(guest->timer->coro);
    }
}

void guest_start(struct guest *guest, const char *module, const char *symbol,
                 const char *upstream_file, int port, const char *conf_path)
{
    guest_forget_connects();
    guest_forget_warnings();
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
