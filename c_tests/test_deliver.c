/* upstream_deliver(): one payload goes to as many nodes as it takes, to none twice; and the reports
 * on the way. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/loopback.h"

#include <errno.h>
#include <unistd.h>

enum { MOST = 8 };

/* What the callback is to do, and what it saw. */
struct payload {
    upstream_status_t answer;
    int discard;
    int calls;
    upstream_node_t *nodes[MOST];
};

static upstream_status_t send_payload(upstream_conn_t *conn, void *ctx)
{
    struct payload *payload = ctx;
    upstream_status_t status;
    assert_true(payload->calls < MOST);
    payload->nodes[payload->calls++] = upstream_conn_node(conn);
    status = upstream_conn_write(conn, "payload", 7);
    if (payload->discard) {
        upstream_conn_discard(conn);
    }
    return status != UPSTREAM_OK ? status : payload->answer;
}

static void a_refusing_node_costs_nothing(void **state)
{
    struct loopback *first = loopback_start(LOOPBACK_SINK), *third = loopback_start(LOOPBACK_SINK);
    int refusing;
    uint16_t ports[3];
    upstream_t *up;
    upstream_stats_t stats;
    size_t i;
    (void)state;
    ports[0] = loopback_port(first);
    ports[1] = loopback_refusing_port(&refusing);
    ports[2] = loopback_port(third);
    up = check_nodes(ports, 3, "");
    for (i = 0; i < 30; i++) {
        struct payload payload = {UPSTREAM_OK, 0, 0, {NULL}};
        upstream_error_t *err = NULL;
        assert_status(upstream_deliver(up, send_payload, &payload, 0, &err), UPSTREAM_OK);
        assert_null(err);
        assert_int_equal(payload.calls, 1);
    }
    assert_true(loopback_wait_bytes(first, 15 * 7)); /* the dead node's share is spread evenly */
    assert_true(loopback_wait_bytes(third, 15 * 7));
    assert_int_equal(loopback_bytes(first) + loopback_bytes(third), 30 * 7);
    stats = check_stats(up);
    assert_int_equal(stats.deliveries, 30);
    assert_int_equal(stats.deliveries_failed, 0);
    assert_int_equal(stats.bytes_out, 30 * 7);
    assert_true(stats.redeliveries > 0);
    assert_int_equal(stats.redeliveries, stats.connects_failed);
    stats = check_node_stats(upstream_node_at(up, 1));
    assert_int_equal(stats.deliveries, 0);
    assert_int_equal(stats.deliveries_failed, stats.connects_failed);
    upstream_destroy(up);
    close(refusing);
    loopback_stop(first);
    loopback_stop(third);
}

static void all_down_names_every_attempt(void **state)
{
    int refusing[3];
    uint16_t ports[3];
    upstream_t *up;
    upstream_error_t *err = NULL;
    upstream_conn_t *conn = NULL;
    struct payload payload = {UPSTREAM_OK, 0, 0, {NULL}};
    size_t i;
    (void)state;
    for (i = 0; i < 3; i++) {
        ports[i] = loopback_refusing_port(&refusing[i]);
    }
    up = check_nodes(ports, 3, "");
    errno = EDOM;
    assert_status(upstream_deliver(up, send_payload, &payload, 0, &err), UPSTREAM_ERR_CONNECT);
    assert_int_equal(errno, EDOM);
    assert_int_equal(payload.calls, 0);
    assert_int_equal(upstream_error_errno(err), ECONNREFUSED);
    assert_string_equal(upstream_error_node(err), "node-3");
    check_contains(upstream_error_message(err), "node-1 (127.0.0.1:");
    check_contains(upstream_error_message(err), "node-2 (127.0.0.1:");
    check_contains(upstream_error_message(err), "connect: ");
    check_contains(upstream_error_message(err), "Connection refused");
    upstream_error_free(err);
    err = NULL;
    assert_status(upstream_connect(up, &conn, &err), UPSTREAM_ERR_CONNECT);
    assert_null(conn);
    upstream_error_free(err);
    assert_status(upstream_deliver(up, send_payload, &payload, 0, NULL), UPSTREAM_ERR_CONNECT);
    assert_int_equal(check_stats(up).deliveries_failed, 2);
    upstream_destroy(up);
    for (i = 0; i < 3; i++) {
        close(refusing[i]);
    }
}

