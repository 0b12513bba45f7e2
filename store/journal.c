/* journal.c: the journal's writing half (see journal.h): the batch in the making, the segment being written.
 *
 * The thread that syncs is in journalsync.c. All of this runs in the loop's thread.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/number.h"
#include "store/ckj.h"
#include "store/io.h"
#include "store/journalroom.h"
#include "store/journalsync.h"

#define FILE_MODE      0600
#define DIRECTORY_MODE 0700
#define RETRY_US       100000
#define RETRY_US_MAX   60000000
#define RETRY_SHARE    20          /* of the time may go into attempts that fail: 1 / RETRY_SHARE */
#define RESERVE_BYTES  (4UL << 20) /* of the file, at a time */
#define NEXT_BYTES     (1UL << 20) /* in a segment: then the next one's file is made */
#define BUFFER_MIN     (64UL << 10)
#define BUFFER_KEPT    (4UL << 20) /* one that has grown beyond is given back after its batch */
#define ARGUMENT_FRAME 32          /* "$<length>\r\n" and "\r\n", or "*<count>\r\n", at most */

static struct {
    /* The batch in the making: room for its head, then its payload. */
    uint8_t *bytes;
    size_t len, cap;
    uint64_t written; /* the offset where the payload begins */
    uint64_t batch;
    int db;
    /* The segment being written. */
    int fd;
    char path[CKJ_NAME_CHARS];
    uint64_t begin;        /* its offset */
    uint64_t file_end;     /* of the last whole batch or seal */
    uint64_t reserved_end; /* up to where the file has room on the disk */
    int64_t ahead_us;      /* there wasn't more room than is needed at once: don't ask for more before */
    uint64_t next_at;    /* when it's as long, the next segment's file is wanted; UINT64_MAX: it is, or never will be */
    int64_t rotate_us;   /* a new segment couldn't be begun: not before */
    bool closed;         /* what ends at file_end is the seal of a closed journal */
    bool cannot_reserve; /* the file system can't */
    bool open, aside, troubled;
    /* In `always`: what was written and durable when the turn before ended, when the latter was news, and up to where a
     * sync was asked for. */
    uint64_t turn_written, turn_durable, asked;
    int64_t durable_us;
    uint64_t first;   /* the offset of the first batch since the journal was opened, */
    int64_t first_ms; /* and its time; 0: there's none yet */
    /* Settings. */
    JournalSync sync;
    uint64_t segment_bytes;
    char history[JOURNAL_ID_CHARS + 1];
    /* What is wrong. */
    size_t wanted;     /* what journal_reserve asked for in vain; 0: writing failed */
    size_t failed_len; /* of the batch when it couldn't be written */
    int64_t retry_us;  /* not before */
    int error;         /* errno */
    char trouble[JSYNC_TROUBLE_CHARS];
    uint64_t batches, failures;
} j = { .len = CKJ_BATCH_HEAD_BYTES };

static char close_failure[JSYNC_TROUBLE_CHARS];

static void (*on_written)(uint64_t offset, Slice payload);

/* ---- trouble ---- */

/* When to try again what began then and failed. A full or broken disk may keep whoever asks waiting for long, and the
 * clients with it. */
static int64_t retry_at(int64_t began_us)
{
    int64_t now = clock_now_us();
    return now + CLAMP((now - began_us) * RETRY_SHARE, RETRY_US, RETRY_US_MAX);
}

/* Puts down errno. Returns false. */
static bool fail(size_t wanted, int64_t began_us)
{
    j.error = errno;
    snprintf(j.trouble, sizeof(j.trouble), "%s: %s", j.path, g_strerror(j.error));
    j.troubled = true;
    j.wanted = wanted;
    j.failures++;
    j.retry_us = retry_at(began_us);
    return false;
}

static bool may_retry(void)
{
    return !j.troubled || clock_now_us() >= j.retry_us;
}

const char *journal_trouble(void)
{
    return j.troubled ? j.trouble : jsync_trouble();
}

const char *journal_take_failure(void)
{
    return jsync_take_failure();
}

/* ---- appending ---- */

