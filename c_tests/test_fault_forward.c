/* The fault matrix: Forward servers that go wrong at the login or at the ack, met by the example's
 * own client over three nodes. Rows of docs/testing.md; the same faults with a single server are in
 * test_forward_traps. */
#define _GNU_SOURCE
#include "support/forward_client.h"
#include "support/testbed.h"

#include <signal.h>

enum { NODES = 3, RECORDS = 24 };

#define ASKS_FOR_ACK "    require_ack_response on\n"
#define LOGIN(helo_, pong_) \
    {.helo = (helo_), .pong = (pong_), .ack = ACK_GOOD, .shared_key = "secret"}

/* How often records come to node 1, which goes wrong. */
enum arrives { NEVER, ONCE_PER_ATTEMPT };

static upstream_status_t last_failure; /* of a node, in the callback */

static void note_failure(const forward_delivery *delivery, const upstream_node_t *node,
                         upstream_status_t status, const char *reason)
{
    (void)delivery;
    (void)reason;
    assert_string_equal(upstream_node_name(node), "node-1");
    last_failure = status;
}

/* Delivers a record in its time, and gives the place of the node that acknowledged it. */
static unsigned deliver(upstream_t *up, unsigned number, unsigned *failures)
{
    forward_batch *batch = forward_batch_create("tag");
    forward_delivery delivery = FORWARD_DELIVERY_INIT(batch);
    long begun = check_now_ms();
    unsigned i;
    forward_client_fill(batch, number);
    delivery.on_failure = note_failure;
    if (upstream_deliver(up, forward_deliver_fn, &delivery, 0, NULL) != UPSTREAM_OK) {
        fail_msg("record %u: %s", number, delivery.reason);
    }
    /* At most one node failed, with ack_timeout for one answer. The limit here only finds hangs. */
    assert_in_range(check_now_ms() - begun, 0, 300 + testbed_patience_ms());
    assert_in_range(delivery.failures, 0, 1);
    *failures += delivery.failures;
    forward_batch_destroy(batch);
    for (i = 0; i < NODES && delivery.node != upstream_node_at(up, i); i++) {
    }
    return i;
}

/*
 * Node 1 of three plays `fault` on each connection, the others are well-behaved. Each record is
 * acknowledged, by another node: there exactly once. If node 1's fault came after the record, node
 * 1 has it too.
 */
