/* journalroom.c: see journalroom.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/journalroom.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <unistd.h>

#include "base/background.h"
#include "base/clock.h"
#include "store/io.h"

#define BYTES_MIN (16UL << 20)
#define BYTES_MAX (64UL << 20)
#define FILE_MODE 0600
#define NEXT      "next-"

/* Who wants the next one so soon (us) gets twice as much room, and who takes so long gets little again. */
#define SOON_US 1000000
#define LATE_US 30000000

/* The loop's. */
static uint64_t bytes_wanted;
static int64_t wanted_us;
static uint64_t segment_bytes_max;

/* The room that a segment is to get: up to `most`, or at least to `end`. */
typedef struct Growing {
    char path[CKJ_NAME_CHARS];
    uint64_t at, end, most;
} Growing;

/* Shared, under the lock. */
static struct {
    GMutex lock;
    GCond wake;
    uint64_t wanted; /* bytes; 0: nothing */
    int fd;          /* -1: there's no file, or the thread is at it */
    uint64_t bytes;  /* its room */
    RoomGrowth growth;
    Growing growing;
    int growth_error; /* errno of ROOM_FAILED */
    bool quit, ended; /* it's to; it does */
} s = { .fd = -1 };

/* Kept while no journal is open: or where there can be no further threads, none could be opened again. */
static BackgroundWorker worker;
static bool working; /* thread_main runs in it, or has, and wasn't waited for */
static char path[CKJ_NAME_CHARS];

/* The thread's: the file system can't reserve anything. */
static bool cannot_reserve;

static bool reserve(int fd, uint64_t bytes)
{
    if (cannot_reserve) return false;
    if (io_allocate(fd, 0, bytes)) return true;
    cannot_reserve = errno == EOPNOTSUPP || errno == ENOSYS;
    (void)io->truncate(fd, 0); /* what there was may have been taken, and others want it */
    return false;
}

/* Under the lock, which it lets go of for the while. What doesn't work here is left to the loop, which says why. */
static void make_next(void)
{
    static bool alone; /* processes left theirs that ended as soon as this one had taken over */
    uint64_t bytes = s.wanted;
    int fd = s.fd;
    s.wanted = 0;
    s.fd = -1;
    g_mutex_unlock(&s.lock);
    if (!alone) ckj_remove_temporaries(NEXT, path);
    alone = true;
    if (fd < 0) fd = io->open(path, O_RDWR | O_CREAT | O_TRUNC, FILE_MODE);
    bool reserved = fd >= 0 && reserve(fd, bytes);
    g_mutex_lock(&s.lock);
    s.fd = fd;
    s.bytes = reserved ? bytes : 0;
}

/* How far it got; 0: errno. */
static uint64_t grow(const Growing *growing)
{
    int fd = io->open(growing->path, O_RDWR, 0);
    if (fd < 0) return 0;
    uint64_t end = growing->most;
    if (!io_allocate(fd, growing->at, end)) end = io_allocate(fd, growing->at, growing->end) ? growing->end : 0;
    int saved = errno;
    io->close(fd);
    errno = saved;
    return end;
}

/* The same as for make_next. */
static void grow_segment(void)
{
    Growing growing = s.growing;
    s.growth = ROOM_GROWING;
    g_mutex_unlock(&s.lock);
    uint64_t end = grow(&growing);
    int error = errno;
    if (end == 0 && error == ENOSPC && room_give_back()) {
        end = grow(&growing);
        error = errno;
    }
    g_mutex_lock(&s.lock);
    if (s.growth != ROOM_GROWING) return; /* forgotten, or wanted anew */
    s.growth = end > 0 ? ROOM_GROWN : ROOM_FAILED;
    s.growing.end = end;
    s.growth_error = error;
}

