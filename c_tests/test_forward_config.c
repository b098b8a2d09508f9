/*
 * The Forward example's keys of a node: defaults, values, and the messages about wrong ones.
 */
#include "../examples/forward/forward.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static upstream_t *set_with(const char *keys)
{
    char text[1024];
    upstream_t *up = NULL;
    upstream_error_t *err = NULL;
    int len = snprintf(text, sizeof text,
                       "[UPSTREAM]\n    name u\n[NODE]\n    name n1\n    host 127.0.0.1\n"
                       "    port 1\n%s",
                       keys);
    if (upstream_create_from_text(text, (size_t)len, "test", NULL, &up, &err) != UPSTREAM_OK) {
        fail_msg("%s", upstream_error_message(err));
    }
    return up;
}

static void settings_have_their_defaults(void **state)
{
    (void)state;
    upstream_t *up = set_with("");
    forward_config c;
    char message[FORWARD_REASON_MAX];

    assert_int_equal(forward_config_from_node(upstream_node_at(up, 0), &c, message, sizeof message),
                     UPSTREAM_OK);
    assert_false(c.secured || c.time_as_integer || c.send_options || c.require_ack_response ||
                 c.gzip || c.packed);
    assert_false(c.retain_metadata);
    assert_null(c.shared_key);
    assert_null(c.username);
    assert_null(c.password);
    assert_null(c.tag);
    assert_null(c.self_hostname);
    assert_int_equal(c.ack_timeout_ms, 10000);
    assert_int_equal(forward_config_from_node(NULL, &c, message, sizeof message),
                     UPSTREAM_ERR_INVALID_ARG);
    upstream_destroy(up);
}

static void settings_are_read(void **state)
{
    (void)state;
    upstream_t *up = set_with("    shared_key a key # with more\n    Username me\n    PASSWORD pw\n"
                              "    self_hostname here\n"
                              "    time_as_integer on\n    send_options YES\n"
                              "    require_ack_response True\n"
                              "    tag my.tag\n    compress GZIP\n    ack_timeout 250ms\n");
    forward_config c;
    char message[FORWARD_REASON_MAX];

    assert_int_equal(forward_config_from_node(upstream_node_at(up, 0), &c, message, sizeof message),
                     UPSTREAM_OK);
    assert_true(c.secured && c.time_as_integer && c.send_options && c.require_ack_response &&
                c.gzip);
    assert_string_equal(c.shared_key, "a key # with more");
    assert_string_equal(c.username, "me");
    assert_string_equal(c.password, "pw");
    assert_string_equal(c.self_hostname, "here");
    assert_string_equal(c.tag, "my.tag");
    assert_int_equal(c.ack_timeout_ms, 250);
    assert_false(c.retain_metadata);
    upstream_destroy(up);

    up = set_with(
        "    empty_shared_key on\n    compress text\n    retain_metadata_in_forward_mode on\n");
    assert_int_equal(forward_config_from_node(upstream_node_at(up, 0), &c, message, sizeof message),
                     UPSTREAM_OK);
    assert_true(c.secured && c.retain_metadata);
    assert_false(c.gzip);
    assert_string_equal(c.shared_key, "");
    upstream_destroy(up);
}

/* A node that took a chunk and stays silent must leave time for other nodes. */
static void an_answer_may_take_a_quarter_of_the_delivery(void **state)
{
    (void)state;
    static const struct {
        const char *keys;
        uint32_t ms;
    } cases[] = {
        {"[UPSTREAM]\n    name u\n    deliver.timeout 4s\n", 1000},
        {"[UPSTREAM]\n    name u\n    deliver.timeout 1ms\n", 1},
        {"[UPSTREAM]\n    name u\n    deliver.timeout 40s\n", 10000},
        {"[UPSTREAM]\n    name u\n    deliver.timeout 1h\n", 10000},
        {"[UPSTREAM]\n    name u\n    deliver.timeout 4s\n    ack_timeout 3s\n", 3000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[512];
        upstream_t *up = NULL;
        forward_config c;
        int len =
            snprintf(text, sizeof text, "%s[NODE]\n    name n1\n    host 127.0.0.1\n    port 1\n",
                     cases[i].keys);
        assert_int_equal(upstream_create_from_text(text, (size_t)len, "test", NULL, &up, NULL),
                         UPSTREAM_OK);
        assert_int_equal(forward_config_from_node(upstream_node_at(up, 0), &c, NULL, 0),
                         UPSTREAM_OK);
        assert_int_equal(c.ack_timeout_ms, cases[i].ms);
        upstream_destroy(up);
    }
}

static void bad_settings_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *keys, *named, *fix;
    } bad[] = {
        {"    require_ack_response maybe\n", "require_ack_response", "on or off"},
        {"    time_as_integer 1\n", "time_as_integer", "on or off"},
        {"    send_options yess\n", "send_options", "on or off"},
        {"    empty_shared_key 0\n", "empty_shared_key", "on or off"},
        {"    compress zstd\n", "zstd", "text or gzip"},
        {"    retain_metadata_in_forward_mode 1\n", "retain_metadata_in_forward_mode", "on or off"},
        {"    ack_timeout 10x\n", "10x", "10s"},
        {"    ack_timeout 0\n", "ack_timeout", "above 0"},
        {"    ack_timeout -5\n", "-5", "above 0"},
        {"    shared_key k\n    empty_shared_key on\n", "empty_shared_key", "one of the two"},
        {"    shared_key k\n    username u\n", "username", "set password"},
        {"    shared_key k\n    password p\n", "password", "set username"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        upstream_t *up = set_with(bad[i].keys);
        char message[FORWARD_REASON_MAX] = "";
        assert_int_equal(forward_prepare(up, NULL, message, sizeof message), UPSTREAM_ERR_CONFIG);
        assert_non_null(strstr(message, "n1"));
        assert_non_null(strstr(message, bad[i].named));
        assert_non_null(strstr(message, bad[i].fix));
        upstream_destroy(up);
    }
}

