/* Connections in an event loop: how they begin, what they ask for, how they end. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/event_loop.h"
#include "support/loopback.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static struct event_loop loop;
static struct loopback *server;

static int open_poll(void **state)
{
    (void)state;
    event_loop_open(&loop, EVENT_LOOP_POLL);
    return 0;
}

static int open_epoll(void **state)
{
    (void)state;
    event_loop_open(&loop, EVENT_LOOP_EPOLL);
    return 0;
}

static int open_stop(void **state)
{
    (void)state;
    event_loop_open(&loop, EVENT_LOOP_STOP);
    return 0;
}

static int close_loop(void **state)
{
    (void)state;
    event_loop_close(&loop);
    return 0;
}

/* Nodes: `refused` that refuse, then one on the server. */
static upstream_t *nodes(enum loopback_behaviour behaviour, size_t refused, int *refusing,
                         const char *more)
{
    uint16_t ports[8];
    size_t i;
    for (i = 0; i < refused; i++) {
        ports[i] = loopback_refusing_port(&refusing[i]);
    }
    server = loopback_start(behaviour);
    ports[refused] = loopback_port(server);
    return check_nodes(ports, refused + 1, more);
}

static upstream_t *one_node(enum loopback_behaviour behaviour, const char *more)
{
    return nodes(behaviour, 0, NULL, more);
}

static void end(upstream_t *up)
{
    upstream_destroy(up);
    loopback_stop(server);
}

static upstream_conn_t *start(upstream_t *up)
{
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    upstream_status_t status = upstream_connect_start(up, &conn, &err);
    if (err != NULL) {
        print_error("%s\n", upstream_error_message(err));
    }
    assert_non_null(conn);
    assert_status(status, UPSTREAM_WANT_READ);
    assert_true(upstream_conn_fd(conn) >= 0);
    assert_int_equal(upstream_conn_poll_events(conn), UPSTREAM_POLL_IN);
    return conn;
}

static upstream_conn_t *connect_by_loop(upstream_t *up)
{
    upstream_conn_t *conn = NULL;
    upstream_status_t status = upstream_connect_start(up, &conn, NULL);
    assert_status(event_loop_connect(&loop, conn, status), UPSTREAM_OK);
    assert_int_equal(upstream_conn_poll_events(conn), 0);
    assert_int_equal(upstream_conn_timeout_ms(conn), -1);
    return conn;
}

static void what_is_written_comes_back_and_the_pool_serves_at_once(void **state)
{
    upstream_t *up = one_node(LOOPBACK_ECHO, "");
    upstream_conn_t *conn = start(up);
    char back[6];
    size_t got;
    int socket;
    (void)state;
    assert_null(upstream_conn_tls_version(conn));
    errno = EDOM;
    assert_status(event_loop_connect(&loop, conn, UPSTREAM_WANT_READ), UPSTREAM_OK);
    assert_status(upstream_conn_connect_continue(conn), UPSTREAM_OK); /* once more does no harm */
    socket = upstream_conn_fd(conn);
    assert_status(upstream_conn_try_read(conn, back, 1, &got), UPSTREAM_WANT_READ);
    assert_int_equal(got, 0);
    assert_int_equal(upstream_conn_poll_events(conn), UPSTREAM_POLL_IN);
    assert_in_range(upstream_conn_timeout_ms(conn), 1, 60 * 1000); /* net.io_timeout */
    assert_status(event_loop_write(&loop, conn, "hello\n", 6), UPSTREAM_OK);
    assert_status(event_loop_read(&loop, conn, back, 6), UPSTREAM_OK);
    assert_memory_equal(back, "hello\n", 6);
    assert_int_equal(upstream_conn_poll_events(conn), 0);
    assert_int_equal(upstream_conn_fd(conn), socket);
    upstream_conn_release(conn);
    conn = NULL;
    assert_status(upstream_connect_start(up, &conn, NULL), UPSTREAM_OK);
    assert_int_equal(upstream_conn_reused(conn), 1);
    assert_int_equal(upstream_conn_fd(conn), socket);
    upstream_conn_release(conn);
    assert_int_equal(check_stats(up).bytes_out, 6);
    assert_int_equal(check_stats(up).bytes_in, 6);
    assert_int_equal(check_stats(up).connects, 1);
    assert_int_equal(errno, EDOM);
    assert_int_equal(loopback_connections(server), 1);
    end(up);
}

