/* The fault matrix, network rows: nodes whose packets are lost, before and during connections. In a
 * private network; each row is a ctest (see docs/testing.md). */
#define _GNU_SOURCE
#include "support/acceptor.h"
#include "support/check.h"
#include "support/descriptors.h"
#include "support/netns.h"
#include "support/senders.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TIMEOUT = 30000, SLACK = 5000 };

static const char *const addresses[] = {"127.0.0.11", "127.0.0.12", "127.0.0.13"};
enum { NODES = 3, LOST = 1 }; /* the node that is lost: node-2 */

static const char settings[] = "net.connect_timeout 2s\nnet.io_timeout 2s\nhealth.backoff 300ms\n"
                               "health.backoff_max 1s";

static struct senders senders;

static void start(void)
{
    char *text;
    senders_start(&senders, addresses, NODES, TIMEOUT);
    text = senders_text(&senders, addresses, settings);
    senders.up = check_create(text, NULL);
    free(text);
}

static size_t threads(void)
{
    return check_slow() ? 4 : 8;
}

/* Under load until the node is out of the rotation; at most 30 seconds. */
static void await_ejection(uint64_t before)
{
    int turns;
    for (turns = 0; turns < 3000 && senders_stats(&senders, LOST).ejections == before; turns++) {
        usleep(10000);
    }
    assert_true(senders_stats(&senders, LOST).ejections > before);
}

static void syn_black_hole(void **state)
{
    size_t before = descriptors_open(), dropped = netns_dropped();
    (void)state;
    start();
    netns_drop(addresses[LOST]);
    senders_go(&senders, threads());
    await_ejection(0);
    usleep(1000 * 1000); /* trials of it run meanwhile */
    senders_rest(&senders);
    assert_true(netns_dropped() > dropped);
    senders_even(&senders, 1 | 4); /* the healthy share what the lost one does not get */
    assert_int_equal(senders_came(&senders, LOST), 0);
    netns_heal();
    senders_heal(&senders);
    senders_even(&senders, 7);
    assert_int_equal(senders_balance(&senders, SLACK), 0);
    senders_stop(&senders);
    assert_true(descriptors_fall_to(before));
}

/* Drops what `drop` says in the middle of connections that work, until the node is out; then
 * heals. */
static size_t partition(void (*drop)(const char *address))
{
    size_t before = descriptors_open(), dropped, again;
    start();
    senders_go(&senders, threads());
    while (senders_came(&senders, LOST) < 100) {
        usleep(10000);
    }
    dropped = netns_dropped();
    drop(addresses[LOST]);
    await_ejection(0);
    usleep(500 * 1000);
    assert_true(netns_dropped() > dropped);
    netns_heal();
    usleep(1000 * 1000); /* what the kernel sends again arrives now */
    senders_rest(&senders);
    senders_heal(&senders);
    senders_even(&senders, 7);
    again = senders_balance(&senders, SLACK);
    senders_stop(&senders);
    assert_true(descriptors_fall_to(before));
    return again;
}

static void partition_under_load(void **state)
{
    (void)state;
    print_message("%zu records came twice, their answers lost\n", partition(netns_drop));
}

static void partition_of_answers(void **state)
{
    (void)state;
    assert_true(partition(netns_drop_answers) > 0); /* they arrived, and had to be sent again */
}

enum { RECORD = 8, UNTIL_OUT = 1000 };

static enum ending count_bytes(const struct session *session, void *ctx)
{
    atomic_size_t *bytes = ctx;
    char buffer[4096];
    while (session_wait(session, session->socket, POLLIN, -1)) {
        ssize_t got = recv(session->socket, buffer, sizeof(buffer), 0);
        if (got <= 0) {
            break;
        }
        *bytes += (size_t)got;
    }
    return ENDING_CLOSE;
}

static upstream_status_t write_record(upstream_conn_t *conn, void *ctx)
{
    return upstream_conn_write(conn, ctx, RECORD);
}

/*
 * The plugin reads no answers, so the kernel takes whatever is written to the lost node. If bytes
 * are not acknowledged within net.io_timeout (1 s), the connection ends, and that counts against
 * the node. With three nodes and at least 5 ms between deliveries, the node is out within 1,000
 * deliveries, and at most its share of those is lost.
 */
