/* upstream_conn_read_until(): the end of a line wherever it comes, which bytes stay after it, and
 * which stay if there is none. */
#define _GNU_SOURCE
#include "support/acceptor.h"
#include "support/check.h"
#include "support/openssl.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* What the server sends after each request of one byte: pieces, apart by "|"; then "$" ends the
 * connection. */
static enum ending play(const struct session *session, void *ctx)
{
    const char *script;
    char byte;
    while (session_wait(session, session->socket, POLLIN, -1) &&
           recv(session->socket, &byte, 1, 0) == 1) {
        for (script = ctx; *script != '\0'; script++) {
            if (*script == '|') {
                usleep(20 * 1000);
            } else if (*script == '$') {
                return ENDING_CLOSE;
            } else if (!session_send(session, session->socket, script, 1)) {
                return ENDING_CLOSE;
            }
        }
    }
    return ENDING_CLOSE;
}

/* A connection on which the server plays `script` once. */
struct line {
    struct acceptor *server;
    upstream_t *up;
    upstream_conn_t *conn;
};

static struct line line_of(const char *script)
{
    struct line line = {NULL, NULL, NULL};
    uint16_t port;
    line.server = acceptor_start("127.0.0.1", 0, play, (void *)(uintptr_t)script);
    port = acceptor_port(line.server);
    line.up = check_nodes(&port, 1, "health.max_fails 1");
    assert_status(upstream_connect(line.up, &line.conn, NULL), UPSTREAM_OK);
    assert_status(upstream_conn_write(line.conn, "?", 1), UPSTREAM_OK);
    return line;
}

static void line_end(struct line *line)
{
    upstream_conn_release(line->conn);
    upstream_destroy(line->up);
    acceptor_stop(line->server);
}

static void reads(upstream_conn_t *conn, const char *end, const char *expected)
{
    char buf[256];
    size_t got = 99;
    assert_status(upstream_conn_read_until(conn, buf, sizeof(buf), end, strlen(end), &got),
                  UPSTREAM_OK);
    assert_int_equal(got, strlen(expected));
    assert_memory_equal(buf, expected, got);
}

static void an_end_is_found_wherever_it_comes(void **state)
{
    static const struct {
        const char *script, *end, *lines[4];
    } rows[] = {
        {"one\n", "\n", {"one\n"}},
        {"one|\n", "\n", {"one\n"}},
        {"o|n|e|\n", "\n", {"one\n"}},
        {"\n", "\n", {"\n"}},
        {"one\r\n", "\r\n", {"one\r\n"}},
        {"one\r|\n", "\r\n", {"one\r\n"}}, /* split between two reads */
        {"o\r|x\r|\n", "\r\n", {"o\rx\r\n"}},
        {"one\r|\n\r|\n", "\r\n\r\n", {"one\r\n\r\n"}},
        {"aab|aaab", "aaab", {"aabaaab"}}, /* it begins within what looked like one */
        {"aa|ab", "aab", {"aaab"}},
        {"one\ntwo\nthree\n",
         "\n",
         {"one\n", "two\n", "three\n"}}, /* pipelined: what is behind stays */
        {"one\ntw|o\nthr|ee\n", "\n", {"one\n", "two\n", "three\n"}},
        {"one\r\ntwo\r|\n", "\r\n", {"one\r\n", "two\r\n"}},
    };
    size_t row, i;
    (void)state;
    for (row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        struct line line = line_of(rows[row].script);
        upstream_stats_t stats = UPSTREAM_STATS_INIT;
        size_t bytes = 0;
        for (i = 0; i < 4 && rows[row].lines[i] != NULL; i++) {
            reads(line.conn, rows[row].end, rows[row].lines[i]);
            bytes += strlen(rows[row].lines[i]);
        }
        upstream_stats(line.up, &stats);
        assert_int_equal(stats.bytes_in, bytes);
        upstream_conn_release(line.conn); /* nothing is left, so it is kept */
        line.conn = NULL;
        upstream_stats(line.up, &stats);
        assert_int_equal(stats.idle, 1);
        line_end(&line);
    }
}

