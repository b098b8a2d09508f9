/* The fault matrix: a name of several addresses of which the first is dead. The resolver is this
 * program's own: the library's calls of getaddrinfo() come here. Rows of docs/testing.md. */
#define _GNU_SOURCE
#include "support/openssl.h"
#include "support/unanswered.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

/* Of the loopback network, and nobody else's. */
#define DEAD "127.7.7.1"
#define ALIVE "127.7.7.2"
#define NAME "two.test"

enum { SYNS = 8 };

static atomic_size_t looked_up;

static struct addrinfo *one(const char *address, struct addrinfo *next)
{
    struct {
        struct addrinfo info;
        struct sockaddr_in address;
    } *block = calloc(1, sizeof(*block)); /* one block, as freeaddrinfo() of glibc has it */
    block->address.sin_family = AF_INET;
    inet_pton(AF_INET, address, &block->address.sin_addr);
    block->info.ai_family = AF_INET;
    block->info.ai_socktype = SOCK_STREAM;
    block->info.ai_addrlen = sizeof(block->address);
    block->info.ai_addr = (struct sockaddr *)&block->address;
    block->info.ai_next = next;
    return &block->info;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **result)
{
    (void)service;
    (void)hints;
    if (node == NULL || strcmp(node, NAME) != 0) {
        return EAI_NONAME;
    }
    atomic_fetch_add(&looked_up, 1);
    *result = one(DEAD, one(ALIVE, NULL));
    return 0;
}

static int socket_at_dead(uint16_t port, int connects)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(inet_pton(AF_INET, DEAD, &address.sin_addr), 1);
    if (connects) {
        (void)connect(fd, (struct sockaddr *)&address, sizeof(address));
    } else {
        assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    }
    return fd;
}

/* Two nodes, the first by the name. */
static void open_by_name(struct testbed *bed, const char *keys)
{
    static const struct testbed_node nodes[2] = {{.host = NAME, .address = ALIVE}, {.host = NULL}};
    atomic_store(&looked_up, 0);
    testbed_open(bed, 2, keys, nodes, NULL);
}

static void nothing_was_amiss(struct testbed *bed, size_t connections)
{
    assert_true(atomic_load(&looked_up) > 0);
    assert_int_equal(proxy_accepted(bed->proxies[0]), connections);
    assert_int_equal(testbed_stats(bed, 0).connects, connections);
    assert_int_equal(testbed_stats(bed, 0).connects_failed, 0);
    assert_int_equal(testbed_stats(bed, 0).deliveries_failed, 0);
    assert_int_equal(testbed_stats(bed, 0).ejections, 0);
    assert_int_equal(testbed_twice(bed), 0);
}

static void dead_address_first(void **state)
{
    struct testbed bed;
    int dead;
    (void)state;
    open_by_name(&bed, "net.keepalive off\n");
    dead = socket_at_dead(proxy_port(bed.proxies[0]), 0); /* bound, never listening: it refuses */
    testbed_shares_are_even(&bed, 3, 30);
    nothing_was_amiss(&bed, 30);
    close(dead);
    testbed_close(&bed);
}

/* The same for a plugin that only writes: nothing goes to the dead address, so nothing can be
 * lost. */
static void dead_address_first_without_answers(void **state)
{
    static const struct testbed_node nodes[2] = {{.host = NAME, .address = ALIVE}, {.host = NULL}};
    struct unanswered un;
    int dead;
    (void)state;
    atomic_store(&looked_up, 0);
    unanswered_open(&un, 2, "net.keepalive off\nhealth.max_fails 1\n", nodes);
    dead = socket_at_dead(proxy_port(un.bed.proxies[0]), 0);
    unanswered_arrive(&un, 60, 0);
    nothing_was_amiss(&un.bed, 30);
    close(dead);
    unanswered_close(&un, 0, 0);
}

