/*
 * The plugin for collectd (examples/collectd) inside the real agent, between its command socket and
 * three Forward servers: every value that went in is looked for at the servers. In the valgrind
 * run, valgrind watches collectd.
 */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/collectd.h"
#include "support/receiver.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { NODES = 3, KINDS = 5, SKIPPED = 77 };

static char folder[] = "/tmp/upstream-collectd.XXXXXX";
static struct receiver receivers[NODES];
static const char *const plain[] = {NULL}, *const secured[] = {"--tls", "--shared-key", "secret",
                                                               NULL};

static void start_node(int node)
{
    static const char *const names[NODES] = {"node-1", "node-2", "node-3"};
    receiver_start(&receivers[node], folder, names[node], node == 2 ? secured : plain);
}

/* Three receivers, the third with TLS and a shared key, and the upstream file. */
static int start_nodes(void **state)
{
    char path[256];
    FILE *file;
    int i;
    (void)state;
    memset(receivers, 0, sizeof(receivers));
    for (i = 0; i < NODES; i++) {
        start_node(i);
        unlink(receivers[i].out);
        receiver_stop(&receivers[i]);
        start_node(i);
    }
    snprintf(path, sizeof(path), "%s/upstream.conf", folder);
    file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
            "[UPSTREAM]\nname three\nrequire_ack_response on\nhealth.backoff 200ms\n"
            "health.backoff_max 200ms\n"
            "[NODE]\nname node-1\nhost 127.0.0.1\nport %u\n[NODE]\nname node-2\nhost 127.0.0.1\n"
            "port %u\n"
            "[NODE]\nname node-3\nhost 127.0.0.1\nport %u\ntls on\ntls.verify off\n"
            "shared_key secret\nself_hostname client\n",
            receivers[0].port, receivers[1].port, receivers[2].port);
    return fclose(file);
}

static void signal_node(int node, int number)
{
    assert_int_equal(kill(receivers[node].process.id, number), 0);
}

