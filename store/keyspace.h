/* keyspace.h: the databases: look-up for reading, look-up for writing, storing, deleting. Commands change data only
 * through here and through the value types.
 *
 * The rules, on which the journal, the checkpoints and WATCH rest:
 *  - Whoever is about to change a key's value, in any way, got the entry from keyspace_write or says so with
 * keyspace_will_change (or stores with a keyspace_put…).
 *  - Whoever changed one says so afterwards with keyspace_changed.
 *  - An Entry pointer is good until the next keyspace_… call that writes: storing moves entries.
 *  - An empty collection doesn't exist: who took the last element deletes the key.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_KEYSPACE_H
#define CKV_STORE_KEYSPACE_H

#include <glib.h>

#include "store/entry.h"
#include "store/expire.h"
#include "store/table.h"

/* The longest string value: 32 MB, the contract's. */
#define KEYSPACE_STRING_MAX 33554432

typedef struct Keyspace Keyspace;

typedef struct Db {
    Keyspace *keyspace;
    int index;
    Table table;
    Wheel wheel;           /* the keys that expire, by deadline */
    struct PageMap *pages; /* what checkpoints have yet to save; NULL: there was no change, or data isn't kept */
    Table *large;          /* large.c's; NULL: none */
    bool own_records;      /* the checkpoint files may have pages of a collection of it */
} Db;

/* What the rest of the server wants to hear. Each may be NULL. Called from inside keyspace functions: the hooks mustn't
 * change data. */
typedef struct KeyspaceHooks {
    void (*changed)(Db *db, Slice key); /* after a write, see keyspace_changed */
    void (*expired)(Db *db, Slice key); /* before an expired key is deleted */
    void (*evicted)(Db *db, Slice key); /* before a key is deleted to make room */
} KeyspaceHooks;

struct Keyspace {
    int db_count;
    Db *dbs;
    KeyspaceHooks hooks;
    bool keep_expired;            /* see keyspace_keep_expired */
    bool hide_expired;            /* see keyspace_hide_expired */
    bool expire_paused;           /* DEBUG SET-ACTIVE-EXPIRE 0: keys are gone when touched, not before */
    unsigned expire_next;         /* the database that expire_run looks at next, modulo their number */
    uint64_t hits, misses;        /* keyspace_read and keyspace_look */
    uint64_t expired, evicted;    /* keys */
    uint64_t changes;             /* since start: rdb_changes_since_last_save */
    uint64_t announced;           /* changes that were about to happen, also by what nobody asked for, as expiry */
    struct EvictPool *evict_pool; /* evict.c's; NULL: none yet */
    bool tracked;                 /* changes are noted for checkpoints */
};

Keyspace *keyspace_new(int db_count);
void keyspace_free(Keyspace *keyspace);

/* The entry, or NULL. Deletes the key if its deadline has passed. `read` counts a hit or miss and refreshes the entry's
 * access time; `write` announces a change that is about to happen and refreshes the access time, `write_type` as well,
 * but announces nothing if the value has another type; `use` refreshes the access time only: for what changes the value
 * perhaps; `look` counts a hit or miss only (TTL, TYPE); `peek` does nothing of all that (OBJECT, EXISTS, KEYS). */
Entry *keyspace_read(Db *db, Slice key);
Entry *keyspace_write(Db *db, Slice key);
Entry *keyspace_write_type(Db *db, Slice key, ValueType type);
Entry *keyspace_use(Db *db, Slice key);
Entry *keyspace_look(Db *db, Slice key);
Entry *keyspace_peek(Db *db, Slice key);
/* Announces the change of an entry from keyspace_use. A long string that a running checkpoint has yet to copy is copied
 * now, which takes milliseconds: so who may have nothing to change finds that out before. */
void keyspace_will_change(Db *db, Slice key, const Entry *entry);
/* The entry or NULL, even if its deadline has passed: nothing is changed or noted. */
Entry *keyspace_find(const Db *db, Slice key);

/* Stores a value under the key, whatever was there; the key no longer expires. They return the entry. A string of at
 * most 20 bytes that is a canonical integer is held as one. `value` is copied and may be a slice of the entry that it
 * replaces. */
Entry *keyspace_put_string(Db *db, Slice key, Slice value);
Entry *keyspace_put_int(Db *db, Slice key, int64_t value);
/* As keyspace_put_string, but the key expires (unix ms): SETEX, in one allocation. */
Entry *keyspace_put_string_until(Db *db, Slice key, Slice value, int64_t at_ms);
/* A string of `len` zero bytes, never held as an integer, for the caller to fill. */
Entry *keyspace_put_zeros(Db *db, Slice key, size_t len);
/* The same in two steps, for a value made from others, which stay until the second: an entry with any bytes, to be
 * filled, and its storing. */
Entry *keyspace_new_string(Slice key, size_t len);
void keyspace_put_entry(Db *db, Entry *entry);
/* Takes the collection. */
Entry *keyspace_put_object(Db *db, Slice key, ValueType type, void *object);

/* Replaces the value of an entry from keyspace_write, of string type; the deadline stays. For INCR and the like. */
Entry *keyspace_replace_string(Db *db, Entry *entry, Slice value);
Entry *keyspace_replace_int(Db *db, Entry *entry, int64_t value);

