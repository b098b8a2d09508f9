/* tools/forward-receiver as the server of a test: start it, give it commands, ask what came. Never
 * used outside the tests. */
#ifndef SUPPORT_RECEIVER_H
#define SUPPORT_RECEIVER_H

#include <stddef.h>

#include "process.h"

struct receiver {
    struct process process;
    unsigned port;         /* stays the same over another receiver_start() */
    char out[256];         /* a line of JSON for each record */
    char certificate[256]; /* of a receiver with "--tls" */
};

/* `receiver` is all zeroes at first, or one that was killed: it comes back on its port. `more`:
 * arguments, NULL at the end. Its files are in `folder`, under `name`. */
void receiver_start(struct receiver *receiver, const char *folder, const char *name,
                    const char *const *more);

/* Gives it a command and waits until it has taken effect. */
void receiver_tell(struct receiver *receiver, const char *command);

/* Its line of counts. */
void receiver_counts(struct receiver *receiver, char *line, size_t size);

/* Kills it as a crash would: its connections are reset. */
void receiver_kill(struct receiver *receiver);

void receiver_stop(struct receiver *receiver);

/* Records so far, over all its lives. */
size_t receiver_records(const struct receiver *receiver);
/* Waits, at most 30 seconds, until there are so many; 1 if so. */
int receiver_await(const struct receiver *receiver, size_t records);
/* Calls `look` with each line of what it wrote; it may be writing more. */
void receiver_each(const struct receiver *receiver, void (*look)(const char *line, void *context),
                   void *context);

#endif
