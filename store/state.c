/* state.c: see state.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "store/checkpoint.h"
#include "store/ckj.h"
#include "store/io.h"
#include "store/journal.h"

#define SEGMENT_BYTES (64UL << 20)
#define BUFFER_BYTES  (1UL << 20)

void state_clear(State *state)
{
    g_clear_pointer(&state->directory, g_free);
    g_clear_pointer(&state->checkpoint, g_free);
}

char *state_errno(const char *path)
{
    return g_strdup_printf("%s: %s", path, g_strerror(errno));
}

static void report(const StateWork *work, double part)
{
    if (work != NULL && work->progress != NULL) work->progress(CLAMP(part, 0, 1), work->context);
}

/* ---- the checkpoint ---- */

typedef struct FileProgress {
    const StateWork *work;
    uint64_t bytes;
} FileProgress;

static void on_copied(uint64_t done, void *context)
{
    const FileProgress *progress = context;
    report(progress->work, progress->bytes == 0 ? 1 : (double)done / (double)progress->bytes);
}

char *state_copy_checkpoint(const State *state, const char *to, const StateWork *work)
{
    struct stat about;
    if (stat(state->checkpoint, &about) != 0) return state_errno(state->checkpoint);
    FileProgress progress = { work, (uint64_t)about.st_size };
    if (io_copy_file(state->checkpoint, to, on_copied, &progress)) return NULL;
    return g_strdup_printf("copying %s to %s: %s", state->checkpoint, to, g_strerror(errno));
}

/* ---- the journal ---- */

/* What writes the copy. */
typedef struct Segments {
    const char *directory, *history;
    int fd; /* -1: none is open */
    char path[4096];
    uint64_t written; /* bytes of the file, without those in the buffer */
    GByteArray *buffer;
} Segments;

static bool flush(Segments *out)
{
    if (!io_write_all(out->fd, out->buffer->data, out->buffer->len, (off_t)out->written)) return false;
    io->begin_writing(out->fd, (off_t)out->written, (off_t)out->buffer->len);
    out->written += out->buffer->len;
    g_byte_array_set_size(out->buffer, 0);
    return true;
}

/* It ends at `offset`. */
static bool end_segment(Segments *out, CkjKind seal, uint64_t offset)
{
    if (out->fd < 0) return true;
    guint at = out->buffer->len;
    g_byte_array_set_size(out->buffer, at + CKJ_BATCH_HEAD_BYTES);
    ckj_put_seal(out->buffer->data + at, seal, offset);
    bool good = flush(out) && io->sync(out->fd) == 0;
    int saved = errno;
    if (io->close(out->fd) != 0) good = false;
    if (!good) errno = saved;
    out->fd = -1;
    return good;
}

