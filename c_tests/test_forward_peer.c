/*
 * upstream-forward against a Forward server by other authors (npm @fluent-org/logger): plain, TLS
 * with shared key and user, compressed, a wrong key. Every record is checked at the far end.
 */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/openssl.h"
#include "support/process.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

enum { LINES = 1500, NODES = 3 };

static char *folder;
static char script[512], sender[512], log_file[512];

static int prepare(void **state)
{
    const char *peers = getenv("FORWARD_PEERS"), *program = getenv("UPSTREAM_FORWARD");
    FILE *file;
    int i;
    (void)state;
    if (peers == NULL || program == NULL) {
        print_error("FORWARD_PEERS and UPSTREAM_FORWARD must be set: run this by ctest\n");
        return -1;
    }
    folder = openssl_make_folder();
    snprintf(script, sizeof(script), "%s/forward_server.js", peers);
    snprintf(sender, sizeof(sender), "%s", program);
    snprintf(log_file, sizeof(log_file), "%s/lines.log", folder);
    file = fopen(log_file, "w");
    for (i = 0; i < LINES; i++) {
        fprintf(file, "line %d\n", i);
    }
    return fclose(file);
}

static int clean_up(void **state)
{
    (void)state;
    openssl_remove_folder(folder);
    return 0;
}

struct peer {
    struct process process;
    unsigned port;
};

static struct peer peer_start(const char *const *arguments)
{
    const char *list[16] = {"node", script, NULL};
    char line[256];
    struct peer peer;
    size_t count = 2;
    while (*arguments != NULL) {
        list[count++] = *arguments++;
    }
    list[count] = NULL;
    peer.process = process_start(list, folder);
    assert_true(process_read_line(&peer.process, line, sizeof(line)));
    assert_int_equal(sscanf(line, "ready %u", &peer.port), 1);
    return peer;
}

/* Writes the upstream file for `peers`, with `keys` in each node. */
static const char *upstream_file(const struct peer *peers, size_t count, const char *keys)
{
    static char path[512];
    FILE *file;
    size_t i;
    snprintf(path, sizeof(path), "%s/upstream.conf", folder);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("[UPSTREAM]\n    name peers\n", file);
    for (i = 0; i < count; i++) {
        fprintf(file, "[NODE]\n    name node-%zu\n    host 127.0.0.1\n    port %u\n%s", i + 1,
                peers[i].port, keys);
    }
    assert_int_equal(fclose(file), 0);
    return path;
}

static int send_lines(const char *file)
{
    const char *arguments[] = {sender, "-q",  "-u",          file, "-t",     "peer.test",
                               "-b",   "100", "--retry-for", "0",  log_file, NULL};
    return process_run(arguments, NULL);
}

/* Ends the peer and adds up what it saw: each line's count in `seen`. */
static size_t peer_records(struct peer *peer, int *seen)
{
    char line[1024], tag[64];
    long long seconds, nanoseconds, now = (long long)time(NULL);
    size_t records = 0;
    int number, matched;
    close(peer->process.input);
    peer->process.input = open("/dev/null", O_WRONLY);
    while (process_read_line(&peer->process, line, sizeof(line))) {
        matched = sscanf(line, "%63s %lld %lld {\"log\":\"line %d\"}", tag, &seconds, &nanoseconds,
                         &number);
        if (matched != 4) {
            fail_msg("the peer saw: %s", line);
        }
        assert_string_equal(tag, "peer.test");
        assert_in_range(seconds, now - 120, now);
        assert_in_range(nanoseconds, 0, 999999999);
        assert_in_range(number, 0, LINES - 1);
        seen[number]++;
        records++;
    }
    process_finish(&peer->process);
    return records;
}

/* Sends over three peers started with `arguments`; each record must be there once, spread
 * evenly. */
static void all_arrive(const char *const *arguments, const char *keys)
{
    struct peer peers[NODES];
    int *seen = calloc(LINES, sizeof(*seen));
    size_t i;
    for (i = 0; i < NODES; i++) {
        peers[i] = peer_start(arguments);
    }
    assert_int_equal(send_lines(upstream_file(peers, NODES, keys)), 0);
    for (i = 0; i < NODES; i++) {
        assert_int_equal(peer_records(&peers[i], seen), LINES / NODES);
    }
    for (i = 0; i < LINES; i++) {
        assert_int_equal(seen[i], 1);
    }
    free(seen);
}

static void plain(void **state)
{
    const char *arguments[] = {NULL};
    (void)state;
    all_arrive(arguments, "    require_ack_response on\n");
}

static void compressed(void **state)
{
    const char *arguments[] = {NULL};
    (void)state;
    all_arrive(arguments, "    compress gzip\n    require_ack_response on\n");
}

static void tls_and_shared_key(void **state)
{
    const char *arguments[] = {"--tls", "valid.crt", "valid.key", "--shared-key", "secret", NULL};
    char keys[1024];
    (void)state;
    snprintf(keys, sizeof(keys),
             "    tls on\n    tls.ca_file %s/ca.crt\n    shared_key secret\n"
             "    require_ack_response on\n",
             folder);
    all_arrive(arguments, keys);
}

static void tls_shared_key_and_user(void **state)
{
    const char *arguments[] = {"--tls",        "valid.crt", "valid.key",
                               "--shared-key", "secret",    "--user",
                               "ann",          "pass word", NULL};
    (void)state;
    all_arrive(arguments, "    tls on\n    tls.verify off\n    shared_key secret\n"
                          "    username ann\n    password pass word\n"
                          "    require_ack_response on\n");
}

/* Nothing arrives, and the sender says so. */
static void none_arrives(const char *const *arguments, const char *keys)
{
    struct peer peer = peer_start(arguments);
    int *seen = calloc(LINES, sizeof(*seen));
    assert_int_equal(send_lines(upstream_file(&peer, 1, keys)), 1);
    assert_int_equal(peer_records(&peer, seen), 0);
    free(seen);
}

static void wrong_key(void **state)
{
    const char *arguments[] = {"--shared-key", "secret", NULL};
    const char *user[] = {"--shared-key", "secret", "--user", "ann", "right", NULL};
    (void)state;
    none_arrives(arguments, "    shared_key guess\n    require_ack_response on\n");
    none_arrives(user, "    shared_key secret\n    username ann\n    password wrong\n"
                       "    require_ack_response on\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(compressed),
        cmocka_unit_test(tls_and_shared_key),
        cmocka_unit_test(tls_shared_key_and_user),
        cmocka_unit_test(wrong_key),
    };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
