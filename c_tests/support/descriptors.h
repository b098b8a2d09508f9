/* The descriptors of this process: counts the open ones, and can make them run out. Never used
 * outside the tests. */
#ifndef SUPPORT_DESCRIPTORS_H
#define SUPPORT_DESCRIPTORS_H

#include <stddef.h>

/* How many are open. Always 0 under the thread sanitizer, which opens its own at any time. */
size_t descriptors_open(void);

/* Waits, at most 20 seconds, until no more than `count` are open; 1 if so. The library takes a
 * moment to close a connection in good order. */
int descriptors_fall_to(size_t count);

/* From now on only `spare` more can be opened, and as many as are closed; until
 * descriptors_allow(). */
void descriptors_forbid(size_t spare);
void descriptors_allow(void);

#endif