/* If the keys are declared, a typing error is found when the set is made, with its line and
 * column. */
static void slips_are_found_by_the_library(void **state)
{
    (void)state;
    static const struct {
        const char *line, *fix;
    } slips[] = {
        {"    require_ack_respons on\n", "require_ack_response"},
        {"    shared_keys s\n", "shared_key"},
        {"    emty_shared_key on\n", "empty_shared_key"},
        {"    user_name u\n", "username"},
        {"    pasword p\n", "password"},
        {"    self_hostnam h\n", "self_hostname"},
        {"    times_as_integer on\n", "time_as_integer"},
        {"    retain_metadata_in_forward_mod on\n", "retain_metadata_in_forward_mode"},
        {"    send_option on\n", "send_options"},
        {"    ack_timout 5s\n", "ack_timeout"},
        {"    compres gzip\n", "compress"},
        {"    require_ack_response maybe\n", "neither on nor off"},
        {"    ack_timeout never\n", "ack_timeout"},
    };
    for (size_t i = 0; i < sizeof slips / sizeof slips[0]; i++) {
        char text[512];
        upstream_options_t *options = NULL;
        upstream_t *up = NULL;
        upstream_error_t *err = NULL;
        int len = snprintf(text, sizeof text,
                           "[UPSTREAM]\n    name u\n[NODE]\n    name n1\n    host 127.0.0.1\n"
                           "    port 1\n%s",
                           slips[i].line);
        assert_int_equal(upstream_options_create(&options), UPSTREAM_OK);
        assert_int_equal(forward_declare_keys(options), UPSTREAM_OK);
        upstream_status_t status =
            upstream_create_from_text(text, (size_t)len, "f.conf", options, &up, &err);
        if (status != UPSTREAM_ERR_CONFIG ||
            strstr(upstream_error_message(err), slips[i].fix) == NULL ||
            strstr(upstream_error_message(err), "f.conf:7:") == NULL) {
            fail_msg("%s: %d, %s", slips[i].line, status,
                     err == NULL ? "" : upstream_error_message(err));
        }
        upstream_error_free(err);
        upstream_options_destroy(options);
    }
    assert_int_equal(forward_declare_keys(NULL), UPSTREAM_ERR_INVALID_ARG);
}

static void a_later_node_is_checked_at_the_start(void **state)
{
    (void)state;
    upstream_t *up = set_with("[NODE]\n    name n2\n    host 127.0.0.1\n    port 2\n"
                              "    compress lz4\n");
    char message[FORWARD_REASON_MAX] = "";

    assert_int_equal(forward_prepare(up, NULL, message, sizeof message), UPSTREAM_ERR_CONFIG);
    assert_non_null(strstr(message, "n2"));
    assert_int_equal(forward_prepare(NULL, NULL, message, sizeof message),
                     UPSTREAM_ERR_INVALID_ARG);
    char tiny[4] = "";
    assert_int_equal(forward_prepare(up, NULL, tiny, sizeof tiny), UPSTREAM_ERR_CONFIG);
    assert_int_equal(forward_prepare(up, NULL, NULL, 0), UPSTREAM_ERR_CONFIG);
    upstream_destroy(up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_have_their_defaults),
        cmocka_unit_test(settings_are_read),
        cmocka_unit_test(an_answer_may_take_a_quarter_of_the_delivery),
        cmocka_unit_test(bad_settings_are_told),
        cmocka_unit_test(slips_are_found_by_the_library),
        cmocka_unit_test(a_later_node_is_checked_at_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
