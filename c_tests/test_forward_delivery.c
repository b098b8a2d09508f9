/*
 * The Forward example over loopback: logins, acks and ids, connections that are used once, and each
 * node's form of a batch. What servers do wrong is in test_forward_traps.
 */
#include "support/check.h"
#include "support/forward_client.h"

/* A server asks for a login, and the client has no key. */
static void helo_instead_of_an_ack(void **state)
{
    (void)state;
    forward_script script = {.helo = HELO_GOOD, .ack = ACK_GOOD, .shared_key = "secret"};
    forward_server *server = forward_server_start(&script);
    upstream_t *up = forward_client_over(&server, 1, KEYS_ACK_PATIENT);
    forward_delivery d;

    assert_int_not_equal(forward_client_send(up, 1, &d), UPSTREAM_OK);
    assert_int_equal(d.status, UPSTREAM_ERR_PROTOCOL);
    assert_non_null(strstr(d.reason, "set shared_key"));
    upstream_destroy(up);
    forward_server_stop(server);
}

/* The second message is answered with the id of the first, which was acknowledged already. */
static void the_previous_ack_is_not_this_one(void **state)
{
    (void)state;
    forward_script script = {.helo = HELO_NONE, .ack = ACK_PREVIOUS, .connections = 1};
    forward_server *server = forward_server_start(&script);
    upstream_t *up = forward_client_over(&server, 1, KEYS_ACK_PATIENT);
    forward_delivery d;

    assert_int_equal(forward_client_send(up, 1, &d), UPSTREAM_OK);
    assert_int_not_equal(forward_client_send(up, 2, &d), UPSTREAM_OK);
    assert_int_equal(d.status, UPSTREAM_ERR_PROTOCOL);
    assert_non_null(strstr(d.reason, "another chunk"));
    assert_true(forward_server_all_dropped(server));
    assert_int_equal(forward_client_send(up, 3, &d), UPSTREAM_OK);
    assert_int_equal(forward_server_accepted(server), 2);
    upstream_destroy(up);
    forward_server_stop(server);
}

/* A well-behaved server: one connection and one login, whatever the pieces and types of its
 * answers. */
static void good_servers_are_understood(void **state)
{
    (void)state;
    static const forward_script scripts[] = {
        {.helo = HELO_GOOD, .pong = PONG_GOOD, .ack = ACK_GOOD, .shared_key = "secret"},
        {.helo = HELO_BYTEWISE, .pong = PONG_BYTEWISE, .ack = ACK_BYTEWISE, .shared_key = "secret"},
        {.helo = HELO_BIN, .pong = PONG_GOOD, .ack = ACK_BIN, .shared_key = "secret"},
        {.helo = HELO_NO_AUTH, .pong = PONG_GOOD, .ack = ACK_GOOD, .shared_key = "secret"},
        {.helo = HELO_AUTH,
         .ack = ACK_GOOD,
         .shared_key = "secret",
         .username = "me",
         .password = "pw"},
    };
    for (size_t i = 0; i < COUNT(scripts); i++) {
        forward_server *server = forward_server_start(&scripts[i]);
        upstream_t *up =
            forward_client_over(&server, 1,
                                KEYS_PATIENT "    require_ack_response on\n    username me\n"
                                             "    password pw\n");
        for (unsigned n = 0; n < 5; n++) {
            forward_delivery d;
            if (forward_client_send(up, n, &d) != UPSTREAM_OK) {
                fail_msg("script %zu: %s", i, d.reason);
            }
            assert_ptr_equal(d.node, upstream_node_at(up, 0));
            assert_int_equal(d.failures, 0);
            assert_string_equal(d.tls_version, "");
            assert_int_equal(forward_client_arrived(server, n), 1);
        }
        assert_int_equal(forward_server_accepted(server), 1);
        assert_int_equal(forward_server_logins(server), 1);
        for (unsigned n = 1; n < 5; n++) {
            assert_string_not_equal(forward_server_chunk(server, n),
                                    forward_server_chunk(server, n - 1));
        }
        upstream_destroy(up);
        forward_server_stop(server);
    }
}

