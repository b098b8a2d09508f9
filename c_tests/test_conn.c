/* Connections: reading, writing, their limits, and the pool. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/loopback.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static upstream_conn_t *connect_to(upstream_t *up)
{
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    if (upstream_connect(up, &conn, &err) != UPSTREAM_OK) {
        print_error("%s\n", upstream_error_message(err));
        upstream_error_free(err);
        fail();
    }
    return conn;
}

static upstream_t *one_node(struct loopback *server, const char *more)
{
    uint16_t port = loopback_port(server);
    return check_nodes(&port, 1, more);
}

static void what_is_written_comes_back(void **state)
{
    enum { PARTS = 2000 };
    struct loopback *server = loopback_start(LOOPBACK_ECHO);
    upstream_t *up = one_node(server, "");
    upstream_conn_t *conn = connect_to(up);
    struct iovec parts[PARTS]; /* more than IOV_MAX */
    char *out = malloc(PARTS * 7), *in = malloc(PARTS * 7);
    size_t got, i;
    (void)state;
    for (i = 0; i < PARTS; i++) {
        memset(out + i * 7, 'a' + (int)(i % 26), 7);
        parts[i].iov_base = out + i * 7;
        parts[i].iov_len = 7;
    }
    assert_status(upstream_conn_writev(conn, parts, PARTS), UPSTREAM_OK);
    assert_status(upstream_conn_read(conn, in, 5, &got), UPSTREAM_OK);
    assert_in_range(got, 1, 5);
    assert_status(upstream_conn_read_exact(conn, in + got, PARTS * 7 - got), UPSTREAM_OK);
    assert_memory_equal(in, out, PARTS * 7);
    assert_null(upstream_conn_last_error(conn));
    assert_int_equal(check_stats(up).bytes_out, PARTS * 7);
    assert_int_equal(check_stats(up).bytes_in, PARTS * 7);
    assert_ptr_equal(upstream_conn_node(conn), upstream_node_at(up, 0));
    upstream_conn_release(conn);
    upstream_destroy(up);
    loopback_stop(server);
    free(out);
    free(in);
}

static void more_than_the_window_goes_out(void **state)
{
    enum { SIZE = 32 * 1024 * 1024 };
    struct loopback *server = loopback_start(LOOPBACK_SINK);
    upstream_t *up = one_node(server, "");
    upstream_conn_t *conn = connect_to(up);
    char *out = calloc(1, SIZE);
    struct iovec parts[3] = {{out, 11}, {out, SIZE - 12}, {out, 1}};
    (void)state;
    assert_status(upstream_conn_writev(conn, parts, 3), UPSTREAM_OK);
    assert_true(loopback_wait_bytes(server, SIZE));
    upstream_conn_release(conn);
    upstream_destroy(up);
    loopback_stop(server);
    free(out);
}

static void a_silent_server_times_out(void **state)
{
    struct loopback *server = loopback_start(LOOPBACK_SILENT);
    upstream_t *up = one_node(server, "    net.io_timeout 60ms");
    upstream_conn_t *conn = connect_to(up);
    size_t room = 64 * 1024 * 1024, got = 7;
    char *out = calloc(1, room);
    (void)state;
    errno = EDOM;
    assert_status(upstream_conn_read(conn, out, 1, &got), UPSTREAM_ERR_TIMEOUT);
    assert_int_equal(got, 0);
    assert_int_equal(errno, EDOM);
    assert_status(upstream_error_status(upstream_conn_last_error(conn)), UPSTREAM_ERR_TIMEOUT);
    assert_string_equal(upstream_error_node(upstream_conn_last_error(conn)), "node-1");
    check_contains(upstream_error_message(upstream_conn_last_error(conn)), "node-1 (127.0.0.1:");
    check_contains(upstream_error_message(upstream_conn_last_error(conn)), "read: ");
    upstream_conn_release(conn); /* closed, not kept */
    assert_int_equal(check_stats(up).idle, 0);
    conn = connect_to(up);
    assert_int_equal(upstream_conn_reused(conn), 0);
    assert_status(upstream_conn_write(conn, out, room), UPSTREAM_ERR_TIMEOUT);
    check_contains(upstream_error_message(upstream_conn_last_error(conn)), "write: ");
    /* never into the middle of a message */
    assert_status(upstream_conn_write(conn, out, 1), UPSTREAM_ERR_CLOSED);
    check_contains(upstream_error_message(upstream_conn_last_error(conn)), "discard it");
    upstream_conn_discard(conn);
    upstream_destroy(up);
    loopback_stop(server);
    free(out);
}

