/* journalmodel.c: see journalmodel.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/journalmodel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/unit/simio.h"

GString *stream;
GArray *ends;
uint64_t base;
int stream_db;

static char *directory;

/* ---- the directory ---- */

void empty_directory(const char *path)
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

void model_reset(uint64_t offset)
{
    g_string_truncate(stream, 0);
    g_array_set_size(ends, 0);
    base = offset;
    stream_db = -1;
}

int model_enter(void **state)
{
    (void)state;
    clock_refresh();
    stream = g_string_new(NULL);
    ends = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    model_reset(0);
    directory = g_dir_make_tmp("ckv-journal-XXXXXX", NULL);
    return directory != NULL && chdir(directory) == 0 ? 0 : -1;
}

int model_leave(void **state)
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

JournalStart model_start(void)
{
    return (JournalStart){ .offset = base + stream->len,
                           .db = stream_db,
                           .history = HISTORY,
                           .sync = JOURNAL_SYNC_NO,
                           .segment_bytes = 1500 };
}

void model_open(JournalStart start)
{
    char *error = journal_open(&start);
    if (error != NULL) fail_msg("%s", error);
}

static void add_to_stream(const Slice *argv, int argc)
{
    g_string_append_printf(stream, "*%d\r\n", argc);
    for (int i = 0; i < argc; i++) {
        g_string_append_printf(stream, "$%zu\r\n", argv[i].len);
        g_string_append_len(stream, argv[i].ptr, (gssize)argv[i].len);
        g_string_append(stream, "\r\n");
    }
}

void model_append(int db, const Slice *argv, int argc)
{
    if (db >= 0 && db != stream_db) {
        g_autofree char *digits = g_strdup_printf("%d", db);
        add_to_stream((Slice[]){ SLICE("SELECT"), slice_of(digits) }, 2);
        stream_db = db;
    }
    add_to_stream(argv, argc);
    journal_append(db, argv, argc);
    assert_int_equal(journal_offset(), base + stream->len);
    assert_int_equal(journal_db(), stream_db);
}

void model_append_random(GRand *rand)
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
    model_append(g_rand_int_range(rand, -1, 4), argv, argc);
}

void model_note_batch(void)
{
    uint64_t end = base + stream->len, before = ends->len > 0 ? g_array_index(ends, uint64_t, ends->len - 1) : base;
    if (end != before) g_array_append_val(ends, end);
}

bool model_commit(void)
{
    uint64_t batch = journal_batch();
    bool pending = journal_pending_bytes() > 0;
    if (!journal_commit()) return false;
    assert_int_equal(journal_batch(), batch + pending);
    assert_int_equal(journal_pending_bytes(), 0);
    assert_int_equal(journal_written(), base + stream->len);
    model_note_batch();
    (void)journal_end_turn();
    return true;
}

void model_cut(uint64_t offset)
{
    assert_true(offset >= base && offset <= base + stream->len);
    g_string_truncate(stream, offset - base);
    while (ends->len > 0 && g_array_index(ends, uint64_t, ends->len - 1) > offset)
        g_array_set_size(ends, ends->len - 1);
    stream_db = -1;
}

/* Some small batches. */
void model_write(int count)
{
    for (int i = 0; i < count; i++) {
        g_autofree char *value = g_strdup_printf("value %d", i);
        model_append(0, (Slice[]){ SLICE("SET"), SLICE("key"), slice_of(value) }, 3);
        assert_true(model_commit());
    }
}

/* ---- reading ---- */

static bool is_batch_end(uint64_t offset)
{
    if (offset == base) return true;
    for (guint i = 0; i < ends->len; i++)
        if (g_array_index(ends, uint64_t, i) == offset) return true;
    return false;
}

/* Reads on to the end; what it reads must be what was written, batch by batch. */
Found model_read_on(JournalReader *reader)
{
    JournalBatch batch;
    JournalRead result;
    uint64_t left = UINT64_MAX;
    while ((result = journal_read(reader, &batch)) == JOURNAL_BATCH) {
        assert_true(journal_reader_left(reader) < left);
        left = journal_reader_left(reader);
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

Found model_read(const char *where, uint64_t from)
{
    char *error = NULL;
    JournalReader *reader = journal_reader_new(where, from, HISTORY, &error);
    if (reader == NULL) return (Found){ JOURNAL_BAD, 0, 0, error };
    assert_true(journal_reader_offset(reader) <= from);
    Found found = model_read_on(reader);
    journal_reader_free(reader);
    return found;
}

/* All of it is there, to the end. */
void model_check_all(void)
{
    Found found = model_read(".", base);
    if (found.result != JOURNAL_END) fail_msg("%s", found.error);
    assert_int_equal(found.offset, base + stream->len);
}

JournalSegment model_segment(guint index)
{
    char *error = NULL;
    GArray *segments = journal_segments(".", &error);
    assert_non_null(segments);
    assert_true(index < segments->len);
    JournalSegment segment = g_array_index(segments, JournalSegment, index);
    g_array_unref(segments);
    return segment;
}

guint model_segments(void)
{
    char *error = NULL;
    GArray *segments = journal_segments(".", &error);
    if (segments == NULL) fail_msg("%s", error);
    guint count = segments->len;
    g_array_unref(segments);
    return count;
}

void model_wait_for_healing(bool commits)
{
    for (int i = 0; i < 1000 && journal_trouble() != NULL; i++) {
        g_usleep(1000);
        if (commits)
            (void)journal_commit();
        else
            (void)journal_reserve(100);
    }
    assert_null(journal_trouble());
}

void model_expect_trouble(const char *words)
{
    const char *trouble = journal_trouble();
    assert_non_null(trouble);
    assert_true(g_str_has_prefix(trouble, JOURNAL_DIRECTORY "/000"));
    assert_non_null(strstr(trouble, words));
}
