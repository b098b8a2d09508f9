/* The agent's coroutines. Never used outside the tests. */
#ifndef GUEST_CORO_H
#define GUEST_CORO_H

#include "guest_agent.h"

extern __thread int guest_worker; /* the number of the worker that this thread is */

/* Makes a coroutine that runs `run` at its first resume. `run` must never return: it yields
 * last. */
struct flb_coro *guest_coro_begin(void (*run)(void *ctx), void *ctx);
void *guest_coro_context(const struct flb_coro *coro);

/* Runs it until it yields. */
void guest_coro_resume(struct flb_coro *coro);

/* Frees it, even if it has not ended. */
void guest_coro_end(struct flb_coro *coro);

#endif
