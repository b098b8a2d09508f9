/* What the tests of the plugin for Fluent Bit share: loading and unloading, files, chunks. Never
 * used outside the tests. */
#ifndef SUPPORT_AGENT_BED_H
#define SUPPORT_AGENT_BED_H

#include <stddef.h>

#include "agent.h"

struct agent_bed {
    struct agent *agent;
    char *folder;   /* with the certificates of openssl.h */
    char conf[256]; /* the upstream file */
    size_t descriptors, threads;
};

extern struct agent_bed bed;

/* For a group of tests, and for each: loads the plugin; unloads it and fails unless its descriptors
 * and threads are gone with it. */
int agent_bed_open(void **state);
int agent_bed_close(void **state);
int agent_bed_load(void **state);
int agent_bed_unload(void **state);

/* The upstream file from now on. */
void agent_bed_write(const char *text);
/* The same with one node, of that port, and `keys` in [UPSTREAM]. */
void agent_bed_write_one(unsigned port, const char *keys);

/* agent_output_start() of what must be accepted. */
struct agent_output *agent_bed_start(const char *const *section);

/* ---- chunks as the agent makes them ---- */

struct chunk {
    unsigned char data[4096];
    size_t len;
};

void chunk_add(struct chunk *chunk, const void *bytes, size_t len);
#define CHUNK_ADD(chunk, literal) chunk_add(chunk, literal, sizeof(literal) - 1)
/* 1700000000.123456789 as EventTime */
#define CHUNK_TIME "\xd7\x00\x65\x53\xf1\x00\x07\x5b\xcd\x15"
/* The record {"log": "record NNNN"} */
void chunk_add_log(struct chunk *chunk, unsigned number);
/* So many events with such records and empty metadata. */
struct chunk chunk_of(unsigned first, unsigned records);

/* Flushes chunk_of() them under the tag "app.log". */
int agent_bed_flush(struct agent_output *output, unsigned first, unsigned records);

#endif
