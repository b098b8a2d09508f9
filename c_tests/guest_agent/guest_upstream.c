/* The agent's upstreams and their file. Never used outside the tests. */
#define _GNU_SOURCE
#include "guest_upstream.h"

#include "guest_base.h"
#include "guest_coro.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static atomic_int busy, kept, failed;
static int connect_limit, hanging_port, io_timeout;
static enum guest_net_setup_for set_up_for;

int guest_connections_busy(void)
{
    return atomic_load(&busy);
}

int guest_connections_kept(void)
{
    return atomic_load(&kept);
}

int guest_connects_failed(void)
{
    return atomic_load(&failed);
}

void guest_set_connect_limit(int connections)
{
    connect_limit = connections;
}

void guest_set_io_timeout(int seconds, enum guest_net_setup_for whom)
{
    io_timeout = seconds;
    set_up_for = whom;
}

void guest_set_up(struct flb_output_instance *instance)
{
    instance->net_setup_for = set_up_for;
    instance->net_setup = (struct flb_net_setup){
        .connect_timeout = 1, .io_timeout = io_timeout, .max_worker_connections = connect_limit};
}

int flb_output_upstream_set(struct flb_upstream *u, struct flb_output_instance *ins)
{
    u->base.net = ins->net_setup;
    return 0;
}

int flb_output_upstream_ha_set(void *ha, struct flb_output_instance *ins)
{
    struct mk_list *at;
    mk_list_foreach (at, &((struct flb_upstream_ha *)ha)->nodes) {
        flb_output_upstream_set(mk_list_entry(at, struct flb_upstream_node, _head)->u, ins);
    }
    return 0;
}

void guest_set_connect_hangs(int port)
{
    hanging_port = port;
}

void guest_forget_connects(void)
{
    atomic_store(&failed, 0);
}

/* ---- connections ---- */

struct flb_upstream *flb_upstream_create(struct flb_config *config, const char *host, int port,
                                         int flags, void *tls)
{
    struct flb_upstream *u = calloc(1, sizeof(*u));
    guest_need(u != NULL && strcmp(host, "127.0.0.1") == 0, "upstream");
    (void)config;
    (void)flags;
    (void)tls;
    u->port = port;
    u->base.net.connect_timeout = 1;
    u->base.net.max_worker_connections = connect_limit;
    for (int i = 0; i < GUEST_WORKERS; i++) {
        mk_list_init(&u->queues[i].av_queue);
        mk_list_init(&u->queues[i].busy_queue);
        mk_list_init(&u->queues[i].destroy_queue);
    }
    return u;
}

struct flb_upstream_queue *flb_upstream_queue_get(struct flb_upstream *u)
{
    return &u->queues[guest_worker];
}

static void reset_io_timeout(struct flb_connection *conn)
{
    int seconds = conn->upstream->base.net.io_timeout;
    conn->ts_io_timeout = seconds > 0 ? time(NULL) + seconds : 0;
}

static void close_connection(struct flb_connection *conn)
{
    mk_list_del(&conn->_head);
    close(conn->fd);
    free(conn);
}

static void close_all(struct mk_list *list, atomic_int *gauge)
{
    while (list->next != list) {
        atomic_fetch_sub(gauge, 1);
        close_connection(mk_list_entry(list->next, struct flb_connection, _head));
    }
}

int flb_upstream_destroy(struct flb_upstream *u)
{
    for (int i = 0; i < GUEST_WORKERS; i++) {
        close_all(&u->queues[i].av_queue, &kept);
        close_all(&u->queues[i].busy_queue, &busy);
    }
    free(u);
    return 0;
}

static void yield(void)
{
    if (flb_coro_get() != NULL) {
        flb_coro_yield(flb_coro_get(), FLB_FALSE);
    }
}

