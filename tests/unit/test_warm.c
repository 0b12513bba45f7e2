/* test_warm.c: store/warm: whoever reads by it gets every byte, and waits for none of them; and the journal's reader.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/warm.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/journalmodel.h"
#include "tests/unit/simio.h"

#define BIG (10U << 20)

static int file;
static char *content;

static int set_up(void **state)
{
    if (model_enter(state) != 0) return -1;
    content = g_malloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        content[i] = (char)(i / 1000 + i);
    file = io->open("file", O_RDWR | O_CREAT, 0600);
    return io_write_all(file, content, BIG, 0) ? 0 : -1;
}

static int tear_down(void **state)
{
    sim_stop();
    io->close(file);
    g_clear_pointer(&content, g_free);
    return model_leave(state);
}

/* How often it was told to try again. False: errno. */
static bool read_at_last(Warm *warm, void *to, size_t len, off_t at, int *again)
{
    bool good;
    for (*again = 0; !(good = warm_read(warm, file, to, len, at)) && errno == EAGAIN; ++*again)
        g_usleep(100);
    return good;
}

static void reads_all(void **state)
{
    (void)state;
    g_autofree char *to = g_malloc(BIG);
    int waits = 0, again;
    sim_start();
    sim_set_cold(true);
    Warm *warm = warm_new();
    for (size_t at = 0; at < BIG; at += 100000) {
        size_t len = MIN(100000, BIG - at);
        memset(to, 0, len);
        assert_true(read_at_last(warm, to, len, (off_t)at, &again));
        assert_memory_equal(to, content + at, len);
        waits += again > 0;
    }
    assert_true(waits >= 3); /* for each stretch */
    sim_set_cold(true);
    assert_true(read_at_last(warm, to, BIG, 0, &again)); /* one that is longer than that */
    assert_memory_equal(to, content, BIG);
    assert_int_equal(sim_calls_here(SIM_READ), 0);
    warm_free(warm);
}

/* What is in the page cache is there at once. */
static void reads_what_is_warm(void **state)
{
    (void)state;
    g_autofree char *to = g_malloc(BIG);
    Warm *warm = warm_new();
    assert_true(warm_read(warm, file, to, BIG, 0));
    assert_memory_equal(to, content, BIG);
    assert_false(warm_read(warm, file, to, 2, BIG - 1)); /* it ends before */
    assert_int_equal(errno, 0);
    warm_free(warm);
    warm_free(NULL);
}

/* What the thread can't read, or what is gone again, is read all the same: it's there, or an error. */
static void goes_on(void **state)
{
    (void)state;
    char to[1000];
    int again;
    sim_start();
    sim_set_cold(true);
    sim_fail(SIM_READ, 1, UINT64_MAX, EIO);
    Warm *warm = warm_new();
    assert_false(read_at_last(warm, to, sizeof(to), 5, &again));
    assert_int_equal(errno, EIO);
    assert_int_equal(sim_calls_here(SIM_READ), 1);
    sim_fail(SIM_READ, 0, 0, 0);
    assert_true(read_at_last(warm, to, sizeof(to), 5, &again));
    assert_memory_equal(to, content + 5, sizeof(to));
    assert_int_equal(again, 0);
    /* Not so of another file, at the same place. */
    int other = io->open("other", O_RDWR | O_CREAT, 0600);
    assert_true(io_write_all(other, "0123456789", 10, 0));
    assert_false(warm_read(warm, other, to, 2, 5));
    assert_int_equal(errno, EAGAIN);
    io->close(other);
    warm_free(warm); /* while the thread reads */
}

/* ---- the journal ---- */

static JournalRead read_some(JournalReader *reader, JournalBatch *batch, int *waits)
{
    JournalRead result = journal_read(reader, batch);
    for (; result == JOURNAL_LATER; result = journal_read(reader, batch)) {
        ++*waits;
        g_usleep(100);
    }
    return result;
}

static JournalReader *begin_reading(uint64_t from)
{
    char *error = NULL;
    JournalReader *reader = journal_reader_begin(".", from, HISTORY, &error);
    assert_non_null(reader);
    journal_reader_dont_wait(reader);
    JournalSeek sought;
    while ((sought = journal_reader_seek(reader, 100)) != JOURNAL_FOUND) {
        assert_true(sought == JOURNAL_SEEKING || sought == JOURNAL_SEEK_LATER);
        if (sought == JOURNAL_SEEK_LATER) g_usleep(100);
    }
    return reader;
}

/* From anywhere to the end, over many segments. */
static void reads_journals(void **state)
{
    (void)state;
    model_open(model_start());
    model_write(300);
    assert_true(journal_close());
    assert_true(model_segments() > 3);
    sim_start();
    for (uint64_t from = base; from <= base + stream->len; from += 1 + stream->len / 50) {
        int waits = 0;
        sim_set_cold(true);
        JournalReader *reader = begin_reading(from);
        JournalBatch batch;
        JournalRead result;
        uint64_t at = from;
        while ((result = read_some(reader, &batch, &waits)) == JOURNAL_BATCH) {
            assert_true(batch.offset <= at);
            assert_memory_equal(batch.payload.ptr, stream->str + (batch.offset - base), batch.payload.len);
            at = batch.offset + batch.payload.len;
        }
        assert_int_equal(result, JOURNAL_END);
        assert_int_equal(at, base + stream->len);
        journal_reader_free(reader);
    }
    assert_int_equal(sim_calls_here(SIM_READ), 0);
}

/* Damage is no reason to try again. */
static void sees_damage(void **state)
{
    (void)state;
    int waits = 0;
    model_open(model_start());
    model_write(300);
    assert_true(journal_close());
    JournalSegment segment = model_segment(1);
    int fd = open(segment.path, O_RDWR);
    char byte;
    assert_int_equal(pread(fd, &byte, 1, 200), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 200), 1);
    close(fd);
    sim_start();
    sim_set_cold(true);
    JournalReader *reader = begin_reading(base);
    JournalBatch batch;
    JournalRead result;
    while ((result = read_some(reader, &batch, &waits)) == JOURNAL_BATCH)
        continue;
    assert_true(waits > 0);
    assert_int_equal(result, JOURNAL_BAD);
    assert_non_null(strstr(journal_reader_error(reader), "is damaged"));
    journal_reader_free(reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_what_is_warm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_journals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sees_damage, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
