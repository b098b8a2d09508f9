/* See servers.h. */
#define _GNU_SOURCE
#include "servers.h"

#include "../support/openssl.h"
#include "operations.h"
#include "sink.h"

#include <stdio.h>

static struct sink sink;
static char *folder, ca_file[128];
static struct openssl_server *tls;

int servers_start(void **state)
{
    (void)state;
    sink_raise_descriptors();
    sink = sink_start();
    folder = openssl_make_folder();
    tls = openssl_start(folder, "-cert valid.crt -key valid.key");
    snprintf(ca_file, sizeof(ca_file), "%s/ca.crt", folder);
    operations_servers(sink.port, openssl_port(tls), ca_file);
    return 0;
}

int servers_stop(void **state)
{
    (void)state;
    openssl_stop(tls);
    openssl_remove_folder(folder);
    sink_stop(&sink);
    return 0;
}
