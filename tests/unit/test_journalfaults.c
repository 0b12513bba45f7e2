/* test_journalfaults.c: store/journal when things go wrong: what is durable in each mode, calls that fail, power
 * cuts. (A full disk: test_journalroom.)
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
#include "store/io.h"
#include "store/mem.h"
#include "tests/unit/host.h"
#include "tests/unit/journalmodel.h"
#include "tests/unit/simio.h"

#define CUTS          30 /* power cuts tried of each run */
#define GENERATIONS   3

#define OTHER_HISTORY "abcdefabcdefabcdefabcdefabcdefabcdefabcd"

/* ---- when it's durable ---- */

static gint progress_calls;

static void count_progress(void *context)
{
    (void)context;
    g_atomic_int_inc(&progress_calls);
}

static void wait_for_durable(uint64_t offset, int ms_max)
{
    for (int i = 0; i < ms_max && journal_durable() < offset; i++) {
        (void)journal_end_turn();
        g_usleep(1000);
    }
    assert_true(journal_durable() >= offset);
}

/* `no` makes finished segments durable; `always` what is written; `everysec` within a second (and not at once). */
static void sync_modes(void **state)
{
    (void)state;
    sim_start();
    progress_calls = 0;
    JournalStart start = model_start();
    start.progressed = count_progress;
    model_open(start);
    model_write(3);
    g_usleep(20000);
    assert_int_equal(journal_durable(), base);
    assert_true(journal_rotate());
    uint64_t rotated = journal_offset();
    model_write(3);
    wait_for_durable(rotated, 1000);
    g_usleep(20000);
    assert_int_equal(journal_durable(), rotated);
    journal_set_sync(JOURNAL_SYNC_ALWAYS);
    wait_for_durable(journal_offset(), 1000);
    for (int i = 0; i < 20; i++) {
        model_write(1);
        wait_for_durable(journal_offset(), 1000);
    }
    assert_true(g_atomic_int_get(&progress_calls) >= 22);
    journal_set_sync(JOURNAL_SYNC_EVERYSEC);
    model_write(1);
    uint64_t syncs = journal_stats().syncs;
    g_usleep(20000);
    model_write(1);
    wait_for_durable(journal_offset(), 1500);
    assert_in_range(journal_stats().syncs, syncs, syncs + 2);
    assert_true(journal_close());
}

/* With `always`, and one segment. From now on a sync takes so long. */
static void open_always(unsigned long us)
{
    sim_start();
    JournalStart start = model_start();
    start.sync = JOURNAL_SYNC_ALWAYS;
    start.segment_bytes = 1 << 20;
    model_open(start);
    assert_true(journal_wait_durable());
    sim_set_sync_us(us);
}

/* One sync covers all that was written before it began. */
static void syncs_are_shared(void **state)
{
    (void)state;
    open_always(20000);
    model_write(1000);
    wait_for_durable(journal_offset(), 1000);
    assert_true(journal_stats().syncs < 20);
    assert_true(journal_close());
}

static void write_unsynced(int batches)
{
    for (int i = 0; i < batches; i++) {
        model_append(0, (Slice[]){ SLICE("SET"), SLICE("key"), SLICE("value") }, 3);
        assert_true(journal_commit());
        model_note_batch();
    }
}

/* Whether the machine has stood still since, so long that what waits began by itself. */
static bool stood_still(int64_t since_us)
{
    return clock_now_us() - since_us > 100000;
}

/* In `always` a sync begins when a turn has brought nothing more: neither while those write who were answered after the
 * one before, nor while that runs. False: the machine stood still, which says nothing. */