static bool begin_segment(Segments *out, uint64_t offset)
{
    errno = ENAMETOOLONG;
    if (!ckj_path(out->path, sizeof(out->path), out->directory, offset)) return false;
    out->fd = io->open(out->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (out->fd < 0) return false;
    out->written = 0;
    g_byte_array_set_size(out->buffer, CKJ_HEAD_BYTES);
    ckj_put_head(out->buffer->data, offset, out->history);
    return true;
}

/* What is copied is durable before anyone uses it, so each batch says that what is before it is. */
static bool put_batch(Segments *out, const JournalBatch *batch)
{
    bool full = out->fd >= 0 && out->written + out->buffer->len > SEGMENT_BYTES;
    if (full && !end_segment(out, CKJ_FINISHED, batch->offset)) return false;
    if (out->fd < 0 && !begin_segment(out, batch->offset)) return false;
    guint at = out->buffer->len;
    g_byte_array_set_size(out->buffer, at + CKJ_BATCH_HEAD_BYTES + (guint)batch->payload.len);
    memcpy(out->buffer->data + at + CKJ_BATCH_HEAD_BYTES, batch->payload.ptr, batch->payload.len);
    ckj_put_batch_head(out->buffer->data + at, (CkjBatch){ .payload_bytes = (uint32_t)batch->payload.len,
                                                           .offset = batch->offset,
                                                           .unix_ms = (uint64_t)batch->unix_ms,
                                                           .durable = batch->offset });
    return out->buffer->len < BUFFER_BYTES || flush(out);
}

typedef struct Walk {
    JournalReader *reader;
    int64_t until_ms;
    uint64_t bytes; /* to be read, at the beginning */
    uint64_t until; /* as the state's */
    const StateWork *work;
    StateEnd *end;
} Walk;

static char *walk_begin(Walk *walk, const State *state)
{
    char *error = NULL;
    walk->until = state->until;
    *walk->end = (StateEnd){ state->info.offset, state->info.unix_ms };
    walk->reader = journal_reader_new(state->directory, state->info.offset, NULL, &error);
    if (walk->reader != NULL) walk->bytes = journal_reader_left(walk->reader);
    return error;
}

/* The next batch that belongs to the state: false at its end, or *error. */
static bool walk_next(Walk *walk, JournalBatch *batch, char **error)
{
    switch (journal_read(walk->reader, batch)) {
    case JOURNAL_BATCH: break;
    case JOURNAL_BAD: *error = g_strdup(journal_reader_error(walk->reader)); return false;
    case JOURNAL_TORN:
    case JOURNAL_END: return false;
    case JOURNAL_LATER: g_assert_not_reached();
    }
    if (batch->unix_ms > walk->until_ms || (walk->until != 0 && batch->offset >= walk->until)) return false;
    if (batch->offset != walk->end->offset) {
        *error = g_strdup_printf("%s: a batch goes over offset %" G_GUINT64_FORMAT
                                 ", where a checkpoint was made: the two don't belong together",
                                 batch->file, walk->end->offset);
        return false;
    }
    if (walk->until != 0) batch->payload.len = MIN(batch->payload.len, walk->until - batch->offset);
    *walk->end = (StateEnd){ batch->offset + batch->payload.len, batch->unix_ms };
    if (walk->bytes > 0) report(walk->work, 1 - (double)journal_reader_left(walk->reader) / (double)walk->bytes);
    return true;
}

/* With `always` there's a segment even if it stays empty: a start takes a checkpoint whose own one is missing for
 * damaged. */
static char *copy_batches(Walk *walk, Segments *out, bool always)
{
    char *error = NULL;
    JournalBatch batch;
    if (always && !begin_segment(out, walk->end->offset)) return state_errno(out->path);
    while (error == NULL && walk_next(walk, &batch, &error)) {
        if (!put_batch(out, &batch)) error = state_errno(out->path);
    }
    if (!end_segment(out, CKJ_CLOSED, walk->end->offset) && error == NULL) error = state_errno(out->path);
    return error;
}

char *state_copy_journal(const State *state, int64_t until_ms, const char *history, const char *to, bool always,
                         StateEnd *end, const StateWork *work)
{
    Walk walk = { .until_ms = until_ms, .work = work, .end = end };
    char *error = walk_begin(&walk, state);
    if (error != NULL) return error;
    g_autofree char *journal = g_build_filename(to, JOURNAL_DIRECTORY, NULL);
    if (io->mkdir(journal, 0700) != 0) error = state_errno(journal);
    Segments out = { .directory = to, .history = history, .fd = -1, .buffer = g_byte_array_new() };
    if (error == NULL) error = copy_batches(&walk, &out, always);
    g_byte_array_unref(out.buffer);
    journal_reader_free(walk.reader);
    if (error != NULL) return error;
    bool none = end->offset == state->info.offset && !always;
    if (none ? rmdir(journal) != 0 : !io_sync_directory(journal)) return state_errno(journal);
    return NULL;
}

char *state_check_end(const State *state, uint64_t offset)
{
    if (!state->ends || offset == state->end) return NULL;
    return g_strdup_printf("%s: its journal ends at offset %" G_GUINT64_FORMAT ", not at %" G_GUINT64_FORMAT
                           " as its MANIFEST says",
                           state->directory, offset, state->end);
}

char *state_verify(const State *state, StateEnd *end, const StateWork *work)
{
    char *error = NULL;
    if (state->checkpoint != NULL) error = checkpoint_verify(state->checkpoint, &state->info, NULL, NULL);
    if (error != NULL) return error;
    Walk walk = { .until_ms = STATE_ALL, .work = work, .end = end };
    error = walk_begin(&walk, state);
    JournalBatch batch;
    while (error == NULL && walk_next(&walk, &batch, &error)) {
    }
    g_clear_pointer(&walk.reader, journal_reader_free);
    return error != NULL ? error : state_check_end(state, end->offset);
}

int64_t state_first_ms(const char *directory, uint64_t offset)
{
    g_autofree char *error = NULL;
    JournalReader *reader = journal_reader_new(directory, offset, NULL, &error);
    if (reader == NULL) return -1;
    JournalBatch batch;
    int64_t unix_ms = journal_read(reader, &batch) == JOURNAL_BATCH ? batch.unix_ms : -1;
    journal_reader_free(reader);
    return unix_ms;
}

/* ---- removing ---- */

bool state_remove(const char *path)
{
    GDir *dir = g_dir_open(path, 0, NULL);
    if (dir == NULL) return g_access(path, F_OK) != 0;
    bool good = true;
    for (const char *name; good && (name = g_dir_read_name(dir)) != NULL;) {
        g_autofree char *inside = g_build_filename(path, name, NULL);
        bool is_directory = g_file_test(inside, G_FILE_TEST_IS_DIR) && !g_file_test(inside, G_FILE_TEST_IS_SYMLINK);
        good = is_directory ? state_remove(inside) : io->unlink(inside) == 0;
    }
    g_dir_close(dir);
    return good && rmdir(path) == 0;
}
