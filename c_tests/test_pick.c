/* Round-robin: exact over all threads of the process, in file order from the first node. */
#define _GNU_SOURCE
#include "support/check.h"

#include <pthread.h>

#define NODES 3
#define PICKS 9000

static const uint16_t ports[NODES] = {43000, 44000, 45000};

static void counts_are(upstream_t *up, size_t each)
{
    upstream_stats_t stats;
    size_t i;
    for (i = 0; i < NODES; i++) {
        stats = check_node_stats(upstream_node_at(up, i));
        assert_int_equal(stats.picks, each);
    }
    stats = check_stats(up);
    assert_int_equal(stats.picks, each * NODES);
}

static void file_order_from_the_first(void **state)
{
    upstream_t *up = check_nodes(ports, NODES, "");
    size_t i;
    (void)state;
    for (i = 0; i < PICKS; i++) {
        assert_ptr_equal(upstream_next_node(up), upstream_node_at(up, i % NODES));
    }
    counts_are(up, PICKS / NODES);
    upstream_destroy(up);
}

struct picker {
    upstream_t *up;
    size_t picks;
    size_t of[NODES];
};

static void *pick(void *argument)
{
    struct picker *picker = argument;
    size_t turn, i;
    for (turn = 0; turn < picker->picks; turn++) {
        upstream_node_t *node = upstream_next_node(picker->up);
        for (i = 0; i < NODES; i++) {
            picker->of[i] += node == upstream_node_at(picker->up, i);
        }
    }
    return NULL;
}

static void exact_over_eight_threads(void **state)
{
    enum { THREADS = 8 };
    upstream_t *up = check_nodes(ports, NODES, "");
    struct picker pickers[THREADS];
    pthread_t threads[THREADS];
    size_t of[NODES] = {0, 0, 0};
    size_t t, i;
    (void)state;
    memset(pickers, 0, sizeof(pickers));
    for (t = 0; t < THREADS; t++) {
        pickers[t].up = up;
        pickers[t].picks = PICKS / THREADS;
        assert_int_equal(pthread_create(&threads[t], NULL, pick, &pickers[t]), 0);
    }
    for (t = 0; t < THREADS; t++) {
        pthread_join(threads[t], NULL);
        for (i = 0; i < NODES; i++) {
            of[i] += pickers[t].of[i];
        }
    }
    for (i = 0; i < NODES; i++) {
        assert_int_equal(of[i], PICKS / NODES);
    }
    counts_are(up, PICKS / NODES);
    upstream_destroy(up);
}

static void random_start_keeps_the_order(void **state)
{
    upstream_options_t *options;
    upstream_t *up;
    upstream_node_t *first;
    char *text = check_nodes_text(ports, NODES, "");
    size_t start = 0, i;
    (void)state;
    assert_status(upstream_options_create(&options), UPSTREAM_OK);
    assert_status(upstream_options_set(options, "start", "random", NULL), UPSTREAM_OK);
    up = check_create(text, options);
    first = upstream_next_node(up);
    while (upstream_node_at(up, start) != first) {
        start++;
        assert_true(start < NODES);
    }
    for (i = 1; i < 30; i++) {
        assert_ptr_equal(upstream_next_node(up), upstream_node_at(up, (start + i) % NODES));
    }
    counts_are(up, 10);
    upstream_destroy(up);
    upstream_options_destroy(options);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_order_from_the_first),
        cmocka_unit_test(exact_over_eight_threads),
        cmocka_unit_test(random_start_keeps_the_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
