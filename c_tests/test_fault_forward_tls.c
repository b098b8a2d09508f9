/* The fault matrix: a whole Forward session over TLS, with login and ack, cut at many different
 * bytes. Both nodes are forward-receiver, the first behind the proxy; the client is the example's
 * own. A row of docs/testing.md. */
#define _GNU_SOURCE
#include "support/forward_client.h"
#include "support/process.h"
#include "support/testbed.h"

#include <signal.h>
#include <unistd.h>

enum { NODES = 2, STEP = 41, MOST_RECORDS = 2000 };

static char folder[] = "/tmp/upstream-fault.XXXXXX";

struct receiver {
    struct process process;
    unsigned port;
    char certificate[64], out[64];
};

static int prepare(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int clean(void **state)
{
    const char *arguments[] = {"rm", "-rf", folder, NULL};
    (void)state;
    return process_run(arguments, NULL);
}

static void receiver_start(struct receiver *receiver, int number)
{
    const char *program = getenv("FORWARD_RECEIVER");
    const char *arguments[] = {program,  "--tls",        "--shared-key",
                               "secret", "--write-cert", receiver->certificate,
                               "--out",  receiver->out,  NULL};
    char line[256];
    assert_non_null(program); /* run this by ctest */
    snprintf(receiver->certificate, sizeof(receiver->certificate), "%s/node-%d.crt", folder,
             number);
    snprintf(receiver->out, sizeof(receiver->out), "%s/node-%d.out", folder, number);
    receiver->process = process_start(arguments, NULL);
    assert_true(process_read_line(&receiver->process, line, sizeof(line)));
    assert_int_equal(sscanf(line, "ready port=%u", &receiver->port), 1);
}

/* Ends it, and adds what it has seen of each record to `seen`. */
static void receiver_stop(struct receiver *receiver, unsigned *seen)
{
    char line[1024];
    FILE *file;
    close(receiver->process.input); /* which ends it */
    receiver->process.input = dup(receiver->process.output);
    assert_int_equal(process_finish(&receiver->process), 0);
    file = fopen(receiver->out, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        const char *record = strstr(line, "record ");
        unsigned number;
        assert_non_null(record);
        assert_int_equal(sscanf(record, "record %u", &number), 1);
        assert_in_range(number, 0, MOST_RECORDS - 1);
        seen[number]++;
    }
    fclose(file);
}

/* A node that fell out is tried again a millisecond later. */
static upstream_t *set_over(const uint16_t *ports, const struct receiver *receivers)
{
    char text[1024], words[FORWARD_REASON_MAX] = "";
    size_t used = (size_t)snprintf(text, sizeof(text),
                                   "[UPSTREAM]\nname session\nhealth.backoff 1ms\n"
                                   "health.backoff_max 1ms\n"
                                   "tls on\nshared_key secret\nrequire_ack_response on\n"
                                   "ack_timeout 20s\n");
    upstream_t *up;
    size_t i;
    for (i = 0; i < NODES; i++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used,
                                 "[NODE]\nname node-%zu\nhost 127.0.0.1\nport %u\n"
                                 "tls.ca_file %s\n",
                                 i + 1, (unsigned)ports[i], receivers[i].certificate);
    }
    up = check_create(text, NULL);
    if (forward_prepare(up, NULL, words, sizeof(words)) != UPSTREAM_OK) {
        fail_msg("%s", words);
    }
    return up;
}

static void tls_session_cut_short(void **state)
{
    static const enum fault faults[] = {FAULT_RESET, FAULT_CLOSE};
    size_t before = descriptors_open(), first = 0, i;
    unsigned *seen = calloc(MOST_RECORDS, sizeof(*seen)),
             *may_be = calloc(MOST_RECORDS, sizeof(*may_be)), record = 0, cuts = 0;
    struct receiver receivers[NODES];
    struct proxy *proxy;
    uint16_t ports[NODES];
    upstream_t *up;
    (void)state;
    assert_true(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    receiver_start(&receivers[0], 1);
    receiver_start(&receivers[1], 2);
    proxy = proxy_start("127.0.0.1", (uint16_t)receivers[0].port, 0);
    ports[0] = proxy_port(proxy);
    ports[1] = (uint16_t)receivers[1].port;
    up = set_over(ports, receivers);
    for (i = 0; i < 2; i++) {
        struct script script = {.fault = faults[i]};
        for (script.direction = TO_RECEIVER; script.direction <= TO_CLIENT; script.direction++) {
            size_t struck = proxy_faults(proxy);
            /* Up to the end of the session: from there on a record gets through. */
            for (script.after = 0, cuts = 0; proxy_faults(proxy) == struck + cuts;
                 script.after += STEP, cuts++) {
                size_t accepted = proxy_accepted(proxy);
                proxy_play(proxy, &script);
                while (proxy_accepted(proxy) == accepted) {
                    forward_delivery delivery;
                    assert_true(record < MOST_RECORDS);
                    if (forward_client_send(up, record, &delivery) != UPSTREAM_OK) {
                        fail_msg("cut after %zu bytes: %s", script.after, delivery.reason);
                    }
                    /* Only if the answer was cut may the first node have the record too. */
                    may_be[record++] = 1 + (script.direction == TO_CLIENT && delivery.failures > 0);
                    usleep(1500);
                }
                first = first == 0 ? descriptors_open() : first;
            }
            assert_true(cuts > 10);
            proxy_reset_all(proxy);
        }
    }
    testbed_wait_descriptors(first + 2); /* of so many cuts none left one */
    upstream_destroy(up);
    proxy_stop(proxy);
    receiver_stop(&receivers[0], seen);
    receiver_stop(&receivers[1], seen);
    for (i = 0; i < record; i++) {
        assert_in_range(seen[i], 1, may_be[i]);
    }
    testbed_wait_descriptors(before);
    free(seen);
    free(may_be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tls_session_cut_short),
    };
    return check_run_tests(tests, prepare, clean);
}
