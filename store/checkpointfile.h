/* checkpointfile.h: what is known of the two checkpoint files while the server runs: checkpoint.c keeps it, and
 * checkpointload.c fills it in for the file that it loads. And what is kept how in any such file: pagesort.c makes one,
 * too.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_CHECKPOINTFILE_H
#define CKV_STORE_CHECKPOINTFILE_H

#include "store/entry.h"
#include "store/image.h"
#include "store/pages.h"

typedef struct CheckpointFile {
    uint32_t epoch; /* grows whenever the file is begun anew: what was saved in an earlier epoch isn't in it */
    bool usable;    /* it's whole, and what is in it is known */
    uint64_t records, sum;
    uint32_t databases_sum; /* of its record "dbs" */
} CheckpointFile;

extern CheckpointFile checkpoint_files[PAGE_FILES];

/* The first id that no value and no collection had yet. */
extern uint64_t checkpoint_next_id;

/* Values of more bytes have a record of their own; collections of more are kept as pages, until they have fewer than
 * half of that. */
#define CHECKPOINT_LARGE_BYTES 2048
#define CHECKPOINT_PAGED_BYTES (64UL << 10)

/* The fewest elements of an average page, which has up to twice as many. Keys: 2 kB of usual ones, so that 1 % of all
 * keys, changed at random, are a fifth of the pages. Elements: about as much, so that a hundred changed fields of a
 * million are less than a hundredth of the pages; and fewer if they're big, since whoever changes one may have to wait
 * until its page is saved. */
#define CHECKPOINT_PAGE_KEYS     14
#define CHECKPOINT_PAGE_ELEMENTS 40
#define CHECKPOINT_PAGE_BYTES    (16UL << 10)

/* The same for a collection's table of this kind: it has `count` > 0 elements, of so many bytes in all. */
static inline size_t checkpoint_page_elements(uint8_t kind, size_t bytes, size_t count)
{
    size_t fitting = CHECKPOINT_PAGE_BYTES / (bytes / count + 1) + 1;
    return kind == PAGE_CHUNKS ? 1 : MIN(fitting, CHECKPOINT_PAGE_ELEMENTS);
}

/* A page of several elements has at most so many bytes of them (of keys, without the values): gdbm holds the length of
 * a record in an int. One element has 1 GB at most, as a hash's with the longest field and value. Only tests change it.
 */
extern size_t checkpoint_record_max;

/* The collection's table, if it's of a form that may be kept as pages. */
bool checkpoint_paged(ValueType type, void *object, PagedValue *paged);

/* The bytes of an element in its page, but for the head that a list's chunk has; of a database's the key. */
Slice checkpoint_element_bytes(const Table *table, PageKind kind, const void *element);

/* Appends an element of such a table of this kind. */
void checkpoint_encode_element(const void *element, const Table *table, PageKind kind, Image *batch);

#endif
