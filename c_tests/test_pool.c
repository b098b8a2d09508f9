/* The pool of connections to a node, as a plugin sees it: turns at the cap, and which connections
 * are closed when. Limits that hold at the moment of release are in test_conn.c, event loops at the
 * cap in test_nonblocking_life.c, a close at reuse in test_fault_stream.c. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/descriptors.h"
#include "support/loopback.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WAITERS = 6 };

static upstream_t *one_node(struct loopback *server, const char *more)
{
    uint16_t port = loopback_port(server);
    return check_nodes(&port, 1, more);
}

static upstream_conn_t *connect_to(upstream_t *up)
{
    upstream_conn_t *conn = NULL;
    assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
    return conn;
}

static upstream_status_t echo_byte(upstream_conn_t *conn, void *ctx)
{
    char byte;
    upstream_status_t status = upstream_conn_write(conn, ctx, 1);
    return status != UPSTREAM_OK ? status : upstream_conn_read_exact(conn, &byte, 1);
}

/* Who waits for a place, and the order in which they got it. */
static struct {
    upstream_t *up;
    size_t order[WAITERS];
    atomic_size_t served;
    atomic_size_t failed;
} queue;

struct waiter {
    size_t number;
    atomic_long id; /* of its thread, once it is about to wait */
    pthread_t thread;
};

/* Gives its connection back in one of the ways. */
static void *wait_for_place(void *argument)
{
    struct waiter *waiter = argument;
    upstream_conn_t *conn = NULL;
    atomic_store(&waiter->id, syscall(SYS_gettid));
    if (upstream_connect(queue.up, &conn, NULL) != UPSTREAM_OK) {
        atomic_fetch_add(&queue.failed, 1);
        return NULL;
    }
    /* nobody else has the place */
    queue.order[atomic_fetch_add(&queue.served, 1)] = waiter->number;
    if (waiter->number % 2 == 0) {
        upstream_conn_release(conn);
    } else {
        upstream_conn_discard(conn);
    }
    return NULL;
}

static long switches_of(long thread, char *state)
{
    char path[64], line[256];
    long switches = -1;
    FILE *file;
    snprintf(path, sizeof(path), "/proc/self/task/%ld/status", thread);
    file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        (void)sscanf(line, "State: %c", state);
        (void)sscanf(line, "voluntary_ctxt_switches: %ld", &switches);
    }
    fclose(file);
    return switches;
}

/* Waits until the thread sleeps and nothing wakes it: it stands in the queue. */
static void await_sleep(struct waiter *waiter)
{
    long before = -1, now;
    int looks = 0;
    char state;
    while (looks < 20) {
        usleep(5000);
        if (atomic_load(&waiter->id) == 0) {
            continue;
        }
        now = switches_of(atomic_load(&waiter->id), &state);
        looks = state == 'S' && now == before ? looks + 1 : 0;
        before = now;
    }
}

static void threads_get_places_in_the_order_they_came(void **state)
{
    struct waiter waiters[WAITERS];
    struct loopback *server;
    upstream_conn_t *held;
    size_t before = descriptors_open(), i;
    (void)state;
    memset(&queue, 0, sizeof(queue));
    memset(waiters, 0, sizeof(waiters));
    server = loopback_start(LOOPBACK_SINK);
    queue.up = one_node(server, "    net.max_connections 1\n    net.connect_timeout 60s");
    held = connect_to(queue.up);
    for (i = 0; i < WAITERS; i++) {
        waiters[i].number = i;
        assert_int_equal(pthread_create(&waiters[i].thread, NULL, wait_for_place, &waiters[i]), 0);
        await_sleep(&waiters[i]);
    }
    assert_int_equal(queue.served, 0);
    upstream_conn_release(held);
    for (i = 0; i < WAITERS; i++) {
        pthread_join(waiters[i].thread, NULL);
    }
    assert_int_equal(queue.failed, 0);
    for (i = 0; i < WAITERS; i++) {
        assert_int_equal(queue.order[i], i);
    }
    assert_int_equal(check_stats(queue.up).active, 0);
    upstream_destroy(queue.up);
    loopback_stop(server);
    assert_true(descriptors_fall_to(before));
}

static void *deliver_many(void *up)
{
    size_t failed = 0;
    int i;
    for (i = 0; i < 25; i++) {
        failed += upstream_deliver(up, echo_byte, "x", 0, NULL) != UPSTREAM_OK;
    }
    return (void *)failed;
}

static void the_server_sees_no_more_than_the_cap(void **state)
{
    enum { CAP = 3, THREADS = 12 };
    struct loopback *server;
    pthread_t threads[THREADS];
    upstream_t *up;
    size_t before = descriptors_open(), i;
    (void)state;
    server = loopback_start(LOOPBACK_ECHO);
    up = one_node(server, "    net.max_connections 3\n    net.connect_timeout 60s");
    for (i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, deliver_many, up), 0);
    }
    for (i = 0; i < THREADS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_in_range(loopback_connections(server), 1, CAP); /* none was closed meanwhile */
    assert_int_equal(loopback_bytes(server), THREADS * 25);
    assert_int_equal(check_stats(up).idle, loopback_connections(server));
    upstream_destroy(up);
    loopback_stop(server);
    assert_true(descriptors_fall_to(before));
}