static void one_node_plays(const forward_script *fault, const char *keys, upstream_status_t status,
                           enum arrives arrives)
{
    const char *patient = fault->helo == HELO_NONE ? KEYS_ACK_PATIENT : KEYS_PATIENT ASKS_FOR_ACK;
    const char *each[NODES] = {keys, patient, patient};
    forward_script good = LOGIN(HELO_GOOD, PONG_GOOD);
    size_t before = descriptors_open(), acknowledged[NODES] = {0};
    forward_server *servers[NODES];
    upstream_stats_t stats;
    upstream_t *up;
    unsigned failures = 0, i, n;
    good.helo = fault->helo == HELO_NONE ? HELO_NONE : HELO_GOOD;
    assert_true(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    servers[0] = forward_server_start(fault);
    servers[1] = forward_server_start(&good);
    servers[2] = forward_server_start(&good);
    /* a node that fails stays in the rotation */
    up = forward_client_over_each(servers, NODES, each);
    for (n = 0; n < RECORDS; n++) {
        i = deliver(up, n, &failures);
        assert_in_range(i, 1, NODES - 1);
        acknowledged[i]++;
    }
    assert_status(last_failure, status);
    assert_int_equal(failures, RECORDS / 2); /* every second one begins at node 1 */
    assert_int_equal(acknowledged[1], RECORDS / 2);
    assert_int_equal(acknowledged[2], RECORDS / 2);
    for (n = 0; n < RECORDS; n++) {
        assert_int_equal(
            forward_client_arrived(servers[1], n) + forward_client_arrived(servers[2], n), 1);
    }
    assert_true(forward_server_await(servers[0], arrives == NEVER ? 0 : failures));
    assert_int_equal(forward_server_records(servers[0]), arrives == NEVER ? 0 : failures);
    assert_true(forward_server_all_dropped(servers[0]));
    /* nothing came on a connection that had gone wrong */
    assert_int_equal(forward_server_stray(servers[0]), 0);
    assert_int_equal(forward_server_accepted(servers[0]), failures);
    assert_int_equal(forward_server_accepted(servers[1]), 1);
    stats = check_stats(up);
    assert_int_equal(stats.active, 0);
    upstream_destroy(up);
    for (i = 0; i < NODES; i++) {
        forward_server_stop(servers[i]);
    }
    testbed_wait_descriptors(before);
}

static void wrong_shared_key(void **state)
{
    static const forward_script script = {
        .helo = HELO_GOOD, .pong = PONG_GOOD, .ack = ACK_GOOD, .shared_key = "another"};
    (void)state;
    one_node_plays(&script, KEYS_SECURED ASKS_FOR_ACK, UPSTREAM_ERR_PROTOCOL, NEVER);
}

static void no_pong(void **state)
{
    static const forward_script silent = LOGIN(HELO_GOOD, PONG_SILENT),
                                end = LOGIN(HELO_GOOD, PONG_EOF);
    (void)state;
    one_node_plays(&silent, KEYS_SECURED ASKS_FOR_ACK, UPSTREAM_ERR_TIMEOUT, NEVER);
    one_node_plays(&end, KEYS_SECURED ASKS_FOR_ACK, UPSTREAM_ERR_CLOSED, NEVER);
}

static void no_helo(void **state)
{
    static const forward_script script = LOGIN(HELO_SILENT, PONG_GOOD);
    (void)state;
    one_node_plays(&script, KEYS_SECURED ASKS_FOR_ACK, UPSTREAM_ERR_TIMEOUT, NEVER);
}

static void ack_missing(void **state)
{
    static const forward_script silent = ACKING(ACK_SILENT), end = ACKING(ACK_EOF),
                                half = ACKING(ACK_HALF);
    (void)state;
    one_node_plays(&silent, KEYS_ACK, UPSTREAM_ERR_TIMEOUT, ONCE_PER_ATTEMPT);
    one_node_plays(&end, KEYS_ACK, UPSTREAM_ERR_CLOSED, ONCE_PER_ATTEMPT);
    one_node_plays(&half, KEYS_ACK, UPSTREAM_ERR_CLOSED, ONCE_PER_ATTEMPT);
}

static void ack_late(void **state)
{
    static const forward_script script = ACKING(ACK_LATE);
    (void)state;
    one_node_plays(&script, KEYS_ACK, UPSTREAM_ERR_TIMEOUT, ONCE_PER_ATTEMPT);
}

static void ack_of_another_chunk(void **state)
{
    static const forward_script script = ACKING(ACK_WRONG);
    (void)state;
    one_node_plays(&script, KEYS_ACK_PATIENT, UPSTREAM_ERR_PROTOCOL, ONCE_PER_ATTEMPT);
}

/* Good answers in pieces of a byte are no fault: each node gets its share, over one connection. */
static void ack_split_byte_by_byte(void **state)
{
    static const forward_script script = {
        .helo = HELO_BYTEWISE, .pong = PONG_BYTEWISE, .ack = ACK_BYTEWISE, .shared_key = "secret"};
    size_t before = descriptors_open();
    forward_server *servers[NODES];
    upstream_t *up;
    unsigned failures = 0, i, n;
    (void)state;
    for (i = 0; i < NODES; i++) {
        servers[i] = forward_server_start(&script);
    }
    up = forward_client_over(servers, NODES, KEYS_PATIENT ASKS_FOR_ACK);
    for (n = 0; n < RECORDS; n++) {
        assert_int_equal(deliver(up, n, &failures), n % NODES);
        for (i = 0; i < NODES; i++) {
            assert_int_equal(forward_client_arrived(servers[i], n), i == n % NODES);
        }
    }
    assert_int_equal(failures, 0);
    for (i = 0; i < NODES; i++) {
        assert_int_equal(forward_server_accepted(servers[i]), 1);
    }
    upstream_destroy(up);
    for (i = 0; i < NODES; i++) {
        forward_server_stop(servers[i]);
    }
    testbed_wait_descriptors(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_shared_key),
        cmocka_unit_test(no_helo),
        cmocka_unit_test(no_pong),
        cmocka_unit_test(ack_missing),
        cmocka_unit_test(ack_late),
        cmocka_unit_test(ack_split_byte_by_byte),
        cmocka_unit_test(ack_of_another_chunk),
    };
    return check_run_tests(tests, NULL, NULL);
}
