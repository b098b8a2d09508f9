/* What the library says about a payload: its id, its time, whether it may have arrived. And an
 * attempt's rules for its connections. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/event_loop.h"
#include "support/scripted.h"
#include "support/virtual.h"

#include <ctype.h>
#include <time.h>

/* A set of `count` servers that all behave in this way. */
struct bed {
    struct scripted *servers[3];
    uint16_t ports[3];
    size_t count;
    upstream_t *up;
};

static struct bed bed_of(size_t count, enum scripted_way way, const char *set_keys)
{
    struct bed bed;
    char *nodes, text[1024];
    bed.count = count;
    scripted_start_all(bed.servers, bed.ports, count, way);
    nodes = check_nodes_text(bed.ports, count, "");
    snprintf(text, sizeof(text), "[UPSTREAM]\nname p\n%s\n%s", set_keys, strstr(nodes, "[NODE]"));
    bed.up = check_create(text, NULL);
    free(nodes);
    return bed;
}

static void bed_end(struct bed *bed)
{
    upstream_destroy(bed->up);
    scripted_stop_all(bed->servers, bed->count);
}

/* ---- names ---- */

struct names {
    int calls;
    char of[8][80];
};

static void note(struct names *names, upstream_conn_t *conn)
{
    const char *id = upstream_conn_payload_id(conn);
    assert_non_null(id);
    assert_true(names->calls < 8);
    snprintf(names->of[names->calls++], sizeof(names->of[0]), "%s", id);
}

static upstream_status_t note_and_send(upstream_conn_t *conn, void *ctx)
{
    note(ctx, conn);
    return scripted_exchange(conn, NULL);
}

static void is_random(const char *id)
{
    size_t i;
    assert_int_equal(strlen(id), 32);
    for (i = 0; i < 32; i++) {
        assert_true(isdigit((unsigned char)id[i]) || (id[i] >= 'a' && id[i] <= 'f'));
    }
}

static void all_are(const struct names *names, int calls, const char *id)
{
    int i;
    assert_int_equal(names->calls, calls);
    for (i = 0; i < calls; i++) {
        assert_string_equal(names->of[i], id);
    }
}

static void a_payload_has_one_name_at_every_node(void **state)
{
    struct bed bed = bed_of(3, SCRIPTED_BAD, "");
    struct names first = {0, {{0}}}, second = {0, {{0}}}, own = {0, {{0}}};
    upstream_delivery_t how = UPSTREAM_DELIVERY_INIT;
    (void)state;
    upstream_deliver(bed.up, note_and_send, &first, 0, NULL);
    upstream_deliver(bed.up, note_and_send, &second, 0, NULL);
    is_random(first.of[0]);
    all_are(&first, 3, first.of[0]);
    all_are(&second, 3, second.of[0]);
    assert_string_not_equal(first.of[0], second.of[0]);
    how.payload_id = "chunk 17/a";
    upstream_deliver_with(bed.up, &how, note_and_send, &own, NULL);
    all_are(&own, 3, "chunk 17/a");
    bed_end(&bed);
}

/* Also over the new connection after a stale one. */
static void a_payload_keeps_its_name_when_its_connection_was_stale(void **state)
{
    struct bed bed = bed_of(1, SCRIPTED_GOOD, "");
    struct names names = {0, {{0}}};
    (void)state;
    assert_status(scripted_deliver(bed.up, NULL, 0), UPSTREAM_OK);
    scripted_behave(bed.servers[0], SCRIPTED_END);
    upstream_deliver(bed.up, note_and_send, &names, 0, NULL);
    assert_true(names.calls >= 2);
    all_are(&names, names.calls, names.of[0]);
    bed_end(&bed);
}

