/* test_journal.c: store/journal read back: many segments and restarts; releasing, seeking, cutting; torn tails, flipped
 * bytes, holes, seals, wrong files; the bytes of version 2.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "store/ckj.h"
#include "tests/unit/journalmodel.h"
#include "tests/unit/simio.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define OTHER_HISTORY "abcdefabcdefabcdefabcdefabcdefabcdefabcd"

/* ---- round trips ---- */

static void run_round_trip(uint32_t seed, JournalSync sync, uint64_t start)
{
    print_message("seed %u\n", seed);
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    empty_directory(".");
    model_reset(start);
    for (int restart = 0; restart < 12; restart++) {
        JournalStart options = model_start();
        options.sync = sync;
        options.segment_bytes = (uint64_t)g_rand_int_range(rand, 0, 50000);
        model_open(options);
        assert_int_equal(journal_offset(), base + stream->len);
        for (int batch = g_rand_int_range(rand, 0, 60); batch > 0; batch--) {
            for (int command = g_rand_int_range(rand, 0, 4); command > 0; command--) {
                assert_true(journal_reserve(1000));
                model_append_random(rand);
            }
            assert_true(model_commit());
            if (g_rand_int_range(rand, 0, 30) == 0) assert_true(journal_rotate());
            if (g_rand_int_range(rand, 0, 30) == 0) model_check_all();
            if (g_rand_int_range(rand, 0, 30) == 0) {
                assert_true(journal_wait_durable());
                assert_int_equal(journal_durable(), base + stream->len);
            }
        }
        assert_null(journal_trouble());
        if (g_rand_boolean(rand)) model_append_random(rand); /* closing commits */
        assert_true(journal_close());
        model_note_batch();
        model_check_all();
    }
}

static void round_trips(void **state)
{
    (void)state;
    run_round_trip(1, JOURNAL_SYNC_NO, 0);
    sim_start(); /* its syncs cost no time */
    run_round_trip(2, JOURNAL_SYNC_ALWAYS, 0);
    run_round_trip(3, JOURNAL_SYNC_EVERYSEC, 1234567890123);
    run_round_trip(4, JOURNAL_SYNC_NO, UINT64_MAX - 100000000);
}

/* ---- hearing of batches ---- */

static GByteArray *heard;

static void on_batch(uint64_t offset, Slice payload)
{
    assert_int_equal(offset, base + heard->len);
    assert_int_equal(journal_written(), offset + payload.len);
    g_byte_array_append(heard, (const guint8 *)payload.ptr, (guint)payload.len);
}

/* Whoever asked hears every batch once, when it's in the file, also over a restart. */
static void hears_batches(void **state)
{
    (void)state;
    heard = g_byte_array_new();
    journal_on_written(on_batch);
    sim_start();
    model_open(model_start());
    model_write(50);
    assert_true(journal_close());
    model_open(model_start());
    model_write(50);
    sim_fail(SIM_WRITE, 1, UINT64_MAX, ENOSPC); /* also the thread's seals */
    model_append(0, (Slice[]){ SLICE("SET"), SLICE("a"), SLICE("1") }, 3);
    guint before = heard->len;
    assert_false(journal_commit());
    assert_int_equal(heard->len, before);
    sim_fail(SIM_WRITE, 0, 0, 0);
    assert_true(journal_close()); /* which tries once more */
    assert_true(heard->len > before);
    assert_int_equal(heard->len, stream->len);
    assert_memory_equal(heard->data, stream->str, stream->len);
    journal_on_written(NULL);
    g_byte_array_unref(heard);
}

/* After journal_forget_db a command gets its SELECT again. */
static void forgets_db(void **state)
{
    (void)state;
    static const char expected[] = "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*1\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n"
                                   "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*1\r\n$1\r\nc\r\n";
    heard = g_byte_array_new();
    journal_on_written(on_batch);
    JournalStart start = model_start();
    start.db = -1;
    model_open(start);
    journal_append(3, &SLICE("a"), 1);
    journal_append(3, &SLICE("b"), 1);
    journal_forget_db();
    assert_int_equal(journal_db(), -1);
    journal_append(3, &SLICE("c"), 1);
    assert_int_equal(journal_db(), 3);
    assert_true(journal_close());
    assert_int_equal(heard->len, sizeof(expected) - 1);
    assert_memory_equal(heard->data, expected, sizeof(expected) - 1);
    journal_on_written(NULL);
    g_byte_array_unref(heard);
}

/* ---- releasing, cutting, seeking ---- */

