/* Sets of any size for the counted tests. All nodes are at one port of 127.0.0.1. Never used
 * outside the tests. */
#ifndef COUNTED_SETS_H
#define COUNTED_SETS_H

#include "../support/check.h"

/* The text of so many nodes, each with name, host, port and two properties of a plugin; `keys`:
 * more lines of [UPSTREAM]. The caller frees it. */
char *sets_text(size_t nodes, uint16_t port, const char *keys);

/* A set of such a text. */
upstream_t *sets_create(size_t nodes, uint16_t port, const char *keys);

/* The same with the weights 1 to 7 in turn. */
upstream_t *sets_create_weighted(size_t nodes, uint16_t port);

#endif
