/* journalread.c: the journal's reading half (see journal.h): segments, batches in order, what is damaged; and cutting.
 *
 * Design. A reader walks the segments by the names of a directory. It trusts no byte: each head is compared with where
 * it stands, each batch with its checksum. What isn't whole is a torn tail, unless something that follows it, in its
 * segment or in a later one, says that it was durable: writes that a crash cut off, in whatever order the disk had come
 * to them. If it was durable, something was lost that was promised, which no one may pass over in silence. A batch (or
 * a seal) "follows" if it's whole and its offset fits its place, so that a value which happens to hold a piece of some
 * journal isn't taken for one. The seal of a finished segment is written when the next one is in use, and not synced:
 * so where the next one goes on, a piece of a seal is no damage.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "store/ckj.h"
#include "store/io.h"
#include "store/journal.h"
#include "store/warm.h"

#define WINDOW_BYTES (1U << 20)

/* ---- the segments of a directory ---- */

static int compare_segments(gconstpointer a, gconstpointer b)
{
    uint64_t left = ((const JournalSegment *)a)->offset, right = ((const JournalSegment *)b)->offset;
    return (left > right) - (left < right);
}

/* Adds the file if it's a segment. An error is for names that could be a segment's, and aren't. */
static char *add_segment(GArray *segments, const char *directory, const char *name)
{
    if (!g_str_has_suffix(name, CKJ_SUFFIX)) return NULL;
    JournalSegment segment;
    struct stat stat_now;
    if (!ckj_parse_name(name, &segment.offset)) {
        return g_strdup_printf("%s/" JOURNAL_DIRECTORY "/%s: that's no name of a segment; move it away", directory,
                               name);
    }
    if (!ckj_path(segment.path, sizeof(segment.path), directory, segment.offset))
        return g_strdup_printf("%s: too long a path", directory);
    if (stat(segment.path, &stat_now) != 0) {
        if (errno == ENOENT) return NULL; /* it was released just now */
        return g_strdup_printf("%s: %s", segment.path, g_strerror(errno));
    }
    segment.file_bytes = (uint64_t)stat_now.st_size;
    g_array_append_val(segments, segment);
    return NULL;
}

GArray *ckj_list(const char *directory, char **error)
{
    g_autofree char *path = g_build_filename(directory, JOURNAL_DIRECTORY, NULL);
    g_autoptr(GError) failure = NULL;
    g_autoptr(GDir) dir = g_dir_open(path, 0, &failure);
    g_autoptr(GArray) segments = g_array_new(FALSE, FALSE, sizeof(JournalSegment));
    if (dir == NULL && !g_error_matches(failure, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
        *error = g_strdup_printf("%s: %s", path, failure->message);
        return NULL;
    }
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        *error = add_segment(segments, directory, name);
        if (*error != NULL) return NULL;
    }
    g_array_sort(segments, compare_segments);
    return g_steal_pointer(&segments);
}

void ckj_remove_temporaries(const char *prefix, const char *kept)
{
    GDir *dir = g_dir_open(JOURNAL_DIRECTORY, 0, NULL);
    for (const char *name; dir != NULL && (name = g_dir_read_name(dir)) != NULL;) {
        g_autofree char *path = g_build_filename(JOURNAL_DIRECTORY, name, NULL);
        if (g_str_has_prefix(name, prefix) && g_str_has_suffix(name, CKJ_SUFFIX ".tmp") && g_strcmp0(path, kept) != 0)
            io->unlink(path);
    }
    if (dir != NULL) g_dir_close(dir);
}

static JournalSegment *segment_at(GArray *segments, guint index)
{
    return &g_array_index(segments, JournalSegment, index);
}

/* ---- a file through a window ---- */

/* A segment's file, of which a part is in memory: small reads are cheap, and a batch is in one piece. */
typedef struct File {
    int fd; /* -1: none */
    uint64_t size;
    uint8_t *bytes;
    size_t cap, len;
    uint64_t at; /* where in the file `bytes` begins */
    Warm *warm;  /* NULL: the disk is waited for */
} File;

static void file_close(File *file)
{
    if (file->fd >= 0) io->close(file->fd);
    file->fd = -1;
    file->len = 0;
}

