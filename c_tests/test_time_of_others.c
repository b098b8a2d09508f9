/* One node must not waste a payload's time while another node would take the payload at once. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/event_loop.h"
#include "support/loopback.h"
#include "support/scripted.h"
#include "support/virtual.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- a kept connection that is dead, and behind it no way or no answer ---- */

/* Serves one connection: answers the first request, ends it at the second. Accepts no other. */
struct once {
    int listener, hole[LOOPBACK_HOLE_DESCRIPTORS];
    uint16_t port;
    pthread_t thread;
};

static void *serve_once(void *argument)
{
    struct once *once = argument;
    char request[5];
    int conn = accept(once->listener, NULL, NULL);
    if (recv(conn, request, sizeof(request), MSG_WAITALL) == sizeof(request) &&
        send(conn, "good\n", 5, MSG_NOSIGNAL) == 5) {
        (void)!recv(conn, request, sizeof(request), MSG_WAITALL);
    }
    close(conn);
    return NULL;
}

static void once_start(struct once *once)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    once->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(once->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(once->listener, 1), 0);
    assert_int_equal(getsockname(once->listener, (struct sockaddr *)&address, &size), 0);
    once->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&once->thread, NULL, serve_once, once), 0);
}

/* From now on its port drops each SYN: the queue is full. */
static void once_fill(struct once *once)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    size_t i;
    address.sin_port = htons(once->port);
    for (i = 0; i < LOOPBACK_HOLE_DESCRIPTORS; i++) {
        once->hole[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_true(connect(once->hole[i], (struct sockaddr *)&address, sizeof(address)) == 0 ||
                    errno == EINPROGRESS);
    }
}

static void once_stop(struct once *once)
{
    size_t i;
    pthread_join(once->thread, NULL);
    close(once->listener);
    for (i = 0; i < LOOPBACK_HOLE_DESCRIPTORS; i++) {
        close(once->hole[i]);
    }
}

static void a_black_hole_behind_a_stale_connection_leaves_time_for_the_others(void **state)
{
    struct scripted *good = scripted_start(SCRIPTED_GOOD);
    struct scripted_payload payload = {0, 0, {NULL}};
    struct once once;
    uint16_t ports[2];
    upstream_t *up;
    (void)state;
    once_start(&once);
    ports[0] = once.port;
    ports[1] = scripted_port(good);
    up = check_nodes(ports, 2, "net.connect_timeout 60s");
    assert_status(scripted_deliver(up, NULL, 0), UPSTREAM_OK);
    assert_status(scripted_deliver(up, NULL, 0), UPSTREAM_OK);
    once_fill(&once);
    assert_status(scripted_deliver(up, &payload, 3000), UPSTREAM_OK);
    assert_ptr_equal(payload.nodes[0], upstream_node_at(up, 0)); /* over the kept connection */
    assert_int_equal(payload.calls, 2);
    assert_int_equal(scripted_requests(good), 2);
    upstream_destroy(up);
    once_stop(&once);
    scripted_stop(good);
}

/* The new connection gets the rest of the same share of time, not another share. */
static upstream_status_t end_then_silence(upstream_conn_t *conn, void *ctx)
{
    struct scripted *first = ctx;
    if (upstream_conn_reused(conn)) {
        upstream_status_t status = scripted_exchange(conn, NULL);
        scripted_behave(first, SCRIPTED_SILENT);
        return status;
    }
    return scripted_exchange(conn, NULL);
}

static void a_silent_node_behind_a_stale_connection_leaves_time_for_the_others(void **state)
{
    struct scripted *first = scripted_start(SCRIPTED_GOOD), *good = scripted_start(SCRIPTED_GOOD);
    uint16_t ports[2] = {scripted_port(first), scripted_port(good)};
    upstream_t *up = check_nodes(ports, 2, "");
    (void)state;
    assert_status(scripted_deliver(up, NULL, 0), UPSTREAM_OK);
    assert_status(scripted_deliver(up, NULL, 0), UPSTREAM_OK);
    scripted_behave(first, SCRIPTED_END);
    assert_status(upstream_deliver(up, end_then_silence, first, 3000, NULL), UPSTREAM_OK);
    assert_int_equal(scripted_requests(first), 3); /* the stale one, and the fresh one */
    assert_int_equal(scripted_requests(good), 2);
    upstream_destroy(up);
    scripted_stop(first);
    scripted_stop(good);
}

/* ---- an answer that trickles for ever ---- */

enum reading { BY_READ, BY_READ_EXACT, BY_READ_UNTIL, BY_POLLING, BY_TRY_READ, READINGS };
static const char *const readings[] = {"read", "read_exact", "read_until", "polling", "try_read"};

