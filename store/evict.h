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

/* Frees what was deleted (grave.h), and then deletes keys, until the memory in use is within options.maxmemory, or for
 * about a millisecond: the next call goes on. False: too much is in use, and no (further) key may go. */
bool evict_run(Keyspace *keyspace);

/* Frees the pool of a keyspace that ends. */
void evict_forget(Keyspace *keyspace);

#endif
