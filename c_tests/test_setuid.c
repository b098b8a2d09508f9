/* A program that runs with more rights than its caller has (setuid; the kernel says so by
 * AT_SECURE) does not obey the caller's environment: not SSL_CERT_FILE, SSL_CERT_DIR, nor ${VAR}.
 *
 * The test copies itself, gives the copy to another user, and sets the setuid bit. The copy says
 * what the library did. For comparison the other user starts it without the bit: then the same
 * environment is obeyed. Needs root, and a kernel that honours the bit. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/openssl.h"
#include "support/process.h"

#include <grp.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SKIPPED = 77, OTHER = 65534 /* nobody */ };

/* ---- the copy ---- */

static void tell(int32_t level, const char *message, void *ctx)
{
    (void)level;
    (void)ctx;
    printf("log: %s\n", message);
}

/* Creates the set of the file and connects, and says how that went. */
static int look(const char *path)
{
    upstream_options_t *options = NULL;
    upstream_error_t *err = NULL;
    upstream_conn_t *conn = NULL;
    upstream_t *up = NULL;
    upstream_status_t status;
    printf("secure: %lu %d\n", getauxval(AT_SECURE), (int)geteuid());
    upstream_options_create(&options);
    upstream_options_set_logger(options, UPSTREAM_LOG_WARN, tell, NULL);
    status = upstream_create(path, options, &up, &err);
    if (status == UPSTREAM_OK) {
        status = upstream_connect(up, &conn, &err);
    }
    printf("%s: %s\n", upstream_status_name(status), err ? upstream_error_message(err) : "");
    fflush(stdout);
    upstream_error_free(err);
    upstream_conn_discard(conn);
    upstream_destroy(up);
    upstream_options_destroy(options);
    return 0;
}

/* The same as the other user. A program started anew is needed: AT_SECURE is set at the start. */
static int look_as_other(const char *self, const char *path)
{
    if (setgroups(0, NULL) != 0 || setgid(OTHER) != 0 || setuid(OTHER) != 0) {
        return 1;
    }
    execl(self, self, "look", path, (char *)NULL);
    return 1;
}

/* ---- the test ---- */

static char setuid_copy[256], plain_copy[256];

/* What a copy said, in one text. */
static void run(const char *how, const char *copy, const char *path, char *said, size_t size)
{
    const char *arguments[] = {copy, how, path, NULL};
    struct process process = process_start(arguments, openssl_folder);
    char line[2200];
    said[0] = '\0';
    while (process_read_line(&process, line, sizeof(line))) {
        size_t used = strlen(said);
        snprintf(said + used, size - used, "%s\n", line);
    }
    process_finish(&process);
}

static void with_setuid(const char *path, char *said, size_t size)
{
    run("look", setuid_copy, path, said, size);
    check_contains(said, "secure: 1 65534\n");
}

static void without_setuid(const char *path, char *said, size_t size)
{
    run("as-other", plain_copy, path, said, size);
    check_contains(said, "secure: 0 65534\n");
}

/* A file of the folder that all users may read. */
static const char *file(const char *name, const char *text)
{
    static char path[256];
    FILE *out;
    snprintf(path, sizeof(path), "%s/%s", openssl_folder, name);
    out = fopen(path, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
    assert_int_equal(chmod(path, 0644), 0);
    return path;
}

static void a_setuid_program_does_not_trust_the_callers_certificates(void **state)
{
    static const struct {
        const char *variable, *name;
    } rows[] = {{"SSL_CERT_FILE", "ca.crt"}, {"SSL_CERT_DIR", "roots"}};
    struct openssl_server *server = openssl_start(openssl_folder, "-cert valid.crt -key valid.key");
    char text[256], hostile[256], said[8192];
    const char *path;
    size_t i;
    (void)state;
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\n[NODE]\nname n\nhost 127.0.0.1\nport %u\ntls on\n"
             "tls.vhost localhost\n",
             (unsigned)openssl_port(server));
    path = file("certificates.conf", text);
    for (i = 0; i < 2; i++) {
        snprintf(hostile, sizeof(hostile), "%s/%s", openssl_folder, rows[i].name);
        setenv(rows[i].variable, hostile, 1);
        without_setuid(path, said, sizeof(said));
        check_contains(said, "UPSTREAM_OK: \n");
        assert_null(strstr(said, "log: "));
        with_setuid(path, said, sizeof(said));
        assert_null(strstr(said, "UPSTREAM_OK"));
        check_contains(said, "log: SSL_CERT_FILE and SSL_CERT_DIR are not used");
        check_contains(said, "certificate");
        unsetenv(rows[i].variable);
    }
    openssl_stop(server);
}

