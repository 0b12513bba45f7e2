/* carry.h: what a server carries over to the process that takes over from it, in one order on both sides: options,
 * figures, the journal's place, clients with all of their state. cmds/upgrade.c saves it, ckv.c has it restored.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_CARRY_H
#define CKV_CMDS_CARRY_H

#include <glib.h>

#include "base/tape.h"
#include "net/loop.h"
#include "store/journal.h"

/* The options as the file and the command line have them: once, before anything changes them. */
void carry_note_options(void);

/* ---- the old process ---- */

void carry_save_options(Tape *tape);
/* What goes with the clients. */
typedef struct Carried {
    int64_t begun_us, frozen_us; /* the monotonic clock, which both processes share */
    uint64_t asker;              /* the id of the client that is to be answered */
} Carried;
void carry_save(Tape *tape, GArray *fds, const JournalPlace *place, const Carried *carried);
/* A part of it: the clients, with their sessions. Appends their descriptors. */
void carry_save_clients(Tape *tape, GArray *fds);

/* ---- the new process ---- */

/* Says HELLO, and takes BEGIN. */
void carry_hello(void);
/* An option that was changed by CONFIG SET or SLAVEOF keeps that value, unless the file says another one than at the
 * old one's start; what can't change is refused. In the data directory. */
void carry_take_options(void);
/* All the rest, in two steps: up to PREPARED, and from there to SERVING; the loop may run then. Ends the program if it
 * can't be. After all are initialised, before any client. `ready` as persist_start's. */
void carry_prepare(Loop *loop, void (*ready)(void));
void carry_take_over(void);
/* A part of it: the clients, whose descriptors are those from the `first` on; returns how many it took. Bad tape: 0,
 * and some may have been. */
size_t carry_restore_clients(TapeReader *tape, const GArray *fds, size_t first);
/* The loop is about to run: answers who asked, and logs it. */
void carry_taken_over(void);

#endif
