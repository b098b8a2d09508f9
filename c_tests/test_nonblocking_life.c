/* Connections in an event loop together with everything else: the cap, cancel, fork, blocking
 * calls, a delivery, the end of the set. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/event_loop.h"
#include "support/loopback.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static struct event_loop loop;
static struct loopback *server;

static upstream_t *one_node(enum loopback_behaviour behaviour, const char *more)
{
    uint16_t port;
    event_loop_open(&loop, EVENT_LOOP_EPOLL);
    server = loopback_start(behaviour);
    port = loopback_port(server);
    return check_nodes(&port, 1, more);
}

static void end(upstream_t *up)
{
    upstream_destroy(up);
    loopback_stop(server);
    event_loop_close(&loop);
}

static upstream_conn_t *start(upstream_t *up)
{
    upstream_conn_t *conn = NULL;
    assert_status(upstream_connect_start(up, &conn, NULL), UPSTREAM_WANT_READ);
    return conn;
}

static upstream_conn_t *connect_by_loop(upstream_t *up)
{
    upstream_conn_t *conn = NULL;
    upstream_status_t status = upstream_connect_start(up, &conn, NULL);
    assert_status(event_loop_connect(&loop, conn, status), UPSTREAM_OK);
    return conn;
}

static int is_readable(upstream_conn_t *conn, int ms)
{
    struct pollfd watched = {upstream_conn_fd(conn), POLLIN, 0};
    return poll(&watched, 1, ms);
}

static void turns_at_the_cap_come_in_order(void **state)
{
    upstream_t *up = one_node(LOOPBACK_SINK, "    net.max_connections 1");
    upstream_conn_t *held = connect_by_loop(up), *first = start(up), *second = start(up),
                    *third = start(up);
    (void)state;
    assert_status(upstream_conn_connect_continue(first), UPSTREAM_WANT_READ);
    assert_int_equal(is_readable(first, 0), 0);
    assert_int_equal(check_stats(up).active, 1);
    upstream_conn_release(held);
    assert_int_equal(is_readable(first, 10000), 1);
    assert_int_equal(is_readable(second, 0), 0);
    /* not before the first */
    assert_status(upstream_conn_connect_continue(second), UPSTREAM_WANT_READ);
    assert_status(upstream_conn_connect_continue(first), UPSTREAM_OK);
    assert_int_equal(upstream_conn_reused(first), 1);
    upstream_conn_discard(second); /* gives its turn up */
    upstream_conn_discard(first);
    assert_int_equal(is_readable(third, 10000), 1);
    assert_status(event_loop_connect(&loop, third, UPSTREAM_WANT_READ), UPSTREAM_OK);
    assert_int_equal(upstream_conn_reused(third), 0);
    assert_status(event_loop_write(&loop, third, "x", 1), UPSTREAM_OK);
    assert_true(loopback_wait_bytes(server, 1));
    upstream_conn_release(third);
    assert_int_equal(check_stats(up).active, 0);
    assert_int_equal(check_stats(up).idle, 1);
    assert_int_equal(loopback_connections(server), 2);
    end(up);
}

static void the_cap_refuses_after_the_bounded_wait(void **state)
{
    upstream_t *up = one_node(LOOPBACK_SINK, "    net.max_connections 1\n"
                                             "    net.connect_timeout 150ms");
    upstream_conn_t *held = connect_by_loop(up), *waiting = start(up);
    (void)state;
    assert_in_range(upstream_conn_timeout_ms(waiting), 0, 150);
    assert_status(event_loop_connect(&loop, waiting, UPSTREAM_WANT_READ), UPSTREAM_ERR_LIMIT);
    check_contains(upstream_error_message(upstream_conn_last_error(waiting)),
                   "raise net.max_connections");
    upstream_conn_discard(waiting);
    upstream_conn_release(held);
    held = NULL;
    assert_status(upstream_connect_start(up, &held, NULL), UPSTREAM_OK);
    upstream_conn_release(held);
    end(up);
}

static void *connect_and_release(void *set)
{
    upstream_conn_t *conn = NULL;
    upstream_status_t status = upstream_connect(set, &conn, NULL);
    upstream_conn_release(conn);
    return (void *)upstream_status_name(status);
}

