/* The fault matrix: servers that send without end, tickets or data, or send a record piece by
 * piece. Rows of docs/testing.md. Without a bound each of these calls takes many seconds. */
#define _GNU_SOURCE
#include "support/loopback.h"
#include "support/openssl.h"
#include "support/process.h"
#include "support/testbed.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

enum { LIMIT = 300, SLACK = 2500, HUGE_SIZE = 1 << 30 };

struct flood {
    struct process server;
    upstream_t *up;
    upstream_conn_t *conn;
    long begun;
};

static uint16_t serve(struct process *server, const char *how)
{
    const char *arguments[] = {"python3", UPSTREAM_SOURCE_DIR "/c_tests/support/tls_flood.py",
                               openssl_folder, how, NULL};
    char line[64];
    *server = process_start(arguments, NULL);
    assert_true(process_read_line(server, line, sizeof(line)));
    return (uint16_t)strtoul(line, NULL, 10);
}

static upstream_t *over_tls(uint16_t port, const char *more)
{
    char lines[512];
    snprintf(lines, sizeof(lines), "tls on\ntls.vhost localhost\ntls.ca_file %s/ca.crt\n%s",
             openssl_folder, more);
    return check_nodes(&port, 1, lines);
}

/* A connection over which one byte was sent. */
static void flood_open(struct flood *flood, const char *how, const char *more)
{
    flood->up = over_tls(serve(&flood->server, how), more);
    assert_status(upstream_connect(flood->up, &flood->conn, NULL), UPSTREAM_OK);
    assert_status(upstream_conn_write(flood->conn, "x", 1), UPSTREAM_OK);
    flood->begun = check_now_ms();
}

static void flood_close(struct flood *flood)
{
    upstream_conn_discard(flood->conn);
    upstream_destroy(flood->up);
    process_kill(&flood->server);
}

/* A call that began with the connection ended in time, with these words. */
static void ended(const struct flood *flood, upstream_status_t status, upstream_status_t expected,
                  const char *words)
{
    long took = check_now_ms() - flood->begun;
    assert_status(status, expected);
    assert_in_range(took, 0, (check_slow() ? 10 : 1) * (LIMIT + SLACK));
    if (words != NULL) {
        check_contains(upstream_error_message(upstream_conn_last_error(flood->conn)), words);
    }
}

static void *cancel_soon(void *up)
{
    usleep(LIMIT * 1000);
    upstream_cancel(up);
    return NULL;
}

static upstream_status_t read_some(upstream_conn_t *conn, char *buffer)
{
    size_t got;
    return upstream_conn_read(conn, buffer, HUGE_SIZE, &got);
}

static upstream_status_t read_all(upstream_conn_t *conn, char *buffer)
{
    return upstream_conn_read_exact(conn, buffer, HUGE_SIZE);
}

static upstream_status_t read_a_line(upstream_conn_t *conn, char *buffer)
{
    size_t got;
    return upstream_conn_read_until(conn, buffer, HUGE_SIZE, "\n", 1, &got);
}