/* Line and rest by turns: other reads get what stayed. */
static void what_is_behind_the_end_is_the_next_reads(void **state)
{
    struct line line = line_of("head\nbody!tail\nrest");
    char buf[64];
    size_t got;
    (void)state;
    reads(line.conn, "\n", "head\n");
    assert_status(upstream_conn_read_exact(line.conn, buf, 5), UPSTREAM_OK);
    assert_memory_equal(buf, "body!", 5);
    reads(line.conn, "\n", "tail\n");
    assert_status(upstream_conn_read_exact(line.conn, buf, 3), UPSTREAM_OK);
    /* it may be on its way yet */
    assert_status(upstream_conn_read(line.conn, buf, sizeof(buf), &got), UPSTREAM_OK);
    assert_int_equal(got, 1);
    assert_int_equal(buf[0], 't');
    line_end(&line);
}

static void a_line_fills_the_room_or_is_kept(void **state)
{
    struct line line = line_of("12345678\n");
    char buf[64];
    size_t got = 99;
    (void)state;
    /* Too long by one byte: the call says so, and all of it stays. */
    assert_status(upstream_conn_read_until(line.conn, buf, 8, "\n", 1, &got),
                  UPSTREAM_ERR_PROTOCOL);
    assert_int_equal(got, 0);
    check_contains(upstream_error_message(upstream_conn_last_error(line.conn)), "8 bytes");
    assert_status(upstream_conn_read_until(line.conn, buf, 1, "\n", 1, &got),
                  UPSTREAM_ERR_PROTOCOL);
    assert_int_equal(got, 0);
    /* Exactly as long as there is room. */
    assert_status(upstream_conn_read_until(line.conn, buf, 9, "\n", 1, &got), UPSTREAM_OK);
    assert_int_equal(got, 9);
    assert_memory_equal(buf, "12345678\n", 9);
    assert_status(upstream_conn_write(line.conn, "?", 1), UPSTREAM_OK);
    assert_status(upstream_conn_read_until(line.conn, buf, 4, "\n", 1, &got),
                  UPSTREAM_ERR_PROTOCOL);
    assert_status(upstream_conn_read_exact(line.conn, buf, 9), UPSTREAM_OK);
    assert_memory_equal(buf, "12345678\n", 9);
    line_end(&line);
}

static void an_end_of_the_stream_is_told_and_what_came_stays(void **state)
{
    static const char *const scripts[] = {"half$", "ha|lf|$"};
    size_t i;
    (void)state;
    for (i = 0; i < 2; i++) {
        struct line line = line_of(scripts[i]);
        char buf[64];
        size_t got = 99;
        assert_status(upstream_conn_read_until(line.conn, buf, sizeof(buf), "\n", 1, &got),
                      UPSTREAM_ERR_CLOSED);
        assert_int_equal(got, 0);
        assert_status(upstream_conn_read_exact(line.conn, buf, 4), UPSTREAM_OK);
        assert_memory_equal(buf, "half", 4);
        assert_status(upstream_conn_read(line.conn, buf, sizeof(buf), &got), UPSTREAM_EOF);
        upstream_conn_release(line.conn);
        line.conn = NULL;
        assert_int_equal(upstream_node_state(upstream_node_at(line.up, 0)), UPSTREAM_NODE_EJECTED);
        line_end(&line);
    }
}

static void after_a_timeout_it_goes_on_where_it_was(void **state)
{
    struct line line = line_of("one \xff||||||||||||||||||||||||||||||||||||||||||||||||||line\n");
    char buf[64];
    size_t got = 99;
    int timeouts = 0;
    upstream_status_t status;
    (void)state;
    upstream_conn_set_timeout_ms(line.conn, 50); /* of the second or so that the line takes */
    do {
        status = upstream_conn_read_until(line.conn, buf, sizeof(buf), "\n", 1, &got);
        timeouts += status == UPSTREAM_ERR_TIMEOUT;
        assert_true(status == UPSTREAM_OK || got == 0);
    } while (status == UPSTREAM_ERR_TIMEOUT && timeouts < 600);
    assert_status(status, UPSTREAM_OK);
    assert_true(timeouts > 0);
    assert_int_equal(got, 10);
    assert_memory_equal(buf, "one \xffline\n", 10);
    upstream_conn_release(line.conn);
    line.conn = NULL;
    assert_int_equal(upstream_node_state(upstream_node_at(line.up, 0)), UPSTREAM_NODE_UP);
    line_end(&line);
}

