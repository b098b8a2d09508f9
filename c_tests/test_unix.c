/* Nodes at a stream socket of this machine: `host unix:/path`. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/descriptors.h"
#include "support/openssl.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Answers each byte with the same byte, one connection after the other. */
struct echo {
    char path[64];
    int listener;
    pthread_t thread;
    size_t connections;
};

static void *echo_run(void *argument)
{
    struct echo *echo = argument;
    int fd;
    while ((fd = accept4(echo->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        char bytes[64];
        ssize_t got;
        __atomic_fetch_add(&echo->connections, 1, __ATOMIC_SEQ_CST);
        while ((got = read(fd, bytes, sizeof(bytes))) > 0) {
            if (send(fd, bytes, (size_t)got, MSG_NOSIGNAL) != got) {
                break;
            }
        }
        close(fd);
    }
    return NULL;
}

static void echo_start(struct echo *echo)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memset(echo, 0, sizeof(*echo));
    snprintf(echo->path, sizeof(echo->path), "/tmp/upstream-test-%ld.sock", (long)getpid());
    (void)unlink(echo->path);
    snprintf(at.sun_path, sizeof(at.sun_path), "%s", echo->path);
    echo->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(echo->listener >= 0);
    assert_int_equal(bind(echo->listener, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(echo->listener, 16), 0);
    assert_int_equal(pthread_create(&echo->thread, NULL, echo_run, echo), 0);
}

static void echo_stop(struct echo *echo)
{
    shutdown(echo->listener, SHUT_RDWR);
    pthread_join(echo->thread, NULL);
    close(echo->listener);
    unlink(echo->path);
}

static upstream_t *create(const char *host, const char *more)
{
    char text[512];
    snprintf(text, sizeof(text), "[UPSTREAM]\nname u\n[NODE]\nname n\nhost %s\n%s", host, more);
    return check_create(text, NULL);
}

static upstream_status_t say(upstream_conn_t *conn, void *ctx)
{
    char answer[4] = "";
    upstream_status_t status = upstream_conn_write(conn, "ping", 4);
    (void)ctx;
    if (status == UPSTREAM_OK) {
        status = upstream_conn_read_exact(conn, answer, 4);
    }
    return status == UPSTREAM_OK && memcmp(answer, "ping", 4) != 0 ? UPSTREAM_ERR_PROTOCOL : status;
}

static void a_path_is_a_host(void **state)
{
    struct echo echo;
    char host[96], peer[96];
    upstream_t *up;
    upstream_node_t *node;
    upstream_conn_t *conn = NULL;
    size_t i, before = descriptors_open();
    (void)state;
    echo_start(&echo);
    snprintf(host, sizeof(host), "unix:%s", echo.path);
    up = create(host, "");
    node = upstream_node_at(up, 0);
    assert_string_equal(upstream_node_host(node), host);
    assert_int_equal(upstream_node_port(node), 0);
    for (i = 0; i < 5; i++) {
        assert_status(upstream_deliver(up, say, NULL, 0, NULL), UPSTREAM_OK);
    }
    assert_int_equal(__atomic_load_n(&echo.connections, __ATOMIC_SEQ_CST), 1);
    assert_int_equal(check_node_stats(node).reused, 4);
    assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
    assert_status(upstream_conn_peer(conn, peer, sizeof(peer)), UPSTREAM_OK);
    assert_string_equal(peer, host);
    upstream_conn_discard(conn);
    upstream_destroy(up);
    echo_stop(&echo);
    assert_true(descriptors_fall_to(before));
}

static void a_path_without_a_server_ejects_the_node(void **state)
{
    struct echo echo;
    char host[96];
    upstream_t *up;
    upstream_error_t *err = NULL;
    (void)state;
    snprintf(host, sizeof(host), "unix:/tmp/upstream-test-%ld.sock", (long)getpid());
    up = create(host, "health.backoff 10ms\nhealth.backoff_max 20ms\n");
    assert_status(upstream_deliver(up, say, NULL, 0, &err), UPSTREAM_ERR_CONNECT);
    check_contains(upstream_error_message(err), host);
    check_contains(upstream_error_message(err), "No such file or directory");
    assert_int_equal(upstream_error_errno(err), ENOENT);
    upstream_error_free(err);
    assert_int_equal(check_stats(up).ejections, 1);
    echo_start(&echo);
    assert_status(upstream_deliver(up, say, NULL, 0, NULL), UPSTREAM_OK);
    upstream_destroy(up);
    echo_stop(&echo);
}

/* No name stands in a path, so tls.vhost must give the one that the certificate has. */
static void tls_over_a_path(void **state)
{
    struct openssl_server *server;
    char path[64], arguments[160], host[96], keys[256], answer[6];
    upstream_t *up;
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    (void)state;
    snprintf(path, sizeof(path), "/tmp/upstream-test-%ld.tls", (long)getpid());
    snprintf(host, sizeof(host), "unix:%s", path);
    snprintf(arguments, sizeof(arguments), "-unix %s -unlink -cert valid.crt -key valid.key", path);
    server = openssl_start(openssl_folder, arguments);
    snprintf(keys, sizeof(keys), "tls on\ntls.ca_file %s/ca.crt\ntls.vhost localhost\n",
             openssl_folder);
    up = create(host, keys);
    assert_status(upstream_connect(up, &conn, &err), UPSTREAM_OK);
    assert_status(upstream_conn_write(conn, "hello\n", 6), UPSTREAM_OK);
    assert_status(upstream_conn_read_exact(conn, answer, 6), UPSTREAM_OK);
    assert_memory_equal(answer, "olleh\n", 6);
    assert_non_null(upstream_conn_tls_version(conn));
    upstream_conn_discard(conn);
    upstream_destroy(up);
    /* Without a name to check, none is needed. */
    snprintf(keys, sizeof(keys), "tls on\ntls.ca_file %s/ca.crt\ntls.verify_hostname off\n",
             openssl_folder);
    up = create(host, keys);
    assert_status(upstream_connect(up, &conn, &err), UPSTREAM_OK);
    assert_status(upstream_conn_write(conn, "again\n", 6), UPSTREAM_OK);
    assert_status(upstream_conn_read_exact(conn, answer, 6), UPSTREAM_OK);
    upstream_conn_discard(conn);
    upstream_destroy(up);
    openssl_stop(server);
    unlink(path);
}

static void refused(const char *host, const char *more, const char *words)
{
    char text[1024];
    upstream_error_t *err;
    snprintf(text, sizeof(text), "[UPSTREAM]\nname u\n[NODE]\nname n\nhost %s\n%s", host, more);
    err = check_refused(text, NULL);
    check_contains(upstream_error_message(err), words);
    upstream_error_free(err);
}

static void what_cannot_be_a_path_is_refused(void **state)
{
    char path[160];
    (void)state;
    memset(path, 'x', sizeof(path));
    memcpy(path, "unix:/", 6);
    path[6 + 108] = '\0';
    refused(path, "", "107 bytes");
    refused("unix:run/x.sock", "", "begins with /");
    refused("unix:", "", "begins with /");
    refused("unix:/run/x.sock", "tls on\n", "tls.vhost");
    refused("127.0.0.1", "", "no port");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_is_a_host),
        cmocka_unit_test(a_path_without_a_server_ejects_the_node),
        cmocka_unit_test(tls_over_a_path),
        cmocka_unit_test(what_cannot_be_a_path_is_refused),
    };
    return check_run_tests(tests, openssl_folder_setup, openssl_folder_teardown);
}
