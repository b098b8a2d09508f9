/**
 * @file
 *
 * Puts libupstream under a Fluent Bit output plugin that calls flb_upstream_ha_*.
 *
 * Compile the plugin with this header. Not one line of it changes, and it gets this library's
 * order, ejection and failover. Its connections stay the agent's own, asynchronous ones.
 *
 *     cc -include upstream/fluent_bit.h ... -o flb-out_NAME.so out_NAME.c -lupstream
 *
 * Give the flag to every source of the plugin, with the flags that the agent itself was built with:
 * this file includes the agent's headers. If a source defines _GNU_SOURCE or the like at its top,
 * define it on the command line instead, since the headers now come first.
 *
 * What changes for the plugin:
 *
 * - flb_upstream_ha_from_file() builds the agent's structures as before, and the library reads the
 *   same file. Keys of the library alone (health.*, weight, priority) may stand in it: the agent
 *   takes them for properties of the plugin.
 * - If the library refuses the file (as it does with YAML), the agent's log says why. The nodes are
 *   balanced all the same, with the health.* keys, weight and priority that the agent found.
 * - flb_upstream_ha_node_get() asks upstream_attempt_next(), connects to that node ahead of time,
 *   and goes on to the next node if that fails. So it may yield, as flb_upstream_conn_get() does.
 * - It returns NULL if every node was tried or the retry budget is spent. The plugin then returns
 *   FLB_RETRY, as for any node that it does not get.
 * - flb_upstream_conn_get() on that node's `u` returns the connection that was made ahead of time.
 *   For any other `u` it is the agent's call.
 * - FLB_OUTPUT_RETURN() tells how it went. FLB_OK is a success, and so is FLB_ERROR after an
 *   exchange without a network error. FLB_RETRY counts as one of health.max_fails. If the plugin
 *   did not ask for the connection that was made ahead of time, the connection goes back to the
 *   agent.
 * - A node that accepts and is then silent does not hold a flush for ever. After net.io_timeout of
 *   the upstream file, else of the output, else 60 seconds, the agent ends the connection, and that
 *   counts as one of health.max_fails. Set net.io_timeout above the slowest answer, and well below
 *   the time that a chunk may wait.
 * - If a plugin releases a connection with a network error and calls flb_upstream_ha_node_get()
 *   again, it goes on with the same payload, to nodes not yet tried. After any other release a new
 *   payload begins. The agent's own retry of a chunk is a new payload.
 *
 * Limits:
 *
 * - Calls that the core of the agent makes by itself (flb_http_client_session_begin() on an
 *   upstream) keep the agent's own order. So does a set that the plugin makes with
 *   flb_upstream_ha_create().
 * - Nodes that are added to a set after it was read from a file are never picked.
 * - A node on trial that neither accepts nor refuses holds that one flush for net.connect_timeout.
 *
 * Threads: as the agent's own calls. Workers may flush at the same time; no lock is held while a
 * coroutine waits.
 *
 * Needs GNU C, as the agent does, and an agent with struct flb_connection (2.0). Tried with 5.1.
 */
#ifndef UPSTREAM_FLUENT_BIT_H
#define UPSTREAM_FLUENT_BIT_H

#include <fluent-bit/flb_info.h>
#include <fluent-bit/flb_output_plugin.h>
#include <fluent-bit/flb_coro.h>
#include <fluent-bit/flb_upstream.h>
#include <fluent-bit/flb_upstream_conn.h>
#include <fluent-bit/flb_upstream_ha.h>
#include <fluent-bit/flb_upstream_node.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include <upstream/fluent_bit_set.h>
#include <upstream/upstream.h>

/** @cond INSIDE */

/* A pick this long after its release belongs to no flush: those end right after they release. */
#define UPSTREAM_FLB_STALE_SECONDS 10

