/*
 * Searches the memory of this process for a secret. The secret itself is kept masked here, so that
 * what is found is only what others have copied.
 */
#ifndef SUPPORT_MEMORY_H
#define SUPPORT_MEMORY_H

#include <stddef.h>

/* How long the secret is. Only its end is searched for: the allocator overwrites the first bytes of
 * memory that is given back, which hides copies there but does not wipe them. */
#define MEMORY_NEEDLE 64

/* A new secret, of letters. */
void memory_random_needle(void);

/* The first MEMORY_NEEDLE bytes of `text` are the secret from now on. */
void memory_set_needle(const char *text);

/* Writes the secret, without a NUL byte. */
void memory_write_needle(char *to);

/* How often the secret is in memory that this process can read. */
size_t memory_count(void);

/* Overwrites memory, also if nobody reads it any more. */
void memory_wipe(void *memory, size_t size);

#endif
