/* table.h: the hash table under the keyspace and under every big set, hash and zset. Only store/ calls it.
 *
 * Design. Linear hashing (Litwin 1980) over 64-byte buckets: seven slots with one-byte tags and one control byte, one
 * cache line each; a full bucket chains to an overflow bucket through its last slot. The table grows and shrinks by one
 * bucket at a time as elements come and go, so there's no rehash, no second table and no insert that stalls. Buckets
 * live in segments of doubling size, so growth never copies; a bucket's address is two loads away.
 *
 * An element is a pointer to anything. The table holds no keys: the caller passes the hash, and a match function
 * (inlined at the call) for candidates whose tag agrees. `hash_of` gives an element's hash again when its bucket
 * splits.
 *
 * Bucket of a hash: its low `level` bits, or one bit more if that bucket was split already. Scans visit buckets in the
 * order of the bit-reversed hash: a bucket then covers one interval of that order, a split halves the interval and a
 * merge joins two, so a position in it stays meaningful whatever happens between two calls.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_TABLE_H
#define CKV_STORE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/prefetch.h"
#include "base/slice.h"

#define TABLE_SLOTS     7
#define TABLE_SEGMENTS  32
#define TABLE_BASE_BITS 3 /* segment 0 holds 8 buckets; segment k > 0 holds 4 << k */

typedef struct Bucket {
    uint8_t tag[TABLE_SLOTS]; /* 0: the slot is empty (or, in the last slot of a chained bucket, the link) */
    uint8_t chained;          /* 1: the last slot points to an overflow bucket */
    void *slot[TABLE_SLOTS];
} __attribute__((aligned(64))) Bucket;

typedef uint64_t (*TableHash)(const void *element);
typedef bool (*TableMatch)(const void *element, Slice key);

/* Called for each element of a scan; must not change the table. */
typedef void (*TableVisit)(void *element, void *context);

typedef struct Table {
    size_t count;     /* elements */
    uint32_t buckets; /* in use, without overflow buckets; >= 8 */
    uint32_t level;   /* 2^level <= buckets < 2^(level+1) */
    size_t overflows; /* overflow buckets */
    TableHash hash_of;
    Bucket *segment[TABLE_SEGMENTS];
} Table;

/* Makes an empty table of eight buckets; table_free releases buckets, not elements (free those first with table_each).
 */
void table_init(Table *table, TableHash hash_of);
void table_free(Table *table);

/* Does both in slices, for a table in which nothing is looked up any more: takes up to `buckets` buckets, from the last
 * one on, whose elements the visitor frees. True while something is left; in between only table_bytes and `count` are
 * good. */
bool table_free_some(Table *table, size_t buckets, TableVisit visit, void *context);

/* Bytes held by the table's own buckets. */
size_t table_bytes(const Table *table);

/* Gives an empty table the buckets that so many elements will need, so that they're added without a split. */
void table_reserve(Table *table, size_t elements);

/* Adds an element whose key isn't in the table yet. Constant time: at most one bucket is split. */
void table_insert(Table *table, uint64_t hash, void *element);

/* Removes the element that `slot` (from table_find) points at. Constant time: at most two buckets are merged.
 * Invalidates slots. */
void table_remove(Table *table, uint64_t hash, void **slot);

/* Visits the elements of one bucket and returns the next cursor; start with 0, ends with 0. Every element that is in
 * the table throughout is visited exactly once, whatever is inserted or removed in between. A cursor of any value is
 * safe. */
uint64_t table_scan(const Table *table, uint64_t cursor, TableVisit visit, void *context);

/* Visits all elements, bucket by bucket. O(N). The visitor may free the element, if the table is freed next. */
void table_each(const Table *table, TableVisit visit, void *context);

/* An element, each with the same probability; NULL if empty. Constant time on average. */
void *table_random(const Table *table);

/* The hash of key bytes under this process' secret: what every table of byte keys uses. */
uint64_t table_hash(Slice key);

/* Sets the secret; before the first table_hash. 0 < len <= 192 bytes from the kernel's random source. */
void table_set_secret(const void *secret, size_t len);

static inline uint8_t table_tag(uint64_t hash)
{
    uint8_t tag = (uint8_t)(hash >> 56);
    return tag == 0 ? 1 : tag;
}

static inline uint32_t table_index(const Table *table, uint64_t hash)
{
    uint64_t wide = hash & ((2ULL << table->level) - 1);
    return (uint32_t)(wide < table->buckets ? wide : wide & ((1ULL << table->level) - 1));
}

static inline Bucket *table_bucket(const Table *table, uint32_t index)
{
    if (index < (1U << TABLE_BASE_BITS)) return &table->segment[0][index];
    uint32_t top = 31 - (uint32_t)__builtin_clz(index);
    return &table->segment[top - TABLE_BASE_BITS + 1][index ^ (1U << top)];
}

/* Brings the bucket of a hash, which it returns, towards the cache, so that a later table_find doesn't wait. */
static inline const Bucket *table_prefetch(const Table *table, uint64_t hash)
{
    const Bucket *bucket = table_bucket(table, table_index(table, hash));
    prefetch(bucket);
    return bucket;
}

/* One bit (the top one of a byte) for every slot of the bucket whose tag equals `tag`; bytes 0 to 6 are the slots.
 * Found by the zero-byte trick (Mycroft 1987), exact for the lowest hit and at worst a false hit above it, which the
 * match rejects. */
static inline uint64_t table_tag_hits(const Bucket *bucket, uint8_t tag)
{
    uint64_t tags;
    memcpy(&tags, bucket, sizeof(tags)); /* the eighth byte is the control byte: masked off below */
    uint64_t diff = tags ^ (0x0101010101010101ULL * tag);
    return (diff - 0x0101010101010101ULL) & ~diff & 0x0080808080808080ULL;
}

/* Brings the first element of the bucket, which should have come, that may be the one sought towards the cache. */
static inline void table_prefetch_element(const Bucket *bucket, uint64_t hash)
{
    uint64_t hits = table_tag_hits(bucket, table_tag(hash));
    if (hits == 0) return;
    const char *element = bucket->slot[__builtin_ctzll(hits) >> 3];
    prefetch(element);
    prefetch(element + 64);
}

/* The slot whose element has this hash and matches, or NULL. The slot may be overwritten by an element of equal hash (a
 * moved one), and stays valid until the next insert or remove. */
static inline __attribute__((always_inline)) void **table_find(const Table *table, uint64_t hash, Slice key,
                                                               TableMatch match)
{
    Bucket *bucket = table_bucket(table, table_index(table, hash));
    uint8_t tag = table_tag(hash);
    for (;;) {
        for (uint64_t hits = table_tag_hits(bucket, tag); hits != 0; hits &= hits - 1) {
            void **slot = &bucket->slot[__builtin_ctzll(hits) >> 3];
            if (bucket->tag[__builtin_ctzll(hits) >> 3] == tag && match(*slot, key)) return slot;
        }
        if (!bucket->chained) return NULL;
        bucket = bucket->slot[TABLE_SLOTS - 1];
    }
}

/* The slot that holds this very element, or NULL: for patching a pointer after the element moved. */
void **table_find_pointer(const Table *table, uint64_t hash, const void *element);

#endif
