/*
 * The plugin for Fluent Bit (examples/fluent-bit), loaded and called as the agent does it: chunks
 * from eight threads on stacks of 24 KiB, two [OUTPUT] sections at a time. What arrives is compared
 * record by record, or byte by byte.
 */
#define _GNU_SOURCE
#include "support/agent_bed.h"
#include "support/check.h"
#include "support/forward_server.h"
#include "support/loopback.h"
#include "support/process.h"
#include "support/receiver.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

enum {
    THREADS = 8,
    FLUSHES = 12,
    RECORDS = 5,
    ALL = THREADS * FLUSHES * RECORDS,
    DEEPEST_ALLOWED = 16 * 1024
};

/* ---- delivering ---- */

static void see(const char *line, void *seen)
{
    const char *record = strstr(line, "record ");
    unsigned number;
    assert_non_null(record);
    assert_int_equal(sscanf(record, "record %u", &number), 1);
    assert_in_range(number, 0, ALL - 1);
    ((unsigned *)seen)[number]++;
}

struct sender {
    pthread_t thread;
    struct agent_output *output;
    unsigned first;
    int results[FLUSHES];
};

static void *send_chunks(void *argument)
{
    struct sender *sender = argument;
    unsigned i;
    for (i = 0; i < FLUSHES; i++) {
        sender->results[i] = agent_bed_flush(sender->output, sender->first + i * RECORDS, RECORDS);
    }
    return NULL;
}

/* Four nodes: one open, one with a shared key, one with TLS and a shared key, one that refuses. Two
 * sections over them. */
static void eight_threads_and_two_sections(void **state)
{
    static const char *const secured[] = {"--tls", "--shared-key", "secret", NULL};
    forward_script open_script = {.helo = HELO_NONE, .ack = ACK_GOOD};
    forward_script key_script = {
        .helo = HELO_GOOD, .pong = PONG_GOOD, .ack = ACK_GOOD, .shared_key = "secret"};
    forward_server *open_server = forward_server_start(&open_script),
                   *key_server = forward_server_start(&key_script);
    struct receiver receiver = {.port = 0};
    struct sender senders[THREADS];
    struct agent_output *outputs[2];
    unsigned *seen = calloc(ALL, sizeof(*seen));
    int refusing, i, j;
    char text[2048], word[32];
    (void)state;
    receiver_start(&receiver, bed.folder, "secured", secured);
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname four\nrequire_ack_response on\nack_timeout 60s\n"
             "[NODE]\nname refusing\nhost 127.0.0.1\nport %u\n"
             "[NODE]\nname open\nhost 127.0.0.1\nport %u\n"
             "[NODE]\nname key\nhost 127.0.0.1\nport %u\nshared_key secret\nself_hostname client\n"
             "[NODE]\nname tls\nhost 127.0.0.1\nport %u\ntls on\ntls.ca_file %s\n"
             "shared_key secret\nself_hostname client\n",
             (unsigned)loopback_refusing_port(&refusing),
             (unsigned)forward_server_port(open_server), (unsigned)forward_server_port(key_server),
             receiver.port, receiver.certificate);
    agent_bed_write(text);
    const char *plain[] = {"upstream", bed.conf, "match", "*", "deliver.timeout", "60s", NULL};
    const char *gzip[] = {"Upstream", bed.conf,          "Compress", "gzip", "Tag",
                          "other",    "deliver.timeout", "60s",      NULL};
    outputs[0] = agent_bed_start(plain);
    outputs[1] = agent_bed_start(gzip);
    for (i = 0; i < THREADS; i++) {
        senders[i].output = outputs[i % 2];
        senders[i].first = (unsigned)i * FLUSHES * RECORDS;
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_chunks, &senders[i]), 0);
    }
    for (i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(senders[i].thread, NULL), 0);
    }
    for (i = 0; i < THREADS; i++) {
        for (j = 0; j < FLUSHES; j++) {
            if (senders[i].results[j] != AGENT_OK) {
                fail_msg("flush %d of thread %d gave %d:\n%s", j, i, senders[i].results[j],
                         agent_log());
            }
        }
    }
    receiver_each(&receiver, see, seen);
    for (i = 0; i < ALL; i++) {
        snprintf(word, sizeof(word), "record %04d", i);
        seen[i] += forward_server_count(open_server, word) + forward_server_count(key_server, word);
        assert_int_equal(seen[i], 1);
    }
    assert_in_range(forward_server_records(open_server), ALL / 6, ALL / 2);
    assert_in_range(forward_server_records(key_server), ALL / 6, ALL / 2);
    assert_in_range(receiver_records(&receiver), ALL / 6, ALL / 2);
    for (i = 0, j = 0; forward_server_tag(open_server, (unsigned)i) != NULL; i++) {
        const char *tag = forward_server_tag(open_server, (unsigned)i);
        j += strcmp(tag, "other") == 0;
        assert_true(strcmp(tag, "other") == 0 || strcmp(tag, "app.log") == 0);
    }
    assert_in_range(j, 1, i - 1);
    agent_log_contains("2 [output:upstream] ", "refusing (127.0.0.1:");
    agent_log_contains("refusing", "onnection refused");
    agent_output_exit(outputs[0]);
    agent_output_exit(outputs[1]);
    if (!check_slow()) {
        print_message("deepest use of the 24 KiB: %zu bytes\n", agent_deepest());
        assert_in_range(agent_deepest(), 1, DEEPEST_ALLOWED);
    }
    close(refusing);
    receiver_stop(&receiver);
    forward_server_stop(open_server);
    forward_server_stop(key_server);
    free(seen);
}

