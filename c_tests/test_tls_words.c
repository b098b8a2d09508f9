/* Each flaw of a server's certificate, of its TLS, and of a client's key has a sentence of its own
 * with the fix. The peer is the system's OpenSSL; the certificates are such as are met in the
 * field. */
#define _GNU_SOURCE
#include "support/check.h"
#include "support/openssl.h"
#include "support/process.h"

#include <unistd.h>

static const char script[] =
    "set -e\n"
    "ec='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'\n"
    "san=subjectAltName=DNS:localhost,IP:127.0.0.1\n"
    "issue() {\n" /* name, CA, new key, extensions (may be empty), more for x509 */
    "  openssl req $3 -keyout $1.key -out $1.csr -subj /CN=$1\n"
    "  printf \"$4\\n\" >$1.ext;\n"
    "  openssl x509 -req -in $1.csr -CA $2.crt -CAkey $2.key -CAcreateserial -days 9 \\\n"
    "    ${4:+-extfile $1.ext} $5 -out $1.crt\n"
    "}\n"
    "openssl req -x509 $ec -keyout again.key -out again.crt -days 9 -subj /CN=ca\n"
    "issue remade again \"$ec\" $san\n"
    "issue v1 ca \"$ec\" ''\n"
    "issue critical ca \"$ec\" \"$san\\n1.2.3.4.5=critical,DER:0500\"\n"
    "issue email ca \"$ec\" subjectAltName=email:a@b.example\n"
    "issue nameless ca \"$ec\" basicConstraints=CA:FALSE\n"
    "issue as-dns ca \"$ec\" subjectAltName=DNS:127.0.0.1\n"
    "issue short ca '-newkey rsa:1024 -nodes' $san\n"
    "issue rsa ca '-newkey rsa:2048 -nodes' $san\n"
    "issue p521 ca '-newkey ec -pkeyopt ec_paramgen_curve:secp521r1 -nodes' $san\n"
    "issue k1 ca '-newkey ec -pkeyopt ec_paramgen_curve:secp256k1 -nodes' $san\n"
    "issue ed448 ca '-newkey ed448 -nodes' $san\n"
    "issue pss ca '-newkey rsa-pss -pkeyopt rsa_keygen_bits:2048 -nodes' $san\n"
    "issue sha1 ca \"$ec\" $san -sha1\n"
    "issue clients ca \"$ec\" \"$san\\nextendedKeyUsage=clientAuth\"\n"
    "openssl req -x509 $ec -keyout limited.key -out limited.crt -days 9 -subj /CN=limited \\\n"
    "  -addext 'nameConstraints=permitted;DNS:example.com'\n"
    "issue beyond limited \"$ec\" $san\n"
    "issue between ca \"$ec\" basicConstraints=critical,CA:TRUE\n"
    "issue leaf between \"$ec\" $san\n"
    "openssl req -x509 $ec -keyout own.key -out own.crt -days 9 -subj /CN=own \\\n"
    "  -addext $san -addext extendedKeyUsage=clientAuth\n"
    "cat between.crt leaf.crt >upside-down.crt\n"
    "for form in 'pbes1 -v1 PBE-SHA1-3DES' 'sha1 -v2 aes-256-cbc -v2prf hmacWithSHA1' \\\n"
    "    'scrypt -scrypt' 'des3 -v2 des3' 'rounds -iter 20000000' 'aria -v2 aria-256-cbc'; do\n"
    "  set -- $form; name=$1; shift\n"
    "  openssl pkcs8 -topk8 -in client.key -out key-$name.p8 -passout pass:secret $*\n"
    "done\n"
    "openssl pkey -in client.key -outform der -out client.der\n"
    "openssl x509 -in ca.crt -outform der -out ca.der\n"
    "(printf '\\357\\273\\277'; sed 's/$/\\r/' ca.crt) >windows.crt\n"
    "openssl x509 -in ca.crt -trustout -addtrust serverAuth -out trusted.crt\n"
    "truncate -s 1G sparse.crt; mkfifo fifo.crt; sed '$d' ca.crt >cut.crt\n";

static int setup(void **state)
{
    const char *arguments[] = {"bash", "-c", script, NULL};
    return openssl_folder_setup(state) || process_run(arguments, openssl_folder);
}

/* Keys with F/ for the folder. */
static void text_of(char *text, size_t size, uint16_t port, const char *host, const char *keys)
{
    size_t used;
    const char *at;
    snprintf(text, size, "[UPSTREAM]\nname u\n[NODE]\nname n\nhost %s\nport %u\ntls on\n", host,
             (unsigned)port);
    for (at = keys; *at != '\0'; at++) {
        used = strlen(text);
        if (strncmp(at, "F/", 2) == 0) {
            snprintf(text + used, size - used, "%s", openssl_folder);
        } else {
            snprintf(text + used, size - used, "%c", *at);
        }
    }
}

