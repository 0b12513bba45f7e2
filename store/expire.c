/* expire.c: see expire.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/expire.h"

#include "base/clock.h"
#include "base/prefetch.h"
#include "base/random.h"
#include "store/checkpoint.h"
#include "store/keyspace.h"

/* Entries in a chunk of a slot's list; the first chunk starts with room for CHUNK_FIRST. */
#define CHUNK_BITS  9
#define WHEEL_CHUNK (1U << CHUNK_BITS)
#define CHUNK_FIRST 4

/* How far ahead in a slot entries are prefetched: each one visited is a cache miss otherwise. */
#define VISIT_AHEAD 8

/* Entries looked at to answer "nearly", and for the average time to live. */
#define SAMPLES 16

/* Expired keys whose table buckets are fetched together, and wheel steps for one database at a time. */
#define EXPIRE_BATCH 16
#define EXPIRE_STEPS 128

/* ---- slots ---- */

static Entry **slot_place(const WheelSlot *slot, uint32_t index)
{
    return &slot->chunks[index >> CHUNK_BITS][index % WHEEL_CHUNK];
}

static void slot_grow(WheelSlot *slot)
{
    uint32_t chunks = slot->cap >> CHUNK_BITS;
    if (chunks == 0) {
        if (slot->cap == 0) slot->chunks = g_new0(Entry **, 1);
        slot->cap = slot->cap == 0 ? CHUNK_FIRST : slot->cap * 2;
        slot->chunks[0] = g_renew(Entry *, slot->chunks[0], slot->cap);
        return;
    }
    bool full = (chunks & (chunks - 1)) == 0; /* the list of chunks has a power of two of them */
    if (full) slot->chunks = g_renew(Entry **, slot->chunks, chunks * 2);
    slot->chunks[chunks] = g_new(Entry *, WHEEL_CHUNK);
    slot->cap += WHEEL_CHUNK;
}

static void slot_free(WheelSlot *slot)
{
    for (uint32_t first = 0; first < slot->cap; first += WHEEL_CHUNK)
        g_free(slot->chunks[first >> CHUNK_BITS]);
    g_free(slot->chunks);
    *slot = (WheelSlot){ NULL, 0, 0 };
}

/* Gives back the last chunk when the one before it isn't full either, so that it doesn't come and go. */
static void slot_shrink(WheelSlot *slot)
{
    if (slot->count == 0) {
        slot_free(slot);
    } else if (slot->cap > WHEEL_CHUNK && slot->count <= slot->cap - 2 * WHEEL_CHUNK) {
        slot->cap -= WHEEL_CHUNK;
        g_free(slot->chunks[slot->cap >> CHUNK_BITS]);
    }
}

/* ---- adding and removing ---- */

/* Level and slot, in one number, of a deadline as seen from the wheel's time. One that has passed goes where the next
 * visit looks first. */
static uint32_t wheel_place(const Wheel *wheel, int64_t at_ms)
{
    uint64_t now = (uint64_t)wheel->now_ms, at = (uint64_t)MAX(at_ms, wheel->now_ms), diff = at ^ now;
    uint32_t level = diff == 0 ? 0 : (63 - (uint32_t)__builtin_clzll(diff)) / WHEEL_BITS;
    if (level < WHEEL_LEVELS) return level * WHEEL_SLOTS + ((at >> (level * WHEEL_BITS)) % WHEEL_SLOTS);
    level = WHEEL_LEVELS - 1;
    uint64_t turns = at >> (level * WHEEL_BITS), now_turns = now >> (level * WHEEL_BITS);
    uint64_t farthest = now_turns + WHEEL_SLOTS - 1;
    return level * WHEEL_SLOTS + (uint32_t)(MIN(turns, farthest) % WHEEL_SLOTS);
}

static WheelSlot *wheel_slot(Wheel *wheel, uint32_t place)
{
    return &wheel->slot[place / WHEEL_SLOTS][place % WHEEL_SLOTS];
}

void wheel_init(Wheel *wheel, int64_t now_ms)
{
    *wheel = (Wheel){ .now_ms = now_ms };
}

