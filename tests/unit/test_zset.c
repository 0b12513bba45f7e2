/* test_zset.c: store/zset against a sorted array under random operations, small and big; where it becomes big; scores
 * that are hard to keep.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/zset.h"

#include <glib.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/options.h"

typedef struct Item {
    double score;
    char *member;
} Item;

typedef struct Model {
    Zset *zset;
    GPtrArray *sorted; /* of Item */
} Model;

static GRand *dice;

static void item_free(void *item)
{
    g_free(((Item *)item)->member);
    g_free(item);
}

static int item_compare(double score, const char *member, const Item *item)
{
    if (score != item->score) return score < item->score ? -1 : 1;
    return strcmp(member, item->member);
}

static void model_init(Model *model)
{
    model->zset = zset_new();
    model->sorted = g_ptr_array_new_with_free_func(item_free);
}

static void model_free(Model *model)
{
    zset_free(model->zset);
    g_ptr_array_free(model->sorted, TRUE);
}

static const Item *model_at(const Model *model, guint i)
{
    return g_ptr_array_index(model->sorted, i);
}

static int model_find(const Model *model, const char *member)
{
    for (guint i = 0; i < model->sorted->len; i++) {
        if (strcmp(model_at(model, i)->member, member) == 0) return (int)i;
    }
    return -1;
}

static void model_insert(Model *model, double score, const char *member)
{
    guint place = 0;
    while (place < model->sorted->len && item_compare(score, member, model_at(model, place)) > 0)
        place++;
    Item *item = g_new(Item, 1);
    *item = (Item){ score, g_strdup(member) };
    g_ptr_array_insert(model->sorted, (gint)place, item);
}

static void check_add(Model *model, double score, const char *member, unsigned flags)
{
    int place = model_find(model, member);
    ZsetChange expected = ZSET_ADDED;
    double wanted = score;
    if (place >= 0) {
        double old = model_at(model, (guint)place)->score;
        if (flags & ZSET_INCR) wanted += old;
        expected = flags & ZSET_NX ? ZSET_KEPT : isnan(wanted) ? ZSET_NAN : wanted == old ? ZSET_SAME : ZSET_UPDATED;
    } else if (flags & ZSET_XX) {
        expected = ZSET_KEPT;
    }
    assert_int_equal(zset_add(&model->zset, slice_of(member), &score, flags), expected);
    if (expected == ZSET_UPDATED) g_ptr_array_remove_index(model->sorted, (guint)place);
    if (expected == ZSET_ADDED || expected == ZSET_UPDATED) {
        model_insert(model, wanted, member);
        assert_true(score == wanted);
    }
}

static void check_remove(Model *model, const char *member)
{
    int place = model_find(model, member);
    assert_int_equal(zset_remove(&model->zset, slice_of(member)), place >= 0);
    if (place >= 0) g_ptr_array_remove_index(model->sorted, (guint)place);
}

static void check_pair(ZsetPair pair, const Item *item)
{
    char digits[NUMBER_INT_CHARS];
    assert_true(slice_equal(pack_value_text(pair.member, digits), slice_of(item->member)));
    assert_memory_equal(&pair.score, &item->score, sizeof(double));
}

static void check_walks(const Model *model)
{
    guint count = model->sorted->len;
    ZsetPair pair;
    assert_int_equal(zset_length(model->zset), count);
    guint from = count == 0 ? 0 : (guint)g_rand_int_range(dice, 0, (gint)count);
    ZsetWalk up = zset_walk(model->zset, from, false);
    for (guint i = from; i < count; i++) {
        assert_true(zset_next(&up, &pair));
        check_pair(pair, model_at(model, i));
    }
    assert_false(zset_next(&up, &pair));
    if (count == 0) return;
    ZsetWalk down = zset_walk(model->zset, from, true);
    for (guint i = from + 1; i-- > 0;) {
        assert_true(zset_next(&down, &pair));
        check_pair(pair, model_at(model, i));
    }
    assert_false(zset_next(&down, &pair));
}

