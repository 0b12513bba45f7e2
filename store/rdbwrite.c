/* rdbwrite.c: writes RDB files of version 7, and the payloads of DUMP: see rdb.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <liblzf/lzf.h>
#include <math.h>
#include <stdio.h>

#include "store/crc64.h"
#include "store/hash.h"
#include "store/list.h"
#include "store/rdbformat.h"
#include "store/set.h"
#include "store/zset.h"

#define REDIS_VERSION "3.2.13" /* that we say wrote the file */

/* Longer strings are compressed, if that makes them shorter: Redis' own limit. Those beyond the second aren't, so that
 * neither memory nor a step grows with them. */
#define PACK_FROM 20
#define PACK_MAX  (1UL << 20)

/* What a step looks at: elements of a collection between two looks at the bytes. */
typedef struct Walk {
    ValueType type;
    bool more;
    union {
        ListWalk list;
        SetWalk set;
        HashWalk hash;
        ZsetWalk zset;
    };
} Walk;

struct RdbWriter {
    RdbSink sink;
    void *context;
    bool failed;
    uint64_t offset; /* of the file, before the buffer */
    uint64_t crc;
    Walk walk;    /* over the entry that was begun */
    char *packed; /* PACK_MAX bytes; NULL: not needed yet */
    size_t len;
    char buffer[RDB_WRITE_BYTES];
};

RdbWriter *rdb_writer_new(RdbSink sink, void *context)
{
    RdbWriter *w = g_malloc(sizeof(RdbWriter));
    memset(w, 0, offsetof(RdbWriter, buffer));
    w->sink = sink;
    w->context = context;
    return w;
}

void rdb_writer_free(RdbWriter *w)
{
    if (w == NULL) return;
    g_free(w->packed);
    g_free(w);
}

bool rdb_writer_failed(const RdbWriter *w)
{
    return w->failed;
}

uint64_t rdb_writer_offset(const RdbWriter *w)
{
    return w->offset + w->len;
}

/* ---- bytes ---- */

static void flush(RdbWriter *w)
{
    Slice bytes = { w->buffer, w->len };
    w->crc = crc64(w->crc, bytes);
    if (!w->failed && w->len > 0) w->failed = !w->sink(w->context, bytes);
    w->offset += w->len;
    w->len = 0;
}

static void put_bytes(RdbWriter *w, Slice bytes)
{
    while (bytes.len > 0) {
        if (w->len == RDB_WRITE_BYTES) flush(w);
        size_t some = MIN(bytes.len, RDB_WRITE_BYTES - w->len);
        memcpy(w->buffer + w->len, bytes.ptr, some);
        w->len += some;
        bytes = (Slice){ bytes.ptr + some, bytes.len - some };
    }
}

static void put_byte(RdbWriter *w, unsigned value)
{
    char byte = (char)value;
    put_bytes(w, (Slice){ &byte, 1 });
}

/* The lowest `len` bytes of the value. */
static void put_little(RdbWriter *w, uint64_t value, unsigned len)
{
    put_bytes(w, (Slice){ (const char *)&value, len });
}

/* ---- lengths, strings, scores ---- */

void rdb_put_length(RdbWriter *w, uint64_t length)
{
    if (length < 1U << 6) {
        put_byte(w, RDB_LENGTH_6 | (unsigned)length);
    } else if (length < 1U << 14) {
        put_byte(w, RDB_LENGTH_14 | (unsigned)(length >> 8));
        put_byte(w, length & 0xff);
    } else {
        g_assert(length <= UINT32_MAX); /* 3.2 knows no more; a table has no more buckets either */
        put_byte(w, RDB_LENGTH_32);
        uint32_t big = GUINT32_TO_BE((uint32_t)length);
        put_bytes(w, (Slice){ (const char *)&big, sizeof(big) });
    }
}

/* Within 32 bits. */
static void put_int(RdbWriter *w, int64_t value)
{
    unsigned special = value == (int8_t)value    ? RDB_SPECIAL_INT8
                       : value == (int16_t)value ? RDB_SPECIAL_INT16
                                                 : RDB_SPECIAL_INT32;
    put_byte(w, RDB_LENGTH_SPECIAL | special);
    put_little(w, (uint64_t)value, 1U << special);
}

