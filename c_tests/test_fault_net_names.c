/* The fault matrix, network rows: names that do not resolve, resolve slowly, or change their
 * address. In a private network with a name server that counts; each row is a ctest (see
 * docs/testing.md). */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/descriptors.h"
#include "support/dns_server.h"
#include "support/loopback.h"
#include "support/netns.h"
#include "support/senders.h"

#include <dirent.h>
#include <errno.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT = 30000, SLACK = 5000, NODES = 2 };

static const char name[] = "node-1.test";
static const char *const addresses[] = {"127.0.0.11", "127.0.0.12"};
static const char elsewhere[] = "127.0.0.21";
static const char *const hosts[] = {name, "127.0.0.12"};

static struct senders senders;
static struct dns_server *dns;
static size_t descriptors_before;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Two counters: node-1 goes by name, node-2 by address. The name server does not know the name
 * yet. */
static void start(const char *settings, unsigned timeout_ms)
{
    char more[512], *text;
    descriptors_before = descriptors_open();
    dns = dns_server_start();
    senders_start(&senders, addresses, NODES, timeout_ms);
    snprintf(more, sizeof(more), "health.backoff 10ms\nhealth.backoff_max 200ms\n%s", settings);
    text = senders_text(&senders, hosts, more);
    senders.up = check_create(text, NULL);
    free(text);
}

static void stop(void)
{
    senders_stop(&senders);
    /* a lookup under way may still hold its socket; the server has three */
    assert_true(descriptors_fall_to(descriptors_before + 3));
    dns_server_stop(dns);
    assert_true(descriptors_fall_to(descriptors_before));
}

static void deliver_many(size_t count)
{
    while (count-- > 0) {
        senders_deliver(&senders);
    }
}

static void black_holed_address_first(void **state)
{
    enum { RECORDS = 10 };
    char list[64];
    size_t dropped = netns_dropped();
    (void)state;
    start("net.keepalive off", TIMEOUT);
    snprintf(list, sizeof(list), "%s %s", elsewhere, addresses[0]);
    dns_server_set(dns, name, DNS_ANSWER, list, 0);
    netns_drop(elsewhere);
    deliver_many(RECORDS * NODES);
    netns_heal();
    /* the first connection tried it first; those after it knew better */
    assert_in_range(netns_dropped() - dropped, 1, RECORDS - 1);
    assert_int_equal(senders_came(&senders, 0), RECORDS);
    assert_int_equal(senders_stats(&senders, 0).connects_failed, 0);
    assert_int_equal(senders_balance(&senders, SLACK), 0);
    stop();
}

static void name_does_not_exist(void **state)
{
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    (void)state;
    start("", TIMEOUT);
    dns_server_set(dns, name, DNS_NO_SUCH_NAME, "", 0);
    deliver_many(20);
    assert_int_equal(senders_came(&senders, 1), 20);
    assert_int_equal(upstream_node_state(upstream_node_at(senders.up, 0)) == UPSTREAM_NODE_UP, 0);
    assert_status(upstream_node_connect(upstream_node_at(senders.up, 0), &conn, &err),
                  UPSTREAM_ERR_RESOLVE);
    check_contains(upstream_error_message(err), "node-1 (node-1.test:");
    check_contains(upstream_error_message(err), "resolve: \"node-1.test\": ");
    upstream_error_free(err);
    dns_server_set(dns, name, DNS_ANSWER, addresses[0], 0);
    senders_heal(&senders);
    senders_even(&senders, 3);
    assert_int_equal(senders_balance(&senders, SLACK), 0);
    stop();
}

static void name_resolves_slowly(void **state)
{
    enum { SHORT = 4000 };
    upstream_error_t *err = NULL;
    upstream_t *alone;
    char text[256];
    upstream_conn_t *conn = NULL;
    upstream_options_t *options;
    double begun;
    (void)state;
    netns_resolver_options("timeout:4 attempts:2");
    start("net.connect_timeout 60s", SHORT);
    dns_server_set(dns, name, DNS_SILENCE, "", 0);
    /* none waits for the name beyond its own deadline, though the connect timeout would allow it */
    deliver_many(6);
    assert_int_equal(senders_came(&senders, 1), 6);
    assert_in_range(senders_stats(&senders, 0).connects_failed, 1, 6);

    snprintf(text, sizeof(text), "[UPSTREAM]\nname alone\n[NODE]\nname node-1\nhost %s\nport %u\n",
             name, (unsigned)senders_port(&senders, 0));
    assert_status(upstream_options_create(&options), UPSTREAM_OK);
    assert_status(upstream_options_set(options, "net.connect_timeout", "500ms", NULL), UPSTREAM_OK);
    alone = check_create(text, options);
    upstream_options_destroy(options);
    begun = seconds();
    assert_status(upstream_connect(alone, &conn, &err), UPSTREAM_ERR_TIMEOUT);
    check_contains(upstream_error_message(err),
                   "\"node-1.test\" did not resolve within net.connect_timeout");
    upstream_error_free(err);
    assert_true(seconds() - begun < 0.5 + SLACK / 1e3);
    upstream_destroy(alone); /* with the lookup still under way */

    dns_server_set(dns, name, DNS_ANSWER, addresses[0], 300);
    netns_resolver_options("timeout:5 attempts:2");
    senders.timeout_ms = TIMEOUT;
    senders_heal(&senders);
    senders_even(&senders, 3);
    senders.timeout_ms = SHORT;
    assert_int_equal(senders_balance(&senders, SLACK), 0);
    stop();
}