/* Each blocking read ends by its own limit, by the limit of silence, and when it is cancelled. */
static void flood_and_blocking_reads(void **state)
{
    static const struct {
        const char *how;
        upstream_status_t (*call)(upstream_conn_t *, char *);
        const char *words;
    } rows[] = {
        {"tickets", read_some, "the server sent only messages of TLS itself"},
        {"tickets", read_all, "the server sent only messages of TLS itself"},
        {"tickets", read_a_line, "the server sent only messages of TLS itself"},
        {"data", read_all, "bytes within the 300 ms of upstream_conn_set_timeout_ms()"},
        {"data", read_a_line, "bytes within the 300 ms of upstream_conn_set_timeout_ms()"},
    };
    char *buffer = malloc(HUGE_SIZE);
    size_t i;
    (void)state;
    assert_non_null(buffer);
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct flood flood;
        pthread_t canceller;
        flood_open(&flood, rows[i].how, "");
        upstream_conn_set_timeout_ms(flood.conn, LIMIT);
        ended(&flood, rows[i].call(flood.conn, buffer), UPSTREAM_ERR_TIMEOUT, rows[i].words);
        flood_close(&flood);

        flood_open(&flood, rows[i].how, "");
        assert_int_equal(pthread_create(&canceller, NULL, cancel_soon, flood.up), 0);
        ended(&flood, rows[i].call(flood.conn, buffer), UPSTREAM_ERR_CANCELLED, NULL);
        pthread_join(canceller, NULL);
        flood_close(&flood);
    }
    {
        struct flood flood;
        flood_open(&flood, "tickets", "net.io_timeout 300ms\n");
        ended(&flood, read_some(flood.conn, buffer), UPSTREAM_ERR_TIMEOUT, rows[0].words);
        flood_close(&flood);
    }
    free(buffer);
}

/* An event loop gets control back after each small part of the flood, and the limit holds. */
static void flood_and_event_loop(void **state)
{
    struct flood flood;
    upstream_status_t status = UPSTREAM_WANT_READ;
    char buffer[64];
    size_t got, calls = 0;
    (void)state;
    flood_open(&flood, "tickets", "net.io_timeout 300ms\n");
    while (status == UPSTREAM_WANT_READ) {
        struct pollfd ready = {.fd = upstream_conn_fd(flood.conn), .events = POLLIN};
        status = upstream_conn_try_read(flood.conn, buffer, sizeof(buffer), &got);
        calls++;
        if (status == UPSTREAM_WANT_READ) {
            assert_int_equal(upstream_conn_poll_events(flood.conn), UPSTREAM_POLL_IN);
            poll(&ready, 1, (int)upstream_conn_timeout_ms(flood.conn));
        }
    }
    ended(&flood, status, UPSTREAM_ERR_TIMEOUT, "the server sent only messages of TLS itself");
    assert_in_range(calls, 3, SIZE_MAX);
    flood_close(&flood);
}

/* Bytes without end go out in parts: each call is short. */
static void fast_reader_and_event_loop(void **state)
{
    static const int tls[] = {0, 1};
    char *buffer = calloc(1, 1 << 24);
    size_t i, written;
    (void)state;
    assert_non_null(buffer);
    for (i = 0; i < 2; i++) {
        struct flood flood;
        struct loopback *plain = loopback_start(LOOPBACK_SINK);
        uint16_t port = loopback_port(plain);
        flood.up = tls[i] ? over_tls(serve(&flood.server, "some"), "") : check_nodes(&port, 1, "");
        assert_status(upstream_connect(flood.up, &flood.conn, NULL), UPSTREAM_OK);
        assert_status(upstream_conn_try_write(flood.conn, buffer, 1 << 24, &written), UPSTREAM_OK);
        assert_in_range(written, 1, 128 * 1024);
        assert_true(upstream_conn_poll_events(flood.conn) & UPSTREAM_POLL_OUT);
        upstream_conn_discard(flood.conn);
        upstream_destroy(flood.up);
        if (tls[i]) {
            process_kill(&flood.server);
        }
        loopback_stop(plain);
    }
    free(buffer);
}

/* The kept connections are all flooded. Neither the purge, nor a connect that looks at them, nor
 * the end of the set takes longer for it; another node is dialled meanwhile. */
