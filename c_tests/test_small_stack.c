/*
 * Every function of the header on a stack of 24 KiB between guard pages, as agents give their
 * plugins: with refused files, a lookup, full TLS handshakes, and each failure that has a message.
 * Each call gets a fresh stack filled with a pattern, which then shows how deep the call went. If a
 * function of the header is missing here, the test fails.
 */
#define _GNU_SOURCE
#include "counted/bounds.h"
#include "support/check.h"
#include "support/loopback.h"
#include "support/openssl.h"

#include <ctype.h>
#include <poll.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

/* An agent gives 24 KiB in all; how much of it the library may take is in counted/bounds.h. */
enum { STACK = 24 * 1024, PAGE = 4096, PAINT = 0x5a, AGAIN = 2 };

/* What the calls work on. Nothing of it lies on the small stack. */
static upstream_options_t *options;
static upstream_t *up, *other;
static upstream_node_t *node;
static upstream_conn_t *conn, *other_conn;
static upstream_attempt_t *attempt;
static upstream_error_t *err;
static upstream_stats_t stats = UPSTREAM_STATS_INIT;
static char file_path[128], missing_path[128], bad_path[128];
static char tls_text[2048], store_text[512], rsa_text[1024], bad_text[64] = "[NODE]\nname x\n";
static char back[64], peer[64], much[64 * 1024];
static const char *key, *value;
static size_t got;
static struct iovec parts[2] = {{"hel", 3}, {"lo\n", 3}};

static upstream_status_t talk(upstream_conn_t *lent, void *ctx)
{
    upstream_status_t status = upstream_conn_write(lent, "hello\n", 6);
    (void)ctx;
    return status != UPSTREAM_OK ? status : upstream_conn_read_exact(lent, back, 6);
}

static upstream_status_t refuse(upstream_conn_t *lent, void *ctx)
{
    (void)ctx;
    upstream_conn_discard(lent);
    return UPSTREAM_ERR_PROTOCOL;
}

static void keep_quiet(int32_t level, const char *message, void *ctx)
{
    (void)level;
    (void)message;
    (void)ctx;
}