/* The name server never answers for IPv6: nobody waits for that. With an IPv4 source address it is
 * not even asked. */
static void one_family_is_never_answered(void **state)
{
    size_t asked;
    (void)state;
    netns_resolver_options("timeout:10 attempts:1");
    start("net.connect_timeout 20s\nnet.keepalive off", TIMEOUT);
    dns_server_set(dns, name, DNS_ANSWER, addresses[0], 0);
    dns_server_silence_v6(dns, 1);
    {
        double begun = seconds();
        deliver_many(20);
        assert_true(seconds() - begun < SLACK / 1e3);
    }
    assert_int_equal(senders_came(&senders, 0), 10);
    assert_int_equal(senders_stats(&senders, 0).connects_failed, 0);
    assert_int_equal(dns_server_asked_v6(dns, name), 1);
    assert_int_equal(senders_balance(&senders, SLACK), 0);
    stop();

    start("net.source_address 127.0.0.1", TIMEOUT);
    dns_server_set(dns, name, DNS_ANSWER, addresses[0], 0);
    asked = dns_server_asked_v6(dns, name);
    deliver_many(4);
    assert_int_equal(senders_came(&senders, 0), 2);
    assert_int_equal(dns_server_asked_v6(dns, name), asked);
    assert_int_equal(senders_balance(&senders, SLACK), 0);
    netns_resolver_options("timeout:5 attempts:2");
    stop();
}

static size_t threads_now(void)
{
    struct dirent *entry;
    DIR *folder = opendir("/proc/self/task");
    size_t count = 0;
    assert_non_null(folder);
    while ((entry = readdir(folder)) != NULL) {
        count += entry->d_name[0] != '.';
    }
    closedir(folder);
    return count;
}

/* A few hundred names that nobody answers for take a few threads and descriptors, and the one name
 * that is answered for is found. */
static void many_names_that_nobody_answers_for(void **state)
{
    enum { SILENT = 400, MOST_THREADS = 20, MOST_DESCRIPTORS = 60 };
    upstream_conn_t *conns[SILENT];
    size_t threads = threads_now(), before = descriptors_open(), i;
    char *text = malloc(SILENT * 96), *at = text;
    upstream_t *up;
    (void)state;
    assert_non_null(text);
    netns_resolver_options("timeout:1 attempts:1");
    dns = dns_server_start();
    at += sprintf(at, "[UPSTREAM]\nname u\nnet.connect_timeout 60s\n");
    for (i = 0; i < SILENT; i++) {
        char host[32];
        snprintf(host, sizeof(host), "silent-%u.test", (unsigned)i);
        dns_server_set(dns, host, DNS_SILENCE, "", 0);
        at += sprintf(at, "[NODE]\nname n%u\nhost %s\nport 9\n", (unsigned)i, host);
    }
    up = check_create(text, NULL);
    for (i = 0; i < SILENT; i++) {
        upstream_node_t *node = upstream_node_at(up, i);
        assert_true(upstream_node_connect_start(node, &conns[i], NULL) >= 0);
    }
    usleep(300 * 1000);
    assert_in_range(threads_now() - threads, 2, MOST_THREADS);
    /* each connection under way has a descriptor of its own to wait on; that sanitizer has
     * descriptors too, so they are not counted there */
    if (!check_sanitized("thread")) {
        assert_in_range(descriptors_open() - before, SILENT, SILENT + MOST_DESCRIPTORS);
    }
    for (i = 0; i < SILENT; i++) {
        upstream_conn_discard(conns[i]);
    }
    upstream_destroy(up);
    dns_server_stop(dns);
    netns_resolver_options("timeout:5 attempts:2");
    free(text);
    assert_true(descriptors_fall_to(before));
}

