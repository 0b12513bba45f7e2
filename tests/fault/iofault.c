/* iofault.c: a library for LD_PRELOAD that makes chosen file operations of a program fail, tear, or end the program, so
 * that the fault tests can do so at every single one of them. Nothing of CKV knows of it.
 *
 * Design. It defines libc's functions that open, write, sync, rename, truncate, allocate, map, unlink and make
 * directories, and does the system call itself. Operations on files below one directory are counted; the N-th fails.
 * Everything is said by environment variables, read once:
 *
 *   IOFAULT_DIR      the directory, absolute and without symbolic links; without it nothing is touched
 *   IOFAULT_MATCH    parts of paths, comma-separated; only files whose path below the directory has one of them count;
 *                    one with a / before it must be the path's beginning
 *   IOFAULT_CALLS    which operations count, comma-separated: the names of the enum below; default: all but read
 *   IOFAULT_AT       the number of the operation, from 1; 0 (default): only count
 *   IOFAULT_MODE     once (default): that one fails
 *                    from: that one and all later ones
 *                    short: that one, if it writes, writes only half; another one is left alone
 *                    kill: the program ends by SIGKILL instead of doing it
 *                    tear: as kill, but if it writes, half of it is written first
 *   IOFAULT_ERRNO    the number of the error; default EIO
 *   IOFAULT_CONTROL  a file: operations count and fail only while it's there
 *   IOFAULT_TRACE    a file: gets a line for each counted operation: number, ok or FAULT, operation, path
 *   IOFAULT_RECORD   a file: gets all that is done to files below the directory, with the bytes that are written, in
 * the order in which it's done (powercut.py runs it again); see Recorded
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

typedef enum Operation { OPEN, CREATE, READ, WRITE, SYNC, RENAME, TRUNCATE, ALLOCATE, MAP, UNLINK, MKDIR } Operation;

static const char *const operation_names[] = { "open",     "create",   "read", "write",  "sync", "rename",
                                               "truncate", "allocate", "map",  "unlink", "mkdir" };

typedef enum Mode { ONCE, FROM, SHORT, KILL, TEAR } Mode;

static const char *const mode_names[] = { "once", "from", "short", "kill", "tear" };

/* What an operation has to do. */
typedef enum Fate { PASS, FAIL, HALF, DIE, HALF_AND_DIE } Fate;

static struct {
    const char *dir, *match, *control, *trace, *record;
    size_t dir_len;
    unsigned calls; /* a bit for each Operation */
    long at;
    Mode mode;
    int error;
} plan;

static atomic_long counted;

/* ---- the plan ---- */

/* Whether a comma-separated list has the word. */
static bool list_has(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = list; (at = strstr(at, word)) != NULL; at += len) {
        if ((at == list || at[-1] == ',') && (at[len] == '\0' || at[len] == ',')) return true;
    }
    return false;
}

static unsigned calls_of(const char *list)
{
    if (list == NULL) return ~(1U << READ);
    unsigned calls = 0;
    for (unsigned i = 0; i < sizeof(operation_names) / sizeof(operation_names[0]); i++) {
        if (list_has(list, operation_names[i])) calls |= 1U << i;
    }
    return calls;
}

static Mode mode_of(const char *name)
{
    for (unsigned i = 0; name != NULL && i < sizeof(mode_names) / sizeof(mode_names[0]); i++) {
        if (strcmp(name, mode_names[i]) == 0) return (Mode)i;
    }
    return ONCE;
}

static long number_of(const char *text, long missing)
{
    return text == NULL ? missing : strtol(text, NULL, 10);
}

/* A copy, since some programs write their title over their environment. */
static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value == NULL ? NULL : strdup(value);
}

__attribute__((constructor)) static void read_plan(void)
{
    plan.match = variable("IOFAULT_MATCH");
    plan.control = variable("IOFAULT_CONTROL");
    plan.trace = variable("IOFAULT_TRACE");
    plan.record = variable("IOFAULT_RECORD");
    plan.calls = calls_of(getenv("IOFAULT_CALLS"));
    plan.at = number_of(getenv("IOFAULT_AT"), 0);
    plan.mode = mode_of(getenv("IOFAULT_MODE"));
    plan.error = (int)number_of(getenv("IOFAULT_ERRNO"), EIO);
    const char *dir = variable("IOFAULT_DIR");
    plan.dir_len = dir == NULL ? 0 : strlen(dir);
    plan.dir = dir; /* from here on there is a plan */
}