enum upstream_flb_stage {
    UPSTREAM_FLB_CONNECTING, /* its coroutine is inside flb_upstream_ha_node_get() */
    UPSTREAM_FLB_KEPT,       /* connected; the plugin has not asked for the connection yet */
    UPSTREAM_FLB_TAKEN,      /* the plugin has it */
    UPSTREAM_FLB_RELEASED    /* the plugin gave it back; how it went is not known in full yet */
};

/* One payload on its way: the node picked last, and the agent's connection to it. */
struct upstream_flb_pick {
    struct upstream_flb_pick *next;
    const void *owner; /* the coroutine, or outside of any the thread */
    upstream_attempt_t *attempt;
    struct flb_upstream *u;
    struct flb_connection *conn;
    enum upstream_flb_stage stage;
    int net_error; /* of the connection when it was released; -1 is none, as the agent has it */
    time_t since;  /* when it was released */
};

/* The library's side of one struct flb_upstream_ha that was read from a file. */
struct upstream_flb_set {
    struct upstream_flb_set *next;
    struct flb_upstream_ha *ha;
    upstream_t *up;
    struct upstream_flb_pick *picks;
};

struct upstream_flb_registry {
    pthread_mutex_t lock; /* over all lists and stages; never held over a call that may yield */
    struct upstream_flb_set *sets;
};

/* All sources of a plugin share one; two plugins never do. */
__attribute__((weak, visibility("hidden"))) struct upstream_flb_registry upstream_flb_registry = {
    PTHREAD_MUTEX_INITIALIZER, NULL};

static inline const void *upstream_flb_owner(void)
{
    const void *coroutine = flb_coro_get();
    return coroutine != NULL ? coroutine : (const void *)pthread_self();
}

static inline struct upstream_flb_set *upstream_flb_find_set(const struct flb_upstream_ha *ha)
{
    struct upstream_flb_set *set;
    pthread_mutex_lock(&upstream_flb_registry.lock);
    for (set = upstream_flb_registry.sets; set != NULL && set->ha != ha; set = set->next) {
    }
    pthread_mutex_unlock(&upstream_flb_registry.lock);
    return set;
}

/** @endcond */

/**
 * The library's set of the agent's `ha`, for its counters and the states of its nodes.
 *
 * Returns: the set; NULL if there is none.
 *
 * Ownership: borrowed until flb_upstream_ha_destroy().
 */
static inline upstream_t *upstream_flb_set_of(const struct flb_upstream_ha *ha)
{
    struct upstream_flb_set *set = upstream_flb_find_set(ha);
    return set != NULL ? set->up : NULL;
}

/** @cond INSIDE */

/* ---- picks: found and unlinked with the lock held, ended without it ---- */

static inline void upstream_flb_unlink(struct upstream_flb_pick **place,
                                       struct upstream_flb_pick **to)
{
    struct upstream_flb_pick *pick = *place;
    *place = pick->next;
    pick->next = *to;
    *to = pick;
}

/* The status of a payload that the plugin did not deliver. */
static inline upstream_status_t upstream_flb_failure(int net_error)
{
    if (net_error == ETIMEDOUT) {
        return UPSTREAM_ERR_TIMEOUT;
    }
    return net_error != -1 ? UPSTREAM_ERR_NETWORK : UPSTREAM_ERR_PROTOCOL;
}

static inline void upstream_flb_give_back(struct flb_connection *conn)
{
    /*
     * Releasing counts as a use, and a plugin logs in only on connections that have none: so a
     * fresh one must not be kept.
     */
    if (conn->ka_count == 0) {
        flb_upstream_conn_recycle(conn, FLB_FALSE);
    }
    flb_upstream_conn_release(conn);
}

/*
 * Ends a list of picks that nobody else knows any more. `word` is what the flush returned, or -1 if
 * no flush ended.
 */
