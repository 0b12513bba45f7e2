/* expire.h: deadlines: a timing wheel for each database, so that an expired key is gone within 100 ms and costs nothing
 * until then. Only the keyspace and eviction call it, and the loop's timer.
 *
 * Design. A hierarchical timing wheel (Varghese and Lauck 1987): levels of 64 slots, one slot of level L spanning 64^L
 * ms. An entry waits at the level of the highest six bits in which its deadline differs from the wheel's time, in the
 * slot that those bits of the deadline name. When the time reaches a slot of a higher level its entries are placed
 * again, further down ("cascade"), or handed out if they are due. A slot lists its entries in chunks, and an entry
 * knows its slot and its index there (Deadline), so adding, removing and moving are constant time, nothing stale stays,
 * and no growth copies more than one chunk. Work is done in bounded slices and resumes where it stopped.
 *
 * Whoever visits a slot looks at each entry's own deadline, so a visit that comes too early does no harm. Thus a clock
 * that steps back only sets the wheel's time back (and what was just due may wait for one turn of the lowest level, 64
 * ms); and a deadline beyond the last level's reach waits in the slot that is visited last and is placed again from
 * there.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_EXPIRE_H
#define CKV_STORE_EXPIRE_H

#include <glib.h>

#include "store/entry.h"

#define WHEEL_BITS   6
#define WHEEL_SLOTS  (1 << WHEEL_BITS)
#define WHEEL_LEVELS 8

typedef struct WheelSlot {
    Entry ***chunks; /* each of WHEEL_CHUNK entries (expire.c), but the first grows up to that */
    uint32_t count, cap;
} WheelSlot;

typedef struct Wheel {
    int64_t now_ms;                   /* every entry with an earlier deadline has been handed out */
    size_t count;                     /* entries held */
    size_t level_count[WHEEL_LEVELS]; /* of these, at each level */
    uint64_t occupied[WHEEL_LEVELS];  /* a bit for each slot that isn't empty */
    WheelSlot slot[WHEEL_LEVELS][WHEEL_SLOTS];
} Wheel;

void wheel_init(Wheel *wheel, int64_t now_ms);
/* Frees the wheel's own memory. The entries are not touched. */
void wheel_free(Wheel *wheel);
/* The same in slices of so many blocks, for a wheel that isn't used any more: true while something is left. */
bool wheel_free_some(Wheel *wheel, size_t blocks);

/* The entry (with a deadline block, at_ms filled in) starts, or stops, being watched. */
void wheel_add(Wheel *wheel, Entry *entry);
void wheel_remove(Wheel *wheel, Entry *entry);

/* The entry was reallocated: `entry` is its new place, its deadline block came along. */
void wheel_moved(Wheel *wheel, Entry *entry);

/* Hands out entries whose deadline is <= now_ms (takes them out of the wheel first), until there are none left (returns
 * NULL) or `*steps` (entries looked at, cascades included, counted down) is used up (returns NULL too). */
Entry *wheel_next(Wheel *wheel, int64_t now_ms, int *steps);

/* An entry that expires, each with the same probability, or NULL; and the one (nearly) closest to its deadline: for
 * eviction. */
Entry *wheel_random(const Wheel *wheel);
Entry *wheel_soonest(const Wheel *wheel);

/* The average time to live in ms for INFO's avg_ttl, from a sample; 0 if nothing expires. */
int64_t wheel_average_ttl(const Wheel *wheel, int64_t now_ms);

typedef struct Keyspace Keyspace;

/* One slice of active expiry over all databases: about `budget_us`, more only by the last few keys; less when a running
 * checkpoint has had its time in this turn of the loop, and the keys' pages are still to be saved for it. True if more
 * is due. */
bool expire_run(Keyspace *keyspace, int64_t budget_us);

#endif
