/*
 * A receiver that can be killed and started again on its port, for load tests: it takes records of
 * eight bytes, marks each in a ledger that several receivers share, and only then answers with the
 * same eight bytes. Never used outside the tests.
 */
#ifndef SUPPORT_COUNTER_H
#define SUPPORT_COUNTER_H

#include <stddef.h>
#include <stdint.h>

struct ledger;

/* For records 0 to `most` - 1. Its memory is touched at once, so that it grows no more. */
struct ledger *ledger_create(size_t most);
/* how often it came: 0, 1, or 2 for more than once */
size_t ledger_times(const struct ledger *ledger, uint64_t record);
void ledger_free(struct ledger *ledger);

struct counter;

/* Starts a receiver on a free port of 127.0.0.1. Never NULL: a test that cannot start one ends. */
struct counter *counter_start(struct ledger *ledger);
/* The same on an IPv4 address of the loopback and a port of choice; 0 is a free one. */
struct counter *counter_start_at(struct ledger *ledger, const char *address, uint16_t port);
/* The same, but it marks the records and never answers. */
struct counter *counter_start_mute(struct ledger *ledger);
uint16_t counter_port(const struct counter *counter);

/* Resets every connection and refuses new ones, until counter_revive(). Both return when that is
 * done. */
void counter_kill(struct counter *counter);
void counter_revive(struct counter *counter);

/* Ends it, joins its thread, frees. */
void counter_stop(struct counter *counter);

#endif
