/* upgrade.h: UPGRADE: what the main program needs of it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_UPGRADE_H
#define CKV_CMDS_UPGRADE_H

/* The server stops: a process that was to take over is ended. */
void upgrade_abort(void);

#endif
