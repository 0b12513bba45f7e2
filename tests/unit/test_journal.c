/* test_journal.c: store/journal against a plain string of what was appended: many segments and restarts; torn tails,
 * flipped bytes, failing calls, a full disk, power cuts; releasing and cutting.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "store/ckj.h"
#include "tests/unit/simio.h"

#define HISTORY       "0123456789012345678901234567890123456789"
#define OTHER_HISTORY "abcdefabcdefabcdefabcdefabcdefabcdefabcd"
#define CUTS          150 /* power cuts tried of each run */

/* The model: the stream from offset `base` on; where the committed batches end; the database it's in. */
static GString *stream;
static GArray *ends;
static uint64_t base;
static int stream_db;

static char *directory;

/* ---- the directory ---- */

static void empty_directory(const char *path)
{
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *inside = g_build_filename(path, name, NULL);
        if (g_file_test(inside, G_FILE_TEST_IS_DIR)) {
            empty_directory(inside);
            rmdir(inside);
        } else {
            unlink(inside);
        }
    }
    if (dir != NULL) g_dir_close(dir);
}

static void reset_model(uint64_t offset)
{
    g_string_truncate(stream, 0);
    g_array_set_size(ends, 0);
    base = offset;
    stream_db = -1;
}

static int enter_directory(void **state)
{
    (void)state;
    clock_refresh();
    stream = g_string_new(NULL);
    ends = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    reset_model(0);
    directory = g_dir_make_tmp("ckv-journal-XXXXXX", NULL);
    return directory != NULL && chdir(directory) == 0 ? 0 : -1;
}

static int leave_directory(void **state)
{
    (void)state;
    if (journal_is_open()) journal_close();
    sim_stop();
    empty_directory(".");
    if (chdir("/") != 0 || rmdir(directory) != 0) return -1;
    g_clear_pointer(&directory, g_free);
    g_string_free(stream, TRUE);
    g_array_unref(ends);
    return 0;
}

/* ---- writing, and the model with it ---- */

static JournalStart default_start(void)
{
    return (JournalStart){ .offset = base + stream->len,
                           .db = stream_db,
                           .history = HISTORY,
                           .sync = JOURNAL_SYNC_NO,
                           .segment_bytes = 1500 };
}

static void open_journal(JournalStart start)
{
    char *error = journal_open(&start);
    if (error != NULL) fail_msg("%s", error);
}

static void model_command(const Slice *argv, int argc)
{
    g_string_append_printf(stream, "*%d\r\n", argc);
    for (int i = 0; i < argc; i++) {
        g_string_append_printf(stream, "$%zu\r\n", argv[i].len);
        g_string_append_len(stream, argv[i].ptr, (gssize)argv[i].len);
        g_string_append(stream, "\r\n");
    }
}

static void append(int db, const Slice *argv, int argc)
{
    if (db >= 0 && db != stream_db) {
        g_autofree char *digits = g_strdup_printf("%d", db);
        model_command((Slice[]){ SLICE("SELECT"), slice_of(digits) }, 2);
        stream_db = db;
    }
    model_command(argv, argc);
    journal_append(db, argv, argc);
    assert_int_equal(journal_offset(), base + stream->len);
    assert_int_equal(journal_db(), stream_db);
}

static void append_random(GRand *rand)
{
    static char bytes[30000];
    Slice argv[12];
    int argc = g_rand_int_range(rand, 1, G_N_ELEMENTS(argv));
    gint32 len_max =
        g_rand_int_range(rand, 0, 200) == 0 ? (gint32)sizeof(bytes) : 1 + (1 << g_rand_int_range(rand, 0, 9));
    for (int i = 0; i < argc; i++) {
        size_t len = (size_t)g_rand_int_range(rand, 0, len_max);
        argv[i] = (Slice){ bytes + g_rand_int_range(rand, 0, (gint32)(sizeof(bytes) - len) + 1), len };
        if (len > 0) bytes[g_rand_int_range(rand, 0, sizeof(bytes))] = (char)g_rand_int(rand);
    }
    append(g_rand_int_range(rand, -1, 4), argv, argc);
}

static void note_batch(void)
{
    uint64_t end = base + stream->len, before = ends->len > 0 ? g_array_index(ends, uint64_t, ends->len - 1) : base;
    if (end != before) g_array_append_val(ends, end);
}

static bool commit(void)
{
    uint64_t batch = journal_batch();
    bool pending = journal_pending_bytes() > 0;
    if (!journal_commit()) return false;
    assert_int_equal(journal_batch(), batch + pending);
    assert_int_equal(journal_pending_bytes(), 0);
    assert_int_equal(journal_written(), base + stream->len);
    note_batch();
    return true;
}

/* Some small batches. */
static void write_batches(int count)
{
    for (int i = 0; i < count; i++) {
        g_autofree char *value = g_strdup_printf("value %d", i);
        append(0, (Slice[]){ SLICE("SET"), SLICE("key"), slice_of(value) }, 3);
        assert_true(commit());
    }
}

/* ---- reading ---- */

typedef struct Found {
    JournalRead result;
    uint64_t offset, torn;
    char *error;
} Found;

static bool is_batch_end(uint64_t offset)
{
    if (offset == base) return true;
    for (guint i = 0; i < ends->len; i++)
        if (g_array_index(ends, uint64_t, i) == offset) return true;
    return false;
}

