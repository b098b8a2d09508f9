/* See process.h. */
#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    abort();
}

struct process process_start(const char *const *arguments, const char *folder)
{
    struct process process;
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) {
        die("pipe");
    }
    process.id = fork();
    if (process.id < 0) {
        die("fork");
    }
    if (process.id == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(in[0], 0);
        dup2(out[1], 1);
        if (getenv("UPSTREAM_TEST_STDERR") == NULL) {
            dup2(open("/dev/null", O_WRONLY), 2);
        }
        if (folder == NULL || chdir(folder) == 0) {
            execvp(arguments[0], (char *const *)arguments);
        }
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    process.input = in[1];
    process.output = out[0];
    return process;
}

int process_read_line(struct process *process, char *line, size_t room)
{
    size_t used = 0;
    char byte;
    ssize_t got;
    for (;;) {
        got = read(process->output, &byte, 1);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0 || byte == '\n') {
            line[used] = '\0';
            return got > 0 || used > 0;
        }
        if (used + 1 < room) {
            line[used++] = byte;
        }
    }
}

int process_finish(struct process *process)
{
    int status;
    close(process->input);
    close(process->output);
    while (waitpid(process->id, &status, 0) < 0) {
        if (errno != EINTR) {
            die("waitpid");
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void process_kill(struct process *process)
{
    kill(process->id, SIGKILL);
    process_finish(process);
}

int process_run(const char *const *arguments, const char *folder)
{
    char line[512];
    struct process process = process_start(arguments, folder);
    while (process_read_line(&process, line, sizeof(line))) {
    }
    return process_finish(&process);
}
