/* table.c: see table.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/table.h"

#include <glib.h>

#include "base/prefetch.h"
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
    uint32_t bits = segment == 0 ? TABLE_BASE_BITS : TABLE_BASE_BITS + segment - 1;
    return sizeof(Bucket) << bits;
}

/* The segment whose first bucket is `index`, or 0 if it isn't a segment's first. */
static uint32_t segment_starting_at(uint32_t index)
{
    if (index < (1U << TABLE_BASE_BITS) || (index & (index - 1)) != 0) return 0;
    return (uint32_t)__builtin_ctz(index) - TABLE_BASE_BITS + 1;
}

void table_init(Table *table, TableHash hash_of)
{
    *table = (Table){ .buckets = 1U << TABLE_BASE_BITS, .level = TABLE_BASE_BITS, .hash_of = hash_of };
    table->segment[0] = mem_map(segment_bytes(0));
}

static void chain_free(Bucket *bucket)
{
    Bucket *next = bucket->chained ? bucket->slot[TABLE_SLOTS - 1] : NULL;
    while (next != NULL) {
        Bucket *dead = next;
        next = dead->chained ? dead->slot[TABLE_SLOTS - 1] : NULL;
        mem_unmap(dead, sizeof(Bucket));
    }
}

void table_free(Table *table)
{
    if (table->overflows > 0) {
        for (uint32_t i = 0; i < table->buckets; i++)
            chain_free(table_bucket(table, i));
    }
    for (uint32_t s = 0; s < TABLE_SEGMENTS && table->segment[s] != NULL; s++) {
        mem_unmap(table->segment[s], segment_bytes(s));
    }
    *table = (Table){ 0 };
}

size_t table_bytes(const Table *table)
{
    size_t bytes = table->overflows * sizeof(Bucket);
    for (uint32_t s = 0; s < TABLE_SEGMENTS && table->segment[s] != NULL; s++)
        bytes += segment_bytes(s);
    return bytes;
}

/* How many slots of a bucket can hold elements. */
static unsigned bucket_slots(const Bucket *bucket)
{
    return bucket->chained ? TABLE_SLOTS - 1 : TABLE_SLOTS;
}

static unsigned chain_count(const Bucket *bucket)
{
    unsigned count = 0;
    for (;;) {
        unsigned slots = bucket_slots(bucket);
        for (unsigned i = 0; i < slots; i++)
            count += bucket->tag[i] != 0;
        if (!bucket->chained) return count;
        bucket = bucket->slot[TABLE_SLOTS - 1];
    }
}

/* Puts an element into the first free slot of a chain, which grows when there's none. */
static void chain_add(Table *table, Bucket *bucket, uint8_t tag, void *element)
{
    for (;;) {
        unsigned slots = bucket_slots(bucket);
        for (unsigned i = 0; i < slots; i++) {
            if (bucket->tag[i] != 0) continue;
            bucket->tag[i] = tag;
            bucket->slot[i] = element;
            return;
        }
        if (!bucket->chained) {
            Bucket *next = mem_map(sizeof(Bucket));
            next->tag[0] = bucket->tag[TABLE_SLOTS - 1];
            next->slot[0] = bucket->slot[TABLE_SLOTS - 1];
            bucket->tag[TABLE_SLOTS - 1] = 0;
            bucket->slot[TABLE_SLOTS - 1] = next;
            bucket->chained = 1;
            table->overflows++;
        }
        bucket = bucket->slot[TABLE_SLOTS - 1];
    }
}

/* An element on its way from one bucket to another. */
typedef struct Loose {
    void *element;
    uint8_t tag;
} Loose;

/* Empties the chain into `loose` (which has room for chain_count), freeing its overflow buckets. */
static void chain_take(Table *table, Bucket *first, Loose *loose)
{
    Bucket *bucket = first;
    do {
        unsigned slots = bucket_slots(bucket);
        for (unsigned i = 0; i < slots; i++) {
            if (bucket->tag[i] != 0) *loose++ = (Loose){ bucket->slot[i], bucket->tag[i] };
        }
        Bucket *next = bucket->chained ? bucket->slot[TABLE_SLOTS - 1] : NULL;
        if (bucket != first) {
            mem_unmap(bucket, sizeof(Bucket));
            table->overflows--;
        }
        bucket = next;
    } while (bucket != NULL);
    memset(first, 0, sizeof(*first));
}

/* ---- growing and shrinking by one bucket ---- */

/* A chain is as long as luck makes it: a handful, seldom more than this, and then the heap serves. */
#define LOOSE_USUAL 32