static bool gather(void)
{
    assert_false(journal_end_turn()); /* nobody has written */
    uint64_t syncs = journal_stats().syncs;
    int64_t began_us = clock_now_us();
    bool more = true;
    for (int writes = 0; writes < 3 && more; writes++) {
        write_unsynced(2);
        more = journal_end_turn();
    }
    bool begun = journal_stats().syncs != syncs;
    if (stood_still(began_us)) return false;
    assert_true(more && !begun);
    uint64_t first = journal_offset();
    assert_false(journal_end_turn());
    g_usleep(20000);
    write_unsynced(1); /* while that sync runs */
    bool second = journal_end_turn();
    if (stood_still(began_us)) return false;
    assert_false(second);
    while (journal_durable() < first)
        g_usleep(1000);
    began_us = clock_now_us();
    more = journal_end_turn(); /* those that it answers may write */
    g_usleep(20000);
    uint64_t then = journal_stats().syncs;
    if (stood_still(began_us)) return false;
    assert_true(more);
    assert_int_equal(then, syncs + 1);
    assert_false(journal_end_turn());
    wait_for_durable(journal_offset(), 2000);
    assert_int_equal(journal_stats().syncs, syncs + 2);
    return true;
}

static void turns_are_gathered(void **state)
{
    (void)state;
    open_always(200000);
    write_unsynced(1);
    wait_for_durable(journal_offset(), 2000); /* from now on it's known how long one takes */
    for (int done = 0, tries = 0; done < 2; tries++) {
        assert_true(tries < 20);
        if (gather()) done++;
        wait_for_durable(journal_offset(), 2000);
    }
    assert_true(journal_close());
}

/* Those who never stop writing don't keep the others waiting: for a sync no longer than one takes, or, should the loop
 * be stuck, a second. */
static void gathering_ends(void **state)
{
    (void)state;
    open_always(5000);
    write_unsynced(1);
    wait_for_durable(journal_offset(), 2000);
    uint64_t syncs = journal_stats().syncs;
    for (int turns = 0; journal_stats().syncs < syncs + 5; turns++) {
        assert_true(turns < 20000);
        write_unsynced(1);
        (void)journal_end_turn();
        g_usleep(100);
    }
    for (int ms = 0; journal_durable() < journal_offset(); ms++) {
        assert_true(ms < 5000);
        g_usleep(1000);
    }
    journal_set_sync(JOURNAL_SYNC_EVERYSEC);
    write_unsynced(1);
    assert_false(journal_end_turn());
    assert_true(journal_close());
}

/* The kernel is told to write long before a sync, so that this has little to do. */
static void writing_begins_early(void **state)
{
    (void)state;
    sim_start();
    g_autofree char *value = g_strnfill(100000, 'x');
    JournalStart start = model_start();
    start.segment_bytes = 64 << 20;
    model_open(start);
    uint64_t before = sim_begun_bytes();
    for (int i = 0; i < 60; i++) {
        model_append(0, (Slice[]){ SLICE("SET"), SLICE("key"), slice_of(value) }, 3);
        assert_true(model_commit());
    }
    for (int ms = 0; sim_begun_bytes() - before < 4 << 20; ms++) {
        assert_true(ms < 5000);
        g_usleep(1000);
    }
    assert_int_equal(journal_durable(), base);
    /* Not the end, where the loop goes on. */
    assert_true(sim_begun_bytes() - before <= journal_stats().bytes - (1 << 20));
    assert_true(journal_close());
}

/* ---- faults ---- */

/* What happens whatever fails; the model goes along. */
static void run_script(GRand *rand)
{
    for (int batch = 0; batch < 14; batch++) {
        if (batch % 3 != 0) (void)journal_reserve(500);
        for (int command = g_rand_int_range(rand, 1, 4); command > 0; command--) {
            g_autofree char *value = g_strnfill((gsize)g_rand_int_range(rand, 0, 100), 'x');
            model_append(command, (Slice[]){ SLICE("SET"), SLICE("key"), slice_of(value) }, 3);
        }
        if (batch == 6) (void)journal_rotate();
        if (model_commit() && batch % 4 == 0) (void)journal_wait_durable();
    }
    if (journal_written() == base + stream->len) model_note_batch();
}

/* With a call that fails, or that fails from then on until the end of the script. All heals: nothing is lost. */
static bool run_with_fault(SimOp op, uint64_t nth, uint64_t times, int error)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed((uint32_t)nth);
    empty_directory(".");
    model_reset(0);
    sim_start();
    sim_fail(op, nth, times, error);
    if (op == SIM_READ) sim_fail(SIM_SYNC, 4, 5, EIO); /* only then it reads */
    JournalStart start = model_start();
    start.sync = JOURNAL_SYNC_ALWAYS;
    start.segment_bytes = 700;
    char *message = journal_open(&start);
    bool failed = sim_has_failed(op);
    if (message != NULL) {
        assert_true(failed);
        assert_non_null(strstr(message, g_strerror(error)));
        g_free(message);
        sim_fail(op, 0, 0, 0);
        model_open(start);
    }
    run_script(rand);
    failed = failed || sim_has_failed(op);
    sim_fail(op, 0, 0, 0);
    sim_fail(SIM_SYNC, 0, 0, 0);
    assert_true(journal_close());
    model_note_batch();
    model_check_all();
    return failed;
}

