/*
 * The program upstream-forward when it is stopped, or loses one of its standard descriptors: what
 * was read from the input is sent or counted, and status 0 means that it was all of the input. The
 * servers are scripted, and count too.
 */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/forward_cli.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

static const forward_script good = {.helo = HELO_NONE, .ack = ACK_GOOD},
                            silent = {.helo = HELO_NONE, .ack = ACK_SILENT};
static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

enum { SIGNALS = sizeof(signals) / sizeof(signals[0]) };

/* Every line that was read is counted under exactly one word. */
static void adds_up(const char *last)
{
    size_t sum = cli_number(last, " delivered") + cli_number(last, " sent, not") +
                 cli_number(last, " lost") + cli_number(last, " may have arrived") +
                 cli_number(last, " not sent");
    if (cli_number(last, " read") != sum) {
        fail_msg("does not add up: %s", last);
    }
}

/* What was read from a pipe is still sent, without regard to --rate; a line that has no end yet is
 * counted. */
static void what_was_taken_from_a_pipe_is_sent(void **state)
{
    enum { LINES = 4000 };
    size_t len, i;
    char *text = cli_lines(LINES, &len);
    (void)state;
    strcpy(text + len, "half"); /* in one write, so that one read takes it all */
    len += 4;
    for (i = 0; i < SIGNALS; i++) {
        forward_server *servers[CLI_NODES];
        char last[256];
        cli_start_servers(servers, &good, "");
        const char *arguments[] = {cli_program, "-q", "-u", cli_conf, "-t", "cli.test",
                                   "-b",        "10", "-r", "100",    NULL};
        struct process p = process_start(arguments, NULL);
        assert_int_equal(write(p.input, text, len), len); /* less than a pipe holds */
        cli_await(servers, 1);
        assert_int_equal(kill(p.id, signals[i]), 0);
        assert_int_equal(cli_finish(&p, last, sizeof(last)), 128 + signals[i]);
        assert_string_equal(last, "4001 read, 4000 delivered, 0 lost, 1 not sent");
        assert_int_equal(cli_records(servers), LINES);
        cli_stop_servers(servers);
    }
    free(text);
}

/* The rest of a file is not read, so the status is not 0. */
static void a_file_is_left_in_the_middle(void **state)
{
    enum { LINES = 100000 };
    size_t len, i;
    char *text = cli_lines(LINES, &len);
    (void)state;
    cli_write(cli_log, text, len);
    free(text);
    for (i = 0; i < SIGNALS; i++) {
        forward_server *servers[CLI_NODES];
        char last[256];
        cli_start_servers(servers, &good, "");
        const char *arguments[] = {cli_program, "-q",   "-u",    cli_conf, "-t", "cli.test",
                                   "-r",        "2000", cli_log, cli_log,  NULL};
        struct process p = process_start(arguments, NULL);
        cli_await(servers, 1);
        assert_int_equal(kill(p.id, signals[i]), 0);
        assert_int_equal(cli_finish(&p, last, sizeof(last)), 128 + signals[i]);
        adds_up(last);
        assert_int_equal(cli_number(last, " read"), cli_records(servers));
        assert_int_equal(cli_number(last, " delivered"), cli_records(servers));
        assert_in_range(cli_records(servers), 1, LINES - 1);
        cli_stop_servers(servers);
    }
}

/* All of the input was read and arrives: the signal came too late to make a difference. */
static void a_signal_at_the_very_end_is_no_failure(void **state)
{
    forward_server *servers[CLI_NODES];
    char last[256], *text;
    size_t len;
    (void)state;
    text = cli_lines(1000, &len);
    cli_write(cli_log, text, len);
    free(text);
    cli_start_servers(servers, &good, "");
    const char *arguments[] = {cli_program, "-q", "-u", cli_conf, "-t",    "cli.test",
                               "-b",        "10", "-r", "100",    cli_log, NULL};
    struct process p = process_start(arguments, NULL);
    cli_await(servers, 1);
    assert_int_equal(kill(p.id, SIGTERM), 0);
    assert_int_equal(cli_finish(&p, last, sizeof(last)), 0);
    assert_string_equal(last, "1000 read, 1000 delivered, 0 lost");
    cli_stop_servers(servers);
}

