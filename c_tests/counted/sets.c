/* See sets.h. */
#include "sets.h"

enum { NODE_LINES = 160 };

static char *text_of(size_t nodes, uint16_t port, const char *keys, int weighted)
{
    size_t room = 64 + strlen(keys) + nodes * NODE_LINES, used, i;
    char *text = malloc(room);
    assert_non_null(text);
    used = (size_t)snprintf(text, room, "[UPSTREAM]\nname counted\n%s", keys);
    for (i = 0; i < nodes; i++) {
        used += (size_t)snprintf(text + used, room - used,
                                 "[NODE]\nname node-%zu\nhost 127.0.0.1\nport %u\n"
                                 "shared_key secret\nchunk_limit 2M\n",
                                 i + 1, (unsigned)port);
        if (weighted) {
            used += (size_t)snprintf(text + used, room - used, "weight %zu\n", i % 7 + 1);
        }
    }
    assert_true(used < room);
    return text;
}

static upstream_t *set_of(char *text)
{
    upstream_t *up = check_create(text, NULL);
    free(text);
    return up;
}

char *sets_text(size_t nodes, uint16_t port, const char *keys)
{
    return text_of(nodes, port, keys, 0);
}

upstream_t *sets_create(size_t nodes, uint16_t port, const char *keys)
{
    return set_of(text_of(nodes, port, keys, 0));
}

upstream_t *sets_create_weighted(size_t nodes, uint16_t port)
{
    return set_of(text_of(nodes, port, "", 1));
}