/* ---- whose turn it is ---- */

/* The path below the directory, "." for itself, or NULL if it isn't there. */
static const char *below_of(const char *path)
{
    if (plan.dir == NULL || strncmp(path, plan.dir, plan.dir_len) != 0) return NULL;
    return path[plan.dir_len] == '/' ? path + plan.dir_len + 1 : path[plan.dir_len] == '\0' ? "." : NULL;
}

/* The same, or NULL if it isn't to be counted. */
static const char *path_below(const char *path)
{
    const char *below = below_of(path);
    if (below == NULL || plan.match == NULL || plan.match[0] == '\0') return below;
    char list[PATH_MAX];
    snprintf(list, sizeof(list), "%s", plan.match);
    char *rest = NULL;
    for (char *part = strtok_r(list, ",", &rest); part != NULL; part = strtok_r(NULL, ",", &rest)) {
        const char *at = strstr(below, part[0] == '/' ? part + 1 : part);
        if (at != NULL && (part[0] != '/' || at == below)) return below;
    }
    return NULL;
}

/* Writes the path of a descriptor, or of the working directory for AT_FDCWD. False: there's none. */
static bool path_of(int fd, char *path)
{
    char link[64];
    if (fd == AT_FDCWD) return syscall(SYS_getcwd, path, PATH_MAX) > 0;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    long len = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (len < 0) return false;
    path[len] = '\0';
    return true;
}

static void trace(long number, bool fault, Operation operation, const char *below)
{
    char line[PATH_MAX + 64];
    if (plan.trace == NULL) return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, plan.trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return;
    int len = snprintf(line, sizeof(line), "%ld %s %s %s\n", number, fault ? "FAULT" : "ok", operation_names[operation],
                       below);
    syscall(SYS_write, fd, line, (size_t)len);
    syscall(SYS_close, fd);
}

static Fate fate_of(long number, bool writes)
{
    if (plan.at == 0 || number < plan.at || (number > plan.at && plan.mode != FROM)) return PASS;
    switch (plan.mode) {
    case SHORT: return writes ? HALF : PASS;
    case KILL: return DIE;
    case TEAR: return writes ? HALF_AND_DIE : DIE;
    default: return FAIL;
    }
}

static void die(void)
{
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Counts an operation on an absolute path. Doesn't come back if the program is to end before it. */
static Fate judge_path(Operation operation, const char *path)
{
    int saved = errno;
    const char *below = path_below(path);
    Fate fate = PASS;
    if (below != NULL && (plan.control == NULL || syscall(SYS_faccessat, AT_FDCWD, plan.control, F_OK) == 0)) {
        long number = atomic_fetch_add(&counted, 1) + 1;
        fate = fate_of(number, operation == WRITE);
        trace(number, fate != PASS, operation, below);
        if (fate == DIE) die();
    }
    errno = fate == FAIL ? plan.error : saved;
    return fate;
}

static bool counts(Operation operation)
{
    return plan.dir != NULL && (plan.calls & 1U << operation) != 0;
}

static Fate judge_fd(Operation operation, int fd)
{
    char path[PATH_MAX];
    if (!counts(operation) || fd < 0 || !path_of(fd, path)) return PASS;
    return judge_path(operation, path);
}

#define NAME_ROOM (2 * PATH_MAX)

/* Writes the absolute path of a name in a directory, to NAME_ROOM bytes. False: there's none. */
static bool path_at(int dirfd, const char *name, char *path)
{
    path[0] = '\0';
    if (name[0] != '/' && !path_of(dirfd, path)) return false;
    while (strncmp(name, "./", 2) == 0)
        name += 2;
    size_t len = strlen(path);
    snprintf(path + len, NAME_ROOM - len, "%s%s", name[0] == '/' ? "" : "/", name);
    return true;
}

static Fate judge_at(Operation operation, int dirfd, const char *name)
{
    char path[NAME_ROOM];
    return counts(operation) && path_at(dirfd, name, path) ? judge_path(operation, path) : PASS;
}

/* ---- the record ---- */

/* One operation that was done; behind it stand its path, the path that it was renamed to, and the bytes written. A file
 * is known by its inode: 'C' begins it anew. */
typedef struct Recorded {
    char operation[4]; /* Create, Write, Truncate, Allocate, Sync; Rename, Unlink, Mkdir; Y: a directory's sync */
    uint32_t path_len, to_len;
    uint64_t inode, at, len;
} Recorded;

static pthread_mutex_t recording = PTHREAD_MUTEX_INITIALIZER;

/* Between these two one operation is done and put down, so the record has the true order. */
static void record_begin(void)
{
    if (plan.record != NULL) pthread_mutex_lock(&recording);
}

static void record_end(void)
{
    if (plan.record != NULL) pthread_mutex_unlock(&recording);
}

static void put_record(Recorded recorded, const char *path, const char *to, const void *bytes)
{
    recorded.path_len = (uint32_t)strlen(path);
    recorded.to_len = (uint32_t)strlen(to);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, plan.record, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) abort();
    struct iovec pieces[] = { { &recorded, sizeof(recorded) },
                              { (char *)(uintptr_t)path, recorded.path_len },
                              { (char *)(uintptr_t)to, recorded.to_len },
                              { (char *)(uintptr_t)bytes, bytes == NULL ? 0 : recorded.len } };
    syscall(SYS_writev, fd, pieces, 4);
    syscall(SYS_close, fd);
}

