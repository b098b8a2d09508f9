/* The part of check.h that does not need the library: test_unload must not be linked with the
 * library. */
#define _GNU_SOURCE
#include "check.h"

#include <time.h>

int check_slow(void)
{
    return getenv("UPSTREAM_VALGRIND") != NULL || getenv("UPSTREAM_SANITIZE") != NULL;
}

int check_sanitized(const char *by)
{
    const char *sanitizer = getenv("UPSTREAM_SANITIZE");
    return sanitizer != NULL && strcmp(sanitizer, by) == 0;
}

long check_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
