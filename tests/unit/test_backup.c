/* test_backup.c: store/backup: every operation on files at which a rollback, its completion or a backup can be cut off;
 * after each the directory must be what it was or what it was to become. And pruning, moments, ids.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <glib/gstdio.h>

#include "base/clock.h"
#include "store/checkpoint.h"
#include "store/ckj.h"
#include "store/io.h"
#include "store/journal.h"
#include "tests/unit/simio.h"

/* ---- the process dies at an operation: nothing that follows happens ---- */

static gssize operations_left = G_MAXSSIZE; /* atomic: the journal's threads count, too */

static bool dead(void)
{
    if ((gssize)g_atomic_pointer_get(&operations_left) > 0) {
        g_atomic_pointer_add(&operations_left, -1);
        return false;
    }
    errno = EIO;
    return true;
}

static int mortal_open(const char *path, int flags, mode_t mode)
{
    return (flags & O_CREAT) != 0 && dead() ? -1 : io_kernel.open(path, flags, mode);
}

static ssize_t mortal_write(int fd, const void *from, size_t len, off_t at)
{
    return dead() ? -1 : io_kernel.write(fd, from, len, at);
}

static int mortal_sync(int fd)
{
    (void)fd;
    return dead() ? -1 : 0;
}

static int mortal_rename(const char *from, const char *to)
{
    return dead() ? -1 : io_kernel.rename(from, to);
}

static int mortal_unlink(const char *path)
{
    return dead() ? -1 : io_kernel.unlink(path);
}

static int mortal_mkdir(const char *path, mode_t mode)
{
    return dead() ? -1 : io_kernel.mkdir(path, mode);
}

static Io mortal;

static void live_for(long operations)
{
    operations_left = operations;
    io = &mortal;
}

/* Whether it lived on. */
static bool survived(void)
{
    bool result = operations_left > 0;
    operations_left = LONG_MAX;
    return result;
}

/* ---- directories ---- */

static char *scratch;

