/* See descriptors.h. */
#define _GNU_SOURCE
#include "check.h"
#include "descriptors.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MOST_FILLERS = 1024 };

static struct rlimit before;
static int fillers[MOST_FILLERS];
static size_t filled;

static void need(int holds, const char *what)
{
    if (!holds) {
        perror(what);
        abort();
    }
}

size_t descriptors_open(void)
{
    DIR *folder;
    size_t count = 0;
    if (check_sanitized("thread")) {
        return 0;
    }
    folder = opendir("/proc/self/fd");
    need(folder != NULL, "/proc/self/fd");
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count - 3; /* ".", ".." and the folder itself */
}

int descriptors_fall_to(size_t count)
{
    int turns;
    for (turns = 0; turns < 2000; turns++) {
        if (descriptors_open() <= count) {
            return 1;
        }
        usleep(10000);
    }
    fprintf(stderr, "%zu descriptors are open, not %zu\n", descriptors_open(), count);
    return 0;
}

static int another(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

void descriptors_forbid(size_t spare)
{
    struct rlimit limit;
    int lowest = another(), fd;
    need(lowest >= 0, "/dev/null");
    close(lowest);
    need(getrlimit(RLIMIT_NOFILE, &before) == 0, "getrlimit");
    limit = before;
    limit.rlim_cur = (rlim_t)lowest + spare; /* no number from there on can be had */
    need(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
    /* Fills the free numbers below the limit, except the spare ones. */
    while (filled < MOST_FILLERS && (fd = another()) >= 0) {
        fillers[filled++] = fd;
    }
    need(filled >= spare, "descriptors");
    while (spare-- > 0) {
        close(fillers[--filled]);
    }
}

void descriptors_allow(void)
{
    while (filled > 0) {
        close(fillers[--filled]);
    }
    need(setrlimit(RLIMIT_NOFILE, &before) == 0, "setrlimit");
}
