/*
 * Instructions and atomic read-modify-writes, counted by valgrind's callgrind. The program that
 * counts starts itself again under it: there it marks what is counted, and here it reads what came
 * of it.
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

/* What is written down: what the program's first thread did, or all threads together, those that
 * have ended too. */
enum instructions_by { BY_FIRST_THREAD, BY_ALL_THREADS };

/* Runs this program with these arguments (the last is NULL) under callgrind, which must end
 * well. */
void instructions_run(enum instructions_by by, const char *const *arguments);

/* What was written down under a name in these runs. Fails where there is nothing. */
struct instructions instructions_of(const char *name);

/* Takes the files of the runs away. */
void instructions_forget(void);

#endif
