/* See allocations.h. The blocks are glibc's own, by the names that it keeps for those who define
 * malloc() anew. */
#define _GNU_SOURCE
#include "allocations.h"

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *block);

enum { SIZE_FIELD = 8 };

/* a variable of the program, not of a library: to read it allocates nothing */
static __thread size_t made;
static size_t made_by_all, live;

static void *added(void *block)
{
    if (block != NULL) {
        made++;
        __atomic_add_fetch(&made_by_all, 1, __ATOMIC_RELAXED);
        __atomic_add_fetch(&live, malloc_usable_size(block) + SIZE_FIELD, __ATOMIC_RELAXED);
    }
    return block;
}

static void taken(void *block)
{
    if (block != NULL) {
        __atomic_sub_fetch(&live, malloc_usable_size(block) + SIZE_FIELD, __ATOMIC_RELAXED);
    }
}

void *malloc(size_t size)
{
    return added(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return added(__libc_calloc(count, size));
}

void *realloc(void *block, size_t size)
{
    size_t before = block != NULL ? malloc_usable_size(block) + SIZE_FIELD : 0;
    void *moved = __libc_realloc(block, size);
    if (moved != NULL || size == 0) { /* otherwise the old one stays */
        __atomic_sub_fetch(&live, before, __ATOMIC_RELAXED);
    }
    return added(moved);
}

void free(void *block)
{
    taken(block);
    __libc_free(block);
}

void *memalign(size_t alignment, size_t size)
{
    return added(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    int before = errno;
    void *block;
    if (alignment % sizeof(void *) != 0 || alignment == 0 || (alignment & (alignment - 1)) != 0) {
        return EINVAL;
    }
    block = memalign(alignment, size);
    errno = before;
    if (block == NULL) {
        return ENOMEM;
    }
    *out = block;
    return 0;
}

size_t allocations_made(void)
{
    return made;
}

size_t allocations_made_by_all(void)
{
    return __atomic_load_n(&made_by_all, __ATOMIC_RELAXED);
}

size_t allocations_live(void)
{
    return __atomic_load_n(&live, __ATOMIC_RELAXED);
}
