/*
 * Instructions and atomic read-modify-writes, counted by valgrind's callgrind. The program that
 * counts starts itself again under callgrind. There it marks what is to be counted; here it reads
 * the result.
 */
#ifndef COUNTED_INSTRUCTIONS_H
#define COUNTED_INSTRUCTIONS_H

#include <stddef.h>

/* Under callgrind: begins anew, and writes down under a name what has been done since. */
void instructions_begin(void);
void instructions_end(const char *name);

struct instructions {
    size_t instructions, atomics;
};

/* What is counted: the program's first thread, or all threads together, also those that have
 * ended. */
enum instructions_by { BY_FIRST_THREAD, BY_ALL_THREADS };

/* Runs this program with these arguments (the last is NULL) under callgrind, which must end
 * well. */
void instructions_run(enum instructions_by by, const char *const *arguments);

/* What was written down under a name in these runs. Fails if there is nothing. */
struct instructions instructions_of(const char *name);

/* Takes the files of the runs away. */
void instructions_forget(void);

#endif