static void a_refused_node_is_passed_over(void **state)
{
    int refusing[2];
    upstream_t *up = nodes(LOOPBACK_ECHO, 2, refusing, "");
    upstream_conn_t *conn = start(up);
    char back;
    (void)state;
    assert_string_equal(upstream_node_name(upstream_conn_node(conn)), "node-1");
    assert_status(event_loop_connect(&loop, conn, UPSTREAM_WANT_READ), UPSTREAM_OK);
    assert_string_equal(upstream_node_name(upstream_conn_node(conn)), "node-3");
    assert_int_equal(check_stats(up).connects_failed, 2);
    assert_null(upstream_conn_last_error(conn));
    assert_status(event_loop_write(&loop, conn, "x", 1), UPSTREAM_OK);
    assert_status(event_loop_read(&loop, conn, &back, 1), UPSTREAM_OK);
    upstream_conn_release(conn);
    end(up);
    close(refusing[0]);
    close(refusing[1]);
}

static void the_next_node_may_have_one_in_its_pool(void **state)
{
    int refusing;
    upstream_t *up = nodes(LOOPBACK_ECHO, 1, &refusing, "");
    upstream_stats_t stats;
    upstream_conn_t *conn;
    (void)state;
    assert_status(upstream_node_connect(upstream_node_at(up, 1), &conn, NULL), UPSTREAM_OK);
    upstream_conn_release(conn);
    conn = start(up);
    assert_string_equal(upstream_node_name(upstream_conn_node(conn)), "node-1");
    assert_status(event_loop_connect(&loop, conn, UPSTREAM_WANT_READ), UPSTREAM_OK);
    assert_string_equal(upstream_node_name(upstream_conn_node(conn)), "node-2");
    assert_int_equal(upstream_conn_reused(conn), 1);
    upstream_conn_release(conn);
    stats = check_node_stats(upstream_node_at(up, 0));
    assert_int_equal(stats.idle, 0);
    assert_int_equal(stats.active, 0);
    stats = check_node_stats(upstream_node_at(up, 1));
    assert_int_equal(stats.idle, 1);
    assert_int_equal(stats.active, 0);
    end(up);
    close(refusing);
}

/* The next node may have failed before its descriptor is asked for: even then the number is never
 * that of another descriptor. */
static void each_node_has_a_number_of_its_own(void **state)
{
    enum { REFUSED = 7, ROUNDS = 40 };
    int refusing[REFUSED], round;
    size_t i;
    (void)state;
    for (round = 0; round < ROUNDS; round++) {
        upstream_t *up = nodes(LOOPBACK_SINK, REFUSED, refusing, "");
        upstream_conn_t *conn = start(up);
        assert_status(event_loop_connect(&loop, conn, UPSTREAM_WANT_READ), UPSTREAM_OK);
        assert_string_equal(upstream_node_name(upstream_conn_node(conn)), "node-8");
        upstream_conn_discard(conn);
        end(up);
        for (i = 0; i < REFUSED; i++) {
            close(refusing[i]);
        }
    }
}

static void all_refused_is_an_error_with_every_nodes_words(void **state)
{
    int refusing[2];
    uint16_t ports[2];
    upstream_t *up;
    upstream_conn_t *conn;
    const upstream_error_t *why;
    char byte;
    size_t got;
    (void)state;
    ports[0] = loopback_refusing_port(&refusing[0]);
    ports[1] = loopback_refusing_port(&refusing[1]);
    up = check_nodes(ports, 2, "");
    conn = start(up);
    assert_status(event_loop_connect(&loop, conn, UPSTREAM_WANT_READ), UPSTREAM_ERR_CONNECT);
    why = upstream_conn_last_error(conn);
    assert_status(upstream_error_status(why), UPSTREAM_ERR_CONNECT);
    assert_string_equal(upstream_error_node(why), "node-2");
    assert_int_equal(upstream_error_errno(why), ECONNREFUSED);
    check_contains(upstream_error_message(why), "node-2 (127.0.0.1:");
    check_contains(upstream_error_message(why), "before that: node-1 (127.0.0.1:");
    /* What is left of the connection gives the same answer to every call, and asks for nothing. */
    assert_int_equal(upstream_conn_fd(conn), -1);
    assert_int_equal(upstream_conn_poll_events(conn), 0);
    assert_int_equal(upstream_conn_timeout_ms(conn), -1);
    assert_status(upstream_conn_connect_continue(conn), UPSTREAM_ERR_CONNECT);
    assert_status(upstream_conn_try_write(conn, "x", 1, &got), UPSTREAM_ERR_CONNECT);
    assert_status(upstream_conn_try_read(conn, &byte, 1, &got), UPSTREAM_ERR_CONNECT);
    assert_status(upstream_conn_flush(conn), UPSTREAM_ERR_CONNECT);
    assert_status(upstream_conn_write(conn, "x", 1), UPSTREAM_ERR_CONNECT);
    assert_status(upstream_conn_read_exact(conn, &byte, 1), UPSTREAM_ERR_CONNECT);
    check_contains(upstream_error_message(upstream_conn_last_error(conn)), "before that: node-1");
    upstream_conn_release(conn);
    assert_int_equal(check_stats(up).active, 0);
    upstream_destroy(up);
    close(refusing[0]);
    close(refusing[1]);
}

