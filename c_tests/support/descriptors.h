/* The descriptors of this process: how many are open, and none left to be had. Never used outside
 * the tests. */
#ifndef SUPPORT_DESCRIPTORS_H
#define SUPPORT_DESCRIPTORS_H

#include <stddef.h>

/* 0 under the thread sanitizer, which opens some of its own when it likes. */
size_t descriptors_open(void);

/* Waits, at most 20 seconds, until no more than `count` are open; 1 if so. What the library closes
 * in good order takes a moment. */
int descriptors_fall_to(size_t count);

/* From now on only `spare` more can be had, and what is closed meanwhile; until
 * descriptors_allow(). */
void descriptors_forbid(size_t spare);
void descriptors_allow(void);

#endif