static void each_call_fails(void **state)
{
    (void)state;
    for (SimOp op = 0; op < SIM_OPS; op++) {
        uint64_t nth = 0, forever = 0;
        while (run_with_fault(op, ++nth, 1, EIO))
            continue;
        while (run_with_fault(op, ++forever, UINT32_MAX, ENOSPC))
            continue;
        print_message("%s: %d calls failed\n", sim_op_name[op], (int)nth - 1);
    }
}

/* The fault is still there when the journal is closed: that says so, and what was committed can be read. */
static bool run_until_killed(SimOp op, uint64_t nth)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed((uint32_t)nth);
    empty_directory(".");
    model_reset(0);
    sim_start();
    JournalStart start = model_start();
    start.segment_bytes = 700;
    model_open(start);
    sim_fail(op, nth, UINT32_MAX, EIO);
    run_script(rand);
    uint64_t committed = journal_written();
    bool ok = journal_close();
    bool failed = sim_has_failed(op);
    sim_fail(op, 0, 0, 0);
    model_note_batch();
    Found found = model_read(".", base);
    assert_int_not_equal(found.result, JOURNAL_BAD);
    assert_true(found.offset >= committed);
    if (ok) assert_int_equal(found.offset, base + stream->len);
    g_free(found.error);
    return failed;
}

static void faults_to_the_end(void **state)
{
    (void)state;
    for (SimOp op = 0; op < SIM_OPS; op++)
        for (uint64_t nth = 1; run_until_killed(op, nth); nth++)
            continue;
}

/* Reading that fails is told, and isn't the end, or a torn tail. */
static void reading_fails(void **state)
{
    (void)state;
    model_open(model_start());
    model_write(30);
    assert_true(journal_close());
    sim_start();
    bool failed = true;
    for (uint64_t nth = 1; failed; nth++) {
        sim_fail(SIM_READ, nth, 1, EIO);
        Found found = model_read(".", base);
        failed = sim_has_failed(SIM_READ);
        assert_int_equal(found.result, failed ? JOURNAL_BAD : JOURNAL_END);
        g_free(found.error);
    }
}

/* What follows a torn place decides what that is: if it can't be read, nothing may be taken for cut off. */
static void unreadable_segments_follow(void **state)
{
    (void)state;
    model_open(model_start());
    model_write(100);
    assert_true(journal_close());
    assert_true(model_segments() > 2);
    JournalSegment first = model_segment(0);
    assert_int_equal(truncate(first.path, (off_t)first.file_bytes / 2), 0);
    sim_start();
    for (uint64_t opens = 0; opens < 2; opens++) {
        sim_fail(SIM_OPEN, 1 + opens, opens * UINT32_MAX, EIO); /* at first none, then all but the first one's */
        Found found = model_read(".", base);
        assert_int_equal(found.result, JOURNAL_BAD);
        g_free(found.error);
    }
    assert_true(sim_has_failed(SIM_OPEN));
}

/* Heals by itself, in each of the ways there are: a model_commit, a reservation, the thread. */
/* No segment is begun while something waits that belongs into the one before. */
static void rotates_behind_what_waits(void **state)
{
    (void)state;
    sim_start();
    model_open(model_start());
    model_write(2);
    guint count = model_segments();
    sim_fail(SIM_WRITE, 1, 1, ENOSPC);
    journal_append(0, (Slice[]){ SLICE("PING") }, 1);
    assert_false(journal_rotate());
    assert_int_equal(model_segments(), count);
    uint64_t offset = journal_offset();
    while (!journal_rotate())
        g_usleep(1000);
    assert_int_equal(model_segment(model_segments() - 1).offset, offset);
    assert_true(journal_close());
}