/* No server answers: the second signal, or the end of --grace, ends the sending, and each line is
 * counted. */
static void the_sending_ends_too(void **state)
{
    static const char *const grace[] = {"600", "0.3"};
    size_t len, i;
    char *text = cli_lines(100, &len);
    (void)state;
    for (i = 0; i < 2; i++) {
        forward_server *servers[CLI_NODES];
        char last[256];
        cli_start_servers(servers, &silent, "");
        const char *arguments[] = {cli_program, "-q",
                                   "-u",        cli_conf,
                                   "-t",        "cli.test",
                                   "-b",        "10",
                                   "--grace",   grace[i],
                                   "-o",        "deliver.timeout=600s",
                                   "-o",        "ack_timeout=600s",
                                   NULL};
        struct process p = process_start(arguments, NULL);
        assert_int_equal(write(p.input, text, len), len);
        cli_await(servers, 1);
        assert_int_equal(kill(p.id, SIGTERM), 0);
        if (i == 0) {
            usleep(500 * 1000); /* a second signal at once counts as the same stop */
            assert_int_equal(kill(p.id, SIGTERM), 0);
        }
        assert_int_equal(cli_finish(&p, last, sizeof(last)), 128 + SIGTERM);
        assert_string_equal(last,
                            "100 read, 0 delivered, 0 lost, 10 may have arrived, 90 not sent");
        cli_stop_servers(servers);
    }
    free(text);
}

