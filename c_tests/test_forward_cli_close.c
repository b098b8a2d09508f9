/*
 * The program upstream-forward with servers that take one message on each connection and then reset
 * it, as fluentd with deny_keepalive does.
 */
#define _GNU_SOURCE
#include "support/acceptor.h"
#include "support/check.h"
#include "support/forward_cli.h"

#include <msgpack.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>

enum { CLOSER_LINES = 200 };

struct closer {
    atomic_uint times[CLOSER_LINES]; /* how often each line came */
    int forgetful;                   /* takes every other message and resets in place of the ack */
};

static void note_lines(struct closer *closer, const msgpack_object *message)
{
    const msgpack_object *entries = &message->via.array.ptr[1];
    uint32_t i;
    assert_int_equal(entries->type, MSGPACK_OBJECT_ARRAY);
    for (i = 0; i < entries->via.array.size; i++) {
        const msgpack_object *record = &entries->via.array.ptr[i].via.array.ptr[1];
        const msgpack_object *line = &record->via.map.ptr[0].val;
        char text[32];
        unsigned number;
        snprintf(text, sizeof(text), "%.*s", (int)line->via.str.size, line->via.str.ptr);
        assert_int_equal(sscanf(text, "line %u", &number), 1);
        assert_true(number < CLOSER_LINES);
        atomic_fetch_add(&closer->times[number], 1);
    }
}

static void send_ack(const struct session *session, const msgpack_object *message)
{
    const msgpack_object *options = &message->via.array.ptr[message->via.array.size - 1];
    msgpack_sbuffer out;
    msgpack_packer pk;
    uint32_t i;
    if (options->type != MSGPACK_OBJECT_MAP) {
        return; /* none is asked for */
    }
    for (i = 0; i < options->via.map.size; i++) {
        const msgpack_object_kv *kv = &options->via.map.ptr[i];
        if (kv->key.via.str.size == 5 && memcmp(kv->key.via.str.ptr, "chunk", 5) == 0) {
            msgpack_sbuffer_init(&out);
            msgpack_packer_init(&pk, &out, msgpack_sbuffer_write);
            msgpack_pack_map(&pk, 1);
            msgpack_pack_str(&pk, 3);
            msgpack_pack_str_body(&pk, "ack", 3);
            msgpack_pack_object(&pk, kv->val);
            session_send(session, session->socket, out.data, out.size);
            msgpack_sbuffer_destroy(&out);
        }
    }
}

static enum ending take_one_message(const struct session *session, void *ctx)
{
    struct closer *closer = ctx;
    msgpack_unpacker unpacker;
    msgpack_unpacked message;
    int whole = 0;
    msgpack_unpacker_init(&unpacker, 4096);
    msgpack_unpacked_init(&message);
    while (!whole && session_wait(session, session->socket, POLLIN, -1)) {
        msgpack_unpacker_reserve_buffer(&unpacker, 4096);
        ssize_t got = recv(session->socket, msgpack_unpacker_buffer(&unpacker), 4096, 0);
        if (got <= 0) {
            break;
        }
        msgpack_unpacker_buffer_consumed(&unpacker, (size_t)got);
        whole = msgpack_unpacker_next(&unpacker, &message) == MSGPACK_UNPACK_SUCCESS;
    }
    if (whole) {
        note_lines(closer, &message.data);
        if (!closer->forgetful || session->number % 2 == 0) {
            send_ack(session, &message.data);
        }
    }
    msgpack_unpacked_destroy(&message);
    msgpack_unpacker_destroy(&unpacker);
    return ENDING_RESET;
}

/*
 * Like fluentd with deny_keepalive. Each line arrives, and only then counts as delivered. It comes
 * twice if the server took it and reset the connection before its ack.
 */
static void servers_that_close_after_each_message_get_it_all(void **state)
{
    (void)state;
    for (int forgetful = 0; forgetful < 2; forgetful++) {
        struct closer closer = {.forgetful = forgetful};
        struct acceptor *servers[2];
        uint16_t ports[2];
        char last[256];
        size_t len;
        char *text = cli_lines(CLOSER_LINES, &len);
        for (int i = 0; i < 2; i++) {
            servers[i] = acceptor_start("127.0.0.1", 0, take_one_message, &closer);
            ports[i] = acceptor_port(servers[i]);
        }
        cli_write_conf(ports, 2, "    health.max_fails 1000\n");
        const char *arguments[] = {cli_program, "-q", "-u",          cli_conf, "-t", "cli.test",
                                   "-b",        "10", "--retry-for", "60",     NULL};
        assert_int_equal(cli_run(arguments, text, len, last, sizeof(last)), 0);
        assert_string_equal(last, "200 read, 200 delivered, 0 lost");
        for (int i = 0; i < CLOSER_LINES; i++) {
            unsigned times = atomic_load(&closer.times[i]);
            assert_true(times >= 1 && (forgetful || times == 1));
        }
        acceptor_stop(servers[0]);
        acceptor_stop(servers[1]);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(servers_that_close_after_each_message_get_it_all),
    };
    return cmocka_run_group_tests(tests, cli_prepare, cli_clean);
}
