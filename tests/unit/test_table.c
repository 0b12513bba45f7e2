/* test_table.c: store/table against a GHashTable under random operations, and its promises about scans and random
 * draws.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/table.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct Item {
    uint64_t key;
    uint32_t mark;
} Item;

static uint64_t weak_hash_bits = 64; /* fewer make chains long */

static uint64_t item_hash_of_key(uint64_t key)
{
    uint64_t hash = table_hash((Slice){ (const char *)&key, sizeof(key) });
    if (weak_hash_bits == 64) return hash;
    return hash & ((1ULL << weak_hash_bits) - 1);
}

static uint64_t item_hash(const void *element)
{
    return item_hash_of_key(((const Item *)element)->key);
}

static bool item_match(const void *element, Slice key)
{
    return memcmp(&((const Item *)element)->key, key.ptr, sizeof(uint64_t)) == 0;
}

static void **find(const Table *table, uint64_t key)
{
    return table_find(table, item_hash_of_key(key), (Slice){ (const char *)&key, sizeof(key) }, item_match);
}

static void add(Table *table, uint64_t key)
{
    Item *item = g_new0(Item, 1);
    item->key = key;
    table_insert(table, item_hash_of_key(key), item);
}

static void drop(Table *table, uint64_t key)
{
    void **slot = find(table, key);
    Item *item = *slot;
    assert_ptr_equal(table_find_pointer(table, item_hash_of_key(key), item), slot);
    table_remove(table, item_hash_of_key(key), slot);
    g_free(item);
}

static void free_item(void *element, void *context)
{
    (void)context;
    g_free(element);
}

static void table_drop_all(Table *table)
{
    table_each(table, free_item, NULL);
    table_free(table);
}

static void count_item(void *element, void *context)
{
    ((Item *)element)->mark++;
    ++*(size_t *)context;
}

/* Random inserts and removes, growing and shrinking in waves, agree with GHashTable. */
static void run_model(uint64_t hash_bits, unsigned steps, unsigned key_space)
{
    weak_hash_bits = hash_bits;
    Table table;
    table_init(&table, item_hash);
    GHashTable *model = g_hash_table_new(g_direct_hash, g_direct_equal);
    GRand *rand = g_rand_new_with_seed(4711);
    for (unsigned i = 0; i < steps; i++) {
        uint64_t key = (uint64_t)g_rand_int_range(rand, 1, (gint32)key_space);
        bool there = find(&table, key) != NULL;
        assert_int_equal(there, g_hash_table_contains(model, GSIZE_TO_POINTER(key)));
        bool growing = (i / (steps / 6)) % 2 == 0;
        if (!there && (growing || g_rand_int_range(rand, 0, 4) == 0)) {
            add(&table, key);
            g_hash_table_add(model, GSIZE_TO_POINTER(key));
        } else if (there && (!growing || g_rand_int_range(rand, 0, 4) == 0)) {
            drop(&table, key);
            g_hash_table_remove(model, GSIZE_TO_POINTER(key));
        }
        assert_int_equal(table.count, g_hash_table_size(model));
    }
    size_t seen = 0;
    table_each(&table, count_item, &seen);
    assert_int_equal(seen, table.count);
    for (uint64_t key = 1; key < key_space; key++) {
        if (find(&table, key) != NULL) drop(&table, key);
    }
    assert_int_equal(table.count, 0);
    assert_int_equal(table.buckets, 1U << TABLE_BASE_BITS);
    assert_int_equal(table.overflows, 0);
    table_drop_all(&table);
    g_hash_table_destroy(model);
    g_rand_free(rand);
    weak_hash_bits = 64;
}

static void test_model(void **state)
{
    (void)state;
    run_model(64, 300000, 20000);
}

/* Five bits of hash for thousands of keys: every bucket is a long chain, and nothing but the speed changes. */
static void test_model_with_collisions(void **state)
{
    (void)state;
    run_model(5, 30000, 1000);
}

typedef struct ScanCount {
    uint64_t stable_below; /* keys under this stay throughout */
    size_t visits;
} ScanCount;

