/*
 * Fluent Bit as a plugin of its proxy ABI sees it: loads the shared object, makes instances,
 * flushes on small stacks, collects the log. It has its own copy of the layouts, so that a mistake
 * in the plugin's copy is found. Never used outside the tests.
 */
#ifndef SUPPORT_AGENT_H
#define SUPPORT_AGENT_H

#include <stddef.h>

enum { AGENT_ERROR = 0, AGENT_OK = 1, AGENT_RETRY = 2 };

struct agent;
struct agent_output;

/* dlopen and registration; fails the test if either goes wrong. */
struct agent *agent_load(const char *plugin);
/* dlclose; after the last output has exited. */
void agent_unload(struct agent *agent);

/* One [OUTPUT] section: key, value, key, value, NULL. The keys that the agent keeps for itself are
 * not shown to the plugin. NULL if the plugin refuses it. The section must outlive the output. */
struct agent_output *agent_output_start(struct agent *agent, const char *const *section);

/* What the agent tells a plugin after it has made all outputs: whether hot_reload is on. */
void agent_pre_run(struct agent *agent, int hot_reload);

/* On a stack of 24 KiB, with a copy of `events` and `tag` that is gone afterwards. From any
 * thread. */
int agent_output_flush(struct agent_output *output, const void *events, size_t len,
                       const char *tag);
void agent_output_exit(struct agent_output *output);

/* Bytes of the small stacks that the deepest flush so far used. */
size_t agent_deepest(void);

/* The log since the last agent_log_clear(), a line "LEVEL TEXT" for each; to be freed. */
char *agent_log(void);
void agent_log_clear(void);
/* Fails unless a line holds both, and shows the log. */
void agent_log_contains(const char *part, const char *other);

#endif
