/* evict.c: see evict.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/evict.h"

#include "base/clock.h"
#include "base/options.h"
#include "base/prefetch.h"
#include "base/random.h"
#include "store/checkpoint.h"
#include "store/grave.h"
#include "store/journal.h"
#include "store/mem.h"

/* Redis' MAXMEMORY_EVICTION_POOL_SIZE. */
#define POOL_KEYS 16

/* A turn's time, and the keys between two looks at the clock: one, if each may have a page saved for a checkpoint. */
#define TURN_US_MAX    1000
#define EVICT_PER_LOOK 16

static struct {
    int64_t us;  /* that it took, without what was within the limit before a look at the clock was due */
    bool cut;    /* the last call ended for want of time, */
    bool behind; /* and so did the last one for a command that needs memory */
} this_turn;

/* A key that may go soon. */
typedef struct Candidate {
    int db;
    uint64_t idle_ms; /* when it was drawn */
    char *key;        /* a copy, owned */
    size_t len;
} Candidate;

typedef struct EvictPool {
    Candidate candidates[POOL_KEYS]; /* the idlest last */
    size_t count;
} EvictPool;

/* ---- drawing ---- */

static size_t db_candidates(const Db *db, bool expiring)
{
    return expiring ? db->wheel.count : keyspace_size(db);
}

/* A database, with a chance in proportion to its candidates; NULL: there are none. */
static Db *draw_db(Keyspace *keyspace, bool expiring)
{
    size_t total = 0;
    for (int i = 0; i < keyspace->db_count; i++)
        total += db_candidates(&keyspace->dbs[i], expiring);
    if (total == 0) return NULL;
    uint64_t left = random_below(total);
    Db *db = keyspace->dbs;
    while (left >= db_candidates(db, expiring))
        left -= db_candidates(db++, expiring);
    return db;
}

/* Some random keys of any database. */
typedef struct Samples {
    size_t count;
    Db *db; /* being drawn from */
    struct {
        const Db *db;
        const Entry *entry;
    } keys[POOL_KEYS];
} Samples;

static void samples_add(void *element, void *context)
{
    Samples *samples = context;
    if (samples->count == POOL_KEYS) return;
    samples->keys[samples->count].db = samples->db;
    samples->keys[samples->count++].entry = element;
    prefetch(element);
}

/* Draws at least `wanted` <= POOL_KEYS keys, if there are any: of the table whole buckets, which takes a miss for each
 * bucket instead of several for each key, and is as good, since what shares a bucket has nothing else in common. (A
 * bucket's number is also the cursor of a scan that begins with it.) */
static Samples draw_samples(Keyspace *keyspace, bool expiring, size_t wanted)
{
    Samples samples = { .count = 0 };
    while (samples.count < wanted && (samples.db = draw_db(keyspace, expiring)) != NULL) {
        if (expiring) {
            samples_add(wheel_random(&samples.db->wheel), &samples);
        } else {
            keyspace_scan(samples.db, random_below(samples.db->table.buckets), samples_add, &samples);
        }
    }
    return samples;
}

/* ---- the pool ---- */

static void pool_drop(EvictPool *pool, size_t index)
{
    g_free(pool->candidates[index].key);
    pool->count--;
    memmove(&pool->candidates[index], &pool->candidates[index + 1], sizeof(Candidate) * (pool->count - index));
}

static void pool_offer(EvictPool *pool, const Db *db, const Entry *entry)
{
    uint64_t idle_ms = keyspace_idle_ms(entry);
    if (pool->count == POOL_KEYS) {
        if (idle_ms <= pool->candidates[0].idle_ms) return;
        pool_drop(pool, 0);
    }
    size_t place = pool->count;
    while (place > 0 && pool->candidates[place - 1].idle_ms > idle_ms)
        place--;
    memmove(&pool->candidates[place + 1], &pool->candidates[place], sizeof(Candidate) * (pool->count - place));
    char *copy = g_malloc(entry->key_len + 1U); /* NULL isn't what an empty key is found by */
    memcpy(copy, entry_key_bytes(entry), entry->key_len);
    pool->candidates[place] = (Candidate){ db->index, idle_ms, copy, entry->key_len };
    pool->count++;
}

/* Takes the idlest out of the pool: one that is still there, may go, and wasn't used since. NULL: the pool is empty. */
static Entry *pool_take(Keyspace *keyspace, bool expiring, Db **db)
{
    EvictPool *pool = keyspace->evict_pool;
    while (pool->count > 0) {
        const Candidate *idlest = &pool->candidates[pool->count - 1];
        *db = &keyspace->dbs[idlest->db];
        uint64_t idle_ms = idlest->idle_ms;
        Entry *entry = keyspace_peek(*db, (Slice){ idlest->key, idlest->len });
        pool_drop(pool, pool->count - 1);
        if (entry != NULL && (entry->expires || !expiring) && keyspace_idle_ms(entry) >= idle_ms) return entry;
    }
    return NULL;
}

