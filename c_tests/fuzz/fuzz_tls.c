/* A hostile TLS server, and the library as its client.
 *
 * An input: a byte for the server (tls_server.h), one for the client, one with the number of the
 * client's operations, those with two bytes each, and the server's operations with three bytes each
 * (tls_server.c). Whatever both do: each call ends, with a status that the header names for it and
 * words if it failed; nobody reads what the other one did not write; no descriptor stays open. */
#define _GNU_SOURCE
#include "contract.h"
#include "tls_server.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <netinet/in.h>

enum {
    CLIENT_VERIFIES = 1,
    CLIENT_OFFERS_ALPN = 2,
    CLIENT_KEEPS_NOTHING = 4,
    CLIENT_CHECKS = 8,
    OPERATIONS = 32,
    /* A call that should end within half a second. The machine may be busy, or valgrind's. */
    CALL_MS = 30000,
    MEMORY_MB = 1024,
};

/* The statuses of a call, as bits. */
#define BIT(status) (UINT64_C(1) << ((status) + 40))
#define BROKEN                                                                          \
    (BIT(UPSTREAM_ERR_TIMEOUT) | BIT(UPSTREAM_ERR_CLOSED) | BIT(UPSTREAM_ERR_NETWORK) | \
     BIT(UPSTREAM_ERR_TLS) | BIT(UPSTREAM_ERR_CERT) | BIT(UPSTREAM_ERR_CANCELLED))
#define CONNECTS (BIT(UPSTREAM_OK) | BROKEN | BIT(UPSTREAM_ERR_CONNECT) | BIT(UPSTREAM_ERR_NO_NODE))
#define READS (BIT(UPSTREAM_OK) | BIT(UPSTREAM_EOF) | BROKEN)
#define WRITES (BIT(UPSTREAM_OK) | BROKEN)

/* How far a connection has come, kept with it as its data. */
struct stream {
    uint16_t port;
    size_t received, written;
};

static char ca_path[] = "/tmp/upstream-fuzz-ca.XXXXXX";
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static upstream_t *set; /* NULL once it may not be cancelled any more */
static upstream_conn_t *conn;
static int is_ready; /* conn is connected; before that, every call may also fail as a connect */
static int is_lost;  /* nobody knows what was read */

static long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void cancel_set(void)
{
    pthread_mutex_lock(&lock);
    upstream_cancel(set);
    pthread_mutex_unlock(&lock);
}

static void check(const char *place, upstream_status_t status, uint64_t allowed, long began,
                  const upstream_error_t *err)
{
    contract_error(status, err, place);
    if (status < -40 || status > 20 || (BIT(status) & allowed) == 0) {
        contract_breach("%s: %s: %s", place, upstream_status_name(status),
                        err == NULL ? "" : upstream_error_message(err));
    }
    if (now_ms() - began > CALL_MS) {
        contract_breach("%s: took %ld ms", place, now_ms() - began);
    }
}

/* The same for a call on a connection. */
static void check_call(upstream_conn_t *c, const char *place, upstream_status_t status,
                       uint64_t allowed, long began)
{
    if (c == conn && !is_ready) {
        allowed |= CONNECTS | BIT(UPSTREAM_WANT_READ);
    }
    check(place, status, allowed, began, upstream_conn_last_error(c));
}

static struct stream *stream_of(upstream_conn_t *c)
{
    struct stream *stream = upstream_conn_get_data(c);
    struct sockaddr_in own;
    socklen_t length = sizeof(own);
    if (stream != NULL) {
        return stream;
    }
    stream = calloc(1, sizeof(*stream));
    if (stream == NULL || getsockname(upstream_conn_fd(c), (struct sockaddr *)&own, &length) != 0 ||
        upstream_conn_set_data(c, stream, free) != UPSTREAM_OK) {
        free(stream); /* not connected yet */
        return NULL;
    }
    stream->port = ntohs(own.sin_port);
    return stream;
}

static void check_received(upstream_conn_t *c, const uint8_t *data, size_t size)
{
    struct stream *stream = stream_of(c);
    size_t i;
    if (size == 0) {
        return;
    }
    if (stream == NULL) {
        contract_breach("data came before the connection was ready");
    }
    for (i = 0; i < size; i++) {
        if (data[i] != tls_server_byte(stream->port, 0, stream->received++)) {
            contract_breach("byte %zu is not what the server sent", stream->received - 1);
        }
    }
    if (stream->received > tls_server_sent(stream->port)) {
        contract_breach("%zu bytes received of %zu sent", stream->received,
                        tls_server_sent(stream->port));
    }
}

static void connect_now(void)
{
    upstream_error_t *err = NULL;
    long began = now_ms();
    upstream_status_t status = upstream_connect(set, &conn, &err);
    check("connect", status, CONNECTS, began, err);
    upstream_error_free(err);
    is_ready = status == UPSTREAM_OK;
}

