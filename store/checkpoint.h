/* checkpoint.h: saves the dataset, page by page, into the two gdbm files in turn, while commands go on; and loads it.
 * The command layer (checkpoints.c) drives it, keyspace.c tells it what goes.
 *
 * Design. A checkpoint holds the state of one moment: its journal offset. It begins in the loop between two batches,
 * takes the dirty pages of its file as pending, and then saves them in slices (checkpoint_step). A change to a page
 * that is still pending has it saved first (pages.h). A big collection, or a string that is copied in pieces, that is
 * deleted or replaced before all of it is saved is handed over as it is; a string that changes in place is copied to
 * its end first. Records go in batches to a thread that owns the gdbm file; when more than CHECKPOINT_QUEUE_BYTES wait
 * for it, it moves them to a spill file first, which is several times as fast, and the walk pauses. When all is saved
 * the thread puts the record "ckv" behind the others, syncs, and replaces MANIFEST. If anything fails, the file is
 * written from scratch the next time, and the other one stays what a start would load.
 *
 * What is kept how: an entry whose value is at most LARGE_BYTES stands in its page; a larger one has a record of its
 * own (large.h); a set, hash or sorted set of more than PAGED_BYTES is kept as pages of its own.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_CHECKPOINT_H
#define CKV_STORE_CHECKPOINT_H

#include <glib.h>

#include "store/keyspace.h"
#include "store/manifest.h"

/* ---- saving ---- */

/* The dataset that checkpoints are made of, in the working directory; the manifest is borrowed and kept up to date.
 * What is there already is in no file. From now on changes are noted. `progressed` is called in the writer thread when
 * checkpoint_step may have something to do. */
void checkpoint_init(Keyspace *keyspace, Manifest *manifest, void (*progressed)(void));

/* A longer string is copied in pieces, when the page that refers to it is saved already. */
#define CHECKPOINT_COPIED_LATER (16UL << 10)

typedef enum CheckpointState { CHECKPOINT_IDLE, CHECKPOINT_WALKING, CHECKPOINT_WRITING } CheckpointState;

/* Begins one, of this moment. False: one is running, or *error says what is wrong (g_free it). */
bool checkpoint_start(uint64_t offset, int db, int64_t unix_ms, char **error);

/* Does up to `budget_us` of work; call it once a turn while a checkpoint runs. What it has to do next: */
typedef enum CheckpointStep {
    CHECKPOINT_MORE, /* go on at once */
    CHECKPOINT_WAIT, /* for the writer: `progressed` will be called */
    CHECKPOINT_DONE, /* it's whole: the manifest lists it */
    CHECKPOINT_FAILED,
    CHECKPOINT_AGAIN, /* failed as well, but for what another one, begun now, finds put right */
} CheckpointStep;
/* `durable`: up to where the journal is; a checkpoint is only listed when its own offset is. */
CheckpointStep checkpoint_step(int64_t budget_us, uint64_t durable);

/* Whether a running one has had its time in this turn of the loop, with its steps and with pages that were saved before
 * changes: what would have another one saved had better wait for the next. */
bool checkpoint_is_pressed(void);
/* That time so far, in us. What was done since it was `before_us` had pages saved, and the turn has no more time for
 * that: who has many changes to make goes on in the next one. (What is saved already may change in any turn.) */
int64_t checkpoint_turn_us(void);
static inline bool checkpoint_ends_turn(int64_t before_us)
{
    return checkpoint_is_pressed() && checkpoint_turn_us() > before_us;
}
/* Whether changes may have pages saved. */
bool checkpoint_is_walking(void);
/* The turn has ended. */
void checkpoint_end_turn(void);

/* Ends a running one without a result. */
void checkpoint_abort(const char *why);

typedef struct CheckpointStatus {
    CheckpointState state;
    uint64_t offset; /* of the running one */
    int64_t started_ms;
    uint64_t pages_done, pages_total; /* of the running one, or the last one */
    uint64_t bytes;                   /* of their records */
    size_t waiting_bytes;             /* see checkpoint_waiting_bytes */
    int last;                         /* the index of the last whole one in the manifest; -1: none */
    int64_t last_ms, last_took_ms;    /* unix; -1: none */
    uint64_t last_pages, last_bytes;
    const char *error; /* of the last one that failed, if none was made since; else NULL */
} CheckpointStatus;
CheckpointStatus checkpoint_status(void);

/* The memory that is taken by what waits for the writer, and by what was deleted and is still to be saved. */
size_t checkpoint_waiting_bytes(void);

/* Waits until the writer has something to say. */
void checkpoint_wait(void);

/* Told by the keyspace: */
/* A collection is about to be freed. True: the running checkpoint still needs it and takes it; otherwise its pages are
 * garbage from now on. */
bool checkpoint_adopt(ValueType type, void *object);
/* A database is about to be emptied, of entries that `free_entry` frees. True: the running checkpoint still needs it
 * and took its table and wheel, as grave_take_db would have. */
bool checkpoint_adopt_db(Db *db, TableVisit free_entry);
/* A string of more than CHECKPOINT_COPIED_LATER bytes is about to be freed. True: the running checkpoint has yet to
 * copy it, and takes it. */
bool checkpoint_adopt_string(Entry *entry);
/* Whether the running checkpoint has yet to copy such a string, so that it may not change. */
bool checkpoint_needs_string(const Entry *entry);
/* It's about to change: what is left of it is copied now, or, `in_time`, as much as this turn still gives time for.
 * True: nothing is left to copy. */
bool checkpoint_copy_string(const Entry *entry, bool in_time);
/* Ends the noting of changes: the keyspace is about to be freed, or loaded anew. */
void checkpoint_forget_all(void);
/* The files are given up: a running checkpoint is aborted, and what there is is in no file. Changes are noted all the
 * same, since to find out what was noted of each entry would take as long as a checkpoint. */
void checkpoint_forget_files(void);

/* ---- loading ---- */

typedef struct CheckpointLoad CheckpointLoad;

/* Loads a file into an empty keyspace, in slices. NULL: *error says why not (g_free), or the file is whole, but the
 * keyspace has fewer than the *databases that it needs. `info` from the manifest: what the file must agree with. `slot`
 * (0 or 1): the file will be the one of that index for further checkpoints, -1: just load. */
CheckpointLoad *checkpoint_load_begin(Keyspace *keyspace, const char *path, const CheckpointInfo *info, int slot,
                                      int *databases, char **error);
/* 1: more to do; 0: all there, and it's what `info` promised; -1: *error. */
int checkpoint_load_step(CheckpointLoad *load, int64_t budget_us, char **error);
/* From 0 to 1. */
double checkpoint_load_progress(const CheckpointLoad *load);
void checkpoint_load_free(CheckpointLoad *load);

/* Reads the "ckv" record. The secret must have room for MANIFEST_SECRET_BYTES. False: *error. */
bool checkpoint_read_info(const char *path, CheckpointInfo *info, uint8_t *secret, char **error);

/* Checks every record of a file; `problem` hears of each that is damaged. NULL, or the first problem (g_free). */
char *checkpoint_verify(const char *path, const CheckpointInfo *expected,
                        void (*problem)(const char *text, void *context), void *context);

#endif
