/* Hostile text through every argument of the API: whatever it is, each message of an error and each
 * line of the log is one line of at most 2000 bytes of UTF-8, without control characters. The
 * places in a file have their own table, in src/config/tests/hostile.rs. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/plain_text.h"
#include "support/scripted.h"

#include <pthread.h>

enum { BIG = 3 * 1000 * 1000 };
#define HEAD "[UPSTREAM]\nname u\n"
#define NODE "[NODE]\nname n\nhost h\nport 1\n"

static char *texts[20];
static size_t count_of_texts;
static size_t checked, lines;

static void add(const char *part, size_t length)
{
    size_t i, size = strlen(part);
    char *text = malloc(length + size + 1);
    assert_non_null(text);
    for (i = 0; i < length; i += size) {
        memcpy(text + i, part, size);
    }
    text[i == 0 ? 0 : i] = '\0';
    assert_true(count_of_texts < sizeof(texts) / sizeof(texts[0]));
    texts[count_of_texts++] = text;
}

static void add_once(const char *text)
{
    add(text, strlen(text));
}

static int make_texts(void **state)
{
    (void)state;
    add_once("\x1b[31mred\x1b]0;title\x07");
    add_once("two\nlines\r\n");
    add_once("\x7f\b\t");
    add_once("\xc2\x9b"
             "31m\xc2\x85"); /* C1 */
    add_once("a\xe2\x80\xa8"
             "b\xe2\x80\xa9");                             /* line and paragraph separators */
    add_once("\xe2\x80\xaegnp.\xe2\x81\xa6x\xe2\x81\xa9"); /* bidirectional */
    add_once("\xff\xfe\xc3");                              /* not UTF-8 */
    add_once("%s%n\"'`{}");
    add_once("http://user:hunter2@host/");
    add("x", BIG);
    add("\x1b", BIG);
    add("\xe2\x82\xac", BIG);
    add("\xff", BIG);
    add("http://user:hunter2@host/ ", BIG);
    return 0;
}

static int free_texts(void **state)
{
    (void)state;
    while (count_of_texts > 0) {
        free(texts[--count_of_texts]);
    }
    return 0;
}

static void check_message(const char *message, const char *place)
{
    check_plain_text(message, place);
    assert_null(strstr(message, "hunter2"));
    checked++;
}

/* What a line of the log broke; only the test's own thread may fail it. */
static char broken[100];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void check_line(int32_t level, const char *message, void *ctx)
{
    (void)level;
    pthread_mutex_lock(&lock);
    lines++;
    if (plain_text_flaw(message) != NULL || strstr(message, "hunter2") != NULL) {
        snprintf(broken, sizeof(broken), "%s: %zu bytes: %.40s", (const char *)ctx, strlen(message),
                 message);
    }
    pthread_mutex_unlock(&lock);
}

static upstream_options_t *logging(const char *place)
{
    upstream_options_t *options = NULL;
    assert_status(upstream_options_create(&options), UPSTREAM_OK);
    assert_status(upstream_options_set_logger(options, UPSTREAM_LOG_TRACE, check_line,
                                              (void *)(uintptr_t)place),
                  UPSTREAM_OK);
    return options;
}

/* Checks the error of a call that failed, and the log. */
static void check_error(upstream_status_t status, upstream_error_t *err, const char *place)
{
    if (status != UPSTREAM_OK) {
        assert_non_null(err);
        check_message(upstream_error_message(err), place);
    }
    upstream_error_free(err);
    if (broken[0] != '\0') {
        fail_msg("a line of the log: %s", broken);
    }
}

static void names_and_texts(void **state)
{
    static const char *const contents[] = {"x\n", HEAD NODE "[OTHER]\n", HEAD NODE "weight x\n",
                                           ""};
    size_t i, j;
    (void)state;
    for (i = 0; i < count_of_texts; i++) {
        upstream_options_t *options = logging("a name");
        upstream_t *up = NULL;
        upstream_error_t *err = NULL;
        upstream_status_t status = upstream_create(texts[i], options, &up, &err);
        assert_status(status, UPSTREAM_ERR_IO);
        check_error(status, err, "a path");
        for (j = 0; j < sizeof(contents) / sizeof(contents[0]); j++) {
            err = NULL;
            status = upstream_create_from_text(contents[j], strlen(contents[j]), texts[i], options,
                                               &up, &err);
            check_error(status, err, "a source name");
            if (status == UPSTREAM_OK) {
                upstream_destroy(up);
            }
        }
        err = NULL;
        status = upstream_create_from_text(texts[i], strlen(texts[i]), NULL, options, &up, &err);
        assert_status(status, UPSTREAM_ERR_CONFIG);
        check_error(status, err, "a text");
        upstream_options_destroy(options);
    }
}

