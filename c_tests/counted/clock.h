/*
 * Replaces the function that reads the system's clock, for the whole program including
 * libupstream.so. It counts the readings. It can also make the clock advance with each reading
 * instead of with time, because under valgrind and on a busy machine time says nothing about the
 * caller's pace.
 */
#ifndef COUNTED_CLOCK_H
#define COUNTED_CLOCK_H

#include <stddef.h>

/* Readings by the calling thread so far. */
size_t clock_readings(void);

/* From now on each reading of the monotonic clock is this many nanoseconds after the one before; 0:
 * the real time again. */
void clock_step(long nanoseconds);

#endif