static void check_members(const Model *model)
{
    for (guint i = 0; i < model->sorted->len; i++) {
        const Item *item = model_at(model, i);
        double score;
        size_t rank;
        assert_true(zset_score(model->zset, slice_of(item->member), &score));
        assert_memory_equal(&score, &item->score, sizeof(score));
        assert_true(zset_rank(model->zset, slice_of(item->member), &rank));
        assert_int_equal(rank, i);
    }
    double score;
    size_t rank;
    assert_false(zset_score(model->zset, SLICE("absent"), &score));
    assert_false(zset_rank(model->zset, SLICE("absent"), &rank));
}

static void check_rank_score(const Model *model, double score)
{
    guint below = 0, up_to = 0;
    for (guint i = 0; i < model->sorted->len; i++) {
        below += model_at(model, i)->score < score;
        up_to += model_at(model, i)->score <= score;
    }
    assert_int_equal(zset_rank_score(model->zset, score, false), below);
    assert_int_equal(zset_rank_score(model->zset, score, true), up_to);
}

static void check_remove_ranks(Model *model)
{
    guint count = model->sorted->len;
    if (count == 0) return;
    guint first = (guint)g_rand_int_range(dice, 0, (gint)count);
    guint wanted = MIN(count - first, 1 + count / 20);
    zset_remove_ranks(&model->zset, first, wanted);
    g_ptr_array_remove_range(model->sorted, first, wanted);
}

static double random_score(void)
{
    static const double special[] = { -INFINITY, INFINITY, 0.0, -0.0, 0.1, -2.5, 1e17, -0x1p63, 0x1p63, 5e-324 };
    int die = g_rand_int_range(dice, 0, 40);
    if (die < (int)G_N_ELEMENTS(special)) return special[die];
    return die < 30 ? g_rand_int_range(dice, -20, 20) : g_rand_double_range(dice, -100, 100);
}

static const char *random_member(int range)
{
    static char text[32];
    int number = g_rand_int_range(dice, 0, range);
    g_snprintf(text, sizeof(text), number % 3 == 0 ? "%d" : "member:%d", number);
    return text;
}

static void one_operation(Model *model, int range)
{
    static const unsigned flags[] = { 0, 0, 0, ZSET_NX, ZSET_XX, ZSET_INCR, ZSET_INCR | ZSET_XX, ZSET_INCR | ZSET_NX };
    int die = g_rand_int_range(dice, 0, 1000);
    if (die == 0) {
        check_remove_ranks(model);
    } else if (die < 250) {
        check_remove(model, random_member(range));
    } else {
        double score = random_score();
        check_add(model, score, random_member(range), flags[g_rand_int_range(dice, 0, G_N_ELEMENTS(flags))]);
    }
}

static void run_model(int range, int operations, const char *encoding)
{
    Model model;
    model_init(&model);
    for (int i = 0; i < operations; i++) {
        one_operation(&model, range);
        if (i % 50 == 0) check_rank_score(&model, random_score());
        if (i % 200 == 0) check_walks(&model);
        if (i % 500 == 0) check_members(&model);
    }
    check_walks(&model);
    assert_string_equal(zset_encoding(model.zset), encoding);
    model_free(&model);
}

static void test_small(void **state)
{
    (void)state;
    run_model(100, 20000, "ziplist");
}

/* The same set as bytes and back; what a walk back needs is there afterwards, too. */
static void check_decoded(Model *model)
{
    Image image = { 0 };
    zset_encode(model->zset, &image);
    assert_true(image.len <= zset_encoded_bytes_about(model->zset));
    Zset *old = model->zset;
    model->zset = zset_decode((Slice){ image.bytes, image.len });
    assert_non_null(model->zset);
    assert_int_equal(zset_bytes(model->zset), zset_bytes(old));
    check_walks(model);
    zset_free(old);
    g_free(image.bytes);
}

