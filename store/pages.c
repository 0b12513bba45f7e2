/* pages.c: see pages.h. (Saving is in checkpoint.c.)
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/pages.h"

#include "base/prefetch.h"

PageMap *pages_new(const Table *table, PageKind kind, uint64_t id)
{
    PageMap *map = g_new0(PageMap, 1);
    map->table = table;
    map->kind = (uint8_t)kind;
    map->id = id;
    return map;
}

void pages_free(PageMap *map)
{
    for (int f = 0; f < PAGE_FILES; f++)
        pages_set_clear(&map->set[f]);
    g_free(map->pending);
    g_free(map);
}

unsigned pages_bits(size_t elements, size_t per_page)
{
    unsigned bits = 0;
    while (bits < PAGES_BITS_MAX && elements >> (bits + 1) >= per_page)
        bits++;
    return bits;
}

void pages_set_clear(PageSet *set)
{
    g_clear_pointer(&set->dirty, g_free);
    g_clear_pointer(&set->sums, g_free);
}

void pages_set_dirty(PageSet *set)
{
    for (size_t i = 0; i < pages_words(set->bits); i++)
        set->dirty[i] = set->bits < 6 ? (1ULL << (1U << set->bits)) - 1 : UINT64_MAX;
}

void pages_set_reset(PageSet *set, uint32_t epoch, unsigned bits)
{
    pages_set_clear(set);
    set->epoch = epoch;
    set->bits = (uint8_t)bits;
    set->dirty = g_new(uint64_t, pages_words(bits));
    pages_set_dirty(set);
    set->sums = g_new0(uint32_t, (size_t)1 << bits);
}

void pages_begin(PageMap *map, const PageSet *set)
{
    g_assert(map->pending == NULL);
    size_t bytes = pages_words(set->bits) * sizeof(uint64_t);
    map->pending = g_memdup2(set->dirty, bytes);
    memset(set->dirty, 0, bytes);
    map->pending_bits = set->bits;
    map->pending_next = 0;
}

void pages_end(PageMap *map)
{
    g_clear_pointer(&map->pending, g_free);
}

uint64_t pages_count_pending(const PageMap *map)
{
    uint64_t count = 0;
    for (size_t i = 0; i < pages_words(map->pending_bits); i++)
        count += (uint64_t)__builtin_popcountll(map->pending[i]);
    return count;
}

int64_t pages_next(PageMap *map)
{
    size_t words = pages_words(map->pending_bits);
    for (size_t i = map->pending_next / 64; i < words; i++) {
        if (map->pending[i] == 0) continue;
        uint64_t page = i * 64 + (uint64_t)__builtin_ctzll(map->pending[i]);
        map->pending_next = (uint32_t)page;
        return (int64_t)page;
    }
    return -1;
}

bool pages_save_all_in_time(PageMap *map)
{
    while (map->pending != NULL) {
        int64_t page = pages_next(map);
        if (page < 0) return true;
        if (!pages_save_in_time(map, (uint64_t)page)) return false;
    }
    return true;
}

void pages_prefetch(const Table *table, unsigned bits, uint64_t page)
{
    for (uint64_t i = page; i < table->buckets; i += 1ULL << bits)
        prefetch(table_bucket(table, (uint32_t)i));
}

/* A chain's elements that are in the page, or all of them with `mask` 0. */
static void collect_chain(const Table *table, const Bucket *bucket, uint64_t mask, uint64_t page, GPtrArray *elements)
{
    for (;;) {
        unsigned slots = bucket->chained ? TABLE_SLOTS - 1 : TABLE_SLOTS;
        for (unsigned i = 0; i < slots; i++) {
            if (bucket->tag[i] == 0) continue;
            if (mask != 0 && (table->hash_of(bucket->slot[i]) & mask) != page) continue;
            prefetch(bucket->slot[i]);
            prefetch((const char *)bucket->slot[i] + 64);
            g_ptr_array_add(elements, bucket->slot[i]);
        }
        if (!bucket->chained) return;
        bucket = bucket->slot[TABLE_SLOTS - 1];
    }
}

void pages_collect(const Table *table, unsigned bits, uint64_t page, GPtrArray *elements)
{
    if (bits > table->level) {
        /* The page is a part of one bucket. */
        uint64_t mask = (1ULL << bits) - 1;
        collect_chain(table, table_bucket(table, table_index(table, page)), mask, page, elements);
        return;
    }
    for (uint64_t i = page; i < table->buckets; i += 1ULL << bits)
        collect_chain(table, table_bucket(table, (uint32_t)i), 0, page, elements);
}
