/*
 * Takes turns over two nodes: a minimal program that proves that the installed header, library and
 * linkage work.
 */
#include <upstream/upstream.h>

#include <stdio.h>
#include <string.h>

static const char text[] = "[UPSTREAM]\n"
                           "    name two\n"
                           "[NODE]\n"
                           "    name node-1\n"
                           "    host 127.0.0.1\n"
                           "    port 43000\n"
                           "[NODE]\n"
                           "    name node-2\n"
                           "    host 127.0.0.1\n"
                           "    port 44000\n";

int main(void)
{
    upstream_t *up = NULL;
    upstream_error_t *err = NULL;

    if (upstream_create_from_text(text, strlen(text), "consumer", NULL, &up, &err) != UPSTREAM_OK) {
        fprintf(stderr, "%s\n", upstream_error_message(err));
        upstream_error_free(err);
        return 1;
    }
    printf("upstream %s:", upstream_version());
    for (int i = 0; i < 4; i++) {
        printf(" %s", upstream_node_name(upstream_next_node(up)));
    }
    printf("\n");
    upstream_destroy(up);
    return 0;
}
