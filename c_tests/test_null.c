/* NULL in each position of each function: a clean refusal, never a crash. */
#include "support/check.h"
#include "support/loopback.h"

static upstream_t *up;
static upstream_node_t *node;
static upstream_conn_t *conn;
static upstream_options_t *options;
static struct loopback *server;

static int create(void **state)
{
    uint16_t port;
    (void)state;
    server = loopback_start(LOOPBACK_SINK);
    port = loopback_port(server);
    up = check_nodes(&port, 1, "");
    node = upstream_node_at(up, 0);
    assert_status(upstream_options_create(&options), UPSTREAM_OK);
    return upstream_connect(up, &conn, NULL);
}

static int destroy(void **state)
{
    (void)state;
    upstream_conn_release(conn);
    upstream_destroy(up);
    upstream_options_destroy(options);
    loopback_stop(server);
    return 0;
}

static upstream_status_t send_nothing(upstream_conn_t *c, void *ctx)
{
    (void)c;
    (void)ctx;
    return UPSTREAM_OK;
}

#define refused(call) assert_status(call, UPSTREAM_ERR_INVALID_ARG)

static void errors(void **state)
{
    (void)state;
    refused(upstream_error_status(NULL));
    assert_null(upstream_error_message(NULL));
    assert_int_equal(upstream_error_errno(NULL), 0);
    assert_null(upstream_error_node(NULL));
    assert_int_equal(upstream_error_line(NULL), 0);
    upstream_error_free(NULL);
}

static void option_calls(void **state)
{
    upstream_error_t *err = NULL;
    (void)state;
    refused(upstream_options_create(NULL));
    refused(upstream_options_set(NULL, "tls", "on", NULL));
    refused(upstream_options_set(options, NULL, "on", NULL));
    refused(upstream_options_set(options, "tls", NULL, NULL));
    refused(upstream_options_set(NULL, "tls", "on", &err));
    assert_non_null(err);
    refused(upstream_error_status(err));
    upstream_error_free(err);
    refused(upstream_options_declare_key(NULL, "tag", UPSTREAM_KEY_TEXT, NULL));
    refused(upstream_options_declare_key(options, NULL, UPSTREAM_KEY_TEXT, NULL));
    refused(upstream_options_set_logger(NULL, UPSTREAM_LOG_WARN, NULL, NULL));
    assert_status(upstream_options_set_logger(options, UPSTREAM_LOG_WARN, NULL, NULL), UPSTREAM_OK);
    refused(upstream_options_set_logger(options, 0, NULL, NULL));
    refused(upstream_options_set_logger(options, 6, NULL, NULL));
    upstream_options_destroy(NULL);
}

static void set_calls(void **state)
{
    static const char text[] = "[UPSTREAM]\n name u\n[NODE]\n name n\n host h\n port 1\n";
    upstream_t *made = NULL;
    upstream_error_t *err = NULL;
    upstream_stats_t stats = UPSTREAM_STATS_INIT;
    upstream_delivery_t small = {sizeof(size_t), 0, NULL, NULL, 0}, keyed = UPSTREAM_DELIVERY_INIT,
                        misnamed = UPSTREAM_DELIVERY_INIT;
    upstream_attempt_t *attempt = NULL;
    keyed.key = "k";
    keyed.key_len = 1;
    misnamed.payload_id = "two\nlines";
    (void)state;
    refused(upstream_create(NULL, NULL, &made, NULL));
    refused(upstream_create("file.conf", NULL, NULL, NULL));
    refused(upstream_create(NULL, NULL, NULL, &err));
    assert_non_null(err);
    upstream_error_free(err);
    refused(upstream_create_from_text(NULL, 3, "t", NULL, &made, NULL));
    refused(upstream_create_from_text(text, strlen(text), "t", NULL, NULL, NULL));
    assert_null(made);
    assert_status(upstream_create_from_text(text, strlen(text), NULL, NULL, &made, NULL),
                  UPSTREAM_OK);
    upstream_destroy(made);
    upstream_destroy(NULL);
    assert_null(upstream_name(NULL));
    assert_int_equal(upstream_node_count(NULL), 0);
    assert_null(upstream_node_at(NULL, 0));
    assert_null(upstream_node_by_name(NULL, "n"));
    assert_null(upstream_node_by_name(up, NULL));
    assert_null(upstream_next_node(NULL));
    refused(upstream_stats(NULL, &stats));
    refused(upstream_stats(up, NULL));
    stats.struct_size = 0;
    refused(upstream_stats(up, &stats));
    refused(upstream_deliver(NULL, send_nothing, NULL, 0, NULL));
    refused(upstream_deliver(up, NULL, NULL, 0, NULL));
    assert_status(upstream_deliver(up, send_nothing, NULL, 0, NULL), UPSTREAM_OK);
    refused(upstream_deliver_with(NULL, NULL, send_nothing, NULL, NULL));
    refused(upstream_deliver_with(up, NULL, NULL, NULL, NULL));
    refused(upstream_deliver_with(up, &small, send_nothing, NULL, NULL));
    refused(upstream_deliver_with(up, &keyed, send_nothing, NULL, NULL));
    refused(upstream_deliver_with(up, &misnamed, send_nothing, NULL, NULL));
    assert_status(upstream_deliver_with(up, NULL, send_nothing, NULL, NULL), UPSTREAM_OK);
    refused(upstream_attempt_begin_with(NULL, NULL, &attempt));
    refused(upstream_attempt_begin_with(up, NULL, NULL));
    refused(upstream_attempt_begin_with(up, &small, &attempt));
    assert_null(attempt);
    refused(upstream_attempt_connect(NULL, &conn, NULL));
    refused(upstream_attempt_connect_start(NULL, &conn, NULL));
    refused(upstream_attempt_report(NULL, UPSTREAM_OK));
    assert_null(upstream_attempt_payload_id(NULL));
    assert_status(upstream_attempt_begin(up, &attempt), UPSTREAM_OK);
    refused(upstream_attempt_connect(attempt, NULL, NULL));
    refused(upstream_attempt_connect_start(attempt, NULL, NULL));
    refused(upstream_attempt_report(attempt, UPSTREAM_OK)); /* it has no node */
    upstream_attempt_end(attempt, UPSTREAM_OK);
    assert_int_equal(upstream_error_may_have_arrived(NULL), 0);
}

