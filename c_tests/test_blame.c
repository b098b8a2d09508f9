/* Whose fault it is: a payload that fails in the same way at every node blames no node, and a late
 * report changes nothing. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/scripted.h"
#include "support/virtual.h"

#include <poll.h>

enum { NODES = 3 };

enum manner { DELIVER, CONNECT, CONNECT_LOOP, OWN_IO, MANNERS };
static const char *const manners[] = {"deliver", "attempt_connect", "attempt_connect_start",
                                      "attempt_next and _report"};

/* The three servers of a case, and what a plugin with its own I/O saw there. */
struct bed {
    struct scripted *servers[NODES];
    enum scripted_way ways[NODES];
    upstream_t *up;
};

static struct bed bed_of(const enum scripted_way *ways, size_t nodes, const char *more)
{
    struct bed bed;
    uint16_t ports[NODES];
    size_t i;
    memset(&bed, 0, sizeof(bed));
    for (i = 0; i < nodes; i++) {
        bed.servers[i] = scripted_start(ways[i]);
        bed.ways[i] = ways[i];
        ports[i] = scripted_port(bed.servers[i]);
    }
    bed.up = virtual_nodes(ports, nodes, more);
    return bed;
}

static void bed_end(struct bed *bed)
{
    size_t i;
    upstream_destroy(bed->up);
    for (i = 0; i < NODES && bed->servers[i] != NULL; i++) {
        scripted_stop(bed->servers[i]);
    }
}

/* What a plugin with its own I/O reports for such a server. */
static upstream_status_t seen(enum scripted_way way)
{
    static const upstream_status_t statuses[] = {
        [SCRIPTED_GOOD] = UPSTREAM_OK,
        [SCRIPTED_BAD] = UPSTREAM_ERR_PROTOCOL,
        [SCRIPTED_BUSY] = UPSTREAM_ERR_BUSY,
        [SCRIPTED_STOP] = UPSTREAM_STOP,
        [SCRIPTED_END] = UPSTREAM_ERR_CLOSED,
        [SCRIPTED_RESET] = UPSTREAM_ERR_NETWORK,
        [SCRIPTED_SILENT] = UPSTREAM_ERR_TIMEOUT,
    };
    return statuses[way];
}

static upstream_status_t by_own_io(struct bed *bed)
{
    upstream_attempt_t *attempt;
    upstream_node_t *node;
    upstream_status_t status = UPSTREAM_ERR_NO_NODE;
    size_t place;
    assert_status(upstream_attempt_begin(bed->up, &attempt), UPSTREAM_OK);
    while (status != UPSTREAM_OK && (node = upstream_attempt_next(attempt)) != NULL) {
        for (place = 0; node != upstream_node_at(bed->up, place); place++) {
        }
        status = seen(bed->ways[place]);
        assert_status(upstream_attempt_report(attempt, status), UPSTREAM_OK);
    }
    upstream_attempt_end(attempt, status);
    return status;
}

static upstream_status_t connected(upstream_conn_t *conn, upstream_status_t status)
{
    while (status == UPSTREAM_WANT_READ) {
        struct pollfd fd = {upstream_conn_fd(conn), POLLIN, 0};
        poll(&fd, fd.fd >= 0, (int)upstream_conn_timeout_ms(conn));
        status = upstream_conn_connect_continue(conn);
    }
    return status;
}

static upstream_status_t by_connections(struct bed *bed, enum manner manner)
{
    upstream_attempt_t *attempt;
    upstream_status_t status = UPSTREAM_ERR_NO_NODE;
    assert_status(upstream_attempt_begin(bed->up, &attempt), UPSTREAM_OK);
    while (status != UPSTREAM_OK) {
        upstream_conn_t *conn = NULL;
        upstream_status_t start = manner == CONNECT
                                      ? upstream_attempt_connect(attempt, &conn, NULL)
                                      : upstream_attempt_connect_start(attempt, &conn, NULL);
        if (conn == NULL || connected(conn, start) != UPSTREAM_OK) {
            upstream_conn_discard(conn);
            break;
        }
        status = scripted_exchange(conn, NULL);
        upstream_conn_release(conn);
    }
    upstream_attempt_end(attempt, status);
    return status;
}

