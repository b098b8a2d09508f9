/*
 * What a Forward server may do wrong, played by a scripted one over loopback. In each case: the client
 * says what went wrong, never uses that connection again, and with a second node every record arrives.
 */
#include "../examples/forward/forward.h"
#include "support/forward_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define KEYS_SECURED "    shared_key secret\n    self_hostname client\n    ack_timeout 300ms\n"
#define KEYS_PATIENT "    shared_key secret\n    self_hostname client\n    ack_timeout 20s\n"
#define KEYS_ACK "    require_ack_response on\n    ack_timeout 300ms\n"
#define KEYS_ACK_PATIENT "    require_ack_response on\n    ack_timeout 20s\n"

/* A set over servers on loopback, each node with the same keys; a failing node stays in the rotation. */
static upstream_t *set_over(forward_server **servers, size_t count, const char *keys) {
    char text[2048];
    char message[FORWARD_REASON_MAX] = "no memory";
    upstream_t *up = NULL;
    upstream_error_t *err = NULL;
    size_t at = (size_t)snprintf(text, sizeof text, "[UPSTREAM]\n    name traps\n    health.max_fails 1000\n");

    for (size_t i = 0; i < count; i++) {
        at += (size_t)snprintf(text + at, sizeof text - at, "[NODE]\n    name node-%zu\n    host 127.0.0.1\n    port %u\n%s",
                               i + 1, (unsigned)forward_server_port(servers[i]), keys);
    }
    if (upstream_create_from_text(text, at, "traps", NULL, &up, &err) != UPSTREAM_OK) {
        fail_msg("%s", upstream_error_message(err));
    }
    if (forward_prepare(up, NULL, message, sizeof message) != UPSTREAM_OK) {
        fail_msg("%s", message);
    }
    return up;
}

static void fill(forward_batch *b, unsigned number) {
    char record[64];
    struct timespec now = {1700000000, 5};
    int len = snprintf(record, sizeof record, "\x81\xa3log\xab" "record %04u", number);
    assert_int_equal(len, 17);
    assert_int_equal(forward_batch_append(b, &now, record, (size_t)len), UPSTREAM_OK);
}

/* Delivers the one record "record NNNN" as a chunk of its own. */
static upstream_status_t deliver(upstream_t *up, unsigned number, forward_delivery *d) {
    forward_batch *b = forward_batch_create("tag");
    assert_non_null(b);
    fill(b, number);
    *d = (forward_delivery)FORWARD_DELIVERY_INIT(b);
    upstream_status_t status = upstream_deliver(up, forward_deliver_fn, d, 0, NULL);
    forward_batch_destroy(b);
    d->batch = NULL;
    return status;
}

