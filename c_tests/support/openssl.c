/* See openssl.h. */
#define _GNU_SOURCE
#include "openssl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"

/* Files: ca, other-ca (.crt .key); by ca: valid, wrong-name, expired, client; self (self-signed, a
 * CA as openssl makes it by default); keys of the client again as client.p1 (SEC1), client-rsa.p1
 * (PKCS#1), client.enc (PKCS#8, passphrase "secret"). */
static const char script[] =
    "set -e; cd \"$0\"\n"
    "ec='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'\n"
    "for ca in ca other-ca; do\n"
    "  openssl req -x509 $ec -keyout $ca.key -out $ca.crt -days 9 -subj /CN=$ca\n"
    "done\n"
    "openssl req -x509 $ec -keyout self.key -out self.crt -days 9 -subj /CN=self \\\n"
    "  -addext subjectAltName=DNS:localhost,IP:127.0.0.1\n"
    "issue() {\n" /* name, days, extension */
    "  openssl req $ec -keyout $1.key -out $1.csr -subj /CN=$1\n"
    "  echo \"$3\" >$1.ext\n"
    "  openssl x509 -req -in $1.csr -CA ca.crt -CAkey ca.key -CAcreateserial \\\n"
    "    -days $2 -extfile $1.ext -out $1.crt\n"
    "}\n"
    "issue valid 9 subjectAltName=DNS:localhost,IP:127.0.0.1\n"
    "issue wrong-name 9 subjectAltName=DNS:a.example,DNS:*.b.example\n"
    "issue client 9 extendedKeyUsage=clientAuth\n"
    "openssl req $ec -keyout expired.key -out expired.csr -subj /CN=expired\n"
    "printf '[ca]\\ndefault_ca=c\\n[c]\\ndatabase=index\\nnew_certs_dir=.\\n"
    "rand_serial=yes\\ndefault_md=sha256\\npolicy=p\\n"
    "[p]\\ncommonName=supplied\\n' >ca.cnf; : >index\n"
    "openssl ca -batch -config ca.cnf -cert ca.crt -keyfile ca.key -in expired.csr \\\n"
    "  -extfile valid.ext -notext -startdate 20240101000000Z -enddate 20240201000000Z \\\n"
    "  -out expired.crt\n"
    "openssl ec -in client.key -out client.p1\n"
    "openssl pkcs8 -topk8 -in client.key -out client.enc -passout pass:secret\n"
    "openssl req -newkey rsa:2048 -nodes -keyout client-rsa.key -out client-rsa.csr \\\n"
    "  -subj /CN=client-rsa\n"
    "openssl x509 -req -in client-rsa.csr -CA ca.crt -CAkey ca.key -CAcreateserial \\\n"
    "  -days 9 -out client-rsa.crt\n"
    "openssl rsa -in client-rsa.key -traditional -out client-rsa.p1\n"
    "openssl rsa -in client-rsa.key -traditional -aes128 -passout pass:secret -out client-rsa.old\n"
    "mkdir roots && cp ca.crt roots/one.pem && echo note >roots/README && : >empty.crt\n";

struct openssl_server {
    struct process process;
    uint16_t port;
};

static void die(const char *what)
{
    fprintf(stderr, "openssl: %s\n", what);
    abort();
}

char *openssl_make_folder(void)
{
    char *folder = strdup("/tmp/upstream-tls-XXXXXX");
    const char *arguments[] = {"sh", "-c", script, folder, NULL};
    if (folder == NULL || mkdtemp(folder) == NULL) {
        die("no folder");
    }
    if (process_run(arguments, NULL) != 0) {
        die("the certificates could not be made (UPSTREAM_TEST_STDERR=1 shows why)");
    }
    return folder;
}

void openssl_remove_folder(char *folder)
{
    const char *arguments[] = {"rm", "-rf", folder, NULL};
    process_run(arguments, NULL);
    free(folder);
}

char *openssl_folder;

int openssl_folder_setup(void **state)
{
    (void)state;
    openssl_folder = openssl_make_folder();
    return 0;
}

int openssl_folder_teardown(void **state)
{
    (void)state;
    openssl_remove_folder(openssl_folder);
    return 0;
}

struct openssl_server *openssl_start(const char *folder, const char *arguments)
{
    struct openssl_server *server = calloc(1, sizeof(*server));
    char *words = strdup(arguments), *word, *rest = NULL;
    const char *list[32] = {"openssl", "s_server", "-accept", "127.0.0.1:0", "-rev", NULL};
    size_t count = 5;
    char line[256];
    if (server == NULL || words == NULL) {
        die("no memory");
    }
    for (word = strtok_r(words, " ", &rest); word != NULL && count < 31;
         word = strtok_r(NULL, " ", &rest)) {
        list[count++] = word;
    }
    server->process = process_start(list, folder);
    free(words);
    /* It says "ACCEPT 127.0.0.1:PORT" when it listens, and "ACCEPT" at a port of the test's choice.
     */
    while (process_read_line(&server->process, line, sizeof(line))) {
        if (strncmp(line, "ACCEPT", 6) == 0) {
            const char *colon = strrchr(line, ':');
            server->port = colon != NULL ? (uint16_t)strtoul(colon + 1, NULL, 10) : 0;
            return server;
        }
    }
    die("s_server does not start (UPSTREAM_TEST_STDERR=1 shows why)");
    return NULL;
}

uint16_t openssl_port(const struct openssl_server *server)
{
    return server->port;
}

void openssl_stop(struct openssl_server *server)
{
    process_kill(&server->process);
    free(server);
}
