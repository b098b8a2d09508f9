/*
 * A host that ends while the library is at work: by exit() from another thread, by return from
 * main, by exit() inside a callback, by quick_exit() and _exit(). It must end at once, with its own
 * exit status, and nothing be printed.
 *
 * The host is this program, run once more with arguments; the servers stay in the test.
 */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/loopback.h"
#include "support/openssl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- the host ---- */

enum { STATUS = 42, STATUS_SETUP = 3, LATEST_US = 60000 };

static upstream_t *plain, *secured, *silent, *capped, *failing;
static char *plain_text;
static pthread_barrier_t all_at_work;
static const char *way;
static useconds_t moment;

static upstream_t *set(const char *text)
{
    upstream_t *up = NULL;
    if (upstream_create_from_text(text, strlen(text), "host", NULL, &up, NULL) != UPSTREAM_OK) {
        _exit(STATUS_SETUP);
    }
    return up;
}

static upstream_status_t talk(upstream_conn_t *conn, void *ctx)
{
    char back[6];
    upstream_status_t status = upstream_conn_write(conn, "hello\n", 6);
    (void)ctx;
    return status != UPSTREAM_OK ? status : upstream_conn_read_exact(conn, back, 6);
}

/* What the workers do: each repeats one kind of call, and says whether it went as expected. */

static int deliver_plain(void)
{
    return upstream_deliver(plain, talk, NULL, 0, NULL) == UPSTREAM_OK;
}

/* A handshake each time. */
static int deliver_secured(void)
{
    return upstream_deliver(secured, talk, NULL, 0, NULL) == UPSTREAM_OK;
}

static int connect_plain(void)
{
    upstream_conn_t *conn = NULL;
    if (upstream_connect(plain, &conn, NULL) != UPSTREAM_OK) {
        return 0;
    }
    upstream_conn_discard(conn);
    return 1;
}

/* Never returns: reads what does not come. */
static int read_silence(void)
{
    upstream_conn_t *conn = NULL;
    char byte;
    if (upstream_connect(silent, &conn, NULL) == UPSTREAM_OK) {
        upstream_conn_read_exact(conn, &byte, 1);
        upstream_conn_discard(conn);
    }
    return 0;
}

/* Never returns: waits at the cap, as the one connection is out. */
static int wait_at_the_cap(void)
{
    upstream_conn_t *conn = NULL;
    upstream_connect(capped, &conn, NULL);
    return 0;
}

/* Threads started and joined, a name looked up. */
static int own_set(void)
{
    upstream_t *own = set(plain_text);
    int well = upstream_deliver(own, talk, NULL, 0, NULL) == UPSTREAM_OK;
    upstream_destroy(own);
    return well;
}

/* Errors made and dropped. */
static int fail_to_connect(void)
{
    upstream_conn_t *conn = NULL;
    return upstream_connect(failing, &conn, NULL) < 0;
}

/* Goes on with a connection of an event loop once it is ready; 0 if it failed. */
static int wait_for(upstream_conn_t *conn, upstream_status_t status)
{
    struct pollfd ready;
    if (status != UPSTREAM_WANT_READ && status != UPSTREAM_WANT_WRITE) {
        return 0;
    }
    ready.fd = upstream_conn_fd(conn);
    ready.events = (short)((upstream_conn_poll_events(conn) & UPSTREAM_POLL_IN ? POLLIN : 0) |
                           (upstream_conn_poll_events(conn) & UPSTREAM_POLL_OUT ? POLLOUT : 0));
    ready.revents = 0;
    return poll(&ready, 1, (int)upstream_conn_timeout_ms(conn)) >= 0;
}

