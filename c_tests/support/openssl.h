/*
 * The system's OpenSSL as the server of a TLS test: makes certificates, and runs `openssl s_server`
 * on a free port.
 */
#ifndef SUPPORT_OPENSSL_H
#define SUPPORT_OPENSSL_H

#include <stdint.h>

/* Makes a folder of keys and certificates (see openssl.c for their names); NULL-terminated path, to
 * be removed. */
char *openssl_make_folder(void);
void openssl_remove_folder(char *folder);

/* The same for a group of tests: its setup makes openssl_folder, its teardown removes it. */
extern char *openssl_folder;
int openssl_folder_setup(void **state);
int openssl_folder_teardown(void **state);

/* Runs `openssl s_server` in `folder` with `arguments` (separated by blanks). It sends each line
 * back reversed. It listens on a free port of 127.0.0.1, or as `-accept` says; openssl_port() is 0
 * if that names the port. */
struct openssl_server;
struct openssl_server *openssl_start(const char *folder, const char *arguments);
uint16_t openssl_port(const struct openssl_server *server);
void openssl_stop(struct openssl_server *server);

#endif
