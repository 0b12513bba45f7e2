/* garbage.c: see garbage.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/garbage.h"

#include <glib.h>

#define BLOCK_ITEMS 250

typedef struct GarbageItem {
    RecordKey key; /* of a value */
    uint32_t sum;  /* of a value */
    uint8_t kind;  /* of pages: PageKind */
    uint8_t bits;
    uint64_t id;
    uint32_t *sums; /* of pages; NULL: a value */
} GarbageItem;

typedef struct GarbageBlock {
    struct GarbageBlock *next;
    unsigned count;
    GarbageItem item[BLOCK_ITEMS];
} GarbageBlock;

static void add(Garbage *garbage, GarbageItem item)
{
    if (garbage->tail == NULL || garbage->tail->count == BLOCK_ITEMS) {
        GarbageBlock *block = g_new(GarbageBlock, 1);
        block->next = NULL;
        block->count = 0;
        *(garbage->tail == NULL ? &garbage->head : &garbage->tail->next) = block;
        garbage->tail = block;
    }
    garbage->tail->item[garbage->tail->count++] = item;
}

void garbage_add(Garbage *garbage, const RecordKey *key, uint32_t sum)
{
    add(garbage, (GarbageItem){ .key = *key, .sum = sum });
    garbage->records++;
}

void garbage_add_pages(Garbage *garbage, PageKind kind, uint64_t id, PageSet *set)
{
    add(garbage,
        (GarbageItem){ .kind = (uint8_t)kind, .bits = set->bits, .id = id, .sums = g_steal_pointer(&set->sums) });
    garbage->records += 1ULL << set->bits;
}

/* The item at hand, or NULL: there's none left. */
static GarbageItem *first_item(Garbage *garbage)
{
    GarbageBlock *block = garbage->head;
    if (block != NULL && garbage->at == block->count) {
        garbage->head = block->next;
        if (garbage->head == NULL) garbage->tail = NULL;
        g_free(block);
        garbage->at = 0;
    }
    return garbage->head == NULL ? NULL : &garbage->head->item[garbage->at];
}

static void drop_item(Garbage *garbage)
{
    g_free(first_item(garbage)->sums);
    garbage->at++;
    garbage->page = 0;
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
    for (const GarbageItem *item; (item = first_item(garbage)) != NULL; drop_item(garbage)) {
        if (item->sums != NULL && next_page(garbage, item, key, sum)) return true;
        if (item->sums != NULL) continue;
        *key = item->key;
        *sum = item->sum;
        drop_item(garbage);
        return true;
    }
    return false;
}

void garbage_clear(Garbage *garbage)
{
    while (first_item(garbage) != NULL)
        drop_item(garbage);
    *garbage = (Garbage){ 0 };
}
