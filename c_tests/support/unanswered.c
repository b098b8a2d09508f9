/* See unanswered.h. */
#define _GNU_SOURCE
#include "unanswered.h"

#include <sys/socket.h>
#include <unistd.h>

struct written {
    const uint64_t *numbers;
    size_t size;
    int send_buffer;
};

void unanswered_open(struct unanswered *un, size_t count, const char *keys,
                     const struct testbed_node *nodes)
{
    struct testbed_node mute[TESTBED_NODES];
    size_t i;
    memset(mute, 0, sizeof(mute));
    memset(un, 0, sizeof(*un));
    for (i = 0; i < count; i++) {
        if (nodes != NULL) {
            mute[i] = nodes[i];
        }
        mute[i].mute = 1;
    }
    un->booked = calloc(TESTBED_RECORDS, 1);
    un->impossible = calloc(TESTBED_RECORDS, 1);
    assert_non_null(un->booked);
    assert_non_null(un->impossible);
    testbed_open(&un->bed, count, keys, mute, NULL);
}

static upstream_status_t write_numbers(upstream_conn_t *conn, void *ctx)
{
    const struct written *written = ctx;
    int size = written->send_buffer;
    if (size > 0 &&
        setsockopt(upstream_conn_fd(conn), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) != 0) {
        perror("SO_SNDBUF");
        abort();
    }
    return upstream_conn_write(conn, written->numbers, written->size);
}

upstream_status_t unanswered_write(struct unanswered *un, size_t records, uint64_t *first_of_them)
{
    uint64_t *numbers = malloc(records * UNANSWERED_RECORD);
    size_t first = atomic_fetch_add(&un->next, records), i;
    struct written written = {numbers, records * UNANSWERED_RECORD, un->send_buffer};
    upstream_error_t *err = NULL;
    upstream_status_t status;
    if (numbers == NULL || first + records > TESTBED_RECORDS) {
        fprintf(stderr, "more records than there is room for\n");
        abort();
    }
    for (i = 0; i < records; i++) {
        numbers[i] = first + i;
    }
    status = upstream_deliver(un->bed.up, write_numbers, &written, 0, &err);
    for (i = first; i < first + records; i++) {
        atomic_store(&un->booked[i], status == UPSTREAM_OK);
        atomic_store(&un->impossible[i], err != NULL && !upstream_error_may_have_arrived(err));
    }
    if (first_of_them != NULL) {
        *first_of_them = first;
    }
    upstream_error_free(err);
    free(numbers);
    return status;
}

void unanswered_each(struct unanswered *un, size_t times)
{
    while (times-- > 0) {
        assert_status(unanswered_write(un, 1, NULL), UPSTREAM_OK);
    }
}

void unanswered_arrive(struct unanswered *un, size_t times, size_t lost)
{
    unanswered_each(un, times);
    unanswered_settle(un, lost);
}

int unanswered_came(const struct unanswered *un, uint64_t record)
{
    return ledger_times(un->bed.ledger, record) > 0;
}

size_t unanswered_lost(const struct unanswered *un)
{
    size_t sent = atomic_load(&un->next), lost = 0, i;
    for (i = 0; i < sent; i++) {
        lost += atomic_load(&un->booked[i]) && !unanswered_came(un, i);
    }
    return lost;
}

size_t unanswered_twice(const struct unanswered *un)
{
    size_t sent = atomic_load(&un->next), twice = 0, i;
    for (i = 0; i < sent; i++) {
        twice += ledger_times(un->bed.ledger, i) > 1;
    }
    return twice;
}

void unanswered_settle(const struct unanswered *un, size_t lost)
{
    long until = check_now_ms() + 6 * testbed_patience_ms();
    while (unanswered_lost(un) > lost) {
        if (check_now_ms() > until) {
            fail_msg("%zu of %zu records are lost, and should be %zu at most", unanswered_lost(un),
                     atomic_load(&un->next), lost);
        }
        usleep(500);
    }
}

void unanswered_close(struct unanswered *un, size_t least, size_t most)
{
    size_t sent = atomic_load(&un->next), lost, twice, i;
    unanswered_settle(un, most);
    lost = unanswered_lost(un);
    twice = unanswered_twice(un);
    print_message("of %zu records %zu are lost, %zu to %zu may be; %zu came twice, %zu may\n", sent,
                  lost, least, most, twice, un->may_come_twice);
    assert_in_range(lost, least, most);
    assert_in_range(twice, 0, un->may_come_twice);
    for (i = 0; i < sent; i++) {
        if (atomic_load(&un->impossible[i]) && unanswered_came(un, i)) {
            fail_msg("record %zu came, and the error said that it could not have arrived", i);
        }
    }
    testbed_close(&un->bed);
    free((void *)un->booked);
    free((void *)un->impossible);
}
