/* test_journalroom.c: store/journal on a disk that is full or nearly so, and the room that is made ahead.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/journal.h"

#include <errno.h>
#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "store/journalroom.h"
#include "tests/unit/journalmodel.h"
#include "tests/unit/simio.h"

static void full_disk(void **state)
{
    (void)state;
    sim_start();
    JournalStart start = model_start();
    start.segment_bytes = 10000;
    model_open(start);
    model_write(3);
    uint64_t before = journal_written();
    for (int way = 0; way < 2; way++) {
        sim_set_room(60); /* less than the batch */
        model_append(0, (Slice[]){ SLICE("SET"), SLICE("key"), SLICE("a value that has to wait") }, 3);
        model_note_batch();
        assert_false(journal_commit());
        model_expect_trouble(": No space left on device");
        assert_false(journal_reserve(10));
        model_append(1, (Slice[]){ SLICE("DEL"), SLICE("key") }, 2);
        assert_int_equal(journal_written(), before);
        assert_int_equal(journal_pending_bytes(), base + stream->len - before);
        assert_int_equal(model_read(".", base).offset, before);
        g_array_set_size(ends, ends->len - 1);
        sim_set_room(-1);
        model_wait_for_healing(true);
        assert_int_equal(journal_pending_bytes(), 0);
        model_note_batch();
        model_check_all();
        before = journal_written();
    }
    assert_true(journal_close());
}

/* There's no room for what a command would write: known before it runs. */
static void no_room_to_reserve(void **state)
{
    (void)state;
    sim_start();
    JournalStart start = model_start();
    start.segment_bytes = 1000;
    model_open(start);
    sim_set_room(5000);
    assert_true(journal_reserve(100));
    assert_false(journal_reserve(100000));
    model_expect_trouble(": No space left on device");
    model_append(0, (Slice[]){ SLICE("DEL"), SLICE("key") }, 2); /* what had room goes on */
    assert_true(model_commit());
    sim_set_room(-1);
    model_wait_for_healing(true);
    sim_set_room(0);
    assert_false(journal_reserve(1000000));
    sim_set_room(-1);
    model_wait_for_healing(false);
    assert_true(journal_close());
    model_check_all();
}

/* Who asks a full disk for room may wait for long: the loop does once, then it's the thread. */
static void full_disk_is_asked_by_the_thread(void **state)
{
    (void)state;
    sim_start();
    model_open(model_start());
    model_write(1);
    sim_set_room(0);
    assert_false(journal_reserve(8 << 20));
    uint64_t here = sim_calls_here(SIM_ALLOCATE), all = sim_calls(SIM_ALLOCATE);
    for (int ms = 0; ms < 10000 && sim_calls(SIM_ALLOCATE) < all + 6; ms++) {
        g_usleep(1000);
        assert_false(journal_reserve(8 << 20));
    }
    assert_true(sim_calls(SIM_ALLOCATE) >= all + 6);
    model_expect_trouble(": No space left on device");
    sim_fail(SIM_ALLOCATE, 1, UINT32_MAX, EIO);
    for (int ms = 0; ms < 10000 && strstr(journal_trouble(), "Input/output error") == NULL; ms++) {
        g_usleep(1000);
        assert_false(journal_reserve(8 << 20));
    }
    model_expect_trouble(": Input/output error");
    sim_fail(SIM_ALLOCATE, 0, 0, 0);
    sim_set_room(-1);
    for (int ms = 0; ms < 10000 && !journal_reserve(8 << 20); ms++)
        g_usleep(1000);
    assert_null(journal_trouble());
    assert_int_equal(sim_calls_here(SIM_ALLOCATE), here);
    model_write(1);
    assert_true(journal_close());
    model_check_all();
}

/* With a segment that isn't finished by what the tests write, some of whose room is reserved. */
static void open_long(void)
{
    sim_start();
    JournalStart start = model_start();
    start.segment_bytes = 64 << 20;
    model_open(start);
    assert_true(journal_reserve(100));
}

