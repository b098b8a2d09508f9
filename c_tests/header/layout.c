/*
 * The numbers and layouts that docs/abi.md promises: if one changes, this does not compile. Only
 * add lines for what is new. If you must change a line, you break the binary interface.
 */
#include <stddef.h>
#include <upstream/upstream.h>

#define IS(name, number) _Static_assert((name) == (number), #name)

IS(UPSTREAM_OK, 0);
IS(UPSTREAM_WANT_READ, 1);
IS(UPSTREAM_WANT_WRITE, 2);
IS(UPSTREAM_EOF, 3);
IS(UPSTREAM_STOP, 4);
IS(UPSTREAM_ERR_INVALID_ARG, -1);
IS(UPSTREAM_ERR_NO_MEMORY, -2);
IS(UPSTREAM_ERR_PANIC, -3);
IS(UPSTREAM_ERR_FORKED, -4);
IS(UPSTREAM_ERR_IO, -10);
IS(UPSTREAM_ERR_CONFIG, -11);
IS(UPSTREAM_ERR_NOT_FOUND, -12);
IS(UPSTREAM_ERR_NO_NODE, -20);
IS(UPSTREAM_ERR_LIMIT, -21);
IS(UPSTREAM_ERR_RESOLVE, -30);
IS(UPSTREAM_ERR_CONNECT, -31);
IS(UPSTREAM_ERR_TLS, -32);
IS(UPSTREAM_ERR_CERT, -33);
IS(UPSTREAM_ERR_TIMEOUT, -34);
IS(UPSTREAM_ERR_CLOSED, -35);
IS(UPSTREAM_ERR_NETWORK, -36);
IS(UPSTREAM_ERR_CANCELLED, -37);
IS(UPSTREAM_ERR_PROTOCOL, -38);
IS(UPSTREAM_ERR_BUSY, -39);

IS(UPSTREAM_LOG_ERROR, 1);
IS(UPSTREAM_LOG_WARN, 2);
IS(UPSTREAM_LOG_INFO, 3);
IS(UPSTREAM_LOG_DEBUG, 4);
IS(UPSTREAM_LOG_TRACE, 5);

IS(UPSTREAM_KEY_TEXT, 0);
IS(UPSTREAM_KEY_BOOL, 1);
IS(UPSTREAM_KEY_INT, 2);
IS(UPSTREAM_KEY_MS, 3);
IS(UPSTREAM_KEY_SIZE, 4);
IS(UPSTREAM_KEY_SECRET, 5);

IS(UPSTREAM_NODE_UP, 0);
IS(UPSTREAM_NODE_EJECTED, 1);
IS(UPSTREAM_NODE_PROBING, 2);
IS(UPSTREAM_NODE_DRAINING, 3);
IS(UPSTREAM_NODE_PAUSED, 4);

IS(UPSTREAM_POLL_IN, 1);
IS(UPSTREAM_POLL_OUT, 2);

IS(sizeof(upstream_status_t), 4);
_Static_assert((upstream_status_t)-1 < 0, "a status is signed");

/* struct_size, then numbers of 64 bits, each at a multiple of eight: the same layout wherever the
 * library builds. */
#define FIELD(name, place) IS(offsetof(upstream_stats_t, name), 8 * (place))
IS(offsetof(upstream_stats_t, struct_size), 0);
FIELD(picks, 1);
FIELD(connects, 2);
FIELD(connects_failed, 3);
FIELD(handshakes, 4);
FIELD(reused, 5);
FIELD(ejections, 6);
FIELD(bytes_out, 7);
FIELD(bytes_in, 8);
FIELD(deliveries, 9);
FIELD(redeliveries, 10);
FIELD(deliveries_failed, 11);
FIELD(idle, 12);
FIELD(active, 13);
FIELD(nodes_up, 14);
FIELD(nodes, 15);

/* The types of the callbacks, by what must be assignable to them. */
static upstream_status_t deliver(upstream_conn_t *conn, void *ctx)
{
    return conn == ctx ? UPSTREAM_OK : UPSTREAM_STOP;
}
static void log_line(int32_t level, const char *message, void *ctx)
{
    (void)level, (void)message, (void)ctx;
}
static uint64_t clock_ns(void *ctx)
{
    return ctx == NULL;
}

void callbacks(upstream_deliver_fn *d, upstream_log_fn *l, upstream_clock_fn *c);
void callbacks(upstream_deliver_fn *d, upstream_log_fn *l, upstream_clock_fn *c)
{
    *d = deliver;
    *l = log_line;
    *c = clock_ns;
}

/* Sizes and pointers are the platform's own. */
IS(offsetof(upstream_delivery_t, struct_size), 0);
IS(offsetof(upstream_delivery_t, timeout_ms), sizeof(size_t));
IS(offsetof(upstream_delivery_t, payload_id), 2 * sizeof(size_t));
IS(offsetof(upstream_delivery_t, key), 3 * sizeof(size_t));
IS(offsetof(upstream_delivery_t, key_len), 4 * sizeof(size_t));
IS(sizeof(upstream_delivery_t), 5 * sizeof(size_t));
