/* The fault matrix, network rows: nodes that the network swallows, before and in the middle of connections. In a network of
 * the test's own; each row is a ctest (see docs/testing.md). */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/descriptors.h"
#include "support/netns.h"
#include "support/senders.h"

#include <unistd.h>

enum { TIMEOUT = 30000, SLACK = 5000 };

static const char *const addresses[] = {"127.0.0.11", "127.0.0.12", "127.0.0.13"};
enum { NODES = 3, LOST = 1 }; /* the node that is lost: node-2 */

static const char settings[] = "net.connect_timeout 2s\nnet.io_timeout 2s\nhealth.backoff 300ms\nhealth.backoff_max 1s";

static struct senders senders;

static void start(void)
{
    char *text;
    senders_start(&senders, addresses, NODES, TIMEOUT);
    text = senders_text(&senders, addresses, settings);
    senders.up = check_create(text, NULL);
    free(text);
}

static size_t threads(void)
{
    return check_slow() ? 4 : 8;
}

static upstream_stats_t stats_of_lost(void)
{
    upstream_stats_t stats = UPSTREAM_STATS_INIT;
    assert_status(upstream_node_stats(upstream_node_at(senders.up, LOST), &stats), UPSTREAM_OK);
    return stats;
}

/* Under load until the node is out of the rotation; at most 30 seconds. */
static void await_ejection(uint64_t before)
{
    int turns;
    for (turns = 0; turns < 3000 && stats_of_lost().ejections == before; turns++) {
        usleep(10000);
    }
    assert_true(stats_of_lost().ejections > before);
}

static void syn_black_hole(void **state)
{
    size_t before = descriptors_open(), dropped = netns_dropped();
    (void)state;
    start();
    netns_drop(addresses[LOST]);
    senders_go(&senders, threads());
    await_ejection(0);
    usleep(1000 * 1000); /* trials of it run meanwhile */
    senders_rest(&senders);
    assert_true(netns_dropped() > dropped);
    senders_even(&senders, 1 | 4); /* the healthy share what the lost one does not get */
    assert_int_equal(senders_came(&senders, LOST), 0);
    netns_heal();
    senders_heal(&senders);
    senders_even(&senders, 7);
    assert_int_equal(senders_balance(&senders, SLACK), 0);
    senders_stop(&senders);
    assert_true(descriptors_fall_to(before));
}

/* Drops what `drop` says in the middle of connections that work, until the node is out; then heals. */
static size_t partition(void (*drop)(const char *address))
{
    size_t before = descriptors_open(), dropped, again;
    start();
    senders_go(&senders, threads());
    while (senders_came(&senders, LOST) < 100) {
        usleep(10000);
    }
    dropped = netns_dropped();
    drop(addresses[LOST]);
    await_ejection(0);
    usleep(500 * 1000);
    assert_true(netns_dropped() > dropped);
    netns_heal();
    usleep(1000 * 1000); /* what the kernel sends again arrives now */
    senders_rest(&senders);
    senders_heal(&senders);
    senders_even(&senders, 7);
    again = senders_balance(&senders, SLACK);
    senders_stop(&senders);
    assert_true(descriptors_fall_to(before));
    return again;
}

static void partition_under_load(void **state)
{
    (void)state;
    print_message("%zu records came twice, their answers lost\n", partition(netns_drop));
}

static void partition_of_answers(void **state)
{
    (void)state;
    assert_true(partition(netns_drop_answers) > 0); /* they arrived, and had to be sent again */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(syn_black_hole),
        cmocka_unit_test(partition_under_load),
        cmocka_unit_test(partition_of_answers),
    };
    if (!netns_enter()) {
        return NETNS_SKIPPED;
    }
    return check_run_tests(tests, NULL, NULL);
}