/* Fluent Bit's server sends a salt for passwords although it has no users. The client can still log
 * in with the key alone. */
static void a_salt_asks_for_no_user(void **state)
{
    (void)state;
    static const forward_script script = {
        .helo = HELO_AUTH, .ack = ACK_GOOD, .shared_key = "secret"};
    forward_server *server = forward_server_start(&script);
    upstream_t *up = forward_client_over(&server, 1, KEYS_PATIENT "    require_ack_response on\n");
    forward_delivery d;
    if (forward_client_send(up, 1, &d) != UPSTREAM_OK) {
        fail_msg("%s", d.reason);
    }
    assert_int_equal(forward_server_logins(server), 1);
    assert_int_equal(forward_client_arrived(server, 1), 1);
    upstream_destroy(up);
    forward_server_stop(server);
}

static void wrong_credentials_are_refused(void **state)
{
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
        upstream_t *up = forward_client_over(&server, 1, cases[i].keys);
        forward_delivery d;
        assert_int_not_equal(forward_client_send(up, 1, &d), UPSTREAM_OK);
        assert_int_equal(d.status, UPSTREAM_ERR_PROTOCOL);
        assert_non_null(strstr(d.reason, "refused the login"));
        assert_true(forward_server_all_dropped(server));
        assert_int_equal(forward_server_logins(server), 0);
        assert_int_equal(forward_server_records(server), 0);
        upstream_destroy(up);
        forward_server_stop(server);
    }
}

static void the_empty_key_logs_in(void **state)
{
    (void)state;
    forward_script script = {.helo = HELO_GOOD, .shared_key = ""};
    forward_script with_user = {
        .helo = HELO_AUTH, .shared_key = "", .username = "me", .password = "pw"};
    forward_server *servers[2] = {forward_server_start(&script), forward_server_start(&with_user)};
    static const char *const keys[2] = {"    empty_shared_key on\n",
                                        "    username me\n    password pw\n"};
    for (int i = 0; i < 2; i++) {
        upstream_t *up = forward_client_over(&servers[i], 1, keys[i]);
        forward_delivery d;
        if (forward_client_send(up, 1, &d) != UPSTREAM_OK) {
            fail_msg("%s", d.reason);
        }
        upstream_destroy(up);
        assert_int_equal(forward_server_logins(servers[i]), 1);
        forward_server_stop(servers[i]);
    }
}

/* In both cases the message is delivered, and the connection may not carry another one. */
static void some_connections_are_used_once(void **state)
{
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
        upstream_t *up = forward_client_over(&server, 1, cases[i].keys);
        for (unsigned n = 0; n < 4; n++) {
            forward_delivery d;
            if (forward_client_send(up, n, &d) != UPSTREAM_OK) {
                fail_msg("case %zu, message %u: %s", i, n, d.reason);
            }
            assert_int_equal(forward_client_arrived(server, n), 1);
            assert_int_equal(forward_server_accepted(server), n + 1);
        }
        assert_int_equal(forward_server_stray(server), 0);
        upstream_destroy(up);
        forward_server_stop(server);
    }
}

/* A node that lost its ack got the chunk; the next one gets it under the same id. */
static void a_chunk_keeps_its_id_on_the_next_node(void **state)
{
    (void)state;
    forward_script silent = ACKING(ACK_SILENT), good = ACKING(ACK_GOOD);
    forward_server *servers[2] = {forward_server_start(&silent), forward_server_start(&good)};
    upstream_t *up = forward_client_over(servers, 2, KEYS_ACK);
    forward_delivery d;

    assert_int_equal(forward_client_send(up, 1, &d), UPSTREAM_OK);
    assert_int_equal(d.failures, 1);
    assert_int_equal(forward_server_messages(servers[0]), 1);
    assert_int_equal(forward_server_messages(servers[1]), 1);
    assert_string_equal(forward_server_chunk(servers[0], 0), forward_server_chunk(servers[1], 0));
    upstream_destroy(up);
    forward_server_stop(servers[0]);
    forward_server_stop(servers[1]);
}

