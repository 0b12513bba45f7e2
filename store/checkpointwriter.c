/* checkpointwriter.c: see checkpointwriter.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/checkpointwriter.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/background.h"
#include "store/io.h"
#include "store/journal.h"
#include "store/mem.h"

/* Batches that wait in memory beyond this go to the spill file. */
#define SPILL_BYTES (12UL << 20)

/* Buffers kept for reuse, and how big one may be for that. */
#define SPARE_MAX       8
#define SPARE_BYTES_MAX (256UL << 10)

/* The record that ends a batch is usually no longer. */
#define BATCH_MORE_BYTES (8UL << 10)

#define SPILL_FILE       "checkpoint.spill"
/* It's written, and files are truncated, in pieces: a single call keeps the core from the loop for up to 4 ms. */
#define PIECE_BYTES (512UL << 10)

struct CheckpointWriter {
    GThread *thread;
    GAsyncQueue *sent, *used; /* Image *; an empty one among the sent: the end */
    gsize waiting;            /* atomic: bytes sent that the thread still holds in memory */
    gsize held;               /* atomic: what the buffers of these, and the empty ones, take */
    GPtrArray *spare;         /* the loop's */
    int slot;
    PageFileMode mode;
    size_t expected;
    void (*progressed)(void);
    /* the thread's */
    PageFile *file;
    int spill_fd;
    guint spill_next;
    uint64_t spill_end, spill_written_out;
    GArray *spilled; /* uint64_t: where each batch ends in the spill file */
    Image spill_batch;
    int stopping;       /* atomic, set by writer_free */
    bool may_be_listed; /* as writer_start was told */
    bool useless;       /* what is in the file, as yet; MANIFEST doesn't list it */
    /* shared */
    GMutex lock;
    GCond changed;
    unsigned events; /* grows whenever something was done */
    char *error;     /* set once */
    bool done;
    CheckpointInfo info; /* from writer_finish on */
    bool finishing;
    Manifest manifest;
};

/* ---- the thread ---- */

static void note_event(CheckpointWriter *writer)
{
    g_mutex_lock(&writer->lock);
    writer->events++;
    g_cond_signal(&writer->changed);
    g_mutex_unlock(&writer->lock);
    if (writer->progressed != NULL) writer->progressed();
}

/* Gives all of a file's room back, in pieces. */
static void truncate_to_nothing(int fd, uint64_t bytes)
{
    for (; bytes > PIECE_BYTES; background_rest()) {
        bytes -= PIECE_BYTES;
        (void)io->truncate(fd, (off_t)bytes);
    }
    (void)io->truncate(fd, 0);
}

/* A file that can't be finished would only take room that others need: perhaps that of a full disk. */
static void discard_file(CheckpointWriter *writer)
{
    if (writer->file != NULL) pagefile_abandon(g_steal_pointer(&writer->file));
    if (!writer->useless) return;
    writer->useless = false;
    int fd = io->open(checkpoint_file_name[writer->slot], O_WRONLY, 0);
    struct stat about;
    if (fd >= 0 && fstat(fd, &about) == 0) truncate_to_nothing(fd, (uint64_t)about.st_size);
    if (fd >= 0) io->close(fd);
}

/* Takes the message. */
static void fail(CheckpointWriter *writer, char *message)
{
    discard_file(writer);
    g_mutex_lock(&writer->lock);
    if (writer->error == NULL) {
        writer->error = message;
    } else {
        g_free(message);
    }
    g_mutex_unlock(&writer->lock);
    note_event(writer);
}

static bool has_failed(CheckpointWriter *writer)
{
    return writer_error(writer) != NULL || g_atomic_int_get(&writer->stopping);
}

/* The file isn't whole from now on. (Whether MANIFEST calls it so can't be told from what this process knows: one that
 * couldn't be finished, or read, may be listed.) */
static bool unlist(CheckpointWriter *writer)
{
    if (!writer->may_be_listed) return true;
    writer->manifest.checkpoint[writer->slot].whole = false;
    char *message = manifest_write(".", &writer->manifest);
    if (message != NULL) fail(writer, message);
    return message == NULL;
}

