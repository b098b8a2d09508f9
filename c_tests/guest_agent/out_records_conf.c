/* The set-up of the plugin, in a separate source as in real plugins. */
#include "out_records.h"

#include <stdlib.h>

int records_conf_create(struct records *ctx, struct flb_output_instance *ins,
                        struct flb_config *config)
{
    struct mk_list *head;
    if (ins->upstream_file == NULL) {
        ctx->u = flb_upstream_create(config, "127.0.0.1", ins->port, 0, NULL);
        if (ctx->u == NULL) {
            return -1;
        }
        flb_output_upstream_set(ctx->u, ins);
        return 0;
    }
    ctx->ha_mode = FLB_TRUE;
    ctx->ha = flb_upstream_ha_from_file(ins->upstream_file, config);
    if (ctx->ha == NULL) {
        return -1;
    }
    mk_list_foreach (head, &ctx->ha->nodes) {
        struct flb_upstream_node *node = mk_list_entry(head, struct flb_upstream_node, _head);
        struct records_node *own = calloc(1, sizeof(*own));
        const char *label = flb_upstream_node_get_property("label", node);
        if (own == NULL) {
            return -1;
        }
        own->label = label != NULL ? label[0] : '?';
        flb_upstream_node_set_data(own, node);
    }
    if (ins->net_setup_for == GUEST_FOR_THE_SET) {
        flb_output_upstream_ha_set(ctx->ha, ins);
    } else if (ins->net_setup_for == GUEST_FOR_EACH_NODE) {
        mk_list_foreach (head, &ctx->ha->nodes) {
            flb_output_upstream_set(mk_list_entry(head, struct flb_upstream_node, _head)->u, ins);
        }
    }
    return 0;
}

void records_conf_destroy(struct records *ctx)
{
    struct mk_list *head;
    if (ctx->ha_mode == FLB_TRUE) {
        mk_list_foreach (head, &ctx->ha->nodes) {
            free(flb_upstream_node_get_data(mk_list_entry(head, struct flb_upstream_node, _head)));
        }
        flb_upstream_ha_destroy(ctx->ha);
    }
    if (ctx->u != NULL) {
        flb_upstream_destroy(ctx->u);
    }
    free(ctx);
}
