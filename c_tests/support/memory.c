/* See memory.h. */
#define _GNU_SOURCE
#include "memory.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

enum { MASK = 0x80, SEARCHED = 24, CHUNK = 1 << 20, MAPS = 1 << 18 };

/* Each byte with its highest bit set, which no letter has. */
static unsigned char masked[MEMORY_NEEDLE];

void memory_random_needle(void)
{
    size_t i;
    if (getrandom(masked, sizeof(masked), 0) != (ssize_t)sizeof(masked)) {
        abort();
    }
    for (i = 0; i < sizeof(masked); i++) {
        masked[i] = (unsigned char)(('a' + masked[i] % 26) | MASK);
    }
}

void memory_set_needle(const char *text)
{
    size_t i;
    for (i = 0; i < sizeof(masked); i++) {
        masked[i] = (unsigned char)((unsigned char)text[i] | MASK);
    }
}

void memory_write_needle(char *to)
{
    size_t i;
    for (i = 0; i < sizeof(masked); i++) {
        to[i] = (char)(masked[i] & ~MASK);
    }
}

void memory_wipe(void *memory, size_t size)
{
    volatile char *bytes = memory;
    while (size-- > 0) {
        bytes[size] = 0;
    }
}

static size_t count_in(const unsigned char *bytes, size_t length)
{
    const unsigned char *tail = masked + MEMORY_NEEDLE - SEARCHED;
    const unsigned char first = tail[0] & (unsigned char)~MASK;
    const unsigned char *at = bytes, *end = bytes + length;
    size_t found = 0;
    while (at < end && (at = memchr(at, first, (size_t)(end - at))) != NULL) {
        size_t i = 0;
        while (i < SEARCHED && at + i < end && (at[i] | MASK) == tail[i] && at[i] < MASK) {
            i++;
        }
        found += i == SEARCHED;
        at++;
    }
    return found;
}

/* One mapping. Chunks overlap, so that what lies across their border is seen; what lies in the
 * overlap alone is too short to be counted twice. */
static size_t count_mapping(int memory, unsigned char *chunk, uintptr_t start, uintptr_t end)
{
    size_t found = 0;
    while (start < end) {
        size_t length = end - start < CHUNK ? end - start : CHUNK;
        ssize_t got = pread(memory, chunk, length, (off_t)start);
        if (got <= 0) {
            break; /* memory of the kernel's own */
        }
        found += count_in(chunk, (size_t)got);
        if ((size_t)got < SEARCHED || start + (size_t)got >= end) {
            break;
        }
        start += (size_t)got - (SEARCHED - 1);
    }
    return found;
}

size_t memory_count(void)
{
    size_t size = CHUNK + MAPS, length = 0, found = 0;
    unsigned char *own =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *maps = (char *)own + CHUNK, *line;
    int file = open("/proc/self/maps", O_RDONLY), memory = open("/proc/self/mem", O_RDONLY);
    ssize_t got;
    if (own == MAP_FAILED || file == -1 || memory == -1) {
        abort();
    }
    while ((got = read(file, maps + length, MAPS - 1 - length)) > 0) {
        length += (size_t)got;
    }
    if (length == MAPS - 1) {
        abort(); /* more mappings than there is room for */
    }
    for (line = maps; *line != '\0'; line = strchr(line, '\n') + 1) {
        uintptr_t start, end;
        char rights;
        if (sscanf(line, "%lx-%lx %c", &start, &end, &rights) != 3 || rights != 'r') {
            continue;
        }
        /* The system may have joined this buffer with a neighbour. */
        if (start < (uintptr_t)own && end > (uintptr_t)own) {
            found += count_mapping(memory, own, start, (uintptr_t)own);
        } else if (start < (uintptr_t)own) {
            found += count_mapping(memory, own, start, end);
        }
        if (end > (uintptr_t)own + size) {
            uintptr_t behind = (uintptr_t)own + size;
            found += count_mapping(memory, own, start > behind ? start : behind, end);
        }
    }
    close(file);
    close(memory);
    munmap(own, size);
    return found;
}
