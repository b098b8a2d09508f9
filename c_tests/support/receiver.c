/* See receiver.h. */
#define _GNU_SOURCE
#include "receiver.h"

#include "check.h"

#include <fcntl.h>
#include <unistd.h>

void receiver_start(struct receiver *receiver, const char *folder, const char *name,
                    const char *const *more)
{
    const char *program = getenv("FORWARD_RECEIVER"), *arguments[24];
    char line[256], port[16];
    size_t count = 0;
    if (program == NULL) {
        fail_msg("FORWARD_RECEIVER must name the program: run this by ctest");
    }
    snprintf(port, sizeof(port), "%u", receiver->port);
    snprintf(receiver->out, sizeof(receiver->out), "%s/%s.json", folder, name);
    snprintf(receiver->certificate, sizeof(receiver->certificate), "%s/%s.crt", folder, name);
    arguments[count++] = program;
    arguments[count++] = "--port";
    arguments[count++] = port;
    arguments[count++] = "--out";
    arguments[count++] = receiver->out;
    for (; *more != NULL; more++) {
        arguments[count++] = *more;
        if (strcmp(*more, "--tls") == 0) {
            arguments[count++] = "--write-cert";
            arguments[count++] = receiver->certificate;
        }
    }
    arguments[count] = NULL;
    receiver->process = process_start(arguments, NULL);
    assert_true(process_read_line(&receiver->process, line, sizeof(line)));
    assert_int_equal(sscanf(line, "ready port=%u", &receiver->port), 1);
}

void receiver_tell(struct receiver *receiver, const char *command)
{
    char line[256];
    assert_int_equal(dprintf(receiver->process.input, "%s\n", command), strlen(command) + 1);
    assert_true(process_read_line(&receiver->process, line, sizeof(line)));
    assert_string_equal(line, "ok");
}

void receiver_counts(struct receiver *receiver, char *line, size_t size)
{
    assert_int_equal(dprintf(receiver->process.input, "count\n"), 6);
    assert_true(process_read_line(&receiver->process, line, size));
}

void receiver_kill(struct receiver *receiver)
{
    process_kill(&receiver->process);
}

void receiver_stop(struct receiver *receiver)
{
    close(receiver->process.input); /* which ends it */
    receiver->process.input = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_int_equal(process_finish(&receiver->process), 0);
}

void receiver_each(const struct receiver *receiver, void (*look)(const char *line, void *context),
                   void *context)
{
    FILE *file = fopen(receiver->out, "re");
    char *line = NULL;
    size_t room = 0;
    ssize_t used;
    assert_non_null(file);
    /* a line without its end is still being written */
    while ((used = getline(&line, &room, file)) > 0 && line[used - 1] == '\n') {
        line[used - 1] = '\0';
        look(line, context);
    }
    free(line);
    fclose(file);
}

static void count(const char *line, void *context)
{
    (void)line;
    ++*(size_t *)context;
}

size_t receiver_records(const struct receiver *receiver)
{
    size_t records = 0;
    receiver_each(receiver, count, &records);
    return records;
}

int receiver_await(const struct receiver *receiver, size_t records)
{
    int turns;
    for (turns = 0; turns < 3000; turns++) {
        if (receiver_records(receiver) >= records) {
            return 1;
        }
        usleep(10000);
    }
    return 0;
}
