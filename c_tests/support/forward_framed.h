/*
 * What the tests of the Forward example's messages share: records appended, and messages taken
 * apart again.
 */
#ifndef FORWARD_FRAMED_H
#define FORWARD_FRAMED_H

#include "../../examples/forward/internal.h"

extern const struct timespec framed_time;

/* The settings of a node without any keys. */
forward_config framed_config(void);

/* Appends the record {"log": line}, at framed_time. */
void framed_append(forward_batch *b, const char *line);

/* The message as one piece; the caller frees it. */
char *framed_bytes(const forward_frame *f, size_t *len);

/* Frames a batch and decodes the message, which has to be one value and nothing else. */
void framed_decode(forward_batch *b, const forward_config *c, msgpack_unpacked *out, char **bytes);

/* The value of one of the message's options, or NULL. */
const msgpack_object *framed_option(const msgpack_object *message, const char *key);

/* The body of a packed message, inflated if it is compressed; the caller frees it. */
char *framed_body(const msgpack_object *message, bool gzip, size_t *len);

#endif
