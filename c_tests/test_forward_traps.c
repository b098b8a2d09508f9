/*
 * What a Forward server may do wrong, played by a scripted server over loopback. In each case the
 * client says what went wrong and never uses that connection again. With a second node every record
 * arrives.
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

/* One node: the delivery fails and says why, and the next one uses a new connection. */
static void trap_on_one_node(const trap *t)
{
    forward_script script = t->script;
    script.connections = 1;
    forward_server *server = forward_server_start(&script);
    upstream_t *up = forward_client_over(&server, 1, t->keys);
    forward_delivery d;

    upstream_status_t status = forward_client_send(up, 1, &d);
    if (status == UPSTREAM_OK || d.status != t->status || strstr(d.reason, t->reason) == NULL ||
        d.node != NULL) {
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

/* Two nodes, one of which always goes wrong: nobody sees an error, and every record arrives at the
 * other. */
static void trap_on_one_of_two(const trap *t)
{
    static const unsigned RECORDS = 6;
    forward_script good = t->script;
    good.helo = good.helo == HELO_NONE || good.helo == HELO_EOF ? HELO_NONE : HELO_GOOD;
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

static void run_traps(const trap *traps, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        print_message("    %s\n", traps[i].name);
        trap_on_one_node(&traps[i]);
        trap_on_one_of_two(&traps[i]);
    }
}

#define SECURED(helo_, pong_) \
    {.helo = (helo_), .pong = (pong_), .ack = ACK_NONE, .shared_key = "secret"}

static void bad_helo(void **state)
{
    (void)state;
    static const trap traps[] = {
        {"no HELO at all", SECURED(HELO_SILENT, PONG_GOOD), KEYS_SECURED, UPSTREAM_ERR_TIMEOUT,
         "HELO did not come", false},
        {"HELO with empty options", SECURED(HELO_EMPTY, PONG_GOOD), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "no nonce", false},
        {"HELO with nil as nonce", SECURED(HELO_NIL_NONCE, PONG_GOOD), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "no nonce", false},
        {"HELO with an empty nonce", SECURED(HELO_BLANK_NONCE, PONG_GOOD), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "no nonce", false},
        {"HELO without options", SECURED(HELO_NO_MAP, PONG_GOOD), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "is not [\"HELO\"", false},
        {"another word than HELO", SECURED(HELO_OTHER, PONG_GOOD), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "is not [\"HELO\"", false},
        {"HELO as a string", SECURED(HELO_STRING, PONG_GOOD), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL,
         "is not [\"HELO\"", false},
        {"keepalive as a string", SECURED(HELO_KEEPALIVE_TEXT, PONG_GOOD), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "keepalive", false},
        {"auth as a number", SECURED(HELO_AUTH_NUMBER, PONG_GOOD), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "auth", false},
        {"a byte behind HELO", SECURED(HELO_EXTRA, PONG_GOOD), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL,
         "unexpected bytes after HELO: 1", false},
        {"an array of 2^32 - 1 values", SECURED(HELO_HUGE, PONG_GOOD), KEYS_PATIENT,
         UPSTREAM_ERR_PROTOCOL, "something other than HELO", false},
        {"a string without end", SECURED(HELO_ENDLESS, PONG_GOOD), KEYS_PATIENT,
         UPSTREAM_ERR_PROTOCOL, "something other than HELO", false},
        {"a thousand arrays in each other", SECURED(HELO_DEEP, PONG_GOOD), KEYS_PATIENT,
         UPSTREAM_ERR_PROTOCOL, "nested", false},
        {"HTTP instead of Forward", SECURED(HELO_TEXT, PONG_GOOD), KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL, "HELO", false},
        {"a user is asked for, none is set",
         {.helo = HELO_AUTH, .shared_key = "secret", .username = "me", .password = "pw"},
         KEYS_SECURED,
         UPSTREAM_ERR_PROTOCOL,
         "set shared_key, username, password",
         false},
    };
    run_traps(traps, COUNT(traps));
}

static void bad_pong(void **state)
{
    (void)state;
    static const trap traps[] = {
        {"no PONG at all", SECURED(HELO_GOOD, PONG_SILENT), KEYS_SECURED, UPSTREAM_ERR_TIMEOUT,
         "PONG did not come", false},
        {"login refused", SECURED(HELO_GOOD, PONG_REFUSED), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL,
         "\"shared_key?mismatch\"", false},
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
        {"a byte behind PONG", SECURED(HELO_GOOD, PONG_EXTRA), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL,
         "unexpected bytes after PONG: 1", false},
        {"EOF after PING", SECURED(HELO_GOOD, PONG_EOF), KEYS_PATIENT, UPSTREAM_ERR_CLOSED,
         "before PONG", false},
    };
    run_traps(traps, COUNT(traps));
}

#define KEYS_UNNAMED "    shared_key secret\n    ack_timeout 20s\n"

/* Servers without the key: each answers with a proof that it made from what it read. */
static void attackers(void **state)
{
    (void)state;
    static const char lacks[] = "proof back, which does not prove";
    static const trap traps[] = {
        {"the client's name and proof, sent back", SECURED(HELO_GOOD, PONG_REFLECT), KEYS_PATIENT,
         UPSTREAM_ERR_PROTOCOL, "this client's own name \"client\"", false},
        {"the same to a client that draws its name", SECURED(HELO_GOOD, PONG_REFLECT), KEYS_UNNAMED,
         UPSTREAM_ERR_PROTOCOL, "this client's own name", false},
        {"the same as bin", SECURED(HELO_BIN, PONG_REFLECT), KEYS_PATIENT, UPSTREAM_ERR_PROTOCOL,
         "this client's own name", false},
        {"the proof under the name in other letters", SECURED(HELO_GOOD, PONG_REFLECT_CASE),
         KEYS_PATIENT, UPSTREAM_ERR_PROTOCOL, lacks, false},
        {"the proof under the name and a dot", SECURED(HELO_GOOD, PONG_REFLECT_DOT), KEYS_PATIENT,
         UPSTREAM_ERR_PROTOCOL, lacks, false},
        {"the proof under the name and a NUL", SECURED(HELO_GOOD, PONG_REFLECT_NUL), KEYS_PATIENT,
         UPSTREAM_ERR_PROTOCOL, lacks, false},
        {"the proof under no name", SECURED(HELO_GOOD, PONG_REFLECT_BLANK), KEYS_PATIENT,
         UPSTREAM_ERR_PROTOCOL, lacks, false},
        {"the proof under the name and the nonce", SECURED(HELO_GOOD, PONG_REFLECT_NONCE),
         KEYS_PATIENT, UPSTREAM_ERR_PROTOCOL, lacks, false},
        {"the proof under the attacker's name", SECURED(HELO_GOOD, PONG_REFLECT_OTHER),
         KEYS_PATIENT, UPSTREAM_ERR_PROTOCOL, lacks, false},
        {"a proof with the empty key", SECURED(HELO_GOOD, PONG_BLANK_KEY), KEYS_PATIENT,
         UPSTREAM_ERR_PROTOCOL, "does not know the shared key", false},
        {"the client's own name, with the key", SECURED(HELO_GOOD, PONG_NAMESAKE), KEYS_PATIENT,
         UPSTREAM_ERR_PROTOCOL, "set self_hostname", false},
    };
    run_traps(traps, COUNT(traps));
}

/* Somebody has recorded a whole login and plays the server's part again. It fails, because the salt
 * is new. */
static void a_recorded_login_is_worth_nothing(void **state)
{
    (void)state;
    forward_script script = {
        .helo = HELO_NO_KEEPALIVE, .pong = PONG_REPLAY, .shared_key = "secret"};
    forward_server *server = forward_server_start(&script);
    upstream_t *up = forward_client_over(&server, 1, KEYS_PATIENT);
    forward_delivery d;

    assert_int_equal(forward_client_send(up, 1, &d), UPSTREAM_OK); /* this is what is recorded */
    for (unsigned i = 2; i < 5; i++) {
        assert_int_not_equal(forward_client_send(up, i, &d), UPSTREAM_OK);
        assert_int_equal(d.status, UPSTREAM_ERR_PROTOCOL);
        assert_non_null(strstr(d.reason, "does not know the shared key"));
        assert_int_equal(forward_client_arrived(server, i), 0);
    }
    assert_true(forward_server_all_dropped(server));
    assert_int_equal(forward_server_stray(server), 0);
    upstream_destroy(up);
    forward_server_stop(server);
}

/* What a server says to a client without a key and without acks. The client notices it before it
 * writes one byte of a record. */
static void what_comes_before_the_first_record(void **state)
{
    (void)state;
    static const struct {
        helo_part helo;
        upstream_status_t status;
        const char *reason;
    } greetings[] = {
        {HELO_GOOD, UPSTREAM_ERR_PROTOCOL, "asks for a login; set shared_key"},
        {HELO_BYTEWISE, UPSTREAM_ERR_PROTOCOL, "asks for a login; set shared_key"},
        {HELO_TEXT, UPSTREAM_ERR_PROTOCOL, "is not HELO; is this a Forward server"},
        {HELO_EOF, UPSTREAM_ERR_CLOSED, "closed the connection before the records"},
    };
    enum { RECORDS = 6 };
    for (size_t i = 0; i < COUNT(greetings); i++) {
        forward_script odd = {.helo = greetings[i].helo, .shared_key = "secret"},
                       plain = ACKING(ACK_NONE);
        forward_server *servers[2] = {forward_server_start(&odd), forward_server_start(&plain)};
        upstream_t *up = forward_client_over(servers, 2, "");
        forward_delivery d;
        unsigned failures = 0;

        for (unsigned n = 0; n < RECORDS; n++) {
            assert_int_equal(forward_client_send(up, n, &d), UPSTREAM_OK);
            assert_ptr_equal(d.node, upstream_node_at(up, 1));
            failures += d.failures;
            if (d.failures > 0 && strstr(d.reason, greetings[i].reason) == NULL) {
                fail_msg("greeting %zu: %s", i, d.reason);
            }
        }
        assert_true(failures >= 1);
        assert_true(forward_server_await(servers[1], RECORDS));
        for (unsigned n = 0; n < RECORDS; n++) {
            assert_int_equal(forward_client_arrived(servers[1], n), 1);
        }
        assert_true(forward_server_all_dropped(servers[0]));
        assert_int_equal(forward_server_stray(servers[0]), 0);
        assert_int_equal(forward_server_records(servers[0]), 0);
        assert_int_equal(forward_server_accepted(servers[1]), 1); /* and what is good is kept */
        upstream_destroy(up);

        up = forward_client_over(servers, 1, "");
        assert_int_not_equal(forward_client_send(up, 9, &d), UPSTREAM_OK);
        assert_int_equal(d.status, greetings[i].status);
        assert_int_equal(forward_server_stray(servers[0]), 0);
        upstream_destroy(up);
        forward_server_stop(servers[0]);
        forward_server_stop(servers[1]);
    }
}

static void bad_ack(void **state)
{
    (void)state;
    static const trap traps[] = {
        {"no ack", ACKING(ACK_SILENT), KEYS_ACK, UPSTREAM_ERR_TIMEOUT, "the ack did not come",
         true},
        {"a late ack", ACKING(ACK_LATE), KEYS_ACK, UPSTREAM_ERR_TIMEOUT, "the ack did not come",
         true},
        {"the ack of a chunk never sent", ACKING(ACK_WRONG), KEYS_ACK_PATIENT,
         UPSTREAM_ERR_PROTOCOL, "another chunk", true},
        {"{\"nack\": id}", ACKING(ACK_OTHER), KEYS_ACK_PATIENT, UPSTREAM_ERR_PROTOCOL,
         "is not {\"ack\"", true},
        {"a number as ack", ACKING(ACK_NUMBER), KEYS_ACK_PATIENT, UPSTREAM_ERR_PROTOCOL,
         "another chunk", true},
        {"an array as ack", ACKING(ACK_ARRAY), KEYS_ACK_PATIENT, UPSTREAM_ERR_PROTOCOL,
         "is not {\"ack\"", true},
        {"half an ack, then EOF", ACKING(ACK_HALF), KEYS_ACK_PATIENT, UPSTREAM_ERR_CLOSED,
         "before the ack", true},
        {"EOF instead of an ack", ACKING(ACK_EOF), KEYS_ACK_PATIENT, UPSTREAM_ERR_CLOSED,
         "before the ack", true},
        {"an ack that trickles without end", ACKING(ACK_TRICKLE), KEYS_ACK, UPSTREAM_ERR_TIMEOUT,
         "the ack did not come", true},
    };
    run_traps(traps, COUNT(traps));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_helo),
        cmocka_unit_test(bad_pong),
        cmocka_unit_test(attackers),
        cmocka_unit_test(a_recorded_login_is_worth_nothing),
        cmocka_unit_test(what_comes_before_the_first_record),
        cmocka_unit_test(bad_ack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
