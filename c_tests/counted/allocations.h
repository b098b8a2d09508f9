/*
 * Counts allocations. It replaces the allocator's functions, on top of glibc's, for the whole
 * program including libupstream.so. Link it only into the programs that count: see CMakeLists.txt.
 */
#ifndef COUNTED_ALLOCATIONS_H
#define COUNTED_ALLOCATIONS_H

#include <stddef.h>

/* Blocks that the calling thread has asked for so far; one that is made larger or smaller counts
 * once more. */
size_t allocations_made(void);

/* The same of all threads. */
size_t allocations_made_by_all(void);

/* Bytes that are allocated now, by all threads: the usable size of each block, and the 8 bytes in
 * which glibc keeps the size. (Its other 8 bytes overlap the block before.) So it is how much of
 * the heap is in use. */
size_t allocations_live(void);

#endif