void wheel_free(Wheel *wheel)
{
    for (uint32_t place = 0; place < WHEEL_LEVELS * WHEEL_SLOTS; place++)
        slot_free(wheel_slot(wheel, place));
}

bool wheel_free_some(Wheel *wheel, size_t blocks)
{
    for (uint32_t place = 0; place < WHEEL_LEVELS * WHEEL_SLOTS; place++) {
        WheelSlot *slot = wheel_slot(wheel, place);
        for (; slot->cap > WHEEL_CHUNK; slot->cap -= WHEEL_CHUNK) {
            if (blocks-- == 0) return true;
            g_free(slot->chunks[(slot->cap - 1) >> CHUNK_BITS]);
        }
        slot_free(slot);
    }
    return false;
}

void wheel_add(Wheel *wheel, Entry *entry)
{
    Deadline *deadline = entry_deadline_block(entry);
    uint32_t place = wheel_place(wheel, deadline->at_ms);
    WheelSlot *slot = wheel_slot(wheel, place);
    if (slot->count == slot->cap) slot_grow(slot);
    deadline->slot = place;
    deadline->index = slot->count;
    *slot_place(slot, slot->count++) = entry;
    wheel->occupied[place / WHEEL_SLOTS] |= 1ULL << (place % WHEEL_SLOTS);
    wheel->level_count[place / WHEEL_SLOTS]++;
    wheel->count++;
}

void wheel_remove(Wheel *wheel, Entry *entry)
{
    Deadline *deadline = entry_deadline_block(entry);
    uint32_t place = deadline->slot;
    WheelSlot *slot = wheel_slot(wheel, place);
    g_assert(deadline->index < slot->count && *slot_place(slot, deadline->index) == entry);
    Entry *last = *slot_place(slot, --slot->count);
    if (last != entry) {
        *slot_place(slot, deadline->index) = last;
        entry_deadline_block(last)->index = deadline->index;
    }
    slot_shrink(slot);
    if (slot->count == 0) wheel->occupied[place / WHEEL_SLOTS] &= ~(1ULL << (place % WHEEL_SLOTS));
    wheel->level_count[place / WHEEL_SLOTS]--;
    wheel->count--;
}

void wheel_moved(Wheel *wheel, Entry *entry)
{
    const Deadline *deadline = entry_deadline_block(entry);
    *slot_place(wheel_slot(wheel, deadline->slot), deadline->index) = entry;
}

/* ---- handing out ---- */

static uint64_t rotate_right(uint64_t bits, uint64_t by)
{
    by %= 64;
    return by == 0 ? bits : bits >> by | bits << (64 - by);
}

/* The time at which an occupied slot of the level is reached next. The slot that the wheel's time is in was visited
 * when the time entered it, so it's next only after a whole turn, unless the time is just entering it. */
static uint64_t level_next_visit(const Wheel *wheel, uint32_t level, uint32_t *place)
{
    uint64_t now = (uint64_t)wheel->now_ms, turns = now >> (level * WHEEL_BITS);
    bool entering = turns << (level * WHEEL_BITS) == now;
    uint64_t first = entering ? turns : turns + 1;
    uint64_t visit = first + (uint64_t)__builtin_ctzll(rotate_right(wheel->occupied[level], first));
    *place = level * WHEEL_SLOTS + (uint32_t)(visit % WHEEL_SLOTS);
    return visit << (level * WHEEL_BITS);
}

/* The slot to be visited next and when; UINT64_MAX: none. */
static uint64_t wheel_next_visit(const Wheel *wheel, uint32_t *place)
{
    uint64_t soonest = UINT64_MAX;
    for (uint32_t level = 0; level < WHEEL_LEVELS && soonest != (uint64_t)wheel->now_ms; level++) {
        if (wheel->occupied[level] == 0) continue;
        uint32_t candidate;
        uint64_t visit = level_next_visit(wheel, level, &candidate);
        if (visit >= soonest) continue;
        soonest = visit;
        *place = candidate;
    }
    return soonest;
}

