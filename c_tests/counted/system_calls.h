/*
 * Counts the system calls of one thread by tracing it (ptrace). A process may trace its own child
 * without any privilege. Calls that the C library answers by itself (clock_gettime through the
 * vDSO) do not count.
 */
#ifndef COUNTED_SYSTEM_CALLS_H
#define COUNTED_SYSTEM_CALLS_H

#include <stddef.h>

enum { SYSTEM_CALL_NUMBERS = 512 };

struct system_calls {
    size_t all;
    size_t of[SYSTEM_CALL_NUMBERS]; /* by number */
    size_t peeks;                   /* of recvfrom and recvmsg: those that only look (MSG_PEEK) */
};

/*
 * In a forked child: runs `prepare`, then `operation` that many times, and counts the system calls
 * of the operations. Returns 1; or 0 if the kernel does not allow it, after saying why. An
 * assertion that fails in the child fails the test.
 */
int system_calls_count(void (*prepare)(void), void (*operation)(void), size_t times,
                       struct system_calls *counted);

#endif