/* One node, one chunk; `expected` are the bytes of the message's entries. */
static void arrives_as(const struct chunk *chunk, const char *key, const char *value,
                       const struct chunk *expected)
{
    forward_script script = {.helo = HELO_NONE, .ack = ACK_GOOD};
    forward_server *server = forward_server_start(&script);
    const char *section[] = {"upstream", bed.conf, "deliver.timeout", "60s", key, value, NULL};
    struct agent_output *output;
    const char *packed;
    size_t len = 0;
    agent_bed_write_one(forward_server_port(server), "");
    output = agent_bed_start(section);
    assert_int_equal(agent_output_flush(output, chunk->data, chunk->len, "app.log"), AGENT_OK);
    assert_true(forward_server_await(server, 1));
    packed = forward_server_packed(server, 0, &len);
    assert_non_null(packed);
    assert_int_equal(len, expected->len);
    assert_memory_equal(packed, expected->data, expected->len);
    assert_string_equal(forward_server_tag(server, 0), "app.log");
    agent_output_exit(output);
    forward_server_stop(server);
}

/* With metadata and without; each encoding of the time that is in use; a record that no decoder and
 * encoder would reproduce byte by byte. */
static void bytes_are_kept(void **state)
{
    struct chunk chunk = {.len = 0}, plain = {.len = 0}, whole = {.len = 0};
    (void)state;
    CHUNK_ADD(&chunk, "\x92\x92" CHUNK_TIME "\x81\xa6source\x82\xa1"
                      "a\xcd\x00\x01\xa1"
                      "b\xc4\x02\x00\xff"
                      "\x81\xa3log\xd9\x03one");
    CHUNK_ADD(&chunk, "\x92" CHUNK_TIME "\x81\xa3log\xda\x00\x03two");
    CHUNK_ADD(
        &chunk,
        "\x92\x92\xc7\x08\x00\x65\x53\xf1\x01\x00\x00\x00\x05\x80\xde\x00\x01\xa3log\xa5three");
    CHUNK_ADD(&chunk, "\x92\xce\x65\x53\xf1\x02\x81\xa3log\xc4\x04"
                      "four");
    CHUNK_ADD(&plain, "\x92" CHUNK_TIME "\x81\xa3log\xd9\x03one");
    CHUNK_ADD(&plain, "\x92" CHUNK_TIME "\x81\xa3log\xda\x00\x03two");
    CHUNK_ADD(&plain, "\x92\xd7\x00\x65\x53\xf1\x01\x00\x00\x00\x05\xde\x00\x01\xa3log\xa5three");
    CHUNK_ADD(&plain, "\x92\xd7\x00\x65\x53\xf1\x02\x00\x00\x00\x00\x81\xa3log\xc4\x04"
                      "four");
    CHUNK_ADD(&whole, "\x92\xce\x65\x53\xf1\x00\x81\xa3log\xd9\x03one");
    CHUNK_ADD(&whole, "\x92\xce\x65\x53\xf1\x00\x81\xa3log\xda\x00\x03two");
    CHUNK_ADD(&whole, "\x92\xce\x65\x53\xf1\x01\xde\x00\x01\xa3log\xa5three");
    CHUNK_ADD(&whole, "\x92\xce\x65\x53\xf1\x02\x81\xa3log\xc4\x04"
                      "four");
    arrives_as(&chunk, "require_ack_response", "off", &plain);
    arrives_as(&chunk, "require_ack_response", "on", &plain);
    arrives_as(&chunk, "compress", "gzip", &plain);
    arrives_as(&chunk, "retain_metadata_in_forward_mode", "off", &plain);
    arrives_as(&chunk, "retain_metadata_in_forward_mode", "on", &chunk);
    arrives_as(&chunk, "time_as_integer", "on", &whole);
}