static void an_own_timeout_bounds_the_whole_call(void **state)
{
    struct loopback *server = loopback_start(LOOPBACK_DRIP);
    upstream_t *up = one_node(server, "");
    upstream_conn_t *conn = connect_to(up);
    char buffer[1000];
    (void)state;
    assert_status(upstream_conn_set_timeout_ms(conn, 100), UPSTREAM_OK);
    /* A byte each 20 ms is progress, but a thousand of them take 20 s. */
    assert_status(upstream_conn_read_exact(conn, buffer, sizeof(buffer)), UPSTREAM_ERR_TIMEOUT);
    upstream_conn_discard(conn);
    conn = connect_to(up);
    assert_status(upstream_conn_set_timeout_ms(conn, 100), UPSTREAM_OK);
    assert_status(upstream_conn_set_timeout_ms(conn, 0), UPSTREAM_OK);
    assert_status(upstream_conn_read_exact(conn, buffer, 12), UPSTREAM_OK);
    upstream_conn_discard(conn);
    upstream_destroy(up);
    loopback_stop(server);
}

static void the_end_of_the_stream(void **state)
{
    struct loopback *server = loopback_start(LOOPBACK_CLOSE_AFTER);
    upstream_t *up = one_node(server, "");
    upstream_conn_t *conn = connect_to(up);
    char buffer[8];
    size_t got;
    (void)state;
    assert_status(upstream_conn_write(conn, "abc", 3), UPSTREAM_OK);
    assert_status(upstream_conn_read_exact(conn, buffer, 3), UPSTREAM_OK);
    assert_status(upstream_conn_read(conn, buffer, 3, &got), UPSTREAM_EOF);
    assert_int_equal(got, 0);
    upstream_conn_release(conn);
    assert_int_equal(check_stats(up).idle, 0);
    conn = connect_to(up);
    assert_status(upstream_conn_write(conn, "abc", 3), UPSTREAM_OK);
    assert_status(upstream_conn_read_exact(conn, buffer, 8), UPSTREAM_ERR_CLOSED);
    check_contains(upstream_error_message(upstream_conn_last_error(conn)), "5 bytes short");
    upstream_conn_release(conn);
    upstream_destroy(up);
    loopback_stop(server);
}