static gpointer thread_main(gpointer unused)
{
    (void)unused;
    g_mutex_lock(&s.lock);
    while (!s.quit) {
        if (s.growth == ROOM_WANTED)
            grow_segment();
        else if (s.wanted > 0)
            make_next();
        else
            g_cond_wait(&s.wake, &s.lock);
    }
    int fd = s.fd;
    s.fd = -1;
    s.ended = true;
    g_mutex_unlock(&s.lock);
    if (fd < 0) return NULL;
    io->close(fd);
    io->unlink(path);
    return NULL;
}

void room_leave(void)
{
    g_mutex_lock(&s.lock);
    s.quit = true;
    g_cond_signal(&s.wake);
    g_mutex_unlock(&s.lock);
}

void room_stop(void)
{
    room_leave();
    if (working) background_wait(&worker);
    working = false;
}

/* A thread that was left, because another process was to take over and didn't, goes on if it hasn't ended yet: to wait
 * for it may take long. */
static bool go_on(void)
{
    g_mutex_lock(&s.lock);
    bool goes_on = working && !s.ended;
    if (goes_on) s.quit = false;
    g_mutex_unlock(&s.lock);
    return goes_on;
}

bool room_start(uint64_t segment_bytes, char **error)
{
    segment_bytes_max = segment_bytes;
    bytes_wanted = BYTES_MIN;
    wanted_us = 0;
    if (go_on()) return true;
    room_stop();
    snprintf(path, sizeof(path), JOURNAL_DIRECTORY "/" NEXT "%d" CKJ_SUFFIX ".tmp", (int)getpid());
    s.wanted = 0;
    s.growth = ROOM_NOT_WANTED;
    cannot_reserve = s.quit = s.ended = false;
    working = background_work(&worker, "journal-room", thread_main, error);
    return working;
}

const char *room_path(void)
{
    return path;
}

void room_want(void)
{
    int64_t now_us = clock_now_us();
    if (now_us - wanted_us < SOON_US)
        bytes_wanted = MIN(bytes_wanted * 2, BYTES_MAX);
    else if (now_us - wanted_us > LATE_US)
        bytes_wanted = BYTES_MIN;
    wanted_us = now_us;
    g_mutex_lock(&s.lock);
    s.wanted = MIN(bytes_wanted, segment_bytes_max);
    g_cond_signal(&s.wake);
    g_mutex_unlock(&s.lock);
}

int room_take(uint64_t least, uint64_t *bytes)
{
    g_mutex_lock(&s.lock);
    int fd = s.bytes >= least ? s.fd : -1;
    *bytes = fd >= 0 ? s.bytes : 0;
    if (fd >= 0) {
        s.fd = -1;
        s.wanted = 0; /* the name is the caller's, too, until the next call of room_want */
    }
    g_mutex_unlock(&s.lock);
    return fd;
}

void room_grow(const char *grown, uint64_t at, uint64_t end, uint64_t most)
{
    g_mutex_lock(&s.lock);
    s.growing = (Growing){ .at = at, .end = end, .most = most };
    g_strlcpy(s.growing.path, grown, sizeof(s.growing.path));
    s.growth = ROOM_WANTED;
    g_cond_signal(&s.wake);
    g_mutex_unlock(&s.lock);
}

RoomGrowth room_growth(uint64_t *end)
{
    g_mutex_lock(&s.lock);
    RoomGrowth growth = s.growth;
    *end = s.growing.end;
    if (growth == ROOM_GROWN || growth == ROOM_FAILED) s.growth = ROOM_NOT_WANTED;
    if (growth == ROOM_FAILED) errno = s.growth_error;
    g_mutex_unlock(&s.lock);
    return growth;
}

void room_forget_growth(void)
{
    g_mutex_lock(&s.lock);
    s.growth = ROOM_NOT_WANTED;
    g_mutex_unlock(&s.lock);
}

bool room_give_back(void)
{
    uint64_t bytes;
    int fd = room_take(0, &bytes);
    if (fd < 0) return false;
    io->close(fd);
    io->unlink(path);
    return bytes > 0;
}
