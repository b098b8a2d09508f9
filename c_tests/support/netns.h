/*
 * A private network for the test: the process moves into network and mount namespaces that nobody
 * else sees. There it may drop packets and choose the resolver. Nothing it does here reaches the
 * machine. Never used outside the tests.
 */
#ifndef SUPPORT_NETNS_H
#define SUPPORT_NETNS_H

#include <stddef.h>

/* What a program returns if the kernel forbids such namespaces: ctest shows it as skipped
 * (SKIP_RETURN_CODE). */
enum { NETNS_SKIPPED = 77 };

/* Moves there; call it before any thread is started. All of 127.0.0.0/8 is there, and
 * /etc/resolv.conf and /etc/nsswitch.conf name only the name server at 127.0.0.53. Returns 0 if the
 * kernel forbids it, and says why in one line. */
int netns_enter(void);

/* From now on every packet from or to that IPv4 address is dropped on arrival, without a word to
 * its sender. */
void netns_drop(const char *address);

/* The same, but only for packets from that address: what is sent to it arrives, and no answer comes
 * back. */
void netns_drop_answers(const char *address);

/* Each new connection to that IPv4 address is answered by an ICMP "host unreachable", as by a
 * router on the way. */
void netns_reject(const char *address);

/* The ports that connections may come from, from now on. */
void netns_ports(unsigned low, unsigned high);

/* Drops and rejects nothing any more. */
void netns_heal(void);

/* Packets dropped so far. */
size_t netns_dropped(void);

/* `options` of /etc/resolv.conf from now on, as "timeout:1 attempts:1". */
void netns_resolver_options(const char *options);

#endif