static void an_attempt_has_one_name(void **state)
{
    struct bed bed = bed_of(3, SCRIPTED_BAD, "");
    int in_loop, own;
    (void)state;
    for (in_loop = 0; in_loop < 2; in_loop++) {
        for (own = 0; own < 2; own++) {
            upstream_delivery_t how = UPSTREAM_DELIVERY_INIT;
            upstream_attempt_t *attempt;
            upstream_conn_t *conn = NULL;
            struct names names = {0, {{0}}};
            struct event_loop loop;
            char before[80] = "";
            how.payload_id = own ? "mine" : NULL;
            assert_status(upstream_attempt_begin_with(bed.up, &how, &attempt), UPSTREAM_OK);
            if (in_loop) { /* asked for before any connection, or after */
                snprintf(before, sizeof(before), "%s", upstream_attempt_payload_id(attempt));
            }
            event_loop_open(&loop, EVENT_LOOP_POLL);
            while (names.calls < 3) {
                upstream_status_t status =
                    in_loop ? upstream_attempt_connect_start(attempt, &conn, NULL)
                            : upstream_attempt_connect(attempt, &conn, NULL);
                assert_status(event_loop_connect(&loop, conn, status), UPSTREAM_OK);
                note(&names, conn);
                assert_status(scripted_exchange(conn, NULL), UPSTREAM_ERR_PROTOCOL);
                upstream_conn_release(conn);
            }
            event_loop_close(&loop);
            all_are(&names, 3, upstream_attempt_payload_id(attempt));
            assert_true(!in_loop || strcmp(before, names.of[0]) == 0);
            if (own) {
                assert_string_equal(names.of[0], "mine");
            } else {
                is_random(names.of[0]);
            }
            upstream_attempt_end(attempt, UPSTREAM_ERR_PROTOCOL);
        }
    }
    bed_end(&bed);
}

static void a_name_that_is_none_is_refused(void **state)
{
    static const char *const bad[] = {
        "", "new\nline", "caf\xc3\xa9",
        "12345678901234567890123456789012345678901234567890123456789012345"};
    struct bed bed = bed_of(1, SCRIPTED_GOOD, "");
    upstream_attempt_t *attempt = NULL;
    upstream_conn_t *conn = NULL;
    size_t i;
    (void)state;
    for (i = 0; i < 4; i++) {
        upstream_delivery_t how = UPSTREAM_DELIVERY_INIT;
        how.payload_id = bad[i];
        assert_status(upstream_deliver_with(bed.up, &how, scripted_exchange, NULL, NULL),
                      UPSTREAM_ERR_INVALID_ARG);
        assert_status(upstream_attempt_begin_with(bed.up, &how, &attempt),
                      UPSTREAM_ERR_INVALID_ARG);
        assert_null(attempt);
    }
    assert_int_equal(scripted_requests(bed.servers[0]), 0);
    assert_status(upstream_connect(bed.up, &conn, NULL), UPSTREAM_OK); /* serves no payload */
    assert_null(upstream_conn_payload_id(conn));
    assert_int_equal(upstream_conn_time_left_ms(conn), -1);
    upstream_conn_release(conn);
    bed_end(&bed);
}

/* ---- time ---- */

static upstream_status_t look_at_the_time(upstream_conn_t *conn, void *ctx)
{
    int64_t *left = ctx;
    left[0] = upstream_conn_time_left_ms(conn);
    upstream_conn_set_timeout_ms(conn, 1); /* a limit of the plugin does not change it */
    left[1] = upstream_conn_time_left_ms(conn);
    upstream_conn_set_timeout_ms(conn, 0);
    return scripted_exchange(conn, NULL);
}

