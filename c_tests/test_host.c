/*
 * The library as a guest in its host: descriptors, threads, signals, output, fork, dlclose.
 */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/loopback.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static upstream_t *sink_set(struct loopback *server)
{
    uint16_t port = loopback_port(server);
    return check_nodes(&port, 1, "");
}

static upstream_status_t send_one(upstream_conn_t *conn, void *ctx)
{
    (void)ctx;
    return upstream_conn_write(conn, "x", 1);
}

static void descriptors_are_close_on_exec(void **state)
{
    struct loopback *server = loopback_start(LOOPBACK_SINK);
    upstream_t *up;
    DIR *folder;
    struct dirent *entry;
    int before[64], count = 0, seen = 0, i;
    (void)state;
    if (check_sanitized("thread")) {
        skip(); /* it has descriptors of its own */
    }
    for (i = 3; i < 1024 && count < 64; i++) {
        if (fcntl(i, F_GETFD) >= 0) {
            before[count++] = i;
        }
    }
    up = sink_set(server);
    assert_status(upstream_deliver(up, send_one, NULL, 0, NULL), UPSTREAM_OK);
    folder = opendir("/proc/self/fd");
    while ((entry = readdir(folder)) != NULL) {
        int fd = atoi(entry->d_name), known = fd <= 2 || fd == dirfd(folder);
        for (i = 0; i < count; i++) {
            known |= before[i] == fd;
        }
        /* valgrind has open descriptors that it hides. */
        if (entry->d_name[0] != '.' && !known && fcntl(fd, F_GETFD) >= 0) {
            assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
            seen++;
        }
    }
    closedir(folder);
    assert_true(seen >= 3); /* epoll, eventfd, the connection; the server's end of it */
    upstream_destroy(up);
    loopback_stop(server);
}

/* The number of library threads; each must have every signal blocked that can be. */
static int library_threads(void)
{
    DIR *folder = opendir("/proc/self/task");
    struct dirent *entry;
    int threads = 0;
    while ((entry = readdir(folder)) != NULL) {
        char path[300], line[256];
        unsigned long long blocked = 0;
        int ours = 0, threads_of_process = 0;
        FILE *file;
        snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
        file = fopen(path, "r");
        if (file == NULL) {
            continue;
        }
        while (fgets(line, sizeof(line), file) != NULL) {
            ours |= strncmp(line, "Name:\tupstream-", 15) == 0;
            sscanf(line, "Threads: %d", &threads_of_process);
            sscanf(line, "SigBlk: %llx", &blocked);
        }
        fclose(file);
        if (ours && threads_of_process > 0) { /* 0: joined already, and about to vanish */
            int number;
            threads++;
            /* valgrind blocks and unblocks signals itself, so the kernel's answer says nothing
             * about us. */
            for (number = 1; number <= 31 && !check_slow(); number++) {
                if (number != SIGKILL && number != SIGSTOP) {
                    assert_true(blocked >> (number - 1) & 1);
                }
            }
        }
    }
    closedir(folder);
    return threads;
}

/* Waits, at most ten seconds, until the kernel has taken everything away. */
static void library_threads_are(int expected)
{
    int turns;
    for (turns = 0; turns < 1000 && library_threads() != expected; turns++) {
        usleep(10000);
    }
    assert_int_equal(library_threads(), expected);
}

static void threads_block_signals_and_are_joined(void **state)
{
    struct loopback *server = loopback_start(LOOPBACK_SINK);
    upstream_t *up = sink_set(server);
    sigset_t mask;
    (void)state;
    if (check_sanitized("thread")) {
        skip(); /* it has a thread of its own */
    }
    library_threads_are(0); /* none before the first dial */
    assert_status(upstream_deliver(up, send_one, NULL, 0, NULL), UPSTREAM_OK);
    library_threads_are(1);
    assert_int_equal(sigprocmask(SIG_BLOCK, NULL, &mask), 0);
    assert_int_equal(sigismember(&mask, SIGTERM), 0); /* the caller's own mask is as it was */
    upstream_destroy(up);
    library_threads_are(0);
    loopback_stop(server);
}

