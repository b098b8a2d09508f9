/**
 * @file
 *
 * libupstream: picks a node for each payload, connects to it, and goes on to another if it fails.
 *
 * Start with upstream_create(), call upstream_deliver() for each payload, and end with
 * upstream_destroy(). The rest is for plugins that need more.
 *
 * This file is made from the comments in src/ffi: change them, not this file. Everything here has
 * been there since 0.1.0, unless its comment names a later version.
 *
 * What holds for every function:
 *
 * - Status: 0 is success, a negative number is an error, a positive number means that you wait or
 *   stop.
 * - NULL: it is an error (UPSTREAM_ERR_INVALID_ARG) unless the comment allows it. `err` may always
 *   be NULL, and every _destroy and _free takes NULL.
 * - Results: on failure `*out` stays as it was, and `*err` is set. On success `*err` stays as it
 *   was, so set it to NULL before the call.
 * - Ownership: what you get through `T **out` or `**err` is yours, and you end it with its own
 *   function. What a call returns directly is borrowed; its comment says until when. Inputs are
 *   copied, unless the comment says otherwise.
 * - Threads: any number of threads may use one upstream_t or upstream_node_t at the same time.
 *   Other handles may move between threads, one call at a time.
 * - Time: every call ends, and its comment says what bounds it. Times are in milliseconds.
 * - Defects: UPSTREAM_ERR_PANIC means that the library caught a defect of its own. The handle is of
 *   no more use: calls on it return this status, and getters return what they return for NULL.
 *   Destroy it, and report the text of the error.
 * - Callbacks: return from them. Never leave one by longjmp() or by a C++ exception.
 * - The host: the library prints nothing, sets no signal handler, never raises SIGPIPE and keeps
 *   errno. Its threads block all signals, and its descriptors are close-on-exec. A call needs less
 *   than 24 KiB of stack.
 * - fork(): in the child, a call that would touch a connection or a thread of the library returns
 *   UPSTREAM_ERR_FORKED. Picks and getters work. Create a new set there.
 */