/* Reads an answer that ends with a newline, which a trickle never does. */
static upstream_status_t read_answer(upstream_conn_t *conn, enum reading reading)
{
    upstream_status_t status = upstream_conn_write(conn, "send\n", 5);
    char answer[4096], last = 0;
    size_t done = 0, got = 0;
    if (status == UPSTREAM_OK && reading == BY_READ_UNTIL) {
        return upstream_conn_read_until(conn, answer, sizeof(answer), "\n", 1, &got);
    }
    if (reading == BY_POLLING) {
        upstream_conn_set_timeout_ms(conn, 5);
    }
    while (status == UPSTREAM_OK && last != '\n' && done < sizeof(answer)) {
        switch (reading) {
        case BY_READ_EXACT:
            got = 5;
            status = upstream_conn_read_exact(conn, answer + done, got);
            break;
        case BY_TRY_READ:
            while ((status = upstream_conn_try_read(conn, answer + done, 1, &got)) ==
                   UPSTREAM_WANT_READ) {
                struct pollfd fd = {upstream_conn_fd(conn), POLLIN, 0};
                poll(&fd, 1, (int)upstream_conn_timeout_ms(conn));
            }
            break;
        default:
            status = upstream_conn_read(conn, answer + done, 1, &got);
        }
        if (reading == BY_POLLING && status == UPSTREAM_ERR_TIMEOUT &&
            upstream_conn_time_left_ms(conn) > 1000) {
            status = UPSTREAM_OK; /* asks again, as long as the payload has its time */
            continue;
        }
        done += status == UPSTREAM_OK ? got : 0;
        last = done > 0 ? answer[done - 1] : 0;
    }
    return status;
}

static upstream_status_t send_and_read(upstream_conn_t *conn, void *ctx)
{
    return read_answer(conn, *(enum reading *)ctx);
}

static upstream_status_t by_event_loop(upstream_t *up)
{
    upstream_attempt_t *attempt;
    upstream_delivery_t how = UPSTREAM_DELIVERY_INIT;
    upstream_status_t status = UPSTREAM_ERR_TIMEOUT;
    int tries;
    how.timeout_ms = 2000;
    assert_status(upstream_attempt_begin_with(up, &how, &attempt), UPSTREAM_OK);
    for (tries = 0; tries < 2 && status != UPSTREAM_OK; tries++) {
        upstream_conn_t *conn = NULL;
        struct event_loop loop;
        event_loop_open(&loop, EVENT_LOOP_POLL);
        status = upstream_attempt_connect_start(attempt, &conn, NULL);
        if (conn != NULL) {
            status = event_loop_connect(&loop, conn, status);
        }
        if (status == UPSTREAM_OK) {
            status = read_answer(conn, BY_TRY_READ);
        }
        event_loop_close(&loop);
        upstream_conn_release(conn);
    }
    upstream_attempt_end(attempt, status);
    return status;
}

static void a_trickling_answer_does_not_take_the_time_of_the_others(void **state)
{
    int reading;
    (void)state;
    for (reading = 0; reading <= READINGS; reading++) { /* the last one is an event loop's */
        struct loopback *drip = loopback_start(LOOPBACK_DRIP);
        struct scripted *good = scripted_start(SCRIPTED_GOOD);
        uint16_t ports[2] = {loopback_port(drip), scripted_port(good)};
        upstream_t *up = check_nodes(ports, 2, "net.io_timeout 60s");
        upstream_status_t status = reading < READINGS
                                       ? upstream_deliver(up, send_and_read, &reading, 2000, NULL)
                                       : by_event_loop(up);
        if (status != UPSTREAM_OK || scripted_requests(good) != 1) {
            fail_msg("%s: %s, %zu at the good node",
                     reading < READINGS ? readings[reading] : "event loop",
                     upstream_status_name(status), scripted_requests(good));
        }
        assert_int_equal(loopback_connections(drip), 1);
        upstream_destroy(up);
        loopback_stop(drip);
        scripted_stop(good);
    }
}

/* It had its full time, so the timeout counts, and after health.max_fails of them the node is
 * out. */
static void a_node_that_trickles_falls_out(void **state)
{
    int reading;
    (void)state;
    for (reading = 0; reading < READINGS; reading++) {
        struct loopback *drip = loopback_start(LOOPBACK_DRIP);
        struct scripted *good = scripted_start(SCRIPTED_GOOD);
        uint16_t ports[2] = {loopback_port(drip), scripted_port(good)};
        upstream_t *up = check_nodes(ports, 2, "net.io_timeout 60s\nhealth.max_fails 1");
        assert_status(upstream_deliver(up, send_and_read, &reading, 3000, NULL), UPSTREAM_OK);
        if (upstream_node_state(upstream_node_at(up, 0)) == UPSTREAM_NODE_UP) {
            fail_msg("%s: still up", readings[reading]);
        }
        upstream_destroy(up);
        loopback_stop(drip);
        scripted_stop(good);
    }
}