static void copy_tree(const char *from, const char *to)
{
    g_mkdir(to, 0700);
    GDir *dir = g_dir_open(from, 0, NULL);
    for (const char *name; dir != NULL && (name = g_dir_read_name(dir)) != NULL;) {
        g_autofree char *a = g_build_filename(from, name, NULL), *b = g_build_filename(to, name, NULL), *text = NULL;
        gsize len;
        if (g_file_test(a, G_FILE_TEST_IS_DIR)) {
            copy_tree(a, b);
        } else if (g_file_get_contents(a, &text, &len, NULL)) {
            assert_true(g_file_set_contents_full(b, text, (gssize)len, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
        }
    }
    if (dir != NULL) g_dir_close(dir);
}

static void fresh_copy(const char *from, const char *to)
{
    assert_true(state_remove(to));
    copy_tree(from, to);
}

/* What a start would load, as text, all of it verified; the history aside. */
static char *describe(const char *dir)
{
    char *error = NULL;
    Manifest manifest;
    if (manifest_read(dir, &manifest, &error) != MANIFEST_READ) fail_msg("%s: %s", dir, error);
    State state;
    StateEnd end;
    directory_state(dir, &manifest, manifest_newest(&manifest), &state);
    error = state_verify(&state, &end, NULL);
    if (error != NULL) fail_msg("%s", error);
    GString *text = g_string_new(NULL);
    g_string_append_printf(text, "%s checkpoint %d offset %ld sum %lx; ", manifest.instance, state.checkpoint != NULL,
                           state.info.offset, state.info.sum);
    JournalReader *reader = journal_reader_new(dir, state.info.offset, NULL, &error);
    if (reader == NULL) fail_msg("%s", error);
    for (JournalBatch batch; journal_read(reader, &batch) == JOURNAL_BATCH;) {
        g_autofree char *sum =
            g_compute_checksum_for_data(G_CHECKSUM_MD5, (const guchar *)batch.payload.ptr, batch.payload.len);
        g_string_append_printf(text, "%ld:%ld:%.8s ", batch.offset, batch.unix_ms, sum);
    }
    g_string_append_printf(text, "end %ld", end.offset);
    journal_reader_free(reader);
    state_clear(&state);
    manifest_clear(&manifest);
    return g_string_free(text, FALSE);
}

/* ---- making a data directory ---- */

static Keyspace *ks;
static uint64_t segment_bytes; /* of the next directory that is made */

static void write_batches(int from, int count)
{
    for (int i = from; i < from + count; i++) {
        g_autofree char *key = g_strdup_printf("key:%d", i), *value = g_strnfill(50 + (gsize)i, 'v');
        Slice argv[] = { SLICE("SET"), slice_of(key), slice_of(value) };
        clock_refresh();
        keyspace_put_string(&ks->dbs[0], argv[1], argv[2]);
        journal_append(0, argv, 3);
        assert_true(journal_commit());
        g_usleep(2000);
    }
}

static void make_checkpoint(void)
{
    char *error = NULL;
    clock_refresh();
    assert_true(journal_rotate()); /* a start wants a segment to begin there */
    if (!checkpoint_start(journal_offset(), 0, clock_unix_ms, &error)) fail_msg("%s", error);
    for (CheckpointStep step = CHECKPOINT_MORE; step != CHECKPOINT_DONE;) {
        step = checkpoint_step(1000, journal_offset());
        if (step == CHECKPOINT_WAIT) checkpoint_wait();
        assert_int_not_equal(step, CHECKPOINT_FAILED);
    }
    g_usleep(2000);
}

/* A directory with so many checkpoints, batches before, between and behind them, and a backup of the state behind the
 * first; returns the backup's id, and a moment between the last two things. */
static void make_directory(const char *path, int checkpoints, char *id, int64_t *moment_ms)
{
    char *error = NULL;
    Manifest manifest;
    assert_int_equal(g_mkdir(path, 0700), 0);
    assert_int_equal(chdir(path), 0);
    manifest_init(&manifest);
    table_set_secret(manifest.secret, sizeof(manifest.secret));
    assert_null(manifest_write(".", &manifest));
    ks = keyspace_new(1);
    checkpoint_init(ks, &manifest, NULL);
    JournalStart start = {
        .db = -1, .history = manifest.history, .sync = JOURNAL_SYNC_NO, .segment_bytes = segment_bytes
    };
    clock_refresh();
    assert_null(journal_open(&start));
    for (int i = 0; i < checkpoints; i++) {
        write_batches(i * 10, 10);
        make_checkpoint();
    }
    write_batches(100, 5);
    if (checkpoints > 0) {
        backup_new_id(".", id);
        error = backup_create_from_file(".", id, &manifest, 0, "of the first", NULL);
    } else {
        error = backup_create_offline(".", "of the journal", id, NULL);
    }
    if (error != NULL) fail_msg("%s", error);
    clock_refresh();
    *moment_ms = clock_unix_ms;
    g_usleep(3000);
    clock_refresh();
    write_batches(200, 5);
    assert_true(journal_close());
    checkpoint_forget_all();
    keyspace_free(ks);
    manifest_clear(&manifest);
    assert_int_equal(chdir(scratch), 0);
}

static int setup(void **context)
{
    (void)context;
    mortal = io_kernel;
    mortal.open = mortal_open;
    mortal.write = mortal_write;
    mortal.sync = mortal_sync;
    mortal.rename = mortal_rename;
    mortal.unlink = mortal_unlink;
    mortal.mkdir = mortal_mkdir;
    scratch = g_dir_make_tmp("ckv-backup-XXXXXX", NULL);
    segment_bytes = 500;
    return 0;
}

static int teardown(void **context)
{
    (void)context;
    io = &io_kernel;
    assert_int_equal(chdir("/"), 0);
    assert_true(state_remove(scratch));
    g_free(scratch);
    return 0;
}

/* ---- rollbacks that are cut off ---- */

/* Makes the switch; true if it went to its end. *begun: from there on it must be finished. */
static bool roll_back(const char *dir, const RollbackTarget *target, char *before, bool *begun)
{
    *begun = false;
    char *error = rollback_build(dir, target, NULL, NULL);
    if (error == NULL) error = rollback_swap(dir, "before", ROLLBACK_FIND_END, before, begun);
    bool done = error == NULL;
    g_free(error);
    return done;
}

static void finish(const char *dir)
{
    char *error = NULL;
    if (!backup_finish_swap(dir, &error)) fail_msg("%s", error);
    g_autofree char *building = g_build_filename(dir, ROLLBACK_BUILDING, NULL);
    g_autofree char *marker = g_build_filename(dir, ROLLBACK_MARKER, NULL);
    assert_int_not_equal(access(building, F_OK), 0);
    assert_int_not_equal(access(marker, F_OK), 0);
}

/* What there was is a whole backup, which leads back. */
static void check_undo(const char *dir, const char *before, const char *old)
{
    char again[BACKUP_ID_CHARS + 1], *error = backup_verify(dir, before, NULL);
    if (error != NULL) fail_msg("%s", error);
    bool begun;
    RollbackTarget target = { .id = before };
    Manifest was, is;
    assert_int_equal(manifest_read(dir, &was, &error), MANIFEST_READ);
    assert_true(roll_back(dir, &target, again, &begun));
    assert_int_equal(manifest_read(dir, &is, &error), MANIFEST_READ);
    /* An operator's way, as any to a backup. */
    g_autofree char *left =
        g_strjoin(",", was.history, was.rolled_back_from[0] != '\0' ? was.rolled_back_from : NULL, NULL);
    assert_string_equal(is.rolled_back_from, left);
    manifest_clear(&was);
    manifest_clear(&is);
    g_autofree char *text = describe(dir);
    assert_string_equal(text, old);
}

static guint count_backups(const char *dir)
{
    char *error = NULL;
    g_autoptr(GPtrArray) list = backup_list(dir, &error);
    if (error != NULL) fail_msg("%s", error);
    return list->len;
}

/* The nth operation of the rollback, and, if it had begun, the `second` one of the start that finishes it, are the last
 * ones. False: it has no nth. */
static bool cut_off(const char *base, const RollbackTarget *target, const char *old, const char *new, long nth,
                    long second)
{
    char before[BACKUP_ID_CHARS + 1], *error = NULL;
    bool begun;
    g_autofree char *dir = g_build_filename(scratch, "work", NULL);
    fresh_copy(base, dir);
    live_for(nth);
    bool done = roll_back(dir, target, before, &begun);
    bool lived = survived();
    live_for(second);
    backup_finish_swap(dir, &error);
    g_free(error);
    survived();
    finish(dir);
    g_autofree char *text = describe(dir);
    if (strcmp(text, new) != 0) {
        assert_string_equal(text, old);
        assert_false(begun);
        assert_false(done);
        assert_int_equal(count_backups(dir), 1);
    } else {
        assert_int_equal(count_backups(dir), 2);
        check_undo(dir, before, old);
    }
    return !lived;
}

static void cut_off_everywhere(int checkpoints, bool by_moment)
{
    char id[BACKUP_ID_CHARS + 1], before[BACKUP_ID_CHARS + 1];
    RollbackTarget target = { .id = id };
    bool begun;
    g_autofree char *base = g_build_filename(scratch, "base", NULL), *whole = g_build_filename(scratch, "whole", NULL);
    make_directory(base, checkpoints, id, &target.unix_ms);
    if (by_moment) target.id = NULL;
    live_for(LONG_MAX); /* syncs cost time */
    fresh_copy(base, whole);
    assert_true(roll_back(whole, &target, before, &begun));
    g_autofree char *old = describe(base), *new = describe(whole);
    assert_string_not_equal(old, new);
    long n = 0;
    while (cut_off(base, &target, old, new, n, g_random_int_range(0, 25)))
        n++;
    assert_true(n > 30);
    for (int i = 0; i < 60; i++)
        cut_off(base, &target, old, new, g_random_int_range((int)n - 30, (int)n), i % 30);
}

static void test_cut_off_journal_only(void **context)
{
    (void)context;
    cut_off_everywhere(0, false);
}

static void test_cut_off_journal_only_moment(void **context)
{
    (void)context;
    cut_off_everywhere(0, true);
}

static void test_cut_off_one_checkpoint(void **context)
{
    (void)context;
    cut_off_everywhere(1, false);
}

static void test_cut_off_one_checkpoint_moment(void **context)
{
    (void)context;
    cut_off_everywhere(1, true);
}

static void test_cut_off_two_checkpoints(void **context)
{
    (void)context;
    cut_off_everywhere(2, false);
}

static void test_cut_off_two_checkpoints_moment(void **context)
{
    (void)context;
    cut_off_everywhere(2, true);
}

/* ---- the power is cut ---- */

#define POWER_CUTS      3  /* at each place */
#define POWER_CUTS_LAST 20 /* behind all, which is what is promised */

/* To record what follows, in a directory of few files: each cut writes them all. */
static void make_small_directory(int checkpoints, bool with_backup, char *id, int64_t *moment_ms)
{
    g_autofree char *base = g_build_filename(scratch, "base", NULL);
    segment_bytes = 1 << 20;
    make_directory(base, checkpoints, id, moment_ms);
    assert_int_equal(chdir(base), 0);
    if (!with_backup) assert_true(state_remove(BACKUP_DIRECTORY));
}

static void record(void)
{
    sim_start();
    sim_record();
}

/* What a disk may have after so many of the operations that are recorded in the working directory: a few of many. */
static void cut_power(size_t events, int cuts, void (*check)(const char *dir, bool promised))
{
    g_autofree char *dir = g_build_filename(scratch, "cut", NULL);
    GRand *rand = g_rand_new_with_seed((guint32)events);
    for (int i = 0; i < cuts; i++) {
        assert_true(state_remove(dir));
        assert_int_equal(g_mkdir(dir, 0700), 0);
        bool promised = sim_power_cut(events, rand, dir) != 0;
        live_for(LONG_MAX); /* syncs cost time */
        check(dir, promised);
    }
    g_rand_free(rand);
}

static void cut_power_everywhere(void (*check)(const char *dir, bool promised))
{
    size_t events = sim_events();
    for (size_t n = 0; n <= events; n++)
        cut_power(n, n < events ? POWER_CUTS : POWER_CUTS_LAST, check);
    sim_stop();
}

/* What a rollback goes from, and to; and how many backups there are before. */
static char *old_text, *new_text;
static guint had;

/* Of a rollback that was promised the new state is there, else that or the old one; and what leads back. */
static void check_rolled_back(const char *dir, bool promised)
{
    finish(dir);
    g_autofree char *text = describe(dir);
    if (strcmp(text, new_text) != 0) {
        assert_string_equal(text, old_text);
        assert_false(promised);
        assert_int_equal(count_backups(dir), had);
        return;
    }
    g_autoptr(GPtrArray) list = backup_list(dir, NULL);
    assert_int_equal(list->len, had + 1);
    const Backup *last = list->pdata[had];
    char *error = backup_verify(dir, last->id, NULL);
    if (error != NULL) fail_msg("%s", error);
    if (promised) check_undo(dir, last->id, old_text);
}

static void power_cuts_under_rollback(int checkpoints, bool by_moment)
{
    char id[BACKUP_ID_CHARS + 1], before[BACKUP_ID_CHARS + 1];
    RollbackTarget target = { .id = id };
    bool begun;
    make_small_directory(checkpoints, !by_moment, id, &target.unix_ms);
    had = by_moment ? 0 : 1;
    if (by_moment) target.id = NULL;
    old_text = describe(".");
    record();
    assert_true(roll_back(".", &target, before, &begun));
    sim_note(1);
    new_text = describe(".");
    cut_power_everywhere(check_rolled_back);
    g_free(old_text);
    g_free(new_text);
}

static void test_power_cut_journal_only(void **context)
{
    (void)context;
    power_cuts_under_rollback(0, false);
}

static void test_power_cut_checkpoints(void **context)
{
    (void)context;
    power_cuts_under_rollback(2, true);
}

/* A backup that was promised is there and whole, and so is what there was. */
static void check_backed_up(const char *dir, bool promised)
{
    finish(dir);
    g_autofree char *text = describe(dir);
    assert_string_equal(text, old_text);
    guint count = count_backups(dir);
    assert_true(count == 1 || (count == 0 && !promised));
    g_autoptr(GPtrArray) list = backup_list(dir, NULL);
    for (guint i = 0; i < list->len; i++)
        assert_null(backup_verify(dir, ((const Backup *)list->pdata[i])->id, NULL));
}

static void test_power_cut_backup(void **context)
{
    (void)context;
    char id[BACKUP_ID_CHARS + 1];
    int64_t moment_ms;
    make_small_directory(1, false, id, &moment_ms);
    old_text = describe(".");
    record();
    assert_null(backup_create_offline(".", "cut", id, NULL));
    sim_note(1);
    cut_power_everywhere(check_backed_up);
    g_free(old_text);
}

/* A clone that was promised is there, with what its original has, whose identity is another one. What isn't complete is
 * no data directory, and the next clone begins anew. */
static void check_cloned(const char *dir, bool promised)
{
    g_autofree char *clone = g_build_filename(dir, "clone", NULL),
                    *manifest = g_build_filename(clone, "MANIFEST", NULL);
    if (access(manifest, F_OK) != 0) {
        g_autofree char *marker = g_build_filename(clone, "clone.tmp", NULL), *refused = NULL;
        assert_false(promised);
        assert_int_equal(backup_finish_swap(clone, &refused), access(marker, F_OK) != 0);
        char *error = backup_clone(dir, NULL, clone, NULL);
        if (error != NULL) fail_msg("%s", error);
    }
    g_autofree char *text = describe(clone);
    assert_string_equal(strchr(text, ' '), strchr(old_text, ' '));
}

static void test_power_cut_clone(void **context)
{
    (void)context;
    char id[BACKUP_ID_CHARS + 1];
    int64_t moment_ms;
    make_small_directory(1, true, id, &moment_ms);
    old_text = describe(".");
    record();
    assert_null(backup_clone(".", NULL, "clone", NULL));
    sim_note(1);
    cut_power_everywhere(check_cloned);
    g_free(old_text);
}

static char *deleted;

/* One that was deleted is gone, or else whole. */
static void check_deleted(const char *dir, bool promised)
{
    finish(dir);
    guint count = count_backups(dir);
    assert_true(count == 0 || !promised);
    if (count > 0) assert_null(backup_verify(dir, deleted, NULL));
}

static void test_power_cut_deletion(void **context)
{
    (void)context;
    char id[BACKUP_ID_CHARS + 1];
    int64_t moment_ms;
    make_small_directory(1, true, id, &moment_ms);
    deleted = id;
    record();
    assert_null(backup_delete(".", id));
    sim_note(1);
    cut_power_everywhere(check_deleted);
}

/* The server's loop hides a backup, and doesn't wait for the disk: who deletes it does, first of all. */
static void test_hiding_waits_for_nothing(void **context)
{
    (void)context;
    char id[BACKUP_ID_CHARS + 1];
    int64_t moment_ms;
    make_small_directory(1, true, id, &moment_ms);
    sim_start();
    assert_null(backup_hide(".", id));
    assert_int_equal(count_backups("."), 0);
    assert_int_equal(sim_calls(SIM_SYNC), 0);
    sim_fail(SIM_SYNC, 1, 1, EIO);
    g_autofree char *error = backup_remove_remains(".");
    assert_non_null(error);
    assert_int_equal(sim_calls(SIM_UNLINK), 0);
    assert_null(backup_remove_remains("."));
    assert_true(sim_calls(SIM_UNLINK) > 0);
    sim_stop();
}

/* ---- backups ---- */

static void test_backups_cut_off(void **context)
{
    (void)context;
    char id[BACKUP_ID_CHARS + 1];
    int64_t moment_ms;
    g_autofree char *base = g_build_filename(scratch, "base", NULL), *dir = g_build_filename(scratch, "work", NULL);
    make_directory(base, 1, id, &moment_ms);
    bool lived = false;
    for (long n = 0; !lived; n++) {
        fresh_copy(base, dir);
        live_for(n);
        char *error = backup_create_offline(dir, "cut off", id, NULL);
        lived = survived();
        guint count = count_backups(dir);
        assert_true(count == 2 || error != NULL);
        if (count == 2) assert_null(backup_verify(dir, id, NULL));
        g_free(error);
        live_for(n);
        error = backup_delete(dir, id);
        survived();
        assert_true(error != NULL || count_backups(dir) == 1);
        g_free(error);
        assert_null(backup_create_offline(dir, "again", id, NULL));
        assert_null(backup_verify(dir, id, NULL));
        g_autofree char *path = g_build_filename(dir, BACKUP_DIRECTORY, NULL);
        GDir *entries = g_dir_open(path, 0, NULL);
        for (const char *name; (name = g_dir_read_name(entries)) != NULL;)
            assert_int_not_equal(name[0], '.');
        g_dir_close(entries);
    }
}

/* Journal of more than a copy's segments hold, 64 MB, and nothing else. */
static void make_long_journal(const char *path)
{
    Manifest manifest;
    assert_int_equal(g_mkdir(path, 0700), 0);
    assert_int_equal(chdir(path), 0);
    manifest_init(&manifest);
    assert_null(manifest_write(".", &manifest));
    JournalStart start = { .db = -1, .history = manifest.history, .sync = JOURNAL_SYNC_NO, .segment_bytes = 1 << 30 };
    clock_refresh();
    assert_null(journal_open(&start));
    g_autofree char *value = g_strnfill(30 << 20, 'v');
    static const size_t lengths[] = { 30 << 20, 30 << 20, 8 << 20, 1, 2 };
    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
        journal_append(0, (Slice[]){ SLICE("SET"), SLICE("key"), { value, lengths[i] } }, 3);
        assert_true(journal_commit());
    }
    assert_true(journal_close());
    manifest_clear(&manifest);
    assert_int_equal(chdir(scratch), 0);
}

/* Returns where it ends; it has so many batches. */
static uint64_t check_copied_segment(const JournalSegment *segment, int batches, CkjKind seal)
{
    gsize len;
    CkjBatch head = { .payload_bytes = 0 };
    g_autofree char *bytes = NULL;
    assert_true(g_file_get_contents(segment->path, &bytes, &len, NULL));
    size_t at = CKJ_HEAD_BYTES;
    for (int i = 0; i <= batches; i++, at += CKJ_BATCH_HEAD_BYTES + head.payload_bytes) {
        assert_true(at + CKJ_BATCH_HEAD_BYTES <= len);
        assert_true(ckj_get_batch_head((const uint8_t *)bytes + at, &head));
        assert_int_equal(head.kind, i < batches ? CKJ_BATCH : seal);
        assert_int_equal(head.durable, head.offset); /* or damage before it may be taken for a torn end */
    }
    assert_int_equal(at, len);
    return head.offset;
}

/* What is copied is durable before it's used, and each of its batches says so of those before it. It's in segments as
 * any journal is, so it's noticed if one is missing. */
static void test_copied_journal(void **context)
{
    (void)context;
    char id[BACKUP_ID_CHARS + 1], *error = NULL;
    g_autofree char *dir = g_build_filename(scratch, "base", NULL);
    live_for(LONG_MAX); /* syncs cost time */
    make_long_journal(dir);
    assert_null(backup_create_offline(dir, "long", id, NULL));
    assert_null(backup_verify(dir, id, NULL));
    g_autofree char *copy = g_build_filename(dir, BACKUP_DIRECTORY, id, NULL);
    g_autoptr(GArray) segments = journal_segments(copy, &error);
    assert_int_equal(segments->len, 2);
    const JournalSegment *first = &g_array_index(segments, JournalSegment, 0);
    const JournalSegment *last = &g_array_index(segments, JournalSegment, 1);
    assert_int_equal(check_copied_segment(first, 3, CKJ_FINISHED), last->offset);
    check_copied_segment(last, 2, CKJ_CLOSED);
    assert_int_equal(unlink(last->path), 0);
    error = backup_verify(dir, id, NULL);
    assert_non_null(error);
    g_free(error);
}

static void test_prune(void **context)
{
    (void)context;
    Manifest manifest;
    char id[BACKUP_ID_CHARS + 1], ids[14][BACKUP_ID_CHARS + 1];
    int64_t moment_ms;
    g_autofree char *dir = g_build_filename(scratch, "base", NULL);
    make_directory(dir, 1, id, &moment_ms);
    char *error = backup_create_offline(dir, BACKUP_SCHEDULED, ids[0], NULL); /* only the server gives that note */
    assert_non_null(error);
    g_free(error);
    assert_int_equal(manifest_read(dir, &manifest, &error), MANIFEST_READ);
    for (int i = 0; i < 14; i++) {
        backup_new_id(dir, ids[i]);
        const char *note = i % 7 == 3 ? "by hand" : BACKUP_SCHEDULED;
        assert_null(backup_create_from_file(dir, ids[i], &manifest, 0, note, NULL));
    }
    assert_null(backup_prune(dir, 0));
    assert_int_equal(count_backups(dir), 15);
    assert_null(backup_prune(dir, 2));
    g_autoptr(GPtrArray) list = backup_list(dir, NULL);
    const char *left[] = { id, ids[3], ids[10], ids[12], ids[13] };
    assert_int_equal(list->len, G_N_ELEMENTS(left));
    for (guint i = 0; i < list->len; i++)
        assert_string_equal(((const Backup *)list->pdata[i])->id, left[i]);
    /* Made while the clock was wrong. */
    for (int i = 0; i < 3; i++) {
        g_snprintf(ids[i], sizeof(ids[i]), "2990010%dT000000Z", i + 1);
        assert_null(backup_create_from_file(dir, ids[i], &manifest, 0, BACKUP_SCHEDULED, NULL));
    }
    assert_null(backup_prune(dir, 3));
    g_autoptr(GPtrArray) kept = backup_list(dir, NULL);
    const char *best[] = { id, ids[3], ids[10], ids[12], ids[13], ids[2] };
    assert_int_equal(kept->len, G_N_ELEMENTS(best));
    for (guint i = 0; i < kept->len; i++)
        assert_string_equal(((const Backup *)kept->pdata[i])->id, best[i]);
    manifest_clear(&manifest);
}

/* A clone of each, which has the same data. */
static void test_clone(void **context)
{
    (void)context;
    char id[BACKUP_ID_CHARS + 1];
    int64_t moment_ms;
    g_autofree char *dir = g_build_filename(scratch, "base", NULL), *to = g_build_filename(scratch, "clone", NULL);
    make_directory(dir, 2, id, &moment_ms);
    assert_null(backup_clone(dir, NULL, to, NULL));
    g_autofree char *old = describe(dir), *new = describe(to);
    assert_string_equal(strchr(old, ' '), strchr(new, ' '));
    assert_int_not_equal(strncmp(old, new, MANIFEST_ID_CHARS), 0);
    g_autofree char *error = backup_clone(dir, id, to, NULL);
    assert_non_null(strstr(error, "isn't empty"));
    g_autofree char *again = describe(to);
    assert_string_equal(again, new);
}

static void test_unknown(void **context)
{
    (void)context;
    char id[BACKUP_ID_CHARS + 1], *error = NULL;
    int64_t moment_ms;
    g_autofree char *dir = g_build_filename(scratch, "base", NULL);
    make_directory(dir, 1, id, &moment_ms);
    g_autofree char *old = describe(dir);
    static const char *const names[] = {
        "", ".", "..", "../..", "/", "20200101T000000Z", "a", ".20200101T000000Z.tmp"
    };
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        assert_null(backup_find(dir, names[i], &error));
        g_clear_pointer(&error, g_free);
        error = backup_delete(dir, names[i]);
        assert_non_null(error);
        g_clear_pointer(&error, g_free);
        RollbackTarget target = { .id = names[i] };
        error = rollback_build(dir, &target, NULL, NULL);
        assert_non_null(error);
        g_clear_pointer(&error, g_free);
    }
    RollbackTarget early = { .unix_ms = 1000 };
    error = rollback_build(dir, &early, NULL, NULL);
    assert_non_null(strstr(error, "can't be reached"));
    g_free(error);
    g_autofree char *text = describe(dir);
    assert_string_equal(text, old);
}

