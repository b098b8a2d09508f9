/*
 * See instructions.h. callgrind writes a file for each thread and dump; an atomic read-modify-write
 * is its event Ge ("global bus", --collect-bus).
 */
#define _GNU_SOURCE
#include "instructions.h"

#include "../support/check.h"
#include "../support/process.h"

#include <dirent.h>
#include <unistd.h>
#include <valgrind/callgrind.h>

static char folder[64];

void instructions_begin(void)
{
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

void instructions_end(const char *name)
{
    CALLGRIND_DUMP_STATS_AT(name);
    CALLGRIND_STOP_INSTRUMENTATION;
}

void instructions_run(enum instructions_by by, const char *const *arguments)
{
    static char program[512], files[128];
    const char *valgrind = getenv("VALGRIND");
    const char *list[24] = {valgrind != NULL ? valgrind : "valgrind",
                            "--tool=callgrind",
                            "--quiet",
                            "--instr-atstart=no",
                            by == BY_FIRST_THREAD ? "--separate-threads=yes"
                                                  : "--separate-threads=no",
                            "--collect-bus=yes",
                            files,
                            program};
    size_t count = 8;
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
    assert_in_range(length, 1, sizeof(program) - 2);
    program[length] = '\0';
    if (folder[0] == '\0') {
        snprintf(folder, sizeof(folder), "/tmp/upstream-callgrind.XXXXXX");
        assert_non_null(mkdtemp(folder));
    }
    snprintf(files, sizeof(files), "--callgrind-out-file=%s/out", folder);
    for (; *arguments != NULL; arguments++) {
        assert_true(count < 23);
        list[count++] = *arguments;
    }
    list[count] = NULL;
    if (process_run(list, NULL) != 0) {
        fail_msg("the run under callgrind failed: UPSTREAM_TEST_STDERR=1 shows why");
    }
}

/* Whether a file is the dump of that name; then what it says. */
static int read_dump(const char *path, const char *name, struct instructions *out)
{
    char line[1024], wanted[160];
    struct instructions read = {0, 0};
    int named = 0, ordered = 0, counted = 0;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    snprintf(wanted, sizeof(wanted), "desc: Trigger: Client Request: %s\n", name);
    while (!counted && fgets(line, sizeof(line), file) != NULL) {
        named |= strcmp(line, wanted) == 0;
        ordered |= strcmp(line, "events: Ir Ge\n") == 0;
        if (strncmp(line, "summary:", 8) == 0) { /* a zero at its end is left out */
            counted = sscanf(line, "summary: %zu %zu", &read.instructions, &read.atomics) >= 1;
        }
    }
    fclose(file);
    if (!named || !ordered || !counted) {
        return 0;
    }
    *out = read;
    return 1;
}

struct instructions instructions_of(const char *name)
{
    struct instructions found = {0, 0};
    struct dirent *entry;
    DIR *files = opendir(folder);
    size_t dumps = 0;
    assert_non_null(files);
    while ((entry = readdir(files)) != NULL) {
        /* out.DUMP-THREAD, or of all threads out.DUMP */
        const char *thread = strrchr(entry->d_name, '-');
        char path[512];
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.' && (thread == NULL || strcmp(thread, "-01") == 0)) {
            dumps += (size_t)read_dump(path, name, &found);
        }
    }
    closedir(files);
    if (dumps != 1) {
        fail_msg("callgrind wrote %zu dumps of \"%s\" in %s", dumps, name, folder);
    }
    return found;
}

void instructions_forget(void)
{
    const char *arguments[] = {"rm", "-rf", folder, NULL};
    process_run(arguments, NULL);
}