static void failed_syncs_heal(void **state)
{
    (void)state;
    sim_start();
    JournalStart start = model_start();
    start.sync = JOURNAL_SYNC_ALWAYS;
    model_open(start);
    model_write(3);
    assert_true(journal_wait_durable());
    sim_fail(SIM_SYNC, 1, UINT32_MAX, EIO);
    model_write(3);
    assert_false(journal_wait_durable());
    model_expect_trouble(": Input/output error");
    assert_false(journal_reserve(10));
    model_write(1); /* the file takes it */
    sim_fail(SIM_SYNC, 0, 0, 0);
    wait_for_durable(journal_offset(), 1000);
    assert_null(journal_trouble());
    assert_true(journal_close());
    model_check_all();
}

/* What isn't durable isn't removed, whoever has no use for it: of one that can't be removed for good, only the name
 * would be gone, and its sync would fail from then on. */
static void only_durable_ones_are_removed(void **state)
{
    (void)state;
    sim_start();
    JournalStart start = model_start();
    start.sync = JOURNAL_SYNC_ALWAYS;
    model_open(start);
    sim_fail(SIM_SYNC, 1, UINT32_MAX, EIO);
    model_write(100);
    guint segments = model_segments();
    assert_true(segments > 2);
    journal_release(journal_offset(), 0, 0);
    /* The thread looks for what can go behind each of its tries. */
    for (int i = 0; i < 2; i++)
        assert_false(journal_wait_durable());
    assert_int_equal(model_segments(), segments);
    sim_fail(SIM_SYNC, 0, 0, 0);
    assert_true(journal_wait_durable());
    for (int tries = 0; journal_stats().segments > 1 && tries < 1000; tries++)
        g_usleep(1000);
    assert_int_equal(model_segments(), 1);
    assert_true(journal_close());
}

/* What is beyond the size that is kept goes, however new it is; and no more. */
static void no_more_is_kept(void **state)
{
    (void)state;
    const uint64_t keep_bytes = 4000;
    sim_start();
    JournalStart start = model_start();
    model_open(start);
    model_write(100);
    assert_true(journal_wait_durable());
    assert_true(journal_stats().bytes > keep_bytes + start.segment_bytes);
    journal_release(journal_offset(), 3600, keep_bytes);
    for (int tries = 0; journal_stats().bytes > keep_bytes && tries < 1000; tries++)
        g_usleep(1000);
    uint64_t kept_bytes = journal_stats().bytes;
    assert_true(kept_bytes <= keep_bytes && kept_bytes > keep_bytes - start.segment_bytes * 3 / 2);
    assert_true(journal_close());
}

/* Where no thread can be started the journal isn't opened, until one can be; and then it's opened again with those that
 * it has. Of all tests it's the first. */
static void no_threads(void **state)
{
    (void)state;
    JournalStart start = model_start();
    host_allow_threads(false);
    g_autofree char *error = journal_open(&start);
    host_allow_threads(true);
    assert_non_null(error);
    assert_non_null(strstr(error, "raise the limit of threads"));
    assert_false(journal_is_open());
    model_open(model_start());
    model_write(30);
    assert_true(journal_close());
    host_allow_threads(false);
    model_open(model_start());
    host_allow_threads(true);
    model_write(3);
    assert_true(journal_close());
    model_check_all();
}

/* A process that was killed may have left names that aren't there for good: whoever starts makes them so, first. */
static void names_are_made_to_last(void **state)
{
    (void)state;
    sim_start();
    model_open(model_start());
    model_write(30);
    assert_true(journal_close());
    static const char *const directories[] = { ".", JOURNAL_DIRECTORY };
    for (unsigned i = 0; i < G_N_ELEMENTS(directories); i++) {
        sim_fail(SIM_SYNC, i + 1, 1, EIO);
        JournalStart start = model_start();
        g_autofree char *error = journal_open(&start), *expected = g_strdup_printf("%s: ", directories[i]);
        assert_non_null(error);
        assert_true(g_str_has_prefix(error, expected));
    }
    sim_fail(SIM_SYNC, 0, 0, 0);
    model_open(model_start());
    assert_true(journal_close());
    model_check_all();
}

