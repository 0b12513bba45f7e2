/* test_checkpointfaults.c: what a checkpoint does when its journal isn't durable yet, in which order it syncs, what
 * becomes of a spill file that can't be written or read, and that a file which isn't the promised one is found out.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <glib/gstdio.h>

#include "base/clock.h"
#include "store/checkpoint.h"
#include "store/checkpointfile.h"
#include "store/checkpointwriter.h"
#include "store/journal.h"
#include "store/pagefile.h"
#include "tests/unit/host.h"
#include "tests/unit/simio.h"

#define SPILLED_BYTES (13UL << 20) /* more than may wait in memory */

static Keyspace *ks;
static Manifest manifest;

static int setup(void **context)
{
    (void)context;
    assert_true(host_enter_checkpoints(&manifest));
    assert_int_equal(g_mkdir(JOURNAL_DIRECTORY, 0700), 0);
    ks = keyspace_new(1);
    checkpoint_init(ks, &manifest, NULL);
    keyspace_put_string(&ks->dbs[0], SLICE("key"), SLICE("a value"));
    return 0;
}

static int teardown(void **context)
{
    (void)context;
    sim_stop();
    assert_true(host_leave_checkpoints(ks, &manifest));
    return 0;
}

/* A checkpoint of offset 100 to its end, done or failed. */
static CheckpointStep run_checkpoint(void)
{
    char *error = NULL;
    if (!checkpoint_start(100, 0, clock_unix_ms, &error)) fail_msg("%s", error);
    for (;;) {
        CheckpointStep step = checkpoint_step(1000, 100);
        if (step == CHECKPOINT_DONE || step == CHECKPOINT_FAILED) return step;
        if (step == CHECKPOINT_WAIT) checkpoint_wait();
    }
}

/* All of it is saved, but the file isn't finished: a start would look for a journal that a power cut takes away. */
static void test_waits_for_journal(void **context)
{
    (void)context;
    char *error = NULL;
    assert_true(checkpoint_start(100, 0, clock_unix_ms, &error));
    CheckpointStep step = CHECKPOINT_MORE;
    while (step == CHECKPOINT_MORE)
        step = checkpoint_step(1000, 99);
    assert_int_equal(step, CHECKPOINT_WAIT);
    assert_int_equal(checkpoint_status().state, CHECKPOINT_WALKING);
    checkpoint_step(1000, 100);
    assert_int_equal(checkpoint_status().state, CHECKPOINT_WRITING);
    while ((step = checkpoint_step(1000, 100)) == CHECKPOINT_WAIT)
        checkpoint_wait();
    assert_int_equal(step, CHECKPOINT_DONE);
}

/* ---- the order of syncs ---- */

static GMutex lock;
static GString *order; /* of syncs, by path, and of renames */
static char *path_of[1024];
static Io listening;

static int hear_open(const char *path, int flags, mode_t mode)
{
    int fd = io_kernel.open(path, flags, mode);
    g_mutex_lock(&lock);
    if (fd >= 0) g_free(g_steal_pointer(&path_of[fd]));
    if (fd >= 0) path_of[fd] = g_strdup(g_str_has_prefix(path, "./") ? path + 2 : path);
    g_mutex_unlock(&lock);
    return fd;
}

static int hear_sync(int fd)
{
    g_mutex_lock(&lock);
    g_string_append_printf(order, "sync %s, ", path_of[fd]);
    g_mutex_unlock(&lock);
    return 0;
}

static int hear_rename(const char *from, const char *to)
{
    g_mutex_lock(&lock);
    g_string_append_printf(order, "rename %s, ", g_str_has_prefix(to, "./") ? to + 2 : to);
    g_mutex_unlock(&lock);
    return io_kernel.rename(from, to);
}

/* A new file, and the segment that begins where it does, have their names for good before MANIFEST promises them. */
static void test_names_are_synced_first(void **context)
{
    (void)context;
    listening = io_kernel;
    listening.open = hear_open;
    listening.sync = hear_sync;
    listening.rename = hear_rename;
    for (int f = 0; f < 2; f++) {
        order = g_string_new(NULL);
        io = &listening;
        CheckpointStep step = run_checkpoint();
        io = &io_kernel;
        assert_int_equal(step, CHECKPOINT_DONE);
        assert_string_equal(order->str, "sync MANIFEST.tmp, rename MANIFEST, sync ., " /* it's unlisted */
                                        "sync ., sync journal, sync MANIFEST.tmp, rename MANIFEST, sync ., ");
        g_string_free(order, TRUE);
    }
    for (size_t fd = 0; fd < G_N_ELEMENTS(path_of); fd++)
        g_free(g_steal_pointer(&path_of[fd]));
}

/* Whichever sync fails, there's no checkpoint; the next one is whole. */
static void test_failed_syncs(void **context)
{
    (void)context;
    unsigned failed = 0;
    for (bool happened = true; happened; failed += happened) {
        sim_start();
        sim_fail(SIM_SYNC, failed + 1, 1, EIO);
        CheckpointStep step = run_checkpoint();
        happened = sim_has_failed(SIM_SYNC);
        sim_stop();
        assert_int_equal(step, happened ? CHECKPOINT_FAILED : CHECKPOINT_DONE);
        if (!happened) continue;
        assert_non_null(strstr(checkpoint_status().error, g_strerror(EIO)));
        assert_int_equal(run_checkpoint(), CHECKPOINT_DONE);
    }
    assert_true(failed >= 4);
}

