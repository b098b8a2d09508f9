/*
 * The program upstream-forward as its user runs it: a folder with its upstream file and a log file,
 * scripted servers as the nodes, and what it says at its end. Never used outside the tests.
 */
#ifndef SUPPORT_FORWARD_CLI_H
#define SUPPORT_FORWARD_CLI_H

#include "forward_server.h"
#include "process.h"

enum { CLI_NODES = 3 };

/* The program, a folder of the test's own, and in it the upstream file and a log file. Set by
 * cli_prepare(). */
extern const char *cli_program;
extern char cli_folder[64], cli_conf[128], cli_log[128];

/* Setup and teardown of a group of tests. */
int cli_prepare(void **state);
int cli_clean(void **state);

void cli_write(const char *path, const void *data, size_t len);
void cli_write_conf(const uint16_t *ports, size_t count, const char *keys);
/* "line 0" to "line COUNT-1", for free(). */
char *cli_lines(unsigned count, size_t *len);

/* CLI_NODES servers of one script, and the upstream file that names them, with `keys` in each
 * node. */
void cli_start_servers(forward_server **servers, const forward_script *script, const char *keys);
void cli_stop_servers(forward_server **servers);
size_t cli_records(forward_server **servers);
unsigned cli_count(forward_server **servers, const char *line);
/* Waits for so many records, at most ten seconds; without acks the program is done before the
 * servers have read. */
void cli_await(forward_server **servers, size_t records);

/* Reads to the end, keeps the last line, and returns the exit status; 128 + the signal's number if
 * a signal ended it. */
int cli_finish(struct process *p, char *last, size_t room);
/* Runs it over `input` on standard input. */
int cli_run(const char *const *arguments, const void *input, size_t len, char *last, size_t room);
/* Runs `command` by the shell; "$@" in it stands for the program and its arguments. */
int cli_run_by_shell(const char *command, const char *const *arguments, char *last, size_t room);

/* The number before `word` in the program's last line; 0 if the word is not there. */
size_t cli_number(const char *last, const char *word);

#endif