static void a_connection_tells_the_time_that_its_payload_has_left(void **state)
{
    struct bed bed = bed_of(2, SCRIPTED_GOOD, "deliver.timeout 1h");
    upstream_delivery_t how = UPSTREAM_DELIVERY_INIT;
    upstream_attempt_t *attempt = check_attempt(bed.up);
    upstream_conn_t *conn = NULL;
    int64_t left[2];
    (void)state;
    assert_status(upstream_deliver(bed.up, look_at_the_time, left, 600 * 1000, NULL), UPSTREAM_OK);
    assert_in_range(left[0], 301 * 1000, 600 * 1000); /* all of it, not a node's share */
    assert_in_range(left[1], 301 * 1000, left[0]);
    assert_status(upstream_attempt_connect(attempt, &conn, NULL), UPSTREAM_OK);
    assert_in_range(upstream_conn_time_left_ms(conn), 1801 * 1000, 3600 * 1000);
    upstream_conn_release(conn);
    upstream_attempt_end(attempt, UPSTREAM_OK);
    how.timeout_ms = 100 * 1000;
    assert_status(upstream_attempt_begin_with(bed.up, &how, &attempt), UPSTREAM_OK);
    assert_status(upstream_attempt_connect(attempt, &conn, NULL), UPSTREAM_OK);
    assert_in_range(upstream_conn_time_left_ms(conn), 51 * 1000, 100 * 1000);
    upstream_conn_release(conn);
    upstream_attempt_end(attempt, UPSTREAM_OK);
    bed_end(&bed);
}

/* ---- an attempt and its connections ---- */

static void an_attempt_has_one_connection_at_a_time(void **state)
{
    struct bed bed = bed_of(2, SCRIPTED_GOOD, "");
    upstream_attempt_t *attempt = check_attempt(bed.up);
    upstream_conn_t *conn = NULL, *other = NULL;
    upstream_error_t *err = NULL;
    (void)state;
    assert_status(upstream_attempt_connect(attempt, &conn, NULL), UPSTREAM_OK);
    assert_status(upstream_attempt_connect(attempt, &other, &err), UPSTREAM_ERR_INVALID_ARG);
    check_contains(upstream_error_message(err), "release or discard it first");
    upstream_error_free(err);
    assert_status(upstream_attempt_connect_start(attempt, &other, NULL), UPSTREAM_ERR_INVALID_ARG);
    assert_null(other);
    upstream_conn_discard(conn);
    assert_int_not_equal(upstream_attempt_connect_start(attempt, &conn, NULL),
                         UPSTREAM_ERR_INVALID_ARG);
    /* under way */
    assert_status(upstream_attempt_connect(attempt, &other, NULL), UPSTREAM_ERR_INVALID_ARG);
    upstream_conn_discard(conn);
    upstream_attempt_end(attempt, UPSTREAM_ERR_CANCELLED);
    bed_end(&bed);
}

/* On the system's clock: it waits for the retry budget, and says that no node is left only if none
 * is. */
static void an_attempt_waits_for_the_retry_budget(void **state)
{
    int in_loop, i;
    (void)state;
    for (in_loop = 0; in_loop < 2; in_loop++) {
        struct bed bed = bed_of(2, SCRIPTED_BAD, "");
        for (i = 0; i < 25; i++) { /* the budget has 20 */
            upstream_attempt_t *attempt = check_attempt(bed.up);
            upstream_conn_t *conn = NULL;
            int had;
            for (had = 0; had < 2; had++) {
                upstream_status_t status =
                    in_loop ? upstream_attempt_connect_start(attempt, &conn, NULL)
                            : upstream_attempt_connect(attempt, &conn, NULL);
                while (status == UPSTREAM_WANT_READ) {
                    int64_t wait = upstream_conn_timeout_ms(conn);
                    struct timespec nap = {0, (wait < 5 ? 1 : 5) * 1000000L};
                    assert_true(wait >= 0);
                    nanosleep(&nap, NULL);
                    status = upstream_conn_connect_continue(conn);
                }
                assert_status(status, UPSTREAM_OK);
                assert_status(scripted_exchange(conn, NULL), UPSTREAM_ERR_PROTOCOL);
                upstream_conn_release(conn);
            }
            assert_status(upstream_attempt_connect(attempt, &conn, NULL), UPSTREAM_ERR_NO_NODE);
            upstream_attempt_end(attempt, UPSTREAM_ERR_PROTOCOL);
        }
        assert_int_equal(scripted_requests(bed.servers[0]) + scripted_requests(bed.servers[1]), 50);
        bed_end(&bed);
    }
}

