/* See shim_bed.h. */
#define _GNU_SOURCE
#include "shim_bed.h"

#include <unistd.h>

char shim_path[] = "/tmp/upstream-shim.XXXXXX";
struct guest shim_guest;
struct guest_task shim_tasks[SHIM_MOST_TASKS];
struct ledger *shim_ledger;

struct records *shim_records(void)
{
    return shim_guest.instance.context;
}

void shim_write_nodes(const uint16_t *ports, size_t count, const char *more)
{
    FILE *out = fopen(shim_path, "w");
    assert_non_null(out);
    fprintf(out, "[UPSTREAM]\n    name u\n");
    for (size_t i = 0; i < count; i++) {
        fprintf(out,
                "[NODE]\n    name node-%zu\n    host 127.0.0.1\n    port %u\n    label %c\n"
                "%s",
                i + 1, ports[i], (char)('a' + (char)i), more);
    }
    assert_int_equal(fclose(out), 0);
}

void shim_start(const char *module, const uint16_t *ports, size_t count, const char *more)
{
    shim_write_nodes(ports, count, more);
    guest_start(&shim_guest, module, "out_records_plugin", shim_path, 0, NULL);
}

void shim_stop(void)
{
    assert_int_equal(atomic_load(&shim_records()->misplaced), 0);
    assert_int_equal(guest_connections_busy(), 0);
    guest_stop(&shim_guest);
    assert_int_equal(guest_connections_kept(), 0);
}

size_t shim_flush(uint64_t from, size_t count, size_t at_once, int word)
{
    size_t returned = 0;
    assert_true(count <= SHIM_MOST_TASKS);
    for (size_t i = 0; i < count; i++) {
        shim_tasks[i] = (struct guest_task){from + i, -1};
    }
    guest_flush(&shim_guest, 0, shim_tasks, count, at_once);
    for (size_t i = 0; i < count; i++) {
        returned += shim_tasks[i].word == word;
    }
    return returned;
}

void shim_arrived(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_true(ledger_times(shim_ledger, i) > 0);
    }
}

size_t shim_picks_of(char label)
{
    size_t picks = 0;
    for (size_t i = 0; i < atomic_load(&shim_records()->picked); i++) {
        picks += shim_records()->order[i] == label;
    }
    return picks;
}

void shim_flush_until_picked(char label, size_t picks)
{
    for (int i = 0; i < 1000 && shim_picks_of(label) < picks; i++) {
        shim_flush(0, 1, 1, FLB_OK);
        usleep(10000);
    }
    assert_true(shim_picks_of(label) >= picks);
}

struct shim_three shim_three_start(void)
{
    struct shim_three three;
    shim_ledger = ledger_create(SHIM_MOST_TASKS);
    for (size_t i = 0; i < 3; i++) {
        three.counters[i] = counter_start(shim_ledger);
        three.ports[i] = counter_port(three.counters[i]);
    }
    return three;
}

void shim_three_stop(struct shim_three *three)
{
    for (size_t i = 0; i < 3; i++) {
        counter_stop(three->counters[i]);
    }
    ledger_free(shim_ledger);
}

int shim_make_path(void **state)
{
    int fd = mkstemp(shim_path);
    (void)state;
    return fd < 0 ? -1 : close(fd);
}

int shim_remove_path(void **state)
{
    (void)state;
    return unlink(shim_path);
}