static void table_split(Table *table)
{
    uint32_t from = table->buckets - (1U << table->level), to = table->buckets;
    uint32_t segment = segment_starting_at(to);
    if (segment != 0 && table->segment[segment] == NULL) table->segment[segment] = mem_map(segment_bytes(segment));
    Bucket *low = table_bucket(table, from), *high = table_bucket(table, to);
    unsigned count = chain_count(low);
    Loose usual[LOOSE_USUAL], *loose = count <= LOOSE_USUAL ? usual : g_new(Loose, count);
    chain_take(table, low, loose);
    for (unsigned i = 0; i < count; i++)
        prefetch(loose[i].element);
    for (unsigned i = 0; i < count; i++) {
        bool goes_high = (table->hash_of(loose[i].element) >> table->level) & 1;
        chain_add(table, goes_high ? high : low, loose[i].tag, loose[i].element);
    }
    if (loose != usual) g_free(loose);
    table->buckets++;
    if (table->buckets == 2U << table->level) table->level++;
}

static void segment_release(Table *table, uint32_t segment)
{
    if (table->segment[segment] == NULL) return;
    mem_unmap(table->segment[segment], segment_bytes(segment));
    table->segment[segment] = NULL;
}

static void table_merge(Table *table)
{
    if (table->buckets == 1U << table->level) table->level--;
    uint32_t from = table->buckets - 1, to = from - (1U << table->level);
    Bucket *high = table_bucket(table, from), *low = table_bucket(table, to);
    unsigned count = chain_count(high);
    Loose usual[LOOSE_USUAL], *loose = count <= LOOSE_USUAL ? usual : g_new(Loose, count);
    chain_take(table, high, loose);
    for (unsigned i = 0; i < count; i++)
        chain_add(table, low, loose[i].tag, loose[i].element);
    if (loose != usual) g_free(loose);
    table->buckets--;
    /* The segment above the one in use goes when that is half empty: a table at a segment's border doesn't map and
     * unmap. */
    if (table->buckets == 3U << (table->level - 1)) segment_release(table, table->level - TABLE_BASE_BITS + 2);
}

void table_reserve(Table *table, size_t elements)
{
    g_assert(table->count == 0);
    while ((size_t)table->buckets * SPLIT_LOAD < elements && table->buckets < 1U << 31) {
        uint32_t segment = segment_starting_at(table->buckets);
        if (segment != 0 && table->segment[segment] == NULL) table->segment[segment] = mem_map(segment_bytes(segment));
        table->buckets++;
        if (table->buckets == 2U << table->level) table->level++;
    }
}

/* ---- elements ---- */

void table_insert(Table *table, uint64_t hash, void *element)
{
    chain_add(table, table_bucket(table, table_index(table, hash)), table_tag(hash), element);
    table->count++;
    if (table->count > (size_t)table->buckets * SPLIT_LOAD) table_split(table);
}

static unsigned bucket_last_used(const Bucket *bucket)
{
    unsigned i = bucket_slots(bucket) - 1;
    while (i > 0 && bucket->tag[i] == 0)
        i--;
    return i;
}

/* Empties one slot of a chain. In a chain with overflow buckets the hole is filled from the last one, which goes once
 * its only element fits into its parent's link slot: so a chain has no holes before its last bucket, and at least two
 * elements in that. */
static void chain_remove(Table *table, Bucket *first, void **slot)
{
    Bucket *holed = NULL, *parent = NULL, *last = first;
    for (;; parent = last, last = last->slot[TABLE_SLOTS - 1]) {
        if (slot >= last->slot && slot < last->slot + TABLE_SLOTS) holed = last;
        if (!last->chained) break;
    }
    g_assert(holed != NULL);
    holed->tag[slot - holed->slot] = 0;
    if (parent == NULL) return;

    unsigned mover = bucket_last_used(last);
    if (holed != last) {
        holed->tag[slot - holed->slot] = last->tag[mover];
        *slot = last->slot[mover];
        last->tag[mover] = 0;
    }
    if (chain_count(last) > 1) return;
    mover = bucket_last_used(last);
    parent->tag[TABLE_SLOTS - 1] = last->tag[mover];
    parent->slot[TABLE_SLOTS - 1] = last->slot[mover];
    parent->chained = 0;
    mem_unmap(last, sizeof(Bucket));
    table->overflows--;
}

void table_remove(Table *table, uint64_t hash, void **slot)
{
    chain_remove(table, table_bucket(table, table_index(table, hash)), slot);
    table->count--;
    if (table->buckets > (1U << TABLE_BASE_BITS) && table->count < (size_t)table->buckets * MERGE_LOAD)
        table_merge(table);
}