/* While the clock stands still, the budget never fills: the time of the attempt ends it. */
static void an_attempt_ends_by_its_deadline(void **state)
{
    int in_loop;
    (void)state;
    for (in_loop = 0; in_loop < 2; in_loop++) {
        struct scripted *servers[2];
        uint16_t ports[2];
        upstream_t *up;
        upstream_status_t status = UPSTREAM_OK;
        int i;
        scripted_start_all(servers, ports, 2, SCRIPTED_BAD);
        up = virtual_nodes(ports, 2, "");
        for (i = 0; i < 30 && status == UPSTREAM_OK; i++) {
            upstream_delivery_t how = UPSTREAM_DELIVERY_INIT;
            upstream_attempt_t *attempt;
            upstream_conn_t *conn = NULL;
            int had;
            how.timeout_ms = i < 20 ? 20000 : 200;
            assert_status(upstream_attempt_begin_with(up, &how, &attempt), UPSTREAM_OK);
            for (had = 0; had < 2 && status == UPSTREAM_OK; had++) {
                conn = NULL;
                status = in_loop ? upstream_attempt_connect_start(attempt, &conn, NULL)
                                 : upstream_attempt_connect(attempt, &conn, NULL);
                while (status == UPSTREAM_WANT_READ) {
                    struct timespec nap = {0, 1000000};
                    nanosleep(&nap, NULL);
                    status = upstream_conn_connect_continue(conn);
                }
                if (status == UPSTREAM_OK) {
                    scripted_exchange(conn, NULL);
                }
                upstream_conn_release(conn);
            }
            upstream_attempt_end(attempt, UPSTREAM_ERR_PROTOCOL);
        }
        assert_status(status, UPSTREAM_ERR_TIMEOUT);
        assert_int_equal(i, 21);
        upstream_destroy(up);
        scripted_stop_all(servers, 2);
    }
}

/* ---- may have arrived ---- */

enum deed { NOTHING_SENT, AS_ANSWERED, READ_THEN_FAIL, HALF_READ };

static upstream_status_t do_deed(upstream_conn_t *conn, void *ctx)
{
    char half[2];
    switch (*(enum deed *)ctx) {
    case NOTHING_SENT:
        return UPSTREAM_ERR_PROTOCOL;
    case READ_THEN_FAIL: /* it has answered, whatever the plugin reports */
        scripted_exchange(conn, NULL);
        return UPSTREAM_ERR_IO;
    case HALF_READ: /* with silence in place of the rest */
        upstream_conn_write(conn, "send\n", 5);
        upstream_conn_read_exact(conn, half, sizeof(half));
        return UPSTREAM_ERR_TIMEOUT;
    default:
        return scripted_exchange(conn, NULL);
    }
}

