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
 * Confirmation is back when a slave has confirmed all that was waited for in vain. With refuse, writes are also refused
 * while no slave is online: nothing is changed then, and the client knows.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_ACK_H
#define CKV_CMDS_ACK_H

#include "net/loop.h"
#include "net/out.h"

void ack_init(Loop *loop);

/* The offset up to which replies may leave, of those up to `safe`. */
uint64_t ack_gate(uint64_t safe);
/* Replies wait for this offset, from now on. */
void ack_awaited(uint64_t offset);
/* What was awaited is no more: the journal ends, or goes on elsewhere. */
void ack_forget(void);
/* Whether a write may be confirmed; if not, answers NOREPLICAS. */
bool ack_admits(Out *out);

/* For INFO: confirmation is lost; connections that were closed for it. */
bool ack_is_lost(void);
uint64_t ack_closed(void);

#endif