static void silent_address_first(void **state)
{
    struct testbed bed;
    int dead, syns[SYNS], i;
    (void)state;
    open_by_name(&bed, "net.keepalive off\n");
    dead = socket_at_dead(proxy_port(bed.proxies[0]), 0);
    assert_int_equal(listen(dead, 0), 0);
    for (i = 0; i < SYNS; i++) {
        /* the queue is full, and the kernel drops what comes */
        syns[i] = socket_at_dead(proxy_port(bed.proxies[0]), 1);
    }
    testbed_shares_are_even(&bed, 3, 3);
    nothing_was_amiss(&bed, 3);
    for (i = 0; i < SYNS; i++) {
        close(syns[i]);
    }
    close(dead);
    testbed_close(&bed);
}

static void every_address_dead(void **state)
{
    struct testbed bed;
    int dead;
    (void)state;
    open_by_name(&bed, "health.backoff 1h\nhealth.backoff_max 1h\n");
    dead = socket_at_dead(proxy_port(bed.proxies[0]), 0);
    proxy_close(bed.proxies[0]);
    testbed_shares_are_even(&bed, 2, 30);
    assert_int_equal(testbed_stats(&bed, 0).connects_failed, 1);
    assert_int_equal(upstream_node_state(testbed_node(&bed, 0)), UPSTREAM_NODE_EJECTED);
    assert_int_equal(testbed_twice(&bed), 0);
    close(dead);
    testbed_close(&bed);
}

/* net.connect_timeout is shorter than the usual delay between two addresses. */
static void silent_address_first_and_little_time(void **state)
{
    static const char *const limits[] = {"net.connect_timeout 250ms\n",
                                         "net.connect_timeout 100ms\n"};
    size_t i;
    (void)state;
    if (check_slow()) {
        return; /* there the connection itself may take as long */
    }
    for (i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct testbed bed;
        char keys[128];
        int dead, syns[SYNS], j;
        snprintf(keys, sizeof(keys), "net.keepalive off\n%s", limits[i]);
        open_by_name(&bed, keys);
        dead = socket_at_dead(proxy_port(bed.proxies[0]), 0);
        assert_int_equal(listen(dead, 0), 0);
        for (j = 0; j < SYNS; j++) {
            syns[j] = socket_at_dead(proxy_port(bed.proxies[0]), 1);
        }
        testbed_shares_are_even(&bed, 3, 3);
        nothing_was_amiss(&bed, 3);
        for (j = 0; j < SYNS; j++) {
            close(syns[j]);
        }
        close(dead);
        testbed_close(&bed);
    }
}

/* A node over TLS by the name; behind its living address is `server`. */
static upstream_t *open_over_tls(uint16_t port, const char *keys)
{
    char text[1024];
    atomic_store(&looked_up, 0);
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\nnet.keepalive off\n[NODE]\nname n\nhost " NAME "\nport %u\n"
             "tls on\ntls.vhost localhost\ntls.ca_file %s/ca.crt\n%s",
             (unsigned)port, openssl_folder, keys);
    return check_create(text, NULL);
}

/* At the first address TLS hangs, fails or is another's; the second is well. Each connection is
 * made, and nobody is blamed. */
static void address_dead_in_tls_first(void **state)
{
    enum { HANGS, IS_ANOTHER_S, WAYS };
    int way;
    (void)state;
    for (way = HANGS; way < WAYS; way++) {
        struct openssl_server *alive, *stranger = NULL;
        upstream_t *up;
        size_t i;
        int dead = -1;
        alive = openssl_start(openssl_folder, "-accept " ALIVE ":0 -cert valid.crt -key valid.key");
        if (way == HANGS) {
            dead = socket_at_dead(openssl_port(alive), 0);
            assert_int_equal(listen(dead, SYNS), 0); /* the kernel accepts, and nobody answers */
        } else {
            char arguments[128];
            snprintf(arguments, sizeof(arguments),
                     "-accept " DEAD ":%u -cert wrong-name.crt -key wrong-name.key",
                     (unsigned)openssl_port(alive));
            stranger = openssl_start(openssl_folder, arguments);
        }
        up = open_over_tls(openssl_port(alive), "");
        for (i = 0; i < 3; i++) {
            upstream_conn_t *conn = NULL;
            assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
            upstream_conn_release(conn);
        }
        assert_int_equal(check_node_stats(upstream_node_at(up, 0)).connects_failed, 0);
        assert_int_equal(check_node_stats(upstream_node_at(up, 0)).handshakes, 3);
        upstream_destroy(up);
        openssl_stop(alive);
        if (stranger != NULL) {
            openssl_stop(stranger);
        }
        if (dead >= 0) {
            close(dead);
        }
    }
}