static void file_free(File *file)
{
    file_close(file);
    g_clear_pointer(&file->warm, warm_free);
    g_free(file->bytes);
    file->bytes = NULL;
    file->cap = 0;
}

/* Asks the kernel how long the file is by now. False: errno. */
static bool file_measure(File *file)
{
    struct stat now;
    if (fstat(file->fd, &now) != 0) return false;
    file->size = (uint64_t)now.st_size;
    return true;
}

static bool file_open(File *file, const char *path)
{
    file_close(file);
    file->fd = io->open(path, O_RDONLY, 0);
    if (file->fd < 0) return false;
    if (file_measure(file)) return true;
    int saved = errno;
    file_close(file);
    errno = saved;
    return false;
}

/* Moves the window to `at` so that it has room for `len` bytes, keeping what it holds of them. */
static void file_slide(File *file, uint64_t at, size_t len)
{
    size_t kept = 0;
    if (at >= file->at && at < file->at + file->len) {
        kept = (size_t)(file->at + file->len - at);
        memmove(file->bytes, file->bytes + (at - file->at), kept);
    }
    file->at = at;
    file->len = kept;
    if (file->cap < len || file->bytes == NULL) {
        file->cap = MAX(len, WINDOW_BYTES);
        file->bytes = g_realloc(file->bytes, file->cap);
    }
}

static bool file_read(const File *file, void *to, size_t len, uint64_t at)
{
    return file->warm != NULL ? warm_read(file->warm, file->fd, to, len, (off_t)at)
                              : io_read_all(file->fd, to, len, (off_t)at);
}

/* The file's bytes [at, at + len) in memory until the next call. NULL: errno; 0: it ends before; EAGAIN: they come. */
static uint8_t *file_bytes(File *file, uint64_t at, size_t len)
{
    errno = 0;
    if (at > file->size || len > file->size - at) return NULL;
    if (at < file->at || at + len > file->at + file->len) {
        file_slide(file, at, len);
        size_t more = (size_t)MIN((uint64_t)(file->cap - file->len), file->size - at - file->len);
        if (!file_read(file, file->bytes + file->len, more, at + file->len)) return NULL;
        errno = 0; /* a read that was interrupted, and went on, has set it */
        file->len += more;
    }
    return file->bytes + (at - file->at);
}

/* The batch whose head is at `at`, with its payload. NULL: errno; 0: it isn't whole. */
static uint8_t *file_batch(File *file, uint64_t at, CkjBatch *head)
{
    uint8_t *bytes = file_bytes(file, at, CKJ_BATCH_HEAD_BYTES);
    if (bytes == NULL || !ckj_get_batch_head(bytes, head)) return NULL;
    bytes = file_bytes(file, at, CKJ_BATCH_HEAD_BYTES + (size_t)head->payload_bytes);
    return bytes != NULL && ckj_batch_intact(bytes, head) ? bytes : NULL;
}

/* Can a batch with this head be `distance` bytes behind the place where the stream is at `offset`? */
static bool fits_place(const CkjBatch *head, uint64_t distance, uint64_t offset)
{
    if (head->offset < offset || head->offset - offset > distance) return false;
    return (distance - (head->offset - offset)) % CKJ_BATCH_HEAD_BYTES == 0;
}

/* What follows some damage. */
typedef struct Following {
    bool batches;     /* whole ones */
    uint64_t durable; /* the furthest that one of them, or a seal, says was durable */
} Following;

/* Adds the whole batches and seals at or after `at` whose offsets fit their places, if the stream is at `offset` at
 * `at`. What is between the two is some number of batches and seals: their payloads, and a head for each. False: errno:
 * it can't be read. */
