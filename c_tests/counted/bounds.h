/*
 * Every bound of the counted tests (docs/testing.md), and nowhere else. A figure above its bound
 * fails a test. If a figure has become smaller, lower its bound here: `ctest -R counted -V`
 * measures all figures again and prints each with its bound.
 */
#ifndef COUNTED_BOUNDS_H
#define COUNTED_BOUNDS_H

/*
 * Of one operation (operations.c): blocks allocated, readings of the clock and system calls by the
 * calling thread; atomic read-modify-writes (a lock taken and let go is two); instructions, all of
 * user space, the test's own ten or so among them. The first four are exact: the bound is what was
 * measured. The instructions were measured with rustc 1.95, gcc 12, glibc 2.36 and valgrind 3.19 on
 * x86-64, and the last two columns hold only there. Their bound is the measured number + 10 % + 3,
 * so that it also holds with another compiler or C library. A lock shows in the atomics, a clock in
 * its readings, and a lookup or a scan is more than the tenth.
 */
#define NOT_COUNTED ((size_t)-1)
/* clang-format off */
#define COUNTED_OPERATIONS(OPERATION)                                                             \
    /*        name                  blocks, clock, calls, atomics, instructions (measured) */     \
    OPERATION(pick,                        0,  0,  0,           1,          60) /* 52 */          \
    OPERATION(pick_half_ejected,           0,  0,  0,           1,          61) /* 52 */          \
    OPERATION(pick_of_10000,               0,  0,  0,           1,          60) /* 51 */          \
    OPERATION(pick_of_10000_ejected,       0,  0,  0,           1,          61) /* 52 */          \
    OPERATION(pick_at_leisure_ejected,     0,  1,  0,           1,         300) /* 283 */         \
    OPERATION(pick_weighted,               0,  0,  0,           1,          60) /* 52 */          \
    OPERATION(pick_gets_trial,             0,  1,  0, NOT_COUNTED, NOT_COUNTED)                   \
    OPERATION(property,                    0,  0,  0,           0,         229) /* 206 */         \
    OPERATION(property_inherited,          0,  0,  0,           0,         230) /* 207 */         \
    OPERATION(property_unset,              0,  0,  0,           0,         183) /* 164 */         \
    OPERATION(property_number,             0,  0,  0,           0,         571) /* 517 */         \
    OPERATION(attempt,                     1,  0,  0,           6,        1180) /* 1070 */        \
    OPERATION(write_64,                    0,  0,  1,           3,         280) /* 277 */         \
    OPERATION(write_4096,                  0,  0,  1,           3,         280) /* 277 */         \
    OPERATION(write_tls_64,                1,  0,  1, NOT_COUNTED, NOT_COUNTED)                   \
    OPERATION(connect_release,             1,  2,  1,          10,        1914) /* 1737 */        \
    OPERATION(connect_release_10_idle,     1,  2,  1,           9,        1201) /* 1089 */        \
    OPERATION(connect_release_2000_idle,   1,  2,  1,           9,        1206) /* 1093 */        \
    OPERATION(deliver_64,                  0,  3,  2,          14,        2527) /* 2294 */
/* clang-format on */

enum {
    /* Percent by which a large set, one with half of its nodes out, or a full pool may cost more
     * than a small one. Measured: 1.2 for a pick with nodes out, which asks the clock at each
     * 256th; less than 1 elsewhere. */
    BOUND_GROWTH_PERCENT = 3,
    /* To load one node of five properties: blocks allocated, and instructions, by all threads.
     * Measured: 2.16 and 7,521, of 1,000 nodes. */
    BOUND_ALLOCATIONS_PER_NODE = 3,
    BOUND_LOAD_INSTRUCTIONS_PER_NODE = 7740,
    /* Of memory, for each node of five properties and for each idle plaintext connection. Asked
     * for: 1,024 and 1,536. Measured: 894 and 176. */
    BOUND_BYTES_PER_NODE = 930,
    BOUND_BYTES_PER_IDLE_CONNECTION = 185,
    /* Of the stripped libupstream.so: 5.125 MiB. Measured: 5,177,728. */
    BOUND_LIBRARY_BYTES = 5373952,
    /* Of the caller's stack, of which an agent gives 24 KiB in all, at the deepest point of any
     * public call. Measured: 7,296. */
    BOUND_STACK_BYTES = 8 * 1024
};

#endif
