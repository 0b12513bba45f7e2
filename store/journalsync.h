/* journalsync.h: the thread that makes the journal durable, and the list of segments that it shares with the writer.
 * Only the journal's writing half calls it, in the loop's thread.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_JOURNALSYNC_H
#define CKV_STORE_JOURNALSYNC_H

#include <stdbool.h>
#include <stdint.h>

#include "store/journal.h"

#define JSYNC_TROUBLE_CHARS 512

/* A segment on disk. The last one is being written; only the thread touches the descriptors of those before. */
typedef struct JsyncSegment {
    uint64_t offset, end; /* in the stream */
    uint64_t bytes;       /* of the file, up to the end of the last whole batch or seal */
    uint64_t synced;      /* up to where they are durable */
    uint64_t dropped;     /* up to where they were dropped from the page cache */
    int fd;               /* -1: not open */
    bool named;           /* its directory entry is durable */
    bool wants_seal;      /* when it's finished: it ends at `end`, and has no such seal */
    bool rewrite;         /* a sync failed: what isn't durable has to be written again */
} JsyncSegment;

/* The list is made first: of what there was (segments that end at `durable` or before are so), and the one to write. */
void jsync_init(uint64_t durable);
/* Takes over the descriptor. What was the last segment is finished. */
void jsync_add_segment(JsyncSegment segment);
/* Starts the thread, and makes durable what there is; false: it can't be started, and *error says why (g_free it). */
bool jsync_start(const JournalStart *start, char **error);
/* Ends the thread at once and closes all descriptors, but gives back the last segment's. */
int jsync_stop(void);

/* Ends the thread as soon as it has done what it's at. What it knows of the segments, without descriptors
 * (JsyncSegment, to g_array_unref), and up to where they're durable; gives back the last segment's descriptor. */
int jsync_leave(GArray **segments, uint64_t *is_durable);
/* Instead of jsync_init and jsync_add_segment: such a list, which is copied, and the last segment's descriptor. */
void jsync_adopt(const GArray *segments, uint64_t is_durable, int fd);
/* The offset is to be durable as soon as it can. */
void jsync_want(uint64_t offset);

void jsync_set_mode(JournalSync mode);
/* The last segment has grown. */
void jsync_written(uint64_t end, uint64_t bytes);
uint64_t jsync_durable(void);
/* How long the last sync took, us; 0: there was none yet. */
int64_t jsync_last_us(void);
/* Waits until the offset is durable. False: an attempt failed that began meanwhile. */
bool jsync_wait(uint64_t offset);
void jsync_release(uint64_t offset, int64_t keep_sec, uint64_t keep_bytes);
/* NULL, or why the last attempt failed; good until the next call. */
const char *jsync_trouble(void);
bool jsync_is_troubled(void);
/* The same of an attempt that failed since the last call of this function, also if another has succeeded since. Cheap
 * if there's none. */
const char *jsync_take_failure(void);
/* Adds what it knows. */
void jsync_stats(JournalStats *stats);

#endif
