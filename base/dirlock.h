/* dirlock.h: the lock on a data directory itself, beside that on its ckv.lock, which somebody may delete: flock(2) on
 * the directory's own descriptor. Called by main() and by the tools, behind the other.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_BASE_DIRLOCK_H
#define CKV_BASE_DIRLOCK_H

/* The descriptor that holds the lock (close-on-exec), or -1: errno is EWOULDBLOCK if another process has it; anything
 * else says that this directory can't be locked, and ckv.lock has to do. */
int dirlock_take(const char *directory);

#endif