/* An offset of the directory's own history: what follows goes, and the history stays the same; also between two
 * commands of a batch. One that no checkpoint is as old as can't be reached. */
static void test_offsets(void **context)
{
    (void)context;
    char id[BACKUP_ID_CHARS + 1], before[BACKUP_ID_CHARS + 1], *error = NULL;
    int64_t moment_ms;
    bool begun;
    g_autofree char *base = g_build_filename(scratch, "base", NULL), *dir = g_build_filename(scratch, "work", NULL);
    make_directory(base, 0, id, &moment_ms);
    g_autofree char *old = describe(base);
    Manifest was, is;
    assert_int_equal(manifest_read(base, &was, &error), MANIFEST_READ);
    memset(was.history2, 'b', MANIFEST_ID_CHARS);
    was.offset2 = 300;
    assert_null(manifest_write(base, &was));
    const uint64_t in_first_batch = strlen("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n");
    JournalReader *reader = journal_reader_new(base, 0, NULL, &error);
    JournalBatch batch = { .offset = 0 };
    uint64_t offset = in_first_batch;
    do {
        fresh_copy(base, dir);
        RollbackTarget target = { .offset = offset };
        assert_true(roll_back(dir, &target, before, &begun));
        g_autofree char *text = describe(dir), *end = g_strdup_printf("end %lu", offset);
        assert_true(g_str_has_suffix(text, end));
        assert_int_equal(manifest_read(dir, &is, &error), MANIFEST_READ);
        assert_string_equal(is.history, was.history);
        assert_string_equal(is.history2, was.history2);
        assert_int_equal(is.offset2, MIN(was.offset2, offset)); /* others have gone on from there */
        assert_string_equal(is.rolled_back_from, "");
        assert_string_equal(is.state, MANIFEST_FOLLOWS);
        manifest_clear(&is);
        check_undo(dir, before, old);
        JournalRead read = journal_read(reader, &batch);
        offset = read == JOURNAL_BATCH ? batch.offset + batch.payload.len : 0;
    } while (offset != 0);
    journal_reader_free(reader);
    RollbackTarget beyond = { .offset = 1000000 };
    error = rollback_build(base, &beyond, NULL, NULL);
    assert_non_null(strstr(error, "the journal ends at offset"));
    g_free(error);
    manifest_clear(&was);
}

