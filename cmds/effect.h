/* effect.h: what commands change, on its way into the journal, and replies that wait until it is there. The command
 * layer calls it around each command; a handler only if its command, run again, might do something else.
 *
 * Design. A command that changed something is journaled as it came, unless its handler put other commands in its place:
 * SREM for SPOP, PEXPIREAT for EXPIRE, SET for INCRBYFLOAT. What expires or is evicted is journaled as DEL at that
 * moment. What one EXEC changes stands between MULTI and EXEC, if it's more than one command; so do several that were
 * put in the place of one. So the journal run again, without a clock and without chance, gives the same data; also if
 * it's run by a later Redis, a slave: what that refuses, and 3.2 doesn't, is put as something that all take.
 *
 * The journal is committed between two commands only, and before any reply leaves. Replies to commands that changed
 * something wait at the gate (net/client.h) until their journal offset is safe as `fsync` and `ack` say. As long as the
 * journal can be written that is at once, but for `fsync always` and `ack slave`, so only then clients get a mark.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_EFFECT_H
#define CKV_CMDS_EFFECT_H

#include "cmds/command.h"

/* Changes are journaled. Nothing below does anything while it's false. */
extern bool effects_on;

/* The stream is a master's: nothing that happens here is added to it (a key that PFCOUNT counted anew, say). */
extern bool effect_muted;

/* The journal is another process' way to the data, and no more (cmds/transit.h): no reply waits for it, and no write is
 * refused for it. */
extern bool effects_aside;
void effects_start_aside(void);
/* Also if it began in vain. Whoever reads it doesn't get what wasn't committed. */
void effects_stop_aside(void);
/* What should have been added was too much for one batch: so it lacks something. */
bool effects_lost(void);

/* The journal was opened; it's about to be closed (then what waits at the gate is sent if the journal has it). */
void effects_start(void);
void effects_stop(void);

/* At the end of each turn of the loop (handlers.turn_ends): true if the next one is to come at once. */
bool effects_end_turn(void);

/* ---- for handlers: what is journaled instead of the command, in the order of the calls ----
 *
 * Once the keys have been looked up for writing, or stored: a look-up may find that a key has expired, and its DEL
 * comes before. */

void effect_put(const Db *db, const Slice *argv, int argc);
void effect_del(const Db *db, Slice key);
/* What is put between the two is done by others whole or not at all: it stands between MULTI and EXEC. They may be
 * nested. */
void effect_together(void);
void effect_together_end(void);
/* SET key value, and PEXPIREAT key deadline_ms unless it's negative: together. */
void effect_set(const Db *db, Slice key, Slice value, int64_t deadline_ms);
void effect_deadline(const Db *db, Slice key, int64_t deadline_ms);

/* A command on any number of elements, put as several, together, if they are many: begin, add them (copied; those of
 * one call stay in one command), end. Begin returns NULL while effects are off, which the others take. */
typedef struct EffectPieces EffectPieces;
EffectPieces *effect_pieces_begin(const Db *db, Slice command, Slice key);
void effect_pieces_add(EffectPieces *pieces, const Slice *elements, int count);
void effect_pieces_add_value(EffectPieces *pieces, PackValue value);
void effect_pieces_end(EffectPieces *pieces);

/* A batch of the journal, and a change for a slave, are bounded: for commands that come to more than they had. How many
 * bytes more can be put now; SIZE_MAX: nothing is. */
size_t effect_room(void);
/* Whether there are so many; if not, the error is out. */
bool effect_fits(Out *out, size_t bytes);
/* What so many elements of so many bytes in all come to, in pieces (and a DEL of the key). */
size_t effect_pieces_bytes(Slice key, size_t elements, size_t bytes);
/* Whether one more element can be added. */
bool effect_pieces_take(const EffectPieces *pieces, size_t len);

/* ---- for the command layer ---- */

/* A key expired or was evicted: it's about to be deleted. */
void effect_gone(const Db *db, Slice key);

/* Before, and, if the keyspace counted changes, after the run of a command. */
extern bool effect_replaced; /* the handler put something else */
static inline void effect_begin(void)
{
    effect_replaced = false;
}
void effect_of(const Request *r);

/* Around the commands of an EXEC. */
void effect_exec_begin(void);
void effect_exec_end(void);

/* A client's command (or EXEC) is over: if it changed something that the client is told, effect_unanswered is true, and
 * effect_answered notes that the reply begins at this byte of what waits in the client's output. */
extern bool effect_unanswered;
void effect_answered(Client *client, size_t position);

/* A command that changes nothing here, but that slaves are to run: PUBLISH. Nothing while there are none. If very much
 * waits to be committed then, effect_piled_up is true. */
void effect_for_slaves(const Request *r);
extern bool effect_piled_up;

/* Commits the journal at once, since a checkpoint begins here, or the data is replaced. What an EXEC that is running
 * has changed so far is a transaction of its own then, so that no batch, and no checkpoint, ends in the middle of one.
 * False: journal_trouble says why. */
bool effect_write(void);

/* That, closes the gate for replies that can't go yet, opens it as far as it may be. Between two commands only; before
 * output is sent. */
void effect_commit(void);

/* Logs, once, that the journal can't be written or synced, and once that it can again. effect_commit does, too; this is
 * for those who wait for the journal without it. */
void effect_tell_trouble(void);

/* The offset up to which replies may leave. */
uint64_t effect_gate_offset(void);

/* The offset up to which this server's own disk has it, as `fsync` says: what a slave tells its master. */
uint64_t effect_local_offset(void);

/* Whether there's room in the journal for what such a command may change; if not, answers MISCONF. */
bool effect_admit(Out *out, size_t bytes);
/* The bytes of arguments in the journal. */
size_t effect_bytes(const Slice *argv, int argc);
/* The journal can't be written now. */
bool effect_in_trouble(void);

#endif
