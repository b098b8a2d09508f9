/*
 * What is allocated, counted in the allocator's own functions, which this defines anew over glibc's
 * for the whole program, libupstream.so in it. Linked into no program but those that count: see
 * CMakeLists.txt.
 */
#ifndef COUNTED_ALLOCATIONS_H
#define COUNTED_ALLOCATIONS_H

#include <stddef.h>

/* Blocks that the calling thread has asked for so far; one that is made larger or smaller counts
 * once more. */
size_t allocations_made(void);

/* The same of all threads. */
size_t allocations_made_by_all(void);

/* Bytes that lie allocated, by all threads: what each block has room for, and the 8 bytes that
 * glibc keeps with it (its size; the neighbour's size, in the 8 before, lies in the room of the
 * block before). So it is what the heap is taken up by. */
size_t allocations_live(void);

#endif
