/* See collectd.h. */
#define _GNU_SOURCE
#include "collectd.h"

#include "check.h"

#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int collectd_is_there(void)
{
    const char *program = getenv("COLLECTD"), *plugin = getenv("COLLECTD_PLUGIN");
    if (program == NULL || access(program, X_OK) != 0) {
        print_message("SKIPPED: collectd is not installed; its plugin was not tested (the Debian "
                      "package collectd-core)\n");
        return 0;
    }
    if (plugin == NULL) {
        print_message("SKIPPED: the plugin for collectd was not built; nothing was tested (the "
                      "Debian package collectd-dev)\n");
        return 0;
    }
    return 1;
}

static void write_config(const char *folder, const char *block, unsigned threads)
{
    char path[512], *plugin = strdup(getenv("COLLECTD_PLUGIN"));
    FILE *file;
    assert_non_null(plugin);
    snprintf(path, sizeof(path), "%s/collectd.conf", folder);
    file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
            "Hostname \"test.example\"\nFQDNLookup false\nBaseDir \"%s\"\nPIDFile \"%s/pid\"\n"
            "Interval 10\nWriteThreads %u\n"
            "LoadPlugin logfile\n<Plugin logfile>\n  LogLevel info\n  File \"%s/log\"\n"
            "  Timestamp true\n  PrintSeverity true\n"
            "</Plugin>\n"
            "LoadPlugin unixsock\n<Plugin unixsock>\n  SocketFile \"%s/socket\"\n</Plugin>\n"
            "PluginDir \"%s\"\nLoadPlugin upstream\n<Plugin upstream>\n"
            "  UpstreamFile \"%s/upstream.conf\"\n%s</Plugin>\n",
            folder, folder, threads, folder, folder, dirname(plugin), folder, block);
    assert_int_equal(fclose(file), 0);
    free(plugin);
}

static struct process run(const char *folder)
{
    char config[512];
    const char *plain[] = {getenv("COLLECTD"), "-f", "-C", config, NULL};
    const char *under_valgrind[] = {
        "valgrind", "--quiet", "--error-exitcode=99", "--leak-check=no", plain[0], "-f", "-C",
        config,     NULL};
    snprintf(config, sizeof(config), "%s/collectd.conf", folder);
    return process_start(getenv("UPSTREAM_VALGRIND") == NULL ? plain : under_valgrind, NULL);
}

static void connect_to(struct collectd *collectd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int turns;
    collectd->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(collectd->socket >= 0);
    assert_in_range(
        snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", collectd->folder), 1,
        sizeof(address.sun_path) - 1);
    for (turns = 0; connect(collectd->socket, (struct sockaddr *)&address, sizeof(address)) != 0;
         turns++) {
        if (turns == 3000) {
            fail_msg("collectd takes no commands:\n%s", collectd_log(collectd->folder));
        }
        usleep(10000);
    }
}

struct collectd collectd_start(const char *folder, const char *block, unsigned threads)
{
    struct collectd collectd = {.folder = folder};
    char path[512];
    snprintf(path, sizeof(path), "%s/log", folder);
    unlink(path);
    write_config(folder, block, threads);
    collectd.process = run(folder);
    connect_to(&collectd);
    return collectd;
}

int collectd_refuses(const char *folder, const char *block)
{
    struct process process;
    char path[512];
    snprintf(path, sizeof(path), "%s/log", folder);
    unlink(path);
    write_config(folder, block, 1);
    process = run(folder);
    return process_finish(&process);
}

/* An answer is "STATUS text": a negative status is an error, another one the number of lines that
 * follow. */
static void read_line(struct collectd *collectd, char *line, size_t room)
{
    size_t used = 0;
    char byte = 0;
    while (byte != '\n' && used + 1 < room) {
        assert_int_equal(read(collectd->socket, &byte, 1), 1);
        line[used++] = byte;
    }
    line[used] = '\0';
}

static int ask(struct collectd *collectd, const char *command, char *answer, size_t room)
{
    char rest[1024];
    int lines, i;
    assert_int_equal(dprintf(collectd->socket, "%s\n", command), strlen(command) + 1);
    read_line(collectd, answer, room);
    lines = atoi(answer);
    for (i = 0; i < lines; i++) {
        read_line(collectd, rest, sizeof(rest));
    }
    return lines;
}

void collectd_command(struct collectd *collectd, const char *format, ...)
{
    char command[1024], answer[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof(command), format, arguments);
    va_end(arguments);
    if (ask(collectd, command, answer, sizeof(answer)) < 0) {
        fail_msg("%s: %s", command, answer);
    }
}

void collectd_await_value(struct collectd *collectd, const char *identifier)
{
    char command[1024], answer[1024];
    int turns;
    snprintf(command, sizeof(command), "GETVAL %s", identifier);
    for (turns = 0; ask(collectd, command, answer, sizeof(answer)) < 1; turns++) {
        if (turns == 3000) {
            fail_msg("%s: %s", command, answer);
        }
        usleep(10000);
    }
}

int collectd_stop(struct collectd *collectd)
{
    close(collectd->socket);
    assert_int_equal(kill(collectd->process.id, SIGTERM), 0);
    return process_finish(&collectd->process);
}

char *collectd_log(const char *folder)
{
    char path[512], *text = NULL;
    size_t room = 0;
    FILE *file;
    snprintf(path, sizeof(path), "%s/log", folder);
    file = fopen(path, "re");
    if (file == NULL || getdelim(&text, &room, '\0', file) < 0) {
        free(text);
        text = strdup("");
        assert_non_null(text);
    }
    if (file != NULL) {
        fclose(file);
    }
    return text;
}

void collectd_log_contains(const char *folder, const char *part)
{
    char *text = collectd_log(folder);
    int turns;
    for (turns = 0; strstr(text, part) == NULL; turns++) {
        if (turns == 3000) {
            fail_msg("\"%s\" is not in the log:\n%s", part, text);
        }
        free(text);
        usleep(10000);
        text = collectd_log(folder);
    }
    free(text);
}