static void wait_for_events(int ms)
{
    struct pollfd ready = {.fd = upstream_conn_fd(conn)};
    uint32_t events = upstream_conn_poll_events(conn);
    int64_t limit = upstream_conn_timeout_ms(conn);
    ready.events = (short)((events & UPSTREAM_POLL_IN ? POLLIN : 0) |
                           (events & UPSTREAM_POLL_OUT ? POLLOUT : 0));
    poll(&ready, 1, limit >= 0 && limit < ms ? (int)limit : ms);
}

static void connect_in_steps(int most)
{
    upstream_error_t *err = NULL;
    long began = now_ms();
    upstream_status_t status = upstream_connect_start(set, &conn, &err);
    check("connect_start", status, CONNECTS | BIT(UPSTREAM_WANT_READ), began, err);
    upstream_error_free(err);
    while (status == UPSTREAM_WANT_READ && most-- > 0) {
        wait_for_events(100);
        began = now_ms();
        status = upstream_conn_connect_continue(conn);
        check_call(conn, "connect_continue", status, CONNECTS, began);
    }
    is_ready = status == UPSTREAM_OK;
}

/* A read by any of the calls, of up to `size` bytes. */
static upstream_status_t read_by(upstream_conn_t *c, int how, size_t size)
{
    static uint8_t data[1 << 16];
    size_t got = 77;
    long began = now_ms();
    upstream_status_t status;
    switch (how) {
    case 0:
        status = upstream_conn_read(c, data, size, &got);
        check_call(c, "read", status, READS, began);
        break;
    case 1:
        status = upstream_conn_read_exact(c, data, size);
        check_call(c, "read_exact", status, WRITES, began);
        got = status == UPSTREAM_OK ? size : 0;
        is_lost = is_lost || (status != UPSTREAM_OK && c == conn);
        break;
    case 2:
        status = upstream_conn_read_until(c, data, size, "\n", 1, &got);
        check_call(c, "read_until", status, WRITES | BIT(UPSTREAM_ERR_PROTOCOL), began);
        break;
    default:
        status = upstream_conn_try_read(c, data, size, &got);
        check_call(c, "try_read", status, READS | BIT(UPSTREAM_WANT_READ), began);
    }
    if ((status != UPSTREAM_OK && got != 0) || got > size || (status == UPSTREAM_OK && got == 0)) {
        contract_breach("a read gave %s and %zu bytes", upstream_status_name(status), got);
    }
    check_received(c, data, got);
    return status;
}

static upstream_status_t write_by(upstream_conn_t *c, int how, size_t size)
{
    static uint8_t data[1 << 17];
    struct stream *stream = stream_of(c);
    size_t i, written = 0;
    long began = now_ms();
    upstream_status_t status;
    for (i = 0; i < size && stream != NULL; i++) {
        data[i] = tls_server_byte(stream->port, 1, stream->written + i);
    }
    size = stream == NULL ? 0 : size;
    if (how == 0) {
        status = upstream_conn_write(c, data, size);
        check_call(c, "write", status, WRITES, began);
        written = size;
    } else if (how == 1) {
        struct iovec parts[] = {{data, size / 3}, {NULL, 0}, {data + size / 3, size - size / 3}};
        status = upstream_conn_writev(c, parts, 3);
        check_call(c, "writev", status, WRITES, began);
        written = size;
    } else {
        status = upstream_conn_try_write(c, data, size, &written);
        check_call(c, "try_write", status, WRITES | BIT(UPSTREAM_WANT_WRITE), began);
        if (written > size) {
            contract_breach("try_write took %zu of %zu bytes", written, size);
        }
    }
    if (stream != NULL && status == UPSTREAM_OK) {
        stream->written += written;
    }
    return status;
}

static upstream_status_t deliver_one(upstream_conn_t *c, void *size)
{
    upstream_status_t status = write_by(c, 0, *(size_t *)size);
    return status == UPSTREAM_OK ? read_by(c, 2, 256) : status;
}

static void deliver(size_t size)
{
    upstream_error_t *err = NULL;
    long began = now_ms();
    upstream_status_t status = upstream_deliver(set, deliver_one, &size, 300, &err);
    check("deliver", status, CONNECTS | BIT(UPSTREAM_ERR_PROTOCOL), began, err);
    upstream_error_free(err);
}

static void ask_everything(void)
{
    upstream_stats_t stats = UPSTREAM_STATS_INIT;
    char peer[64];
    const char *version = upstream_conn_tls_version(conn);
    if (is_ready && (version == NULL || strncmp(version, "TLSv1.", 6) != 0 ||
                     upstream_conn_peer(conn, peer, sizeof(peer)) != UPSTREAM_OK)) {
        contract_breach("a connection without TLS, or without a peer");
    }
    (void)upstream_conn_alpn(conn);
    (void)upstream_conn_reused(conn);
    (void)upstream_conn_time_left_ms(conn);
    (void)upstream_node_state(upstream_conn_node(conn));
    if (upstream_stats(set, &stats) != (set == NULL ? UPSTREAM_ERR_INVALID_ARG : UPSTREAM_OK)) {
        contract_breach("no counters");
    }
}

static void destroy_set(void)
{
    upstream_t *old;
    long began = now_ms();
    pthread_mutex_lock(&lock);
    old = set;
    set = NULL;
    pthread_mutex_unlock(&lock);
    upstream_destroy(old);
    check("destroy", UPSTREAM_OK, BIT(UPSTREAM_OK), began, NULL);
}

