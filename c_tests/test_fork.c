/* fork() while every thread of the parent is in the middle of a call: the child never waits for a
 * thread that it does not have, and the parent goes on undisturbed. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/loopback.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 8, CHILD_SECONDS = 60, MOST_CONNECTIONS = 3000 };

static atomic_int going;
static struct loopback *server;
static atomic_size_t delivered, refused;

static upstream_status_t exchange(upstream_conn_t *conn, void *ctx)
{
    char byte;
    upstream_status_t status = upstream_conn_write(conn, "x", 1);
    (void)ctx;
    return status == UPSTREAM_OK ? upstream_conn_read_exact(conn, &byte, 1) : status;
}

static void *deliver_on(void *up)
{
    while (atomic_load(&going)) {
        int well = upstream_deliver(up, exchange, NULL, 0, NULL) == UPSTREAM_OK;
        atomic_fetch_add(well ? &delivered : &refused, 1);
    }
    return NULL;
}

/* Locks of every kind: picks, reports that eject and restore, attempts, connections by the loop's
 * calls, statistics. */
static void *do_all_else(void *argument)
{
    upstream_t *up = argument;
    while (atomic_load(&going)) {
        upstream_node_t *node = upstream_node_at(up, 1);
        upstream_stats_t stats = UPSTREAM_STATS_INIT;
        upstream_attempt_t *attempt = NULL;
        upstream_conn_t *conn = NULL;
        /* Each ejection closes connections, and the server takes so many and no more. */
        if (loopback_connections(server) < MOST_CONNECTIONS) {
            upstream_node_report(node, UPSTREAM_ERR_CONNECT);
            upstream_next_node(up);
            upstream_node_report(node, UPSTREAM_OK);
        }
        upstream_stats(up, &stats);
        if (upstream_attempt_begin(up, &attempt) == UPSTREAM_OK) {
            upstream_attempt_next(attempt);
            upstream_attempt_end(attempt, UPSTREAM_ERR_LIMIT);
        }
        if (upstream_node_connect_start(upstream_node_at(up, 0), &conn, NULL) >= 0) {
            upstream_conn_release(conn);
        }
        usleep(5000);
    }
    return NULL;
}

/* What the child finds, as an exit status; 0 is right. */
static int in_child(upstream_t *up, uint16_t port)
{
    upstream_stats_t stats = UPSTREAM_STATS_INIT;
    upstream_attempt_t *attempt = NULL;
    upstream_conn_t *conn = NULL;
    upstream_t *own;
    int i;
    for (i = 0; i < 10; i++) {
        if (upstream_next_node(up) == NULL) {
            return 1;
        }
    }
    if (upstream_stats(up, &stats) != UPSTREAM_OK || stats.deliveries == 0) {
        return 2;
    }
    if (upstream_attempt_begin(up, &attempt) != UPSTREAM_OK ||
        upstream_attempt_next(attempt) == NULL) {
        return 3;
    }
    upstream_attempt_end(attempt, UPSTREAM_ERR_CONNECT);
    (void)upstream_retry_after_ms(up);
    if (upstream_connect(up, &conn, NULL) != UPSTREAM_ERR_FORKED ||
        upstream_connect_start(up, &conn, NULL) != UPSTREAM_ERR_FORKED ||
        upstream_deliver(up, exchange, NULL, 0, NULL) != UPSTREAM_ERR_FORKED) {
        return 4;
    }
    upstream_cancel(up);
    upstream_destroy(up);
    own = check_nodes(&port, 1, "");
    for (i = 0; i < 3; i++) {
        if (upstream_deliver(own, exchange, NULL, 0, NULL) != UPSTREAM_OK) {
            return 5;
        }
    }
    upstream_destroy(own);
    return 0;
}

static void children_of_a_busy_parent(void **state)
{
    int refusing, i, children = check_slow() ? 10 : 100;
    uint16_t ports[3];
    upstream_t *up;
    pthread_t threads[THREADS];
    size_t before;
    (void)state;
    server = loopback_start(LOOPBACK_ECHO);
    ports[0] = ports[1] = loopback_port(server);
    ports[2] = loopback_refusing_port(&refusing);
    up = check_nodes(ports, 3,
                     "health.backoff 5ms\nhealth.backoff_max 20ms\n"
                     "net.max_connections 4");
    atomic_store(&going, 1);
    for (i = 0; i < THREADS; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, i < THREADS - 2 ? deliver_on : do_all_else, up), 0);
    }
    while (atomic_load(&delivered) < 10) {
        usleep(1000);
    }
    for (i = 0; i < children; i++) {
        int told[2], status = 0, result = -1;
        pid_t child;
        assert_int_equal(pipe2(told, O_CLOEXEC), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            alarm(CHILD_SECONDS); /* one that hangs ends by it */
            result = in_child(up, loopback_port(server));
            /* The result goes through a pipe. Do not exit: in the child, half of the parent's heap
             * belongs to nobody. */
            (void)!write(told[1], &result, sizeof(result));
            kill(getpid(), SIGKILL);
        }
        close(told[1]);
        if (read(told[0], &result, sizeof(result)) != sizeof(result)) {
            fail_msg("child %d told nothing: it hung or crashed", i);
        }
        assert_int_equal(result, 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        close(told[0]);
    }
    before = atomic_load(&delivered);
    while (atomic_load(&delivered) < before + 10) {
        usleep(1000);
    }
    atomic_store(&going, 0);
    for (i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&refused), 0);
    upstream_destroy(up);
    close(refusing);
    loopback_stop(server);
}

static upstream_status_t fork_and_exchange(upstream_conn_t *conn, void *child)
{
    *(pid_t *)child = fork();
    return exchange(conn, NULL);
}

static void a_callback_that_comes_back_in_a_child_too(void **state)
{
    struct loopback *echo = loopback_start(LOOPBACK_ECHO);
    uint16_t ports[2] = {loopback_port(echo), loopback_port(echo)};
    upstream_t *up = check_nodes(ports, 2, "");
    upstream_error_t *err = NULL;
    pid_t child = -1;
    int told[2], right = 0, ended;
    upstream_status_t status;
    (void)state;
    assert_int_equal(pipe2(told, O_CLOEXEC), 0);
    status = upstream_deliver(up, fork_and_exchange, &child, 0, &err);
    if (child == 0) {
        /* Its delivery is over: no other node is asked. */
        right = status == UPSTREAM_ERR_FORKED &&
                strstr(upstream_error_message(err), "before that") == NULL;
        upstream_error_free(err);
        upstream_destroy(up);
        (void)!write(told[1], &right, sizeof(right));
        kill(getpid(), SIGKILL); /* as above */
    }
    assert_true(child > 0);
    assert_status(status, UPSTREAM_OK);
    close(told[1]);
    assert_int_equal(read(told[0], &right, sizeof(right)), sizeof(right));
    assert_int_equal(right, 1);
    assert_int_equal(waitpid(child, &ended, 0), child);
    close(told[0]);
    upstream_destroy(up);
    loopback_stop(echo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(children_of_a_busy_parent),
        cmocka_unit_test(a_callback_that_comes_back_in_a_child_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
