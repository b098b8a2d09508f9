/* An attempt over the library's connections says whether its payload may have arrived. With
 * deliver.resend off such a payload goes to no other node. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/loopback.h"

/* An exchange that gets no answer, or half of one. Either the library sees how it ends, or the
 * plugin says so. */
static void fail_at(upstream_attempt_t *attempt, int said, size_t wanted)
{
    upstream_conn_t *conn = NULL;
    char back[16];
    assert_status(upstream_attempt_connect(attempt, &conn, NULL), UPSTREAM_OK);
    assert_status(upstream_conn_write(conn, "x", 1), UPSTREAM_OK);
    assert_true(upstream_conn_read_exact(conn, back, wanted) < 0);
    if (said) {
        upstream_conn_report(conn, UPSTREAM_ERR_TIMEOUT, "no answer");
    }
    upstream_conn_discard(conn);
}

static void try_two(const char *settings, enum loopback_behaviour behaviour, size_t wanted,
                    int said, int asked)
{
    struct loopback *servers[2] = {loopback_start(behaviour), loopback_start(behaviour)};
    char text[512];
    upstream_t *up;
    upstream_attempt_t *attempt;
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    upstream_status_t status;
    int i;
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\nnet.io_timeout 50ms\n%s\n[NODE]\nname a\nhost 127.0.0.1\n"
             "port %u\n[NODE]\nname b\nhost 127.0.0.1\nport %u\n",
             settings, (unsigned)loopback_port(servers[0]), (unsigned)loopback_port(servers[1]));
    up = check_create(text, NULL);
    assert_status(upstream_attempt_begin(up, &attempt), UPSTREAM_OK);
    for (i = 0; i < asked; i++) {
        fail_at(attempt, said, wanted);
    }
    status = upstream_attempt_connect(attempt, &conn, &err);
    assert_null(conn);
    assert_non_null(err);
    assert_int_equal(upstream_error_may_have_arrived(err), 1);
    if (asked == 1) {
        check_contains(upstream_error_message(err),
                       "the payload may have arrived, and deliver.resend is off");
        assert_string_not_equal(upstream_status_name(status), "UPSTREAM_ERR_NO_NODE");
    } else {
        assert_status(status, UPSTREAM_ERR_NO_NODE);
        check_contains(upstream_error_message(err), "a (127.0.0.1:");
        check_contains(upstream_error_message(err), "b (127.0.0.1:");
    }
    upstream_error_free(err);
    upstream_attempt_end(attempt, UPSTREAM_ERR_TIMEOUT);
    upstream_destroy(up);
    loopback_stop(servers[0]);
    loopback_stop(servers[1]);
}

static void what_may_have_arrived_is_said_at_the_end(void **state)
{
    (void)state;
    try_two("", LOOPBACK_SILENT, 1, 0, 2);
    try_two("", LOOPBACK_SILENT, 1, 1, 2);
    try_two("", LOOPBACK_CLOSE_AFTER, 2, 0, 2); /* half an answer is none */
}

static void with_resend_off_no_other_node_is_asked(void **state)
{
    (void)state;
    try_two("deliver.resend off", LOOPBACK_SILENT, 1, 0, 1);
    try_two("deliver.resend off", LOOPBACK_SILENT, 1, 1, 1);
    try_two("deliver.resend off", LOOPBACK_CLOSE_AFTER, 2, 0, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_may_have_arrived_is_said_at_the_end),
        cmocka_unit_test(with_resend_off_no_other_node_is_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
