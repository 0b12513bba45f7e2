/* pageahead.h: the records of a page file, read and verified ahead by a thread. checkpointload.c calls it: reading
 * takes about half of a load, and so it costs no time where there's a second core. Where there can be no further thread
 * the loader reads them itself.
 *
 * Design. A ring of batches. The thread fills the next one that is free, in gdbm's order, and leaves out records that
 * aren't pages of a database; the loader takes them in turn. What the thread allocated it frees, too, before it fills a
 * batch again: INFO counts the memory of the loop's thread.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_PAGEAHEAD_H
#define CKV_STORE_PAGEAHEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

typedef struct PageRecord {
    Slice key, payload;
    uint32_t sum; /* pagefile_sum of its checksum */
} PageRecord;

typedef struct PageAhead PageAhead;

/* Begins to read. (A file that can't be opened gives FAILED.) */
PageAhead *pageahead_new(const char *path);
void pageahead_free(PageAhead *ahead);

typedef enum PageAheadState { PAGEAHEAD_RECORD, PAGEAHEAD_LATER, PAGEAHEAD_END, PAGEAHEAD_FAILED } PageAheadState;

/* The next record, good until the next call. It waits for the thread until `until_us` (monotonic): LATER. FAILED:
 * *error (g_free it). */
PageAheadState pageahead_next(PageAhead *ahead, int64_t until_us, PageRecord *record, char **error);
/* The one behind it, if it's here already: to ask for what it needs. */
bool pageahead_peek(const PageAhead *ahead, PageRecord *record);

#endif