/* False: compressing it doesn't pay. */
static bool put_packed(RdbWriter *w, Slice text)
{
    if (text.len <= PACK_FROM || text.len > PACK_MAX) return false;
    if (w->packed == NULL) w->packed = g_malloc(PACK_MAX);
    unsigned len = lzf_compress(text.ptr, (unsigned)text.len, w->packed, (unsigned)text.len - 4);
    if (len == 0) return false;
    put_byte(w, RDB_LENGTH_SPECIAL | RDB_SPECIAL_LZF);
    rdb_put_length(w, len);
    rdb_put_length(w, text.len);
    put_bytes(w, (Slice){ w->packed, len });
    return true;
}

void rdb_put_string(RdbWriter *w, Slice text)
{
    int64_t number;
    if (text.len < NUMBER_INT_CHARS && number_parse_int(text, &number) && number == (int32_t)number) {
        put_int(w, number);
    } else if (!put_packed(w, text)) {
        rdb_put_length(w, text.len);
        put_bytes(w, text);
    }
}

void rdb_put_score(RdbWriter *w, double score)
{
    if (isinf(score)) {
        put_byte(w, score > 0 ? RDB_SCORE_INF : RDB_SCORE_MINUS_INF);
        return;
    }
    char text[NUMBER_DOUBLE_CHARS];
    size_t len = number_format_double(text, score);
    put_byte(w, (unsigned)len);
    put_bytes(w, (Slice){ text, len });
}

/* ---- values ---- */

static const uint8_t types[] = { [TYPE_STRING] = RDB_STRING,
                                 [TYPE_LIST] = RDB_LIST,
                                 [TYPE_SET] = RDB_SET,
                                 [TYPE_ZSET] = RDB_ZSET,
                                 [TYPE_HASH] = RDB_HASH };

void rdb_put_key(RdbWriter *w, ValueType type, Slice key, int64_t deadline_ms)
{
    if (deadline_ms >= 0) {
        put_byte(w, RDB_OP_EXPIRE_MS);
        put_little(w, (uint64_t)deadline_ms, sizeof(deadline_ms));
    }
    put_byte(w, types[type]);
    rdb_put_string(w, key);
}

static void put_pack_value(RdbWriter *w, PackValue value)
{
    char digits[NUMBER_INT_CHARS];
    if (value.text.ptr == NULL && value.number == (int32_t)value.number) {
        put_int(w, value.number);
    } else {
        rdb_put_string(w, pack_value_text(value, digits));
    }
}

/* What comes before the elements. A string is written at once: it's cut into pieces anyway. */
static void begin_value(RdbWriter *w, const Entry *entry)
{
    char digits[NUMBER_INT_CHARS];
    w->walk = (Walk){ .type = entry->type, .more = entry->type != TYPE_STRING };
    switch ((ValueType)entry->type) {
    case TYPE_STRING: rdb_put_string(w, entry_string(entry, digits)); return;
    case TYPE_LIST:
        rdb_put_length(w, list_length(entry->list));
        w->walk.list = list_walk(entry->list, 0, LIST_TAIL);
        return;
    case TYPE_SET:
        rdb_put_length(w, set_length(entry->set));
        w->walk.set = set_walk(entry->set);
        return;
    case TYPE_HASH:
        rdb_put_length(w, hash_length(entry->hash));
        w->walk.hash = hash_walk(entry->hash);
        return;
    case TYPE_ZSET:
        rdb_put_length(w, zset_length(entry->zset));
        w->walk.zset = zset_walk(entry->zset, 0, false);
        return;
    }
}