static bool file_add_following(File *file, uint64_t at, uint64_t offset, Following *following)
{
    uint64_t position = at;
    while (position + CKJ_BATCH_HEAD_BYTES <= file->size) {
        size_t len = (size_t)MIN(file->size - position, WINDOW_BYTES);
        const uint8_t *bytes = file_bytes(file, position, len);
        if (bytes == NULL) return false;
        const uint8_t *found = memmem(bytes, len, CKJ_MARK, strlen(CKJ_MARK));
        if (found == NULL) {
            position += len - (strlen(CKJ_MARK) - 1);
            continue;
        }
        position += (uint64_t)(found - bytes);
        CkjBatch head;
        bool whole = file_batch(file, position, &head) != NULL;
        if (!whole && errno != 0) return false;
        bool follows = whole && fits_place(&head, position - at, offset);
        if (follows) {
            following->batches |= head.kind == CKJ_BATCH;
            following->durable = MAX(following->durable, head.durable);
        }
        position += follows ? CKJ_BATCH_HEAD_BYTES + head.payload_bytes : 1;
    }
    return true;
}

/* ---- the reader ---- */

struct JournalReader {
    char *directory;
    char *absolute;                    /* the same, for messages */
    GArray *segments;                  /* of JournalSegment: those that follow the one being read may be more by now */
    guint at;                          /* the segment being read */
    File file;                         /* its file; fd -1: not opened yet */
    uint64_t position;                 /* in the file: of the next batch's head */
    uint64_t offset;                   /* in the stream */
    uint64_t from;                     /* where in it reading is to begin */
    CkjKind last;                      /* what was read last of the segment */
    char wanted[JOURNAL_ID_CHARS + 1]; /* the history; "": any */
    char history[JOURNAL_ID_CHARS + 1];
    bool single;  /* only the one segment */
    bool damaged; /* it isn't a matter of reading, or of the wrong files */
    uint64_t torn_bytes;
    char *error;
};

void journal_reader_free(JournalReader *reader)
{
    if (reader == NULL) return;
    file_free(&reader->file);
    g_array_unref(reader->segments);
    g_free(reader->directory);
    g_free(reader->absolute);
    g_free(reader->error);
    g_free(reader);
}

const char *journal_reader_error(const JournalReader *reader)
{
    return reader->error;
}

uint64_t journal_reader_torn_bytes(const JournalReader *reader)
{
    return reader->torn_bytes;
}

uint64_t journal_reader_offset(const JournalReader *reader)
{
    return reader->offset;
}

uint64_t journal_reader_left(const JournalReader *reader)
{
    uint64_t left = 0;
    for (guint i = reader->at + 1; i < reader->segments->len; i++)
        left += segment_at(reader->segments, i)->file_bytes;
    if (reader->at >= reader->segments->len) return 0;
    if (reader->file.fd < 0) return left + segment_at(reader->segments, reader->at)->file_bytes;
    return left + (reader->file.size - reader->position);
}

/* Takes over the message. */
static JournalRead fail(JournalReader *reader, JournalRead result, char *error)
{
    g_free(reader->error);
    reader->error = error;
    return result;
}

static JournalRead fail_reading(JournalReader *reader)
{
    int saved = errno;
    if (saved == EAGAIN && reader->file.warm != NULL) return JOURNAL_LATER;
    const char *path = segment_at(reader->segments, reader->at)->path;
    return fail(reader, JOURNAL_BAD,
                g_strdup_printf("%s: can't be read at byte %" G_GUINT64_FORMAT ": %s" CKJ_REPAIR_HINT, path,
                                reader->position, g_strerror(saved), reader->absolute));
}

/* What follows in this segment and in those behind it. (One of those that can't be read might say anything.) False:
 * errno: this one can't be read. */
static bool find_following(JournalReader *reader, Following *following)
{
    *following = (Following){ 0 };
    g_clear_pointer(&reader->file.warm, warm_free); /* nothing is read after that */
    uint64_t at = MAX(reader->position, CKJ_HEAD_BYTES);
    if (!file_add_following(&reader->file, at, reader->offset, following)) return false;
    File file = { .fd = -1 };
    for (guint i = reader->at + 1; i < reader->segments->len; i++) {
        const JournalSegment *segment = segment_at(reader->segments, i);
        bool readable =
            file_open(&file, segment->path) && file_add_following(&file, CKJ_HEAD_BYTES, segment->offset, following);
        if (!readable) *following = (Following){ .batches = true, .durable = UINT64_MAX };
    }
    file_free(&file);
    return true;
}