static void store_batch(CheckpointWriter *writer, const char *bytes, size_t len)
{
    for (const char *at = bytes; at < bytes + len && !has_failed(writer);) {
        RecordHead head;
        memcpy(&head, at, sizeof(head));
        Slice key = { at + sizeof(head), head.key_len }, sealed = { key.ptr + key.len, head.payload_len };
        char *error = NULL;
        bool good = head.op == RECORD_PUT ? pagefile_put(writer->file, key, sealed, &error)
                                          : pagefile_delete(writer->file, key, &error);
        if (!good) fail(writer, error);
        at = sealed.ptr + sealed.len;
        background_rest();
    }
}

static bool spill(CheckpointWriter *writer, const Image *batch)
{
    if (writer->spill_fd < 0) {
        writer->spill_fd = io->open(SPILL_FILE, O_RDWR | O_CREAT | O_TRUNC, 0600);
        if (writer->spill_fd >= 0) io->unlink(SPILL_FILE);
    }
    bool good = writer->spill_fd >= 0;
    for (size_t at = 0, len; good && at < batch->len; at += len) {
        len = MIN(batch->len - at, PIECE_BYTES);
        good = io_write_all(writer->spill_fd, batch->bytes + at, len, (off_t)(writer->spill_end + at)) &&
               io_write_out(writer->spill_fd, &writer->spill_written_out, writer->spill_end + at + len);
        background_rest();
    }
    if (!good) {
        fail(writer, g_strdup_printf("%s: %s", SPILL_FILE, g_strerror(errno)));
        return false;
    }
    writer->spill_end += batch->len;
    g_array_append_val(writer->spilled, writer->spill_end);
    return true;
}

static void close_spill(CheckpointWriter *writer)
{
    if (writer->spill_fd < 0) return;
    truncate_to_nothing(writer->spill_fd, writer->spill_end);
    io->close(writer->spill_fd);
}

/* Stores the next spilled batch. */
static void unspill(CheckpointWriter *writer)
{
    guint next = writer->spill_next++;
    uint64_t start = next == 0 ? 0 : g_array_index(writer->spilled, uint64_t, next - 1);
    size_t len = (size_t)(g_array_index(writer->spilled, uint64_t, next) - start);
    writer->spill_batch.len = 0;
    char *bytes = image_room(&writer->spill_batch, len);
    if (!io_read_all(writer->spill_fd, bytes, len, (off_t)start)) {
        fail(writer, g_strdup_printf("%s: %s", SPILL_FILE, g_strerror(errno == 0 ? EIO : errno)));
        return;
    }
    store_batch(writer, bytes, len);
}

static void take_batch(CheckpointWriter *writer, Image *batch)
{
    size_t waiting = g_atomic_pointer_get(&writer->waiting);
    if (!has_failed(writer) && (waiting <= SPILL_BYTES || !spill(writer, batch))) {
        store_batch(writer, batch->bytes, batch->len);
    }
    g_atomic_pointer_add(&writer->waiting, -(gssize)batch->len);
    if (batch->cap > SPARE_BYTES_MAX) {
        /* Nobody reuses it, and giving the memory of a long string back to the system takes milliseconds. It's held
         * until then: maxmemory must not take it for data. */
        size_t bytes = image_bytes(batch);
        mem_free_elsewhere(batch->bytes);
        g_atomic_pointer_add(&writer->held, -(gssize)bytes);
        *batch = (Image){ 0 };
    }
    g_async_queue_push(writer->used, batch);
    note_event(writer);
}

static char *seal_file(CheckpointWriter *writer)
{
    CheckpointInfo *info = &writer->info;
    g_autoptr(GBytes) payload = checkpoint_info_encode(info, writer->manifest.secret);
    gsize len;
    const char *bytes = g_bytes_get_data(payload, &len);
    uint64_t checksum = pagefile_checksum(SLICE("ckv"), (Slice){ bytes, len });
    g_autoptr(GByteArray) sealed = g_byte_array_append(g_byte_array_new(), (const guint8 *)bytes, (guint)len);
    g_byte_array_append(sealed, (const guint8 *)&checksum, sizeof(checksum));
    char *error = NULL;
    if (!pagefile_put(writer->file, SLICE("ckv"), (Slice){ (char *)sealed->data, sealed->len }, &error)) return error;
    PageFile *file = g_steal_pointer(&writer->file);
    if (!pagefile_close(file, &error)) return error;
    struct stat stat_buffer;
    const char *path = checkpoint_file_name[writer->slot];
    if (stat(path, &stat_buffer) == 0) info->file_bytes = (uint64_t)stat_buffer.st_size;
    if (!io_sync_directory(".")) return g_strdup_printf("%s: %s", path, g_strerror(errno));
    /* The segment that begins where the checkpoint does: a start takes it for lost if it isn't there. */
    if (!io_sync_directory(JOURNAL_DIRECTORY) && errno != ENOENT)
        return g_strdup_printf(JOURNAL_DIRECTORY ": %s", g_strerror(errno));
    info->whole = true;
    writer->useless = false;
    writer->manifest.checkpoint[writer->slot] = *info;
    return manifest_write(".", &writer->manifest);
}

