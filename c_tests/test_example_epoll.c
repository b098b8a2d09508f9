/* The example upstream-epoll, run as its user runs it: 1,000 connections on one thread, against
 * receivers that count. */
#define _GNU_SOURCE
#include "support/acceptor.h"
#include "support/check.h"
#include "support/counter.h"
#include "support/loopback.h"
#include "support/process.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 1000, NODES = 3 };

static const char *program;
static char conf[] = "/tmp/upstream-epoll.XXXXXX";

static int prepare(void **state)
{
    struct rlimit limit;
    int fd;
    (void)state;
    program = getenv("UPSTREAM_EPOLL");
    if (program == NULL) {
        print_error("UPSTREAM_EPOLL must name the program: run this by ctest\n");
        return -1;
    }
    /* The receivers hold the other end of each. */
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max < 4 * CONNECTIONS) {
        print_error("this needs a hard limit of %d descriptors\n", 4 * CONNECTIONS);
        return -1;
    }
    if (limit.rlim_cur < 4 * CONNECTIONS) {
        limit.rlim_cur = 4 * CONNECTIONS;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            return -1;
        }
    }
    fd = mkstemp(conf);
    return fd < 0 ? -1 : close(fd);
}

static int clean(void **state)
{
    (void)state;
    return unlink(conf);
}

/* `of_set`: lines of [UPSTREAM]. `keys`: lines of each node. */
static struct process start_with(const uint16_t *ports, size_t nodes, const char *of_set,
                                 const char *keys, int connections, const char *each)
{
    char number[16], *text = check_nodes_text(ports, nodes, keys), *first = strstr(text, "[NODE]");
    const char *arguments[] = {program, conf, number, each, NULL};
    FILE *file = fopen(conf, "w");
    assert_non_null(file);
    assert_non_null(first);
    fprintf(file, "%.*s%s%s", (int)(first - text), text, of_set, first);
    assert_int_equal(fclose(file), 0);
    free(text);
    snprintf(number, sizeof(number), "%d", connections);
    return process_start(arguments, NULL);
}

static struct process start(const uint16_t *ports, const char *each)
{
    return start_with(ports, NODES, "", "", CONNECTIONS, each);
}

static void says(struct process *process, const char *expected)
{
    char line[128];
    assert_true(process_read_line(process, line, sizeof(line)));
    assert_string_equal(line, expected);
}

/* A thousand clients at once, and one node of three refuses: each record arrives once. */
static void a_thousand_clients_one_record_each(void **state)
{
    struct ledger *ledger = ledger_create(CONNECTIONS);
    struct counter *counters[2] = {counter_start(ledger), counter_start(ledger)};
    struct process process;
    uint16_t ports[NODES];
    char line[128];
    int refusing;
    size_t i;
    (void)state;
    ports[0] = counter_port(counters[0]);
    ports[1] = loopback_refusing_port(&refusing);
    ports[2] = counter_port(counters[1]);
    process = start(ports, "1");
    /* It depends on timing how many find the second node refusing, and then a kept connection. */
    assert_true(process_read_line(&process, line, sizeof(line)));
    check_contains(line, " connections made, ");
    assert_in_range(strtoul(line, NULL, 10), CONNECTIONS / 2, CONNECTIONS);
    says(&process, "1000 records acknowledged, 0 failed");
    assert_int_equal(process_finish(&process), 0);
    for (i = 0; i < CONNECTIONS; i++) {
        assert_int_equal(ledger_times(ledger, i), 1);
    }
    counter_stop(counters[0]);
    counter_stop(counters[1]);
    ledger_free(ledger);
    close(refusing);
}

/* A node dies with a third of the connections: their records go to other nodes, and none is
 * missing. */
static void a_node_dies_under_way(void **state)
{
    enum { EACH = 20, RECORDS = EACH * CONNECTIONS };
    struct ledger *ledger = ledger_create(RECORDS);
    struct counter *counters[NODES];
    struct process process;
    struct timespec pause = {0, 1000 * 1000};
    uint16_t ports[NODES];
    char line[128];
    size_t i;
    (void)state;
    for (i = 0; i < NODES; i++) {
        counters[i] = counter_start(ledger);
        ports[i] = counter_port(counters[i]);
    }
    process = start(ports, "20");
    for (i = 0; i < 30 * 1000 && ledger_times(ledger, CONNECTIONS) == 0; i++) {
        nanosleep(&pause, NULL); /* until the first client is at its second record */
    }
    counter_kill(counters[1]);
    assert_true(process_read_line(&process, line, sizeof(line)));
    says(&process, "20000 records acknowledged, 0 failed");
    assert_int_equal(process_finish(&process), 0);
    for (i = 0; i < RECORDS; i++) {
        assert_in_range(ledger_times(ledger, i), 1, 2); /* twice if the ack was lost */
    }
    for (i = 0; i < NODES; i++) {
        counter_stop(counters[i]);
    }
    ledger_free(ledger);
}

