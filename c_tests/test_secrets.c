/* The memory of the process is searched for a secret of the upstream file: while the set lives it
 * is there as often as must be, and after that it is nowhere. */
#define _GNU_SOURCE
#include "support/check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/memory.h"
#include "support/openssl.h"

/* In a text, where the secret goes. */
#define SECRET "@@"
#define HEAD "[UPSTREAM]\nname u\n"
#define NODE "[NODE]\nname n\nhost h\nport 1\n"
#define VARIABLE "UPSTREAM_TEST_SECRET"

static char *folder;

static int make_folder(void **state)
{
    (void)state;
    memory_random_needle();
    folder = openssl_make_folder();
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    openssl_remove_folder(folder);
    return 0;
}

/* `text` with the secret in it. End it with forget(). */
static char *with_secret(const char *text)
{
    size_t count = 0;
    const char *from, *at;
    char *made, *to;
    for (at = text; (at = strstr(at, SECRET)) != NULL; at += strlen(SECRET)) {
        count++;
    }
    to = made = malloc(strlen(text) + count * MEMORY_NEEDLE + 1);
    assert_non_null(made);
    for (from = text; (at = strstr(from, SECRET)) != NULL; from = at + strlen(SECRET)) {
        memcpy(to, from, (size_t)(at - from));
        to += at - from;
        memory_write_needle(to);
        to += MEMORY_NEEDLE;
    }
    strcpy(to, from);
    return made;
}

static void forget(char *text)
{
    memory_wipe(text, strlen(text));
    free(text);
}

static void write_file(const char *name, const char *text)
{
    char path[300], *made = with_secret(text);
    int file;
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_not_equal(file, -1);
    assert_int_equal(write(file, made, strlen(made)), strlen(made));
    close(file);
    forget(made);
}

static void set_variable(void)
{
    char *value = with_secret(SECRET);
    assert_int_equal(setenv(VARIABLE, value, 1), 0);
    forget(value);
}

static void unset_variable(void)
{
    memory_wipe(getenv(VARIABLE), MEMORY_NEEDLE);
    unsetenv(VARIABLE);
}

static void expect(size_t copies, const char *what)
{
    size_t found = memory_count();
    if (found != copies) {
        fail_msg("%s: %zu copies of the secret, not %zu", what, found, copies);
    }
}

/* From text. Any text of the file, with the copies that live as long as the set. The texts are
 * kept in one piece, which upstream_node_get_prop() hands out. */
static const struct {
    const char *name;
    const char *text;
    size_t copies;
} texts[] = {
    {"a key that looks like a secret", HEAD NODE "shared_key " SECRET "\n", 1},
    {"any other key", HEAD NODE "motto " SECRET "\n", 1},
    {"a part of a value", HEAD NODE "url http://u:" SECRET "@h/\n", 1},
    {"inherited by two nodes",
     HEAD "shared_key " SECRET "\n" NODE "[NODE]\nname m\nhost h\nport 1\n", 1},
    {"set by @SET", "@SET A=" SECRET "\n" HEAD NODE "shared_key ${A}\n", 1},
    {"set by @SET and not used", "@SET A=" SECRET "\n" HEAD NODE, 0},
    {"a default", HEAD NODE "shared_key ${UPSTREAM_TEST_NOT_SET:-" SECRET "}\n", 1},
    {"a nested default", HEAD NODE "shared_key ${X_NOT_SET:-${Y_NOT_SET:-" SECRET "}}\n", 1},
    {"a comment", HEAD "# " SECRET "\n" NODE, 0},
    {"an unknown section", HEAD NODE "[OTHER]\nshared_key " SECRET "\n", 0},
    {"a key, by mistake", HEAD NODE SECRET " x\n", 1},
    {"a passphrase without a key file", HEAD NODE "tls off\ntls.key_passwd " SECRET "\n", 1},
};

