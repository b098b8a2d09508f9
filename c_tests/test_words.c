/* The plugin's own words: their place in errors and in the log, what an unknown status does, and
 * how much is logged. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/loopback.h"
#include "support/scripted.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

/* ---- the log ---- */

enum { LINES = 4096 };

static struct {
    pthread_mutex_t lock;
    size_t count;
    int32_t levels[LINES];
    char *lines[LINES];
} logged = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void keep_line(int32_t level, const char *message, void *ctx)
{
    (void)ctx;
    pthread_mutex_lock(&logged.lock);
    if (logged.count < LINES) {
        logged.levels[logged.count] = level;
        logged.lines[logged.count] = strdup(message);
    }
    logged.count++;
    pthread_mutex_unlock(&logged.lock);
}

static void forget_lines(void)
{
    while (logged.count > 0) {
        logged.count--;
        if (logged.count < LINES) {
            free(logged.lines[logged.count]);
        }
    }
}

/* Lines of that level that hold `part`. */
static size_t lines_with(int32_t level, const char *part)
{
    size_t i, found = 0;
    assert_true(logged.count <= LINES);
    for (i = 0; i < logged.count; i++) {
        found += logged.levels[i] == level && strstr(logged.lines[i], part) != NULL;
    }
    return found;
}

static upstream_t *logging_set(const char *text)
{
    upstream_options_t *options;
    upstream_t *up;
    forget_lines();
    assert_status(upstream_options_create(&options), UPSTREAM_OK);
    assert_status(upstream_options_set_logger(options, UPSTREAM_LOG_INFO, keep_line, NULL),
                  UPSTREAM_OK);
    up = check_create(text, options);
    upstream_options_destroy(options);
    return up;
}

static upstream_t *logging_nodes(const uint16_t *ports, size_t nodes, const char *more)
{
    char *text = check_nodes_text(ports, nodes, more);
    upstream_t *up = logging_set(text);
    free(text);
    return up;
}

/* ---- words ---- */

static void a_dropped_payload_leaves_its_reason(void **state)
{
    struct scripted *server = scripted_start(SCRIPTED_STOP);
    uint16_t port = scripted_port(server);
    upstream_t *up = logging_nodes(&port, 1, "");
    upstream_error_t *err = NULL;
    (void)state;
    assert_status(upstream_deliver(up, scripted_exchange, NULL, 0, &err), UPSTREAM_STOP);
    assert_status(upstream_error_status(err), UPSTREAM_STOP);
    check_contains(upstream_error_message(err), "HTTP 400");
    assert_string_equal(upstream_error_node(err), "node-1");
    upstream_error_free(err);
    assert_int_equal(lines_with(UPSTREAM_LOG_WARN, "HTTP 400"), 1);
    assert_int_equal(lines_with(UPSTREAM_LOG_WARN, ""), 1);
    assert_int_equal(lines_with(UPSTREAM_LOG_ERROR, ""), 0);
    upstream_destroy(up);
    scripted_stop(server);
}

static void a_payload_that_no_node_took_leaves_the_words_of_each(void **state)
{
    struct scripted *servers[2];
    uint16_t ports[2];
    upstream_t *up;
    upstream_error_t *err = NULL;
    const char *first, *second;
    (void)state;
    scripted_start_all(servers, ports, 2, SCRIPTED_BAD);
    up = logging_nodes(ports, 2, "");
    assert_status(upstream_deliver(up, scripted_exchange, NULL, 0, &err), UPSTREAM_ERR_PROTOCOL);
    first = strstr(upstream_error_message(err), "HTTP 502");
    assert_non_null(first);
    second = strstr(first + 1, "HTTP 502");
    assert_non_null(second);
    assert_int_equal(lines_with(UPSTREAM_LOG_ERROR, "HTTP 502"), 1);
    upstream_error_free(err);
    upstream_destroy(up);
    scripted_stop_all(servers, 2);
}

static upstream_status_t say_much(upstream_conn_t *conn, void *ctx)
{
    return upstream_conn_report(conn, UPSTREAM_ERR_PROTOCOL, ctx);
}

/* Whatever a server's answer puts into them, a line stays one line of limited length. */
static void words_stay_one_line(void **state)
{
    struct scripted *server = scripted_start(SCRIPTED_GOOD);
    uint16_t port = scripted_port(server);
    upstream_t *up = logging_nodes(&port, 1, "health.max_fails 1000");
    char *words = malloc(100001);
    upstream_error_t *err = NULL;
    const char *at;
    (void)state;
    memset(words, 'x', 100000);
    memcpy(words, "one\r\ntwo\x1b[31m\n", 15);
    words[100000] = '\0';
    upstream_deliver(up, say_much, words, 0, &err);
    assert_true(strlen(upstream_error_message(err)) <= 2000);
    for (at = upstream_error_message(err); *at != '\0'; at++) {
        assert_true((unsigned char)*at >= ' ' && *at != 0x7f);
    }
    check_contains(upstream_error_message(err), "one  two");
    assert_int_equal(lines_with(UPSTREAM_LOG_ERROR, "\n"), 0);
    upstream_error_free(err);
    free(words);
    upstream_destroy(up);
    scripted_stop(server);
}

static upstream_status_t answer_with(upstream_conn_t *conn, void *ctx)
{
    upstream_status_t status = scripted_exchange(conn, NULL);
    upstream_status_t *number = ctx;
    upstream_status_t said = *number;
    *number = UPSTREAM_OK; /* the next node takes it */
    return status != UPSTREAM_OK ? status : said;
}

