/* The look-up of a node's property by its name, in any letter case. */
#define _GNU_SOURCE
#include "support/bench.h"

#include <stdio.h>
#include <string.h>

enum { MILLISECONDS = 5 };
static const double MOST = 10; /* ns */

struct look_up {
    const upstream_node_t *node;
    const char *key;
};

static uintptr_t look_up(void *context, uint64_t count)
{
    const struct look_up *one = context;
    uintptr_t seen = 0;
    while (count-- > 0) {
        seen += (uintptr_t)upstream_node_get_prop(one->node, one->key);
    }
    return seen;
}

static void measure(upstream_t *up, int properties, const char *key, const char *what)
{
    struct look_up one = {upstream_node_at(up, 1), key};
    char text[80];
    struct bench_row row = {
        .suite = "lookup", .what = text, .who = "libupstream", .unit = "ns", .most = MOST};
    snprintf(text, sizeof(text), "%s, of %d properties", what, properties);
    row.value = bench_time(look_up, &one, MILLISECONDS);
    bench_print(&row);
}

int main(void)
{
    static const int own[] = {2, 27};
    size_t i;
    for (i = 0; i < 2; i++) {
        char keys[2048] = "    shared_key secret-%d\n";
        int k;
        upstream_t *up;
        for (k = 1; k < own[i]; k++) {
            snprintf(keys + strlen(keys), sizeof(keys) - strlen(keys),
                     "    own_property_%d value\n", k);
        }
        up = bench_set(3, "", keys);
        measure(up, own[i] + 3, "shared_key", "the plugin's own key");
        measure(up, own[i] + 3, "Shared_Key", "the same in other letter case");
        measure(up, own[i] + 3, "host", "a key of the library's");
        measure(up, own[i] + 3, "time_as_integer", "a key that is not there");
        upstream_destroy(up);
    }
    return 0;
}