static uint64_t later_bytes(JournalReader *reader)
{
    uint64_t bytes = 0;
    for (guint i = reader->at + 1; i < reader->segments->len; i++)
        bytes += segment_at(reader->segments, i)->file_bytes;
    return bytes;
}

static JournalRead fail_torn(JournalReader *reader, const char *what, const Following *following)
{
    const char *path = segment_at(reader->segments, reader->at)->path;
    reader->torn_bytes = reader->file.size - reader->position + later_bytes(reader);
    if (following->batches) {
        return fail(reader, JOURNAL_TORN,
                    g_strdup_printf("%s: %s at byte %" G_GUINT64_FORMAT " (offset %" G_GUINT64_FORMAT
                                    ") isn't whole, and the whole batches behind it were never synced: all in all "
                                    "%" G_GUINT64_FORMAT " bytes of writes that were cut off" CKJ_REPAIR_HINT,
                                    path, what, reader->position, reader->offset, reader->torn_bytes,
                                    reader->absolute));
    }
    return fail(reader, JOURNAL_TORN,
                g_strdup_printf("%s: from byte %" G_GUINT64_FORMAT " (offset %" G_GUINT64_FORMAT
                                ") on there's no whole batch, but %" G_GUINT64_FORMAT
                                " bytes of a write that was cut off" CKJ_REPAIR_HINT,
                                path, reader->position, reader->offset, reader->torn_bytes, reader->absolute));
}

/* At `position` there's no whole batch (`what` is there): is it the journal's torn tail? */
static JournalRead judge_damage(JournalReader *reader, const char *what)
{
    Following following;
    reader->damaged = true;
    if (!find_following(reader, &following)) return fail_reading(reader);
    if (following.durable <= reader->offset) return fail_torn(reader, what, &following);
    return fail(reader, JOURNAL_BAD,
                g_strdup_printf("%s: %s at byte %" G_GUINT64_FORMAT " (offset %" G_GUINT64_FORMAT
                                ") is damaged, and %s" CKJ_REPAIR_HINT,
                                segment_at(reader->segments, reader->at)->path, what, reader->position, reader->offset,
                                following.batches ? "whole batches follow it" : "it was on the disk before",
                                reader->absolute));
}

static JournalRead judge_head(JournalReader *reader, CkjHead result, uint64_t offset, uint32_t version)
{
    const JournalSegment *segment = segment_at(reader->segments, reader->at);
    if (result == CKJ_HEAD_OTHER_VERSION) {
        return fail(reader, JOURNAL_BAD,
                    g_strdup_printf("%s: its format has version %u, and this program reads version %u; use the version "
                                    "of ckv that wrote it",
                                    segment->path, version, CKJ_VERSION));
    }
    if (result == CKJ_HEAD_DAMAGED) return judge_damage(reader, "the head of the file");
    if (offset != segment->offset) {
        return fail(
            reader, JOURNAL_BAD,
            g_strdup_printf("%s: its head at byte 0 says that it begins at offset %" G_GUINT64_FORMAT CKJ_REPAIR_HINT,
                            segment->path, offset, reader->absolute));
    }
    return fail(reader, JOURNAL_BAD,
                g_strdup_printf("%s: it's of history %s, not of %s (byte 16)" CKJ_REPAIR_HINT, segment->path,
                                reader->history, reader->wanted, reader->absolute));
}

/* Opens the segment to be read and checks its head. JOURNAL_BATCH: it's good. */
static JournalRead open_segment(JournalReader *reader)
{
    const JournalSegment *segment = segment_at(reader->segments, reader->at);
    reader->position = 0;
    if (!file_open(&reader->file, segment->path)) return fail_reading(reader);
    reader->offset = segment->offset;
    reader->last = CKJ_BATCH;
    const uint8_t *head = file_bytes(&reader->file, 0, CKJ_HEAD_BYTES);
    if (head == NULL && errno != 0) {
        JournalRead failed = fail_reading(reader);
        if (failed == JOURNAL_LATER) file_close(&reader->file);
        return failed;
    }
    uint64_t offset = 0;
    uint32_t version = 0;
    CkjHead result = head == NULL ? CKJ_HEAD_DAMAGED : ckj_get_head(head, &offset, reader->history, &version);
    bool of_history = reader->wanted[0] == '\0' || strcmp(reader->wanted, reader->history) == 0;
    if (result == CKJ_HEAD_GOOD && offset == segment->offset && of_history) {
        reader->position = CKJ_HEAD_BYTES;
        return JOURNAL_BATCH;
    }
    JournalRead judged = judge_head(reader, result, offset, version);
    file_close(&reader->file);
    return judged;
}

