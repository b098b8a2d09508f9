/* The servers that the operations speak to, as setup and teardown of a group of cmocka. Never used
 * outside the tests. */
#ifndef COUNTED_SERVERS_H
#define COUNTED_SERVERS_H

/* Starts a sink and `openssl s_server`, and tells the operations. Before any thread. */
int servers_start(void **state);
int servers_stop(void **state);

#endif
