/*
 * What the scripted Forward server answers: each part of the protocol, and the ways to get it
 * wrong.
 */
#include "forward_script.h"

#include <ctype.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NONCE "bm9uY2Ugbm9uY2Ugbm8="
#define AUTH_SALT "YXV0aCBzYWx0IHNhbHQ="
#define HOSTNAME "server.example"

typedef struct text {
    const char *data;
    size_t len;
} text;

static text of(const char *s)
{
    return (text){s, strlen(s)};
}

static text of_object(const msgpack_object *o)
{
    return (text){o->via.str.ptr, o->via.str.size};
}

static void hexdigest(char out[129], const text *parts, size_t count)
{
    struct sha512_ctx sha;
    uint8_t raw[SHA512_DIGEST_SIZE];

    sha512_init(&sha);
    for (size_t i = 0; i < count; i++) {
        sha512_update(&sha, parts[i].len, (const uint8_t *)parts[i].data);
    }
    sha512_digest(&sha, sizeof raw, raw);
    for (size_t i = 0; i < sizeof raw; i++) {
        snprintf(out + 2 * i, 3, "%02x", raw[i]);
    }
}

static bool stopping(const peer *p)
{
    pthread_mutex_lock(&p->server->lock);
    bool stop = p->server->stopping;
    pthread_mutex_unlock(&p->server->lock);
    return stop;
}

static bool send_all(const peer *p, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t sent = send(p->fd, data, len, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        data += sent;
        len -= (size_t)sent;
    }
    return true;
}

/* Each byte in its own segment: a pause lets the reader take it before the next one comes. */
static bool send_bytewise(const peer *p, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!send_all(p, data + i, 1)) {
            return false;
        }
        usleep(500);
    }
    return true;
}

/* The same byte until the client has enough. */
static void send_endless(const peer *p, const char *data, size_t len, unsigned pause_us)
{
    while (!stopping(p) && send_all(p, data, len)) {
        if (pause_us > 0) {
            usleep(pause_us);
        }
    }
}

/* Reads one message. False at the end of the connection. */
static bool receive(peer *p, msgpack_unpacked *out)
{
    for (;;) {
        msgpack_unpack_return got = msgpack_unpacker_next(&p->unpacker, out);
        if (got == MSGPACK_UNPACK_SUCCESS) {
            return true;
        }
        if (got != MSGPACK_UNPACK_CONTINUE ||
            !msgpack_unpacker_reserve_buffer(&p->unpacker, 4096)) {
            forward_die("the client sent something that is no msgpack");
        }
        ssize_t n = recv(p->fd, msgpack_unpacker_buffer(&p->unpacker), 4096, 0);
        if (n <= 0) {
            return false;
        }
        msgpack_unpacker_buffer_consumed(&p->unpacker, (size_t)n);
    }
}

static void put(msgpack_packer *pk, bool bin, text t)
{
    if (bin) {
        msgpack_pack_bin(pk, t.len);
        msgpack_pack_bin_body(pk, t.data, t.len);
    } else {
        msgpack_pack_str(pk, t.len);
        msgpack_pack_str_body(pk, t.data, t.len);
    }
}

static void put_str(msgpack_packer *pk, const char *s)
{
    put(pk, false, of(s));
}

static void put_helo_options(msgpack_packer *pk, helo_part part)
{
    bool bin = part == HELO_BIN;
    msgpack_pack_map(pk, part == HELO_NO_AUTH ? 2 : 3);
    put_str(pk, "nonce");
    if (part == HELO_NIL_NONCE) {
        msgpack_pack_nil(pk);
    } else {
        put(pk, bin, of(part == HELO_BLANK_NONCE ? "" : NONCE));
    }
    if (part == HELO_AUTH_NUMBER) {
        put_str(pk, "auth");
        msgpack_pack_int(pk, 7);
    } else if (part != HELO_NO_AUTH) {
        put_str(pk, "auth");
        put(pk, bin, of(part == HELO_AUTH ? AUTH_SALT : ""));
    }
    put_str(pk, "keepalive");
    if (part == HELO_KEEPALIVE_TEXT) {
        put_str(pk, "yes");
    } else if (part == HELO_NO_KEEPALIVE) {
        msgpack_pack_false(pk);
    } else {
        msgpack_pack_true(pk);
    }
}