/* What is gone back to at a moment: the batches up to it, that of the same millisecond too, and none behind it; from
 * the newest checkpoint that is as old. */
static void check_moment(const char *base, const Manifest *was, int64_t moment_ms, uint64_t expected)
{
    StateEnd end;
    Manifest is;
    uint64_t checkpoint = 0;
    for (int f = 0; f < 2; f++) {
        if (was->checkpoint[f].unix_ms <= moment_ms) checkpoint = MAX(checkpoint, was->checkpoint[f].offset);
    }
    RollbackTarget target = { .unix_ms = moment_ms };
    char *error = rollback_build(base, &target, &end, NULL);
    if (error != NULL) fail_msg("%s", error);
    assert_int_equal(end.offset, expected);
    g_autofree char *built = g_build_filename(base, ROLLBACK_BUILDING, NULL);
    assert_int_equal(manifest_read(built, &is, &error), MANIFEST_READ);
    assert_int_equal(is.checkpoint[0].offset, checkpoint);
    manifest_clear(&is);
}

static void test_moments(void **context)
{
    (void)context;
    char id[BACKUP_ID_CHARS + 1], *error = NULL;
    int64_t moment_ms, last_ms = 0;
    g_autofree char *base = g_build_filename(scratch, "base", NULL);
    make_directory(base, 2, id, &moment_ms);
    live_for(LONG_MAX); /* syncs cost time */
    Manifest was;
    assert_int_equal(manifest_read(base, &was, &error), MANIFEST_READ);
    JournalReader *reader = journal_reader_new(base, 0, NULL, &error);
    uint64_t before = 0;
    int count = 0;
    for (JournalBatch batch; journal_read(reader, &batch) == JOURNAL_BATCH; count++) {
        assert_true(batch.unix_ms > last_ms + 1);
        check_moment(base, &was, batch.unix_ms, batch.offset + batch.payload.len);
        if (before > 0) check_moment(base, &was, batch.unix_ms - 1, before);
        before = batch.offset + batch.payload.len;
        last_ms = batch.unix_ms;
    }
    assert_int_equal(count, 30);
    journal_reader_free(reader);
    manifest_clear(&was);
}