static void a_set_keeps_one_copy_and_takes_it_along(void **state)
{
    size_t i;
    (void)state;
    expect(0, "before");
    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char *text = with_secret(texts[i].text);
        upstream_t *up = check_create(text, NULL);
        forget(text);
        expect(texts[i].copies, texts[i].name);
        upstream_destroy(up);
        expect(0, texts[i].name);
    }
}

/* Lines before which, and after which, the parser's buffers have to grow. */
static void buffers_that_grow_leave_nothing_behind(void **state)
{
    static char filler[300000];
    size_t i, at = 0;
    (void)state;
    for (i = 0; i < 7000; i++) {
        at +=
            (size_t)sprintf(filler + at, "[NODE]\nname n%zu\nhost h\nport 1\nk%zu v\n", i, i % 999);
    }
    for (i = 0; i < 3; i++) {
        char *text, *whole = malloc(2 * sizeof(filler) + 200);
        upstream_t *up;
        sprintf(whole, HEAD "%s[NODE]\nname n\nhost h\nport 1\nshared_key " SECRET "\n%s",
                i == 1 ? "" : filler, i == 1 ? filler : "");
        if (i == 2) {
            strcat(whole, SECRET " x\n");
        }
        text = with_secret(whole);
        free(whole);
        up = check_create(text, NULL);
        forget(text);
        expect(i == 2 ? 2 : 1, "a large set");
        upstream_destroy(up);
        expect(0, "after a large set");
    }
}

/* Refused at or after the line with the secret. No message shows it. */
static const char *const refused[] = {
    HEAD NODE "shared_key " SECRET "\nweight x\n",
    HEAD NODE "shared_key=" SECRET "\n",
    HEAD NODE "shared_key=" SECRET " x\nweight x\n",
    HEAD NODE "tls.key_passwd=" SECRET " x\n",
    HEAD NODE SECRET " x\nweight x\n",
    HEAD NODE SECRET "\n",
    SECRET "\n",
    "shared_key " SECRET "\n",
    "@SET A=" SECRET "\n" HEAD NODE "k ${A}\nweight x\n",
    "@SET A=" SECRET "\n" HEAD NODE "k ${A}${UPSTREAM_TEST_NOT_SET}\n",
    "@SETPASS=" SECRET "\n",
    "@" SECRET "\n",
    HEAD NODE "tls on\ntls.key_passwd " SECRET "\n",
    HEAD NODE "k ${" VARIABLE "}\nweight x\n",
    HEAD "shared_key " SECRET "\n",
    "[UPSTREAM]\n" SECRET " x\n" NODE,
    "[UPSTREAM]\n" SECRET "=x y\n" NODE,
    HEAD NODE "k " SECRET "\nk " SECRET "\n",
    HEAD NODE "shared_kye " SECRET "\nrequire_ack 7\n",
    HEAD NODE "shared_kye=" SECRET " x\n",
    HEAD NODE "pin " SECRET "\n",
    HEAD NODE "tls.key_passwd " SECRET "\ntls.key_passwd " SECRET "\n",
    HEAD NODE "host\xc2\xa0" SECRET " x\n",
    HEAD NODE "@SET A=${UPSTREAM_TEST_NOT_SET}" SECRET "\n",
    HEAD NODE "@SET " SECRET "\n",
    HEAD NODE "k ${UPSTREAM_TEST_NOT_SET:-" SECRET "\n",
    HEAD "[" SECRET "\n" NODE,
    HEAD "[OTHER " SECRET "]\n",
    HEAD NODE "k " SECRET "\n\xff",
    "{\"shared_key\": \"" SECRET "\"}\n",
    HEAD NODE "[NODE]\nname n\nhost h\nport 1\nshared_key " SECRET "\n",
    HEAD NODE "net.proxy http://u:" SECRET "@h\n",
    HEAD NODE "net.proxy http://u:" SECRET "%zz@h:1\n",
    HEAD NODE "net.proxy " SECRET ":1\n",
    HEAD NODE "net.proxy=http://u:" SECRET "@h:1\n",
    HEAD NODE "net.proxy http://u:" SECRET "@h:1\nweight x\n",
    HEAD NODE "host http://u:" SECRET "@h:1\n",
};

