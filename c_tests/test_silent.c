/* A node that takes connections and does not answer: what shows that it is well again, and what it
 * costs while it is not. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/scripted.h"
#include "support/virtual.h"

#include <unistd.h>

/* Silent until it is out: because no answers come, not because the test reports it. */
static void fall_silent(upstream_t *up, size_t place)
{
    int i;
    for (i = 0; i < 10 && virtual_state(up, place) == UPSTREAM_NODE_UP; i++) {
        upstream_conn_t *conn = NULL;
        assert_status(upstream_node_connect(upstream_node_at(up, place), &conn, NULL), UPSTREAM_OK);
        assert_status(scripted_exchange(conn, NULL), UPSTREAM_ERR_TIMEOUT);
        upstream_conn_release(conn);
    }
    assert_int_equal(virtual_state(up, place), UPSTREAM_NODE_EJECTED);
}

enum proof {
    CONNECT_DISCARD,
    CONNECT_RELEASE,
    LOOP_DISCARD,
    CHECKED,
    AN_ANSWER,
    A_BUSY_ANSWER,
    A_STOP,
    PROOFS
};
static const char *const proofs[] = {
    "connect and discard", "connect and release", "connect_start and discard", "health.check tcp",
    "an answer",           "a busy answer",       "a verdict on the payload"};

static void connect_and_end(upstream_t *up, enum proof proof)
{
    upstream_conn_t *conn = NULL;
    upstream_status_t status;
    if (proof == LOOP_DISCARD) {
        status = upstream_connect_start(up, &conn, NULL);
        while (status == UPSTREAM_WANT_READ) {
            usleep(1000);
            status = upstream_conn_connect_continue(conn);
        }
    } else {
        status = upstream_connect(up, &conn, NULL);
    }
    assert_status(status, UPSTREAM_OK); /* the trial of the only node */
    if (proof == CONNECT_RELEASE) {
        upstream_conn_release(conn);
    } else {
        upstream_conn_discard(conn);
    }
}

static void a_connection_alone_does_not_bring_it_back_and_an_answer_does(void **state)
{
    int proof;
    (void)state;
    for (proof = 0; proof < PROOFS; proof++) {
        struct scripted *server = scripted_start(SCRIPTED_SILENT);
        uint16_t port = scripted_port(server);
        const char *keys = proof == CHECKED
                               ? "net.io_timeout 300ms\nhealth.backoff 1h\nhealth.backoff_max 1h\n"
                                 "health.check tcp\nhealth.interval 20ms"
                               : "net.io_timeout 300ms";
        upstream_t *up = virtual_nodes(&port, 1, keys);
        size_t before;
        int32_t now;
        fall_silent(up, 0);
        before = scripted_connections(server);
        if (proof != CHECKED) {
            virtual_now += 2 * VIRTUAL_SECOND;
        }
        switch (proof) {
        case CHECKED:
            while (scripted_connections(server) < before + 5) {
                usleep(10000);
            }
            break;
        case AN_ANSWER:
            scripted_behave(server, SCRIPTED_GOOD);
            scripted_deliver(up, NULL, 20000);
            break;
        case A_BUSY_ANSWER:
            scripted_behave(server, SCRIPTED_BUSY);
            scripted_deliver(up, NULL, 20000);
            virtual_now += 2 * VIRTUAL_SECOND;
            break;
        case A_STOP:
            scripted_behave(server, SCRIPTED_STOP);
            scripted_deliver(up, NULL, 20000);
            break;
        default:
            connect_and_end(up, (enum proof)proof);
        }
        now = virtual_state(up, 0);
        if ((now == UPSTREAM_NODE_UP) != (proof >= AN_ANSWER)) {
            fail_msg("by %s: state %d", proofs[proof], (int)now);
        }
        upstream_destroy(up);
        scripted_stop(server);
    }
}

/* A node that was ejected because it refused is well as soon as it accepts a connection: the rule
 * holds only for silent nodes. */
static void one_that_refused_is_back_by_a_connection(void **state)
{
    struct scripted *server = scripted_start(SCRIPTED_SILENT);
    uint16_t port = scripted_port(server);
    upstream_t *up = virtual_nodes(&port, 1, "");
    (void)state;
    virtual_report(up, 0, UPSTREAM_ERR_CONNECT);
    virtual_now += 2 * VIRTUAL_SECOND;
    connect_and_end(up, CONNECT_DISCARD);
    assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_UP);
    upstream_destroy(up);
    scripted_stop(server);
}