static void wait_for_segments(guint count)
{
    for (int i = 0; i < 2000 && journal_stats().segments != count; i++)
        g_usleep(1000);
    assert_int_equal(journal_stats().segments, count);
    assert_int_equal(model_segments(), count);
}

static void release(void **state)
{
    (void)state;
    model_open(model_start());
    model_write(100);
    guint count = model_segments();
    assert_true(count > 4);
    journal_release(model_segment(2).offset - 1, 0, 0);
    wait_for_segments(count - 1);
    uint64_t first = model_segment(1).offset;
    journal_release(first, 0, 0);
    wait_for_segments(count - 2);
    assert_int_equal(journal_stats().first_offset, first);
    assert_int_equal(journal_first_ms(first), -1);
    journal_release(UINT64_MAX, 0, 0);
    wait_for_segments(1);
    Found found = model_read(".", base);
    assert_int_equal(found.result, JOURNAL_BAD);
    assert_non_null(strstr(found.error, "isn't in it any more"));
    g_free(found.error);
    model_write(100);
    found = model_read(".", journal_stats().first_offset);
    assert_int_equal(found.result, JOURNAL_END);
    assert_int_equal(found.offset, base + stream->len);
    assert_true(journal_close());
}

/* A segment that can't be removed stays, and those behind it; another call tries again. */
static void release_fails(void **state)
{
    (void)state;
    sim_start();
    model_open(model_start());
    model_write(100);
    guint count = model_segments();
    sim_fail(SIM_UNLINK, 2, 1, EIO);
    journal_release(UINT64_MAX, 0, 0);
    wait_for_segments(count - 1);
    g_usleep(20000);
    wait_for_segments(count - 1);
    journal_release(UINT64_MAX, 0, 0);
    wait_for_segments(1);
    assert_true(journal_close());
}

/* One that isn't removed for good yet is followed by no other: a power cut in between would leave a hole. */
static void release_in_order(void **state)
{
    (void)state;
    sim_start();
    model_open(model_start());
    model_write(100);
    guint count = model_segments();
    assert_true(journal_wait_durable());
    journal_release(model_segment(1).offset, 0, 0);
    wait_for_segments(count - 1);  /* so all that is finished has been closed */
    sim_fail(SIM_SYNC, 1, 1, EIO); /* of the directory */
    journal_release(UINT64_MAX, 0, 0);
    for (int i = 0; i < 2000 && !sim_has_failed(SIM_SYNC); i++)
        g_usleep(1000);
    g_usleep(20000);
    assert_int_equal(model_segments(), count - 2);
    journal_release(UINT64_MAX, 0, 0);
    wait_for_segments(1);
    assert_true(journal_close());
}

/* From any offset: begins with the batch that has it. */
static void seek(void **state)
{
    (void)state;
    model_open(model_start());
    model_write(100);
    assert_true(journal_close());
    for (uint64_t from = base; from <= base + stream->len; from++) {
        char *error = NULL;
        JournalReader *reader = journal_reader_new(".", from, HISTORY, &error);
        assert_non_null(reader);
        JournalBatch batch;
        JournalRead result = journal_read(reader, &batch);
        assert_int_equal(result, from == base + stream->len ? JOURNAL_END : JOURNAL_BATCH);
        if (result == JOURNAL_BATCH) assert_true(batch.offset <= from && from < batch.offset + batch.payload.len);
        journal_reader_free(reader);
    }
    Found found = model_read(".", base + stream->len + 1);
    assert_int_equal(found.result, JOURNAL_BAD);
    g_free(found.error);
}

/* The same in pieces: none reads much more than it may. */
static void seek_in_pieces(void **state)
{
    (void)state;
    model_open(model_start());
    model_write(300);
    assert_true(journal_close());
    for (uint64_t from = base; from <= base + stream->len; from += 7) {
        char *error = NULL;
        JournalReader *reader = journal_reader_begin(".", from, HISTORY, &error);
        assert_non_null(reader);
        for (uint64_t at = journal_reader_offset(reader);; at = journal_reader_offset(reader)) {
            JournalSeek sought = journal_reader_seek(reader, 1);
            if (sought == JOURNAL_FOUND) break;
            assert_int_equal(sought, JOURNAL_SEEKING);
            assert_true(journal_reader_offset(reader) > at && journal_reader_offset(reader) < from);
        }
        assert_int_equal(journal_reader_seek(reader, 1), JOURNAL_FOUND);
        JournalBatch batch;
        JournalRead result = journal_read(reader, &batch);
        assert_int_equal(result, from == base + stream->len ? JOURNAL_END : JOURNAL_BATCH);
        if (result == JOURNAL_BATCH) assert_true(batch.offset <= from && from < batch.offset + batch.payload.len);
        journal_reader_free(reader);
    }
    char *error = NULL;
    JournalReader *reader = journal_reader_begin(".", base + stream->len + 1, HISTORY, &error);
    JournalSeek sought = JOURNAL_SEEKING;
    while (sought == JOURNAL_SEEKING)
        sought = journal_reader_seek(reader, 100);
    assert_int_equal(sought, JOURNAL_NOT_FOUND);
    assert_non_null(strstr(journal_reader_error(reader), "it ends at offset"));
    journal_reader_free(reader);
}

