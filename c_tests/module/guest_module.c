/* See guest_module.h. */
#include "guest_module.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <upstream/upstream.h>

static upstream_status_t talk(upstream_conn_t *conn, void *ctx)
{
    char back[6];
    upstream_status_t status = upstream_conn_write(conn, "hello\n", 6);
    (void)ctx;
    return status != UPSTREAM_OK ? status : upstream_conn_read_exact(conn, back, 6);
}

int guest_deliver(void *set)
{
    return upstream_deliver(set, talk, NULL, 0, NULL) == UPSTREAM_OK;
}

void guest_end(void *set)
{
    upstream_destroy(set);
}

void *guest_begin(unsigned port, const char *ca_file)
{
    char text[512];
    upstream_t *up = NULL;
    snprintf(text, sizeof(text),
             "[UPSTREAM]\nname u\n[NODE]\nname n\nhost localhost\nport %u\n"
             "%s%s\n",
             port, ca_file != NULL ? "tls on\ntls.ca_file " : "", ca_file != NULL ? ca_file : "");
    if (upstream_create_from_text(text, strlen(text), "module", NULL, &up, NULL) != UPSTREAM_OK) {
        return NULL;
    }
    if (!guest_deliver(up)) {
        upstream_destroy(up);
        return NULL;
    }
    return up;
}