/* A named pipe that nobody reads: full, until it is closed. */
static int full_pipe(char *path, size_t room)
{
    static const char filling[4096];
    snprintf(path, room, "%s/full", cli_folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    assert_true(fd >= 0);
    while (write(fd, filling, sizeof(filling)) > 0) {
    }
    return fd;
}

/* Nobody reads the report: after a signal the program gives it up in a while; without a signal it
 * waits for the reader. */
static void a_report_that_nobody_reads_ends_too(void **state)
{
    forward_server *servers[CLI_NODES];
    char last[256], path[128];
    int full = full_pipe(path, sizeof(path));
    (void)state;
    cli_start_servers(servers, &good, "");
    const char *arguments[] = {"sh",       "-c",     "p=$1; shift; exec \"$@\" 3>&1 >\"$p\"",
                               "sh",       path,     cli_program,
                               "-u",       cli_conf, "-t",
                               "cli.test", "-b",     "1",
                               NULL};
    struct process p = process_start(arguments, NULL);
    assert_int_equal(write(p.input, "a\n", 2), 2);
    cli_await(servers, 1);
    kill(p.id, SIGTERM);
    assert_int_equal(cli_finish(&p, last, sizeof(last)), 128 + SIGTERM);
    close(full);
    unlink(path);
    cli_stop_servers(servers);
}

/* As under nohup. */
static void an_ignored_signal_stays_ignored(void **state)
{
    forward_server *servers[CLI_NODES];
    char last[256];
    (void)state;
    cli_start_servers(servers, &good, "");
    const char *arguments[] = {"sh",       "-c",        "trap '' HUP INT; exec \"$@\"",
                               "sh",       cli_program, "-q",
                               "-u",       cli_conf,    "-t",
                               "cli.test", "-b",        "1",
                               NULL};
    struct process p = process_start(arguments, NULL);
    assert_int_equal(write(p.input, "a\n", 2), 2);
    cli_await(servers, 1);
    kill(p.id, SIGHUP);
    kill(p.id, SIGINT);
    usleep(100 * 1000);
    assert_int_equal(write(p.input, "b\n", 2), 2);
    cli_await(servers, 2);
    close(p.input);
    p.input = dup(p.output);
    assert_int_equal(cli_finish(&p, last, sizeof(last)), 0);
    assert_string_equal(last, "2 read, 2 delivered, 0 lost");
    cli_stop_servers(servers);
}

/* SIGSTOP and SIGCONT again and again: every wait goes on where it was. */
static void it_is_suspended_and_goes_on(void **state)
{
    enum { LINES = 2000 };
    forward_server *servers[CLI_NODES];
    char last[256];
    size_t len;
    char *text = cli_lines(LINES, &len);
    int i;
    (void)state;
    cli_start_servers(servers, &good, "");
    const char *arguments[] = {cli_program, "-q", "-u", cli_conf, "-t", "cli.test",
                               "-b",        "10", "-r", "4000",   NULL};
    struct process p = process_start(arguments, NULL);
    assert_int_equal(write(p.input, text, len / 2), len / 2);
    for (i = 0; i < 20; i++) {
        kill(p.id, SIGSTOP);
        usleep(10 * 1000);
        kill(p.id, SIGCONT);
        usleep(10 * 1000);
    }
    assert_int_equal(write(p.input, text + len / 2, len - len / 2), len - len / 2);
    close(p.input);
    p.input = dup(p.output);
    assert_int_equal(cli_finish(&p, last, sizeof(last)), 0);
    assert_string_equal(last, "2000 read, 2000 delivered, 0 lost");
    assert_int_equal(cli_records(servers), LINES);
    cli_stop_servers(servers);
    free(text);
}

/* A pipe by name that nobody writes to yet: the signal ends the wait for its writer. */
static void a_pipe_without_a_writer(void **state)
{
    forward_server *servers[CLI_NODES];
    char last[256], fifo[128];
    (void)state;
    snprintf(fifo, sizeof(fifo), "%s/fifo", cli_folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    cli_start_servers(servers, &good, "");
    cli_write(cli_log, "a\n", 2);
    const char *arguments[] = {cli_program, "-q",   "-u",    cli_conf, "-t", "cli.test",
                               "--flush",   "0.05", cli_log, fifo,     NULL};
    struct process p = process_start(arguments, NULL);
    cli_await(servers, 1);
    assert_int_equal(kill(p.id, SIGTERM), 0);
    assert_int_equal(cli_finish(&p, last, sizeof(last)), 128 + SIGTERM);
    assert_string_equal(last, "1 read, 1 delivered, 0 lost");

    struct process again = process_start(arguments, NULL);
    cli_await(servers, 2);
    int writer = open(fifo, O_WRONLY | O_CLOEXEC);
    assert_true(writer >= 0);
    assert_int_equal(write(writer, "b\nc", 3), 3);
    cli_await(servers, 3);
    close(writer);
    assert_int_equal(cli_finish(&again, last, sizeof(last)), 0);
    assert_string_equal(last, "3 read, 3 delivered, 0 lost");
    unlink(fifo);
    cli_stop_servers(servers);
}

/* ---- files that change ---- */

static void a_file_that_grows_is_read_to_its_end(void **state)
{
    forward_server *servers[CLI_NODES];
    char last[256];
    size_t len;
    char *text = cli_lines(20, &len);
    (void)state;
    cli_write(cli_log, text, len);
    cli_start_servers(servers, &good, "");
    const char *arguments[] = {cli_program, "-q", "-u", cli_conf, "-t",    "cli.test",
                               "-b",        "1",  "-r", "5",      cli_log, NULL};
    struct process p = process_start(arguments, NULL);
    cli_await(servers, 1);
    FILE *file = fopen(cli_log, "a");
    assert_non_null(file);
    fprintf(file, "more\nwithout an end");
    assert_int_equal(fclose(file), 0);
    assert_int_equal(cli_finish(&p, last, sizeof(last)), 0);
    assert_string_equal(last, "22 read, 22 delivered, 0 lost");
    assert_int_equal(cli_count(servers, "without an end"), 1);
    cli_stop_servers(servers);
    free(text);
}

/* Lines that were cut away may not have been read, so the status is not 0. */
static void a_file_that_shrinks_is_told(void **state)
{
    forward_server *servers[CLI_NODES];
    char last[256];
    size_t len;
    char *text = cli_lines(20, &len);
    (void)state;
    cli_write(cli_log, text, len);
    cli_start_servers(servers, &good, "");
    const char *arguments[] = {cli_program, "-q", "-u", cli_conf, "-t",    "cli.test",
                               "-b",        "1",  "-r", "8",      cli_log, NULL};
    struct process p = process_start(arguments, NULL);
    cli_await(servers, 1);
    assert_int_equal(truncate(cli_log, 0), 0);
    assert_int_equal(cli_finish(&p, last, sizeof(last)), 1);
    assert_string_equal(last, "20 read, 20 delivered, 0 lost");
    cli_stop_servers(servers);
    free(text);
}

/* ---- standard descriptors ---- */

enum { LINES = 2000 };

/* Two nodes are gone, so that there are warnings; the third gets every line, once. */
static void run_with(const char *command, int status, const char *expected)
{
    forward_server *servers[CLI_NODES];
    uint16_t ports[CLI_NODES];
    char last[256];
    size_t len;
    char *text = cli_lines(LINES, &len);
    int i;
    cli_write(cli_log, text, len);
    for (i = 0; i < CLI_NODES; i++) {
        servers[i] = forward_server_start(&good);
        ports[i] = forward_server_port(servers[i]);
    }
    forward_server_stop(servers[0]);
    forward_server_stop(servers[2]);
    cli_write_conf(ports, CLI_NODES, "    health.backoff 10ms\n    health.backoff_max 10ms\n");
    const char *arguments[] = {cli_program, "-v", "-v", "-u",    cli_conf, "-t",
                               "cli.test",  "-b", "5",  cli_log, NULL};
    assert_int_equal(cli_run_by_shell(command, arguments, last, sizeof(last)), status);
    assert_string_equal(last, expected);
    assert_int_equal(forward_server_records(servers[1]), LINES);
    assert_int_equal(forward_server_count(servers[1], "line 1999"), 1);
    forward_server_stop(servers[1]);
    free(text);
}

static void the_messages_go_nowhere(void **state)
{
    char path[128], command[512];
    int full;
    (void)state;
    run_with("exec \"$@\" 2>&-", 0, "2000 read, 2000 delivered, 0 lost");
    run_with("exec \"$@\" 2>/dev/full", 0, "2000 read, 2000 delivered, 0 lost");
    run_with("exec \"$@\" 2</dev/null", 0, "2000 read, 2000 delivered, 0 lost");
    run_with("exec \"$@\" <&- 2>&-", 0, "2000 read, 2000 delivered, 0 lost");
    full = full_pipe(path, sizeof(path));
    snprintf(command, sizeof(command), "exec \"$@\" 2>%s", path);
    run_with(command, 0, "2000 read, 2000 delivered, 0 lost");
    close(full);
    /* The shell opens it while it is a reader itself, and then closes its reading end. */
    snprintf(command, sizeof(command), "exec 3<>%s 4>%s 3<&-; exec \"$@\" 2>&4", path, path);
    run_with(command, 0, "2000 read, 2000 delivered, 0 lost");
    unlink(path);
}

/* The counts are then an error message, and the status is not 0, because the report was not
 * printed. */
static void the_report_goes_nowhere(void **state)
{
    (void)state;
    run_with("\"$@\" 2>&1 >/dev/full | grep -o '2000 read, 2000 delivered, 0 lost'", 0,
             "2000 read, 2000 delivered, 0 lost");
    run_with("\"$@\" 2>&1 >&- | grep -o '2000 read, 2000 delivered, 0 lost'", 0,
             "2000 read, 2000 delivered, 0 lost");
    run_with("exec \"$@\" >/dev/full", 1, "");
    run_with("exec \"$@\" >&-", 1, "");
    run_with("exec \"$@\" <&- >&- 2>&-", 1, "");
    run_with("{ \"$@\"; echo $? >&2; } 2>&1 >/dev/null | tail -n 1", 0, "0");
}

static void there_is_no_input(void **state)
{
    forward_server *servers[CLI_NODES];
    char last[256];
    (void)state;
    cli_start_servers(servers, &good, "");
    const char *arguments[] = {cli_program, "-q", "-u", cli_conf, "-t", "cli.test", NULL};
    assert_int_equal(cli_run_by_shell("exec \"$@\" <&-", arguments, last, sizeof(last)), 1);
    assert_string_equal(last, "0 read, 0 delivered, 0 lost");
    assert_int_equal(cli_run_by_shell("exec \"$@\" </dev/null", arguments, last, sizeof(last)), 0);
    assert_int_equal(cli_run_by_shell("exec \"$@\" 0>/dev/null", arguments, last, sizeof(last)), 1);
    assert_int_equal(cli_run_by_shell("exec \"$@\" </", arguments, last, sizeof(last)), 1);
    assert_int_equal(cli_records(servers), 0);
    cli_stop_servers(servers);
}

/* ---- --help and --version ---- */

static void help_is_written_in_full(void **state)
{
    const char *help[] = {cli_program, "--help", NULL},
               *version[] = {cli_program, "--version", NULL};
    char last[256];
    (void)state;
    assert_int_equal(cli_run_by_shell("exec \"$@\" >/dev/full", help, last, sizeof(last)), 1);
    assert_int_equal(cli_run_by_shell("exec \"$@\" >&-", help, last, sizeof(last)), 1);
    assert_int_equal(cli_run_by_shell("exec \"$@\" >/dev/full", version, last, sizeof(last)), 1);
    /* A pipe that is full, and does not block: its reader comes later. */
    int pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    assert_int_equal(fcntl(pipe_fds[1], F_SETPIPE_SZ, 4096), 4096);
    static const char filling[4096];
    assert_int_equal(write(pipe_fds[1], filling, sizeof(filling)), sizeof(filling));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        fcntl(pipe_fds[1], F_SETFL, O_NONBLOCK);
        dup2(pipe_fds[1], 1);
        execl(cli_program, cli_program, "--help", (char *)NULL);
        _exit(127);
    }
    close(pipe_fds[1]);
    usleep(200 * 1000);
    struct process p = {child, dup(pipe_fds[0]), pipe_fds[0]};
    assert_int_equal(cli_finish(&p, last, sizeof(last)), 0);
    check_contains(last, "ends the program at once");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_taken_from_a_pipe_is_sent),
        cmocka_unit_test(a_file_is_left_in_the_middle),
        cmocka_unit_test(a_signal_at_the_very_end_is_no_failure),
        cmocka_unit_test(the_sending_ends_too),
        cmocka_unit_test(a_report_that_nobody_reads_ends_too),
        cmocka_unit_test(an_ignored_signal_stays_ignored),
        cmocka_unit_test(it_is_suspended_and_goes_on),
        cmocka_unit_test(a_pipe_without_a_writer),
        cmocka_unit_test(a_file_that_grows_is_read_to_its_end),
        cmocka_unit_test(a_file_that_shrinks_is_told),
        cmocka_unit_test(the_messages_go_nowhere),
        cmocka_unit_test(the_report_goes_nowhere),
        cmocka_unit_test(there_is_no_input),
        cmocka_unit_test(help_is_written_in_full),
    };
    return cmocka_run_group_tests(tests, cli_prepare, cli_clean);
}
