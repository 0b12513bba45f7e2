/* journalsync.c: see journalsync.h.
 *
 * Design. The writer puts down how far it has come; the thread works through the segments in order, syncs the first one
 * that isn't durable, and moves `durable` to where that one ended when the sync began. `goal` is an offset that has to
 * become durable as soon as it can; the loop sets it in `always`, the thread once a second otherwise: to the end, or in
 * `no` to the beginning of the last segment. After a failed sync the kernel takes the pages for clean, wherever their
 * content is; a second sync would succeed and mean nothing. So what isn't durable is read back, verified and written
 * again first. A finished segment is sealed when it's durable and the name of its follower is: never before, since a
 * seal without follower means that a file is missing. The seal isn't synced: it's no harm if it isn't there, or in
 * pieces. Between syncs the thread has the kernel write what has come (io.h), so that a sync has little left to do.
 * Memory that one thread allocates is never freed by the other: INFO counts the loop's.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/journalsync.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/background.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/ckj.h"
#include "store/io.h"

#define NEVER     INT64_MAX
#define SECOND_US 1000000
#define RETRY_US  100000

/* What is durable is dropped from the page cache so many bytes at a time: a second's 64 MB at once took 12 ms, of which
 * the loop waited up to 5 for its core. (Pages may be in pieces of up to 2 MB, which go as a whole or not at all.) */
#define DROP_BYTES (2UL << 20)

/* So much of the end isn't written early: pages are locked while they wait for the disk's queue, and the loop, which
 * writes on there, would wait with them. */
#define TAIL_BYTES (1UL << 20)

static _Atomic uint64_t durable;
static _Atomic int64_t last_us; /* what the last sync took */
static _Atomic bool troubled;
static _Atomic bool failed; /* since jsync_take_failure was called */

/* Shared by both threads, under the lock. */
static struct {
    GMutex lock;
    GCond wake;       /* for the thread: something is to be done */
    GCond tried;      /* for the loop: a sync succeeded or failed */
    GArray *segments; /* of JsyncSegment, by offset; the loop adds, the thread removes */
    uint64_t writing; /* up to where the kernel was told to write the last segment's file */
    JournalSync mode;
    uint64_t goal;
    uint64_t release;    /* segments that end here or before can go, */
    int64_t keep_sec;    /* unless they were written to so recently */
    uint64_t keep_bytes; /* while all of them are no bigger */
    uint64_t releases;   /* how often that was said */
    bool quit;
    int64_t sleeping_us;      /* until when the thread sleeps; 0: it doesn't */
    int64_t pass_us;          /* when the goal was set last, or all there was began to be synced */
    int64_t retry_us;         /* after a failure: not before */
    uint64_t syncs, failures; /* begun; failed */
    uint64_t last_failed;     /* the number of the sync that failed last: the first is 1 */
    char trouble[JSYNC_TROUBLE_CHARS];
} s;

/* Kept while no journal is open: or where there can be no further threads, none could be opened again. */
static BackgroundWorker worker;
static bool working; /* thread_main runs in it */
static void (*progressed)(void *context);
static void *progressed_context;

static JsyncSegment *segment_at(guint index)
{
    return &g_array_index(s.segments, JsyncSegment, index);
}

static JsyncSegment *last_segment(void)
{
    return segment_at(s.segments->len - 1);
}

/* ---- when ---- */

/* When the thread has to sync next, by the monotonic clock. */
static int64_t sync_due_us(void)
{
    const JsyncSegment *last = last_segment();
    int64_t due = NEVER;
    /* A finished segment doesn't wait for the second to be over: a checkpoint that began at its end may wait for it. */
    if (durable < s.goal || durable < last->offset)
        due = 0;
    else if (s.mode == JOURNAL_SYNC_EVERYSEC && durable < last->end)
        due = s.pass_us + SECOND_US;
    return due < s.retry_us ? s.retry_us : due;
}

/* Is there so much more that the kernel should begin to write it? */
static bool writing_is_due(void)
{
    return last_segment()->bytes >= MAX(s.writing, last_segment()->synced) + IO_BURST_BYTES + TAIL_BYTES;
}

/* Would the thread sleep for too long? (A signal is a system call. Who sends one lets go of the lock before: or the
 * thread wakes only to wait for that.) */