/* A socket that is connected, or -1. Yields on the way, as each of the agent's connects does. */
static int connect_to(const struct flb_upstream *u)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)u->port)};
    int fd;
    yield();
    if (u->port == hanging_port) {
        guest_time_passes(u->base.net.connect_timeout);
    }
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    guest_need(fd >= 0, "socket");
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (u->port == hanging_port ||
        connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

struct flb_connection *flb_upstream_conn_get(struct flb_upstream *u)
{
    struct flb_upstream_queue *queue = flb_upstream_queue_get(u);
    struct flb_connection *conn;
    char byte;
    int fd;
    while (queue->av_queue.next != &queue->av_queue) {
        conn = mk_list_entry(queue->av_queue.next, struct flb_connection, _head);
        atomic_fetch_sub(&kept, 1);
        if (recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
            (errno != EAGAIN && errno != EWOULDBLOCK)) {
            close_connection(conn); /* its end came while it lay idle */
            continue;
        }
        mk_list_del(&conn->_head);
        mk_list_add(&conn->_head, &queue->busy_queue);
        conn->net_error = -1;
        conn->coroutine = flb_coro_get();
        reset_io_timeout(conn);
        atomic_fetch_add(&busy, 1);
        return conn;
    }
    if (u->base.net.max_worker_connections > 0 &&
        mk_list_size(&queue->busy_queue) >= u->base.net.max_worker_connections) {
        return NULL;
    }
    fd = connect_to(u);
    if (fd < 0) {
        atomic_fetch_add(&failed, 1);
        return NULL;
    }
    conn = calloc(1, sizeof(*conn));
    guest_need(conn != NULL, "calloc");
    conn->fd = fd;
    conn->net_error = -1;
    conn->recycle = FLB_TRUE;
    conn->upstream = u;
    conn->thread = pthread_self();
    conn->coroutine = flb_coro_get();
    reset_io_timeout(conn);
    mk_list_add(&conn->_head, &queue->busy_queue);
    atomic_fetch_add(&busy, 1);
    return conn;
}

int flb_upstream_conn_recycle(struct flb_connection *conn, int value)
{
    conn->recycle = value;
    return 0;
}

int flb_upstream_conn_release(struct flb_connection *conn)
{
    struct flb_upstream_queue *queue = flb_upstream_queue_get(conn->upstream);
    guest_need(pthread_equal(conn->thread, pthread_self()),
               "a connection was released by another thread than its own");
    atomic_fetch_sub(&busy, 1);
    if (!conn->recycle || conn->net_error != -1) {
        close_connection(conn);
        return 0;
    }
    conn->ka_count++;
    mk_list_del(&conn->_head);
    mk_list_add(&conn->_head, &queue->av_queue);
    atomic_fetch_add(&kept, 1);
    return 0;
}

int flb_io_net_write(struct flb_connection *conn, const void *data, size_t len, size_t *out_len)
{
    ssize_t sent;
    guest_need(conn->coroutine == flb_coro_get(),
               "a connection was used by another coroutine than its own");
    yield();
    sent = send(conn->fd, data, len, MSG_NOSIGNAL);
    *out_len = sent > 0 ? (size_t)sent : 0;
    if (sent != (ssize_t)len) {
        conn->net_error = errno;
        return -1;
    }
    reset_io_timeout(conn);
    return 0;
}

ssize_t flb_io_net_read(struct flb_connection *conn, void *buf, size_t len)
{
    struct pollfd ready = {conn->fd, POLLIN, 0};
    ssize_t got;
    while (poll(&ready, 1, 1) == 0) {
        if (conn->ts_io_timeout > 0 && time(NULL) >= conn->ts_io_timeout) {
            conn->net_error = ETIMEDOUT; /* and nothing more goes over it */
            shutdown(conn->fd, SHUT_RDWR);
            return -1;
        }
        yield();
    }
    got = recv(conn->fd, buf, len, 0);
    if (got < 0) {
        conn->net_error = errno;
    }
    if (got > 0) {
        reset_io_timeout(conn);
    }
    return got > 0 ? got : -1; /* an end of the stream is no net_error to the agent */
}

/* ---- the upstream file ---- */

static struct flb_upstream_node *add_node(struct flb_upstream_ha *ha)
{
    struct flb_upstream_node *node = calloc(1, sizeof(*node));
    guest_need(node != NULL, "calloc");
    node->properties = strdup("");
    mk_list_add(&node->_head, &ha->nodes);
    return node;
}

static void set_key(struct flb_upstream_node *node, const char *key, const char *value)
{
    char *longer = NULL;
    if (strcasecmp(key, "name") == 0) {
        node->name = strdup(value);
    } else if (strcasecmp(key, "host") == 0) {
        node->host = strdup(value);
    } else if (strcasecmp(key, "port") == 0) {
        node->port = strdup(value);
    } else {
        guest_need(asprintf(&longer, "%s%s %s\n", node->properties, key, value) > 0, "asprintf");
        free(node->properties);
        node->properties = longer;
    }
}

struct flb_upstream_ha *flb_upstream_ha_from_file(const char *file, struct flb_config *config)
{
    struct flb_upstream_ha *ha = calloc(1, sizeof(*ha));
    struct flb_upstream_node *node = NULL;
    struct mk_list *at;
    char line[256], key[64], value[160], *path = NULL;
    FILE *in = fopen(file, "r");
    guest_need(ha != NULL, "calloc");
    mk_list_init(&ha->nodes);
    if (in == NULL && config->conf_path != NULL) {
        guest_need(asprintf(&path, "%s%s", config->conf_path, file) > 0, "asprintf");
        in = fopen(path, "r");
        free(path);
    }
    guest_need(in != NULL, file);
    while (fgets(line, sizeof(line), in) != NULL) {
        if (strncmp(line, "[NODE]", 6) == 0) {
            node = add_node(ha);
        } else if (sscanf(line, "%63s %159[^\n]", key, value) == 2) {
            if (node != NULL) {
                set_key(node, key, value);
            } else if (strcasecmp(key, "name") == 0) {
                ha->name = strdup(value);
            }
        }
    }
    fclose(in);
    mk_list_foreach (at, &ha->nodes) {
        node = mk_list_entry(at, struct flb_upstream_node, _head);
        node->u = flb_upstream_create(config, node->host, atoi(node->port), 0, NULL);
    }
    return ha;
}

struct flb_upstream_node *flb_upstream_ha_node_get(struct flb_upstream_ha *ha)
{
    struct flb_upstream_node *last = ha->last_used_node;
    struct mk_list *next = last != NULL ? last->_head.next : ha->nodes.next;
    next = next == &ha->nodes ? next->next : next;
    ha->last_used_node = mk_list_entry(next, struct flb_upstream_node, _head);
    return ha->last_used_node;
}

const char *flb_upstream_node_get_property(const char *key, struct flb_upstream_node *node)
{
    static __thread char value[160];
    const char *line = node->properties;
    size_t len = strlen(key);
    while (*line != '\0') {
        if (strncasecmp(line, key, len) == 0 && line[len] == ' ') {
            snprintf(value, sizeof(value), "%.*s", (int)strcspn(line + len + 1, "\n"),
                     line + len + 1);
            return value;
        }
        line += strcspn(line, "\n") + 1;
    }
    return NULL;
}

void flb_upstream_ha_destroy(struct flb_upstream_ha *ha)
{
    while (ha->nodes.next != &ha->nodes) {
        struct flb_upstream_node *node =
            mk_list_entry(ha->nodes.next, struct flb_upstream_node, _head);
        mk_list_del(&node->_head);
        flb_upstream_destroy(node->u);
        free(node->name);
        free(node->host);
        free(node->port);
        free(node->properties);
        free(node);
    }
    free(ha->name);
    free(ha);
}