/* Looks for segments that were begun since. */
static bool list_again(JournalReader *reader)
{
    char *error = NULL;
    GArray *segments = ckj_list(reader->directory, &error);
    if (segments == NULL) {
        fail(reader, JOURNAL_BAD, error);
        return false;
    }
    for (guint i = 0; i < segments->len; i++) {
        const JournalSegment *segment = segment_at(segments, i);
        guint known = reader->segments->len;
        if (known == 0 || segment->offset > segment_at(reader->segments, known - 1)->offset)
            g_array_append_val(reader->segments, *segment);
    }
    g_array_unref(segments);
    return true;
}

static bool is_last(const JournalReader *reader)
{
    return reader->at + 1 >= reader->segments->len;
}

/* The segment is finished, and the one with which the journal goes on isn't there. */
static JournalRead fail_missing(JournalReader *reader)
{
    char missing[CKJ_NAME_CHARS];
    ckj_path(missing, sizeof(missing), NULL, reader->offset);
    return fail(reader, JOURNAL_BAD,
                g_strdup_printf("%s: it's finished at offset %" G_GUINT64_FORMAT " (byte %" G_GUINT64_FORMAT
                                "), and the segment that follows, %s, is missing" CKJ_REPAIR_HINT,
                                segment_at(reader->segments, reader->at)->path, reader->offset, reader->position,
                                missing, reader->absolute));
}

/* The next segment doesn't begin where this one ends: the torn tail of both, or a gap. */
static JournalRead judge_gap(JournalReader *reader)
{
    const JournalSegment *segment = segment_at(reader->segments, reader->at);
    const JournalSegment *next = segment + 1;
    Following following;
    if (reader->last == CKJ_FINISHED && next->offset > reader->offset) return fail_missing(reader);
    if (!find_following(reader, &following)) return fail_reading(reader);
    bool durable = following.durable > reader->offset;
    if (next->offset > reader->offset && !durable) return fail_torn(reader, "the end", &following);
    return fail(reader, JOURNAL_BAD,
                g_strdup_printf("%s: it ends at offset %" G_GUINT64_FORMAT " (byte %" G_GUINT64_FORMAT
                                "), but the next segment begins at %" G_GUINT64_FORMAT CKJ_REPAIR_HINT,
                                segment->path, reader->offset, reader->position, next->offset, reader->absolute));
}

/* The segment is read to its end: on to the next. JOURNAL_BATCH: go on reading. */
static JournalRead next_segment(JournalReader *reader)
{
    if (is_last(reader)) {
        if (reader->single) return JOURNAL_END;
        if (!list_again(reader)) return JOURNAL_BAD;
        if (is_last(reader)) return reader->last == CKJ_FINISHED ? fail_missing(reader) : JOURNAL_END;
        /* The writer may have come here once more before it began the new one. */
        if (!file_measure(&reader->file)) return fail_reading(reader);
        return JOURNAL_BATCH;
    }
    if (segment_at(reader->segments, reader->at + 1)->offset != reader->offset) return judge_gap(reader);
    reader->at++;
    file_close(&reader->file);
    return open_segment(reader);
}

static JournalRead fail_offset(JournalReader *reader, uint64_t offset)
{
    return fail(reader, JOURNAL_BAD,
                g_strdup_printf("%s: the batch at byte %" G_GUINT64_FORMAT
                                " says that it's at offset %" G_GUINT64_FORMAT
                                ", not %" G_GUINT64_FORMAT CKJ_REPAIR_HINT,
                                segment_at(reader->segments, reader->at)->path, reader->position, offset,
                                reader->offset, reader->absolute));
}

