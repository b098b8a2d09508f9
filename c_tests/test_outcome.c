/*
 * One outcome per exchange: a table of each way to use a connection, each thing that may happen on
 * it and each way to end it, and what that says about the node. The test reads the outcome from the
 * breaker: the node had one failure before, and is ejected at the third.
 */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/loopback.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

/* The outcome that the breaker got. */
enum told { SUCCESS, NOTHING, FAILURE, TWICE };

enum way { BLOCKING, EVENT_LOOP, ATTEMPT, ATTEMPT_LOOP, DELIVER, WAYS };
static const char *const ways[] = {"blocking", "event loop", "attempt", "attempt in a loop",
                                   "deliver"};

enum happening { ANSWER, END, RESET, SILENCE, SENT, HAPPENINGS };
static const char *const happenings[] = {"an answer", "EOF in place of one", "a reset", "a timeout",
                                         "bytes only sent"};
static const enum loopback_behaviour servers[] = {LOOPBACK_ECHO, LOOPBACK_CLOSE, LOOPBACK_RESET,
                                                  LOOPBACK_SILENT, LOOPBACK_SINK};

enum ending { RELEASE, DISCARD };

/* How the plugin reports: not at all; through the connection or the node while it has the
 * connection; through the node afterwards. */
enum word { NO_WORD, BY_CONN, BY_NODE, AFTER };

static upstream_node_t *node;

/* The I/O of one exchange, and what a plugin would report. */
static upstream_status_t converse(upstream_conn_t *conn, enum happening happening)
{
    char back[8];
    size_t got;
    upstream_status_t status = UPSTREAM_OK;
    if (happening != END) {
        status = upstream_conn_write(conn, "ping", 4);
    }
    if (status == UPSTREAM_OK && happening != SENT) {
        status = upstream_conn_read(conn, back, sizeof(back), &got);
    }
    return status;
}

static void speak(upstream_conn_t *conn, enum word word)
{
    if (word == BY_CONN) {
        assert_status(upstream_conn_report(conn, UPSTREAM_ERR_PROTOCOL, "HTTP 502"),
                      UPSTREAM_ERR_PROTOCOL);
    } else if (word == BY_NODE) {
        assert_status(upstream_node_report(node, UPSTREAM_ERR_PROTOCOL), UPSTREAM_OK);
    }
}

struct exchange {
    enum happening happening;
    enum ending ending;
    enum word word;
};

static upstream_status_t deliver_exchange(upstream_conn_t *conn, void *ctx)
{
    const struct exchange *exchange = ctx;
    upstream_status_t status = converse(conn, exchange->happening);
    speak(conn, exchange->word);
    if (exchange->ending == DISCARD) {
        upstream_conn_discard(conn);
    }
    return exchange->word == NO_WORD ? status : UPSTREAM_ERR_PROTOCOL;
}

static upstream_conn_t *ready(upstream_conn_t *conn)
{
    while (upstream_conn_connect_continue(conn) == UPSTREAM_WANT_READ) {
        struct pollfd fd = {upstream_conn_fd(conn), POLLIN, 0};
        poll(&fd, 1, (int)upstream_conn_timeout_ms(conn));
    }
    return conn;
}

static void exchange_by(enum way way, upstream_t *up, struct exchange *exchange)
{
    upstream_conn_t *conn = NULL;
    upstream_attempt_t *attempt = NULL;
    if (way == DELIVER) {
        upstream_deliver(up, deliver_exchange, exchange, 0, NULL);
        return;
    }
    if (way == ATTEMPT || way == ATTEMPT_LOOP) {
        assert_status(upstream_attempt_begin(up, &attempt), UPSTREAM_OK);
    }
    switch (way) {
    case BLOCKING:
        assert_status(upstream_node_connect(node, &conn, NULL), UPSTREAM_OK);
        break;
    case EVENT_LOOP:
        upstream_connect_start(up, &conn, NULL);
        break;
    case ATTEMPT:
        assert_status(upstream_attempt_connect(attempt, &conn, NULL), UPSTREAM_OK);
        break;
    default:
        upstream_attempt_connect_start(attempt, &conn, NULL);
    }
    assert_non_null(conn);
    converse(ready(conn), exchange->happening);
    speak(conn, exchange->word);
    if (exchange->ending == RELEASE) {
        upstream_conn_release(conn);
    } else {
        upstream_conn_discard(conn);
    }
    if (attempt != NULL) {
        /* A number that is no outcome says nothing. */
        upstream_attempt_end(attempt,
                             exchange->word == AFTER ? UPSTREAM_ERR_PROTOCOL : UPSTREAM_WANT_READ);
    } else if (exchange->word == AFTER) {
        upstream_node_report(node, UPSTREAM_ERR_PROTOCOL);
    }
}

