/*
 * The stack that an agent's coroutine gives a plugin: 24 KiB in all. Here it lies between guard
 * pages and is filled with a pattern, which shows how deep it was used. Never used outside the
 * tests.
 */
#ifndef SUPPORT_SMALL_STACK_H
#define SUPPORT_SMALL_STACK_H

#include <stddef.h>

enum { SMALL_STACK = 24 * 1024 };

/* Runs `body` on a fresh one, on the calling thread, and gives how many bytes of it were used; 0 if
 * check_slow(). */
size_t small_stack_run(void (*body)(void *), void *argument);

#endif
