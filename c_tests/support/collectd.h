/*
 * The real collectd with the plugin in it: a folder with its configuration, its log, and a line to
 * it through its command socket. Never used outside the tests.
 */
#ifndef SUPPORT_COLLECTD_H
#define SUPPORT_COLLECTD_H

#include <stddef.h>

#include "process.h"

struct collectd {
    struct process process;
    const char *folder;
    int socket; /* -1 if it has none */
};

/* True if collectd is installed and the plugin was built. If not, says so in one line. */
int collectd_is_there(void);

/* Starts it. `block`: lines of `<Plugin upstream>`; the upstream file is `folder`/upstream.conf,
 * and named already. With `threads` write threads. Waits until it takes commands. */
struct collectd collectd_start(const char *folder, const char *block, unsigned threads);

/* The same, but collectd must refuse to start; returns its exit status. */
int collectd_refuses(const char *folder, const char *block);

/* A command, as "FLUSH"; fails the test if collectd answers with an error. */
void collectd_command(struct collectd *collectd, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Waits until a value of this identifier came through its cache, at most 30 seconds. */
void collectd_await_value(struct collectd *collectd, const char *identifier);

/* SIGTERM; waits, and gives the exit status. */
int collectd_stop(struct collectd *collectd);

/* What it has logged; to be freed. */
char *collectd_log(const char *folder);
/* Fails unless its log holds `part`; waits for it at most 30 seconds. */
void collectd_log_contains(const char *folder, const char *part);

#endif