static void finish(CheckpointWriter *writer)
{
    while (writer->spill_next < writer->spilled->len && !has_failed(writer))
        unspill(writer);
    char *message = has_failed(writer) || !writer->finishing ? NULL : seal_file(writer);
    if (message != NULL) fail(writer, message);
    if (writer->file != NULL) pagefile_abandon(writer->file);
    close_spill(writer);
    g_free(writer->spill_batch.bytes);
    g_mutex_lock(&writer->lock);
    writer->done = true;
    g_mutex_unlock(&writer->lock);
    note_event(writer);
}

static gpointer run(gpointer data)
{
    CheckpointWriter *writer = data;
    if (writer->progressed != NULL) background_enter(); /* else there's no loop, and somebody waits */
    if (unlist(writer)) {
        char *error = NULL;
        writer->file = pagefile_open(checkpoint_file_name[writer->slot], writer->mode, writer->expected, &error);
        writer->useless = true;
        if (writer->file == NULL) fail(writer, error);
    }
    for (;;) {
        bool spilled = writer->spill_next < writer->spilled->len && !has_failed(writer);
        Image *batch = spilled ? g_async_queue_try_pop(writer->sent) : g_async_queue_pop(writer->sent);
        if (batch == NULL) {
            unspill(writer);
        } else if (batch->len == 0) {
            g_async_queue_push(writer->used, batch);
            break;
        } else {
            take_batch(writer, batch);
        }
    }
    finish(writer);
    return NULL;
}

/* ---- records ---- */

size_t writer_begin_record(Image *batch, RecordOp op, const RecordKey *key)
{
    size_t start = batch->len;
    RecordHead head = { .op = (uint8_t)op, .key_len = key->len };
    image_put_bytes(batch, (Slice){ (const char *)&head, sizeof(head) });
    image_put_bytes(batch, record_slice(key));
    return start;
}

uint32_t writer_seal_record(Image *batch, size_t start, uint64_t checksum, size_t *payload_len)
{
    RecordHead head;
    memcpy(&head, batch->bytes + start, sizeof(head));
    image_put_u64(batch, checksum);
    head.payload_len = (uint32_t)(batch->len - start - sizeof(head) - head.key_len);
    memcpy(batch->bytes + start, &head, sizeof(head));
    if (payload_len != NULL) *payload_len = head.payload_len;
    return pagefile_sum(checksum);
}

uint32_t writer_end_record(Image *batch, size_t start, size_t *payload_len)
{
    RecordHead head;
    memcpy(&head, batch->bytes + start, sizeof(head));
    Slice key = { batch->bytes + start + sizeof(head), head.key_len };
    Slice payload = { key.ptr + key.len, batch->len - start - sizeof(head) - key.len };
    return writer_seal_record(batch, start, pagefile_checksum(key, payload), payload_len);
}

/* ---- the loop's side ---- */

static void free_parts(CheckpointWriter *writer)
{
    for (guint i = 0; i < writer->spare->len; i++) {
        Image *image = writer->spare->pdata[i];
        g_free(image->bytes);
        g_free(image);
    }
    g_ptr_array_free(writer->spare, TRUE);
    g_async_queue_unref(writer->sent);
    g_async_queue_unref(writer->used);
    g_array_free(writer->spilled, TRUE);
    g_free(writer->error);
    g_mutex_clear(&writer->lock);
    g_cond_clear(&writer->changed);
    g_free(writer);
}