static unsigned count_of(forward_server *s, unsigned number) {
    char text[16];
    snprintf(text, sizeof text, "record %04u", number);
    return forward_server_count(s, text);
}

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
    upstream_t *up = set_over(&server, 1, t->keys);
    forward_delivery d;

    upstream_status_t status = deliver(up, 1, &d);
    if (status == UPSTREAM_OK || d.status != t->status || strstr(d.reason, t->reason) == NULL || d.node != NULL) {
        fail_msg("%s: %d, %s, \"%s\"", t->name, status, upstream_status_name(d.status), d.reason);
    }
    assert_int_equal(d.failures, 1);
    assert_ptr_equal(d.failed, upstream_node_at(up, 0));
    assert_true(forward_server_all_dropped(server));
    assert_int_equal(forward_server_stray(server), 0);
    assert_int_equal(count_of(server, 1), t->record_may_arrive ? 1 : 0); /* the server has read all there was */
    assert_int_equal(deliver(up, 2, &d), UPSTREAM_OK); /* the server behaves from its second connection on */
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
    upstream_t *up = set_over(servers, 2, t->keys);
    forward_delivery d;
    unsigned failures = 0;

    for (unsigned i = 0; i < RECORDS; i++) {
        if (deliver(up, i, &d) != UPSTREAM_OK) {
            fail_msg("%s: %s", t->name, d.reason);
        }
        assert_ptr_equal(d.node, upstream_node_at(up, 1));
        failures += d.failures;
    }
    assert_true(failures >= 1);
    assert_true(forward_server_await(servers[1], RECORDS));
    for (unsigned i = 0; i < RECORDS; i++) {
        assert_int_equal(count_of(servers[1], i), 1);
        assert_true(t->record_may_arrive || count_of(servers[0], i) == 0);
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
#define ACKING(ack_) {.helo = HELO_NONE, .ack = (ack_)}
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void bad_helo(void **state) {
    (void)state;
    static const trap traps[] = {
        {"no HELO at all", SECURED(HELO_SILENT, PONG_GOOD), KEYS_SECURED, UPSTREAM_ERR_TIMEOUT, "HELO did not come", false},
        {"HELO with empty options", SECURED(HELO_EMPTY, PONG_GOOD), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL, "no nonce", false},
        {"HELO with nil as nonce", SECURED(HELO_NIL_NONCE, PONG_GOOD), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL, "no nonce", false},
        {"HELO without options", SECURED(HELO_NO_MAP, PONG_GOOD), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL, "is not [\"HELO\"", false},
        {"another word than HELO", SECURED(HELO_OTHER, PONG_GOOD), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL, "is not [\"HELO\"", false},
        {"HELO as a string", SECURED(HELO_STRING, PONG_GOOD), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL, "is not [\"HELO\"", false},
        {"keepalive as a string", SECURED(HELO_KEEPALIVE_TEXT, PONG_GOOD), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL, "keepalive", false},
        {"auth as a number", SECURED(HELO_AUTH_NUMBER, PONG_GOOD), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL, "auth", false},
        {"a byte behind HELO", SECURED(HELO_EXTRA, PONG_GOOD), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL, "unasked behind HELO", false},
        {"an array of 2^32 - 1 values", SECURED(HELO_HUGE, PONG_GOOD), KEYS_PATIENT, UPSTREAM_ERR_PROTOCOL, "no msgpack", false},
        {"a string without end", SECURED(HELO_ENDLESS, PONG_GOOD), KEYS_PATIENT, UPSTREAM_ERR_PROTOCOL, "no msgpack", false},
        {"a thousand arrays in each other", SECURED(HELO_DEEP, PONG_GOOD), KEYS_PATIENT, UPSTREAM_ERR_PROTOCOL, "nested", false},
        {"HTTP instead of Forward", SECURED(HELO_TEXT, PONG_GOOD), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL, "HELO", false},
        {"a user is asked for, none is set", SECURED(HELO_AUTH, PONG_GOOD), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL,
         "set username and password", false},
    };
    run_traps(traps, COUNT(traps));
}

static void bad_pong(void **state) {
    (void)state;
    static const trap traps[] = {
        {"no PONG at all", SECURED(HELO_GOOD, PONG_SILENT), KEYS_SECURED, UPSTREAM_ERR_TIMEOUT, "PONG did not come", false},
        {"login refused", SECURED(HELO_GOOD, PONG_REFUSED), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL, "\"shared_key?mismatch\"", false},
        {"a server without the key", SECURED(HELO_GOOD, PONG_WRONG_DIGEST), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL,
         "does not know the shared key", false},
        {"the client's own digest sent back", SECURED(HELO_GOOD, PONG_REFLECTED), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL,
         "set self_hostname", false},
        {"half a digest", SECURED(HELO_GOOD, PONG_SHORT_DIGEST), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL,
         "does not know the shared key", false},
        {"PONG without a digest", SECURED(HELO_GOOD, PONG_THREE), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL, "is not [\"PONG\"", false},
        {"PONG with \"true\" as text", SECURED(HELO_GOOD, PONG_TEXT_OK), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL, "is not [\"PONG\"", false},
        {"PONG with nil as digest", SECURED(HELO_GOOD, PONG_NIL_DIGEST), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL, "not strings", false},
        {"PING as answer to PING", SECURED(HELO_GOOD, PONG_OTHER), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL, "is not [\"PONG\"", false},
        {"a byte behind PONG", SECURED(HELO_GOOD, PONG_EXTRA), KEYS_SECURED, UPSTREAM_ERR_PROTOCOL, "unasked behind PONG", false},
        {"EOF after PING", SECURED(HELO_GOOD, PONG_EOF), KEYS_PATIENT, UPSTREAM_ERR_CLOSED, "before PONG", false},
    };
    run_traps(traps, COUNT(traps));
}

static void bad_ack(void **state) {
    (void)state;
    static const trap traps[] = {
        {"no ack", ACKING(ACK_SILENT), KEYS_ACK, UPSTREAM_ERR_TIMEOUT, "the ack did not come", true},
        {"a late ack", ACKING(ACK_LATE), KEYS_ACK, UPSTREAM_ERR_TIMEOUT, "the ack did not come", true},
        {"the ack of a chunk never sent", ACKING(ACK_WRONG), KEYS_ACK_PATIENT, UPSTREAM_ERR_PROTOCOL, "another chunk", true},
        {"{\"nack\": id}", ACKING(ACK_OTHER), KEYS_ACK_PATIENT, UPSTREAM_ERR_PROTOCOL, "is not {\"ack\"", true},
        {"a number as ack", ACKING(ACK_NUMBER), KEYS_ACK_PATIENT, UPSTREAM_ERR_PROTOCOL, "another chunk", true},
        {"an array as ack", ACKING(ACK_ARRAY), KEYS_ACK_PATIENT, UPSTREAM_ERR_PROTOCOL, "is not {\"ack\"", true},
        {"half an ack, then EOF", ACKING(ACK_HALF), KEYS_ACK_PATIENT, UPSTREAM_ERR_CLOSED, "before the ack", true},
        {"EOF instead of an ack", ACKING(ACK_EOF), KEYS_ACK_PATIENT, UPSTREAM_ERR_CLOSED, "before the ack", true},
        {"an ack that trickles without end", ACKING(ACK_TRICKLE), KEYS_ACK, UPSTREAM_ERR_TIMEOUT, "the ack did not come", true},
        {"HELO instead of an ack", {.helo = HELO_GOOD, .ack = ACK_GOOD, .shared_key = "secret"}, KEYS_ACK, UPSTREAM_ERR_PROTOCOL,
         "set shared_key", true},
    };
    run_traps(traps, COUNT(traps) - 1);

    /* The last one only on one node: a server that asks for a login does so on every connection. */
    const trap *t = &traps[COUNT(traps) - 1];
    forward_server *server = forward_server_start(&t->script);
    upstream_t *up = set_over(&server, 1, t->keys);
    forward_delivery d;
    assert_int_not_equal(deliver(up, 1, &d), UPSTREAM_OK);
    assert_int_equal(d.status, t->status);
    assert_non_null(strstr(d.reason, t->reason));
    upstream_destroy(up);
    forward_server_stop(server);
}

/* The second message is answered with the id of the first, which was acknowledged already. */
static void the_previous_ack_is_not_this_one(void **state) {
    (void)state;
    forward_script script = {.helo = HELO_NONE, .ack = ACK_PREVIOUS, .connections = 1};
    forward_server *server = forward_server_start(&script);
    upstream_t *up = set_over(&server, 1, KEYS_ACK_PATIENT);
    forward_delivery d;

    assert_int_equal(deliver(up, 1, &d), UPSTREAM_OK);
    assert_int_not_equal(deliver(up, 2, &d), UPSTREAM_OK);
    assert_int_equal(d.status, UPSTREAM_ERR_PROTOCOL);
    assert_non_null(strstr(d.reason, "another chunk"));
    assert_true(forward_server_all_dropped(server));
    assert_int_equal(deliver(up, 3, &d), UPSTREAM_OK);
    assert_int_equal(forward_server_accepted(server), 2);
    upstream_destroy(up);
    forward_server_stop(server);
}

/* A well-behaved server, whatever the pieces and types of its answers: one connection, one login. */
static void good_servers_are_understood(void **state) {
    (void)state;
    static const forward_script scripts[] = {
        {.helo = HELO_GOOD, .pong = PONG_GOOD, .ack = ACK_GOOD, .shared_key = "secret"},
        {.helo = HELO_BYTEWISE, .pong = PONG_BYTEWISE, .ack = ACK_BYTEWISE, .shared_key = "secret"},
        {.helo = HELO_BIN, .pong = PONG_GOOD, .ack = ACK_BIN, .shared_key = "secret"},
        {.helo = HELO_NO_AUTH, .pong = PONG_GOOD, .ack = ACK_GOOD, .shared_key = "secret"},
        {.helo = HELO_AUTH, .pong = PONG_GOOD, .ack = ACK_GOOD, .shared_key = "secret", .username = "me", .password = "pw"},
    };
    for (size_t i = 0; i < COUNT(scripts); i++) {
        forward_server *server = forward_server_start(&scripts[i]);
        upstream_t *up = set_over(&server, 1, KEYS_PATIENT "    require_ack_response on\n    username me\n    password pw\n");
        for (unsigned n = 0; n < 5; n++) {
            forward_delivery d;
            if (deliver(up, n, &d) != UPSTREAM_OK) {
                fail_msg("script %zu: %s", i, d.reason);
            }
            assert_ptr_equal(d.node, upstream_node_at(up, 0));
            assert_int_equal(d.failures, 0);
            assert_string_equal(d.tls_version, "");
            assert_int_equal(count_of(server, n), 1);
        }
        assert_int_equal(forward_server_accepted(server), 1);
        assert_int_equal(forward_server_logins(server), 1);
        for (unsigned n = 1; n < 5; n++) {
            assert_string_not_equal(forward_server_chunk(server, n), forward_server_chunk(server, n - 1));
        }
        upstream_destroy(up);
        forward_server_stop(server);
    }
}

static void wrong_credentials_are_refused(void **state) {
    (void)state;
    static const struct {
        forward_script script;
        const char *keys;
    } cases[] = {
        {{.helo = HELO_GOOD, .shared_key = "another"}, KEYS_PATIENT},
        {{.helo = HELO_GOOD, .shared_key = ""}, KEYS_PATIENT},
        {{.helo = HELO_GOOD, .shared_key = "secret"}, "    empty_shared_key on\n"},
        {{.helo = HELO_AUTH, .shared_key = "secret", .username = "me", .password = "pw"},
         KEYS_PATIENT "    username me\n    password wrong\n"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        forward_server *server = forward_server_start(&cases[i].script);
        upstream_t *up = set_over(&server, 1, cases[i].keys);
        forward_delivery d;
        assert_int_not_equal(deliver(up, 1, &d), UPSTREAM_OK);
        assert_int_equal(d.status, UPSTREAM_ERR_PROTOCOL);
        assert_non_null(strstr(d.reason, "refused the login"));
        assert_true(forward_server_all_dropped(server));
        assert_int_equal(forward_server_logins(server), 0);
        assert_int_equal(forward_server_records(server), 0);
        upstream_destroy(up);
        forward_server_stop(server);
    }
}

static void the_empty_key_logs_in(void **state) {
    (void)state;
    forward_script script = {.helo = HELO_GOOD, .shared_key = ""};
    forward_script with_user = {.helo = HELO_AUTH, .shared_key = "", .username = "me", .password = "pw"};
    forward_server *servers[2] = {forward_server_start(&script), forward_server_start(&with_user)};
    static const char *const keys[2] = {"    empty_shared_key on\n", "    username me\n    password pw\n"};
    for (int i = 0; i < 2; i++) {
        upstream_t *up = set_over(&servers[i], 1, keys[i]);
        forward_delivery d;
        if (deliver(up, 1, &d) != UPSTREAM_OK) {
            fail_msg("%s", d.reason);
        }
        upstream_destroy(up);
        assert_int_equal(forward_server_logins(servers[i]), 1);
        forward_server_stop(servers[i]);
    }
}

/* Both end well for the message, and neither connection may carry another. */
static void some_connections_are_used_once(void **state) {
    (void)state;
    static const struct {
        forward_script script;
        const char *keys;
    } cases[] = {
        {{.helo = HELO_NO_KEEPALIVE, .pong = PONG_GOOD, .ack = ACK_GOOD, .shared_key = "secret"},
         KEYS_PATIENT "    require_ack_response on\n"},
        {{.helo = HELO_NONE, .ack = ACK_TRAILING}, KEYS_ACK_PATIENT},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        forward_server *server = forward_server_start(&cases[i].script);
        upstream_t *up = set_over(&server, 1, cases[i].keys);
        for (unsigned n = 0; n < 4; n++) {
            forward_delivery d;
            if (deliver(up, n, &d) != UPSTREAM_OK) {
                fail_msg("case %zu, message %u: %s", i, n, d.reason);
            }
            assert_int_equal(count_of(server, n), 1);
            assert_int_equal(forward_server_accepted(server), n + 1);
        }
        assert_int_equal(forward_server_stray(server), 0);
        upstream_destroy(up);
        forward_server_stop(server);
    }
}

/* A node that lost its ack got the chunk; the next one gets it under the same id. */
static void a_chunk_keeps_its_id_on_the_next_node(void **state) {
    (void)state;
    forward_script silent = ACKING(ACK_SILENT), good = ACKING(ACK_GOOD);
    forward_server *servers[2] = {forward_server_start(&silent), forward_server_start(&good)};
    upstream_t *up = set_over(servers, 2, KEYS_ACK);
    forward_delivery d;

    assert_int_equal(deliver(up, 1, &d), UPSTREAM_OK);
    assert_int_equal(d.failures, 1);
    assert_int_equal(forward_server_messages(servers[0]), 1);
    assert_int_equal(forward_server_messages(servers[1]), 1);
    assert_string_equal(forward_server_chunk(servers[0], 0), forward_server_chunk(servers[1], 0));
    upstream_destroy(up);
    forward_server_stop(servers[0]);
    forward_server_stop(servers[1]);
}

static upstream_t *set_of_four(forward_server **servers) {
    static const char *const keys[4] = {"", "    tag other\n    time_as_integer on\n", "    compress gzip\n",
                                        "    compress gzip\n    time_as_integer on\n    require_ack_response on\n"};
    char text[2048], message[FORWARD_REASON_MAX] = "no memory";
    upstream_t *up = NULL;
    upstream_error_t *err = NULL;
    size_t at = (size_t)snprintf(text, sizeof text, "[UPSTREAM]\n    name four\n");
    for (int i = 0; i < 4; i++) {
        at += (size_t)snprintf(text + at, sizeof text - at, "[NODE]\n    name node-%d\n    host 127.0.0.1\n    port %u\n%s", i,
                               (unsigned)forward_server_port(servers[i]), keys[i]);
    }
    if (upstream_create_from_text(text, at, "four", NULL, &up, &err) != UPSTREAM_OK) {
        fail_msg("%s", upstream_error_message(err));
    }
    if (forward_prepare(up, NULL, message, sizeof message) != UPSTREAM_OK) {
        fail_msg("%s", message);
    }
    return up;
}

/* One batch, sent to nodes that want it in four forms. */
static void each_node_gets_its_own_form(void **state) {
    (void)state;
    forward_script none = ACKING(ACK_NONE), good = ACKING(ACK_GOOD);
    forward_server *servers[4];
    for (int i = 0; i < 4; i++) {
        servers[i] = forward_server_start(i == 3 ? &good : &none);
    }
    upstream_t *up = set_of_four(servers);
    forward_batch *b = forward_batch_create("tag");
    for (unsigned n = 0; n < 100; n++) {
        fill(b, n);
    }
    for (int i = 0; i < 4; i++) {
        forward_delivery d = FORWARD_DELIVERY_INIT(b);
        assert_int_equal(upstream_deliver(up, forward_deliver_fn, &d, 0, NULL), UPSTREAM_OK);
        assert_ptr_equal(d.node, upstream_node_at(up, (size_t)i));
    }
    forward_batch_destroy(b);
    for (int i = 0; i < 4; i++) {
        assert_true(forward_server_await(servers[i], 1));
        assert_int_equal(forward_server_records(servers[i]), 100);
        assert_int_equal(count_of(servers[i], 0), 1);
        assert_int_equal(count_of(servers[i], 99), 1);
        assert_string_equal(forward_server_tag(servers[i], 0), i == 1 ? "other" : "tag");
        assert_int_equal(forward_server_integer_times(servers[i], 0), i & 1);
        assert_int_equal(strlen(forward_server_chunk(servers[i], 0)), i == 3 ? FORWARD_CHUNK_ID_LEN : 0);
    }
    upstream_destroy(up);
    for (int i = 0; i < 4; i++) {
        forward_server_stop(servers[i]);
    }
}

/* What is wrong with the batch itself is not blamed on a node, and no other node is tried. */
static void an_empty_batch_stops(void **state) {
    (void)state;
    forward_script good = ACKING(ACK_GOOD);
    forward_server *servers[2] = {forward_server_start(&good), forward_server_start(&good)};
    upstream_t *up = set_over(servers, 2, KEYS_ACK_PATIENT);
    forward_batch *b = forward_batch_create("tag");
    forward_delivery d = FORWARD_DELIVERY_INIT(b);

    assert_int_equal(upstream_deliver(up, forward_deliver_fn, &d, 0, NULL), UPSTREAM_STOP);
    assert_int_equal(d.status, UPSTREAM_ERR_INVALID_ARG);
    assert_string_not_equal(d.reason, "");
    assert_int_equal(d.failures, 0);
    upstream_stats_t stats = UPSTREAM_STATS_INIT;
    assert_int_equal(upstream_node_stats(upstream_node_at(up, 1), &stats), UPSTREAM_OK);
    assert_int_equal(stats.connects, 0);
    forward_batch_destroy(b);
    upstream_destroy(up);
    forward_server_stop(servers[0]);
    forward_server_stop(servers[1]);
}

static unsigned told;

static void tell(const forward_delivery *d, const upstream_node_t *node, upstream_status_t status, const char *reason) {
    assert_string_equal(upstream_node_name(node), "node-1");
    assert_int_equal(status, UPSTREAM_ERR_PROTOCOL);
    assert_non_null(strstr(reason, "another chunk"));
    assert_ptr_equal(d->user, &told);
    told++;
}

static void each_failure_is_told(void **state) {
    (void)state;
    forward_script wrong = ACKING(ACK_WRONG), good = ACKING(ACK_GOOD);
    forward_server *servers[2] = {forward_server_start(&wrong), forward_server_start(&good)};
    upstream_t *up = set_over(servers, 2, KEYS_ACK_PATIENT);
    forward_batch *b = forward_batch_create("tag");
    forward_delivery d = FORWARD_DELIVERY_INIT(b);

    fill(b, 1);
    d.on_failure = tell;
    d.user = &told;
    told = 0;
    assert_int_equal(upstream_deliver(up, forward_deliver_fn, &d, 0, NULL), UPSTREAM_OK);
    assert_int_equal(told, 1);
    assert_int_equal(d.status, UPSTREAM_OK);
    assert_string_equal(upstream_node_name(d.failed), "node-1");
    assert_string_equal(upstream_node_name(d.node), "node-2");
    forward_batch_destroy(b);
    upstream_destroy(up);
    forward_server_stop(servers[0]);
    forward_server_stop(servers[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_servers_are_understood),
        cmocka_unit_test(bad_helo),
        cmocka_unit_test(bad_pong),
        cmocka_unit_test(bad_ack),
        cmocka_unit_test(the_previous_ack_is_not_this_one),
        cmocka_unit_test(wrong_credentials_are_refused),
        cmocka_unit_test(the_empty_key_logs_in),
        cmocka_unit_test(some_connections_are_used_once),
        cmocka_unit_test(a_chunk_keeps_its_id_on_the_next_node),
        cmocka_unit_test(each_node_gets_its_own_form),
        cmocka_unit_test(an_empty_batch_stops),
        cmocka_unit_test(each_failure_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
