/* io.h: the one table of file operations that everything in store/ uses; tests swap in one that fails, loses or tears.
 *
 * Each function is the system call of its name: it returns -1 and sets errno where that does. All writing is by offset,
 * so nothing depends on a file position. GDBM does its own system calls; the tests put their faults below those by
 * defining the libc functions that it calls.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_IO_H
#define CKV_STORE_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/slice.h"

/* Whoever writes much to a file calls begin_writing after so many bytes; and finish_writing after so many, unless it's
 * soon synced: where more than some part of the memory is yet to be written, the kernel has everyone wait who writes to
 * that disk, also the loop. */
#define IO_BURST_BYTES (4UL << 20)
#define IO_PILE_BYTES  (64UL << 20)

typedef struct Io {
    int (*open)(const char *path, int flags, mode_t mode); /* O_CLOEXEC is added */
    int (*close)(int fd);
    ssize_t (*read)(int fd, void *to, size_t len, off_t at);
    ssize_t (*read_cached)(int fd, void *to, size_t len, off_t at); /* what needs no disk; if nothing does: EAGAIN */
    ssize_t (*write)(int fd, const void *from, size_t len, off_t at);
    int (*sync)(int fd);                          /* fdatasync(2); fsync(2) on a directory */
    int (*allocate)(int fd, off_t at, off_t len); /* room on disk beyond the end; the file's size stays */
    /* The kernel begins to write what it holds of the file from there on (`len` 0: to its end), so that the next sync
     * finds little to do: a burst of writes takes the disk from others, and a virtual machine's host may stop all of
     * that meanwhile. Doesn't wait until it's written. It's advice: what fails, the sync says. */
    void (*begin_writing)(int fd, off_t at, off_t len);
    int (*finish_writing)(int fd); /* waits for what has begun; what fails, a later sync doesn't say again */
    int (*truncate)(int fd, off_t len);
    int (*rename)(const char *from, const char *to);
    int (*unlink)(const char *path);
    int (*mkdir)(const char *path, mode_t mode);
} Io;

/* The table in force: the kernel's, unless a test set another. */
extern const Io *io;
extern const Io io_kernel;

/* Reads or writes all of it, however many calls that takes (EINTR and short ones go on). False: errno says why; for a
 * read, errno 0: the file ends before. */
bool io_read_all(int fd, void *to, size_t len, off_t at);
bool io_write_all(int fd, const void *from, size_t len, off_t at);
/* For a file that is written from its beginning on, behind each write: when IO_PILE_BYTES have come since, waits until
 * all up to `end` is on its way to the disk. *written_out, 0 at first, is kept here. False: errno. */
bool io_write_out(int fd, uint64_t *written_out, uint64_t end);
/* Room on the disk from `at` to `end`, which is beyond the end of the file. False: errno. */
bool io_allocate(int fd, uint64_t at, uint64_t end);

/* Lets the kernel forget its copies of what is on the disk; what isn't yet stays. (It's advice: it can't fail.) */
void io_drop_cached(int fd, off_t at, off_t len);

/* Makes what was created, renamed or unlinked in a directory last. */
bool io_sync_directory(const char *path);

/* Puts a file in place whole or not at all: path + ".tmp", sync, rename, sync of the directory. */
bool io_replace_file(const char *path, Slice content);
/* The same by another name beside it. */
bool io_replace_file_by(const char *temporary, const char *path, Slice content);

/* The whole file, to g_free, or NULL: errno says why. */
char *io_read_file(const char *path, size_t *len);

/* Copies a file (in the kernel, sharing blocks where the file system can) and syncs it; `progress` may be NULL and
 * hears of bytes done so far. */
bool io_copy_file(const char *from, const char *to, void (*progress)(uint64_t done, void *context), void *context);

#endif
