/* A plugin as an agent loads it: it links libupstream, its host does not. Only for test_unload. */
#ifndef GUEST_MODULE_H
#define GUEST_MODULE_H

/* Makes a set of one node (over TLS, trusting `ca_file`, unless that is NULL), delivers over it and
 * leaves the connection in the pool. NULL if any of it fails. */
typedef void *(*guest_begin_fn)(unsigned port, const char *ca_file);

/* Delivers once more, on the kept connection if there is one; 1 if it went well. */
typedef int (*guest_deliver_fn)(void *set);

/* Destroys the set. */
typedef void (*guest_end_fn)(void *set);

#endif
