/* upstream_cancel: every call under way ends with UPSTREAM_ERR_CANCELLED, whatever it waits for,
 * and so does every later call. The deadlines of the calls are minutes away. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/loopback.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

static atomic_size_t waiting; /* threads that are about to wait */

struct call {
    upstream_t *up;
    upstream_status_t (*wait)(upstream_t *up);
    upstream_status_t status;
    pthread_t thread;
};

static void *run(void *argument)
{
    struct call *call = argument;
    call->status = call->wait(call->up);
    return NULL;
}

/* Four threads in the same wait, cancelled in the middle of it; then the same call once more. */
static void cancelled_in_the_middle(enum loopback_behaviour behaviour, const char *more,
                                    upstream_status_t (*wait)(upstream_t *up))
{
    enum { THREADS = 4 };
    struct loopback *server = loopback_start(behaviour);
    uint16_t port = loopback_port(server);
    upstream_t *up = check_nodes(&port, 1, more);
    upstream_stats_t stats;
    struct call calls[THREADS];
    long begun;
    size_t i;
    atomic_store(&waiting, 0);
    for (i = 0; i < THREADS; i++) {
        calls[i] = (struct call){up, wait, UPSTREAM_OK, 0};
        assert_int_equal(pthread_create(&calls[i].thread, NULL, run, &calls[i]), 0);
    }
    while (atomic_load(&waiting) < THREADS) {
        usleep(1000);
    }
    /* by now they wait; if not, they meet a cancelled set, which has the same result */
    usleep(100 * 1000);
    begun = check_now_ms();
    upstream_cancel(up);
    for (i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(calls[i].thread, NULL), 0);
        assert_status(calls[i].status, UPSTREAM_ERR_CANCELLED);
    }
    print_message("all ended %ld ms after\n", check_now_ms() - begun);
    upstream_cancel(up); /* again does no harm */
    assert_status(wait(up), UPSTREAM_ERR_CANCELLED);
    /* no fault of the node's */
    assert_int_equal(upstream_node_state(upstream_node_at(up, 0)), UPSTREAM_NODE_UP);
    stats = check_stats(up);
    assert_int_equal(stats.active, 0);
    upstream_destroy(up);
    loopback_stop(server);
}

static upstream_status_t connect_and_say(upstream_t *up)
{
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    upstream_status_t status;
    atomic_fetch_add(&waiting, 1);
    status = upstream_connect(up, &conn, &err);
    if (status != UPSTREAM_OK) {
        check_contains(upstream_error_message(err), "upstream_cancel()");
    }
    upstream_error_free(err);
    upstream_conn_release(conn);
    return status;
}

static void a_handshake(void **state)
{
    (void)state;
    cancelled_in_the_middle(LOOPBACK_SILENT, "tls on\ntls.verify off\nnet.connect_timeout 10m",
                            connect_and_say);
}

static upstream_conn_t *taken;

static upstream_status_t wait_at_the_cap(upstream_t *up)
{
    upstream_conn_t *conn = NULL;
    upstream_status_t status = UPSTREAM_OK;
    static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&once);
    if (taken == NULL) { /* the first one takes the only place */
        status = upstream_connect(up, &taken, NULL);
    }
    pthread_mutex_unlock(&once);
    atomic_fetch_add(&waiting, 1);
    if (status == UPSTREAM_OK) {
        status = upstream_connect(up, &conn, NULL);
    }
    if (atomic_fetch_sub(&waiting, 1) == 1) {
        upstream_conn_discard(taken); /* the last one out */
        taken = NULL;
    }
    return status;
}

static void the_wait_at_the_cap(void **state)
{
    (void)state;
    taken = NULL;
    cancelled_in_the_middle(LOOPBACK_SINK, "net.max_connections 1\nnet.connect_timeout 10m",
                            wait_at_the_cap);
}

static upstream_status_t read_for_ever(upstream_t *up)
{
    upstream_conn_t *conn = NULL;
    char byte;
    upstream_status_t status = upstream_connect(up, &conn, NULL);
    atomic_fetch_add(&waiting, 1);
    if (status == UPSTREAM_OK) {
        status = upstream_conn_read_exact(conn, &byte, 1);
        assert_status(upstream_conn_write(conn, "x", 1), UPSTREAM_ERR_CANCELLED);
    }
    upstream_conn_discard(conn);
    return status;
}

