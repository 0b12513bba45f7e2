/* record.h: the keys of checkpoint records (FORMAT.md): what checkpoint.c writes and checkpointload.c reads.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_RECORD_H
#define CKV_STORE_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/slice.h"
#include "store/pages.h"

#define RECORD_INFO      SLICE("ckv") /* the file's CheckpointInfo; not counted among its records */
#define RECORD_DATABASES SLICE("dbs") /* varints: for each database with keys its index, keys and bits */

/* Kinds of the others; RECORD_KIND_AT bytes of their key stand before the kind. */
#define RECORD_PAGE     'P' /* page u32, 'P', database u16, bits u8: a page of a database */
#define RECORD_ELEMENTS 'C' /* page u32, 'C', id u64, bits u8: a page of a collection */
#define RECORD_VALUE    'V' /* the lower half of an id u64, 'V', the higher: a value */
#define RECORD_KIND_AT  4
#define RECORD_PAGE_LEN 8

/* All little endian. What differs most stands first: gdbm has 31 bits of hash and the first 4 bytes of a key in its
 * index, and reads the whole record of each key that is the same in both. Its hash is the same for many small numbers,
 * so with the kind first it read one to four other pages for each that it stored. */
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
    RecordKey key;
    size_t id_bytes = kind == PAGE_ENTRIES ? 2 : 8;
    memcpy(key.bytes, &page, 4);
    key.bytes[RECORD_KIND_AT] = kind == PAGE_ENTRIES ? RECORD_PAGE : RECORD_ELEMENTS;
    memcpy(key.bytes + RECORD_KIND_AT + 1, &id, id_bytes);
    key.bytes[RECORD_KIND_AT + 1 + id_bytes] = (char)bits;
    key.len = (uint8_t)(6 + id_bytes);
    return key;
}

static inline RecordKey record_value(uint64_t id)
{
    RecordKey key = { .len = 9 };
    memcpy(key.bytes, &id, 4);
    key.bytes[RECORD_KIND_AT] = RECORD_VALUE;
    id >>= 32;
    memcpy(key.bytes + RECORD_KIND_AT + 1, &id, 4);
    return key;
}

static inline bool record_is(Slice key, char kind)
{
    return key.len > RECORD_KIND_AT && key.ptr[RECORD_KIND_AT] == kind;
}

/* What record_page() made the key of, if that is a page of a database. */
static inline bool record_get_page(Slice key, uint16_t *db, unsigned *bits, uint32_t *page)
{
    if (key.len != RECORD_PAGE_LEN || !record_is(key, RECORD_PAGE)) return false;
    memcpy(page, key.ptr, sizeof(*page));
    memcpy(db, key.ptr + RECORD_KIND_AT + 1, sizeof(*db));
    *bits = (uint8_t)key.ptr[RECORD_PAGE_LEN - 1];
    return true;
}

/* How an image names records elsewhere: the id of a value, or the id and the bits of a collection's pages. */
#define RECORD_VALUE_BITS 63U
static inline uint64_t record_reference(uint64_t id, unsigned bits)
{
    return id << 6 | bits;
}

#endif
