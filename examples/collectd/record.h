/* A value list of collectd as one map in msgpack, with the names of collectd's own JSON. */
#ifndef RECORD_H
#define RECORD_H

#include <stdbool.h>

#include <collectd/core/daemon/collectd.h>
#include <collectd/core/daemon/plugin.h>
#include <msgpack.h>

/* Appends it to `out`. False: no memory, or the data set does not belong to the value list. */
bool record_pack(msgpack_sbuffer *out, const data_set_t *ds, const value_list_t *vl);

#endif
