/* OpenSSL's server and client in the TLS benchmark. Each checks what it measures, so that no figure
 * can belong to another cipher suite, another group or the other kind of handshake. Neither does
 * more than a careful client or server does. */
#define _GNU_SOURCE
#include "tls_peer.h"

#include "bench.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void openssl_ok(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "bench: %s: ", what);
        ERR_print_errors_fp(stderr);
        exit(1);
    }
}

static void extend(X509 *certificate, int kind, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, kind, value);
    openssl_ok(extension != NULL && X509_add_ext(certificate, extension, -1), value);
    X509_EXTENSION_free(extension);
}

/* Without an `issuer` the certificate of an authority, else one for "localhost", signed by the
 * issuer. */
static X509 *certificate_for(EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
    X509 *certificate = X509_new();
    X509_NAME *name = X509_get_subject_name(certificate);
    const char *common_name = issuer == NULL ? "bench authority" : "localhost";
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), issuer == NULL ? 1 : 2);
    X509_set_version(certificate, 2);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 24 * 3600);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1, -1,
                               0);
    X509_set_issuer_name(certificate, issuer == NULL ? name : X509_get_subject_name(issuer));
    X509_set_pubkey(certificate, key);
    extend(certificate, NID_basic_constraints,
           issuer == NULL ? "critical,CA:TRUE" : "critical,CA:FALSE");
    extend(certificate, NID_key_usage,
           issuer == NULL ? "critical,keyCertSign" : "critical,digitalSignature");
    if (issuer != NULL) {
        extend(certificate, NID_subject_alt_name, "DNS:localhost");
    }
    openssl_ok(X509_sign(certificate, issuer_key, EVP_sha256()) > 0, "signing the certificate");
    return certificate;
}

static EVP_PKEY *key_of(const struct tls_kind *kind)
{
    EVP_PKEY *key = kind->rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    openssl_ok(key != NULL, "making a key");
    return key;
}

/* The file of the running server: it is removed even if the program ends with an error. */
static char to_remove[64];

static void remove_trusted(void)
{
    if (to_remove[0] != '\0') {
        unlink(to_remove);
        to_remove[0] = '\0';
    }
}

static void write_trusted(struct tls_server *server, X509 *authority)
{
    static int registered;
    FILE *out;
    int file;
    if (!registered) {
        bench_system(atexit(remove_trusted) == 0, "atexit");
        registered = 1;
    }
    strcpy(server->trusted, "/tmp/upstream-bench-XXXXXX");
    file = mkstemp(server->trusted);
    bench_system(file >= 0, server->trusted);
    strcpy(to_remove, server->trusted);
    out = fdopen(file, "w");
    openssl_ok(out != NULL && PEM_write_X509(out, authority),
               "writing the authority's certificate");
    bench_system(fclose(out) == 0, server->trusted);
}

static void limit(SSL_CTX *context, const struct tls_kind *kind)
{
    openssl_ok(SSL_CTX_set_min_proto_version(context, kind->version) &&
                   SSL_CTX_set_max_proto_version(context, kind->version),
               "version");
    openssl_ok(kind->version == TLS1_3_VERSION ? SSL_CTX_set_ciphersuites(context, kind->cipher)
                                               : SSL_CTX_set_cipher_list(context, kind->cipher),
               kind->cipher);
    openssl_ok((int)SSL_CTX_set1_groups_list(context, "X25519:P-256"), "groups");
}

/* RFC 5246 section 7.3: a resumed handshake of TLS 1.2 exchanges no keys, so it has no group. */
static int as_asked(SSL *connection, const struct tls_kind *kind)
{
    int keys_exchanged = kind->version == TLS1_3_VERSION || !SSL_session_reused(connection);
    return SSL_version(connection) == kind->version &&
           strcmp(SSL_get_cipher_name(connection), kind->cipher) == 0 &&
           (!keys_exchanged || SSL_get_negotiated_group(connection) == NID_X25519);
}

static void throw_away(int socket, struct tls_count *count)
{
    static char thrown_away[1 << 20];
    ssize_t length;
    while ((length = recv(socket, thrown_away, sizeof(thrown_away), MSG_TRUNC)) > 0) {
        __atomic_fetch_add(&count->bytes, (uint64_t)length, __ATOMIC_RELAXED);
    }
}

