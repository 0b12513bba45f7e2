/* test_grave.c: store/grave: everything that is taken gets freed, in small steps, and eviction waits for it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/grave.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/options.h"
#include "store/evict.h"
#include "store/hash.h"
#include "store/keyspace.h"
#include "store/list.h"
#include "store/mem.h"
#include "store/set.h"
#include "store/zset.h"

#define BIG 30000

/* What one look at the clock allows: 16 buckets of four elements on average, and luck. */
#define STEP_ELEMENTS_MAX 160

static Slice name_of(unsigned i, char *buffer)
{
    return (Slice){ buffer, (size_t)g_snprintf(buffer, 32, "member:%u", i) };
}

static void *make_object(ValueType type, unsigned count)
{
    List *list = type == TYPE_LIST ? list_new() : NULL;
    Set *set = type == TYPE_SET ? set_new() : NULL;
    Zset *zset = type == TYPE_ZSET ? zset_new() : NULL;
    Hash *hash = type == TYPE_HASH ? hash_new() : NULL;
    for (unsigned i = 0; i < count; i++) {
        char buffer[32];
        Slice name = name_of(i, buffer);
        double score = i % 100;
        if (list != NULL) list_push(&list, LIST_TAIL, name);
        if (set != NULL) set_add(&set, set_member(name));
        if (zset != NULL) zset_add(&zset, name, &score, 0);
        if (hash != NULL) hash_set(&hash, name, SLICE("some value or other"));
    }
    return list != NULL ? (void *)list : set != NULL ? (void *)set : zset != NULL ? (void *)zset : (void *)hash;
}

/* What is left of an object that is partly freed. */
static size_t left_of(ValueType type, const void *object)
{
    switch (type) {
    case TYPE_LIST: return list_chunks(object);
    case TYPE_SET: return set_elements(object)->table.count;
    case TYPE_ZSET: return zset_table(object)->count;
    default: return hash_elements(object)->table.count;
    }
}

static void check_slices(ValueType type, unsigned count)
{
    size_t used_before = mem_used();
    void *object = make_object(type, count);
    size_t used = mem_used() - used_before, all = left_of(type, object);
    grave_take(type, object);
    assert_true(grave_bytes() > used / 2 && grave_bytes() < used * 2);
    size_t left = left_of(type, object), steps = 0;
    assert_true(all - left <= STEP_ELEMENTS_MAX);
    for (size_t bytes = grave_bytes(); grave_step(0); steps++) {
        size_t left_now = left_of(type, object);
        assert_true(left - left_now <= STEP_ELEMENTS_MAX);
        assert_true(grave_bytes() <= bytes);
        left = left_now;
        bytes = grave_bytes();
    }
    assert_true(steps > all / STEP_ELEMENTS_MAX);
    assert_int_equal(grave_bytes(), 0);
    assert_true(mem_used() <= used_before + 4096);
}

static void test_slices(void **state)
{
    (void)state;
    check_slices(TYPE_LIST, 20 * BIG);
    for (ValueType type = TYPE_SET; type <= TYPE_HASH; type++) {
        check_slices(type, BIG);
        check_slices(type, 1000);
    }
    assert_false(grave_step(1000));
}

static void test_small(void **state)
{
    (void)state;
    size_t used_before = mem_used();
    for (ValueType type = TYPE_LIST; type <= TYPE_HASH; type++) {
        static const unsigned counts[] = { 0, 1, 10, 60 };
        for (size_t i = 0; i < G_N_ELEMENTS(counts); i++)
            grave_take(type, make_object(type, counts[i]));
    }
    assert_int_equal(grave_bytes(), 0);
    assert_true(mem_used() <= used_before + 4096);
}

