/* dirlock.c: see dirlock.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/dirlock.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <sys/file.h>
#include <unistd.h>

/* systemd-tmpfiles holds it while it looks through the directory, and a process that was killed for a moment longer
 * than ckv.lock. */
#define TRIES    50
#define PAUSE_US 10000

int dirlock_take(const char *directory)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -1;
    int failed = flock(fd, LOCK_EX | LOCK_NB);
    for (int i = 1; failed != 0 && errno == EWOULDBLOCK && i < TRIES; i++) {
        g_usleep(PAUSE_US);
        failed = flock(fd, LOCK_EX | LOCK_NB);
    }
    if (failed == 0) return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}
