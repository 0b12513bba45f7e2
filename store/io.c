/* io.c: see io.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/io.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILE_MODE  0600 /* what people stored is no one else's business */
#define COPY_CHUNK (8UL << 20)

/* ---- the kernel's table ---- */

static int kernel_open(const char *path, int flags, mode_t mode)
{
    return open(path, flags | O_CLOEXEC, mode);
}

static ssize_t kernel_read_cached(int fd, void *to, size_t len, off_t at)
{
    struct iovec part = { to, len };
    ssize_t got = preadv2(fd, &part, 1, at, RWF_NOWAIT);
    bool unknown = got < 0 && (errno == EOPNOTSUPP || errno == ENOSYS); /* to the file system, or to the kernel */
    return unknown ? pread(fd, to, len, at) : got;
}

static int kernel_sync(int fd)
{
    struct stat stat;
    if (fstat(fd, &stat) != 0) return -1;
    return S_ISDIR(stat.st_mode) ? fsync(fd) : fdatasync(fd);
}

static int kernel_allocate(int fd, off_t at, off_t len)
{
    return fallocate(fd, FALLOC_FL_KEEP_SIZE, at, len);
}

static void kernel_begin_writing(int fd, off_t at, off_t len)
{
    (void)sync_file_range(fd, at, len, SYNC_FILE_RANGE_WRITE);
}

static int kernel_finish_writing(int fd)
{
    int result = sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE);
    return result != 0 && errno == ENOSYS ? 0 : result;
}

const Io io_kernel = {
    .open = kernel_open,
    .close = close,
    .read = pread,
    .read_cached = kernel_read_cached,
    .write = pwrite,
    .sync = kernel_sync,
    .allocate = kernel_allocate,
    .begin_writing = kernel_begin_writing,
    .finish_writing = kernel_finish_writing,
    .truncate = ftruncate,
    .rename = rename,
    .unlink = unlink,
    .mkdir = mkdir,
};

const Io *io = &io_kernel;

/* ---- whole transfers ---- */

bool io_read_all(int fd, void *to, size_t len, off_t at)
{
    size_t done = 0;
    while (done < len) {
        ssize_t got = io->read(fd, (char *)to + done, len - done, at + (off_t)done);
        if (got < 0 && errno == EINTR) continue;
        if (got == 0) errno = 0;
        if (got <= 0) return false;
        done += (size_t)got;
    }
    return true;
}

bool io_write_all(int fd, const void *from, size_t len, off_t at)
{
    size_t done = 0;
    while (done < len) {
        ssize_t put = io->write(fd, (const char *)from + done, len - done, at + (off_t)done);
        if (put < 0 && errno == EINTR) continue;
        if (put == 0) errno = ENOSPC; /* a write of nothing would go on for ever */
        if (put <= 0) return false;
        done += (size_t)put;
    }
    return true;
}

/* Closes, keeping errno; for the way out of an error. Returns false. */
static bool close_failed(int fd)
{
    int saved = errno;
    io->close(fd);
    errno = saved;
    return false;
}

static bool unlink_failed(const char *path)
{
    int saved = errno;
    io->unlink(path);
    errno = saved;
    return false;
}

void io_drop_cached(int fd, off_t at, off_t len)
{
    (void)posix_fadvise(fd, at, len, POSIX_FADV_DONTNEED);
}

bool io_sync_directory(const char *path)
{
    int fd = io->open(path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) return false;
    if (io->sync(fd) != 0) return close_failed(fd);
    io->close(fd);
    return true;
}

/* ---- whole files ---- */

static bool write_file(const char *path, Slice content)
{
    int fd = io->open(path, O_WRONLY | O_CREAT | O_TRUNC, FILE_MODE);
    if (fd < 0) return false;
    if (!io_write_all(fd, content.ptr, content.len, 0) || io->sync(fd) != 0) return close_failed(fd);
    return io->close(fd) == 0;
}

bool io_replace_file(const char *path, Slice content)
{
    g_autofree char *temporary = g_strconcat(path, ".tmp", NULL);
    return io_replace_file_by(temporary, path, content);
}

bool io_replace_file_by(const char *temporary, const char *path, Slice content)
{
    g_autofree char *directory = g_path_get_dirname(path);
    if (!write_file(temporary, content) || io->rename(temporary, path) != 0) return unlink_failed(temporary);
    return io_sync_directory(directory);
}

