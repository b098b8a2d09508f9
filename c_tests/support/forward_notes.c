/*
 * What the scripted Forward server keeps of the messages that it gets: tags, options, records.
 */
#include "forward_server_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

void forward_die(const char *what)
{
    fprintf(stderr, "forward_server: %s: %s\n", what, strerror(errno));
    abort();
}

void *forward_alloc(void *old, size_t size)
{
    void *p = realloc(old, size);
    if (p == NULL) {
        forward_die("memory");
    }
    return p;
}

static char *copy_text(const msgpack_object *o)
{
    uint32_t len =
        o->type == MSGPACK_OBJECT_STR || o->type == MSGPACK_OBJECT_BIN ? o->via.str.size : 0;
    char *text = forward_alloc(NULL, (size_t)len + 1);
    if (len > 0) {
        memcpy(text, o->via.str.ptr, len);
    }
    text[len] = '\0';
    return text;
}

/* Inflates one gzip member. */
static char *gunzip(const char *data, size_t len, size_t *out_len)
{
    size_t cap = 1 << 20;
    char *out = forward_alloc(NULL, cap);
    z_stream z;

    memset(&z, 0, sizeof z);
    if (inflateInit2(&z, 15 + 16) != Z_OK) {
        forward_die("inflateInit2");
    }
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)len;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)cap;
    if (inflate(&z, Z_FINISH) != Z_STREAM_END) {
        forward_die("gzip");
    }
    *out_len = z.total_out;
    inflateEnd(&z);
    return out;
}

static void note_entry(forward_server *s, message *m, const msgpack_object *entry)
{
    if (entry->type != MSGPACK_OBJECT_ARRAY || entry->via.array.size != 2 ||
        entry->via.array.ptr[1].type != MSGPACK_OBJECT_MAP ||
        entry->via.array.ptr[1].via.map.size < 1) {
        forward_die("an entry is not [time, record]");
    }
    m->integer_times = entry->via.array.ptr[0].type == MSGPACK_OBJECT_POSITIVE_INTEGER;
    s->records = forward_alloc(s->records, (s->record_count + 1) * sizeof *s->records);
    s->records[s->record_count++] = copy_text(&entry->via.array.ptr[1].via.map.ptr[0].val);
}

static void note_packed(forward_server *s, message *m, const msgpack_object *bin)
{
    size_t len = bin->via.bin.size, at = 0;
    char *inflated = NULL;
    const char *data = bin->via.bin.ptr;
    msgpack_unpacked entry;

    if (len > 2 && memcmp(data, "\x1f\x8b", 2) == 0) {
        data = inflated = gunzip(data, len, &len);
    }
    msgpack_unpacked_init(&entry);
    while (msgpack_unpack_next(&entry, data, len, &at) == MSGPACK_UNPACK_SUCCESS) {
        if (m->signal < 1) { /* metrics and traces are maps */
            note_entry(s, m, &entry.data);
        }
    }
    if (at != len) {
        forward_die("a packed body is cut off");
    }
    msgpack_unpacked_destroy(&entry);
    m->packed = forward_alloc(NULL, len + 1);
    memcpy(m->packed, data, len);
    m->packed_len = len;
    free(inflated);
}

static void note_options(message *m, const msgpack_object *options)
{
    m->chunk = forward_alloc(NULL, 1);
    m->chunk[0] = '\0';
    m->size = m->signal = -1;
    for (uint32_t i = 0; options != NULL && i < options->via.map.size; i++) {
        const msgpack_object_kv *option = &options->via.map.ptr[i];
        if (forward_object_is(&option->key, "chunk")) {
            free(m->chunk);
            m->chunk = copy_text(&option->val);
        } else if (forward_object_is(&option->key, "size")) {
            m->size = (long)option->val.via.u64;
        } else if (forward_object_is(&option->key, "fluent_signal")) {
            m->signal = (long)option->val.via.u64;
        }
    }
}

const char *forward_note_message(forward_server *s, const msgpack_object *o)
{
    message m;
    const msgpack_object *parts = o->type == MSGPACK_OBJECT_ARRAY ? o->via.array.ptr : NULL;

    if (parts == NULL || o->via.array.size < 2) {
        forward_die("a message is not [tag, entries, options]");
    }
    memset(&m, 0, sizeof m);
    pthread_mutex_lock(&s->lock);
    m.tag = copy_text(&parts[0]);
    note_options(&m, o->via.array.size == 3 ? &parts[2] : NULL);
    if (parts[1].type == MSGPACK_OBJECT_ARRAY) {
        for (uint32_t i = 0; i < parts[1].via.array.size; i++) {
            note_entry(s, &m, &parts[1].via.array.ptr[i]);
        }
    } else {
        note_packed(s, &m, &parts[1]);
    }
    s->messages = forward_alloc(s->messages, (s->message_count + 1) * sizeof *s->messages);
    s->messages[s->message_count++] = m;
    pthread_mutex_unlock(&s->lock);
    return m.chunk;
}

bool forward_object_is(const msgpack_object *o, const char *text)
{
    return (o->type == MSGPACK_OBJECT_STR || o->type == MSGPACK_OBJECT_BIN) &&
           o->via.str.size == strlen(text) && memcmp(o->via.str.ptr, text, strlen(text)) == 0;
}
