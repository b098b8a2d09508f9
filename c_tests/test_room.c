/* Nodes with room first: what happens to a payload whose node is at its net.max_connections, in
 * each way to get a connection. Turns at one node are in test_pool.c. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/descriptors.h"
#include "support/event_loop.h"
#include "support/loopback.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { NODES = 3, PAYLOADS = 30 };

enum way { CONNECT, DELIVER, ATTEMPT, LOOP, ATTEMPT_LOOP, WAYS };
static const char *const ways[WAYS] = {"upstream_connect", "upstream_deliver",
                                       "upstream_attempt_connect", "upstream_connect_start",
                                       "upstream_attempt_connect_start"};

static struct loopback *server;
static upstream_t *up;
static upstream_conn_t *held[NODES];
static size_t descriptors_before;

/* A set of three nodes on one server. `more` goes into each. */
static void open_set(const char *more)
{
    uint16_t ports[NODES];
    size_t i;
    descriptors_before = descriptors_open();
    server = loopback_start(LOOPBACK_ECHO);
    for (i = 0; i < NODES; i++) {
        ports[i] = loopback_port(server);
    }
    up = check_nodes(ports, NODES, more);
}

static void hold(size_t node)
{
    assert_status(upstream_node_connect(upstream_node_at(up, node), &held[node], NULL),
                  UPSTREAM_OK);
}

static void let_go(size_t node)
{
    upstream_conn_release(held[node]);
    held[node] = NULL;
}

static void close_set(void)
{
    upstream_destroy(up);
    loopback_stop(server);
    assert_true(descriptors_fall_to(descriptors_before));
}

/* Which node a payload came to; NODES if it came to none. */
static size_t place_of(const upstream_node_t *node)
{
    size_t i = 0;
    while (i < NODES && upstream_node_at(up, i) != node) {
        i++;
    }
    return i;
}

static upstream_status_t note_place(upstream_conn_t *conn, void *place)
{
    *(size_t *)place = place_of(upstream_conn_node(conn));
    return UPSTREAM_OK;
}

static upstream_status_t finish(upstream_conn_t *conn, size_t *place)
{
    struct event_loop loop;
    upstream_status_t status = UPSTREAM_WANT_READ;
    event_loop_open(&loop, EVENT_LOOP_EPOLL);
    status = event_loop_connect(&loop, conn, status);
    event_loop_close(&loop);
    *place = status == UPSTREAM_OK ? place_of(upstream_conn_node(conn)) : NODES;
    return status;
}

/* One payload. */
static upstream_status_t send_one(enum way way, size_t *place)
{
    upstream_conn_t *conn = NULL;
    upstream_attempt_t *attempt = NULL;
    upstream_status_t status = UPSTREAM_OK;
    *place = NODES;
    switch (way) {
    case CONNECT:
        status = upstream_connect(up, &conn, NULL);
        break;
    case DELIVER:
        return upstream_deliver(up, note_place, place, 0, NULL);
    case ATTEMPT:
        attempt = check_attempt(up);
        status = upstream_attempt_connect(attempt, &conn, NULL);
        break;
    case LOOP:
        status = upstream_connect_start(up, &conn, NULL);
        break;
    case ATTEMPT_LOOP:
        attempt = check_attempt(up);
        status = upstream_attempt_connect_start(attempt, &conn, NULL);
        break;
    case WAYS:
        break;
    }
    if (status == UPSTREAM_WANT_READ) {
        status = finish(conn, place);
    } else if (status == UPSTREAM_OK) {
        *place = place_of(upstream_conn_node(conn));
    }
    upstream_conn_release(conn);
    upstream_attempt_end(attempt, status);
    return status;
}

static void a_full_node_holds_nobody_up(void **state)
{
    enum way way;
    (void)state;
    for (way = CONNECT; way < WAYS; way++) {
        size_t had[NODES + 1] = {0}, place, i;
        open_set("    net.max_connections 1\n    net.connect_timeout 60s");
        hold(1);
        for (i = 0; i < PAYLOADS; i++) {
            assert_status(send_one(way, &place), UPSTREAM_OK);
            had[place]++;
        }
        if (had[0] != PAYLOADS / 2 || had[1] != 0 || had[2] != PAYLOADS / 2) {
            fail_msg("%s: %zu, %zu and %zu payloads; the full node's turns are spread evenly",
                     ways[way], had[0], had[1], had[2]);
        }
        for (i = 0; i < NODES; i++) { /* picks are what was handed out */
            assert_int_equal(check_node_stats(upstream_node_at(up, i)).picks, had[i]);
        }
        assert_int_equal(check_stats(up).picks, PAYLOADS);
        assert_int_equal(check_stats(up).deliveries_failed, 0);
        assert_int_equal(check_stats(up).connects_failed, 0);
        let_go(1);
        /* and with room again the turns are the plain ones */
        memset(had, 0, sizeof(had));
        for (i = 0; i < PAYLOADS; i++) {
            assert_status(send_one(way, &place), UPSTREAM_OK);
            had[place]++;
        }
        for (i = 0; i < NODES; i++) {
            assert_int_equal(had[i], PAYLOADS / NODES);
        }
        close_set();
    }
}

