/* The upstream file, the files that it names, options and variables, all hostile: through the whole
 * C API but for connections.
 *
 * An input is text in parts. A line that begins with "%%" begins one:
 *
 *     %%set KEY VALUE       an option; the value may have several lines
 *     %%declare TYPE KEY    a declared key, TYPE as UPSTREAM_KEY_* (one digit)
 *     %%env DIGIT VALUE     the variable V0 to V9
 *     %%file NAME CONTENT   one of the files of `files` below
 *
 * What stands before the first of them is the upstream file. Nobody can name a file of the machine:
 * the thread that calls the library has a folder as its root. */
#define _GNU_SOURCE
#include "contract.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Far above what any input of this size may need, by the limits of docs/configuration.md. */
enum { MEMORY_MB = 768, PARTS = 64 };

static const char *const files[] = {"a.conf",  "b.conf",  "d/c.conf", "d/e.conf", "ca.pem",
                                    "crt.pem", "key.pem", "crl.pem",  "ca/x.pem"};

struct part {
    const char *text;
    size_t size;
};

/* The part's next word, without the one character behind it; at most 1,100 bytes. */
static void take_word(struct part *part, char word[1200])
{
    size_t length = 0;
    while (length < part->size && length < 1100 && part->text[length] != ' ' &&
           part->text[length] != '\n') {
        length++;
    }
    memcpy(word, part->text, length);
    word[length] = '\0';
    length += length < part->size;
    part->text += length;
    part->size -= length;
}

/* The rest of the part as a string, without the end of its last line. */
static char *take_rest(struct part part)
{
    part.size -= part.size > 0 && part.text[part.size - 1] == '\n';
    return strndup(part.text, part.size);
}

static size_t split(const char *text, size_t size, struct part parts[PARTS])
{
    size_t count = 1, at;
    parts[0] = (struct part){text, size};
    for (at = 0; at + 2 <= size && count < PARTS; at++) {
        if (text[at] == '%' && text[at + 1] == '%' && (at == 0 || text[at - 1] == '\n')) {
            parts[count - 1].size = (size_t)(text + at - parts[count - 1].text);
            parts[count++] = (struct part){text + at + 2, size - at - 2};
        }
    }
    return count;
}

static void write_file(const char *name, struct part content)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, content.text, content.size) != (ssize_t)content.size) {
        contract_breach("%s cannot be written: %s", name, strerror(errno));
    }
    close(fd);
}

static void remove_files(void)
{
    size_t i;
    char name[] = "V0";
    for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        unlink(files[i]);
    }
    unlink("main.conf");
    for (i = 0; i < 10; i++) {
        name[1] = (char)('0' + i);
        unsetenv(name);
    }
}

static void play_file(struct part part)
{
    char word[1200];
    size_t i;
    take_word(&part, word);
    for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        if (strcmp(files[i], word) == 0) {
            write_file(word, part);
        }
    }
}

static void play(struct part part, upstream_options_t *options)
{
    upstream_error_t *err = NULL;
    upstream_status_t status;
    char word[1200], key[1200];
    take_word(&part, word);
    if (strcmp(word, "file") == 0) {
        play_file(part);
    } else if (strcmp(word, "set") == 0) {
        char *value;
        take_word(&part, key);
        value = take_rest(part);
        status = upstream_options_set(options, key, value, &err);
        contract_status(status, err, "an option");
        if (status != UPSTREAM_OK && status != UPSTREAM_ERR_CONFIG) {
            contract_breach("an option: %s", upstream_status_name(status));
        }
        free(value);
    } else if (strcmp(word, "declare") == 0) {
        char *name;
        take_word(&part, key);
        name = take_rest(part);
        status = upstream_options_declare_key(options, name, key[0] - '0', &err);
        contract_status(status, err, "a declared key");
        if (status != UPSTREAM_OK && status != UPSTREAM_ERR_INVALID_ARG) {
            contract_breach("a declared key: %s", upstream_status_name(status));
        }
        free(name);
    } else if (strcmp(word, "env") == 0 && part.size > 1 && part.text[0] >= '0' &&
               part.text[0] <= '9') {
        char name[] = {'V', part.text[0], '\0'};
        char *value = take_rest((struct part){part.text + 2, part.size - 2});
        setenv(name, value, 1);
        free(value);
    }
}

static void free_data(void *data)
{
    free(data);
}