static void nothing_is_printed(void **state)
{
    int refusing, pipe_ends[2], out, err;
    uint16_t port = loopback_refusing_port(&refusing);
    char said[64];
    upstream_t *up = NULL;
    (void)state;
    assert_int_equal(pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK), 0);
    fflush(NULL);
    out = dup(1);
    err = dup(2);
    dup2(pipe_ends[1], 1);
    dup2(pipe_ends[1], 2);
    upstream_create_from_text("nonsense", 8, "t", NULL, &up, NULL);
    upstream_create("/no/such/file", NULL, &up, NULL);
    up = check_nodes(&port, 1, "    surplus 1\n[OTHER]\n    a b");
    upstream_deliver(up, send_one, NULL, 0, NULL);
    upstream_destroy(up);
    fflush(NULL);
    dup2(out, 1);
    dup2(err, 2);
    assert_int_equal(read(pipe_ends[0], said, sizeof(said)), -1);
    assert_int_equal(errno, EAGAIN);
    close(out);
    close(err);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    close(refusing);
}

/* ---- fork ---- */

/* What the child of a fork finds, as an exit status; 0 is right. */
static int in_child(upstream_t *up, upstream_conn_t *held, uint16_t port)
{
    upstream_conn_t *conn = NULL;
    upstream_error_t *err = NULL;
    upstream_stats_t stats = UPSTREAM_STATS_INIT;
    upstream_t *own;
    if (upstream_next_node(up) == NULL || strcmp(upstream_name(up), "test") != 0) {
        return 1;
    }
    if (upstream_stats(up, &stats) != UPSTREAM_OK || stats.connects != 2 ||
        upstream_node_get_data(upstream_node_at(up, 0)) != NULL) {
        return 6;
    }
    if (upstream_connect(up, &conn, &err) != UPSTREAM_ERR_FORKED ||
        upstream_error_status(err) != UPSTREAM_ERR_FORKED) {
        return 2;
    }
    upstream_error_free(err);
    if (upstream_deliver(up, send_one, NULL, 0, NULL) != UPSTREAM_ERR_FORKED) {
        return 3;
    }
    if (upstream_conn_write(held, "child", 5) != UPSTREAM_ERR_FORKED) {
        return 4;
    }
    upstream_conn_release(held);
    upstream_destroy(up);
    own = check_nodes(&port, 1, "");
    if (upstream_deliver(own, send_one, NULL, 0, NULL) != UPSTREAM_OK) {
        return 5;
    }
    upstream_destroy(own);
    return 0;
}

static void a_forked_child_leaves_connections_alone(void **state)
{
    struct loopback *server = loopback_start(LOOPBACK_ECHO);
    upstream_t *up = sink_set(server);
    upstream_conn_t *held = NULL, *idle = NULL;
    char byte;
    int told[2], status, result = -1;
    pid_t child;
    (void)state;
    assert_int_equal(pipe2(told, O_CLOEXEC), 0);
    assert_status(upstream_connect(up, &held, NULL), UPSTREAM_OK);
    assert_status(upstream_connect(up, &idle, NULL), UPSTREAM_OK);
    upstream_conn_release(idle);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        /* The result goes through a pipe. Do not exit: in the child, half of the parent's heap
         * belongs to nobody, and valgrind would report that. */
        status = in_child(up, held, loopback_port(server));
        (void)!write(told[1], &status, sizeof(status));
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(read(told[0], &result, sizeof(result)), sizeof(result));
    assert_int_equal(result, 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    close(told[0]);
    close(told[1]);
    /* The parent's connections are as before: one byte came from the child's own set, and none from
     * these connections. */
    assert_true(loopback_wait_bytes(server, 1));
    assert_status(upstream_conn_write(held, "p", 1), UPSTREAM_OK);
    assert_status(upstream_conn_read_exact(held, &byte, 1), UPSTREAM_OK);
    upstream_conn_release(held);
    assert_status(upstream_deliver(up, send_one, NULL, 0, NULL), UPSTREAM_OK);
    upstream_destroy(up);
    loopback_stop(server);
}

static void loading_and_unloading(void **state)
{
    Dl_info info;
    int i;
    (void)state;
    assert_true(dladdr((void *)(uintptr_t)upstream_version, &info) != 0);
    for (i = 0; i < 100; i++) {
        void *library = dlopen(info.dli_fname, RTLD_NOW | RTLD_LOCAL);
        assert_non_null(library);
        assert_non_null(dlsym(library, "upstream_deliver"));
        assert_int_equal(dlclose(library), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptors_are_close_on_exec),
        cmocka_unit_test(threads_block_signals_and_are_joined),
        cmocka_unit_test(nothing_is_printed),
        cmocka_unit_test(a_forked_child_leaves_connections_alone),
        cmocka_unit_test(loading_and_unloading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
