/* test_guard.c: repl/guard: what is read out of INFO of Redis 3.2, 7.0 and CKV, and who may replace whose data.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "repl/guard.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C "cccccccccccccccccccccccccccccccccccccccc"
#define O "0000000000000000000000000000000000000000"

static void reads_info(void **state)
{
    (void)state;
    GuardFacts facts;
    guard_read_info(SLICE("# Server\r\nredis_version:3.2.13\r\nrun_id:" A "\r\n# Replication\r\nrole:master\r\n"
                          "master_repl_offset:77\r\n# Keyspace\r\ndb0:keys=12,expires=1,avg_ttl=5\r\n"
                          "db15:keys=30,expires=0,avg_ttl=0\r\n"),
                    &facts);
    assert_true(facts.known);
    assert_string_equal(facts.history, A);
    assert_string_equal(facts.history2, "");
    assert_false(facts.slave);
    assert_int_equal(facts.offset, 77);
    assert_int_equal(facts.keys, 42);
    guard_read_info(SLICE("role:slave\nrun_id:" A "\nmaster_replid:" B "\nmaster_replid2:" C
                          "\nmaster_repl_offset:900\n"
                          "second_repl_offset:501\ndbsize:keys=7"),
                    &facts);
    assert_string_equal(facts.history, B);
    assert_string_equal(facts.history2, C);
    assert_int_equal(facts.offset2, 500);
    assert_true(facts.slave);
    assert_int_equal(facts.keys, 0);
    guard_read_info(SLICE("master_replid:" B "\r\nmaster_replid2:" O "\r\nsecond_repl_offset:-1\r\n"), &facts);
    assert_string_equal(facts.history2, "");
    assert_int_equal(facts.offset2, 0);
    assert_string_equal(facts.left, "");
    guard_read_info(SLICE("master_replid:" B "\r\nckv_rolled_back_from:" A "\r\n"), &facts);
    assert_string_equal(facts.left, A);
    guard_read_info(SLICE("ckv_rolled_back_from:" C "\r\nckv_rolled_back_before:" A "\r\n"), &facts);
    assert_string_equal(facts.left, C "," A);
    guard_read_info(SLICE("ckv_older_replids:" C ":90," A ":7\r\n"), &facts);
    assert_string_equal(facts.older, C ":90," A ":7");
    guard_read_info(SLICE(""), &facts);
    assert_string_equal(facts.history, "");
}

static GuardFacts server(const char *history, uint64_t offset, uint64_t keys)
{
    GuardFacts facts = { .known = true, .keys = keys, .offset = offset };
    g_strlcpy(facts.history, history, sizeof(facts.history));
    return facts;
}

static GuardFacts promoted(const char *history, uint64_t offset, uint64_t keys, const char *before, uint64_t offset2)
{
    GuardFacts facts = server(history, offset, keys);
    g_strlcpy(facts.history2, before, sizeof(facts.history2));
    facts.offset2 = offset2;
    return facts;
}

/* `to`: the history of what was gone back to, up to offset2. */
static GuardFacts rolled_back(const char *from, uint64_t offset, uint64_t keys, const char *to, uint64_t offset2)
{
    GuardFacts facts = promoted(C, offset, keys, to, offset2);
    g_strlcpy(facts.left, from, sizeof(facts.left));
    return facts;
}

static GuardFacts unloaded(const char *history, uint64_t offset, uint64_t keys)
{
    GuardFacts facts = server(history, offset, keys);
    facts.lost = true;
    return facts;
}

/* Of a history, but for so many bytes at the end. */
static GuardFacts continued(const char *history, uint64_t offset, uint64_t added, uint64_t keys)
{
    GuardFacts facts = server(history, offset, keys);
    facts.added = added;
    return facts;
}

