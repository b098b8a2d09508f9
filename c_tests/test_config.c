/* The upstream file's grammar, row by row: what is accepted and what it means, what is refused and
 * how. */
#define _GNU_SOURCE
#include "support/check.h"

#include <sys/stat.h>
#include <unistd.h>

#define HEAD "[UPSTREAM]\nname u\n"
#define NODE "[NODE]\nname n\nhost h\nport 1\n"

static struct {
    int count;
    char text[4096];
} warnings;

static void keep_warning(int32_t level, const char *message, void *ctx)
{
    (void)ctx;
    if (level <= UPSTREAM_LOG_WARN) {
        warnings.count++;
        strncat(warnings.text, message, sizeof(warnings.text) - strlen(warnings.text) - 2);
        strcat(warnings.text, "\n");
    }
}

/* Creates from text of `len` bytes, keeping the warnings. */
static upstream_status_t create(const char *text, size_t len, upstream_t **up,
                                upstream_error_t **err)
{
    upstream_options_t *options;
    upstream_status_t status;
    *up = NULL;
    *err = NULL;
    memset(&warnings, 0, sizeof(warnings));
    assert_status(upstream_options_create(&options), UPSTREAM_OK);
    assert_status(upstream_options_set_logger(options, UPSTREAM_LOG_WARN, keep_warning, NULL),
                  UPSTREAM_OK);
    status = upstream_create_from_text(text, len, "test.conf", options, up, err);
    upstream_options_destroy(options);
    return status;
}

static upstream_t *accepted(const char *text)
{
    upstream_t *up;
    upstream_error_t *err;
    if (create(text, strlen(text), &up, &err) != UPSTREAM_OK) {
        print_error("%s\n", upstream_error_message(err));
        upstream_error_free(err);
        fail_msg("refused:\n%s", text);
    }
    return up;
}

static void prop_is(const char *text, const char *key, const char *value)
{
    upstream_t *up = accepted(text);
    const char *got = upstream_node_get_prop(upstream_node_at(up, 0), key);
    assert_non_null(got);
    assert_string_equal(got, value);
    upstream_destroy(up);
}

static void refused_bytes(const char *text, size_t len, const char *const *parts)
{
    upstream_t *up;
    upstream_error_t *err;
    assert_status(create(text, len, &up, &err), UPSTREAM_ERR_CONFIG);
    assert_null(up);
    for (; *parts != NULL; parts++) {
        check_contains(upstream_error_message(err), *parts);
    }
    upstream_error_free(err);
}

#define refused(text, ...)                                      \
    do {                                                        \
        static const char *const parts[] = {__VA_ARGS__, NULL}; \
        refused_bytes(text, strlen(text), parts);               \
    } while (0)

static void no_warning(const char *text)
{
    upstream_destroy(accepted(text));
    assert_string_equal(warnings.text, "");
}

static void warned(const char *text, const char *part, const char *more)
{
    upstream_destroy(accepted(text));
    assert_int_equal(warnings.count, 1);
    check_contains(warnings.text, part);
    check_contains(warnings.text, more);
}

static void line_ends_and_letter_case(void **state)
{
    (void)state;
    no_warning("[upstream]\r\nNAME u\r\n\r\n[Node]\r\nName n\r\nHOST h\r\nPort 1");
    prop_is("[UPSTREAM]\r\nname u\r\n[NODE]\r\nname n\r\nhost h\r\nport 1\r\nkey value\r\n", "KEY",
            "value");
}

static void blanks_and_comments(void **state)
{
    (void)state;
    no_warning("\xef\xbb\xbf[UPSTREAM]\nname\tu\n[NODE]\n\t name \t n\nhost\th\n    port 1\n   \n"
               "\t\n  # a comment\n#another\n");
    prop_is(HEAD NODE "key\t \tvalue with  blanks \t\n", "key", "value with  blanks");
}