static void flood_of_idle_connections(void **state)
{
    enum { KEPT = 24 };
    struct flood flood;
    upstream_conn_t *conns[KEPT];
    char text[1024];
    struct loopback *plain = loopback_start(LOOPBACK_SINK);
    size_t i;
    (void)state;
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\nnet.keepalive_idle_timeout 300ms\nnet.connect_timeout 20s\n"
             "[NODE]\nname flooded\nhost 127.0.0.1\nport %u\ntls on\ntls.vhost localhost\n"
             "tls.ca_file %s/ca.crt\n[NODE]\nname plain\nhost 127.0.0.1\nport %u\n"
             "net.keepalive off\nnet.connect_timeout 2s\n",
             (unsigned)serve(&flood.server, "tickets"), openssl_folder,
             (unsigned)loopback_port(plain));
    flood.up = check_create(text, NULL);
    for (i = 0; i < KEPT; i++) {
        assert_status(upstream_node_connect(upstream_node_at(flood.up, 0), &conns[i], NULL),
                      UPSTREAM_OK);
        assert_status(upstream_conn_write(conns[i], "x", 1), UPSTREAM_OK);
    }
    for (i = 0; i < KEPT; i++) {
        upstream_conn_release(conns[i]);
    }
    flood.begun = check_now_ms();
    for (i = 0; i < 20; i++) { /* beside the purges */
        assert_status(upstream_node_connect(upstream_node_at(flood.up, 1), &flood.conn, NULL),
                      UPSTREAM_OK);
        upstream_conn_discard(flood.conn);
        usleep(20000);
    }
    assert_in_range(check_now_ms() - flood.begun, 0, (check_slow() ? 10 : 1) * SLACK);
    assert_int_equal(check_node_stats(upstream_node_at(flood.up, 1)).connects_failed, 0);
    assert_status(upstream_node_connect(upstream_node_at(flood.up, 0), &flood.conn, NULL),
                  UPSTREAM_OK);
    assert_int_equal(check_node_stats(upstream_node_at(flood.up, 0)).connects_failed, 0);
    flood_close(&flood);
    loopback_stop(plain);
}

/* An answer of one record that takes longer than net.io_timeout, but never pauses so long, comes
 * whole: blocking and in an event loop. */
static void slow_record(void **state)
{
    int event_loop;
    (void)state;
    for (event_loop = 0; event_loop < 2; event_loop++) {
        struct flood flood;
        static char buffer[32768];
        size_t got = 0;
        upstream_status_t status = UPSTREAM_WANT_READ;
        flood_open(&flood, "slow", "net.io_timeout 700ms\n");
        if (!event_loop) {
            status = upstream_conn_read(flood.conn, buffer, sizeof(buffer), &got);
        }
        while (status == UPSTREAM_WANT_READ) {
            struct pollfd ready = {.fd = upstream_conn_fd(flood.conn), .events = POLLIN};
            status = upstream_conn_try_read(flood.conn, buffer, sizeof(buffer), &got);
            if (status == UPSTREAM_WANT_READ) {
                poll(&ready, 1, (int)upstream_conn_timeout_ms(flood.conn));
            }
        }
        assert_status(status, UPSTREAM_OK);
        assert_int_equal(got, 16000);
        assert_in_range(check_now_ms() - flood.begun, 1000, 60000); /* as slow as it should be */
        flood_close(&flood);
    }
}

/* If only a part of a record came, the error does not say that nothing came. */
static void half_a_record(void **state)
{
    struct flood flood;
    char buffer[64];
    size_t got;
    (void)state;
    flood_open(&flood, "part", "net.io_timeout 500ms\n");
    assert_status(upstream_conn_read(flood.conn, buffer, sizeof(buffer), &got),
                  UPSTREAM_ERR_TIMEOUT);
    check_contains(upstream_error_message(upstream_conn_last_error(flood.conn)),
                   "the server sent a part of a TLS record and then nothing within the 500 ms of "
                   "net.io_timeout");
    flood_close(&flood);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flood_and_blocking_reads),
        cmocka_unit_test(flood_and_event_loop),
        cmocka_unit_test(fast_reader_and_event_loop),
        cmocka_unit_test(flood_of_idle_connections),
        cmocka_unit_test(slow_record),
        cmocka_unit_test(half_a_record),
    };
    return check_run_tests(tests, openssl_folder_setup, openssl_folder_teardown);
}
