/*
 * The program upstream-forward, run as its user runs it: what happens to each kind of line, what it
 * says at the end, and its exit status. The servers are scripted.
 */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/forward_cli.h"

#include <forward.h>

#include <unistd.h>

static void each_line_becomes_a_record(void **state)
{
    (void)state;
    static const char input[] = "plain\ncrlf\r\n\n\xff\xfe bytes\ncr\rinside\n{\"json\": 1}\n"
                                "last without newline";
    static const char *const lines[] = {"plain",
                                        "crlf",
                                        "",
                                        "\xff\xfe bytes",
                                        "cr\rinside",
                                        "{\"json\": 1}",
                                        "last without newline"};
    forward_script script = {.helo = HELO_GOOD, .ack = ACK_GOOD, .shared_key = "secret"};
    forward_server *servers[CLI_NODES];
    char last[256];

    cli_start_servers(servers, &script, "    shared_key secret\n    require_ack_response on\n");
    const char *arguments[] = {cli_program, "-u", cli_conf,  "-t",       "cli.test",
                               "-b",        "1",  "--field", "host=web", NULL};
    assert_int_equal(cli_run(arguments, input, sizeof(input) - 1, last, sizeof(last)), 0);
    assert_string_equal(last, "7 read, 7 delivered, 0 lost");
    assert_int_equal(cli_records(servers), 7);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        assert_int_equal(cli_count(servers, lines[i]), 1);
    }
    for (int i = 0; i < CLI_NODES; i++) { /* one record a message, in turn */
        assert_int_equal(forward_server_records(servers[i]), i == 0 ? 3 : 2);
        assert_string_equal(forward_server_tag(servers[i], 0), "cli.test");
    }
    cli_stop_servers(servers);
}

static void long_lines_are_whole(void **state)
{
    (void)state;
    enum { LONG = 5 * 1024 * 1024 };
    forward_script script = {.helo = HELO_NONE, .ack = ACK_GOOD};
    forward_server *servers[CLI_NODES];
    char last[256];
    char *line = malloc(LONG + 2);

    assert_non_null(line);
    memset(line, 'x', LONG);
    strcpy(line + LONG, "\n");
    cli_start_servers(servers, &script, "    require_ack_response on\n");
    cli_write(cli_log, line, LONG + 1);
    const char *arguments[] = {cli_program, "-q",    "-u", cli_conf, "-t",
                               "cli.test",  cli_log, "-",  NULL};
    assert_int_equal(cli_run(arguments, "short\n", 6, last, sizeof(last)), 0);
    assert_string_equal(last, "2 read, 2 delivered, 0 lost");
    line[LONG] = '\0';
    assert_int_equal(cli_count(servers, line), 1);
    assert_int_equal(cli_count(servers, "short"), 1);
    free(line);
    cli_stop_servers(servers);
}

/* A node that refuses and one that never proves the key: their share goes to the third. */
static void the_healthy_node_gets_it_all(void **state)
{
    (void)state;
    forward_script good = {.helo = HELO_GOOD, .ack = ACK_GOOD, .shared_key = "secret"};
    forward_script wrong = {
        .helo = HELO_GOOD, .pong = PONG_WRONG_DIGEST, .ack = ACK_GOOD, .shared_key = "secret"};
    forward_server *servers[CLI_NODES] = {forward_server_start(&wrong), forward_server_start(&good),
                                          forward_server_start(&good)};
    uint16_t ports[CLI_NODES];
    char last[256], input[4096];
    size_t len = 0;

    for (int i = 0; i < CLI_NODES; i++) {
        ports[i] = forward_server_port(servers[i]);
    }
    forward_server_stop(servers[2]); /* refused from here on */
    cli_write_conf(ports, CLI_NODES, "    shared_key secret\n    require_ack_response on\n");
    for (int i = 0; i < 200; i++) {
        len += (size_t)snprintf(input + len, sizeof(input) - len, "line %d\n", i);
    }
    const char *arguments[] = {cli_program, "-q", "-u", cli_conf,   "-t",
                               "cli.test",  "-b", "10", "--packed", NULL};
    assert_int_equal(cli_run(arguments, input, len, last, sizeof(last)), 0);
    assert_string_equal(last, "200 read, 200 delivered, 0 lost");
    assert_int_equal(forward_server_records(servers[0]), 0);
    assert_int_equal(forward_server_records(servers[1]), 200);
    assert_int_equal(forward_server_count(servers[1], "line 199"), 1);
    forward_server_stop(servers[0]);
    forward_server_stop(servers[1]);
}

