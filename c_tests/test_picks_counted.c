/* The counter `picks` is exactly how often a node was handed out: the test counts each node that it
 * gets, in every way there is. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/event_loop.h"
#include "support/scripted.h"
#include "support/virtual.h"

enum { NODES = 6 };

/* Two primaries, one of which refuses, another that is bad; two reserves; one that is drained. */
struct bed {
    struct scripted *servers[NODES];
    upstream_t *up;
    uint64_t handed[NODES];
};

static void bed_open(struct bed *bed, const char *weights)
{
    uint16_t ports[NODES];
    char text[2048];
    size_t used = (size_t)snprintf(text, sizeof(text), "[UPSTREAM]\nname c\n"), i;
    memset(bed->handed, 0, sizeof(bed->handed));
    scripted_start_all(bed->servers, ports, NODES, SCRIPTED_GOOD);
    for (i = 0; i < NODES; i++) {
        used +=
            (size_t)snprintf(text + used, sizeof(text) - used,
                             "[NODE]\nname n%zu\nhost 127.0.0.1\nport %u\npriority %d\nweight %c\n",
                             i, (unsigned)ports[i], i < 3 ? 0 : 1, weights[i]);
    }
    bed->up = virtual_create(text, NULL, NULL);
}

static void bed_close(struct bed *bed)
{
    upstream_destroy(bed->up);
    scripted_stop_all(bed->servers, NODES);
}

static void had(struct bed *bed, const upstream_node_t *node)
{
    size_t i;
    for (i = 0; i < NODES && node != upstream_node_at(bed->up, i); i++) {
    }
    assert_true(i < NODES);
    bed->handed[i]++;
}

static void agrees(struct bed *bed, const char *when)
{
    uint64_t all = 0;
    size_t i;
    for (i = 0; i < NODES; i++) {
        uint64_t picks = check_node_stats(upstream_node_at(bed->up, i)).picks;
        if (picks != bed->handed[i]) {
            fail_msg("%s: node %zu: %llu picks, handed out %llu times", when, i,
                     (unsigned long long)picks, (unsigned long long)bed->handed[i]);
        }
        all += picks;
    }
    assert_int_equal(check_stats(bed->up).picks, all);
}

static void pick(struct bed *bed, int times)
{
    while (times-- > 0) {
        upstream_node_t *node = upstream_next_node(bed->up);
        if (node != NULL) {
            had(bed, node);
        }
    }
}

/* Asks for every node that an attempt gets; each fails. */
static void attempt(struct bed *bed, int times)
{
    while (times-- > 0) {
        upstream_attempt_t *attempt;
        upstream_node_t *node;
        assert_status(upstream_attempt_begin(bed->up, &attempt), UPSTREAM_OK);
        while ((node = upstream_attempt_next(attempt)) != NULL) {
            had(bed, node);
            upstream_attempt_report(attempt, UPSTREAM_STOP);
        }
        upstream_attempt_end(attempt, UPSTREAM_STOP);
        virtual_now += VIRTUAL_SECOND; /* the budget fills */
    }
}

/* Deliveries that fail everywhere. For a node that refuses, the test uses its count of failed
 * connects. */
static void deliver(struct bed *bed, int times)
{
    while (times-- > 0) {
        struct scripted_payload payload = {0, 0, {NULL}};
        uint64_t refused[NODES];
        size_t i;
        int call;
        for (i = 0; i < NODES; i++) {
            refused[i] = check_node_stats(upstream_node_at(bed->up, i)).connects_failed;
        }
        scripted_deliver(bed->up, &payload, 20000);
        for (call = 0; call < payload.calls; call++) {
            had(bed, payload.nodes[call]);
        }
        for (i = 0; i < NODES; i++) {
            bed->handed[i] +=
                check_node_stats(upstream_node_at(bed->up, i)).connects_failed - refused[i];
        }
        virtual_now += VIRTUAL_SECOND;
    }
}

/* The connections of an event loop and of upstream_connect(). */
static void connect_by(struct bed *bed, int in_loop, int times)
{
    while (times-- > 0) {
        upstream_conn_t *conn = NULL;
        struct event_loop loop;
        upstream_status_t status;
        event_loop_open(&loop, EVENT_LOOP_POLL);
        status = in_loop ? upstream_connect_start(bed->up, &conn, NULL)
                         : upstream_connect(bed->up, &conn, NULL);
        if (conn != NULL && event_loop_connect(&loop, conn, status) == UPSTREAM_OK) {
            had(bed, upstream_conn_node(conn));
        }
        upstream_conn_discard(conn);
        event_loop_close(&loop);
    }
}

static void everything(struct bed *bed, const char *when)
{
    pick(bed, 7);
    agrees(bed, when);
    attempt(bed, 3);
    agrees(bed, when);
    deliver(bed, 5);
    agrees(bed, when);
    pick(bed, 2);
    agrees(bed, when);
}

static void what_was_handed_out_is_what_is_counted(void **state)
{
    static const char *const weights[] = {"111110", "321210"};
    size_t row, i;
    (void)state;
    for (row = 0; row < 2; row++) {
        struct bed bed;
        bed_open(&bed, weights[row]);
        everything(&bed, "all well");
        for (i = 0; i < NODES; i++) {
            /* each payload meets them all: retries, reserves */
            scripted_behave(bed.servers[i], SCRIPTED_BAD);
        }
        everything(&bed, "all bad");
        virtual_report(bed.up, 0, UPSTREAM_ERR_CONNECT);
        everything(&bed, "one ejected");
        virtual_now += 60 * VIRTUAL_SECOND; /* a trial */
        everything(&bed, "one due");
        virtual_report(bed.up, 0, UPSTREAM_ERR_CONNECT);
        upstream_node_pause(upstream_node_at(bed.up, 1), 100 * 1000);
        everything(&bed, "one paused");
        /* the reserves are in use, or a trial is due */
        virtual_report(bed.up, 2, UPSTREAM_ERR_CONNECT);
        everything(&bed, "the reserves in use");
        scripted_refuse(bed.servers[0]);
        scripted_refuse(bed.servers[2]);
        virtual_report(bed.up, 3, UPSTREAM_ERR_CONNECT);
        virtual_report(bed.up, 4, UPSTREAM_ERR_CONNECT);
        pick(&bed, 5);
        agrees(&bed, "all out, picks");
        attempt(&bed, 2);
        agrees(&bed, "all out, attempts");
        assert_int_equal(bed.handed[5], 0);
        bed_close(&bed);
    }
}

static void connections_are_counted_where_they_lead(void **state)
{
    struct bed bed;
    int in_loop;
    (void)state;
    bed_open(&bed, "111110");
    for (in_loop = 0; in_loop < 2; in_loop++) {
        connect_by(&bed, in_loop, 10);
        agrees(&bed, "connections");
        virtual_report(bed.up, 0, UPSTREAM_ERR_CONNECT);
        virtual_now += 60 * VIRTUAL_SECOND;
        connect_by(&bed, in_loop, 10); /* its trial among them */
        agrees(&bed, "connections, and a trial");
        assert_int_equal(virtual_state(bed.up, 0), UPSTREAM_NODE_UP);
    }
    bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_handed_out_is_what_is_counted),
        cmocka_unit_test(connections_are_counted_where_they_lead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
