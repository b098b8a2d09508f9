/* The reference upstream file, as it stands, through every getter. */
#include "support/check.h"

#define FILE_NAME UPSTREAM_SOURCE_DIR "/examples/forward-balancing.conf"

static int create(void **state)
{
    upstream_t *up = NULL;
    upstream_error_t *err = NULL;
    if (upstream_create(FILE_NAME, NULL, &up, &err) != UPSTREAM_OK) {
        print_error("%s\n", upstream_error_message(err));
        return -1;
    }
    *state = up;
    return 0;
}

static int destroy(void **state)
{
    upstream_destroy(*state);
    return 0;
}

static void the_set(void **state)
{
    upstream_t *up = *state;
    upstream_stats_t stats;
    assert_string_equal(upstream_name(up), "forward-balancing");
    assert_int_equal(upstream_node_count(up), 3);
    assert_null(upstream_node_at(up, 3));
    assert_null(upstream_node_at(up, SIZE_MAX));
    assert_ptr_equal(upstream_node_by_name(up, "node-2"), upstream_node_at(up, 1));
    assert_null(upstream_node_by_name(up, "node-4"));
    assert_null(upstream_node_by_name(up, ""));
    stats = check_stats(up);
    assert_int_equal(stats.nodes, 3);
    assert_int_equal(stats.nodes_up, 3);
    assert_int_equal(stats.struct_size, sizeof(stats));
}

static void the_nodes(void **state)
{
    static const struct {
        const char *name;
        uint16_t port;
        int32_t tls;
        size_t properties;
    } expected[] = {{"node-1", 43000, 0, 3}, {"node-2", 44000, 0, 3}, {"node-3", 45000, 1, 6}};
    size_t i;
    for (i = 0; i < 3; i++) {
        upstream_node_t *node = upstream_node_at(*state, i);
        assert_string_equal(upstream_node_name(node), expected[i].name);
        assert_string_equal(upstream_node_host(node), "127.0.0.1");
        assert_int_equal(upstream_node_port(node), expected[i].port);
        assert_int_equal(upstream_node_tls(node), expected[i].tls);
        assert_int_equal(upstream_node_prop_count(node), expected[i].properties);
        assert_int_equal(upstream_node_state(node), UPSTREAM_NODE_UP);
    }
}

static void the_properties(void **state)
{
    static const char *const written[][2] = {{"name", "node-3"},    {"host", "127.0.0.1"},
                                             {"port", "45000"},     {"tls", "on"},
                                             {"tls.verify", "off"}, {"shared_key", "secret"}};
    upstream_node_t *node = upstream_node_by_name(*state, "node-3");
    const char *key, *value;
    size_t i;
    for (i = 0; i < 6; i++) {
        assert_status(upstream_node_prop_at(node, i, &key, &value), UPSTREAM_OK);
        assert_string_equal(key, written[i][0]);
        assert_string_equal(value, written[i][1]);
        assert_string_equal(upstream_node_get_prop(node, key), value);
    }
    assert_status(upstream_node_prop_at(node, 6, &key, &value), UPSTREAM_ERR_NOT_FOUND);
    assert_string_equal(upstream_node_get_prop(node, "Shared_KEY"), "secret");
    assert_null(upstream_node_get_prop(node, "shared_ke"));
    assert_null(upstream_node_get_prop(node, "tls.vhost"));
    assert_null(upstream_node_get_prop(node, ""));
    assert_null(upstream_node_get_prop(upstream_node_at(*state, 0), "shared_key"));
    assert_int_equal(upstream_node_get_prop_bool(node, "TLS", 0), 1);
    assert_int_equal(upstream_node_get_prop_bool(node, "tls.verify", 1), 0);
    assert_int_equal(upstream_node_get_prop_bool(node, "unset", 7), 7);
    assert_int_equal(upstream_node_get_prop_bool(node, "shared_key", -5), -5);
    assert_int_equal(upstream_node_get_prop_int(node, "port", 0), 45000);
    assert_int_equal(upstream_node_get_prop_int(node, "unset", -9), -9);
    assert_int_equal(upstream_node_get_prop_ms(node, "port", 0), 45000000);
    assert_int_equal(upstream_node_get_prop_size(node, "port", 0), 45000);
}