char *io_read_file(const char *path, size_t *len)
{
    int fd = io->open(path, O_RDONLY, 0);
    if (fd < 0) return NULL;
    struct stat stat;
    if (fstat(fd, &stat) != 0) {
        close_failed(fd);
        return NULL;
    }
    size_t size = (size_t)stat.st_size;
    char *content = g_malloc(size + 1);
    if (!io_read_all(fd, content, size, 0)) {
        close_failed(fd);
        if (errno == 0) errno = EIO; /* it was cut while it was read */
        g_free(content);
        return NULL;
    }
    io->close(fd);
    content[size] = '\0';
    *len = size;
    return content;
}

bool io_write_out(int fd, uint64_t *written_out, uint64_t end)
{
    if (end - *written_out < IO_PILE_BYTES) return true;
    io->begin_writing(fd, (off_t)*written_out, (off_t)(end - *written_out));
    *written_out = end;
    return io->finish_writing(fd) == 0;
}

bool io_allocate(int fd, uint64_t at, uint64_t end)
{
    int result;
    do {
        result = io->allocate(fd, (off_t)at, (off_t)(end - at));
    } while (result != 0 && errno == EINTR);
    return result == 0;
}

/* ---- copies ---- */

typedef struct Copy {
    int from, to;
    uint64_t done, size;
    uint64_t pile;  /* bytes since it was waited for what was written */
    char *buffer;   /* NULL while the kernel copies */
    bool in_kernel; /* copy_file_range(2) hasn't refused yet */
} Copy;

/* One step in the kernel: true if it went on, or if it can't be done there and bytes have to be moved. */
static bool copy_in_kernel(Copy *copy, size_t len)
{
    off_t at = (off_t)copy->done;
    off_t to = at;
    ssize_t copied = copy_file_range(copy->from, &at, copy->to, &to, len, 0);
    if (copied > 0) {
        copy->done += (uint64_t)copied;
        return true;
    }
    if (copied < 0 && errno == EINTR) return true;
    bool refused = copied == 0 || errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS;
    copy->in_kernel = false;
    return refused;
}

static bool copy_bytes(Copy *copy, size_t len)
{
    if (copy->buffer == NULL) copy->buffer = g_malloc(COPY_CHUNK);
    if (!io_read_all(copy->from, copy->buffer, len, (off_t)copy->done)) {
        if (errno == 0) errno = EIO; /* it was cut while it was copied */
        return false;
    }
    if (!io_write_all(copy->to, copy->buffer, len, (off_t)copy->done)) return false;
    copy->done += len;
    return true;
}

static bool copy_all(Copy *copy, void (*progress)(uint64_t done, void *context), void *context)
{
    while (copy->done < copy->size) {
        size_t len = MIN(COPY_CHUNK, (size_t)(copy->size - copy->done));
        off_t at = (off_t)copy->done;
        bool ok = copy->in_kernel ? copy_in_kernel(copy, len) : copy_bytes(copy, len);
        if (!ok) return false;
        io->begin_writing(copy->to, at, (off_t)copy->done - at);
        copy->pile += copy->done - (uint64_t)at;
        if (copy->pile >= IO_PILE_BYTES) {
            copy->pile = 0;
            if (io->finish_writing(copy->to) != 0) return false;
        }
        if (progress != NULL) progress(copy->done, context);
    }
    return io->sync(copy->to) == 0;
}

static bool copy_open(int from, const char *to, void (*progress)(uint64_t done, void *context), void *context)
{
    struct stat stat;
    if (fstat(from, &stat) != 0) return false;
    int fd = io->open(to, O_WRONLY | O_CREAT | O_TRUNC, FILE_MODE);
    if (fd < 0) return false;
    /* A test's table hears of every byte, so nothing goes past it. */
    Copy copy = { .from = from, .to = fd, .size = (uint64_t)stat.st_size, .in_kernel = io == &io_kernel };
    bool ok = copy_all(&copy, progress, context);
    g_free(copy.buffer);
    if (!ok) close_failed(fd);
    if (ok) ok = io->close(fd) == 0;
    return ok || unlink_failed(to);
}

bool io_copy_file(const char *from, const char *to, void (*progress)(uint64_t done, void *context), void *context)
{
    int fd = io->open(from, O_RDONLY, 0);
    if (fd < 0) return false;
    bool ok = copy_open(fd, to, progress, context);
    if (!ok) return close_failed(fd);
    io->close(fd);
    return true;
}
