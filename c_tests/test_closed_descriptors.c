/* A host closes every descriptor after it has created a set, like a daemon that does so too late.
 * The library's thread must not spin. Calls under way end with the reason, and later calls are
 * served again. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/loopback.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_SECONDS = 60, ROUNDS = 2000 };

static upstream_status_t exchange(upstream_conn_t *conn, void *ctx)
{
    char byte;
    upstream_status_t status = upstream_conn_write(conn, "x", 1);
    (void)ctx;
    return status == UPSTREAM_OK ? upstream_conn_read_exact(conn, &byte, 1) : status;
}

static void close_every_descriptor(void)
{
    int fd;
    for (fd = 3; fd < 512; fd++) {
        close(fd);
    }
}

/* How many of the library's dialer threads there are. */
static int dialers(void)
{
    DIR *folder = opendir("/proc/self/task");
    struct dirent *task;
    int count = 0;
    if (folder == NULL) {
        return -1;
    }
    while ((task = readdir(folder)) != NULL) {
        char path[300], name[32] = "";
        FILE *file;
        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", task->d_name);
        file = fopen(path, "r");
        if (file != NULL) {
            count +=
                fgets(name, sizeof(name), file) != NULL && strcmp(name, "upstream-dial\n") == 0;
            fclose(file);
        }
    }
    closedir(folder);
    return count;
}

static upstream_t *create(uint16_t first, uint16_t second, const char *keys)
{
    char text[512];
    upstream_t *up = NULL;
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\n[NODE]\nname a\nhost 127.0.0.1\nport %u\n[NODE]\nname b\n"
             "host 127.0.0.1\nport %u\n%s",
             (unsigned)first, (unsigned)second, keys);
    upstream_create_from_text(text, strlen(text), "test.conf", NULL, &up, NULL);
    return up;
}

/* The thread sleeps, and nothing can wake it any more. 0 is right. */
static int while_it_sleeps(uint16_t first, uint16_t second)
{
    upstream_t *up = create(first, second, "");
    int i;
    if (up == NULL || upstream_deliver(up, exchange, NULL, 0, NULL) != UPSTREAM_OK) {
        return 1;
    }
    close_every_descriptor();
    for (i = 0; i < 10; i++) {
        upstream_error_t *err = NULL;
        if (upstream_deliver(up, exchange, NULL, 0, &err) != UPSTREAM_OK) {
            fprintf(stderr, "%s\n", upstream_error_message(err));
            return 2;
        }
    }
    close_every_descriptor();
    upstream_destroy(up); /* does not wait for it either */
    return 0;
}

/* Two dials are under way that nobody answers; the deadline of one of them wakes the thread. */
static int while_it_dials(uint16_t first, uint16_t second)
{
    upstream_t *up = create(first, second, "net.connect_timeout 500ms\n");
    upstream_conn_t *patient = NULL, *hasty = NULL;
    upstream_status_t status = UPSTREAM_OK;
    int i, right;
    if (up == NULL ||
        upstream_node_connect_start(upstream_node_at(up, 0), &patient, NULL) !=
            UPSTREAM_WANT_READ ||
        upstream_node_connect_start(upstream_node_at(up, 1), &hasty, NULL) != UPSTREAM_WANT_READ) {
        return 11;
    }
    for (i = 0; i < ROUNDS && dialers() != 1; i++) {
        usleep(10 * 1000);
    }
    usleep(100 * 1000); /* both are in the thread's hands */
    close_every_descriptor();
    for (i = 0; i < ROUNDS && (i == 0 || status == UPSTREAM_WANT_READ); i++) {
        status = upstream_conn_connect_continue(patient);
        usleep(10 * 1000);
    }
    if (status != UPSTREAM_ERR_CONNECT) {
        return 12;
    }
    right = upstream_error_errno(upstream_conn_last_error(patient)) == EBADF &&
            strstr(upstream_error_message(upstream_conn_last_error(patient)),
                   "before it creates the upstream") != NULL;
    if (!right) {
        fprintf(stderr, "%s\n", upstream_error_message(upstream_conn_last_error(patient)));
        return 13;
    }
    for (i = 0; i < ROUNDS && dialers() > 0; i++) {
        usleep(10 * 1000);
    }
    if (dialers() != 0) {
        return 14; /* it goes on, in circles */
    }
    if (upstream_node_state(upstream_node_at(up, 0)) != UPSTREAM_NODE_UP) {
        return 15; /* it is not to blame */
    }
    upstream_conn_release(patient);
    upstream_conn_release(hasty);
    upstream_destroy(up);
    return 0;
}

/* The child is the host: the servers are its parent's, and stay. */
static void check_in_child(int (*body)(uint16_t, uint16_t), uint16_t first, uint16_t second)
{
    int *result =
        mmap(NULL, sizeof(*result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child;
    assert_ptr_not_equal(result, MAP_FAILED);
    *result = -1;
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(CHILD_SECONDS); /* one that hangs ends by it */
        *result = body(first, second);
        /* Do not exit: in the child, half of the parent's heap belongs to nobody. */
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(*result, 0);
    munmap(result, sizeof(*result));
}

static void a_sleeping_dialer_is_replaced(void **state)
{
    struct loopback *servers[2] = {loopback_start(LOOPBACK_ECHO), loopback_start(LOOPBACK_ECHO)};
    (void)state;
    check_in_child(while_it_sleeps, loopback_port(servers[0]), loopback_port(servers[1]));
    loopback_stop(servers[0]);
    loopback_stop(servers[1]);
}

static void a_dialer_at_work_tells_why_and_ends(void **state)
{
    int descriptors[LOOPBACK_HOLE_DESCRIPTORS], i;
    uint16_t port = loopback_black_hole(descriptors);
    (void)state;
    check_in_child(while_it_dials, port, port);
    for (i = 0; i < LOOPBACK_HOLE_DESCRIPTORS; i++) {
        close(descriptors[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sleeping_dialer_is_replaced),
        cmocka_unit_test(a_dialer_at_work_tells_why_and_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
