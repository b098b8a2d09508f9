/* The agent's upstreams, as its engine and the tests set them up. Never used outside the tests. */
#ifndef GUEST_UPSTREAM_H
#define GUEST_UPSTREAM_H

#include "guest_agent.h"

int guest_connections_busy(void); /* handed out and not given back */
int guest_connections_kept(void); /* idle */
int guest_connects_failed(void);  /* since the last guest_start() */
/* per node and worker, for the upstreams made from now on; 0 is none */
void guest_set_connect_limit(int connections);
/* net.io_timeout of the output, and to what its plugin hands it, from the next guest_start() on. */
void guest_set_io_timeout(int seconds, enum guest_net_setup_for whom);
/* connects to this port fail after their time-out, which passes at once; 0: none */
void guest_set_connect_hangs(int port);

/* Used by the engine. */
void guest_set_up(struct flb_output_instance *instance); /* with the net.* keys of an output */
void guest_forget_connects(void);

#endif