static enum told told_by(enum way way, struct exchange exchange)
{
    struct loopback *server = loopback_start(servers[exchange.happening]);
    uint16_t port = loopback_port(server);
    upstream_t *up = check_nodes(&port, 1,
                                 "health.max_fails 3\nhealth.backoff 1h\n"
                                 "health.backoff_max 1h\nnet.io_timeout 60ms");
    int more = 0;
    node = upstream_node_at(up, 0);
    upstream_node_report(node, UPSTREAM_ERR_PROTOCOL);
    exchange_by(way, up, &exchange);
    while (upstream_node_state(node) == UPSTREAM_NODE_UP) {
        /* a report on the node alone might be taken for one about the exchange */
        upstream_attempt_t *failing = NULL;
        assert_status(upstream_attempt_begin(up, &failing), UPSTREAM_OK);
        assert_non_null(upstream_attempt_next(failing));
        upstream_attempt_end(failing, UPSTREAM_ERR_PROTOCOL);
        more++;
    }
    upstream_destroy(up);
    loopback_stop(server);
    assert_in_range(more, 0, 3);
    return (enum told)(3 - more);
}

static void the_table_holds(void **state)
{
    static const struct {
        struct exchange exchange;
        enum told told, by_deliver;
    } rows[] = {
        {{ANSWER, RELEASE, NO_WORD}, SUCCESS, SUCCESS},
        {{ANSWER, DISCARD, NO_WORD}, NOTHING, SUCCESS}, /* a callback's UPSTREAM_OK is its word */
        {{END, RELEASE, NO_WORD}, FAILURE, FAILURE},
        {{END, DISCARD, NO_WORD}, FAILURE, FAILURE},
        {{RESET, RELEASE, NO_WORD}, FAILURE, FAILURE},
        {{RESET, DISCARD, NO_WORD}, FAILURE, FAILURE},
        {{SILENCE, RELEASE, NO_WORD}, FAILURE, FAILURE},
        {{SILENCE, DISCARD, NO_WORD}, FAILURE, FAILURE},
        {{SENT, RELEASE, NO_WORD}, NOTHING, SUCCESS},
        {{SENT, DISCARD, NO_WORD}, NOTHING, SUCCESS},
    };
    size_t row;
    int way;
    (void)state;
    for (row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        for (way = 0; way < WAYS; way++) {
            enum told told = told_by((enum way)way, rows[row].exchange);
            enum told expected = way == DELIVER ? rows[row].by_deliver : rows[row].told;
            if (told != expected) {
                fail_msg("%s, %s, %s: told %d, expected %d", ways[way],
                         happenings[rows[row].exchange.happening],
                         rows[row].exchange.ending == RELEASE ? "release" : "discard", told,
                         expected);
            }
        }
    }
}

/* The plugin's report wins and counts once, whatever happened and however the exchange ends. */
static void the_plugins_word_counts_once(void **state)
{
    int way, happening, ending, word;
    (void)state;
    for (way = 0; way < WAYS; way++) {
        for (happening = 0; happening < HAPPENINGS; happening++) {
            for (ending = RELEASE; ending <= DISCARD; ending++) {
                for (word = BY_CONN; word <= BY_NODE; word++) {
                    struct exchange exchange = {(enum happening)happening, (enum ending)ending,
                                                (enum word)word};
                    enum told told = told_by((enum way)way, exchange);
                    if (told != FAILURE) {
                        fail_msg("%s, %s, %s, said by the %s: told %d", ways[way],
                                 happenings[happening], ending == RELEASE ? "release" : "discard",
                                 word == BY_CONN ? "connection" : "node", told);
                    }
                }
            }
        }
    }
}