static void all_down_is_told(void **state)
{
    (void)state;
    forward_script script = {.helo = HELO_NONE, .ack = ACK_GOOD};
    forward_server *servers[CLI_NODES];
    char last[256];

    cli_start_servers(servers, &script, "");
    cli_stop_servers(servers);
    const char *arguments[] = {cli_program, "-u",        cli_conf, "-t",
                               "cli.test",  "--retries", "1",      NULL};
    assert_int_equal(cli_run(arguments, "a\nb\nc\n", 6, last, sizeof(last)), 1);
    assert_string_equal(last, "3 read, 0 delivered, 3 lost");
}

/* The server goes wrong on its first two connections; the batch is tried again until it is
 * taken. */
static void a_batch_is_tried_again(void **state)
{
    (void)state;
    forward_script script = {.helo = HELO_NONE, .ack = ACK_EOF, .connections = 2};
    forward_server *server = forward_server_start(&script);
    uint16_t port = forward_server_port(server);
    char last[256];

    cli_write_conf(&port, 1, "    require_ack_response on\n");
    const char *arguments[] = {cli_program, "-q",          "-u", cli_conf, "-t",
                               "cli.test",  "--retry-for", "60", NULL};
    assert_int_equal(cli_run(arguments, "a\nb\nc\n", 6, last, sizeof(last)), 0);
    assert_string_equal(last, "3 read, 3 delivered, 0 lost");
    assert_int_equal(forward_server_accepted(server), 3);
    assert_int_equal(forward_server_messages(server), 3);
    assert_string_equal(forward_server_chunk(server, 0), forward_server_chunk(server, 2));
    forward_server_stop(server);
}

/* If the file does not say anything else, each message asks for an ack. */
static void acks_are_asked_for(void **state)
{
    (void)state;
    forward_script script = {.helo = HELO_NONE, .ack = ACK_GOOD};
    forward_server *servers[CLI_NODES];
    char last[256];

    cli_start_servers(servers, &script, "");
    const char *arguments[] = {cli_program, "-q", "-u", cli_conf, "-t",
                               "cli.test",  "-b", "1",  NULL};
    assert_int_equal(cli_run(arguments, "a\nb\nc\n", 6, last, sizeof(last)), 0);
    assert_string_equal(last, "3 read, 3 delivered, 0 lost");
    for (int i = 0; i < CLI_NODES; i++) {
        assert_int_equal(strlen(forward_server_chunk(servers[i], 0)), FORWARD_CHUNK_ID_LEN);
    }
    cli_stop_servers(servers);
}

/* Without acks nothing is called delivered, in whatever way acks were turned off. */
static void without_acks_nothing_is_called_delivered(void **state)
{
    (void)state;
    static const char *const keys[] = {"    require_ack_response off\n", "",
                                       "    require_ack_response on\n"};
    static const char *const words[][3] = {
        {"-q"}, {"-q", "-o", "require_ack_response=off"}, {"-q", "--no-acks"}};
    forward_script script = {.helo = HELO_NONE, .ack = ACK_GOOD};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        forward_server *servers[CLI_NODES];
        char last[256];
        const char *arguments[9] = {cli_program, "-u", cli_conf, "-t", "cli.test"};
        memcpy(arguments + 5, words[i], sizeof(words[i]));
        cli_start_servers(servers, &script, keys[i]);
        assert_int_equal(cli_run(arguments, "a\nb\nc\n", 6, last, sizeof(last)), 0);
        assert_string_equal(last, "3 read, 3 sent, not acknowledged, 0 lost");
        cli_await(servers, 3);
        assert_string_equal(forward_server_chunk(servers[0], 0), "");
        cli_stop_servers(servers);
    }
}

/* One node is asked for acks and two are not: each record is counted by how its own node is
 * asked. */
static void each_record_has_its_own_word(void **state)
{
    (void)state;
    forward_script script = {.helo = HELO_NONE, .ack = ACK_GOOD};
    forward_server *servers[CLI_NODES];
    char last[256], *text;

    cli_start_servers(servers, &script, "");
    uint16_t ports[CLI_NODES];
    for (int i = 0; i < CLI_NODES; i++) {
        ports[i] = forward_server_port(servers[i]);
    }
    text = check_nodes_text(ports, CLI_NODES, "");
    FILE *file = fopen(cli_conf, "w");
    assert_non_null(file);
    fprintf(file, "%s    require_ack_response off\n", text); /* of the last node */
    assert_int_equal(fclose(file), 0);
    free(text);
    const char *arguments[] = {cli_program, "-q", "-u", cli_conf, "-t",
                               "cli.test",  "-b", "1",  NULL};
    assert_int_equal(cli_run(arguments, "a\nb\nc\n", 6, last, sizeof(last)), 0);
    assert_string_equal(last, "3 read, 2 delivered, 1 sent, not acknowledged, 0 lost");
    cli_stop_servers(servers);
}

