/* replay.h: runs journal batches again: at the start, and to roll back. Whoever loads data calls it.
 *
 * Nothing of what a client's command brings with it happens: no journaling, no events, no slow log, no statistics, no
 * limit of memory. Keys don't expire meanwhile, and a deadline that has passed is set like any other: what went is in
 * the journal.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_REPLAY_H
#define CKV_CMDS_REPLAY_H

#include <stdbool.h>

#include "base/slice.h"

/* Begins to run into `keyspace`, in a database (-1: the stream hasn't said in which yet). To be ended by replay_end,
 * after which keys expire again. */
void replay_begin(int db);
void replay_end(void);

/* Runs a batch. False: what it holds isn't commands, or one was answered by an error, or MULTI isn't followed by EXEC;
 * *error says which (g_free it), and what came before that command has been run. */
bool replay_run(Slice payload, char **error);

/* The database that the stream is in; -1: none yet. */
int replay_db(void);

/* Commands run since replay_begin. */
uint64_t replay_commands(void);

#endif