/* One batch, sent to nodes that want it in four forms. */
static void each_node_gets_its_own_form(void **state)
{
    (void)state;
    forward_script none = ACKING(ACK_NONE), good = ACKING(ACK_GOOD);
    forward_server *servers[4];
    for (int i = 0; i < 4; i++) {
        servers[i] = forward_server_start(i == 3 ? &good : &none);
    }
    static const char *const keys[4] = {
        "",
        "    tag other\n    time_as_integer on\n",
        "    compress gzip\n",
        "    compress gzip\n    time_as_integer on\n    require_ack_response on\n",
    };
    upstream_t *up = forward_client_over_each(servers, 4, keys);
    forward_batch *b = forward_batch_create("tag");
    for (unsigned n = 0; n < 100; n++) {
        forward_client_fill(b, n);
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
        assert_int_equal(forward_client_arrived(servers[i], 0), 1);
        assert_int_equal(forward_client_arrived(servers[i], 99), 1);
        assert_string_equal(forward_server_tag(servers[i], 0), i == 1 ? "other" : "tag");
        assert_int_equal(forward_server_integer_times(servers[i], 0), i & 1);
        assert_int_equal(strlen(forward_server_chunk(servers[i], 0)),
                         i == 3 ? FORWARD_CHUNK_ID_LEN : 0);
    }
    upstream_destroy(up);
    for (int i = 0; i < 4; i++) {
        forward_server_stop(servers[i]);
    }
}

/* If the batch itself is wrong, no node is blamed, and no other node is tried. */
static void an_empty_batch_stops(void **state)
{
    (void)state;
    forward_script good = ACKING(ACK_GOOD);
    forward_server *servers[2] = {forward_server_start(&good), forward_server_start(&good)};
    upstream_t *up = forward_client_over(servers, 2, KEYS_ACK_PATIENT);
    forward_batch *b = forward_batch_create("tag");
    forward_delivery d = FORWARD_DELIVERY_INIT(b);

    assert_int_equal(upstream_deliver(up, forward_deliver_fn, &d, 0, NULL), UPSTREAM_STOP);
    assert_int_equal(d.status, UPSTREAM_ERR_INVALID_ARG);
    assert_string_not_equal(d.reason, "");
    assert_int_equal(d.failures, 0);
    upstream_stats_t stats = check_node_stats(upstream_node_at(up, 1));
    assert_int_equal(stats.connects, 0);
    forward_batch_destroy(b);
    upstream_destroy(up);
    forward_server_stop(servers[0]);
    forward_server_stop(servers[1]);
}

static unsigned told;

static void tell(const forward_delivery *d, const upstream_node_t *node, upstream_status_t status,
                 const char *reason)
{
    assert_string_equal(upstream_node_name(node), "node-1");
    assert_int_equal(status, UPSTREAM_ERR_PROTOCOL);
    assert_non_null(strstr(reason, "another chunk"));
    assert_ptr_equal(d->user, &told);
    told++;
}