static void the_only_line(const char *line, void *expected)
{
    assert_string_equal(line, (const char *)expected);
}

/* ---- what a fluentd takes ---- */

/*
 * A receiver that takes what fluentd takes, and also acknowledges what it drops. With default keys
 * it takes each record of the agent's chunks, also those of an OTLP group, however they are sent;
 * it gets no marks of groups.
 */
static void a_fluentd_takes_every_record(void **state)
{
    static const char group_start[] = "\x92\x92\xd7\x00\xff\xff\xff\xff\x00\x00\x00\x00"
                                      "\x81\xa6schema\xa4otlp\x81\xa8resource\x80";
    static const char group_end[] = "\x92\x92\xd7\x00\xff\xff\xff\xfe\x00\x00\x00\x00\x80\x80";
    static const char *const as_fluentd[] = {"--as-fluentd", NULL};
    static const char *const ways[][2] = {
        {"require_ack_response", "off"}, {"require_ack_response", "on"}, {"compress", "gzip"},
        {"time_as_integer", "on"},       {"send_options", "on"},
    };
    struct receiver receiver = {.port = 0};
    struct chunk chunk = {.len = 0}, plain = chunk_of(10, RECORDS);
    char counts[256];
    size_t i, sent = 0;
    (void)state;
    receiver_start(&receiver, bed.folder, "fluentd", as_fluentd);
    agent_bed_write_one(receiver.port, "");
    chunk_add(&chunk, group_start, sizeof(group_start) - 1);
    CHUNK_ADD(&chunk, "\x92\x92" CHUNK_TIME "\x81\xa1k\xa1v");
    chunk_add_log(&chunk, 7);
    /* A float as time, which fluentd would drop. */
    CHUNK_ADD(&chunk, "\x92\xcb\x41\xd9\x54\xfc\x40\x00\x00\x00");
    chunk_add_log(&chunk, 8);
    chunk_add(&chunk, group_end, sizeof(group_end) - 1);
    for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        const char *section[] = {"upstream", bed.conf, "deliver.timeout", "60s", ways[i][0],
                                 ways[i][1], NULL};
        struct agent_output *output = agent_bed_start(section);
        assert_int_equal(agent_output_flush(output, chunk.data, chunk.len, "app.log"), AGENT_OK);
        assert_int_equal(agent_output_flush(output, plain.data, plain.len, "app.log"), AGENT_OK);
        sent += 2 + RECORDS;
        assert_true(receiver_await(&receiver, sent));
        agent_output_exit(output);
    }
    receiver_counts(&receiver, counts, sizeof(counts));
    assert_int_equal(receiver_records(&receiver), sent);
    assert_non_null(strstr(counts, " dropped=0 "));
    assert_non_null(strstr(counts, " errors=0 "));
    receiver_stop(&receiver);
}