static bool sleeps_too_long(void)
{
    return s.sleeping_us > sync_due_us() || (s.sleeping_us > 0 && writing_is_due());
}

/* ---- in the thread ---- */

static void report(void)
{
    if (progressed != NULL) progressed(progressed_context);
}

/* Puts down why an attempt failed. Returns false. */
static bool explain(char *why, const char *path, const char *what)
{
    snprintf(why, JSYNC_TROUBLE_CHARS, "%s: %s", path, what);
    return false;
}

static bool read_batch(const JsyncSegment *segment, uint64_t at, uint8_t **buffer, size_t *len)
{
    uint8_t bytes[CKJ_BATCH_HEAD_BYTES];
    CkjBatch head;
    if (!io_read_all(segment->fd, bytes, sizeof(bytes), (off_t)at)) return false;
    errno = 0;
    if (!ckj_get_batch_head(bytes, &head)) return false;
    *len = CKJ_BATCH_HEAD_BYTES + (size_t)head.payload_bytes;
    *buffer = g_realloc(*buffer, *len);
    if (!io_read_all(segment->fd, *buffer, *len, (off_t)at)) return false;
    errno = 0;
    return ckj_batch_intact(*buffer, &head);
}

static bool rewrite_head(const JsyncSegment *segment)
{
    uint8_t head[CKJ_HEAD_BYTES];
    char history[JOURNAL_ID_CHARS + 1];
    uint64_t offset;
    uint32_t version;
    if (!io_read_all(segment->fd, head, sizeof(head), 0)) return false;
    errno = 0;
    if (ckj_get_head(head, &offset, history, &version) != CKJ_HEAD_GOOD) return false;
    return io_write_all(segment->fd, head, sizeof(head), 0);
}

/* Reads back, verifies and writes again what isn't durable. False with errno 0: the bytes aren't there any more. (What
 * is too short for a batch is a seal, or a piece of one: it need not last.) */
static bool rewrite(const JsyncSegment *segment)
{
    uint64_t at = segment->synced;
    if (at < CKJ_HEAD_BYTES) {
        if (!rewrite_head(segment)) return false;
        at = CKJ_HEAD_BYTES;
    }
    uint8_t *buffer = NULL;
    bool ok = true;
    while (ok && at + CKJ_BATCH_HEAD_BYTES < segment->bytes) {
        size_t len;
        ok = read_batch(segment, at, &buffer, &len) && io_write_all(segment->fd, buffer, len, (off_t)at);
        if (ok) at += len;
    }
    int saved = errno;
    g_free(buffer);
    errno = saved;
    return ok;
}

/* Nobody reads soon what is on the disk now, and the next writes want pages: those that are given back here are at
 * hand, while others come from other files and programs, or, in a virtual machine, from its host, which takes twenty
 * times as long. */
static void drop_cached(JsyncSegment *segment)
{
    for (; segment->synced >= segment->dropped + DROP_BYTES; segment->dropped += DROP_BYTES) {
        io_drop_cached(segment->fd, (off_t)segment->dropped, DROP_BYTES);
        sched_yield();
    }
}

/* Whether somebody took the file away while it was written to. (Not all file systems count names.) */
static bool is_deleted(int fd, const char *path)
{
    struct stat about;
    return fstat(fd, &about) == 0 && about.st_nlink == 0 && access(path, F_OK) != 0 && errno == ENOENT;
}

/* Makes a segment (a copy of its entry) durable as far as it goes. False: `why`. What it finds out about the entry is
 * in the copy. */
static bool sync_segment(JsyncSegment *segment, char *why)
{
    char path[CKJ_NAME_CHARS];
    ckj_path(path, sizeof(path), NULL, segment->offset);
    if (segment->fd < 0) segment->fd = io->open(path, O_RDWR, 0);
    if (segment->fd < 0) return explain(why, path, g_strerror(errno));
    if (segment->rewrite && !rewrite(segment)) {
        return explain(why, path,
                       errno != 0 ? g_strerror(errno) : "the disk lost what was written before a failed sync");
    }
    segment->rewrite = io->sync(segment->fd) != 0;
    if (segment->rewrite) return explain(why, path, g_strerror(errno));
    segment->synced = segment->bytes;
    drop_cached(segment);
    if (is_deleted(segment->fd, path)) {
        return explain(why, path,
                       "it was deleted, so all that is written ends with this process: before that, make a slave the "
                       "master, or read the data out");
    }
    if (!segment->named && !io_sync_directory(JOURNAL_DIRECTORY))
        return explain(why, JOURNAL_DIRECTORY, g_strerror(errno));
    segment->named = true;
    return true;
}

