/*
 * Both directions are full at once, with a server that reads no more until its answers are taken:
 * no call may wait for something that only the call itself can cause. Blocking and in an event
 * loop, plaintext and TLS, with the smallest socket buffers.
 */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/event_loop.h"
#include "support/loopback.h"
#include "support/openssl.h"
#include "support/process.h"

#include <sys/socket.h>

enum { AGAIN = 100 * 1000, MIB = 1024 * 1024 };

static struct event_loop loop;
static upstream_conn_t *connect_narrow(upstream_t *up)
{
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    int smallest = 1;
    if (upstream_connect(up, &conn, &err) != UPSTREAM_OK) {
        print_error("%s\n", upstream_error_message(err));
        fail();
    }
    assert_int_equal(
        setsockopt(upstream_conn_fd(conn), SOL_SOCKET, SO_SNDBUF, &smallest, sizeof(smallest)), 0);
    assert_int_equal(
        setsockopt(upstream_conn_fd(conn), SOL_SOCKET, SO_RCVBUF, &smallest, sizeof(smallest)), 0);
    return conn;
}

/* Bytes that show if a part is missing, doubled or misplaced. */
static char *make_bytes(size_t size)
{
    char *bytes = malloc(size);
    uint32_t number = 1;
    size_t i;
    assert_non_null(bytes);
    for (i = 0; i < size; i++) {
        number = number * 1664525 + 1013904223; /* Numerical Recipes' generator */
        bytes[i] = (char)(number >> 24);
    }
    return bytes;
}

/* One write of everything, then one read of everything. */
static void blocking(upstream_conn_t *conn, const char *out, char *in, size_t size)
{
    assert_status(upstream_conn_write(conn, out, size), UPSTREAM_OK);
    assert_status(upstream_conn_read_exact(conn, in, size), UPSTREAM_OK);
}

/* Calls until it wants, in both directions, then waits for both. */
static void event_loop(upstream_conn_t *conn, const char *out, char *in, size_t size)
{
    size_t sent = 0, received = 0, moved;
    upstream_status_t status;
    while (received < size) {
        status = UPSTREAM_OK;
        while (sent < size && status == UPSTREAM_OK) {
            status = upstream_conn_try_write(conn, out + sent, size - sent, &moved);
            sent += moved;
        }
        if (sent == size) {
            status = upstream_conn_flush(conn);
        }
        assert_true(status == UPSTREAM_OK || status == UPSTREAM_WANT_WRITE);
        do {
            status = upstream_conn_try_read(conn, in + received, size - received, &moved);
            received += moved;
        } while (status == UPSTREAM_OK && received < size);
        if (received < size) {
            assert_status(status, UPSTREAM_WANT_READ);
            event_loop_wait(&loop, conn);
        }
    }
    assert_status(upstream_conn_flush(conn), UPSTREAM_OK);
}

typedef void (*exchange)(upstream_conn_t *conn, const char *out, char *in, size_t size);

/* What was read during a pure write must not become part of the next answer. All of it was read, so
 * the connection may be kept. */
static void exchange_and_reuse(upstream_t *up, exchange exchange, size_t size)
{
    upstream_conn_t *conn = connect_narrow(up);
    char *out = make_bytes(size), *in = calloc(1, size);
    upstream_stats_t stats;
    exchange(conn, out, in, size);
    assert_memory_equal(in, out, size);
    upstream_conn_release(conn);
    assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
    assert_int_equal(upstream_conn_reused(conn), 1);
    memset(in, 0, AGAIN);
    exchange(conn, out, in, AGAIN);
    assert_memory_equal(in, out, AGAIN);
    upstream_conn_release(conn);
    stats = check_stats(up);
    assert_int_equal(stats.bytes_out, size + AGAIN);
    assert_int_equal(stats.bytes_in, size + AGAIN);
    free(out);
    free(in);
}

static void plaintext(exchange exchange, size_t size)
{
    struct loopback *server = loopback_start_narrow(LOOPBACK_ECHO);
    uint16_t port = loopback_port(server);
    upstream_t *up = check_nodes(&port, 1, "");
    exchange_and_reuse(up, exchange, size);
    assert_int_equal(loopback_bytes(server), size + AGAIN);
    assert_int_equal(loopback_connections(server), 1);
    upstream_destroy(up);
    loopback_stop(server);
}

