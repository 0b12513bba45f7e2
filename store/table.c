/* table.c: see table.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/table.h"

#include <glib.h>

#include "base/random.h"
#include "store/mem.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Split when the average bucket would hold more than this, merge when it holds less. Four of seven slots on average
 * keep a chained bucket rare (one in 20 just before a round of splits ends, one in 60 after it) and cost 16 to 17 bytes
 * an element; the gap between the two keeps a table at a boundary from flapping. */
#define SPLIT_LOAD   4
#define MERGE_LOAD   2

#define SECRET_BYTES 192

static uint8_t secret[SECRET_BYTES];

void table_set_secret(const void *bytes, size_t len)
{
    g_assert(len > 0 && len <= SECRET_BYTES);
    for (size_t i = 0; i < SECRET_BYTES; i++)
        secret[i] = ((const uint8_t *)bytes)[i % len];
}

uint64_t table_hash(Slice key)
{
    return XXH3_64bits_withSecret(key.ptr, key.len, secret, SECRET_BYTES);
}

/* ---- buckets and segments ---- */

static size_t segment_bytes(uint32_t segment)
{
    bool was_split = index >= 1U << table->level || index + (1U << table->level) < table->buckets;
    uint32_t bits = table->level + (was_split ? 1 : 0);
    uint64_t begin = reverse_bits(index);
    chain_visit(table, table_bucket(table, index), position == begin ? 0 : position, visit, context);
    return reverse_bits(begin + (1ULL << (64 - bits)));
}

void table_each(const Table *table, TableVisit visit, void *context)
{
    for (uint32_t i = 0; i < table->buckets; i++)
        chain_visit(table, table_bucket(table, i), 0, visit, context);
}

/* The n-th element of a chain. */
static void *chain_nth(const Bucket *bucket, unsigned n)
{
    for (;;) {
        unsigned slots = bucket_slots(bucket);
        for (unsigned i = 0; i < slots; i++) {
            if (bucket->tag[i] != 0 && n-- == 0) return bucket->slot[i];
        }
        g_assert(bucket->chained);
        bucket = bucket->slot[TABLE_SLOTS - 1];
    }
}

/* No chain is longer than this but by a one-in-10^9 chance; elements beyond are drawn a little too seldom. */
#define CHAIN_USUAL_MAX 24

void *table_random(const Table *table)
{
    if (table->count == 0) return NULL;
    for (;;) {
        /* A bucket is kept with a chance in proportion to its elements, so that each element has the same. */
        const Bucket *bucket = table_bucket(table, (uint32_t)random_below(table->buckets));
        unsigned draw = (unsigned)random_below(CHAIN_USUAL_MAX), count = chain_count(bucket);
        if (draw < count) return chain_nth(bucket, count <= CHAIN_USUAL_MAX ? draw : (unsigned)random_below(count));
    }
}