static void sigpipe_never_fires(void **state)
{
    struct loopback *server = loopback_start(LOOPBACK_RESET);
    upstream_t *up = one_node(server, "    net.io_timeout 5s");
    upstream_conn_t *conn = connect_to(up);
    static char block[65536];
    upstream_status_t status = UPSTREAM_OK;
    int i;
    (void)state;
    /* a write that raised it would end this program */
    assert_true(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    assert_status(upstream_conn_write(conn, "x", 1), UPSTREAM_OK);
    assert_true(loopback_wait_ended(server, 1));
    for (i = 0; i < 50 && status == UPSTREAM_OK; i++) {
        status = upstream_conn_write(conn, block, sizeof(block));
    }
    assert_true(status == UPSTREAM_ERR_NETWORK || status == UPSTREAM_ERR_CLOSED);
    assert_status(upstream_conn_write(conn, block, sizeof(block)), UPSTREAM_ERR_CLOSED); /* EPIPE */
    assert_int_equal(upstream_error_errno(upstream_conn_last_error(conn)), EPIPE);
    upstream_conn_discard(conn);
    upstream_destroy(up);
    loopback_stop(server);
}

static int freed;

static void count_free(void *data)
{
    (void)data;
    freed++;
}

static void the_newest_is_reused_with_its_data(void **state)
{
    struct loopback *server = loopback_start(LOOPBACK_SINK);
    upstream_t *up = one_node(server, "");
    upstream_conn_t *older = connect_to(up), *newer = connect_to(up), *again;
    int logged_in;
    (void)state;
    freed = 0;
    assert_int_equal(upstream_conn_reused(newer), 0);
    assert_int_equal(check_stats(up).active, 2);
    assert_status(upstream_conn_set_data(newer, &logged_in, count_free), UPSTREAM_OK);
    upstream_conn_release(older);
    upstream_conn_release(newer);
    assert_int_equal(check_stats(up).idle, 2);
    assert_int_equal(check_stats(up).active, 0);
    again = connect_to(up);
    assert_int_equal(upstream_conn_reused(again), 1);
    assert_ptr_equal(upstream_conn_get_data(again), &logged_in);
    assert_int_equal(check_stats(up).reused, 1);
    upstream_conn_discard(again);
    assert_int_equal(freed, 1);
    again = connect_to(up);
    assert_int_equal(upstream_conn_reused(again), 1);
    assert_null(upstream_conn_get_data(again));
    upstream_conn_release(again);
    upstream_destroy(up);
    assert_true(loopback_wait_ended(server, 2));
    assert_int_equal(loopback_connections(server), 2);
    loopback_stop(server);
}

static void unread_bytes_end_the_reuse(void **state)
{
    struct loopback *server = loopback_start(LOOPBACK_GREETER);
    upstream_t *up = one_node(server, "");
    upstream_conn_t *conn = connect_to(up);
    char byte;
    (void)state;
    assert_status(upstream_conn_read_exact(conn, &byte, 1), UPSTREAM_OK);
    upstream_conn_release(conn);
    conn = connect_to(up);
    assert_int_equal(upstream_conn_reused(conn), 0);
    upstream_conn_discard(conn);
    upstream_destroy(up);
    loopback_stop(server);
}

static void a_dead_idle_connection_is_not_handed_out(void **state)
{
    struct loopback *server = loopback_start(LOOPBACK_CLOSE);
    upstream_t *up = one_node(server, "");
    upstream_conn_t *conn = connect_to(up);
    (void)state;
    upstream_conn_release(conn);
    assert_true(loopback_wait_ended(server, 1));
    conn = connect_to(up);
    assert_int_equal(upstream_conn_reused(conn), 0);
    upstream_conn_discard(conn);
    assert_true(loopback_wait_ended(server, 2));
    upstream_destroy(up);
    loopback_stop(server);
}

static void what_was_sent_arrives_after_the_end(void **state)
{
    /* The server has sent bytes that nobody reads, and reads late. If the connection were closed at
     * once, it would be reset, and the rest would be lost. */
    enum { SIZE = 1000 * 1000 };
    static char block[SIZE];
    static const char *const ends[] = {"    net.keepalive off", ""};
    size_t i;
    (void)state;
    for (i = 0; i < 2; i++) {
        struct loopback *server = loopback_start(LOOPBACK_LATE);
        upstream_t *up = one_node(server, ends[i]);
        upstream_conn_t *conn = connect_to(up);
        assert_status(upstream_conn_write(conn, block, SIZE), UPSTREAM_OK);
        /* closed here the first time, by the end of the set the second */
        upstream_conn_release(conn);
        upstream_destroy(up);
        assert_true(loopback_wait_ended(server, 1));
        assert_int_equal(loopback_bytes(server), SIZE);
        loopback_stop(server);
    }
}

static upstream_conn_t *reentered;

static void free_that_calls_back(void *data)
{
    (void)data;
    freed++;
    if (reentered != NULL) {
        assert_null(upstream_conn_get_data(reentered));
        assert_status(upstream_conn_set_data(reentered, NULL, NULL), UPSTREAM_OK);
    }
}

static void a_free_function_may_call_back(void **state)
{
    struct loopback *server = loopback_start(LOOPBACK_SINK);
    upstream_t *up = one_node(server, "");
    upstream_conn_t *conn = connect_to(up);
    int data;
    (void)state;
    freed = 0;
    assert_status(upstream_conn_set_data(conn, &data, free_that_calls_back), UPSTREAM_OK);
    reentered = conn;
    assert_status(upstream_conn_set_data(conn, NULL, NULL), UPSTREAM_OK);
    reentered = NULL;
    assert_int_equal(freed, 1);
    upstream_conn_release(conn);
    upstream_destroy(up);
    loopback_stop(server);
}

static void limits_of_reuse(void **state)
{
    static const char *const limits[] = {"    net.keepalive off", "    net.keepalive_max_recycle 1",
                                         "    net.keepalive_max_lifetime 1ms"};
    struct loopback *server = loopback_start(LOOPBACK_SINK);
    size_t i;
    (void)state;
    for (i = 0; i < 3; i++) {
        upstream_t *up = one_node(server, limits[i]);
        upstream_conn_t *conn = connect_to(up);
        usleep(50000); /* ages are counted in ticks of some milliseconds */
        upstream_conn_release(conn);
        assert_int_equal(check_stats(up).idle, 0);
        upstream_destroy(up);
    }
    {
        upstream_t *up = one_node(server, "    net.keepalive_max_recycle 2");
        upstream_conn_release(connect_to(up));
        assert_int_equal(check_stats(up).idle, 1);
        upstream_conn_release(connect_to(up));
        assert_int_equal(check_stats(up).idle, 0);
        upstream_destroy(up);
    }
    {
        upstream_t *up = one_node(server, "    net.keepalive_idle_timeout 1ms");
        upstream_conn_t *conn;
        upstream_conn_release(connect_to(up));
        usleep(50000); /* ages are counted in ticks of some milliseconds */
        conn = connect_to(up);
        assert_int_equal(upstream_conn_reused(conn), 0);
        upstream_conn_release(conn);
        upstream_destroy(up);
    }
    loopback_stop(server);
}

static void *release_later(void *conn)
{
    usleep(50000);
    upstream_conn_release(conn);
    return NULL;
}

static void the_cap_waits_and_then_refuses(void **state)
{
    struct loopback *server = loopback_start(LOOPBACK_SINK);
    upstream_t *up = one_node(server, "    net.max_connections 2\n    net.connect_timeout 700ms");
    upstream_conn_t *first = connect_to(up), *second = connect_to(up), *third = NULL;
    upstream_error_t *err = NULL;
    pthread_t thread;
    (void)state;
    assert_status(upstream_connect(up, &third, &err), UPSTREAM_ERR_LIMIT);
    check_contains(upstream_error_message(err), "raise net.max_connections");
    upstream_error_free(err);
    upstream_destroy(up);
    upstream_conn_discard(first);
    upstream_conn_discard(second);

    up = one_node(server, "    net.max_worker_connections 1\n    net.connect_timeout 10s");
    first = connect_to(up);
    assert_int_equal(pthread_create(&thread, NULL, release_later, first), 0);
    third = connect_to(up); /* waits for the other thread */
    assert_int_equal(upstream_conn_reused(third), 1);
    pthread_join(thread, NULL);
    upstream_conn_release(third);
    upstream_destroy(up);
    loopback_stop(server);
}

static void the_source_address_is_kept(void **state)
{
    struct loopback *server = loopback_start(LOOPBACK_SINK);
    upstream_t *up = one_node(server, "    net.source_address 127.0.0.9");
    upstream_conn_t *conn = connect_to(up);
    upstream_error_t *err = NULL;
    (void)state;
    upstream_conn_release(conn);
    upstream_destroy(up);
    up = one_node(server, "    net.source_address 203.0.113.9");
    assert_status(upstream_connect(up, &conn, &err), UPSTREAM_ERR_CONNECT);
    check_contains(upstream_error_message(err),
                   "net.source_address 203.0.113.9 must be an address of this machine");
    upstream_error_free(err);
    err = NULL;
    upstream_destroy(up);
    up = one_node(server, "    net.source_address ::1");
    assert_status(upstream_connect(up, &conn, &err), UPSTREAM_ERR_CONNECT);
    check_contains(upstream_error_message(err),
                   "has no address of the same family (IPv4 or IPv6) as net.source_address");
    upstream_error_free(err);
    upstream_destroy(up);
    loopback_stop(server);
}

static void names_resolve_or_say_why_not(void **state)
{
    struct loopback *server = loopback_start(LOOPBACK_SINK);
    char text[256];
    upstream_t *up;
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    (void)state;
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\n[NODE]\nname n\nhost localhost\nport %u\n"
             "net.tcp_keepalive on\n"
             "net.tcp_keepalive_time 60s\nnet.tcp_keepalive_interval 5s\n"
             "net.tcp_keepalive_probes 3\n"
             "net.dns.prefer_ipv6 on\n",
             (unsigned)loopback_port(server));
    up = check_create(text, NULL);
    conn = connect_to(up); /* localhost is also ::1, and nobody listens there */
    upstream_conn_release(conn);
    upstream_destroy(up);
    up = check_create("[UPSTREAM]\nname u\n[NODE]\nname n\nhost no-such-host.invalid\nport 9\n",
                      NULL);
    conn = NULL;
    assert_status(upstream_connect(up, &conn, &err), UPSTREAM_ERR_RESOLVE);
    assert_null(conn);
    check_contains(upstream_error_message(err),
                   "n (no-such-host.invalid:9): resolve: \"no-such-host.invalid\": ");
    assert_string_equal(upstream_error_node(err), "n");
    upstream_error_free(err);
    upstream_destroy(up);
    loopback_stop(server);
}

