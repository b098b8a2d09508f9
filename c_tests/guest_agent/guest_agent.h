/*
 * A small agent for the test of upstream/fluent_bit.h: the names and shapes that such a plugin and
 * that header use, over blocking loopback sockets and coroutines that yield. Written for the test;
 * no part of any real agent. What the test says to it is in guest.h.
 */
#ifndef GUEST_AGENT_H
#define GUEST_AGENT_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define FLB_FALSE 0
#define FLB_TRUE 1
#define FLB_ERROR 0
#define FLB_OK 1
#define FLB_RETRY 2
#define FLB_LOG_ERROR 1
#define FLB_LOG_WARN 2

/* ---- lists ---- */

struct mk_list {
    struct mk_list *prev, *next;
};

#define mk_list_foreach(at, list) for ((at) = (list)->next; (at) != (list); (at) = (at)->next)
#define mk_list_entry(at, type, member) ((type *)(void *)((char *)(at) - offsetof(type, member)))

void mk_list_init(struct mk_list *list);
void mk_list_add(struct mk_list *entry, struct mk_list *list);
void mk_list_del(struct mk_list *entry);
int mk_list_size(struct mk_list *list);

/* ---- log ---- */

int flb_log_check(int level);
__attribute__((format(printf, 4, 5))) void flb_log_print(int level, const char *file, int line,
                                                         const char *format, ...);
#define flb_error(...) flb_log_print(FLB_LOG_ERROR, NULL, 0, __VA_ARGS__)
#define flb_warn(...) flb_log_print(FLB_LOG_WARN, NULL, 0, __VA_ARGS__)

/* ---- coroutines ---- */

struct flb_coro;
struct flb_coro *flb_coro_get(void);
void flb_coro_yield(struct flb_coro *coro, int ended);

/* ---- upstreams ---- */

enum { GUEST_WORKERS = 4 };

struct flb_config {
    char *conf_path;
};

struct flb_net_setup {
    int connect_timeout; /* seconds */
    int io_timeout;      /* seconds; 0 is for ever */
    int max_worker_connections;
};

struct flb_stream {
    struct flb_net_setup net;
};

struct flb_upstream_queue {
    struct mk_list av_queue, busy_queue, destroy_queue;
};

struct flb_upstream {
    struct flb_stream base;
    int port;
    struct flb_upstream_queue queues[GUEST_WORKERS]; /* each touched by its worker alone */
};

struct flb_connection {
    int fd;
    int net_error; /* -1 is none */
    int recycle;
    int ka_count;         /* how often it was given back to be kept */
    time_t ts_io_timeout; /* when the silence on it has lasted too long; 0 is never */
    struct flb_upstream *upstream;
    pthread_t thread;
    struct flb_coro *coroutine; /* whose it is */
    struct mk_list _head;
};

struct flb_upstream_node {
    char *name, *host, *port;
    char *properties; /* lines of "key value", what the agent has no use for */
    struct flb_upstream *u;
    void *data;
    struct mk_list _head;
};

struct flb_upstream_ha {
    char *name;
    void *last_used_node;
    struct mk_list nodes;
};

struct flb_upstream *flb_upstream_create(struct flb_config *config, const char *host, int port,
                                         int flags, void *tls);
int flb_upstream_destroy(struct flb_upstream *u);
struct flb_upstream_queue *flb_upstream_queue_get(struct flb_upstream *u);
struct flb_connection *flb_upstream_conn_get(struct flb_upstream *u);
int flb_upstream_conn_recycle(struct flb_connection *conn, int value);
int flb_upstream_conn_release(struct flb_connection *conn);
int flb_io_net_write(struct flb_connection *conn, const void *data, size_t len, size_t *out_len);
ssize_t flb_io_net_read(struct flb_connection *conn, void *buf, size_t len);

struct flb_upstream_ha *flb_upstream_ha_from_file(const char *file, struct flb_config *config);
struct flb_upstream_node *flb_upstream_ha_node_get(struct flb_upstream_ha *ha);
void flb_upstream_ha_destroy(struct flb_upstream_ha *ha);
const char *flb_upstream_node_get_property(const char *key, struct flb_upstream_node *node);

static inline void flb_upstream_node_set_data(void *data, struct flb_upstream_node *node)
{
    node->data = data;
}

static inline void *flb_upstream_node_get_data(struct flb_upstream_node *node)
{
    return node->data;
}

/* ---- output plugins ---- */

struct flb_event_chunk {
    const void *data;
    size_t size;
};

/* How plugins hand the net.* keys of the output on. */
enum guest_net_setup_for { GUEST_FOR_THE_SET, GUEST_FOR_EACH_NODE, GUEST_FOR_NONE };

struct flb_input_instance;
struct flb_output_flush;
struct flb_output_instance {
    void *context;
    const char *upstream_file; /* NULL: one server, on `port` */
    int port;
    struct flb_net_setup net_setup; /* the net.* keys of the output */
    enum guest_net_setup_for net_setup_for;
};

/* Hands the net.* keys of the output to an upstream, or to all nodes of a set. */
int flb_output_upstream_set(struct flb_upstream *u, struct flb_output_instance *ins);
int flb_output_upstream_ha_set(void *ha, struct flb_output_instance *ins);

struct flb_output_plugin {
    const char *name;
    int (*cb_init)(struct flb_output_instance *ins, struct flb_config *config, void *data);
    void (*cb_flush)(struct flb_event_chunk *chunk, struct flb_output_flush *flush,
                     struct flb_input_instance *input, void *context, struct flb_config *config);
    int (*cb_exit)(void *context, struct flb_config *config);
    int (*cb_timer)(void *context); /* work of the plugin's own that is no flush */
};

void guest_flush_over(struct flb_coro *coro, int word);

static inline void flb_output_return_do(int word)
{
    struct flb_coro *coro = flb_coro_get();
    guest_flush_over(coro, word);
    flb_coro_yield(coro, FLB_TRUE);
}

#define FLB_OUTPUT_RETURN(word) \
    flb_output_return_do(word); \
    return

#endif
