/* large.c: see large.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/large.h"

#include <glib.h>

#include "store/grave.h"

static Slice large_key(const LargeValue *large)
{
    return (Slice){ large->key, large->key_len };
}

static uint64_t large_hash(const void *element)
{
    return table_hash(large_key(element));
}

static bool large_matches(const void *element, Slice key)
{
    return slice_equal(large_key(element), key);
}

static void **large_slot(const Db *db, Slice key)
{
    void **slot = table_find(db->large, table_hash(key), key, large_matches);
    g_assert(slot != NULL);
    return slot;
}

LargeValue *large_find(const Db *db, Slice key)
{
    return *large_slot(db, key);
}

LargeValue *large_add(Db *db, Entry *entry, uint64_t id)
{
    g_assert(!entry->large);
    if (db->large == NULL) {
        db->large = g_new(Table, 1);
        table_init(db->large, large_hash);
    }
    Slice key = entry_key(entry);
    LargeValue *large = g_malloc(sizeof(LargeValue) + key.len);
    *large = (LargeValue){ .id = id, .dirty = { true, true }, .key_len = key.len };
    if (key.len > 0) memcpy(large->key, key.ptr, key.len);
    table_insert(db->large, table_hash(key), large);
    entry->large = 1;
    return large;
}

void large_touch(const Db *db, Slice key)
{
    LargeValue *large = large_find(db, key);
    large->dirty[0] = large->dirty[1] = true;
}

void large_forget(Db *db, Entry *entry)
{
    Slice key = entry_key(entry);
    void **slot = large_slot(db, key);
    LargeValue *large = *slot;
    checkpoint_forget_value(large);
    table_remove(db->large, table_hash(key), slot);
    g_free(large);
    entry->large = 0;
}

typedef void (*LargeVisit)(const LargeValue *large);

static void visit_large(void *element, void *context)
{
    (*(const LargeVisit *)context)(element);
}

void large_each(const Db *db, void (*visit)(const LargeValue *large))
{
    if (db->large != NULL) table_each(db->large, visit_large, (void *)&visit);
}

static void visit_leave(void *element, void *context)
{
    (void)context;
    checkpoint_leave_value(element);
    g_free(element);
}

void large_leave_all(Db *db)
{
    if (db->large != NULL) grave_take_table(g_steal_pointer(&db->large), visit_leave, sizeof(LargeValue));
}
