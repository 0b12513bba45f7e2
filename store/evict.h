/* evict.h: maxmemory: making room by deleting keys, as maxmemory-policy says. command.c calls it before commands,
 * CONFIG SET after a change.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_EVICT_H
#define CKV_STORE_EVICT_H

#include "store/keyspace.h"

/* Deletes keys until the memory in use is under options.maxmemory. False: it isn't, and no (further) key may go. */
bool evict_run(Keyspace *keyspace);

#endif