/* A reader that has come to the end goes on when more has been written. */
static void read_along(void **state)
{
    (void)state;
    char *error = NULL;
    JournalReader *reader = journal_reader_new(".", 0, NULL, &error);
    assert_non_null(reader);
    for (int round = 0; round < 40; round++) {
        if (round == 2) model_open(model_start());
        if (round > 2) model_write(round % 4);
        if (round % 9 == 8) assert_true(journal_rotate());
        Found found = model_read_on(reader);
        assert_int_equal(found.result, JOURNAL_END);
        assert_int_equal(found.offset, base + stream->len);
        assert_int_equal(journal_reader_left(reader), 0);
    }
    assert_true(journal_close());
    journal_reader_free(reader);
}

static void cut(void **state)
{
    (void)state;
    model_open(model_start());
    model_write(100);
    assert_true(journal_close());
    uint64_t inside = g_array_index(ends, uint64_t, 50) + 1;
    char *error = journal_cut(".", inside);
    assert_non_null(error);
    g_free(error);
    model_check_all();
    for (bool emptied = false; !emptied;) {
        emptied = ends->len <= 7;
        g_array_set_size(ends, ends->len - MIN(ends->len, 7));
        g_string_truncate(stream, ends->len > 0 ? g_array_index(ends, uint64_t, ends->len - 1) - base : 0);
        assert_null(journal_cut(".", base + stream->len));
        model_check_all();
        stream_db = ends->len > 0 ? 0 : -1;
        model_open(model_start());
        model_write(2);
        assert_true(journal_close());
        model_check_all();
    }
    assert_null(journal_cut(".", 0));
    assert_int_equal(model_segments(), 0);
}

/* What is there can be read, up to its end. */
static void assert_no_segment_missing(void)
{
    char *error = NULL;
    JournalBatch batch;
    JournalReader *reader = journal_reader_new(".", base, HISTORY, &error);
    while (journal_read(reader, &batch) == JOURNAL_BATCH)
        continue;
    assert_null(journal_reader_error(reader));
    journal_reader_free(reader);
}

/* Whichever call fails while it's cut: what stays was never in danger, and cutting again ends it. */
static void cut_fails(void **state)
{
    (void)state;
    bool names_synced = false;
    for (SimOp op = 0; op < SIM_OPS; op++) {
        bool failed = true;
        for (uint64_t nth = 1; failed; nth++) {
            sim_start();
            empty_directory(".");
            model_reset(0);
            model_open(model_start());
            model_write(60);
            assert_true(journal_close());
            g_array_set_size(ends, 20);
            g_string_truncate(stream, g_array_index(ends, uint64_t, 19) - base);
            sim_fail(op, nth, 1, EIO);
            g_autofree char *error = journal_cut(".", base + stream->len);
            failed = sim_has_failed(op);
            sim_fail(op, 0, 0, 0);
            names_synced |= op == SIM_SYNC && error != NULL && strstr(error, JOURNAL_DIRECTORY ": ") != NULL;
            assert_no_segment_missing();
            if (error != NULL) assert_null(journal_cut(".", base + stream->len));
            model_check_all();
        }
    }
    assert_true(names_synced); /* before the last one is shortened */
}

/* ---- going on elsewhere, or as another history ---- */

static void open_before_the_end(void **state)
{
    (void)state;
    model_open(model_start());
    model_write(3);
    assert_true(journal_close());
    JournalStart start = model_start();
    start.offset--;
    char *error = journal_open(&start);
    assert_non_null(error);
    assert_non_null(strstr(error, "it goes on to offset"));
    g_free(error);
    assert_false(journal_is_open());
    model_open(model_start());
    assert_true(journal_close());
}

