/* Hostile certificates: whatever names a server's certificate carries, and however long a chain is,
 * each message of an error and each line of the log is one line of at most 2000 bytes of UTF-8,
 * without control characters. The server is the system's OpenSSL. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/openssl.h"
#include "support/plain_text.h"
#include "support/process.h"

#include <pthread.h>

enum { DNS = 0x82, MAIL = 0x81, URI = 0x86, ADDRESS = 0x87 };

/* ---- certificates ---- */

static unsigned char names[1 << 17];
static size_t used;

static void put(unsigned char byte)
{
    assert_true(used < sizeof(names));
    names[used++] = byte;
}

/* A tag and a length in DER. */
static void put_head(unsigned char tag, size_t length)
{
    put(tag);
    if (length < 0x80) {
        put((unsigned char)length);
    } else {
        put(0x82);
        put((unsigned char)(length >> 8));
        put((unsigned char)length);
    }
}

/* Adds a name to the certificate that is made next: bytes, so many times over. */
static void add(unsigned char tag, const char *bytes, size_t length, size_t times)
{
    size_t i;
    put_head(tag, length * times);
    for (i = 0; i < length * times; i++) {
        put((unsigned char)bytes[i % length]);
    }
}

static void run(const char *script, const char *subject)
{
    const char *arguments[] = {"bash", "-c", script, "bash", subject, NULL};
    assert_int_equal(process_run(arguments, openssl_folder), 0);
}

/* Makes hostile.crt and hostile.key, signed by `ca`: with the names that were added, if any. */
static void issue(const char *subject)
{
    char path[256];
    size_t i, length = used;
    FILE *file;
    snprintf(path, sizeof(path), "%s/hostile.ext", openssl_folder);
    file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "basicConstraints=CA:FALSE\n");
    if (length > 0) {
        put_head(0x30, length);
        fprintf(file, "subjectAltName=DER:");
        for (i = length; i < used; i++) {
            fprintf(file, "%02x", names[i]);
        }
        for (i = 0; i < length; i++) {
            fprintf(file, "%02x", names[i]);
        }
        fprintf(file, "\n");
    }
    fclose(file);
    used = 0;
    run("openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout hostile.key "
        "\\\n"
        "  -out hostile.csr -subj \"$1\" &&\n"
        "openssl x509 -req -in hostile.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 9 \\\n"
        "  -extfile hostile.ext -out hostile.crt",
        subject);
}

/* ---- what the library says ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char odd_line[2400];
static size_t lines;

static void check_line(int32_t level, const char *message, void *ctx)
{
    (void)level;
    (void)ctx;
    pthread_mutex_lock(&lock);
    lines++;
    if (plain_text_flaw(message) != NULL) {
        snprintf(odd_line, sizeof(odd_line), "%s", message);
    }
    pthread_mutex_unlock(&lock);
}

/* Connects to a server with `keys`, and checks what is said. The message, if it fails. */
static upstream_status_t meet(uint16_t port, const char *keys, char *said, size_t size)
{
    upstream_options_t *options = NULL;
    upstream_error_t *err = NULL;
    upstream_conn_t *conn = NULL;
    upstream_t *up = NULL;
    upstream_status_t status;
    char text[1024];
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\n[NODE]\nname n\nhost 127.0.0.1\nport %u\ntls on\n"
             "tls.vhost localhost\n%s",
             (unsigned)port, keys);
    assert_status(upstream_options_create(&options), UPSTREAM_OK);
    upstream_options_set_logger(options, UPSTREAM_LOG_TRACE, check_line, NULL);
    status = upstream_create_from_text(text, strlen(text), NULL, options, &up, &err);
    if (status == UPSTREAM_OK) {
        status = upstream_connect(up, &conn, &err);
    }
    said[0] = '\0';
    if (err != NULL) {
        check_plain_text(upstream_error_message(err), "an error");
        snprintf(said, size, "%s", upstream_error_message(err));
    }
    upstream_error_free(err);
    upstream_conn_discard(conn);
    upstream_destroy(up);
    upstream_options_destroy(options);
    if (odd_line[0] != '\0') {
        fail_msg("a line of the log: %s", odd_line);
    }
    return status;
}

static void meet_hostile(const char *what, const char *words)
{
    struct openssl_server *server =
        openssl_start(openssl_folder, "-cert hostile.crt -key hostile.key");
    char said[2400], keys[256];
    snprintf(keys, sizeof(keys), "tls.ca_file %s/ca.crt\n", openssl_folder);
    if (meet(openssl_port(server), keys, said, sizeof(said)) != UPSTREAM_ERR_CERT) {
        fail_msg("%s: %s", what, said);
    }
    check_contains(said, words);
    check_contains(said, "; ");
    openssl_stop(server);
}

/* ---- the tests ---- */

#define TEXT(text) text, sizeof(text) - 1

