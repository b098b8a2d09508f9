/* See operations.h. One at a time: what they work on is in one place. */
#define _GNU_SOURCE
#include "operations.h"

#include "../support/check.h"
#include "bounds.h"
#include "clock.h"
#include "sets.h"

enum { FEW = 3, MANY = 10000, LARGEST_POOL = 2000 };

static struct {
    uint16_t sink_port, tls_port;
    const char *ca_file;
} servers;

static upstream_t *up;
static upstream_node_t *node;
static upstream_conn_t *conn;
static char payload[4096];

void operations_servers(uint16_t sink_port, uint16_t tls_port, const char *ca_file)
{
    servers.sink_port = sink_port;
    servers.tls_port = tls_port;
    servers.ca_file = ca_file;
    memset(payload, 'x', sizeof(payload));
}

void operations_finish(void)
{
    upstream_conn_release(conn);
    upstream_destroy(up);
    conn = NULL;
    node = NULL;
    up = NULL;
    clock_step(0);
}

/* ---- picking ---- */

enum { BRISK_NS = 100, LEISURELY_NS = 1000 * 1000 };

/* Every second node is out, and none is due before the test ends. The caller picks as fast as it
 * can, or with pauses. */
static void prepare_half_ejected(size_t nodes, long step)
{
    size_t i;
    up = sets_create(nodes, 1, "health.backoff 1h\nhealth.backoff_max 1h\n");
    for (i = 0; i < nodes; i += 2) {
        assert_status(upstream_node_report(upstream_node_at(up, i), UPSTREAM_ERR_CONNECT),
                      UPSTREAM_OK);
        assert_int_equal(upstream_node_state(upstream_node_at(up, i)), UPSTREAM_NODE_EJECTED);
    }
    clock_step(step);
}

static void prepare_pick(void)
{
    up = sets_create(FEW, 1, "");
}

static void prepare_pick_of_10000(void)
{
    up = sets_create(MANY, 1, "");
}

static void prepare_pick_half_ejected(void)
{
    prepare_half_ejected(2 * FEW, BRISK_NS);
}

static void prepare_pick_of_10000_ejected(void)
{
    prepare_half_ejected(MANY, BRISK_NS);
}

static void prepare_pick_at_leisure_ejected(void)
{
    prepare_half_ejected(2 * FEW, LEISURELY_NS);
}

static void prepare_pick_weighted(void)
{
    up = sets_create_weighted(FEW, 1);
}

static void run_pick(void)
{
    if (upstream_next_node(up) == NULL) {
        fail();
    }
}

#define run_pick_half_ejected run_pick
#define run_pick_of_10000 run_pick
#define run_pick_of_10000_ejected run_pick
#define run_pick_at_leisure_ejected run_pick
#define run_pick_weighted run_pick

/* Every second of 1,000 nodes is out and due: each pick begins a trial. */
static void prepare_pick_gets_trial(void)
{
    enum { NODES = 1000, ALMOST_A_SECOND_NS = 999 * 1000 * 1000 };
    size_t i;
    up = sets_create(NODES, 1,
                     "health.backoff 100ms\nhealth.backoff_max 100ms\nnet.connect_timeout 1ms\n");
    for (i = 0; i < NODES; i += 2) {
        assert_status(upstream_node_report(upstream_node_at(up, i), UPSTREAM_ERR_CONNECT),
                      UPSTREAM_OK);
    }
    clock_step(ALMOST_A_SECOND_NS);
}

static void run_pick_gets_trial(void)
{
    upstream_node_t *picked = upstream_next_node(up);
    if (upstream_node_state(picked) != UPSTREAM_NODE_PROBING) {
        fail();
    }
}

static void prepare_attempt(void)
{
    prepare_pick();
}

static void run_attempt(void)
{
    upstream_attempt_t *attempt;
    if (upstream_attempt_begin(up, &attempt) != UPSTREAM_OK ||
        upstream_attempt_next(attempt) == NULL) {
        fail();
    }
    upstream_attempt_end(attempt, UPSTREAM_OK);
}

/* ---- properties ---- */

/* Of those that a set of a Forward plugin has. */
static void prepare_property(void)
{
    up = sets_create(FEW, 1,
                     "self_hostname agent\nrequire_ack_response on\ntime_as_integer off\n"
                     "compress gzip\n");
    node = upstream_node_at(up, 1);
}

static void run_property(void)
{
    if (upstream_node_get_prop(node, "shared_key") == NULL) {
        fail();
    }
}