static void test_offset_too_old(void **context)
{
    (void)context;
    char id[BACKUP_ID_CHARS + 1];
    int64_t moment_ms;
    g_autofree char *base = g_build_filename(scratch, "base", NULL);
    make_directory(base, 1, id, &moment_ms);
    g_autofree char *journal = g_build_filename(base, JOURNAL_DIRECTORY, "00000000000000000000.ckj", NULL);
    assert_int_equal(unlink(journal), 0);
    RollbackTarget target = { .offset = 1 };
    g_autofree char *error = rollback_build(base, &target, NULL, NULL);
    assert_non_null(strstr(error, "can't be reached"));
}

/* From a backup that the journal has no batches of any more only itself can be reached, and no moment behind it. */
static void test_moment_in_a_gap(void **context)
{
    (void)context;
    char id[BACKUP_ID_CHARS + 1], *error = NULL;
    int64_t moment_ms;
    g_autofree char *base = g_build_filename(scratch, "base", NULL);
    make_directory(base, 2, id, &moment_ms);
    live_for(LONG_MAX); /* syncs cost time */
    assert_true(rollback_oldest_ms(base) > 0);
    Manifest manifest;
    assert_int_equal(manifest_read(base, &manifest, &error), MANIFEST_READ);
    const CheckpointInfo newest = manifest.checkpoint[manifest_newest(&manifest)];
    manifest_clear(&manifest);
    g_autoptr(GArray) segments = journal_segments(base, &error);
    for (guint i = 0; i < segments->len; i++) {
        const JournalSegment *segment = &g_array_index(segments, JournalSegment, i);
        if (segment->offset < newest.offset) assert_int_equal(unlink(segment->path), 0);
    }
    RollbackTarget target = { .unix_ms = newest.unix_ms - 1 };
    error = rollback_build(base, &target, NULL, NULL);
    assert_non_null(strstr(error, "can't be reached"));
    g_free(error);
    assert_int_equal(rollback_oldest_ms(base), -1);
    target.unix_ms = newest.unix_ms;
    assert_null(rollback_build(base, &target, NULL, NULL));
}

