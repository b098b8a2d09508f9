/* See agent_bed.h. */
#define _GNU_SOURCE
#include "agent_bed.h"

#include "check.h"
#include "descriptors.h"
#include "openssl.h"

#include <dirent.h>
#include <dlfcn.h>
#include <unistd.h>

struct agent_bed bed;

static size_t threads_now(void)
{
    DIR *tasks = opendir("/proc/self/task");
    size_t count = 0;
    assert_non_null(tasks);
    while (readdir(tasks) != NULL) {
        count++;
    }
    closedir(tasks);
    return count - 2;
}

int agent_bed_open(void **state)
{
    (void)state;
    bed.folder = openssl_make_folder();
    snprintf(bed.conf, sizeof(bed.conf), "%s/upstream.conf", bed.folder);
    return 0;
}

int agent_bed_close(void **state)
{
    (void)state;
    openssl_remove_folder(bed.folder);
    return 0;
}

int agent_bed_load(void **state)
{
    (void)state;
    bed.descriptors = descriptors_open();
    bed.threads = threads_now();
    bed.agent = agent_load(getenv("FLUENT_BIT_PLUGIN"));
    agent_log_clear();
    return 0;
}

int agent_bed_unload(void **state)
{
    int turns;
    (void)state;
    agent_unload(bed.agent);
    agent_log_clear();
    assert_null(dlopen(getenv("FLUENT_BIT_PLUGIN"), RTLD_LAZY | RTLD_NOLOAD));
    assert_true(descriptors_fall_to(bed.descriptors));
    for (turns = 0; turns < 1000 && threads_now() > bed.threads; turns++) {
        usleep(10000); /* a joined thread is listed until the kernel has let go of it */
    }
    assert_int_equal(threads_now(), bed.threads);
    return 0;
}

void agent_bed_write(const char *text)
{
    FILE *file = fopen(bed.conf, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

void chunk_add(struct chunk *chunk, const void *bytes, size_t len)
{
    memcpy(chunk->data + chunk->len, bytes, len);
    chunk->len += len;
}

void chunk_add_log(struct chunk *chunk, unsigned number)
{
    char record[32];
    int len = snprintf(record, sizeof(record),
                       "\x81\xa3log\xab"
                       "record %04u",
                       number);
    chunk_add(chunk, record, (size_t)len);
}

struct chunk chunk_of(unsigned first, unsigned records)
{
    struct chunk chunk = {.len = 0};
    unsigned i;
    for (i = 0; i < records; i++) {
        CHUNK_ADD(&chunk, "\x92\x92" CHUNK_TIME "\x80");
        chunk_add_log(&chunk, first + i);
    }
    return chunk;
}

int agent_bed_flush(struct agent_output *output, unsigned first, unsigned records)
{
    struct chunk chunk = chunk_of(first, records);
    return agent_output_flush(output, chunk.data, chunk.len, "app.log");
}

void agent_bed_write_one(unsigned port, const char *keys)
{
    char text[1024];
    int len = snprintf(text, sizeof(text),
                       "[UPSTREAM]\nname one\n%s[NODE]\nname n\n"
                       "host 127.0.0.1\nport %u\n",
                       keys, port);
    assert_in_range(len, 1, sizeof(text) - 1);
    agent_bed_write(text);
}

struct agent_output *agent_bed_start(const char *const *section)
{
    struct agent_output *output = agent_output_start(bed.agent, section);
    if (output == NULL) {
        fail_msg("refused:\n%s", agent_log());
    }
    return output;
}
