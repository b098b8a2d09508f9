/* The fault matrix: a name of several addresses of which the first is dead. The resolver is this
 * program's own: the library's calls of getaddrinfo() come here. Rows of docs/testing.md. */
#define _GNU_SOURCE
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dead_address_first),
        cmocka_unit_test(dead_address_first_without_answers),
        cmocka_unit_test(silent_address_first),
        cmocka_unit_test(every_address_dead),
    };
    return check_run_tests(tests, NULL, NULL);
}
