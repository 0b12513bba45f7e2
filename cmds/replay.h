/* replay.h: runs a stream of commands: a journal's batches again, at the start and to roll back; and a master's, as it
 * comes. Whoever loads data calls it, and the slave.
 *
 * Nothing of what a client's command brings with it happens: no journaling, no limit of memory; and, but for a
 * master's, no events, no messages, no slow log, no statistics. Keys don't expire meanwhile, and a deadline that has
 * passed is set like any other: what went is in the stream.
 *
 * A stream holds what changes data, SELECT, and what counts for its offsets only: PING, PUBLISH, REPLCONF. A master may
 * be a Redis of a later version: of the forms that 3.2 doesn't know, those of newer.h are run.
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

/* Runs a batch that was committed at that unix ms, from which its lifetimes count (Redis 3.2 puts EXPIRE and SETEX into
 * its stream as they are). False: what it holds isn't commands, or one was answered by an error, or MULTI isn't
 * followed by EXEC; *error says which (g_free it), and what came before that command has been run. */
bool replay_run(Slice payload, int64_t unix_ms, char **error);

/* Runs what a master sent just now: whole commands, or a whole transaction; `fd`: by which socket, for MONITOR. False:
 * as above, *error too; *partly: and something of it has been changed. */
bool replay_run_live(Slice unit, int fd, bool *partly, char **error);
/* Whether REPLCONF GETACK was among it since the last call. */
bool replay_ack_asked(void);

/* The name of the command of a master that came last; NULL: none. */
const char *replay_last_name(void);

/* The database that the stream is in; -1: none yet. */
int replay_db(void);

/* Commands run since replay_begin. */
uint64_t replay_commands(void);

#endif
