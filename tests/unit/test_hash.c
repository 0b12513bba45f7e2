/* test_hash.c: store/hash against a GHashTable under random operations, and its promises about order, encodings, scans
 * and memory.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/hash.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/options.h"
#include "store/mem.h"

#define SEED 20260102

static GRand *randomness;

static int setup(void **state)
{
    (void)state;
    options.hash_max_ziplist_entries = 512;
    options.hash_max_ziplist_value = 64;
    randomness = g_rand_new_with_seed(SEED);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    g_rand_free(randomness);
    return 0;
}

static char *value_string(PackValue value)
{
    char digits[NUMBER_INT_CHARS];
    Slice bytes = pack_value_text(value, digits);
    return g_strndup(bytes.ptr, bytes.len);
}

static bool set_strings(Hash **hash, const char *field, const char *value)
{
    const Slice texts[] = { slice_of(field), slice_of(value) };
    hash_admit(hash, texts, 2);
    return hash_set(hash, texts[0], texts[1]);
}

static void assert_value(const Hash *hash, const char *field, const char *expected)
{
    PackValue value;
    bool found = hash_get(hash, slice_of(field), &value);
    assert_int_equal(found, expected != NULL);
    assert_int_equal(hash_has(hash, slice_of(field)), found);
    if (!found) return;
    char *got = value_string(value);
    assert_string_equal(got, expected);
    g_free(got);
}

/* ---- against the model ---- */

static char *draw_text(const char *prefix, int spread)
{
    int n = g_rand_int_range(randomness, 0, spread);
    switch (n % 5) {
    case 0: return g_strdup_printf("%d", n);
    case 1: return g_strdup_printf("%s%0*d", prefix, 20 + n % 40, n);
    default: return g_strdup_printf("%s%d", prefix, n);
    }
}

static void note_pair(HashPair pair, void *context)
{
    GHashTable *seen = context;
    assert_true(g_hash_table_insert(seen, value_string(pair.field), value_string(pair.value))); /* each once */
}

static void assert_tables_equal(GHashTable *a, GHashTable *b)
{
    assert_int_equal(g_hash_table_size(a), g_hash_table_size(b));
    GHashTableIter iter;
    g_hash_table_iter_init(&iter, a);
    for (void *key, *value; g_hash_table_iter_next(&iter, &key, &value);)
        assert_string_equal(value, g_hash_table_lookup(b, key));
}

static void assert_same(const Hash *hash, GHashTable *model)
{
    assert_int_equal(hash_length(hash), g_hash_table_size(model));
    GHashTable *seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    HashWalk walk = hash_walk(hash);
    for (HashPair pair; hash_next(&walk, &pair);)
        note_pair(pair, seen);
    assert_tables_equal(model, seen);
    g_hash_table_remove_all(seen);
    uint64_t cursor = 0;
    do
        cursor = hash_scan(hash, cursor, note_pair, seen);
    while (cursor != 0);
    assert_tables_equal(model, seen);
    g_hash_table_destroy(seen);
}

/* Looks up a batch of fields, there or not. */
static void assert_batch(const Hash *hash, GHashTable *model, int spread)
{
    char *names[HASH_BATCH];
    Slice fields[HASH_BATCH];
    PackValue values[HASH_BATCH];
    for (int i = 0; i < HASH_BATCH; i++) {
        names[i] = draw_text("f", spread);
        fields[i] = slice_of(names[i]);
    }
    uint32_t found = hash_get_many(hash, fields, HASH_BATCH, values);
    for (int i = 0; i < HASH_BATCH; i++) {
        const char *expected = g_hash_table_lookup(model, names[i]);
        assert_int_equal((found >> i) & 1, expected != NULL);
        if (expected != NULL) {
            char *got = value_string(values[i]);
            assert_string_equal(got, expected);
            g_free(got);
        }
        g_free(names[i]);
    }
}