static void count_stable(void *element, void *context)
{
    Item *item = element;
    ScanCount *scan = context;
    scan->visits++;
    if (item->key < scan->stable_below) item->mark++;
}

/* While thousands of others come and go, a scan returns each element that stays exactly once. */
static void test_scan_is_exact_while_resizing(void **state)
{
    (void)state;
    GRand *rand = g_rand_new_with_seed(99);
    for (unsigned round = 0; round < 30; round++) {
        Table table;
        table_init(&table, item_hash);
        uint64_t stable = 1 + (uint64_t)g_rand_int_range(rand, 0, 500), next = stable;
        for (uint64_t key = 0; key < stable; key++)
            add(&table, key);
        uint64_t low = next;
        bool grow_first = round % 2;
        if (!grow_first) {
            while (next < stable + 6000)
                add(&table, next++);
        }
        ScanCount scan = { stable, 0 };
        uint64_t cursor = 0;
        do {
            cursor = table_scan(&table, cursor, count_stable, &scan);
            int churn = g_rand_int_range(rand, 0, 60);
            for (int i = 0; i < churn; i++) {
                if (grow_first && next < stable + 3000) {
                    add(&table, next++);
                } else if (low < next) {
                    drop(&table, low++);
                }
            }
        } while (cursor != 0);
        for (uint64_t key = 0; key < stable; key++) {
            Item *item = *find(&table, key);
            assert_int_equal(item->mark, 1);
        }
        table_drop_all(&table);
    }
    g_rand_free(rand);
}

/* A cursor that never came from a scan is safe, and every scan ends. */
static void test_scan_takes_any_cursor(void **state)
{
    (void)state;
    Table table;
    table_init(&table, item_hash);
    for (uint64_t key = 0; key < 777; key++)
        add(&table, key);
    const uint64_t cursors[] = { 1, 5, 255, 256, 1ULL << 40, UINT64_MAX, UINT64_MAX - 1, 1ULL << 63 };
    for (size_t i = 0; i < G_N_ELEMENTS(cursors); i++) {
        size_t seen = 0, calls = 0;
        uint64_t cursor = cursors[i];
        do {
            cursor = table_scan(&table, cursor, count_item, &seen);
            assert_true(++calls <= table.buckets);
        } while (cursor != 0);
    }
    table_drop_all(&table);
}

/* Draws are even: 200 elements, 40,000 draws; the chi-square of 199 degrees stays below its 1-in-10^6 bound. */
static void test_random_is_even(void **state)
{
    (void)state;
    Table table;
    table_init(&table, item_hash);
    assert_null(table_random(&table));
    for (uint64_t key = 0; key < 200; key++)
        add(&table, key);
    for (unsigned i = 0; i < 40000; i++)
        ((Item *)table_random(&table))->mark++;
    double chi = 0;
    for (uint64_t key = 0; key < 200; key++) {
        double off = (double)((Item *)*find(&table, key))->mark - 200.0;
        chi += off * off / 200.0;
    }
    assert_true(chi < 310.0);
    table_drop_all(&table);
}

/* What DESIGN promises about memory: 16 to 20 bytes an element, chains rare, at whatever count. */
static void test_bytes_an_element(void **state)
{
    (void)state;
    Table table;
    table_init(&table, item_hash);
    for (uint64_t key = 0; key < 300000; key++) {
        add(&table, key);
        if (key < 50000 || key % 10007 != 0) continue;
        size_t in_use = ((size_t)table.buckets + table.overflows) * sizeof(Bucket);
        assert_true(in_use < 20 * table.count);
    }
    table_drop_all(&table);
}

int main(void)
{
    table_set_secret("an unguessable secret", 21);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_model_with_collisions),
        cmocka_unit_test(test_scan_is_exact_while_resizing),
        cmocka_unit_test(test_scan_takes_any_cursor),
        cmocka_unit_test(test_random_is_even),
        cmocka_unit_test(test_bytes_an_element),
    };
    return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
