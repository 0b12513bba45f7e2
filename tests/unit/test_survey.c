/* test_survey.c: a journal whose batches are whole, but can't be run by any start: what `ckv check` says of it; and
 * that what can't be read isn't taken for damaged.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>
#include <glib.h>

#include "store/checkpoint.h"
#include "store/journal.h"
#include "tests/unit/journalmodel.h"
#include "tools/repair.h"
#include "tools/survey.h"

/* ---- reads that fail, also gdbm's ---- */

static gint reads_before_failure = -1; /* of any thread; -1: all succeed, or have failed already */

static bool fails_now(void)
{
    if (g_atomic_int_get(&reads_before_failure) < 0 || g_atomic_int_add(&reads_before_failure, -1) != 0) return false;
    errno = EIO;
    return true;
}

ssize_t read(int fd, void *to, size_t len)
{
    return fails_now() ? -1 : syscall(SYS_read, fd, to, len);
}

ssize_t pread(int fd, void *to, size_t len, off_t at)
{
    return fails_now() ? -1 : syscall(SYS_pread64, fd, to, len, at);
}

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

static void save(void)
{
    char *error = NULL;
    journal_append(-1, &SLICE("SET"), 1);
    assert_true(journal_commit());
    assert_true(checkpoint_start(journal_offset(), -1, 1, &error));
    for (;;) {
        CheckpointStep step = checkpoint_step(1000, journal_offset());
        assert_int_not_equal(step, CHECKPOINT_FAILED);
        if (step == CHECKPOINT_DONE) return;
        if (step == CHECKPOINT_WAIT) checkpoint_wait();
    }
}

/* Two checkpoints, and a journal behind both. */
static void make_directory(void)
{
    Manifest manifest;
    empty_directory(".");
    model_reset(0);
    manifest_init(&manifest);
    table_set_secret(manifest.secret, sizeof(manifest.secret));
    Keyspace *ks = keyspace_new(1);
    checkpoint_init(ks, &manifest, NULL);
    keyspace_put_string(&ks->dbs[0], SLICE("key"), SLICE("a value"));
    JournalStart start = model_start();
    start.history = manifest.history;
    start.segment_bytes = 1;
    assert_null(journal_open(&start));
    save();
    save();
    journal_append(-1, &SLICE("SET"), 1);
    assert_true(journal_commit() && journal_close());
    checkpoint_forget_all();
    keyspace_free(ks);
    manifest_clear(&manifest);
}

/* Each read in turn fails, once, so all is there afterwards: nothing is to be repaired. */
static void test_unreadable(void **state)
{
    (void)state;
    make_directory();
    unsigned failed = 0;
    for (bool came = true; came; failed += came) {
        Survey survey;
        g_atomic_int_set(&reads_before_failure, (gint)failed);
        survey_read(&survey, ".", false);
        came = g_atomic_int_get(&reads_before_failure) < 0;
        g_atomic_int_set(&reads_before_failure, -1);
        Plan plan = repair_plan(&survey);
        if (repair_needed(&plan) || (survey.unreadable != NULL) != came)
            fail_msg("read %u: %s", failed, survey.unreadable);
        assert_true(!came || strstr(survey.unreadable, g_strerror(EIO)) != NULL);
        assert_int_equal(plan.base.found, !came);
        survey_clear(&survey);
    }
    assert_true(failed > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_transactions, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(test_unreadable, model_enter, model_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
