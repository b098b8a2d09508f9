/* The agent's lists, log and clock. Never used outside the tests. */
#define _GNU_SOURCE
#include "guest_base.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static atomic_int warnings;
static atomic_int seconds_passed;

/* Replaces the C library's function in the whole program, so that plugins and their headers use
 * it. */
time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec += atomic_load(&seconds_passed);
    if (out != NULL) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}

void guest_time_passes(int seconds)
{
    atomic_fetch_add(&seconds_passed, seconds);
}

void guest_need(int holds, const char *what)
{
    if (!holds) {
        perror(what);
        abort();
    }
}

void mk_list_init(struct mk_list *list)
{
    list->prev = list->next = list;
}

void mk_list_add(struct mk_list *entry, struct mk_list *list)
{
    entry->prev = list->prev;
    entry->next = list;
    list->prev->next = entry;
    list->prev = entry;
}

void mk_list_del(struct mk_list *entry)
{
    entry->prev->next = entry->next;
    entry->next->prev = entry->prev;
}

int mk_list_size(struct mk_list *list)
{
    struct mk_list *at;
    int size = 0;
    mk_list_foreach (at, list) {
        size++;
    }
    return size;
}

int flb_log_check(int level)
{
    return level <= FLB_LOG_WARN;
}

void flb_log_print(int level, const char *file, int line, const char *format, ...)
{
    va_list words;
    (void)file;
    (void)line;
    if (level <= FLB_LOG_WARN) {
        atomic_fetch_add(&warnings, 1);
    }
    va_start(words, format);
    vfprintf(stderr, format, words);
    va_end(words);
    fputc('\n', stderr);
}

int guest_warnings(void)
{
    return atomic_load(&warnings);
}

void guest_forget_warnings(void)
{
    atomic_store(&warnings, 0);
}
