/* OpenSSL's part in the TLS benchmark: a server on the system's OpenSSL, as a separate process, and
 * an OpenSSL client that does what the library does. */
#ifndef TLS_PEER_H
#define TLS_PEER_H

#include <openssl/ssl.h>
#include <stdint.h>
#include <sys/types.h>

/* What the server is to do. */
enum tls_work {
    TLS_GREET, /* shake hands, say one byte, wait for the end */
    TLS_SINK   /* shake hands, then throw away what comes, without decrypting it */
};

struct tls_kind {
    int version;        /* TLS1_3_VERSION or TLS1_2_VERSION */
    const char *cipher; /* OpenSSL's name */
    int rsa;            /* the certificate's key: RSA 2048, otherwise P-256 */
};

struct tls_server {
    pid_t process;
    uint16_t port;
    /* a temporary file: the authority, in PEM, that signed the server's certificate for
     * "localhost" */
    char trusted[64];
    struct tls_kind kind;
    struct tls_count *count;
};

/* What the server has seen so far; its other process writes it. */
struct tls_count {
    long full, resumed; /* handshakes */
    /* handshakes of both kinds with another version, cipher suite or group than asked for */
    long astray;
    uint64_t bytes; /* bytes that TLS_SINK has thrown away, as they were on the wire */
};

/* Starts it; ends the program if that fails. With `resume` it gives tickets. */
struct tls_server *tls_server_start(struct tls_kind kind, enum tls_work work, int resume);
void tls_server_stop(struct tls_server *server);

/* A client that trusts the server's certificate and checks its name, with the server's version and
 * cipher and X25519. With `resume` each connection resumes the session that the last one left. */
struct tls_client {
    SSL_CTX *context;
    SSL_SESSION *session;
    long resumed; /* connections so far that were */
    const struct tls_server *server;
};

struct tls_client *tls_client_new(const struct tls_server *server, int resume);
void tls_client_free(struct tls_client *client);

/* A connection, its handshake done; ends the program if it fails. */
SSL *tls_client_connect(struct tls_client *client);
void tls_client_close(SSL *connection);

#endif