static void node_calls(void **state)
{
    upstream_stats_t stats = UPSTREAM_STATS_INIT;
    const char *key = NULL, *value = NULL;
    (void)state;
    assert_null(upstream_node_name(NULL));
    assert_null(upstream_node_host(NULL));
    assert_int_equal(upstream_node_port(NULL), 0);
    assert_int_equal(upstream_node_tls(NULL), 0);
    assert_null(upstream_node_get_prop(NULL, "name"));
    assert_null(upstream_node_get_prop(node, NULL));
    assert_int_equal(upstream_node_get_prop_bool(NULL, "tls", 9), 9);
    assert_int_equal(upstream_node_get_prop_bool(node, NULL, 9), 9);
    assert_int_equal(upstream_node_get_prop_int(NULL, "port", 9), 9);
    assert_int_equal(upstream_node_get_prop_int(node, NULL, 9), 9);
    assert_int_equal(upstream_node_get_prop_ms(NULL, "port", 9), 9);
    assert_int_equal(upstream_node_get_prop_ms(node, NULL, 9), 9);
    assert_int_equal(upstream_node_get_prop_size(NULL, "port", 9), 9);
    assert_int_equal(upstream_node_get_prop_size(node, NULL, 9), 9);
    assert_int_equal(upstream_node_prop_count(NULL), 0);
    refused(upstream_node_prop_at(NULL, 0, &key, &value));
    refused(upstream_node_prop_at(node, 0, NULL, &value));
    refused(upstream_node_prop_at(node, 0, &key, NULL));
    assert_null(key);
    assert_null(value);
    refused(upstream_node_set_data(NULL, &stats, NULL));
    assert_status(upstream_node_set_data(node, NULL, NULL), UPSTREAM_OK);
    assert_null(upstream_node_get_data(NULL));
    refused(upstream_node_pause(NULL, 1));
    refused(upstream_node_report(NULL, UPSTREAM_OK));
    refused(upstream_node_report(node, 77));
    assert_status(upstream_node_report(node, UPSTREAM_ERR_TIMEOUT), UPSTREAM_OK);
    assert_int_equal(upstream_node_state(NULL), -1);
    refused(upstream_node_stats(NULL, &stats));
    refused(upstream_node_stats(node, NULL));
    refused(upstream_node_connect(NULL, &conn, NULL));
    refused(upstream_node_connect(node, NULL, NULL));
}