#ifndef UPSTREAM_UPSTREAM_H
#define UPSTREAM_UPSTREAM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * @defgroup upstream_status Statuses and version
 * @{
 */

/** Version of this header; upstream_version() tells that of the library in use. */
#define UPSTREAM_VERSION_MAJOR 0
/** Second number of the version. */
#define UPSTREAM_VERSION_MINOR 1
/** Third number of the version. */
#define UPSTREAM_VERSION_PATCH 0
/** The version as text. */
#define UPSTREAM_VERSION_STRING "0.1.0"
/** The version as one number to compare: 10000 * major + 100 * minor + patch. */
#define UPSTREAM_VERSION_NUMBER \
    (UPSTREAM_VERSION_MAJOR * 10000 + UPSTREAM_VERSION_MINOR * 100 + UPSTREAM_VERSION_PATCH)

/**
 * How a call ended: 0 is success, a positive number asks you to wait or to stop, a negative number
 * is an error.
 *
 * The numbers never change. Later versions may add some: treat an unknown negative number as an
 * error, and an unknown positive number as "not done yet".
 */
typedef int32_t upstream_status_t;

/** Success. */
#define UPSTREAM_OK 0
/** Call again when the descriptor is readable (event loop). */
#define UPSTREAM_WANT_READ 1
/** Call again when the descriptor is writable (event loop). */
#define UPSTREAM_WANT_WRITE 2
/** The server ended the stream, without an error. */
#define UPSTREAM_EOF 3
/** No node will ever take this payload: try no other (for plugins to return). */
#define UPSTREAM_STOP 4
/** An argument is NULL, or a value that the call cannot take. */
#define UPSTREAM_ERR_INVALID_ARG -1
/** There was no memory, thread or descriptor left for the library. */
#define UPSTREAM_ERR_NO_MEMORY -2
/** The library caught a defect of its own: destroy the handle. */
#define UPSTREAM_ERR_PANIC -3
/** The set was created before fork(), and this is the child. */
#define UPSTREAM_ERR_FORKED -4
/** The upstream file cannot be read. */
#define UPSTREAM_ERR_IO -10
/** The upstream file, a file that it names, or an option is refused. */
#define UPSTREAM_ERR_CONFIG -11
/** What you asked for does not exist. */
#define UPSTREAM_ERR_NOT_FOUND -12
/** No node is left to try. */
#define UPSTREAM_ERR_NO_NODE -20
/**
 * All net.max_connections stayed in use until net.connect_timeout was over, at each node that could
 * take the payload.
 */
#define UPSTREAM_ERR_LIMIT -21
/** The host name did not resolve. */
#define UPSTREAM_ERR_RESOLVE -30
/** The TCP connection failed: refused, unreachable and the like. */
#define UPSTREAM_ERR_CONNECT -31
/** The TLS handshake or a TLS record failed. */
#define UPSTREAM_ERR_TLS -32
/** A certificate was refused, by either side. */
#define UPSTREAM_ERR_CERT -33
/** A time limit passed. */
#define UPSTREAM_ERR_TIMEOUT -34
/** The server closed the connection although more was expected. */
#define UPSTREAM_ERR_CLOSED -35
/** The connection broke, as by a reset. */
#define UPSTREAM_ERR_NETWORK -36
/** upstream_cancel() was called, or the set was destroyed. */
#define UPSTREAM_ERR_CANCELLED -37
/** The server broke the protocol (also for plugins to return). */
#define UPSTREAM_ERR_PROTOCOL -38
/** Not now, as HTTP 429 or 503: another node may take it (also for plugins to return). */
#define UPSTREAM_ERR_BUSY -39

/**
 * The version of the library in use, such as "0.1.0".
 *
 * UPSTREAM_VERSION_STRING is the version of the header that you compiled with.
 *
 * Returns: a static string, never NULL.
 *
 * Time: constant.
 */
const char *upstream_version(void);

/**
 * The name of a status, such as "UPSTREAM_ERR_TIMEOUT".
 *
 * Returns: a static string, never NULL; "UPSTREAM_UNKNOWN" if the number is no status.
 *
 * Time: constant.
 */
const char *upstream_status_name(upstream_status_t status);

/** @} */

/**
 * @defgroup upstream_error Errors
 * @{
 */

/**
 * An error in full: status, text, node or line.
 *
 * Ownership: the calls that take `upstream_error_t **err` make one, and you free it with
 * upstream_error_free(). The one from upstream_conn_last_error() is the connection's.
 *
 * Threads: it never changes, so any number of threads may read it at the same time.
 */
typedef struct upstream_error_t upstream_error_t;

/**
 * The status of an error: the same that the call returned.
 *
 * Returns: the status; UPSTREAM_ERR_INVALID_ARG if `err` is NULL.
 *
 * Time: constant.
 */
upstream_status_t upstream_error_status(const upstream_error_t *err);

/**
 * The text of an error, in one line of at most 2,000 bytes, for a log.
 *
 * It names the node, what was being done and the cause; or the file, line and column, what is wrong
 * there, and how to fix it. After several failures it tells all of them.
 *
 * Returns: the text; NULL if `err` is NULL.
 *
 * Time: constant.
 *
 * Ownership: borrowed. It lives as long as `err`.
 */
const char *upstream_error_message(const upstream_error_t *err);

/**
 * The errno of the system that caused an error.
 *
 * Returns: the number; 0 if the system gave none, or `err` is NULL.
 *
 * Time: constant.
 */
int upstream_error_errno(const upstream_error_t *err);

/**
 * The name of the node that an error is about.
 *
 * Returns: the name; NULL if the error is about no node, or `err` is NULL.
 *
 * Time: constant.
 *
 * Ownership: borrowed. It lives as long as `err`.
 */
const char *upstream_error_node(const upstream_error_t *err);

/**
 * Whether the payload may have arrived although the call failed.
 *
 * If a payload must not come twice, do not send it again when this is 1. It is 1 if a node got
 * bytes of the payload and did not answer for them.
 *
 * An answer is UPSTREAM_STOP, UPSTREAM_ERR_BUSY, or another status after bytes were read since the
 * last ones were sent. Half an answer is none: the end of the stream, a reset or silence took the
 * place of the rest.
 *
 * Returns: 1 or 0; 0 if `err` is NULL.
 *
 * Time: constant.
 */
int32_t upstream_error_may_have_arrived(const upstream_error_t *err);

/**
 * The line of the configuration file that an error is about.
 *
 * Returns: the line, from 1; 0 if the error is about no line, or `err` is NULL.
 *
 * Time: constant.
 */
size_t upstream_error_line(const upstream_error_t *err);

/**
 * Frees an error and its strings. Takes NULL.
 *
 * Do not free the error of upstream_conn_last_error(): it is borrowed.
 *
 * Time: constant.
 */
void upstream_error_free(upstream_error_t *err);

/** @} */

/**
 * @defgroup upstream_options Options
 *
 * They are optional: upstream_create() also takes NULL.
 * @{
 */

/**
 * What upstream_create() is told in addition to the file: values for keys that the file does not
 * set, the plugin's own keys, the log and the clock.
 *
 * Ownership: upstream_create() copies it. Use it for any number of sets, and destroy it whenever
 * you like.
 *
 * Threads: one call at a time.
 */
typedef struct upstream_options_t upstream_options_t;

/**
 * @name Levels for upstream_options_set_logger()
 * @{
 */
/** A payload that no node took, or a connect that timed out. */
#define UPSTREAM_LOG_ERROR 1
/**
 * A node ejected, a connect that failed, a payload that was dropped or may be lost, a doubtful line
 * of the file.
 */
#define UPSTREAM_LOG_WARN 2
/** A node back in the rotation, or paused. */
#define UPSTREAM_LOG_INFO 3
/** Each connection made, and each call on a connection that failed. */
#define UPSTREAM_LOG_DEBUG 4
/** The same as UPSTREAM_LOG_DEBUG: no line has this level yet. */
#define UPSTREAM_LOG_TRACE 5
/** @} */

/**
 * Receives one line of the log.
 *
 * `message` is one line of at most 2,000 bytes, without control characters. It is borrowed during
 * the call.
 *
 * It must not block. A connect or a delivery from within it may wait for the very thread that is
 * calling, until its time limit is over.
 *
 * Threads: called from any thread, also the library's own, and from several at the same time.
 */
typedef void (*upstream_log_fn)(int32_t level, const char *message, void *ctx);

/**
 * Creates empty options.
 *
 * Returns:
 * - UPSTREAM_OK: `*out` is yours. End it with upstream_options_destroy().
 * - UPSTREAM_ERR_INVALID_ARG: `out` is NULL.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: constant.
 */
upstream_status_t upstream_options_create(upstream_options_t **out);

/**
 * Sets the value that `key` has if the file does not set it.
 *
 * `key` is any key of the upstream file but `host`, `port` and `name`, in any letter case; a key of
 * the plugin's own; `config.dir`, a folder in which relative paths are looked for after the working
 * directory; or `upstream.name`. If you set a key again, the new value replaces the old one.
 *
 * Blanks around the value are dropped. `${VAR}` in it is not replaced.
 *
 * Returns:
 * - UPSTREAM_OK: the value is set.
 * - UPSTREAM_ERR_CONFIG: the key cannot be an option, is misspelt (all that begin with `tls.`,
 *   `net.`, `health.` or `deliver.` are the library's), or cannot have this value; or it asks for
 *   TLS in other words (`transport tls`) and is not declared. `*err` says what is right.
 * - UPSTREAM_ERR_INVALID_ARG: `o`, `key` or `value` is NULL.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: constant.
 *
 * ```c
 * upstream_error_t *err = NULL;
 * if (upstream_options_set(o, "deliver.timeout", "10s", &err) != UPSTREAM_OK) {
 *     fprintf(stderr, "%s\n", upstream_error_message(err));
 *     upstream_error_free(err);
 * }
 * ```
 */
upstream_status_t upstream_options_set(upstream_options_t *o,
                                       const char *key,
                                       const char *value,
                                       upstream_error_t **err);

/**
 * @name Types for upstream_options_declare_key()
 * @{
 */
/** Any text. */
#define UPSTREAM_KEY_TEXT 0
/** A switch: `on`, `true`, `yes`, or `off`, `false`, `no`, in any letter case. */
#define UPSTREAM_KEY_BOOL 1
/** A whole number, which may be negative. */
#define UPSTREAM_KEY_INT 2
/** A duration, such as `250ms` or `10s`; without a unit, seconds. */
#define UPSTREAM_KEY_MS 3
/** A number of bytes, such as `512` or `64k`. */
#define UPSTREAM_KEY_SIZE 4
/** Text that no message shows. */
#define UPSTREAM_KEY_SECRET 5
/** @} */

/**
 * Declares `key`, in any letter case, as one of the plugin's own, with a value of `type`
 * (UPSTREAM_KEY_*).
 *
 * Declare all keys before upstream_create(). It then checks them as it checks the library's keys,
 * in each [NODE], in [UPSTREAM] and in these options. A value of another type is
 * UPSTREAM_ERR_CONFIG, with file, line and column, and the fix. So is a key that is nearly a
 * declared one, such as `require_ack_respons`.
 *
 * A declared key is never taken for a misspelt one. Keys that you do not declare may stand in the
 * file too, and are not checked.
 *
 * You cannot declare a key of the library (all that begin with `tls.`, `net.`, `health.`,
 * `deliver.` or `dns.` are), nor one that no file can carry: empty, over 1 KiB, with "#", "[" or
 * "@" at its start, or with a blank, "=" or ":" in it.
 *
 * Read the values with upstream_node_get_prop() and the getters below it: the getter of the key's
 * type can read every value that passed the check.
 *
 * Returns:
 * - UPSTREAM_OK: the key is declared, now or before with the same type.
 * - UPSTREAM_ERR_INVALID_ARG: `o` or `key` is NULL; `type` is no type; the key has another type
 *   already; or it cannot be declared. `*err` says which.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: constant.
 *
 * ```c
 * upstream_options_declare_key(o, "ack_timeout", UPSTREAM_KEY_MS, NULL);
 * upstream_options_declare_key(o, "shared_key", UPSTREAM_KEY_SECRET, NULL);
 * ```
 */
upstream_status_t upstream_options_declare_key(upstream_options_t *o,
                                               const char *key,
                                               int32_t type,
                                               upstream_error_t **err);

/**
 * Sends log lines up to `max_level` (UPSTREAM_LOG_*) to `fn`, together with `ctx`.
 *
 * A NULL `fn` switches the log off, which is the default. Of lines that could come by the thousand,
 * one comes each second and says how many others there were.
 *
 * Returns:
 * - UPSTREAM_OK: done.
 * - UPSTREAM_ERR_INVALID_ARG: `o` is NULL, or `max_level` is no level.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: constant.
 *
 * Ownership: `fn` and `ctx` must stay valid until every set created with these options has ended,
 * and every connection and attempt of those sets.
 */
upstream_status_t upstream_options_set_logger(upstream_options_t *o,
                                              int32_t max_level,
                                              upstream_log_fn fn,
                                              void *ctx);

/**
 * Returns monotonic nanoseconds, counted from any moment.
 *
 * Threads: called from any thread, and from several at the same time.
 */
typedef uint64_t (*upstream_clock_fn)(void *ctx);

/**
 * Uses `fn`, called with `ctx`, as the clock of node health: for tests and simulations.
 *
 * Ejections, trials, pauses and the retry budget then go by it. The time limits of connections and
 * deliveries stay with the system's clock. A NULL `fn` takes the system's monotonic clock, which is
 * the default.
 *
 * Returns:
 * - UPSTREAM_OK: done.
 * - UPSTREAM_ERR_INVALID_ARG: `o` is NULL.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: constant.
 *
 * Ownership: `fn` and `ctx` must stay valid until every set created with these options has ended,
 * and every connection and attempt of those sets.
 */
upstream_status_t upstream_options_set_clock(upstream_options_t *o,
                                             upstream_clock_fn fn,
                                             void *ctx);

/**
 * Ends options. Takes NULL. Sets created with them go on as they are.
 *
 * Time: constant.
 */
void upstream_options_destroy(upstream_options_t *o);

/** @} */

/**
 * @defgroup upstream_node Nodes
 *
 * A node that fails is ejected: it gets no turns for health.backoff, and longer each time. Then one
 * caller tries it, which is its trial. If that goes well, the node is back in the rotation.
 *
 * A node that asks for it is paused: it gets no turns for a while, and no trial follows. A node of
 * weight 0 drains: it gets no turns, and connections in use go on.
 * @{
 */

/**
 * A node: one server of the set.
 *
 * Ownership: borrowed. The handle and every string that you get from it live until
 * upstream_destroy() of the set, and beyond it for as long as a connection to the node is in your
 * hands.
 *
 * Threads: any number of threads may use it at the same time.
 */
typedef struct upstream_node_t upstream_node_t;

/**
 * @name States of upstream_node_state()
 * @{
 */
/** In the rotation, or waiting in reserve (a higher `priority`). */
#define UPSTREAM_NODE_UP 0
/** It failed, and gets no turns until its time is up. */
#define UPSTREAM_NODE_EJECTED 1
/** On trial after an ejection: one caller tries it. */
#define UPSTREAM_NODE_PROBING 2
/** Its weight is 0: it gets no turns. */
#define UPSTREAM_NODE_DRAINING 3
/** It gets no turns for a while, because it asked for that. */
#define UPSTREAM_NODE_PAUSED 4
/** @} */

/**
 * The name of the node.
 *
 * Returns: the name; NULL if `n` is NULL.
 *
 * Time: constant.
 *
 * Ownership: borrowed, as the node is.
 */
const char *upstream_node_name(const upstream_node_t *n);

/**
 * The host name or numeric address of the node, an IPv6 address without brackets; or `unix:` and a
 * path, such as "unix:/run/aggregator.sock", if it is a stream socket of this machine.
 *
 * Returns: the host; NULL if `n` is NULL.
 *
 * Time: constant.
 *
 * Ownership: borrowed, as the node is.
 */
const char *upstream_node_host(const upstream_node_t *n);

/**
 * The TCP port of the node.
 *
 * Returns: the port; 0 if `n` is NULL, or its host is a stream socket of this machine.
 *
 * Time: constant.
 */
uint16_t upstream_node_port(const upstream_node_t *n);

/**
 * Whether connections to the node use TLS.
 *
 * Returns: 1 or 0; 0 if `n` is NULL.
 *
 * Time: constant.
 */
int32_t upstream_node_tls(const upstream_node_t *n);

/**
 * The value of `key`, as it is written.
 *
 * It is looked for in the node, then in [UPSTREAM], then in the options. `key` is a key of the
 * library or of the plugin, in any letter case. You do not get the default of a key that is not
 * set.
 *
 * Returns: the value; NULL if the key is set nowhere, or `n` or `key` is NULL.
 *
 * Time: one lookup in a hash table. No lock, no system call.
 *
 * Ownership: borrowed, as the node is.
 *
 * ```c
 * const char *tag = upstream_node_get_prop(n, "tag");
 * int64_t limit = upstream_node_get_prop_size(n, "chunk_limit", 64 * 1024);
 * printf("%s %ld\n", tag != NULL ? tag : "none", (long)limit);
 * ```
 */
const char *upstream_node_get_prop(const upstream_node_t *n, const char *key);

/**
 * The value of `key` as a switch.
 *
 * Returns: 1 for `on`, `true` and `yes`, 0 for `off`, `false` and `no`, in any letter case;
 * `fallback` if the key is set nowhere or an argument is NULL; `fallback` and a warning in the log
 * if the value is no switch.
 *
 * Time: as upstream_node_get_prop().
 */
int32_t upstream_node_get_prop_bool(const upstream_node_t *n, const char *key, int32_t fallback);

/**
 * The value of `key` as a whole number, which may be negative.
 *
 * Returns: the number; `fallback` if the key is set nowhere or an argument is NULL; `fallback` and
 * a warning in the log if the value is no whole number of 64 bits.
 *
 * Time: as upstream_node_get_prop().
 */
int64_t upstream_node_get_prop_int(const upstream_node_t *n, const char *key, int64_t fallback);

/**
 * The value of `key`, a duration, in milliseconds.
 *
 * A duration is a whole number with a unit: "250ms", "5s", "2m", "1h", "1d". Without a unit it is
 * seconds.
 *
 * Returns: the milliseconds; `fallback` if the key is set nowhere or an argument is NULL;
 * `fallback` and a warning in the log if the value is no duration.
 *
 * Time: as upstream_node_get_prop().
 */
int64_t upstream_node_get_prop_ms(const upstream_node_t *n, const char *key, int64_t fallback);

/**
 * The value of `key`, a size, in bytes.
 *
 * A size is a whole number, alone or with k, M or G, which are powers of 1024: "512", "4k", "1M",
 * "1G".
 *
 * Returns: the bytes; `fallback` if the key is set nowhere or an argument is NULL; `fallback` and a
 * warning in the log if the value is no size.
 *
 * Time: as upstream_node_get_prop().
 */
int64_t upstream_node_get_prop_size(const upstream_node_t *n, const char *key, int64_t fallback);

/**
 * How many properties upstream_node_prop_at() lists.
 *
 * Returns: the number; 0 if `n` is NULL.
 *
 * Time: constant.
 */
size_t upstream_node_prop_count(const upstream_node_t *n);

/**
 * Stores key and value of property number `i`, from 0.
 *
 * The node's own properties come first, in the order of the file. Then come those of [UPSTREAM] and
 * of the options that the node does not set itself.
 *
 * Returns:
 * - UPSTREAM_OK: `*key` and `*value` are set.
 * - UPSTREAM_ERR_NOT_FOUND: there are not so many.
 * - UPSTREAM_ERR_INVALID_ARG: `n`, `key` or `value` is NULL.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: constant.
 *
 * Ownership: both strings are borrowed, as the node is.
 */
upstream_status_t upstream_node_prop_at(const upstream_node_t *n,
                                        size_t i,
                                        const char **key,
                                        const char **value);

/**
 * Attaches the plugin's own data to a node, in place of any data before.
 *
 * `free_fn` may be NULL. A NULL `data` only removes what was there.
 *
 * Returns:
 * - UPSTREAM_OK: done.
 * - UPSTREAM_ERR_FORKED: the set was created before fork(), and a thread of the parent was in this
 *   function or in upstream_node_get_data().
 * - UPSTREAM_ERR_INVALID_ARG: `n` is NULL.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: constant, plus the time of `free_fn`.
 *
 * Ownership: the data is the library's when the call returns UPSTREAM_OK. It calls `free_fn` with
 * it once: in the call that replaces it, or when the node ends.
 *
 * Threads: `free_fn` is called on any thread. Do not replace data that another thread may still
 * use: it is freed at once.
 */
upstream_status_t upstream_node_set_data(upstream_node_t *n, void *data, void (*free_fn)(void*));

/**
 * The data attached to a node.
 *
 * Returns: the data; NULL if there is none, if `n` is NULL, or when upstream_node_set_data() would
 * return UPSTREAM_ERR_FORKED.
 *
 * Time: constant.
 *
 * Ownership: borrowed until it is replaced, or the node ends.
 */
void *upstream_node_get_data(const upstream_node_t *n);

/**
 * Tells how your own I/O with a node went, as a status of this header.
 *
 * - UPSTREAM_OK and UPSTREAM_STOP set the count of failures to 0, and bring an ejected node back.
 * - UPSTREAM_ERR_CONNECT, _TLS and _CERT eject the node at once.
 * - UPSTREAM_ERR_RESOLVE, _TIMEOUT, _CLOSED, _NETWORK, _PROTOCOL and _IO eject it after
 *   health.max_fails in a row.
 * - UPSTREAM_ERR_BUSY pauses it for health.backoff.
 * - All others say nothing about the node.
 *
 * For a connection of the library, call upstream_conn_report() instead. If you call both for one
 * exchange, it counts once, as long as you make this call before you end the connection. After an
 * exchange that failed you may also call it later, before another exchange begins at the node.
 *
 * For the node of an attempt, call upstream_attempt_report() instead.
 *
 * Returns:
 * - UPSTREAM_OK: done. In a forked child the health of the node stays as it is.
 * - UPSTREAM_ERR_INVALID_ARG: `n` is NULL, or `outcome` is no status.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: at most one lock, held for a moment. An ejection also closes the kept connections of the
 * node.
 */
upstream_status_t upstream_node_report(upstream_node_t *n, upstream_status_t outcome);

/**
 * Gives the node no turns for `ms` milliseconds, as a server asks for with Retry-After.
 *
 * 0 means health.backoff. More than one hour counts as one hour. A pause is no failure. It ends by
 * itself, and no trial follows. If a node is paused twice, the pause that ends later holds.
 *
 * Returns:
 * - UPSTREAM_OK: done. In a forked child it changes nothing.
 * - UPSTREAM_ERR_INVALID_ARG: `n` is NULL.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: one lock, held for a moment.
 */
upstream_status_t upstream_node_pause(upstream_node_t *n, uint32_t ms);

/**
 * The state of the node.
 *
 * Returns: a number of UPSTREAM_NODE_*; -1 if `n` is NULL. Later versions may add states.
 *
 * Time: constant, without a lock.
 */
int32_t upstream_node_state(const upstream_node_t *n);

/**
 * How long until the node gets turns again, or is tried again, in milliseconds.
 *
 * Returns: the time, rounded up; 0 if the node is up or may be tried now; -1 if `n` is NULL.
 *
 * Time: constant, without a lock.
 */
int64_t upstream_node_retry_after_ms(const upstream_node_t *n);

/** @} */

/**
 * @defgroup upstream_set Sets of nodes
 * @{
 */

/**
 * A set of nodes, made from one upstream file.
 *
 * Ownership: yours, until upstream_destroy().
 *
 * Threads: any number of threads may use it at the same time. upstream_destroy() must be the last
 * call.
 */
typedef struct upstream_t upstream_t;

/**
 * Reads the upstream file at `path`, checks it in full, and makes a set of nodes of it.
 *
 * All that the file names is read and checked too: includes, certificates, keys. No connection is
 * made. `o` may be NULL.
 *
 * Returns:
 * - UPSTREAM_OK: `*out` is yours. End it with upstream_destroy().
 * - UPSTREAM_ERR_IO: the file cannot be read: it is missing, is no regular file, is over 32 MiB, or
 *   you may not read it.
 * - UPSTREAM_ERR_CONFIG: its content, or a file that it names, is refused. `*err` has the file,
 *   line and column, and the fix.
 * - UPSTREAM_ERR_NO_MEMORY: there was no thread or descriptor left.
 * - UPSTREAM_ERR_INVALID_ARG: `path` or `out` is NULL.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: waits for the disk, never for the network or a FIFO.
 *
 * ```c
 * static upstream_t *open_set(const char *path)
 * {
 *     upstream_t *up = NULL;
 *     upstream_error_t *err = NULL;
 *     if (upstream_create(path, NULL, &up, &err) != UPSTREAM_OK) {
 *         fprintf(stderr, "%s\n", upstream_error_message(err));
 *         upstream_error_free(err);
 *     }
 *     return up;
 * }
 * ```
 */
upstream_status_t upstream_create(const char *path,
                                  const upstream_options_t *o,
                                  upstream_t **out,
                                  upstream_error_t **err);

/**
 * As upstream_create(), from `len` bytes of text instead of a file.
 *
 * Errors call the text `source_name`, or "text" if that is NULL.
 *
 * Returns: as upstream_create(), but never UPSTREAM_ERR_IO; UPSTREAM_ERR_INVALID_ARG if `text` or
 * `out` is NULL, or `len` is more than memory can hold.
 *
 * Time: as upstream_create().
 */
upstream_status_t upstream_create_from_text(const char *text,
                                            size_t len,
                                            const char *source_name,
                                            const upstream_options_t *o,
                                            upstream_t **out,
                                            upstream_error_t **err);

/**
 * Ends every running call on the set, its nodes and its connections. Use it when the agent shuts
 * down.
 *
 * Each of them soon returns UPSTREAM_ERR_CANCELLED. So does, at once, every later call that would
 * connect, wait, read or write. Picks and getters go on. This cannot be undone, and you still have
 * to call upstream_destroy(). Takes NULL.
 *
 * Time: does not wait for the calls that it ends.
 *
 * Threads: call it from any thread, while any call but upstream_destroy() runs. Do not call it in a
 * signal handler.
 */
void upstream_cancel(upstream_t *up);

/**
 * Ends a set: closes the kept connections and joins the library's threads. Takes NULL.
 *
 * Time: usually at once. Up to a second if a server has not yet read what was sent, and up to
 * another second if a lookup of a name hangs in the system.
 *
 * Ownership: nodes and their strings end with the set. A connection in your hands goes on, with its
 * node: release or discard it before or after this call. One that is still connecting fails with
 * UPSTREAM_ERR_CANCELLED.
 *
 * Threads: no other call on the set or its nodes may run at the same time, or later.
 */
void upstream_destroy(upstream_t *up);

/**
 * The name of the set.
 *
 * Returns: the name; NULL if `up` is NULL.
 *
 * Time: constant.
 *
 * Ownership: borrowed until upstream_destroy().
 */
const char *upstream_name(const upstream_t *up);

/**
 * The number of nodes.
 *
 * Returns: the number; 0 if `up` is NULL.
 *
 * Time: constant.
 */
size_t upstream_node_count(const upstream_t *up);

/**
 * The node at `index`, from 0, in the order of the file.
 *
 * Returns: the node; NULL if there are not so many, or `up` is NULL.
 *
 * Time: constant.
 *
 * Ownership: borrowed until upstream_destroy().
 */
upstream_node_t *upstream_node_at(const upstream_t *up, size_t index);

/**
 * The node called `name`. Letter case counts.
 *
 * Returns: the node; NULL if none has that name, or an argument is NULL.
 *
 * Time: one lookup in a hash table.
 *
 * Ownership: borrowed until upstream_destroy().
 */
upstream_node_t *upstream_node_by_name(const upstream_t *up, const char *name);

/**
 * Picks the next node, for a plugin that does its own I/O and takes one node for each payload.
 *
 * The order is strict round-robin over the nodes of the file, and all threads share it. If weights
 * differ, a node gets turns in proportion to its `weight`. Only the lowest `priority` that has a
 * node up is in use.
 *
 * An ejected node gets no turns. When its time is up, one caller gets it on trial. If all nodes are
 * ejected, you get the one whose time is up first. A paused node is never picked.
 *
 * Report how it went with upstream_node_report(). To go on to another node for the same payload,
 * use an attempt instead: see upstream_attempt_next().
 *
 * Returns: the node; NULL if each node is paused or has weight 0, or `up` is NULL.
 *
 * Time: constant, whatever the number of nodes. No lock, no system call, no allocation.
 *
 * Ownership: borrowed until upstream_destroy().
 *
 * ```c
 * int send_to(const char *host, uint16_t port);
 *
 * static int send_once(upstream_t *up)
 * {
 *     upstream_node_t *node = upstream_next_node(up);
 *     int sent;
 *     if (node == NULL) {
 *         return 0;
 *     }
 *     sent = send_to(upstream_node_host(node), upstream_node_port(node));
 *     upstream_node_report(node, sent ? UPSTREAM_OK : UPSTREAM_ERR_NETWORK);
 *     return sent;
 * }
 * ```
 */
upstream_node_t *upstream_next_node(upstream_t *up);

/**
 * How long to wait before you try again, in milliseconds.
 *
 * Returns: 0 if a node is up or may be tried now, and the retry budget allows a retry. Else the
 * time until both are so. -1 if each node has weight 0, or `up` is NULL.
 *
 * Time: constant while a node is up, else one step for each node. One lock, held for a moment, and
 * no system call.
 */
int64_t upstream_retry_after_ms(const upstream_t *up);

/** @} */

/**
 * @defgroup upstream_connection Connections
 *
 * A call that reads or writes here waits: for net.io_timeout without progress, or for the limit of
 * upstream_conn_set_timeout_ms(). In a delivery or attempt it never waits longer than that has
 * left.
 *
 * The calls of the next group do not wait.
 * @{
 */

/**
 * A connection to a node.
 *
 * Each use of it, from the call that gave it to you until you end it, is an exchange. An exchange
 * counts once for the health of the node.
 *
 * Ownership: yours if a connect call gave it to you. End it with upstream_conn_release() or
 * upstream_conn_discard(), before or after its set is destroyed. In a deliver callback it is the
 * delivery's.
 *
 * Threads: it may move between threads, one call at a time.
 */
typedef struct upstream_conn_t upstream_conn_t;

/**
 * Connects to the next node, and to others if that fails. A kept connection is used again.
 *
 * The connection is ready for data: TCP, and TLS if the node has it. Each node is tried once. If
 * all nodes are ejected, up to three of them are tried. A node at its net.max_connections is passed
 * over while another one has room. If none has, the first place that becomes free will do.
 *
 * Returns:
 * - UPSTREAM_OK: `*out` is yours.
 * - UPSTREAM_ERR_NO_NODE: each node has weight 0, or is ejected and may not be tried now.
 * - UPSTREAM_ERR_BUSY: each node is paused.
 * - UPSTREAM_ERR_RESOLVE, _CONNECT, _TLS, _CERT, _TIMEOUT, _LIMIT, _CLOSED, _NETWORK, _NO_MEMORY:
 *   no node could be connected to. It is the status of the last one tried; `*err` tells of all.
 *   _CLOSED and _NETWORK come from a kept connection that the server ended so early that its node
 *   was ejected.
 * - UPSTREAM_ERR_CANCELLED: upstream_cancel() was called on the set.
 * - UPSTREAM_ERR_FORKED: the set was created before fork(), and this is the child.
 * - UPSTREAM_ERR_INVALID_ARG: `up` or `out` is NULL.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: net.connect_timeout for each node that is tried. While a node is up, nodes on trial cost
 * 250 ms in all.
 *
 * ```c
 * upstream_conn_t *conn = NULL;
 * upstream_error_t *err = NULL;
 * if (upstream_connect(up, &conn, &err) == UPSTREAM_OK) {
 *     upstream_conn_write(conn, "hello\n", 6);
 *     upstream_conn_release(conn);
 * } else {
 *     fprintf(stderr, "%s\n", upstream_error_message(err));
 *     upstream_error_free(err);
 * }
 * ```
 */
upstream_status_t upstream_connect(upstream_t *up, upstream_conn_t **out, upstream_error_t **err);

/**
 * As upstream_connect(), but to this node alone, whatever its state is.
 *
 * Returns: as upstream_connect(), without UPSTREAM_ERR_NO_NODE and UPSTREAM_ERR_BUSY.
 *
 * Time: net.connect_timeout of the node.
 */
upstream_status_t upstream_node_connect(upstream_node_t *n,
                                        upstream_conn_t **out,
                                        upstream_error_t **err);

/**
 * Sends all `len` bytes.
 *
 * While it waits for room, it takes in up to 1 MiB of what the server sends and keeps it for your
 * reads. So a server that answers while it reads does not block itself and you.
 *
 * A server may answer and close before it has read everything ("413 too large"). The write fails
 * then, but upstream_conn_read() still gives you the answer, as far as it had come. Discard the
 * connection after that.
 *
 * After a failure nothing more can be sent on the connection. upstream_conn_last_error() has the
 * details.
 *
 * Returns:
 * - UPSTREAM_OK: the system has taken all bytes. That does not mean that they arrived.
 * - UPSTREAM_ERR_TIMEOUT: the server took no more data in time.
 * - UPSTREAM_ERR_CLOSED: the server closed the connection; an earlier write was cut off; or TLS 1.2
 *   allows no more data on this connection.
 * - UPSTREAM_ERR_NETWORK: the connection broke, as by a reset.
 * - UPSTREAM_ERR_TLS, UPSTREAM_ERR_CERT: the server sent a TLS alert, or a broken record.
 * - UPSTREAM_ERR_CANCELLED: upstream_cancel() was called on the set.
 * - UPSTREAM_ERR_FORKED: the set was created before fork(), and this is the child.
 * - A status of upstream_conn_connect_continue(): the connection was not ready yet, and could not
 *   be made.
 * - UPSTREAM_ERR_INVALID_ARG: `c` or `data` is NULL.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: net.io_timeout without progress, or the limit of upstream_conn_set_timeout_ms(). One system
 * call for each 64 KiB if the system takes all bytes at once.
 */
upstream_status_t upstream_conn_write(upstream_conn_t *c, const void *data, size_t len);

/**
 * As upstream_conn_write(), for `n` buffers in their order. The array is not changed.
 *
 * Returns: as upstream_conn_write(); UPSTREAM_ERR_INVALID_ARG if `c` or `iov` is NULL, or a buffer
 * that is not empty.
 *
 * Time: as upstream_conn_write().
 */
upstream_status_t upstream_conn_writev(upstream_conn_t *c, const struct iovec *iov, size_t n);

/**
 * Receives at least one byte and at most `cap` bytes. Stores in `*got` how many.
 *
 * Returns:
 * - UPSTREAM_OK: `*got` is 1 to `cap`.
 * - UPSTREAM_EOF: the server ended the stream. `*got` is 0, as on every error.
 * - UPSTREAM_ERR_TIMEOUT: nothing came in time. You may read again.
 * - UPSTREAM_ERR_CLOSED: a TLS stream was cut off without its goodbye (close_notify).
 * - UPSTREAM_ERR_NETWORK: the connection broke, as by a reset.
 * - UPSTREAM_ERR_TLS, UPSTREAM_ERR_CERT: the server sent a TLS alert, or a broken record.
 * - UPSTREAM_ERR_CANCELLED: upstream_cancel() was called on the set.
 * - UPSTREAM_ERR_FORKED: the set was created before fork(), and this is the child.
 * - A status of upstream_conn_connect_continue(): the connection was not ready yet, and could not
 *   be made.
 * - UPSTREAM_ERR_INVALID_ARG: `c`, `buf` or `got` is NULL, or `cap` is 0.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: net.io_timeout without a byte, or the limit of upstream_conn_set_timeout_ms(). Messages of
 * TLS itself, such as session tickets, are no bytes for you; a part of a TLS record counts.
 */
upstream_status_t upstream_conn_read(upstream_conn_t *c, void *buf, size_t cap, size_t *got);

/**
 * Receives exactly `len` bytes.
 *
 * On failure do not read on: the bytes that came are in `buf`, but you cannot tell how many.
 *
 * Returns: as upstream_conn_read(), but UPSTREAM_ERR_CLOSED in place of UPSTREAM_EOF if the stream
 * ends too early; UPSTREAM_ERR_INVALID_ARG if `c` or `buf` is NULL.
 *
 * Time: net.io_timeout without a byte, or the limit of upstream_conn_set_timeout_ms() for the whole
 * call.
 */
upstream_status_t upstream_conn_read_exact(upstream_conn_t *c, void *buf, size_t len);

/**
 * Limits each later call on the connection to `ms` milliseconds in all, also if bytes move all the
 * time.
 *
 * 0 goes back to the limit of the file: net.io_timeout without progress. For the calls of an event
 * loop `ms` also limits the time without progress, not the whole call.
 *
 * In a delivery or attempt your limit can only make calls shorter, never longer than the time that
 * is left for this node: half of all that is left while another node could take the payload, else
 * all of it.
 *
 * If your limit ends a call before the node had 1 second to act (or its net.io_timeout, if that is
 * shorter), this is no failure of the node.
 *
 * Returns:
 * - UPSTREAM_OK: done.
 * - UPSTREAM_ERR_INVALID_ARG: `c` is NULL.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: constant.
 */
upstream_status_t upstream_conn_set_timeout_ms(upstream_conn_t *c, uint32_t ms);

/**
 * The error of the last call that read, wrote or connected on the connection.
 *
 * Returns: the error; NULL if that call went well, or `c` is NULL.
 *
 * Time: constant.
 *
 * Ownership: borrowed until the next call on the connection. Do not free it.
 */
const upstream_error_t *upstream_conn_last_error(const upstream_conn_t *c);

/**
 * Tells how this exchange went, in your words, and returns `outcome`.
 *
 * `outcome` is a status. For the health of the node it means what upstream_node_report() says.
 * Also, UPSTREAM_EOF counts as UPSTREAM_ERR_CLOSED; UPSTREAM_ERR_INVALID_ARG, and a number that is
 * no status, count as one of health.max_fails. The last report counts. Without one the library
 * judges by what it saw.
 *
 * `text` may be NULL. Up to 500 characters of it appear in the error and in the log.
 *
 * In a deliver callback, this decides about the node. What the callback returns decides where the
 * payload goes.
 *
 * Returns: `outcome`, whatever it is, and also if `c` is NULL: a callback can return what this call
 * returns.
 *
 * Time: constant.
 *
 * ```c
 * static upstream_status_t judge(upstream_conn_t *conn, int http)
 * {
 *     if (http == 429 || http == 503) {
 *         return upstream_conn_busy(conn, 5000, "HTTP 429 or 503");
 *     }
 *     if (http == 400) {
 *         return upstream_conn_report(conn, UPSTREAM_STOP, "HTTP 400");
 *     }
 *     return upstream_conn_report(conn, http == 200 ? UPSTREAM_OK : UPSTREAM_ERR_PROTOCOL, NULL);
 * }
 * ```
 */
upstream_status_t upstream_conn_report(upstream_conn_t *c,
                                       upstream_status_t outcome,
                                       const char *text);

/**
 * Tells that the server cannot take this now (HTTP 429, 503): its node is paused.
 *
 * The pause is `retry_after_ms` milliseconds. 0 means health.backoff, and more than one hour counts
 * as one hour. It is no failure, and the connection is kept. `text` is as for
 * upstream_conn_report(): see the example there.
 *
 * Returns: UPSTREAM_ERR_BUSY, always. A deliver callback returns it, and the payload goes to
 * another node.
 *
 * Time: constant.
 */
upstream_status_t upstream_conn_busy(upstream_conn_t *c, uint32_t retry_after_ms, const char *text);

/**
 * How much time is left for the delivery or attempt that the connection serves, in milliseconds.
 *
 * Returns: the time; 0 if it is over; -1 if the connection serves none, or `c` is NULL.
 *
 * Time: constant.
 */
int64_t upstream_conn_time_left_ms(const upstream_conn_t *c);

/**
 * The id of the payload, for a receiver that drops what comes twice.
 *
 * It is your own id (upstream_delivery_t), or 32 hex digits made at random. One delivery or attempt
 * sends the same id to each node and each time. Use it as an Idempotency-Key, a Forward chunk id,
 * an Elasticsearch _id.
 *
 * Returns: the id; NULL if the connection serves no delivery or attempt, or `c` is NULL.
 *
 * Time: constant.
 *
 * Ownership: borrowed for as long as you have the connection.
 */
const char *upstream_conn_payload_id(const upstream_conn_t *c);

/**
 * Receives everything up to the bytes of `end`, and `end` too: a line, for example. Stores in
 * `*got` how many bytes that is.
 *
 * What came after `end` stays for the next read. On any error `*got` is 0, and all that came stays
 * for upstream_conn_read().
 *
 * Returns:
 * - UPSTREAM_OK: `*got` is 1 to `cap`, and the last of them are `end`.
 * - UPSTREAM_ERR_PROTOCOL: `cap` bytes came without `end`.
 * - UPSTREAM_ERR_CLOSED: the stream ended before `end` came. There is no UPSTREAM_EOF here.
 * - UPSTREAM_ERR_INVALID_ARG: a pointer is NULL, or `cap` or `end_len` is 0.
 * - Any other status of upstream_conn_read().
 *
 * Time: net.io_timeout without a byte, or the limit of upstream_conn_set_timeout_ms() for the whole
 * call.
 *
 * ```c
 * static upstream_status_t ask(upstream_conn_t *conn, void *question)
 * {
 *     char answer[128];
 *     size_t got;
 *     upstream_status_t status = upstream_conn_write(conn, question, strlen(question));
 *     if (status == UPSTREAM_OK) {
 *         status = upstream_conn_read_until(conn, answer, sizeof(answer), "\n", 1, &got);
 *     }
 *     return status;
 * }
 * ```
 */
upstream_status_t upstream_conn_read_until(upstream_conn_t *c,
                                           void *buf,
                                           size_t cap,
                                           const char *end,
                                           size_t end_len,
                                           size_t *got);

/**
 * The node of the connection; while it is connecting, the node that is being tried.
 *
 * Returns: the node; NULL if `c` is NULL.
 *
 * Time: constant.
 *
 * Ownership: borrowed at least for as long as you have the connection.
 */
upstream_node_t *upstream_conn_node(const upstream_conn_t *c);

/**
 * Whether the connection was kept from an earlier use.
 *
 * Returns: 1 if it was, 0 if it is new or not ready yet, or `c` is NULL.
 *
 * Time: constant.
 */
int32_t upstream_conn_reused(const upstream_conn_t *c);

/**
 * The TLS version of the connection.
 *
 * Returns: "TLSv1.2" or "TLSv1.3", a static string; NULL without TLS, before the connection is
 * ready, or if `c` is NULL.
 *
 * Time: constant.
 */
const char *upstream_conn_tls_version(const upstream_conn_t *c);

/**
 * Attaches the plugin's own data to the connection, such as "logged in", in place of any data
 * before.
 *
 * It stays there while the connection is kept, and you find it there when you get the connection
 * again. `free_fn` may be NULL. A NULL `data` only removes what was there.
 *
 * Returns:
 * - UPSTREAM_OK: done.
 * - UPSTREAM_ERR_INVALID_ARG: `c` is NULL, or the connection is not ready. The data is still yours.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: constant, plus the time of `free_fn`.
 *
 * Ownership: the data is the library's when the call returns UPSTREAM_OK. It calls `free_fn` with
 * it once: in the call that replaces it, or when the connection ends.
 *
 * Threads: `free_fn` is called on any thread. It must not wait for a connection.
 */
upstream_status_t upstream_conn_set_data(upstream_conn_t *c, void *data, void (*free_fn)(void*));

/**
 * The data attached to the connection.
 *
 * Returns: the data; NULL if there is none, or `c` is NULL.
 *
 * Time: constant.
 *
 * Ownership: borrowed until it is replaced, or the connection ends.
 */
void *upstream_conn_get_data(const upstream_conn_t *c);

/**
 * Gives the connection back. The library keeps it for the next use of that node. Takes NULL.
 *
 * It is closed instead if a call on it failed, if a message on it is unfinished or an answer
 * unread, if TLS holds bytes that cannot be sent at once (see upstream_conn_flush()), or if
 * net.keepalive and its limits do not let it be kept. One that is still connecting is given up.
 *
 * In a deliver callback it does nothing: the connection is the delivery's.
 *
 * Time: does not wait.
 */
void upstream_conn_release(upstream_conn_t *c);

/**
 * Closes the connection, because you no longer trust it. Takes NULL.
 *
 * What you wrote on it still arrives, unless a call on it failed: a thread of the library waits up
 * to a second for the server to close too.
 *
 * In a deliver callback the connection is closed after the callback has returned.
 *
 * Time: does not wait.
 */
void upstream_conn_discard(upstream_conn_t *c);

/** @} */

/**
 * @defgroup upstream_peer The other end of a connection
 * @{
 */

/**
 * Writes the address of the server to `buf`, such as "127.0.0.1:43000" or "[::1]:43000".
 *
 * It is the address that the connection was made to: of a name with several addresses, the one that
 * answered. If `net.proxy` is set, it is the address of the proxy. Of a stream socket of this
 * machine it is `unix:` and the path.
 *
 * A buffer of 64 bytes is large enough for every address, and one of 128 bytes for every path too.
 *
 * Returns:
 * - UPSTREAM_OK: `buf` holds the address and a NUL.
 * - UPSTREAM_ERR_INVALID_ARG: `c` or `buf` is NULL; the connection is not ready; or `cap` is too
 *   small. Then `buf` holds an empty string if `cap` is not 0, and upstream_conn_last_error() says
 *   how many bytes are needed.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: constant.
 */
upstream_status_t upstream_conn_peer(const upstream_conn_t *c, char *buf, size_t cap);

/**
 * The protocol that the server chose of those that tls.alpn offers to it (ALPN).
 *
 * Returns: its name, such as "h2"; NULL if the server chose none, without tls.alpn or TLS, before
 * the connection is ready, or if `c` is NULL.
 *
 * Time: constant.
 *
 * Ownership: borrowed until you end the connection.
 */
const char *upstream_conn_alpn(const upstream_conn_t *c);

/** @} */

/**
 * @defgroup upstream_nonblocking Connections in an event loop
 *
 * No call here waits. Each goes as far as it can. If it could not finish, it returns
 * UPSTREAM_WANT_READ or UPSTREAM_WANT_WRITE.
 *
 * Then watch upstream_conn_fd() for upstream_conn_poll_events(), for upstream_conn_timeout_ms() at
 * most, and call again. Readiness is level-triggered.
 *
 * Do not watch before a call has asked for it: TLS may hold bytes that the descriptor does not
 * show.
 * @{
 */

/**
 * @name Bits of upstream_conn_poll_events()
 * @{
 */
/** Watch the descriptor until it is readable (POLLIN, EPOLLIN). */
#define UPSTREAM_POLL_IN 1
/** Watch the descriptor until it is writable (POLLOUT, EPOLLOUT). */
#define UPSTREAM_POLL_OUT 2
/** @} */

/**
 * As upstream_connect(), without waiting.
 *
 * Returns:
 * - UPSTREAM_OK: `*out` is yours and ready: a kept connection.
 * - UPSTREAM_WANT_READ: `*out` is yours and under way. Watch it, and go on with
 *   upstream_conn_connect_continue(), or with a read or a write, which does the same first.
 * - An error of upstream_connect(): no connection could even be begun.
 *
 * Time: does not wait.
 */
upstream_status_t upstream_connect_start(upstream_t *up,
                                         upstream_conn_t **out,
                                         upstream_error_t **err);

/**
 * As upstream_connect_start(), but to this node alone, whatever its state is.
 *
 * Returns: as upstream_connect_start(), without UPSTREAM_ERR_NO_NODE and UPSTREAM_ERR_BUSY.
 *
 * Time: does not wait.
 */
upstream_status_t upstream_node_connect_start(upstream_node_t *n,
                                              upstream_conn_t **out,
                                              upstream_error_t **err);

/**
 * Goes on connecting. Call it when upstream_conn_fd() is readable, or upstream_conn_timeout_ms()
 * has passed.
 *
 * A node fails if it refuses, or if it does not answer within its net.connect_timeout. Then the
 * next one is tried, unless you asked for one node alone. A node at its net.max_connections is
 * passed over while another one has room. If none has, the first place that becomes free will do.
 *
 * After an error you can only discard the connection. upstream_conn_last_error() tells of all
 * nodes.
 *
 * Returns:
 * - UPSTREAM_OK: the connection is ready.
 * - UPSTREAM_WANT_READ: not yet.
 * - UPSTREAM_ERR_RESOLVE, _CONNECT, _TLS, _CERT, _TIMEOUT, _LIMIT, _CLOSED, _NETWORK, _NO_MEMORY:
 *   no node is left to try. It is the status of the last one.
 * - For the connection of an attempt: UPSTREAM_ERR_NO_NODE if no node is left to try,
 *   UPSTREAM_ERR_TIMEOUT if its time is over.
 * - UPSTREAM_ERR_CANCELLED: upstream_cancel() was called on the set, or the set was destroyed.
 * - UPSTREAM_ERR_FORKED: the set was created before fork(), and this is the child.
 * - UPSTREAM_ERR_INVALID_ARG: `c` is NULL.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: does not wait.
 */
upstream_status_t upstream_conn_connect_continue(upstream_conn_t *c);

/**
 * Sends as many of `len` bytes as go without waiting. Stores in `*written` how many it took.
 *
 * One call takes at most about 64 KiB, so that a fast server does not hold up your loop. Call it
 * again while `*written` is less than `len`, now or when your loop comes round: there may be room.
 *
 * If the connection is not ready yet, it goes on connecting first. The last bytes that it took may
 * be held by TLS: upstream_conn_poll_events() then asks for UPSTREAM_POLL_OUT, and
 * upstream_conn_flush() or the next write sends them.
 *
 * It does not read. If the server answers while it reads, call upstream_conn_try_read() too, or you
 * and the server wait for each other.
 *
 * Returns:
 * - UPSTREAM_OK: `*written` is 1 to `len`. Call again with the rest.
 * - UPSTREAM_WANT_WRITE: nothing could be sent, and `*written` is 0.
 * - UPSTREAM_WANT_READ: it is still connecting.
 * - UPSTREAM_ERR_TIMEOUT: nothing could be sent, and the time of upstream_conn_timeout_ms() is
 *   over.
 * - UPSTREAM_ERR_INVALID_ARG: `c`, `data` or `written` is NULL.
 * - Any other error of upstream_conn_write(). You can only discard the connection then.
 *
 * Time: does not wait.
 *
 * ```c
 * struct buffer {
 *     const char *data;
 *     size_t len;
 * };
 *
 * static upstream_status_t send_some(upstream_conn_t *conn, struct buffer *rest)
 * {
 *     upstream_status_t status = UPSTREAM_OK;
 *     while (status == UPSTREAM_OK && rest->len > 0) {
 *         size_t written;
 *         status = upstream_conn_try_write(conn, rest->data, rest->len, &written);
 *         rest->data += written;
 *         rest->len -= written;
 *     }
 *     return status == UPSTREAM_OK ? upstream_conn_flush(conn) : status;
 * }
 *
 * static int watch(upstream_conn_t *conn)
 * {
 *     struct pollfd ready = {0};
 *     uint32_t events = upstream_conn_poll_events(conn);
 *     ready.fd = upstream_conn_fd(conn);
 *     ready.events |= events & UPSTREAM_POLL_IN ? POLLIN : 0;
 *     ready.events |= events & UPSTREAM_POLL_OUT ? POLLOUT : 0;
 *     return poll(&ready, 1, (int)upstream_conn_timeout_ms(conn));
 * }
 * ```
 */
upstream_status_t upstream_conn_try_write(upstream_conn_t *c,
                                          const void *data,
                                          size_t len,
                                          size_t *written);

/**
 * Receives what is there, up to `cap` bytes. Stores in `*got` how many.
 *
 * If the connection is not ready yet, it goes on connecting first.
 *
 * One call takes at most about 64 KiB. If a server sends only messages of TLS itself, such as
 * session tickets, the call ends after a few of them with UPSTREAM_WANT_READ, and
 * upstream_conn_timeout_ms() is 0: call it again when your loop comes round.
 *
 * Returns:
 * - UPSTREAM_OK: `*got` is 1 to `cap`.
 * - UPSTREAM_WANT_READ: nothing for you is there, or it is still connecting. `*got` is 0.
 * - UPSTREAM_EOF: the server ended the stream. `*got` is 0.
 * - UPSTREAM_ERR_TIMEOUT: nothing is there, and the time of upstream_conn_timeout_ms() is over.
 * - UPSTREAM_ERR_INVALID_ARG: `c`, `buf` or `got` is NULL, or `cap` is 0.
 * - Any other error of upstream_conn_read().
 *
 * Time: does not wait.
 */
upstream_status_t upstream_conn_try_read(upstream_conn_t *c, void *buf, size_t cap, size_t *got);

/**
 * Sends what TLS still holds of earlier writes. Without TLS nothing is held.
 *
 * Call it before upstream_conn_release(), which sends only what goes at once.
 *
 * Returns:
 * - UPSTREAM_OK: nothing is held.
 * - UPSTREAM_WANT_WRITE: something still is.
 * - UPSTREAM_WANT_READ: it is still connecting.
 * - UPSTREAM_ERR_TIMEOUT: nothing could be sent, and the time of upstream_conn_timeout_ms() is
 *   over.
 * - UPSTREAM_ERR_INVALID_ARG: `c` is NULL.
 * - Any other error of upstream_conn_write(). You can only discard the connection then.
 *
 * Time: does not wait.
 */
upstream_status_t upstream_conn_flush(upstream_conn_t *c);

/**
 * The descriptor to watch. Ask for it again after each call: it may be another one.
 *
 * Never close, read or write it.
 *
 * While it is connecting, the descriptor is one of the library's own, and each call may replace it.
 * A new number means a new descriptor: register it. The old one is closed, and so epoll has dropped
 * it. If your loop must never see a watched descriptor closed (libuv), stop watching before each
 * call.
 *
 * Once the connection is ready, the descriptor is its socket and stays. (If a blocking call
 * finishes the connecting, the descriptor is new, even under the old number.)
 *
 * Take it out of your loop before upstream_conn_release() and upstream_conn_discard(). The socket
 * of a kept connection stays open, and the number of a closed one is soon used again.
 *
 * Returns: the descriptor; -1 if there is none: while a connection of an attempt waits for the
 * retry budget, after connecting has failed, in a forked child, or if `c` is NULL.
 *
 * Time: constant.
 */
int upstream_conn_fd(const upstream_conn_t *c);

/**
 * What to watch the descriptor for: UPSTREAM_POLL_IN, UPSTREAM_POLL_OUT, or both.
 *
 * They say what the last upstream_conn_try_read() and upstream_conn_try_write() still wait for.
 * UPSTREAM_POLL_OUT is also set while TLS holds bytes. While connecting, it is UPSTREAM_POLL_IN.
 *
 * Returns: the bits; 0 if nothing is wanted, in a forked child, or if `c` is NULL.
 *
 * Time: constant.
 */
uint32_t upstream_conn_poll_events(const upstream_conn_t *c);

/**
 * How long to watch the descriptor at most, in milliseconds. Then make the call again.
 *
 * That call goes on, or returns UPSTREAM_ERR_TIMEOUT. While connecting, the time is the
 * net.connect_timeout of the node that is being tried. After that, it is how long no byte may move
 * in either direction: net.io_timeout, or the limit of upstream_conn_set_timeout_ms(). The limits
 * of an attempt hold too.
 *
 * Do not leave it out: it is 0 if the last call could have gone on, or if what you want to read is
 * already here, and the descriptor does not show that in each case.
 *
 * Returns: the time, rounded up; 0 if a call is due now; -1 if nothing is wanted, in a forked
 * child, or if `c` is NULL.
 *
 * Time: constant.
 */
int64_t upstream_conn_timeout_ms(const upstream_conn_t *c);

/** @} */

/**
 * @defgroup upstream_deliver Deliveries
 *
 * upstream_deliver() is the call that most plugins need.
 * @{
 */

/**
 * Sends one payload over `conn`, from its first byte. It may be called several times for one
 * payload.
 *
 * Do not release `conn`: it is lent for the call. You may discard it.
 *
 * - UPSTREAM_OK: the payload is delivered.
 * - UPSTREAM_STOP: no node will ever take it, so it is dropped. This node is well.
 * - UPSTREAM_ERR_CANCELLED, UPSTREAM_ERR_FORKED: give up. The delivery fails, and no other node
 *   gets the payload.
 * - Any other negative number, and UPSTREAM_EOF: a failure of this node. The next node gets the
 *   payload.
 * - Any other positive number is a mistake. It ends the delivery with UPSTREAM_ERR_INVALID_ARG.
 *
 * Do not return -errno: -EPIPE is UPSTREAM_ERR_TLS, which ejects the node at once.
 *
 * If you know more than a status says, call upstream_conn_report() or upstream_conn_busy() before
 * you return.
 *
 * Threads: called on the thread that called upstream_deliver(), before that returns.
 */
typedef upstream_status_t (*upstream_deliver_fn)(upstream_conn_t *conn, void *ctx);

/**
 * Settings of one payload, for upstream_deliver_with() and upstream_attempt_begin_with().
 *
 * Start from UPSTREAM_DELIVERY_INIT. Later versions add fields at the end.
 */
typedef struct {
    /** sizeof(upstream_delivery_t), as UPSTREAM_DELIVERY_INIT sets it. */
    size_t struct_size;
    /** Time for all nodes together, in milliseconds; 0 means deliver.timeout. */
    uint32_t timeout_ms;
    /**
     * Your own id of the payload: 1 to 64 bytes of printable ASCII. Give the same one each time
     * that you deliver this payload. NULL: the library makes one at random.
     */
    const char *payload_id;
    /** Reserved: NULL. */
    const void *key;
    /** Reserved: 0. */
    size_t key_len;
} upstream_delivery_t;

/** All defaults: `upstream_delivery_t how = UPSTREAM_DELIVERY_INIT;` */
#define UPSTREAM_DELIVERY_INIT { sizeof(upstream_delivery_t), 0, NULL, NULL, 0 }

/**
 * Delivers one payload: runs `fn` on a connection to the next node, and on others if that fails.
 *
 * It ends when `fn` returns UPSTREAM_OK or UPSTREAM_STOP, when each node was tried once, or after
 * `timeout_ms` milliseconds (0 means deliver.timeout). If all nodes are ejected, up to three of
 * them are tried; with `deliver.wait on` it then waits, within its time, for one that may be tried.
 *
 * While another node could take the payload, one node gets at most half of the time that is left.
 * The last one gets all of it.
 *
 * A payload may come twice: if it may have arrived at a node that then failed, it is sent again to
 * another node, unless `deliver.resend` is off.
 *
 * Each resend takes a token from the retry budget of the set. The budget holds up to 10 tokens, and
 * each success adds 0.1. While it is empty, 10 resends a second are allowed, and further ones wait.
 *
 * If a payload fails in the same way at every node that got it, and at two or more, the payload is
 * suspected and no node is blamed. The ways are UPSTREAM_ERR_PROTOCOL, and a connection that ended
 * after bytes were sent.
 *
 * Returns:
 * - UPSTREAM_OK: delivered.
 * - UPSTREAM_STOP: `fn` dropped it. `*err` has the words of upstream_conn_report().
 * - UPSTREAM_ERR_BUSY: each node is paused, or the last one tried cannot take it now.
 * - UPSTREAM_ERR_NO_NODE: each node has weight 0, or is ejected and may not be tried now.
 * - UPSTREAM_ERR_TIMEOUT: the time is over, or the last failure is that of a time limit.
 * - UPSTREAM_ERR_CANCELLED: `fn` returned it, or upstream_cancel() was called on the set.
 * - UPSTREAM_ERR_FORKED: the set was created before fork(), and this is the child; or `fn` returned
 *   it.
 * - UPSTREAM_ERR_INVALID_ARG: `up` or `fn` is NULL; `fn` returned a positive number that it must
 *   not return; or the last failure of `fn` was a negative number that is no status.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 * - Any other negative status: that of the last failure, of connecting or of `fn`. `*err` tells of
 *   all.
 *
 * Ask upstream_error_may_have_arrived() before you send the payload again.
 *
 * Time: `timeout_ms` or deliver.timeout, plus the time that `fn` spends outside of the library's
 * calls.
 *
 * ```c
 * static upstream_status_t send_line(upstream_conn_t *conn, void *line)
 * {
 *     return upstream_conn_write(conn, line, strlen(line));
 * }
 *
 * static int deliver_line(upstream_t *up, char *line)
 * {
 *     upstream_error_t *err = NULL;
 *     upstream_status_t status = upstream_deliver(up, send_line, line, 0, &err);
 *     if (status != UPSTREAM_OK) {
 *         fprintf(stderr, "%s\n", upstream_error_message(err));
 *         upstream_error_free(err);
 *     }
 *     return status == UPSTREAM_OK;
 * }
 * ```
 */
upstream_status_t upstream_deliver(upstream_t *up,
                                   upstream_deliver_fn fn,
                                   void *ctx,
                                   uint32_t timeout_ms,
                                   upstream_error_t **err);

/**
 * As upstream_deliver(), with settings for this payload. A NULL `how` means all defaults.
 *
 * Returns: as upstream_deliver(); UPSTREAM_ERR_INVALID_ARG also if `how` has a `struct_size` that
 * is too small, a `payload_id` of another form, or a `key`, which this version does not have.
 *
 * Time: `how->timeout_ms` or deliver.timeout, as upstream_deliver().
 */
upstream_status_t upstream_deliver_with(upstream_t *up,
                                        const upstream_delivery_t *how,
                                        upstream_deliver_fn fn,
                                        void *ctx,
                                        upstream_error_t **err);

/** @} */

/**
 * @defgroup upstream_attempt Attempts
 *
 * For a plugin that does its own I/O, or runs the library's connections in its own event loop: the
 * nodes for one payload, by the rules of a delivery.
 * @{
 */

/**
 * One payload on its way over the nodes, none of which it gets twice.
 *
 * Ownership: yours, until upstream_attempt_end(). It may outlive its set, but then you can only end
 * it.
 *
 * Threads: it may move between threads, one call at a time. Any number of attempts may run side by
 * side.
 */
typedef struct upstream_attempt_t upstream_attempt_t;

/**
 * Begins an attempt to deliver one payload.
 *
 * It has deliver.timeout for its connections. That time starts with the first of them.
 * upstream_attempt_next() has no time limit.
 *
 * Returns:
 * - UPSTREAM_OK: `*out` is yours. End it with upstream_attempt_end().
 * - UPSTREAM_ERR_INVALID_ARG: `up` or `out` is NULL.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: constant. No lock, no system call.
 *
 * ```c
 * upstream_status_t my_send(const char *host, uint16_t port);
 *
 * static upstream_status_t send_payload(upstream_t *up)
 * {
 *     upstream_attempt_t *attempt = NULL;
 *     upstream_node_t *node;
 *     upstream_status_t status = upstream_attempt_begin(up, &attempt);
 *     if (status != UPSTREAM_OK) {
 *         return status;
 *     }
 *     status = UPSTREAM_ERR_NO_NODE;
 *     while (status < 0 && (node = upstream_attempt_next(attempt)) != NULL) {
 *         status = my_send(upstream_node_host(node), upstream_node_port(node));
 *         upstream_attempt_report(attempt, status);
 *     }
 *     upstream_attempt_end(attempt, status);
 *     return status;
 * }
 * ```
 */
upstream_status_t upstream_attempt_begin(upstream_t *up, upstream_attempt_t **out);

/**
 * As upstream_attempt_begin(), with settings for this payload. A NULL `how` means all defaults.
 *
 * The time for its connections is `how->timeout_ms`, or deliver.timeout if that is 0. It starts
 * now.
 *
 * Returns: as upstream_attempt_begin(); UPSTREAM_ERR_INVALID_ARG also for what
 * upstream_deliver_with() refuses.
 *
 * Time: constant. No lock, no system call.
 */
upstream_status_t upstream_attempt_begin_with(upstream_t *up,
                                              const upstream_delivery_t *how,
                                              upstream_attempt_t **out);

/**
 * Picks the node to try next, for a plugin that does its own I/O: never one that this attempt had.
 *
 * To call it again says that the last node failed, which counts as one of health.max_fails. If you
 * know more (refused: UPSTREAM_ERR_CONNECT), call upstream_attempt_report() first.
 *
 * One of the nodes may be on trial after an ejection. If all nodes are ejected, up to three of them
 * are tried. deliver.attempts limits the number too.
 *
 * Each further node takes a token from the retry budget of the set. A node after a busy one takes
 * none, nor does a trial while another node is up. The budget holds up to 10 tokens, and each
 * success adds 0.1. While it is empty, 10 retries a second are allowed.
 *
 * Returns: the node. NULL if no node is left to try, if the retry budget is spent, or if `a` is
 * NULL. upstream_retry_after_ms() is above 0 while the budget is spent, and says how long to wait.
 *
 * Time: one step for each node at most. It does not wait.
 *
 * Ownership: borrowed until upstream_destroy().
 */
upstream_node_t *upstream_attempt_next(upstream_attempt_t *a);

/**
 * Connects to the next node, and to others if that fails: never to one that this attempt had.
 *
 * End the connection with upstream_conn_release() or upstream_conn_discard() before you ask for the
 * next one. The node's outcome counts when you ask for the next one, or end the attempt.
 *
 * If it would send again what may have arrived, and the retry budget is spent, it waits (see
 * upstream_deliver()).
 *
 * Returns:
 * - UPSTREAM_OK: `*out` is yours.
 * - UPSTREAM_ERR_NO_NODE: no node is left to try. `*err` tells what failed at each.
 * - UPSTREAM_ERR_BUSY: each node is paused.
 * - UPSTREAM_ERR_TIMEOUT: the time of the attempt is over.
 * - The status of the last failure: the payload may have arrived, and deliver.resend is off.
 * - UPSTREAM_ERR_CANCELLED: upstream_cancel() was called on the set, or the set was destroyed.
 * - UPSTREAM_ERR_FORKED: the set was created before fork(), and this is the child.
 * - UPSTREAM_ERR_INVALID_ARG: `a` or `out` is NULL, or the connection before is still in use.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: what is left of the time of the attempt.
 */
upstream_status_t upstream_attempt_connect(upstream_attempt_t *a,
                                           upstream_conn_t **out,
                                           upstream_error_t **err);

/**
 * As upstream_attempt_connect(), without waiting.
 *
 * While it waits for the retry budget, upstream_conn_fd() is -1, and upstream_conn_timeout_ms()
 * says when to go on.
 *
 * Returns: UPSTREAM_OK if `*out` is ready; UPSTREAM_WANT_READ if it is under way, as
 * upstream_connect_start() says; else as upstream_attempt_connect().
 *
 * Time: does not wait.
 */
upstream_status_t upstream_attempt_connect_start(upstream_attempt_t *a,
                                                 upstream_conn_t **out,
                                                 upstream_error_t **err);

/**
 * Tells how it went at the node that the attempt has now, as a status of this header.
 *
 * For what each status means, see upstream_node_report(). The last report counts. After a report
 * the `outcome` of upstream_attempt_end() does not count for this node.
 *
 * Returns:
 * - UPSTREAM_OK: done.
 * - UPSTREAM_ERR_INVALID_ARG: `a` is NULL, the attempt has no node now, or `outcome` is no status.
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: constant.
 */
upstream_status_t upstream_attempt_report(upstream_attempt_t *a, upstream_status_t outcome);

/**
 * The id of the payload: see upstream_conn_payload_id().
 *
 * Returns: the id; NULL if `a` is NULL.
 *
 * Time: constant.
 *
 * Ownership: borrowed until upstream_attempt_end().
 */
const char *upstream_attempt_payload_id(const upstream_attempt_t *a);

/**
 * Ends an attempt and frees it. Takes NULL.
 *
 * `outcome` says how it went at the last node, as for upstream_node_report(). It does not count for
 * a node if you called upstream_attempt_report() for the last one, or if upstream_attempt_next()
 * gave NULL.
 *
 * Do not also call upstream_node_report() for that node.
 *
 * Time: one step for each node that failed. It holds a lock for a moment.
 */
void upstream_attempt_end(upstream_attempt_t *a, upstream_status_t outcome);

/** @} */

/**
 * @defgroup upstream_stats Counters
 * @{
 */

/**
 * Counters since the set was created, and gauges.
 *
 * Start from UPSTREAM_STATS_INIT. The library fills as much as your `struct_size` has room for.
 * Later versions add fields at the end.
 */
typedef struct {
    /** sizeof(upstream_stats_t), as UPSTREAM_STATS_INIT sets it. */
    size_t struct_size;
    /** Times that the node, or any node of the set, was picked. */
    uint64_t picks;
    /** Connections made. */
    uint64_t connects;
    /** Connections that could not be made. */
    uint64_t connects_failed;
    /** TLS handshakes that went well. */
    uint64_t handshakes;
    /** Times that a kept connection was used again. */
    uint64_t reused;
    /** Times that a node was ejected. */
    uint64_t ejections;
    /** Payload bytes sent. */
    uint64_t bytes_out;
    /** Payload bytes received. */
    uint64_t bytes_in;
    /** Payloads delivered, and successes that the plugin reported. */
    uint64_t deliveries;
    /** Payloads that came to this node after they had failed at another. */
    uint64_t redeliveries;
    /**
     * Of a node: payloads that failed there. Of a set: payloads that no node took, or that the
     * plugin dropped.
     */
    uint64_t deliveries_failed;
    /** Gauge: connections kept for reuse. */
    uint64_t idle;
    /** Gauge: connections in use. */
    uint64_t active;
    /** Gauge: nodes that are up. */
    uint64_t nodes_up;
    /** Gauge: nodes. */
    uint64_t nodes;
} upstream_stats_t;

/** Empty counters: `upstream_stats_t stats = UPSTREAM_STATS_INIT;` */
#define UPSTREAM_STATS_INIT \
    { sizeof(upstream_stats_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/**
 * Reads the counters of the whole set.
 *
 * Returns:
 * - UPSTREAM_OK: `*out` is filled.
 * - UPSTREAM_ERR_INVALID_ARG: `up` or `out` is NULL, or `out->struct_size` is less than
 *   sizeof(size_t).
 * - UPSTREAM_ERR_PANIC: a defect of the library; see the top of this file.
 *
 * Time: one step for each node. It holds a lock for a moment. In a forked child it does not wait
 * for locks: what it cannot read is 0.
 */
upstream_status_t upstream_stats(const upstream_t *up, upstream_stats_t *out);

/**
 * Reads the counters of one node.
 *
 * Returns: as upstream_stats(), with `n` for `up`.
 *
 * Time: constant; if weights differ, one step for each turn of the rotation. It holds locks for a
 * moment.
 */
upstream_status_t upstream_node_stats(const upstream_node_t *n, upstream_stats_t *out);

/** @} */

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* UPSTREAM_UPSTREAM_H */