static void run_against_model(int operations, int spread, int sets)
{
    Hash *hash = hash_new();
    GHashTable *model = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    for (int i = 0; i < operations; i++) {
        char *field = draw_text("f", spread), *value = draw_text("value-", 100000);
        assert_value(hash, field, g_hash_table_lookup(model, field));
        if (g_rand_int_range(randomness, 0, 10) < sets) {
            assert_int_equal(set_strings(&hash, field, value), !g_hash_table_contains(model, field));
            g_hash_table_insert(model, g_strdup(field), g_strdup(value));
            assert_value(hash, field, value);
        } else {
            assert_int_equal(hash_remove(&hash, slice_of(field)), g_hash_table_remove(model, field));
        }
        g_free(field);
        g_free(value);
        if (i % (operations / 40) != 0) continue;
        assert_same(hash, model);
        assert_batch(hash, model, spread);
    }
    assert_same(hash, model);
    hash_free(hash);
    g_hash_table_destroy(model);
}

static void behaves_as_the_model(void **state)
{
    (void)state;
    run_against_model(4000, 30, 5);
    run_against_model(8000, 2000, 7);
    run_against_model(40000, 40000, 8);
}

/* ---- order and encodings ---- */

static void small_hash_keeps_the_order_of_first_setting(void **state)
{
    (void)state;
    Hash *hash = hash_new();
    assert_true(set_strings(&hash, "c", "1"));
    assert_true(set_strings(&hash, "a", "2"));
    assert_true(set_strings(&hash, "b", "3"));
    assert_false(set_strings(&hash, "a", "a longer value than before"));
    assert_false(set_strings(&hash, "c", ""));
    assert_true(hash_remove(&hash, SLICE("b")));
    assert_true(set_strings(&hash, "d", "4"));
    assert_true(set_strings(&hash, "b", "5"));
    static const char *const expected[] = { "c", "", "a", "a longer value than before", "d", "4", "b", "5" };
    HashWalk walk = hash_walk(hash);
    HashPair pair;
    for (size_t i = 0; i < G_N_ELEMENTS(expected); i += 2) {
        assert_true(hash_next(&walk, &pair));
        char *field = value_string(pair.field), *value = value_string(pair.value);
        assert_string_equal(field, expected[i]);
        assert_string_equal(value, expected[i + 1]);
        g_free(field);
        g_free(value);
    }
    assert_false(hash_next(&walk, &pair));
    hash_free(hash);
}

static void a_value_is_not_taken_for_a_field(void **state)
{
    (void)state;
    Hash *hash = hash_new();
    assert_true(set_strings(&hash, "f", "g"));
    assert_value(hash, "g", NULL);
    assert_true(set_strings(&hash, "g", "f"));
    assert_value(hash, "f", "g");
    assert_value(hash, "g", "f");
    hash_free(hash);
}

static void encoding_follows_entries_and_lengths(void **state)
{
    (void)state;
    Hash *hash = hash_new();
    char field[32];
    for (int i = 0; i < 512; i++) {
        snprintf(field, sizeof(field), "f%d", i);
        assert_true(set_strings(&hash, field, "v"));
    }
    assert_string_equal(hash_encoding(hash), "ziplist");
    assert_false(set_strings(&hash, "f1", "w"));
    assert_string_equal(hash_encoding(hash), "ziplist");
    assert_true(set_strings(&hash, "more", "v"));
    assert_string_equal(hash_encoding(hash), "hashtable");
    assert_value(hash, "f1", "w");
    assert_value(hash, "more", "v");
    assert_int_equal(hash_length(hash), 513);
    hash_free(hash);

    char *limit = g_strnfill(64, 'x'), *longer = g_strnfill(65, 'x');
    hash = hash_new();
    set_strings(&hash, limit, limit);
    assert_string_equal(hash_encoding(hash), "ziplist");
    hash_set(&hash, SLICE("unadmitted"), slice_of(longer));
    assert_string_equal(hash_encoding(hash), "ziplist");
    set_strings(&hash, "f", longer);
    assert_string_equal(hash_encoding(hash), "hashtable");
    assert_value(hash, limit, limit);
    assert_value(hash, "unadmitted", longer);
    set_strings(&hash, "f", "short");
    assert_string_equal(hash_encoding(hash), "hashtable");
    assert_value(hash, "f", "short");
    hash_free(hash);
    g_free(limit);
    g_free(longer);
}