CheckpointWriter *writer_start(const Manifest *manifest, int slot, bool may_be_listed, PageFileMode mode,
                               size_t expected, void (*progressed)(void), char **error)
{
    CheckpointWriter *writer = g_new0(CheckpointWriter, 1);
    writer->sent = g_async_queue_new();
    writer->used = g_async_queue_new();
    writer->spare = g_ptr_array_new();
    writer->spilled = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    writer->manifest = *manifest;
    writer->manifest.note = NULL;
    writer->slot = slot;
    writer->may_be_listed = may_be_listed;
    writer->mode = mode;
    writer->expected = expected;
    writer->progressed = progressed;
    writer->spill_fd = -1;
    g_mutex_init(&writer->lock);
    g_cond_init(&writer->changed);
    writer->thread = background_start("ckv-checkpoint", run, writer, error);
    if (writer->thread == NULL) g_clear_pointer(&writer, free_parts);
    return writer;
}

static void collect_used(CheckpointWriter *writer)
{
    for (Image *image; (image = g_async_queue_try_pop(writer->used)) != NULL;) {
        if (writer->spare->len < SPARE_MAX) {
            image->len = 0;
            g_ptr_array_add(writer->spare, image);
        } else {
            g_atomic_pointer_add(&writer->held, -(gssize)image_bytes(image));
            g_free(image->bytes);
            g_free(image);
        }
    }
}

/* An Image in place of the one that goes, whose bytes are the batch's; the batch gets a used buffer, or one that
 * needn't grow. */
static Image *exchange(CheckpointWriter *writer, Image *batch)
{
    Image *sent = writer->spare->len > 0 ? g_ptr_array_remove_index_fast(writer->spare, writer->spare->len - 1)
                                         : g_new0(Image, 1);
    g_atomic_pointer_add(&writer->held, (gssize)image_bytes(batch) - (gssize)image_bytes(sent));
    Image bytes = *batch;
    *batch = *sent;
    *sent = bytes;
    batch->len = 0;
    if (batch->bytes == NULL) {
        batch->cap = WRITER_BATCH_BYTES + BATCH_MORE_BYTES;
        batch->bytes = mem_grow_buffer(NULL, batch->cap);
    }
    return sent;
}

void writer_send(CheckpointWriter *writer, Image *batch)
{
    if (batch->len == 0) return;
    collect_used(writer);
    Image *sent = exchange(writer, batch);
    g_atomic_pointer_add(&writer->waiting, (gssize)sent->len);
    g_async_queue_push(writer->sent, sent);
}

size_t writer_waiting(CheckpointWriter *writer)
{
    collect_used(writer);
    return g_atomic_pointer_get(&writer->waiting);
}

size_t writer_held(CheckpointWriter *writer)
{
    collect_used(writer);
    return g_atomic_pointer_get(&writer->held);
}

void writer_finish(CheckpointWriter *writer, const CheckpointInfo *info)
{
    writer->info = *info;
    writer->finishing = true;
    g_async_queue_push(writer->sent, g_new0(Image, 1)); /* the queue's lock orders these before the thread's look */
}

const char *writer_error(CheckpointWriter *writer)
{
    g_mutex_lock(&writer->lock);
    const char *error = writer->error;
    g_mutex_unlock(&writer->lock);
    return error;
}

bool writer_is_done(CheckpointWriter *writer, Manifest *manifest)
{
    g_mutex_lock(&writer->lock);
    bool done = writer->done;
    g_mutex_unlock(&writer->lock);
    if (done && manifest != NULL) {
        for (int f = 0; f < 2; f++)
            manifest->checkpoint[f] = writer->manifest.checkpoint[f];
    }
    return done;
}

void writer_wait(CheckpointWriter *writer)
{
    gint64 until = g_get_monotonic_time() + 10 * G_TIME_SPAN_MILLISECOND;
    g_mutex_lock(&writer->lock);
    unsigned seen = writer->events;
    while (writer->events == seen && !writer->done && g_cond_wait_until(&writer->changed, &writer->lock, until)) {
    }
    g_mutex_unlock(&writer->lock);
}

void writer_free(CheckpointWriter *writer)
{
    g_atomic_int_set(&writer->stopping, 1);
    if (!writer->finishing) g_async_queue_push(writer->sent, g_new0(Image, 1));
    g_thread_join(writer->thread);
    collect_used(writer);
    free_parts(writer);
}