static void a_refused_text_leaves_nothing_behind(void **state)
{
    upstream_options_t *options = NULL;
    size_t i, failed = 0;
    (void)state;
    assert_status(upstream_options_create(&options), UPSTREAM_OK);
    upstream_options_declare_key(options, "shared_key", UPSTREAM_KEY_SECRET, NULL);
    upstream_options_declare_key(options, "require_ack", UPSTREAM_KEY_BOOL, NULL);
    upstream_options_declare_key(options, "pin", UPSTREAM_KEY_INT, NULL);
    set_variable();
    for (i = 0; i < 2 * sizeof(refused) / sizeof(refused[0]); i++) {
        char *text = with_secret(refused[i / 2]);
        upstream_t *up = NULL;
        upstream_error_t *err = NULL;
        if (upstream_create_from_text(text, strlen(text), "f", i % 2 != 0 ? options : NULL, &up,
                                      &err) == UPSTREAM_OK) {
            upstream_destroy(up); /* only what is declared is checked */
        }
        forget(text);
        expect(1, refused[i / 2]); /* the variable itself; none in the message */
        failed += err != NULL;
        upstream_error_free(err);
    }
    assert_true(failed > sizeof(refused) / sizeof(refused[0]));
    upstream_options_destroy(options);
    unset_variable();
    expect(0, "after all");
}

/* The value, and user and password as a proxy wants them. A dial leaves nothing more. */
static void a_password_for_a_proxy(void **state)
{
    char *text =
        with_secret("[UPSTREAM]\nname u\nnet.proxy http://u:" SECRET "@127.0.0.1:9\n" NODE);
    upstream_t *up = check_create(text, NULL);
    upstream_error_t *err = NULL;
    upstream_conn_t *conn = NULL;
    (void)state;
    forget(text);
    expect(2, "a proxy");
    assert_status(upstream_connect(up, &conn, &err), UPSTREAM_ERR_CONNECT);
    expect(2, "a dial to a proxy");
    upstream_error_free(err);
    upstream_destroy(up);
    expect(0, "after a proxy");
}

static void a_variable_is_copied_once(void **state)
{
    upstream_t *up;
    (void)state;
    set_variable();
    up = check_create(HEAD NODE "shared_key ${" VARIABLE "}\n", NULL);
    unset_variable();
    expect(1, "a variable");
    upstream_destroy(up);
    expect(0, "after a variable");
}

static void options_keep_a_copy_of_their_own(void **state)
{
    upstream_options_t *options = NULL;
    upstream_error_t *err = NULL;
    upstream_t *up;
    char *value = with_secret("  " SECRET " "), *joined = with_secret("tls.key_passwd=" SECRET);
    (void)state;
    assert_status(upstream_options_create(&options), UPSTREAM_OK);
    assert_status(upstream_options_declare_key(options, "shared_key", UPSTREAM_KEY_SECRET, NULL),
                  UPSTREAM_OK);
    assert_status(upstream_options_set(options, "shared_key", value, NULL), UPSTREAM_OK);
    assert_status(upstream_options_set(options, "other", value, NULL), UPSTREAM_OK);
    assert_status(upstream_options_set(options, "other", "x", NULL), UPSTREAM_OK);
    assert_status(upstream_options_set(options, joined, "\x01", &err), UPSTREAM_ERR_CONFIG);
    forget(joined);
    upstream_error_free(err);
    forget(value);
    expect(1, "options");
    up = check_create(HEAD NODE, options);
    expect(2, "options and a set");
    upstream_options_destroy(options);
    expect(1, "a set");
    upstream_destroy(up);
    expect(0, "after options");
}

