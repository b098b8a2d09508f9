/* See check.h. */
#include "check.h"

#include "plain_text.h"

int check_filter(const struct CMUnitTest *tests, size_t count)
{
    const char *wanted = getenv("UPSTREAM_TEST_FILTER");
    size_t i;
    if (wanted == NULL) {
        return 1;
    }
    for (i = 0; i < count; i++) {
        if (strcmp(tests[i].name, wanted) == 0) {
            cmocka_set_test_filter(wanted);
            return 1;
        }
    }
    print_error("no test is called \"%s\"\n", wanted);
    return 0;
}

upstream_t *check_create(const char *text, const upstream_options_t *options)
{
    upstream_t *up = NULL;
    upstream_error_t *err = NULL;
    if (upstream_create_from_text(text, strlen(text), "test.conf", options, &up, &err) !=
        UPSTREAM_OK) {
        print_error("%s\n", upstream_error_message(err));
        upstream_error_free(err);
        fail_msg("the text was refused");
    }
    assert_non_null(up);
    assert_null(err);
    return up;
}

upstream_error_t *check_refused(const char *text, const upstream_options_t *options)
{
    upstream_t *up = NULL;
    upstream_error_t *err = NULL;
    upstream_status_t status =
        upstream_create_from_text(text, strlen(text), "test.conf", options, &up, &err);
    if (status == UPSTREAM_OK) {
        upstream_destroy(up);
        fail_msg("the text was accepted:\n%s", text);
    }
    assert_status(status, UPSTREAM_ERR_CONFIG);
    assert_null(up);
    assert_non_null(err);
    assert_status(upstream_error_status(err), UPSTREAM_ERR_CONFIG);
    return err;
}

upstream_attempt_t *check_attempt(upstream_t *up)
{
    upstream_attempt_t *attempt;
    assert_status(upstream_attempt_begin(up, &attempt), UPSTREAM_OK);
    return attempt;
}

upstream_stats_t check_stats(upstream_t *up)
{
    upstream_stats_t stats = UPSTREAM_STATS_INIT;
    assert_status(upstream_stats(up, &stats), UPSTREAM_OK);
    return stats;
}

upstream_stats_t check_node_stats(upstream_node_t *node)
{
    upstream_stats_t stats = UPSTREAM_STATS_INIT;
    assert_status(upstream_node_stats(node, &stats), UPSTREAM_OK);
    return stats;
}

void check_contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        fail_msg("\"%s\"\ndoes not hold \"%s\"", text, part);
    }
}

char *check_nodes_text(const uint16_t *ports, size_t nodes, const char *more)
{
    size_t room = 64 + nodes * (96 + strlen(more));
    char *text = malloc(room);
    size_t used, i;
    assert_non_null(text);
    used = (size_t)snprintf(text, room, "[UPSTREAM]\n    name test\n");
    for (i = 0; i < nodes; i++) {
        used += (size_t)snprintf(text + used, room - used,
                                 "[NODE]\n    name node-%zu\n    host 127.0.0.1\n    port %u\n"
                                 "%s\n",
                                 i + 1, (unsigned)ports[i], more);
    }
    assert_true(used < room);
    return text;
}

upstream_t *check_nodes(const uint16_t *ports, size_t nodes, const char *more)
{
    char *text = check_nodes_text(ports, nodes, more);
    upstream_t *up = check_create(text, NULL);
    free(text);
    return up;
}

void check_plain_text(const char *message, const char *place)
{
    const char *flaw = plain_text_flaw(message);
    if (flaw != NULL) {
        fail_msg("%s: byte 0x%02x at %zu of %zu in: %.300s", place, (unsigned char)*flaw,
                 (size_t)(flaw - message), strlen(message), message);
    }
}