/* After a jump what stands before is of no use to the new stream, and no harm. */
static void open_beyond_the_end(void **state)
{
    (void)state;
    model_open(model_start());
    model_write(3);
    assert_true(journal_close());
    model_reset(base + stream->len + 1000);
    model_open(model_start());
    model_write(50);
    assert_true(journal_wait_durable());
    model_check_all();
    journal_release(base, 0, 0);
    for (int i = 0; i < 1000 && journal_stats().first_offset < base; i++)
        g_usleep(1000);
    assert_int_equal(journal_stats().first_offset, base);
    assert_true(journal_close());
    model_check_all();
}

static uint64_t read_to_the_end(const char *history)
{
    char *error = NULL;
    JournalReader *reader = journal_reader_new(".", 0, history, &error);
    assert_non_null(reader);
    Found found = model_read_on(reader);
    g_free(found.error);
    journal_reader_free(reader);
    return found.offset;
}

/* Another history begins a segment of its own, where the one before ended. */
static void change_history(void **state)
{
    (void)state;
    JournalStart start = model_start();
    start.segment_bytes = 1 << 20;
    model_open(start);
    model_write(3);
    assert_true(journal_close());
    uint64_t end = base + stream->len;
    for (int round = 0; round < 2; round++) { /* the second time replaces an empty segment */
        JournalStart next = model_start();
        next.history = round == 0 ? HISTORY : OTHER_HISTORY;
        model_open(next);
        if (round == 0) assert_true(journal_rotate());
        if (round == 1) model_write(3);
        assert_true(journal_close());
    }
    assert_int_equal(model_segments(), 2);
    assert_int_equal(read_to_the_end(NULL), base + stream->len);
    assert_int_equal(read_to_the_end(HISTORY), end);
}

/* ---- damage ---- */

typedef struct Bytes {
    char *bytes;
    gsize len;
} Bytes;

static Bytes load(const char *path)
{
    Bytes loaded;
    assert_true(g_file_get_contents(path, &loaded.bytes, &loaded.len, NULL));
    return loaded;
}

/* In place, without a sync: tests do that for each byte. */
static void store(const char *path, const char *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
    close(fd);
}

/* Makes a journal of some segments, each batch durable before the next; the last one has some batches. */
static void make_closed_journal(void)
{
    JournalStart start = model_start();
    start.segment_bytes = 320;
    model_open(start);
    for (int i = 0; i < 15; i++) {
        model_write(1);
        assert_true(journal_wait_durable());
    }
    assert_true(journal_close());
    assert_int_equal(model_segments(), 4);
}

static void shorten(const JournalSegment *segment, size_t bytes)
{
    assert_int_equal(truncate(segment->path, (off_t)(segment->file_bytes - bytes)), 0);
}

/* The same as a process leaves it that was killed: only the last segment has no seal. */
static void make_small_journal(void)
{
    make_closed_journal();
    JournalSegment last = model_segment(3);
    shorten(&last, CKJ_BATCH_HEAD_BYTES);
}

/* The message has the file, and what to do. */
static void check_message(Found *found)
{
    assert_non_null(found->error);
    assert_non_null(strstr(found->error, JOURNAL_DIRECTORY "/0"));
    assert_non_null(strstr(found->error, "byte "));
    g_autofree char *here = g_get_current_dir();
    g_autofree char *hint = g_strdup_printf("; run: ckv check %s --repair", here);
    assert_true(g_str_has_suffix(found->error, hint));
    g_clear_pointer(&found->error, g_free);
}

/* Where in the stream the last whole batch of a file's first `len` bytes ends. */
static uint64_t whole_until(const JournalSegment *segment, size_t len)
{
    uint64_t offset = segment->offset, position = CKJ_HEAD_BYTES;
    for (guint i = 0; i < ends->len; i++) {
        uint64_t end = g_array_index(ends, uint64_t, i);
        if (end <= segment->offset) continue;
        position += CKJ_BATCH_HEAD_BYTES + (end - offset);
        if (position > len) break;
        offset = end;
    }
    return offset;
}

static void check_torn(const JournalSegment *last, size_t kept, size_t len)
{
    Found found = model_read(".", base);
    uint64_t whole = whole_until(last, kept);
    assert_int_equal(found.offset, whole);
    uint64_t whole_bytes = kept < CKJ_HEAD_BYTES ? 0 : CKJ_HEAD_BYTES;
    for (guint i = 0; i < ends->len; i++) {
        uint64_t end = g_array_index(ends, uint64_t, i), begin = i > 0 ? g_array_index(ends, uint64_t, i - 1) : base;
        if (begin >= last->offset && end <= whole) whole_bytes += CKJ_BATCH_HEAD_BYTES + (end - begin);
    }
    bool torn = len > whole_bytes || kept < CKJ_HEAD_BYTES;
    assert_int_equal(found.result, torn ? JOURNAL_TORN : JOURNAL_END);
    if (!torn) return;
    assert_int_equal(found.torn, len - whole_bytes);
    check_message(&found);
}