static void a_failing_callback_meets_each_node_once(void **state)
{
    struct loopback *servers[3];
    uint16_t ports[3];
    upstream_t *up;
    upstream_error_t *err = NULL;
    struct payload payload = {UPSTREAM_ERR_PROTOCOL, 0, 0, {NULL}};
    size_t i;
    (void)state;
    for (i = 0; i < 3; i++) {
        servers[i] = loopback_start(LOOPBACK_SINK);
        ports[i] = loopback_port(servers[i]);
    }
    up = check_nodes(ports, 3, "");
    assert_status(upstream_deliver(up, send_payload, &payload, 0, &err), UPSTREAM_ERR_PROTOCOL);
    assert_int_equal(payload.calls, 3);
    assert_ptr_not_equal(payload.nodes[0], payload.nodes[1]);
    assert_ptr_not_equal(payload.nodes[1], payload.nodes[2]);
    assert_ptr_not_equal(payload.nodes[0], payload.nodes[2]);
    check_contains(upstream_error_message(err),
                   "plugin: the deliver callback returned UPSTREAM_ERR_PROTOCOL");
    upstream_error_free(err);
    assert_int_equal(check_stats(up).idle, 0);
    upstream_destroy(up);
    for (i = 0; i < 3; i++) {
        loopback_stop(servers[i]);
    }
}

/* Runs one delivery over two sinks with `more` lines and gives the status; the payload tells the
 * calls. */
static upstream_status_t deliver_once(const char *more, struct payload *payload,
                                      uint32_t timeout_ms, char *message, size_t *idle)
{
    struct loopback *servers[2] = {loopback_start(LOOPBACK_SINK), loopback_start(LOOPBACK_SINK)};
    uint16_t ports[2] = {loopback_port(servers[0]), loopback_port(servers[1])};
    char *nodes = check_nodes_text(ports, 2, "");
    char *text = malloc(strlen(nodes) + strlen(more) + 32);
    upstream_error_t *err = NULL;
    upstream_status_t status;
    upstream_t *up;
    sprintf(text, "[UPSTREAM]\nname u\n%s%s", more, strstr(nodes, "[NODE]"));
    up = check_create(text, NULL);
    status = upstream_deliver(up, send_payload, payload, timeout_ms, &err);
    message[0] = '\0';
    if (err != NULL) {
        snprintf(message, 1024, "%s", upstream_error_message(err));
        upstream_error_free(err);
    }
    *idle = check_stats(up).idle;
    upstream_destroy(up);
    loopback_stop(servers[0]);
    loopback_stop(servers[1]);
    free(nodes);
    free(text);
    return status;
}

static void stop_ends_it_and_keeps_the_connection(void **state)
{
    struct payload payload = {UPSTREAM_STOP, 0, 0, {NULL}};
    char message[1024];
    size_t idle;
    (void)state;
    assert_status(deliver_once("", &payload, 0, message, &idle), UPSTREAM_STOP);
    assert_int_equal(payload.calls, 1);
    assert_int_equal(idle, 1);
    /* a payload is never dropped without a word */
    check_contains(message, "the deliver callback returned UPSTREAM_STOP");
}

static void discard_in_the_callback_closes(void **state)
{
    struct payload payload = {UPSTREAM_OK, 1, 0, {NULL}};
    char message[1024];
    size_t idle;
    (void)state;
    assert_status(deliver_once("", &payload, 0, message, &idle), UPSTREAM_OK);
    assert_int_equal(idle, 0);
}

static void attempts_are_counted(void **state)
{
    struct payload payload = {UPSTREAM_ERR_PROTOCOL, 0, 0, {NULL}};
    char message[1024];
    size_t idle;
    (void)state;
    assert_status(deliver_once("deliver.attempts 1\n", &payload, 0, message, &idle),
                  UPSTREAM_ERR_PROTOCOL);
    assert_int_equal(payload.calls, 1);
}

static void resend_off_is_at_most_once(void **state)
{
    struct payload payload = {UPSTREAM_ERR_TIMEOUT, 0, 0, {NULL}};
    char message[1024];
    size_t idle;
    (void)state;
    assert_status(deliver_once("deliver.resend off\n", &payload, 0, message, &idle),
                  UPSTREAM_ERR_TIMEOUT);
    assert_int_equal(payload.calls, 1);
    check_contains(message, "the payload may have arrived");
}

static void a_word_that_is_none_ends_it(void **state)
{
    static const upstream_status_t words[] = {UPSTREAM_WANT_READ, UPSTREAM_WANT_WRITE, 1234};
    size_t i;
    (void)state;
    for (i = 0; i < 3; i++) {
        struct payload payload = {UPSTREAM_OK, 0, 0, {NULL}};
        char message[1024];
        size_t idle;
        payload.answer = words[i];
        assert_status(deliver_once("", &payload, 0, message, &idle), UPSTREAM_ERR_INVALID_ARG);
        assert_int_equal(payload.calls, 1);
        if (words[i] == 1234) {
            check_contains(message, "1234, which is no status");
        }
    }
}

static upstream_status_t wait_for_answer(upstream_conn_t *conn, void *ctx)
{
    char byte;
    ++*(int *)ctx;
    return upstream_conn_read_exact(conn, &byte, 1);
}

