/* What the two halves of the stand-in agent share. Never used outside the tests. */
#ifndef GUEST_INTERNAL_H
#define GUEST_INTERNAL_H

#include "guest_agent.h"

extern __thread int guest_worker; /* the number of the worker that this thread is */

/* Ends the test program where it does not hold. */
void guest_need(int holds, const char *what);
void guest_forget_counts(void);

void guest_set_up(struct flb_output_instance *instance); /* with the net.* keys of an output */

#endif