static void values_are_kept_as_they_stand(void **state)
{
    (void)state;
    prop_is(HEAD NODE "key a # b ; c\n", "key", "a # b ; c");
    prop_is(HEAD NODE "key \"quoted\"\n", "key", "\"quoted\"");
    prop_is(HEAD NODE "key 'q' = [x]\n", "key", "'q' = [x]");
    refused(HEAD "[NODE]\nname n\nhost \"h\"\nport 1\n", "test.conf:5:", "quot");
    refused(HEAD "[NODE]\nname n\nhost h # here\nport 1\n", "test.conf:5:", "#");
    refused(HEAD "[NODE]\nname n\nhost h\nport \"1\"\n", "test.conf:6:", "quot");
    refused(HEAD "[NODE]\nname n\nhost h\nport 1 # one\n", "test.conf:6:", "#");
}

static void section_lines(void **state)
{
    (void)state;
    no_warning("[ UPSTREAM ]\nname u\n[ node\t]\nname n\nhost h\nport 1\n");
    refused("[UPSTREAM] here\nname u\n" NODE, "test.conf:1:");
    refused("[UPSTREAM\nname u\n" NODE, "test.conf:1:");
    no_warning(NODE HEAD);
    refused(HEAD NODE "[UPSTREAM]\nname v\n", "test.conf:7:", "line 1");
    refused(NODE, "[UPSTREAM]");
    refused("[UPSTREAM]\n" NODE, "test.conf:1", "name");
    refused(HEAD, "[NODE]");
    refused("", "[UPSTREAM]");
    refused("key value\n" HEAD NODE, "test.conf:1:");
    warned(HEAD NODE "[OTHER]\nkey value\n", "test.conf:7:", "OTHER");
}

static void mandatory_keys(void **state)
{
    (void)state;
    refused(HEAD "[NODE]\nhost h\nport 1\n", "test.conf:3", "name");
    refused(HEAD "[NODE]\nname n\nport 1\n", "test.conf:3", "host");
    refused(HEAD "[NODE]\nname n\nhost h\n", "test.conf:3", "port");
    refused(HEAD NODE "key\n", "test.conf:7:", "key");
    refused(HEAD NODE "key   \n", "test.conf:7:", "key");
}

static void duplicates(void **state)
{
    (void)state;
    refused(HEAD NODE "key 1\nKEY 2\n", "test.conf:8:", "line 7");
    refused(HEAD NODE "host g\n", "test.conf:7:", "line 5");
    refused(HEAD NODE "net.max_connections 1\nnet.max_worker_connections 2\n",
            "test.conf:8:", "line 7");
    refused(HEAD NODE NODE, "test.conf:8:", "\"n\"", "line 4");
}

static void ports_and_hosts(void **state)
{
    static const char *const ports[] = {"abc", "0", "70000", "-1", "43000x", "65536", "1.5", "+1"};
    static const char *const brackets = HEAD "[NODE]\nname n\nhost [::1]\nport 1\n";
    char text[256];
    upstream_t *up;
    size_t i;
    (void)state;
    for (i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
        static const char *const parts[] = {"test.conf:6:", "port", "65535", NULL};
        snprintf(text, sizeof(text), HEAD "[NODE]\nname n\nhost h\nport %s\n", ports[i]);
        refused_bytes(text, strlen(text), parts);
    }
    up = accepted(brackets);
    assert_string_equal(upstream_node_host(upstream_node_at(up, 0)), "::1");
    upstream_destroy(up);
    up = accepted(HEAD "[NODE]\nname n\nhost ::1\nport 65535\n");
    assert_string_equal(upstream_node_host(upstream_node_at(up, 0)), "::1");
    assert_int_equal(upstream_node_port(upstream_node_at(up, 0)), 65535);
    upstream_destroy(up);
}