static void the_deadline_holds_in_the_callback(void **state)
{
    struct loopback *servers[2] = {loopback_start(LOOPBACK_SILENT),
                                   loopback_start(LOOPBACK_SILENT)};
    uint16_t ports[2] = {loopback_port(servers[0]), loopback_port(servers[1])};
    upstream_t *up = check_nodes(ports, 2, "");
    upstream_error_t *err = NULL;
    int calls = 0;
    (void)state;
    /* net.io_timeout is a minute; the delivery has 2 s: one for the first, then as much for the
     * second. */
    assert_status(upstream_deliver(up, wait_for_answer, &calls, 2000, &err), UPSTREAM_ERR_TIMEOUT);
    assert_int_equal(calls, 2);
    check_contains(upstream_error_message(err),
                   "sent nothing before the delivery's time was up; raise deliver.timeout");
    check_contains(upstream_error_message(err), "sent nothing within ");
    check_contains(upstream_error_message(err),
                   " ms, half of the time that the delivery had left while other nodes could "
                   "take the payload; "
                   "raise deliver.timeout");
    upstream_error_free(err);
    upstream_destroy(up);
    loopback_stop(servers[0]);
    loopback_stop(servers[1]);
}

static upstream_status_t write_and_wait(upstream_conn_t *conn, void *ctx)
{
    char byte;
    upstream_status_t status = upstream_conn_write(conn, ctx, 1);
    return status != UPSTREAM_OK ? status : upstream_conn_read_exact(conn, &byte, 1);
}

static upstream_status_t write_and_wait_long(upstream_conn_t *conn, void *ctx)
{
    ++*(int *)ctx;
    assert_status(upstream_conn_set_timeout_ms(conn, 60000), UPSTREAM_OK);
    return write_and_wait(conn, "x");
}

static upstream_status_t write_and_wait_as_configured(upstream_conn_t *conn, void *ctx)
{
    ++*(int *)ctx;
    return write_and_wait(conn, "x");
}

/* A node that accepts and stays silent must leave time for the others, although net.io_timeout
 * would let it take all. */
static void a_silent_node_leaves_time_for_the_others(void **state)
{
    struct loopback *servers[2] = {loopback_start(LOOPBACK_SILENT), loopback_start(LOOPBACK_ECHO)};
    uint16_t ports[2] = {loopback_port(servers[0]), loopback_port(servers[1])};
    upstream_t *up = check_nodes(ports, 2, "");
    upstream_stats_t stats;
    (void)state;
    assert_status(upstream_deliver(up, write_and_wait, "x", 4000, NULL), UPSTREAM_OK);
    assert_int_equal(loopback_connections(servers[0]), 1);
    assert_int_equal(loopback_bytes(servers[1]), 1);
    stats = check_node_stats(upstream_node_at(up, 0));
    assert_int_equal(stats.deliveries_failed, 1);
    upstream_destroy(up);
    loopback_stop(servers[0]);
    loopback_stop(servers[1]);
}

/* The first of two silent nodes gets the whole time of the delivery: either no other node may get
 * the payload, or the plugin asks for it. */
static void whole_delivery_at_the_first(const char *settings, upstream_deliver_fn send)
{
    struct loopback *servers[2] = {loopback_start(LOOPBACK_SILENT),
                                   loopback_start(LOOPBACK_SILENT)};
    char text[512];
    upstream_t *up;
    upstream_error_t *err = NULL;
    int calls = 0;
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname s\n%s[NODE]\nname a\nhost 127.0.0.1\nport %u\n[NODE]\nname b\n"
             "host 127.0.0.1\nport %u\n",
             settings, (unsigned)loopback_port(servers[0]), (unsigned)loopback_port(servers[1]));
    up = check_create(text, NULL);
    assert_status(upstream_deliver(up, send, &calls, 500, &err), UPSTREAM_ERR_TIMEOUT);
    assert_int_equal(calls, 1);
    check_contains(upstream_error_message(err), "before the delivery's time was up");
    upstream_error_free(err);
    upstream_destroy(up);
    loopback_stop(servers[0]);
    loopback_stop(servers[1]);
}

static void no_share_where_no_other_is_to_have_the_payload(void **state)
{
    (void)state;
    whole_delivery_at_the_first("deliver.resend off\n", write_and_wait_as_configured);
    whole_delivery_at_the_first("deliver.attempts 1\n", write_and_wait_as_configured);
}