/* Takes each record and answers with another. */
static enum ending answer_nonsense(const struct session *session, void *ctx)
{
    unsigned char record[8];
    size_t have = 0;
    (void)ctx;
    while (session_wait(session, session->socket, POLLIN, -1)) {
        ssize_t got = recv(session->socket, record + have, sizeof(record) - have, 0);
        if (got <= 0) {
            break;
        }
        have += (size_t)got;
        if (have == sizeof(record)) {
            record[0] ^= 0xff;
            have = 0;
            if (!session_send(session, session->socket, record, sizeof(record))) {
                break;
            }
        }
    }
    return ENDING_CLOSE;
}

/*
 * Hundreds of exchanges at once, and of five nodes one answers nonsense, one is silent, one
 * refuses. Every record arrives at one of the two others, and none is given up.
 */
static void none_is_given_up_while_a_node_is_well(void **state)
{
    enum { MANY = 200, EACH = 2, RECORDS = MANY * EACH };
    struct ledger *ledger = ledger_create(RECORDS);
    struct counter *counters[2] = {counter_start(ledger), counter_start(ledger)};
    struct acceptor *nonsense = acceptor_start("127.0.0.1", 0, answer_nonsense, NULL);
    struct loopback *silent = loopback_start(LOOPBACK_SILENT);
    struct process process;
    uint16_t ports[5];
    char line[128];
    int refusing;
    size_t i;
    (void)state;
    ports[0] = acceptor_port(nonsense);
    ports[1] = counter_port(counters[0]);
    ports[2] = loopback_port(silent);
    ports[3] = loopback_refusing_port(&refusing);
    ports[4] = counter_port(counters[1]);
    process = start_with(ports, 5, "",
                         check_slow() ? "    net.io_timeout 3s\n" : "    net.io_timeout 300ms\n",
                         MANY, "2");
    assert_true(process_read_line(&process, line, sizeof(line)));
    says(&process, "400 records acknowledged, 0 failed");
    assert_int_equal(process_finish(&process), 0);
    for (i = 0; i < RECORDS; i++) {
        assert_int_equal(ledger_times(ledger, i), 1);
    }
    assert_true(acceptor_accepted(nonsense) > 0 && loopback_connections(silent) > 0);
    counter_stop(counters[0]);
    counter_stop(counters[1]);
    acceptor_stop(nonsense);
    loopback_stop(silent);
    ledger_free(ledger);
    close(refusing);
}

/* At most once: servers that take each record and never answer. None is sent to a second one. */
static void with_resend_off_none_is_sent_twice(void **state)
{
    enum { CLIENTS = 30 };
    struct loopback *sinks[NODES];
    struct process process;
    uint16_t ports[NODES];
    struct timespec pause = {0, 10 * 1000 * 1000};
    size_t bytes = 0;
    char line[128];
    int i, turns;
    (void)state;
    for (i = 0; i < NODES; i++) {
        sinks[i] = loopback_start(LOOPBACK_SINK);
        ports[i] = loopback_port(sinks[i]);
    }
    process = start_with(ports, NODES, "    deliver.resend off\n",
                         "    net.io_timeout 200ms\n    health.max_fails 1000\n", CLIENTS, "1");
    assert_true(process_read_line(&process, line, sizeof(line)));
    says(&process, "0 records acknowledged, 30 failed");
    assert_int_equal(process_finish(&process), 1);
    for (turns = 0; turns < 1000 && bytes < CLIENTS * 8; turns++) {
        nanosleep(&pause, NULL); /* what was sent is not always read yet */
        for (i = 0, bytes = 0; i < NODES; i++) {
            bytes += loopback_bytes(sinks[i]);
        }
    }
    for (i = 0, bytes = 0; i < NODES; i++) {
        assert_true(loopback_wait_ended(sinks[i], loopback_connections(sinks[i])));
        bytes += loopback_bytes(sinks[i]);
        loopback_stop(sinks[i]);
    }
    assert_int_equal(bytes, CLIENTS * 8);
}

static void wrong_use_is_told(void **state)
{
    const char *none[] = {program, NULL}, *gone[] = {program, "/no/such/file.conf", "1", "1", NULL},
               *zero[] = {program, conf, "0", "1", NULL};
    (void)state;
    assert_int_equal(process_run(none, NULL), 2);
    assert_int_equal(process_run(gone, NULL), 2);
    assert_int_equal(process_run(zero, NULL), 2);
}

/* Every node refuses: each record fails, and the exit status says so. */
static void none_is_lost_without_a_word(void **state)
{
    struct process process;
    uint16_t ports[NODES];
    char line[128];
    int refusing[NODES], i;
    (void)state;
    for (i = 0; i < NODES; i++) {
        ports[i] = loopback_refusing_port(&refusing[i]);
    }
    process = start(ports, "1");
    assert_true(process_read_line(&process, line, sizeof(line)));
    assert_memory_equal(line, "0 connections made, ", 20);
    says(&process, "0 records acknowledged, 1000 failed");
    assert_int_equal(process_finish(&process), 1);
    for (i = 0; i < NODES; i++) {
        close(refusing[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thousand_clients_one_record_each),
        cmocka_unit_test(a_node_dies_under_way),
        cmocka_unit_test(none_is_given_up_while_a_node_is_well),
        cmocka_unit_test(with_resend_off_none_is_sent_twice),
        cmocka_unit_test(none_is_lost_without_a_word),
        cmocka_unit_test(wrong_use_is_told),
    };
    return cmocka_run_group_tests(tests, prepare, clean);
}