static void read_properties(const upstream_node_t *node)
{
    size_t i, count = upstream_node_prop_count(node);
    for (i = 0; i < count; i++) {
        const char *key = NULL, *value = NULL;
        if (upstream_node_prop_at(node, i, &key, &value) != UPSTREAM_OK) {
            contract_breach("property %zu of %zu is missing", i, count);
        }
        /* Each listed key is found, as it is listed. */
        if (upstream_node_get_prop(node, key) == NULL ||
            strcmp(upstream_node_get_prop(node, key), value) != 0) {
            contract_breach("property %.100s is listed and not found", key);
        }
        if (i < 50) {
            (void)upstream_node_get_prop_bool(node, key, -1);
            (void)upstream_node_get_prop_int(node, key, -1);
            (void)upstream_node_get_prop_ms(node, key, -1);
            (void)upstream_node_get_prop_size(node, key, -1);
        }
    }
    if (upstream_node_prop_at(node, count, &(const char *){NULL}, &(const char *){NULL}) !=
        UPSTREAM_ERR_NOT_FOUND) {
        contract_breach("there are more than %zu properties", count);
    }
}

static void read_node(upstream_t *up, upstream_node_t *node)
{
    upstream_stats_t stats = UPSTREAM_STATS_INIT;
    const char *name = upstream_node_name(node), *host = upstream_node_host(node);
    if (name == NULL || name[0] == '\0' || host == NULL || host[0] == '\0') {
        contract_breach("a node lacks its name or its host");
    }
    /* A socket of this machine has no port. */
    if ((upstream_node_port(node) == 0) != (strncmp(host, "unix:", 5) == 0)) {
        contract_breach("node %.100s lacks its port, or has one", name);
    }
    if (upstream_node_by_name(up, name) != node) {
        contract_breach("node %.100s is not found by its name", name);
    }
    if (upstream_node_state(node) < UPSTREAM_NODE_UP ||
        upstream_node_state(node) > UPSTREAM_NODE_PAUSED ||
        upstream_node_retry_after_ms(node) < 0 || (upstream_node_tls(node) & ~1) != 0 ||
        upstream_node_stats(node, &stats) != UPSTREAM_OK) {
        contract_breach("node %.100s is in no known state", name);
    }
    read_properties(node);
    if (upstream_node_set_data(node, malloc(8), free_data) != UPSTREAM_OK ||
        upstream_node_get_data(node) == NULL) {
        contract_breach("node %.100s keeps no data", name);
    }
}

static void pick_and_report(upstream_t *up)
{
    static const upstream_status_t outcomes[] = {
        UPSTREAM_OK, UPSTREAM_ERR_CONNECT, UPSTREAM_ERR_TIMEOUT, UPSTREAM_ERR_BUSY, UPSTREAM_STOP};
    upstream_attempt_t *attempt = NULL;
    size_t i;
    for (i = 0; i < 40; i++) {
        upstream_node_t *node = upstream_next_node(up);
        if (node != NULL && i >= 20) {
            upstream_node_report(node, outcomes[i % 5]);
        }
    }
    (void)upstream_retry_after_ms(up);
    if (upstream_attempt_begin(up, &attempt) != UPSTREAM_OK) {
        contract_breach("no attempt begins");
    }
    for (i = 0; i < 10 && upstream_attempt_next(attempt) != NULL; i++) {
        upstream_attempt_report(attempt, outcomes[i % 5]);
    }
    upstream_attempt_end(attempt, UPSTREAM_OK);
}

static void walk(upstream_t *up)
{
    upstream_stats_t stats = UPSTREAM_STATS_INIT;
    size_t i, count = upstream_node_count(up);
    if (count == 0 || upstream_name(up) == NULL || upstream_stats(up, &stats) != UPSTREAM_OK ||
        stats.nodes != count || upstream_node_at(up, count) != NULL) {
        contract_breach("the set does not count its %zu nodes", count);
    }
    for (i = 0; i < count; i++) {
        read_node(up, upstream_node_at(up, i));
    }
    pick_and_report(up);
}

static upstream_status_t end_set(upstream_status_t status, upstream_t *up, upstream_error_t *err,
                                 const char *place)
{
    contract_status(status, err, place);
    if ((status == UPSTREAM_OK) != (up != NULL)) {
        contract_breach("%s: %s does not go with its set", place, upstream_status_name(status));
    }
    if (status == UPSTREAM_OK) {
        walk(up);
    } else if (status != UPSTREAM_ERR_CONFIG) {
        contract_breach("%s: %s", place, upstream_status_name(status));
    }
    upstream_destroy(up);
    return status;
}

