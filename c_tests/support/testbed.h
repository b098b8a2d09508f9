/*
 * The bed of the fault matrix: a set over receivers that count, each behind a proxy that can break
 * its connections, and an account of every record that was sent. Never used outside the tests.
 */
#ifndef SUPPORT_TESTBED_H
#define SUPPORT_TESTBED_H

#include "check.h"
#include "counter.h"
#include "descriptors.h"
#include "event_loop.h"
#include "proxy.h"

enum { TESTBED_NODES = 5, TESTBED_RECORDS = 1 << 18 };

struct testbed_node {
    const char *keys; /* more lines of its section; NULL: none */
    /* a port of 127.0.0.1 that does not count; 0: the bed's own counting receiver */
    uint16_t receiver;
    int narrow;          /* as in proxy_start() */
    int mute;            /* its own receiver counts and never answers: see unanswered.h */
    const char *host;    /* as the set knows it; NULL: 127.0.0.1 */
    const char *address; /* the address on which its proxy listens; NULL: 127.0.0.1 */
};

struct testbed {
    upstream_t *up;
    size_t nodes;
    struct proxy *proxies[TESTBED_NODES];
    struct ledger *ledger; /* of all counting receivers */
    struct books *books;   /* what became of each record, as the sender saw it */
    struct counter *counters[TESTBED_NODES];
    size_t descriptors; /* of the process before */
    /* if set, testbed_deliver() uses the calls for an event loop, and goes on to other nodes as a
     * plugin does */
    struct event_loop *loop;
};

/* `keys`: more lines of [UPSTREAM]. `nodes` may be NULL: nothing special about any. `options` may
 * be NULL. */
void testbed_open(struct testbed *bed, size_t count, const char *keys,
                  const struct testbed_node *nodes, const upstream_options_t *options);

/*
 * Delivers the next record, or the next `records` as one payload, within `timeout_ms` (0:
 * deliver.timeout, a minute). From any thread. If something does not hold for this call, it is
 * noted, and testbed_close() fails.
 */
upstream_status_t testbed_deliver(struct testbed *bed, size_t records, uint32_t timeout_ms);
/* That many deliveries of one record; each must succeed. */
void testbed_deliver_each(struct testbed *bed, size_t times);

/* Delivers until each of these nodes (a bit for each) has had `rounds`; fails unless all have and
 * no other node had any. */
void testbed_shares_are_even(struct testbed *bed, unsigned nodes, size_t rounds);

/* The words of the delivery that failed last; not while deliveries are under way. */
const char *testbed_last_error(const struct testbed *bed);
size_t testbed_sent(const struct testbed *bed);  /* records so far */
size_t testbed_twice(const struct testbed *bed); /* those that came more than once */
upstream_stats_t testbed_stats(const struct testbed *bed, size_t node);
upstream_node_t *testbed_node(const struct testbed *bed, size_t node);
/* Waits, at most 30 seconds (ten times as long under valgrind), for a node's state; fails if it
 * does not come. */
void testbed_wait_state(const struct testbed *bed, size_t node, int32_t state);

/*
 * Ends it all. Fails if an acknowledged record was lost, one came twice that was written only once,
 * a call went on past its deadline, a call is still counted as active, or a descriptor is left.
 */
void testbed_close(struct testbed *bed);

/* Waits until at most that many descriptors are open: a thread may have one left to close. Fails if
 * they stay more. */
void testbed_wait_descriptors(size_t most);
/* A limit for hangs: ten times as long under valgrind. */
long testbed_patience_ms(void);

#endif