/* Where there's just enough for each command, not each looks for more in vain. */
static void nearly_full_disk(void **state)
{
    (void)state;
    open_long();
    model_write(1);
    sim_set_room(4100000); /* less than is asked for ahead, and all that is asked for below */
    uint64_t before = sim_calls_here(SIM_ALLOCATE);
    for (size_t i = 0; i < 200; i++)
        assert_true(journal_reserve(4200000 + 10000 * i));
    assert_in_range(sim_calls_here(SIM_ALLOCATE), before + 200, before + 300);
    assert_true(journal_close());
    model_check_all();
}

/* A file system that can't reserve is as good as one with room. */
static void no_reservations(void **state)
{
    (void)state;
    sim_start();
    sim_fail(SIM_ALLOCATE, 1, UINT32_MAX, EOPNOTSUPP);
    model_open(model_start());
    for (int i = 0; i < 100; i++) {
        assert_true(journal_reserve(1 << 20));
        model_write(1);
    }
    assert_null(journal_trouble());
    assert_int_equal(sim_calls_here(SIM_ALLOCATE), 1);
    assert_in_range(sim_calls(SIM_ALLOCATE), 1, 2);
    assert_true(journal_close());
    model_check_all();
}

static uint64_t room_at_hand(void)
{
    struct stat about;
    return stat(room_path(), &about) == 0 ? (uint64_t)about.st_blocks * 512 : 0;
}

static void wait_for_room(void)
{
    for (int ms = 0; ms < 10000 && room_at_hand() < 16 << 20; ms++)
        g_usleep(1000);
    assert_true(room_at_hand() >= 16 << 20);
}

static void write_a_megabyte(void)
{
    g_autofree char *value = g_malloc0(1 << 20);
    assert_true(journal_reserve((1 << 20) + 100));
    model_append(0, (Slice[]){ SLICE("SET"), SLICE("key"), { value, 1 << 20 } }, 3);
    assert_true(model_commit());
}

/* Once a segment is begun, the loop creates no file and reserves nothing: a thread does that ahead. */
static void room_is_made_ahead(void **state)
{
    (void)state;
    open_long();
    uint64_t opens = sim_calls_here(SIM_OPEN), reservations = sim_calls_here(SIM_ALLOCATE);
    for (int i = 0; i < 60; i++) {
        write_a_megabyte();
        wait_for_room();
    }
    /* It's at hand a moment after it looks so. */
    assert_in_range(sim_calls_here(SIM_ALLOCATE), reservations, reservations + 3);
    assert_int_equal(sim_calls_here(SIM_OPEN), opens);
    assert_true(model_segments() >= 3);
    assert_true(journal_close());
    assert_int_equal(room_at_hand(), 0);
    model_check_all();
}

/* On a disk that's nearly full, no room lies idle in a file that waits for its time. */
static void room_is_given_back(void **state)
{
    (void)state;
    open_long();
    sim_set_room(8 << 20); /* less than the thread wants */
    write_a_megabyte();
    for (int ms = 0; ms < 10000 && sim_calls(SIM_TRUNCATE) == 0; ms++)
        g_usleep(1000);
    assert_int_equal(sim_calls(SIM_TRUNCATE), 1);
    assert_int_equal(sim_calls_here(SIM_TRUNCATE), 0);
    assert_true(journal_rotate());
    sim_set_room(-1);
    write_a_megabyte();
    wait_for_room();
    sim_set_room(0);
    assert_false(journal_reserve(64 << 20));
    model_expect_trouble(": No space left on device");
    for (int ms = 0; ms < 10000 && room_at_hand() > 0; ms++) {
        g_usleep(1000);
        assert_false(journal_reserve(64 << 20));
    }
    assert_int_equal(room_at_hand(), 0);
    sim_set_room(-1);
    model_wait_for_healing(false);
    assert_true(journal_close());
    model_check_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(full_disk, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(no_room_to_reserve, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(full_disk_is_asked_by_the_thread, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(nearly_full_disk, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(no_reservations, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(room_is_made_ahead, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(room_is_given_back, model_enter, model_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