static void a_setuid_program_does_not_take_the_callers_variables(void **state)
{
    char said[8192];
    const char *path = file("variable.conf", "[UPSTREAM]\nname u\n[NODE]\nname n\n"
                                             "host ${WHERE_TO}\nport 1\n");
    (void)state;
    setenv("WHERE_TO", "127.0.0.1", 1);
    without_setuid(path, said, sizeof(said));
    check_contains(said, "UPSTREAM_ERR_CONNECT: ");
    with_setuid(path, said, sizeof(said));
    check_contains(said, "UPSTREAM_ERR_CONFIG: ");
    check_contains(said, "variable.conf:5:6: the variable WHERE_TO is not set");
    check_contains(said, "the variable WHERE_TO of the environment is not used, because this "
                         "process has privileges that its caller does not have (AT_SECURE); write "
                         "the value in the file, or set it there with @SET WHERE_TO=...");
    /* A default in the file is the file's own; the log says why it holds. */
    path = file("variable.conf", "[UPSTREAM]\nname u\n[NODE]\nname n\n"
                                 "host ${WHERE_TO:-127.0.0.2}\nport 1\n");
    with_setuid(path, said, sizeof(said));
    check_contains(said, "log: the variable WHERE_TO of the environment is not used");
    check_contains(said, "127.0.0.2");
    unsetenv("WHERE_TO");
}

static int skip_all(const char *why)
{
    printf("SKIPPED: %s\n", why);
    openssl_remove_folder(openssl_folder);
    exit(SKIPPED);
}

static int setup(void **state)
{
    char said[8192], self[256], *const copies[] = {setuid_copy, plain_copy};
    const char *readable[] = {"chmod", "-R", "a+rX", "ca.crt", "roots", NULL};
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    size_t i;
    assert_in_range(length, 1, sizeof(self) - 2);
    self[length] = '\0';
    openssl_folder_setup(state);
    if (chmod(openssl_folder, 0755) != 0 || geteuid() != 0) {
        return skip_all("only root can give a program to another user");
    }
    snprintf(setuid_copy, sizeof(setuid_copy), "%s/with-setuid", openssl_folder);
    snprintf(plain_copy, sizeof(plain_copy), "%s/without-setuid", openssl_folder);
    for (i = 0; i < 2; i++) {
        const char *copy[] = {"cp", self, copies[i], NULL};
        if (process_run(copy, NULL) != 0) {
            return 1;
        }
        if (chown(copies[i], OTHER, OTHER) != 0 || chmod(copies[i], i == 0 ? 04755 : 0755) != 0) {
            return skip_all("this root may not give a program to another user");
        }
    }
    assert_int_equal(process_run(readable, openssl_folder), 0); /* whatever the umask is */
    run("as-other", plain_copy, "/nowhere", said, sizeof(said));
    if (strstr(said, "secure: 0") == NULL) {
        return skip_all("another user cannot run the program and load the library from here");
    }
    run("look", setuid_copy, "/nowhere", said, sizeof(said));
    if (strstr(said, "secure: 1") == NULL) {
        return skip_all("the setuid bit has no effect here (nosuid or no_new_privs)");
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_setuid_program_does_not_trust_the_callers_certificates),
        cmocka_unit_test(a_setuid_program_does_not_take_the_callers_variables),
    };
    if (argc == 3) {
        return strcmp(argv[1], "look") == 0 ? look(argv[2]) : look_as_other(argv[0], argv[2]);
    }
    return cmocka_run_group_tests(tests, setup, openssl_folder_teardown);
}