static void one_node_alone_is_not_left_for_another(void **state)
{
    int refusing;
    upstream_t *up = nodes(LOOPBACK_SINK, 1, &refusing, "");
    upstream_conn_t *conn = NULL;
    (void)state;
    assert_status(upstream_node_connect_start(upstream_node_at(up, 0), &conn, NULL),
                  UPSTREAM_WANT_READ);
    assert_status(event_loop_connect(&loop, conn, UPSTREAM_WANT_READ), UPSTREAM_ERR_CONNECT);
    upstream_conn_discard(conn);
    assert_status(upstream_node_connect_start(upstream_node_at(up, 1), &conn, NULL),
                  UPSTREAM_WANT_READ);
    assert_status(event_loop_connect(&loop, conn, UPSTREAM_WANT_READ), UPSTREAM_OK);
    assert_status(event_loop_write(&loop, conn, "x", 1), UPSTREAM_OK);
    assert_true(loopback_wait_bytes(server, 1));
    upstream_conn_release(conn);
    assert_int_equal(loopback_connections(server), 1);
    end(up);
    close(refusing);
}

static void names_resolve_or_say_why_not(void **state)
{
    char text[256];
    upstream_t *up;
    upstream_conn_t *conn;
    (void)state;
    server = loopback_start(LOOPBACK_SINK);
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\n[NODE]\nname gone\n"
             "host no-such-host.invalid\nport 9\n"
             "[NODE]\nname here\nhost localhost\nport %u\n",
             (unsigned)loopback_port(server));
    up = check_create(text, NULL);
    conn = start(up);
    assert_status(event_loop_connect(&loop, conn, UPSTREAM_WANT_READ), UPSTREAM_OK);
    assert_string_equal(upstream_node_name(upstream_conn_node(conn)), "here");
    upstream_conn_discard(conn);
    assert_status(upstream_node_connect_start(upstream_node_at(up, 0), &conn, NULL),
                  UPSTREAM_WANT_READ);
    assert_status(event_loop_connect(&loop, conn, UPSTREAM_WANT_READ), UPSTREAM_ERR_RESOLVE);
    check_contains(upstream_error_message(upstream_conn_last_error(conn)),
                   "gone (no-such-host.invalid:9): resolve: ");
    upstream_conn_discard(conn);
    end(up);
}

/* The first node accepts and never speaks TLS: that takes net.connect_timeout, and then the second
 * node is asked. */
static void a_node_that_stays_silent_is_given_up(void **state)
{
    struct loopback *silent = loopback_start(LOOPBACK_SILENT);
    int time = check_slow() ? 1500 : 150; /* enough to get as far as TLS */
    char text[512];
    upstream_t *up;
    upstream_conn_t *conn;
    (void)state;
    server = loopback_start(LOOPBACK_SINK);
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\n[NODE]\nname silent\nhost 127.0.0.1\n"
             "port %u\ntls on\n"
             "tls.verify off\nnet.connect_timeout %dms\n[NODE]\nname good\n"
             "host 127.0.0.1\nport %u\n",
             (unsigned)loopback_port(silent), time, (unsigned)loopback_port(server));
    up = check_create(text, NULL);
    conn = start(up);
    assert_in_range(upstream_conn_timeout_ms(conn), 0, time + 50);
    assert_status(event_loop_connect(&loop, conn, UPSTREAM_WANT_READ), UPSTREAM_OK);
    assert_string_equal(upstream_node_name(upstream_conn_node(conn)), "good");
    upstream_conn_discard(conn);
    assert_status(upstream_node_connect_start(upstream_node_at(up, 0), &conn, NULL),
                  UPSTREAM_WANT_READ);
    assert_status(event_loop_connect(&loop, conn, UPSTREAM_WANT_READ), UPSTREAM_ERR_TIMEOUT);
    check_contains(upstream_error_message(upstream_conn_last_error(conn)), "TLS: ");
    upstream_conn_discard(conn);
    end(up);
    loopback_stop(silent);
}

