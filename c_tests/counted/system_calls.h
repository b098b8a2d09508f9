/*
 * What one thread asks the system for, counted by tracing it (ptrace), which a process may do with
 * a child of its own without any privilege. Calls that the C library answers by itself
 * (clock_gettime through the vDSO) are none.
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
 * In a forked child: runs `prepare`, then `operation` so many times, and counts what these ask for.
 * Gives 1; 0 where the kernel does not allow it, of which it says why. An assertion that fails in
 * the child fails the test.
 */
int system_calls_count(void (*prepare)(void), void (*operation)(void), size_t times,
                       struct system_calls *counted);

#endif