static void a_thread_that_waits_and_a_loop_share_the_queue(void **state)
{
    upstream_t *up = one_node(LOOPBACK_SINK, "    net.max_connections 1");
    upstream_conn_t *held = connect_by_loop(up), *waiting;
    pthread_t thread;
    void *status;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, connect_and_release, up), 0);
    waiting = start(up);
    upstream_conn_release(held);
    assert_status(event_loop_connect(&loop, waiting, UPSTREAM_WANT_READ), UPSTREAM_OK);
    assert_status(event_loop_write(&loop, waiting, "x", 1), UPSTREAM_OK);
    assert_true(loopback_wait_bytes(server, 1));
    upstream_conn_release(waiting);
    pthread_join(thread, &status);
    assert_string_equal(status, "UPSTREAM_OK");
    assert_int_equal(loopback_connections(server), 1);
    end(up);
}

static void the_end_of_the_set_tells_who_queues_at_the_cap(void **state)
{
    upstream_t *up = one_node(LOOPBACK_SINK, "    net.max_connections 1");
    upstream_conn_t *held = connect_by_loop(up), *queued = start(up);
    (void)state;
    assert_int_equal(is_readable(queued, 0), 0);
    upstream_destroy(up);
    assert_int_equal(is_readable(queued, 0), 1);
    assert_status(upstream_conn_connect_continue(queued), UPSTREAM_ERR_CANCELLED);
    check_contains(upstream_error_message(upstream_conn_last_error(queued)), "destroyed");
    upstream_conn_discard(queued);
    upstream_conn_release(held);
    loopback_stop(server);
    event_loop_close(&loop);
}

static void a_connection_under_way_can_be_given_up(void **state)
{
    upstream_t *up = one_node(LOOPBACK_SILENT, "    tls on\n    tls.verify off");
    upstream_conn_t *released = start(up), *discarded = start(up), *left = start(up);
    int data;
    (void)state;
    /* and frees nothing */
    assert_status(upstream_conn_set_data(released, &data, free), UPSTREAM_ERR_INVALID_ARG);
    assert_null(upstream_conn_get_data(released));
    assert_int_equal(check_stats(up).active, 3);
    upstream_conn_release(released);
    upstream_conn_discard(discarded);
    assert_int_equal(check_stats(up).active, 1);
    assert_int_equal(check_stats(up).connects, 0);
    upstream_destroy(up); /* before the last of them is given up */
    assert_int_equal(is_readable(left, 10000), 1);
    assert_status(upstream_conn_connect_continue(left), UPSTREAM_ERR_CANCELLED);
    upstream_conn_discard(left);
    loopback_stop(server);
    event_loop_close(&loop);
}

static void blocking_calls_finish_connecting_first(void **state)
{
    upstream_t *up = one_node(LOOPBACK_ECHO, "");
    upstream_conn_t *conn = start(up);
    char back[8];
    size_t got;
    (void)state;
    assert_status(upstream_conn_write(conn, "blocking", 8), UPSTREAM_OK);
    event_loop_leave(&loop);
    assert_status(event_loop_read(&loop, conn, back, 4), UPSTREAM_OK);
    assert_status(upstream_conn_read_exact(conn, back + 4, 4), UPSTREAM_OK);
    assert_memory_equal(back, "blocking", 8);
    assert_status(upstream_conn_try_read(conn, back, 1, &got), UPSTREAM_WANT_READ);
    assert_status(upstream_conn_write(conn, "x", 1), UPSTREAM_OK);
    /* what was wanted still is */
    assert_int_equal(upstream_conn_poll_events(conn), UPSTREAM_POLL_IN);
    assert_status(upstream_conn_read_exact(conn, back, 1), UPSTREAM_OK);
    assert_int_equal(upstream_conn_poll_events(conn), 0);
    upstream_conn_release(conn);
    assert_int_equal(check_stats(up).idle, 1);
    end(up);
}