/* The handshake, a write and a read without blocking. */
static int event_loop(void)
{
    upstream_conn_t *conn = NULL;
    char back[6];
    size_t moved = 0, got;
    upstream_status_t status = upstream_connect_start(secured, &conn, NULL);
    if (status < 0) {
        return 0;
    }
    while (status != UPSTREAM_OK && wait_for(conn, status)) {
        status = upstream_conn_connect_continue(conn);
    }
    if (status == UPSTREAM_OK) {
        status = upstream_conn_try_write(conn, "hello\n", 6, &got); /* six bytes go at once */
    }
    while (status == UPSTREAM_OK && moved < 6) {
        status = upstream_conn_try_read(conn, back, 6 - moved, &got);
        if (status == UPSTREAM_OK) {
            moved += got;
        } else if (wait_for(conn, status)) {
            status = UPSTREAM_OK;
        }
    }
    upstream_conn_discard(conn);
    return moved == 6;
}

static const struct kind {
    const char *name;
    int (*once)(void);
    int returns;
} kinds[] = {
    {"deliver", deliver_plain, 1},
    {"deliver beside it", deliver_plain, 1},
    {"deliver over TLS", deliver_secured, 1},
    {"connect", connect_plain, 1},
    {"read silence", read_silence, 0},
    {"wait at the cap", wait_at_the_cap, 0},
    {"create and destroy", own_set, 1},
    {"fail", fail_to_connect, 1},
    {"event loop", event_loop, 1},
};

enum { WORKERS = sizeof(kinds) / sizeof(kinds[0]) };

static atomic_int begun[WORKERS], well[WORKERS], wrong[WORKERS];

/* None of them ever ends by itself. */
static void *work(void *number)
{
    size_t i = (size_t)number;
    pthread_barrier_wait(&all_at_work);
    for (;;) {
        begun[i]++;
        if (kinds[i].once()) {
            well[i]++;
        } else {
            wrong[i]++;
        }
    }
    return NULL;
}

/* True if each worker does its work: those whose call returns have returned, the others have
 * not. */
static int at_work(void)
{
    size_t i;
    for (i = 0; i < WORKERS; i++) {
        if (kinds[i].returns ? well[i] == 0 : begun[i] != 1) {
            return 0;
        }
    }
    return 1;
}

/* The way "check": prints which workers do not work or fail. The test expects standard output to
 * stay empty. */
static void check_work(void)
{
    int turns;
    size_t i;
    for (turns = 0; turns < 2000 && !at_work(); turns++) {
        usleep(10000);
    }
    for (i = 0; i < WORKERS; i++) {
        if (wrong[i] != 0 || (kinds[i].returns ? well[i] == 0 : begun[i] != 1)) {
            dprintf(1, "%s: begun %d times, as meant %d times, otherwise %d times\n", kinds[i].name,
                    begun[i], well[i], wrong[i]);
        }
    }
}

static upstream_status_t end_inside(upstream_conn_t *conn, void *ctx)
{
    (void)conn;
    (void)ctx;
    exit(STATUS);
}

static void *end(void *unused)
{
    (void)unused;
    pthread_barrier_wait(&all_at_work);
    usleep(moment);
    if (strcmp(way, "exit") == 0) {
        exit(STATUS);
    } else if (strcmp(way, "callback") == 0) {
        for (;;) {
            upstream_deliver(plain, end_inside, NULL, 0, NULL);
        }
    } else if (strcmp(way, "quick_exit") == 0) {
        quick_exit(STATUS);
    } else if (strcmp(way, "_exit") == 0) {
        _exit(STATUS);
    } else if (strcmp(way, "check") == 0) {
        check_work();
        exit(STATUS);
    }
    return NULL;
}

