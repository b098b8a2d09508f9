/*
 * A proxy on loopback that breaks what it forwards by a script: the faults of the fault matrix, in
 * front of a real receiver. It does not know the protocol, and adds no bytes except those of the
 * script.
 */
#ifndef SUPPORT_PROXY_H
#define SUPPORT_PROXY_H

#include <stddef.h>
#include <stdint.h>

enum fault {
    FAULT_NONE,
    FAULT_RESET,
    FAULT_CLOSE,      /* FIN */
    FAULT_HALF_CLOSE, /* FIN; what the client sends is still read, and dropped */
    /* forwards and reads nothing more in either direction, for `stall_ms` or until
     * proxy_release() */
    FAULT_STALL
};

enum direction { TO_RECEIVER, TO_CLIENT };

/* All zeroes forwards faithfully. */
struct script {
    enum fault fault;
    enum direction direction;
    size_t after;     /* bytes forwarded in `direction`; the fault comes when the next one does */
    const char *says; /* sent to the client right before the fault; may be NULL */
    size_t says_len;
    /* how many play this, from now on; later ones are forwarded faithfully; 0: all */
    size_t connections;
    int stall_ms;      /* 0: until proxy_release() */
    size_t piece;      /* at most so many bytes at a time; 0: as they come */
    unsigned pause_us; /* after each piece */
};

struct proxy;

/* On a free port of `address`, in front of 127.0.0.1:`receiver`. `narrow`: with the smallest
 * receive buffer there is. */
struct proxy *proxy_start(const char *address, uint16_t receiver, int narrow);
uint16_t proxy_port(const struct proxy *proxy);
void proxy_stop(struct proxy *proxy);

/* For connections that are accepted from now on. The bytes of `says` are not copied. */
void proxy_play(struct proxy *proxy, const struct script *script);
/* What stalls goes on, and nothing stalls again. */
void proxy_release(struct proxy *proxy);

/* Refuses from now on, and resets its connections; and takes new ones again, on the same port. */
void proxy_close(struct proxy *proxy);
void proxy_open(struct proxy *proxy);

/* Ends the connections that stand, with a FIN or a reset. Each is over when it returns. */
void proxy_fin_all(struct proxy *proxy);
void proxy_reset_all(struct proxy *proxy);

size_t proxy_accepted(struct proxy *proxy); /* connections so far */
size_t proxy_faults(struct proxy *proxy);   /* that came true so far */

#endif
