/* state.h: copies of a dataset on disk: a checkpoint and the journal behind it, from one directory into another.
 * Backups and rollbacks are made of them.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_STATE_H
#define CKV_STORE_STATE_H

#include "store/manifest.h"

/* Hears of the part that is done, from 0 to 1; in the thread that copies. */
typedef void (*StateProgress)(double part, void *context);

typedef struct StateWork {
    StateProgress progress; /* may be NULL */
    void *context;
} StateWork;

/* Where a state comes from: a checkpoint and the journal that goes on at its offset. */
typedef struct State {
    char *directory;     /* its journal/ has what follows */
    char *checkpoint;    /* the path; NULL: nothing was before the journal, which begins at `start` */
    CheckpointInfo info; /* of that file; without one only its offset and db (-1) count */
    uint64_t start;      /* as in its manifest */
    uint64_t until;      /* the offset up to which the journal counts, which is between two commands; 0: all of it */
    bool ends;           /* a MANIFEST says where all of it ends, */
    uint64_t end;        /* which is here */
} State;

void state_clear(State *state);

/* Where a copy ends. */
typedef struct StateEnd {
    uint64_t offset;
    int64_t unix_ms; /* of the last batch; the checkpoint's if there's none */
} StateEnd;

#define STATE_ALL INT64_MAX

/* Copies the file and its name's entry in `to` isn't synced yet. NULL or a message (g_free): all that follow. */
char *state_copy_checkpoint(const State *state, const char *to, const StateWork *work);

/* Copies the batches behind the checkpoint whose time is at most `until_ms`, all verified, into new segments in
 * to/journal/, which belong to `history`. Without such batches there's no to/journal/, unless `always`. */
char *state_copy_journal(const State *state, int64_t until_ms, const char *history, const char *to, bool always,
                         StateEnd *end, const StateWork *work);

/* Whether what was found to end at `offset` does so where MANIFEST says: or else files are missing. */
char *state_check_end(const State *state, uint64_t offset);

/* Verifies all of it, and says where it ends. */
char *state_verify(const State *state, StateEnd *end, const StateWork *work);

/* The time of the first batch behind the offset, -1: there's none. */
int64_t state_first_ms(const char *directory, uint64_t offset);

/* Removes a directory of plain files and such directories. errno says why not. */
bool state_remove(const char *path);

/* "path: what errno says" */
char *state_errno(const char *path);

#endif
