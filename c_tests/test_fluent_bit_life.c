/*
 * The plugin for Fluent Bit (examples/fluent-bit) from start to end: what it refuses and how it
 * says so, which log level counts, a reload during flushes, and the end of a flush that nobody
 * answers.
 */
#define _GNU_SOURCE
#include "support/agent_bed.h"
#include "support/check.h"
#include "support/forward_server.h"

#include <pthread.h>
#include <stdatomic.h>

enum { RECORDS = 5 };

/* ---- refused sections ---- */

static void refused(const char *text, const char *const *section, const char *part, const char *fix)
{
    agent_bed_write(text);
    agent_log_clear();
    assert_null(agent_output_start(bed.agent, section));
    agent_log_contains("1 [output:upstream] ", part);
    agent_log_contains(part, fix);
}

static void mistakes_are_told_with_the_fix(void **state)
{
    static const char good[] = "[UPSTREAM]\nname u\n[NODE]\nname n\nhost 127.0.0.1\nport 1\n";
    const char *none[] = {"match", "*", NULL};
    const char *missing[] = {"upstream", "/no/such/file.conf", NULL};
    const char *plain[] = {"upstream", bed.conf, NULL};
    const char *option[] = {"upstream", bed.conf, "deliver.timeout", "soon", NULL};
    const char *name[] = {"upstream", bed.conf, "upstream.name", "other", NULL};
    const char *compress[] = {"upstream", bed.conf, "compress", "zip", NULL};
    const char *tag[] = {"upstream", bed.conf, "tag", "app.$TAG", NULL};
    (void)state;
    refused(good, none, "no upstream file is set", "add a line \"upstream FILE\"");
    refused(good, missing, "/no/such/file.conf", "no such file");
    refused("[UPSTREAM]\nname u\n[NODE]\nname n\nhost 127.0.0.1\nport 70000\n", plain,
            "upstream.conf:6", "port");
    refused("[UPSTREAM]\nname u\n[NODE]\nname n\nhost 127.0.0.1\nport 1\ntls.verfiy off\n", plain,
            "upstream.conf:7", "\"tls.verify\"");
    refused("[UPSTREAM]\nname u\n[NODE]\nname n\nhost 127.0.0.1\nport 1\nrequire_ack_respons on\n",
            plain, "upstream.conf:7", "\"require_ack_response\"");
    refused(good, option, "deliver.timeout", "soon");
    refused(good, name, "upstream.name", "other");
    refused(good, compress, "compress is \"zip\"", "set it to text or gzip");
    refused(good, tag, "tag is \"app.$TAG\"", "write it without `$`");
    refused("[UPSTREAM]\nname u\n[NODE]\nname n\nhost 127.0.0.1\nport 1\ntag $kubernetes['pod']\n",
            plain, "n: tag is \"$kub", "write it without `$`");
    refused("[UPSTREAM]\nname u\n[NODE]\nname n\nhost 127.0.0.1\nport 1\nack_timeout never\n",
            plain, "upstream.conf:7", "ack_timeout: \"never\" is not a duration");
    refused("[UPSTREAM]\nname u\n[NODE]\nname n\nhost 127.0.0.1\nport 1\nack_timeout 0\n", plain,
            "n: ack_timeout is \"0\"", "set it to a time");
}

/* The agent's log_level counts for the library's lines too. */
static void the_log_level_is_the_agents(void **state)
{
    forward_script script = {.helo = HELO_NONE, .ack = ACK_NONE};
    forward_server *server = forward_server_start(&script);
    const char *quiet[] = {"upstream", bed.conf, "log_level", "0", NULL},
               *loud[] = {"upstream", bed.conf, "log_level", "5", NULL};
    struct agent_output *output;
    char *log;
    (void)state;
    agent_bed_write_one(forward_server_port(server), "");
    output = agent_bed_start(quiet);
    assert_int_equal(agent_output_flush(output, "\xc1", 1, "t"), AGENT_ERROR);
    assert_int_equal(agent_bed_flush(output, 0, 1), AGENT_OK);
    agent_output_exit(output);
    log = agent_log();
    assert_string_equal(log, "");
    free(log);
    output = agent_bed_start(loud);
    assert_int_equal(agent_bed_flush(output, 1, 1), AGENT_OK);
    agent_output_exit(output);
    log = agent_log();
    assert_true(strstr(log, "4 [output:upstream] ") != NULL ||
                strstr(log, "5 [output:upstream] ") != NULL);
    free(log);
    forward_server_stop(server);
}