/* Puts down what was done by a descriptor; `bytes` NULL: none were written. */
static void record_fd(char operation, int fd, off_t at, size_t len, const void *bytes)
{
    char path[PATH_MAX];
    struct stat about;
    int saved = errno;
    if (plan.record != NULL && path_of(fd, path) && below_of(path) != NULL && fstat(fd, &about) == 0) {
        if (operation == 'S' && S_ISDIR(about.st_mode)) operation = 'Y';
        Recorded recorded = { { operation }, .inode = about.st_ino, .at = (uint64_t)at, .len = len };
        put_record(recorded, below_of(path), "", bytes);
    }
    errno = saved;
}

/* The same of what was copied from another file, which is read for it. */
static void record_copied(int fd, off_t at, int from, off_t from_at, ssize_t len)
{
    if (plan.record == NULL || len <= 0) return;
    void *bytes = malloc((size_t)len);
    if (bytes == NULL || syscall(SYS_pread64, from, bytes, (size_t)len, from_at) != len) abort();
    record_fd('W', fd, at, (size_t)len, bytes);
    free(bytes);
}

/* The same of a write from several pieces. */
static void record_gathered(int fd, off_t at, const struct iovec *pieces, ssize_t len)
{
    for (; plan.record != NULL && len > 0; pieces++) {
        size_t piece = MIN((size_t)len, pieces->iov_len);
        record_fd('W', fd, at, piece, pieces->iov_base);
        at += (off_t)piece;
        len -= (ssize_t)piece;
    }
}

/* Puts down what was done to a name. */
static void record_names(char operation, int dirfd, const char *name, int to_dirfd, const char *to)
{
    char path[NAME_ROOM], to_path[NAME_ROOM];
    int saved = errno;
    if (plan.record != NULL && path_at(dirfd, name, path) && path_at(to_dirfd, to, to_path) && below_of(path) != NULL &&
        below_of(to_path) != NULL) {
        put_record((Recorded){ .operation = { operation } }, below_of(path), operation == 'R' ? below_of(to_path) : "",
                   NULL);
    }
    errno = saved;
}

static void record_name(char operation, int dirfd, const char *name)
{
    record_names(operation, dirfd, name, dirfd, name);
}

/* Where a write without a position begins. */
static off_t position_of(int fd)
{
    return plan.record == NULL ? 0 : syscall(SYS_lseek, fd, 0L, SEEK_CUR);
}

/* ---- opening ---- */

static int open_at(int dirfd, const char *path, int flags, mode_t mode)
{
    if (judge_at((flags & O_CREAT) != 0 ? CREATE : OPEN, dirfd, path) == FAIL) return -1;
    if ((flags & (O_CREAT | O_TRUNC)) == 0) return (int)syscall(SYS_openat, dirfd, path, flags, mode);
    record_begin();
    bool was_there = plan.record != NULL && syscall(SYS_faccessat, dirfd, path, F_OK) == 0;
    int fd = (int)syscall(SYS_openat, dirfd, path, flags, mode);
    if (fd >= 0 && !was_there) record_fd('C', fd, 0, 0, NULL);
    if (fd >= 0 && was_there && (flags & O_TRUNC) != 0) record_fd('T', fd, 0, 0, NULL);
    record_end();
    return fd;
}

