/* Runs other programs in a test: with pipes, and so that they always end. */
#ifndef SUPPORT_PROCESS_H
#define SUPPORT_PROCESS_H

#include <stddef.h>
#include <sys/types.h>

struct process {
    pid_t id;
    int input;  /* its standard input, to write to */
    int output; /* its standard output, to read from */
};

/* Starts `arguments[0]` in `folder` (NULL: here); standard error is dropped unless
 * UPSTREAM_TEST_STDERR is set. It is killed when the thread that started it ends. */
struct process process_start(const char *const *arguments, const char *folder);

/* Reads the next line of its output, without the newline; 0 at the end. A line that is too long is
 * cut. */
int process_read_line(struct process *process, char *line, size_t room);

/* Closes its pipes and waits; the exit status, or -1 if a signal ended it. */
int process_finish(struct process *process);

/* Kills it and waits. */
void process_kill(struct process *process);

/* Starts it, waits, and gives the exit status. */
int process_run(const char *const *arguments, const char *folder);

#endif
