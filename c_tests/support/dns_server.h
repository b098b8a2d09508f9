/*
 * A name server for the tests, at 127.0.0.53 of a network of the test's own: it answers for the
 * names that the test sets, as the test says, and counts the questions. Never used outside the
 * tests.
 */
#ifndef SUPPORT_DNS_SERVER_H
#define SUPPORT_DNS_SERVER_H

#include <stddef.h>

enum dns_way {
    DNS_ANSWER,       /* the addresses */
    DNS_NO_SUCH_NAME, /* NXDOMAIN */
    DNS_FAILURE,      /* SERVFAIL */
    DNS_SILENCE       /* nothing */
};

struct dns_server;

/* Never NULL: a test that cannot start one ends. Names that were not set do not exist. */
struct dns_server *dns_server_start(void);

/* From now on `name` is answered for in this way, `delay_ms` late; `addresses` are IPv4, apart by
 * blanks, in this order. */
void dns_server_set(struct dns_server *server, const char *name, enum dns_way way,
                    const char *addresses, unsigned delay_ms);

/* From now on no question for IPv6 addresses is answered (or each, as by default: no name has one).
 */
void dns_server_silence_v6(struct dns_server *server, int silent);

/* How often the IPv4 addresses of `name` were asked for. */
size_t dns_server_asked(struct dns_server *server, const char *name);

/* The same for its IPv6 addresses. */
size_t dns_server_asked_v6(struct dns_server *server, const char *name);

void dns_server_stop(struct dns_server *server);

#endif
