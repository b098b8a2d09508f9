/* An output plugin in the manner of those written for the agent's flb_upstream_ha_* calls; it knows
 * nothing of this library. */
#ifndef OUT_RECORDS_H
#define OUT_RECORDS_H

#include <fluent-bit/flb_output_plugin.h>
#include <fluent-bit/flb_upstream_ha.h>
#include <stdatomic.h>

enum records_manner {
    RECORDS_SEND, /* one node, one connection, one record */
    /* picks a node and gives up on the chunk without asking for a connection */
    RECORDS_PICK_ONLY,
    RECORDS_PICK_TWICE, /* picks again before it asks for a connection */
    /* asks for another node if the network failed, at most ten times */
    RECORDS_AGAIN,
    RECORDS_TWO,       /* sends to two nodes, with both connections in hand */
    RECORDS_SEVERAL,   /* sends the record six times, each time after a new pick */
    RECORDS_LOOK_UP,   /* speaks to another server, at `u`, between the pick and its connection */
    RECORDS_UNSENDABLE /* sends, and then returns FLB_ERROR */
};

enum { RECORDS_MOST = 4096 };

struct records {
    int ha_mode;
    struct flb_upstream_ha *ha;
    struct flb_upstream *u;
    enum records_manner manner;
    atomic_size_t picked;
    char order[RECORDS_MOST]; /* the labels of the nodes picked */
    atomic_size_t misplaced;  /* connections that were not to the node they were asked for */
};

/* What a node carries as its data. */
struct records_node {
    char label;
};

int records_conf_create(struct records *ctx, struct flb_output_instance *ins,
                        struct flb_config *config);
void records_conf_destroy(struct records *ctx);

#endif