/* test_exit host WAY MICROSECONDS ECHO_PORT TLS_PORT SILENT_PORT REFUSING_PORT FOLDER */
static int host(char **arguments)
{
    static char text[1024];
    upstream_conn_t *held = NULL;
    pthread_t thread;
    size_t i;
    way = arguments[2];
    moment = (useconds_t)atoi(arguments[3]);
    if (asprintf(&plain_text, "[UPSTREAM]\nname p\n[NODE]\nname n\nhost localhost\nport %s\n",
                 arguments[4]) < 0) {
        return STATUS_SETUP;
    }
    plain = set(plain_text);
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname t\n[NODE]\nname n\nhost localhost\nport %s\ntls on\n"
             "tls.ca_file %s/ca.crt\nnet.keepalive off\n",
             arguments[5], arguments[8]);
    secured = set(text);
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname s\nnet.io_timeout 10m\n[NODE]\nname n\n"
             "host 127.0.0.1\nport %s\n",
             arguments[6]);
    silent = set(text);
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname c\nnet.max_connections 1\nnet.connect_timeout 10m\n[NODE]\n"
             "name n\nhost 127.0.0.1\nport %s\n",
             arguments[6]);
    capped = set(text);
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname f\n[NODE]\nname a\nhost 127.0.0.1\nport %s\n[NODE]\nname b\n"
             "host no-such-host.invalid\nport 1\n",
             arguments[7]);
    failing = set(text);
    if (upstream_connect(capped, &held, NULL) != UPSTREAM_OK ||
        upstream_deliver(plain, talk, NULL, 0, NULL) != UPSTREAM_OK ||
        upstream_deliver(secured, talk, NULL, 0, NULL) != UPSTREAM_OK) {
        return STATUS_SETUP; /* the workers would work on nothing */
    }
    pthread_barrier_init(&all_at_work, NULL, WORKERS + 2);
    for (i = 0; i < WORKERS; i++) {
        if (pthread_create(&thread, NULL, work, (void *)i) != 0) {
            return STATUS_SETUP;
        }
    }
    if (pthread_create(&thread, NULL, end, NULL) != 0) {
        return STATUS_SETUP;
    }
    pthread_barrier_wait(&all_at_work);
    if (strcmp(way, "return") == 0) {
        usleep(moment);
        return STATUS;
    }
    for (;;) {
        pause();
    }
}

/* ---- the test ---- */

static struct loopback *echo, *mute;
static struct openssl_server *server;
static char *folder;
static int refusing;
static uint16_t refusing_port;
static unsigned seed;

static int under_valgrind(void)
{
    return getenv("UPSTREAM_VALGRIND") != NULL;
}

static int start_servers(void **state)
{
    const char *given = getenv("UPSTREAM_TEST_SEED");
    (void)state;
    seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    print_message("UPSTREAM_TEST_SEED=%u\n", seed);
    if (under_valgrind()) {
        print_message("UNDER VALGRIND: 2 TO 4 ROUNDS OF EACH, NOT 15 TO 100\n");
    }
    folder = openssl_make_folder();
    server = openssl_start(folder, "-cert valid.crt -key valid.key");
    refusing_port = loopback_refusing_port(&refusing);
    return 0;
}

static int stop_servers(void **state)
{
    (void)state;
    close(refusing);
    openssl_stop(server);
    openssl_remove_folder(folder);
    return 0;
}

/* Reads what comes until the end of the stream; 0 if that does not come within the time. */
static int read_all(int fd, char *text, size_t room, int seconds)
{
    size_t used = 0;
    struct timespec now, until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += seconds;
    for (;;) {
        struct pollfd ready = {fd, POLLIN, 0};
        ssize_t size;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec >= until.tv_sec) {
            return 0;
        }
        if (poll(&ready, 1, 1000) <= 0) {
            continue;
        }
        size = read(fd, text + used, room - 1 - used);
        if (size <= 0) {
            text[used] = '\0';
            return 1;
        }
        used += (size_t)size;
        if (used == room - 1) {
            used = room / 2;
        }
    }
}

