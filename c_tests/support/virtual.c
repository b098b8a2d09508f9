/* See virtual.h. */
#include "virtual.h"

atomic_uint_least64_t virtual_now;

static uint64_t the_clock(void *ctx)
{
    (void)ctx;
    return atomic_load(&virtual_now);
}

upstream_t *virtual_create(const char *text, upstream_log_fn fn, void *ctx)
{
    upstream_options_t *options;
    upstream_t *up;
    atomic_store(&virtual_now, 100 * VIRTUAL_HOUR);
    assert_status(upstream_options_create(&options), UPSTREAM_OK);
    assert_status(upstream_options_set_clock(options, the_clock, NULL), UPSTREAM_OK);
    if (fn != NULL) {
        assert_status(upstream_options_set_logger(options, UPSTREAM_LOG_WARN, fn, ctx),
                      UPSTREAM_OK);
    }
    up = check_create(text, options);
    upstream_options_destroy(options);
    return up;
}

upstream_t *virtual_nodes(const uint16_t *ports, size_t nodes, const char *more)
{
    char *text = check_nodes_text(ports, nodes, more);
    upstream_t *up = virtual_create(text, NULL, NULL);
    free(text);
    return up;
}

int32_t virtual_state(upstream_t *up, size_t place)
{
    return upstream_node_state(upstream_node_at(up, place));
}

void virtual_report(upstream_t *up, size_t place, upstream_status_t outcome)
{
    assert_status(upstream_node_report(upstream_node_at(up, place), outcome), UPSTREAM_OK);
}