static upstream_status_t send_by(enum manner manner, struct bed *bed)
{
    switch (manner) {
    case DELIVER:
        return scripted_deliver(bed->up, NULL, 0);
    case OWN_IO:
        return by_own_io(bed);
    default:
        return by_connections(bed, manner);
    }
}

/* One node after the other, as the states are read: "UEU". */
static const char *states_of(const struct bed *bed)
{
    static char states[NODES + 1];
    size_t i, nodes = upstream_node_count(bed->up);
    for (i = 0; i < nodes; i++) {
        states[i] = virtual_state(bed->up, i) == UPSTREAM_NODE_UP ? 'U' : 'E';
    }
    states[nodes] = '\0';
    return states;
}

static void a_payload_that_fails_alike_everywhere_blames_nobody(void **state)
{
    static const enum scripted_way ways[][NODES] = {
        {SCRIPTED_BAD, SCRIPTED_BAD, SCRIPTED_BAD},
        {SCRIPTED_END, SCRIPTED_END, SCRIPTED_END},
        {SCRIPTED_RESET, SCRIPTED_RESET, SCRIPTED_RESET},
        {SCRIPTED_END, SCRIPTED_RESET, SCRIPTED_END}, /* both are an end of the connection */
    };
    static const char *const limits[] = {"health.max_fails 1", "health.max_fails 3"};
    size_t row, limit;
    int manner, payload;
    (void)state;
    for (row = 0; row < sizeof(ways) / sizeof(ways[0]); row++) {
        for (limit = 0; limit < 2; limit++) {
            for (manner = 0; manner < MANNERS; manner++) {
                struct bed bed = bed_of(ways[row], NODES, limits[limit]);
                for (payload = 0; payload < 4; payload++) {
                    assert_int_not_equal(send_by((enum manner)manner, &bed), UPSTREAM_OK);
                    if (strcmp(states_of(&bed), "UUU") != 0) {
                        fail_msg("row %zu, %s, %s, payload %d: %s", row, limits[limit],
                                 manners[manner], payload, states_of(&bed));
                    }
                }
                /* Each payload met each node; otherwise the test would prove nothing. */
                if (manner != OWN_IO) {
                    assert_int_equal(scripted_requests(bed.servers[0]), 4);
                    assert_int_equal(scripted_requests(bed.servers[2]), 4);
                }
                assert_int_equal(check_stats(bed.up).ejections, 0);
                bed_end(&bed);
            }
        }
    }
}

#define ONE "health.max_fails 1"
#define FEW_MS "health.max_fails 1\nnet.io_timeout 60ms"

/* If something shows that the payload is not at fault, or leaves it open, each failure counts for
 * its own node. */
static void what_differs_somewhere_is_blamed(void **state)
{
    static const struct {
        enum scripted_way ways[NODES];
        size_t nodes;
        const char *more, *states;
    } rows[] = {
        {{SCRIPTED_BAD, SCRIPTED_BAD, SCRIPTED_GOOD}, 3, ONE, "EEU"},
        {{SCRIPTED_END, SCRIPTED_END, SCRIPTED_GOOD}, 3, ONE, "EEU"},
        {{SCRIPTED_RESET, SCRIPTED_END, SCRIPTED_GOOD}, 3, ONE, "EEU"},
        {{SCRIPTED_BAD, SCRIPTED_SILENT, SCRIPTED_BAD}, 3, FEW_MS, "EEE"},
        {{SCRIPTED_SILENT, SCRIPTED_RESET, SCRIPTED_RESET}, 3, FEW_MS, "EEE"},
        {{SCRIPTED_SILENT, SCRIPTED_SILENT, SCRIPTED_SILENT},
         3,
         FEW_MS,
         "EEE"}, /* silence is no verdict on a payload */
        {{SCRIPTED_BAD, SCRIPTED_END}, 2, ONE, "EE"},
        {{SCRIPTED_BAD}, 1, ONE, "E"}, /* one node alone says nothing about the payload */
        {{SCRIPTED_END}, 1, ONE, "E"},
        {{SCRIPTED_RESET}, 1, ONE, "E"},
    };
    size_t row;
    int manner;
    (void)state;
    for (row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        for (manner = 0; manner < MANNERS; manner++) {
            struct bed bed = bed_of(rows[row].ways, rows[row].nodes, rows[row].more);
            send_by((enum manner)manner, &bed);
            if (strcmp(states_of(&bed), rows[row].states) != 0) {
                fail_msg("row %zu, %s: %s in place of %s", row, manners[manner], states_of(&bed),
                         rows[row].states);
            }
            bed_end(&bed);
        }
    }
}