/* A server stores each message and closes without an ack: nobody can know that it has it. */
static void what_was_not_acknowledged_may_have_arrived(void **state)
{
    (void)state;
    forward_script script = {.helo = HELO_NONE, .ack = ACK_EOF};
    forward_server *servers[CLI_NODES];
    char last[256];

    cli_start_servers(servers, &script, "    health.max_fails 100\n");
    const char *arguments[] = {cli_program, "-q",        "-u", cli_conf, "-t",
                               "cli.test",  "--retries", "0",  NULL};
    assert_int_equal(cli_run(arguments, "a\nb\nc\n", 6, last, sizeof(last)), 1);
    assert_string_equal(last, "3 read, 0 delivered, 0 lost, 3 may have arrived");
    assert_int_equal(cli_count(servers, "a"), CLI_NODES);
    cli_stop_servers(servers);
}

/* At most once: servers store the record and never answer, or hang up. It is not sent a second
 * time, neither to another node nor by a retry. */
static void with_resend_off_it_is_sent_once(void **state)
{
    (void)state;
    static const ack_part ways[] = {ACK_SILENT, ACK_EOF};
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        forward_script script = {.helo = HELO_NONE, .ack = ways[i]};
        forward_server *servers[CLI_NODES];
        char last[256];

        cli_start_servers(servers, &script, "    ack_timeout 200ms\n");
        const char *arguments[] = {cli_program,   "-q",       "-u", cli_conf,
                                   "-t",          "cli.test", "-o", "deliver.resend=off",
                                   "--retry-for", "3",        NULL};
        assert_int_equal(cli_run(arguments, "a\nb\nc\n", 6, last, sizeof(last)), 1);
        assert_string_equal(last, "3 read, 0 delivered, 0 lost, 3 may have arrived");
        assert_int_equal(cli_records(servers), 3);
        assert_int_equal(cli_count(servers, "a"), 1);
        cli_stop_servers(servers);
    }
}

/* Also with at most once, what cannot have arrived is not given up: the servers refuse at first,
 * and are back later. */
static void with_resend_off_what_cannot_be_there_is_tried_again(void **state)
{
    (void)state;
    forward_script script = {.helo = HELO_SILENT};
    script.connections = 1; /* the login is not answered, the next one is */
    script.shared_key = "secret";
    script.ack = ACK_GOOD;
    forward_server *server = forward_server_start(&script);
    uint16_t port = forward_server_port(server);
    char last[256];

    cli_write_conf(&port, 1, "    shared_key secret\n    ack_timeout 200ms\n");
    const char *arguments[] = {cli_program,   "-q",       "-u", cli_conf,
                               "-t",          "cli.test", "-o", "deliver.resend=off",
                               "--retry-for", "60",       NULL};
    assert_int_equal(cli_run(arguments, "a\nb\nc\n", 6, last, sizeof(last)), 0);
    assert_string_equal(last, "3 read, 3 delivered, 0 lost");
    assert_int_equal(forward_server_records(server), 3);
    forward_server_stop(server);
}

static void any_byte_may_stand_in_a_line(void **state)
{
    (void)state;
    static const char input[] = "a\0b\n\0\n\0\0no newline\0";
    forward_script script = {.helo = HELO_NONE, .ack = ACK_GOOD};
    forward_server *servers[CLI_NODES];
    char last[256];
    size_t len;

    cli_start_servers(servers, &script, "");
    const char *arguments[] = {cli_program, "-q", "--packed", "-u",
                               cli_conf,    "-t", "cli.test", NULL};
    assert_int_equal(cli_run(arguments, input, sizeof(input) - 1, last, sizeof(last)), 0);
    assert_string_equal(last, "3 read, 3 delivered, 0 lost");
    assert_int_equal(cli_records(servers), 3);
    const char *packed = forward_server_packed(servers[0], 0, &len);
    assert_non_null(memmem(packed, len,
                           "\xa3"
                           "a\0b",
                           4));
    assert_non_null(memmem(packed, len, "\xa1\0", 2));
    assert_non_null(memmem(packed, len, "\xad\0\0no newline\0", 14));
    cli_stop_servers(servers);
}

/* A line over the limit is left out and counted; the line after it arrives. */
static void a_line_over_the_limit_is_counted(void **state)
{
    (void)state;
    enum { LONG = 64 * 1024 * 1024 + 1 };
    forward_script script = {.helo = HELO_NONE, .ack = ACK_GOOD};
    forward_server *servers[CLI_NODES];
    char last[256], *text = malloc(LONG + 8);

    assert_non_null(text);
    memset(text, 'x', LONG);
    memcpy(text + LONG, "\nnext\n", 6);
    cli_start_servers(servers, &script, "");
    const char *arguments[] = {cli_program, "-q", "-u", cli_conf, "-t", "cli.test", NULL};
    assert_int_equal(cli_run(arguments, text, LONG + 6, last, sizeof(last)), 1);
    assert_string_equal(last, "2 read, 1 delivered, 1 lost");
    assert_int_equal(cli_count(servers, "next"), 1);
    free(text);
    cli_stop_servers(servers);
}