static JsyncSegment *find_segment(uint64_t offset)
{
    for (guint i = 0; i < s.segments->len; i++)
        if (segment_at(i)->offset == offset) return segment_at(i);
    g_assert_not_reached();
}

/* Under the lock: the first segment that isn't durable up to its end. There is one if a sync is due. */
static JsyncSegment *first_unsynced(void)
{
    for (guint i = 0; i < s.segments->len; i++)
        if (segment_at(i)->end > durable) return segment_at(i);
    g_assert_not_reached();
}

/* Under the lock: puts down how it went. True if the world has to hear of it. */
static bool note_sync(const JsyncSegment *done, bool ok, const char *why, int64_t began_us)
{
    JsyncSegment *segment = find_segment(done->offset);
    segment->fd = done->fd;
    segment->synced = done->synced;
    segment->dropped = done->dropped;
    segment->rewrite = done->rewrite;
    segment->named = done->named;
    int64_t now = clock_now_us();
    last_us = now - began_us;
    g_cond_broadcast(&s.tried);
    if (ok) {
        durable = done->end;
        troubled = false;
        s.retry_us = 0;
        return true;
    }
    bool changed = !troubled || strcmp(s.trouble, why) != 0;
    g_strlcpy(s.trouble, why, sizeof(s.trouble));
    troubled = true;
    failed = true;
    s.failures++;
    s.last_failed = s.syncs;
    s.retry_us = now + RETRY_US;
    return changed;
}

/* Under the lock, which it lets go of for the while. */
static void sync_one(int64_t now)
{
    if (durable >= s.goal) {
        s.goal = s.mode == JOURNAL_SYNC_NO ? last_segment()->offset : last_segment()->end;
        s.pass_us = now;
    }
    JsyncSegment segment = *first_unsynced();
    if (segment.end == last_segment()->end) s.pass_us = now;
    s.syncs++;
    g_mutex_unlock(&s.lock);
    char why[JSYNC_TROUBLE_CHARS] = "";
    bool ok = sync_segment(&segment, why);
    g_mutex_lock(&s.lock);
    bool heard = note_sync(&segment, ok, why, now);
    g_mutex_unlock(&s.lock);
    if (heard) report();
    g_mutex_lock(&s.lock);
}

static uint64_t total_bytes(void)
{
    uint64_t bytes = 0;
    for (guint i = 0; i < s.segments->len; i++)
        bytes += segment_at(i)->bytes;
    return bytes;
}

/* Was the file written to in the last so many seconds? */
static bool is_recent(const char *path, int64_t seconds)
{
    struct stat about;
    return stat(path, &about) == 0 && about.st_mtime > g_get_real_time() / G_USEC_PER_SEC - seconds;
}

/* For what goes wrong and loses nothing: it's no trouble that writes would have to wait for, and an operator wants to
 * hear of it. Returns false. */
static bool complain(const char *path)
{
    log_line(LOG_WARNING, "%s: %s", path, g_strerror(errno));
    return false;
}

static bool sync_names(void)
{
    return io_sync_directory(JOURNAL_DIRECTORY) || complain(JOURNAL_DIRECTORY);
}

/* In order, each for good before the next: a power cut must not leave a hole. */
static bool remove_segment(JsyncSegment *segment, const char *path)
{
    if (segment->fd >= 0) io->close(segment->fd);
    segment->fd = -1;
    if (io->unlink(path) != 0 && errno != ENOENT) return complain(path);
    return sync_names();
}

/* Under the lock: removes the oldest segment if it can go. False: it can't, so no other can. (It's durable first: if it
 * can't be removed for good, it's in the list and perhaps not on the disk, and must not wait for a sync.) */
