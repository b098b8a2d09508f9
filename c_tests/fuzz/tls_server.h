/* The hostile server of fuzz_tls: it plays a script, on a thread of its own. */
#ifndef FUZZ_TLS_SERVER_H
#define FUZZ_TLS_SERVER_H

#include <stddef.h>
#include <stdint.h>

/* How the server makes its handshakes; bits of the input's first byte. */
enum {
    SERVER_12_ONLY = 1,
    SERVER_13_ONLY = 2,
    SERVER_ASKS_FOR_A_CERTIFICATE = 4,
    SERVER_OWN_RECORDS = 8, /* tls_records.h; else OpenSSL sends everything */
};

/* Once: makes a certificate for 127.0.0.1, and writes it to `path` for the client to trust. */
void tls_server_prepare(const char *path);
void tls_server_end(void);

uint16_t tls_server_port(void);

/* Plays `script` until tls_server_stop(). `on_cancel` is called when the script says so. */
void tls_server_start(const uint8_t *script, size_t size, int how, void (*on_cancel)(void));
void tls_server_stop(void);

/* Each direction of a connection carries a text that its port and the place alone decide. */
uint8_t tls_server_byte(uint16_t client_port, int from_client, size_t at);

/* How many bytes the server has sent in good order to the client at this port. */
size_t tls_server_sent(uint16_t client_port);

#endif