/* A node that refuses was not reached. Only one node was, so that node is blamed. */
static void a_node_that_was_not_reached_says_nothing_of_the_payload(void **state)
{
    static const enum scripted_way ways[NODES] = {SCRIPTED_BAD, SCRIPTED_BAD, SCRIPTED_BAD};
    int manner;
    (void)state;
    for (manner = 0; manner < OWN_IO; manner++) {
        struct bed bed = bed_of(ways, NODES, "health.max_fails 1");
        scripted_refuse(bed.servers[1]);
        scripted_refuse(bed.servers[2]);
        send_by((enum manner)manner, &bed);
        assert_string_equal(states_of(&bed), "EEE");
        assert_int_equal(check_node_stats(upstream_node_at(bed.up, 0)).ejections, 1);
        bed_end(&bed);
    }
}

/* ---- late reports ---- */

static const uint16_t nowhere[NODES] = {43000, 43001, 43002};

/* An attempt at the first node, begun now. */
static upstream_attempt_t *attempt_at_the_first(upstream_t *up)
{
    upstream_attempt_t *attempt;
    assert_status(upstream_attempt_begin(up, &attempt), UPSTREAM_OK);
    while (upstream_attempt_next(attempt) != upstream_node_at(up, 0)) {
        assert_status(upstream_attempt_report(attempt, UPSTREAM_OK), UPSTREAM_OK);
    }
    return attempt;
}

/* Reports the outcome of an attempt late, in one of the two ways. */
static void tell(upstream_attempt_t *attempt, upstream_status_t outcome, int by_report)
{
    if (by_report) {
        assert_status(upstream_attempt_report(attempt, outcome), UPSTREAM_OK);
        outcome = UPSTREAM_OK;
    }
    upstream_attempt_end(attempt, outcome);
}

static void a_late_success_restores_nobody(void **state)
{
    static const upstream_status_t words[] = {UPSTREAM_OK, UPSTREAM_STOP, UPSTREAM_ERR_BUSY};
    size_t word;
    int by_report;
    (void)state;
    for (word = 0; word < 3; word++) {
        for (by_report = 0; by_report < 2; by_report++) {
            upstream_t *up = virtual_nodes(nowhere, NODES, "");
            upstream_attempt_t *early = attempt_at_the_first(up);
            virtual_report(up, 0, UPSTREAM_ERR_CONNECT);
            tell(early, words[word], by_report);
            assert_true(upstream_node_retry_after_ms(upstream_node_at(up, 0)) > 0);
            assert_int_not_equal(virtual_state(up, 0), UPSTREAM_NODE_UP);
            assert_int_equal(check_stats(up).ejections, 1);
            upstream_destroy(up);
        }
    }
}

static void a_late_failure_ejects_no_node_that_came_back_meanwhile(void **state)
{
    static const upstream_status_t words[] = {UPSTREAM_ERR_CONNECT, UPSTREAM_ERR_PROTOCOL,
                                              UPSTREAM_ERR_TIMEOUT, UPSTREAM_ERR_TLS};
    size_t word;
    int by_report;
    (void)state;
    for (word = 0; word < 4; word++) {
        for (by_report = 0; by_report < 2; by_report++) {
            upstream_t *up = virtual_nodes(nowhere, NODES, "health.max_fails 1");
            upstream_attempt_t *early = attempt_at_the_first(up);
            virtual_report(up, 0, UPSTREAM_ERR_CONNECT);
            virtual_now += 2 * VIRTUAL_SECOND;
            upstream_attempt_end(attempt_at_the_first(up), UPSTREAM_OK); /* the trial */
            assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_UP);
            tell(early, words[word], by_report);
            assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_UP);
            assert_int_equal(check_stats(up).ejections, 1);
            upstream_destroy(up);
        }
    }
}