/* ---- the spill file ---- */

static const char *filling(void)
{
    static char *bytes;
    if (bytes == NULL) {
        bytes = g_malloc(SPILLED_BYTES);
        for (size_t i = 0; i < SPILLED_BYTES; i++)
            bytes[i] = (char)(i * 2654435761U >> 13);
    }
    return bytes;
}

/* One batch that is too big to wait in memory goes to the spill file, and from there into a checkpoint file; returns
 * what went wrong. */
static char *write_spilled(const RecordKey *key)
{
    char *error = NULL;
    Image batch = { 0 };
    CheckpointInfo info = { .offset = 100, .unix_ms = clock_unix_ms, .records = 1 };
    memcpy(info.history, manifest.history, sizeof(info.history));
    CheckpointWriter *writer = writer_start(&manifest, 0, true, PAGEFILE_NEW, 1, NULL, &error);
    assert_non_null(writer);
    size_t start = writer_begin_record(&batch, RECORD_PUT, key);
    image_put_bytes(&batch, (Slice){ filling(), SPILLED_BYTES });
    info.sum = writer_end_record(&batch, start, NULL);
    writer_send(writer, &batch);
    writer_finish(writer, &info);
    while (!writer_is_done(writer, NULL))
        writer_wait(writer);
    error = g_strdup(writer_error(writer));
    writer_free(writer);
    g_free(batch.bytes);
    return error;
}

static bool is_listed(void)
{
    Manifest read;
    char *error = NULL;
    assert_int_equal(manifest_read(".", &read, &error), MANIFEST_READ);
    bool listed = read.checkpoint[0].whole;
    manifest_clear(&read);
    return listed;
}

static void test_spilled(void **context)
{
    (void)context;
    char *error = NULL;
    RecordKey key = record_value(1);
    sim_start();
    assert_null(write_spilled(&key));
    assert_true(sim_calls(SIM_WRITE) > SPILLED_BYTES >> 20); /* gdbm's aren't among them */
    sim_stop();
    assert_true(is_listed());
    PageFile *file = pagefile_open(checkpoint_file_name[0], PAGEFILE_READ, 0, &error);
    Slice payload = pagefile_get(file, record_slice(&key), &error);
    assert_int_equal(payload.len, SPILLED_BYTES);
    assert_memory_equal(payload.ptr, filling(), SPILLED_BYTES);
    free((void *)(uintptr_t)payload.ptr);
    pagefile_abandon(file);
}

/* It can't be written, or read: the checkpoint is none, and says why. */
static void check_spill_fails(SimOp op, uint64_t nth, int number)
{
    RecordKey key = record_value(1);
    sim_start();
    sim_fail(op, nth, 1, number);
    g_autofree char *error = write_spilled(&key),
                    *expected = g_strconcat("checkpoint.spill: ", g_strerror(number), NULL);
    assert_true(sim_has_failed(op));
    sim_stop();
    assert_non_null(error);
    assert_string_equal(error, expected);
    assert_false(is_listed());
    struct stat about;
    assert_int_equal(stat(checkpoint_file_name[0], &about), 0);
    assert_int_equal(about.st_size, 0);
}

static void test_spill_fails(void **context)
{
    (void)context;
    uint64_t before;
    RecordKey key = record_value(1);
    sim_start();
    assert_null(write_spilled(&key));
    before = sim_calls(SIM_WRITE);
    sim_stop();
    /* The first write is MANIFEST's, which unlists the file, and the last one too, which lists it. */
    check_spill_fails(SIM_WRITE, 2, ENOSPC);
    check_spill_fails(SIM_WRITE, before - 1, ENOSPC);
    check_spill_fails(SIM_READ, 1, EIO);
}

/* ---- a file that isn't the one ---- */

static char *load(const CheckpointInfo *info)
{
    char *error = NULL;
    int databases = 0, more = -1;
    Keyspace *into = keyspace_new(1);
    CheckpointLoad *loading = checkpoint_load_begin(into, checkpoint_file_name[0], info, -1, &databases, &error);
    while (loading != NULL && (more = checkpoint_load_step(loading, 1000, &error)) == 1) {
    }
    if (loading != NULL) checkpoint_load_free(loading);
    assert_true((more == 0) == (error == NULL));
    keyspace_free(into);
    return error;
}

static void check_wrong(const CheckpointInfo *info, bool verified)
{
    char *error = load(info);
    assert_non_null(error);
    g_free(error);
    error = checkpoint_verify(checkpoint_file_name[0], info, NULL, NULL);
    assert_true((error != NULL) == verified);
    g_free(error);
}

/* Each number that MANIFEST has of it is enough to tell. */
static void test_another_file(void **context)
{
    (void)context;
    assert_int_equal(run_checkpoint(), CHECKPOINT_DONE);
    const CheckpointInfo right = manifest.checkpoint[0];
    assert_true(right.whole);
    assert_null(load(&right));
    host_allow_threads(false);
    assert_null(load(&right));
    host_allow_threads(true);
    assert_null(checkpoint_verify(checkpoint_file_name[0], &right, NULL, NULL));
    CheckpointInfo wrong = right;
    wrong.sum++;
    check_wrong(&wrong, true);
    wrong = right;
    wrong.records++;
    check_wrong(&wrong, true);
    wrong = right;
    wrong.keys++;
    check_wrong(&wrong, false); /* it doesn't look into the records */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_waits_for_journal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names_are_synced_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failed_syncs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spilled, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spill_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_file, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
