/* compact.h: gives memory back that deleted keys leave scattered: what is left is moved together, so that whole pages
 * become free. The server's timers call it.
 *
 * Design. The allocator keeps blocks of one size in slabs of a few pages, and a single block pins its slab: after nine
 * of ten keys were deleted at random, hardly a page is free. When too much is wasted in that way (compact_look), a pass
 * goes through all databases in slices and moves entries, and values of one block, out of slabs that are emptier than
 * the average into those being filled (mem_move). While it does so
 * the average rises, so a pass or two will do. Passes that gain little become rare, and end when there's nothing to be
 * moved.
 *
 * Only entries and small collections move: the elements of big ones stay where they are.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_COMPACT_H
#define CKV_STORE_COMPACT_H

#include "store/keyspace.h"

/* Begins a pass if none is under way and enough memory is wasted. Takes some ten microseconds: some times a second at
 * most. */
void compact_look(void);

/* Goes on with the pass for about `budget_us`, at least a little. True while it's under way. Between commands only:
 * entries move. */
bool compact_run(Keyspace *keyspace, int64_t budget_us);

#endif