/* Reported at the end of an attempt, after its connection was given back. */
static void the_end_of_an_attempt_is_a_word(void **state)
{
    int way, happening, ending;
    (void)state;
    for (way = ATTEMPT; way <= ATTEMPT_LOOP; way++) {
        for (happening = 0; happening < HAPPENINGS; happening++) {
            for (ending = RELEASE; ending <= DISCARD; ending++) {
                struct exchange exchange = {(enum happening)happening, (enum ending)ending, AFTER};
                assert_int_equal(told_by((enum way)way, exchange), FAILURE);
            }
        }
    }
}

/* A discard says nothing, so the plugin's later report on the node is the only failure. */
static void a_word_after_the_discard_is_the_one_failure(void **state)
{
    struct exchange exchange = {ANSWER, DISCARD, AFTER};
    (void)state;
    assert_int_equal(told_by(BLOCKING, exchange), FAILURE);
    assert_int_equal(told_by(EVENT_LOOP, exchange), FAILURE);
}

/* A plugin gets a node from an attempt and connects to the node itself: the report through the
 * attempt counts, before or after the connection is given back. */
static void an_attempt_speaks_for_the_connection_to_its_node(void **state)
{
    int happening, order;
    (void)state;
    for (happening = 0; happening < HAPPENINGS; happening++) {
        for (order = 0; order < 3; order++) {
            struct loopback *server = loopback_start(servers[happening]);
            uint16_t port = loopback_port(server);
            upstream_t *up = check_nodes(&port, 1,
                                         "health.backoff 1h\nhealth.backoff_max 1h\n"
                                         "net.io_timeout 60ms");
            int i;
            for (i = 0; i < 3; i++) {
                upstream_attempt_t *attempt = NULL;
                upstream_conn_t *conn = NULL;
                assert_int_equal(upstream_node_state(upstream_node_at(up, 0)), UPSTREAM_NODE_UP);
                assert_status(upstream_attempt_begin(up, &attempt), UPSTREAM_OK);
                assert_status(upstream_node_connect(upstream_attempt_next(attempt), &conn, NULL),
                              UPSTREAM_OK);
                converse(conn, (enum happening)happening);
                if (order == 0) {
                    upstream_conn_release(conn);
                }
                if (order == 1) {
                    upstream_attempt_report(attempt, UPSTREAM_ERR_PROTOCOL);
                    upstream_conn_release(conn);
                }
                upstream_attempt_end(attempt, UPSTREAM_ERR_PROTOCOL);
                if (order == 2) {
                    upstream_conn_release(conn);
                }
            }
            if (upstream_node_state(upstream_node_at(up, 0)) != UPSTREAM_NODE_EJECTED) {
                fail_msg("%s, order %d: three failures do not eject", happenings[happening], order);
            }
            loopback_stop(server);
            upstream_destroy(up);
        }
    }
}

/* A connection that outlives its attempt, or is made after the attempt has ended, counts on its
 * own. */
static void a_connection_that_outlives_its_attempt_is_told_of(void **state)
{
    int late;
    (void)state;
    for (late = 0; late < 2; late++) {
        struct loopback *server = loopback_start(LOOPBACK_CLOSE);
        uint16_t port = loopback_port(server);
        upstream_t *up = check_nodes(&port, 1, "health.max_fails 1");
        upstream_attempt_t *attempt = NULL;
        upstream_conn_t *conn = NULL;
        assert_status(upstream_attempt_begin(up, &attempt), UPSTREAM_OK);
        assert_status(upstream_attempt_connect_start(attempt, &conn, NULL), UPSTREAM_WANT_READ);
        if (late == 0) {
            ready(conn);
        }
        upstream_attempt_end(attempt, UPSTREAM_WANT_READ);
        assert_status(converse(ready(conn), END), UPSTREAM_EOF);
        upstream_conn_discard(conn);
        assert_int_equal(upstream_node_state(upstream_node_at(up, 0)), UPSTREAM_NODE_EJECTED);
        upstream_destroy(up);
        loopback_stop(server);
    }
}

/* An outcome that counted when the connection was given back does not count a second time through
 * the node. */
static void a_word_after_a_failure_that_was_told_counts_no_more(void **state)
{
    int way, happening, ending;
    (void)state;
    for (way = BLOCKING; way <= EVENT_LOOP; way++) {
        for (happening = END; happening <= SILENCE; happening++) {
            for (ending = RELEASE; ending <= DISCARD; ending++) {
                struct exchange exchange = {(enum happening)happening, (enum ending)ending, AFTER};
                enum told told = told_by((enum way)way, exchange);
                if (told != FAILURE) {
                    fail_msg("%s, %s, %s: told %d", ways[way], happenings[happening],
                             ending == RELEASE ? "release" : "discard", told);
                }
            }
        }
    }
}

