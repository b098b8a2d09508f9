/* The fault matrix: answers that come before the whole question was sent, and bytes that are on
 * their way when a connection ends. Plain and over TLS, by the blocking calls and by those of an
 * event loop. Rows of docs/testing.md. */
#define _GNU_SOURCE
#include "support/acceptor.h"
#include "support/check.h"
#include "support/loopback.h"
#include "support/openssl.h"
#include "support/process.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LARGE = 64 * 1024 * 1024, SMALL = 200 * 1000 };

static const char ANSWER[] = "413 too large\n";
static const char *const versions[] = {"TLSv1_2", "TLSv1_3"};

static char *folder;
static char *large; /* what is written; LARGE bytes */

static int make_folder(void **state)
{
    (void)state;
    folder = openssl_make_folder();
    large = calloc(1, LARGE);
    return large == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    openssl_remove_folder(folder);
    free(large);
    return 0;
}

/* Reads a little, answers, and closes with the rest unread, which resets the connection. */
static enum ending answer_early(const struct session *session, void *ctx)
{
    char some[100];
    (void)ctx;
    if (session_wait(session, session->socket, POLLIN, -1) &&
        recv(session->socket, some, sizeof(some), 0) > 0) {
        session_send(session, session->socket, ANSWER, sizeof(ANSWER) - 1);
        usleep(100 * 1000); /* the client has more on its way */
    }
    return ENDING_CLOSE;
}

static upstream_t *open_at(uint16_t port, const char *keys)
{
    char text[1024];
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\nnet.io_timeout 30s\n[NODE]\nname n\n"
             "host 127.0.0.1\nport %u\n%s\n",
             (unsigned)port, keys);
    return check_create(text, NULL);
}

static struct process start_tls(const char *version, const char *how, uint16_t *port, char *keys,
                                size_t room)
{
    const char *arguments[] = {
        "python3", UPSTREAM_SOURCE_DIR "/c_tests/support/tls_early.py", folder, version, how, NULL};
    struct process server = process_start(arguments, NULL);
    char line[64];
    assert_true(process_read_line(&server, line, sizeof(line)));
    *port = (uint16_t)strtoul(line, NULL, 10);
    snprintf(keys, room, "tls on\ntls.vhost localhost\ntls.ca_file %s/ca.crt\n", folder);
    return server;
}

/* Waits for what a call of an event loop wants, and gives its word that it may go on. */
static int await(upstream_conn_t *conn)
{
    uint32_t wants = upstream_conn_poll_events(conn);
    struct pollfd polled = {.fd = upstream_conn_fd(conn)};
    polled.events = (short)((wants & UPSTREAM_POLL_IN ? POLLIN : 0) |
                            (wants & UPSTREAM_POLL_OUT ? POLLOUT : 0));
    return poll(&polled, 1, 60000) == 1;
}

static upstream_status_t write_by_loop(upstream_conn_t *conn)
{
    upstream_status_t status = UPSTREAM_OK;
    size_t sent = 0, taken;
    while (sent < LARGE &&
           (status == UPSTREAM_OK || (status == UPSTREAM_WANT_WRITE && await(conn)))) {
        status = upstream_conn_try_write(conn, large + sent, LARGE - sent, &taken);
        sent += taken;
    }
    return status;
}

static upstream_status_t read_by_loop(upstream_conn_t *conn, void *buffer, size_t room, size_t *got)
{
    upstream_status_t status;
    do {
        status = upstream_conn_try_read(conn, buffer, room, got);
    } while (status == UPSTREAM_WANT_READ && await(conn));
    return status;
}

/* The write fails. What the server had sent can still be read; after that comes the failure, not a
 * normal end of the stream. */
static void is_answered_early(uint16_t port, const char *keys, int by_loop)
{
    upstream_t *up = open_at(port, keys);
    upstream_conn_t *conn = NULL;
    upstream_status_t status;
    char text[64] = "";
    size_t got, length = 0;
    assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
    status = by_loop ? write_by_loop(conn) : upstream_conn_write(conn, large, LARGE);
    assert_true(status == UPSTREAM_ERR_NETWORK || status == UPSTREAM_ERR_CLOSED);
    while (length < sizeof(ANSWER) - 1) {
        status = (by_loop ? read_by_loop : upstream_conn_read)(conn, text + length,
                                                               sizeof(text) - 1 - length, &got);
        assert_status(status, UPSTREAM_OK);
        length += got;
    }
    assert_string_equal(text, ANSWER);
    status = (by_loop ? read_by_loop : upstream_conn_read)(conn, text, sizeof(text), &got);
    assert_true(status == UPSTREAM_EOF || status == UPSTREAM_ERR_NETWORK ||
                status == UPSTREAM_ERR_CLOSED);
    upstream_conn_release(conn);
    upstream_destroy(up);
}

