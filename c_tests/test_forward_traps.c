/*
 * What a Forward server may do wrong, played by a scripted one over loopback. In each case: the client
 * says what went wrong, never uses that connection again, and with a second node every record arrives.
 */
#include "support/forward_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

typedef struct trap {
    const char *name;
    forward_script script;
    const char *keys;
    upstream_status_t status; /* that the callback gave */
    const char *reason;       /* found in its words */
    bool record_may_arrive;   /* the trap comes after the records were written */
} trap;

/* One node: the delivery fails, says why, and the next one comes on a connection of its own. */
static void trap_on_one_node(const trap *t) {
    forward_script script = t->script;
    script.connections = 1;
    forward_server *server = forward_server_start(&script);
    upstream_t *up = forward_client_over(&server, 1, t->keys);
    forward_delivery d;

    upstream_status_t status = forward_client_send(up, 1, &d);
    if (status == UPSTREAM_OK || d.status != t->status || strstr(d.reason, t->reason) == NULL || d.node != NULL) {
        fail_msg("%s: %d, %s, \"%s\"", t->name, status, upstream_status_name(d.status), d.reason);
    }
    assert_int_equal(d.failures, 1);
    assert_ptr_equal(d.failed, upstream_node_at(up, 0));
    assert_true(forward_server_all_dropped(server));
    assert_int_equal(forward_server_stray(server), 0);
    assert_int_equal(forward_client_arrived(server, 1), t->record_may_arrive ? 1 : 0);
    /* The server behaves from its second connection on. */
    assert_int_equal(forward_client_send(up, 2, &d), UPSTREAM_OK);
    assert_int_equal(forward_server_accepted(server), 2);
    upstream_destroy(up);
    forward_server_stop(server);
}

/* Two nodes, one of which always goes wrong: nobody sees an error, and every record arrives at the other. */
static void trap_on_one_of_two(const trap *t) {
    static const unsigned RECORDS = 6;
    forward_script good = t->script;
    good.helo = good.helo == HELO_NONE ? HELO_NONE : HELO_GOOD;
    good.pong = PONG_GOOD;
    good.ack = good.ack == ACK_NONE ? ACK_NONE : ACK_GOOD;
    forward_server *servers[2] = {forward_server_start(&t->script), forward_server_start(&good)};
    upstream_t *up = forward_client_over(servers, 2, t->keys);
    forward_delivery d;
    unsigned failures = 0;

    for (unsigned i = 0; i < RECORDS; i++) {
        if (forward_client_send(up, i, &d) != UPSTREAM_OK) {
            fail_msg("%s: %s", t->name, d.reason);
        }
        assert_ptr_equal(d.node, upstream_node_at(up, 1));
        failures += d.failures;
    }
    assert_true(failures >= 1);
    assert_true(forward_server_await(servers[1], RECORDS));
    for (unsigned i = 0; i < RECORDS; i++) {
        assert_int_equal(forward_client_arrived(servers[1], i), 1);
        assert_true(t->record_may_arrive || forward_client_arrived(servers[0], i) == 0);
    }
    assert_true(forward_server_all_dropped(servers[0]));
    assert_int_equal(forward_server_stray(servers[0]), 0);
    assert_int_equal(forward_server_accepted(servers[0]), failures);
    upstream_destroy(up);
    forward_server_stop(servers[0]);
    forward_server_stop(servers[1]);
}

static void run_traps(const trap *traps, size_t count) {
    for (size_t i = 0; i < count; i++) {
        print_message("    %s\n", traps[i].name);
        trap_on_one_node(&traps[i]);
        trap_on_one_of_two(&traps[i]);
    }
}

#define SECURED(helo_, pong_) {.helo = (helo_), .pong = (pong_), .ack = ACK_NONE, .shared_key = "secret"}