struct waiter {
    enum way way;
    upstream_node_t *node; /* this node alone, if not NULL */
    size_t place;
    upstream_status_t status;
    atomic_int over;
    pthread_t thread;
};

static void *wait_for_room(void *argument)
{
    struct waiter *waiter = argument;
    if (waiter->node != NULL) {
        upstream_conn_t *conn = NULL;
        waiter->status = upstream_node_connect(waiter->node, &conn, NULL);
        waiter->place = place_of(upstream_conn_node(conn));
        upstream_conn_release(conn);
    } else {
        waiter->status = send_one(waiter->way, &waiter->place);
    }
    atomic_store(&waiter->over, 1);
    return NULL;
}

static void start(struct waiter *waiter)
{
    assert_int_equal(pthread_create(&waiter->thread, NULL, wait_for_room, waiter), 0);
    usleep(30 * 1000); /* most probably it waits then; what follows holds if not, too */
}

static void the_first_room_anywhere_ends_the_wait(void **state)
{
    enum way way;
    (void)state;
    for (way = CONNECT; way < WAYS; way++) {
        size_t freed, i;
        for (freed = 0; freed < NODES; freed++) {
            struct waiter waiter = {.way = way};
            open_set("    net.max_connections 1\n    net.connect_timeout 60s");
            for (i = 0; i < NODES; i++) {
                hold(i);
            }
            start(&waiter);
            assert_int_equal(atomic_load(&waiter.over), 0);
            let_go(freed);
            pthread_join(waiter.thread, NULL);
            assert_status(waiter.status, UPSTREAM_OK);
            if (waiter.place != freed) {
                fail_msg("%s: node %zu has room, and the payload went to %zu", ways[way], freed,
                         waiter.place);
            }
            for (i = 0; i < NODES; i++) {
                assert_int_equal(check_node_stats(upstream_node_at(up, i)).picks, i == freed);
                if (i != freed) {
                    let_go(i);
                }
            }
            /* nobody is left in a line: each node serves at once */
            for (i = 0; i < NODES; i++) {
                hold(i);
                let_go(i);
            }
            close_set();
        }
    }
}

static void a_call_for_one_node_waits_for_that_node(void **state)
{
    struct waiter waiter = {.way = CONNECT};
    (void)state;
    open_set("    net.max_connections 1\n    net.connect_timeout 60s");
    hold(0);
    hold(1);
    waiter.node = upstream_node_at(up, 0);
    start(&waiter);
    let_go(1);
    usleep(50 * 1000);
    assert_int_equal(atomic_load(&waiter.over), 0);
    let_go(0);
    pthread_join(waiter.thread, NULL);
    assert_status(waiter.status, UPSTREAM_OK);
    assert_int_equal(waiter.place, 0);
    close_set();
}

static void a_wait_in_vain_names_the_limit(void **state)
{
    enum way way;
    size_t i, place;
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    (void)state;
    open_set("    net.max_connections 1\n    net.connect_timeout 100ms");
    for (i = 0; i < NODES; i++) {
        hold(i);
    }
    assert_status(upstream_connect(up, &conn, &err), UPSTREAM_ERR_LIMIT);
    check_contains(upstream_error_message(err), "raise net.max_connections");
    check_contains(upstream_error_message(err), "2 other nodes are at their limits too");
    upstream_error_free(err);
    for (way = CONNECT; way < WAYS; way++) {
        upstream_status_t status = send_one(way, &place);
        assert_true(status == UPSTREAM_ERR_LIMIT || status == UPSTREAM_ERR_NO_NODE);
        assert_int_equal(place, NODES);
    }
    assert_int_equal(check_stats(up).ejections, 0);
    assert_int_equal(check_stats(up).nodes_up, NODES);
    for (i = 0; i < NODES; i++) {
        let_go(i);
    }
    for (way = CONNECT; way < WAYS; way++) {
        assert_status(send_one(way, &place), UPSTREAM_OK);
    }
    close_set();
}

/* Many threads over few places: each is served, and none waits where there is room. */
static void *send_many(void *failed)
{
    size_t place, i;
    for (i = 0; i < 50; i++) {
        if (send_one((enum way)(i % LOOP), &place) != UPSTREAM_OK) {
            atomic_fetch_add((atomic_size_t *)failed, 1);
        }
    }
    return NULL;
}

static void many_threads_are_all_served(void **state)
{
    enum { THREADS = 16 };
    pthread_t threads[THREADS];
    atomic_size_t failed = 0;
    size_t i;
    (void)state;
    open_set("    net.max_connections 2\n    net.connect_timeout 60s");
    for (i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, send_many, &failed), 0);
    }
    for (i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(failed, 0);
    assert_in_range(loopback_connections(server), 1, 2 * NODES);
    assert_int_equal(check_stats(up).active, 0);
    close_set();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_node_holds_nobody_up),
        cmocka_unit_test(the_first_room_anywhere_ends_the_wait),
        cmocka_unit_test(a_call_for_one_node_waits_for_that_node),
        cmocka_unit_test(a_wait_in_vain_names_the_limit),
        cmocka_unit_test(many_threads_are_all_served),
    };
    return check_run_tests(tests, NULL, NULL);
}