/* A socket that listens at `address`; 0 takes a free port. The kernel takes the connections. */
static int listen_at(const char *address, uint16_t *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(*port)};
    socklen_t size = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(inet_pton(AF_INET, address, &at.sin_addr), 1);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

/* Both are dead, each in its own way: the error names each address and what it did. */
static void every_address_is_named(void **state)
{
    struct openssl_server *stranger = openssl_start(
        openssl_folder, "-accept " DEAD ":0 -cert wrong-name.crt -key wrong-name.key");
    uint16_t port = openssl_port(stranger);
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    upstream_t *up = open_over_tls(port, "net.connect_timeout 2s\n");
    char address[64];
    int silent;
    (void)state;
    assert_status(upstream_connect(up, &conn, &err), UPSTREAM_ERR_CERT);
    snprintf(address, sizeof(address), DEAD ":%u: ", (unsigned)port);
    check_contains(upstream_error_message(err), address);
    check_contains(upstream_error_message(err), "not for \"localhost\"");
    snprintf(address, sizeof(address), ALIVE ":%u: ", (unsigned)port);
    check_contains(upstream_error_message(err), address);
    check_contains(upstream_error_message(err), "Connection refused");
    upstream_error_free(err);
    err = NULL;
    openssl_stop(stranger);

    silent = listen_at(ALIVE, &port);
    assert_status(upstream_node_connect(upstream_node_at(up, 0), &conn, &err),
                  UPSTREAM_ERR_TIMEOUT);
    snprintf(address, sizeof(address), "server at " ALIVE ":%u did not finish the TLS handshake",
             (unsigned)port);
    check_contains(upstream_error_message(err), address);
    snprintf(address, sizeof(address), DEAD ":%u: ", (unsigned)port);
    check_contains(upstream_error_message(err), address);
    upstream_error_free(err);
    upstream_destroy(up);
    close(silent);
}

/* A name of two addresses is used evenly. */
static void addresses_take_turns(void **state)
{
    enum { CONNECTIONS = 20 };
    int listeners[2];
    uint16_t port = 0;
    upstream_t *up;
    char text[256];
    size_t i;
    (void)state;
    atomic_store(&looked_up, 0);
    listeners[0] = listen_at(DEAD, &port); /* alive, for once */
    listeners[1] = listen_at(ALIVE, &port);
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\nnet.keepalive off\n[NODE]\nname n\nhost " NAME "\nport %u\n",
             (unsigned)port);
    up = check_create(text, NULL);
    for (i = 0; i < CONNECTIONS; i++) {
        upstream_conn_t *conn = NULL;
        assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
        upstream_conn_release(conn);
    }
    upstream_destroy(up);
    for (i = 0; i < 2; i++) {
        size_t came = 0;
        int fd;
        while ((fd = accept4(listeners[i], NULL, NULL, SOCK_CLOEXEC)) >= 0) {
            came++;
            close(fd);
        }
        assert_int_equal(came, CONNECTIONS / 2);
        close(listeners[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silent_address_first_and_little_time),
        cmocka_unit_test(address_dead_in_tls_first),
        cmocka_unit_test(every_address_is_named),
        cmocka_unit_test(addresses_take_turns),
        cmocka_unit_test(dead_address_first),
        cmocka_unit_test(dead_address_first_without_answers),
        cmocka_unit_test(silent_address_first),
        cmocka_unit_test(every_address_dead),
    };
    return check_run_tests(tests, openssl_folder_setup, openssl_folder_teardown);
}