static void put_helo(msgpack_packer *pk, helo_part part)
{
    if (part == HELO_STRING) {
        put_str(pk, "HELO");
        return;
    }
    msgpack_pack_array(pk, 2);
    put_str(pk, part == HELO_OTHER ? "HOLA" : "HELO");
    if (part == HELO_EMPTY) {
        msgpack_pack_map(pk, 0);
    } else if (part == HELO_NO_MAP) {
        msgpack_pack_nil(pk);
    } else {
        put_helo_options(pk, part);
    }
}

/* True if the client may go on to PING. */
static bool say_helo(peer *p, helo_part part)
{
    msgpack_sbuffer out;
    msgpack_packer pk;
    bool sent;

    switch (part) {
    case HELO_SILENT:
        return false;
    case HELO_EOF:
        shutdown(p->fd, SHUT_WR);
        return false;
    case HELO_HUGE:
        return send_all(p, "\xdd\xff\xff\xff\xff", 5) && false;
    case HELO_ENDLESS:
        send_all(p, "\x92\xdb\x7f\xff\xff\xff", 6);
        send_endless(p, "xxxxxxxxxxxxxxxx", 16, 0);
        return false;
    case HELO_DEEP:
        for (int i = 0; i < 1000; i++) {
            send_all(p, "\x91", 1);
        }
        return send_all(p, "\xc0", 1) && false;
    case HELO_TEXT:
        return send_all(p, "HTTP/1.1 400 Bad Request\r\n\r\n", 28) && false;
    default:
        break;
    }
    msgpack_sbuffer_init(&out);
    msgpack_packer_init(&pk, &out, msgpack_sbuffer_write);
    put_helo(&pk, part);
    if (part == HELO_EXTRA) {
        msgpack_sbuffer_write(&out, "\xc0", 1);
    }
    sent = part == HELO_BYTEWISE ? send_bytewise(p, out.data, out.size)
                                 : send_all(p, out.data, out.size);
    msgpack_sbuffer_destroy(&out);
    return sent && (part <= HELO_NO_AUTH);
}

static bool is_ping(const msgpack_object *o)
{
    return o->type == MSGPACK_OBJECT_ARRAY && o->via.array.size == 6 &&
           forward_object_is(&o->via.array.ptr[0], "PING");
}

/* ["PING", hostname, salt, digest, user, password digest], with the right digests? */
static bool check_ping(const peer *p, const msgpack_object *ping, helo_part helo)
{
    const forward_script *script = &p->server->script;
    char expected[129];

    const msgpack_object *o = ping->via.array.ptr;
    text key[] = {of_object(&o[2]), of_object(&o[1]), of(NONCE), of(script->shared_key)};
    hexdigest(expected, key, 4);
    if (!forward_object_is(&o[3], expected)) {
        return false;
    }
    if (helo != HELO_AUTH || script->username == NULL) {
        return true;
    }
    text password[] = {of(AUTH_SALT), of(script->username), of(script->password)};
    hexdigest(expected, password, 3);
    return forward_object_is(&o[4], script->username) && forward_object_is(&o[5], expected);
}

