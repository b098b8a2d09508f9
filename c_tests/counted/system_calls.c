/* See system_calls.h. The child marks begin and end of what is counted by a call that the system
 * refuses. */
#define _GNU_SOURCE
#include "system_calls.h"

#include "../support/check.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MARK = 0x55505354, NOT_ALLOWED = 76, SIGNAL_OF_A_CALL = SIGTRAP | 0x80 };

static void mark(void)
{
    (void)prctl(MARK, 0, 0, 0, 0);
}

static void run_child(void (*prepare)(void), void (*operation)(void), size_t times)
{
    size_t i;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* an assertion that fails must not go on with the parent's tests */
    setenv("CMOCKA_TEST_ABORT", "1", 1);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
        _exit(NOT_ALLOWED);
    }
    raise(SIGSTOP);
    prepare();
    mark();
    for (i = 0; i < times; i++) {
        operation();
    }
    mark();
    _exit(0);
}

static void add(struct system_calls *counted, const struct __ptrace_syscall_info *call)
{
    uint64_t number = call->entry.nr;
    counted->all++;
    if (number < SYSTEM_CALL_NUMBERS) {
        counted->of[number]++;
    }
    if ((number == SYS_recvfrom && call->entry.args[3] & MSG_PEEK) ||
        (number == SYS_recvmsg && call->entry.args[2] & MSG_PEEK)) {
        counted->peeks++;
    }
}

/* Follows a stopped child to its end; 0 if the kernel does not tell its calls. */
static int follow(pid_t child, struct system_calls *counted)
{
    struct __ptrace_syscall_info call;
    int status, marks = 0, signal = 0;
    for (;;) {
        assert_int_equal(ptrace(PTRACE_SYSCALL, child, NULL, (void *)(intptr_t)signal), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            assert_int_equal(marks, 2);
            return 1;
        }
        assert_true(WIFSTOPPED(status)); /* no signal may end it */
        signal = WSTOPSIG(status);
        if (signal != SIGNAL_OF_A_CALL) {
            continue; /* it is the child's, and goes on to it */
        }
        signal = 0;
        if (ptrace(PTRACE_GET_SYSCALL_INFO, child, (void *)sizeof(call), &call) <= 0) {
            return 0;
        }
        if (call.op != PTRACE_SYSCALL_INFO_ENTRY) {
            continue;
        }
        if (call.entry.nr == SYS_prctl && call.entry.args[0] == MARK) {
            marks++;
        } else if (marks == 1) {
            add(counted, &call);
        }
    }
}

int system_calls_count(void (*prepare)(void), void (*operation)(void), size_t times,
                       struct system_calls *counted)
{
    int status, done;
    pid_t child;
    memset(counted, 0, sizeof(*counted));
    fflush(NULL); /* what is buffered is not the child's to write */
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        run_child(prepare, operation, times);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) {
        assert_int_equal(WEXITSTATUS(status), NOT_ALLOWED);
        fprintf(stderr,
                "SKIPPED, and nothing of it was tested: the kernel does not let a process trace "
                "its child (ptrace: %s)\n",
                "see /proc/sys/kernel/yama/ptrace_scope and the container's seccomp profile");
        return 0;
    }
    assert_true(WIFSTOPPED(status));
    done = ptrace(PTRACE_SETOPTIONS, child, NULL,
                  (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) == 0 &&
           follow(child, counted);
    if (!done) {
        fprintf(stderr,
                "SKIPPED, and nothing of it was tested: the kernel does not tell the calls of a "
                "traced child (%s); it takes Linux 5.3\n",
                strerror(errno));
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
    }
    return done;
}
