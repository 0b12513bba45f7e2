/* garbage.h: the records of a checkpoint file that nothing refers to any more, which the file's next checkpoint
 * removes. Only checkpoint.c uses it.
 *
 * Design. A queue of blocks: there may be as many as values, and neither to add one nor to take one out takes long.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_GARBAGE_H
#define CKV_STORE_GARBAGE_H

#include "store/record.h"

/* Begins as zeros. May be moved. */
typedef struct Garbage {
    struct GarbageBlock *head, *tail;
    unsigned at;      /* of the first block: those before are used up */
    uint64_t page;    /* of the item at hand */
    uint64_t records; /* all that were added, about */
} Garbage;

/* A value's record, of this checksum. */
void garbage_add(Garbage *garbage, const RecordKey *key, uint32_t sum);
/* A map's pages in this set, whose sums it takes. */
void garbage_add_pages(Garbage *garbage, PageKind kind, uint64_t id, PageSet *set);

/* Takes a record out: its key, and in *sum its checksum. False: there's none left. */
bool garbage_next(Garbage *garbage, RecordKey *key, uint32_t *sum);

/* Forgets all of it. */
void garbage_clear(Garbage *garbage);

#endif