static void an_explicit_limit_never_lengthens_the_share(void **state)
{
    struct loopback *servers[2] = {loopback_start(LOOPBACK_SILENT),
                                   loopback_start(LOOPBACK_SILENT)};
    uint16_t ports[2] = {loopback_port(servers[0]), loopback_port(servers[1])};
    upstream_t *up = check_nodes(ports, 2, "");
    upstream_error_t *err = NULL;
    int calls = 0;
    (void)state;
    assert_status(upstream_deliver(up, write_and_wait_long, &calls, 500, &err),
                  UPSTREAM_ERR_TIMEOUT);
    assert_int_equal(calls, 2);
    check_contains(upstream_error_message(err), " ms, half of the time that the delivery had left");
    upstream_error_free(err);
    upstream_destroy(up);
    loopback_stop(servers[0]);
    loopback_stop(servers[1]);
}

/* C's habitual -1, -errno and other numbers of a plugin's own are failures like any other: the next
 * node gets the payload. */
static void any_negative_word_of_a_plugins_own_goes_on(void **state)
{
    static const upstream_status_t words[] = {
        -1, -5, -111, -12345, INT32_MIN, UPSTREAM_ERR_NO_MEMORY, UPSTREAM_ERR_LIMIT};
    size_t i;
    (void)state;
    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct payload payload = {UPSTREAM_OK, 0, 0, {NULL}};
        char message[1024];
        size_t idle;
        payload.answer = words[i];
        deliver_once("", &payload, 0, message, &idle);
        assert_int_equal(payload.calls, 2);
    }
}

static void a_stale_connection_is_no_failure_of_the_node(void **state)
{
    /* The server answers one byte on each connection and closes: what is kept is dead or dies at
     * reuse. */
    struct loopback *server = loopback_start(LOOPBACK_CLOSE_AFTER);
    uint16_t port = loopback_port(server);
    upstream_t *up = check_nodes(&port, 1, "");
    int i;
    (void)state;
    for (i = 0; i < 50; i++) {
        assert_status(upstream_deliver(up, write_and_wait, "x", 0, NULL), UPSTREAM_OK);
    }
    assert_int_equal(loopback_bytes(server), 50);
    assert_int_equal(check_stats(up).deliveries, 50);
    assert_int_equal(check_stats(up).deliveries_failed, 0);
    upstream_destroy(up);
    loopback_stop(server);
}

struct lines {
    int of[6];
    char last[512];
};

static void keep_line(int32_t level, const char *message, void *ctx)
{
    struct lines *lines = ctx;
    assert_in_range(level, UPSTREAM_LOG_ERROR, UPSTREAM_LOG_TRACE);
    lines->of[level]++;
    if (level == UPSTREAM_LOG_ERROR) {
        snprintf(lines->last, sizeof(lines->last), "%s", message);
    }
}

static void the_log_tells(void **state)
{
    int refusing;
    uint16_t port = loopback_refusing_port(&refusing);
    char *text = check_nodes_text(&port, 1, "");
    struct lines lines;
    upstream_options_t *options;
    upstream_t *up;
    struct payload payload = {UPSTREAM_OK, 0, 0, {NULL}};
    (void)state;
    memset(&lines, 0, sizeof(lines));
    assert_status(upstream_options_create(&options), UPSTREAM_OK);
    assert_status(upstream_options_set_logger(options, UPSTREAM_LOG_WARN, keep_line, &lines),
                  UPSTREAM_OK);
    up = check_create(text, options);
    upstream_options_destroy(options);
    assert_status(upstream_deliver(up, send_payload, &payload, 0, NULL), UPSTREAM_ERR_CONNECT);
    assert_int_equal(lines.of[UPSTREAM_LOG_WARN], 1);
    assert_int_equal(lines.of[UPSTREAM_LOG_ERROR], 1);
    assert_int_equal(lines.of[UPSTREAM_LOG_DEBUG], 0);
    check_contains(lines.last, "not delivered: node-1 (127.0.0.1:");
    upstream_destroy(up);
    close(refusing);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refusing_node_costs_nothing),
        cmocka_unit_test(all_down_names_every_attempt),
        cmocka_unit_test(a_failing_callback_meets_each_node_once),
        cmocka_unit_test(stop_ends_it_and_keeps_the_connection),
        cmocka_unit_test(discard_in_the_callback_closes),
        cmocka_unit_test(attempts_are_counted),
        cmocka_unit_test(resend_off_is_at_most_once),
        cmocka_unit_test(a_word_that_is_none_ends_it),
        cmocka_unit_test(the_deadline_holds_in_the_callback),
        cmocka_unit_test(a_silent_node_leaves_time_for_the_others),
        cmocka_unit_test(no_share_where_no_other_is_to_have_the_payload),
        cmocka_unit_test(an_explicit_limit_never_lengthens_the_share),
        cmocka_unit_test(any_negative_word_of_a_plugins_own_goes_on),
        cmocka_unit_test(a_stale_connection_is_no_failure_of_the_node),
        cmocka_unit_test(the_log_tells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
