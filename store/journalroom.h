/* journalroom.h: the thread that makes the file of the journal's next segment, with room on the disk, before it's
 * needed. Only the journal's writing half calls it, in the loop's thread.
 *
 * Design. To create a file, or to reserve room in one, is to change the file system's own journal, and who does that
 * may have to wait until what others gave the disk is written: a quarter of a second was seen, and more. Who writes to
 * a file in which room is being reserved waits as well. So the loop reserves nothing, as a rule: when the room in its
 * segment is used up, it goes on in the next one, which this thread has ready. How big that is depends on how soon the
 * one before was wanted. When there's no room left at all, the thread goes on asking for some.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_JOURNALROOM_H
#define CKV_STORE_JOURNALROOM_H

#include <stdbool.h>
#include <stdint.h>

#include "store/ckj.h"

/* Starts the thread; false: it can't be started, and *error says why (g_free it). Nothing is to have more room than a
 * segment that is finished: so many bytes. */
bool room_start(uint64_t segment_bytes, char **error);
/* Ends it as soon as it has done what it's at; the file goes, too. No harm without a start. */
void room_stop(void);
/* The same, but doesn't wait for it. */
void room_leave(void);

/* The file is to be there soon. */
void room_want(void);
/* Where the file is: nobody else's, since two processes may be at it when one takes over from another. It has no head
 * yet, nothing but room. */
const char *room_path(void);
/* The descriptor of the file, which is the caller's now, as is its name, and its room, which is `least` bytes or more.
 * -1: there's none. */
int room_take(uint64_t least, uint64_t *bytes);
/* Removes the file: the disk is full, and its room is wanted elsewhere. False: there was none. */
bool room_give_back(void);

/* The disk is full, and who asks for room may wait for long, since the file system looks everywhere for some: the
 * thread is to reserve the room of the segment at `path` from `at` to `most`, or at least to `end`. What was wanted
 * before is forgotten. */
void room_grow(const char *path, uint64_t at, uint64_t end, uint64_t most);
typedef enum RoomGrowth {
    ROOM_NOT_WANTED,
    ROOM_WANTED,
    ROOM_GROWING, /* the thread is at it */
    ROOM_GROWN,
    ROOM_FAILED, /* errno says why */
} RoomGrowth;
/* What has become of that: ROOM_GROWN, up to *end; or what it's to be. That it has ended is said once. */
RoomGrowth room_growth(uint64_t *end);
/* What becomes of it is of no use: the segment was made shorter. */
void room_forget_growth(void);

#endif