/* Is what is left of the segment a piece of its seal, which isn't needed because the next one goes on here? */
static bool at_torn_seal(JournalReader *reader)
{
    /* One that is being written: the next segment is there by now. */
    if (is_last(reader) && !reader->single && !list_again(reader)) return false;
    errno = 0; /* the caller's, of what was read */
    bool goes_on = !is_last(reader) && segment_at(reader->segments, reader->at + 1)->offset == reader->offset;
    return goes_on && reader->file.size - reader->position <= CKJ_BATCH_HEAD_BYTES;
}

/* Reads a batch, or a seal. False: it was no batch, and reading goes on. */
static bool read_batch(JournalReader *reader, JournalBatch *batch, JournalRead *result)
{
    CkjBatch head;
    const uint8_t *bytes = file_batch(&reader->file, reader->position, &head);
    if (bytes == NULL && errno == 0 && at_torn_seal(reader)) {
        reader->position = reader->file.size;
        return false;
    }
    if (bytes == NULL) {
        *result = errno != 0 ? fail_reading(reader) : judge_damage(reader, "the batch");
        return true;
    }
    if (head.offset != reader->offset) {
        *result = fail_offset(reader, head.offset);
        return true;
    }
    *batch = (JournalBatch){
        .offset = head.offset,
        .unix_ms = (int64_t)head.unix_ms,
        .payload = { (const char *)bytes + CKJ_BATCH_HEAD_BYTES, head.payload_bytes },
        .file = segment_at(reader->segments, reader->at)->path,
        .file_offset = reader->position,
    };
    reader->position += CKJ_BATCH_HEAD_BYTES + head.payload_bytes;
    reader->offset += head.payload_bytes;
    reader->last = head.kind;
    return head.kind == CKJ_BATCH;
}

JournalRead journal_read(JournalReader *reader, JournalBatch *batch)
{
    if (reader->segments->len == 0 && !reader->single && !list_again(reader)) return JOURNAL_BAD;
    if (reader->segments->len == 0) return JOURNAL_END;
    JournalRead result = JOURNAL_BATCH;
    if (reader->file.fd < 0) result = open_segment(reader);
    while (result == JOURNAL_BATCH) {
        if (reader->position < reader->file.size) {
            if (read_batch(reader, batch, &result)) return result;
            continue;
        }
        /* That was the end when the file was opened; the writer may have been here since. */
        if (!file_measure(&reader->file)) return fail_reading(reader);
        if (reader->position < reader->file.size) continue;
        result = next_segment(reader);
    }
    return result;
}

void journal_reader_dont_wait(JournalReader *reader)
{
    if (reader->file.warm == NULL) reader->file.warm = warm_new();
}

void journal_reader_look_again(JournalReader *reader)
{
    reader->file.len = 0;
    if (reader->file.fd >= 0) file_measure(&reader->file); /* if it can't be, then neither can it be read */
}

/* ---- where to begin ---- */

static JournalReader *reader_new(const char *directory, const char *history, GArray *segments)
{
    JournalReader *reader = g_new0(JournalReader, 1);
    reader->directory = g_strdup(directory);
    reader->absolute = g_canonicalize_filename(directory, NULL);
    reader->segments = segments;
    reader->file.fd = -1;
    if (history != NULL) g_strlcpy(reader->wanted, history, sizeof(reader->wanted));
    return reader;
}

/* Forgets the segments before the one that has `from`, or would have it. False: all begin after it. */
static bool choose_segment(GArray *segments, uint64_t from)
{
    guint index = segments->len;
    while (index > 0 && segment_at(segments, index - 1)->offset > from)
        index--;
    if (index > 1) g_array_remove_range(segments, 0, index - 1);
    return index > 0;
}

/* The stream ends before the wanted offset. */
static void fail_before(JournalReader *reader)
{
    fail(reader, JOURNAL_BAD,
         g_strdup_printf(
             "%s: it ends at offset %" G_GUINT64_FORMAT " (byte %" G_GUINT64_FORMAT "), before %" G_GUINT64_FORMAT,
             segment_at(reader->segments, reader->at)->path, reader->offset, reader->position, reader->from));
}