static void early_answer(void **state)
{
    struct acceptor *server = acceptor_start("127.0.0.1", 0, answer_early, NULL);
    int i;
    (void)state;
    for (i = 0; i < 10; i++) {
        is_answered_early(acceptor_port(server), "", i % 2);
    }
    acceptor_stop(server);
}

static void early_answer_over_tls(void **state)
{
    size_t i;
    (void)state;
    for (i = 0; i < 4; i++) {
        char keys[512];
        uint16_t port;
        struct process server = start_tls(versions[i / 2], "early", &port, keys, sizeof(keys));
        is_answered_early(port, keys, i % 2);
        process_kill(&server);
    }
}

static void write_and_discard(uint16_t port, const char *keys)
{
    upstream_t *up = open_at(port, keys);
    upstream_conn_t *conn = NULL;
    assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
    assert_status(upstream_conn_write(conn, large, SMALL), UPSTREAM_OK);
    upstream_conn_discard(conn);
    upstream_destroy(up);
}

/* The server has sent something that nobody reads, and reads late: a reset would destroy what is on
 * its way to it. */
static void discard_after_a_good_write(void **state)
{
    struct loopback *late = loopback_start(LOOPBACK_LATE);
    (void)state;
    write_and_discard(loopback_port(late), "");
    assert_true(loopback_wait_bytes(late, SMALL));
    loopback_stop(late);
}

static void discard_after_a_good_write_over_tls(void **state)
{
    size_t i;
    (void)state;
    for (i = 0; i < 2; i++) {
        char keys[512], line[64];
        uint16_t port;
        struct process server = start_tls(versions[i], "late", &port, keys, sizeof(keys));
        write_and_discard(port, keys);
        assert_true(process_read_line(&server, line, sizeof(line)));
        assert_int_equal(strtoul(line, NULL, 10), SMALL);
        process_kill(&server);
    }
}

/* Part of a message was written. Calls that write nothing do not complete it, so the connection is
 * not kept. */
static void writing_nothing_makes_nothing_whole(void **state)
{
    struct iovec nothing[2] = {{NULL, 0}, {NULL, 0}};
    size_t way, taken;
    (void)state;
    for (way = 0; way < 5; way++) {
        struct loopback *silent = loopback_start_narrow(LOOPBACK_SILENT);
        upstream_t *up = open_at(loopback_port(silent), "");
        upstream_stats_t stats;
        upstream_conn_t *conn = NULL;
        assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
        assert_status(upstream_conn_try_write(conn, large, LARGE, &taken), UPSTREAM_OK);
        assert_in_range(taken, 1, LARGE - 1);
        switch (way) {
        case 0:
            assert_status(upstream_conn_write(conn, "", 0), UPSTREAM_OK);
            break;
        case 1:
            assert_status(upstream_conn_writev(conn, nothing, 2), UPSTREAM_OK);
            break;
        case 2:
            assert_status(upstream_conn_writev(conn, nothing, 0), UPSTREAM_OK);
            break;
        case 3:
            assert_status(upstream_conn_try_write(conn, "", 0, &taken), UPSTREAM_OK);
            break;
        default:
            assert_status(upstream_conn_flush(conn), UPSTREAM_OK);
            break;
        }
        /* the rest is still to come */
        assert_true(upstream_conn_poll_events(conn) & UPSTREAM_POLL_OUT);
        upstream_conn_release(conn);
        stats = check_stats(up);
        assert_int_equal(stats.idle, 0);
        upstream_destroy(up);
        loopback_stop(silent);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(early_answer),
        cmocka_unit_test(early_answer_over_tls),
        cmocka_unit_test(discard_after_a_good_write),
        cmocka_unit_test(discard_after_a_good_write_over_tls),
        cmocka_unit_test(writing_nothing_makes_nothing_whole),
    };
    return check_run_tests(tests, make_folder, remove_folder);
}
