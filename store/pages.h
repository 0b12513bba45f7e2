/* pages.h: which pages of a table changed since each of the two checkpoint files was written, and which of them a
 * running checkpoint has yet to save. Databases and big collections have a PageMap each; keyspace.c and the value types
 * announce changes here, checkpoint.c does the saving.
 *
 * Design. A page is the elements whose hash ends in the same `bits` bits: a run of neighbouring buckets in the order of
 * a scan, whatever the table's own size. Each file has its own `bits` for a map, kept until the table has grown or
 * shrunk by much, and per page a dirty bit and the checksum of its record (0: the file has none), whose sum over a file
 * tells that no record is missing or stale. The record's key names bits and page.
 *
 * A checkpoint takes the dirty bits as its `pending` ones. Whoever is about to change something in a page that is
 * pending has it saved first (pages_touch), so what is saved is the state at the checkpoint's start, exactly.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_PAGES_H
#define CKV_STORE_PAGES_H

#include <glib.h>

#include "store/table.h"

#define PAGE_FILES 2

/* The most pages that a map can have: 2^32 is what a record's key has room for. */
#define PAGES_BITS_MAX 31

typedef struct PageSet {
    uint32_t epoch;  /* of the file, when this was begun: another one means that the file has nothing of it */
    uint8_t bits;    /* 2^bits pages */
    uint64_t *dirty; /* NULL: nothing was ever written */
    uint32_t *sums;
} PageSet;

typedef struct PageMap {
    const Table *table;
    uint64_t id;  /* of a database: its index; of a collection: its records' id */
    uint8_t kind; /* PageKind */
    uint8_t pending_bits;
    uint8_t bits_min;      /* with fewer a page was too big for a record */
    uint32_t pending_next; /* no page before it is pending */
    uint64_t *pending;     /* NULL: no checkpoint wants anything of it */
    PageSet set[PAGE_FILES];
    void *orphan; /* the collection itself, deleted while pending: it goes when all is saved */
    uint8_t orphan_type;
    size_t orphan_bytes; /* of memory, about */
    uint64_t walked;     /* the number of the checkpoint that took its dirty pages last */
} PageMap;

/* A collection that may be kept as pages, as its type shows it. */
typedef struct PagedValue {
    const Table *table;
    PageMap **pages;
    uint8_t kind; /* PageKind */
} PagedValue;

typedef enum PageKind { PAGE_ENTRIES, PAGE_ELEMENTS, PAGE_RANKED, PAGE_CHUNKS } PageKind;

/* Saves the page that this hash is in for the running checkpoint, if it's pending (checkpoint.c). */
void pages_save(PageMap *map, uint64_t hash);
/* The same ahead of the change, as far as this turn of the loop still gives a checkpoint time. False: there's more to
 * do. NULL: it's not kept as pages. */
bool pages_save_in_time(PageMap *map, uint64_t hash);
/* That for all pages that are pending. */
bool pages_save_all_in_time(PageMap *map);

/* To be called before any change of the element with this hash: inserting, changing, removing it. NULL: it's not kept
 * as pages. */
static inline void pages_touch(PageMap *map, uint64_t hash)
{
    if (map == NULL) return;
    for (int f = 0; f < PAGE_FILES; f++) {
        const PageSet *set = &map->set[f];
        if (set->dirty == NULL) continue;
        uint64_t page = hash & ((1ULL << set->bits) - 1);
        set->dirty[page / 64] |= 1ULL << (page % 64);
    }
    if (G_UNLIKELY(map->pending != NULL)) pages_save(map, hash);
}

/* The collection that the map is of is gone: its records are garbage, and the map is freed (checkpoint.c). */
void checkpoint_forget_map(PageMap *map);

PageMap *pages_new(const Table *table, PageKind kind, uint64_t id);
/* Frees the map. The sets' memory goes with it unless it was taken. */
void pages_free(PageMap *map);

/* How many words hold the bits of 2^bits pages. */
static inline size_t pages_words(unsigned bits)
{
    return bits < 6 ? 1 : (size_t)1 << (bits - 6);
}

/* The bits that suit a table of so many elements, `per_page` to twice as many in a page. */
unsigned pages_bits(size_t elements, size_t per_page);

/* Begins a set anew: no page is in the file, all are dirty. */
void pages_set_reset(PageSet *set, uint32_t epoch, unsigned bits);
void pages_set_clear(PageSet *set);
/* All pages are dirty: none is as it was. */
void pages_set_dirty(PageSet *set);

/* Makes the set's dirty pages the pending ones, and none dirty. */
void pages_begin(PageMap *map, const PageSet *set);
/* Forgets the pending ones. */
void pages_end(PageMap *map);

static inline bool pages_is_pending(const PageMap *map, uint64_t page)
{
    return map->pending[page / 64] >> (page % 64) & 1;
}

/* The page of the running checkpoint that has this hash. */
static inline uint64_t pages_page(const PageMap *map, uint64_t hash)
{
    return hash & ((1ULL << map->pending_bits) - 1);
}

/* Whether a change of what has this hash saves its page first. NULL: it's not kept as pages. */
static inline bool pages_saves(const PageMap *map, uint64_t hash)
{
    return map != NULL && map->pending != NULL && pages_is_pending(map, pages_page(map, hash));
}

/* How many are pending, of a map that has some. */
uint64_t pages_count_pending(const PageMap *map);

/* The next pending page from map->pending_next on, or -1. */
int64_t pages_next(PageMap *map);

/* Appends all elements of a page to `elements`, with their memory asked for ahead. */
void pages_collect(const Table *table, unsigned bits, uint64_t page, GPtrArray *elements);
/* Asks for the buckets of a page ahead. */
void pages_prefetch(const Table *table, unsigned bits, uint64_t page);

#endif
