/*
 * HELO, PING, PONG: each side proves that it knows the shared key, and the client says who its user
 * is. No record may be written before the server's proof has been checked. Any difference from the
 * protocol is a failure.
 *
 * Each proof is a digest of salt, name, nonce and key, and only the names differ. A server that
 * uses the client's name could therefore send the client's own proof back, so that name is refused.
 * The client draws a new salt for each connection, so a proof from another connection is worth
 * nothing.
 */
#include "internal.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SHOWN_MAX 160 /* how much of a server's own words a reason may show */

#ifndef HOST_NAME_MAX
#define HOST_NAME_MAX 255 /* the most that POSIX allows, if the system names no limit */
#endif

/* What a HELO says. The texts are those of its forward_answer. */
typedef struct helo {
    forward_bytes nonce;
    /* The salt of the password. A server without users leaves it empty, but Fluent Bit's never
     * does. */
    forward_bytes auth;
    bool keepalive;
} helo;

/* What the client says in one handshake. */
typedef struct login {
    const char *name;
    char salt[FORWARD_CHUNK_ID_LEN + 1]; /* text, because some servers read PING as UTF-8 */
    char proof[FORWARD_DIGEST_LEN + 1];
    char own_name[HOST_NAME_MAX + FORWARD_SUFFIX_LEN + 2]; /* used if self_hostname is not set */
} login;

static forward_bytes bytes_of(const char *text)
{
    return (forward_bytes){text, strlen(text)};
}

/* A server's words, made safe for a log line. */
static const char *shown(const msgpack_object *o, char out[SHOWN_MAX + 1])
{
    forward_bytes text = {"", 0};
    forward_text(o, &text);
    size_t len = text.len < SHOWN_MAX ? text.len : SHOWN_MAX;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        out[i] = c < 0x20 || c == 0x7f ? '?' : (char)c;
    }
    out[len] = '\0';
    return out;
}

static upstream_status_t read_helo(const msgpack_object *o, helo *h, forward_delivery *d)
{
    if (o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size != 2 ||
        !forward_text_is(&o->via.array.ptr[0], "HELO") ||
        o->via.array.ptr[1].type != MSGPACK_OBJECT_MAP) {
        return forward_fail(d, UPSTREAM_ERR_PROTOCOL,
                            "the server's first message is not [\"HELO\", {...}]");
    }
    const msgpack_object *options = &o->via.array.ptr[1];
    const msgpack_object *nonce = forward_map_get(options, "nonce");
    if (nonce == NULL || !forward_text(nonce, &h->nonce) || h->nonce.len == 0) {
        return forward_fail(d, UPSTREAM_ERR_PROTOCOL, "HELO carries no nonce");
    }
    h->auth = (forward_bytes){"", 0};
    const msgpack_object *auth = forward_map_get(options, "auth");
    if (auth != NULL && auth->type != MSGPACK_OBJECT_NIL && !forward_text(auth, &h->auth)) {
        return forward_fail(d, UPSTREAM_ERR_PROTOCOL, "auth in HELO is not a string");
    }
    h->keepalive = true;
    const msgpack_object *keepalive = forward_map_get(options, "keepalive");
    if (keepalive != NULL && keepalive->type != MSGPACK_OBJECT_BOOLEAN) {
        return forward_fail(d, UPSTREAM_ERR_PROTOCOL, "keepalive in HELO is not a boolean");
    }
    if (keepalive != NULL) {
        h->keepalive = keepalive->via.boolean;
    }
    return UPSTREAM_OK;
}

static int pack_bytes(msgpack_packer *pk, forward_bytes text)
{
    return msgpack_pack_str(pk, text.len) || msgpack_pack_str_body(pk, text.data, text.len);
}

static void prove(char out[FORWARD_DIGEST_LEN + 1], const login *me, forward_bytes name,
                  const helo *h, const forward_config *c)
{
    forward_bytes parts[] = {bytes_of(me->salt), name, h->nonce, bytes_of(c->shared_key)};
    forward_digest(out, parts, 4);
}

/*
 * Draws the salt. Without self_hostname it also makes a name: the machine's own and a random
 * suffix, so that no server has the same one. (Many clients and servers call themselves
 * "localhost".)
 */
static upstream_status_t introduce(login *me, const forward_config *c, const helo *h,
                                   forward_delivery *d)
{
    char suffix[FORWARD_SUFFIX_LEN + 1], machine[HOST_NAME_MAX + 1] = "";

    if (!forward_random_id(me->salt) || !forward_random_suffix(suffix)) {
        return forward_fail(d, UPSTREAM_ERR_IO, "the system gives no random bytes for the salt");
    }
    me->name = c->self_hostname;
    if (me->name == NULL) {
        bool named = gethostname(machine, sizeof machine) == 0;
        machine[HOST_NAME_MAX] = '\0';
        snprintf(me->own_name, sizeof me->own_name, "%s-%s", named ? machine : "client", suffix);
        me->name = me->own_name;
    }
    prove(me->proof, me, bytes_of(me->name), h, c);
    return UPSTREAM_OK;
}

/* ["PING", hostname, salt, digest of the key, user, digest of the password] */
static int pack_ping(msgpack_sbuffer *out, const forward_config *c, const helo *h, const login *me)
{
    char password_digest[FORWARD_DIGEST_LEN + 1] = "";
    const char *username = "";
    msgpack_packer pk;

    if (h->auth.len > 0) {
        username = c->username == NULL ? "" : c->username;
        forward_bytes password_parts[] = {h->auth, bytes_of(username),
                                          bytes_of(c->password == NULL ? "" : c->password)};
        forward_digest(password_digest, password_parts, 3);
    }
    msgpack_packer_init(&pk, out, msgpack_sbuffer_write);
    return msgpack_pack_array(&pk, 6) || pack_bytes(&pk, bytes_of("PING")) ||
           pack_bytes(&pk, bytes_of(me->name)) || pack_bytes(&pk, bytes_of(me->salt)) ||
           pack_bytes(&pk, bytes_of(me->proof)) || pack_bytes(&pk, bytes_of(username)) ||
           pack_bytes(&pk, bytes_of(password_digest));
}