static void switches(void **state)
{
    static const char *const on[] = {"true", "on", "yes", "TRUE", "On", "yEs"};
    static const char *const off[] = {"false", "off", "no", "FALSE", "Off", "nO"};
    static const char *const neither[] = {"1", "0", "yess", "enabled", "t"};
    char text[256];
    upstream_t *up;
    size_t i;
    (void)state;
    for (i = 0; i < 6; i++) {
        snprintf(text, sizeof(text), HEAD NODE "tls %s\ntls.verify off\n", on[i]);
        up = accepted(text);
        assert_int_equal(upstream_node_tls(upstream_node_at(up, 0)), 1);
        upstream_destroy(up);
        snprintf(text, sizeof(text), HEAD NODE "tls %s\n", off[i]);
        up = accepted(text);
        assert_int_equal(upstream_node_tls(upstream_node_at(up, 0)), 0);
        upstream_destroy(up);
    }
    for (i = 0; i < 5; i++) {
        static const char *const parts[] = {"test.conf:7:", "tls", NULL};
        snprintf(text, sizeof(text), HEAD NODE "tls %s\n", neither[i]);
        refused_bytes(text, strlen(text), parts);
    }
    assert_int_equal(setenv("UPSTREAM_TEST_TLS", "on", 1), 0);
    up = accepted(HEAD NODE "tls ${UPSTREAM_TEST_TLS}\ntls.verify off\n");
    assert_int_equal(upstream_node_tls(upstream_node_at(up, 0)), 1);
    upstream_destroy(up);
    unsetenv("UPSTREAM_TEST_TLS");
}

static void durations(void **state)
{
    static const char *const good[] = {"250ms", "10", "10s", "2m", "1h", "1d"};
    static const char *const bad[] = {"10x", "abc", "-5", "1.5s", "10 s", "s"};
    char text[256];
    size_t i;
    (void)state;
    for (i = 0; i < 6; i++) {
        snprintf(text, sizeof(text), HEAD NODE "net.connect_timeout %s\n", good[i]);
        no_warning(text);
    }
    for (i = 0; i < 6; i++) {
        static const char *const parts[] = {"test.conf:7:", "net.connect_timeout", NULL};
        snprintf(text, sizeof(text), HEAD NODE "net.connect_timeout %s\n", bad[i]);
        refused_bytes(text, strlen(text), parts);
    }
}

static void lengths(void **state)
{
    static const char *const parts[] = {"test.conf:7:", NULL};
    size_t room = 3 * 1024 * 1024, prefix = strlen(HEAD NODE);
    char *text = malloc(room);
    upstream_t *up;
    (void)state;
    /* A key of 1 KiB and a value of 1 MiB. */
    memcpy(text, HEAD NODE, prefix);
    memset(text + prefix, 'k', 1024);
    text[prefix + 1024] = ' ';
    memset(text + prefix + 1025, 'v', 1024 * 1024);
    text[prefix + 1025 + 1024 * 1024] = '\0';
    up = accepted(text);
    text[prefix + 1024] = '\0';
    assert_int_equal(strlen(upstream_node_get_prop(upstream_node_at(up, 0), text + prefix)),
                     1024 * 1024);
    upstream_destroy(up);
    text[prefix + 1024] = ' ';
    /* One more of each. */
    strcat(text + prefix + 1025, "v");
    refused_bytes(text, strlen(text), parts);
    memset(text + prefix, 'k', 1025);
    strcpy(text + prefix + 1025, " v");
    refused_bytes(text, strlen(text), parts);
    free(text);
}

static void bytes_that_are_no_text(void **state)
{
    static const char nul[] = HEAD NODE "key a\0b\n";
    static const char *const seventh[] = {"test.conf:7:6", NULL};
    static const char *const key[] = {"test.conf:7:1", "UTF-8", NULL};
    (void)state;
    refused_bytes(nul, sizeof(nul) - 1, seventh);
    refused_bytes(HEAD NODE "\xff\xfe value\n", strlen(HEAD NODE "\xff\xfe value\n"), key);
}

static void near_misses(void **state)
{
    (void)state;
    refused(HEAD NODE "tls on\ntls.verfiy off\n", "test.conf:8:", "tls.verify");
    refused(HEAD NODE "net.conect_timeout 5s\n", "test.conf:7:", "net.connect_timeout");
    refused(HEAD NODE "health.max_fail 5\n", "test.conf:7:", "health.max_fails");
    refused(HEAD NODE "tls.nothing_like_it 5\n", "test.conf:7:", "tls.nothing_like_it");
    refused(HEAD NODE "tls_verify off\n", "test.conf:7:", "tls.verify");
    warned(HEAD NODE "wieght 2\n", "test.conf:7:", "weight");
    no_warning(HEAD NODE "shared_key s\nusername u\npassword p\nself_hostname h\n"
                         "time_as_integer on\nsend_options on\n"
                         "require_ack_response on\ntag t\ncompress gzip\nack_timeout 5s\n"
                         "empty_shared_key off\n");
}

