/* test_place.c: a journal passes to another process: what is put on the tape, and how that goes on.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/tape.h"
#include "store/ckj.h"
#include "store/journalsync.h"
#include "tests/unit/journalmodel.h"

static void assert_same(const JournalPlace *a, const JournalPlace *b)
{
    assert_int_equal(a->offset, b->offset);
    assert_int_equal(a->batch, b->batch);
    assert_int_equal(a->batches, b->batches);
    assert_int_equal(a->failures, b->failures);
    assert_int_equal(a->db, b->db);
    assert_int_equal(a->file_end, b->file_end);
    assert_int_equal(a->reserved_end, b->reserved_end);
    assert_int_equal(a->cannot_reserve, b->cannot_reserve);
    assert_int_equal(a->durable, b->durable);
    assert_int_equal(a->segments->len, b->segments->len);
    for (guint i = 0; i < a->segments->len; i++) {
        const JsyncSegment *x = &g_array_index(a->segments, JsyncSegment, i);
        const JsyncSegment *y = &g_array_index(b->segments, JsyncSegment, i);
        assert_int_equal(x->offset, y->offset);
        assert_int_equal(x->end, y->end);
        assert_int_equal(x->bytes, y->bytes);
        assert_int_equal(x->synced, y->synced);
        assert_int_equal(x->dropped, y->dropped);
        assert_int_equal(x->named, y->named);
        assert_int_equal(x->wants_seal, y->wants_seal);
        assert_int_equal(x->rewrite, y->rewrite);
    }
}

static JournalPlace pass_on(const JournalPlace *place)
{
    Tape tape;
    TapeReader reader;
    JournalPlace restored;
    assert_true(tape_open(&tape));
    journal_save_place(place, &tape);
    assert_true(tape_is_whole(&tape));
    assert_true(tape_map(tape.fd, &reader));
    journal_restore_place(&restored, &reader);
    assert_false(reader.bad);
    assert_int_equal(reader.at, reader.len);
    tape_unmap(&reader);
    tape_close(&tape);
    return restored;
}

static void append_and_commit(int db)
{
    model_append(db, (Slice[]){ SLICE("DEL"), SLICE("k") }, 2);
    assert_true(model_commit());
}

/* The one that goes on has all that the one before knew, of what isn't durable, too: it finishes the segments, and
 * names the database when it changes. */
static void test_goes_on(void **state)
{
    (void)state;
    JournalStart start = model_start();
    model_open(start);
    model_write(100);
    append_and_commit(3);
    JournalPlace place;
    journal_leave(&place);
    assert_int_equal(place.db, 3);
    assert_true(place.durable < place.offset);
    JournalPlace other = pass_on(&place);
    assert_same(&place, &other);
    journal_place_clear(&place); /* as that process' end does */
    assert_null(journal_adopt(&start, &other));
    journal_place_clear(&other);
    append_and_commit(0);
    model_write(100);
    assert_true(journal_close());
    model_check_all();
    guint count = model_segments();
    assert_true(count > 3);
    for (guint i = 0; i < count; i++) {
        CkjEnd end;
        assert_null(ckj_find_end(".", model_segment(i).offset, &end));
        assert_int_equal(end.last, i + 1 < count ? CKJ_FINISHED : CKJ_CLOSED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_goes_on, model_enter, model_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
