/* The fault matrix for a plugin that only writes, over TLS: what may be lost. Rows of
 * docs/testing.md; see test_fault_no_answers. */
#define _GNU_SOURCE
#include "support/openssl.h"
#include "support/process.h"
#include "support/unanswered.h"

#include <unistd.h>

#define OUT_FOR_GOOD "health.backoff 1h\nhealth.backoff_max 1h\n"
#define OUT_FOR_A_MOMENT \
    "health.max_fails 1000\nnet.keepalive off\nhealth.backoff 1ms\nhealth.backoff_max 1ms\n"

static const enum fault endings[] = {FAULT_RESET, FAULT_CLOSE};

/* Node 1 is over TLS. Each connection to it is cut somewhere, from the first byte of the handshake
 * to what comes after the record. A cut in the handshake loses nothing: another node gets the
 * record, or node 1 on a new connection. A later cut loses one payload for each connection. */
static void tls_cut_short_without_answers(void **state)
{
    static const char *const versions[] = {"TLSv1_2", "TLSv1_3"};
    char keys[512];
    size_t i, version;
    (void)state;
    snprintf(keys, sizeof(keys), "tls on\ntls.vhost localhost\ntls.ca_file %s/ca.crt\n",
             openssl_folder);
    for (version = 0; version < 2; version++) {
        const char *arguments[] = {"python3", UPSTREAM_SOURCE_DIR "/c_tests/support/tls_sink.py",
                                   openssl_folder, versions[version], NULL};
        struct process sink = process_start(arguments, NULL);
        struct testbed_node nodes[2] = {{.keys = keys}};
        struct unanswered un;
        size_t broken, failed;
        long until;
        char line[64];
        assert_true(process_read_line(&sink, line, sizeof(line)));
        nodes[0].receiver = (uint16_t)strtoul(line, NULL, 10);
        unanswered_open(&un, 2, OUT_FOR_A_MOMENT, nodes);
        dprintf(sink.input, "%u\n", (unsigned)counter_port(un.bed.counters[1]));
        for (i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
            struct script script = {.fault = endings[i]};
            for (script.direction = TO_RECEIVER; script.direction <= TO_CLIENT;
                 script.direction++) {
                for (script.after = 0; script.after < 2400; script.after += 40) {
                    proxy_play(un.bed.proxies[0], &script);
                    unanswered_each(&un, 2);
                    usleep(2000); /* the node's time out is over */
                }
            }
        }
        until = check_now_ms() + 6 * testbed_patience_ms();
        do { /* until what is under way has come or is cut */
            usleep(1000);
            broken = proxy_faults(un.bed.proxies[0]);
            failed = (size_t)testbed_stats(&un.bed, 0).connects_failed;
        } while (unanswered_lost(&un) > broken - failed && check_now_ms() < until);
        print_message("%zu connections broke, %zu of them in the handshake\n", broken, failed);
        assert_in_range(failed, 10, broken);
        unanswered_close(&un, 0, broken - failed);
        process_kill(&sink);
    }
}

/* If one side refuses the other's certificate, no byte of a record is sent there, also under TLS
 * 1.3. */
static void certificate_refused_without_answers(void **state)
{
    static const char *const servers[] = {
        "-cert expired.crt -key expired.key",
        "-cert wrong-name.crt -key wrong-name.key",
        "-cert valid.crt -key valid.key -tls1_2 -Verify 1 -verify_return_error -CAfile ca.crt",
        "-cert valid.crt -key valid.key -tls1_3 -Verify 1 -verify_return_error -CAfile ca.crt",
    };
    char keys[512];
    size_t i;
    (void)state;
    snprintf(keys, sizeof(keys), "tls on\ntls.vhost localhost\ntls.ca_file %s/ca.crt\n",
             openssl_folder);
    for (i = 0; i < sizeof(servers) / sizeof(servers[0]); i++) {
        struct openssl_server *server = openssl_start(openssl_folder, servers[i]);
        struct testbed_node nodes[3] = {{.keys = keys, .receiver = openssl_port(server)}};
        struct unanswered un;
        unanswered_open(&un, 3, OUT_FOR_GOOD, nodes);
        unanswered_arrive(&un, 31, 0);
        assert_int_equal(upstream_node_state(testbed_node(&un.bed, 0)), UPSTREAM_NODE_EJECTED);
        assert_int_equal(testbed_stats(&un.bed, 0).bytes_out, 0);
        unanswered_close(&un, 0, 0);
        openssl_stop(server);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tls_cut_short_without_answers),
        cmocka_unit_test(certificate_refused_without_answers),
    };
    return check_run_tests(tests, openssl_folder_setup, openssl_folder_teardown);
}