static void a_full_node_is_passed_over_without_blame(void **state)
{
    struct loopback *full, *other;
    uint16_t ports[2];
    upstream_conn_t *held = NULL, *none = NULL;
    upstream_node_t *node;
    upstream_error_t *err = NULL;
    upstream_t *up;
    size_t before = descriptors_open(), i;
    (void)state;
    full = loopback_start(LOOPBACK_ECHO);
    other = loopback_start(LOOPBACK_ECHO);
    ports[0] = loopback_port(full);
    ports[1] = loopback_port(other);
    up = check_nodes(ports, 2,
                     "    net.max_connections 1\n    net.connect_timeout 500ms\n"
                     "    health.max_fails 1");
    node = upstream_node_at(up, 0);
    assert_status(upstream_node_connect(node, &held, NULL), UPSTREAM_OK);
    assert_status(upstream_node_connect(node, &none, &err), UPSTREAM_ERR_LIMIT);
    assert_null(none);
    upstream_error_free(err);
    for (i = 0; i < 6; i++) {
        assert_status(upstream_deliver(up, echo_byte, "x", 0, NULL), UPSTREAM_OK);
    }
    assert_int_equal(loopback_bytes(other), 6);
    assert_int_equal(check_stats(up).ejections, 0);
    assert_int_equal(check_stats(up).nodes_up, 2);
    upstream_conn_release(held);
    for (i = 0; i < 2; i++) {
        assert_status(upstream_deliver(up, echo_byte, "x", 0, NULL), UPSTREAM_OK);
    }
    assert_int_equal(loopback_bytes(full), 1);
    upstream_destroy(up);
    loopback_stop(full);
    loopback_stop(other);
    assert_true(descriptors_fall_to(before));
}

static void idle_ones_are_closed_without_a_caller(void **state)
{
    enum { CONNECTIONS = 5 };
    static const char *const settings[] = {
        "    net.keepalive_idle_timeout 200ms",
        "    net.keepalive_idle_timeout 200ms\n    net.max_connections 5",
    };
    size_t round;
    (void)state;
    for (round = 0; round < 2; round++) {
        upstream_conn_t *conns[CONNECTIONS];
        struct loopback *server;
        upstream_t *up;
        size_t before = descriptors_open(), i;
        server = loopback_start(LOOPBACK_SINK);
        up = one_node(server, settings[round]);
        for (i = 0; i < CONNECTIONS; i++) {
            conns[i] = connect_to(up);
        }
        for (i = 0; i < CONNECTIONS; i++) {
            upstream_conn_release(conns[i]);
        }
        assert_true(loopback_wait_ended(server, CONNECTIONS)); /* the server sees them end */
        assert_int_equal(check_stats(up).idle, 0);
        conns[0] = connect_to(up); /* the pool works on, and so does its purge */
        assert_int_equal(upstream_conn_reused(conns[0]), 0);
        upstream_conn_release(conns[0]);
        assert_true(loopback_wait_ended(server, CONNECTIONS + 1));
        upstream_destroy(up);
        loopback_stop(server);
        assert_true(descriptors_fall_to(before));
    }
}

static void one_in_use_is_left_alone(void **state)
{
    struct loopback *server = loopback_start(LOOPBACK_ECHO);
    upstream_t *up = one_node(server, "    net.keepalive_idle_timeout 100ms\n"
                                      "    net.keepalive_max_lifetime 100ms");
    upstream_conn_t *used = connect_to(up), *idle = connect_to(up);
    char byte = 0;
    (void)state;
    upstream_conn_release(idle);
    assert_true(loopback_wait_ended(server, 1));
    usleep(300 * 1000);
    assert_status(upstream_conn_write(used, "x", 1), UPSTREAM_OK);
    assert_status(upstream_conn_read_exact(used, &byte, 1), UPSTREAM_OK);
    assert_int_equal(byte, 'x');
    upstream_conn_release(used);
    assert_true(loopback_wait_ended(server, 2)); /* too old to be kept */
    assert_int_equal(check_stats(up).idle, 0);
    upstream_destroy(up);
    loopback_stop(server);
}

static void one_too_old_is_not_handed_out(void **state)
{
    struct loopback *server = loopback_start(LOOPBACK_SINK);
    upstream_t *up = one_node(server, "    net.keepalive_max_lifetime 1500ms\n"
                                      "    net.keepalive_idle_timeout 1h");
    upstream_conn_t *conn = connect_to(up);
    (void)state;
    upstream_conn_release(conn);
    assert_int_equal(check_stats(up).idle, 1);
    usleep(1600 * 1000);
    conn = connect_to(up);
    assert_int_equal(upstream_conn_reused(conn), 0);
    assert_true(loopback_wait_ended(server, 1)); /* the old one was closed, not forgotten */
    upstream_conn_release(conn);
    upstream_destroy(up);
    loopback_stop(server);
}

static void a_connection_is_used_so_often_and_no_more(void **state)
{
    enum { RECORDS = 10, USES = 3 };
    struct loopback *server = loopback_start(LOOPBACK_ECHO);
    upstream_t *up = one_node(server, "    net.keepalive_max_recycle 3");
    size_t i;
    (void)state;
    for (i = 0; i < RECORDS; i++) {
        assert_status(upstream_deliver(up, echo_byte, "x", 0, NULL), UPSTREAM_OK);
        assert_int_equal(loopback_connections(server), i / USES + 1);
    }
    assert_true(loopback_wait_ended(server, RECORDS / USES));
    assert_int_equal(check_stats(up).reused, RECORDS - (RECORDS / USES + 1));
    upstream_destroy(up);
    loopback_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_get_places_in_the_order_they_came),
        cmocka_unit_test(the_server_sees_no_more_than_the_cap),
        cmocka_unit_test(a_full_node_is_passed_over_without_blame),
        cmocka_unit_test(idle_ones_are_closed_without_a_caller),
        cmocka_unit_test(one_in_use_is_left_alone),
        cmocka_unit_test(one_too_old_is_not_handed_out),
        cmocka_unit_test(a_connection_is_used_so_often_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
