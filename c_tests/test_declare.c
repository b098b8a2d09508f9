/* Keys that a plugin declares: their values and typing errors in them are checked like those of the
 * library's keys. */
#define _GNU_SOURCE
#include "support/check.h"

#define HEAD "[UPSTREAM]\nname u\n"
#define NODE "[NODE]\nname n\nhost h\nport 1\n"

static upstream_options_t *options;

static int fresh_options(void **state)
{
    (void)state;
    return upstream_options_create(&options) != UPSTREAM_OK;
}

static int end_options(void **state)
{
    (void)state;
    upstream_options_destroy(options);
    options = NULL;
    return 0;
}

static void declare(const char *key, int32_t type)
{
    upstream_error_t *err = NULL;
    assert_status(upstream_options_declare_key(options, key, type, &err), UPSTREAM_OK);
    assert_null(err);
}

static void declare_forward(void)
{
    declare("require_ack_response", UPSTREAM_KEY_BOOL);
    declare("ack_timeout", UPSTREAM_KEY_MS);
    declare("shared_key", UPSTREAM_KEY_SECRET);
    declare("tag", UPSTREAM_KEY_TEXT);
    declare("window", UPSTREAM_KEY_INT);
    declare("buffer", UPSTREAM_KEY_SIZE);
}

/* The text is refused at `place`, and the message holds `part` and not "hunter2". */
static void refused(const char *text, const char *place, const char *part)
{
    upstream_error_t *err = check_refused(text, options);
    check_contains(upstream_error_message(err), place);
    check_contains(upstream_error_message(err), part);
    assert_null(strstr(upstream_error_message(err), "hunter2"));
    upstream_error_free(err);
}

static void not_declared(const char *key, int32_t type, const char *part)
{
    upstream_error_t *err = NULL;
    assert_status(upstream_options_declare_key(options, key, type, NULL), UPSTREAM_ERR_INVALID_ARG);
    assert_status(upstream_options_declare_key(options, key, type, &err), UPSTREAM_ERR_INVALID_ARG);
    assert_status(upstream_error_status(err), UPSTREAM_ERR_INVALID_ARG);
    check_contains(upstream_error_message(err), part);
    upstream_error_free(err);
}

static void good_values_are_what_the_getters_read(void **state)
{
    upstream_t *up;
    const upstream_node_t *node;
    (void)state;
    declare_forward();
    assert_status(upstream_options_set(options, "window", "-3", NULL), UPSTREAM_OK);
    up = check_create(HEAD "buffer 64k\n" NODE
                           "Require_Ack_Response YES\nACK_TIMEOUT ${NOT_SET_HERE:-250ms}\n"
                           "shared_key hunter2\ntag a b\n",
                      options);
    node = upstream_node_at(up, 0);
    assert_int_equal(upstream_node_get_prop_bool(node, "require_ack_response", -1), 1);
    assert_int_equal(upstream_node_get_prop_ms(node, "ack_timeout", -1), 250);
    assert_int_equal(upstream_node_get_prop_size(node, "buffer", -1), 65536);
    assert_int_equal(upstream_node_get_prop_int(node, "window", -1), -3);
    assert_string_equal(upstream_node_get_prop(node, "shared_key"), "hunter2");
    assert_string_equal(upstream_node_get_prop(node, "tag"), "a b");
    upstream_destroy(up);
}

static void values_of_another_type_are_refused(void **state)
{
    (void)state;
    declare_forward();
    refused(HEAD NODE "require_ack_response 1\n",
            "test.conf:7:22: ", "write on, true, yes, off, false or no");
    refused(HEAD NODE "ack_timeout 1.5s\n", "test.conf:7:13: ", "250ms");
    refused(HEAD "ack_timeout -5\n" NODE, "test.conf:3:13: ", "250ms");
    refused(HEAD NODE "window 1k\n", "test.conf:7:8: ", "whole number");
    refused(HEAD NODE NODE "buffer 1T\n", "test.conf:11:8: ", "64k");
    refused(HEAD NODE "shared_key = hunter2\n",
            "test.conf:7:12: ", "write only blanks between a key and its value");
    refused(HEAD NODE "tag = app\n",
            "test.conf:7:5: ", "write only blanks between a key and its value");
    refused(HEAD NODE "window ${NOT_SET_HERE:-}\n", "test.conf:7:8: ", "empty");
}