static void names_of_a_servers_certificate(void **state)
{
    static const struct {
        unsigned char tag;
        const char *bytes;
        size_t length, times, names;
        const char *words;
    } rows[] = {
        {DNS, TEXT("\x1b[31mred\x1b]0;title\x07.example"), 1, 1, ""},
        {DNS, TEXT("a.example\nERROR: a second line\r\n"), 1, 1, ""},
        {DNS, TEXT("localhost\0.evil.example"), 1, 1, ""},
        {DNS, TEXT("localhost\0"), 1, 1, ""},
        {DNS, TEXT("\xff\xfe\xc0\x80.example"), 1, 1, ""},
        {DNS, TEXT("\xc2\x9b\x33\x31m.example"), 1, 1, ""},
        {DNS, TEXT("\xe2\x80\xaegnp.\xe2\x80\xa8x"), 1, 1, ""},
        {DNS, TEXT("x\"), DnsName(\"localhost\")"), 1, 1, ""},
        {DNS, TEXT("%s%n"), 1, 1, ""},
        {DNS, "", 0, 0, 1, ""},
        {DNS, TEXT("long."), 2000, 1, ""},
        {DNS, TEXT("\x1b"), 10000, 1, ""},
        {DNS, TEXT("a-name-among-many.example"), 1, 1000, "and others"},
        {DNS, TEXT("sixty-bytes-and-more.of-a-name.that-is.as-long-as-many.example"), 1, 500, ""},
        {DNS, TEXT("0123456789"), 25, 30, ""},
        {MAIL, TEXT("\x1b[31m@b.example"), 1, 1, "no DNS name or IP address"},
        {URI, TEXT("http://\n\x1b/"), 1, 3, "no DNS name or IP address"},
        {ADDRESS, TEXT("\x01\x02\x03"), 1, 1, ""},
        {ADDRESS, "", 0, 0, 1, ""},
        {ADDRESS, TEXT("\x1b\x0a\x0d\x07"), 1, 1, "27.10.13.7"},
        {ADDRESS, TEXT("12345678901234567890"), 1, 1, ""},
    };
    size_t i, name;
    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char what[32];
        for (name = 0; name < rows[i].names; name++) {
            add(rows[i].tag, rows[i].bytes, rows[i].length, rows[i].times);
        }
        issue("/CN=hostile");
        snprintf(what, sizeof(what), "row %zu", i);
        meet_hostile(what, rows[i].words);
    }
}

/* The subject is shown if there is no other name, and the issuer if nobody knows it. */
static void subjects_and_issuers(void **state)
{
    static const char *const subjects[] = {
        "/CN=\x1b[31mred\x07", "/CN=two\nlines", "/CN=\xff\xfe", "/O=\xe2\x80\xaegnp",
        "/CN=0123456789012345678901234567890123456789012345678901234567890123"};
    size_t i;
    (void)state;
    for (i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
        issue(subjects[i]);
        meet_hostile(subjects[i], "");
        run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 \\\n"
            "  -keyout hostile-ca.key -out hostile-ca.crt -subj \"$1\" &&\n"
            "openssl x509 -req -in hostile.csr -CA hostile-ca.crt -CAkey hostile-ca.key \\\n"
            "  -CAcreateserial -days 9 -extfile valid.ext -out hostile.crt",
            subjects[i]);
        meet_hostile(subjects[i], "is not trusted");
    }
}

/* What a server sends is bounded, and so is what a client sends. */
static void long_chains(void **state)
{
    static const struct {
        const char *make, *server, *keys, *words;
    } rows[] = {
        {"for i in $(seq 100); do cat ca.crt; done >chain.crt", "-cert_chain chain.crt",
         "tls.ca_file %s/other-ca.crt\n", "is not trusted"},
        {"for i in $(seq 100); do cat other-ca.crt; done >chain.crt", "-cert_chain chain.crt",
         "tls.ca_file %s/ca.crt\n", NULL},
        {"for i in $(seq 400); do cat ca.crt; done >chain.crt", "-cert_chain chain.crt",
         "tls.ca_file %s/ca.crt\n", "more certificates than the library takes (64 KiB)"},
        {"for i in $(seq 400); do cat ca.crt; done >chain.crt", "-tls1_2 -cert_chain chain.crt",
         "tls.ca_file %s/ca.crt\n", "more certificates than the library takes (64 KiB)"},
        {"for i in $(seq 120); do openssl req -x509 -newkey ec \\\n"
         "  -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -keyout x.key -out x.crt \\\n"
         "  -subj /CN=ca && cat x.crt; done >chain.crt",
         "-cert_chain chain.crt", "tls.ca_file %s/other-ca.crt\n", "so many certificates"},
        {"for i in $(seq 101); do cat client.crt; done >long.crt", "",
         "tls.verify off\ntls.crt_file %s/long.crt\ntls.key_file %s/client.key\n",
         "long.crt: holds over 100 certificates"},
        {"for i in $(seq 10000); do cat client.crt; done >long.crt", "",
         "tls.verify off\ntls.crt_file %s/long.crt\ntls.key_file %s/client.key\n",
         "long.crt: holds over 100 certificates"},
        {"for i in $(seq 10001); do cat ca.crt; done >long.crt", "", "tls.ca_file %s/long.crt\n",
         "holds over 10000 certificates"},
    };
    size_t i;
    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char how[128], keys[512], said[2400];
        struct openssl_server *server;
        upstream_status_t status;
        run(rows[i].make, "");
        snprintf(how, sizeof(how), "-cert valid.crt -key valid.key %s", rows[i].server);
        snprintf(keys, sizeof(keys), rows[i].keys, openssl_folder, openssl_folder);
        server = openssl_start(openssl_folder, how);
        status = meet(openssl_port(server), keys, said, sizeof(said));
        if ((status == UPSTREAM_OK) != (rows[i].words == NULL)) {
            fail_msg("row %zu: %s", i, said);
        }
        if (rows[i].words != NULL) {
            check_contains(said, rows[i].words);
            check_contains(said, "; ");
        }
        openssl_stop(server);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_a_servers_certificate),
        cmocka_unit_test(subjects_and_issuers),
        cmocka_unit_test(long_chains),
    };
    return check_run_tests(tests, openssl_folder_setup, openssl_folder_teardown);
}
