/* syncfile.c: see syncfile.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "repl/syncfile.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>

#include "base/background.h"
#include "store/io.h"
#include "store/mem.h"
#include "store/rdb.h"

/* Of the file, freed at a time: 110 ms are what 420 MB take at once. And the time for others to write between. */
#define FREED_BYTES    (4UL << 20)
#define FREED_PAUSE_US 2000

struct SyncFile {
    int references;
    CheckpointInfo info;
    char *path;         /* of the checkpoint */
    size_t used_memory; /* as the file's head tells */
    int fd;
    GThread *thread;
    gint cancelled, done, gone; /* atomic; gone: the thread has nothing more to do */
    GMutex lock;
    GCond changed;
    bool released; /* under the lock: nobody refers to it any more */
    /* The thread's, until it's done. */
    uint64_t bytes;
    uint64_t written_out; /* to the disk */
    int write_errno;
    char *error;
};

/* ---- the thread ---- */

/* The file is never synced; so it may stay in the page cache, but not all of a long one. */
static bool write_out(SyncFile *file)
{
    if (io_write_out(file->fd, &file->written_out, file->bytes)) return true;
    file->write_errno = errno;
    return false;
}

static bool take_bytes(void *context, Slice bytes)
{
    SyncFile *file = context;
    if (g_atomic_int_get(&file->cancelled)) return false;
    if (!io_write_all(file->fd, bytes.ptr, bytes.len, (off_t)file->bytes)) {
        file->write_errno = errno;
        return false;
    }
    file->bytes += bytes.len;
    return write_out(file);
}

/* The database that the stream is in behind the snapshot: a slave's stream doesn't say so again. */
static bool write_stream_db(RdbWriter *writer, int db)
{
    char digits[NUMBER_INT_CHARS] = "";
    size_t len = number_format_int(digits, db);
    return db < 0 || rdb_write_aux(writer, SLICE("repl-stream-db"), (Slice){ digits, len });
}

/* Closing it frees its blocks, and who writes to the file system waits for some of that: so it's done in pieces. */
static void free_blocks(const SyncFile *file)
{
    for (uint64_t left = file->bytes; left > 0;) {
        left -= MIN(left, FREED_BYTES);
        if (io->truncate(file->fd, (off_t)left) != 0) return;
        g_usleep(FREED_PAUSE_US);
    }
}

static void close_when_released(SyncFile *file)
{
    g_mutex_lock(&file->lock);
    while (!file->released)
        g_cond_wait(&file->changed, &file->lock);
    g_mutex_unlock(&file->lock);
    free_blocks(file);
    io->close(file->fd);
    g_atomic_int_set(&file->gone, 1);
}

static gpointer make(gpointer data)
{
    SyncFile *file = data;
    RdbWriter *writer = rdb_writer_new(take_bytes, file);
    bool begun =
        rdb_write_head(writer, file->info.unix_ms, file->used_memory) && write_stream_db(writer, file->info.db);
    file->error = rdb_write_checkpoint(writer, file->path, &file->info, NULL, NULL);
    if (file->error == NULL && !(begun && rdb_write_end(writer))) file->error = g_strdup("its end can't be written");
    rdb_writer_free(writer);
    if (file->write_errno != 0) {
        g_free(file->error);
        file->error = g_strdup_printf("the file for slaves: %s", g_strerror(file->write_errno));
    }
    g_atomic_int_set(&file->done, 1);
    close_when_released(file);
    return NULL;
}

/* ---- the loop's ---- */

/* Files that nobody refers to any more, and whose threads haven't ended: the loop doesn't wait for the disk. */
static GPtrArray *leaving; /* SyncFile * */

static void free_file(SyncFile *file)
{
    g_mutex_clear(&file->lock);
    g_cond_clear(&file->changed);
    g_free(file->path);
    g_free(file->error);
    g_free(file);
}

static void free_gone(void)
{
    for (guint i = leaving == NULL ? 0 : leaving->len; i-- > 0;) {
        SyncFile *file = leaving->pdata[i];
        if (!g_atomic_int_get(&file->gone)) continue;
        g_thread_join(file->thread);
        free_file(file);
        g_ptr_array_remove_index_fast(leaving, i);
    }
}

SyncFile *syncfile_new(const char *path, const CheckpointInfo *info, char **error)
{
    char name[64];
    free_gone();
    snprintf(name, sizeof(name), "sync-%020" G_GINT64_MODIFIER "u.rdb", info->offset);
    int fd = io->open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || io->unlink(name) != 0) {
        *error = g_strdup_printf("%s: %s", name, g_strerror(errno));
        if (fd >= 0) io->close(fd);
        return NULL;
    }
    SyncFile *file = g_new0(SyncFile, 1);
    file->references = 1;
    file->info = *info;
    file->path = g_strdup(path);
    file->used_memory = mem_used();
    file->fd = fd;
    g_mutex_init(&file->lock);
    g_cond_init(&file->changed);
    file->thread = background_start("ckv-sync", make, file, error);
    if (file->thread != NULL) return file;
    io->close(fd);
    free_file(file);
    return NULL;
}

SyncFile *syncfile_ref(SyncFile *file)
{
    file->references++;
    return file;
}

void syncfile_unref(SyncFile *file)
{
    if (--file->references > 0) return;
    g_atomic_int_set(&file->cancelled, 1);
    g_mutex_lock(&file->lock);
    file->released = true;
    g_cond_signal(&file->changed);
    g_mutex_unlock(&file->lock);
    if (leaving == NULL) leaving = g_ptr_array_new();
    g_ptr_array_add(leaving, file);
    free_gone();
}

SyncFileState syncfile_state(const SyncFile *file)
{
    if (!g_atomic_int_get(&file->done)) return SYNCFILE_MAKING;
    return file->error == NULL ? SYNCFILE_READY : SYNCFILE_FAILED;
}

const char *syncfile_error(const SyncFile *file)
{
    return file->error;
}

uint64_t syncfile_offset(const SyncFile *file)
{
    return file->info.offset;
}

int syncfile_db(const SyncFile *file)
{
    return file->info.db;
}

uint64_t syncfile_bytes(const SyncFile *file)
{
    return file->bytes;
}

bool syncfile_read(const SyncFile *file, Warm *warm, void *to, size_t len, uint64_t at)
{
    return warm_read(warm, file->fd, to, len, (off_t)at);
}