/* To poll for an answer with a short limit is not a failure, and the connection is kept. */
static void polling_blames_nobody(void **state)
{
    struct loopback *server = loopback_start(LOOPBACK_ECHO);
    uint16_t port = loopback_port(server);
    upstream_t *up = check_nodes(&port, 1, "health.max_fails 1");
    upstream_stats_t stats = UPSTREAM_STATS_INIT;
    int i;
    (void)state;
    for (i = 0; i < 3; i++) {
        upstream_conn_t *conn = NULL;
        char back[8];
        size_t got;
        assert_status(upstream_node_connect(upstream_node_at(up, 0), &conn, NULL), UPSTREAM_OK);
        assert_status(upstream_conn_set_timeout_ms(conn, 2), UPSTREAM_OK);
        assert_status(upstream_conn_read(conn, back, sizeof(back), &got), UPSTREAM_ERR_TIMEOUT);
        assert_status(upstream_conn_set_timeout_ms(conn, 0), UPSTREAM_OK);
        assert_status(upstream_conn_write(conn, "ping", 4), UPSTREAM_OK);
        assert_status(upstream_conn_read_exact(conn, back, 4), UPSTREAM_OK);
        upstream_conn_release(conn);
        assert_int_equal(upstream_node_state(upstream_node_at(up, 0)), UPSTREAM_NODE_UP);
    }
    upstream_stats(up, &stats);
    assert_int_equal(stats.connects, 1);
    assert_int_equal(stats.idle, 1);
    upstream_destroy(up);
    loopback_stop(server);
}

/* A limit of the caller that is shorter than a second and than net.io_timeout says nothing about
 * the node, whether the plugin reports it or not. */
static void a_callers_own_short_limit_blames_nobody(void **state)
{
    int said;
    (void)state;
    for (said = 0; said < 2; said++) {
        struct loopback *server = loopback_start(LOOPBACK_SILENT);
        uint16_t port = loopback_port(server);
        upstream_t *up = check_nodes(&port, 1, "health.max_fails 1");
        upstream_conn_t *conn = NULL;
        char byte;
        assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
        assert_status(upstream_conn_set_timeout_ms(conn, 20), UPSTREAM_OK);
        assert_status(upstream_conn_read_exact(conn, &byte, 1), UPSTREAM_ERR_TIMEOUT);
        if (said) {
            upstream_conn_report(conn, UPSTREAM_ERR_TIMEOUT, NULL);
        }
        upstream_conn_discard(conn);
        assert_int_equal(upstream_node_state(upstream_node_at(up, 0)), UPSTREAM_NODE_UP);
        upstream_destroy(up);
        loopback_stop(server);
    }
}

/* How several failing exchanges run at one node at the same time. */
enum at_once {
    OWN_IO,         /* an attempt whose I/O is the plugin's */
    OWN_IO_BY_NODE, /* the same, and reported through the node too */
    CONNECTION,     /* of upstream_node_connect() */
    CONNECTION_BY_NODE,
    BESIDE_AN_ATTEMPT, /* the same, to the node of an attempt */
    OF_AN_ATTEMPT,     /* of upstream_attempt_connect() */
    AT_ONCE
};

static const char *const kinds_at_once[] = {"attempts",
                                            "attempts, and by the node",
                                            "connections",
                                            "connections, and by the node",
                                            "connections beside attempts",
                                            "connections of attempts"};