static void a_blocking_call_bounds_the_connecting_too(void **state)
{
    upstream_t *up = one_node(LOOPBACK_SILENT, "    tls on\n    tls.verify off");
    upstream_conn_t *conn = start(up);
    (void)state;
    assert_status(upstream_conn_set_timeout_ms(conn, 60), UPSTREAM_OK);
    assert_status(upstream_conn_write(conn, "x", 1), UPSTREAM_ERR_TIMEOUT);
    check_contains(upstream_error_message(upstream_conn_last_error(conn)),
                   "upstream_conn_set_timeout_ms()");
    assert_int_equal(upstream_conn_fd(conn), -1);
    upstream_conn_discard(conn);
    assert_int_equal(check_stats(up).active, 0);
    end(up);
}

static upstream_status_t exchange_in_a_loop(upstream_conn_t *conn, void *ctx)
{
    char back[7];
    upstream_status_t status;
    event_loop_leave(&loop);
    status = event_loop_write(&loop, conn, ctx, 7);
    return status == UPSTREAM_OK ? event_loop_read(&loop, conn, back, 7) : status;
}

static upstream_status_t await_what_never_comes(upstream_conn_t *conn, void *ctx)
{
    (void)ctx;
    event_loop_leave(&loop);
    return event_loop_read(&loop, conn, &(char){0}, 1);
}

static void a_delivery_may_use_them(void **state)
{
    upstream_t *up = one_node(LOOPBACK_ECHO, "");
    (void)state;
    assert_status(upstream_deliver(up, exchange_in_a_loop, "payload", 0, NULL), UPSTREAM_OK);
    assert_int_equal(check_stats(up).idle, 1);
    /* The delivery's own time bounds them. */
    assert_status(upstream_deliver(up, await_what_never_comes, NULL, 100, NULL),
                  UPSTREAM_ERR_TIMEOUT);
    end(up);
}

static void *cancel_soon(void *set)
{
    usleep(50 * 1000);
    upstream_cancel(set);
    return NULL;
}

/* A cancel from another thread ends each kind of blocking call; net.io_timeout would take a
 * minute. */
static void cancel_ends_what_is_in_flight(void **state)
{
    size_t room = 64 * 1024 * 1024, got;
    char *out = calloc(1, room);
    int way;
    (void)state;
    for (way = 0; way < 4; way++) {
        upstream_t *up = one_node(LOOPBACK_SILENT, "");
        upstream_conn_t *conn = connect_by_loop(up);
        pthread_t thread;
        upstream_status_t status;
        assert_int_equal(pthread_create(&thread, NULL, cancel_soon, up), 0);
        switch (way) {
        case 0:
            status = upstream_conn_read(conn, out, 1, &got);
            break;
        case 1:
            status = upstream_conn_read_exact(conn, out, 1);
            break;
        case 2:
            status = upstream_conn_write(conn, out, room);
            break;
        default:
            pthread_join(thread, NULL);
            status = upstream_conn_try_read(conn, out, 1, &got);
            assert_status(upstream_conn_try_write(conn, out, 1, &got), UPSTREAM_ERR_CANCELLED);
            assert_status(upstream_conn_flush(conn), UPSTREAM_ERR_CANCELLED);
            assert_status(upstream_conn_connect_continue(conn), UPSTREAM_ERR_CANCELLED);
            break;
        }
        assert_status(status, UPSTREAM_ERR_CANCELLED);
        check_contains(upstream_error_message(upstream_conn_last_error(conn)), "upstream_cancel()");
        if (way < 3) {
            pthread_join(thread, NULL);
        }
        upstream_conn_release(conn);
        assert_int_equal(check_stats(up).idle, 0);
        end(up);
    }
    free(out);
}

static void cancel_ends_what_is_under_way(void **state)
{
    upstream_t *up = one_node(LOOPBACK_SILENT, "    net.max_connections 1\n    tls on\n"
                                               "    tls.verify off");
    upstream_conn_t *dialling = start(up), *queued = start(up), *late = NULL;
    (void)state;
    upstream_cancel(up);
    assert_int_equal(is_readable(dialling, 10000), 1);
    assert_int_equal(is_readable(queued, 10000), 1);
    assert_status(upstream_conn_connect_continue(dialling), UPSTREAM_ERR_CANCELLED);
    assert_status(upstream_conn_connect_continue(queued), UPSTREAM_ERR_CANCELLED);
    assert_status(upstream_connect_start(up, &late, NULL), UPSTREAM_ERR_CANCELLED);
    assert_null(late);
    upstream_conn_discard(dialling);
    upstream_conn_discard(queued);
    end(up);
}