static void partition_without_answers(void **state)
{
    static const char keys[] = "net.connect_timeout 1s\nnet.io_timeout 1s\nhealth.backoff 1h\n"
                               "health.backoff_max 1h";
    size_t before = descriptors_open(), sent = 0, came, booked, i;
    atomic_size_t bytes[NODES] = {0};
    struct acceptor *acceptors[NODES];
    char text[1024], record[RECORD] = "record\r\n";
    upstream_t *up;
    int length = snprintf(text, sizeof(text), "[UPSTREAM]\nname u\n%s\n", keys);
    (void)state;
    for (i = 0; i < NODES; i++) {
        acceptors[i] = acceptor_start(addresses[i], 0, count_bytes, &bytes[i]);
        length += snprintf(text + length, sizeof(text) - (size_t)length,
                           "[NODE]\nname n%zu\nhost %s\nport %u\n", i, addresses[i],
                           (unsigned)acceptor_port(acceptors[i]));
    }
    senders.up = up = check_create(text, NULL);
    for (i = 0; i < 30 * NODES; i++, sent++) {
        assert_status(upstream_deliver(up, write_record, record, TIMEOUT, NULL), UPSTREAM_OK);
    }
    while (bytes[LOST] < 30 * RECORD) {
        usleep(1000);
    }
    netns_drop(addresses[LOST]);
    for (i = 0; i < UNTIL_OUT && senders_stats(&senders, LOST).ejections == 0; i++, sent++) {
        assert_status(upstream_deliver(up, write_record, record, TIMEOUT, NULL), UPSTREAM_OK);
        usleep(5000);
    }
    assert_int_equal(senders_stats(&senders, LOST).ejections, 1);
    booked = senders_stats(&senders, LOST).deliveries - 30;
    print_message(
        "%zu records were written into the hole, in %zu deliveries until the node was out\n",
        booked, i);
    assert_in_range(booked, 1, UNTIL_OUT / NODES + 1);
    for (i = 0; i < 100; i++, sent++) {
        assert_status(upstream_deliver(up, write_record, record, TIMEOUT, NULL), UPSTREAM_OK);
    }
    assert_int_equal(senders_stats(&senders, LOST).deliveries - 30, booked);
    for (i = 0; i < 10000 && bytes[0] + bytes[2] + (30 + booked) * RECORD < sent * RECORD; i++) {
        usleep(1000);
    }
    came = bytes[0] + bytes[2] + (30 + booked) * RECORD;
    assert_int_equal(came, sent * RECORD); /* nothing else was lost, and nothing came twice */
    upstream_destroy(up);
    netns_heal();
    for (i = 0; i < NODES; i++) {
        acceptor_stop(acceptors[i]);
    }
    assert_true(descriptors_fall_to(before));
}

#define OUT_AFTER_ONE "health.max_fails 1\nhealth.backoff 1h\nhealth.backoff_max 1h\n"

/* A set of such nodes, all on one port. */
static upstream_t *open_at(const char *keys, const char *const *hosts, size_t count, uint16_t port)
{
    char text[1024];
    size_t i;
    int length = snprintf(text, sizeof(text), "[UPSTREAM]\nname u\n%s\n", keys);
    for (i = 0; i < count; i++) {
        length += snprintf(text + length, sizeof(text) - (size_t)length,
                           "[NODE]\nname n%zu\nhost %s\nport %u\n", i, hosts[i], (unsigned)port);
    }
    return check_create(text, NULL);
}

static void fails_to_connect(upstream_t *up, size_t node, int32_t state, const char *words)
{
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    assert_status(upstream_node_connect(upstream_node_at(up, node), &conn, &err),
                  UPSTREAM_ERR_CONNECT);
    check_contains(upstream_error_message(err), words);
    upstream_error_free(err);
    assert_int_equal(upstream_node_state(upstream_node_at(up, node)), state);
}

/* There are only four local ports, on net.source_address, and all are in use: that is not the
 * node's fault. The same ports still serve for another node. */
static void ports_exhausted(void **state)
{
    enum { PORTS = 4 };
    atomic_size_t bytes = 0;
    struct acceptor *acceptor = acceptor_start("0.0.0.0", 0, count_bytes, &bytes);
    upstream_conn_t *conns[2 * PORTS] = {NULL};
    upstream_t *up = open_at(OUT_AFTER_ONE "net.source_address 127.0.0.1", addresses, 2,
                             acceptor_port(acceptor));
    size_t i;
    (void)state;
    netns_ports(40000, 40000 + PORTS - 1);
    for (i = 0; i < 2 * PORTS; i++) {
        assert_status(upstream_node_connect(upstream_node_at(up, i / PORTS), &conns[i], NULL),
                      UPSTREAM_OK);
    }
    for (i = 0; i < 2; i++) {
        fails_to_connect(
            up, i, UPSTREAM_NODE_UP,
            "every port of net.source_address 127.0.0.1 to this server is in use; widen");
    }
    for (i = 0; i < 2 * PORTS; i++) {
        upstream_conn_discard(conns[i]);
    }
    netns_ports(32768, 60999);
    upstream_destroy(up);
    acceptor_stop(acceptor);
}

/* If this machine has no route, that says nothing about the node. If a router on the way has none,
 * it does. */
static void no_route_here_and_none_there(void **state)
{
    static const char *const hosts[] = {"192.0.2.1", "127.0.0.11"};
    upstream_t *up = open_at(OUT_AFTER_ONE "net.connect_timeout 30s", hosts, 2, 9);
    (void)state;
    fails_to_connect(up, 0, UPSTREAM_NODE_UP, "this machine has no route to it; see `ip route`");
    netns_reject(hosts[1]);
    fails_to_connect(up, 1, UPSTREAM_NODE_EJECTED, "No route to host");
    netns_heal();
    upstream_destroy(up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(syn_black_hole),
        cmocka_unit_test(partition_under_load),
        cmocka_unit_test(partition_of_answers),
        cmocka_unit_test(partition_without_answers),
        /* what the host itself lacks */
        cmocka_unit_test(ports_exhausted),
        cmocka_unit_test(no_route_here_and_none_there),
    };
    if (!netns_enter()) {
        return NETNS_SKIPPED;
    }
    return check_run_tests(tests, NULL, NULL);
}