static void tls(exchange exchange, size_t size, const char *version)
{
    const char *arguments[] = {"python3", UPSTREAM_SOURCE_DIR "/c_tests/support/tls_echo.py",
                               openssl_folder, version, NULL};
    struct process server = process_start(arguments, NULL);
    char text[512], line[32];
    upstream_t *up;
    assert_true(process_read_line(&server, line, sizeof(line)));
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\n[NODE]\nname n\nhost 127.0.0.1\nport %s\n"
             "tls on\ntls.ca_file %s/ca.crt\n",
             line, openssl_folder);
    up = check_create(text, NULL);
    exchange_and_reuse(up, exchange, size);
    upstream_destroy(up);
    assert_true(process_read_line(&server, line, sizeof(line)));
    assert_int_equal(strtoul(line, NULL, 10), size + AGAIN);
    process_kill(&server);
}

static void blocking_plaintext(void **state)
{
    (void)state;
    plaintext(blocking, MIB); /* as much as is taken in while writing */
}

static void event_loop_plaintext(void **state)
{
    (void)state;
    event_loop_open(&loop, EVENT_LOOP_POLL);
    plaintext(event_loop, 4 * MIB);
    event_loop_close(&loop);
    event_loop_open(&loop, EVENT_LOOP_EPOLL);
    plaintext(event_loop, 4 * MIB);
    event_loop_close(&loop);
}

static void blocking_tls(void **state)
{
    (void)state;
    tls(blocking, MIB, "TLSv1_3");
    tls(blocking, MIB, "TLSv1_2");
}

static void event_loop_tls(void **state)
{
    (void)state;
    event_loop_open(&loop, EVENT_LOOP_EPOLL);
    tls(event_loop, 4 * MIB, "TLSv1_3");
    event_loop_close(&loop);
    event_loop_open(&loop, EVENT_LOOP_STOP);
    tls(event_loop, 4 * MIB, "TLSv1_2");
    event_loop_close(&loop);
}

/* The library reads only a limited amount during a write. Beyond that, a peer whose answers nobody
 * reads blocks the write, and the time limit ends it. */
static void what_is_taken_in_is_bounded(void **state)
{
    struct loopback *server = loopback_start_narrow(LOOPBACK_ECHO);
    uint16_t port = loopback_port(server);
    upstream_t *up =
        check_nodes(&port, 1, check_slow() ? "    net.io_timeout 20s" : "    net.io_timeout 2s");
    upstream_conn_t *conn = connect_narrow(up);
    size_t size = 8 * MIB, got, received = 0;
    char *out = make_bytes(size), *in = malloc(size);
    upstream_status_t status = UPSTREAM_OK;
    (void)state;
    assert_status(upstream_conn_write(conn, out, size), UPSTREAM_ERR_TIMEOUT);
    /* What was taken in is still read, in order. */
    while (received < MIB && (status = upstream_conn_read(conn, in + received, size - received,
                                                          &got)) == UPSTREAM_OK) {
        received += got;
    }
    assert_status(status, UPSTREAM_OK);
    assert_memory_equal(in, out, received);
    upstream_conn_discard(conn);
    upstream_destroy(up);
    loopback_stop(server);
    free(out);
    free(in);
}

static void unread_answers_end_the_reuse(void **state)
{
    struct loopback *server = loopback_start_narrow(LOOPBACK_ECHO);
    uint16_t port = loopback_port(server);
    upstream_t *up = check_nodes(&port, 1, "");
    upstream_conn_t *conn = connect_narrow(up);
    upstream_stats_t stats;
    char *out = make_bytes(MIB);
    (void)state;
    assert_status(upstream_conn_write(conn, out, MIB), UPSTREAM_OK);
    upstream_conn_release(conn);
    stats = check_stats(up);
    assert_int_equal(stats.idle, 0);
    upstream_destroy(up);
    loopback_stop(server);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocking_plaintext),
        cmocka_unit_test(event_loop_plaintext),
        cmocka_unit_test(blocking_tls),
        cmocka_unit_test(event_loop_tls),
        cmocka_unit_test(what_is_taken_in_is_bounded),
        cmocka_unit_test(unread_answers_end_the_reuse),
    };
    return cmocka_run_group_tests(tests, openssl_folder_setup, openssl_folder_teardown);
}
