/* The server's side of a connection: sends bytes, and damages them as the script asks for. It also
 * counts what was sent in good order, by the port of the client. */
#ifndef FUZZ_TLS_WIRE_H
#define FUZZ_TLS_WIRE_H

#include "tls_records.h"

struct tls_wire {
    int fd;
    uint16_t client_port;
    size_t sent; /* bytes of data, in good order or not */
    int spoilt;  /* what follows must not reach the client's caller */
    int is_over;
    int armed; /* how the next bytes are damaged, and where */
    size_t where, how_much;
};

/* What tls_wire_arm() can do to the next bytes that are sent. */
enum { WIRE_CUT, WIRE_FLIP, WIRE_SPLIT, WIRE_TWICE };

void tls_wire_begin(struct tls_wire *wire, int fd, uint16_t client_port);
void tls_wire_arm(struct tls_wire *wire, int what, uint8_t a, uint8_t b);
void tls_wire_send(struct tls_wire *wire, const uint8_t *data, size_t size);

/* The same, without damage. */
void tls_wire_send_whole(struct tls_wire *wire, const uint8_t *data, size_t size);

/* Call it before `size` bytes of data are sent. */
void tls_wire_count(struct tls_wire *wire, size_t size);

/* What comes within `ms`; 0 if nothing does. */
size_t tls_wire_receive(struct tls_wire *wire, uint8_t *data, size_t size, int ms);

void tls_wire_wait(struct tls_wire *wire, int ms);

/* Ends the connection, by a reset if `hard`. */
void tls_wire_end(struct tls_wire *wire, int hard);
int tls_wire_is_over(const struct tls_wire *wire);

/* Ends all waiting, for the connections of one input together. */
void tls_wire_reset(void);
void tls_wire_stop(void);
int tls_wire_stopped(void);

#endif