static void each_failure_is_told(void **state)
{
    (void)state;
    forward_script wrong = ACKING(ACK_WRONG), good = ACKING(ACK_GOOD);
    forward_server *servers[2] = {forward_server_start(&wrong), forward_server_start(&good)};
    upstream_t *up = forward_client_over(servers, 2, KEYS_ACK_PATIENT);
    forward_batch *b = forward_batch_create("tag");
    forward_delivery d = FORWARD_DELIVERY_INIT(b);

    forward_client_fill(b, 1);
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

/*
 * Even a very long ack_timeout leaves the other nodes their share of the delivery. Two servers take
 * what comes and stay silent wherever an answer is due; the third gets the batch.
 */
static void silence_leaves_time_for_others(void **state)
{
    (void)state;
    static const struct {
        forward_script silent;
        const char *keys;
    } cases[] = {
        {{.helo = HELO_NONE, .ack = ACK_SILENT},
         "    require_ack_response on\n    ack_timeout 10m\n"},
        {{.helo = HELO_SILENT, .shared_key = "secret"},
         "    shared_key secret\n    ack_timeout 10m\n"},
        {{.helo = HELO_GOOD, .pong = PONG_SILENT, .shared_key = "secret"},
         "    shared_key secret\n    ack_timeout 10m\n"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        forward_script good = cases[i].silent;
        good.helo = good.helo == HELO_NONE ? HELO_NONE : HELO_GOOD;
        good.pong = PONG_GOOD;
        good.ack = good.helo == HELO_NONE ? ACK_GOOD : ACK_NONE;
        forward_server *servers[3] = {forward_server_start(&cases[i].silent),
                                      forward_server_start(&cases[i].silent),
                                      forward_server_start(&good)};
        upstream_t *up = forward_client_over(servers, 3, cases[i].keys);
        forward_batch *b = forward_batch_create("tag");
        forward_delivery d = FORWARD_DELIVERY_INIT(b);
        forward_client_fill(b, 1);
        if (upstream_deliver(up, forward_deliver_fn, &d, 4000, NULL) != UPSTREAM_OK) {
            fail_msg("case %zu: %s", i, d.reason);
        }
        assert_ptr_equal(d.node, upstream_node_at(up, 2));
        assert_int_equal(d.failures, 2);
        assert_true(forward_server_await(servers[2], 1));
        forward_batch_destroy(b);
        upstream_destroy(up);
        for (int n = 0; n < 3; n++) {
            forward_server_stop(servers[n]);
        }
    }
}

/* What the protocol finds wrong stands in the delivery's error, after the node's address, which is
 * there only once. */
static void the_words_stand_in_the_error(void **state)
{
    (void)state;
    forward_script wrong = ACKING(ACK_WRONG);
    forward_server *server = forward_server_start(&wrong);
    upstream_t *up = forward_client_over(&server, 1, KEYS_ACK_PATIENT);
    forward_batch *b = forward_batch_create("tag");
    forward_delivery d = FORWARD_DELIVERY_INIT(b);
    upstream_error_t *err = NULL;
    char address[32];

    forward_client_fill(b, 1);
    assert_int_equal(upstream_deliver(up, forward_deliver_fn, &d, 0, &err), UPSTREAM_ERR_PROTOCOL);
    const char *message = upstream_error_message(err);
    assert_non_null(strstr(message, "the server acknowledged another chunk"));
    snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)forward_server_port(server));
    assert_non_null(strstr(message, address));
    assert_null(strstr(strstr(message, address) + 1, address));
    assert_true(d.may_have_arrived);
    upstream_error_free(err);

    forward_batch_clear(b); /* nothing to send: given up, with this reason */
    d = (forward_delivery)FORWARD_DELIVERY_INIT(b);
    err = NULL;
    assert_int_equal(upstream_deliver(up, forward_deliver_fn, &d, 0, &err), UPSTREAM_STOP);
    assert_non_null(strstr(upstream_error_message(err), "the batch cannot be framed"));
    assert_false(d.may_have_arrived);
    upstream_error_free(err);
    forward_batch_destroy(b);
    upstream_destroy(up);
    forward_server_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(helo_instead_of_an_ack),
        cmocka_unit_test(the_previous_ack_is_not_this_one),
        cmocka_unit_test(good_servers_are_understood),
        cmocka_unit_test(a_salt_asks_for_no_user),
        cmocka_unit_test(wrong_credentials_are_refused),
        cmocka_unit_test(the_empty_key_logs_in),
        cmocka_unit_test(some_connections_are_used_once),
        cmocka_unit_test(a_chunk_keeps_its_id_on_the_next_node),
        cmocka_unit_test(each_node_gets_its_own_form),
        cmocka_unit_test(an_empty_batch_stops),
        cmocka_unit_test(each_failure_is_told),
        cmocka_unit_test(silence_leaves_time_for_others),
        cmocka_unit_test(the_words_stand_in_the_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
