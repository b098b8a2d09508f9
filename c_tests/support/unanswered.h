/*
 * The fault matrix for a plugin that only writes: a testbed whose receivers count and never answer,
 * and an account of what was booked as delivered but did not arrive. Never used outside the tests.
 */
#ifndef SUPPORT_UNANSWERED_H
#define SUPPORT_UNANSWERED_H

#include "testbed.h"

#include <stdatomic.h>

struct unanswered {
    struct testbed bed;            /* without its own deliveries */
    size_t may_come_twice;         /* records that may be lost; 0 unless set */
    int send_buffer;               /* of its connections, as for SO_SNDBUF; 0: the system's */
    atomic_size_t next;            /* record */
    _Atomic unsigned char *booked; /* by record: its delivery said UPSTREAM_OK */
    _Atomic unsigned char
        *impossible; /* by record: it failed, and the error said that it went nowhere */
};

enum { UNANSWERED_RECORD = 8 };

/* Like testbed_open(), but the bed's own receivers never answer. */
void unanswered_open(struct unanswered *un, size_t count, const char *keys,
                     const struct testbed_node *nodes);

/* Delivers the next `records` as one payload, by one write. From any thread. `first` may be
 * NULL. */
upstream_status_t unanswered_write(struct unanswered *un, size_t records, uint64_t *first);
/* That many deliveries of one record; each must be booked. */
void unanswered_each(struct unanswered *un, size_t times);
/* The same, and waits until all that was booked has come, but for `lost` records. */
void unanswered_arrive(struct unanswered *un, size_t times, size_t lost);

int unanswered_came(const struct unanswered *un, uint64_t record);
size_t unanswered_lost(const struct unanswered *un);  /* booked, and not there */
size_t unanswered_twice(const struct unanswered *un); /* there more than once */
/* Waits until at most that many are lost; fails if it stays more. */
void unanswered_settle(const struct unanswered *un, size_t lost);

/*
 * Ends it all. Fails unless between `least` and `most` of what was booked is lost; if more came
 * twice than may, or one came though its error said that it could not; or if a descriptor is left.
 */
void unanswered_close(struct unanswered *un, size_t least, size_t most);

#endif