/* Removing most elements makes the table give back buckets; one right above a border still has a spare segment. */
static void test_shrunken(void **state)
{
    (void)state;
    size_t used_before = mem_used();
    static const unsigned kept[] = { 0, 1, 40, 1000, 8100, 8200, 12000, 16384, 20000, BIG - 1 };
    for (size_t i = 0; i < G_N_ELEMENTS(kept); i++) {
        Hash *hash = make_object(TYPE_HASH, BIG);
        char buffer[32];
        for (unsigned k = kept[i]; k < BIG; k++)
            hash_remove(&hash, name_of(k, buffer));
        assert_int_equal(hash_length(hash), kept[i]);
        grave_take(TYPE_HASH, hash);
        grave_drain();
        assert_true(mem_used() <= used_before + 4096);
    }
}

/* ---- databases ---- */

static size_t freed;

static void free_counted(void *element, void *context)
{
    (void)context;
    freed++;
    g_free(element);
}

static uint64_t counter_hash(const void *element)
{
    return table_hash((Slice){ (const char *)&((const Entry *)element)->number, sizeof(int64_t) });
}

/* Something that the grave takes for an entry. */
static void *counter_new(unsigned i)
{
    Entry *entry = g_new0(Entry, 1);
    entry->encoding = STRING_INT;
    entry->number = i;
    return entry;
}

/* Big enough for segments that are mapped, and given back, in pieces. */
static void check_table(unsigned count, unsigned kept)
{
    size_t used_before = mem_used();
    Table table;
    Wheel wheel;
    table_init(&table, counter_hash);
    wheel_init(&wheel, clock_unix_ms);
    Entry **entries = g_new(Entry *, count);
    for (unsigned i = 0; i < count; i++) {
        entries[i] = counter_new(i);
        table_insert(&table, counter_hash(entries[i]), entries[i]);
    }
    for (unsigned i = kept; i < count; i++) {
        uint64_t hash = counter_hash(entries[i]);
        table_remove(&table, hash, table_find_pointer(&table, hash, entries[i]));
        g_free(entries[i]);
    }
    g_free(entries);
    freed = 0;
    grave_take_db(&table, &wheel, free_counted);
    for (size_t before = freed; grave_step(0); before = freed)
        assert_true(freed - before <= STEP_ELEMENTS_MAX);
    assert_int_equal(freed, kept);
    assert_int_equal(grave_bytes(), 0);
    assert_true(mem_used() <= used_before + 4096);
}

static void test_big_table(void **state)
{
    (void)state;
    static const unsigned counts[] = { 0, 31, 32, 33, 1100, 131072, 131073, 131100, 300000, 800000, 1048577 };
    for (size_t i = 0; i < G_N_ELEMENTS(counts); i++) {
        check_table(counts[i], counts[i]);
        check_table(counts[i], counts[i] / 2);
        check_table(counts[i], counts[i] / 10);
    }
}

static void fill(Db *db, unsigned keys, unsigned big)
{
    char buffer[32];
    for (unsigned i = 0; i < keys; i++) {
        Slice key = name_of(i, buffer);
        if (i % 3 == 0)
            keyspace_put_string_until(db, key, SLICE("a value of the usual length, more or less"),
                                      clock_unix_ms + (1LL << (10 + i % 20)));
        else
            keyspace_put_int(db, key, i);
    }
    for (unsigned i = 0; i < big; i++) {
        Slice key = name_of(keys + i, buffer);
        ValueType type = TYPE_LIST + i % 4;
        keyspace_put_object(db, key, type, make_object(type, 2000));
        keyspace_set_deadline(db, keyspace_write(db, key), INT64_MAX);
    }
}

static void test_flush(void **state)
{
    (void)state;
    Keyspace *ks = keyspace_new(2);
    Db *db = &ks->dbs[1];
    fill(&ks->dbs[0], 1, 0);
    size_t used_before = mem_used();
    fill(db, 400000, 0);
    size_t used = mem_used() - used_before;
    assert_int_equal(keyspace_flush(db), 400000);
    assert_true(grave_bytes() > used / 2 && grave_bytes() < used * 2);
    grave_drain();
    fill(db, 50000, 200);
    assert_int_equal(keyspace_flush(db), 50200);
    assert_int_equal(keyspace_size(db), 0);
    assert_int_equal(db->wheel.count, 0);
    /* The database is used on. */
    fill(db, 100, 3);
    while (grave_step(0))
        assert_true(grave_bytes() > 0);
    assert_int_equal(grave_bytes(), 0);
    assert_int_equal(keyspace_size(db), 103);
    assert_int_equal(keyspace_flush(db), 103);
    grave_drain();
    assert_true(mem_used() <= used_before + 65536);
    keyspace_free(ks);
}