/* A file, what it includes, and a section whose lines do not stand together. */
static void files_leave_nothing_behind(void **state)
{
    char path[300];
    upstream_t *up = NULL;
    (void)state;
    write_file("main.conf", HEAD "@INCLUDE part.conf\nshared_key " SECRET "\n" NODE);
    write_file("part.conf", "[NODE]\nname m\nhost h\nport 1\nmore " SECRET "\n");
    snprintf(path, sizeof(path), "%s/main.conf", folder);
    assert_status(upstream_create(path, NULL, &up, NULL), UPSTREAM_OK);
    expect(2, "two files");
    upstream_destroy(up);
    expect(0, "after two files");
    write_file("part.conf", SECRET "\n");
    assert_status(upstream_create(path, NULL, &up, NULL), UPSTREAM_ERR_CONFIG);
    expect(0, "after a secret alone in a file");
}

static void run(const char *command)
{
    if (system(command) != 0) {
        fail_msg("%s", command);
    }
}

/* The passphrase of a key: one copy, of the value in the file, because the key may be read again.
 * Of the key file's text none is left even while the set lives. */
static void a_key_and_its_passphrase(void **state)
{
    static const struct {
        const char *name;
        const char *make;
        size_t copies;
    } keys[] = {
        {"PBKDF2", "openssl pkcs8 -topk8 -in %s/client.key -out %s/c.p8 -passout file:%s/pw", 1},
        {"scrypt",
         "openssl pkcs8 -topk8 -scrypt -in %s/client.key -out %s/c.p8 -passout file:%s/pw", 1},
    };
    char command[1000], text[1500];
    size_t i;
    (void)state;
    write_file("pw", SECRET "\n");
    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        char *whole;
        upstream_t *up;
        snprintf(command, sizeof(command), keys[i].make, folder, folder, folder);
        run(command);
        snprintf(text, sizeof(text),
                 HEAD NODE "tls on\ntls.verify off\ntls.crt_file %s/client.crt\n"
                           "tls.key_file %s/c.p8\ntls.key_passwd " SECRET "\n",
                 folder, folder);
        whole = with_secret(text);
        up = check_create(whole, NULL);
        forget(whole);
        expect(keys[i].copies, keys[i].name);
        upstream_destroy(up);
        expect(0, keys[i].name);
    }
}

static void the_text_of_a_key_file(void **state)
{
    static const char *const keys[] = {"client.key", "client.p1", "client-rsa.key",
                                       "client-rsa.p1"};
    char path[300], text[1500], line[200];
    size_t i;
    (void)state;
    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        upstream_t *up;
        FILE *file;
        snprintf(path, sizeof(path), "%s/%s", folder, keys[i]);
        file = fopen(path, "r");
        setvbuf(file, NULL, _IONBF, 0);
        while (fgets(line, sizeof(line), file) && strncmp(line, "-----BEGIN", 10) != 0) {
        }
        assert_non_null(fgets(line, sizeof(line), file));
        fclose(file);
        memory_set_needle(line);
        memory_wipe(line, sizeof(line));
        expect(0, keys[i]);
        snprintf(text, sizeof(text),
                 HEAD NODE "tls on\ntls.verify off\ntls.crt_file %s/%s.crt\ntls.key_file %s\n",
                 folder, strncmp(keys[i], "client-rsa", 10) == 0 ? "client-rsa" : "client", path);
        up = check_create(text, NULL);
        expect(0, keys[i]);
        upstream_destroy(up);
        expect(0, keys[i]);
    }
    memory_random_needle();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_keeps_one_copy_and_takes_it_along),
        cmocka_unit_test(buffers_that_grow_leave_nothing_behind),
        cmocka_unit_test(a_refused_text_leaves_nothing_behind),
        cmocka_unit_test(a_password_for_a_proxy),
        cmocka_unit_test(a_variable_is_copied_once),
        cmocka_unit_test(options_keep_a_copy_of_their_own),
        cmocka_unit_test(files_leave_nothing_behind),
        cmocka_unit_test(a_key_and_its_passphrase),
        cmocka_unit_test(the_text_of_a_key_file),
    };
    return check_run_tests(tests, make_folder, remove_folder);
}
