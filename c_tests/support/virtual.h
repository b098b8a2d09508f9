/* Sets that use a clock of the test. Never used outside the tests. */
#ifndef SUPPORT_VIRTUAL_H
#define SUPPORT_VIRTUAL_H

#include "check.h"

#include <stdatomic.h>

#define VIRTUAL_MS 1000000ull
#define VIRTUAL_SECOND 1000000000ull
#define VIRTUAL_HOUR (3600 * VIRTUAL_SECOND)

/* Nanoseconds; library threads read it too. */
extern atomic_uint_least64_t virtual_now;

/* check_create() of a set that uses the clock. The clock is set to its beginning first. `fn` (may
 * be NULL) gets its WARN lines. */
upstream_t *virtual_create(const char *text, upstream_log_fn fn, void *ctx);

/* The same of check_nodes_text(). */
upstream_t *virtual_nodes(const uint16_t *ports, size_t nodes, const char *more);

/* What several of these tests ask. */
int32_t virtual_state(upstream_t *up, size_t place);
/* upstream_node_report() that must be taken. */
void virtual_report(upstream_t *up, size_t place, upstream_status_t outcome);

#endif
