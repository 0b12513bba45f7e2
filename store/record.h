/* record.h: the keys of checkpoint records (FORMAT.md): what checkpoint.c writes and checkpointload.c reads.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_RECORD_H
#define CKV_STORE_RECORD_H

#include <stdint.h>

#include "base/slice.h"
#include "store/pages.h"

#define RECORD_INFO      SLICE("ckv") /* the file's CheckpointInfo; not counted among its records */
#define RECORD_DATABASES SLICE("dbs") /* varints: for each database with keys its index, keys and bits */

#define RECORD_PAGE      'P'
/* 'P' database u16, bits u8, page u32: a page of a database. 'C' id u64, bits u8, page u32: a page of a collection.
 * 'V' id u64: a value. All little endian. */
typedef struct RecordKey {
    char bytes[16];
    uint8_t len;
} RecordKey;

static inline Slice record_slice(const RecordKey *key)
{
    return (Slice){ key->bytes, key->len };
}

static inline RecordKey record_page(PageKind kind, uint64_t id, unsigned bits, uint64_t page)
{
    RecordKey key = { .bytes = { kind == PAGE_ENTRIES ? RECORD_PAGE : 'C' } };
    size_t id_bytes = kind == PAGE_ENTRIES ? 2 : 8;
    memcpy(key.bytes + 1, &id, id_bytes);
    key.bytes[1 + id_bytes] = (char)bits;
    memcpy(key.bytes + 2 + id_bytes, &page, 4);
    key.len = (uint8_t)(6 + id_bytes);
    return key;
}

static inline RecordKey record_value(uint64_t id)
{
    RecordKey key = { .bytes = { 'V' }, .len = 9 };
    memcpy(key.bytes + 1, &id, sizeof(id));
    return key;
}

/* How an image names records elsewhere: the id of a value, or the id and the bits of a collection's pages. */
#define RECORD_VALUE_BITS 63U
static inline uint64_t record_reference(uint64_t id, unsigned bits)
{
    return id << 6 | bits;
}

#endif