static upstream_status_t send_ping(upstream_conn_t *conn, const forward_config *c, const helo *h,
                                   const login *me, forward_delivery *d)
{
    msgpack_sbuffer ping;
    upstream_status_t status;

    msgpack_sbuffer_init(&ping);
    if (pack_ping(&ping, c, h, me) != 0) {
        status = forward_fail(d, UPSTREAM_ERR_NO_MEMORY, "no memory for PING");
    } else {
        status = upstream_conn_write(conn, ping.data, ping.size);
        if (status != UPSTREAM_OK) {
            status = forward_fail_io(d, conn, status, "PING");
        }
    }
    msgpack_sbuffer_destroy(&ping);
    return status;
}

static bool same_bytes(forward_bytes a, forward_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/*
 * Under the client's own name, the right proof is the one that PING carried, and anyone who read
 * PING can send it back. Names are compared byte by byte, as the digest sees them: under any other
 * name the client's proof is wrong.
 */
static upstream_status_t check_proof(forward_bytes name, forward_bytes proof,
                                     const char *shown_name, const forward_config *c, const helo *h,
                                     const login *me, forward_delivery *d)
{
    char expected[FORWARD_DIGEST_LEN + 1];

    if (same_bytes(name, bytes_of(me->name))) {
        return forward_fail(
            d, UPSTREAM_ERR_PROTOCOL,
            "the server answers under this client's own name \"%s\", which anyone without the key "
            "could do; set self_hostname to a name that no server has",
            shown_name);
    }
    if (forward_digest_equal(me->proof, proof)) {
        return forward_fail(d, UPSTREAM_ERR_PROTOCOL,
                            "the server \"%s\" sent this client's own proof back, which does not "
                            "prove that it knows the key; check the address",
                            shown_name);
    }
    prove(expected, me, name, h, c);
    if (!forward_digest_equal(expected, proof)) {
        return forward_fail(
            d, UPSTREAM_ERR_PROTOCOL,
            "the server \"%s\" does not know the shared key (its digest in PONG is wrong); "
            "check shared_key and the address",
            shown_name);
    }
    return UPSTREAM_OK;
}

/* ["PONG", ok, reason, hostname, digest of the key] */
static upstream_status_t check_pong(const msgpack_object *o, const forward_config *c, const helo *h,
                                    const login *me, forward_delivery *d)
{
    char words[SHOWN_MAX + 1];
    forward_bytes name, proof;

    const msgpack_object *pong = o->type == MSGPACK_OBJECT_ARRAY ? o->via.array.ptr : NULL;
    if (pong == NULL || o->via.array.size != 5 || !forward_text_is(&pong[0], "PONG") ||
        pong[1].type != MSGPACK_OBJECT_BOOLEAN) {
        return forward_fail(
            d, UPSTREAM_ERR_PROTOCOL,
            "the server's answer to PING is not [\"PONG\", ok, reason, hostname, digest]");
    }
    if (!pong[1].via.boolean) {
        return forward_fail(d, UPSTREAM_ERR_PROTOCOL,
                            "the server refused the login: \"%s\"; set shared_key, username, "
                            "password as it has them",
                            shown(&pong[2], words));
    }
    if (!forward_text(&pong[3], &name) || !forward_text(&pong[4], &proof)) {
        return forward_fail(d, UPSTREAM_ERR_PROTOCOL,
                            "hostname and digest in PONG are not strings");
    }
    return check_proof(name, proof, shown(&pong[3], words), c, h, me, d);
}

/* Reads one message. The server must now wait for ours: if more bytes came, it breaks the
 * protocol. */
static upstream_status_t read_alone(forward_answer *a, upstream_conn_t *conn,
                                    const forward_config *c, const char *what, forward_delivery *d)
{
    upstream_status_t status = forward_answer_read(a, conn, c->ack_timeout_ms, what, d);
    if (status == UPSTREAM_OK && a->extra > 0) {
        return forward_fail(d, UPSTREAM_ERR_PROTOCOL, "unexpected bytes after %s: %zu", what,
                            a->extra);
    }
    return status;
}

static upstream_status_t log_in(upstream_conn_t *conn, const forward_config *c, const helo *h,
                                forward_delivery *d)
{
    login me;
    upstream_status_t status = introduce(&me, c, h, d);
    if (status == UPSTREAM_OK) {
        status = send_ping(conn, c, h, &me, d);
    }
    if (status == UPSTREAM_OK) {
        forward_answer answer;
        status = read_alone(&answer, conn, c, "PONG", d);
        if (status == UPSTREAM_OK) {
            status = check_pong(&answer.value.data, c, h, &me, d);
        }
        forward_answer_destroy(&answer);
    }
    return status;
}

upstream_status_t forward_handshake(upstream_conn_t *conn, const forward_config *config,
                                    bool *keepalive, forward_delivery *d)
{
    forward_answer answer;
    helo h;

    upstream_status_t status = read_alone(&answer, conn, config, "HELO", d);
    if (status == UPSTREAM_OK) {
        status = read_helo(&answer.value.data, &h, d);
    }
    if (status == UPSTREAM_OK) {
        status = log_in(conn, config, &h, d);
    }
    if (status == UPSTREAM_OK) {
        *keepalive = h.keepalive;
    }
    forward_answer_destroy(&answer);
    return status;
}