/* The name that an attacker uses, made from the client's. */
static text reflected_name(char out[256], text client, pong_part part)
{
    size_t len = client.len < 128 ? client.len : 128;
    memcpy(out, client.data, len);
    for (size_t i = 0; part == PONG_REFLECT_CASE && i < len; i++) {
        out[i] = (char)toupper((unsigned char)out[i]);
    }
    switch (part) {
    case PONG_REFLECT_DOT:
        out[len++] = '.';
        break;
    case PONG_REFLECT_NUL:
        out[len++] = '\0';
        break;
    case PONG_REFLECT_NONCE:
        memcpy(out + len, NONCE, strlen(NONCE));
        len += strlen(NONCE);
        break;
    case PONG_REFLECT_BLANK:
        len = 0;
        break;
    case PONG_REFLECT_OTHER:
        return of(HOSTNAME);
    default:
        break;
    }
    return (text){out, len};
}

/* What comes after the reason in a PONG. */
static void put_proof(msgpack_packer *pk, peer *p, const msgpack_object *ping, pong_part part,
                      bool bin)
{
    char digest[129], room[256];
    const msgpack_object *o = ping->via.array.ptr;
    bool attack = part >= PONG_REFLECT && part <= PONG_REFLECT_OTHER;
    text name = attack || part == PONG_NAMESAKE ? reflected_name(room, of_object(&o[1]), part)
                                                : of(HOSTNAME);
    const char *key = part == PONG_WRONG_DIGEST ? "another key"
                      : part == PONG_BLANK_KEY  ? ""
                                                : p->server->script.shared_key;
    text parts[] = {of_object(&o[2]), name, of(NONCE), of(key)};

    hexdigest(digest, parts, 4);
    if (part == PONG_REPLAY) {
        pthread_mutex_lock(&p->server->lock);
        if (p->server->recorded[0] == '\0') {
            memcpy(p->server->recorded, digest, sizeof digest);
        }
        memcpy(digest, p->server->recorded, sizeof digest);
        pthread_mutex_unlock(&p->server->lock);
    }
    put(pk, bin, part == PONG_REFUSED ? of("") : name);
    if (part == PONG_NIL_DIGEST) {
        msgpack_pack_nil(pk);
    } else if (attack) {
        put(pk, bin, of_object(&o[3]));
    } else {
        put(pk, bin,
            (text){digest, part == PONG_REFUSED        ? 0
                           : part == PONG_SHORT_DIGEST ? 64
                                                       : 128});
    }
}

static void put_pong(msgpack_packer *pk, peer *p, const msgpack_object *ping, pong_part part,
                     bool bin)
{
    msgpack_pack_array(pk, part == PONG_THREE ? 3 : 5);
    put_str(pk, part == PONG_OTHER ? "PING" : "PONG");
    if (part == PONG_TEXT_OK) {
        put_str(pk, "true");
    } else if (part == PONG_REFUSED) {
        msgpack_pack_false(pk);
    } else {
        msgpack_pack_true(pk);
    }
    put(pk, bin, of(part == PONG_REFUSED ? "shared_key\nmismatch" : ""));
    if (part != PONG_THREE) {
        put_proof(pk, p, ping, part, bin);
    }
}

/* True if a server with this PONG is well-behaved. With PONG_REPLAY only the first connection
 * is. */
static bool is_well_behaved(const peer *p, pong_part part)
{
    return part <= PONG_BYTEWISE || (part == PONG_REPLAY && p == &p->server->peers[0]);
}

/* True if records may follow. False also if the client leaves before PING. */
static bool say_pong(peer *p, helo_part helo, pong_part part)
{
    msgpack_unpacked ping;
    msgpack_sbuffer out;
    msgpack_packer pk;

    msgpack_unpacked_init(&ping);
    if (!receive(p, &ping)) {
        msgpack_unpacked_destroy(&ping);
        return false;
    }
    if (!is_ping(&ping.data)) { /* a client that does not log in */
        msgpack_unpacked_destroy(&ping);
        return false;
    }
    msgpack_sbuffer_init(&out);
    msgpack_packer_init(&pk, &out, msgpack_sbuffer_write);
    if (check_ping(p, &ping.data, helo)) {
        pthread_mutex_lock(&p->server->lock);
        p->server->logins++;
        pthread_mutex_unlock(&p->server->lock);
    } else if (is_well_behaved(p, part)) {
        part = PONG_REFUSED;
    }
    if (part == PONG_EOF) {
        shutdown(p->fd, SHUT_WR);
    } else if (part != PONG_SILENT) {
        put_pong(&pk, p, &ping.data, part, helo == HELO_BIN);
        if (part == PONG_EXTRA) {
            msgpack_sbuffer_write(&out, "\xc0", 1);
        }
        if (part == PONG_BYTEWISE) {
            send_bytewise(p, out.data, out.size);
        } else {
            send_all(p, out.data, out.size);
        }
    }
    msgpack_sbuffer_destroy(&out);
    msgpack_unpacked_destroy(&ping);
    return is_well_behaved(p, part);
}