/* ---- the other signals ---- */

/* Metrics and traces are sent as the agent has them, and the options say which they are. */
static void metrics_and_traces_arrive(void **state)
{
    static const char metrics[] = "\x82\xa4meta\x80\xa7metrics\x91\x82\xa4meta\x80\xa6values\x90";
    static const char traces[] = "\x81\xadresourceSpans\x91\x80";
    static const struct {
        const char *bytes;
        size_t len;
        long signal;
    } chunks[] = {{metrics, sizeof(metrics) - 1, 1}, {traces, sizeof(traces) - 1, 2}};
    static const char *const ways[][2] = {
        {"require_ack_response", "off"},
        {"require_ack_response", "on"},
        {"compress", "gzip"},
        {"time_as_integer", "on"},
        {"retain_metadata_in_forward_mode", "on"},
    };
    enum { MAPS = 3 };
    size_t i, n, way, len = 0;
    (void)state;
    for (way = 0; way < sizeof(ways) / sizeof(ways[0]); way++) {
        forward_script script = {.helo = HELO_NONE, .ack = ACK_GOOD};
        forward_server *server = forward_server_start(&script);
        const char *section[] = {"upstream",   bed.conf, "deliver.timeout", "60s", ways[way][0],
                                 ways[way][1], NULL};
        struct agent_output *output;
        unsigned messages = 0;
        agent_bed_write_one(forward_server_port(server), "");
        output = agent_bed_start(section);
        for (i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
            struct chunk chunk = {.len = 0};
            for (n = 0; n < MAPS; n++) {
                chunk_add(&chunk, chunks[i].bytes, chunks[i].len);
            }
            assert_int_equal(agent_output_flush(output, chunk.data, chunk.len, "app"), AGENT_OK);
            assert_true(forward_server_await(server, messages + MAPS));
            /* Each is a message: the agent's server reads one map of it. */
            for (n = 0; n < MAPS; n++, messages++) {
                assert_int_equal(forward_server_signal(server, messages), chunks[i].signal);
                assert_int_equal(forward_server_size(server, messages), -1);
                const char *packed = forward_server_packed(server, messages, &len);
                assert_non_null(packed);
                assert_int_equal(len, chunks[i].len);
                assert_memory_equal(packed, chunks[i].bytes, len);
            }
        }
        assert_int_equal(forward_server_accepted(server), 1);
        assert_int_equal(agent_bed_flush(output, 0, 1), AGENT_OK);
        assert_true(forward_server_await(server, messages + 1));
        /* Logs: 0, or no options at all. */
        assert_true(forward_server_signal(server, messages) <= 0);
        agent_output_exit(output);
        forward_server_stop(server);
    }
}

/* As an independent decoder, in another language, understands it. */
static void metadata_and_time_arrive(void **state)
{
    static const char *const none[] = {NULL};
    static char expected[] = "{\"tag\":\"app.log\",\"time\":\"1700000000.123456789\",\"metadata\":{"
                             "\"k\":\"v\"},\"record\":{\"log\":\"record 0007\"}}";
    const char *section[] = {"upstream",
                             bed.conf,
                             "deliver.timeout",
                             "60s",
                             "require_ack_response",
                             "on",
                             "retain_metadata_in_forward_mode",
                             "on",
                             NULL};
    struct receiver receiver = {.port = 0};
    struct chunk chunk = {.len = 0};
    struct agent_output *output;
    (void)state;
    receiver_start(&receiver, bed.folder, "times", none);
    agent_bed_write_one(receiver.port, "");
    CHUNK_ADD(&chunk, "\x92\x92" CHUNK_TIME "\x81\xa1k\xa1v");
    chunk_add_log(&chunk, 7);
    output = agent_bed_start(section);
    assert_int_equal(agent_output_flush(output, chunk.data, chunk.len, "app.log"), AGENT_OK);
    agent_output_exit(output);
    assert_int_equal(receiver_records(&receiver), 1);
    receiver_each(&receiver, the_only_line, expected);
    receiver_stop(&receiver);
}