/* ---- sixteen due nodes that never answer a SYN ---- */

enum { HOLES = 16 };

enum manner { DELIVER, CONNECT, CONNECT_LOOP, WISH, WISH_LOOP, MANNERS };
static const char *const manners[] = {"deliver", "attempt_connect", "attempt_connect_start",
                                      "upstream_connect", "upstream_connect_start"};

static void send_by(enum manner manner, upstream_t *up)
{
    upstream_attempt_t *attempt;
    upstream_conn_t *conn = NULL;
    upstream_status_t status = UPSTREAM_OK;
    struct event_loop loop;
    if (manner == DELIVER) {
        assert_status(scripted_deliver(up, NULL, 4000), UPSTREAM_OK);
        return;
    }
    assert_status(upstream_attempt_begin(up, &attempt), UPSTREAM_OK);
    event_loop_open(&loop, EVENT_LOOP_POLL);
    if (manner == CONNECT) {
        status = upstream_attempt_connect(attempt, &conn, NULL);
    } else if (manner == WISH) {
        status = upstream_connect(up, &conn, NULL);
    } else if (manner == CONNECT_LOOP) {
        status = upstream_attempt_connect_start(attempt, &conn, NULL);
    } else {
        status = upstream_connect_start(up, &conn, NULL);
    }
    assert_status(event_loop_connect(&loop, conn, status), UPSTREAM_OK);
    assert_status(scripted_exchange(conn, NULL), UPSTREAM_OK);
    upstream_conn_release(conn);
    event_loop_close(&loop);
    upstream_attempt_end(attempt, UPSTREAM_OK);
}

static void one_payload_dials_all_black_holes_that_are_due_and_waits_for_none_again(void **state)
{
    int manner;
    (void)state;
    for (manner = 0; manner < MANNERS; manner++) {
        int holes[HOLES][LOOPBACK_HOLE_DESCRIPTORS];
        struct scripted *good = scripted_start(SCRIPTED_GOOD);
        uint16_t ports[HOLES + 1];
        upstream_t *up;
        size_t i, j;
        for (i = 0; i < HOLES; i++) {
            ports[i] = loopback_black_hole(holes[i]);
        }
        ports[HOLES] = scripted_port(good);
        up = virtual_nodes(ports, HOLES + 1, "net.connect_timeout 1s");
        for (i = 0; i < HOLES; i++) {
            virtual_report(up, i, UPSTREAM_ERR_CONNECT);
        }
        virtual_now += 2 * VIRTUAL_SECOND;
        send_by((enum manner)manner, up);
        for (i = 0; i < HOLES; i++) { /* all of them on trial by this one */
            if (check_node_stats(upstream_node_at(up, i)).picks != 1) {
                fail_msg("%s: hole %zu was handed out %d times", manners[manner], i,
                         (int)check_node_stats(upstream_node_at(up, i)).picks);
            }
        }
        for (i = 0; i < 5; i++) {
            send_by((enum manner)manner, up); /* within the leases: nobody else is asked */
        }
        assert_int_equal(check_stats(up).picks, HOLES + 6);
        assert_int_equal(scripted_requests(good), 6);
        for (i = 0; i < 3000 && check_stats(up).connects_failed < HOLES; i++) {
            usleep(10000);
        }
        for (i = 0; i < HOLES; i++) {
            assert_int_equal(check_node_stats(upstream_node_at(up, i)).connects_failed, 1);
            assert_int_equal(virtual_state(up, i), UPSTREAM_NODE_EJECTED);
        }
        upstream_destroy(up);
        for (i = 0; i < HOLES; i++) {
            for (j = 0; j < LOOPBACK_HOLE_DESCRIPTORS; j++) {
                close(holes[i][j]);
            }
        }
        scripted_stop(good);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_black_hole_behind_a_stale_connection_leaves_time_for_the_others),
        cmocka_unit_test(a_silent_node_behind_a_stale_connection_leaves_time_for_the_others),
        cmocka_unit_test(a_trickling_answer_does_not_take_the_time_of_the_others),
        cmocka_unit_test(a_node_that_trickles_falls_out),
        cmocka_unit_test(one_payload_dials_all_black_holes_that_are_due_and_waits_for_none_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