/* At exit nothing waits. */
static void test_at_exit(void **state)
{
    (void)state;
    size_t used_before = mem_used();
    Keyspace *ks = keyspace_new(1);
    fill(&ks->dbs[0], 20000, 20);
    keyspace_flush(&ks->dbs[0]);
    fill(&ks->dbs[0], 20000, 20);
    keyspace_free(ks);
    assert_int_equal(grave_bytes(), 0);
    assert_true(mem_used() <= used_before + 65536);
}

static void test_replaced(void **state)
{
    (void)state;
    Keyspace *ks = keyspace_new(1);
    Db *db = &ks->dbs[0];
    keyspace_put_object(db, SLICE("a"), TYPE_HASH, make_object(TYPE_HASH, BIG));
    keyspace_put_int(db, SLICE("a"), 1);
    assert_true(grave_bytes() > BIG * 20);
    grave_drain();
    keyspace_put_object(db, SLICE("b"), TYPE_SET, make_object(TYPE_SET, BIG));
    keyspace_rename(db, keyspace_write(db, SLICE("a")), db, SLICE("b"));
    assert_true(grave_bytes() > BIG * 10);
    grave_drain();
    keyspace_put_object(db, SLICE("c"), TYPE_ZSET, make_object(TYPE_ZSET, BIG));
    keyspace_set_deadline(db, keyspace_write(db, SLICE("c")), clock_unix_ms - 1);
    assert_null(keyspace_peek(db, SLICE("c")));
    assert_true(grave_bytes() > BIG * 10);
    keyspace_free(ks);
}

static void test_eviction_waits(void **state)
{
    (void)state;
    Keyspace *ks = keyspace_new(1);
    Db *db = &ks->dbs[0];
    fill(db, 10000, 0);
    keyspace_put_object(db, SLICE("a"), TYPE_HASH, make_object(TYPE_HASH, 10 * BIG));
    options.maxmemory = (int64_t)mem_used() - 1000000;
    options.maxmemory_policy = EVICT_ALLKEYS_RANDOM;
    options.maxmemory_samples = 5;
    assert_true(keyspace_delete(db, SLICE("a")));
    for (int i = 0; i < 1000000 && mem_used() > (size_t)options.maxmemory; i++)
        assert_true(evict_run(ks));
    assert_true(mem_used() <= (size_t)options.maxmemory);
    assert_int_equal(ks->evicted, 0);
    /* Enough is free: what is left isn't hurried. */
    assert_true(grave_bytes() > 0);
    grave_drain();
    /* A big value makes as much room as it takes, though it's freed bit by bit. */
    keyspace_put_object(db, SLICE("z"), TYPE_HASH, make_object(TYPE_HASH, 10 * BIG));
    options.maxmemory = (int64_t)mem_used() - 1000;
    keyspace_evict(db, keyspace_write(db, SLICE("z")));
    assert_true(evict_run(ks));
    assert_int_equal(ks->evicted, 1);
    options.maxmemory = 0;
    keyspace_free(ks);
}

int main(void)
{
    table_set_secret("an unguessable secret", 21);
    clock_unix_ms = 1500000000000;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slices),    cmocka_unit_test(test_small),          cmocka_unit_test(test_shrunken),
        cmocka_unit_test(test_big_table), cmocka_unit_test(test_flush),          cmocka_unit_test(test_at_exit),
        cmocka_unit_test(test_replaced),  cmocka_unit_test(test_eviction_waits),
    };
    options.hash_max_ziplist_entries = options.set_max_intset_entries = 512;
    options.zset_max_ziplist_entries = 128;
    options.hash_max_ziplist_value = options.zset_max_ziplist_value = 64;
    options.list_max_ziplist_size = -2;
    return cmocka_run_group_tests_name("grave", tests, NULL, NULL);
}
