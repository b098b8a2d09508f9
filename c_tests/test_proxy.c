/* Nodes behind an HTTP proxy: `net.proxy`, against tinyproxy. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/descriptors.h"
#include "support/loopback.h"
#include "support/openssl.h"
#include "support/process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define USER "agent"
#define PASSWORD "s3cr3t-w0rd"

struct tinyproxy {
    struct process process;
    char file[64];
    uint16_t port;
};

static uint16_t free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    close(fd);
    return ntohs(at.sin_port);
}

static int takes_connections(uint16_t port)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int taken = connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0;
    close(fd);
    return taken;
}

/* `more`: lines of its configuration. */
static void tinyproxy_start(struct tinyproxy *proxy, const char *more)
{
    const char *arguments[] = {"tinyproxy", "-d", "-c", proxy->file, NULL};
    FILE *file;
    int fd, turns;
    snprintf(proxy->file, sizeof(proxy->file), "/tmp/upstream-test-proxy-XXXXXX");
    fd = mkostemp(proxy->file, O_CLOEXEC);
    assert_true(fd >= 0);
    file = fdopen(fd, "w");
    assert_non_null(file);
    proxy->port = free_port();
    fprintf(file, "Port %u\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\nLogLevel Critical\n%s",
            (unsigned)proxy->port, more);
    fclose(file);
    proxy->process = process_start(arguments, NULL);
    for (turns = 0; turns < 1000 && !takes_connections(proxy->port); turns++) {
        usleep(10000);
    }
    assert_true(turns < 1000);
}

static void tinyproxy_stop(struct tinyproxy *proxy)
{
    process_kill(&proxy->process);
    unlink(proxy->file);
}

/* A node at `port` behind a proxy; `user` is "user:password@" or "". */
static upstream_t *create(uint16_t port, const char *user, uint16_t proxy, const char *more)
{
    char text[1024];
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\nnet.proxy http://%s127.0.0.1:%u\n[NODE]\nname n\n"
             "host localhost\nport %u\n%s",
             user, (unsigned)proxy, (unsigned)port, more);
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

static void a_node_is_reached_through_the_proxy(void **state)
{
    static const char *const users[] = {"", USER ":" PASSWORD "@"};
    static const char *const rules[] = {"", "BasicAuth " USER " " PASSWORD "\n"};
    size_t i, j;
    (void)state;
    for (i = 0; i < 2; i++) {
        struct loopback *echo = loopback_start(LOOPBACK_ECHO);
        struct tinyproxy proxy;
        upstream_t *up;
        upstream_conn_t *conn = NULL;
        char peer[64], expected[64];
        tinyproxy_start(&proxy, rules[i]);
        up = create(loopback_port(echo), users[i], proxy.port, "");
        for (j = 0; j < 5; j++) {
            assert_status(upstream_deliver(up, say, NULL, 0, NULL), UPSTREAM_OK);
        }
        assert_int_equal(check_stats(up).connects, 1);
        assert_int_equal(check_stats(up).reused, 4);
        assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
        assert_status(upstream_conn_peer(conn, peer, sizeof(peer)), UPSTREAM_OK);
        snprintf(expected, sizeof(expected), "127.0.0.1:%u", (unsigned)proxy.port);
        assert_string_equal(peer, expected);
        upstream_conn_discard(conn);
        upstream_destroy(up);
        tinyproxy_stop(&proxy);
        loopback_stop(echo);
    }
}

/* The certificate that counts is the node's, not the proxy's. */
static void tls_goes_through_it(void **state)
{
    static const char *const certificates[] = {"valid", "wrong-name"};
    struct tinyproxy proxy;
    size_t i;
    (void)state;
    tinyproxy_start(&proxy, "");
    for (i = 0; i < 2; i++) {
        char arguments[96], keys[256], answer[6];
        struct openssl_server *server;
        upstream_t *up;
        upstream_conn_t *conn = NULL;
        upstream_error_t *err = NULL;
        snprintf(arguments, sizeof(arguments), "-cert %s.crt -key %s.key", certificates[i],
                 certificates[i]);
        server = openssl_start(openssl_folder, arguments);
        snprintf(keys, sizeof(keys), "tls on\ntls.ca_file %s/ca.crt\n", openssl_folder);
        up = create(openssl_port(server), "", proxy.port, keys);
        if (i == 0) {
            assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
            assert_status(upstream_conn_write(conn, "hello\n", 6), UPSTREAM_OK);
            assert_status(upstream_conn_read_exact(conn, answer, 6), UPSTREAM_OK);
            assert_memory_equal(answer, "olleh\n", 6);
            upstream_conn_release(conn);
        } else {
            assert_status(upstream_connect(up, &conn, &err), UPSTREAM_ERR_CERT);
            check_contains(upstream_error_message(err), "not for \"localhost\"");
            upstream_error_free(err);
        }
        upstream_destroy(up);
        openssl_stop(server);
    }
    tinyproxy_stop(&proxy);
}

static void fails(upstream_t *up, const char *words)
{
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    assert_status(upstream_connect(up, &conn, &err), UPSTREAM_ERR_CONNECT);
    check_contains(upstream_error_message(err), "the proxy 127.0.0.1:");
    check_contains(upstream_error_message(err), words);
    assert_null(strstr(upstream_error_message(err), PASSWORD));
    assert_null(strstr(upstream_error_message(err), "wr0ng"));
    upstream_error_free(err);
    assert_int_equal(check_stats(up).ejections, 1);
    upstream_destroy(up);
}

static void what_is_wrong_is_said(void **state)
{
    struct tinyproxy proxy;
    uint16_t nobody = free_port();
    (void)state;
    tinyproxy_start(&proxy, "BasicAuth " USER " " PASSWORD "\nConnectPort 1\n");
    fails(create(9, "", proxy.port, ""), "user:password@ before the host");
    fails(create(9, USER ":wr0ng@", proxy.port, ""), "the user and password of net.proxy");
    fails(create(9, USER ":" PASSWORD "@", proxy.port, ""), "403"); /* not a port that it allows */
    tinyproxy_stop(&proxy);
    tinyproxy_start(&proxy, "");
    fails(create(nobody, "", proxy.port, ""), "it answered CONNECT with 5");
    tinyproxy_stop(&proxy);
    fails(create(9, "", nobody, ""), "Connection refused");
}

static void refused(const char *proxy, const char *words)
{
    char text[512];
    upstream_error_t *err;
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\nnet.proxy %s\n[NODE]\nname n\nhost h\nport 1\n", proxy);
    err = check_refused(text, NULL);
    check_contains(upstream_error_message(err), words);
    assert_null(strstr(upstream_error_message(err), PASSWORD));
    upstream_error_free(err);
}

static void what_is_no_proxy_is_refused(void **state)
{
    (void)state;
    refused("https://" USER ":" PASSWORD "@h:3128", "http://");
    refused("socks5://h:1080", "http://");
    refused("h:3128", "http://");
    refused("http://" USER ":" PASSWORD "@h", "port");
    refused("http://h:0", "port");
    refused("http://h:99999", "port");
    refused("http://" USER ":" PASSWORD "@:3128", "host");
    refused("http://h:3128/path", "path");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_is_reached_through_the_proxy),
        cmocka_unit_test(tls_goes_through_it),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(what_is_no_proxy_is_refused),
    };
    return check_run_tests(tests, openssl_folder_setup, openssl_folder_teardown);
}