/* The last segment ends at each of its bytes, with and without zeros behind. */
static void torn_tails(void **state)
{
    (void)state;
    make_small_journal();
    JournalSegment last = model_segment(3);
    Bytes whole = load(last.path);
    for (size_t kept = 0; kept <= whole.len; kept++) {
        g_autofree char *zeroed = g_malloc0(whole.len + 100);
        memcpy(zeroed, whole.bytes, kept);
        store(last.path, zeroed, kept);
        check_torn(&last, kept, kept);
        if (kept > 0 && whole.bytes[kept - 1] == 0) continue; /* would be a longer one */
        store(last.path, zeroed, whole.len + 100);
        check_torn(&last, kept, whole.len + 100);
    }
    g_free(whole.bytes);
}

/* A torn journal can't be continued before it's cut, and can after. */
static void torn_then_cut(void **state)
{
    (void)state;
    make_small_journal();
    JournalSegment last = model_segment(3);
    Bytes whole = load(last.path);
    for (size_t kept = whole.len - 1; kept < whole.len; kept -= 13) {
        store(last.path, whole.bytes, kept);
        Found found = model_read(".", base);
        g_string_truncate(stream, found.offset - base);
        while (ends->len > 0 && g_array_index(ends, uint64_t, ends->len - 1) > found.offset)
            g_array_set_size(ends, ends->len - 1);
        JournalStart start = model_start();
        if (found.result == JOURNAL_TORN) {
            char *error = journal_open(&start);
            assert_non_null(error);
            g_free(error);
            check_message(&found);
        }
        assert_null(journal_cut(".", found.offset));
        model_check_all();
        model_open(start);
        assert_true(journal_close());
        model_check_all();
    }
    g_free(whole.bytes);
}

/* Reads with a byte changed: bad; or torn, but not before `torn`; or, if that may be, all is there. */
static void flip(const JournalSegment *segment, const Bytes *whole, size_t at, char bits, uint64_t torn, bool harmless)
{
    whole->bytes[at] ^= bits;
    int fd = open(segment->path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, whole->bytes + at, 1, (off_t)at), 1);
    Found found = model_read(".", base);
    assert_int_equal(found.result == JOURNAL_END, harmless);
    if (found.result == JOURNAL_END) assert_int_equal(found.offset, base + stream->len);
    if (found.result == JOURNAL_TORN) assert_int_equal(found.offset, torn);
    if (found.result != JOURNAL_END) check_message(&found);
    whole->bytes[at] ^= bits;
    assert_int_equal(pwrite(fd, whole->bytes + at, 1, (off_t)at), 1);
    close(fd);
}

/* Each byte of each segment: what is read is right up to the damage, which is told. Only what is behind `torn` can be
 * taken for a torn write; and the seal of a segment with a follower isn't needed. */
static void flip_all(uint64_t torn)
{
    for (guint i = 0; i < 4; i++) {
        JournalSegment segment = model_segment(i);
        Bytes whole = load(segment.path);
        for (size_t at = 0; at < whole.len; at++) {
            bool harmless = i < 3 && at >= whole.len - CKJ_BATCH_HEAD_BYTES;
            flip(&segment, &whole, at, 1, torn, harmless);
            flip(&segment, &whole, at, (char)0xff, torn, harmless);
        }
        g_free(whole.bytes);
    }
    model_check_all();
}

static void flipped_bytes(void **state)
{
    (void)state;
    make_small_journal();
    flip_all(g_array_index(ends, uint64_t, ends->len - 2)); /* the last batch */
}

/* A journal that was closed vouches for all of it. */
static void flipped_bytes_after_closing(void **state)
{
    (void)state;
    make_closed_journal();
    flip_all(base + stream->len); /* the seal */
}

/* ---- holes: later blocks were written and earlier ones weren't ---- */

/* Eight batches as a power cut may leave them: three durable ones (the offset up to which they go), a hole, four whole
 * ones. */
static uint64_t make_hole(void)
{
    JournalStart start = model_start();
    start.segment_bytes = 1 << 20;
    model_open(start);
    model_write(3);
    assert_true(journal_wait_durable());
    uint64_t durable = base + stream->len;
    model_write(5);
    JournalSegment segment = model_segment(0);
    Bytes whole = load(segment.path);
    assert_true(journal_close());
    whole.bytes[CKJ_HEAD_BYTES + (durable - base) + 3 * CKJ_BATCH_HEAD_BYTES] ^= 1;
    store(segment.path, whole.bytes, whole.len);
    g_free(whole.bytes);
    return durable;
}

