/* evict.h: maxmemory: making room by deleting keys, as maxmemory-policy says. command.c calls it before commands,
 * CONFIG SET after a change.
 *
 * Design. The LRU policies approximate: for each key that goes, options.maxmemory_samples keys or some more are drawn
 * and offered to a pool of the 16 idlest seen so far; the idlest of these goes, if it's still there and wasn't used
 * since. The pool outlives the call, as in Redis 3.2, but is one for all databases, so it's the idlest of them all that
 * go. It keeps copies of names, since entries move. volatile-ttl asks the wheels and needs no samples.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_EVICT_H
#define CKV_STORE_EVICT_H

#include "store/keyspace.h"

/* The memory that counts for maxmemory: without what waits to be written to disk, which isn't the data's. */
size_t evict_used(void);

/* Frees what was deleted (grave.h), and then deletes keys, until the memory in use is within options.maxmemory, or
 * until that took about a millisecond of this turn of the loop: the next turn goes on, and a call after that time does
 * only a little. False: too much is in use, and no (further) key may go. */
bool evict_run(Keyspace *keyspace);
/* The same, for a command that needs memory. */
bool evict_for_command(Keyspace *keyspace);

/* Whether it has had its time in this turn. */
bool evict_is_pressed(void);
/* Whether so little was enough for a command that needs memory that the others had better wait for the next turn. */
bool evict_is_behind(void);
/* The turn has ended. */
void evict_end_turn(void);

/* Frees the pool of a keyspace that ends. */
void evict_forget(Keyspace *keyspace);

#endif
