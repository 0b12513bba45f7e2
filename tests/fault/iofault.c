/* iofault.c: a library for LD_PRELOAD that makes chosen file operations of a program fail, tear, or end the program, so
 * that the fault tests can do so at every single one of them. Nothing of CKV knows of it.
 *
 * Design. It defines libc's functions that open, write, sync, rename, truncate, allocate, map, unlink and make
 * directories, and does the system call itself. Operations on files below one directory are counted; the N-th fails.
 * Everything is said by environment variables, read once:
 *
 *   IOFAULT_DIR      the directory, absolute and without symbolic links; without it nothing is touched
 *   IOFAULT_MATCH    parts of paths, comma-separated; only files whose path below the directory has one of them count
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
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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
    const char *dir, *match, *control, *trace;
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
    plan.calls = calls_of(getenv("IOFAULT_CALLS"));
    plan.at = number_of(getenv("IOFAULT_AT"), 0);
    plan.mode = mode_of(getenv("IOFAULT_MODE"));
    plan.error = (int)number_of(getenv("IOFAULT_ERRNO"), EIO);
    const char *dir = variable("IOFAULT_DIR");
    plan.dir_len = dir == NULL ? 0 : strlen(dir);
    plan.dir = dir; /* from here on there is a plan */
}

/* ---- whose turn it is ---- */

/* The path below the directory, "." for itself, or NULL if it isn't there or isn't to be counted. */
static const char *path_below(const char *path)
{
    if (strncmp(path, plan.dir, plan.dir_len) != 0) return NULL;
    if (path[plan.dir_len] != '/' && path[plan.dir_len] != '\0') return NULL;
    const char *below = path[plan.dir_len] == '\0' ? "." : path + plan.dir_len + 1;
    if (plan.match == NULL || plan.match[0] == '\0') return below;
    char list[PATH_MAX];
    snprintf(list, sizeof(list), "%s", plan.match);
    char *rest = NULL;
    for (char *part = strtok_r(list, ",", &rest); part != NULL; part = strtok_r(NULL, ",", &rest)) {
        if (strstr(below, part) != NULL) return below;
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

static Fate judge_at(Operation operation, int dirfd, const char *name)
{
    char path[2 * PATH_MAX];
    if (!counts(operation)) return PASS;
    if (name[0] == '/') return judge_path(operation, name);
    if (!path_of(dirfd, path)) return PASS;
    while (strncmp(name, "./", 2) == 0)
        name += 2;
    size_t len = strlen(path);
    snprintf(path + len, sizeof(path) - len, "/%s", name);
    return judge_path(operation, path);
}

/* ---- opening ---- */

static int open_at(int dirfd, const char *path, int flags, mode_t mode)
{
    if (judge_at((flags & O_CREAT) != 0 ? CREATE : OPEN, dirfd, path) == FAIL) return -1;
    return (int)syscall(SYS_openat, dirfd, path, flags, mode);
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

ssize_t write(int fd, const void *from, size_t len)
{
    Fate fate = judge_fd(WRITE, fd);
    return fate == FAIL ? -1 : written(fate, syscall(SYS_write, fd, from, half_of(fate, len)));
}

ssize_t pwrite(int fd, const void *from, size_t len, off_t at)
{
    Fate fate = judge_fd(WRITE, fd);
    return fate == FAIL ? -1 : written(fate, syscall(SYS_pwrite64, fd, from, half_of(fate, len), at));
}

ssize_t pwrite64(int fd, const void *from, size_t len, off64_t at)
{
    return pwrite(fd, from, len, at);
}

/* Half of several pieces is the first half of the first one. */
ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    Fate fate = judge_fd(WRITE, fd);
    if (fate == PASS || count < 1) return syscall(SYS_writev, fd, pieces, count);
    return fate == FAIL ? -1 : written(fate, syscall(SYS_write, fd, pieces->iov_base, half_of(fate, pieces->iov_len)));
}

ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t at)
{
    Fate fate = judge_fd(WRITE, fd);
    if (fate == PASS || count < 1) return syscall(SYS_pwritev, fd, pieces, count, at, 0L);
    if (fate == FAIL) return -1;
    return written(fate, syscall(SYS_pwrite64, fd, pieces->iov_base, half_of(fate, pieces->iov_len), at));
}

ssize_t pwritev64(int fd, const struct iovec *pieces, int count, off64_t at)
{
    return pwritev(fd, pieces, count, at);
}

ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t len, unsigned flags)
{
    Fate fate = judge_fd(WRITE, out);
    if (fate == FAIL) return -1;
    return written(fate, syscall(SYS_copy_file_range, in, in_at, out, out_at, half_of(fate, len), flags));
}

ssize_t sendfile(int out, int in, off_t *at, size_t len)
{
    Fate fate = judge_fd(WRITE, out);
    return fate == FAIL ? -1 : written(fate, syscall(SYS_sendfile, out, in, at, half_of(fate, len)));
}

/* ---- what makes it last ---- */

int fsync(int fd)
{
    return judge_fd(SYNC, fd) == FAIL ? -1 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return judge_fd(SYNC, fd) == FAIL ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int sync_file_range(int fd, off64_t at, off64_t len, unsigned flags)
{
    return judge_fd(SYNC, fd) == FAIL ? -1 : (int)syscall(SYS_sync_file_range, fd, at, len, flags);
}

/* ---- room ---- */

int ftruncate(int fd, off_t len)
{
    return judge_fd(TRUNCATE, fd) == FAIL ? -1 : (int)syscall(SYS_ftruncate, fd, len);
}

int ftruncate64(int fd, off64_t len)
{
    return ftruncate(fd, len);
}

int fallocate(int fd, int mode, off_t at, off_t len)
{
    return judge_fd(ALLOCATE, fd) == FAIL ? -1 : (int)syscall(SYS_fallocate, fd, mode, at, len);
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

int rename(const char *from, const char *to)
{
    return judge_at(RENAME, AT_FDCWD, to) == FAIL ? -1 : (int)syscall(SYS_rename, from, to);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return judge_at(RENAME, to_dir, to) == FAIL ? -1 : (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    return judge_at(RENAME, to_dir, to) == FAIL ? -1 : (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

int link(const char *from, const char *to)
{
    return judge_at(CREATE, AT_FDCWD, to) == FAIL ? -1 : (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlink(const char *path)
{
    return judge_at(UNLINK, AT_FDCWD, path) == FAIL ? -1 : (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int remove(const char *path)
{
    if (judge_at(UNLINK, AT_FDCWD, path) == FAIL) return -1;
    int result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    return result == 0 || errno != EISDIR ? result : (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
}

int unlinkat(int dirfd, const char *path, int flags)
{
    return judge_at(UNLINK, dirfd, path) == FAIL ? -1 : (int)syscall(SYS_unlinkat, dirfd, path, flags);
}

int rmdir(const char *path)
{
    return judge_at(UNLINK, AT_FDCWD, path) == FAIL ? -1 : (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
}

int mkdir(const char *path, mode_t mode)
{
    return judge_at(MKDIR, AT_FDCWD, path) == FAIL ? -1 : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int mkdirat(int dirfd, const char *path, mode_t mode)
{
    return judge_at(MKDIR, dirfd, path) == FAIL ? -1 : (int)syscall(SYS_mkdirat, dirfd, path, mode);
}