/* A hole where nothing was promised is a torn tail, whatever is behind it; that never comes back. */
static void hole_is_cut(void **state)
{
    (void)state;
    uint64_t durable = make_hole();
    JournalSegment segment = model_segment(0);
    Found found = model_read(".", base);
    assert_int_equal(found.result, JOURNAL_TORN);
    assert_int_equal(found.offset, durable);
    assert_int_equal(found.torn, segment.file_bytes - CKJ_HEAD_BYTES - (durable - base) - 3 * CKJ_BATCH_HEAD_BYTES);
    assert_non_null(strstr(found.error, "were never synced"));
    check_message(&found);
    assert_null(journal_cut(".", durable));
    model_cut(durable);
    model_check_all();
    for (int i = 0; i < 6; i++) {
        model_open(model_start());
        model_write(1);
        assert_true(journal_close());
        model_check_all();
    }
}

/* If any batch behind it knows that it was durable, it's damage. */
static void hole_in_what_was_durable(void **state)
{
    (void)state;
    uint64_t durable = make_hole();
    JournalSegment segment = model_segment(0);
    Bytes whole = load(segment.path);
    whole.bytes[CKJ_HEAD_BYTES + CKJ_BATCH_HEAD_BYTES] ^= 1; /* the first batch */
    store(segment.path, whole.bytes, whole.len);
    Found found = model_read(".", base);
    assert_int_equal(found.result, JOURNAL_BAD);
    assert_int_equal(found.offset, base);
    assert_true(durable > base);
    assert_non_null(strstr(found.error, "whole batches follow it"));
    check_message(&found);
    g_free(whole.bytes);
}

/* The same over segments: a later one counts, and goes with the tail. */
static void hole_over_segments(void **state)
{
    (void)state;
    sim_start();
    sim_fail(SIM_SYNC, 3, UINT32_MAX, EIO); /* those of the directories succeed */
    JournalStart start = model_start();
    start.segment_bytes = 320;
    model_open(start);
    model_write(15);
    assert_int_equal(model_segments(), 4);
    assert_false(journal_close());
    assert_non_null(strstr(journal_close_failure(), "journal/"));
    assert_non_null(strstr(journal_close_failure(), strerror(EIO)));
    sim_stop();
    for (guint i = 3; i > 0; i--) { /* from the last one on: the tail grows */
        JournalSegment segment = model_segment(i), before = model_segment(i - 1);
        shorten(&before, 10);
        Found found = model_read(".", base);
        assert_int_equal(found.result, JOURNAL_TORN);
        assert_true(found.offset < segment.offset && found.torn > segment.file_bytes);
        check_message(&found);
    }
    Found found = model_read(".", base);
    assert_null(journal_cut(".", found.offset));
    assert_int_equal(model_segments(), 1);
    model_cut(found.offset);
    g_free(found.error);
    model_check_all();
}

/* ---- seals ---- */

static void expect_bad(const char *message)
{
    Found found = model_read(".", base);
    assert_int_equal(found.result, JOURNAL_BAD);
    if (strstr(found.error, message) == NULL) fail_msg("%s", found.error);
    check_message(&found);
}

/* Whichever segments are missing at the end: that's told, with the name of the first of them. */
static void missing_segments(void **state)
{
    (void)state;
    for (int closed = 0; closed < 2; closed++) {
        empty_directory(".");
        model_reset(0);
        if (closed)
            make_closed_journal();
        else
            make_small_journal();
        for (guint i = 3; i > 0; i--) {
            JournalSegment last = model_segment(i);
            assert_int_equal(unlink(last.path), 0);
            g_autofree char *words = g_strdup_printf(
                "the segment that follows, journal/%020" G_GUINT64_FORMAT ".ckj, is missing", last.offset);
            expect_bad(words);
        }
        /* A cut there takes the seal away: nothing follows any more. */
        Found found = model_read(".", base);
        assert_null(journal_cut(".", found.offset));
        model_cut(found.offset);
        g_free(found.error);
        model_check_all();
    }
}

/* Pieces of a seal, before a follower: as if it weren't there. The next to open the journal makes up for it. */
static void torn_seals(void **state)
{
    (void)state;
    make_closed_journal();
    JournalSegment third = model_segment(2);
    Bytes whole = load(third.path);
    for (size_t kept = 0; kept < CKJ_BATCH_HEAD_BYTES; kept++) {
        store(third.path, whole.bytes, whole.len - CKJ_BATCH_HEAD_BYTES + kept);
        model_check_all();
        model_open(model_start());
        assert_true(journal_close());
        model_check_all();
        assert_int_equal(model_segment(2).file_bytes, whole.len);
    }
    JournalSegment last = model_segment(3);
    assert_int_equal(unlink(last.path), 0);
    expect_bad("is missing");
    g_free(whole.bytes);
}

