/*
 * A host that does not link the library loads and unloads a plugin that does, again and again. Each
 * time the plugin's code is unmapped; the library's code stays (it is linked -z nodelete), because
 * its own threads, and threads of the host that end, need it.
 */
#define _GNU_SOURCE
#include "module/guest_module.h"
#include "support/check.h"
#include "support/loopback.h"
#include "support/openssl.h"

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* This program gets the library only through a module. */
struct module {
    void *handle;
    guest_begin_fn begin;
    guest_deliver_fn deliver;
    guest_end_fn end;
};

static struct module load(void)
{
    struct module module;
    module.handle = dlopen(GUEST_MODULE, RTLD_NOW | RTLD_LOCAL);
    if (module.handle == NULL) {
        fail_msg("%s", dlerror());
    }
    *(void **)&module.begin = dlsym(module.handle, "guest_begin");
    *(void **)&module.deliver = dlsym(module.handle, "guest_deliver");
    *(void **)&module.end = dlsym(module.handle, "guest_end");
    assert_true(module.begin != NULL && module.deliver != NULL && module.end != NULL);
    return module;
}

/* The mappings of this process whose line holds `part`. */
static int mappings(const char *part)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[1024];
    int count = 0;
    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps) != NULL) {
        count += strstr(line, part) != NULL;
    }
    fclose(maps);
    return count;
}

static int entries(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    int count = 0;
    assert_non_null(folder);
    while ((entry = readdir(folder)) != NULL) {
        count += entry->d_name[0] != '.';
    }
    closedir(folder);
    return count;
}

/* True if a thread of the library runs; it is known by its name. */
static int library_has_a_thread(void)
{
    DIR *folder = opendir("/proc/self/task");
    struct dirent *entry;
    int found = 0;
    assert_non_null(folder);
    while ((entry = readdir(folder)) != NULL) {
        char path[300], name[32] = "";
        FILE *file;
        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
        file = fopen(path, "r");
        if (file != NULL) {
            found |= fgets(name, sizeof(name), file) != NULL && strncmp(name, "upstream-", 9) == 0;
            fclose(file);
        }
    }
    closedir(folder);
    return found;
}

/* What a process may leak. */
struct size {
    int threads, descriptors, mappings;
    long resident; /* KiB */
};

static struct size size_now(int threads_expected)
{
    struct size size;
    FILE *file = fopen("/proc/self/statm", "r");
    long pages = 0;
    int turns;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*d %ld", &pages), 1);
    fclose(file);
    size.resident = pages * (sysconf(_SC_PAGESIZE) / 1024);
    /* A joined thread is listed until the kernel has let go of it. */
    for (turns = 0; turns < 1000 && entries("/proc/self/task") > threads_expected; turns++) {
        usleep(10000);
    }
    size.threads = entries("/proc/self/task");
    size.descriptors = entries("/proc/self/fd");
    size.mappings = mappings("");
    return size;
}

static void round_of(unsigned port, const char *ca_file)
{
    struct module module = load();
    void *set = module.begin(port, ca_file);
    assert_non_null(set);
    assert_true(module.deliver(set));
    module.end(set);
    assert_int_equal(dlclose(module.handle), 0);
}

static void *round_in_thread(void *port)
{
    round_of((unsigned)(uintptr_t)port, NULL);
    return NULL;
}

static void *end_at_once(void *none)
{
    return none;
}

/* How many threads there are before the library makes any. The thread sanitizer starts its own
 * together with the first one. */
static int threads_before(void)
{
    pthread_t first;
    assert_int_equal(pthread_create(&first, NULL, end_at_once, NULL), 0);
    assert_int_equal(pthread_join(first, NULL), 0);
    return size_now(check_sanitized("thread") ? 2 : 1).threads;
}