static void finds_common(void **state)
{
    (void)state;
    const struct {
        GuardFacts own, master;
        uint64_t common;
    } cases[] = {
        { server(A, 50, 5), server(A, 60, 9), 50 },
        { continued(A, 55, 5, 5), server(A, 60, 9), 50 },
        { server(A, 99, 5), promoted(B, 90, 9, A, 50), 50 },
        { continued(A, 99, 5, 5), promoted(B, 90, 9, A, 50), 50 },
        { continued(A, 55, 15, 5), promoted(B, 90, 9, A, 50), 40 },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        assert_int_equal(guard_common(&cases[i].own, &cases[i].master), cases[i].common);
}

static void judges(void **state)
{
    (void)state;
    const struct {
        GuardFacts own, master;
        GuardOutlook outlook;
        const char *refusal; /* a part of it */
    } cases[] = {
        { server(A, 0, 0), server(B, 10, 0), GUARD_FULL_SYNC, NULL },
        { server(A, 50, 5), server(A, 60, 9), GUARD_MAY_CONTINUE, NULL },
        { server(A, 50, 5), server(A, 50, 5), GUARD_MAY_CONTINUE, NULL },
        { server(A, 50, 5), server(A, 40, 9), GUARD_FULL_SYNC, "ends before ours" },
        { server(A, 50, 5), server(A, 60, 0), GUARD_MAY_CONTINUE, "no keys" },
        { server(A, 50, 5), server(B, 60, 0), GUARD_FULL_SYNC, "no keys" },
        { server(A, 50, 5), server(B, 60, 4), GUARD_FULL_SYNC, "fewer keys" },
        { server(A, 50, 5), server(B, 1, 5), GUARD_FULL_SYNC, NULL },
        { server(A, 50, 5), promoted(B, 90, 9, A, 50), GUARD_MAY_CONTINUE, NULL },
        { server(A, 51, 5), promoted(B, 90, 9, A, 50), GUARD_DIVERGED, NULL },
        { server(A, 99, 5), promoted(B, 90, 9, A, 50), GUARD_DIVERGED, "ends before ours" },
        { server(A, 9, 5), promoted(B, 90, 9, A, 0), GUARD_FULL_SYNC, NULL },
        { server(A, 50, 5), promoted(B, 90, 1, C, 50), GUARD_FULL_SYNC, "fewer keys" },
        { server(A, 50, 5), { .known = false }, GUARD_MAY_CONTINUE, "INFO" },
        { server(A, 50, 0), { .known = false }, GUARD_MAY_CONTINUE, NULL },
        { server(A, 0, 0), { .known = false }, GUARD_FULL_SYNC, NULL },
        { server("", 50, 5), server("", 60, 9), GUARD_FULL_SYNC, NULL },
        { server(A, 99, 5), rolled_back(A, 90, 4, A, 50), GUARD_FULL_SYNC, NULL },
        { server(A, 99, 5), rolled_back(A, 990, 4, A, 50), GUARD_FULL_SYNC, NULL },
        { server(A, 99, 5), rolled_back(A, 50, 0, A, 50), GUARD_FULL_SYNC, NULL },
        { server(A, 99, 5), rolled_back(A, 50, 0, B, 50), GUARD_FULL_SYNC, NULL },
        { server(A, 50, 5), rolled_back(A, 60, 4, A, 50), GUARD_MAY_CONTINUE, NULL },
        { server(A, 99, 5), rolled_back(B, 90, 9, A, 50), GUARD_DIVERGED, "ends before ours" },
        { server(A, 99, 5), rolled_back(B, 90, 0, B, 50), GUARD_FULL_SYNC, "no keys" },
        { server(C, 99, 5), rolled_back(A, 90, 4, A, 50), GUARD_FULL_SYNC, "ends before ours" },
        { server("", 99, 5), rolled_back("", 90, 4, A, 50), GUARD_FULL_SYNC, "fewer keys" },
        { server("", 99, 5), rolled_back(B, 90, 4, A, 50), GUARD_FULL_SYNC, "fewer keys" },
        { server(A, 99, 5), rolled_back(B "," A, 90, 4, A, 50), GUARD_FULL_SYNC, NULL },
        { server(A, 99, 5), rolled_back(C "," B "," A, 90, 0, B, 50), GUARD_FULL_SYNC, NULL },
        { server(B, 99, 5), rolled_back(C "," B "," A, 90, 0, A, 50), GUARD_FULL_SYNC, NULL },
        { continued(A, 55, 5, 5), server(A, 60, 9), GUARD_DIVERGED, NULL },
        { continued(A, 65, 15, 5), server(A, 60, 9), GUARD_DIVERGED, "ends before ours" },
        { continued(A, 75, 5, 5), server(A, 60, 9), GUARD_FULL_SYNC, "ends before ours" },
        { continued(A, 55, 5, 5), promoted(B, 90, 9, A, 60), GUARD_DIVERGED, NULL },
        { continued(A, 75, 5, 5), promoted(B, 90, 9, A, 60), GUARD_DIVERGED, NULL },
        { continued(A, 99, 5, 5), rolled_back(A, 90, 4, A, 50), GUARD_DIVERGED, "ends before ours" },
        { unloaded(A, 50, 5), server(A, 60, 9), GUARD_FULL_SYNC, NULL },
        { unloaded(A, 50, 5), server(A, 60, 0), GUARD_FULL_SYNC, "no keys" },
        { unloaded(A, 51, 5), promoted(B, 90, 9, A, 50), GUARD_FULL_SYNC, NULL },
        { unloaded(A, 50, 5), { .known = false }, GUARD_FULL_SYNC, "INFO" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        print_message("case %zu\n", i);
        assert_int_equal(guard_outlook(&cases[i].own, &cases[i].master), cases[i].outlook);
        const char *refusal = guard_refuses(&cases[i].own, &cases[i].master);
        if (cases[i].refusal == NULL) {
            assert_null(refusal);
        } else {
            assert_non_null(refusal);
            assert_non_null(strstr(refusal, cases[i].refusal));
        }
    }
}

/* What began and has nothing of its own yet is just as well the history before. */
static void chooses(void **state)
{
    (void)state;
    const struct {
        GuardFacts own, master;
        const char *history;
    } cases[] = {
        { promoted(B, 50, 5, A, 50), server(A, 60, 9), A },
        { promoted(B, 50, 5, A, 50), promoted(C, 90, 9, A, 60), A },
        { promoted(B, 51, 5, A, 50), server(A, 60, 9), A },
        { promoted(B, 51, 5, A, 50), promoted(C, 90, 9, A, 60), A },
        { promoted(B, 51, 5, A, 50), promoted(C, 90, 9, B, 60), B },
        { promoted(B, 50, 5, A, 50), promoted(C, 90, 9, B, 60), B },
        { promoted(B, 50, 5, A, 50), server(C, 60, 9), B },
        { promoted(B, 50, 5, A, 50), { .known = false }, B },
        { promoted(B, 50, 5, A, 50), rolled_back(A, 9, 9, C, 9), A },
        { promoted(B, 51, 5, A, 50), rolled_back(A, 9, 9, C, 9), B },
        { server(B, 0, 5), server(A, 60, 9), B },
        { server(B, 0, 5), server("", 60, 9), B },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        print_message("case %zu\n", i);
        GuardFacts own = cases[i].own, master = cases[i].master;
        guard_choose_history(&own, &master);
        assert_string_equal(own.history, cases[i].history);
        bool other = strcmp(cases[i].history, cases[i].own.history) != 0;
        assert_string_equal(own.history2, other ? cases[i].own.history : cases[i].own.history2);
    }
}

/* The master was made one, and again by another. */
static void recalls_older(void **state)
{
    (void)state;
    const struct {
        GuardFacts own;
        const char *older, *history;
        GuardOutlook outlook;
        uint64_t common;
    } cases[] = {
        { server(A, 50, 5), A ":50", A, GUARD_MAY_CONTINUE, 50 },
        { server(A, 50, 5), C ":60," A ":55", A, GUARD_MAY_CONTINUE, 50 },
        { server(A, 70, 5), C ":60," A ":55", A, GUARD_DIVERGED, 55 },
        { promoted(C, 50, 5, A, 50), A ":50", A, GUARD_MAY_CONTINUE, 50 },
        { promoted(C, 70, 5, A, 60), A ":55", A, GUARD_DIVERGED, 55 },
        { promoted(C, 70, 5, A, 50), C ":60," A ":50", C, GUARD_DIVERGED, 60 },
        { server(A, 50, 5), C ":60", A, GUARD_FULL_SYNC, 0 },
        { server(B, 50, 5), B ":9", B, GUARD_MAY_CONTINUE, 50 },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        print_message("case %zu\n", i);
        GuardFacts own = cases[i].own, master = promoted(O, 90, 3, B, 80);
        g_strlcpy(master.older, cases[i].older, sizeof(master.older));
        for (int again = 0; again < 2; again++) {
            own = cases[i].own;
            guard_choose_history(&own, &master);
            assert_string_equal(own.history, cases[i].history);
            assert_int_equal(guard_outlook(&own, &master), cases[i].outlook);
            if (cases[i].common > 0) assert_int_equal(guard_common(&own, &master), cases[i].common);
        }
    }
}

static void follows_in_time(void **state)
{
    (void)state;
    GuardFacts own = server(A, 50, 5), same = server(A, 60, 5), after = promoted(B, 90, 9, A, 50);
    GuardFacts later = promoted(C, 90, 9, B, 60), other = server(C, 90, 9), nothing = server("", 0, 0);
    assert_true(guard_is_successor(&own, &after));
    assert_false(guard_is_successor(&own, &same));
    assert_false(guard_is_successor(&own, &later));
    assert_false(guard_is_successor(&own, &other));
    assert_false(guard_is_successor(&nothing, &nothing));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_info), cmocka_unit_test(chooses),         cmocka_unit_test(finds_common),
        cmocka_unit_test(judges),     cmocka_unit_test(follows_in_time), cmocka_unit_test(recalls_older),
    };
    return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
