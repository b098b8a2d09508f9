/*
 * What the tests of the Forward example over loopback share: a set over scripted servers, and a
 * chunk of one numbered record.
 */
#ifndef FORWARD_CLIENT_H
#define FORWARD_CLIENT_H

#include "../../examples/forward/forward.h"
#include "forward_server.h"

/* Keys of the nodes: a short timeout for servers that stay silent, a long one for all others. */
#define KEYS_SECURED "    shared_key secret\n    self_hostname client\n    ack_timeout 300ms\n"
#define KEYS_PATIENT "    shared_key secret\n    self_hostname client\n    ack_timeout 20s\n"
#define KEYS_ACK "    require_ack_response on\n    ack_timeout 300ms\n"
#define KEYS_ACK_PATIENT "    require_ack_response on\n    ack_timeout 20s\n"

#define ACKING(ack_) {.helo = HELO_NONE, .ack = (ack_)}
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* A set over `servers`, each node with the same keys; a node that fails stays in the rotation. */
upstream_t *forward_client_over(forward_server **servers, size_t count, const char *keys);
/* The same with the keys of each. */
upstream_t *forward_client_over_each(forward_server **servers, size_t count,
                                     const char *const *keys);
/* Appends the record {"log": "record NNNN"}. */
void forward_client_fill(forward_batch *b, unsigned number);
/* Delivers that one record. */
upstream_status_t forward_client_send(upstream_t *up, unsigned number, forward_delivery *d);
/* How often it came to a server. */
unsigned forward_client_arrived(forward_server *s, unsigned number);

#endif