/* Around the number of members from which on the pack has back-lengths, which it keeps. */
static void test_few(void **state)
{
    (void)state;
    run_model(ZSET_ONE_WAY_MAX, 20000, "ziplist");
    run_model(ZSET_ONE_WAY_MAX + 4, 20000, "ziplist");
    for (int round = 0; round < 50; round++) {
        Model model;
        model_init(&model);
        for (int i = 0; i < 2 * ZSET_ONE_WAY_MAX; i++) {
            g_autofree char *member = g_strdup_printf(i % 2 == 0 ? "%d" : "member:%d", i);
            check_add(&model, random_score(), member, 0);
            check_walks(&model);
            check_decoded(&model);
        }
        assert_int_equal(((const Pack *)(const void *)model.zset)->one_way, false);
        check_members(&model);
        model_free(&model);
    }
}

static void test_big(void **state)
{
    (void)state;
    run_model(1500, 20000, "skiplist");
}

static void test_becoming_big(void **state)
{
    (void)state;
    Zset *zset = zset_new();
    for (int i = 0; i < 129; i++) {
        char member[16];
        double score = i;
        assert_string_equal(zset_encoding(zset), "ziplist");
        zset_add(&zset, (Slice){ member, (size_t)g_snprintf(member, sizeof(member), "%d", i) }, &score, 0);
    }
    assert_string_equal(zset_encoding(zset), "skiplist");
    zset_remove_ranks(&zset, 1, 128);
    assert_int_equal(zset_length(zset), 1);
    assert_string_equal(zset_encoding(zset), "skiplist");
    zset_free(zset);

    char long_member[65];
    memset(long_member, 'x', sizeof(long_member));
    zset = zset_new();
    double score = 1;
    zset_add(&zset, (Slice){ long_member, 64 }, &score, 0);
    assert_string_equal(zset_encoding(zset), "ziplist");
    zset_add(&zset, (Slice){ long_member, 65 }, &score, 0);
    assert_string_equal(zset_encoding(zset), "skiplist");
    assert_true(zset_bytes(zset) > 130);
    zset_free(zset);
}

/* However generous the options are, no set of more than 64 MB is held in one block. */
static void test_too_many_bytes(void **state)
{
    (void)state;
    const size_t length = 30 << 20;
    char *bytes = g_malloc0(length);
    options.zset_max_ziplist_value = INT64_MAX;
    Zset *zset = zset_new();
    for (int i = 0; i < 3; i++) {
        double score = i;
        bytes[0] = (char)i;
        assert_int_equal(zset_add(&zset, (Slice){ bytes, length }, &score, 0), ZSET_ADDED);
        assert_string_equal(zset_encoding(zset), i < 2 ? "ziplist" : "skiplist");
    }
    assert_int_equal(zset_length(zset), 3);
    zset_free(zset);
    options.zset_max_ziplist_value = 64;
    g_free(bytes);
}

/* Scores come back bit for bit, also one whose bytes look like the digits of a number. */
static void test_scores(void **state)
{
    (void)state;
    double digits;
    memcpy(&digits, "12345678", sizeof(digits));
    const double scores[] = { 0,      -0.0, 1,      -1,       127,       -128,   1e15,       0x1p53 + 2, -0x1p63,
                              0x1p63, 0.1,  5e-324, INFINITY, -INFINITY, digits, 1.0 / 3e10, 1e-300,     1e300 };
    for (size_t i = 0; i < G_N_ELEMENTS(scores); i++) {
        Zset *zset = zset_new();
        double score = scores[i], back;
        zset_add(&zset, SLICE("m"), &score, 0);
        assert_true(zset_score(zset, SLICE("m"), &back));
        assert_memory_equal(&back, &scores[i], sizeof(back));
        zset_free(zset);
    }
}