/* Makes a string entry (from keyspace_write) hold `len` raw bytes and returns it, moved or not: the old bytes stay, new
 * ones are zero. What grows gets room to grow again (twice its size, at most 1 MB more), so appending is linear. len <=
 * KEYSPACE_STRING_MAX. */
Entry *keyspace_resize_string(Db *db, Entry *entry, size_t len);

/* Deletes; false if there was no such key. Here and wherever a value goes, a big collection is freed later (grave.h).
 */
bool keyspace_delete(Db *db, Slice key);

/* Gives the entry another key (and database): the value and the deadline move along; whatever was at the new key is
 * gone. */
Entry *keyspace_rename(Db *from, Entry *entry, Db *to, Slice key);

/* Sets (unix ms) or, with -1, removes the deadline; returns the entry, moved or not. */
Entry *keyspace_set_deadline(Db *db, Entry *entry, int64_t at_ms);

/* After a change to the key: counts it and tells the hook. */
void keyspace_changed(Db *db, Slice key);

/* Keys in the database, expired ones that are still there included, as DBSIZE says. */
size_t keyspace_size(const Db *db);

/* Empties one database, whose keys are freed later if they're many (grave.h). Returns the number of keys that were
 * there. */
size_t keyspace_flush(Db *db);

/* The table and the wheel get the room for so many keys at once: before many are loaded. */
void keyspace_reserve(Db *db, size_t keys);

typedef struct EntryFacts {
    int64_t deadline_ms; /* -1: none */
    uint32_t lru;
} EntryFacts;

/* Adds a key as a checkpoint has it: only while loading, without any announcement. The value's bytes are copied. False:
 * the key is there already. */
bool keyspace_load_string(Db *db, Slice key, const EntryFacts *facts, StringEncoding encoding, Slice value);
/* The same for a string that is held as keyspace_put_string would hold it. */
bool keyspace_load_text(Db *db, Slice key, const EntryFacts *facts, Slice text);
/* Takes the collection. */
bool keyspace_load_object(Db *db, Slice key, const EntryFacts *facts, ValueType type, void *object);

/* A random key that hasn't expired, or NULL. */
Entry *keyspace_random(Db *db);

/* Deletes an entry whose deadline has passed and that was taken out of the wheel (wheel_next), or one that makes room;
 * counts it and tells the hook. */
void keyspace_expire(Db *db, Entry *entry);
void keyspace_evict(Db *db, Entry *entry);

/* Visits one bucket's entries, expired ones included; see table_scan. */
uint64_t keyspace_scan(const Db *db, uint64_t cursor, TableVisit visit, void *context);

/* Moves the memory of an entry and of its value, if it's a small one, to where it wastes less (mem_move). Nothing else
 * changes. False: neither moved. */
bool keyspace_settle(Db *db, Entry *entry);

/* While `keep`, no key expires by itself, wherever it is: for running the journal again, which says itself what went.
 */
void keyspace_keep_expired(Keyspace *ks, bool keep);

/* While `hide`, keys whose time is over stay, but look-ups answer as if they were gone: a slave's, whose master says
 * when they go. While they're kept as well, that counts. */
void keyspace_hide_expired(Keyspace *ks, bool hide);

/* Whether the deadline has passed at clock_unix_ms. */
bool keyspace_is_expired(const Entry *entry);

/* Two passes that hide memory latency for a batch of look-ups: first hash the keys and prefetch their buckets, then,
 * when those are there and before anything is stored, their entries. */
typedef struct KeyPlace {
    uint64_t hash;
    const Bucket *bucket;
} KeyPlace;
static inline KeyPlace keyspace_prefetch(const Db *db, Slice key)
{
    uint64_t hash = table_hash(key);
    return (KeyPlace){ hash, table_prefetch(&db->table, hash) };
}
static inline void keyspace_prefetch_entry(KeyPlace place)
{
    table_prefetch_element(place.bucket, place.hash);
}

/* Remembers the hash of the key at this address, so that the look-up that follows need not compute it again. */
typedef struct KeyspaceExpected {
    Slice key;
    uint64_t hash;
} KeyspaceExpected;
extern KeyspaceExpected keyspace_expected;
static inline void keyspace_expect(Slice key, uint64_t hash)
{
    keyspace_expected = (KeyspaceExpected){ key, hash };
}

/* Whether a checkpoint has the page of a key that's about to change saved first. For that all elements of the page are
 * looked at: the same two passes for these, the second in the place of keyspace_prefetch_entry. */
bool keyspace_saves_page(const Db *db, uint64_t hash);
void keyspace_prefetch_page(const Db *db, uint64_t hash);
void keyspace_prefetch_page_entries(const Db *db, uint64_t hash);
/* pages_save_in_time for the key's page. */
bool keyspace_save_page(Db *db, Slice key);

/* The clock of Entry.lru: seconds since start of time, modulo 2^24. And how long ago the entry was used, in ms (OBJECT
 * IDLETIME, eviction). */
uint32_t keyspace_lru_clock(void);
uint64_t keyspace_idle_ms(const Entry *entry);

#endif
