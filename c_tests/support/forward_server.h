/*
 * A Forward server on loopback that plays a script: well-behaved, or one of the ways in which a
 * real one goes wrong. It keeps every record it was sent, and counts what a client sent on a
 * connection that it should have given up.
 */
#ifndef FORWARD_SERVER_H
#define FORWARD_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    HELO_NONE, /* no login: records at once */
    HELO_GOOD,
    HELO_BYTEWISE,       /* each byte in its own segment */
    HELO_BIN,            /* nonce and digests as bin */
    HELO_NO_KEEPALIVE,   /* keepalive false */
    HELO_AUTH,           /* sends a salt for passwords; takes any user if the script names none */
    HELO_NO_AUTH,        /* the option auth is left out */
    HELO_SILENT,         /* accepts, then says nothing */
    HELO_EOF,            /* accepts, then closes, as a balancer without a server behind it */
    HELO_EMPTY,          /* ["HELO", {}] */
    HELO_NIL_NONCE,      /* nonce is nil */
    HELO_BLANK_NONCE,    /* nonce is "" */
    HELO_NO_MAP,         /* ["HELO", nil] */
    HELO_OTHER,          /* ["HOLA", {...}] */
    HELO_STRING,         /* "HELO" alone */
    HELO_KEEPALIVE_TEXT, /* keepalive is a string */
    HELO_AUTH_NUMBER,    /* auth is a number */
    HELO_EXTRA,          /* a byte behind it */
    HELO_HUGE,           /* an array of 2^32 - 1 values is announced */
    HELO_ENDLESS,        /* a string that would pass any bound, sent without end */
    HELO_DEEP,           /* arrays in arrays */
    HELO_TEXT            /* HTTP instead of msgpack */
} helo_part;

typedef enum {
    PONG_GOOD,
    PONG_BYTEWISE,
    PONG_NAMESAKE, /* knows the key, and goes by the client's own name */
    PONG_SILENT,
    PONG_REFUSED,      /* false, with a reason */
    PONG_WRONG_DIGEST, /* true, without knowing the key */
    PONG_SHORT_DIGEST,
    PONG_THREE,   /* ["PONG", true, ""] */
    PONG_TEXT_OK, /* "true" as a string */
    PONG_NIL_DIGEST,
    PONG_OTHER, /* ["PING", ...] */
    PONG_EXTRA, /* a byte behind it */
    PONG_EOF,   /* closes after PING */
    /* Attackers: they do not have the key, and make their proof from what they read. */
    PONG_REFLECT,       /* the client's own name and proof */
    PONG_REFLECT_CASE,  /* its proof, under its name in other letters */
    PONG_REFLECT_DOT,   /* under its name with a dot behind */
    PONG_REFLECT_NUL,   /* under its name with a NUL behind */
    PONG_REFLECT_BLANK, /* under no name */
    PONG_REFLECT_NONCE, /* under its name and the nonce, as if the digest were over these */
    PONG_REFLECT_OTHER, /* under the attacker's own name */
    /* A good PONG on the first connection, repeated with the same nonce on all others. */
    PONG_REPLAY,
    PONG_BLANK_KEY /* with the empty key */
} pong_part;

typedef enum {
    ACK_NONE, /* asks for none */
    ACK_GOOD,
    ACK_BYTEWISE,
    ACK_BIN,
    ACK_SILENT,
    ACK_LATE,     /* after the client's patience is over, on the same connection */
    ACK_PREVIOUS, /* the second message is answered with the first one's id again */
    ACK_WRONG,    /* an id never sent */
    ACK_OTHER,    /* {"nack": id} */
    ACK_NUMBER,   /* {"ack": 1} */
    ACK_ARRAY,    /* [id] */
    ACK_TRAILING, /* a second ack behind the first */
    ACK_HALF,     /* half an ack, then EOF */
    ACK_EOF,
    ACK_TRICKLE /* a valid but very long map, one byte at a time, without end */
} ack_part;

typedef struct forward_script {
    helo_part helo;
    pong_part pong;
    ack_part ack;
    const char *shared_key;          /* of the server; "" for the empty one */
    const char *username, *password; /* with HELO_AUTH */
    unsigned connections;            /* how many play this; later ones are well-behaved; 0 is all */
} forward_script;

typedef struct forward_server forward_server;

/* Starts a server on a free port of 127.0.0.1. Ends the test program if the system gives none. */
forward_server *forward_server_start(const forward_script *script);
void forward_server_stop(forward_server *s);

uint16_t forward_server_port(const forward_server *s);
unsigned forward_server_accepted(forward_server *s); /* connections */
unsigned forward_server_logins(forward_server *s);   /* PINGs with the right digests */
unsigned forward_server_messages(forward_server *s); /* decoded in full */
size_t forward_server_records(forward_server *s);
/* How often a record {"log": text} came. */
unsigned forward_server_count(forward_server *s, const char *text);
/* Waits until so many messages came: without acks a client is done before the server has read. */
bool forward_server_await(forward_server *s, unsigned messages);
/* Bytes that came on a connection after the server had gone wrong on it. */
size_t forward_server_stray(forward_server *s);
/* Waits until the client has closed every connection on which the server went wrong. */
bool forward_server_all_dropped(forward_server *s);
/* The id of message `i` ("": it had none), its tag, and whether its times were plain integers. */
const char *forward_server_chunk(forward_server *s, unsigned i);
const char *forward_server_tag(forward_server *s, unsigned i);
bool forward_server_integer_times(forward_server *s, unsigned i);
/* The options size and fluent_signal of message `i`; -1 if it has none. */
long forward_server_size(forward_server *s, unsigned i);
long forward_server_signal(forward_server *s, unsigned i);
/* The bytes of message `i`'s entries as they came in a PackedForward, inflated; NULL for any other.
 * Until forward_server_stop(). */
const char *forward_server_packed(forward_server *s, unsigned i, size_t *len);

#endif