static bool release_one(void)
{
    if (s.segments->len < 2 || segment_at(0)->end > MIN(s.release, durable)) return false;
    JsyncSegment segment = *segment_at(0);
    char path[CKJ_NAME_CHARS];
    ckj_path(path, sizeof(path), NULL, segment.offset);
    bool kept = total_bytes() <= s.keep_bytes;
    uint64_t releases = s.releases;
    int64_t keep_sec = s.keep_sec;
    g_mutex_unlock(&s.lock);
    kept = kept && is_recent(path, keep_sec);
    bool removed = !kept && remove_segment(&segment, path);
    g_mutex_lock(&s.lock);
    segment_at(0)->fd = segment.fd;
    if (removed) g_array_remove_index(s.segments, 0);
    if (!removed && s.releases == releases) s.release = 0; /* the next call of journal_release tries again */
    return true;
}

/* Ends the file of a finished segment: seals it, if that may be, gives back the room that was reserved (if it can't be,
 * some is wasted), and closes it. How long it's now. */
static uint64_t end_file(const JsyncSegment *segment, bool may_seal)
{
    uint8_t seal[CKJ_BATCH_HEAD_BYTES];
    uint64_t end = segment->bytes;
    ckj_put_seal(seal, CKJ_FINISHED, segment->end);
    if (may_seal && segment->wants_seal && io_write_all(segment->fd, seal, sizeof(seal), (off_t)end))
        end += sizeof(seal);
    (void)io->truncate(segment->fd, (off_t)end);
    io->close(segment->fd);
    return end;
}

/* Under the lock: seals and closes a finished segment that is durable. False: there's none. */
static bool finish_one(void)
{
    for (guint i = 0; i + 1 < s.segments->len; i++) {
        JsyncSegment *segment = segment_at(i);
        if (segment->fd < 0 || segment->end > durable) continue;
        JsyncSegment finished = *segment;
        bool named = segment_at(i + 1)->named;
        segment->fd = -1;
        g_mutex_unlock(&s.lock);
        named = named || sync_names();
        uint64_t bytes = end_file(&finished, named);
        g_mutex_lock(&s.lock);
        segment_at(i)->bytes = bytes;
        segment_at(i + 1)->named = named;
        return true;
    }
    return false;
}

/* Under the lock, which it lets go of for the while. False: there's too little to write yet. */
static bool begin_writing(void)
{
    if (!writing_is_due()) return false;
    const JsyncSegment *last = last_segment();
    int fd = last->fd;
    uint64_t from = MAX(s.writing, last->synced), end = last->bytes - TAIL_BYTES;
    s.writing = end;
    g_mutex_unlock(&s.lock);
    io->begin_writing(fd, (off_t)from, (off_t)(end - from));
    g_mutex_lock(&s.lock);
    return true;
}

static void sleep_until(int64_t due)
{
    s.sleeping_us = due;
    if (due == NEVER)
        g_cond_wait(&s.wake, &s.lock);
    else
        g_cond_wait_until(&s.wake, &s.lock, due);
    s.sleeping_us = 0;
}

static gpointer thread_main(gpointer unused)
{
    (void)unused;
    g_mutex_lock(&s.lock);
    while (!s.quit) {
        int64_t now = clock_now_us();
        int64_t due = sync_due_us();
        if (due <= now) sync_one(now);
        bool more = finish_one() || release_one() || begin_writing();
        if (due > now && !more) sleep_until(due);
    }
    while (finish_one())
        continue;
    g_mutex_unlock(&s.lock);
    return NULL;
}

/* ---- in the loop's thread ---- */

void jsync_init(uint64_t first_durable)
{
    s.segments = g_array_new(FALSE, FALSE, sizeof(JsyncSegment));
    durable = first_durable;
    troubled = failed = false;
    s.goal = s.release = s.writing = 0;
    s.quit = false;
    s.sleeping_us = s.retry_us = 0;
    last_us = 0;
    s.syncs = s.failures = s.last_failed = 0;
}

void jsync_add_segment(JsyncSegment segment)
{
    g_mutex_lock(&s.lock);
    g_array_append_val(s.segments, segment);
    s.writing = 0;
    if (working) g_cond_signal(&s.wake);
    g_mutex_unlock(&s.lock);
}