static void an_odd_number_is_told_once_and_the_payload_goes_on(void **state)
{
    static const upstream_status_t numbers[] = {-5, -ECONNREFUSED, -ECONNRESET, -99999, INT32_MIN};
    size_t row, i;
    (void)state;
    for (row = 0; row < sizeof(numbers) / sizeof(numbers[0]); row++) {
        struct scripted *servers[2];
        uint16_t ports[2];
        upstream_t *up;
        char number[64];
        scripted_start_all(servers, ports, 2, SCRIPTED_GOOD);
        up = logging_nodes(ports, 2, "health.max_fails 1000");
        for (i = 0; i < 100; i++) {
            /* within the retry budget */
            upstream_status_t say = i % 10 == 0 ? numbers[row] : UPSTREAM_OK;
            assert_status(upstream_deliver(up, answer_with, &say, 0, NULL), UPSTREAM_OK);
        }
        snprintf(number, sizeof(number), "returned %ld, which is no status", (long)numbers[row]);
        assert_int_equal(lines_with(UPSTREAM_LOG_WARN, number), 1);
        assert_int_equal(lines_with(UPSTREAM_LOG_WARN, "which is no status"), 1);
        assert_int_equal(scripted_requests(servers[0]) + scripted_requests(servers[1]), 110);
        upstream_destroy(up);
        scripted_stop_all(servers, 2);
    }
}

/* C's usual -1 is a status and a failure like any other: it gets no extra line. */
static void minus_one_goes_on_and_is_not_odd(void **state)
{
    struct scripted *servers[2];
    uint16_t ports[2];
    upstream_t *up;
    upstream_status_t say = -1;
    (void)state;
    scripted_start_all(servers, ports, 2, SCRIPTED_GOOD);
    up = logging_nodes(ports, 2, "");
    assert_status(upstream_deliver(up, answer_with, &say, 0, NULL), UPSTREAM_OK);
    assert_int_equal(lines_with(UPSTREAM_LOG_WARN, ""), 0);
    upstream_destroy(up);
    scripted_stop_all(servers, 2);
}

/* ---- how much is logged ---- */

static size_t seconds_since(const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (size_t)(now.tv_sec - start->tv_sec) + 1;
}

static upstream_status_t only_write(upstream_conn_t *conn, void *ctx)
{
    (void)ctx;
    return upstream_conn_write(conn, "line\n", 5);
}

/* One line for each node that is ejected or comes back; repeated lines are summed up once a
 * second. */
static void what_repeats_is_counted(void **state)
{
    int all_refuse;
    (void)state;
    for (all_refuse = 0; all_refuse < 2; all_refuse++) {
        struct loopback *sink = loopback_start(LOOPBACK_SINK);
        int refusing[3];
        uint16_t ports[3];
        upstream_t *up;
        upstream_stats_t stats = UPSTREAM_STATS_INIT;
        struct timespec start;
        size_t i, changes, payloads = all_refuse ? 2000 : 20000;
        for (i = 0; i < 3; i++) {
            ports[i] = loopback_refusing_port(&refusing[i]);
        }
        if (!all_refuse) {
            ports[2] = loopback_port(sink);
        }
        up = logging_nodes(ports, 3, "health.backoff 50ms\nhealth.backoff_max 50ms");
        clock_gettime(CLOCK_MONOTONIC, &start);
        for (i = 0; i < payloads; i++) {
            upstream_status_t status = upstream_deliver(up, only_write, NULL, 0, NULL);
            assert_true((status == UPSTREAM_OK) != all_refuse);
        }
        upstream_stats(up, &stats);
        changes = 2 * (size_t)stats.ejections;
        if (logged.count > changes + 4 * seconds_since(&start)) {
            fail_msg("%zu lines, with %zu changes in %zu seconds", logged.count, changes,
                     seconds_since(&start));
        }
        assert_true(logged.count > 0);
        upstream_destroy(up);
        loopback_stop(sink);
        for (i = 0; i < 3; i++) {
            close(refusing[i]);
        }
    }
}

static void the_address_stands_once_in_a_line(void **state)
{
    int refusing;
    uint16_t port = loopback_refusing_port(&refusing);
    struct scripted *server = scripted_start(SCRIPTED_BAD);
    uint16_t ports[2] = {port, scripted_port(server)};
    size_t i, with = 0;
    (void)state;
    for (i = 0; i < 2; i++) {
        char address[32];
        size_t line;
        upstream_t *up = logging_nodes(&ports[i], 1, "health.max_fails 1");
        scripted_deliver(up, NULL, 0);
        snprintf(address, sizeof(address), "127.0.0.1:%u", (unsigned)ports[i]);
        for (line = 0; line < logged.count; line++) {
            const char *first = strstr(logged.lines[line], address);
            with += first != NULL;
            if (first != NULL && strstr(first + 1, address) != NULL) {
                fail_msg("twice: %s", logged.lines[line]);
            }
        }
        upstream_destroy(up);
    }
    assert_true(with >= 4); /* out of the rotation, and not delivered, for each */
    close(refusing);
    scripted_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dropped_payload_leaves_its_reason),
        cmocka_unit_test(a_payload_that_no_node_took_leaves_the_words_of_each),
        cmocka_unit_test(words_stay_one_line),
        cmocka_unit_test(an_odd_number_is_told_once_and_the_payload_goes_on),
        cmocka_unit_test(minus_one_goes_on_and_is_not_odd),
        cmocka_unit_test(what_repeats_is_counted),
        cmocka_unit_test(the_address_stands_once_in_a_line),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    forget_lines();
    return failed;
}
