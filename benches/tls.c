/* TLS beside the system's OpenSSL: the same client's work by both, to one server, with the same cipher suite and key exchange and with
 * the certificate checked. What counts is the client's processor time, library threads included: the server shares the machine. */
#define _GNU_SOURCE
#include "support/bench.h"
#include "support/tls_peer.h"

#include <linux/sockios.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { HANDSHAKES = 60, BULK = 8 << 20, WARM_UP = 2 };

static char data[64 * 1024];

static upstream_t *set_for(const struct tls_server *server, int keepalive)
{
    const struct tls_kind *kind = &server->kind;
    const char *version = kind->version == TLS1_3_VERSION ? "1.3" : "1.2";
    char keys[512];
    snprintf(keys, sizeof(keys),
             "    tls on\n    tls.ca_file %s\n    tls.vhost localhost\n    tls.min_version %s\n    tls.max_version %s\n"
             "    tls.ciphers %s\n    net.keepalive %s\n",
             server->certificate, version, version, kind->cipher, keepalive ? "on" : "off");
    return bench_set_at(server->port, 1, keys);
}

static upstream_conn_t *open_connection(upstream_node_t *node)
{
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    bench_ok(upstream_node_connect(node, &conn, &err), err, "upstream_node_connect");
    return conn;
}

static void print(const struct tls_kind *kind, const char *what, const char *unit, double *ours, double *theirs, double *ratios)
{
    char text[120], note[80];
    struct bench_row row = {.suite = "tls", .what = text, .who = "libupstream", .unit = unit, .least = 1, .note = note};
    snprintf(text, sizeof(text), "%s, %s%s", what, kind->cipher, kind->rsa ? ", RSA certificate" : "");
    snprintf(note, sizeof(note), "TLS %s", kind->version == TLS1_3_VERSION ? "1.3" : "1.2");
    row.value = bench_median(ours, BENCH_ROUNDS);
    row.floor = bench_median(theirs, BENCH_ROUNDS);
    row.ratio = bench_median(ratios, BENCH_ROUNDS);
    bench_print(&row);
}

static void ours_shake(upstream_node_t *node)
{
    upstream_conn_t *conn = open_connection(node);
    char greeting;
    bench_ok(upstream_conn_read_exact(conn, &greeting, 1), NULL, "upstream_conn_read_exact");
    upstream_conn_release(conn);
}

static void theirs_shake(struct tls_client *client)
{
    SSL *connection = tls_client_connect(client);
    char greeting;
    bench_system(SSL_read(connection, &greeting, 1) == 1, "SSL_read");
    tls_client_close(connection);
}

static void handshakes(struct tls_kind kind, int resume)
{
    struct tls_server *server = tls_server_start(kind, TLS_GREET, resume);
    struct tls_client *client = tls_client_new(server, resume);
    upstream_t *up = set_for(server, 0);
    upstream_node_t *node = upstream_node_at(up, 0);
    double ours[BENCH_ROUNDS], theirs[BENCH_ROUNDS], ratios[BENCH_ROUNDS];
    int round, i;
    for (round = -WARM_UP; round < BENCH_ROUNDS; round++) {
        int at = round < 0 ? 0 : round;
        double begun = bench_process_cpu();
        for (i = 0; i < HANDSHAKES; i++) {
            theirs_shake(client);
        }
        theirs[at] = (bench_process_cpu() - begun) / HANDSHAKES / 1e3;
        usleep(2000); /* what the library's thread has yet to close is its own */
        begun = bench_process_cpu();
        for (i = 0; i < HANDSHAKES; i++) {
            ours_shake(node);
        }
        usleep(2000);
        ours[at] = (bench_process_cpu() - begun) / HANDSHAKES / 1e3;
        ratios[at] = theirs[at] / ours[at];
    }
    if (server->count->full != (resume ? 2 : 2 * (BENCH_ROUNDS + WARM_UP) * HANDSHAKES)) {
        fprintf(stderr, "bench: of the handshakes %ld were full and %ld resumed, which is not what was to be measured\n",
                server->count->full, server->count->resumed);
        exit(1);
    }
    print(&kind, resume ? "handshake, resumed" : "handshake", "CPU us", ours, theirs, ratios);
    upstream_destroy(up);
    tls_client_free(client);
    tls_server_stop(server);
}

/* Until the other side has taken everything, so that neither pays for the other's bytes. */
static void drain(int fd)
{
    int unsent = 1;
    while (ioctl(fd, SIOCOUTQ, &unsent) == 0 && unsent > 0) {
        usleep(50);
    }
}

static void bulk(struct tls_kind kind, size_t length)
{
    struct tls_server *server = tls_server_start(kind, TLS_SINK, 0);
    struct tls_client *client = tls_client_new(server, 0);
    upstream_t *up = set_for(server, 1);
    upstream_conn_t *conn = open_connection(upstream_node_at(up, 0));
    SSL *connection = tls_client_connect(client);
    double ours[BENCH_ROUNDS], theirs[BENCH_ROUNDS], ratios[BENCH_ROUNDS];
    const double mebibytes = (double)BULK / (1 << 20);
    char what[64];
    int round;
    for (round = -WARM_UP; round < BENCH_ROUNDS; round++) {
        int at = round < 0 ? 0 : round;
        size_t sent;
        double begun = bench_process_cpu();
        for (sent = 0; sent < BULK; sent += length) {
            bench_system(SSL_write(connection, data, (int)length) == (int)length, "SSL_write");
        }
        theirs[at] = (bench_process_cpu() - begun) / mebibytes / 1e3;
        drain(SSL_get_fd(connection));
        begun = bench_process_cpu();
        for (sent = 0; sent < BULK; sent += length) {
            bench_ok(upstream_conn_write(conn, data, length), NULL, "upstream_conn_write");
        }
        ours[at] = (bench_process_cpu() - begun) / mebibytes / 1e3;
        drain(upstream_conn_fd(conn));
        ratios[at] = theirs[at] / ours[at];
    }
    snprintf(what, sizeof(what), "writes of %zu KiB", length >> 10);
    print(&kind, what, "CPU us/MiB", ours, theirs, ratios);
    upstream_conn_discard(conn);
    upstream_destroy(up);
    tls_client_close(connection);
    tls_client_free(client);
    tls_server_stop(server);
}

int main(void)
{
    static const struct tls_kind kinds[] = {
        {TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", 0},
        {TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", 0},
        {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", 0},
        {TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", 1},
    };
    size_t i;
    signal(SIGPIPE, SIG_IGN);
    for (i = 0; i < 4; i++) {
        handshakes(kinds[i], 0);
        handshakes(kinds[i], 1);
    }
    for (i = 0; i < 3; i++) {
        bulk(kinds[i], 4 << 10);
        bulk(kinds[i], 64 << 10);
    }
    return 0;
}