static void a_read(void **state)
{
    (void)state;
    cancelled_in_the_middle(LOOPBACK_SINK, "net.io_timeout 10m", read_for_ever);
}

static upstream_status_t write_for_ever(upstream_t *up)
{
    static const char much[1 << 16];
    upstream_conn_t *conn = NULL;
    upstream_status_t status = upstream_connect(up, &conn, NULL);
    atomic_fetch_add(&waiting, 1);
    while (status == UPSTREAM_OK) {
        status = upstream_conn_write(conn, much, sizeof(much));
    }
    upstream_conn_discard(conn);
    return status;
}

static void a_write(void **state)
{
    (void)state;
    cancelled_in_the_middle(LOOPBACK_SILENT, "net.io_timeout 10m", write_for_ever);
}

static upstream_status_t await_answer(upstream_conn_t *conn, void *ctx)
{
    char byte;
    (void)ctx;
    atomic_fetch_add(&waiting, 1);
    return upstream_conn_read_exact(conn, &byte, 1);
}

static upstream_status_t deliver_for_ever(upstream_t *up)
{
    return upstream_deliver(up, await_answer, NULL, 10 * 60 * 1000, NULL);
}

static void a_delivery(void **state)
{
    (void)state;
    cancelled_in_the_middle(LOOPBACK_SINK, "net.io_timeout 10m", deliver_for_ever);
}

static upstream_status_t fail_after_a_byte(upstream_conn_t *conn, void *ctx)
{
    upstream_status_t status = upstream_conn_write(conn, "x", 1);
    (void)ctx;
    /* to be resent, and no fault of the node's */
    return status == UPSTREAM_OK ? UPSTREAM_ERR_LIMIT : status;
}

/* Many resends at once: the retry budget is soon spent, and what is left waits for it. */
static upstream_status_t wait_for_the_budget(upstream_t *up)
{
    upstream_status_t status = UPSTREAM_OK;
    atomic_fetch_add(&waiting, 1);
    while (status != UPSTREAM_ERR_CANCELLED) {
        status = upstream_deliver(up, fail_after_a_byte, NULL, 10 * 60 * 1000, NULL);
    }
    return status;
}

static void the_wait_for_the_retry_budget(void **state)
{
    enum { THREADS = 16 };
    struct loopback *servers[2] = {loopback_start(LOOPBACK_SINK), loopback_start(LOOPBACK_SINK)};
    uint16_t ports[2] = {loopback_port(servers[0]), loopback_port(servers[1])};
    upstream_t *up = check_nodes(ports, 2, "");
    struct call calls[THREADS];
    size_t i;
    (void)state;
    atomic_store(&waiting, 0);
    for (i = 0; i < THREADS; i++) {
        calls[i] = (struct call){up, wait_for_the_budget, UPSTREAM_OK, 0};
        assert_int_equal(pthread_create(&calls[i].thread, NULL, run, &calls[i]), 0);
    }
    usleep(300 * 1000);
    upstream_cancel(up);
    for (i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(calls[i].thread, NULL), 0);
    }
    upstream_destroy(up);
    loopback_stop(servers[0]);
    loopback_stop(servers[1]);
}

static void destroying_while_calls_end(void **state)
{
    struct loopback *server = loopback_start(LOOPBACK_SILENT);
    uint16_t port = loopback_port(server);
    int i;
    (void)state;
    upstream_cancel(NULL);
    for (i = 0; i < 20; i++) {
        upstream_t *up = check_nodes(&port, 1, "tls on\ntls.verify off\nnet.connect_timeout 10m");
        upstream_conn_t *conn = NULL;
        struct call call = {up, connect_and_say, UPSTREAM_OK, 0};
        assert_status(upstream_connect_start(up, &conn, NULL), UPSTREAM_WANT_READ);
        assert_int_equal(pthread_create(&call.thread, NULL, run, &call), 0);
        upstream_cancel(up);
        assert_status(upstream_conn_connect_continue(conn), UPSTREAM_ERR_CANCELLED);
        assert_int_equal(pthread_join(call.thread, NULL), 0);
        upstream_conn_discard(conn);
        upstream_destroy(up);
    }
    loopback_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handshake),
        cmocka_unit_test(the_wait_at_the_cap),
        cmocka_unit_test(a_read),
        cmocka_unit_test(a_write),
        cmocka_unit_test(a_delivery),
        cmocka_unit_test(the_wait_for_the_retry_budget),
        cmocka_unit_test(destroying_while_calls_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