static void put_byte(const char *path, uint64_t at, uint8_t byte)
{
    int fd = io_kernel.open(path, O_WRONLY, 0);
    assert_true(fd >= 0);
    assert_int_equal(io_kernel.write(fd, &byte, 1, (off_t)at), 1);
    io_kernel.close(fd);
}

/* What a failed sync lost, and the disk has something else for, isn't taken for durable by a later one. */
static void lost_bytes_are_missed(void **state)
{
    (void)state;
    open_always(0);
    sim_fail(SIM_SYNC, 1, UINT32_MAX, EIO);
    write_unsynced(2);
    assert_false(journal_wait_durable());
    JournalSegment segment = model_segment(0);
    const uint8_t last = '\n'; /* of the batch */
    put_byte(segment.path, segment.file_bytes - 1, last ^ 1);
    uint64_t before = journal_durable();
    sim_fail(SIM_SYNC, 0, 0, 0);
    for (int i = 0; i < 3; i++)
        assert_false(journal_wait_durable());
    assert_int_equal(journal_durable(), before);
    model_expect_trouble(": the disk lost what was written before a failed sync");
    put_byte(segment.path, segment.file_bytes - 1, last);
    while (!journal_wait_durable())
        continue;
    assert_true(journal_close());
    model_check_all();
}

/* Whoever waits isn't told of a sync that began, and failed, before: the next one counts. */
static void only_new_syncs_count(void **state)
{
    (void)state;
    open_always(20000);
    uint64_t calls = sim_calls(SIM_SYNC);
    sim_fail(SIM_SYNC, 1, 1, EIO);
    model_write(1);
    while (sim_calls(SIM_SYNC) == calls)
        g_usleep(100);
    assert_true(journal_wait_durable());
    assert_int_equal(journal_stats().failures, 1);
    assert_true(journal_close());
    model_check_all();
}

/* A failure that is over before anyone asked is still told, once. */
static void passed_failures_are_told(void **state)
{
    (void)state;
    open_always(0);
    assert_null(journal_take_failure());
    sim_fail(SIM_SYNC, 1, 1, EIO);
    model_write(1);
    while (!journal_wait_durable())
        continue;
    assert_null(journal_trouble());
    const char *failure = journal_take_failure();
    assert_non_null(failure);
    assert_non_null(strstr(failure, ".ckj: Input/output error"));
    assert_null(journal_take_failure());
    assert_true(journal_close());
    model_check_all();
}

/* ---- power cuts ---- */

static void note_durable(void *context)
{
    (void)context;
    sim_note(journal_durable());
}

/* Writes with faults now and then, and releases what is before `*released` once. */
static void run_for_power_cuts(GRand *rand, JournalSync sync, bool faults, uint64_t *released)
{
    bool done = false;
    JournalStart start = model_start();
    start.sync = sync;
    start.segment_bytes = 1000;
    start.progressed = note_durable;
    model_open(start);
    sim_set_sync_us(400);
    for (int batch = 0; batch < 60; batch++) {
        int action = g_rand_int_range(rand, 0, 30);
        model_append_random(rand);
        if (faults && action < 3) sim_fail(action == 0 ? SIM_WRITE : SIM_SYNC, 1, 1, EIO);
        if (model_commit() && action == 5) (void)journal_wait_durable();
        if (action == 6 && !done && journal_written() == base + stream->len) {
            done = true;
            *released = journal_written();
            (void)journal_rotate();
            journal_release(*released, 0, 0);
        }
        if (action < 15) g_usleep(200);
    }
    sim_fail(SIM_WRITE, 0, 0, 0);
    sim_fail(SIM_SYNC, 0, 0, 0);
    if (g_rand_boolean(rand)) (void)journal_wait_durable();
}

/* What a power cut left: from where on it can be read (what may have been released may be there or not), and how. */
typedef struct Left {
    uint64_t from;
    Found found;
} Left;