static void put_ack(msgpack_packer *pk, ack_part part, const char *id)
{
    if (part == ACK_ARRAY) {
        msgpack_pack_array(pk, 1);
        put_str(pk, id);
        return;
    }
    msgpack_pack_map(pk, 1);
    put_str(pk, part == ACK_OTHER ? "nack" : "ack");
    if (part == ACK_NUMBER) {
        msgpack_pack_int(pk, 1);
    } else {
        put(pk, part == ACK_BIN, of(part == ACK_WRONG ? "AAAAAAAAAAAAAAAAAAAAAA==" : id));
    }
}

/* Answers one message; true if that was well-behaved. `first` is the id of the connection's first
 * message. */
static bool say_ack(const peer *p, ack_part part, const char *id, const char *first)
{
    msgpack_sbuffer out;
    msgpack_packer pk;

    if (part == ACK_NONE || part == ACK_SILENT || id[0] == '\0') { /* no id: no ack was asked for */
        return part != ACK_SILENT;
    }
    if (part == ACK_TRICKLE) {
        send_all(p, "\xde\x10\x00", 3);
        send_endless(p, "\xc0", 1, 20000);
        return false;
    }
    msgpack_sbuffer_init(&out);
    msgpack_packer_init(&pk, &out, msgpack_sbuffer_write);
    put_ack(&pk, part, part == ACK_PREVIOUS ? first : id);
    if (part == ACK_TRAILING) {
        put_ack(&pk, part, id);
    }
    if (part == ACK_LATE) {
        usleep(600000);
    }
    if (part == ACK_BYTEWISE) {
        send_bytewise(p, out.data, out.size);
    } else if (part != ACK_EOF) {
        send_all(p, out.data, part == ACK_HALF ? out.size / 2 : out.size);
    }
    if (part == ACK_EOF || part == ACK_HALF) {
        shutdown(p->fd, SHUT_WR);
    }
    msgpack_sbuffer_destroy(&out);
    return part <= ACK_BIN || (part == ACK_PREVIOUS && id == first);
}

static bool serve_messages(peer *p, ack_part part)
{
    msgpack_unpacked m;
    const char *first = NULL;
    bool good = true;

    msgpack_unpacked_init(&m);
    while (good && receive(p, &m)) {
        const char *id = forward_note_message(p->server, &m.data);
        first = first == NULL ? id : first;
        good = say_ack(p, part, id, first);
    }
    msgpack_unpacked_destroy(&m);
    return good;
}

bool forward_play(peer *p)
{
    const forward_script *script = &p->server->script;
    helo_part helo = script->helo;
    pong_part pong = script->pong;
    ack_part ack = script->ack;

    if (p->well_behaved) {
        helo = helo == HELO_NONE || helo == HELO_EOF ? HELO_NONE : HELO_GOOD;
        pong = PONG_GOOD;
        ack = ack == ACK_NONE ? ACK_NONE : ACK_GOOD;
    }
    if (helo != HELO_NONE && (!say_helo(p, helo) || !say_pong(p, helo, pong))) {
        return false;
    }
    return serve_messages(p, ack);
}