/* node-1's server moves. */
static void move(const char *address)
{
    uint16_t port = senders_port(&senders, 0);
    counter_stop(senders.counters[0]);
    senders.counters[0] = counter_start_at(senders.ledgers[0], address, port);
    dns_server_set(dns, name, DNS_ANSWER, address, 0);
}

static void name_changes_address(void **state)
{
    size_t came;
    int turns;
    (void)state;
    start("dns.ttl 1h", TIMEOUT);
    dns_server_set(dns, name, DNS_ANSWER, addresses[0], 0);
    senders_go(&senders, 4);
    while (senders_came(&senders, 0) < 50) {
        usleep(10000);
    }
    move(elsewhere); /* the answer held for an hour more, but the node failed */
    came = senders_came(&senders, 0);
    for (turns = 0; turns < 3000 && senders_came(&senders, 0) == came; turns++) {
        usleep(10000);
    }
    senders_rest(&senders);
    assert_true(senders_stats(&senders, 0).ejections > 0);
    senders_heal(&senders);
    senders_even(&senders, 3);
    assert_in_range(dns_server_asked(dns, name), 2, 1000);
    senders_balance(&senders, SLACK);
    stop();
}

static void answer_ages(void **state)
{
    struct ledger *ledger = ledger_create(SENDERS_RECORDS);
    struct counter *successor;
    int turns;
    (void)state;
    start("dns.ttl 1s\nnet.keepalive off", TIMEOUT);
    dns_server_set(dns, name, DNS_ANSWER, addresses[0], 0);
    deliver_many(4);
    assert_int_equal(senders_came(&senders, 0), 2);
    /* Both servers serve; only the name says who is meant. */
    successor = counter_start_at(ledger, elsewhere, senders_port(&senders, 0));
    dns_server_set(dns, name, DNS_ANSWER, elsewhere, 0);
    for (turns = 0; turns < 300; turns++) {
        size_t came = senders_came(&senders, 0), sent = senders.next;
        senders_deliver(&senders);
        senders_deliver(&senders);
        if (senders_came(&senders, 0) == came) {
            assert_int_equal(ledger_times(ledger, sent) + ledger_times(ledger, sent + 1), 1);
            break;
        }
        usleep(50000);
    }
    assert_in_range(turns, 1, 299);
    assert_int_equal(senders_stats(&senders, 0).connects_failed, 0);
    senders_stop(&senders);
    counter_stop(successor);
    ledger_free(ledger);
    dns_server_stop(dns);
    assert_true(descriptors_fall_to(descriptors_before));
}

static void one_question_a_second(void **state)
{
    static const enum dns_way ways[] = {DNS_ANSWER, DNS_NO_SUCH_NAME, DNS_FAILURE};
    size_t i;
    (void)state;
    /* the system resolver itself is not to ask again */
    netns_resolver_options("timeout:5 attempts:1");
    for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        double begun;
        size_t asked;
        start("dns.ttl 0\nnet.keepalive off", TIMEOUT);
        dns_server_set(dns, name, ways[i], ways[i] == DNS_ANSWER ? addresses[0] : "", 0);
        begun = seconds();
        senders_go(&senders, 4);
        usleep(3500 * 1000);
        senders_rest(&senders);
        asked = dns_server_asked(dns, name);
        assert_in_range(asked, 2, (size_t)(seconds() - begun) + 1);
        assert_int_equal(senders_balance(&senders, SLACK), 0);
        stop();
    }
    netns_resolver_options("timeout:5 attempts:2");
}

static void last_answer_is_kept(void **state)
{
    size_t asked;
    (void)state;
    start("dns.ttl 1s\nnet.keepalive off", TIMEOUT);
    dns_server_set(dns, name, DNS_ANSWER, addresses[0], 0);
    deliver_many(2);
    asked = dns_server_asked(dns, name);
    dns_server_set(dns, name, DNS_FAILURE, "", 0);
    usleep(1100 * 1000); /* the answer is old now */
    senders_even(&senders, 3);
    assert_true(dns_server_asked(dns, name) > asked);
    dns_server_set(dns, name, DNS_NO_SUCH_NAME, "", 0);
    usleep(1100 * 1000);
    senders_even(&senders, 3);
    netns_resolver_options("timeout:1 attempts:1");
    dns_server_set(dns, name, DNS_SILENCE, "", 0);
    usleep(1100 * 1000);
    senders_even(&senders, 3);
    assert_int_equal(senders_stats(&senders, 0).connects_failed, 0);
    assert_int_equal(senders_balance(&senders, SLACK), 0);
    netns_resolver_options("timeout:5 attempts:2");
    stop();
}

