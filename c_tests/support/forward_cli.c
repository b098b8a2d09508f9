/* See forward_cli.h. */
#define _GNU_SOURCE
#include "forward_cli.h"

#include "check.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

const char *cli_program;
char cli_folder[64], cli_conf[128], cli_log[128];

static void ignore(int number)
{
    (void)number;
}

int cli_prepare(void **state)
{
    (void)state;
    /* a program that refuses its arguments reads no input; unlike SIG_IGN, a handler is not
     * inherited */
    signal(SIGPIPE, ignore);
    cli_program = getenv("UPSTREAM_FORWARD");
    if (cli_program == NULL) {
        print_error("UPSTREAM_FORWARD must name the program: run this by ctest\n");
        return -1;
    }
    strcpy(cli_folder, "/tmp/upstream-forward.XXXXXX");
    if (mkdtemp(cli_folder) == NULL) {
        return -1;
    }
    snprintf(cli_conf, sizeof(cli_conf), "%s/upstream.conf", cli_folder);
    snprintf(cli_log, sizeof(cli_log), "%s/app.log", cli_folder);
    return 0;
}

int cli_clean(void **state)
{
    const char *arguments[] = {"rm", "-rf", cli_folder, NULL};
    (void)state;
    return process_run(arguments, NULL);
}

void cli_write(const char *path, const void *data, size_t len)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

void cli_write_conf(const uint16_t *ports, size_t count, const char *keys)
{
    char *text = check_nodes_text(ports, count, keys);
    cli_write(cli_conf, text, strlen(text));
    free(text);
}

char *cli_lines(unsigned count, size_t *len)
{
    char *text = malloc((size_t)count * 16 + 1);
    unsigned i;
    assert_non_null(text);
    *len = 0;
    for (i = 0; i < count; i++) {
        *len += (size_t)sprintf(text + *len, "line %u\n", i);
    }
    return text;
}

void cli_start_servers(forward_server **servers, const forward_script *script, const char *keys)
{
    uint16_t ports[CLI_NODES];
    int i;
    for (i = 0; i < CLI_NODES; i++) {
        servers[i] = forward_server_start(script);
        ports[i] = forward_server_port(servers[i]);
    }
    cli_write_conf(ports, CLI_NODES, keys);
}

void cli_stop_servers(forward_server **servers)
{
    int i;
    for (i = 0; i < CLI_NODES; i++) {
        forward_server_stop(servers[i]);
    }
}

size_t cli_records(forward_server **servers)
{
    size_t n = 0;
    int i;
    for (i = 0; i < CLI_NODES; i++) {
        n += forward_server_records(servers[i]);
    }
    return n;
}

unsigned cli_count(forward_server **servers, const char *line)
{
    unsigned n = 0;
    int i;
    for (i = 0; i < CLI_NODES; i++) {
        n += forward_server_count(servers[i], line);
    }
    return n;
}

void cli_await(forward_server **servers, size_t records)
{
    int turns;
    for (turns = 0; turns < 1000 && cli_records(servers) < records; turns++) {
        usleep(10000);
    }
    assert_true(cli_records(servers) >= records);
}

int cli_finish(struct process *p, char *last, size_t room)
{
    char line[1024];
    int status;
    last[0] = '\0';
    while (process_read_line(p, line, sizeof(line))) {
        snprintf(last, room, "%.*s", (int)room - 1, line);
    }
    close(p->input);
    close(p->output);
    while (waitpid(p->id, &status, 0) < 0) {
        assert_int_equal(errno, EINTR);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int cli_run(const char *const *arguments, const void *input, size_t len, char *last, size_t room)
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
    p.input = dup(p.output); /* cli_finish closes both ends */
    return cli_finish(&p, last, room);
}

int cli_run_by_shell(const char *command, const char *const *arguments, char *last, size_t room)
{
    const char *all[32] = {"sh", "-c", command, "sh"};
    size_t i;
    for (i = 0; arguments[i] != NULL; i++) {
        assert_true(i + 5 < sizeof(all) / sizeof(all[0]));
        all[4 + i] = arguments[i];
    }
    return cli_run(all, "", 0, last, room);
}

size_t cli_number(const char *last, const char *word)
{
    const char *at = strstr(last, word);
    if (at == NULL) {
        return 0;
    }
    while (at > last && at[-1] != ',') {
        at--;
    }
    return strtoul(at, NULL, 10);
}