/* No text shows what only a Rust programmer knows. */
static void check_words(const char *text)
{
    static const char *const words[] = {"(0x", "Other(", "Error", "Context", "Some(", "{ "};
    size_t i;
    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strstr(text, words[i]) != NULL) {
            print_error("\"%s\" in: %s\n", words[i], text);
            fail();
        }
    }
    check_contains(text, "; ");
}

#define CA "tls.ca_file F/ca.crt"
#define OFF "tls.verify off"
#define SMALL " -cipher ALL:@SECLEVEL=0"

static void each_server_gets_its_sentence(void **state)
{
    static const struct {
        const char *server, *host, *keys, *words; /* NULL: works */
    } rows[] = {
        {"-cert remade.crt -key remade.key", "localhost", CA, "made anew under its old name"},
        {"-cert v1.crt -key v1.key", "localhost", CA, "is X.509 version 1"},
        {"-cert v1.crt -key v1.key", "localhost", OFF, NULL},
        {"-cert critical.crt -key critical.key", "localhost", CA, "has a critical extension"},
        {"-cert email.crt -key email.key", "localhost", CA, "has no DNS name or IP address"},
        {"-cert nameless.crt -key nameless.key", "localhost", CA, "common name (\"nameless\")"},
        {"-cert as-dns.crt -key as-dns.key", "127.0.0.1", CA, "as a DNS name"},
        {"-cert short.crt -key short.key" SMALL, "localhost", CA, "RSA key of 1024 bits"},
        {"-cert short.crt -key short.key" SMALL, "localhost", OFF, NULL},
        {"-cert short.crt -key short.key -tls1_2" SMALL, "localhost", OFF, NULL},
        {"-cert rsa.crt -key rsa.key -tls1_2 -cipher AES128-GCM-SHA256", "localhost", CA,
         "no RSA or DHE key exchange"},
        {"-cert rsa.crt -key rsa.key -tls1_2 -cipher DHE-RSA-AES128-GCM-SHA256", "localhost", CA,
         "no RSA or DHE key exchange"},
        {"-cert rsa.crt -key rsa.key -tls1_1" SMALL, "localhost", CA, "update its TLS software"},
        {"-cert rsa.crt -key rsa.key -tls1" SMALL, "localhost", CA, "update its TLS software"},
        {"-cert p521.crt -key p521.key", "localhost", CA, NULL},
        {"-cert p521.crt -key p521.key -tls1_2", "localhost", CA, "P-521 only with TLSv1.3"},
        {"-cert k1.crt -key k1.key", "localhost", CA, "a certificate with an RSA, ECDSA"},
        {"-cert ed448.crt -key ed448.key", "localhost", CA, "a certificate with an RSA, ECDSA"},
        {"-cert pss.crt -key pss.key", "localhost", CA, "a certificate with an RSA, ECDSA"},
        {"-cert sha1.crt -key sha1.key" SMALL, "localhost", CA, "such as with SHA-1"},
        {"-cert clients.crt -key clients.key", "localhost", CA, "lacks serverAuth"},
        {"-cert beyond.crt -key beyond.key", "localhost", "tls.ca_file F/limited.crt",
         "nameConstraints"},
        {"-cert leaf.crt -key leaf.key", "localhost", CA, "the server must send its certificate"},
        {"-cert leaf.crt -key leaf.key -cert_chain between.crt", "localhost", CA, NULL},
        {"-cert own.crt -key own.key", "localhost", "tls.ca_file F/own.crt", "lacks serverAuth"},
        {"-cert self.crt -key self.key", "localhost", "tls.ca_file F/self.crt", NULL},
        {"-cert valid.crt -key valid.key", "localhost", "tls.ca_file F/windows.crt", NULL},
        {"-cert valid.crt -key valid.key", "localhost", "tls.ca_file F/trusted.crt", NULL},
        {"-cert valid.crt -key valid.key -groups X448", "localhost", CA, "ECDHE (X25519"},
        {"-cert valid.crt -key valid.key -Verify 1 -CAfile ca.crt -tls1_2", "localhost",
         CA "\ntls.crt_file F/p521.crt\ntls.key_file F/p521.key", "P-521"},
    };
    size_t i;
    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct openssl_server *server = openssl_start(openssl_folder, rows[i].server);
        upstream_conn_t *conn = NULL;
        upstream_error_t *err = NULL;
        upstream_status_t status;
        upstream_t *up;
        char text[2048];
        text_of(text, sizeof(text), openssl_port(server), rows[i].host, rows[i].keys);
        up = check_create(text, NULL);
        status = upstream_connect(up, &conn, &err);
        if ((rows[i].words == NULL) != (status == UPSTREAM_OK)) {
            print_error("%s: %s\n", rows[i].server, err ? upstream_error_message(err) : "works");
            fail();
        }
        if (err != NULL) {
            check_contains(upstream_error_message(err), rows[i].words);
            check_words(upstream_error_message(err));
        }
        upstream_error_free(err);
        upstream_conn_discard(conn);
        upstream_destroy(up);
        openssl_stop(server);
    }
}

