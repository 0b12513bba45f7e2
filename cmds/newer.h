/* newer.h: forms and commands of Redis 4.0 to 7.0 that a master of such a version puts into its stream, and that change
 * nothing that 3.2 doesn't have: what they come to in 3.2's. replay.c calls it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_NEWER_H
#define CKV_CMDS_NEWER_H

#include "cmds/command.h"

/* Runs a command of 3.2; NULL, or what is wrong (g_free). */
typedef char *(*NewerRun)(void *context, const Slice *argv, int argc);

/* Runs the command by `run`: as it is, or those that it comes to, one after the other. `db`: where it's to be run. */
char *newer_run(Db *db, const Slice *argv, int argc, NewerRun run, void *context);

/* Whether a command of that name changes no data: SPUBLISH, SCRIPT, FUNCTION. */
bool newer_is_notice(Slice name);

#endif