/* Goes on with nodes that a failed test left stopped, or it would wait for them for ever. */
static int stop_nodes(void **state)
{
    int i;
    (void)state;
    for (i = 0; i < NODES; i++) {
        signal_node(i, SIGCONT);
        receiver_stop(&receivers[i]);
    }
    return 0;
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int remove_folder(void **state)
{
    const char *arguments[] = {"rm", "-rf", folder, NULL};
    (void)state;
    return process_run(arguments, NULL);
}

static void tell_all(const char *command)
{
    int i;
    for (i = 0; i < NODES; i++) {
        receiver_tell(&receivers[i], command);
    }
}

/* ---- values ---- */

/* Each kind of value, and its record as it must arrive; NUMBER stands for the value's own. */
static const struct kind {
    const char *type;
    const char *values;
    const char *record;
} kinds[KINDS] = {
    {"gauge", "12.5", "\"values\":[12.5],\"dstypes\":[\"gauge\"],\"dsnames\":[\"value\"]"},
    {"load", "0.25:U:-1e300",
     "\"values\":[0.25,null,-1e300],\"dstypes\":[\"gauge\",\"gauge\",\"gauge\"],"
     "\"dsnames\":[\"shortterm\",\"midterm\",\"longterm\"]"},
    {"if_octets", "-9223372036854775807:9223372036854775807",
     "\"values\":[-9223372036854775807,9223372036854775807],"
     "\"dstypes\":[\"derive\",\"derive\"],\"dsnames\":[\"rx\",\"tx\"]"},
    {"counter", "18446744073709551615",
     "\"values\":[18446744073709551615],\"dstypes\":[\"counter\"],\"dsnames\":[\"value\"]"},
    {"absolute", "7", "\"values\":[7],\"dstypes\":[\"absolute\"],\"dsnames\":[\"value\"]"},
};

/* One value: its number gives its kind and its time. */
static void put(struct collectd *collectd, unsigned number)
{
    const struct kind *kind = &kinds[number % KINDS];
    collectd_command(collectd, "PUTVAL test.example/plugin-one/%s-%u interval=2.5 %u.5:%s",
                     kind->type, number, 1700000000 + number, kind->values);
}

static void put_all(struct collectd *collectd, unsigned from, unsigned to)
{
    for (; from < to; from++) {
        put(collectd, from);
    }
}

struct seen {
    unsigned *times;
    unsigned values;
};

/* A line of a receiver, compared in full. */
static void see(const char *line, void *context)
{
    struct seen *seen = context;
    const char *at = strstr(line, "\"type_instance\":\"");
    const struct kind *kind;
    char expected[1024];
    unsigned number = 0;
    if (at == NULL || sscanf(at, "\"type_instance\":\"%u\"", &number) != 1 ||
        number >= seen->values) {
        fail_msg("not one of ours: %s", line);
    }
    kind = &kinds[number % KINDS];
    snprintf(expected, sizeof(expected),
             "{\"tag\":\"collectd\",\"time\":\"%u.500000000\",\"record\":{%s,"
             "\"host\":\"test.example\",\"plugin\":\"plugin\",\"plugin_instance\":\"one\","
             "\"type\":\"%s\",\"type_instance\":\"%u\",\"interval\":2.5}}",
             1700000000 + number, kind->record, kind->type, number);
    assert_string_equal(line, expected);
    seen->times[number]++;
}

static size_t arrived(void)
{
    size_t records = 0;
    int i;
    for (i = 0; i < NODES; i++) {
        records += receiver_records(&receivers[i]);
    }
    return records;
}

/* Waits for so many records, at most 30 seconds. */
static void await(size_t records)
{
    int turns;
    for (turns = 0; turns < 3000 && arrived() < records; turns++) {
        usleep(10000);
    }
    assert_true(arrived() >= records);
}

/* ---- the tests ---- */

/* From five write threads; the second node dies with its connections on the way, and comes back. */
static void every_value_arrives(void **state)
{
    enum { VALUES = 3000 };
    struct seen all = {calloc(VALUES, sizeof(unsigned)), VALUES},
                second = {calloc(VALUES, sizeof(unsigned)), VALUES};
    struct collectd collectd = collectd_start(folder, "  BatchSize 10\n  FlushInterval 0.2\n", 5);
    size_t before, twice = 0;
    unsigned i;
    (void)state;
    put_all(&collectd, 0, VALUES / 3);
    await(VALUES / 6);
    receiver_kill(&receivers[1]);
    put_all(&collectd, VALUES / 3, 2 * VALUES / 3);
    before = receiver_records(&receivers[1]);
    start_node(1);
    usleep(500 * 1000); /* its time out is 200 ms */
    put_all(&collectd, 2 * VALUES / 3, VALUES);
    await(VALUES);
    collectd_command(&collectd, "FLUSH plugin=upstream");
    assert_int_equal(collectd_stop(&collectd), 0);
    receiver_each(&receivers[1], see, &second);
    for (i = 0; i < NODES; i++) {
        receiver_each(&receivers[i], see, &all);
    }
    for (i = 0; i < VALUES; i++) {
        /* For values that the second node stored before it died, the ack may be lost. */
        assert_in_range(all.times[i], 1, second.times[i] > 0 ? 2 : 1);
        twice += all.times[i] > 1;
    }
    print_message("%u values: %zu, %zu, %zu at the nodes; %zu twice\n", (unsigned)VALUES,
                  receiver_records(&receivers[0]), receiver_records(&receivers[1]),
                  receiver_records(&receivers[2]), twice);
    assert_true(before > 0 && receiver_records(&receivers[1]) > before);
    assert_true(receiver_records(&receivers[0]) > VALUES / 6 &&
                receiver_records(&receivers[2]) > VALUES / 6);
    collectd_log_contains(folder, "upstream plugin: ");
    free(all.times);
    free(second.times);
}

/* FLUSH sends what is there, and so does the end of collectd. Nothing else would send it within an
 * hour. */
static void flush_and_stop_send_what_is_there(void **state)
{
    enum { FLUSHED = 25, VALUES = 60 };
    struct seen seen = {calloc(VALUES, sizeof(unsigned)), VALUES};
    struct collectd collectd = collectd_start(folder, "  FlushInterval 3600\n", 1);
    unsigned i;
    (void)state;
    /* There is one write thread: when it takes the last value, it has finished those before. */
    put_all(&collectd, 0, FLUSHED + 1);
    collectd_await_value(&collectd, "test.example/plugin-one/gauge-25");
    /* The interval's first call is made at the start, and may find some of them there. */
    assert_true(arrived() < FLUSHED);
    collectd_command(&collectd, "FLUSH plugin=upstream");
    assert_in_range(arrived(), FLUSHED, FLUSHED + 1);
    put_all(&collectd, FLUSHED + 1, VALUES);
    collectd_command(&collectd, "PUTVAL test.example/end/gauge-%u interval=2.5 1700000000:0",
                     (unsigned)VALUES);
    collectd_await_value(&collectd, "test.example/end/gauge-60");
    assert_true(arrived() <= FLUSHED + 1);
    assert_int_equal(collectd_stop(&collectd), 0);
    /* the last one is collectd's to drop or to hand over */
    assert_in_range(arrived(), VALUES, VALUES + 1);
    seen.values = VALUES;
    for (i = 0; i < NODES; i++) {
        FILE *file = fopen(receivers[i].out, "re");
        char line[1024];
        assert_non_null(file);
        while (fgets(line, sizeof(line), file) != NULL) {
            line[strcspn(line, "\n")] = '\0';
            if (strstr(line, "\"plugin\":\"end\"") == NULL) {
                see(line, &seen);
            }
        }
        fclose(file);
    }
    for (i = 0; i < VALUES; i++) {
        assert_int_equal(seen.times[i], 1);
    }
    free(seen.times);
}

/* Adds up the numbers N of "N values WORDS" in the log. */
static size_t told(const char *words)
{
    char *log = collectd_log(folder), *at = log, pattern[128];
    size_t lost = 0;
    snprintf(pattern, sizeof(pattern), " values %s", words);
    while ((at = strstr(at, pattern)) != NULL) {
        const char *number = at;
        while (number > log && number[-1] >= '0' && number[-1] <= '9') {
            number--;
        }
        lost += strtoul(number, NULL, 10);
        at++;
    }
    free(log);
    return lost;
}

/* While all nodes are away, at most BufferLimit values wait. The log counts each value that was
 * given up; the others arrive when the nodes are back. */
static void the_buffer_has_a_limit(void **state)
{
    enum { VALUES = 400, LIMIT = 50 };
    struct seen seen = {calloc(VALUES, sizeof(unsigned)), VALUES};
    struct collectd collectd;
    unsigned i;
    size_t lost, distinct = 0;
    (void)state;
    tell_all("refuse");
    collectd = collectd_start(folder, "  BatchSize 10\n  BufferLimit 50\n  FlushInterval 0.2\n", 5);
    put_all(&collectd, 0, VALUES);
    collectd_log_contains(folder, "values are lost: more values wait than BufferLimit allows");
    collectd_log_contains(folder, "node-2 (127.0.0.1:");
    for (i = 0; i < 3000 && told("are lost: more values wait") + LIMIT < VALUES; i++) {
        usleep(10000);
    }
    tell_all("listen");
    await(LIMIT / 2);
    assert_int_equal(collectd_stop(&collectd), 0);
    lost = told("are lost");
    for (i = 0; i < NODES; i++) {
        receiver_each(&receivers[i], see, &seen);
    }
    for (i = 0; i < VALUES; i++) {
        assert_in_range(seen.times[i], 0, 1);
        distinct += seen.times[i];
    }
    print_message("%zu lost and told of, %zu arrived\n", lost, distinct);
    assert_int_equal(lost + distinct, VALUES);
    assert_true(lost >= VALUES - 2 * LIMIT);
    free(seen.times);
}

/* All nodes hang: collectd stops anyway, and says what is lost. */
static void the_end_is_bounded(void **state)
{
    enum { VALUES = 30 };
    struct collectd collectd;
    time_t begun, took;
    (void)state;
    tell_all("stall");
    collectd = collectd_start(folder, "", 1);
    put_all(&collectd, 0, VALUES);
    collectd_command(&collectd, "PUTVAL test.example/end/gauge-0 interval=2.5 1700000000:0");
    collectd_await_value(&collectd, "test.example/end/gauge-0");
    begun = time(NULL);
    assert_int_equal(collectd_stop(&collectd), 0);
    took = time(NULL) - begun;
    print_message("stopped after %ld s\n", (long)took);
    assert_true(took < (check_slow() ? 100 : 25));
    assert_in_range(told("are lost: collectd stops"), VALUES, VALUES + 1);
    tell_all("resume");
}

/* The number of different values that arrived at any node but `without`. */
static size_t distinct_values(size_t values, int without)
{
    struct seen seen = {calloc(values, sizeof(unsigned)), (unsigned)values};
    size_t distinct = 0, i;
    int node;
    for (node = 0; node < NODES; node++) {
        if (node != without) {
            receiver_each(&receivers[node], see, &seen);
        }
    }
    for (i = 0; i < values; i++) {
        distinct += seen.times[i] > 0;
    }
    free(seen.times);
    return distinct;
}

/* A node is stopped during the flow and never goes on. Its values go to the two others, and a FLUSH
 * ends. */
static void a_silent_node_holds_up_nobody(void **state)
{
    enum { VALUES = 600 };
    struct collectd collectd = collectd_start(folder, "  BatchSize 10\n  FlushInterval 0.2\n", 5);
    int turns;
    (void)state;
    put_all(&collectd, 0, VALUES / 3);
    await(VALUES / 6);
    signal_node(1, SIGSTOP);
    put_all(&collectd, VALUES / 3, VALUES);
    for (turns = 0;
         turns < 6000 && distinct_values(VALUES, 1) + receiver_records(&receivers[1]) < VALUES;
         turns++) {
        usleep(10000);
    }
    /* all that came since, and its share of the others */
    assert_true(distinct_values(VALUES, 1) >= 2 * VALUES / 3);
    assert_int_equal(distinct_values(VALUES, -1), VALUES);
    collectd_command(&collectd, "FLUSH plugin=upstream");
    assert_int_equal(collectd_stop(&collectd), 0);
    assert_int_equal(told("are lost"), 0);
    signal_node(1, SIGCONT);
}

/*
 * Every node is stopped, values wait for each, and there are three outputs. collectd stops anyway,
 * in the time of one delivery and a little for each output.
 */
static void silence_of_all_ends_too(void **state)
{
    enum { VALUES = 300, OUTPUTS = 3 };
    char block[1024], one[256];
    struct collectd collectd;
    time_t begun, took;
    int i;
    (void)state;
    snprintf(one, sizeof(one),
             "</Plugin>\n<Plugin upstream>\n  UpstreamFile \"%s/upstream.conf\"\n  BatchSize 10\n",
             folder);
    snprintf(block, sizeof(block), "  BatchSize 10\n  FlushInterval 0.2\n%s%s", one, one);
    collectd = collectd_start(folder, block, 1);
    put_all(&collectd, 0, VALUES / 3);
    await(OUTPUTS * VALUES / 3 / 2);
    for (i = 0; i < NODES; i++) {
        signal_node(i, SIGSTOP);
    }
    put_all(&collectd, VALUES / 3, VALUES);
    collectd_log_contains(folder, "values; they wait for another try");
    begun = time(NULL);
    assert_int_equal(collectd_stop(&collectd), 0);
    took = time(NULL) - begun;
    print_message("stopped after %ld s\n", (long)took);
    assert_true(took < (check_slow() ? 200 : 30));
    for (i = 0; i < NODES; i++) {
        signal_node(i, SIGCONT);
    }
}

/* At most once: no node acknowledges, and nothing comes twice, neither at another node nor by a
 * later try. */
static void with_resend_off_nothing_comes_twice(void **state)
{
    enum { VALUES = 60 };
    struct seen seen = {calloc(VALUES, sizeof(unsigned)), VALUES};
    struct collectd collectd;
    unsigned i;
    (void)state;
    tell_all("drop-acks on");
    collectd = collectd_start(
        folder,
        "  BatchSize 10\n  FlushInterval 0.2\n  Option \"deliver.resend\" \"off\"\n"
        "  Option \"ack_timeout\" \"200ms\"\n  Option \"health.max_fails\" \"1000\"\n",
        1);
    put_all(&collectd, 0, VALUES);
    for (i = 0; i < 3000 && told("may have arrived") < VALUES; i++) {
        usleep(10000);
    }
    assert_int_equal(collectd_stop(&collectd), 0);
    assert_int_equal(told("may have arrived"), VALUES);
    assert_int_equal(told("are lost"), 0);
    for (i = 0; i < NODES; i++) {
        receiver_each(&receivers[i], see, &seen);
    }
    for (i = 0; i < VALUES; i++) {
        assert_int_equal(seen.times[i], 1);
    }
    free(seen.times);
}

static void mistakes_are_told_with_the_fix(void **state)
{
    static const char *const mistakes[][2] = {
        {"  BatchSice 10\n", "BatchSice: is not an option of this plugin; the options are"},
        {"  BatchSize 0\n", "BatchSize: takes a number above 0"},
        {"  FlushInterval -1\n", "FlushInterval: takes seconds above 0"},
        {"  Option \"deliver.timeot\" \"1s\"\n", "did you mean \"deliver.timeout\"?"},
        {"  Option \"deliver.timeout\"\n", "takes a key and a value"},
        {"  UpstreamFile \"/no/such/file.conf\"\n", "no such file"},
        {"  UpstreamFile \"upstream.conf\"\n", "set it to an absolute path"},
        {"  Option \"compress\" \"zip\"\n", "compress is \"zip\"; set it to text or gzip"},
    };
    size_t i;
    (void)state;
    for (i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        assert_int_equal(collectd_refuses(folder, mistakes[i][0]), 1);
        collectd_log_contains(folder, mistakes[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_value_arrives, start_nodes, stop_nodes),
        cmocka_unit_test_setup_teardown(flush_and_stop_send_what_is_there, start_nodes, stop_nodes),
        cmocka_unit_test_setup_teardown(the_buffer_has_a_limit, start_nodes, stop_nodes),
        cmocka_unit_test_setup_teardown(the_end_is_bounded, start_nodes, stop_nodes),
        cmocka_unit_test_setup_teardown(a_silent_node_holds_up_nobody, start_nodes, stop_nodes),
        cmocka_unit_test_setup_teardown(silence_of_all_ends_too, start_nodes, stop_nodes),
        cmocka_unit_test_setup_teardown(with_resend_off_nothing_comes_twice, start_nodes,
                                        stop_nodes),
        cmocka_unit_test_setup_teardown(mistakes_are_told_with_the_fix, start_nodes, stop_nodes),
    };
    return collectd_is_there() ? cmocka_run_group_tests(tests, make_folder, remove_folder)
                               : SKIPPED;
}