/* A server by other authors, over TLS with a shared key. */
static void a_server_of_other_authors(void **state)
{
    const char *peers = getenv("FORWARD_PEERS");
    const char *section[] = {"upstream", bed.conf, "deliver.timeout", "60s", "require_ack_response",
                             "on",       NULL};
    char script[512], line[1024], text[1024], expected[128];
    struct agent_output *output;
    struct process peer;
    unsigned port, i;
    (void)state;
    assert_non_null(peers);
    snprintf(script, sizeof(script), "%s/forward_server.js", peers);
    const char *arguments[] = {"node",      script,         "--tls",  "valid.crt",
                               "valid.key", "--shared-key", "secret", NULL};
    peer = process_start(arguments, bed.folder);
    assert_true(process_read_line(&peer, line, sizeof(line)));
    assert_int_equal(sscanf(line, "ready %u", &port), 1);
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname peer\n[NODE]\nname n\nhost 127.0.0.1\nport %u\ntls on\n"
             "tls.ca_file %s/ca.crt\nshared_key secret\n",
             port, bed.folder);
    agent_bed_write(text);
    output = agent_bed_start(section);
    assert_int_equal(agent_bed_flush(output, 0, RECORDS), AGENT_OK);
    agent_output_exit(output);
    close(peer.input);
    peer.input = open("/dev/null", O_WRONLY | O_CLOEXEC);
    for (i = 0; i < RECORDS; i++) {
        snprintf(expected, sizeof(expected),
                 "app.log\t1700000000\t123456789\t{\"log\":\"record %04u\"}", i);
        assert_true(process_read_line(&peer, line, sizeof(line)));
        assert_string_equal(line, expected);
    }
    assert_false(process_read_line(&peer, line, sizeof(line)));
    process_finish(&peer);
}

/* ---- what cannot be delivered ---- */

static void every_node_is_tried_before_a_retry(void **state)
{
    enum { NODES = 3 };
    struct loopback *servers[NODES];
    uint16_t ports[NODES];
    int refusing[NODES];
    const char *section[] = {"upstream", bed.conf, "deliver.timeout", "60s", "shared_key",
                             "secret",   NULL};
    struct agent_output *output;
    char *text, name[16];
    int i;
    (void)state;
    for (i = 0; i < NODES; i++) {
        servers[i] = loopback_start(LOOPBACK_CLOSE);
        ports[i] = loopback_port(servers[i]);
    }
    text = check_nodes_text(ports, NODES, "");
    agent_bed_write(text);
    free(text);
    output = agent_bed_start(section);
    assert_int_equal(agent_bed_flush(output, 0, 1), AGENT_RETRY);
    for (i = 0; i < NODES; i++) {
        assert_true(loopback_connections(servers[i]) >= 1);
        snprintf(name, sizeof(name), "node-%d (", i + 1);
        agent_log_contains(name, "HELO");
    }
    agent_log_contains("1 [output:upstream] ", "not delivered");
    agent_output_exit(output);
    for (i = 0; i < NODES; i++) {
        loopback_stop(servers[i]);
        ports[i] = loopback_refusing_port(&refusing[i]);
    }
    agent_log_clear();
    text = check_nodes_text(ports, NODES, "");
    agent_bed_write(text);
    free(text);
    output = agent_bed_start(section);
    assert_int_equal(agent_bed_flush(output, 0, 1), AGENT_RETRY);
    for (i = 0; i < NODES; i++) {
        snprintf(name, sizeof(name), "node-%d (", i + 1);
        agent_log_contains(name, "onnection refused");
        close(refusing[i]);
    }
    agent_output_exit(output);
}

/* At most once: what may have arrived is given up and not sent twice, neither by the plugin nor by
 * the agent. */