/* The mode of an open's variable arguments. */
#define MODE_OF(FLAGS, MODE)                                                                                           \
    mode_t MODE = 0;                                                                                                   \
    if (((FLAGS) & (O_CREAT | O_TMPFILE)) != 0) {                                                                      \
        va_list args;                                                                                                  \
        va_start(args, FLAGS);                                                                                         \
        MODE = va_arg(args, mode_t);                                                                                   \
        va_end(args);                                                                                                  \
    }

int open(const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return open_at(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return open_at(AT_FDCWD, path, flags, mode);
}

int openat(int dirfd, const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return open_at(dirfd, path, flags, mode);
}

int openat64(int dirfd, const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return open_at(dirfd, path, flags, mode);
}

int creat(const char *path, mode_t mode)
{
    return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* What -D_FORTIFY_SOURCE makes of the above. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dirfd, const char *path, int flags);
int __openat64_2(int dirfd, const char *path, int flags);

int __open_2(const char *path, int flags)
{
    return open_at(AT_FDCWD, path, flags, 0);
}

int __open64_2(const char *path, int flags)
{
    return open_at(AT_FDCWD, path, flags, 0);
}

int __openat_2(int dirfd, const char *path, int flags)
{
    return open_at(dirfd, path, flags, 0);
}

int __openat64_2(int dirfd, const char *path, int flags)
{
    return open_at(dirfd, path, flags, 0);
}

/* ---- reading and writing ---- */

ssize_t read(int fd, void *to, size_t len)
{
    return judge_fd(READ, fd) == FAIL ? -1 : syscall(SYS_read, fd, to, len);
}

ssize_t pread(int fd, void *to, size_t len, off_t at)
{
    return judge_fd(READ, fd) == FAIL ? -1 : syscall(SYS_pread64, fd, to, len, at);
}

ssize_t pread64(int fd, void *to, size_t len, off64_t at)
{
    return pread(fd, to, len, at);
}

static size_t half_of(Fate fate, size_t len)
{
    return fate == HALF || fate == HALF_AND_DIE ? (len + 1) / 2 : len;
}

static ssize_t written(Fate fate, ssize_t result)
{
    if (fate == HALF_AND_DIE) die();
    return result;
}

/* A write of half or all, put down. */
static ssize_t write_at(Fate fate, int fd, const void *from, size_t len, off_t at)
{
    record_begin();
    ssize_t done = syscall(SYS_pwrite64, fd, from, half_of(fate, len), at);
    if (done > 0) record_fd('W', fd, at, (size_t)done, from);
    record_end();
    return written(fate, done);
}

ssize_t write(int fd, const void *from, size_t len)
{
    Fate fate = judge_fd(WRITE, fd);
    if (fate == FAIL) return -1;
    record_begin();
    off_t at = position_of(fd);
    ssize_t done = syscall(SYS_write, fd, from, half_of(fate, len));
    if (done > 0) record_fd('W', fd, at, (size_t)done, from);
    record_end();
    return written(fate, done);
}

ssize_t pwrite(int fd, const void *from, size_t len, off_t at)
{
    Fate fate = judge_fd(WRITE, fd);
    return fate == FAIL ? -1 : write_at(fate, fd, from, len, at);
}

ssize_t pwrite64(int fd, const void *from, size_t len, off64_t at)
{
    return pwrite(fd, from, len, at);
}

/* Half of several pieces is the first half of the first one. */
ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    Fate fate = judge_fd(WRITE, fd);
    if (fate == FAIL) return -1;
    record_begin();
    off_t at = position_of(fd);
    ssize_t done = fate == PASS || count < 1 ? syscall(SYS_writev, fd, pieces, count)
                                             : syscall(SYS_write, fd, pieces->iov_base, half_of(fate, pieces->iov_len));
    record_gathered(fd, at, pieces, done);
    record_end();
    return written(fate, done);
}

ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t at)
{
    Fate fate = judge_fd(WRITE, fd);
    if (fate == FAIL) return -1;
    if (fate != PASS && count > 0) return write_at(fate, fd, pieces->iov_base, pieces->iov_len, at);
    record_begin();
    ssize_t done = syscall(SYS_pwritev, fd, pieces, count, at, 0L);
    record_gathered(fd, at, pieces, done);
    record_end();
    return done;
}

ssize_t pwritev64(int fd, const struct iovec *pieces, int count, off64_t at)
{
    return pwritev(fd, pieces, count, at);
}

ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t len, unsigned flags)
{
    Fate fate = judge_fd(WRITE, out);
    if (fate == FAIL) return -1;
    record_begin();
    off_t at = out_at != NULL ? *out_at : position_of(out), from_at = in_at != NULL ? *in_at : position_of(in);
    ssize_t done = syscall(SYS_copy_file_range, in, in_at, out, out_at, half_of(fate, len), flags);
    record_copied(out, at, in, from_at, done);
    record_end();
    return written(fate, done);
}