static void values_of_every_length_replace_each_other(void **state)
{
    (void)state;
    static const size_t lengths[] = { 0, 1, 127, 128, 16383, 16384, 2000000, 5, 5, 128, 0 };
    Hash *hash = hash_new();
    char *bytes = g_strnfill(2000000, 'v');
    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
        const Slice texts[] = { SLICE("f"), { bytes, lengths[i] } };
        hash_admit(&hash, texts, 2);
        hash_set(&hash, texts[0], texts[1]);
        set_strings(&hash, "other", "o");
        PackValue value;
        assert_true(hash_get(hash, SLICE("f"), &value));
        assert_true(slice_equal(value.text, texts[1]));
        assert_value(hash, "other", "o");
    }
    g_free(bytes);
    hash_free(hash);
}

static void a_pack_of_64_mb_is_left_for_a_table(void **state)
{
    (void)state;
    options.hash_max_ziplist_value = INT64_MAX;
    Hash *hash = hash_new();
    char *bytes = g_strnfill(20 << 20, 'v');
    char field[2] = "a";
    for (; field[0] <= 'd'; field[0]++) {
        assert_string_equal(hash_encoding(hash), "ziplist");
        set_strings(&hash, field, bytes);
    }
    assert_string_equal(hash_encoding(hash), "hashtable");
    assert_value(hash, "a", bytes);
    assert_value(hash, "d", bytes);
    g_free(bytes);
    hash_free(hash);
}

/* ---- memory ---- */

static void a_field_of_14_bytes_with_16_takes_at_most_60(void **state)
{
    (void)state;
    enum { FIELDS = 1000000 };
    size_t before = mem_used();
    Hash *hash = hash_new();
    char field[32], value[32];
    for (int i = 0; i < FIELDS; i++) {
        snprintf(field, sizeof(field), "field:%08d", i);
        snprintf(value, sizeof(value), "value:%010d", i);
        set_strings(&hash, field, value);
    }
    size_t used = mem_used() - before;
    print_message("%.1f bytes a field of 14 bytes with 16\n", (double)used / FIELDS);
    assert_true(used <= (size_t)60 * FIELDS);
    assert_in_range(hash_bytes(hash), used * 9 / 10, used * 11 / 10);
    hash_free(hash);
}

static void ten_small_fields_take_at_most_370(void **state)
{
    (void)state;
    enum { HASHES = 10000, FIELDS = 10 };
    size_t before = mem_used();
    Hash **hashes = g_new(Hash *, HASHES);
    for (int i = 0; i < HASHES; i++) {
        hashes[i] = hash_new();
        for (int f = 0; f < FIELDS; f++) {
            char field[32], value[32];
            snprintf(field, sizeof(field), "field:%d", f);
            snprintf(value, sizeof(value), "value:%06d", i);
            set_strings(&hashes[i], field, value);
        }
    }
    double each = (double)(mem_used() - before) / HASHES;
    print_message("%.1f bytes a hash of 10 fields of 7 bytes with 12, without its key\n", each);
    assert_true(each <= 290); /* leaves 80 for the key */
    for (int i = 0; i < HASHES; i++)
        hash_free(hashes[i]);
    g_free(hashes);
}

int main(void)
{
    print_message("seed %d\n", SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(behaves_as_the_model, setup, teardown),
        cmocka_unit_test_setup_teardown(small_hash_keeps_the_order_of_first_setting, setup, teardown),
        cmocka_unit_test_setup_teardown(a_value_is_not_taken_for_a_field, setup, teardown),
        cmocka_unit_test_setup_teardown(encoding_follows_entries_and_lengths, setup, teardown),
        cmocka_unit_test_setup_teardown(values_of_every_length_replace_each_other, setup, teardown),
        cmocka_unit_test_setup_teardown(a_pack_of_64_mb_is_left_for_a_table, setup, teardown),
        cmocka_unit_test_setup_teardown(a_field_of_14_bytes_with_16_takes_at_most_60, setup, teardown),
        cmocka_unit_test_setup_teardown(ten_small_fields_take_at_most_370, setup, teardown),
    };
    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