static void no_retry_where_it_may_have_arrived(void **state)
{
    forward_script script = {.helo = HELO_NONE, .ack = ACK_EOF};
    forward_server *server = forward_server_start(&script);
    const char *section[] = {"upstream", bed.conf, "deliver.timeout", "60s", "deliver.resend",
                             "off",      NULL};
    struct agent_output *output;
    (void)state;
    agent_bed_write_one(forward_server_port(server), "require_ack_response on\n");
    output = agent_bed_start(section);
    assert_int_equal(agent_bed_flush(output, 0, 1), AGENT_ERROR);
    agent_log_contains("1 [output:upstream] ", "deliver.resend is off");
    assert_int_equal(forward_server_records(server), 1);
    agent_output_exit(output);
    forward_server_stop(server);
}

static void garbage_is_given_up(void **state)
{
    struct chunk good = chunk_of(0, 2), noise = {.len = 0};
    struct loopback *server = loopback_start(LOOPBACK_SINK);
    const char *section[] = {"upstream", bed.conf, "deliver.timeout", "60s", NULL};
    struct agent_output *output;
    size_t i;
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } garbage[] = {
        {"\xc1", 1},
        {"no msgpack", 10},
        {"\x81\xa3log\xa1x", 7},
        {"\x80", 1},
        {"\x91\x80", 2},
        {"\x93\x01\x80\x80", 4},
        {"\x92\x80\x80", 3},
        {"\x92\x01\x02", 3},
        {"\x92\x92\x01\x02\x80", 5},
        {"\xdd\xff\xff\xff\xff", 5},
        {"\x92\x01\xdf\xff\xff\xff\xff", 7},
        {"\x92\xd7\x01\x00\x00\x00\x00\x00\x00\x00\x00\x80", 12},
    };
    agent_bed_write_one(loopback_port(server), "");
    output = agent_bed_start(section);
    for (i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        agent_log_clear();
        assert_int_equal(agent_output_flush(output, garbage[i].bytes, garbage[i].len, "t"),
                         AGENT_ERROR);
        agent_log_contains("1 [output:upstream] ", "neither log events nor metrics nor traces");
    }
    for (i = 1; i < good.len; i++) { /* cut off at each byte; a cut between two events leaves one */
        assert_int_equal(agent_output_flush(output, good.data, i, "t"),
                         i == good.len / 2 ? AGENT_OK : AGENT_ERROR);
    }
    srandom(1);
    for (noise.len = 1; noise.len < 512; noise.len++) {
        noise.data[noise.len - 1] = (unsigned char)random();
        assert_int_equal(agent_output_flush(output, noise.data, noise.len, "t"), AGENT_ERROR);
    }
    assert_int_equal(agent_output_flush(output, good.data, 0, "t"), AGENT_OK); /* nothing to do */
    assert_int_equal(loopback_connections(server), 1);
    agent_output_exit(output);
    loopback_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(eight_threads_and_two_sections, agent_bed_load,
                                        agent_bed_unload),
        cmocka_unit_test_setup_teardown(bytes_are_kept, agent_bed_load, agent_bed_unload),
        cmocka_unit_test_setup_teardown(a_fluentd_takes_every_record, agent_bed_load,
                                        agent_bed_unload),
        cmocka_unit_test_setup_teardown(metrics_and_traces_arrive, agent_bed_load,
                                        agent_bed_unload),
        cmocka_unit_test_setup_teardown(metadata_and_time_arrive, agent_bed_load, agent_bed_unload),
        cmocka_unit_test_setup_teardown(a_server_of_other_authors, agent_bed_load,
                                        agent_bed_unload),
        cmocka_unit_test_setup_teardown(every_node_is_tried_before_a_retry, agent_bed_load,
                                        agent_bed_unload),
        cmocka_unit_test_setup_teardown(no_retry_where_it_may_have_arrived, agent_bed_load,
                                        agent_bed_unload),
        cmocka_unit_test_setup_teardown(garbage_is_given_up, agent_bed_load, agent_bed_unload),
    };
    return cmocka_run_group_tests(tests, agent_bed_open, agent_bed_close);
}