/* Room for `len` more bytes. Longer batches than a head can tell of can't be: whoever appends bounds what a
 * command, or a transaction, comes to (effect_fits). */
static uint8_t *room(size_t len)
{
    g_assert(len <= CKJ_PAYLOAD_MAX && j.len - CKJ_BATCH_HEAD_BYTES <= CKJ_PAYLOAD_MAX - len);
    if (G_UNLIKELY(j.len + len > j.cap)) {
        size_t cap = MAX(j.cap * 2, BUFFER_MIN);
        j.cap = MAX(cap, j.len + len);
        j.bytes = g_realloc(j.bytes, j.cap);
    }
    return j.bytes + j.len;
}

static uint8_t *put_number(uint8_t *to, char sign, size_t value)
{
    *to++ = (uint8_t)sign;
    if (value < 10)
        *to++ = (uint8_t)('0' + value);
    else
        to += number_format_uint((char *)to, value);
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

static void append(const Slice *argv, int argc)
{
    size_t need = ARGUMENT_FRAME;
    for (int i = 0; i < argc; i++)
        need += ARGUMENT_FRAME + argv[i].len;
    uint8_t *to = put_number(room(need), '*', (size_t)argc);
    for (int i = 0; i < argc; i++) {
        to = put_number(to, '$', argv[i].len);
        if (argv[i].len > 0) memcpy(to, argv[i].ptr, argv[i].len);
        to += argv[i].len;
        *to++ = '\r';
        *to++ = '\n';
    }
    j.len = (size_t)(to - j.bytes);
}

void journal_append(int db, const Slice *argv, int argc)
{
    g_assert(j.open && argc > 0);
    if (db >= 0 && db != j.db) {
        char digits[NUMBER_INT_CHARS];
        Slice select[] = { SLICE("SELECT"), { digits, number_format_int(digits, db) } };
        append(select, G_N_ELEMENTS(select));
        j.db = db;
    }
    append(argv, argc);
}

void journal_append_raw(Slice commands, int db)
{
    g_assert(j.open && commands.len > 0);
    memcpy(room(commands.len), commands.ptr, commands.len);
    j.len += commands.len;
    j.db = db;
}

/* Room for the next batch: a buffer that has grown big is given back. */
static void reset_buffer(void)
{
    j.len = CKJ_BATCH_HEAD_BYTES;
    if (j.cap <= BUFFER_KEPT) return;
    g_clear_pointer(&j.bytes, g_free);
    j.cap = 0;
}

/* ---- segments ---- */

/* Gives the file at hand (-1: a new one) its head beside its place, and moves it there: so none stands half made in the
 * way of what the segment before may still take. -1: errno, and the file is gone. */
static int create_segment(const char *path, int fd)
{
    char temporary[CKJ_NAME_CHARS + 4];
    uint8_t head[CKJ_HEAD_BYTES];
    ckj_put_head(head, j.written, j.history);
    if (fd >= 0) {
        g_strlcpy(temporary, room_path(), sizeof(temporary));
    } else {
        snprintf(temporary, sizeof(temporary), "%s.tmp", path);
        fd = io->open(temporary, O_RDWR | O_CREAT | O_TRUNC, FILE_MODE);
    }
    if (fd < 0) return -1;
    if (io_write_all(fd, head, sizeof(head), 0) && io->rename(temporary, path) == 0) return fd;
    int saved = errno;
    io->close(fd);
    io->unlink(temporary);
    errno = saved;
    return -1;
}

static void write_to(int fd, const char *path, uint64_t begin, uint64_t file_end, uint64_t reserved_end)
{
    j.fd = fd;
    g_strlcpy(j.path, path, sizeof(j.path));
    j.begin = begin;
    j.file_end = file_end;
    j.closed = false;
    j.reserved_end = j.cannot_reserve ? UINT64_MAX : MAX(file_end, reserved_end);
    j.next_at = j.segment_bytes == UINT64_MAX ? UINT64_MAX : MIN(NEXT_BYTES, j.segment_bytes / 2);
}

static bool begin_segment_in(int fd, uint64_t reserved_end)
{
    char path[CKJ_NAME_CHARS];
    ckj_path(path, sizeof(path), NULL, j.written);
    fd = create_segment(path, fd);
    if (fd < 0) return false;
    room_forget_growth();
    write_to(fd, path, j.written, CKJ_HEAD_BYTES, reserved_end);
    jsync_add_segment(
        (JsyncSegment){ .offset = j.written, .end = j.written, .bytes = CKJ_HEAD_BYTES, .fd = fd, .wants_seal = true });
    return true;
}

/* Begins the next segment. False: errno; the one before goes on. */
static bool begin_segment(void)
{
    uint64_t reserved_end;
    int fd = room_take(0, &reserved_end);
    return begin_segment_in(fd, reserved_end);
}

/* The same, if there's a file with room for so many bytes at hand. */
static bool begin_segment_with_room(size_t bytes)
{
    uint64_t reserved_end;
    if (j.written == j.begin) return false; /* its name would be the same */
    int fd = room_take(CKJ_HEAD_BYTES + bytes, &reserved_end);
    return fd >= 0 && begin_segment_in(fd, reserved_end);
}

/* A segment that is long enough is finished. If no new one can be begun now, that's no trouble: it gets longer. */
static void rotate_if_long(void)
{
    if (j.file_end <= j.segment_bytes) return;
    int64_t now = clock_now_us();
    if (now < j.rotate_us || begin_segment()) return;
    j.rotate_us = retry_at(now);
    j.failures++;
}

bool journal_rotate(void)
{
    g_assert(j.open);
    if (!journal_commit()) return false;
    return j.written == j.begin || begin_segment();
}

bool journal_begin_history(const char *history, int db)
{
    g_assert(j.open && !j.aside && j.len == CKJ_BATCH_HEAD_BYTES && strlen(history) == JOURNAL_ID_CHARS);
    errno = 0;
    if (j.written == j.begin) return false; /* the new segment's name would be the same */
    char before[sizeof(j.history)];
    memcpy(before, j.history, sizeof(before));
    memcpy(j.history, history, JOURNAL_ID_CHARS);
    if (begin_segment()) {
        j.db = db;
        return true;
    }
    memcpy(j.history, before, sizeof(before));
    return false;
}

void journal_forget_db(void)
{
    j.db = -1;
}

void journal_on_written(void (*written)(uint64_t offset, Slice payload))
{
    on_written = written;
}

/* ---- committing ---- */

static bool write_batch(void)
{
    int64_t began_us = clock_now_us();
    size_t payload = j.len - CKJ_BATCH_HEAD_BYTES;
    ckj_put_batch_head(j.bytes, (CkjBatch){ .payload_bytes = (uint32_t)payload,
                                            .offset = j.written,
                                            .unix_ms = (uint64_t)clock_unix_ms,
                                            .durable = jsync_durable() });
    if (!io_write_all(j.fd, j.bytes, j.len, (off_t)j.file_end)) {
        int saved = errno;
        /* No half of a batch stays. (If that fails too, the next try overwrites it: it's no shorter.) */
        (void)io->truncate(j.fd, (off_t)j.file_end);
        room_forget_growth();
        errno = saved;
        fail(0, began_us);
        j.failed_len = j.len;
        if (!j.cannot_reserve) j.reserved_end = j.file_end;
        return false;
    }
    if (j.first_ms == 0) {
        j.first = j.written;
        j.first_ms = clock_unix_ms;
    }
    j.file_end += j.len;
    j.closed = false;
    j.written += payload;
    j.batch++;
    j.batches++;
    if (j.wanted == 0) j.troubled = false;
    if (j.file_end >= j.next_at) {
        room_want();
        j.next_at = UINT64_MAX;
    }
    jsync_written(j.written, j.file_end);
    if (on_written != NULL)
        on_written(j.written - payload, (Slice){ (const char *)j.bytes + CKJ_BATCH_HEAD_BYTES, payload });
    reset_buffer();
    rotate_if_long();
    return true;
}

bool journal_commit(void)
{
    bool empty = j.len == CKJ_BATCH_HEAD_BYTES;
    if (G_LIKELY(!j.troubled)) return empty || write_batch();
    if (j.wanted == 0) return empty || (may_retry() && write_batch());
    bool written = empty || write_batch();
    if (written) (void)journal_reserve(MIN(j.wanted, RESERVE_BYTES)); /* perhaps there's room by now */
    return written;
}

/* ---- room on the disk ---- */

static uint64_t ahead_bytes(void)
{
    return MIN(RESERVE_BYTES, j.segment_bytes);
}

static bool reserved(uint64_t end)
{
    j.reserved_end = end;
    return true;
}

/* Reserves up to `end` of the file at least; False: errno. */
static bool reserve_until(uint64_t end)
{
    uint64_t at = MAX(j.reserved_end, j.file_end), most = at + ahead_bytes();
    int64_t began_us = clock_now_us();
    if (most > end && began_us >= j.ahead_us) {
        if (io_allocate(j.fd, at, most)) return reserved(most);
        j.ahead_us = retry_at(began_us);
    }
    if (io_allocate(j.fd, at, end)) return reserved(end);
    if (errno != EOPNOTSUPP && errno != ENOSYS) return false;
    j.cannot_reserve = true;
    return reserved(UINT64_MAX);
}

/* The disk was full when the loop asked for room: now the thread asks. False: errno. */
static bool was_granted(uint64_t end)
{
    uint64_t granted;
    errno = j.error;
    RoomGrowth growth = room_growth(&granted);
    if (growth == ROOM_GROWN) j.reserved_end = MAX(j.reserved_end, granted);
    if (end <= j.reserved_end) return true;
    uint64_t at = MAX(j.reserved_end, j.file_end);
    if (growth != ROOM_WANTED && growth != ROOM_GROWING) room_grow(j.path, at, end, MAX(end, at + ahead_bytes()));
    return false;
}

/* The room in the next segment's file, which is too little, for this one. False: errno is as before. */
static bool give_back(void)
{
    int saved = errno;
    bool given = room_give_back();
    errno = saved;
    return given;
}

static bool find_room(uint64_t end)
{
    if (j.troubled && j.wanted > 0) return was_granted(end);
    return reserve_until(end) || (errno == ENOSPC && give_back() && reserve_until(end));
}

static bool reserve_slowly(size_t bytes)
{
    if (!may_retry()) return false;
    if (j.troubled && j.wanted == 0) {
        /* What was added since it failed may be half of a transaction: the next commit tries. */
        if (j.len != j.failed_len || !write_batch()) return false;
    }
    uint64_t end = j.file_end + j.len + bytes;
    bool fits = end <= j.reserved_end || begin_segment_with_room(j.len + bytes);
    if (!fits && !find_room(end)) return fail(bytes, clock_now_us()); /* it's the thread that may wait from now on */
    j.troubled = false;
    return !jsync_is_troubled();
}

bool journal_reserve(size_t bytes)
{
    bool fits = j.file_end + j.len + bytes <= j.reserved_end;
    return G_LIKELY(fits && !j.troubled && !jsync_is_troubled()) ? true : reserve_slowly(bytes);
}

/* ---- opening and closing ---- */

static char *explain(const char *path)
{
    return g_strdup_printf("%s: %s", path, g_strerror(errno));
}

static char *prepare_directory(void)
{
    if (io->mkdir(JOURNAL_DIRECTORY, DIRECTORY_MODE) != 0 && errno != EEXIST) return explain(JOURNAL_DIRECTORY);
    if (j.aside) return NULL;
    if (!io_sync_directory(".")) return explain(".");
    ckj_remove_temporaries("", NULL); /* a crash kept them from their place */
    /* The process before may have been killed before it did. */
    return io_sync_directory(JOURNAL_DIRECTORY) ? NULL : explain(JOURNAL_DIRECTORY);
}

/* Whoever finished the segment may have been killed before it was sealed: then that's made up for. What may be left of
 * a seal is written over. */
static void find_seal(JsyncSegment *segment)
{
    CkjEnd end;
    g_autofree char *damage = ckj_find_end(".", segment->offset, &end);
    if (damage != NULL && !end.damaged) return; /* it can't be read */
    if (end.offset != segment->end || end.last == CKJ_FINISHED) return;
    segment->wants_seal = segment->bytes - end.file_offset <= CKJ_BATCH_HEAD_BYTES;
    if (segment->wants_seal) segment->bytes = end.file_offset;
}

/* The segments before the last are given to the thread: it'll sync them, since no one knows whether they were. */
static void add_finished(GArray *segments, guint count)
{
    for (guint i = 0; i < count; i++) {
        const JournalSegment *segment = &g_array_index(segments, JournalSegment, i);
        bool last = i + 1 == segments->len;
        JsyncSegment finished = { .offset = segment->offset,
                                  .end = last ? j.written : segment[1].offset,
                                  .bytes = segment->file_bytes,
                                  .fd = -1,
                                  .named = true };
        if (i + 1 == count) find_seal(&finished);
        jsync_add_segment(finished);
    }
}

static char *begin_first(GArray *segments, guint keep)
{
    add_finished(segments, keep);
    if (begin_segment()) return NULL;
    char path[CKJ_NAME_CHARS];
    ckj_path(path, sizeof(path), NULL, j.written);
    return explain(path);
}

static char *continue_segment(GArray *segments, const CkjEnd *end)
{
    const JournalSegment *last = &g_array_index(segments, JournalSegment, segments->len - 1);
    char path[CKJ_NAME_CHARS];
    ckj_path(path, sizeof(path), NULL, last->offset);
    int fd = io->open(path, O_RDWR, 0);
    if (fd < 0) return explain(path);
    add_finished(segments, segments->len - 1);
    jsync_add_segment((JsyncSegment){ .offset = last->offset,
                                      .end = j.written,
                                      .bytes = end->file_offset,
                                      .fd = fd,
                                      .named = true,
                                      .wants_seal = true });
    write_to(fd, path, last->offset, end->file_offset, 0);
    j.closed = end->last == CKJ_CLOSED;
    return NULL;
}

/* Goes on in the last segment, or begins one: if there's none, if the last one is finished, or if the stream has made a
 * jump, or has become another history. */
static char *open_segments(GArray *segments)
{
    if (segments->len == 0) return begin_first(segments, 0);
    const JournalSegment *last = &g_array_index(segments, JournalSegment, segments->len - 1);
    CkjEnd end;
    char *error = ckj_find_end(".", last->offset, &end);
    /* The stream goes on beyond what is damaged there: whoever opens it there needs nothing of that. */
    if (error != NULL && end.damaged && end.offset < j.written) g_clear_pointer(&error, g_free);
    if (error != NULL) return error;
    if (end.offset > j.written) {
        return g_strdup_printf("%s: it goes on to offset %" G_GUINT64_FORMAT ", beyond %" G_GUINT64_FORMAT
                               ", where the journal is to be continued",
                               last->path, end.offset, j.written);
    }
    bool goes_on = end.offset == j.written && strcmp(end.history, j.history) == 0;
    if (goes_on && end.last != CKJ_FINISHED) return continue_segment(segments, &end);
    /* An empty one of another history is replaced: its name is the new one's. */
    return begin_first(segments, last->offset == j.written ? segments->len - 1 : segments->len);
}

static void forget(void)
{
    g_free(j.bytes);
    memset(&j, 0, sizeof(j));
    j.len = CKJ_BATCH_HEAD_BYTES;
}

/* NULL, or what is wrong. */
static char *start_threads(const JournalStart *start)
{
    char *error = NULL;
    j.sync = start->sync;
    j.open = room_start(j.segment_bytes, &error) && jsync_start(start, &error);
    if (!j.open) room_stop();
    return error;
}

char *journal_open(const JournalStart *start)
{
    g_assert(!j.open && strlen(start->history) == JOURNAL_ID_CHARS);
    forget();
    j.written = start->offset;
    j.db = start->db;
    j.segment_bytes = MAX(start->segment_bytes, CKJ_HEAD_BYTES);
    j.aside = start->aside;
    memcpy(j.history, start->history, JOURNAL_ID_CHARS);
    char *error = prepare_directory();
    if (error != NULL) return error;
    g_autoptr(GArray) segments = ckj_list(".", &error);
    if (segments == NULL) return error;
    jsync_init(segments->len > 0 ? g_array_index(segments, JournalSegment, 0).offset : start->offset);
    error = open_segments(segments);
    if (error == NULL) error = start_threads(start);
    if (error == NULL) return NULL;
    int fd = jsync_stop();
    if (fd >= 0) io->close(fd);
    return error;
}

/* Seals the last segment, all of which is durable, and gives back the room that was reserved. No harm if that fails:
 * the seal only vouches for what is there. */
static void close_segment(int fd, bool durable)
{
    uint8_t seal[CKJ_BATCH_HEAD_BYTES];
    ckj_put_seal(seal, CKJ_CLOSED, j.written);
    bool sealed = durable && !j.closed && io_write_all(fd, seal, sizeof(seal), (off_t)j.file_end);
    (void)io->truncate(fd, (off_t)(j.file_end + (sealed ? sizeof(seal) : 0)));
    if (sealed && io->sync(fd) != 0) log_line(LOG_WARNING, "%s: %s", j.path, g_strerror(errno));
}

bool journal_close(void)
{
    g_assert(j.open);
    j.retry_us = 0;
    bool ok = journal_commit();
    ok = jsync_wait(j.written) && ok;
    const char *trouble = journal_trouble();
    if (trouble == NULL) trouble = journal_take_failure(); /* it may be over just now */
    g_strlcpy(close_failure, trouble != NULL ? trouble : "", sizeof(close_failure));
    room_stop();
    int fd = jsync_stop();
    close_segment(fd, ok);
    bool closed = io->close(fd) == 0;
    if (!closed && ok) snprintf(close_failure, sizeof(close_failure), "%s: %s", j.path, g_strerror(errno));
    forget();
    return ok && closed;
}

const char *journal_close_failure(void)
{
    return close_failure;
}

void journal_leave(JournalPlace *place)
{
    g_assert(j.open && j.len == CKJ_BATCH_HEAD_BYTES && !j.troubled);
    *place = (JournalPlace){
        .offset = j.written,
        .batch = j.batch,
        .batches = j.batches,
        .failures = j.failures,
        .db = j.db,
        .file_end = j.file_end,
        .reserved_end = j.reserved_end,
        .cannot_reserve = j.cannot_reserve,
    };
    room_leave();
    place->fd = jsync_leave(&place->segments, &place->durable);
    forget();
}

void journal_drop(void)
{
    g_assert(!j.open || j.aside);
    room_stop(); /* also that of one that was left */
    if (!j.open) return;
    io->close(jsync_stop());
    forget();
}

char *journal_adopt(const JournalStart *start, JournalPlace *place)
{
    g_assert(!j.open && strlen(start->history) == JOURNAL_ID_CHARS && place->segments->len > 0);
    forget();
    const JsyncSegment *last = &g_array_index(place->segments, JsyncSegment, place->segments->len - 1);
    char path[CKJ_NAME_CHARS];
    ckj_path(path, sizeof(path), NULL, last->offset);
    int fd = place->fd >= 0 ? place->fd : io->open(path, O_RDWR, 0);
    if (fd < 0) return explain(path);
    place->fd = -1;
    j.written = place->offset;
    j.db = place->db;
    j.batch = place->batch;
    j.batches = place->batches;
    j.failures = place->failures;
    j.cannot_reserve = place->cannot_reserve;
    j.segment_bytes = MAX(start->segment_bytes, CKJ_HEAD_BYTES);
    memcpy(j.history, start->history, JOURNAL_ID_CHARS);
    write_to(fd, path, last->offset, place->file_end, place->reserved_end);
    jsync_adopt(place->segments, place->durable, fd);
    return start_threads(start);
}

void journal_save_place(const JournalPlace *place, Tape *tape)
{
    tape_put(tape, place->offset);
    tape_put(tape, place->batch);
    tape_put(tape, place->batches);
    tape_put(tape, place->failures);
    tape_put(tape, (uint64_t)(int64_t)place->db);
    tape_put(tape, place->file_end);
    tape_put(tape, place->reserved_end);
    tape_put(tape, place->cannot_reserve);
    tape_put(tape, place->durable);
    tape_put(tape, place->segments->len);
    for (guint i = 0; i < place->segments->len; i++) {
        const JsyncSegment *segment = &g_array_index(place->segments, JsyncSegment, i);
        tape_put(tape, segment->offset);
        tape_put(tape, segment->end);
        tape_put(tape, segment->bytes);
        tape_put(tape, segment->synced);
        tape_put(tape, segment->dropped);
        tape_put(tape, segment->named);
        tape_put(tape, segment->wants_seal);
        tape_put(tape, segment->rewrite);
    }
}

void journal_restore_place(JournalPlace *place, TapeReader *tape)
{
    place->offset = tape_get(tape);
    place->batch = tape_get(tape);
    place->batches = tape_get(tape);
    place->failures = tape_get(tape);
    place->db = (int)(int64_t)tape_get(tape);
    place->file_end = tape_get(tape);
    place->reserved_end = tape_get(tape);
    place->cannot_reserve = tape_get_bool(tape);
    place->durable = tape_get(tape);
    place->segments = g_array_new(FALSE, FALSE, sizeof(JsyncSegment));
    place->fd = -1;
    size_t count = tape_get_count(tape);
    if (count == 0) tape->bad = true;
    for (; count > 0 && !tape->bad; count--) {
        JsyncSegment segment = { .fd = -1 };
        segment.offset = tape_get(tape);
        segment.end = tape_get(tape);
        segment.bytes = tape_get(tape);
        segment.synced = tape_get(tape);
        segment.dropped = tape_get(tape);
        segment.named = tape_get_bool(tape);
        segment.wants_seal = tape_get_bool(tape);
        segment.rewrite = tape_get_bool(tape);
        g_array_append_val(place->segments, segment);
    }
}

void journal_place_clear(JournalPlace *place)
{
    g_clear_pointer(&place->segments, g_array_unref);
    if (place->fd >= 0) io->close(place->fd);
    place->fd = -1;
}

/* Who was answered after a sync often writes again at once. What such a round writes is synced together, instead of
 * what its first ones wrote before the others': a sync begins when a turn has brought nothing more. But if the round
 * takes longer than a sync, the disk works meanwhile. */
bool journal_end_turn(void)
{
    if (j.sync != JOURNAL_SYNC_ALWAYS) return false;
    uint64_t is_durable = jsync_durable();
    bool more = j.written != j.turn_written || is_durable != j.turn_durable;
    if (is_durable != j.turn_durable) j.durable_us = clock_now_us();
    j.turn_written = j.written;
    j.turn_durable = is_durable;
    if (is_durable >= j.written || is_durable < j.asked) return false;
    if (more && clock_now_us() - j.durable_us < jsync_last_us()) return true;
    j.asked = j.written;
    jsync_want(j.asked);
    return false;
}

void journal_sync_soon(void)
{
    jsync_want(j.written);
}

bool journal_is_open(void)
{
    return j.open && !j.aside;
}

void journal_set_sync(JournalSync sync)
{
    j.sync = sync;
    jsync_set_mode(sync);
}

bool journal_wait_durable(void)
{
    return jsync_wait(j.written);
}

void journal_release(uint64_t offset, int64_t keep_sec, uint64_t keep_bytes)
{
    jsync_release(offset, keep_sec, keep_bytes);
}

/* ---- figures ---- */

uint64_t journal_offset(void)
{
    return j.written + journal_pending_bytes();
}

uint64_t journal_written(void)
{
    return j.written;
}

uint64_t journal_durable(void)
{
    return jsync_durable();
}

int64_t journal_first_ms(uint64_t offset)
{
    return j.first_ms != 0 && j.first == offset ? j.first_ms : -1;
}

int journal_db(void)
{
    return j.db;
}

size_t journal_pending_bytes(void)
{
    return j.len - CKJ_BATCH_HEAD_BYTES;
}

uint64_t journal_batch(void)
{
    return j.batch;
}

JournalStats journal_stats(void)
{
    JournalStats stats = { .batches = j.batches, .failures = j.failures };
    jsync_stats(&stats);
    return stats;
}
