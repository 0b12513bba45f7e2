/* test_set.c: store/set and store/intset against a GHashTable under random operations, and their promises about
 * encodings, order, scans, random members and memory.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/set.h"

#include <glib.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/options.h"
#include "store/intset.h"
#include "store/mem.h"

#define SEED 20260101

static GRand *randomness;

static int setup(void **state)
{
    (void)state;
    options.set_max_intset_entries = 512;
    randomness = g_rand_new_with_seed(SEED);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    g_rand_free(randomness);
    return 0;
}

static SetMember text(const char *cstring)
{
    return set_member(slice_of(cstring));
}

static char *member_string(SetMember member)
{
    char digits[NUMBER_INT_CHARS];
    Slice bytes = pack_value_text(member, digits);
    return g_strndup(bytes.ptr, bytes.len);
}

/* ---- against the model ---- */

/* A member that is drawn from `spread` of them; `ints` of ten are integers. */
static char *draw_member(int spread, int ints)
{
    int n = g_rand_int_range(randomness, 0, spread);
    if (g_rand_int_range(randomness, 0, 10) >= ints) {
        return n % 7 == 0 ? g_strdup_printf("m-%0*d", 50 + n % 200, n) : g_strdup_printf("m%d", n);
    }
    static const int64_t scale[] = { 1, -1, 300, -70000, 5000000000, INT64_MAX / 1000000 };
    return g_strdup_printf("%" G_GINT64_FORMAT, n * scale[n % (int)G_N_ELEMENTS(scale)]);
}

static void note_visit(SetMember member, void *context)
{
    char *name = member_string(member);
    assert_true(g_hash_table_add(context, name)); /* each once */
}

static void assert_same(const Set *set, GHashTable *model)
{
    assert_int_equal(set_length(set), g_hash_table_size(model));
    GHashTable *walked = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    SetWalk walk = set_walk(set);
    for (SetMember member; set_next(&walk, &member);) {
        char *name = member_string(member);
        assert_true(g_hash_table_contains(model, name));
        assert_true(set_has(set, member) && set_has(set, text(name)));
        assert_true(g_hash_table_add(walked, name));
    }
    assert_int_equal(g_hash_table_size(walked), g_hash_table_size(model));
    g_hash_table_remove_all(walked);
    uint64_t cursor = 0;
    do
        cursor = set_scan(set, cursor, note_visit, walked);
    while (cursor != 0);
    assert_int_equal(g_hash_table_size(walked), g_hash_table_size(model));
    g_hash_table_destroy(walked);
    if (set_length(set) == 0) return;
    char *name = member_string(set_random(set));
    assert_true(g_hash_table_contains(model, name));
    g_free(name);
}

static void run_against_model(int operations, int spread, int ints, int adds)
{
    Set *set = set_new();
    GHashTable *model = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (int i = 0; i < operations; i++) {
        char *name = draw_member(spread, ints);
        bool present = g_hash_table_contains(model, name);
        assert_int_equal(set_has(set, text(name)), present);
        if (g_rand_int_range(randomness, 0, 10) < adds) {
            assert_int_equal(set_add(&set, text(name)), !present);
            g_hash_table_add(model, g_strdup(name));
        } else if (g_rand_boolean(randomness) || set_length(set) == 0) {
            assert_int_equal(set_remove(&set, text(name)), present);
            g_hash_table_remove(model, name);
        } else {
            SetMember own = set_random(set);
            char *own_name = member_string(own);
            assert_true(set_remove(&set, own));
            assert_true(g_hash_table_remove(model, own_name));
            g_free(own_name);
        }
        g_free(name);
        if (i % (operations / 40) == 0) assert_same(set, model);
    }
    assert_same(set, model);
    set_free(set);
    g_hash_table_destroy(model);
}

static void behaves_as_the_model(void **state)
{
    (void)state;
    for (int ints = 0; ints <= 10; ints += 5) {
        run_against_model(4000, 40, ints, 5);     /* small ones that grow and shrink */
        run_against_model(8000, 3000, ints, 7);   /* past every threshold */
        run_against_model(20000, 20000, ints, 8); /* tables */
    }
}