static void variables(void **state)
{
    (void)state;
    assert_int_equal(setenv("UPSTREAM_TEST_A", "alpha", 1), 0);
    assert_int_equal(setenv("UPSTREAM_TEST_EMPTY", "", 1), 0);
    unsetenv("UPSTREAM_TEST_UNSET");
    prop_is(HEAD NODE "key x${UPSTREAM_TEST_A}y\n", "key", "xalphay");
    prop_is(HEAD NODE "key ${UPSTREAM_TEST_A}-${UPSTREAM_TEST_A}\n", "key", "alpha-alpha");
    prop_is(HEAD NODE "key ${UPSTREAM_TEST_UNSET:-other}\n", "key", "other");
    prop_is(HEAD NODE "key a${UPSTREAM_TEST_UNSET:-}\n", "key", "a");
    prop_is(HEAD NODE "key costs 5$\n", "key", "costs 5$");
    prop_is("[UPSTREAM]\nname u\n[NODE]\nname ${UPSTREAM_TEST_A}\nhost h\nport 1\n", "name",
            "alpha");
    refused(HEAD NODE "key ${UPSTREAM_TEST_UNSET}\n", "test.conf:7:", "UPSTREAM_TEST_UNSET");
    prop_is("@SET A=set\n" HEAD NODE "key ${A}\n", "key", "set");
    prop_is(HEAD NODE "@SET A=one\nkey ${A}\n@SET A=two\nother ${A}\n", "other", "two");
    refused(HEAD NODE "key ${A_BELOW}\n@SET A_BELOW=x\n", "test.conf:7:", "A_BELOW");
    unsetenv("UPSTREAM_TEST_A");
    unsetenv("UPSTREAM_TEST_EMPTY");
}

static void wrong_places_and_modes(void **state)
{
    (void)state;
    refused(HEAD "balance least-connections\n" NODE, "test.conf:3:", "least-connections");
    refused(HEAD "balance none-such\n" NODE, "test.conf:3:", "round-robin");
    refused(HEAD NODE "deliver.timeout 5s\n", "test.conf:7:", "[UPSTREAM]");
    no_warning(HEAD
               "balance round-robin\nstart random\ndeliver.timeout 5s\nnet.io_timeout 5s\n" NODE);
}

static void accepted_without_effect(void **state)
{
    (void)state;
    warned(HEAD NODE "slow_start 5s\n", "test.conf:7:", "slow_start");
    warned(HEAD NODE "net.dns.resolver legacy\n", "test.conf:7:", "system");
}

/* Files in a private folder. */
static char folder[] = "/tmp/upstream-config-XXXXXX";

static const char *put(const char *name, const char *text)
{
    static char path[256];
    FILE *file;
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return path;
}

static upstream_t *load(const char *name)
{
    char path[256];
    upstream_t *up = NULL;
    upstream_error_t *err = NULL;
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (upstream_create(path, NULL, &up, &err) != UPSTREAM_OK) {
        print_error("%s\n", upstream_error_message(err));
        upstream_error_free(err);
        fail();
    }
    return up;
}

static void load_fails(const char *name, upstream_status_t status, const char *part)
{
    char path[256];
    upstream_t *up = NULL;
    upstream_error_t *err = NULL;
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_status(upstream_create(path, NULL, &up, &err), status);
    check_contains(upstream_error_message(err), part);
    upstream_error_free(err);
}

