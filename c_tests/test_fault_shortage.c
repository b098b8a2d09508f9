/* The fault matrix: this machine has no memory left for what a connection needs. The error says so,
 * no node is blamed, and everything works again as soon as there is some. Each row is a ctest (see
 * docs/testing.md). The functions below replace those of the C library. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/loopback.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NODES = 3 };

/* The errno with which the calls of this thread fail; 0: they work. The servers have their own
 * threads. */
static _Thread_local int send_fails, receive_fails;
/* The same for those of the library's dialer. */
static atomic_int socket_fails;

static int refuse(int number)
{
    errno = number;
    return -1;
}

static int on_dialer(void)
{
    char name[16] = "";
    pthread_getname_np(pthread_self(), name, sizeof(name));
    return strcmp(name, "upstream-dial") == 0;
}

ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
    return send_fails ? refuse(send_fails) : syscall(SYS_sendto, fd, bytes, len, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    return send_fails ? refuse(send_fails) : syscall(SYS_sendmsg, fd, message, flags);
}

ssize_t recv(int fd, void *buf, size_t cap, int flags)
{
    return receive_fails ? refuse(receive_fails)
                         : syscall(SYS_recvfrom, fd, buf, cap, flags, NULL, NULL);
}

int socket(int domain, int type, int protocol)
{
    int fails = socket_fails;
    return fails && on_dialer() ? refuse(fails) : (int)syscall(SYS_socket, domain, type, protocol);
}

static struct loopback *servers[NODES];
static upstream_t *up;

static void start(void)
{
    uint16_t ports[NODES];
    size_t i;
    for (i = 0; i < NODES; i++) {
        servers[i] = loopback_start(LOOPBACK_ECHO);
        ports[i] = loopback_port(servers[i]);
    }
    up = check_nodes(ports, NODES, "    health.max_fails 1");
}

static void stop(void)
{
    size_t i;
    upstream_destroy(up);
    for (i = 0; i < NODES; i++) {
        loopback_stop(servers[i]);
    }
}

/* What a delivery does, and the errors with which its send and its receive must fail. */
struct payload {
    int send_fails, receive_fails, calls;
    upstream_status_t word; /* in place of the failure's own; 0: that */
};

static upstream_status_t exchange(upstream_conn_t *conn, void *ctx)
{
    struct payload *payload = ctx;
    upstream_status_t status;
    char byte;
    payload->calls++;
    send_fails = payload->send_fails;
    receive_fails = payload->receive_fails;
    status = upstream_conn_write(conn, "x", 1);
    if (status == UPSTREAM_OK) {
        status = upstream_conn_read_exact(conn, &byte, 1);
    }
    send_fails = receive_fails = 0;
    return status != UPSTREAM_OK && payload->word != 0 ? payload->word : status;
}

static void nobody_is_blamed(void)
{
    upstream_stats_t stats = check_stats(up);
    assert_int_equal(stats.nodes_up, NODES);
    assert_int_equal(stats.ejections, 0);
    assert_int_equal(stats.active, 0);
}

static void all_is_well(void)
{
    struct payload payload = {0, 0, 0, 0};
    int i;
    for (i = 0; i < 2 * NODES; i++) {
        assert_status(upstream_deliver(up, exchange, &payload, 0, NULL), UPSTREAM_OK);
    }
    assert_int_equal(payload.calls, 2 * NODES);
}

/* A delivery that must fail: each node is asked once, over a new connection or a kept one, and the
 * error says why. */
static void deliver_in_vain(struct payload payload, upstream_status_t expected, int number,
                            int calls)
{
    upstream_error_t *err = NULL;
    assert_status(upstream_deliver(up, exchange, &payload, 0, &err), expected);
    assert_int_equal(payload.calls, calls);
    check_contains(upstream_error_message(err), "this machine has no memory left for a socket");
    if (payload.word == 0) {
        assert_int_equal(upstream_error_errno(err), number);
    }
    upstream_error_free(err);
    nobody_is_blamed();
}

static const int numbers[] = {ENOBUFS, ENOMEM};

static void shortage_on_send(void **state)
{
    size_t i;
    (void)state;
    start();
    for (i = 0; i < 2; i++) {
        struct payload payload = {numbers[i], 0, 0, 0};
        deliver_in_vain(payload, UPSTREAM_ERR_NETWORK, numbers[i], NODES);
        all_is_well();
        /* of those that were kept */
        deliver_in_vain(payload, UPSTREAM_ERR_NETWORK, numbers[i], NODES);
        payload.word = UPSTREAM_ERR_PROTOCOL;
        deliver_in_vain(payload, UPSTREAM_ERR_PROTOCOL, numbers[i], NODES);
    }
    all_is_well();
    stop();
}

static void shortage_on_receive(void **state)
{
    size_t i;
    (void)state;
    start();
    for (i = 0; i < 2; i++) {
        struct payload payload = {0, numbers[i], 0, 0};
        deliver_in_vain(payload, UPSTREAM_ERR_NETWORK, numbers[i], NODES);
        all_is_well();
        deliver_in_vain(payload, UPSTREAM_ERR_NETWORK, numbers[i], NODES);
    }
    all_is_well();
    stop();
}

static void shortage_on_connect(void **state)
{
    struct payload payload = {0, 0, 0, 0};
    size_t i;
    (void)state;
    start();
    for (i = 0; i < 2; i++) {
        socket_fails = numbers[i];
        deliver_in_vain(payload, UPSTREAM_ERR_CONNECT, numbers[i], 0);
        socket_fails = 0;
    }
    all_is_well();
    stop();
}

/* Calls outside of a delivery report to the node too. */
static void shortage_outside_a_delivery(void **state)
{
    upstream_conn_t *conn = NULL;
    (void)state;
    start();
    assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
    send_fails = ENOBUFS;
    assert_status(upstream_conn_write(conn, "x", 1), UPSTREAM_ERR_NETWORK);
    send_fails = 0;
    assert_int_equal(upstream_error_errno(upstream_conn_last_error(conn)), ENOBUFS);
    check_contains(upstream_error_message(upstream_conn_last_error(conn)), "write: ");
    upstream_conn_release(conn);
    nobody_is_blamed();
    all_is_well();
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shortage_on_send),
        cmocka_unit_test(shortage_on_receive),
        cmocka_unit_test(shortage_on_connect),
        cmocka_unit_test(shortage_outside_a_delivery),
    };
    return check_run_tests(tests, NULL, NULL);
}