/* While it is still silent, each trial costs one payload some time and fails, and the backoff
 * grows. */
static void one_that_stays_silent_stays_out(void **state)
{
    struct scripted *servers[2];
    uint16_t ports[2];
    upstream_t *up;
    int round;
    (void)state;
    servers[0] = scripted_start(SCRIPTED_SILENT);
    servers[1] = scripted_start(SCRIPTED_GOOD);
    ports[0] = scripted_port(servers[0]);
    ports[1] = scripted_port(servers[1]);
    up = virtual_nodes(ports, 2, "net.io_timeout 500ms\nhealth.backoff_max 1h");
    fall_silent(up, 0);
    for (round = 0; round < 3; round++) {
        int64_t wait = upstream_node_retry_after_ms(upstream_node_at(up, 0));
        size_t asked = scripted_requests(servers[0]);
        int i;
        virtual_now += (uint64_t)wait * VIRTUAL_MS;
        /* each arrives; one of them has tried the silent node, which took its time */
        for (i = 0; i < 5; i++) {
            assert_status(scripted_deliver(up, NULL, 20000), UPSTREAM_OK);
        }
        assert_int_equal(scripted_requests(servers[0]), asked + 1);
        assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_EJECTED);
        assert_true(upstream_node_retry_after_ms(upstream_node_at(up, 0)) > wait);
    }
    scripted_behave(servers[0], SCRIPTED_GOOD);
    virtual_now += VIRTUAL_HOUR;
    assert_status(scripted_deliver(up, NULL, 20000), UPSTREAM_OK);
    assert_int_equal(virtual_state(up, 0), UPSTREAM_NODE_UP);
    upstream_destroy(up);
    scripted_stop_all(servers, 2);
}

/* If every node is out because it was silent, no node is asked, and no call waits. */
static void with_all_silent_a_delivery_returns_at_once(void **state)
{
    struct scripted *servers[3];
    uint16_t ports[3];
    upstream_t *up;
    upstream_error_t *err = NULL;
    upstream_attempt_t *attempt;
    upstream_conn_t *conn = NULL;
    struct scripted_payload payload = {0, 0, {NULL}};
    size_t i, asked;
    (void)state;
    scripted_start_all(servers, ports, 3, SCRIPTED_SILENT);
    up = virtual_nodes(ports, 3, "net.io_timeout 300ms\nhealth.backoff 1h\nhealth.backoff_max 1h");
    for (i = 0; i < 3; i++) {
        fall_silent(up, i);
    }
    asked = scripted_requests(servers[0]) + scripted_requests(servers[1]) +
            scripted_requests(servers[2]);
    for (i = 0; i < 50; i++) {
        assert_status(upstream_deliver(up, scripted_exchange, &payload, 0, &err),
                      UPSTREAM_ERR_NO_NODE);
        assert_int_equal(payload.calls, 0);
        assert_int_equal(upstream_error_may_have_arrived(err), 0);
        check_contains(upstream_error_message(err), "one may be back in ");
        upstream_error_free(err);
        err = NULL;
    }
    assert_true(upstream_retry_after_ms(up) > 0);
    assert_status(upstream_attempt_begin(up, &attempt), UPSTREAM_OK);
    assert_status(upstream_attempt_connect(attempt, &conn, NULL), UPSTREAM_ERR_NO_NODE);
    assert_null(upstream_attempt_next(attempt));
    upstream_attempt_end(attempt, UPSTREAM_ERR_NO_NODE);
    assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_ERR_NO_NODE);
    assert_int_equal(scripted_requests(servers[0]) + scripted_requests(servers[1]) +
                         scripted_requests(servers[2]),
                     asked);
    upstream_destroy(up);
    scripted_stop_all(servers, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_alone_does_not_bring_it_back_and_an_answer_does),
        cmocka_unit_test(one_that_refused_is_back_by_a_connection),
        cmocka_unit_test(one_that_stays_silent_stays_out),
        cmocka_unit_test(with_all_silent_a_delivery_returns_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