/* A seal is added if something was written since the last one, and none is written over. */
static void seals_of_closed_journals(void **state)
{
    (void)state;
    for (int i = 0; i < 9; i++) {
        JournalStart start = model_start();
        start.segment_bytes = 1 << 20;
        model_open(start);
        if (i == 2) assert_true(journal_rotate()); /* which an empty one doesn't need */
        if (i % 3 == 2) model_write(1);
        assert_true(journal_close());
        size_t seals = 1 + ends->len;
        assert_int_equal(model_segments(), 1);
        assert_int_equal(model_segment(0).file_bytes,
                         CKJ_HEAD_BYTES + stream->len + (ends->len + seals) * CKJ_BATCH_HEAD_BYTES);
        model_check_all();
    }
}

/* A whole batch, which says that all before its offset is durable, where a stream might have it. */
static Slice batch_at(uint64_t offset)
{
    static uint8_t batch[CKJ_BATCH_HEAD_BYTES + 4];
    memcpy(batch + CKJ_BATCH_HEAD_BYTES, "PING", 4);
    ckj_put_batch_head(batch, (CkjBatch){ .payload_bytes = 4, .offset = offset, .unix_ms = 1, .durable = offset });
    return (Slice){ (const char *)batch, sizeof(batch) };
}

/* A value that holds a piece of a journal, even if its offsets are about the same, doesn't make a torn tail into
 * damage. */
static void journal_in_a_value(void **state)
{
    (void)state;
    make_small_journal();
    const uint64_t before = base + stream->len;
    const size_t distance = CKJ_BATCH_HEAD_BYTES + strlen("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$44\r\n");
    const uint64_t offsets[] = {
        base, before, before + 1, before + distance - 1, before + distance + 1, before + 1000000
    };
    for (size_t i = 0; i < G_N_ELEMENTS(offsets); i++) {
        JournalStart start = model_start();
        start.segment_bytes = 1 << 20;
        model_open(start);
        model_append(-1, (Slice[]){ SLICE("SET"), SLICE("key"), batch_at(offsets[i]) }, 3);
        assert_true(model_commit());
        assert_true(journal_close());
        JournalSegment last = model_segment(model_segments() - 1);
        shorten(&last, CKJ_BATCH_HEAD_BYTES + 1); /* the seal, and a byte of the batch */
        Found found = model_read(".", base);
        assert_int_equal(found.result, JOURNAL_TORN);
        assert_int_equal(found.offset, before);
        check_message(&found);
        assert_null(journal_cut(".", before));
        model_cut(before);
    }
}

/* A whole batch that stands where another should. */
static void batch_out_of_place(void **state)
{
    (void)state;
    for (int64_t off = -1; off <= 1; off++) {
        make_small_journal();
        JournalSegment last = model_segment(3);
        Slice batch = batch_at(base + stream->len + (uint64_t)off);
        int fd = open(last.path, O_WRONLY | O_APPEND);
        assert_int_equal(write(fd, batch.ptr, batch.len), batch.len);
        close(fd);
        if (off != 0) expect_bad("says that it's at offset");
        empty_directory(".");
        model_reset(base);
    }
}

static void wrong_segments(void **state)
{
    (void)state;
    make_small_journal();
    JournalSegment second = model_segment(1), third = model_segment(2);
    Bytes whole = load(second.path);

    assert_int_equal(rename(second.path, "away"), 0);
    expect_bad("is missing");
    JournalSegment first = model_segment(0);
    Bytes sealed = load(first.path);
    shorten(&first, CKJ_BATCH_HEAD_BYTES);
    expect_bad("but the next segment begins at");
    store(first.path, sealed.bytes, sealed.len);
    g_free(sealed.bytes);
    assert_int_equal(rename("away", second.path), 0);

    store(second.path, whole.bytes, whole.len - CKJ_BATCH_HEAD_BYTES - 1);
    expect_bad("whole batches follow");

    uint8_t *head = (uint8_t *)whole.bytes;
    ckj_put_head(head, second.offset, OTHER_HISTORY);
    store(second.path, whole.bytes, whole.len);
    expect_bad("it's of history " OTHER_HISTORY);

    ckj_put_head(head, second.offset + 1, HISTORY);
    store(second.path, whole.bytes, whole.len);
    expect_bad("says that it begins at offset");

    assert_int_equal(rename(third.path, "journal/00000000000000000001.ckj"), 0);
    expect_bad("but the next segment begins at 1");
    store("journal/1.ckj", "", 0);
    Found found = model_read(".", base);
    assert_non_null(strstr(found.error, "no name of a segment"));
    g_free(found.error);
    char *error = NULL;
    assert_null(journal_segments(".", &error));
    g_free(error);
    g_free(whole.bytes);
}