static void test_lex(void **state)
{
    (void)state;
    for (int count = 10; count <= 1000; count *= 100) {
        Zset *zset = zset_new();
        for (int i = 0; i < count; i++) {
            char member[16];
            double score = 3;
            zset_add(&zset, (Slice){ member, (size_t)g_snprintf(member, sizeof(member), "%04d", i * 2) }, &score, 0);
        }
        assert_int_equal(zset_rank_member(zset, SLICE(""), true), 0);
        assert_int_equal(zset_rank_member(zset, SLICE("0006"), false), 3);
        assert_int_equal(zset_rank_member(zset, SLICE("0006"), true), 4);
        assert_int_equal(zset_rank_member(zset, SLICE("0007"), false), 4);
        assert_int_equal(zset_rank_member(zset, SLICE("0007"), true), 4);
        assert_int_equal(zset_rank_member(zset, SLICE("x"), false), count);
        zset_free(zset);
    }
}

static void visit_count(ZsetPair pair, void *context)
{
    char digits[NUMBER_INT_CHARS];
    Slice member = pack_value_text(pair.member, digits);
    GHashTable *seen = context;
    char *name = g_strndup(member.ptr, member.len);
    assert_true(g_hash_table_add(seen, name));
}

static void test_scan(void **state)
{
    (void)state;
    for (int count = 10; count <= 1000; count *= 100) {
        Zset *zset = zset_new();
        for (int i = 0; i < count; i++) {
            char member[16];
            double score = i;
            zset_add(&zset, (Slice){ member, (size_t)g_snprintf(member, sizeof(member), "m%d", i) }, &score, 0);
        }
        GHashTable *seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        uint64_t cursor = 0;
        do {
            cursor = zset_scan(zset, cursor, visit_count, seen);
        } while (cursor != 0);
        assert_int_equal(g_hash_table_size(seen), count);
        g_hash_table_destroy(seen);
        zset_free(zset);
    }
}

static void build(int count, size_t longest, const char *encoding)
{
    ZsetBuilder *builder = zset_builder_new();
    for (int i = 0; i < count * 2; i++) {
        bool added;
        char member[80];
        int number = i % count;
        memset(member, 'y', sizeof(member));
        int length = g_snprintf(member, sizeof(member), "%d", number);
        if (number == 0) member[length] = 'y';
        Slice slice = { member, number == 0 ? longest : (size_t)length };
        double *score = zset_builder_score(builder, slice, &added);
        assert_int_equal(added, i < count);
        *score = added ? number : *score - 2 * number;
    }
    Zset *zset = zset_builder_finish(builder);
    assert_string_equal(zset_encoding(zset), encoding);
    assert_int_equal(zset_length(zset), count);
    ZsetWalk walk = zset_walk(zset, 0, false);
    ZsetPair pair;
    for (int i = count - 1; i >= 0; i--) {
        assert_true(zset_next(&walk, &pair));
        assert_true(pair.score == -i);
    }
    zset_free(zset);
}

static void test_builder(void **state)
{
    (void)state;
    assert_null(zset_builder_finish(zset_builder_new()));
    build(1, 1, "ziplist");
    build(128, 64, "ziplist");
    build(129, 64, "skiplist");
    build(10, 65, "skiplist");
    build(5000, 5, "skiplist");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),        cmocka_unit_test(test_few),     cmocka_unit_test(test_big),
        cmocka_unit_test(test_becoming_big), cmocka_unit_test(test_scores),  cmocka_unit_test(test_lex),
        cmocka_unit_test(test_scan),         cmocka_unit_test(test_builder), cmocka_unit_test(test_too_many_bytes),
    };
    options.zset_max_ziplist_entries = 128;
    options.zset_max_ziplist_value = 64;
    guint32 seed = 77004;
    print_message("seed %u\n", seed);
    dice = g_rand_new_with_seed(seed);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    g_rand_free(dice);
    return failed;
}