void **table_find_pointer(const Table *table, uint64_t hash, const void *element)
{
    Bucket *bucket = table_bucket(table, table_index(table, hash));
    for (;;) {
        unsigned slots = bucket_slots(bucket);
        for (unsigned i = 0; i < slots; i++) {
            if (bucket->tag[i] != 0 && bucket->slot[i] == element) return &bucket->slot[i];
        }
        if (!bucket->chained) return NULL;
        bucket = bucket->slot[TABLE_SLOTS - 1];
    }
}

/* ---- walking ---- */

static uint64_t reverse_bits(uint64_t v)
{
    v = ((v >> 1) & 0x5555555555555555ULL) | ((v & 0x5555555555555555ULL) << 1);
    v = ((v >> 2) & 0x3333333333333333ULL) | ((v & 0x3333333333333333ULL) << 2);
    v = ((v >> 4) & 0x0F0F0F0F0F0F0F0FULL) | ((v & 0x0F0F0F0F0F0F0F0FULL) << 4);
    return __builtin_bswap64(v);
}

/* A chain's elements whose reversed hash isn't below `from`. */
static void chain_visit(const Table *table, const Bucket *bucket, uint64_t from, TableVisit visit, void *context)
{
    for (;;) {
        unsigned slots = bucket_slots(bucket);
        for (unsigned i = 0; i < slots; i++) {
            if (bucket->tag[i] == 0) continue;
            if (from != 0 && reverse_bits(table->hash_of(bucket->slot[i])) < from) continue;
            visit(bucket->slot[i], context);
        }
        if (!bucket->chained) return;
        bucket = bucket->slot[TABLE_SLOTS - 1];
    }
}

uint64_t table_scan(const Table *table, uint64_t cursor, TableVisit visit, void *context)
{
    /* The position is a point in bit-reversed hash order, and the cursor that point reversed: a small number, as Redis'
     * are. The bucket that covers it now may begin before it, if buckets were merged since: those elements were visited
     * already. */
    uint64_t position = reverse_bits(cursor);
    uint32_t index = table_index(table, cursor);
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

/* ---- taking apart ---- */

/* The level of a table that is being taken apart; no other has it. */
#define LEVEL_ENDING UINT32_MAX

/* How far ahead of the bucket whose turn it is buckets, and the elements of one half as far, are asked for. */
#define FREE_AHEAD 8

/* Gives back what lies behind the last bucket in use: as it was hardly ever touched, that is quick. Its own piece goes
 * with the piece's first bucket. */
static void table_trim(Table *table)
{
    uint32_t segment = 0; /* the last bucket's: the next one begins with bucket 1 << (TABLE_BASE_BITS + segment) */
    while (segment + 1 < TABLE_SEGMENTS && 1ULL << (TABLE_BASE_BITS + segment) < table->buckets)
        segment++;
    for (uint32_t s = segment + 1; s < TABLE_SEGMENTS; s++)
        segment_release(table, s);
    size_t offset = (size_t)((char *)table_bucket(table, table->buckets - 1) - (char *)table->segment[segment]);
    size_t used = (offset / MEM_PIECE_BYTES + 1) * MEM_PIECE_BYTES, whole = segment_bytes(segment);
    if (used < whole) mem_unmap((char *)table->segment[segment] + used, whole - used);
}

/* Gives back the segment, or the piece of it, whose first bucket this is. */
static void piece_release(Table *table, uint32_t index)
{
    uint32_t segment = segment_starting_at(index);
    if (index == 0 || segment != 0) {
        mem_unmap(table->segment[segment], MIN(segment_bytes(segment), MEM_PIECE_BYTES));
        table->segment[segment] = NULL;
    } else if (index % (MEM_PIECE_BYTES / sizeof(Bucket)) == 0) {
        mem_unmap(table_bucket(table, index), MEM_PIECE_BYTES);
    }
}

static void free_prefetch(const Table *table, uint32_t index)
{
    if (index < FREE_AHEAD) return;
    prefetch(table_bucket(table, index - FREE_AHEAD));
    const Bucket *near = table_bucket(table, index - FREE_AHEAD / 2);
    for (unsigned i = 0; i < TABLE_SLOTS; i++)
        prefetch(near->slot[i]);
}

bool table_free_some(Table *table, size_t buckets, TableVisit visit, void *context)
{
    if (table->buckets == 0) return false;
    if (table->level != LEVEL_ENDING) table_trim(table);
    table->level = LEVEL_ENDING;
    for (; buckets > 0 && table->buckets > 0; buckets--) {
        uint32_t index = table->buckets - 1;
        free_prefetch(table, index);
        Bucket *bucket = table_bucket(table, index);
        table->count -= chain_count(bucket);
        chain_visit(table, bucket, 0, visit, context);
        chain_free(bucket);
        table->buckets = index;
        piece_release(table, index);
    }
    return table->buckets > 0;
}

/* ---- drawing ---- */

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