JournalSeek journal_reader_seek(JournalReader *reader, uint64_t bytes)
{
    JournalBatch batch;
    for (uint64_t done = 0; reader->offset < reader->from; done += batch.payload.len) {
        if (done >= bytes) return JOURNAL_SEEKING;
        JournalRead result = journal_read(reader, &batch);
        if (result == JOURNAL_LATER) return JOURNAL_SEEK_LATER;
        if (result == JOURNAL_END) fail_before(reader);
        if (result != JOURNAL_BATCH) return JOURNAL_NOT_FOUND;
        if (reader->offset <= reader->from) continue;
        reader->position = batch.file_offset;
        reader->offset = batch.offset;
        break;
    }
    return JOURNAL_FOUND;
}

JournalReader *journal_reader_begin(const char *directory, uint64_t from, const char *history, char **error)
{
    GArray *segments = ckj_list(directory, error);
    if (segments == NULL) return NULL;
    JournalReader *reader = reader_new(directory, history, segments);
    reader->offset = reader->from = from;
    if (segments->len == 0) return reader;
    if (!choose_segment(segments, from)) {
        *error = g_strdup_printf("%s: the journal begins there; offset %" G_GUINT64_FORMAT " isn't in it any more",
                                 segment_at(segments, 0)->path, from);
        journal_reader_free(reader);
        return NULL;
    }
    reader->offset = segment_at(segments, 0)->offset;
    return reader;
}

JournalReader *journal_reader_new(const char *directory, uint64_t from, const char *history, char **error)
{
    JournalReader *reader = journal_reader_begin(directory, from, history, error);
    if (reader == NULL || journal_reader_seek(reader, UINT64_MAX) == JOURNAL_FOUND) return reader;
    *error = g_steal_pointer(&reader->error);
    journal_reader_free(reader);
    return NULL;
}

/* ---- of single segments ---- */

static JournalReader *reader_of_segment(const char *directory, JournalSegment segment)
{
    GArray *one = g_array_new(FALSE, FALSE, sizeof(JournalSegment));
    g_array_append_val(one, segment);
    JournalReader *reader = reader_new(directory, NULL, one);
    reader->single = true;
    reader->offset = segment.offset;
    return reader;
}

char *ckj_find_end(const char *directory, uint64_t segment, CkjEnd *end)
{
    JournalSegment wanted = { .offset = segment };
    *end = (CkjEnd){ .offset = segment };
    if (!ckj_path(wanted.path, sizeof(wanted.path), directory, segment))
        return g_strdup_printf("%s: too long a path", directory);
    JournalReader *reader = reader_of_segment(directory, wanted);
    JournalBatch batch;
    JournalRead result;
    do {
        result = journal_read(reader, &batch);
    } while (result == JOURNAL_BATCH);
    *end = (CkjEnd){
        .offset = reader->offset, .file_offset = reader->position, .damaged = reader->damaged, .last = reader->last
    };
    memcpy(end->history, reader->history, sizeof(reader->history));
    char *error = result == JOURNAL_END ? NULL : g_steal_pointer(&reader->error);
    journal_reader_free(reader);
    return error;
}

GArray *journal_segments(const char *directory, char **error)
{
    GArray *segments = ckj_list(directory, error);
    if (segments == NULL) return NULL;
    JournalReader *reader = reader_new(directory, NULL, segments);
    JournalRead result = JOURNAL_BATCH;
    for (reader->at = 0; reader->at < segments->len && result == JOURNAL_BATCH; reader->at++)
        result = open_segment(reader);
    if (result == JOURNAL_BAD) *error = g_steal_pointer(&reader->error);
    if (result != JOURNAL_BAD) g_array_ref(segments);
    reader->at = 0;
    journal_reader_free(reader);
    return result == JOURNAL_BAD ? NULL : segments;
}

char *journal_check_begins(const char *directory, const char *name, uint64_t offset, uint64_t start)
{
    if (offset == start) return NULL;
    char *error = NULL, missing[CKJ_NAME_CHARS];
    g_autoptr(GArray) segments = ckj_list(directory, &error);
    if (segments == NULL) return error;
    for (guint i = 0; i < segments->len; i++) {
        if (segment_at(segments, i)->offset == offset) return NULL;
    }
    ckj_path(missing, sizeof(missing), NULL, offset);
    g_autofree char *absolute = g_canonicalize_filename(directory, NULL);
    return g_strdup_printf("%s is missing, which has what was written since the checkpoint in %s. Nothing was changed; "
                           "put it back, or run: ckv check %s --repair (which gives it up)",
                           missing, name, absolute);
}