static void a_late_report_does_not_end_anothers_trial(void **state)
{
    static const upstream_status_t words[] = {UPSTREAM_OK, UPSTREAM_ERR_CONNECT,
                                              UPSTREAM_ERR_PROTOCOL};
    size_t word;
    (void)state;
    for (word = 0; word < 3; word++) {
        upstream_t *up = virtual_nodes(nowhere, NODES, "health.max_fails 1");
        upstream_attempt_t *early = attempt_at_the_first(up), *trial;
        virtual_report(up, 0, UPSTREAM_ERR_CONNECT);
        virtual_now += 2 * VIRTUAL_SECOND;
        trial = attempt_at_the_first(up);
        assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_PROBING);
        upstream_attempt_end(early, words[word]);
        assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_PROBING);
        upstream_attempt_end(trial, UPSTREAM_OK);
        assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_UP);
        upstream_destroy(up);
    }
}

/* The same with connections: one that was handed out before the ejection ends after it. */
static void what_a_connection_tells_late_changes_nothing(void **state)
{
    static const enum scripted_way ways[] = {SCRIPTED_GOOD, SCRIPTED_BAD, SCRIPTED_END,
                                             SCRIPTED_RESET, SCRIPTED_BUSY};
    size_t way;
    int is_back;
    (void)state;
    for (way = 0; way < sizeof(ways) / sizeof(ways[0]); way++) {
        for (is_back = 0; is_back < 2; is_back++) {
            struct bed bed = bed_of(&ways[way], 1, "health.max_fails 1");
            upstream_conn_t *conn = NULL, *other = NULL;
            int32_t expected = is_back ? UPSTREAM_NODE_UP : UPSTREAM_NODE_EJECTED;
            assert_status(upstream_node_connect(upstream_node_at(bed.up, 0), &conn, NULL),
                          UPSTREAM_OK);
            assert_status(upstream_node_connect(upstream_node_at(bed.up, 0), &other, NULL),
                          UPSTREAM_OK);
            assert_status(upstream_conn_report(other, UPSTREAM_ERR_CONNECT, NULL),
                          UPSTREAM_ERR_CONNECT);
            upstream_conn_discard(other);
            assert_int_equal(virtual_state(bed.up, 0), UPSTREAM_NODE_EJECTED);
            if (is_back) {
                virtual_now += 2 * VIRTUAL_SECOND;
                upstream_attempt_end(attempt_at_the_first(bed.up), UPSTREAM_OK);
                assert_int_equal(virtual_state(bed.up, 0), UPSTREAM_NODE_UP);
            }
            scripted_exchange(conn, NULL);
            upstream_conn_release(conn);
            if (ways[way] == SCRIPTED_BUSY) {
                virtual_now += 1; /* a pause is always heard; the ejection goes on under it */
                assert_int_equal(virtual_state(bed.up, 0), UPSTREAM_NODE_PAUSED);
            } else {
                assert_int_equal(virtual_state(bed.up, 0), expected);
            }
            assert_int_equal(check_stats(bed.up).ejections, 1);
            bed_end(&bed);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_payload_that_fails_alike_everywhere_blames_nobody),
        cmocka_unit_test(what_differs_somewhere_is_blamed),
        cmocka_unit_test(a_node_that_was_not_reached_says_nothing_of_the_payload),
        cmocka_unit_test(a_late_success_restores_nobody),
        cmocka_unit_test(a_late_failure_ejects_no_node_that_came_back_meanwhile),
        cmocka_unit_test(a_late_report_does_not_end_anothers_trial),
        cmocka_unit_test(what_a_connection_tells_late_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