void evict_forget(Keyspace *keyspace)
{
    if (keyspace->evict_pool == NULL) return;
    while (keyspace->evict_pool->count > 0)
        pool_drop(keyspace->evict_pool, 0);
    g_clear_pointer(&keyspace->evict_pool, g_free);
}

/* ---- the policies: each chooses a key, or says that there's none ---- */

static Entry *choose_idlest(Keyspace *keyspace, bool expiring, Db **db)
{
    if (keyspace->evict_pool == NULL) keyspace->evict_pool = g_new0(EvictPool, 1);
    for (;;) {
        for (int64_t left = options.maxmemory_samples; left > 0; left -= POOL_KEYS) {
            Samples samples = draw_samples(keyspace, expiring, (size_t)MIN(left, POOL_KEYS));
            if (samples.count == 0) return NULL;
            for (size_t i = 0; i < samples.count; i++)
                pool_offer(keyspace->evict_pool, samples.keys[i].db, samples.keys[i].entry);
        }
        /* Nothing is left of an outdated pool after one failure, so the next round's samples do. */
        Entry *idlest = pool_take(keyspace, expiring, db);
        if (idlest != NULL) return idlest;
    }
}

static Entry *choose_any(Keyspace *keyspace, bool expiring, Db **db)
{
    *db = draw_db(keyspace, expiring);
    if (*db == NULL) return NULL;
    return expiring ? wheel_random(&(*db)->wheel) : table_random(&(*db)->table);
}

static Entry *choose_soonest(Keyspace *keyspace, bool expiring, Db **db)
{
    (void)expiring;
    Entry *soonest = NULL;
    for (int i = 0; i < keyspace->db_count; i++) {
        Entry *entry = wheel_soonest(&keyspace->dbs[i].wheel);
        if (entry == NULL || (soonest != NULL && entry_deadline(entry) >= entry_deadline(soonest))) continue;
        soonest = entry;
        *db = &keyspace->dbs[i];
    }
    return soonest;
}

static const struct {
    Entry *(*choose)(Keyspace *keyspace, bool expiring, Db **db);
    bool expiring;
} policies[] = {
    [EVICT_VOLATILE_LRU] = { choose_idlest, true },  [EVICT_VOLATILE_RANDOM] = { choose_any, true },
    [EVICT_VOLATILE_TTL] = { choose_soonest, true }, [EVICT_ALLKEYS_LRU] = { choose_idlest, false },
    [EVICT_ALLKEYS_RANDOM] = { choose_any, false },  [EVICT_NONE] = { NULL, false },
};

static bool evict_one(Keyspace *keyspace)
{
    if (policies[options.maxmemory_policy].choose == NULL) return false;
    Db *db;
    Entry *entry =
        policies[options.maxmemory_policy].choose(keyspace, policies[options.maxmemory_policy].expiring, &db);
    if (entry != NULL) keyspace_evict(db, entry);
    return entry != NULL;
}

size_t evict_used(void)
{
    size_t passing = checkpoint_waiting_bytes(); /* before mem_used, as another thread may free some of it */
    if (journal_is_open()) passing += journal_pending_bytes();
    size_t used = mem_used();
    return used > passing ? used - passing : 0;
}

bool evict_is_pressed(void)
{
    return this_turn.us >= TURN_US_MAX;
}

static bool is_over_limit(void)
{
    return options.maxmemory != 0 && evict_used() > (size_t)options.maxmemory;
}

bool evict_run(Keyspace *keyspace)
{
    this_turn.cut = false;
    if (!is_over_limit()) return true;
    int64_t began_us = clock_now_us() - this_turn.us;
    unsigned per_look = checkpoint_is_walking() ? 1 : EVICT_PER_LOOK;
    for (unsigned round = 1; !this_turn.cut && is_over_limit(); round++) {
        /* What was deleted makes room before any other key has to go. */
        bool dug = grave_bytes() > 0;
        if (dug)
            grave_step(0);
        else if (!evict_one(keyspace))
            return false;
        if (!dug && round % per_look != 0) continue;
        this_turn.us = clock_now_us() - began_us;
        this_turn.cut = evict_is_pressed();
    }
    return true;
}

bool evict_for_command(Keyspace *keyspace)
{
    bool may_go_on = evict_run(keyspace);
    this_turn.behind = this_turn.cut;
    return may_go_on;
}

bool evict_is_behind(void)
{
    return this_turn.behind;
}

void evict_end_turn(void)
{
    this_turn.us = 0;
    this_turn.cut = this_turn.behind = false;
}
