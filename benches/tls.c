/* TLS compared with the system's OpenSSL. Both do the same client's work with one server, with the
 * same cipher suite and key exchange, and both check the certificate. Only the client's processor
 * time counts, library threads included, because the server shares the machine. */
#define _GNU_SOURCE
#include "support/bench.h"
#include "support/tls_peer.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HANDSHAKES = 60, BURST = 1 << 20, BURSTS = 24, WARM_UP = 2 };

static char data[64 * 1024];

static upstream_t *set_for(const struct tls_server *server, int keepalive)
{
    const struct tls_kind *kind = &server->kind;
    const char *version = kind->version == TLS1_3_VERSION ? "1.3" : "1.2";
    char keys[512];
    snprintf(keys, sizeof(keys),
             "    tls on\n    tls.ca_file %s\n    tls.vhost localhost\n    tls.min_version %s\n"
             "    tls.max_version %s\n"
             "    tls.ciphers %s\n    net.keepalive %s\n",
             server->trusted, version, version, kind->cipher, keepalive ? "on" : "off");
    return bench_set_at(server->port, 1, keys);
}

static upstream_conn_t *open_connection(upstream_node_t *node)
{
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    upstream_status_t status = upstream_node_connect(node, &conn, &err);
    bench_ok(status, err, "upstream_node_connect");
    return conn;
}

static void print(const struct tls_kind *kind, const char *what, const char *unit, double *ours,
                  double *theirs, double *ratios)
{
    char text[120], note[80];
    struct bench_row row = {
        .suite = "tls", .what = text, .who = "libupstream", .unit = unit, .least = 1, .note = note};
    snprintf(text, sizeof(text), "%s, %s%s", what, kind->cipher,
             kind->rsa ? ", RSA certificate" : "");
    snprintf(note, sizeof(note), "TLS %s, beside OpenSSL %s",
             kind->version == TLS1_3_VERSION ? "1.3" : "1.2",
             OpenSSL_version(OPENSSL_VERSION_STRING));
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

/* All handshakes since `before` must be of the kind that is measured, except the first one of a
 * client. */
static void check(const struct tls_server *server, const struct tls_count *before, const char *who,
                  long full, long resumed)
{
    long seen_full = server->count->full - before->full,
         seen_resumed = server->count->resumed - before->resumed;
    if (seen_full != full || seen_resumed != resumed || server->count->astray != 0) {
        fprintf(stderr,
                "bench: %s: the server saw %ld full and %ld resumed handshakes where %ld and %ld "
                "were to be measured; %ld agreed on another version, cipher suite or group than %s "
                "and X25519\n",
                who, seen_full, seen_resumed, full, resumed, server->count->astray,
                server->kind.cipher);
        exit(1);
    }
}

/* CPU microseconds for a handshake in one round, by one of the two. */
static double shake_by(struct tls_server *server, struct tls_client *client, upstream_node_t *node,
                       int resume, int first)
{
    const struct tls_count before = *server->count;
    long full = resume ? first : HANDSHAKES;
    double took, begun = bench_process_cpu();
    int i;
    for (i = 0; i < HANDSHAKES; i++) {
        if (client != NULL) {
            theirs_shake(client);
        } else {
            ours_shake(node);
        }
    }
    /* the time in which the library's thread still closes connections is the library's */
    usleep(2000);
    took = bench_process_cpu() - begun;
    check(server, &before, client != NULL ? "OpenSSL" : "libupstream", full, HANDSHAKES - full);
    return took / HANDSHAKES / 1e3;
}

static void handshakes(struct tls_kind kind, int resume)
{
    struct tls_server *server = tls_server_start(kind, TLS_GREET, resume);
    struct tls_client *client = tls_client_new(server, resume);
    upstream_t *up = set_for(server, 0);
    upstream_node_t *node = upstream_node_at(up, 0);
    double ours[BENCH_ROUNDS], theirs[BENCH_ROUNDS], ratios[BENCH_ROUNDS];
    int round, half;
    for (round = -WARM_UP; round < BENCH_ROUNDS; round++) {
        int at = round < 0 ? 0 : round;
        for (half = 0; half < 2; half++) {
            if (half == (round & 1)) { /* who is first changes from round to round */
                theirs[at] = shake_by(server, client, NULL, resume, round == -WARM_UP);
            } else {
                ours[at] = shake_by(server, NULL, node, resume, round == -WARM_UP);
            }
        }
        ratios[at] = theirs[at] / ours[at];
    }
    if (client->resumed != (resume ? (BENCH_ROUNDS + WARM_UP) * HANDSHAKES - 1 : 0)) {
        fprintf(stderr,
                "bench: OpenSSL's client resumed %ld times, which is not what was to be measured\n",
                client->resumed);
        exit(1);
    }
    print(&kind, resume ? "handshake, resumed" : "handshake", "CPU us/handshake", ours, theirs,
          ratios);
    upstream_destroy(up);
    tls_client_free(client);
    tls_server_stop(server);
}

/* Waits until the server has read everything: so neither pays for the other's bytes, and none is
 * left unsent. */
static void arrive(const struct tls_server *server, uint64_t before)
{
    const double patience = 10e9, begun = bench_now();
    while (__atomic_load_n(&server->count->bytes, __ATOMIC_RELAXED) - before < BURST) {
        if (bench_now() - begun > patience) {
            fprintf(stderr, "bench: after 10 s the server still lacks bytes that were written\n");
            exit(1);
        }
        usleep(50);
    }
}

/* CPU nanoseconds of one burst by one of the two. The burst fits in the connection's buffers, so
 * nobody waits. */
static double burst_by(const struct tls_server *server, SSL *connection, upstream_conn_t *conn,
                       size_t length)
{
    const uint64_t before = __atomic_load_n(&server->count->bytes, __ATOMIC_RELAXED);
    double took, begun = bench_process_cpu();
    size_t sent;
    for (sent = 0; sent < BURST; sent += length) {
        if (connection != NULL) {
            bench_system(SSL_write(connection, data, (int)length) == (int)length, "SSL_write");
        } else {
            bench_ok(upstream_conn_write(conn, data, length), NULL, "upstream_conn_write");
        }
    }
    took = bench_process_cpu() - begun;
    arrive(server, before);
    usleep(300); /* the records' own bytes, which come on top */
    return took;
}

static void bulk(struct tls_kind kind, size_t length)
{
    struct tls_server *server = tls_server_start(kind, TLS_SINK, 0);
    struct tls_client *client = tls_client_new(server, 0);
    upstream_t *up = set_for(server, 1);
    const struct tls_count none = {0, 0, 0, 0};
    upstream_conn_t *conn = open_connection(upstream_node_at(up, 0));
    SSL *connection = tls_client_connect(client);
    double ours[BENCH_ROUNDS], theirs[BENCH_ROUNDS], ratios[BENCH_ROUNDS];
    /* of a round's nanoseconds, in microseconds */
    const double per_mebibyte = 1e3 * BURSTS * BURST / (1 << 20);
    char what[64];
    int round, half;
    for (round = -WARM_UP; round < BENCH_ROUNDS; round++) {
        int at = round < 0 ? 0 : round;
        ours[at] = theirs[at] = 0;
        for (half = 0; half < 2 * BURSTS; half++) {
            if ((half ^ (half >> 1)) & 1) { /* each is first as often as the other */
                ours[at] += burst_by(server, NULL, conn, length) / per_mebibyte;
            } else {
                theirs[at] += burst_by(server, connection, NULL, length) / per_mebibyte;
            }
        }
        ratios[at] = theirs[at] / ours[at];
    }
    check(server, &none, "both", 2, 0);
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