static void bad_helo(void **state) {
    (void)state;
    static const trap traps[] = {
        {"no HELO at all", SECURED(HELO_SILENT, PONG_GOOD), KEYS_SECURED,
         UPSTREAM_ERR_TIMEOUT, "HELO did not come", false},
        {"HELO with empty options", SECURED(HELO_EMPTY, PONG_GOOD), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "no nonce", false},
        {"HELO with nil as nonce", SECURED(HELO_NIL_NONCE, PONG_GOOD), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "no nonce", false},
        {"HELO without options", SECURED(HELO_NO_MAP, PONG_GOOD), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "is not [\"HELO\"", false},
        {"another word than HELO", SECURED(HELO_OTHER, PONG_GOOD), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "is not [\"HELO\"", false},
        {"HELO as a string", SECURED(HELO_STRING, PONG_GOOD), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "is not [\"HELO\"", false},
        {"keepalive as a string", SECURED(HELO_KEEPALIVE_TEXT, PONG_GOOD), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "keepalive", false},
        {"auth as a number", SECURED(HELO_AUTH_NUMBER, PONG_GOOD), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "auth", false},
        {"a byte behind HELO", SECURED(HELO_EXTRA, PONG_GOOD), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "unasked behind HELO", false},
        {"an array of 2^32 - 1 values", SECURED(HELO_HUGE, PONG_GOOD), KEYS_PATIENT,
         UPSTREAM_ERR_PROTOCOL, "no msgpack", false},
        {"a string without end", SECURED(HELO_ENDLESS, PONG_GOOD), KEYS_PATIENT,
         UPSTREAM_ERR_PROTOCOL, "no msgpack", false},
        {"a thousand arrays in each other", SECURED(HELO_DEEP, PONG_GOOD), KEYS_PATIENT,
         UPSTREAM_ERR_PROTOCOL, "nested", false},
        {"HTTP instead of Forward", SECURED(HELO_TEXT, PONG_GOOD), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "HELO", false},
        {"a user is asked for, none is set",
         {.helo = HELO_AUTH, .shared_key = "secret", .username = "me", .password = "pw"}, KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "set shared_key, username, password", false},
    };
    run_traps(traps, COUNT(traps));
}

static void bad_pong(void **state) {
    (void)state;
    static const trap traps[] = {
        {"no PONG at all", SECURED(HELO_GOOD, PONG_SILENT), KEYS_SECURED,
         UPSTREAM_ERR_TIMEOUT, "PONG did not come", false},
        {"login refused", SECURED(HELO_GOOD, PONG_REFUSED), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "\"shared_key?mismatch\"", false},
        {"a server without the key", SECURED(HELO_GOOD, PONG_WRONG_DIGEST), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "does not know the shared key", false},
        {"half a digest", SECURED(HELO_GOOD, PONG_SHORT_DIGEST), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "does not know the shared key", false},
        {"PONG without a digest", SECURED(HELO_GOOD, PONG_THREE), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "is not [\"PONG\"", false},
        {"PONG with \"true\" as text", SECURED(HELO_GOOD, PONG_TEXT_OK), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "is not [\"PONG\"", false},
        {"PONG with nil as digest", SECURED(HELO_GOOD, PONG_NIL_DIGEST), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "not strings", false},
        {"PING as answer to PING", SECURED(HELO_GOOD, PONG_OTHER), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "is not [\"PONG\"", false},
        {"a byte behind PONG", SECURED(HELO_GOOD, PONG_EXTRA), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "unasked behind PONG", false},
        {"EOF after PING", SECURED(HELO_GOOD, PONG_EOF), KEYS_PATIENT,
         UPSTREAM_ERR_CLOSED, "before PONG", false},
    };
    run_traps(traps, COUNT(traps));
}

static void bad_ack(void **state) {
    (void)state;
    static const trap traps[] = {
        {"no ack", ACKING(ACK_SILENT), KEYS_ACK,
         UPSTREAM_ERR_TIMEOUT, "the ack did not come", true},
        {"a late ack", ACKING(ACK_LATE), KEYS_ACK,
         UPSTREAM_ERR_TIMEOUT, "the ack did not come", true},
        {"the ack of a chunk never sent", ACKING(ACK_WRONG), KEYS_ACK_PATIENT,
         UPSTREAM_ERR_PROTOCOL, "another chunk", true},
        {"{\"nack\": id}", ACKING(ACK_OTHER), KEYS_ACK_PATIENT,
         UPSTREAM_ERR_PROTOCOL, "is not {\"ack\"", true},
        {"a number as ack", ACKING(ACK_NUMBER), KEYS_ACK_PATIENT,
         UPSTREAM_ERR_PROTOCOL, "another chunk", true},
        {"an array as ack", ACKING(ACK_ARRAY), KEYS_ACK_PATIENT,
         UPSTREAM_ERR_PROTOCOL, "is not {\"ack\"", true},
        {"half an ack, then EOF", ACKING(ACK_HALF), KEYS_ACK_PATIENT,
         UPSTREAM_ERR_CLOSED, "before the ack", true},
        {"EOF instead of an ack", ACKING(ACK_EOF), KEYS_ACK_PATIENT,
         UPSTREAM_ERR_CLOSED, "before the ack", true},
        {"an ack that trickles without end", ACKING(ACK_TRICKLE), KEYS_ACK,
         UPSTREAM_ERR_TIMEOUT, "the ack did not come", true},
    };
    run_traps(traps, COUNT(traps));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_helo),
        cmocka_unit_test(bad_pong),
        cmocka_unit_test(bad_ack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