/* The next element; false: there's none left. */
static bool put_element(RdbWriter *w)
{
    PackValue value;
    HashPair field;
    ZsetPair member;
    switch (w->walk.type) {
    case TYPE_LIST:
        if (!list_next(&w->walk.list, &value)) return false;
        put_pack_value(w, value);
        return true;
    case TYPE_SET:
        if (!set_next(&w->walk.set, &value)) return false;
        put_pack_value(w, value);
        return true;
    case TYPE_HASH:
        if (!hash_next(&w->walk.hash, &field)) return false;
        put_pack_value(w, field.field);
        put_pack_value(w, field.value);
        return true;
    case TYPE_ZSET:
        if (!zset_next(&w->walk.zset, &member)) return false;
        put_pack_value(w, member.member);
        rdb_put_score(w, member.score);
        return true;
    default: return false;
    }
}

void rdb_entry_begin(RdbWriter *w, const Entry *entry)
{
    rdb_put_key(w, entry->type, entry_key(entry), entry_deadline(entry));
    begin_value(w, entry);
}

bool rdb_entry_step(RdbWriter *w, size_t bytes)
{
    uint64_t from = rdb_writer_offset(w);
    while (w->walk.more && !w->failed) {
        if (rdb_writer_offset(w) - from >= bytes) return true;
        w->walk.more = put_element(w);
    }
    return false;
}

void rdb_put_value(RdbWriter *w, const Entry *entry)
{
    begin_value(w, entry);
    rdb_entry_step(w, SIZE_MAX);
}

bool rdb_write_entry(RdbWriter *w, const Entry *entry)
{
    rdb_entry_begin(w, entry);
    rdb_entry_step(w, SIZE_MAX);
    return !w->failed;
}

/* ---- files ---- */

bool rdb_write_aux(RdbWriter *w, Slice name, Slice value)
{
    put_byte(w, RDB_OP_AUX);
    rdb_put_string(w, name);
    rdb_put_string(w, value);
    return !w->failed;
}

static void put_aux_number(RdbWriter *w, Slice name, int64_t value)
{
    char digits[NUMBER_INT_CHARS];
    rdb_write_aux(w, name, (Slice){ digits, number_format_int(digits, value) });
}

bool rdb_write_head(RdbWriter *w, int64_t unix_ms, uint64_t used_memory)
{
    char magic[RDB_HEAD_BYTES + 1];
    snprintf(magic, sizeof(magic), RDB_MAGIC "%04d", RDB_VERSION);
    put_bytes(w, slice_of(magic));
    rdb_write_aux(w, SLICE("redis-ver"), SLICE(REDIS_VERSION));
    put_aux_number(w, SLICE("redis-bits"), 64);
    put_aux_number(w, SLICE("ctime"), unix_ms / 1000);
    put_aux_number(w, SLICE("used-mem"), (int64_t)used_memory);
    return !w->failed;
}

bool rdb_write_db(RdbWriter *w, int db, int64_t keys, int64_t expiring)
{
    put_byte(w, RDB_OP_SELECTDB);
    rdb_put_length(w, (uint64_t)db);
    if (keys < 0 || expiring < 0) return !w->failed;
    put_byte(w, RDB_OP_RESIZEDB);
    rdb_put_length(w, (uint64_t)keys);
    rdb_put_length(w, (uint64_t)expiring);
    return !w->failed;
}

bool rdb_write_end(RdbWriter *w)
{
    put_byte(w, RDB_OP_EOF);
    flush(w);
    put_little(w, w->crc, sizeof(w->crc));
    flush(w);
    return !w->failed;
}

/* ---- DUMP ---- */

static bool append_to(void *context, Slice bytes)
{
    GByteArray *payload = context;
    if (payload->len + bytes.len > RDB_DUMP_MAX) return false;
    g_byte_array_append(payload, (const guint8 *)bytes.ptr, (guint)bytes.len);
    return true;
}

GByteArray *rdb_dump(const Entry *entry)
{
    GByteArray *payload = g_byte_array_new();
    RdbWriter *w = rdb_writer_new(append_to, payload);
    put_byte(w, types[entry->type]);
    rdb_put_value(w, entry);
    put_little(w, RDB_VERSION, 2);
    flush(w);
    put_little(w, w->crc, sizeof(w->crc));
    flush(w);
    bool failed = w->failed;
    rdb_writer_free(w);
    if (!failed) return payload;
    g_byte_array_free(payload, TRUE);
    return NULL;
}
