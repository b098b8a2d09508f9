/*
 * The scripted Forward server from inside: its state, and what it keeps of messages
 * (forward_notes.c).
 */
#ifndef FORWARD_SERVER_INTERNAL_H
#define FORWARD_SERVER_INTERNAL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* usleep */
#endif

#include "forward_server.h"

#include <msgpack.h>
#include <pthread.h>

#define PEERS_MAX 256

typedef struct peer {
    forward_server *server;
    int fd;
    pthread_t thread;
    bool well_behaved; /* whatever the script says */
    msgpack_unpacker unpacker;
} peer;

typedef struct message {
    char *tag;
    char *chunk;
    bool integer_times;
    long size, signal; /* of the options; -1 without */
    char *packed;
    size_t packed_len;
} message;

struct forward_server {
    forward_script script;
    int listener;
    uint16_t port;
    pthread_t acceptor;
    pthread_mutex_t lock;
    bool stopping;
    peer peers[PEERS_MAX];
    unsigned peer_count;
    unsigned logins;
    char recorded[129]; /* the first good proof, for PONG_REPLAY */
    message *messages;
    unsigned message_count;
    char **records;
    size_t record_count;
    unsigned wrong, dropped; /* connections that went wrong; those the client has closed since */
    size_t stray;
};

void forward_die(const char *what);
void *forward_alloc(void *old, size_t size);
bool forward_object_is(const msgpack_object *o, const char *text);
/* Keeps a message and its records; gives its chunk id, "" without one. */
const char *forward_note_message(forward_server *s, const msgpack_object *o);

#endif
