/* The part of check.h that needs nothing of the library: test_unload must not be linked with it. */
#include "check.h"

int check_slow(void)
{
    return getenv("UPSTREAM_VALGRIND") != NULL || getenv("UPSTREAM_SANITIZE") != NULL;
}

int check_sanitized(const char *by)
{
    const char *sanitizer = getenv("UPSTREAM_SANITIZE");
    return sanitizer != NULL && strcmp(sanitizer, by) == 0;
}