static void any_order_of_ending(void **state)
{
    struct loopback *server = loopback_start(LOOPBACK_ECHO);
    upstream_t *up = one_node(server, "");
    upstream_conn_t *first = connect_to(up), *second = connect_to(up);
    upstream_node_t *node;
    char byte;
    (void)state;
    upstream_destroy(up);
    assert_status(upstream_conn_write(first, "a", 1), UPSTREAM_OK);
    assert_status(upstream_conn_read_exact(first, &byte, 1), UPSTREAM_OK);
    node = upstream_conn_node(first);
    assert_string_equal(upstream_node_name(node), "node-1");
    upstream_conn_release(first);
    assert_string_equal(upstream_node_name(upstream_conn_node(second)), "node-1");
    upstream_conn_discard(second);
    loopback_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_comes_back),
        cmocka_unit_test(more_than_the_window_goes_out),
        cmocka_unit_test(a_silent_server_times_out),
        cmocka_unit_test(an_own_timeout_bounds_the_whole_call),
        cmocka_unit_test(the_end_of_the_stream),
        cmocka_unit_test(sigpipe_never_fires),
        cmocka_unit_test(the_newest_is_reused_with_its_data),
        cmocka_unit_test(unread_bytes_end_the_reuse),
        cmocka_unit_test(a_dead_idle_connection_is_not_handed_out),
        cmocka_unit_test(what_was_sent_arrives_after_the_end),
        cmocka_unit_test(a_free_function_may_call_back),
        cmocka_unit_test(limits_of_reuse),
        cmocka_unit_test(the_cap_waits_and_then_refuses),
        cmocka_unit_test(the_source_address_is_kept),
        cmocka_unit_test(names_resolve_or_say_why_not),
        cmocka_unit_test(any_order_of_ending),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
