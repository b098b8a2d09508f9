/*
 * The record has the arrays values, dstypes and dsnames; then host, plugin, plugin_instance, type,
 * type_instance and interval (in seconds); and meta, if there is any. A gauge that is not a number
 * becomes nil, as it becomes null in collectd's JSON.
 */
#include "record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool text(msgpack_packer *pk, const char *s)
{
    size_t len = strlen(s);
    return msgpack_pack_str(pk, len) == 0 && msgpack_pack_str_body(pk, s, len) == 0;
}

static bool number(msgpack_packer *pk, double d)
{
    return (isfinite(d) ? msgpack_pack_double(pk, d) : msgpack_pack_nil(pk)) == 0;
}

static bool value(msgpack_packer *pk, int type, value_t v)
{
    switch (type) {
    case DS_TYPE_COUNTER:
        return msgpack_pack_uint64(pk, v.counter) == 0;
    case DS_TYPE_DERIVE:
        return msgpack_pack_int64(pk, v.derive) == 0;
    case DS_TYPE_ABSOLUTE:
        return msgpack_pack_uint64(pk, v.absolute) == 0;
    default:
        return number(pk, v.gauge);
    }
}

static bool values(msgpack_packer *pk, const data_set_t *ds, const value_list_t *vl)
{
    bool good = text(pk, "values") && msgpack_pack_array(pk, vl->values_len) == 0;
    for (size_t i = 0; good && i < vl->values_len; i++) {
        good = value(pk, ds->ds[i].type, vl->values[i]);
    }
    good = good && text(pk, "dstypes") && msgpack_pack_array(pk, ds->ds_num) == 0;
    for (size_t i = 0; good && i < ds->ds_num; i++) {
        good = text(pk, DS_TYPE_TO_STRING(ds->ds[i].type));
    }
    good = good && text(pk, "dsnames") && msgpack_pack_array(pk, ds->ds_num) == 0;
    for (size_t i = 0; good && i < ds->ds_num; i++) {
        good = text(pk, ds->ds[i].name);
    }
    return good;
}

static bool meta_value(msgpack_packer *pk, meta_data_t *meta, const char *key)
{
    char *string = NULL;
    int64_t i;
    uint64_t u;
    double d;
    bool b, good;
    switch (meta_data_type(meta, key)) {
    case MD_TYPE_SIGNED_INT:
        return meta_data_get_signed_int(meta, key, &i) == 0 && msgpack_pack_int64(pk, i) == 0;
    case MD_TYPE_UNSIGNED_INT:
        return meta_data_get_unsigned_int(meta, key, &u) == 0 && msgpack_pack_uint64(pk, u) == 0;
    case MD_TYPE_DOUBLE:
        return meta_data_get_double(meta, key, &d) == 0 && number(pk, d);
    case MD_TYPE_BOOLEAN:
        return meta_data_get_boolean(meta, key, &b) == 0 &&
               (b ? msgpack_pack_true(pk) : msgpack_pack_false(pk)) == 0;
    default:
        good = meta_data_get_string(meta, key, &string) == 0 && text(pk, string);
        free(string);
        return good;
    }
}

static bool pack_meta(msgpack_packer *pk, meta_data_t *meta, char **keys, size_t count)
{
    bool good = text(pk, "meta") && msgpack_pack_map(pk, count) == 0;
    for (size_t i = 0; good && i < count; i++) {
        good = text(pk, keys[i]) && meta_value(pk, meta, keys[i]);
    }
    return good;
}

bool record_pack(msgpack_sbuffer *out, const data_set_t *ds, const value_list_t *vl)
{
    const char *const place[][2] = {
        {"host", vl->host},
        {"plugin", vl->plugin},
        {"plugin_instance", vl->plugin_instance},
        {"type", vl->type},
        {"type_instance", vl->type_instance},
    };
    const size_t places = sizeof place / sizeof *place;
    char **keys = NULL;
    int metas = vl->meta == NULL ? 0 : meta_data_toc(vl->meta, &keys);
    msgpack_packer pk;
    bool good = metas >= 0 && ds->ds_num == vl->values_len;

    msgpack_packer_init(&pk, out, msgpack_sbuffer_write);
    good = good && msgpack_pack_map(&pk, 3 + places + 1 + (metas > 0)) == 0 && values(&pk, ds, vl);
    for (size_t i = 0; good && i < places; i++) {
        good = text(&pk, place[i][0]) && text(&pk, place[i][1]);
    }
    good = good && text(&pk, "interval") && number(&pk, CDTIME_T_TO_DOUBLE(vl->interval));
    good = good && (metas <= 0 || pack_meta(&pk, vl->meta, keys, (size_t)metas));
    for (int i = 0; i < metas; i++) {
        free(keys[i]);
    }
    free(keys);
    return good;
}
