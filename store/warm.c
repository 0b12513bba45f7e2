/* warm.c: see warm.h.
 *
 * Design. A thread for each stretch of the file, which ends with it: they're few, and mostly there are none, as what
 * was written a short while ago is in the page cache yet. What it works on is freed by whichever of the two, the thread
 * and the reader, lets go of it last.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/warm.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <sys/stat.h>

#include "base/background.h"
#include "store/io.h"

/* What is read at a time: it should last longer than it takes to begin with the next, and be there soon. */
#define STRETCH_BYTES (4UL << 20)
#define PIECE_BYTES   (256UL << 10)

struct Warm {
    gint references; /* atomic */
    gint busy;       /* atomic: a thread reads what follows here */
    int fd;          /* the thread's own */
    ino_t file;
    off_t at, end;
};

static void release(Warm *warm)
{
    if (g_atomic_int_dec_and_test(&warm->references)) g_free(warm);
}

static gpointer run(gpointer context)
{
    Warm *warm = context;
    background_enter();
    char *bytes = g_malloc(PIECE_BYTES);
    for (off_t at = warm->at; at < warm->end;) {
        ssize_t got = io->read(warm->fd, bytes, MIN(PIECE_BYTES, (size_t)(warm->end - at)), at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        at += got;
    }
    g_free(bytes);
    io->close(warm->fd);
    g_atomic_int_set(&warm->busy, 0);
    release(warm);
    return NULL;
}

static ino_t file_of(int fd)
{
    struct stat about;
    return fstat(fd, &about) == 0 ? about.st_ino : 0;
}

static bool was_read(const Warm *warm, int fd, off_t at, size_t len)
{
    return at >= warm->at && at + (off_t)len <= warm->end && file_of(fd) == warm->file;
}

/* False: there can be no thread. */
static bool begin_reading(Warm *warm, int fd, off_t at, size_t len)
{
    g_autofree char *error = NULL;
    warm->file = file_of(fd);
    warm->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (warm->fd < 0) return false;
    warm->at = at;
    warm->end = at + (off_t)MAX(len, STRETCH_BYTES);
    g_atomic_int_set(&warm->busy, 1);
    g_atomic_int_inc(&warm->references);
    GThread *thread = background_start("ckv-warm", run, warm, &error);
    if (thread != NULL) {
        g_thread_unref(thread);
        return true;
    }
    release(warm); /* the thread's reference */
    g_atomic_int_set(&warm->busy, 0);
    io->close(warm->fd);
    return false;
}

Warm *warm_new(void)
{
    Warm *warm = g_new0(Warm, 1);
    warm->references = 1;
    return warm;
}

void warm_free(Warm *warm)
{
    if (warm != NULL) release(warm);
}

/* How much of it is in the page cache. Less than `len`: errno. */
static size_t read_cached(int fd, char *to, size_t len, off_t at)
{
    size_t done = 0;
    while (done < len) {
        ssize_t got = io->read_cached(fd, to + done, len - done, at + (off_t)done);
        if (got < 0 && errno == EINTR) continue;
        if (got == 0) errno = 0;
        if (got <= 0) break;
        done += (size_t)got;
    }
    return done;
}

bool warm_read(Warm *warm, int fd, void *to, size_t len, off_t at)
{
    size_t done = read_cached(fd, to, len, at);
    if (done == len) return true;
    if (errno != EAGAIN) return false;
    at += (off_t)done;
    len -= done;
    bool busy = g_atomic_int_get(&warm->busy) != 0;
    if (!busy && (was_read(warm, fd, at, len) || !begin_reading(warm, fd, at, len)))
        return io_read_all(fd, (char *)to + done, len, at);
    errno = EAGAIN;
    return false;
}