static void typed_values(void **state)
{
    upstream_t *up = check_create("[UPSTREAM]\n name u\n[NODE]\n name n\n host h\n port 1\n"
                                  " a 250ms\n b 2m\n c 4k\n d 1M\n"
                                  " e -17\n f 1d\n g 10x\n h YES\n i 3G\n",
                                  NULL);
    upstream_node_t *node = upstream_node_at(up, 0);
    (void)state;
    assert_int_equal(upstream_node_get_prop_ms(node, "a", 0), 250);
    assert_int_equal(upstream_node_get_prop_ms(node, "b", 0), 120000);
    assert_int_equal(upstream_node_get_prop_ms(node, "f", 0), 86400000);
    assert_int_equal(upstream_node_get_prop_ms(node, "g", 5), 5);
    assert_int_equal(upstream_node_get_prop_ms(node, "e", 5), 5);
    assert_int_equal(upstream_node_get_prop_size(node, "c", 0), 4096);
    assert_int_equal(upstream_node_get_prop_size(node, "d", 0), 1048576);
    assert_true(upstream_node_get_prop_size(node, "i", 0) == INT64_C(3221225472));
    assert_int_equal(upstream_node_get_prop_size(node, "g", 6), 6);
    assert_int_equal(upstream_node_get_prop_int(node, "e", 0), -17);
    assert_int_equal(upstream_node_get_prop_int(node, "g", 8), 8);
    assert_int_equal(upstream_node_get_prop_bool(node, "h", 0), 1);
    upstream_destroy(up);
}

static void properties_fall_back(void **state)
{
    upstream_options_t *options;
    upstream_t *up;
    upstream_node_t *node;
    const char *key, *value;
    (void)state;
    assert_status(upstream_options_create(&options), UPSTREAM_OK);
    assert_status(upstream_options_set(options, "x", "options", NULL), UPSTREAM_OK);
    assert_status(upstream_options_set(options, "Y", "options", NULL), UPSTREAM_OK);
    assert_status(upstream_options_set(options, "z", "first", NULL), UPSTREAM_OK);
    assert_status(upstream_options_set(options, "Z", "options", NULL), UPSTREAM_OK);
    up = check_create("[UPSTREAM]\n name u\n X set\n y set\n[NODE]\n name n\n host h\n port 1\n"
                      " x node\n",
                      options);
    upstream_options_destroy(options);
    node = upstream_node_at(up, 0);
    assert_string_equal(upstream_node_get_prop(node, "x"), "node");
    assert_string_equal(upstream_node_get_prop(node, "y"), "set");
    assert_string_equal(upstream_node_get_prop(node, "z"), "options");
    assert_int_equal(upstream_node_prop_count(node), 6);
    assert_status(upstream_node_prop_at(node, 4, &key, &value), UPSTREAM_OK);
    assert_string_equal(key, "y");
    assert_string_equal(value, "set");
    upstream_destroy(up);
}

static int freed;

static void count_free(void *data)
{
    freed += *(int *)data;
}

static void node_data(void **state)
{
    upstream_t *up = check_create("[UPSTREAM]\n name u\n[NODE]\n name n\n host h\n port 1\n", NULL);
    upstream_node_t *node = upstream_node_at(up, 0);
    int one = 1, ten = 10;
    (void)state;
    freed = 0;
    assert_null(upstream_node_get_data(node));
    assert_status(upstream_node_set_data(node, &one, count_free), UPSTREAM_OK);
    assert_ptr_equal(upstream_node_get_data(node), &one);
    assert_status(upstream_node_set_data(node, &ten, count_free), UPSTREAM_OK);
    assert_int_equal(freed, 1);
    assert_ptr_equal(upstream_node_get_data(node), &ten);
    upstream_destroy(up);
    assert_int_equal(freed, 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_set, create, destroy),
        cmocka_unit_test_setup_teardown(the_nodes, create, destroy),
        cmocka_unit_test_setup_teardown(the_properties, create, destroy),
        cmocka_unit_test(typed_values),
        cmocka_unit_test(properties_fall_back),
        cmocka_unit_test(node_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
