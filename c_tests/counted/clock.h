/*
 * The system's clock, whose function this defines anew for the whole program, libupstream.so in it:
 * readings are counted, and it can be made to go on by readings in place of time, since under
 * valgrind and on a busy machine time tells nothing of a caller's pace.
 */
#ifndef COUNTED_CLOCK_H
#define COUNTED_CLOCK_H

#include <stddef.h>

/* Readings by the calling thread so far. */
size_t clock_readings(void);

/* From now on each reading of the monotonic clock is so many nanoseconds after the one before; 0:
 * the real time again. */
void clock_step(long nanoseconds);

#endif
