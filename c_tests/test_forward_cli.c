/*
 * The program upstream-forward, run as its user runs it: what becomes of each kind of line, what it says at the
 * end, and its exit status. Servers are the scripted ones.
 */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/forward_server.h"
#include "support/process.h"

#include <signal.h>
#include <unistd.h>

enum { NODES = 3 };

static const char *program;
static char folder[] = "/tmp/upstream-forward.XXXXXX";
static char conf[64], log_file[64];

static int prepare(void **state)
{
    (void)state;
    program = getenv("UPSTREAM_FORWARD");
    if (program == NULL) {
        print_error("UPSTREAM_FORWARD must name the program: run this by ctest\n");
        return -1;
    }
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(conf, sizeof(conf), "%s/upstream.conf", folder);
    snprintf(log_file, sizeof(log_file), "%s/app.log", folder);
    return 0;
}

static int clean(void **state)
{
    (void)state;
    unlink(conf);
    unlink(log_file);
    return rmdir(folder);
}

static void write_file(const char *path, const void *data, size_t len)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static void write_conf(const uint16_t *ports, size_t count, const char *keys)
{
    char *text = check_nodes_text(ports, count, keys);
    write_file(conf, text, strlen(text));
    free(text);
}

static void start_servers(forward_server **servers, const forward_script *script, const char *keys)
{
    uint16_t ports[NODES];
    for (int i = 0; i < NODES; i++) {
        servers[i] = forward_server_start(script);
        ports[i] = forward_server_port(servers[i]);
    }
    write_conf(ports, NODES, keys);
}

static void stop_servers(forward_server **servers)
{
    for (int i = 0; i < NODES; i++) {
        forward_server_stop(servers[i]);
    }
}

static unsigned arrived(forward_server **servers, const char *line)
{
    unsigned n = 0;
    for (int i = 0; i < NODES; i++) {
        n += forward_server_count(servers[i], line);
    }
    return n;
}

static size_t all_arrived(forward_server **servers)
{
    size_t n = 0;
    for (int i = 0; i < NODES; i++) {
        n += forward_server_records(servers[i]);
    }
    return n;
}

/* Reads to the end, keeps the last line, and gives the exit status. */
static int finish(struct process *p, char *last, size_t room)
{
    char line[1024];
    last[0] = '\0';
    while (process_read_line(p, line, sizeof(line))) {
        snprintf(last, room, "%.*s", (int)room - 1, line);
    }
    return process_finish(p);
}

/* Runs it over `input` on standard input; the last line of its output is in `last`. */
static int run(const char *const *arguments, const void *input, size_t len, char *last, size_t room)
{
    struct process p = process_start(arguments, NULL);
    const char *at = input;
    while (len > 0) {
        ssize_t wrote = write(p.input, at, len);
        if (wrote <= 0) {
            break;
        }
        at += wrote;
        len -= (size_t)wrote;
    }
    close(p.input);
    p.input = dup(p.output); /* process_finish closes both ends */
    return finish(&p, last, room);
}

static void each_line_becomes_a_record(void **state)
{
    (void)state;
    static const char input[] = "plain\ncrlf\r\n\n\xff\xfe bytes\ncr\rinside\n{\"json\": 1}\nlast without newline";
    static const char *const lines[] = {"plain",      "crlf",          "", "\xff\xfe bytes",
                                        "cr\rinside", "{\"json\": 1}", "last without newline"};
    forward_script script = {.helo = HELO_GOOD, .ack = ACK_GOOD, .shared_key = "secret"};
    forward_server *servers[NODES];
    char last[256];

    start_servers(servers, &script, "    shared_key secret\n    require_ack_response on\n");
    const char *arguments[] = {program, "-u", conf, "-t", "cli.test", "-b", "1", "--field", "host=web", NULL};
    assert_int_equal(run(arguments, input, sizeof(input) - 1, last, sizeof(last)), 0);
    assert_string_equal(last, "7 read, 7 delivered, 0 lost");
    assert_int_equal(all_arrived(servers), 7);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        assert_int_equal(arrived(servers, lines[i]), 1);
    }
    for (int i = 0; i < NODES; i++) { /* one record a message, in turn */
        assert_int_equal(forward_server_records(servers[i]), i == 0 ? 3 : 2);
        assert_string_equal(forward_server_tag(servers[i], 0), "cli.test");
    }
    stop_servers(servers);
}