static void run_property_inherited(void)
{
    if (upstream_node_get_prop(node, "Compress") == NULL) {
        fail();
    }
}

static void run_property_unset(void)
{
    if (upstream_node_get_prop(node, "username") != NULL) {
        fail();
    }
}

static void run_property_number(void)
{
    if (upstream_node_get_prop_size(node, "chunk_limit", 0) != 2 * 1024 * 1024) {
        fail();
    }
}

#define prepare_property_inherited prepare_property
#define prepare_property_unset prepare_property
#define prepare_property_number prepare_property

/* ---- connections ---- */

/* Kept for ever, so that what is counted is the rule and not the exception. */
#define KEPT "net.keepalive_idle_timeout 1h\nnet.keepalive_max_recycle 0\n"

/* `idle` connections in the pool of the second node. */
static void prepare_pool(size_t idle)
{
    static upstream_conn_t *held[LARGEST_POOL];
    size_t i;
    up = sets_create(FEW, servers.sink_port, KEPT);
    node = upstream_node_at(up, 1);
    for (i = 0; i < idle; i++) {
        assert_status(upstream_node_connect(node, &held[i], NULL), UPSTREAM_OK);
    }
    for (i = 0; i < idle; i++) {
        upstream_conn_release(held[i]);
    }
}

static void prepare_connect_release_10_idle(void)
{
    prepare_pool(10);
}

static void prepare_connect_release_2000_idle(void)
{
    prepare_pool(LARGEST_POOL);
}

static void run_connect_release_10_idle(void)
{
    upstream_conn_t *pooled;
    if (upstream_node_connect(node, &pooled, NULL) != UPSTREAM_OK ||
        upstream_conn_reused(pooled) != 1) {
        fail();
    }
    upstream_conn_release(pooled);
}

#define run_connect_release_2000_idle run_connect_release_10_idle

/* One idle connection to each node, as a plugin has it that goes round. */
static void prepare_connect_release(void)
{
    size_t i;
    up = sets_create(FEW, servers.sink_port, KEPT);
    for (i = 0; i < FEW; i++) {
        assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
        upstream_conn_release(conn);
        conn = NULL;
    }
}

static void run_connect_release(void)
{
    upstream_conn_t *pooled;
    if (upstream_connect(up, &pooled, NULL) != UPSTREAM_OK || upstream_conn_reused(pooled) != 1) {
        fail();
    }
    upstream_conn_release(pooled);
}

static upstream_status_t send_64(upstream_conn_t *lent, void *ctx)
{
    return upstream_conn_write(lent, ctx, 64);
}

static void run_deliver_64(void)
{
    if (upstream_deliver(up, send_64, payload, 0, NULL) != UPSTREAM_OK) {
        fail();
    }
}

#define prepare_deliver_64 prepare_connect_release

static void prepare_write_64(void)
{
    up = sets_create(1, servers.sink_port, KEPT);
    assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
}

static void run_write_64(void)
{
    if (upstream_conn_write(conn, payload, 64) != UPSTREAM_OK) {
        fail();
    }
}

static void run_write_4096(void)
{
    if (upstream_conn_write(conn, payload, 4096) != UPSTREAM_OK) {
        fail();
    }
}

static void prepare_write_tls_64(void)
{
    char text[512];
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\n[NODE]\nname n\nhost 127.0.0.1\ntls.vhost localhost\nport %u\n"
             "tls on\ntls.ca_file %s\n",
             (unsigned)servers.tls_port, servers.ca_file);
    up = check_create(text, NULL);
    assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
}

#define prepare_write_4096 prepare_write_64
#define run_write_tls_64 run_write_64

/* ---- the table ---- */

#define ROW(name, allocations, readings, calls, atomics, instructions) \
    {#name, prepare_##name, run_##name, allocations, readings, calls, atomics, instructions},

const struct operation operations[] = {COUNTED_OPERATIONS(ROW)};
const size_t operations_count = sizeof(operations) / sizeof(operations[0]);

const struct operation *operations_named(const char *name)
{
    size_t i;
    for (i = 0; i < operations_count; i++) {
        if (strcmp(operations[i].name, name) == 0) {
            return &operations[i];
        }
    }
    return NULL;
}

size_t operations_times(const struct operation *operation)
{
    return strncmp(operation->name, "write", 5) == 0 ? 50 : 3000;
}

void operations_warm_up(const struct operation *operation)
{
    size_t i, times = strncmp(operation->name, "write", 5) == 0 ? 8 : 512;
    for (i = 0; i < times; i++) {
        operation->run();
    }
}