static void silence_ends_by_the_time_that_was_told(void **state)
{
    upstream_t *up = one_node(LOOPBACK_SILENT, "    net.io_timeout 80ms");
    upstream_conn_t *conn = connect_by_loop(up);
    size_t room = 64 * 1024 * 1024;
    char *out = calloc(1, room), byte;
    (void)state;
    assert_status(event_loop_read(&loop, conn, &byte, 1), UPSTREAM_ERR_TIMEOUT);
    check_contains(upstream_error_message(upstream_conn_last_error(conn)),
                   "read: the server sent nothing");
    upstream_conn_release(conn);
    assert_int_equal(check_stats(up).idle, 0);
    conn = connect_by_loop(up);
    assert_status(event_loop_write(&loop, conn, out, room), UPSTREAM_ERR_TIMEOUT);
    check_contains(upstream_error_message(upstream_conn_last_error(conn)),
                   "write: the server took no more data");
    /* never into the middle of a message */
    assert_status(upstream_conn_write(conn, out, 1), UPSTREAM_ERR_CLOSED);
    upstream_conn_discard(conn);
    end(up);
    up = one_node(LOOPBACK_SILENT, "");
    conn = connect_by_loop(up);
    assert_status(upstream_conn_set_timeout_ms(conn, 40), UPSTREAM_OK);
    assert_status(event_loop_read(&loop, conn, &byte, 1), UPSTREAM_ERR_TIMEOUT);
    upstream_conn_discard(conn);
    end(up);
    free(out);
}

static void each_byte_renews_the_time(void **state)
{
    upstream_t *up = one_node(LOOPBACK_DRIP, "    net.io_timeout 5s");
    upstream_conn_t *conn = connect_by_loop(up);
    char bytes[20];
    (void)state;
    assert_status(upstream_conn_set_timeout_ms(conn, 300), UPSTREAM_OK);
    /* 20 ms each, 400 ms in all */
    assert_status(event_loop_read(&loop, conn, bytes, sizeof(bytes)), UPSTREAM_OK);
    upstream_conn_discard(conn);
    end(up);
}

static void the_end_of_the_stream(void **state)
{
    upstream_t *up = one_node(LOOPBACK_CLOSE_AFTER, "");
    upstream_conn_t *conn = connect_by_loop(up);
    char back[4];
    (void)state;
    assert_status(event_loop_write(&loop, conn, "abc", 3), UPSTREAM_OK);
    assert_status(event_loop_read(&loop, conn, back, 4), UPSTREAM_EOF);
    assert_memory_equal(back, "abc", 3);
    upstream_conn_release(conn);
    assert_int_equal(check_stats(up).idle, 0);
    end(up);
}

static void a_message_cut_short_ends_the_connection(void **state)
{
    upstream_t *up = one_node(LOOPBACK_SILENT, "");
    upstream_conn_t *conn = connect_by_loop(up);
    size_t room = 64 * 1024 * 1024, written;
    char *out = calloc(1, room);
    (void)state;
    assert_status(upstream_conn_try_write(conn, out, room, &written), UPSTREAM_OK);
    assert_in_range(written, 1, room - 1);
    assert_int_equal(upstream_conn_poll_events(conn), UPSTREAM_POLL_OUT);
    upstream_conn_release(conn);
    assert_int_equal(check_stats(up).idle, 0);
    end(up);
    free(out);
}

#define in_each_loop(test)                                      \
    {#test " (poll)", test, open_poll, close_loop, NULL},       \
        {#test " (epoll)", test, open_epoll, close_loop, NULL}, \
    {                                                           \
        #test " (libuv)", test, open_stop, close_loop, NULL     \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_each_loop(what_is_written_comes_back_and_the_pool_serves_at_once),
        in_each_loop(a_refused_node_is_passed_over),
        in_each_loop(the_next_node_may_have_one_in_its_pool),
        in_each_loop(each_node_has_a_number_of_its_own),
        in_each_loop(all_refused_is_an_error_with_every_nodes_words),
        in_each_loop(one_node_alone_is_not_left_for_another),
        in_each_loop(names_resolve_or_say_why_not),
        in_each_loop(a_node_that_stays_silent_is_given_up),
        in_each_loop(silence_ends_by_the_time_that_was_told),
        in_each_loop(each_byte_renews_the_time),
        in_each_loop(the_end_of_the_stream),
        in_each_loop(a_message_cut_short_ends_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