static void long_lines_are_whole(void **state)
{
    (void)state;
    enum { LONG = 5 * 1024 * 1024 };
    forward_script script = {.helo = HELO_NONE, .ack = ACK_GOOD};
    forward_server *servers[NODES];
    char last[256];
    char *line = malloc(LONG + 2);

    assert_non_null(line);
    memset(line, 'x', LONG);
    strcpy(line + LONG, "\n");
    start_servers(servers, &script, "    require_ack_response on\n");
    write_file(log_file, line, LONG + 1);
    const char *arguments[] = {program, "-q", "-u", conf, "-t", "cli.test", log_file, "-", NULL};
    assert_int_equal(run(arguments, "short\n", 6, last, sizeof(last)), 0);
    assert_string_equal(last, "2 read, 2 delivered, 0 lost");
    line[LONG] = '\0';
    assert_int_equal(arrived(servers, line), 1);
    assert_int_equal(arrived(servers, "short"), 1);
    free(line);
    stop_servers(servers);
}

/* A node that refuses and one that never proves the key: their share goes to the third. */
static void the_healthy_node_gets_it_all(void **state)
{
    (void)state;
    forward_script good = {.helo = HELO_GOOD, .ack = ACK_GOOD, .shared_key = "secret"};
    forward_script wrong = {.helo = HELO_GOOD, .pong = PONG_WRONG_DIGEST, .ack = ACK_GOOD, .shared_key = "secret"};
    forward_server *servers[NODES] = {forward_server_start(&wrong), forward_server_start(&good),
                                      forward_server_start(&good)};
    uint16_t ports[NODES];
    char last[256], input[4096];
    size_t len = 0;

    for (int i = 0; i < NODES; i++) {
        ports[i] = forward_server_port(servers[i]);
    }
    forward_server_stop(servers[2]); /* refused from here on */
    write_conf(ports, NODES, "    shared_key secret\n    require_ack_response on\n");
    for (int i = 0; i < 200; i++) {
        len += (size_t)snprintf(input + len, sizeof(input) - len, "line %d\n", i);
    }
    const char *arguments[] = {program, "-q", "-u", conf, "-t", "cli.test", "-b", "10", "--packed", NULL};
    assert_int_equal(run(arguments, input, len, last, sizeof(last)), 0);
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
    forward_server *servers[NODES];
    char last[256];

    start_servers(servers, &script, "");
    stop_servers(servers);
    const char *arguments[] = {program, "-u", conf, "-t", "cli.test", "--retries", "1", NULL};
    assert_int_equal(run(arguments, "a\nb\nc\n", 6, last, sizeof(last)), 1);
    assert_string_equal(last, "3 read, 0 delivered, 3 lost");
}

/* The server goes wrong on its first two connections; the batch is tried again until it is taken. */
static void a_batch_is_tried_again(void **state)
{
    (void)state;
    forward_script script = {.helo = HELO_NONE, .ack = ACK_EOF, .connections = 2};
    forward_server *server = forward_server_start(&script);
    uint16_t port = forward_server_port(server);
    char last[256];

    write_conf(&port, 1, "    require_ack_response on\n");
    const char *arguments[] = {program, "-q", "-u", conf, "-t", "cli.test", "--retry-for", "60", NULL};
    assert_int_equal(run(arguments, "a\nb\nc\n", 6, last, sizeof(last)), 0);
    assert_string_equal(last, "3 read, 3 delivered, 0 lost");
    assert_int_equal(forward_server_accepted(server), 3);
    assert_int_equal(forward_server_messages(server), 3);
    assert_string_equal(forward_server_chunk(server, 0), forward_server_chunk(server, 2));
    forward_server_stop(server);
}

/* What is at hand goes out though the input stays open; SIGTERM then ends the program with all delivered. */
static void a_signal_ends_it_cleanly(void **state)
{
    (void)state;
    forward_script script = {.helo = HELO_NONE, .ack = ACK_GOOD};
    forward_server *servers[NODES];
    char last[256];

    start_servers(servers, &script, "    require_ack_response on\n");
    const char *arguments[] = {program, "-q", "-u", conf, "-t", "cli.test", "--flush", "0.05", NULL};
    struct process p = process_start(arguments, NULL);
    assert_int_equal(write(p.input, "a\nb\nhalf", 8), 8);
    assert_true(forward_server_await(servers[0], 1));
    kill(p.id, SIGTERM);
    assert_int_equal(finish(&p, last, sizeof(last)), 0);
    assert_string_equal(last, "2 read, 2 delivered, 0 lost");
    assert_int_equal(arrived(servers, "a"), 1);
    assert_int_equal(arrived(servers, "b"), 1);
    assert_int_equal(arrived(servers, "half"), 0);
    stop_servers(servers);
}