/* ---- reload and exit ---- */

struct late {
    pthread_t thread;
    struct agent_output *output;
    atomic_int result;
};

static void *flush_one(void *argument)
{
    struct late *late = argument;
    atomic_store(&late->result, agent_bed_flush(late->output, 0, 1));
    return NULL;
}

/*
 * The agent reloads: the section starts once more while four flushes of the old one wait for a node
 * that has fallen silent. The new section delivers at once. The exit of the old one ends the
 * waiting flushes, long before their time is up, and the agent gets its chunks back.
 */
static void reload_amid_flushes(void **state)
{
    enum { WAITING = 4 };
    forward_script silent_script = {.helo = HELO_NONE, .ack = ACK_SILENT},
                   good_script = {.helo = HELO_NONE, .ack = ACK_GOOD};
    forward_server *silent = forward_server_start(&silent_script),
                   *good = forward_server_start(&good_script);
    static const char keys[] = "require_ack_response on\nack_timeout 10m\ndeliver.timeout 10m\n";
    const char *section[] = {"upstream", bed.conf, NULL};
    struct agent_output *old, *new;
    struct late late[WAITING];
    int i;
    (void)state;
    agent_bed_write_one(forward_server_port(silent), keys);
    old = agent_bed_start(section);
    for (i = 0; i < WAITING; i++) {
        late[i].output = old;
        atomic_init(&late[i].result, -1);
        assert_int_equal(pthread_create(&late[i].thread, NULL, flush_one, &late[i]), 0);
    }
    assert_true(forward_server_await(silent, WAITING)); /* all wait for their acks */
    agent_bed_write_one(forward_server_port(good), keys);
    new = agent_bed_start(section);
    assert_int_equal(agent_bed_flush(new, 1, RECORDS), AGENT_OK);
    assert_int_equal(forward_server_records(good), RECORDS);
    for (i = 0; i < WAITING; i++) {
        assert_int_equal(atomic_load(&late[i].result), -1);
    }
    agent_output_exit(old);
    for (i = 0; i < WAITING; i++) {
        assert_int_equal(pthread_join(late[i].thread, NULL), 0);
        assert_int_equal(atomic_load(&late[i].result), AGENT_RETRY);
    }
    assert_int_equal(agent_bed_flush(new, 1 + RECORDS, RECORDS), AGENT_OK); /* and goes on */
    assert_int_equal(forward_server_records(good), 2 * RECORDS);
    agent_output_exit(new);
    forward_server_stop(silent);
    forward_server_stop(good);
}

/* When the agent stops, it waits five seconds for flushes under way. A flush that nobody answers
 * ends earlier. */
static void a_flush_ends_within_the_grace_time(void **state)
{
    forward_script script = {.helo = HELO_NONE, .ack = ACK_SILENT};
    forward_server *server = forward_server_start(&script);
    const char *section[] = {"upstream", bed.conf, "require_ack_response", "on", "ack_timeout",
                             "10m",      NULL};
    struct agent_output *output;
    (void)state;
    agent_bed_write_one(forward_server_port(server), "");
    output = agent_bed_start(section);
    /* ten minutes would be the test's own timeout */
    assert_int_equal(agent_bed_flush(output, 0, 1), AGENT_RETRY);
    assert_int_equal(forward_server_records(server), 1);
    agent_output_exit(output);
    forward_server_stop(server);
}

/*
 * With hot_reload on, a flush on another thread than the agent's own is a worker's, and the agent
 * will not survive a reload: the plugin warns once for each start. Without workers or without
 * hot_reload there is no warning.
 */