static void run(const char *text, size_t size)
{
    static struct part parts[PARTS];
    upstream_options_t *options = NULL;
    upstream_t *up = NULL;
    upstream_error_t *err = NULL;
    upstream_status_t status, again;
    size_t i, count = split(text, size, parts);
    contract_secret_allowed = memmem(text, size, "Zq9", 3) != NULL;
    upstream_options_create(&options);
    upstream_options_set_logger(options, UPSTREAM_LOG_TRACE, contract_log, NULL);
    upstream_options_declare_key(options, "fuzz_secret", UPSTREAM_KEY_SECRET, NULL);
    upstream_options_set(options, "fuzz_secret", contract_secret, NULL);
    for (i = 1; i < count; i++) {
        play(parts[i], options);
    }
    write_file("main.conf", parts[0]);
    status = upstream_create("main.conf", options, &up, &err);
    status = end_set(status, up, err, "the file");
    up = NULL;
    err = NULL;
    again =
        upstream_create_from_text(parts[0].text, parts[0].size, "main.conf", options, &up, &err);
    again = end_set(again, up, err, "the text");
    if (status != again) {
        contract_breach("%s from the file, %s from its text", upstream_status_name(status),
                        upstream_status_name(again));
    }
    upstream_options_destroy(options);
    remove_files();
}

/* The thread that calls the library, and what it is given. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static const uint8_t *given;
static size_t given_size;
static int is_given;
static char folder[] = "/tmp/upstream-fuzz.XXXXXX";

static void *work(void *unused)
{
    (void)unused;
    if (unshare(CLONE_FS) != 0 || chroot(folder) != 0 || chdir("/") != 0) {
        fprintf(stderr, "skipped: no folder can be the root here: %s\n", strerror(errno));
        _exit(77);
    }
    pthread_mutex_lock(&lock);
    for (;;) {
        while (!is_given) {
            pthread_cond_wait(&changed, &lock);
        }
        if (given == NULL) {
            break;
        }
        run((const char *)given, given_size);
        is_given = 0;
        pthread_cond_signal(&changed);
    }
    rmdir("/d");
    rmdir("/ca");
    pthread_mutex_unlock(&lock);
    return NULL;
}

static pthread_t worker;

static void give(const uint8_t *data, size_t size)
{
    pthread_mutex_lock(&lock);
    given = data;
    given_size = size;
    is_given = 1;
    pthread_cond_signal(&changed);
    while (is_given && data != NULL) {
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
}

static void stop(void)
{
    give(NULL, 0);
    pthread_join(worker, NULL);
    rmdir(folder);
}

static void write_map(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t written = write(fd, text, strlen(text));
        (void)written;
        close(fd);
    }
}

/* Who may not change the root may do so in a user namespace, if the kernel allows that. */
static void be_allowed(void)
{
    char uids[64], gids[64];
    if (geteuid() == 0) {
        return;
    }
    snprintf(uids, sizeof(uids), "0 %u 1", (unsigned)getuid());
    snprintf(gids, sizeof(gids), "0 %u 1", (unsigned)getgid());
    if (unshare(CLONE_NEWUSER) != 0) {
        fprintf(stderr, "skipped: the kernel allows no user namespaces here\n");
        exit(77);
    }
    write_map("/proc/self/setgroups", "deny");
    write_map("/proc/self/uid_map", uids);
    write_map("/proc/self/gid_map", gids);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char path[64];
    (void)argc;
    (void)argv;
    be_allowed();
    if (mkdtemp(folder) == NULL) {
        contract_breach("no folder can be made: %s", strerror(errno));
    }
    snprintf(path, sizeof(path), "%s/d", folder);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s/ca", folder);
    mkdir(path, 0700);
    /* The system's certificates would take most of the time. */
    setenv("SSL_CERT_FILE", "/ca.pem", 1);
    setenv("SSL_CERT_DIR", "/ca", 1);
    if (pthread_create(&worker, NULL, work, NULL) != 0) {
        contract_breach("no thread can be started");
    }
    atexit(stop);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    give(data, size);
    contract_end(MEMORY_MB);
    return 0;
}