static inline void upstream_flb_end(struct upstream_flb_pick *picks, int word)
{
    while (picks != NULL) {
        struct upstream_flb_pick *pick = picks;
        upstream_status_t outcome = UPSTREAM_OK;
        picks = pick->next;
        if (pick->stage == UPSTREAM_FLB_KEPT) {
            upstream_flb_give_back(pick->conn);
            outcome = UPSTREAM_STOP; /* no outcome: nothing was sent */
        } else if (word == FLB_RETRY || (word != FLB_OK && pick->net_error != -1)) {
            outcome = upstream_flb_failure(pick->net_error);
        }
        if (outcome != UPSTREAM_STOP) {
            upstream_attempt_report(pick->attempt, outcome);
        }
        upstream_attempt_end(pick->attempt, outcome);
        free(pick);
    }
}

/*
 * The pick to go on with if this owner comes back after a network error, else NULL. Ends all picks
 * that it is done with.
 */
static inline struct upstream_flb_pick *upstream_flb_resume(struct upstream_flb_set *set,
                                                            const void *owner)
{
    struct upstream_flb_pick *again = NULL, *over = NULL, **place;
    time_t now = time(NULL);
    pthread_mutex_lock(&upstream_flb_registry.lock);
    place = &set->picks;
    while (*place != NULL) {
        struct upstream_flb_pick *pick = *place;
        int released = pick->stage == UPSTREAM_FLB_RELEASED;
        if (pick->owner == owner && again == NULL && released && pick->net_error != -1) {
            again = pick;
            again->stage = UPSTREAM_FLB_CONNECTING;
            place = &pick->next;
        } else if ((pick->owner == owner && (released || pick->stage == UPSTREAM_FLB_KEPT)) ||
                   (released && now - pick->since > UPSTREAM_FLB_STALE_SECONDS)) {
            upstream_flb_unlink(place, &over);
        } else {
            place = &pick->next;
        }
    }
    pthread_mutex_unlock(&upstream_flb_registry.lock);
    upstream_flb_end(over, -1);
    if (again != NULL) {
        upstream_attempt_report(again->attempt, upstream_flb_failure(again->net_error));
    }
    return again;
}

static inline struct upstream_flb_pick *upstream_flb_begin(struct upstream_flb_set *set,
                                                           const void *owner)
{
    struct upstream_flb_pick *pick = calloc(1, sizeof(*pick));
    if (pick == NULL || upstream_attempt_begin(set->up, &pick->attempt) != UPSTREAM_OK) {
        free(pick);
        return NULL;
    }
    pick->owner = owner;
    pick->stage = UPSTREAM_FLB_CONNECTING;
    pthread_mutex_lock(&upstream_flb_registry.lock);
    pick->next = set->picks;
    set->picks = pick;
    pthread_mutex_unlock(&upstream_flb_registry.lock);
    return pick;
}

/* Ends a pick that came to nothing: its attempt has reported each of its nodes already. */
static inline void upstream_flb_abandon(struct upstream_flb_set *set,
                                        struct upstream_flb_pick *pick)
{
    struct upstream_flb_pick **place;
    pthread_mutex_lock(&upstream_flb_registry.lock);
    for (place = &set->picks; *place != pick; place = &(*place)->next) {
    }
    *place = pick->next;
    pthread_mutex_unlock(&upstream_flb_registry.lock);
    upstream_attempt_end(pick->attempt, UPSTREAM_STOP);
    free(pick);
}

/* ---- what replaces the agent's calls ---- */

/*
 * Whether this worker has all the connections that it may have, by the agent's own count. Then a
 * NULL is not the node's fault.
 */
static inline int upstream_flb_is_full(struct flb_upstream *u)
{
    struct flb_upstream_queue *queue;
    if (u->base.net.max_worker_connections <= 0) {
        return 0;
    }
    queue = flb_upstream_queue_get(u);
    return queue != NULL && mk_list_size(&queue->busy_queue) + mk_list_size(&queue->av_queue) +
                                    mk_list_size(&queue->destroy_queue) >=
                                u->base.net.max_worker_connections;
}

