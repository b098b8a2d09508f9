/* What the tests of upstream/fluent_bit.h share: the plugin in its agent, the upstream file,
 * flushes, and what came of them. Never used outside the tests. */
#ifndef SHIM_BED_H
#define SHIM_BED_H

#include "../support/check.h"
#include "../support/counter.h"
#include "guest.h"
#include "out_records.h"

enum { SHIM_MOST_TASKS = 1000 };

extern char shim_path[]; /* the upstream file */
extern struct guest shim_guest;
extern struct guest_task shim_tasks[SHIM_MOST_TASKS];
extern struct ledger *shim_ledger;

/* The plugin's context. */
struct records *shim_records(void);

/* Writes the file: nodes a, b, c.. of these ports, each with `more` lines. */
void shim_write_nodes(const uint16_t *ports, size_t count, const char *more);

/* Writes the file and starts the plugin. */
void shim_start(const char *module, const uint16_t *ports, size_t count, const char *more);

/* Ends the plugin; no connection may then be left in use. */
void shim_stop(void);

/* Flushes records `from`.. as worker 0 and gives how many flushes returned `word`. */
size_t shim_flush(uint64_t from, size_t count, size_t at_once, int word);

/* Fails unless each of the first `count` records came to some server. */
void shim_arrived(size_t count);

/* How often the plugin got the node `label`. */
size_t shim_picks_of(char label);

/* Flushes one by one, for ten seconds at most, until `label` was picked so often. */
void shim_flush_until_picked(char label, size_t picks);

/* Three servers that share the ledger. */
struct shim_three {
    struct counter *counters[3];
    uint16_t ports[3];
};

struct shim_three shim_three_start(void);
void shim_three_stop(struct shim_three *three);

/* Setup and teardown of a group of tests: the upstream file. */
int shim_make_path(void **state);
int shim_remove_path(void **state);

#endif
