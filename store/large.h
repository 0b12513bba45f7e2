/* large.h: values that have a record of their own in the checkpoint files, because they're too large to share a page.
 * keyspace.c tells of changes, checkpoint.c saves.
 *
 * Design. An entry whose `large` bit is set has a LargeValue in its database's table, by its key. The value's record is
 * named by an id that is never used again, and the entry's image in its page refers to it. Whatever replaces or renames
 * the entry forgets the LargeValue: the old record is garbage then, which the next checkpoint of each file removes.
 * They may be as many as the keys, so they are in a Table, which grows without a stall.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_LARGE_H
#define CKV_STORE_LARGE_H

#include "store/keyspace.h"
#include "store/pages.h"

typedef struct LargeValue {
    uint64_t id;
    uint32_t epoch[PAGE_FILES]; /* of the file when it was saved there */
    uint32_t sum[PAGE_FILES];   /* its record's checksum there; 0: there's none */
    bool dirty[PAGE_FILES];     /* it changed since */
    struct ValueCopy *copy;     /* the running checkpoint has yet to copy it; checkpoint.c's */
    size_t key_len;
    char key[];
} LargeValue;

/* The one of an entry whose `large` bit is set. */
LargeValue *large_find(const Db *db, Slice key);
/* Makes one, changed in both files, for an entry that has none. */
LargeValue *large_add(Db *db, Entry *entry, uint64_t id);
/* The entry's value is about to change. */
void large_touch(const Db *db, Slice key);
/* The entry goes, or is small now: its bit is cleared, and its records are garbage. */
void large_forget(Db *db, Entry *entry);
/* Visits all of a database's. */
void large_each(const Db *db, void (*visit)(const LargeValue *large));
/* All of a database's go, little by little; their records aren't looked at. */
void large_leave_all(Db *db);

/* Told of a LargeValue that goes (checkpoint.c). */
void checkpoint_forget_value(const LargeValue *large);
/* The same of one whose records are to stay where they are. */
void checkpoint_leave_value(const LargeValue *large);

#endif
