/* What every test of the library includes first: cmocka with the headers it needs, and short
 * forms. */
#ifndef SUPPORT_CHECK_H
#define SUPPORT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <upstream/upstream.h>

/* Statuses by name, so that a failure is read without the header. */
#define assert_status(call, status) \
    assert_string_equal(upstream_status_name(call), upstream_status_name(status))

/* cmocka_run_group_tests(). If UPSTREAM_TEST_FILTER is set, only the test of that name; if there is
 * none, that is a failure. */
#define check_run_tests(tests, setup, teardown)              \
    (check_filter(tests, sizeof(tests) / sizeof((tests)[0])) \
         ? cmocka_run_group_tests(tests, setup, teardown)    \
         : 1)
int check_filter(const struct CMUnitTest *tests, size_t count);

/* A set from text; `options` may be NULL. If the text is refused, fails the test with the library's
 * message. */
upstream_t *check_create(const char *text, const upstream_options_t *options);

/* The error of a text that is refused as configuration; the caller frees it. */
upstream_error_t *check_refused(const char *text, const upstream_options_t *options);

/* True under valgrind or a sanitizer: everything then takes ten times as long, and more stack. */
int check_slow(void);

/* True under this sanitizer: "address" or "thread". */
int check_sanitized(const char *by);

/* Milliseconds of the monotonic clock. */
long check_now_ms(void);

/* Fails unless `text` holds `part`, showing both. */
void check_contains(const char *text, const char *part);

/* The text of an upstream of `nodes` nodes "node-1".. on 127.0.0.1, each on its port, with `more`
 * lines in each. */
char *check_nodes_text(const uint16_t *ports, size_t nodes, const char *more);

/* The attempt of one payload; the caller ends it. */
upstream_attempt_t *check_attempt(upstream_t *up);

/* The counters of a set, and of one node, at this moment. */
upstream_stats_t check_stats(upstream_t *up);
upstream_stats_t check_node_stats(upstream_node_t *node);

/* check_create() of check_nodes_text(). */
upstream_t *check_nodes(const uint16_t *ports, size_t nodes, const char *more);

/* Fails unless it is one line of plain text (plain_text.h); `place` says where it comes from. */
void check_plain_text(const char *message, const char *place);

#endif
