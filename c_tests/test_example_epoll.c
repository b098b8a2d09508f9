/* The example upstream-epoll, run as its user runs it: 1,000 connections on one thread, against receivers that count. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/counter.h"
#include "support/loopback.h"
#include "support/process.h"

#include <sys/resource.h>
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

static struct process start(const uint16_t *ports, const char *each)
{
    char number[16], *text = check_nodes_text(ports, NODES, "");
    const char *arguments[] = {program, conf, number, each, NULL};
    FILE *file = fopen(conf, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    free(text);
    snprintf(number, sizeof(number), "%d", CONNECTIONS);
    return process_start(arguments, NULL);
}

static void says(struct process *process, const char *expected)
{
    char line[128];
    assert_true(process_read_line(process, line, sizeof(line)));
    assert_string_equal(line, expected);
}

/* One node of three refuses: each record arrives once, over a connection of its own. */
static void a_thousand_connections_one_record_each(void **state)
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
    assert_true(process_read_line(&process, line, sizeof(line)));
    assert_memory_equal(line, "1000 connections made, ", 23); /* how many found the second node refusing is a matter of time */
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

/* A node dies with a third of the connections on it: their records go over others, and none is missing. */
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
        assert_in_range(ledger_times(ledger, i), 1, 2); /* twice where the ack was lost */
    }
    for (i = 0; i < NODES; i++) {
        counter_stop(counters[i]);
    }
    ledger_free(ledger);
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
        cmocka_unit_test(a_thousand_connections_one_record_each),
        cmocka_unit_test(a_node_dies_under_way),
        cmocka_unit_test(none_is_lost_without_a_word),
        cmocka_unit_test(wrong_use_is_told),
    };
    return cmocka_run_group_tests(tests, prepare, clean);
}