/* INFO asks for the oldest moment whenever the journal's oldest segment has gone: no segment is read for it, whose
 * pages the server itself drops from the page cache. */
static void test_oldest_reads_no_journal(void **context)
{
    (void)context;
    char id[BACKUP_ID_CHARS + 1], *error = NULL;
    int64_t moment_ms;
    g_autofree char *base = g_build_filename(scratch, "base", NULL);
    make_directory(base, 2, id, &moment_ms);
    g_autoptr(GArray) segments = journal_segments(base, &error);
    assert_true(segments->len > 5);
    sim_start();
    assert_true(rollback_oldest_ms(base) > 0);
    assert_int_equal(sim_calls(SIM_READ), 2); /* the two MANIFESTs */
    sim_stop();
}

/* A server knows where its journal ends, and doesn't read it to find out. */
static void test_known_end(void **context)
{
    (void)context;
    char id[BACKUP_ID_CHARS + 1], before[BACKUP_ID_CHARS + 1], *error = NULL;
    int64_t moment_ms;
    bool begun;
    g_autofree char *base = g_build_filename(scratch, "base", NULL), *copy = g_build_filename(scratch, "copy", NULL);
    make_directory(base, 2, id, &moment_ms);
    fresh_copy(base, copy);
    RollbackTarget target = { .id = id };
    assert_true(roll_back(copy, &target, before, &begun));
    g_autoptr(Backup) found = backup_find(copy, before, &error);
    assert_null(rollback_build(base, &target, NULL, NULL));
    /* A swap that doesn't begin leaves what was built, which takes long to remove. */
    g_autofree char *in_the_way = g_build_filename(base, ROLLBACK_MARKER ".tmp", NULL);
    assert_int_equal(mkdir(in_the_way, 0700), 0);
    g_autofree char *refusal = rollback_swap(base, "before", found->offset, before, &begun);
    assert_true(refusal != NULL && !begun);
    assert_int_equal(rmdir(in_the_way), 0);
    sim_start();
    assert_null(rollback_swap(base, "before", found->offset, before, &begun));
    assert_int_equal(sim_calls(SIM_READ), 1); /* the MANIFEST */
    sim_stop();
    g_autoptr(Backup) known = backup_find(base, before, &error);
    assert_int_equal(known->offset, found->offset);
    assert_null(backup_verify(base, before, NULL));
}

