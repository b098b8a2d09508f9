/* The shared object as a package holds it, stripped: no larger than its bound in
 * counted/bounds.h. */
#define _GNU_SOURCE
#include "counted/bounds.h"
#include "support/check.h"
#include "support/process.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

static void the_library_is_small(void **state)
{
    char copy[] = "/tmp/upstream-stripped.XXXXXX";
    const char *(*function)(void) = upstream_version;
    void *address;
    Dl_info library;
    const char *arguments[] = {"strip", "--strip-unneeded", "-o", copy, NULL, NULL};
    struct stat stripped;
    int file = mkstemp(copy);
    (void)state;
    assert_true(file >= 0);
    close(file);
    memcpy(&address, &function, sizeof(address));
    assert_true(dladdr(address, &library) != 0);
    check_contains(library.dli_fname, "libupstream.so");
    arguments[4] = library.dli_fname;
    assert_int_equal(process_run(arguments, NULL), 0);
    assert_int_equal(stat(copy, &stripped), 0);
    unlink(copy);
    print_message("%s: %lld bytes stripped, bound %d\n", library.dli_fname,
                  (long long)stripped.st_size, BOUND_LIBRARY_BYTES);
    assert_in_range(stripped.st_size, 1, BOUND_LIBRARY_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_library_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
