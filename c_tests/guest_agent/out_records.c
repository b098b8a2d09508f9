/* The plugin's flush: a record of eight bytes, which the server sends back once it has it. */
#include "out_records.h"

#include <stdlib.h>
#include <string.h>

#include <fluent-bit/flb_upstream_conn.h>

static struct flb_upstream *target(struct records *ctx)
{
    struct flb_upstream_node *node;
    struct records_node *own;
    if (ctx->ha_mode == FLB_FALSE) {
        return ctx->u;
    }
    node = flb_upstream_ha_node_get(ctx->ha);
    if (node == NULL) {
        return NULL;
    }
    own = flb_upstream_node_get_data(node);
    ctx->order[atomic_fetch_add(&ctx->picked, 1) % RECORDS_MOST] = own->label;
    return node->u;
}

static int exchange(struct flb_connection *conn, const struct flb_event_chunk *chunk)
{
    char back[8];
    size_t done = 0;
    if (chunk->size != sizeof(back) ||
        flb_io_net_write(conn, chunk->data, chunk->size, &done) == -1) {
        return -1;
    }
    for (done = 0; done < sizeof(back);) {
        ssize_t got = flb_io_net_read(conn, back + done, sizeof(back) - done);
        if (got <= 0) {
            return -1;
        }
        done += (size_t)got;
    }
    return memcmp(back, chunk->data, sizeof(back)) == 0 ? 0 : -1;
}

static int send_to(struct records *ctx, struct flb_upstream *u, const struct flb_event_chunk *chunk,
                   int *net_error)
{
    struct flb_connection *conn = flb_upstream_conn_get(u);
    int ret;
    *net_error = -1;
    if (conn == NULL) {
        return FLB_RETRY;
    }
    if (conn->upstream != u) {
        atomic_fetch_add(&ctx->misplaced, 1);
    }
    ret = exchange(conn, chunk) == 0 ? FLB_OK : FLB_RETRY;
    *net_error = conn->net_error;
    flb_upstream_conn_release(conn);
    return ret;
}

static int send_to_two(struct records *ctx, const struct flb_event_chunk *chunk)
{
    struct flb_upstream *u[2];
    struct flb_connection *conn[2];
    int ret = FLB_OK;
    for (int i = 0; i < 2; i++) {
        u[i] = target(ctx);
        conn[i] = u[i] != NULL ? flb_upstream_conn_get(u[i]) : NULL;
    }
    for (int i = 0; i < 2; i++) {
        if (conn[i] == NULL || conn[i]->upstream != u[i] || exchange(conn[i], chunk) == -1) {
            ret = FLB_RETRY;
        }
        if (conn[i] != NULL) {
            flb_upstream_conn_release(conn[i]);
        }
    }
    return ret;
}

static void cb_records_flush(struct flb_event_chunk *chunk, struct flb_output_flush *flush,
                             struct flb_input_instance *input, void *context,
                             struct flb_config *config)
{
    struct records *ctx = context;
    struct flb_upstream *u;
    int net_error = -1, ret, look_up_error, rounds = ctx->manner == RECORDS_AGAIN ? 10 : 1;
    int pieces = ctx->manner == RECORDS_SEVERAL ? 6 : 1;
    (void)flush;
    (void)input;
    (void)config;
    if (ctx->manner == RECORDS_TWO) {
        FLB_OUTPUT_RETURN(send_to_two(ctx, chunk));
    }
    do {
        u = target(ctx);
        if (u == NULL) {
            FLB_OUTPUT_RETURN(FLB_RETRY);
        }
        if (ctx->manner == RECORDS_PICK_ONLY) {
            FLB_OUTPUT_RETURN(FLB_ERROR);
        }
        if (ctx->manner == RECORDS_PICK_TWICE && (u = target(ctx)) == NULL) {
            FLB_OUTPUT_RETURN(FLB_RETRY);
        }
        if (ctx->manner == RECORDS_LOOK_UP &&
            send_to(ctx, ctx->u, chunk, &look_up_error) != FLB_OK) {
            FLB_OUTPUT_RETURN(FLB_RETRY);
        }
        ret = send_to(ctx, u, chunk, &net_error);
    } while (ret == FLB_OK ? --pieces > 0 : net_error != -1 && --rounds > 0);
    FLB_OUTPUT_RETURN(ctx->manner == RECORDS_UNSENDABLE ? FLB_ERROR : ret);
}

static int cb_records_timer(void *context)
{
    const struct flb_event_chunk chunk = {"by timer", 8};
    struct flb_upstream *u = target(context);
    int net_error;
    return u != NULL ? send_to(context, u, &chunk, &net_error) : FLB_RETRY;
}

static int cb_records_init(struct flb_output_instance *ins, struct flb_config *config, void *data)
{
    struct records *ctx = calloc(1, sizeof(*ctx));
    (void)data;
    ins->context = ctx;
    return ctx != NULL ? records_conf_create(ctx, ins, config) : -1;
}

static int cb_records_exit(void *context, struct flb_config *config)
{
    (void)config;
    records_conf_destroy(context);
    return 0;
}

struct flb_output_plugin out_records_plugin = {
    .name = "records",
    .cb_init = cb_records_init,
    .cb_flush = cb_records_flush,
    .cb_exit = cb_records_exit,
    .cb_timer = cb_records_timer,
};
