/* transit.h: how the data of a server that keeps nothing on disk gets to the process that takes over from it
 * (repl/handover.h). cmds/upgrade.c drives it in the old process, cmds/persist.c and cmds/carry.c in the new one; the
 * main program begins and ends it.
 *
 * Design. For the time of an upgrade the old process does what it would do with persistence, but in upgrade.tmp in the
 * data directory, which is its working directory meanwhile: it makes a checkpoint, and keeps a journal from the
 * checkpoint's moment on. The new process enters that directory and loads, follows and takes over as ever: so the
 * exchange is the same, and what it guarantees. Only this is other:
 *
 * The journal is aside (journal.h, effect.h): nobody is to notice it. No reply waits for it, no write is refused for
 * it, nothing of it is synced, no slave is sent it. If it can't be written, that ends the upgrade and nothing else. A
 * reply that left before its batch was written is no loss: the pause begins when all is written, and until then the old
 * process' end is the end of the data, as it is without an upgrade.
 *
 * When it's over neither process has a journal. Whoever serves leaves the directory and removes it, in a thread: big
 * files take a while. If both are killed before, the next start removes it. Nothing loads from it but the process that
 * the old one has started; what lies in the data directory otherwise is neither read nor touched.
 *
 * An upgrade that failed leaves the keyspace noting its changes for checkpoints, as one with persistence always does
 * (checkpoint_forget_files says why): that costs a write a few nanoseconds.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_TRANSIT_H
#define CKV_CMDS_TRANSIT_H

#include <stdbool.h>

/* With persistence no, at the start: sets the hash's secret. Before the keyspace is made. */
void transit_init(void);
/* What a process that was killed has left in the working directory is removed: at the start, with the lock. */
void transit_clean(void);

/* ---- the old process ---- */

/* Begins the checkpoint and the journal, between two commands. False: *error says why (g_free it), and nothing has
 * changed. */
bool transit_begin(char **error);
/* The checkpoint is whole: another process can load. */
bool transit_is_whole(void);
/* NULL, or why the other process can't have all; good until the next call of anything. */
const char *transit_trouble(void);
/* The upgrade failed. Nothing if it hadn't begun. */
void transit_end(void);

/* ---- the new process ---- */

/* False: *error (g_free it). */
bool transit_enter(char **error);
/* It serves. */
void transit_arrived(void);

/* ---- either ---- */

/* Whether the directory is gone. */
bool transit_idle(void);
/* Waits for that: before the process ends. */
void transit_finish(void);

#endif