/* The last so many are known, the last one first. */
static void test_histories_left(void **context)
{
    (void)context;
    char id[BACKUP_ID_CHARS + 1], before[BACKUP_ID_CHARS + 1], *error = NULL;
    int64_t moment_ms;
    bool begun;
    Manifest manifest;
    g_autoptr(GPtrArray) left = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *dir = g_build_filename(scratch, "base", NULL);
    make_directory(dir, 1, id, &moment_ms);
    RollbackTarget target = { .id = id };
    for (guint i = 0; i < MANIFEST_LEFT_MAX + 3; i++) {
        assert_int_equal(manifest_read(dir, &manifest, &error), MANIFEST_READ);
        g_auto(GStrv) ids = g_strsplit(manifest.rolled_back_from, ",", -1);
        assert_int_equal(g_strv_length(ids), MIN(i, MANIFEST_LEFT_MAX));
        for (guint j = 0; ids[j] != NULL; j++)
            assert_string_equal(ids[j], left->pdata[i - 1 - j]);
        g_ptr_array_add(left, g_strdup(manifest.history));
        manifest_clear(&manifest);
        assert_true(roll_back(dir, &target, before, &begun));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cut_off_journal_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut_off_journal_only_moment, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut_off_one_checkpoint, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut_off_one_checkpoint_moment, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut_off_two_checkpoints, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut_off_two_checkpoints_moment, setup, teardown),
        cmocka_unit_test_setup_teardown(test_power_cut_journal_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_power_cut_checkpoints, setup, teardown),
        cmocka_unit_test_setup_teardown(test_power_cut_backup, setup, teardown),
        cmocka_unit_test_setup_teardown(test_power_cut_clone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_power_cut_deletion, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hiding_waits_for_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_backups_cut_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copied_journal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prune, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown, setup, teardown),
        cmocka_unit_test_setup_teardown(test_offsets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_moments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_offset_too_old, setup, teardown),
        cmocka_unit_test_setup_teardown(test_moment_in_a_gap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_oldest_reads_no_journal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_known_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_histories_left, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