static void workers_amid_hot_reload_are_warned_of(void **state)
{
    static const struct {
        int hot_reload, on_a_worker, warned;
    } rows[] = {{0, 0, 0}, {0, 1, 0}, {1, 0, 0}, {1, 1, 1}};
    forward_script script = {.helo = HELO_NONE, .ack = ACK_NONE};
    forward_server *server = forward_server_start(&script);
    const char *section[] = {"upstream", bed.conf, NULL};
    (void)state;
    agent_bed_write_one(forward_server_port(server), "");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct agent_output *output = agent_bed_start(section);
        const char *found;
        char *log;
        agent_pre_run(bed.agent, rows[i].hot_reload);
        for (int flushes = 0; flushes < 2; flushes++) {
            struct late late = {.output = output};
            if (!rows[i].on_a_worker) {
                assert_int_equal(agent_bed_flush(output, 0, 1), AGENT_OK);
                continue;
            }
            assert_int_equal(pthread_create(&late.thread, NULL, flush_one, &late), 0);
            assert_int_equal(pthread_join(late.thread, NULL), 0);
            assert_int_equal(atomic_load(&late.result), AGENT_OK);
        }
        log = agent_log();
        found = strstr(log, "remove `workers`");
        assert_int_equal(found != NULL, rows[i].warned);
        assert_true(found == NULL || strstr(found + 1, "remove `workers`") == NULL);
        free(log);
        agent_log_clear();
        agent_output_exit(output);
    }
    forward_server_stop(server);
}

/*
 * Once every node is out because it was silent, a chunk goes back to the agent untried. Otherwise
 * an agent that stops would wait the whole time of a flush for each chunk that it still has.
 */
static void silence_is_not_asked_again(void **state)
{
    enum { NODES = 2, LATER = 20 };
    forward_script script = {.helo = HELO_NONE, .ack = ACK_SILENT};
    forward_server *servers[NODES];
    const char *section[] = {"upstream", bed.conf, "require_ack_response", "on", NULL};
    struct agent_output *output;
    unsigned before = 0, after = 0, i;
    char text[512];
    int at, turns;
    (void)state;
    at = snprintf(
        text, sizeof(text),
        "[UPSTREAM]\nname u\nhealth.max_fails 1\nhealth.backoff 10m\nhealth.backoff_max 10m\n");
    for (i = 0; i < NODES; i++) {
        servers[i] = forward_server_start(&script);
        at += snprintf(text + at, sizeof(text) - (size_t)at,
                       "[NODE]\nname n%u\nhost 127.0.0.1\nport %u\n", i,
                       (unsigned)forward_server_port(servers[i]));
    }
    agent_bed_write(text);
    output = agent_bed_start(section);
    for (turns = 0; turns < 2; turns++) { /* one silent flush alone may be a chunk that took long */
        assert_int_equal(agent_bed_flush(output, 0, 1), AGENT_RETRY);
    }
    for (i = 0; i < NODES; i++) {
        before += forward_server_accepted(servers[i]);
    }
    for (i = 0; i < LATER; i++) {
        assert_int_equal(agent_bed_flush(output, i, 1), AGENT_RETRY);
    }
    for (i = 0; i < NODES; i++) {
        after += forward_server_accepted(servers[i]);
    }
    assert_true(before >= NODES);
    assert_int_equal(after, before); /* nobody was asked */
    agent_output_exit(output);
    for (i = 0; i < NODES; i++) {
        forward_server_stop(servers[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(workers_amid_hot_reload_are_warned_of, agent_bed_load,
                                        agent_bed_unload),
        cmocka_unit_test_setup_teardown(mistakes_are_told_with_the_fix, agent_bed_load,
                                        agent_bed_unload),
        cmocka_unit_test_setup_teardown(the_log_level_is_the_agents, agent_bed_load,
                                        agent_bed_unload),
        cmocka_unit_test_setup_teardown(reload_amid_flushes, agent_bed_load, agent_bed_unload),
        cmocka_unit_test_setup_teardown(a_flush_ends_within_the_grace_time, agent_bed_load,
                                        agent_bed_unload),
        cmocka_unit_test_setup_teardown(silence_is_not_asked_again, agent_bed_load,
                                        agent_bed_unload),
    };
    return cmocka_run_group_tests(tests, agent_bed_open, agent_bed_close);
}
