/* checkpoints.h: when checkpoints are made: as they fall due, or for somebody who wants one, in slices of the loop.
 * (What one is, and how it's made: store/checkpoint.h.) persist.c starts and stops it; the operator's commands,
 * backups, full syncs and INFO ask it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_CHECKPOINTS_H
#define CKV_CMDS_CHECKPOINTS_H

#include "base/tape.h"
#include "net/loop.h"

/* ---- for persist.c ---- */

/* Before anything is loaded. */
void checkpoints_init(Loop *loop);
/* Begins to look whether one is due. */
void checkpoints_start(void);
/* Gives up the running one, if there is one: whoever waits for it is told why. */
void checkpoints_abort(const char *why);
/* Before a clean stop: ends the running one, or makes a last one if something changed; or, without `save`, gives it up.
 */
void checkpoints_stop(bool save);
/* All that is in memory is on the disk. */
void checkpoints_have_all(void);

/* ---- for all ---- */

/* Changes since the last checkpoint began: INFO's rdb_changes_since_last_save. */
uint64_t checkpoints_missing_changes(void);

/* Gives a checkpoint that was begun elsewhere (cmds/transit.c) its slices of the loop. */
void checkpoints_walk(void);

/* Begins a checkpoint now. False: *error (g_free it) says why not, and so does the log, unless it's just not the time.
 */
bool checkpoints_begin(char **error);
/* Makes one and waits for it: SAVE. False: *error. */
bool checkpoints_save(char **error);
/* What was wrong with the last one, if none was made since, whether it could begin or not; NULL: nothing. */
const char *checkpoints_error(void);
/* `done` is called once when the running checkpoint has ended, with NULL or what went wrong. */
void checkpoints_when_done(void (*done)(const char *error, void *context), void *context);

/* While files are being copied no further checkpoint starts, and no segment of the journal goes. Calls are counted:
 * each with true is to be followed by one with false. */
void checkpoints_hold(bool held);
bool checkpoints_are_held(void);

/* Whether one is running. */
bool checkpoints_are_running(void);
/* When the last one was, for the process that takes over. */
void checkpoints_save_rest(Tape *tape);
void checkpoints_restore_rest(TapeReader *tape);

#endif