/* Part of an answer came over a kept connection, so the connection was alive. Its end is a failure
 * of the node, as with any other read. */
static void a_kept_connection_that_ends_in_an_answer_was_not_stale(void **state)
{
    static const char script[] = "ok\n";
    struct line line = line_of(script);
    char buf[64];
    size_t got;
    (void)state;
    reads(line.conn, "\n", "ok\n");
    upstream_conn_release(line.conn);
    assert_status(upstream_connect(line.up, &line.conn, NULL), UPSTREAM_OK);
    assert_int_equal(upstream_conn_reused(line.conn), 1);
    assert_status(upstream_conn_write(line.conn, "?", 1), UPSTREAM_OK);
    assert_status(upstream_conn_read_exact(line.conn, buf, 0), UPSTREAM_OK);
    usleep(100 * 1000); /* the answer is there, then the end */
    acceptor_end_sessions(line.server, ENDING_CLOSE);
    assert_status(upstream_conn_read_until(line.conn, buf, sizeof(buf), "end", 3, &got),
                  UPSTREAM_ERR_CLOSED);
    upstream_conn_release(line.conn);
    line.conn = NULL;
    assert_int_equal(upstream_node_state(upstream_node_at(line.up, 0)), UPSTREAM_NODE_EJECTED);
    line_end(&line);
}

static void over_tls(void **state)
{
    char *folder = openssl_make_folder(), keys[512], buf[64];
    struct openssl_server *server = openssl_start(folder, "-cert valid.crt -key valid.key");
    uint16_t port = openssl_port(server);
    upstream_conn_t *conn = NULL;
    upstream_t *up;
    size_t got = 99;
    (void)state;
    snprintf(keys, sizeof(keys), "tls on\ntls.ca_file %s/ca.crt", folder);
    up = check_nodes(&port, 1, keys);
    assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
    assert_status(upstream_conn_write(conn, "eno\nowt\nthree\n", 14), UPSTREAM_OK);
    reads(conn, "\n", "one\n");
    reads(conn, "\n", "two\n");
    assert_status(upstream_conn_read_until(conn, buf, 3, "\n", 1, &got), UPSTREAM_ERR_PROTOCOL);
    assert_int_equal(got, 0);
    reads(conn, "r", "eer");
    reads(conn, "\n", "ht\n");
    upstream_conn_release(conn);
    upstream_destroy(up);
    openssl_stop(server);
    openssl_remove_folder(folder);
}

static void what_it_cannot_take_is_refused(void **state)
{
    struct line line = line_of("x\n");
    char buf[8];
    size_t got = 99;
    (void)state;
    assert_status(upstream_conn_read_until(line.conn, buf, sizeof(buf), "", 0, &got),
                  UPSTREAM_ERR_INVALID_ARG);
    assert_status(upstream_conn_read_until(line.conn, buf, sizeof(buf), NULL, 1, &got),
                  UPSTREAM_ERR_INVALID_ARG);
    assert_status(upstream_conn_read_until(line.conn, NULL, sizeof(buf), "\n", 1, &got),
                  UPSTREAM_ERR_INVALID_ARG);
    assert_status(upstream_conn_read_until(line.conn, buf, sizeof(buf), "\n", 1, NULL),
                  UPSTREAM_ERR_INVALID_ARG);
    assert_status(upstream_conn_read_until(NULL, buf, sizeof(buf), "\n", 1, &got),
                  UPSTREAM_ERR_INVALID_ARG);
    reads(line.conn, "\n", "x\n"); /* and nothing was taken */
    line_end(&line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_end_is_found_wherever_it_comes),
        cmocka_unit_test(what_is_behind_the_end_is_the_next_reads),
        cmocka_unit_test(a_line_fills_the_room_or_is_kept),
        cmocka_unit_test(an_end_of_the_stream_is_told_and_what_came_stays),
        cmocka_unit_test(after_a_timeout_it_goes_on_where_it_was),
        cmocka_unit_test(a_kept_connection_that_ends_in_an_answer_was_not_stale),
        cmocka_unit_test(over_tls),
        cmocka_unit_test(what_it_cannot_take_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
