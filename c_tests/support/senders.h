/*
 * Threads deliver numbered records over nodes that count what they get. At the end there is a
 * balance: no acknowledged record is lost, and a record came twice only if its acknowledgement was
 * missing. Never used outside the tests.
 */
#ifndef SUPPORT_SENDERS_H
#define SUPPORT_SENDERS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <pthread.h>

#include <upstream/upstream.h>

#include "counter.h"

enum { SENDERS_NODES = 4, SENDERS_THREADS = 16, SENDERS_RECORDS = 1 << 18 };

struct senders {
    upstream_t *up;
    size_t nodes;
    struct counter *counters[SENDERS_NODES];
    struct ledger *ledgers[SENDERS_NODES];
    unsigned timeout_ms; /* of each delivery */
    /* by record: sent, at least in part, and no answer came */
    _Atomic unsigned char *unacknowledged;
    atomic_size_t next;   /* record */
    atomic_size_t failed; /* deliveries */
    /* the test itself judges failed deliveries; their records are left out of the balance */
    int may_fail;
    _Atomic unsigned char *given_up; /* by record: its delivery failed */
    atomic_size_t unseen;            /* acknowledged, and no node has them */
    atomic_long slowest;             /* of them, in milliseconds */
    atomic_int going;
    size_t threads;
    pthread_t thread[SENDERS_THREADS];
    pthread_mutex_t words;
    char word[1024]; /* of the first failure */
};

/* Starts counters on one free port of each of these addresses. The caller makes the set. */
void senders_start(struct senders *senders, const char *const *addresses, size_t nodes,
                   unsigned timeout_ms);
uint16_t senders_port(const struct senders *senders, size_t node);

/* The text of an upstream of nodes "node-1".. on these hosts, which are addresses or names, with
 * `more` lines in each. */
char *senders_text(const struct senders *senders, const char *const *hosts, const char *more);

/* Delivers one record from this thread; its failure is counted too. */
upstream_status_t senders_deliver(struct senders *senders);
/* Starts that many threads, each of which delivers record after record until senders_rest(). */
void senders_go(struct senders *senders, size_t threads);
void senders_rest(struct senders *senders);

/* Records that came to a node so far, those that came again included. */
size_t senders_came(const struct senders *senders, size_t node);

/* The counters of one node. */
upstream_stats_t senders_stats(const struct senders *senders, size_t node);

/* Delivers until every node is up; fails the test if that takes longer than 30 seconds, or under
 * valgrind five minutes. */
void senders_heal(struct senders *senders);
/* Delivers one record after the other, and fails the test unless the nodes of `mask` (bit 0 is
 * node-1) get even shares, to one record, and the others nothing. */
void senders_even(struct senders *senders, unsigned mask);

/* Fails the test unless all went well: what is said above, no delivery failed, and none ended later
 * than `slack_ms` after its deadline. Gives how many records came more than once. */
size_t senders_balance(struct senders *senders, long slack_ms);

/* Ends the set and the counters, frees. */
void senders_stop(struct senders *senders);

#endif