static void a_missing_file_fails_and_the_rest_is_sent(void **state)
{
    (void)state;
    forward_script script = {.helo = HELO_NONE, .ack = ACK_GOOD};
    forward_server *servers[CLI_NODES];
    char last[256], missing[128];

    cli_start_servers(servers, &script, "    require_ack_response on\n");
    cli_write(cli_log, "there\n", 6);
    snprintf(missing, sizeof(missing), "%s/missing", cli_folder);
    const char *arguments[] = {cli_program, "-q",    "-u",       cli_conf, "-t",
                               "cli.test",  missing, cli_folder, cli_log,  NULL};
    assert_int_equal(cli_run(arguments, "", 0, last, sizeof(last)), 1);
    assert_string_equal(last, "1 read, 1 delivered, 0 lost");
    assert_int_equal(cli_count(servers, "there"), 1);
    cli_stop_servers(servers);
}

static void wrong_use_is_status_2(void **state)
{
    (void)state;
    static const char *const bad[][6] = {
        {"-t", "x"},                                        /* no upstream file */
        {"-u", cli_conf},                                   /* no tag */
        {"-u", cli_conf, "-t", ""},                         /* an empty tag */
        {"-u", cli_conf, "-t", "x", "-b", "0"},             /* out of range */
        {"-u", cli_conf, "-t", "x", "-b", "1x"},            /* no number */
        {"-u", cli_conf, "-t", "x", "-r", "-1"},            /* negative */
        {"-u", cli_conf, "-t", "x", "--flush", "1e3"},      /* no plain number */
        {"-u", cli_conf, "-t", "x", "--field", "novalue"},  /* no = */
        {"-u", cli_conf, "-t", "x", "--field", "log=1"},    /* the line's own key */
        {"-u", cli_conf, "-t", "x", "-o", "tls.verfiy=on"}, /* unknown to the library */
        {"-u", cli_conf, "-t", "x", "--nonsense"},
        {"-u", "/nonexistent/upstream.conf", "-t", "x"},
    };
    uint16_t port = 1;
    char last[256];

    cli_write_conf(&port, 1, "");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *arguments[8] = {cli_program};
        memcpy(arguments + 1, bad[i], sizeof(bad[i]));
        int status = cli_run(arguments, "line\n", 5, last, sizeof(last));
        if (status != 2 || last[0] != '\0') {
            fail_msg("case %zu: status %d, output \"%s\"", i, status, last);
        }
    }
    cli_write_conf(&port, 1,
                   "    compress zstd\n"); /* found at the start, not when the node is used */
    const char *arguments[] = {cli_program, "-u", cli_conf, "-t", "x", NULL};
    assert_int_equal(cli_run(arguments, "line\n", 5, last, sizeof(last)), 2);
    assert_string_equal(last, "");
}

static void help_is_on_standard_output(void **state)
{
    (void)state;
    const char *help[] = {cli_program, "--help", NULL};
    char line[256];
    struct process p = process_start(help, NULL);
    assert_true(process_read_line(&p, line, sizeof(line)));
    check_contains(line, "usage: upstream-forward -u FILE -t TAG");
    assert_int_equal(cli_finish(&p, line, sizeof(line)), 0);
    check_contains(line, "ends the program at once");
    const char *version[] = {cli_program, "--version", NULL};
    assert_int_equal(cli_run(version, "", 0, line, sizeof(line)), 0);
    check_contains(line, UPSTREAM_VERSION_STRING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_line_becomes_a_record),
        cmocka_unit_test(long_lines_are_whole),
        cmocka_unit_test(the_healthy_node_gets_it_all),
        cmocka_unit_test(all_down_is_told),
        cmocka_unit_test(a_batch_is_tried_again),
        cmocka_unit_test(acks_are_asked_for),
        cmocka_unit_test(without_acks_nothing_is_called_delivered),
        cmocka_unit_test(each_record_has_its_own_word),
        cmocka_unit_test(what_was_not_acknowledged_may_have_arrived),
        cmocka_unit_test(with_resend_off_it_is_sent_once),
        cmocka_unit_test(with_resend_off_what_cannot_be_there_is_tried_again),
        cmocka_unit_test(any_byte_may_stand_in_a_line),
        cmocka_unit_test(a_line_over_the_limit_is_counted),
        cmocka_unit_test(a_missing_file_fails_and_the_rest_is_sent),
        cmocka_unit_test(wrong_use_is_status_2),
        cmocka_unit_test(help_is_on_standard_output),
    };
    return cmocka_run_group_tests(tests, cli_prepare, cli_clean);
}