static void end_conn(void (*end)(upstream_conn_t *))
{
    end(conn);
    conn = NULL;
    is_ready = 0;
    is_lost = 0;
}

static void play_on_set(int code, uint8_t a)
{
    if (code == 0) {
        connect_now();
    } else if (code == 1) {
        connect_in_steps(a % 32);
    } else if (code == 2) {
        deliver(a);
    }
}

static void play_on_conn(int code, uint8_t a)
{
    switch (code) {
    case 3:
    case 4:
    case 5:
    case 6:
        if (!is_lost) {
            (void)read_by(conn, code - 3, a * (code % 2 ? 16u : 255u) + 1u);
        }
        break;
    case 7:
    case 8:
        (void)write_by(conn, code - 7, a * 16u);
        break;
    case 9:
        (void)write_by(conn, 2, a * 500u + 1u);
        break;
    case 10: {
        long began = now_ms();
        check_call(conn, "flush", upstream_conn_flush(conn), WRITES | BIT(UPSTREAM_WANT_WRITE),
                   began);
        break;
    }
    case 11:
        end_conn(upstream_conn_release);
        break;
    case 12:
        end_conn(upstream_conn_discard);
        break;
    case 13:
        (void)upstream_conn_set_timeout_ms(conn, a % 128u);
        break;
    case 14:
        wait_for_events(a % 32);
        break;
    default:
        ask_everything();
    }
}

static void play(uint8_t code, uint8_t a)
{
    if (code == 255 && a > 128) {
        cancel_set();
    } else if (code == 254 && a > 128) {
        destroy_set();
    } else if (code % 16 < 3 && set != NULL && (conn == NULL || code % 16 == 2)) {
        play_on_set(code % 16, a);
    } else if (conn != NULL) {
        play_on_conn(code % 16, a);
    }
}

/* What each input ends with: a connection that asks, and reads until there is no more. */
static void read_all(void)
{
    int reads = 0;
    if (conn == NULL && set != NULL) {
        connect_now();
        if (conn != NULL) {
            write_by(conn, 0, 10);
        }
    }
    while (conn != NULL && !is_lost && is_ready && reads++ < 200 &&
           read_by(conn, 0, 1 << 14) == UPSTREAM_OK) {
    }
    if (conn != NULL) {
        end_conn(upstream_conn_release);
    }
}

static size_t open_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    size_t count = 0;
    while (folder != NULL && readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}

static void check_descriptors(size_t before)
{
    long began = now_ms();
    while (open_descriptors() > before) {
        if (now_ms() - began > CALL_MS) {
            contract_breach("%zu descriptors were left open", open_descriptors() - before);
        }
        usleep(1000);
    }
}

static void create_set(uint8_t how)
{
    upstream_options_t *options = NULL;
    upstream_error_t *err = NULL;
    char text[1000];
    upstream_status_t status;
    int length = snprintf(
        text, sizeof(text),
        "[UPSTREAM]\nname u\n[NODE]\nname n\nhost 127.0.0.1\nport %u\ntls on\ntls.ca_file %s\n"
        "tls.verify %s\nnet.connect_timeout 300ms\nnet.io_timeout 100ms\nhealth.backoff 1ms\n"
        "health.backoff_max 1ms\n%s%s%s",
        tls_server_port(), ca_path, how & CLIENT_VERIFIES ? "on" : "off",
        how & CLIENT_OFFERS_ALPN ? "tls.alpn h2 http/1.1\n" : "",
        how & CLIENT_KEEPS_NOTHING ? "net.keepalive off\n" : "",
        how & CLIENT_CHECKS ? "health.check tls\nhealth.interval 1ms\n" : "");
    upstream_options_create(&options);
    upstream_options_set_logger(options, UPSTREAM_LOG_TRACE, contract_log, NULL);
    status = upstream_create_from_text(text, (size_t)length, NULL, options, &set, &err);
    upstream_options_destroy(options);
    if (status != UPSTREAM_OK) {
        contract_breach("no set: %s", upstream_error_message(err));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t before = open_descriptors(), operations, i;
    if (size < 3) {
        return 0;
    }
    operations = data[2] % (OPERATIONS + 1);
    operations = operations * 2 + 3 > size ? (size - 3) / 2 : operations;
    create_set(data[1]);
    tls_server_start(data + 3 + 2 * operations, size - 3 - 2 * operations, data[0], cancel_set);
    for (i = 0; i < operations; i++) {
        play(data[3 + 2 * i], data[4 + 2 * i]);
    }
    read_all();
    destroy_set();
    tls_server_stop();
    check_descriptors(before);
    contract_end(MEMORY_MB);
    return 0;
}

static void clean_up(void)
{
    tls_server_end();
    unlink(ca_path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    int fd = mkstemp(ca_path);
    (void)argc;
    (void)argv;
    if (fd < 0) {
        contract_breach("no file can be made: %s", strerror(errno));
    }
    close(fd);
    tls_server_prepare(ca_path);
    atexit(clean_up);
    return 0;
}