/* A file of another version is told from a damaged one. */
static void check_version(char version)
{
    JournalSegment segment = model_segment(3);
    Bytes whole = load(segment.path), other = load(segment.path);
    other.bytes[4] = version;
    uint64_t checksum = GUINT64_TO_LE(XXH3_64bits(other.bytes, CKJ_HEAD_BYTES - sizeof(checksum)));
    memcpy(other.bytes + CKJ_HEAD_BYTES - sizeof(checksum), &checksum, sizeof(checksum));
    store(segment.path, other.bytes, other.len);
    g_autofree char *words = g_strdup_printf(
        "its format has version %d, and this program reads version 2; use the version of ckv that wrote it", version);
    Found found = model_read(".", base);
    assert_int_equal(found.result, JOURNAL_BAD);
    assert_non_null(strstr(found.error, words));
    g_free(found.error);
    store(segment.path, whole.bytes, whole.len);
    g_free(whole.bytes);
    g_free(other.bytes);
}

static void wrong_versions(void **state)
{
    (void)state;
    make_small_journal();
    check_version(1);
    check_version(3);
}

/* Bytes of version 2, written down by hand: the format stays. */
static void format_stays(void **state)
{
    (void)state;
    clock_unix_ms = 1700000000000;
    model_reset(258);
    model_open(model_start());
    assert_int_equal(journal_first_ms(258), -1);
    model_append(-1, (Slice[]){ SLICE("PING") }, 1);
    assert_true(model_commit());
    assert_int_equal(journal_first_ms(258), 1700000000000);
    assert_true(journal_close());
    Bytes whole = load("journal/00000000000000000258.ckj");
    assert_int_equal(whole.len, 64 + 40 + 14 + 40);
    assert_memory_equal(whole.bytes, "CKVJ\x02\0\0\0\x02\x01\0\0\0\0\0\0" HISTORY, 56);
    assert_memory_equal(whole.bytes + 64,
                        "CKVB\x0e\0\0\0\x02\x01\0\0\0\0\0\0\x00\x68\xe5\xcf\x8b\x01\0\0\x02\x01\0\0\0\0\0\0", 32);
    assert_memory_equal(whole.bytes + 104, "*1\r\n$4\r\nPING\r\n", 14);
    assert_memory_equal(whole.bytes + 118, "CKVC\0\0\0\0\x10\x01\0\0\0\0\0\0", 16);
    assert_memory_equal(whole.bytes + 142, "\x10\x01\0\0\0\0\0\0", 8);
    g_free(whole.bytes);
}

/* One for another process alone: nobody else sees it; what was committed can be read, and stays as it is. */
static void aside(void **state)
{
    (void)state;
    JournalStart start = model_start();
    start.aside = true;
    start.sync = JOURNAL_SYNC_NO;
    start.segment_bytes = UINT64_MAX;
    model_reset(0);
    model_open(start);
    model_write(50);
    assert_false(journal_is_open());
    model_check_all();
    journal_append(0, (Slice[]){ SLICE("PING") }, 1);
    journal_drop();
    journal_drop();
    model_check_all();
    assert_int_equal(model_segments(), 1);
    empty_directory(".");
    model_reset(0);
    model_open(start);
    model_write(50);
    JournalPlace place;
    journal_leave(&place);
    int fd = place.fd;
    assert_true(fcntl(fd, F_GETFD) >= 0);
    journal_place_clear(&place);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    model_check_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(aside, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(round_trips, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(release, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(release_fails, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(release_in_order, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(seek, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(seek_in_pieces, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(read_along, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(cut, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(cut_fails, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(open_before_the_end, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(open_beyond_the_end, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(change_history, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(torn_tails, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(torn_then_cut, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(flipped_bytes, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(flipped_bytes_after_closing, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(hole_is_cut, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(hole_in_what_was_durable, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(hole_over_segments, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(missing_segments, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(torn_seals, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(seals_of_closed_journals, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(journal_in_a_value, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(batch_out_of_place, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(wrong_segments, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(wrong_versions, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(hears_batches, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(forgets_db, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(format_stays, model_enter, model_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
