/* backups.h: BACKUP, ROLLBACK, and backups by schedule. persist.c starts it, INFO asks it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_BACKUPS_H
#define CKV_CMDS_BACKUPS_H

#include <stdbool.h>

/* Begins to look at the schedule. */
void backups_start(void);

typedef struct BackupsSeen {
    bool in_progress;
    const char *last_id;     /* of the newest backup that this server made; "": none */
    const char *last_status; /* "ok", or what was wrong with the last one that was begun */
} BackupsSeen;
BackupsSeen backups_seen(void);

#endif