static void loaded_and_unloaded_a_thousand_times(void **state)
{
    const int rounds = check_slow() ? 50 : 1000;
    const int threads = threads_before();
    char *folder = openssl_make_folder();
    char ca_file[128];
    struct openssl_server *tls = openssl_start(folder, "-cert valid.crt -key valid.key");
    struct size early = {0, 0, 0, 0}, late;
    int i;
    (void)state;
    if (rounds < 1000) {
        print_message("UNDER VALGRIND: %d ROUNDS, NOT 1000\n", rounds);
    }
    snprintf(ca_file, sizeof(ca_file), "%s/ca.crt", folder);
    for (i = 1; i <= rounds; i++) {
        struct loopback *echo = loopback_start(LOOPBACK_ECHO);
        uint16_t port = loopback_port(echo);
        pthread_t thread;
        if (i % 10 == 2) {
            round_of(openssl_port(tls), ca_file);
        } else if (i % 2 == 0) { /* a thread that ends after what it had used is gone */
            assert_int_equal(
                pthread_create(&thread, NULL, round_in_thread, (void *)(uintptr_t)port), 0);
            assert_int_equal(pthread_join(thread, NULL), 0);
        } else {
            round_of(port, NULL);
        }
        loopback_stop(echo);
        if (i == 30) {
            early = size_now(threads);
        }
    }
    late = size_now(threads);
    print_message(
        "round 30: %d threads, %d descriptors, %d mappings, %ld KiB; round %d: %d, %d, %d, %ld\n",
        early.threads, early.descriptors, early.mappings, early.resident, rounds, late.threads,
        late.descriptors, late.mappings, late.resident);
    assert_int_equal(early.threads, threads);
    assert_int_equal(late.threads, threads);
    assert_int_equal(late.descriptors, early.descriptors);
    if (rounds == 1000) {
        /* The C library makes its heaps for threads late and keeps them. Memory that grew with each
         * round would grow by more than this. */
        assert_in_range(late.mappings, 1, early.mappings + 40);
        assert_in_range(late.resident, 1, early.resident + 4096);
    }
    openssl_stop(tls);
    openssl_remove_folder(folder);
}

/* The library itself stays, although nobody ever called it. This is the first test, so that nothing
 * else can hold it. */
static void the_library_stays(void **state)
{
    (void)state;
    if (getenv("UPSTREAM_SANITIZE") != NULL) {
        /* a sanitized library is linked into the program, because it needs the sanitizer there */
        skip();
    }
    assert_int_equal(mappings("/libupstream.so"), 0);
    assert_int_equal(dlclose(load().handle), 0);
    assert_int_equal(mappings("/guest_module.so"), 0);
    assert_true(mappings("/libupstream.so") > 0);
}

struct begun {
    struct module module;
    unsigned port;
    void *set;
};

static void *begin(void *argument)
{
    struct begun *begun = argument;
    begun->module = load();
    begun->set = begun->module.begin(begun->port, NULL);
    return NULL;
}

static void unloaded_while_a_set_exists(void **state)
{
    struct loopback *echo = loopback_start(LOOPBACK_ECHO);
    struct begun begun = {{NULL, NULL, NULL, NULL}, loopback_port(echo), NULL};
    struct module module;
    pthread_t thread;
    int status;
    pid_t child;
    (void)state;
    /* In a thread that has ended by then: a thread that used the library holds it as long as it
     * lives. */
    assert_int_equal(pthread_create(&thread, NULL, begin, &begun), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_non_null(begun.set);
    assert_int_equal(dlclose(begun.module.handle), 0);
    assert_int_equal(mappings("/guest_module.so"), 0);
    assert_true(mappings("/libupstream.so") > 0);
    assert_true(library_has_a_thread());
    child = fork(); /* runs the handler that the library asked for */
    assert_true(child >= 0);
    if (child == 0) {
        /* no exit: what the parent had on its heap is nobody's here, which valgrind would report */
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    /* The connection ends at the server, and the library notices while no plugin is loaded. */
    loopback_stop(echo);
    usleep(100000);
    module = load();
    assert_false(module.deliver(begun.set));
    module.end(begun.set);
    assert_int_equal(dlclose(module.handle), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_library_stays),
        cmocka_unit_test(loaded_and_unloaded_a_thousand_times),
        cmocka_unit_test(unloaded_while_a_set_exists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