ssize_t sendfile(int out, int in, off_t *at, size_t len)
{
    Fate fate = judge_fd(WRITE, out);
    return fate == FAIL ? -1 : written(fate, syscall(SYS_sendfile, out, in, at, half_of(fate, len)));
}

/* ---- what makes it last ---- */

static int sync_by(long call, int fd)
{
    record_begin();
    int result = (int)syscall(call, fd);
    if (result == 0) record_fd('S', fd, 0, 0, NULL);
    record_end();
    return result;
}

int fsync(int fd)
{
    return judge_fd(SYNC, fd) == FAIL ? -1 : sync_by(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return judge_fd(SYNC, fd) == FAIL ? -1 : sync_by(SYS_fdatasync, fd);
}

int sync_file_range(int fd, off64_t at, off64_t len, unsigned flags)
{
    /* Who doesn't wait only gives advice, and doesn't look at the answer. */
    bool waits = (flags & (SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER)) != 0;
    return waits && judge_fd(SYNC, fd) == FAIL ? -1 : (int)syscall(SYS_sync_file_range, fd, at, len, flags);
}

/* ---- room ---- */

int ftruncate(int fd, off_t len)
{
    if (judge_fd(TRUNCATE, fd) == FAIL) return -1;
    record_begin();
    int result = (int)syscall(SYS_ftruncate, fd, len);
    if (result == 0) record_fd('T', fd, len, 0, NULL);
    record_end();
    return result;
}

int ftruncate64(int fd, off64_t len)
{
    return ftruncate(fd, len);
}

int fallocate(int fd, int mode, off_t at, off_t len)
{
    if (judge_fd(ALLOCATE, fd) == FAIL) return -1;
    record_begin();
    int result = (int)syscall(SYS_fallocate, fd, mode, at, len);
    if (result == 0 && mode == 0) record_fd('A', fd, at, (size_t)len, NULL);
    record_end();
    return result;
}

int fallocate64(int fd, int mode, off64_t at, off64_t len)
{
    return fallocate(fd, mode, at, len);
}

/* Returns the error instead of setting errno. libc's own writes into a file whose system can't allocate; here that is
 * an error, which callers must be able to live with. */
int posix_fallocate(int fd, off_t at, off_t len)
{
    int saved = errno;
    int error = fallocate(fd, 0, at, len) == 0 ? 0 : errno;
    errno = saved;
    return error;
}

int posix_fallocate64(int fd, off64_t at, off64_t len)
{
    return posix_fallocate(fd, at, len);
}

void *mmap(void *address, size_t len, int protection, int flags, int fd, off_t at)
{
    if ((flags & MAP_ANONYMOUS) == 0 && judge_fd(MAP, fd) == FAIL) return MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, len, protection, flags, fd, at);
}

void *mmap64(void *address, size_t len, int protection, int flags, int fd, off64_t at)
{
    return mmap(address, len, protection, flags, fd, at);
}

/* ---- names ---- */

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    if (judge_at(RENAME, to_dir, to) == FAIL) return -1;
    record_begin();
    int result = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    if (result == 0) record_names('R', from_dir, from, to_dir, to);
    record_end();
    return result;
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return renameat2(from_dir, from, to_dir, to, 0);
}

int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int link(const char *from, const char *to)
{
    return judge_at(CREATE, AT_FDCWD, to) == FAIL ? -1 : (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlinkat(int dirfd, const char *path, int flags)
{
    if (judge_at(UNLINK, dirfd, path) == FAIL) return -1;
    record_begin();
    int result = (int)syscall(SYS_unlinkat, dirfd, path, flags);
    if (result == 0) record_name('U', dirfd, path);
    record_end();
    return result;
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int remove(const char *path)
{
    int result = unlink(path);
    return result == 0 || errno != EISDIR ? result : rmdir(path);
}

int mkdirat(int dirfd, const char *path, mode_t mode)
{
    if (judge_at(MKDIR, dirfd, path) == FAIL) return -1;
    record_begin();
    int result = (int)syscall(SYS_mkdirat, dirfd, path, mode);
    if (result == 0) record_name('M', dirfd, path);
    record_end();
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}
