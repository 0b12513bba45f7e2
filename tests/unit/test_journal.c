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

#define XXH_INLINE_ALL
#include <xxhash.h>

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

/* Makes a journal of some segments; the last one has some batches. */
static void make_small_journal(void)
{
    JournalStart start = default_start();
    start.segment_bytes = 300;
    open_journal(start);
    write_batches(15);
    assert_true(journal_close());
    assert_int_equal(count_segments(), 4);
}

/* The message has the file, and what to do. */
static void check_message(Found *found)
{
    assert_non_null(found->error);
    assert_non_null(strstr(found->error, JOURNAL_DIRECTORY "/0"));
    assert_non_null(strstr(found->error, "byte "));
    assert_true(g_str_has_suffix(found->error, "; run: ckv check . --repair"));
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
    Found found = read_from(".", base);
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
    JournalSegment last = segment_number(3);
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
    JournalSegment last = segment_number(3);
    Bytes whole = load(last.path);
    for (size_t kept = whole.len - 1; kept < whole.len; kept -= 13) {
        store(last.path, whole.bytes, kept);
        Found found = read_from(".", base);
        g_string_truncate(stream, found.offset - base);
        while (ends->len > 0 && g_array_index(ends, uint64_t, ends->len - 1) > found.offset)
            g_array_set_size(ends, ends->len - 1);
        JournalStart start = default_start();
        if (found.result == JOURNAL_TORN) {
            char *error = journal_open(&start);
            assert_non_null(error);
            g_free(error);
            check_message(&found);
        }
        assert_null(journal_cut(".", found.offset));
        check_all();
        open_journal(start);
        assert_true(journal_close());
        check_all();
    }
    g_free(whole.bytes);
}

static void flip(const JournalSegment *segment, const Bytes *whole, size_t at, char bits, uint64_t last_batch)
{
    whole->bytes[at] ^= bits;
    int fd = open(segment->path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, whole->bytes + at, 1, (off_t)at), 1);
    Found found = read_from(".", base);
    assert_int_not_equal(found.result, JOURNAL_END);
    if (found.result == JOURNAL_TORN) assert_int_equal(found.offset, last_batch);
    check_message(&found);
    whole->bytes[at] ^= bits;
    assert_int_equal(pwrite(fd, whole->bytes + at, 1, (off_t)at), 1);
    close(fd);
}

/* Each byte of each segment: what is read is right up to the damage, which is told; only damage of the last batch can
 * be taken for a torn write. */
static void flipped_bytes(void **state)
{
    (void)state;
    make_small_journal();
    uint64_t last_batch = g_array_index(ends, uint64_t, ends->len - 2);
    for (guint i = 0; i < 4; i++) {
        JournalSegment segment = segment_number(i);
        Bytes whole = load(segment.path);
        for (size_t at = 0; at < whole.len; at++) {
            flip(&segment, &whole, at, 1, last_batch);
            flip(&segment, &whole, at, (char)0xff, last_batch);
        }
        g_free(whole.bytes);
    }
    check_all();
}

/* A value that holds a piece of this very journal doesn't make a torn tail into damage. */
static void journal_in_a_value(void **state)
{
    (void)state;
    make_small_journal();
    JournalSegment last = segment_number(3);
    Bytes piece = load(last.path);
    open_journal(default_start());
    append(-1, (Slice[]){ SLICE("SET"), SLICE("key"), { piece.bytes, piece.len } }, 3);
    assert_true(commit());
    assert_true(journal_close());
    last = segment_number(count_segments() - 1);
    Bytes whole = load(last.path);
    store(last.path, whole.bytes, whole.len - 1);
    Found found = read_from(".", base);
    assert_int_equal(found.result, JOURNAL_TORN);
    check_message(&found);
    g_free(piece.bytes);
    g_free(whole.bytes);
}

static void expect_bad(const char *message)
{
    Found found = read_from(".", base);
    assert_int_equal(found.result, JOURNAL_BAD);
    if (strstr(found.error, message) == NULL) fail_msg("%s", found.error);
    g_free(found.error);
}

static void wrong_segments(void **state)
{
    (void)state;
    make_small_journal();
    JournalSegment second = segment_number(1), third = segment_number(2);
    Bytes whole = load(second.path);

    assert_int_equal(rename(second.path, "away"), 0);
    expect_bad("but the next segment begins at");
    assert_int_equal(rename("away", second.path), 0);

    store(second.path, whole.bytes, whole.len - 1);
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
    expect_bad("no name of a segment");
    char *error = NULL;
    assert_null(journal_segments(".", &error));
    g_free(error);
    g_free(whole.bytes);
}

/* A file of a version to come is told from a damaged one. */
static void wrong_version(void **state)
{
    (void)state;
    make_small_journal();
    JournalSegment segment = segment_number(3);
    Bytes whole = load(segment.path);
    whole.bytes[4] = 2;
    uint64_t checksum = GUINT64_TO_LE(XXH3_64bits(whole.bytes, CKJ_HEAD_BYTES - sizeof(checksum)));
    memcpy(whole.bytes + CKJ_HEAD_BYTES - sizeof(checksum), &checksum, sizeof(checksum));
    store(segment.path, whole.bytes, whole.len);
    expect_bad("its format has version 2, and this program reads version 1; use the version of ckv that wrote it");
    g_free(whole.bytes);
}

/* Bytes of version 1, written down by hand: the format stays. */
static void format_stays(void **state)
{
    (void)state;
    clock_unix_ms = 1700000000000;
    reset_model(258);
    open_journal(default_start());
    append(-1, (Slice[]){ SLICE("PING") }, 1);
    assert_true(commit());
    assert_true(journal_close());
    Bytes whole = load("journal/00000000000000000258.ckj");
    assert_int_equal(whole.len, 64 + 32 + 14);
    assert_memory_equal(whole.bytes, "CKVJ\x01\0\0\0\x02\x01\0\0\0\0\0\0" HISTORY, 56);
    assert_memory_equal(whole.bytes + 64, "CKVB\x0e\0\0\0\x02\x01\0\0\0\0\0\0\x00\x68\xe5\xcf\x8b\x01\0\0", 24);
    assert_memory_equal(whole.bytes + 96, "*1\r\n$4\r\nPING\r\n", 14);
    g_free(whole.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(round_trips, enter_directory, leave_directory),
        cmocka_unit_test_setup_teardown(release, enter_directory, leave_directory),
        cmocka_unit_test_setup_teardown(seek, enter_directory, leave_directory),
        cmocka_unit_test_setup_teardown(cut, enter_directory, leave_directory),
        cmocka_unit_test_setup_teardown(torn_tails, enter_directory, leave_directory),
        cmocka_unit_test_setup_teardown(torn_then_cut, enter_directory, leave_directory),
        cmocka_unit_test_setup_teardown(flipped_bytes, enter_directory, leave_directory),
        cmocka_unit_test_setup_teardown(journal_in_a_value, enter_directory, leave_directory),
        cmocka_unit_test_setup_teardown(wrong_segments, enter_directory, leave_directory),
        cmocka_unit_test_setup_teardown(wrong_version, enter_directory, leave_directory),
        cmocka_unit_test_setup_teardown(format_stays, enter_directory, leave_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