static void slips_are_refused_with_the_key_that_was_meant(void **state)
{
    (void)state;
    declare_forward();
    refused(HEAD NODE "require_ack_respons on\n",
            "test.conf:7:1: ", "did you mean \"require_ack_response\"?");
    refused(HEAD "Require-Ack-Response on\n" NODE,
            "test.conf:3:1: ", "did you mean \"require_ack_response\"?");
    refused(HEAD NODE "shared_kye hunter2\n", "test.conf:7:1: ", "did you mean \"shared_key\"?");
    refused(HEAD NODE "shared_key=hunter2 x\n", "test.conf:7:1: ", "\"shared_key\"");
    refused(HEAD NODE "tga x\n", "test.conf:7:1: ", "did you mean \"tag\"?");
    upstream_destroy(check_create(HEAD NODE "tags x\nindex y\n", options));
}

static void a_declared_key_is_no_slip(void **state)
{
    (void)state;
    declare("wieght", UPSTREAM_KEY_INT);
    declare("shared_key", UPSTREAM_KEY_SECRET);
    declare("shared_kye", UPSTREAM_KEY_INT);
    upstream_destroy(check_create(HEAD NODE "wieght 1\nshared_key s\nshared_kye 5\n", options));
    refused(HEAD NODE "wieght x\n", "test.conf:7:8: ", "whole number");
}

static void options_are_checked_when_a_set_is_made(void **state)
{
    (void)state;
    declare_forward();
    assert_status(upstream_options_set(options, "Ack_Timeout", "soon", NULL), UPSTREAM_OK);
    refused(HEAD NODE, "options: ", "Ack_Timeout: \"soon\" is not a duration");
    assert_status(upstream_options_set(options, "ack_timeout", "5s", NULL), UPSTREAM_OK);
    upstream_destroy(check_create(HEAD NODE, options));
    assert_status(upstream_options_set(options, "ack_timout", "5s", NULL), UPSTREAM_OK);
    refused(HEAD NODE, "options: ", "did you mean \"ack_timeout\"?");
}

static void what_cannot_be_declared(void **state)
{
    char long_key[1026];
    (void)state;
    memset(long_key, 'k', sizeof(long_key) - 1);
    long_key[sizeof(long_key) - 1] = '\0';
    not_declared("", UPSTREAM_KEY_TEXT, "1 to 1024 bytes");
    not_declared("a b", UPSTREAM_KEY_TEXT, "no blank");
    not_declared(long_key, UPSTREAM_KEY_TEXT, "1 to 1024 bytes");
    not_declared("a\xff", UPSTREAM_KEY_TEXT, "cannot be a key");
    not_declared("Tls.Verify", UPSTREAM_KEY_BOOL, "the library's own");
    not_declared("net.max_worker_connections", UPSTREAM_KEY_INT, "the library's own");
    not_declared("deliver.wait", UPSTREAM_KEY_BOOL, "the library's own");
    not_declared("health.path", UPSTREAM_KEY_TEXT, "the library's own");
    not_declared("key", -1, "UPSTREAM_KEY_TEXT");
    not_declared("key", 6, "UPSTREAM_KEY_SECRET");
    declare("key", UPSTREAM_KEY_INT);
    declare("KEY", UPSTREAM_KEY_INT);
    not_declared("Key", UPSTREAM_KEY_TEXT, "UPSTREAM_KEY_INT");
    refused(HEAD NODE "key x\n", "test.conf:7:5: ", "whole number");
}

static void a_file_is_checked_as_a_text_is(void **state)
{
    char path[] = "/tmp/test_declare.XXXXXX";
    upstream_t *up = NULL;
    upstream_error_t *err = NULL;
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");
    (void)state;
    declare_forward();
    assert_non_null(file);
    fputs(HEAD NODE "ack_timeout x\n", file);
    fclose(file);
    assert_status(upstream_create(path, options, &up, &err), UPSTREAM_ERR_CONFIG);
    remove(path);
    assert_null(up);
    check_contains(upstream_error_message(err), path);
    check_contains(upstream_error_message(err), ":7:13: ack_timeout");
    assert_int_equal(upstream_error_line(err), 7);
    upstream_error_free(err);
}

#define each(test) cmocka_unit_test_setup_teardown(test, fresh_options, end_options)

int main(void)
{
    const struct CMUnitTest tests[] = {
        each(good_values_are_what_the_getters_read),
        each(values_of_another_type_are_refused),
        each(slips_are_refused_with_the_key_that_was_meant),
        each(a_declared_key_is_no_slip),
        each(options_are_checked_when_a_set_is_made),
        each(what_cannot_be_declared),
        each(a_file_is_checked_as_a_text_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
