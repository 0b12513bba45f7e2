/* ack.h: `ack slave`: replies to writes wait until a slave has confirmed them. Asked by effect.c, which keeps the reply
 * gate, and by command.c before writes.
 *
 * Design. With `ack slave` a reply leaves the gate when it's safe here (as `fsync` says) and one online slave has
 * confirmed its offset. If none does within ack-timeout, confirmation is lost, and ack-timeout-policy says what then:
 *
 *   refuse    The replies that waited can't be taken back into errors: the writes are in the journal, and a slave may
 *             have them. So these clients' connections are closed with the replies unsent, which every client takes for
 *             "unknown". Further writes get -NOREPLICAS, before anything is changed.
 *   degrade   The replies leave, and further ones don't wait: as with `ack local`. The log says so.
 *
 * A pair's slave that is made master has no slave for a while: nobody could write until its old master is back. So with
 * `ack-alone-if-promoted yes` it does without until a slave is online and has confirmed all that there was when it
 * came. From then on, and after a restart, it wants confirmations like any other master. That's safe as long as whoever
 * makes it master (Sentinel) has found the old one dead or cut off, which then has no slave, and so answers no write.
 *
 * Confirmation is back when a slave has confirmed all that was waited for in vain. With refuse, writes are also refused
 * while no slave is online: nothing is changed then, and the client knows.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_ACK_H
#define CKV_CMDS_ACK_H

#include "base/tape.h"
#include "net/loop.h"
#include "net/out.h"

void ack_init(Loop *loop);

/* The offset up to which replies may leave, of those up to `safe`. */
uint64_t ack_gate(uint64_t safe);
/* Replies wait for this offset, from now on. */
void ack_awaited(uint64_t offset);
/* What was awaited is no more: the journal ends. */
void ack_forget(void);
/* This server follows a master, and no slave's confirmation is worth anything here: with `ack slave`, who waits for one
 * is closed without a reply. */
void ack_demoted(void);
/* This server was a slave and is a master now. */
void ack_promoted(void);

/* Whether a write may be confirmed; if not, answers NOREPLICAS. */
bool ack_admits(Out *out);

/* For INFO: confirmation is lost; none is wanted yet after a promotion; connections that were closed for want of one.
 */
bool ack_is_lost(void);
bool ack_is_alone(void);
uint64_t ack_closed(void);

/* All of it, for the process that takes over. */
void ack_save(Tape *tape);
void ack_restore(TapeReader *tape);

#endif