static inline struct flb_upstream_node *upstream_flb_ha_node_get(struct flb_upstream_ha *ha)
{
    struct upstream_flb_set *set = upstream_flb_find_set(ha);
    const void *owner = upstream_flb_owner();
    struct upstream_flb_pick *pick;
    size_t full_nodes = 0;
    if (set == NULL) {
        return flb_upstream_ha_node_get(ha);
    }
    pick = upstream_flb_resume(set, owner);
    if (pick == NULL && (pick = upstream_flb_begin(set, owner)) == NULL) {
        return NULL;
    }
    for (;;) {
        upstream_node_t *chosen = upstream_attempt_next(pick->attempt);
        struct flb_upstream_node *node = upstream_node_get_data(chosen);
        struct flb_connection *conn;
        time_t began = time(NULL);
        int full;
        if (node == NULL) {
            break;
        }
        full = upstream_flb_is_full(node->u);
        conn = flb_upstream_conn_get(node->u);
        if (conn != NULL) {
            pthread_mutex_lock(&upstream_flb_registry.lock);
            pick->u = node->u;
            pick->conn = conn;
            pick->net_error = -1;
            pick->stage = UPSTREAM_FLB_KEPT;
            pthread_mutex_unlock(&upstream_flb_registry.lock);
            return node;
        }
        if (full) {
            /* To ask again would count against the node: so the payload begins anew. */
            upstream_attempt_end(pick->attempt, UPSTREAM_ERR_LIMIT);
            pick->attempt = NULL;
            if (++full_nodes >= upstream_node_count(set->up) ||
                upstream_attempt_begin(set->up, &pick->attempt) != UPSTREAM_OK) {
                break;
            }
        } else if (node->u->base.net.connect_timeout <= 0 ||
                   time(NULL) - began < node->u->base.net.connect_timeout) {
            upstream_attempt_report(pick->attempt, UPSTREAM_ERR_CONNECT);
        } else {
            /* one of health.max_fails */
            upstream_attempt_report(pick->attempt, UPSTREAM_ERR_TIMEOUT);
        }
    }
    upstream_flb_abandon(set, pick);
    return NULL;
}

static inline struct flb_connection *upstream_flb_conn_get(struct flb_upstream *u)
{
    const void *owner = upstream_flb_owner();
    struct flb_connection *conn = NULL;
    struct upstream_flb_set *set;
    struct upstream_flb_pick *pick;
    pthread_mutex_lock(&upstream_flb_registry.lock);
    for (set = upstream_flb_registry.sets; set != NULL && conn == NULL; set = set->next) {
        for (pick = set->picks; pick != NULL && conn == NULL; pick = pick->next) {
            if (pick->stage == UPSTREAM_FLB_KEPT && pick->owner == owner && pick->u == u) {
                pick->stage = UPSTREAM_FLB_TAKEN;
                conn = pick->conn;
            }
        }
    }
    pthread_mutex_unlock(&upstream_flb_registry.lock);
    return conn != NULL ? conn : flb_upstream_conn_get(u);
}

static inline int upstream_flb_conn_release(struct flb_connection *conn)
{
    struct upstream_flb_pick *over = NULL, **place;
    struct upstream_flb_set *set;
    pthread_mutex_lock(&upstream_flb_registry.lock);
    for (set = upstream_flb_registry.sets; set != NULL; set = set->next) {
        for (place = &set->picks; *place != NULL; place = &(*place)->next) {
            struct upstream_flb_pick *pick = *place;
            if (pick->stage == UPSTREAM_FLB_TAKEN && pick->conn == conn) {
                pick->stage = UPSTREAM_FLB_RELEASED;
                pick->conn = NULL;
                pick->net_error = conn->net_error;
                pick->since = time(NULL);
                if (flb_coro_get() == NULL) { /* no flush, so no end of a flush to wait for */
                    upstream_flb_unlink(place, &over);
                }
                break;
            }
        }
    }
    pthread_mutex_unlock(&upstream_flb_registry.lock);
    upstream_flb_end(over, -1);
    return flb_upstream_conn_release(conn);
}

