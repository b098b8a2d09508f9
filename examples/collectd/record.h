/* A value list of collectd as the msgpack text of one map, with the names that collectd's own JSON
 * has. */
#ifndef RECORD_H
#define RECORD_H

#include <stdbool.h>

#include <collectd/core/daemon/collectd.h>
#include <collectd/core/daemon/plugin.h>
#include <msgpack.h>

/* Appends it to `out`. False where memory ran out, or where the data set is not the value
 * list's. */
bool record_pack(msgpack_sbuffer *out, const data_set_t *ds, const value_list_t *vl);

#endif