/* What the child of a fork finds, as an exit status; 0 is right. */
static int in_child(upstream_t *up, upstream_conn_t *ready, upstream_conn_t *under_way,
                    upstream_conn_t *queued)
{
    upstream_conn_t *made = NULL;
    upstream_error_t *err = NULL;
    char byte;
    size_t got;
    if (upstream_connect_start(up, &made, &err) != UPSTREAM_ERR_FORKED || made != NULL ||
        upstream_error_status(err) != UPSTREAM_ERR_FORKED) {
        return 1;
    }
    upstream_error_free(err);
    if (upstream_node_connect_start(upstream_node_at(up, 0), &made, NULL) != UPSTREAM_ERR_FORKED) {
        return 2;
    }
    if (upstream_conn_connect_continue(under_way) != UPSTREAM_ERR_FORKED ||
        upstream_conn_connect_continue(queued) != UPSTREAM_ERR_FORKED) {
        return 3;
    }
    if (upstream_conn_try_write(ready, "child", 5, &got) != UPSTREAM_ERR_FORKED ||
        upstream_conn_try_read(ready, &byte, 1, &got) != UPSTREAM_ERR_FORKED ||
        upstream_conn_flush(ready) != UPSTREAM_ERR_FORKED) {
        return 4;
    }
    if (upstream_conn_fd(ready) != -1 || upstream_conn_poll_events(ready) != 0 ||
        upstream_conn_timeout_ms(ready) != -1) {
        return 5;
    }
    upstream_conn_release(ready);
    upstream_conn_discard(under_way);
    upstream_conn_release(queued);
    upstream_destroy(up);
    return 0;
}

static void a_forked_child_leaves_them_alone(void **state)
{
    upstream_t *up = one_node(LOOPBACK_ECHO, "    net.max_connections 2");
    upstream_conn_t *ready = connect_by_loop(up), *under_way = start(up), *queued = start(up);
    char back[2];
    int told[2], status, result = -1;
    pid_t child;
    (void)state;
    assert_int_equal(pipe(told), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        /* The result goes through a pipe. Do not exit: in the child, half of the parent's heap
         * belongs to nobody, and valgrind would report that. */
        status = in_child(up, ready, under_way, queued);
        (void)!write(told[1], &status, sizeof(status));
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(read(told[0], &result, sizeof(result)), sizeof(result));
    assert_int_equal(result, 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    close(told[0]);
    close(told[1]);
    /* The parent's are as they were. */
    event_loop_leave(&loop);
    assert_status(event_loop_write(&loop, ready, "ab", 2), UPSTREAM_OK);
    assert_status(event_loop_read(&loop, ready, back, 2), UPSTREAM_OK);
    assert_status(event_loop_connect(&loop, under_way, UPSTREAM_WANT_READ), UPSTREAM_OK);
    upstream_conn_release(ready);
    assert_status(event_loop_connect(&loop, queued, UPSTREAM_WANT_READ), UPSTREAM_OK);
    assert_int_equal(loopback_bytes(server), 2);
    upstream_conn_release(under_way);
    upstream_conn_release(queued);
    assert_int_equal(check_stats(up).idle, 2);
    end(up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_at_the_cap_come_in_order),
        cmocka_unit_test(the_cap_refuses_after_the_bounded_wait),
        cmocka_unit_test(a_thread_that_waits_and_a_loop_share_the_queue),
        cmocka_unit_test(the_end_of_the_set_tells_who_queues_at_the_cap),
        cmocka_unit_test(a_connection_under_way_can_be_given_up),
        cmocka_unit_test(blocking_calls_finish_connecting_first),
        cmocka_unit_test(a_blocking_call_bounds_the_connecting_too),
        cmocka_unit_test(a_delivery_may_use_them),
        cmocka_unit_test(cancel_ends_what_is_in_flight),
        cmocka_unit_test(cancel_ends_what_is_under_way),
        cmocka_unit_test(a_forked_child_leaves_them_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