/* Reads on to the end; what it reads must be what was written, batch by batch. */
static Found read_on(JournalReader *reader)
{
    JournalBatch batch;
    JournalRead result;
    while ((result = journal_read(reader, &batch)) == JOURNAL_BATCH) {
        uint64_t end = batch.offset + batch.payload.len;
        assert_true(batch.offset >= base && end <= base + stream->len);
        assert_memory_equal(batch.payload.ptr, stream->str + (batch.offset - base), batch.payload.len);
        assert_true(is_batch_end(batch.offset) && is_batch_end(end));
        assert_int_equal(journal_reader_offset(reader), end);
        assert_int_equal(batch.unix_ms, clock_unix_ms);
    }
    Found found = { result, journal_reader_offset(reader), journal_reader_torn_bytes(reader), NULL };
    if (result != JOURNAL_END) found.error = g_strdup(journal_reader_error(reader));
    return found;
}

static Found read_from(const char *where, uint64_t from)
{
    char *error = NULL;
    JournalReader *reader = journal_reader_new(where, from, HISTORY, &error);
    if (reader == NULL) return (Found){ JOURNAL_BAD, 0, 0, error };
    assert_true(journal_reader_offset(reader) <= from);
    Found found = read_on(reader);
    journal_reader_free(reader);
    return found;
}

/* All of it is there, to the end. */
static void check_all(void)
{
    Found found = read_from(".", base);
    if (found.result != JOURNAL_END) fail_msg("%s", found.error);
    assert_int_equal(found.offset, base + stream->len);
}

static JournalSegment segment_number(guint index)
{
    char *error = NULL;
    GArray *segments = journal_segments(".", &error);
    assert_non_null(segments);
    assert_true(index < segments->len);
    JournalSegment segment = g_array_index(segments, JournalSegment, index);
    g_array_unref(segments);
    return segment;
}

static guint count_segments(void)
{
    char *error = NULL;
    GArray *segments = journal_segments(".", &error);
    if (segments == NULL) fail_msg("%s", error);
    guint count = segments->len;
    g_array_unref(segments);
    return count;
}

/* ---- round trips ---- */

static void run_round_trip(uint32_t seed, JournalSync sync, uint64_t start)
{
    print_message("seed %u\n", seed);
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    empty_directory(".");
    reset_model(start);
    for (int restart = 0; restart < 12; restart++) {
        JournalStart options = default_start();
        options.sync = sync;
        options.segment_bytes = (uint64_t)g_rand_int_range(rand, 0, 50000);
        open_journal(options);
        assert_int_equal(journal_offset(), base + stream->len);
        for (int batch = g_rand_int_range(rand, 0, 60); batch > 0; batch--) {
            for (int command = g_rand_int_range(rand, 0, 4); command > 0; command--) {
                assert_true(journal_reserve(1000));
                append_random(rand);
            }
            assert_true(commit());
            if (g_rand_int_range(rand, 0, 30) == 0) assert_true(journal_rotate());
            if (g_rand_int_range(rand, 0, 30) == 0) check_all();
            if (g_rand_int_range(rand, 0, 30) == 0) {
                assert_true(journal_wait_durable());
                assert_int_equal(journal_durable(), base + stream->len);
            }
        }
        assert_null(journal_trouble());
        if (g_rand_boolean(rand)) append_random(rand); /* closing commits */
        assert_true(journal_close());
        note_batch();
        check_all();
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

/* ---- releasing, cutting, seeking ---- */

static void wait_for_segments(guint count)
{
    for (int i = 0; i < 2000 && journal_stats().segments != count; i++)
        g_usleep(1000);
    assert_int_equal(journal_stats().segments, count);
    assert_int_equal(count_segments(), count);
}

static void release(void **state)
{
    (void)state;
    open_journal(default_start());
    write_batches(100);
    guint count = count_segments();
    assert_true(count > 4);
    journal_release(segment_number(2).offset - 1);
    wait_for_segments(count - 1);
    uint64_t first = segment_number(1).offset;
    journal_release(first);
    wait_for_segments(count - 2);
    assert_int_equal(journal_stats().first_offset, first);
    journal_release(UINT64_MAX);
    wait_for_segments(1);
    Found found = read_from(".", base);
    assert_int_equal(found.result, JOURNAL_BAD);
    assert_non_null(strstr(found.error, "isn't in it any more"));
    g_free(found.error);
    write_batches(100);
    assert_int_equal(read_from(".", journal_stats().first_offset).offset, base + stream->len);
    assert_true(journal_close());
}

/* From any offset: begins with the batch that has it. */
static void seek(void **state)
{
    (void)state;
    open_journal(default_start());
    write_batches(100);
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
    Found found = read_from(".", base + stream->len + 1);
    assert_int_equal(found.result, JOURNAL_BAD);
    g_free(found.error);
}

static void cut(void **state)
{
    (void)state;
    open_journal(default_start());
    write_batches(100);
    assert_true(journal_close());
    uint64_t inside = g_array_index(ends, uint64_t, 50) + 1;
    char *error = journal_cut(".", inside);
    assert_non_null(error);
    g_free(error);
    check_all();
    for (bool emptied = false; !emptied;) {
        emptied = ends->len <= 7;
        g_array_set_size(ends, ends->len - MIN(ends->len, 7));
        g_string_truncate(stream, ends->len > 0 ? g_array_index(ends, uint64_t, ends->len - 1) - base : 0);
        assert_null(journal_cut(".", base + stream->len));
        check_all();
        stream_db = ends->len > 0 ? 0 : -1;
        open_journal(default_start());
        write_batches(2);
        assert_true(journal_close());
        check_all();
    }
    assert_null(journal_cut(".", 0));
    assert_int_equal(count_segments(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(round_trips, enter_directory, leave_directory),
        cmocka_unit_test_setup_teardown(release, enter_directory, leave_directory),
        cmocka_unit_test_setup_teardown(seek, enter_directory, leave_directory),
        cmocka_unit_test_setup_teardown(cut, enter_directory, leave_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