/* ---- cutting ---- */

/* Where in its file a segment has the offset, which must be between batches. If the next segment begins there, then
 * what is missing between the two (after a jump of the stream, or by damage that a checkpoint has made up for) is
 * another matter: the file stays as it is (UINT64_MAX). NULL or a message. */
static char *find_cut(const char *directory, const JournalSegment *segment, uint64_t offset, bool begins_there,
                      uint64_t *position)
{
    JournalReader *reader = reader_of_segment(directory, *segment);
    JournalBatch batch;
    JournalRead result = JOURNAL_BATCH;
    while (result == JOURNAL_BATCH && reader->offset < offset)
        result = journal_read(reader, &batch);
    char *error = NULL;
    *position = reader->offset == offset ? reader->position : UINT64_MAX;
    if (reader->offset != offset && !(begins_there && reader->offset < offset)) {
        error = g_strdup_printf("%s: can't be cut at offset %" G_GUINT64_FORMAT
                                ": the nearest batches end at %" G_GUINT64_FORMAT " (byte %" G_GUINT64_FORMAT ")",
                                segment->path, offset, reader->offset, reader->position);
    }
    journal_reader_free(reader);
    return error;
}

static char *truncate_segment(const JournalSegment *segment, uint64_t position)
{
    int fd = io->open(segment->path, O_RDWR, 0);
    bool ok = fd >= 0 && io->truncate(fd, (off_t)position) == 0 && io->sync(fd) == 0;
    char *error = ok ? NULL : g_strdup_printf("%s: %s", segment->path, g_strerror(errno));
    if (fd >= 0) io->close(fd);
    return error;
}

/* Takes away the seal of a segment that won't have a follower any more. */
static char *unseal(const char *directory, const JournalSegment *segment)
{
    CkjEnd end;
    g_autofree char *damage = ckj_find_end(directory, segment->offset, &end); /* behind it there's nothing to unseal */
    bool sealed = damage == NULL && end.last == CKJ_FINISHED;
    return sealed ? truncate_segment(segment, end.file_offset - CKJ_BATCH_HEAD_BYTES) : NULL;
}

/* Removes the segments from `keep` on, the last one first, and from the one before it the seal that says that it's
 * there: what a crash leaves is in one piece. */
static char *remove_segments(const char *directory, GArray *segments, guint keep)
{
    char *error = NULL;
    for (guint i = segments->len; i > keep && error == NULL; i--) {
        const char *path = segment_at(segments, i - 1)->path;
        if (i > 1) error = unseal(directory, segment_at(segments, i - 2));
        if (error == NULL && io->unlink(path) != 0 && errno != ENOENT)
            error = g_strdup_printf("%s: %s", path, g_strerror(errno));
    }
    return error;
}

char *journal_cut(const char *directory, uint64_t offset)
{
    char *error = NULL;
    g_autoptr(GArray) segments = ckj_list(directory, &error);
    if (segments == NULL) return error;
    if (segments->len == 0) return NULL;
    guint keep = segments->len;
    while (keep > 0 && segment_at(segments, keep - 1)->offset >= offset)
        keep--;
    uint64_t position = UINT64_MAX;
    const JournalSegment *last = keep > 0 ? segment_at(segments, keep - 1) : NULL;
    if (last != NULL) {
        bool begins_there = keep < segments->len && segment_at(segments, keep)->offset == offset;
        error = find_cut(directory, last, offset, begins_there, &position);
    }
    if (error == NULL) error = remove_segments(directory, segments, keep);
    g_autofree char *path = g_build_filename(directory, JOURNAL_DIRECTORY, NULL);
    if (error == NULL && keep < segments->len && !io_sync_directory(path))
        error = g_strdup_printf("%s: %s", path, g_strerror(errno));
    if (error == NULL && position != UINT64_MAX) error = truncate_segment(last, position);
    return error;
}
