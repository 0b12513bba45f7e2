/* test_survey.c: a journal whose batches are whole, but can't be run by any start: what `ckv check` says of it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <glib.h>

#include "store/journal.h"
#include "tests/unit/journalmodel.h"
#include "tools/survey.h"

/* A journal of a good batch, one of these commands (of a word each), and another good one. Where it's whole up to. */
static uint64_t good_up_to(const char *words, char **problem)
{
    empty_directory(".");
    model_reset(0);
    JournalStart start = model_start();
    char *error = journal_open(&start);
    assert_null(error);
    const char *batches[] = { "SET", words, "SET" };
    uint64_t end[3];
    for (size_t i = 0; i < G_N_ELEMENTS(batches); i++) {
        g_auto(GStrv) commands = g_strsplit(batches[i], " ", -1);
        for (char **word = commands; *word != NULL; word++) {
            Slice name = slice_of(*word);
            journal_append(-1, &name, 1);
        }
        assert_true(journal_commit());
        end[i] = journal_offset();
    }
    assert_true(journal_close());
    GArray *segments = survey_journal(".", &error);
    assert_non_null(segments);
    assert_int_equal(segments->len, 1);
    const SegmentSurvey *segment = survey_segment(segments, 0);
    *problem = g_strdup(segment->problem);
    uint64_t whole = segment->end;
    assert_true(whole == end[0] || whole == end[2]);
    /* What lies behind is counted: a repair would lose it. */
    assert_int_equal(segment->rest.batches, whole == end[0] ? 2 : 0);
    g_array_unref(segments);
    return whole == end[2] ? 3 : 1;
}

static void test_transactions(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        bool good;
    } cases[] = {
        { "SET", true },          { "MULTI SET SET EXEC", true }, { "multi SET exec SET multi exec", true },
        { "EXEC", false },        { "SET SET EXEC", false },      { "MULTI SET", false },
        { "MULTI MULTI", false }, { "MULTI EXEC EXEC", false },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *problem = NULL;
        uint64_t batches = good_up_to(cases[i].words, &problem);
        if ((batches == 3) != cases[i].good || (problem == NULL) != cases[i].good)
            fail_msg("%s: %s", cases[i].words, problem);
        if (problem != NULL) assert_non_null(strstr(problem, "no start can run it"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(test_transactions, model_enter, model_leave) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