static void serve(int listener, SSL_CTX *context, const struct tls_kind *kind, enum tls_work work,
                  struct tls_count *count)
{
    char ignored[64];
    int one = 1;
    for (;;) {
        int socket = accept(listener, NULL, NULL);
        SSL *connection = SSL_new(context);
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        SSL_set_fd(connection, socket);
        if (SSL_accept(connection) == 1) {
            *(SSL_session_reused(connection) ? &count->resumed : &count->full) += 1;
            count->astray += !as_asked(connection, kind);
            if (work == TLS_GREET) { /* counted before the client has its byte */
                SSL_write(connection, "x", 1);
                while (SSL_read(connection, ignored, sizeof(ignored)) > 0) {
                }
                SSL_shutdown(connection);
            } else if (fork() == 0) { /* the next client is served at the same time */
                throw_away(socket, count);
                _exit(0);
            }
        }
        ERR_clear_error();
        SSL_free(connection);
        close(socket);
    }
}

struct tls_server *tls_server_start(struct tls_kind kind, enum tls_work work, int resume)
{
    struct tls_server *server = calloc(1, sizeof(*server));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EVP_PKEY *authority_key = key_of(&kind), *key = key_of(&kind);
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    X509 *authority = certificate_for(authority_key, NULL, authority_key);
    X509 *certificate = certificate_for(key, authority, authority_key);
    openssl_ok(server != NULL && context != NULL, "making the server");
    write_trusted(server, authority);
    server->kind = kind;
    server->count = mmap(NULL, sizeof(*server->count), PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bench_system(server->count != MAP_FAILED, "mmap");
    bench_system(bind(listener, (struct sockaddr *)&address, length) == 0 &&
                     listen(listener, 1024) == 0,
                 "listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    server->port = ntohs(address.sin_port);
    limit(context, &kind);
    openssl_ok(SSL_CTX_use_certificate(context, certificate) == 1 &&
                   SSL_CTX_use_PrivateKey(context, key) == 1,
               "certificate");
    if (resume) {
        SSL_CTX_set_session_id_context(context, (const unsigned char *)"bench", 5);
    } else {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(context, 0);
    }
    server->process = fork();
    bench_system(server->process >= 0, "fork");
    if (server->process == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGPIPE, SIG_IGN);
        signal(SIGCHLD, SIG_IGN);
        serve(listener, context, &kind, work, server->count);
    }
    close(listener);
    X509_free(certificate);
    X509_free(authority);
    EVP_PKEY_free(key);
    EVP_PKEY_free(authority_key);
    SSL_CTX_free(context);
    return server;
}

void tls_server_stop(struct tls_server *server)
{
    kill(server->process, SIGKILL);
    waitpid(server->process, NULL, 0);
    remove_trusted();
    munmap(server->count, sizeof(*server->count));
    free(server);
}

static int keep(SSL *connection, SSL_SESSION *session)
{
    struct tls_client *client = SSL_CTX_get_app_data(SSL_get_SSL_CTX(connection));
    SSL_SESSION_free(client->session);
    client->session = session;
    return 1;
}

struct tls_client *tls_client_new(const struct tls_server *server, int resume)
{
    struct tls_client *client = calloc(1, sizeof(*client));
    openssl_ok(client != NULL, "calloc");
    client->server = server;
    client->context = SSL_CTX_new(TLS_client_method());
    openssl_ok(SSL_CTX_load_verify_locations(client->context, server->trusted, NULL), "trust");
    SSL_CTX_set_verify(client->context, SSL_VERIFY_PEER, NULL);
    limit(client->context, &server->kind);
    if (resume) {
        SSL_CTX_set_app_data(client->context, client);
        SSL_CTX_set_session_cache_mode(client->context,
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(client->context, keep);
    }
    return client;
}

void tls_client_free(struct tls_client *client)
{
    SSL_SESSION_free(client->session);
    SSL_CTX_free(client->context);
    free(client);
}

SSL *tls_client_connect(struct tls_client *client)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, socket_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    SSL *connection = SSL_new(client->context);
    address.sin_port = htons(client->server->port);
    setsockopt(socket_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    bench_system(connect(socket_fd, (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
    SSL_set_fd(connection, socket_fd);
    SSL_set_tlsext_host_name(connection, "localhost");
    SSL_set1_host(connection, "localhost");
    if (client->session != NULL) {
        SSL_set_session(connection, client->session);
    }
    openssl_ok(SSL_connect(connection) == 1, "OpenSSL's handshake");
    client->resumed += SSL_session_reused(connection);
    return connection;
}

void tls_client_close(SSL *connection)
{
    int socket_fd = SSL_get_fd(connection);
    SSL_shutdown(connection);
    SSL_free(connection);
    close(socket_fd);
}