static void what_may_have_arrived_is_told(void **state)
{
    static const struct {
        enum scripted_way way;
        enum deed deed;
        int refuse;  /* the last of the two nodes */
        int arrived; /* what the error says */
        upstream_status_t status;
    } rows[] = {
        {SCRIPTED_GOOD, NOTHING_SENT, 0, 0, UPSTREAM_ERR_PROTOCOL},
        {SCRIPTED_SILENT, AS_ANSWERED, 0, 1, UPSTREAM_ERR_TIMEOUT},
        {SCRIPTED_END, AS_ANSWERED, 0, 1, UPSTREAM_ERR_CLOSED},
        {SCRIPTED_RESET, AS_ANSWERED, 0, 1, UPSTREAM_ERR_NETWORK},
        {SCRIPTED_BAD, AS_ANSWERED, 0, 0, UPSTREAM_ERR_PROTOCOL},
        {SCRIPTED_GOOD, READ_THEN_FAIL, 0, 0, UPSTREAM_ERR_IO},
        {SCRIPTED_GOOD, HALF_READ, 0, 1, UPSTREAM_ERR_TIMEOUT},
        {SCRIPTED_BUSY, AS_ANSWERED, 0, 0, UPSTREAM_ERR_BUSY},
        {SCRIPTED_STOP, AS_ANSWERED, 0, 0, UPSTREAM_STOP},
        {SCRIPTED_SILENT, AS_ANSWERED, 1, 1,
         UPSTREAM_ERR_CONNECT}, /* the first of two is not forgotten */
        {SCRIPTED_BAD, AS_ANSWERED, 1, 0, UPSTREAM_ERR_CONNECT},
        {SCRIPTED_GOOD, NOTHING_SENT, 1, 0, UPSTREAM_ERR_CONNECT},
    };
    size_t row;
    int resend;
    (void)state;
    for (row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        for (resend = 0; resend < 2; resend++) {
            struct bed bed = bed_of(2, rows[row].way,
                                    resend ? "net.io_timeout 300ms\ndeliver.resend on"
                                           : "net.io_timeout 300ms\ndeliver.resend off");
            enum deed deed = rows[row].deed;
            upstream_error_t *err = NULL;
            upstream_status_t status;
            int is_final = !resend && rows[row].arrived; /* then nobody else is asked */
            if (rows[row].refuse) {
                scripted_refuse(bed.servers[1]);
            }
            status = upstream_deliver(bed.up, do_deed, &deed, 20000, &err);
            if (upstream_error_may_have_arrived(err) != rows[row].arrived) {
                fail_msg("row %zu, resend %d: %s", row, resend, upstream_error_message(err));
            }
            if (!is_final) {
                assert_status(status, rows[row].status);
            }
            if (is_final) {
                assert_int_equal(scripted_connections(bed.servers[1]), 0);
            }
            upstream_error_free(err);
            bed_end(&bed);
        }
    }
    assert_int_equal(upstream_error_may_have_arrived(NULL), 0);
}

/* The server ended a kept connection: what was sent on it may have arrived, although the new
 * connection was not even made. */
static void what_went_over_a_stale_connection_may_have_arrived(void **state)
{
    int resend;
    (void)state;
    for (resend = 0; resend < 2; resend++) {
        struct bed bed =
            bed_of(1, SCRIPTED_GOOD, resend ? "deliver.resend on" : "deliver.resend off");
        upstream_error_t *err = NULL;
        assert_status(scripted_deliver(bed.up, NULL, 0), UPSTREAM_OK);
        scripted_behave(bed.servers[0], SCRIPTED_END);
        assert_int_not_equal(upstream_deliver(bed.up, scripted_exchange, NULL, 20000, &err),
                             UPSTREAM_OK);
        assert_int_equal(upstream_error_may_have_arrived(err), 1);
        /* off: not even over a fresh one */
        assert_int_equal(scripted_requests(bed.servers[0]), resend ? 3 : 2);
        upstream_error_free(err);
        bed_end(&bed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_payload_has_one_name_at_every_node),
        cmocka_unit_test(a_payload_keeps_its_name_when_its_connection_was_stale),
        cmocka_unit_test(an_attempt_has_one_name),
        cmocka_unit_test(a_name_that_is_none_is_refused),
        cmocka_unit_test(a_connection_tells_the_time_that_its_payload_has_left),
        cmocka_unit_test(an_attempt_has_one_connection_at_a_time),
        cmocka_unit_test(an_attempt_waits_for_the_retry_budget),
        cmocka_unit_test(an_attempt_ends_by_its_deadline),
        cmocka_unit_test(what_may_have_arrived_is_told),
        cmocka_unit_test(what_went_over_a_stale_connection_may_have_arrived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