static void one_member_at_a_time_down_to_empty(void **state)
{
    (void)state;
    Set *set = set_new();
    char name[32];
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof(name), "%s%d", i < 600 ? "" : "x", i);
        assert_true(set_add(&set, text(name)));
        assert_false(set_add(&set, text(name)));
    }
    for (int i = 2000; i-- > 0;) {
        snprintf(name, sizeof(name), "%s%d", i < 600 ? "" : "x", i);
        assert_true(set_remove(&set, text(name)));
        assert_false(set_remove(&set, text(name)));
        assert_int_equal(set_length(set), i);
    }
    set_free(set);
}

/* ---- encodings ---- */

static void encoding_follows_members_and_limits(void **state)
{
    (void)state;
    Set *set = set_new();
    for (int i = 0; i < 512; i++)
        assert_true(set_add(&set, (SetMember){ .number = i }));
    assert_string_equal(set_encoding(set), "intset");
    assert_true(set_add(&set, (SetMember){ .number = 512 }));
    assert_string_equal(set_encoding(set), "hashtable");
    for (int i = 0; i < 512; i++)
        assert_true(set_remove(&set, (SetMember){ .number = i }));
    assert_string_equal(set_encoding(set), "hashtable");
    set_free(set);

    set = set_new();
    assert_true(set_add(&set, text("1")));
    assert_string_equal(set_encoding(set), "intset");
    static const char *const no_ints[] = { "01", "+1", "1 ", "-0", "", "9223372036854775808", "1.0" };
    for (size_t i = 0; i < G_N_ELEMENTS(no_ints); i++) {
        assert_false(set_has(set, text(no_ints[i])));
        assert_true(set_add(&set, text(no_ints[i])));
        assert_string_equal(set_encoding(set), "hashtable");
    }
    assert_true(set_has(set, text("1")) && set_has(set, (SetMember){ .number = 1 }));
    assert_int_equal(set_length(set), 1 + G_N_ELEMENTS(no_ints));
    set_free(set);
}

static void no_intset_when_the_limit_is_0(void **state)
{
    (void)state;
    options.set_max_intset_entries = 0;
    Set *set = set_new();
    assert_true(set_add(&set, text("7")));
    assert_string_equal(set_encoding(set), "hashtable");
    assert_false(set_add(&set, text("7")));
    set_free(set);
}

static void long_members_are_kept_whole(void **state)
{
    (void)state;
    static const size_t lengths[] = { 0, 1, 63, 64, 65, 127, 128, 16383, 16384, 3000000 };
    Set *set = set_new();
    char *bytes = g_malloc0(3000000 + 3);
    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++)
        assert_true(set_add(&set, set_member((Slice){ bytes, lengths[i] })));
    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
        assert_true(set_has(set, set_member((Slice){ bytes, lengths[i] })));
        assert_false(set_has(set, set_member((Slice){ bytes, lengths[i] + 3 })));
        assert_true(set_remove(&set, set_member((Slice){ bytes, lengths[i] })));
    }
    assert_int_equal(set_length(set), 0);
    g_free(bytes);
    set_free(set);
}

/* ---- intset ---- */

static void intset_is_sorted_at_every_width(void **state)
{
    (void)state;
    static const int64_t values[] = { 0,         -1,        INT16_MIN,       INT16_MAX,       INT32_MAX, INT32_MIN,
                                      INT64_MIN, INT64_MAX, INT16_MAX + 1LL, INT32_MIN - 1LL, 5 };
    Intset *ints = intset_new(0);
    bool done;
    for (size_t i = 0; i < G_N_ELEMENTS(values); i++) {
        ints = intset_add(ints, values[i], &done);
        assert_true(done);
        ints = intset_add(ints, values[i], &done);
        assert_false(done);
        for (uint32_t k = 1; k < ints->count; k++)
            assert_true(intset_at(ints, k - 1) < intset_at(ints, k));
        for (size_t k = 0; k < G_N_ELEMENTS(values); k++)
            assert_int_equal(intset_has(ints, values[k]), k <= i);
    }
    assert_int_equal(ints->width, 8);
    for (size_t i = 0; i < G_N_ELEMENTS(values); i++) {
        ints = intset_remove(ints, values[i], &done);
        assert_true(done);
        assert_false(intset_has(ints, values[i]));
    }
    assert_int_equal(ints->count, 0);
    intset_free(ints);
}