static uint64_t tell_time(void *ctx)
{
    struct timespec now;
    (void)ctx;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void free_nothing(void *data)
{
    (void)data;
}

/* Frees the error that a call gave; 1 if there was one. */
static int told(void)
{
    int there = err != NULL;
    upstream_error_free(err);
    err = NULL;
    return there;
}

/* The result of a call that does not block: 1 once it is done; AGAIN if it must be called again
 * when its descriptor is ready. */
static int ends_with(upstream_status_t expected, upstream_status_t status)
{
    return status == UPSTREAM_WANT_READ || status == UPSTREAM_WANT_WRITE ? AGAIN
                                                                         : status == expected;
}

/*
 * CALL(name, condition): the condition is evaluated on a small stack and must hold. In this order;
 * a call uses what those above it left behind. More calls are more lines.
 */
#define CALLS(CALL)                                                                                \
    CALL(version, upstream_version() != NULL)                                                      \
    CALL(status_name, upstream_status_name(UPSTREAM_OK) != NULL)                                   \
    /* options and errors */                                                                       \
    CALL(options_create, upstream_options_create(&options) == UPSTREAM_OK)                         \
    CALL(options_set_logger, upstream_options_set_logger(options, UPSTREAM_LOG_TRACE, keep_quiet,  \
                                                         NULL) == UPSTREAM_OK)                     \
    CALL(options_set_clock, upstream_options_set_clock(options, tell_time, NULL) == UPSTREAM_OK)   \
    CALL(options_set, upstream_options_set(options, "net.io_timeout", "30s", NULL) == UPSTREAM_OK) \
    CALL(options_declare_key,                                                                      \
         upstream_options_declare_key(options, "tag", UPSTREAM_KEY_TEXT, NULL) == UPSTREAM_OK)     \
    CALL(options_set_misspelt,                                                                     \
         upstream_options_set(options, "net.conect_timeout", "1", &err) == UPSTREAM_ERR_CONFIG)    \
    CALL(error_status, upstream_error_status(err) == UPSTREAM_ERR_CONFIG)                          \
    CALL(error_message, upstream_error_message(err) != NULL)                                       \
    CALL(error_errno, upstream_error_errno(err) == 0)                                              \
    CALL(error_node, upstream_error_node(err) == NULL)                                             \
    CALL(error_line, upstream_error_line(err) == 0)                                                \
    CALL(error_may_have_arrived, upstream_error_may_have_arrived(err) == 0)                        \
    CALL(error_free, (upstream_error_free(err), err = NULL) == NULL)                               \
    /* files: missing, refused, with an include; system certificates; both kinds of keys */        \
    CALL(create_missing,                                                                           \
         upstream_create(missing_path, options, &other, &err) == UPSTREAM_ERR_IO && told())        \
    CALL(create_refused,                                                                           \
         upstream_create(bad_path, options, &other, &err) == UPSTREAM_ERR_CONFIG && told())        \
    CALL(create, upstream_create(file_path, options, &other, &err) == UPSTREAM_OK)                 \
    CALL(destroy_unused, (upstream_destroy(other), other = NULL) == NULL)                          \
    CALL(text_refused, upstream_create_from_text(bad_text, 14, "t", options, &other, &err) ==      \
                               UPSTREAM_ERR_CONFIG &&                                              \
                           told())                                                                 \
    CALL(text_system_store, upstream_create_from_text(store_text, strlen(store_text), "t",         \
                                                      options, &other, &err) == UPSTREAM_OK)       \
    CALL(destroy_system_store, (upstream_destroy(other), other = NULL) == NULL)                    \
    CALL(text_rsa, upstream_create_from_text(rsa_text, strlen(rsa_text), "t", options, &other,     \
                                             &err) == UPSTREAM_OK)                                 \
    CALL(destroy_rsa, (upstream_destroy(other), other = NULL) == NULL)                             \
    CALL(text, upstream_create_from_text(tls_text, strlen(tls_text), "t", options, &up, &err) ==   \
                   UPSTREAM_OK)                                                                    \
    CALL(options_destroy, (upstream_options_destroy(options), options = NULL) == NULL)             \
    /* the set and its nodes */                                                                    \
    CALL(name, strcmp(upstream_name(up), "u") == 0)                                                \
    CALL(node_count, upstream_node_count(up) == 4)                                                 \
    CALL(node_at, upstream_node_at(up, 0) != NULL)                                                 \
    CALL(next_node, upstream_next_node(up) != NULL)                                                \
    CALL(node_by_name, (node = upstream_node_by_name(up, "tls")) != NULL)                          \
    CALL(node_name, strcmp(upstream_node_name(node), "tls") == 0)                                  \
    CALL(node_host, strcmp(upstream_node_host(node), "localhost") == 0)                            \
    CALL(node_port, upstream_node_port(node) != 0)                                                 \
    CALL(node_tls, upstream_node_tls(node) == 1)                                                   \
    CALL(get_prop, strcmp(upstream_node_get_prop(node, "OWN"), "5s") == 0)                         \
    CALL(get_prop_ms, upstream_node_get_prop_ms(node, "own", 0) == 5000)                           \
    CALL(get_prop_bool, upstream_node_get_prop_bool(node, "own", 7) == 7)                          \
    CALL(get_prop_int, upstream_node_get_prop_int(node, "own", 7) == 7)                            \
    CALL(get_prop_size, upstream_node_get_prop_size(node, "own", 7) == 7)                          \
    CALL(prop_count, upstream_node_prop_count(node) > 5)                                           \
    CALL(prop_at, upstream_node_prop_at(node, 0, &key, &value) == UPSTREAM_OK)                     \
    CALL(node_set_data, upstream_node_set_data(node, back, free_nothing) == UPSTREAM_OK)           \
    CALL(node_get_data, upstream_node_get_data(node) == back)                                      \
    CALL(node_state, upstream_node_state(node) == UPSTREAM_NODE_UP)                                \
    CALL(node_retry_after, upstream_node_retry_after_ms(node) == 0)                                \
    CALL(retry_after, upstream_retry_after_ms(up) == 0)                                            \
    /* TLS 1.2, and more than one record */                                                        \
    CALL(connect_older,                                                                            \
         upstream_node_connect(upstream_node_by_name(up, "older"), &conn, &err) == UPSTREAM_OK)    \
    CALL(version_older, strcmp(upstream_conn_tls_version(conn), "TLSv1.2") == 0)                   \
    CALL(write_much, upstream_conn_write(conn, much, sizeof(much)) == UPSTREAM_OK)                 \
    CALL(read_much, upstream_conn_read_exact(conn, much, sizeof(much) / 2) == UPSTREAM_OK)         \
    CALL(discard_older, (upstream_conn_discard(conn), conn = NULL) == NULL)                        \
    /* a lookup and a handshake with a client certificate; again, on the kept connection */        \
    CALL(node_connect, upstream_node_connect(node, &conn, &err) == UPSTREAM_OK)                    \
    CALL(write, upstream_conn_write(conn, "hello\n", 6) == UPSTREAM_OK)                            \
    CALL(read_exact, upstream_conn_read_exact(conn, back, 6) == UPSTREAM_OK &&                     \
                         memcmp(back, "olleh\n", 6) == 0)                                          \
    CALL(writev, upstream_conn_writev(conn, parts, 2) == UPSTREAM_OK)                              \
    CALL(read, upstream_conn_read(conn, back, sizeof(back), &got) == UPSTREAM_OK && got > 0)       \
    CALL(last_error_none, upstream_conn_last_error(conn) == NULL)                                  \
    CALL(conn_node, upstream_conn_node(conn) == node)                                              \
    CALL(tls_version, upstream_conn_tls_version(conn) != NULL)                                     \
    CALL(alpn, upstream_conn_alpn(conn) == NULL)                                                   \
    CALL(peer, upstream_conn_peer(conn, peer, sizeof(peer)) == UPSTREAM_OK)                        \
    CALL(conn_set_data, upstream_conn_set_data(conn, back, free_nothing) == UPSTREAM_OK)           \
    CALL(conn_get_data, upstream_conn_get_data(conn) == back)                                      \
    CALL(write_line, upstream_conn_write(conn, "a line\n", 7) == UPSTREAM_OK)                      \
    CALL(read_until,                                                                               \
         upstream_conn_read_until(conn, back, sizeof(back), "\n", 1, &got) == UPSTREAM_OK &&       \
             got == 7)                                                                             \
    CALL(time_left, upstream_conn_time_left_ms(conn) == -1)                                        \
    CALL(payload_id_of_none, upstream_conn_payload_id(conn) == NULL)                               \
    CALL(conn_report, upstream_conn_report(conn, UPSTREAM_OK, "well") == UPSTREAM_OK)              \
    CALL(release, (upstream_conn_release(conn), conn = NULL) == NULL)                              \
    CALL(connect_again, upstream_node_connect(node, &conn, &err) == UPSTREAM_OK)                   \
    CALL(reused, upstream_conn_reused(conn) == 1)                                                  \
    CALL(set_timeout, upstream_conn_set_timeout_ms(conn, 20) == UPSTREAM_OK)                       \
    CALL(read_too_late, upstream_conn_read_exact(conn, back, 60) == UPSTREAM_ERR_TIMEOUT)          \
    CALL(last_error, upstream_conn_last_error(conn) != NULL)                                       \
    CALL(discard, (upstream_conn_discard(conn), conn = NULL) == NULL)                              \
    /* without blocking: lookup and handshake; a write, a read; again, on the kept connection */   \
    CALL(connect_start, upstream_connect_start(up, &conn, &err) == UPSTREAM_WANT_READ)             \
    CALL(give_up, (upstream_conn_release(conn), conn = NULL) == NULL)                              \
    CALL(node_connect_start, upstream_node_connect_start(node, &conn, &err) == UPSTREAM_WANT_READ) \
    CALL(fd, upstream_conn_fd(conn) >= 0)                                                          \
    CALL(poll_events, upstream_conn_poll_events(conn) == UPSTREAM_POLL_IN)                         \
    CALL(timeout_ms, upstream_conn_timeout_ms(conn) > 0)                                           \
    CALL(connect_continue, ends_with(UPSTREAM_OK, upstream_conn_connect_continue(conn)))           \
    CALL(try_write, ends_with(UPSTREAM_OK, upstream_conn_try_write(conn, "hello\n", 6, &got)))     \
    CALL(flush, ends_with(UPSTREAM_OK, upstream_conn_flush(conn)))                                 \
    CALL(try_read, ends_with(UPSTREAM_OK, upstream_conn_try_read(conn, back, 6, &got)))            \
    CALL(release_ready, (upstream_conn_release(conn), conn = NULL) == NULL)                        \
    CALL(start_again, upstream_node_connect_start(node, &conn, &err) == UPSTREAM_OK &&             \
                          upstream_conn_reused(conn))                                              \
    CALL(discard_ready, (upstream_conn_discard(conn), conn = NULL) == NULL)                        \
    CALL(start_refused, upstream_node_connect_start(upstream_node_by_name(up, "refusing"), &conn,  \
                                                    &err) == UPSTREAM_WANT_READ)                   \
    CALL(continue_refused, ends_with(UPSTREAM_ERR_CONNECT, upstream_conn_connect_continue(conn)))  \
    CALL(discard_refused, (upstream_conn_discard(conn), conn = NULL) == NULL)                      \
    /* four, so that each node is once the first: two do not fail */                               \
    CALL(deliver_first, upstream_deliver(up, talk, NULL, 0, &err) == UPSTREAM_OK)                  \
    CALL(deliver_second, upstream_deliver(up, talk, NULL, 0, &err) == UPSTREAM_OK)                 \
    CALL(deliver_third, upstream_deliver(up, talk, NULL, 0, &err) == UPSTREAM_OK)                  \
    CALL(deliver_fourth, upstream_deliver(up, talk, NULL, 0, &err) == UPSTREAM_OK)                 \
    CALL(deliver_with, upstream_deliver_with(up, NULL, talk, NULL, &err) == UPSTREAM_OK)           \
    /* what fails: an unknown name, a port that refuses, a callback, all of them in turn */        \
    CALL(connect_no_name, upstream_node_connect(upstream_node_by_name(up, "nameless"), &conn,      \
                                                &err) == UPSTREAM_ERR_RESOLVE &&                   \
                              told())                                                              \
    CALL(connect_refused, upstream_node_connect(upstream_node_by_name(up, "refusing"), &conn,      \
                                                &err) == UPSTREAM_ERR_CONNECT &&                   \
                              told())                                                              \
    CALL(deliver_nowhere, upstream_deliver(up, refuse, NULL, 0, &err) != UPSTREAM_OK && told())    \
    CALL(deliver_out_of_time,                                                                      \
         upstream_deliver(up, refuse, NULL, 1, &err) != UPSTREAM_OK && told())                     \
    CALL(connect, upstream_connect(up, &conn, &err) == UPSTREAM_OK)                                \
    /* its own choice of nodes, as a plugin that does its own I/O makes it */                      \
    CALL(attempt_begin, upstream_attempt_begin(up, &attempt) == UPSTREAM_OK)                       \
    CALL(attempt_next, upstream_attempt_next(attempt) != NULL)                                     \
    CALL(attempt_next_again, upstream_attempt_next(attempt) != NULL)                               \
    CALL(attempt_end, (upstream_attempt_end(attempt, UPSTREAM_OK), attempt = NULL) == NULL)        \
    CALL(attempt_begin_with, upstream_attempt_begin_with(up, NULL, &attempt) == UPSTREAM_OK)       \
    CALL(attempt_payload_id, strlen(upstream_attempt_payload_id(attempt)) == 32)                   \
    CALL(attempt_connect, upstream_attempt_connect(attempt, &other_conn, &err) == UPSTREAM_OK)     \
    CALL(time_left_of_attempt, upstream_conn_time_left_ms(other_conn) > 0)                         \
    CALL(conn_busy, upstream_conn_busy(other_conn, 1, "429") == UPSTREAM_ERR_BUSY)                 \
    CALL(attempt_discard, (upstream_conn_discard(other_conn), other_conn = NULL) == NULL)          \
    CALL(attempt_connect_start,                                                                    \
         upstream_attempt_connect_start(attempt, &other_conn, &err) != UPSTREAM_ERR_PANIC)         \
    CALL(attempt_started, (told(), upstream_conn_discard(other_conn), other_conn = NULL) == NULL)  \
    CALL(attempt_report, upstream_attempt_report(attempt, 77) == UPSTREAM_ERR_INVALID_ARG)         \
    CALL(attempt_end_with, (upstream_attempt_end(attempt, UPSTREAM_OK), attempt = NULL) == NULL)   \
    CALL(node_stats, upstream_node_stats(node, &stats) == UPSTREAM_OK && stats.handshakes >= 1)    \
    CALL(stats, upstream_stats(up, &stats) == UPSTREAM_OK && stats.handshakes >= 3)                \
    CALL(node_report, upstream_node_report(node, UPSTREAM_ERR_TIMEOUT) == UPSTREAM_OK)             \
    CALL(node_pause, upstream_node_pause(node, 1) == UPSTREAM_OK)                                  \
    CALL(cancel, (upstream_cancel(up), 1))                                                         \
    CALL(write_cancelled, upstream_conn_write(conn, "hello\n", 6) == UPSTREAM_ERR_CANCELLED)       \
    CALL(connect_cancelled,                                                                        \
         upstream_node_connect(node, &other_conn, &err) == UPSTREAM_ERR_CANCELLED && told())       \
    CALL(destroy, (upstream_destroy(up), up = NULL) == NULL)                                       \
    CALL(release_after_destroy, (upstream_conn_release(conn), conn = NULL) == NULL)

#define BODY(name, ...)          \
    static int call_##name(void) \
    {                            \
        return (__VA_ARGS__);    \
    }
#define ROW(name, ...) {#name, #__VA_ARGS__, call_##name},

CALLS(BODY)

static const struct call {
    const char *name;
    const char *text;
    int (*run)(void);
} calls[] = {CALLS(ROW)};

enum { CALL_COUNT = sizeof(calls) / sizeof(calls[0]) };

/* ---- running one ---- */

static ucontext_t caller, coroutine;
static const struct call *current;
static int held;

static void enter(void)
{
    held = current->run();
}

/* Runs one call and returns how many bytes of its stack it used; 0 under valgrind, for which a
 * stack that was left is no longer valid memory. Each call gets a new stack, without the traces of
 * the call before. */
static size_t run(const struct call *call)
{
    static char *memory, *stack; /* swapcontext returns, as setjmp does */
    static size_t untouched;
    memory =
        mmap(NULL, STACK + 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    stack = memory + PAGE;
    assert_int_equal(mprotect(memory, PAGE, PROT_NONE), 0);
    assert_int_equal(mprotect(stack + STACK, PAGE, PROT_NONE), 0);
    memset(stack, PAINT, STACK);
    current = call;
    held = -1;
    getcontext(&coroutine);
    coroutine.uc_stack.ss_sp = stack;
    coroutine.uc_stack.ss_size = STACK;
    coroutine.uc_link = &caller;
    makecontext(&coroutine, enter, 0);
    swapcontext(&caller, &coroutine);
    untouched = STACK;
    if (!check_slow()) {
        for (untouched = 0; untouched < STACK && stack[untouched] == PAINT; untouched++) {
        }
    }
    munmap(memory, STACK + 2 * PAGE);
    return STACK - untouched;
}

/* Waits, on the test's own stack, until the connection may go on. */
static void wait_until_ready(void)
{
    uint32_t wanted = upstream_conn_poll_events(conn);
    struct pollfd ready = {upstream_conn_fd(conn), 0, 0};
    ready.events = (short)((wanted & UPSTREAM_POLL_IN ? POLLIN : 0) |
                           (wanted & UPSTREAM_POLL_OUT ? POLLOUT : 0));
    poll(&ready, 1, (int)upstream_conn_timeout_ms(conn));
}

/* ---- the tests ---- */

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* The files and texts that the calls name. */
static void prepare(const char *folder, unsigned tls_port, unsigned older_port,
                    unsigned refusing_port)
{
    char included[160];
    snprintf(file_path, sizeof(file_path), "%s/up.conf", folder);
    snprintf(missing_path, sizeof(missing_path), "%s/no-such-file.conf", folder);
    snprintf(bad_path, sizeof(bad_path), "%s/bad.conf", folder);
    snprintf(included, sizeof(included), "%s/nodes.conf", folder);
    write_file(file_path, "[UPSTREAM]\nname u\n@INCLUDE nod*.conf\n");
    write_file(included, "@SET A=1\n[NODE]\nname n\nhost ${NOT_SET:-127.0.0.1}\nport ${A}\n");
    write_file(bad_path, "[UPSTREAM]\nname u\n[NODE]\nname n\nhost 127.0.0.1\nport 70000\n");
    snprintf(store_text, sizeof(store_text),
             "[UPSTREAM]\nname u\n[NODE]\nname n\n"
             "host localhost\nport 1\ntls on\n");
    snprintf(rsa_text, sizeof(rsa_text),
             "[UPSTREAM]\nname u\n[NODE]\nname n\nhost localhost\nport 1\ntls on\n"
             "tls.ca_path %s/roots\ntls.crt_file %s/client-rsa.crt\n"
             "tls.key_file %s/client-rsa.p1\n",
             folder, folder, folder);
    snprintf(tls_text, sizeof(tls_text),
             "[UPSTREAM]\nname u\n[NODE]\nname tls\nhost localhost\nport %u\ntls on\n"
             "tls.ca_file %s/ca.crt\n"
             "tls.crt_file %s/client.crt\ntls.key_file %s/client.enc\ntls.key_passwd secret\n"
             "own 5s\n"
             "[NODE]\nname older\nhost localhost\nport %u\ntls on\ntls.max_version TLSv1.2\n"
             "tls.ca_file %s/ca.crt\n"
             "tls.crt_file %s/client.crt\ntls.key_file %s/client.key\n"
             "[NODE]\nname nameless\nhost no-such-host.invalid\nport 9\n"
             "[NODE]\nname refusing\nhost 127.0.0.1\nport %u\n",
             tls_port, folder, folder, folder, older_port, folder, folder, folder, refusing_port);
    memset(much, 'x', sizeof(much));
    snprintf(included, sizeof(included), "%s/ca.crt", folder);
    setenv("SSL_CERT_FILE", included, 1); /* the system's store may be empty here */
}

static void a_small_stack_is_enough(void **state)
{
    char *folder = openssl_make_folder();
    const char *arguments = "-cert valid.crt -key valid.key -Verify 1 -CAfile ca.crt";
    /* Two servers, because each speaks with one client at a time. */
    struct openssl_server *server = openssl_start(folder, arguments),
                          *older = openssl_start(folder, arguments);
    size_t i, deepest = 0, used, again;
    int refusing;
    const char *by = "";
    (void)state;
    prepare(folder, openssl_port(server), openssl_port(older), loopback_refusing_port(&refusing));
    for (i = 0; i < CALL_COUNT; i++) {
        used = run(&calls[i]);
        while (held == AGAIN) {
            wait_until_ready();
            again = run(&calls[i]);
            used = again > used ? again : used;
        }
        if (held != 1) {
            fail_msg("on the small stack this did not hold: %s\n%s", calls[i].text,
                     err != NULL ? upstream_error_message(err) : "");
        }
        if (getenv("UPSTREAM_TEST_STACKS") != NULL) {
            print_message("%6zu bytes: %s\n", used, calls[i].name);
        }
        if (used > deepest) {
            deepest = used;
            by = calls[i].text;
        }
    }
    if (!check_slow()) {
        print_message("deepest use of the caller's stack: %zu bytes, bound %d, by: %s\n", deepest,
                      BOUND_STACK_BYTES, by);
        assert_in_range(deepest, 1, BOUND_STACK_BYTES);
    }
    close(refusing);
    openssl_stop(server);
    openssl_stop(older);
    openssl_remove_folder(folder);
}

/* True if one of the calls above calls `function`. */
static int is_called(const char *function)
{
    size_t i, length = strlen(function);
    for (i = 0; i < CALL_COUNT; i++) {
        const char *found = calls[i].text;
        while ((found = strstr(found, function)) != NULL) {
            if (found[length] == '(' &&
                (found == calls[i].text ||
                 (!isalnum((unsigned char)found[-1]) && found[-1] != '_'))) {
                return 1;
            }
            found += length;
        }
    }
    return 0;
}

/* Removes the comments from C source, in place. */
static void strip_comments(char *source)
{
    char *start, *end;
    while ((start = strstr(source, "/*")) != NULL) {
        end = strstr(start, "*/");
        assert_non_null(end);
        memset(start, ' ', (size_t)(end + 2 - start));
        source = end;
    }
}

static void every_function_of_the_header_was_called(void **state)
{
    static char source[256 * 1024], function[128];
    FILE *file = fopen(UPSTREAM_SOURCE_DIR "/include/upstream/upstream.h", "r");
    size_t length, functions = 0, missing = 0;
    const char *at;
    (void)state;
    assert_non_null(file);
    length = fread(source, 1, sizeof(source) - 1, file);
    fclose(file);
    assert_in_range(length, 1, sizeof(source) - 2);
    strip_comments(source);
    for (at = source; (at = strstr(at, "upstream_")) != NULL; at += length) {
        int inside =
            at > source && (isalnum((unsigned char)at[-1]) || at[-1] == '_' || at[-1] == '/');
        length = strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789_");
        /* A function's name stands before its parameters; a type's does not, and that of a function
         * pointer before ")". */
        if (inside || at[length] != '(') {
            continue;
        }
        functions++;
        assert_true(length < sizeof(function));
        memcpy(function, at, length);
        function[length] = '\0';
        if (!is_called(function)) {
            print_error(
                "%s() is in the header and never called on a small stack: add a line to CALLS\n",
                function);
            missing++;
        }
    }
    assert_true(functions >= 50);
    assert_int_equal(missing, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_function_of_the_header_was_called),
        cmocka_unit_test(a_small_stack_is_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