/* That many fail at once: all begin before the first ends. Returns the node's state after that. */
static int32_t state_after(enum at_once kind, size_t count)
{
    enum { MOST = 8 };
    struct loopback *server = loopback_start(LOOPBACK_RESET);
    uint16_t port = loopback_port(server);
    upstream_t *up = check_nodes(&port, 1, "health.max_fails 4\nhealth.backoff 60s");
    upstream_attempt_t *attempts[MOST] = {NULL};
    upstream_conn_t *conns[MOST] = {NULL};
    int32_t state;
    size_t i, got;
    char byte;
    node = upstream_node_at(up, 0);
    for (i = 0; i < count; i++) {
        if (kind != CONNECTION && kind != CONNECTION_BY_NODE) {
            assert_status(upstream_attempt_begin(up, &attempts[i]), UPSTREAM_OK);
        }
        if (kind == OF_AN_ATTEMPT) {
            assert_status(upstream_attempt_connect(attempts[i], &conns[i], NULL), UPSTREAM_OK);
        } else if (attempts[i] != NULL) {
            assert_ptr_equal(upstream_attempt_next(attempts[i]), node);
        }
        if (kind >= CONNECTION && kind <= BESIDE_AN_ATTEMPT) {
            assert_status(upstream_node_connect(node, &conns[i], NULL), UPSTREAM_OK);
        }
    }
    for (i = 0; i < count; i++) {
        if (conns[i] != NULL) {
            assert_status(upstream_conn_write(conns[i], "ping", 4), UPSTREAM_OK);
            assert_true(upstream_conn_read(conns[i], &byte, 1, &got) < 0);
        }
        if (kind == OWN_IO_BY_NODE || kind == CONNECTION_BY_NODE) {
            assert_status(upstream_node_report(node, UPSTREAM_ERR_TIMEOUT), UPSTREAM_OK);
        }
        upstream_conn_discard(conns[i]);
        upstream_attempt_end(attempts[i], UPSTREAM_ERR_TIMEOUT);
    }
    state = upstream_node_state(node);
    upstream_destroy(up);
    loopback_stop(server);
    return state;
}

/* If many fail at a node at once, each one counts, and counts once. */
static void failures_at_once_count_one_each(void **state)
{
    int kind;
    (void)state;
    for (kind = 0; kind < AT_ONCE; kind++) {
        if (state_after((enum at_once)kind, 3) != UPSTREAM_NODE_UP) {
            fail_msg("three %s count as four failures", kinds_at_once[kind]);
        }
        if (state_after((enum at_once)kind, 4) != UPSTREAM_NODE_EJECTED) {
            fail_msg("four %s count as fewer failures", kinds_at_once[kind]);
        }
    }
}

static void *connect_to_the_node(void *err)
{
    upstream_conn_t *conn = NULL;
    upstream_status_t status = upstream_node_connect(node, &conn, err);
    assert_null(conn);
    assert_status(status, UPSTREAM_ERR_TIMEOUT);
    return NULL;
}

/* If the wait at the connection cap has used most of the time, a black hole that is dialled in the
 * rest has not had its full time, and is not blamed. */
static void a_wait_at_the_cap_blames_nobody(void **state)
{
    int hole[LOOPBACK_HOLE_DESCRIPTORS], i;
    uint16_t port = loopback_black_hole(hole);
    upstream_t *up = check_nodes(&port, 1,
                                 "health.max_fails 1\nnet.max_connections 1\n"
                                 "net.connect_timeout 600ms");
    upstream_conn_t *holder = NULL;
    upstream_error_t *err = NULL;
    pthread_t thread;
    (void)state;
    node = upstream_node_at(up, 0);
    assert_status(upstream_node_connect_start(node, &holder, NULL), UPSTREAM_WANT_READ);
    assert_int_equal(pthread_create(&thread, NULL, connect_to_the_node, &err), 0);
    poll(NULL, 0, 400);
    upstream_conn_discard(holder); /* its place is the other's now, and some 200 ms are left */
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_non_null(err);
    upstream_error_free(err);
    assert_int_equal(upstream_node_state(node), UPSTREAM_NODE_UP);
    upstream_destroy(up);
    for (i = 0; i < LOOPBACK_HOLE_DESCRIPTORS; i++) {
        close(hole[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_at_once_count_one_each),
        cmocka_unit_test(the_table_holds),
        cmocka_unit_test(the_plugins_word_counts_once),
        cmocka_unit_test(the_end_of_an_attempt_is_a_word),
        cmocka_unit_test(a_word_after_the_discard_is_the_one_failure),
        cmocka_unit_test(an_attempt_speaks_for_the_connection_to_its_node),
        cmocka_unit_test(a_connection_that_outlives_its_attempt_is_told_of),
        cmocka_unit_test(a_word_after_a_failure_that_was_told_counts_no_more),
        cmocka_unit_test(polling_blames_nobody),
        cmocka_unit_test(a_callers_own_short_limit_blames_nobody),
        cmocka_unit_test(a_wait_at_the_cap_blames_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