static void a_missing_file_fails_and_the_rest_is_sent(void **state)
{
    (void)state;
    forward_script script = {.helo = HELO_NONE, .ack = ACK_GOOD};
    forward_server *servers[NODES];
    char last[256], missing[64];

    start_servers(servers, &script, "    require_ack_response on\n");
    write_file(log_file, "there\n", 6);
    snprintf(missing, sizeof(missing), "%s/missing", folder);
    const char *arguments[] = {program, "-q", "-u", conf, "-t", "cli.test", missing, folder, log_file, NULL};
    assert_int_equal(run(arguments, "", 0, last, sizeof(last)), 1);
    assert_string_equal(last, "1 read, 1 delivered, 0 lost");
    assert_int_equal(arrived(servers, "there"), 1);
    stop_servers(servers);
}

static void wrong_use_is_status_2(void **state)
{
    (void)state;
    static const char *const bad[][6] = {
        {"-t", "x"},                                    /* no upstream file */
        {"-u", conf},                                   /* no tag */
        {"-u", conf, "-t", ""},                         /* an empty tag */
        {"-u", conf, "-t", "x", "-b", "0"},             /* out of range */
        {"-u", conf, "-t", "x", "-b", "1x"},            /* no number */
        {"-u", conf, "-t", "x", "-r", "-1"},            /* negative */
        {"-u", conf, "-t", "x", "--flush", "1e3"},      /* no plain number */
        {"-u", conf, "-t", "x", "--field", "novalue"},  /* no = */
        {"-u", conf, "-t", "x", "--field", "log=1"},    /* the line's own key */
        {"-u", conf, "-t", "x", "-o", "tls.verfiy=on"}, /* unknown to the library */
        {"-u", conf, "-t", "x", "--nonsense"},
        {"-u", "/nonexistent/upstream.conf", "-t", "x"},
    };
    uint16_t port = 1;
    char last[256];

    write_conf(&port, 1, "");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *arguments[8] = {program};
        memcpy(arguments + 1, bad[i], sizeof(bad[i]));
        int status = run(arguments, "line\n", 5, last, sizeof(last));
        if (status != 2 || last[0] != '\0') {
            fail_msg("case %zu: status %d, output \"%s\"", i, status, last);
        }
    }
    write_conf(&port, 1, "    compress zstd\n"); /* found at the start, not when the node is used */
    const char *arguments[] = {program, "-u", conf, "-t", "x", NULL};
    assert_int_equal(run(arguments, "line\n", 5, last, sizeof(last)), 2);
    assert_string_equal(last, "");
}

static void help_is_on_standard_output(void **state)
{
    (void)state;
    const char *help[] = {program, "--help", NULL};
    char line[256];
    struct process p = process_start(help, NULL);
    assert_true(process_read_line(&p, line, sizeof(line)));
    check_contains(line, "usage: upstream-forward -u FILE -t TAG");
    assert_int_equal(finish(&p, line, sizeof(line)), 0);
    check_contains(line, "ends the program at once");
    const char *version[] = {program, "--version", NULL};
    assert_int_equal(run(version, "", 0, line, sizeof(line)), 0);
    check_contains(line, UPSTREAM_VERSION_STRING);
}

static void ignore(int number)
{
    (void)number;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_line_becomes_a_record),
        cmocka_unit_test(long_lines_are_whole),
        cmocka_unit_test(the_healthy_node_gets_it_all),
        cmocka_unit_test(all_down_is_told),
        cmocka_unit_test(a_batch_is_tried_again),
        cmocka_unit_test(a_signal_ends_it_cleanly),
        cmocka_unit_test(a_missing_file_fails_and_the_rest_is_sent),
        cmocka_unit_test(wrong_use_is_status_2),
        cmocka_unit_test(help_is_on_standard_output),
    };
    signal(SIGPIPE, ignore); /* one that refuses its arguments reads no input; a handler is not inherited, SIG_IGN is */
    return cmocka_run_group_tests(tests, prepare, clean);
}
