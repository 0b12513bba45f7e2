/* backups.h: BACKUP, ROLLBACK, and backups by schedule. persist.c starts it, INFO asks it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_BACKUPS_H
#define CKV_CMDS_BACKUPS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/tape.h"

/* Begins to look at the schedule. */
void backups_start(void);

/* There is a new checkpoint; the data was replaced by a full sync's, of which there's none yet. */
void backups_checkpointed(void);
void backups_data_replaced(void);
/* Deletes a backup, as a job: none may be in progress. */
void backups_discard(const char *id);

/* Goes back to an offset of our own history, which stays it; what is given up is a backup with that note, and its
 * commands are in a file diverged-*.resp. NULL: begun; or what is wrong (g_free). */
char *backups_go_back(uint64_t offset, const char *note);
/* If it's going back, it doesn't after all: the server is about to follow another master, or none. */
void backups_stay(void);
/* Removes, as a job, what a full sync that was given up has made so far; the process that made it has ended. False: not
 * now, since one is in progress. */
bool backups_clean_up(void);
bool backups_are_cleaning(void);
/* No backup and no rollback is in progress. */
bool backups_idle(void);
/* A rollback is: the data is about to be replaced. */
bool backups_replace_data(void);
/* What went wrong with the last rollback; NULL: nothing, or there was none. */
const char *backups_rollback_failed(void);

typedef struct BackupsSeen {
    bool in_progress;
    const char *last_id;     /* of the newest backup that this server made; "": none */
    const char *last_status; /* "ok", or what was wrong with the last one that was begun */
} BackupsSeen;
BackupsSeen backups_seen(void);

/* The unix ms of the earliest moment that ROLLBACK TO can reach; -1: none. */
int64_t backups_oldest_ms(void);

/* What was done, and what is due, for the process that takes over. None is in progress. */
void backups_save(Tape *tape);
void backups_restore(TapeReader *tape);

#endif