static void one_host(const char *how, unsigned microseconds)
{
    static char self[512], said[16384];
    char when[16], ports[4][8];
    /* A host that ends in the middle of its work always leaves memory behind. What counts is which
     * memory it touches then. */
    const char *arguments[] = {"valgrind",
                               "--quiet",
                               "--error-exitcode=97",
                               "--leak-check=no",
                               self,
                               "host",
                               how,
                               when,
                               ports[0],
                               ports[1],
                               ports[2],
                               ports[3],
                               folder,
                               NULL};
    const char *const *command = under_valgrind() ? arguments : arguments + 4;
    int output[2], status, in_time;
    pid_t child;
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    assert_in_range(length, 1, sizeof(self) - 2);
    self[length] = '\0';
    snprintf(when, sizeof(when), "%u", microseconds);
    snprintf(ports[0], sizeof(ports[0]), "%u", (unsigned)loopback_port(echo));
    snprintf(ports[1], sizeof(ports[1]), "%u", (unsigned)openssl_port(server));
    snprintf(ports[2], sizeof(ports[2]), "%u", (unsigned)loopback_port(mute));
    snprintf(ports[3], sizeof(ports[3]), "%u", (unsigned)refusing_port);
    assert_int_equal(pipe2(output, O_CLOEXEC), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (check_sanitized("address")) {
            setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
        }
        dup2(output[1], 1);
        dup2(output[1], 2);
        execvp(command[0], (char *const *)command);
        _exit(127);
    }
    close(output[1]);
    in_time = read_all(output[0], said, sizeof(said), check_slow() ? 200 : 30);
    if (!in_time) {
        kill(child, SIGABRT);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    close(output[0]);
    if (!in_time) {
        fail_msg("%s after %u us: the host did not end", how, microseconds);
    }
    if (said[0] != '\0') {
        fail_msg("%s after %u us: the host printed:\n%s", how, microseconds, said);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != STATUS) {
        fail_msg("%s after %u us: the host ended with %s %d", how, microseconds,
                 WIFEXITED(status) ? "exit status" : "signal",
                 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    }
}

static void hosts_end(const char *how, int rounds)
{
    int i;
    for (i = 0; i < rounds; i++) {
        /* Under valgrind all is slower; and the first moments are the busiest. */
        unsigned latest = LATEST_US * (check_slow() ? 20u : 1u) / (i % 2 == 0 ? 1u : 10u);
        echo = loopback_start(LOOPBACK_ECHO);
        mute = loopback_start(LOOPBACK_SILENT);
        one_host(how, (unsigned)rand_r(&seed) % latest);
        loopback_stop(echo);
        loopback_stop(mute);
    }
}

/* The other tests would also pass if every call of the workers failed at once. */
static void the_host_is_at_work(void **state)
{
    (void)state;
    echo = loopback_start(LOOPBACK_ECHO);
    mute = loopback_start(LOOPBACK_SILENT);
    one_host("check", 0);
    loopback_stop(echo);
    loopback_stop(mute);
}

static void by_exit_from_another_thread(void **state)
{
    (void)state;
    hosts_end("exit", check_slow() ? 4 : 100);
}

static void by_return_from_main(void **state)
{
    (void)state;
    hosts_end("return", check_slow() ? 2 : 15);
}

static void by_exit_inside_a_callback(void **state)
{
    (void)state;
    hosts_end("callback", check_slow() ? 2 : 15);
}

static void by_quick_exit(void **state)
{
    (void)state;
    hosts_end("quick_exit", check_slow() ? 2 : 15);
}

static void by_exit_without_handlers(void **state)
{
    (void)state;
    hosts_end("_exit", check_slow() ? 2 : 15);
}

int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_host_is_at_work),
        /* the ways to end */
        cmocka_unit_test(by_exit_from_another_thread),
        cmocka_unit_test(by_return_from_main),
        cmocka_unit_test(by_exit_inside_a_callback),
        cmocka_unit_test(by_quick_exit),
        cmocka_unit_test(by_exit_without_handlers),
    };
    if (count == 9 && strcmp(arguments[1], "host") == 0) {
        return host(arguments);
    }
    /* so that the reason is printed even if hosts hang for too long */
    setvbuf(stdout, NULL, _IOLBF, 0);
    return cmocka_run_group_tests(tests, start_servers, stop_servers);
}
