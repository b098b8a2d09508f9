/* See scripted.h. */
#define _GNU_SOURCE
#include "scripted.h"

#include "acceptor.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>

enum { REQUEST = 5 };

struct scripted {
    struct acceptor *acceptor;
    _Atomic int way;
    atomic_size_t requests;
};

/* All of a request: 1. */
static int take(const struct session *session)
{
    char request[REQUEST];
    size_t done = 0;
    while (done < sizeof(request)) {
        ssize_t got;
        if (!session_wait(session, session->socket, POLLIN, -1)) {
            return 0;
        }
        got = recv(session->socket, request + done, sizeof(request) - done, MSG_DONTWAIT);
        if (got <= 0) {
            return 0;
        }
        done += (size_t)got;
    }
    return 1;
}

static enum ending serve(const struct session *session, void *ctx)
{
    struct scripted *server = ctx;
    while (take(session)) {
        size_t number = atomic_fetch_add(&server->requests, 1);
        const char *answer = "";
        switch ((enum scripted_way)atomic_load(&server->way)) {
        case SCRIPTED_GOOD:
            answer = "good\n";
            break;
        case SCRIPTED_BAD:
            answer = "bad!\n";
            break;
        case SCRIPTED_BUSY:
            answer = "busy\n";
            break;
        case SCRIPTED_EACH_SECOND_BUSY:
            answer = number % 2 == 0 ? "good\n" : "busy\n";
            break;
        case SCRIPTED_STOP:
            answer = "stop\n";
            break;
        case SCRIPTED_END:
            return ENDING_CLOSE;
        case SCRIPTED_RESET:
            return ENDING_RESET;
        case SCRIPTED_SILENT:
            break;
        }
        if (!session_send(session, session->socket, answer, strlen(answer))) {
            break;
        }
    }
    return ENDING_CLOSE;
}

struct scripted *scripted_start(enum scripted_way way)
{
    struct scripted *server = calloc(1, sizeof(*server));
    assert_non_null(server);
    atomic_store(&server->way, way);
    server->acceptor = acceptor_start("127.0.0.1", 0, serve, server);
    return server;
}

void scripted_start_all(struct scripted **servers, uint16_t *ports, size_t count,
                        enum scripted_way way)
{
    size_t i;
    for (i = 0; i < count; i++) {
        servers[i] = scripted_start(way);
        ports[i] = scripted_port(servers[i]);
    }
}

uint16_t scripted_port(const struct scripted *server)
{
    return acceptor_port(server->acceptor);
}

void scripted_behave(struct scripted *server, enum scripted_way way)
{
    atomic_store(&server->way, way);
}

void scripted_refuse(struct scripted *server)
{
    acceptor_close(server->acceptor);
}

void scripted_accept(struct scripted *server)
{
    acceptor_open(server->acceptor);
}

size_t scripted_requests(struct scripted *server)
{
    return atomic_load(&server->requests);
}

size_t scripted_connections(struct scripted *server)
{
    return acceptor_accepted(server->acceptor);
}

void scripted_stop(struct scripted *server)
{
    acceptor_stop(server->acceptor);
    free(server);
}

void scripted_stop_all(struct scripted **servers, size_t count)
{
    size_t i;
    for (i = 0; i < count; i++) {
        scripted_stop(servers[i]);
    }
}

upstream_status_t scripted_exchange(upstream_conn_t *conn, void *ctx)
{
    struct scripted_payload *payload = ctx;
    char answer[REQUEST];
    upstream_status_t status;
    if (payload != NULL) {
        assert_true(payload->calls < SCRIPTED_MOST);
        payload->nodes[payload->calls++] = upstream_conn_node(conn);
    }
    status = upstream_conn_write(conn, "send\n", REQUEST);
    if (status == UPSTREAM_OK) {
        status = upstream_conn_read_exact(conn, answer, sizeof(answer));
    }
    if (status != UPSTREAM_OK || memcmp(answer, "good\n", REQUEST) == 0) {
        return status;
    }
    if (memcmp(answer, "busy\n", REQUEST) == 0) {
        return upstream_conn_busy(conn, payload != NULL ? payload->pause_ms : 0, "HTTP 429");
    }
    if (memcmp(answer, "stop\n", REQUEST) == 0) {
        return upstream_conn_report(conn, UPSTREAM_STOP, "HTTP 400");
    }
    return upstream_conn_report(conn, UPSTREAM_ERR_PROTOCOL, "HTTP 502");
}

upstream_status_t scripted_deliver(upstream_t *up, struct scripted_payload *payload,
                                   uint32_t timeout_ms)
{
    struct scripted_payload nobodys;
    if (payload == NULL) {
        payload = &nobodys;
        payload->pause_ms = 0;
    }
    payload->calls = 0;
    return upstream_deliver(up, scripted_exchange, payload, timeout_ms, NULL);
}
