/* large.c: see large.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/large.h"

static guint large_hash(gconstpointer key)
{
    const LargeValue *large = key;
    return (guint)table_hash((Slice){ large->key, large->key_len });
}

static gboolean large_equal(gconstpointer a, gconstpointer b)
{
    const LargeValue *x = a, *y = b;
    return x->key_len == y->key_len && memcmp(x->key, y->key, x->key_len) == 0;
}

static LargeValue *large_new(Slice key)
{
    LargeValue *large = g_malloc0(sizeof(LargeValue) + key.len);
    large->key_len = key.len;
    if (key.len > 0) memcpy(large->key, key.ptr, key.len);
    return large;
}

LargeValue *large_find(const Db *db, Slice key)
{
    g_autofree LargeValue *probe = large_new(key);
    LargeValue *large = g_hash_table_lookup(db->large, probe);
    g_assert(large != NULL);
    return large;
}

LargeValue *large_add(Db *db, Entry *entry, uint64_t id)
{
    g_assert(!entry->large);
    if (db->large == NULL) db->large = g_hash_table_new_full(large_hash, large_equal, g_free, NULL);
    LargeValue *large = large_new(entry_key(entry));
    large->id = id;
    large->dirty[0] = large->dirty[1] = true;
    bool added = g_hash_table_add(db->large, large);
    g_assert(added);
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
    LargeValue *large = large_find(db, entry_key(entry));
    checkpoint_forget_value(large);
    g_hash_table_remove(db->large, large);
    entry->large = 0;
}

void large_forget_all(Db *db)
{
    if (db->large == NULL) return;
    GHashTableIter iter;
    gpointer large;
    g_hash_table_iter_init(&iter, db->large);
    while (g_hash_table_iter_next(&iter, &large, NULL))
        checkpoint_forget_value(large);
    g_clear_pointer(&db->large, g_hash_table_destroy);
}