Entry *wheel_next(Wheel *wheel, int64_t now_ms, int *steps)
{
    if (now_ms < wheel->now_ms) wheel->now_ms = now_ms;
    while (*steps > 0) {
        uint32_t place = 0;
        uint64_t visit = wheel_next_visit(wheel, &place);
        if (visit > (uint64_t)now_ms) {
            wheel->now_ms = now_ms;
            return NULL;
        }
        wheel->now_ms = (int64_t)visit;
        (*steps)--;
        WheelSlot *slot = wheel_slot(wheel, place);
        if (slot->count > VISIT_AHEAD) prefetch(*slot_place(slot, slot->count - 1 - VISIT_AHEAD));
        Entry *entry = *slot_place(slot, slot->count - 1);
        wheel_remove(wheel, entry);
        if (entry_deadline_block(entry)->at_ms <= now_ms) return entry;
        wheel_add(wheel, entry);
    }
    return NULL;
}

/* ---- sampling ---- */

Entry *wheel_random(const Wheel *wheel)
{
    if (wheel->count == 0) return NULL;
    uint64_t left = random_below(wheel->count);
    uint32_t level = 0;
    while (left >= wheel->level_count[level])
        left -= wheel->level_count[level++];
    uint64_t slots = wheel->occupied[level];
    while (left >= wheel->slot[level][__builtin_ctzll(slots)].count) {
        left -= wheel->slot[level][__builtin_ctzll(slots)].count;
        slots &= slots - 1;
    }
    return *slot_place(&wheel->slot[level][__builtin_ctzll(slots)], (uint32_t)left);
}

Entry *wheel_soonest(const Wheel *wheel)
{
    uint32_t place;
    if (wheel_next_visit(wheel, &place) == UINT64_MAX) return NULL;
    const WheelSlot *slot = &wheel->slot[place / WHEEL_SLOTS][place % WHEEL_SLOTS];
    Entry *soonest = *slot_place(slot, 0);
    for (uint32_t i = 1; i < MIN(slot->count, SAMPLES); i++) {
        Entry *entry = *slot_place(slot, i);
        if (entry_deadline(entry) < entry_deadline(soonest)) soonest = entry;
    }
    return soonest;
}

int64_t wheel_average_ttl(const Wheel *wheel, int64_t now_ms)
{
    if (wheel->count == 0) return 0;
    int64_t sum = 0;
    for (int i = 0; i < SAMPLES; i++)
        sum += MAX(entry_deadline(wheel_random(wheel)) - now_ms, 0) / SAMPLES;
    return sum;
}

/* ---- active expiry ---- */

/* Deletes what has expired in one database, within EXPIRE_STEPS and what a running checkpoint leaves of the turn. True
 * if more is due. */
static bool expire_slice(Db *db, bool *turn_ends)
{
    int steps = EXPIRE_STEPS;
    Entry *due[EXPIRE_BATCH];
    size_t count;
    do {
        int64_t before_us = checkpoint_turn_us();
        count = 0;
        while (count < EXPIRE_BATCH && (due[count] = wheel_next(&db->wheel, clock_unix_ms, &steps)) != NULL)
            keyspace_prefetch(db, entry_key(due[count++]));
        for (size_t i = 0; i < count; i++)
            keyspace_expire(db, due[i]);
        *turn_ends = checkpoint_ends_turn(before_us);
    } while (count == EXPIRE_BATCH && !*turn_ends);
    return steps == 0;
}

bool expire_run(Keyspace *keyspace, int64_t budget_us)
{
    if (keyspace->expire_paused || keyspace->keep_expired || keyspace->hide_expired) return false;
    int64_t start_us = clock_now_us();
    bool more, turn_ends;
    do {
        more = false;
        for (int i = 0; i < keyspace->db_count; i++) {
            unsigned next = keyspace->expire_next++ % (unsigned)keyspace->db_count;
            more |= expire_slice(&keyspace->dbs[next], &turn_ends);
            if (turn_ends) return true;
        }
    } while (more && clock_now_us() - start_us < budget_us);
    return more;
}
