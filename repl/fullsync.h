/* fullsync.h: snapshots for slaves that can't go on from where they are: finds or begins a checkpoint, has its RDB file
 * made, and sends it. repl/master.c calls it.
 *
 * Design. The newest whole checkpoint will do if the journal still reaches it and isn't much longer behind it;
 * otherwise one is begun (or the one that is running is waited for). Who came by SYNC gets what was there when it came:
 * it may take the snapshot, and leave. A thread makes the RDB file of it (syncfile.h).
 * Slaves that come while that is made or sent share it, on the same condition. So no process is forked and no memory is
 * copied, whatever the number of slaves.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_REPL_FULLSYNC_H
#define CKV_REPL_FULLSYNC_H

#include "repl/replica.h"

void fullsync_init(Loop *loop);
/* The slave is to be sent a snapshot: +FULLRESYNC goes out when it's known of which offset. */
void fullsync_begin(Replica *replica);
/* Its output has room for a piece. */
void fullsync_feed(Replica *replica);
/* It goes. */
void fullsync_leave(Replica *replica);
/* Once a second: what couldn't be begun is tried again. */
void fullsync_tick(void);

#endif