bool jsync_start(const JournalStart *start, char **error)
{
    s.mode = start->sync;
    s.goal = last_segment()->end;
    s.pass_us = clock_now_us();
    progressed = start->progressed;
    progressed_context = start->context;
    working = background_work(&worker, "journal", thread_main, error);
    return working;
}

static void end_thread(void)
{
    g_mutex_lock(&s.lock);
    s.quit = true;
    g_cond_signal(&s.wake);
    g_mutex_unlock(&s.lock);
    if (working) background_wait(&worker);
    working = false;
    troubled = false;
    for (guint i = 0; i + 1 < s.segments->len; i++) {
        if (segment_at(i)->fd >= 0) io->close(segment_at(i)->fd);
        segment_at(i)->fd = -1;
    }
}

int jsync_stop(void)
{
    end_thread();
    int fd = s.segments->len > 0 ? last_segment()->fd : -1;
    g_array_unref(g_steal_pointer(&s.segments));
    return fd;
}

int jsync_leave(GArray **segments, uint64_t *is_durable)
{
    end_thread();
    int fd = last_segment()->fd;
    last_segment()->fd = -1;
    *is_durable = durable;
    *segments = g_steal_pointer(&s.segments);
    return fd;
}

void jsync_adopt(const GArray *segments, uint64_t is_durable, int fd)
{
    jsync_init(is_durable);
    g_array_append_vals(s.segments, segments->data, segments->len);
    last_segment()->fd = fd;
}

void jsync_want(uint64_t offset)
{
    g_mutex_lock(&s.lock);
    if (s.goal < offset) s.goal = offset;
    bool wake = sleeps_too_long();
    g_mutex_unlock(&s.lock);
    if (wake) g_cond_signal(&s.wake);
}

void jsync_set_mode(JournalSync mode)
{
    g_mutex_lock(&s.lock);
    s.mode = mode;
    g_cond_signal(&s.wake);
    g_mutex_unlock(&s.lock);
}

void jsync_written(uint64_t end, uint64_t bytes)
{
    g_mutex_lock(&s.lock);
    last_segment()->end = end;
    last_segment()->bytes = bytes;
    bool wake = sleeps_too_long();
    g_mutex_unlock(&s.lock);
    if (wake) g_cond_signal(&s.wake);
}

uint64_t jsync_durable(void)
{
    return durable;
}

int64_t jsync_last_us(void)
{
    return last_us;
}

bool jsync_wait(uint64_t offset)
{
    if (durable >= offset) return true;
    g_mutex_lock(&s.lock);
    uint64_t begun = s.syncs; /* the last of them may be failing now, of something that has been mended since */
    if (s.goal < offset) s.goal = offset;
    s.retry_us = 0;
    g_cond_signal(&s.wake);
    while (durable < offset && s.last_failed <= begun)
        g_cond_wait(&s.tried, &s.lock);
    g_mutex_unlock(&s.lock);
    return durable >= offset;
}

void jsync_release(uint64_t offset, int64_t keep_sec, uint64_t keep_bytes)
{
    g_mutex_lock(&s.lock);
    s.release = MIN(offset, last_segment()->offset); /* what is yet to come isn't meant */
    s.releases++;
    s.keep_sec = keep_sec;
    s.keep_bytes = keep_bytes;
    g_cond_signal(&s.wake);
    g_mutex_unlock(&s.lock);
}

bool jsync_is_troubled(void)
{
    return troubled;
}

/* Good until the next call. */
static const char *copy_trouble(void)
{
    static char copy[JSYNC_TROUBLE_CHARS];
    g_mutex_lock(&s.lock);
    memcpy(copy, s.trouble, sizeof(copy));
    g_mutex_unlock(&s.lock);
    return copy;
}

const char *jsync_trouble(void)
{
    return troubled ? copy_trouble() : NULL;
}

const char *jsync_take_failure(void)
{
    if (!failed) return NULL;
    failed = false;
    return copy_trouble();
}

void jsync_stats(JournalStats *stats)
{
    g_mutex_lock(&s.lock);
    stats->segments = s.segments->len;
    stats->first_offset = segment_at(0)->offset;
    stats->bytes = total_bytes();
    stats->syncs = s.syncs;
    stats->failures += s.failures;
    stats->last_sync_us = last_us;
    g_mutex_unlock(&s.lock);
}
