/* garbage.c: see garbage.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/garbage.h"

typedef struct GarbageItem {
    RecordKey key; /* of a value */
    uint32_t sum;  /* of a value */
    uint8_t kind;  /* of pages: PageKind */
    uint8_t bits;
    uint64_t id;
    uint32_t *sums; /* of pages; NULL: a value */
} GarbageItem;

static void item_clear(gpointer item)
{
    g_free(((GarbageItem *)item)->sums);
}

Garbage garbage_new(void)
{
    Garbage garbage = { .items = g_array_new(FALSE, FALSE, sizeof(GarbageItem)) };
    g_array_set_clear_func(garbage.items, item_clear);
    return garbage;
}

void garbage_free(Garbage *garbage)
{
    g_array_free(garbage->items, TRUE);
    *garbage = (Garbage){ .items = NULL };
}

void garbage_add(Garbage *garbage, const RecordKey *key, uint32_t sum)
{
    GarbageItem item = { .key = *key, .sum = sum };
    g_array_append_val(garbage->items, item);
    garbage->records++;
}

void garbage_add_pages(Garbage *garbage, PageKind kind, uint64_t id, PageSet *set)
{
    GarbageItem item = { .kind = (uint8_t)kind, .bits = set->bits, .id = id, .sums = g_steal_pointer(&set->sums) };
    g_array_append_val(garbage->items, item);
    garbage->records += 1ULL << set->bits;
}

/* The item's next page that the file has; false: there's none left. */
static bool next_page(Garbage *garbage, const GarbageItem *item, RecordKey *key, uint32_t *sum)
{
    uint64_t pages = 1ULL << item->bits;
    while (garbage->page < pages && item->sums[garbage->page] == 0)
        garbage->page++;
    if (garbage->page == pages) return false;
    *key = record_page((PageKind)item->kind, item->id, item->bits, garbage->page);
    *sum = item->sums[garbage->page++];
    return true;
}

bool garbage_next(Garbage *garbage, RecordKey *key, uint32_t *sum)
{
    while (garbage->at < garbage->items->len) {
        const GarbageItem *item = &g_array_index(garbage->items, GarbageItem, garbage->at);
        if (item->sums != NULL && next_page(garbage, item, key, sum)) return true;
        garbage->at++;
        garbage->page = 0;
        if (item->sums != NULL) continue;
        *key = item->key;
        *sum = item->sum;
        return true;
    }
    return false;
}