static void connection_calls(void **state)
{
    struct iovec empty = {NULL, 0}, broken = {NULL, 4}, good = {NULL, 1};
    struct iovec mixed[2];
    char buffer[4] = "abc";
    size_t got;
    (void)state;
    refused(upstream_connect(NULL, &conn, NULL));
    refused(upstream_connect(up, NULL, NULL));
    assert_status(upstream_conn_report(NULL, UPSTREAM_ERR_PROTOCOL, NULL), UPSTREAM_ERR_PROTOCOL);
    assert_status(upstream_conn_busy(NULL, 0, NULL), UPSTREAM_ERR_BUSY);
    assert_int_equal(upstream_conn_time_left_ms(NULL), -1);
    assert_null(upstream_conn_payload_id(NULL));
    refused(upstream_conn_read_until(NULL, buffer, 1, "\n", 1, &got));
    refused(upstream_conn_read_until(conn, NULL, 1, "\n", 1, &got));
    refused(upstream_conn_read_until(conn, buffer, 0, "\n", 1, &got));
    refused(upstream_conn_read_until(conn, buffer, 1, NULL, 1, &got));
    refused(upstream_conn_read_until(conn, buffer, 1, "\n", 0, &got));
    refused(upstream_conn_read_until(conn, buffer, 1, "\n", 1, NULL));
    refused(upstream_conn_write(NULL, buffer, 1));
    refused(upstream_conn_write(conn, NULL, 1));
    refused(upstream_conn_writev(NULL, &empty, 1));
    refused(upstream_conn_writev(conn, NULL, 1));
    refused(upstream_conn_writev(conn, &broken, 1));
    refused(upstream_conn_read(NULL, buffer, 1, &got));
    refused(upstream_conn_read(conn, NULL, 1, &got));
    refused(upstream_conn_read(conn, buffer, 0, &got));
    refused(upstream_conn_read(conn, buffer, 1, NULL));
    refused(upstream_conn_read_exact(NULL, buffer, 1));
    refused(upstream_conn_read_exact(conn, NULL, 1));
    refused(upstream_connect_start(NULL, &conn, NULL));
    refused(upstream_connect_start(up, NULL, NULL));
    refused(upstream_node_connect_start(NULL, &conn, NULL));
    refused(upstream_node_connect_start(node, NULL, NULL));
    refused(upstream_conn_connect_continue(NULL));
    refused(upstream_conn_try_write(NULL, buffer, 1, &got));
    refused(upstream_conn_try_write(conn, NULL, 1, &got));
    refused(upstream_conn_try_write(conn, buffer, 1, NULL));
    refused(upstream_conn_try_read(NULL, buffer, 1, &got));
    refused(upstream_conn_try_read(conn, NULL, 1, &got));
    refused(upstream_conn_try_read(conn, buffer, 0, &got));
    refused(upstream_conn_try_read(conn, buffer, 1, NULL));
    refused(upstream_conn_flush(NULL));
    assert_int_equal(upstream_conn_fd(NULL), -1);
    assert_int_equal(upstream_conn_poll_events(NULL), 0);
    assert_int_equal(upstream_conn_timeout_ms(NULL), -1);
    refused(upstream_conn_set_timeout_ms(NULL, 1));
    assert_null(upstream_conn_last_error(NULL));
    assert_null(upstream_conn_node(NULL));
    assert_int_equal(upstream_conn_reused(NULL), 0);
    assert_null(upstream_conn_tls_version(NULL));
    assert_null(upstream_conn_alpn(NULL));
    refused(upstream_conn_peer(NULL, buffer, sizeof(buffer)));
    refused(upstream_conn_peer(conn, NULL, 1));
    refused(upstream_conn_set_data(NULL, buffer, NULL));
    assert_status(upstream_conn_set_data(conn, NULL, NULL), UPSTREAM_OK);
    assert_null(upstream_conn_get_data(NULL));
    upstream_conn_release(NULL);
    upstream_conn_discard(NULL);
    /* After all the refusals the connection still works, also with empty parts. */
    good.iov_base = buffer;
    mixed[0] = empty;
    mixed[1] = good;
    assert_status(upstream_conn_writev(conn, mixed, 2), UPSTREAM_OK);
    assert_true(loopback_wait_bytes(server, 1));
}

/* A length that became negative, for example the result of a failed read() that nobody checked. */
static void lengths_beyond_all_memory(void **state)
{
    char byte = 'x';
    struct iovec part = {&byte, SIZE_MAX};
    upstream_t *other = NULL;
    upstream_error_t *err = NULL;
    size_t count;
    (void)state;
    refused(upstream_create_from_text(&byte, SIZE_MAX, NULL, NULL, &other, &err));
    assert_null(other);
    check_contains(upstream_error_message(err), "length");
    upstream_error_free(err);
    refused(upstream_conn_write(conn, &byte, SIZE_MAX));
    refused(upstream_conn_writev(conn, &part, 1));
    refused(upstream_conn_writev(conn, &part, SIZE_MAX));
    refused(upstream_conn_writev(conn, &part, SIZE_MAX / sizeof(part)));
    refused(upstream_conn_read(conn, &byte, SIZE_MAX, &count));
    refused(upstream_conn_read_exact(conn, &byte, SIZE_MAX));
    refused(upstream_conn_try_write(conn, &byte, SIZE_MAX, &count));
    refused(upstream_conn_try_read(conn, &byte, SIZE_MAX, &count));
    assert_status(upstream_conn_write(conn, &byte, 1), UPSTREAM_OK);
    assert_true(loopback_wait_bytes(server, 1));
}

static void names(void **state)
{
    (void)state;
    assert_string_equal(upstream_status_name(UPSTREAM_ERR_TIMEOUT), "UPSTREAM_ERR_TIMEOUT");
    assert_string_equal(upstream_status_name(UPSTREAM_OK), "UPSTREAM_OK");
    assert_string_equal(upstream_status_name(12345), "UPSTREAM_UNKNOWN");
    assert_string_equal(upstream_version(), UPSTREAM_VERSION_STRING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(errors, create, destroy),
        cmocka_unit_test_setup_teardown(option_calls, create, destroy),
        cmocka_unit_test_setup_teardown(set_calls, create, destroy),
        cmocka_unit_test_setup_teardown(node_calls, create, destroy),
        cmocka_unit_test_setup_teardown(connection_calls, create, destroy),
        cmocka_unit_test_setup_teardown(lengths_beyond_all_memory, create, destroy),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