/* It never has to be repaired, and all that was promised is there. */
static Left check_left(uint64_t promised, uint64_t first, uint64_t released)
{
    Left left = { first, model_read(".", first) };
    if (left.found.error != NULL && strstr(left.found.error, "isn't in it any more") != NULL) {
        g_free(left.found.error);
        left.from = model_segment(0).offset;
        assert_true(left.from <= released);
        left.found = model_read(".", left.from);
    }
    if (left.found.result == JOURNAL_BAD) fail_msg("%s", left.found.error);
    if (promised > left.from && left.found.offset < promised) {
        fail_msg("%" G_GUINT64_FORMAT " was promised, there's %" G_GUINT64_FORMAT ": %s", promised, left.found.offset,
                 left.found.error);
    }
    return left;
}

/* The journal goes on there, as at a start. */
static void check_goes_on(const Left *left)
{
    char *error = journal_cut(".", left->found.offset);
    if (error != NULL) fail_msg("%s", error);
    JournalStart start = { .offset = left->found.offset, .db = -1, .history = HISTORY, .segment_bytes = 1000 };
    model_open(start);
    journal_append(-1, (Slice[]){ SLICE("PING") }, 1);
    assert_true(journal_commit());
    uint64_t end = journal_written();
    assert_true(journal_close());
    JournalReader *reader = journal_reader_new(".", left->found.offset, HISTORY, &error);
    assert_non_null(reader);
    JournalBatch batch;
    assert_int_equal(journal_read(reader, &batch), JOURNAL_BATCH);
    assert_int_equal(journal_read(reader, &batch), JOURNAL_END);
    assert_int_equal(journal_reader_offset(reader), end);
    journal_reader_free(reader);
}

static int no_sync(int fd)
{
    (void)fd;
    return 0;
}

/* One of the states that a power cut may leave, in cut/, which becomes the working directory. */
static Left cut_power(GRand *rand, size_t events, uint64_t promised, uint64_t first, uint64_t released)
{
    assert_int_equal(mkdir("cut", 0700), 0);
    uint64_t noted = sim_power_cut((size_t)g_rand_int_range(rand, 0, (gint32)events + 1), rand, "cut");
    assert_int_equal(chdir("cut"), 0);
    return check_left(MAX(promised, noted), first, released);
}

static void wait_for_all(void)
{
    for (int i = 0; !journal_commit() || !journal_wait_durable(); i++) {
        if (i == 1000) fail_msg("%s", journal_trouble());
        g_usleep(1000);
    }
}

/* Starts on what a power cut left (an empty directory at first), writes, and tries power cuts: anywhere between the
 * beginning of the start and the end of the run. One of them is left, in the working directory. */
static Left run_generation(GRand *rand, JournalSync sync, bool faults, Left left)
{
    Io quick = io_kernel;
    quick.sync = no_sync;
    sim_start();
    sim_record();
    uint64_t promised = left.found.offset, released = left.from;
    char *error = journal_cut(".", promised);
    if (error != NULL) fail_msg("%s", error);
    run_for_power_cuts(rand, sync, faults, &released);
    bool killed = g_rand_boolean(rand); /* the last of the cuts is before it's closed */
    size_t events = sim_events();
    wait_for_all();
    assert_true(journal_close());
    model_note_batch();
    sim_note(base + stream->len);
    if (!killed) events = sim_events();
    const Io *simulated = io;
    unsigned torn = 0;
    for (int cuts = 0; cuts < CUTS; cuts++) {
        io = &quick;
        Left one = cut_power(rand, events, promised, left.from, released);
        torn += one.found.result == JOURNAL_TORN;
        g_free(one.found.error);
        check_goes_on(&one);
        empty_directory(".");
        assert_int_equal(chdir(".."), 0);
        assert_int_equal(rmdir("cut"), 0);
        io = simulated;
    }
    print_message("%zu events, %d power cuts, %u of them left a torn tail\n", events, CUTS, torn);
    left = cut_power(rand, events, promised, left.from, released);
    g_clear_pointer(&left.found.error, g_free);
    return left;
}

/* Some generations, each on what a power cut left of the one before: what was cut away never comes back. */
static void run_power_cuts(uint32_t seed, JournalSync sync, bool faults)
{
    print_message("seed %u\n", seed);
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    g_autofree char *top = g_get_current_dir();
    empty_directory(".");
    model_reset(0);
    Left left = { .from = base, .found = { .offset = base } };
    for (int generation = 0; generation < GENERATIONS; generation++) {
        left = run_generation(rand, sync, faults, left);
        model_cut(left.found.offset);
    }
    assert_int_equal(chdir(top), 0);
}

