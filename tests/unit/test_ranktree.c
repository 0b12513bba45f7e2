/* test_ranktree.c: store/ranktree against a sorted array under random operations, and its promises about size.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/ranktree.h"

#include <glib.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct Model {
    RankTree tree;
    GPtrArray *sorted; /* of RankElement */
} Model;

static GRand *dice;

static int compare(const RankElement *a, const RankElement *b)
{
    if (a->score != b->score) return a->score < b->score ? -1 : 1;
    return slice_compare(rank_member(a), rank_member(b));
}

/* The first place in the array whose element isn't before (score, member); with `equal`, isn't that one either. */
static guint model_place(const Model *model, const RankElement *element, bool equal)
{
    guint low = 0, high = model->sorted->len;
    while (low < high) {
        guint middle = (low + high) / 2;
        int compared = compare(model->sorted->pdata[middle], element);
        if (compared < 0 || (compared == 0 && equal)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static guint model_place_score(const Model *model, double score, bool equal)
{
    guint place = 0;
    for (; place < model->sorted->len; place++) {
        const RankElement *element = model->sorted->pdata[place];
        if (element->score > score || (element->score == score && !equal)) break;
    }
    return place;
}

static void model_init(Model *model)
{
    ranktree_init(&model->tree);
    model->sorted = g_ptr_array_new();
}

static void model_free(Model *model)
{
    g_ptr_array_foreach(model->sorted, (GFunc)(void (*)(void))g_free, NULL);
    g_ptr_array_free(model->sorted, TRUE);
    ranktree_free(&model->tree);
}

static void model_insert(Model *model, double score, const char *member)
{
    RankElement *element = rank_element_new(score, slice_of(member));
    guint place = model_place(model, element, false);
    if (place < model->sorted->len && compare(model->sorted->pdata[place], element) == 0) {
        g_free(element);
        return;
    }
    g_ptr_array_insert(model->sorted, (gint)place, element);
    ranktree_insert(&model->tree, element);
}

/* Another score, near the old one or not; none if that pair is there already. */
static void model_move(Model *model, guint place, double score)
{
    RankElement *element = g_ptr_array_index(model->sorted, place);
    RankElement *probe = rank_element_new(score, rank_member(element));
    guint target = model_place(model, probe, false);
    bool taken = target < model->sorted->len && compare(model->sorted->pdata[target], probe) == 0;
    g_free(probe);
    if (taken) return;
    g_ptr_array_remove_index(model->sorted, place);
    g_ptr_array_insert(model->sorted, (gint)(target > place ? target - 1 : target), element);
    ranktree_move(&model->tree, element, score);
}

static void model_remove(Model *model, guint place)
{
    RankElement *element = g_ptr_array_remove_index(model->sorted, place);
    ranktree_remove(&model->tree, element);
    g_free(element);
}

static void model_cut(Model *model, guint place, guint count)
{
    ranktree_cut(&model->tree, place, count);
    for (guint i = 0; i < count; i++)
        g_free(model->sorted->pdata[place + i]);
    if (count > 0) g_ptr_array_remove_range(model->sorted, place, count);
}

static void check_walks(const Model *model)
{
    guint count = model->sorted->len;
    assert_int_equal(model->tree.count, count);
    RankWalk up = ranktree_walk(&model->tree, 0, false);
    for (guint i = 0; i < count; i++)
        assert_ptr_equal(ranktree_next(&up), model->sorted->pdata[i]);
    assert_null(ranktree_next(&up));
    if (count == 0) return;
    RankWalk down = ranktree_walk(&model->tree, count - 1, true);
    for (guint i = count; i-- > 0;)
        assert_ptr_equal(ranktree_next(&down), model->sorted->pdata[i]);
    assert_null(ranktree_next(&down));
    assert_null(ranktree_next(&down));
}

static void check_ranks(const Model *model, guint step)
{
    for (guint i = 0; i < model->sorted->len; i += step) {
        const RankElement *element = model->sorted->pdata[i];
        assert_int_equal(ranktree_rank(&model->tree, element), i);
        RankWalk walk = ranktree_walk(&model->tree, i, i % 2 == 0);
        assert_ptr_equal(ranktree_next(&walk), element);
        assert_int_equal(ranktree_rank_member(&model->tree, element->score, rank_member(element), false), i);
        assert_int_equal(ranktree_rank_member(&model->tree, element->score, rank_member(element), true), i + 1);
    }
}

static void check_bounds(const Model *model, double score, const char *member)
{
    RankElement *probe = rank_element_new(score, slice_of(member));
    for (int equal = 0; equal <= 1; equal++) {
        assert_int_equal(ranktree_rank_score(&model->tree, score, equal), model_place_score(model, score, equal));
        assert_int_equal(ranktree_rank_member(&model->tree, score, slice_of(member), equal),
                         model_place(model, probe, equal));
    }
    g_free(probe);
}

/* ---- kinds of scores ---- */

typedef double (*Score)(void);

static double score_same(void)
{
    return 7;
}

static double score_few(void)
{
    return g_rand_int_range(dice, -3, 4);
}

static double score_small(void)
{
    return g_rand_int_range(dice, 0, 4000);
}

static double score_any(void)
{
    return ldexp(g_rand_double(dice) - 0.5, g_rand_int_range(dice, -1070, 1020));
}

static double score_special(void)
{
    static const double special[] = { -INFINITY, -1.5, -5e-324, -0.0, 0.0, 5e-324, 2.5, 1e308, INFINITY };
    return special[g_rand_int_range(dice, 0, G_N_ELEMENTS(special))];
}

static double score_time(void)
{
    static double now = 1.7e12;
    return now += g_rand_int_range(dice, 0, 50);
}

static double score_back(void)
{
    static double now = 1e6;
    return now -= 1;
}

static const Score scores[] = { score_same, score_few, score_small, score_any, score_special, score_time, score_back };

static const char *random_member(void)
{
    static char text[32];
    g_snprintf(text, sizeof(text), "m%d", g_rand_int_range(dice, 0, 100000));
    return text;
}

static void one_operation(Model *model, Score score, int removals)
{
    guint count = model->sorted->len;
    int die = g_rand_int_range(dice, 0, 100);
    if (count > 0 && die < removals) {
        model_remove(model, (guint)g_rand_int_range(dice, 0, (gint)count));
    } else if (count > 0 && die >= 80 && die < 99) {
        guint place = (guint)g_rand_int_range(dice, 0, (gint)count);
        const RankElement *element = model->sorted->pdata[place];
        model_move(model, place, die < 90 ? score() : element->score + die - 93);
    } else if (count > 0 && die == 99) {
        guint place = (guint)g_rand_int_range(dice, 0, (gint)count);
        guint wanted = (guint)g_rand_int_range(dice, 0, removals * 4 + 1);
        model_cut(model, place, MIN(count - place, wanted));
    } else {
        model_insert(model, score(), random_member());
    }
}

static void test_model(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < G_N_ELEMENTS(scores); kind++) {
        Model model;
        model_init(&model);
        /* Grows to some thousand elements, and shrinks again to none. */
        for (int round = 0; round < 16000; round++) {
            one_operation(&model, scores[kind], round < 8000 ? 10 : 75);
            if (round % 100 == 0) check_bounds(&model, scores[kind](), random_member());
            if (round % 1600 == 0) check_walks(&model);
            if (round % 1600 == 0) check_ranks(&model, 7);
        }
        check_walks(&model);
        check_ranks(&model, 1);
        model_cut(&model, 0, model.sorted->len);
        check_walks(&model);
        assert_int_equal(model.tree.height, 0);
        assert_int_equal(model.tree.leaves, 1);
        assert_int_equal(model.tree.inners, 0);
        model_free(&model);
    }
}

/* Deep trees: removals from all places, so that nodes of every level join. */
static void test_big(void **state)
{
    (void)state;
    Model model;
    model_init(&model);
    for (int i = 0; i < 40000; i++) {
        char member[16];
        g_snprintf(member, sizeof(member), "%06d", i);
        model_insert(&model, i, member);
    }
    assert_true(model.tree.height >= 2);
    while (model.sorted->len > 0) {
        guint count = model.sorted->len;
        guint place = (guint)g_rand_int_range(dice, 0, (gint)count);
        model_cut(&model, place, MIN(count - place, 300));
        for (int i = 0; i < 100 && model.sorted->len > 0; i++)
            model_remove(&model, (guint)g_rand_int_range(dice, 0, (gint)model.sorted->len));
        if (g_rand_int_range(dice, 0, 10) == 0) check_walks(&model);
        check_ranks(&model, 97);
    }
    check_walks(&model);
    model_free(&model);
}

static void test_members(void **state)
{
    (void)state;
    static const size_t lengths[] = { 0, 1, 254, 255, 256, 70000 };
    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
        char *bytes = g_malloc0(lengths[i] + 1);
        Slice member = { bytes, lengths[i] };
        RankElement *element = rank_element_new(1.5, member);
        assert_true(slice_equal(rank_member(element), member));
        assert_true(rank_element_bytes(member) >= sizeof(double) + 1 + lengths[i]);
        g_free(element);
        g_free(bytes);
    }
}

/* How full the leaves are: elements for each 99 slots. */
static double fill_after(double (*score)(int))
{
    RankTree tree;
    GPtrArray *elements = g_ptr_array_new_with_free_func(g_free);
    ranktree_init(&tree);
    for (int i = 0; i < 50000; i++) {
        char member[16];
        g_snprintf(member, sizeof(member), "%d", i);
        RankElement *element = rank_element_new(score(i), slice_of(member));
        g_ptr_array_add(elements, element);
        ranktree_insert(&tree, element);
    }
    double fill = (double)tree.count / (tree.leaves * 99.0);
    ranktree_free(&tree);
    g_ptr_array_free(elements, TRUE);
    return fill;
}

static double in_order(int i)
{
    return i;
}

static double backwards(int i)
{
    return -i;
}

static double at_random(int i)
{
    (void)i;
    return g_rand_double(dice);
}

static void test_fill(void **state)
{
    (void)state;
    double ordered = fill_after(in_order), reversed = fill_after(backwards), random = fill_after(at_random);
    print_message("leaves are full to %.2f in order, %.2f backwards, %.2f at random\n", ordered, reversed, random);
    assert_true(ordered > 0.95);
    assert_true(reversed > 0.95);
    assert_true(random >= 0.70);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_big),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_fill),
    };
    guint32 seed = 20240607;
    print_message("seed %u\n", seed);
    dice = g_rand_new_with_seed(seed);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    g_rand_free(dice);
    return failed;
}