/* The end of a flush, which FLB_OUTPUT_RETURN() calls last. */
static inline void upstream_flb_output_return_do(int word)
{
    const void *owner = upstream_flb_owner();
    struct upstream_flb_pick *over = NULL, **place;
    struct upstream_flb_set *set;
    pthread_mutex_lock(&upstream_flb_registry.lock);
    for (set = upstream_flb_registry.sets; set != NULL; set = set->next) {
        for (place = &set->picks; *place != NULL;) {
            if ((*place)->owner == owner) {
                upstream_flb_unlink(place, &over);
            } else {
                place = &(*place)->next;
            }
        }
    }
    pthread_mutex_unlock(&upstream_flb_registry.lock);
    upstream_flb_end(over, word);
    flb_output_return_do(word);
}

/* ---- sets ---- */

static inline struct flb_upstream_ha *upstream_flb_ha_from_file(const char *file,
                                                                struct flb_config *config)
{
    struct flb_upstream_ha *ha = flb_upstream_ha_from_file(file, config);
    struct upstream_flb_set *set = ha != NULL ? calloc(1, sizeof(*set)) : NULL;
    if (set == NULL) {
        return ha;
    }
    set->ha = ha;
    set->up = upstream_flb_create(ha, file, config);
    if (set->up == NULL) {
        free(set);
        return ha;
    }
    upstream_flb_bound_silence_of(set->up, NULL);
    pthread_mutex_lock(&upstream_flb_registry.lock);
    set->next = upstream_flb_registry.sets;
    upstream_flb_registry.sets = set;
    pthread_mutex_unlock(&upstream_flb_registry.lock);
    return ha;
}

/* The agent passes the settings of the output on by these two, and replaces what was set before. */
static inline int upstream_flb_output_upstream_set(struct flb_upstream *u,
                                                   struct flb_output_instance *ins)
{
    int ret = flb_output_upstream_set(u, ins);
    struct upstream_flb_set *set;
    pthread_mutex_lock(&upstream_flb_registry.lock);
    for (set = u != NULL ? upstream_flb_registry.sets : NULL; set != NULL; set = set->next) {
        upstream_flb_bound_silence_of(set->up, u);
    }
    pthread_mutex_unlock(&upstream_flb_registry.lock);
    return ret;
}

static inline int upstream_flb_output_upstream_ha_set(void *ha, struct flb_output_instance *ins)
{
    int ret = flb_output_upstream_ha_set(ha, ins);
    struct upstream_flb_set *set = upstream_flb_find_set(ha);
    if (set != NULL) {
        upstream_flb_bound_silence_of(set->up, NULL);
    }
    return ret;
}

static inline void upstream_flb_ha_destroy(struct flb_upstream_ha *ha)
{
    struct upstream_flb_set **place, *set;
    pthread_mutex_lock(&upstream_flb_registry.lock);
    for (place = &upstream_flb_registry.sets; *place != NULL && (*place)->ha != ha;
         place = &(*place)->next) {
    }
    set = *place;
    if (set != NULL) {
        *place = set->next;
    }
    pthread_mutex_unlock(&upstream_flb_registry.lock);
    while (set != NULL && set->picks != NULL) {
        /* A flush that the agent gave up. The agent closes its connection, with the node's `u`. */
        struct upstream_flb_pick *pick = set->picks;
        set->picks = pick->next;
        upstream_attempt_end(pick->attempt, UPSTREAM_STOP);
        free(pick);
    }
    if (set != NULL) {
        upstream_destroy(set->up);
        free(set);
    }
    flb_upstream_ha_destroy(ha);
}

#define flb_upstream_ha_from_file upstream_flb_ha_from_file
#define flb_output_upstream_set upstream_flb_output_upstream_set
#define flb_output_upstream_ha_set upstream_flb_output_upstream_ha_set
#define flb_upstream_ha_destroy upstream_flb_ha_destroy
#define flb_upstream_ha_node_get upstream_flb_ha_node_get
#define flb_upstream_conn_get upstream_flb_conn_get
#define flb_upstream_conn_release upstream_flb_conn_release
#define flb_output_return_do upstream_flb_output_return_do

/** @endcond */

#endif