/* ---- another history ---- */

static uint64_t end_of(const char *history)
{
    char *error = NULL;
    JournalReader *reader = journal_reader_new(".", base, history, &error);
    JournalBatch batch;
    while (journal_read(reader, &batch) == JOURNAL_BATCH)
        continue;
    uint64_t end = journal_reader_offset(reader);
    journal_reader_free(reader);
    return end;
}

/* The loop begins another history without reading what there is, which may be long, and only on the disk. */
static void begins_history(void **state)
{
    (void)state;
    sim_start();
    JournalStart start = model_start();
    start.segment_bytes = 1 << 20;
    model_open(start);
    assert_false(journal_begin_history(OTHER_HISTORY, 3)); /* nothing was written yet: the name would be the same */
    model_write(30);
    sim_fail(SIM_RENAME, 1, 1, EIO);
    assert_false(journal_begin_history(OTHER_HISTORY, 3));
    model_write(30);
    assert_int_equal(end_of(HISTORY), journal_offset());
    assert_true(journal_wait_durable());
    uint64_t end = journal_offset(), reads = sim_calls_here(SIM_READ);
    assert_true(journal_begin_history(OTHER_HISTORY, 3));
    assert_int_equal(sim_calls_here(SIM_READ), reads);
    assert_int_equal(journal_db(), 3);
    assert_int_equal(model_segments(), 2);
    stream_db = 3;
    model_write(30);
    assert_true(journal_wait_durable());
    assert_int_equal(end_of(NULL), base + stream->len);
    assert_int_equal(end_of(HISTORY), end);
    assert_true(journal_close());
    start = model_start();
    start.history = OTHER_HISTORY;
    model_open(start); /* goes on there */
    assert_int_equal(model_segments(), 2);
    assert_true(journal_close());
}

static void power_cuts(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 4; seed++) {
        run_power_cuts(seed, JOURNAL_SYNC_ALWAYS, false);
        run_power_cuts(seed + 10, JOURNAL_SYNC_ALWAYS, true);
    }
    for (uint32_t seed = 20; seed <= 22; seed++) {
        run_power_cuts(seed, JOURNAL_SYNC_NO, true);
        run_power_cuts(seed + 10, JOURNAL_SYNC_EVERYSEC, true);
    }
}

/* ---- memory ---- */

/* INFO's used_memory counts the loop's thread: what is allocated there is freed there. */
static void memory_is_given_back(void **state)
{
    (void)state;
    sim_start();
    g_autofree char *big = g_malloc0(8 << 20);
    size_t before = 0;
    for (int round = 0; round < 3; round++) {
        JournalStart start = model_start();
        start.sync = JOURNAL_SYNC_ALWAYS;
        model_open(start);
        if (round == 1) before = mem_used(); /* the first round leaves caches of GLib's */
        sim_fail(SIM_SYNC, 2, 3, EIO);
        for (int i = 0; i < 20; i++) {
            journal_append(0, (Slice[]){ SLICE("SET"), SLICE("key"), { big, i % 10 == 0 ? 8 << 20 : 100 } }, 3);
            assert_true(journal_commit());
            (void)journal_wait_durable();
        }
        sim_fail(SIM_SYNC, 0, 0, 0);
        if (round == 1) assert_in_range(mem_used(), before - 20000, before + 200000);
        assert_true(journal_close());
        assert_null(journal_cut(".", 0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_threads, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(sync_modes, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(syncs_are_shared, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(turns_are_gathered, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(writing_begins_early, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(gathering_ends, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(each_call_fails, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(faults_to_the_end, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(reading_fails, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(unreadable_segments_follow, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(rotates_behind_what_waits, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(failed_syncs_heal, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(only_durable_ones_are_removed, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(no_more_is_kept, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(names_are_made_to_last, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(lost_bytes_are_missed, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(only_new_syncs_count, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(passed_failures_are_told, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(begins_history, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(power_cuts, model_enter, model_leave),
        cmocka_unit_test_setup_teardown(memory_is_given_back, model_enter, model_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