static void includes(void **state)
{
    upstream_t *up;
    (void)state;
    put("head.inc", HEAD);
    put("n1.node", "[NODE]\nname a\nhost h\nport 1\n");
    put("n2.node", "[NODE]\nname b\nhost h\nport 2\n");
    put("main.conf", "@INCLUDE head.inc\n@include *.node\n[NODE]\nname c\nhost h\nport 3\n");
    up = load("main.conf");
    assert_int_equal(upstream_node_count(up), 3);
    assert_string_equal(upstream_node_name(upstream_node_at(up, 0)), "a");
    assert_string_equal(upstream_node_name(upstream_node_at(up, 2)), "c");
    upstream_destroy(up);
    put("missing.conf", HEAD NODE "@INCLUDE none.inc\n");
    load_fails("missing.conf", UPSTREAM_ERR_CONFIG, "missing.conf:7:");
    put("cycle.conf", HEAD NODE "@INCLUDE cycle2.inc\n");
    put("cycle2.inc", "@INCLUDE cycle.conf\n");
    load_fails("cycle.conf", UPSTREAM_ERR_CONFIG, "cycle2.inc:1:");
    put("bad.inc", "[NODE]\nname x\nhost h\nport zero\n");
    put("in.conf", HEAD "@INCLUDE bad.inc\n");
    load_fails("in.conf", UPSTREAM_ERR_CONFIG, "bad.inc:4:");
}

static void files_that_are_none(void **state)
{
    char path[256];
    FILE *file;
    (void)state;
    load_fails("none.conf", UPSTREAM_ERR_IO, "none.conf");
    load_fails("", UPSTREAM_ERR_IO, "directory");
    snprintf(path, sizeof(path), "%s/fifo", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    load_fails("fifo", UPSTREAM_ERR_IO, "fifo"); /* and does not wait for a writer */
    snprintf(path, sizeof(path), "%s/large.conf", folder);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fseek(file, 32 * 1024 * 1024, SEEK_SET), 0);
    fputs("x\n", file);
    fclose(file);
    load_fails("large.conf", UPSTREAM_ERR_IO, "32 MiB");
}

static void the_error_in_parts(void **state)
{
    upstream_error_t *err = check_refused(HEAD "[NODE]\nname n\nhost h\nport x\n", NULL);
    (void)state;
    assert_int_equal(upstream_error_line(err), 6);
    assert_int_equal(upstream_error_errno(err), 0);
    assert_null(upstream_error_node(err));
    upstream_error_free(err);
}

static void options_are_checked_too(void **state)
{
    upstream_options_t *options;
    upstream_error_t *err = NULL;
    upstream_t *up;
    (void)state;
    assert_status(upstream_options_create(&options), UPSTREAM_OK);
    assert_status(upstream_options_set(options, "net.conect_timeout", "5s", &err),
                  UPSTREAM_ERR_CONFIG);
    check_contains(upstream_error_message(err), "net.connect_timeout");
    upstream_error_free(err);
    assert_status(upstream_options_set(options, "net.connect_timeout", "5x", NULL),
                  UPSTREAM_ERR_CONFIG);
    assert_status(upstream_options_set(options, "TLS", "on", NULL), UPSTREAM_OK);
    assert_status(upstream_options_set(options, "tls.verify", "off", NULL), UPSTREAM_OK);
    up = check_create(HEAD NODE "[NODE]\nname plain\nhost h\nport 1\ntls off\n", options);
    assert_int_equal(upstream_node_tls(upstream_node_at(up, 0)), 1);
    assert_int_equal(upstream_node_tls(upstream_node_at(up, 1)), 0);
    upstream_destroy(up);
    upstream_options_destroy(options);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    char command[300];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_ends_and_letter_case),
        cmocka_unit_test(blanks_and_comments),
        cmocka_unit_test(values_are_kept_as_they_stand),
        cmocka_unit_test(section_lines),
        cmocka_unit_test(mandatory_keys),
        cmocka_unit_test(duplicates),
        cmocka_unit_test(ports_and_hosts),
        cmocka_unit_test(switches),
        cmocka_unit_test(durations),
        cmocka_unit_test(lengths),
        cmocka_unit_test(bytes_that_are_no_text),
        cmocka_unit_test(near_misses),
        cmocka_unit_test(variables),
        cmocka_unit_test(wrong_places_and_modes),
        cmocka_unit_test(accepted_without_effect),
        cmocka_unit_test(includes),
        cmocka_unit_test(files_that_are_none),
        cmocka_unit_test(the_error_in_parts),
        cmocka_unit_test(options_are_checked_too),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
