/* syncfile.h: a checkpoint as an RDB file for slaves: a thread makes it, then it's read in pieces; all slaves that come
 * meanwhile share it. Only repl/fullsync.c and the slaves' states (replica.h) know it.
 *
 * Design. sync-<offset>.rdb is made in the working directory and unlinked at once: only its descriptor lives on, so no
 * crash leaves it behind.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_REPL_SYNCFILE_H
#define CKV_REPL_SYNCFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "store/manifest.h"
#include "store/warm.h"

typedef struct SyncFile SyncFile;

/* Begins to make the file of a whole checkpoint, which mustn't change while syncfile_state says MAKING; one reference
 * is the caller's. `path` and `info` are copied. NULL: *error (g_free it). */
SyncFile *syncfile_new(const char *path, const CheckpointInfo *info, char **error);
SyncFile *syncfile_ref(SyncFile *file);
/* The last one has the thread end, and free the file's blocks: nobody waits for it. */
void syncfile_unref(SyncFile *file);

typedef enum SyncFileState { SYNCFILE_MAKING, SYNCFILE_READY, SYNCFILE_FAILED } SyncFileState;
/* Cheap; the loop's thread. */
SyncFileState syncfile_state(const SyncFile *file);
/* Of a failed one: why. */
const char *syncfile_error(const SyncFile *file);

/* The journal's offset that it holds, and the database that the stream is in there (-1: none); its length, once it's
 * ready. */
uint64_t syncfile_offset(const SyncFile *file);
int syncfile_db(const SyncFile *file);
uint64_t syncfile_bytes(const SyncFile *file);
/* Reads `len` bytes from `at` on, all of them, by warm_read. False: errno. */
bool syncfile_read(const SyncFile *file, Warm *warm, void *to, size_t len, uint64_t at);

#endif