#define PAIR "tls.crt_file F/client.crt\ntls.key_passwd secret\ntls.key_file F/"

static void each_file_gets_its_sentence(void **state)
{
    static const struct {
        const char *keys, *words; /* NULL: read */
    } rows[] = {
        {PAIR "key-sha1.p8", NULL},
        {PAIR "key-des3.p8", NULL},
        {PAIR "key-scrypt.p8", NULL},
        {PAIR "key-pbes1.p8", "an old scheme (PBES1"},
        {PAIR "key-aria.p8", "in a way that the library does not read"},
        {PAIR "key-rounds.p8", "wants 20000000 rounds of PBKDF2"},
        {PAIR "client.der", "is binary (DER"},
        {"tls.crt_file F/ed448.crt\ntls.key_file F/ed448.key", "an Ed448 key"},
        {"tls.crt_file F/k1.crt\ntls.key_file F/k1.key", "an EC key on a curve"},
        {"tls.crt_file F/short.crt\ntls.key_file F/short.key", "an RSA key of 1024 bits"},
        {"tls.crt_file F/pss.crt\ntls.key_file F/pss.key", "for PSS signatures alone"},
        {"tls.crt_file F/upside-down.crt\ntls.key_file F/leaf.key", "belongs to certificate 2"},
        {"tls.ca_file F/ca.der", "openssl x509 -inform der"},
        {"tls.ca_file F/sparse.crt", "has over 8 MiB"},
        {"tls.ca_file F/fifo.crt", "is a FIFO"},
        {"tls.ca_file F/cut.crt", "no \"-----END\" line"},
        {"tls.ca_file /dev/zero", "is a device"},
        {"tls.crl_file F/ca.crt", "holds no revocation list"},
    };
    size_t i;
    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[2048];
        text_of(text, sizeof(text), 1, "localhost", rows[i].keys);
        if (rows[i].words == NULL) {
            upstream_destroy(check_create(text, NULL));
        } else {
            upstream_error_t *err = check_refused(text, NULL);
            check_contains(upstream_error_message(err), rows[i].words);
            check_words(upstream_error_message(err));
            upstream_error_free(err);
        }
    }
}

/* A server of TLSv1.2 asks for a new handshake in the middle. That is declined (RFC 5246, 7.4.1.1).
 * OpenSSL then ends the connection, and the error says why. */
static void renegotiation_gets_its_sentence(void **state)
{
    /* for a client certificate, and without; the other two have asked for one before */
    static const char *const orders[] = {"R\n", "r\n", "R\n", "r\n"};
    size_t i;
    (void)state;
    for (i = 0; i < 4; i++) {
        const char *arguments[] = {
            "openssl", "s_server",  "-accept", "127.0.0.1:0", "-tls1_2",
            "-cert",   "valid.crt", "-key",    "valid.key",   i < 2 ? NULL : "-verify",
            "1",       NULL};
        struct process server = process_start(arguments, openssl_folder);
        upstream_conn_t *conn = NULL;
        char text[2048], line[256], byte;
        const char *said;
        size_t got;
        upstream_t *up;
        do {
            assert_true(process_read_line(&server, line, sizeof(line)));
        } while (strncmp(line, "ACCEPT ", 7) != 0);
        text_of(text, sizeof(text), (uint16_t)strtoul(strrchr(line, ':') + 1, NULL, 10),
                "localhost",
                i < 2 ? CA "\nnet.io_timeout 20s"
                      : CA "\nnet.io_timeout 20s\ntls.crt_file F/client.crt\n"
                           "tls.key_file F/client.key");
        up = check_create(text, NULL);
        assert_status(upstream_connect(up, &conn, NULL), UPSTREAM_OK);
        assert_int_equal(write(server.input, orders[i], 2), 2);
        assert_status(upstream_conn_read(conn, &byte, 1, &got), UPSTREAM_ERR_TLS);
        said = upstream_error_message(upstream_conn_last_error(conn));
        check_contains(said, "it wanted to renegotiate");
        check_contains(said, "switch renegotiation off there");
        check_words(said);
        /* A write says the same. */
        assert_status(upstream_conn_write(conn, "x", 1), UPSTREAM_ERR_TLS);
        check_contains(upstream_error_message(upstream_conn_last_error(conn)),
                       "it wanted to renegotiate");
        upstream_conn_discard(conn);
        upstream_destroy(up);
        process_kill(&server);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_server_gets_its_sentence),
        cmocka_unit_test(each_file_gets_its_sentence),
        cmocka_unit_test(renegotiation_gets_its_sentence),
    };
    return check_run_tests(tests, setup, openssl_folder_teardown);
}