static void options_and_declared_keys(void **state)
{
    static const char *const keys[] = {
        "tls",     "tls.vhost", "tls.ciphers", "tls.ca_file", "config.dir",     "deliver.timeout",
        "balance", "weight",    "name",        "shared_key",  "timeout_of_mine"};
    size_t i, j;
    (void)state;
    for (i = 0; i < count_of_texts; i++) {
        for (j = 0; j < sizeof(keys) / sizeof(keys[0]); j++) {
            upstream_options_t *options = logging(keys[j]);
            upstream_t *up = NULL;
            upstream_error_t *err = NULL;
            upstream_status_t status;
            if (strlen(texts[i]) >= BIG && j % 4 != 0) {
                upstream_options_destroy(options);
                continue; /* a long one takes time */
            }
            upstream_options_declare_key(options, "timeout_of_mine", UPSTREAM_KEY_MS, NULL);
            status = upstream_options_set(options, keys[j], texts[i], &err);
            check_error(status, err, keys[j]);
            err = NULL;
            status =
                upstream_create_from_text(HEAD NODE, strlen(HEAD NODE), NULL, options, &up, &err);
            check_error(status, err, keys[j]);
            if (status == UPSTREAM_OK) {
                upstream_destroy(up);
            }
            err = NULL;
            status = upstream_options_set(options, texts[i], "x", &err);
            check_error(status, err, "an option's key");
            err = NULL;
            status = upstream_options_declare_key(options, texts[i], UPSTREAM_KEY_TEXT, &err);
            check_error(status, err, "a declared key");
            upstream_options_destroy(options);
        }
    }
}

/* The words of a plugin. */
static const char *words;
static int is_busy;

static upstream_status_t say(upstream_conn_t *conn, void *payload)
{
    (void)payload;
    return is_busy ? upstream_conn_busy(conn, 1, words)
                   : upstream_conn_report(conn, UPSTREAM_ERR_PROTOCOL, words);
}

static void words_of_the_plugin(void **state)
{
    struct scripted *servers[2];
    uint16_t ports[2];
    char *text;
    size_t i;
    (void)state;
    scripted_start_all(servers, ports, 2, SCRIPTED_GOOD);
    text = check_nodes_text(ports, 2, "");
    for (i = 0; i < count_of_texts * 2; i++) {
        upstream_options_t *options = logging("words");
        upstream_error_t *err = NULL;
        upstream_t *up;
        upstream_status_t status;
        words = texts[i / 2];
        is_busy = i % 2 != 0;
        up = check_create(text, options);
        status = upstream_deliver(up, say, NULL, 2000, &err);
        assert_int_not_equal(status, UPSTREAM_OK);
        check_error(status, err, "words");
        upstream_destroy(up);
        upstream_options_destroy(options);
    }
    free(text);
    scripted_stop_all(servers, 2);
}

/* Names of nodes, keys and values that a file may hold, where they are told at run time. */
static void names_of_nodes_and_values(void **state)
{
    size_t i;
    (void)state;
    for (i = 0; i < count_of_texts; i++) {
        upstream_options_t *options = logging("a node");
        char *text = malloc(2 * BIG + 400);
        upstream_error_t *err = NULL;
        upstream_t *up = NULL;
        upstream_status_t status;
        int cut = strlen(texts[i]) > 1000000 ? 999999 : (int)strlen(texts[i]);
        assert_non_null(text);
        sprintf(text, HEAD "[NODE]\nname %.*s\nhost 127.0.0.1\nport 1\nk v%.*s\n", cut, texts[i],
                cut - 1, texts[i]);
        status = upstream_create_from_text(text, strlen(text), NULL, options, &up, &err);
        check_error(status, err, "a node's name");
        if (status == UPSTREAM_OK) {
            upstream_node_t *node = upstream_node_at(up, 0);
            assert_int_equal(upstream_node_get_prop_int(node, "k", -7), -7);
            assert_int_equal(upstream_node_get_prop_ms(node, "k", -7), -7);
            assert_int_equal(upstream_node_get_prop_size(node, "k", -7), -7);
            assert_int_equal(upstream_node_get_prop_bool(node, "k", -7), -7);
            err = NULL;
            status = upstream_deliver(up, say, NULL, 2000, &err);
            assert_status(status, UPSTREAM_ERR_CONNECT);
            check_error(status, err, "a node that refuses");
            upstream_node_pause(node, 5);
            upstream_node_report(node, UPSTREAM_ERR_NETWORK);
            upstream_destroy(up);
        }
        check_error(UPSTREAM_OK, NULL, "");
        upstream_options_destroy(options);
        free(text);
    }
    assert_true(checked > 300 && lines > 100);
}

static void names_of_payloads(void **state)
{
    upstream_t *up = check_create(HEAD NODE, NULL);
    size_t i;
    (void)state;
    for (i = 0; i < count_of_texts; i++) {
        upstream_delivery_t delivery = UPSTREAM_DELIVERY_INIT;
        upstream_attempt_t *attempt = NULL;
        upstream_error_t *err = NULL;
        upstream_status_t status;
        delivery.payload_id = texts[i];
        if (strlen(texts[i]) <= 64 && strpbrk(texts[i], "%h") != NULL) {
            continue; /* a good name */
        }
        status = upstream_deliver_with(up, &delivery, say, NULL, &err);
        assert_status(status, UPSTREAM_ERR_INVALID_ARG);
        check_error(status, err, "a payload's name");
        assert_status(upstream_attempt_begin_with(up, &delivery, &attempt),
                      UPSTREAM_ERR_INVALID_ARG);
    }
    upstream_destroy(up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_texts),     cmocka_unit_test(options_and_declared_keys),
        cmocka_unit_test(words_of_the_plugin), cmocka_unit_test(names_of_nodes_and_values),
        cmocka_unit_test(names_of_payloads),
    };
    return check_run_tests(tests, make_texts, free_texts);
}