static void intset_is_as_narrow_as_can_be(void **state)
{
    (void)state;
    Intset *ints = intset_new(0);
    bool done;
    for (int i = 0; i < 100; i++)
        ints = intset_add(ints, i - 50, &done);
    assert_int_equal(intset_bytes(ints), sizeof(Intset) + 100 * 2);
    ints = intset_add(ints, INT16_MIN - 1, &done);
    assert_int_equal(intset_bytes(ints), sizeof(Intset) + 101 * 4);
    assert_int_equal(intset_at(ints, 0), INT16_MIN - 1);
    assert_int_equal(intset_at(ints, 100), 49);
    intset_free(ints);
}

/* ---- filters and draws ---- */

static void filter_keeps_order_and_says_what_set_has_says(void **state)
{
    (void)state;
    for (int big = 0; big < 3; big++) {
        Set *set = set_new();
        char names[SET_BATCH][32];
        for (int i = 0; i < (big == 2 ? 5000 : 20); i += 2) {
            snprintf(names[0], sizeof(names[0]), "%s%d", big == 0 ? "" : "x", i);
            set_add(&set, text(names[0]));
        }
        for (int wanted = 0; wanted < 2; wanted++) {
            SetMember members[SET_BATCH];
            for (int i = 0; i < SET_BATCH; i++) {
                snprintf(names[i], sizeof(names[i]), "%s%d", big == 0 ? "" : "x", i);
                members[i] = text(names[i]);
            }
            assert_int_equal(set_filter(set, members, SET_BATCH, wanted), SET_BATCH / 2);
            for (int i = 0; i < SET_BATCH / 2; i++)
                assert_ptr_equal(members[i].text.ptr, names[2 * i + !wanted]);
            assert_int_equal(set_filter(set, members, 0, wanted), 0);
        }
        set_free(set);
    }
}

static void each_member_is_drawn_as_often(void **state)
{
    (void)state;
    static const unsigned sizes[] = { 10, 30, 700 };
    for (size_t s = 0; s < G_N_ELEMENTS(sizes); s++) {
        for (int ints = 0; ints < 2; ints++) {
            Set *set = set_new();
            char name[32];
            for (unsigned i = 0; i < sizes[s]; i++) {
                snprintf(name, sizeof(name), "%s%u", ints ? "" : "x", i);
                set_add(&set, text(name));
            }
            int *seen = g_new0(int, sizes[s]);
            for (unsigned i = 0; i < 400 * sizes[s]; i++) {
                char *drawn = member_string(set_random(set));
                seen[atoi(drawn + !ints)]++;
                g_free(drawn);
            }
            double chi = 0;
            for (unsigned i = 0; i < sizes[s]; i++)
                chi += (seen[i] - 400) * (seen[i] - 400) / 400.0;
            /* The sum has mean n and variance 2n: six deviations off is less likely than one in a hundred million. */
            assert_true(chi < sizes[s] + 6 * sqrt(2.0 * sizes[s]));
            g_free(seen);
            set_free(set);
        }
    }
}

static void a_member_of_15_bytes_takes_at_most_40(void **state)
{
    (void)state;
    enum { MEMBERS = 1000000 };
    size_t before = mem_used();
    Set *set = set_new();
    char name[32];
    for (int i = 0; i < MEMBERS; i++) {
        snprintf(name, sizeof(name), "member:%08d", i);
        set_add(&set, text(name));
    }
    size_t used = mem_used() - before;
    print_message("%.1f bytes a member of 15 bytes\n", (double)used / MEMBERS);
    assert_true(used <= (size_t)40 * MEMBERS);
    assert_in_range(set_bytes(set), used * 9 / 10, used * 11 / 10);
    set_free(set);
}

int main(void)
{
    print_message("seed %d\n", SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(behaves_as_the_model, setup, teardown),
        cmocka_unit_test_setup_teardown(one_member_at_a_time_down_to_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(encoding_follows_members_and_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(no_intset_when_the_limit_is_0, setup, teardown),
        cmocka_unit_test_setup_teardown(long_members_are_kept_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(intset_is_sorted_at_every_width, setup, teardown),
        cmocka_unit_test_setup_teardown(intset_is_as_narrow_as_can_be, setup, teardown),
        cmocka_unit_test_setup_teardown(filter_keeps_order_and_says_what_set_has_says, setup, teardown),
        cmocka_unit_test_setup_teardown(each_member_is_drawn_as_often, setup, teardown),
        cmocka_unit_test_setup_teardown(a_member_of_15_bytes_takes_at_most_40, setup, teardown),
    };
    return cmocka_run_group_tests_name("set", tests, NULL, NULL);
}