static void stranger_at_the_address(void **state)
{
    struct loopback *stranger;
    upstream_t *up;
    upstream_node_t *node;
    char text[256];
    size_t i;
    (void)state;
    descriptors_before = descriptors_open();
    dns = dns_server_start();
    stranger = loopback_start(LOOPBACK_CLOSE); /* it takes connections, and knows nothing of TLS */
    dns_server_set(dns, name, DNS_ANSWER, "127.0.0.1", 0);
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\n[NODE]\nname n\nhost %s\nport %u\ntls on\n"
             "tls.verify off\ndns.ttl 1h\n",
             name, (unsigned)loopback_port(stranger));
    up = check_create(text, NULL);
    node = upstream_node_at(up, 0);
    for (i = 1; i <= 2; i++) {
        upstream_conn_t *conn = NULL;
        int turns;
        assert_true(upstream_node_connect(node, &conn, NULL) < 0);
        for (turns = 0; turns < 3000 && dns_server_asked(dns, name) < i; turns++) {
            /* the old answer serves meanwhile, and TLS may fail there before the question has
             * come */
            usleep(10000);
        }
        assert_int_equal(dns_server_asked(dns, name), i);
        usleep(1100 * 1000); /* no two lookups within a second */
    }
    upstream_destroy(up);
    loopback_stop(stranger);
    dns_server_stop(dns);
    assert_true(descriptors_fall_to(descriptors_before));
}

/* One address of the name refuses. There is no descriptor for the other one, which might have
 * answered. */
static void one_address_without_a_descriptor(void **state)
{
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    upstream_node_t *node;
    char list[64];
    size_t at_rest;
    (void)state;
    start("net.keepalive off\nhealth.max_fails 1", TIMEOUT);
    at_rest = descriptors_open();
    node = upstream_node_at(senders.up, 0);
    snprintf(list, sizeof(list), "%s %s", addresses[0], elsewhere);
    dns_server_set(dns, name, DNS_ANSWER, list, 0);
    senders_even(&senders, 3); /* the addresses are known */
    assert_true(descriptors_fall_to(at_rest));
    counter_kill(senders.counters[0]);
    /* the first address's, which is not closed yet when the second's is wanted */
    descriptors_forbid(1);
    assert_status(upstream_node_connect(node, &conn, &err), UPSTREAM_ERR_CONNECT);
    descriptors_allow();
    counter_revive(senders.counters[0]);
    check_contains(upstream_error_message(err), "Connection refused");
    check_contains(upstream_error_message(err), "raise its limit");
    assert_int_equal(upstream_error_errno(err), EMFILE);
    upstream_error_free(err);
    assert_int_equal(senders_stats(&senders, 0).ejections, 0);
    senders_even(&senders, 3);
    assert_int_equal(senders_balance(&senders, SLACK), 0);
    stop();
}

static void names_without_descriptors(void **state)
{
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    int i;
    (void)state;
    start("", TIMEOUT);
    dns_server_set(dns, name, DNS_ANSWER, addresses[0], 0);
    for (i = 0; i < 3; i++) {
        descriptors_forbid(0);
        assert_true(upstream_node_connect(upstream_node_at(senders.up, 0), &conn, &err) < 0);
        descriptors_allow();
        assert_int_equal(upstream_error_errno(err), EMFILE);
        check_contains(upstream_error_message(err), "raise its limit");
        upstream_error_free(err);
        err = NULL;
        assert_int_equal(upstream_node_state(upstream_node_at(senders.up, 0)), UPSTREAM_NODE_UP);
        assert_int_equal(senders_stats(&senders, 0).ejections, 0);
    }
    usleep(1100 * 1000); /* the failed lookup is forgotten */
    senders_even(&senders, 3);
    assert_int_equal(senders_balance(&senders, SLACK), 0);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(black_holed_address_first),
        cmocka_unit_test(name_does_not_exist),
        cmocka_unit_test(name_resolves_slowly),
        cmocka_unit_test(one_family_is_never_answered),
        cmocka_unit_test(many_names_that_nobody_answers_for),
        cmocka_unit_test(name_changes_address),
        cmocka_unit_test(answer_ages),
        cmocka_unit_test(one_question_a_second),
        cmocka_unit_test(last_answer_is_kept),
        cmocka_unit_test(stranger_at_the_address),
        cmocka_unit_test(one_address_without_a_descriptor),
        cmocka_unit_test(names_without_descriptors),
    };
    if (!netns_enter()) {
        return NETNS_SKIPPED;
    }
    return check_run_tests(tests, NULL, NULL);
}
