/* keyspace.c: see keyspace.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/keyspace.h"

#include <glib.h>

#include "base/clock.h"
#include "store/checkpoint.h"
#include "store/checkpointfile.h"
#include "store/evict.h"
#include "store/grave.h"
#include "store/large.h"
#include "store/mem.h"
#include "store/pages.h"

/* A string up to this long is reported as "embstr" while it's unmodified: Redis' limit
 * (OBJ_ENCODING_EMBSTR_SIZE_LIMIT). */
#define EMBEDDED_MAX 44

/* A string that grows gets as much room again, but no more than this. */
#define GROWTH_MAX (1024 * 1024)

/* An overwritten string stays where it is unless it would waste this much and more than half of its room. */
#define WASTE_MAX 64

/* ---- hashes ---- */

KeyspaceExpected keyspace_expected;

static inline uint64_t key_hash(Slice key)
{
    bool expected = key.ptr == keyspace_expected.key.ptr && key.len == keyspace_expected.key.len;
    return expected ? keyspace_expected.hash : table_hash(key);
}

bool keyspace_saves_page(const Db *db, uint64_t hash)
{
    return pages_saves(db->pages, hash);
}

void keyspace_prefetch_page(const Db *db, uint64_t hash)
{
    pages_prefetch(&db->table, db->pages->pending_bits, pages_page(db->pages, hash));
}

void keyspace_prefetch_page_entries(const Db *db, uint64_t hash)
{
    static GPtrArray *asked_for;
    if (asked_for == NULL) asked_for = g_ptr_array_new();
    pages_collect(&db->table, db->pages->pending_bits, pages_page(db->pages, hash), asked_for);
    g_ptr_array_set_size(asked_for, 0);
}

bool keyspace_save_page(Db *db, Slice key)
{
    return db->pages == NULL || db->pages->pending == NULL || pages_save_in_time(db->pages, key_hash(key));
}

static uint64_t entry_hash(const void *element)
{
    return table_hash(entry_key(element));
}

static bool entry_match(const void *element, Slice key)
{
    const Entry *entry = element;
    return entry->key_len == key.len && bytes_equal(entry_key_bytes(entry), key.ptr, key.len);
}

static inline __attribute__((always_inline)) Entry **find_slot(const Db *db, uint64_t hash, Slice key)
{
    return (Entry **)table_find(&db->table, hash, key, entry_match);
}

/* ---- announcing changes to checkpoints ---- */

/* Something under this hash is about to change: `entry`, or NULL if there's none yet. */
static void announce(Db *db, uint64_t hash, const Entry *entry)
{
    db->keyspace->announced++;
    if (db->pages == NULL) {
        if (!db->keyspace->tracked) return;
        db->pages = pages_new(&db->table, PAGE_ENTRIES, (uint64_t)db->index);
    }
    pages_touch(db->pages, hash);
    if (entry != NULL && entry->large) large_touch(db, entry_key(entry));
}

/* The same for what a look-up for a key found. */
static void announce_slot(Db *db, uint64_t hash, Entry **slot)
{
    announce(db, hash, slot == NULL ? NULL : *slot);
}

/* ---- making, moving and freeing entries ---- */

uint32_t keyspace_lru_clock(void)
{
    return (uint32_t)(clock_unix_ms / 1000) & 0xFFFFFF;
}

uint64_t keyspace_idle_ms(const Entry *entry)
{
    return (uint64_t)((keyspace_lru_clock() - entry->lru) & 0xFFFFFF) * 1000;
}

/* What comes before a string's bytes. */
static size_t entry_head_bytes(const Entry *entry)
{
    return sizeof(Entry) + (entry->expires ? sizeof(Deadline) : 0) + entry->key_len;
}

/* A new entry with room for `cap` value bytes, or more if the allocator rounds up; the caller sets the value. */
static Entry *entry_new(Slice key, ValueType type, bool expires, size_t cap)
{
    g_assert(key.len <= UINT32_MAX);
    size_t head = sizeof(Entry) + (expires ? sizeof(Deadline) : 0) + key.len;
    size_t bytes = mem_round(head + cap);
    Entry *entry = g_malloc(bytes);
    entry->key_len = (uint32_t)key.len;
    entry->lru = keyspace_lru_clock() & 0xFFFFFF;
    entry->type = type;
    entry->encoding = 0;
    entry->expires = expires;
    entry->large = 0;
    entry->str.len = 0;
    entry->str.cap = (uint32_t)(bytes - head);
    memcpy(entry_key_bytes(entry), key.ptr, key.len);
    return entry;
}

/* Whether checkpoints copy it in pieces, some time after its page. */
static bool is_copied_later(const Entry *entry)
{
    return entry->type == TYPE_STRING && entry->encoding != STRING_INT && entry->str.len > CHECKPOINT_COPIED_LATER;
}

static void entry_free(Entry *entry)
{
    if (G_UNLIKELY(is_copied_later(entry)) && checkpoint_adopt_string(entry)) return;
    if (entry->type != TYPE_STRING && !checkpoint_adopt(entry->type, entry->object))
        grave_take(entry->type, entry->object);
    g_free(entry);
}

/* Puts `entry` where `old` is; `old`'s memory is the caller's. The new entry is in the wheel if it expires. */
static void entry_swap(Db *db, Entry **slot, Entry *old, Entry *entry)
{
    if (old->large) large_forget(db, old);
    if (old->expires) wheel_remove(&db->wheel, old);
    *slot = entry;
    if (entry->expires) wheel_add(&db->wheel, entry);
}

static Entry **slot_of(const Db *db, const Entry *entry)
{
    Entry **slot = (Entry **)table_find_pointer(&db->table, entry_hash(entry), entry);
    g_assert(slot != NULL);
    return slot;
}

/* Out of the table and the wheel; the entry's memory is the caller's. */
static void entry_detach(Db *db, uint64_t hash, Entry **slot)
{
    Entry *entry = *slot;
    if (entry->large) large_forget(db, entry);
    if (entry->expires) wheel_remove(&db->wheel, entry);
    table_remove(&db->table, hash, (void **)slot);
}

/* ---- look-up ---- */

static bool keep_expired; /* of the keyspace that has it: an entry doesn't know its own */

void keyspace_keep_expired(Keyspace *ks, bool keep)
{
    ks->keep_expired = keep_expired = keep;
}

void keyspace_hide_expired(Keyspace *ks, bool hide)
{
    ks->hide_expired = hide;
}

bool keyspace_is_expired(const Entry *entry)
{
    return entry->expires && !keep_expired && entry_deadline_block(entry)->at_ms <= clock_unix_ms;
}

void keyspace_expire(Db *db, Entry *entry)
{
    db->keyspace->expired++;
    if (db->keyspace->hooks.expired != NULL) db->keyspace->hooks.expired(db, entry_key(entry));
    uint64_t hash = entry_hash(entry);
    announce(db, hash, entry);
    if (entry->large) large_forget(db, entry);
    table_remove(&db->table, hash, (void **)slot_of(db, entry));
    entry_free(entry);
}

void keyspace_evict(Db *db, Entry *entry)
{
    db->keyspace->evicted++;
    if (db->keyspace->hooks.evicted != NULL) db->keyspace->hooks.evicted(db, entry_key(entry));
    announce(db, entry_hash(entry), entry);
    entry_detach(db, entry_hash(entry), slot_of(db, entry));
    entry_free(entry);
}

/* The slot of a key that hasn't expired, or NULL. */
static inline __attribute__((always_inline)) Entry **find_live(Db *db, uint64_t hash, Slice key)
{
    Entry **slot = find_slot(db, hash, key);
    if (slot == NULL || G_LIKELY(!keyspace_is_expired(*slot))) return slot;
    if (db->keyspace->hide_expired) return NULL;
    wheel_remove(&db->wheel, *slot);
    keyspace_expire(db, *slot);
    return NULL;
}

Entry *keyspace_peek(Db *db, Slice key)
{
    Entry **slot = find_live(db, key_hash(key), key);
    return slot == NULL ? NULL : *slot;
}

Entry *keyspace_find(const Db *db, Slice key)
{
    Entry **slot = find_slot(db, key_hash(key), key);
    return slot == NULL ? NULL : *slot;
}

static Entry *entry_touch(Entry *entry)
{
    uint32_t now = keyspace_lru_clock();
    if (entry->lru != now) entry->lru = now & 0xFFFFFF;
    return entry;
}

Entry *keyspace_read(Db *db, Slice key)
{
    Entry **slot = find_live(db, key_hash(key), key);
    if (slot == NULL) {
        db->keyspace->misses++;
        return NULL;
    }
    db->keyspace->hits++;
    return entry_touch(*slot);
}

Entry *keyspace_look(Db *db, Slice key)
{
    Entry *entry = keyspace_peek(db, key);
    if (entry == NULL) {
        db->keyspace->misses++;
    } else {
        db->keyspace->hits++;
    }
    return entry;
}

Entry *keyspace_use(Db *db, Slice key)
{
    Entry *entry = keyspace_peek(db, key);
    return entry == NULL ? NULL : entry_touch(entry);
}

/* The value is about to change where it is. */
static void announce_value(Db *db, uint64_t hash, const Entry *entry)
{
    announce(db, hash, entry);
    if (G_UNLIKELY(is_copied_later(entry))) checkpoint_copy_string(entry, false);
}

Entry *keyspace_write(Db *db, Slice key)
{
    uint64_t hash = key_hash(key);
    Entry **slot = find_live(db, hash, key);
    if (slot == NULL) return NULL;
    announce_value(db, hash, *slot);
    return entry_touch(*slot);
}

Entry *keyspace_write_type(Db *db, Slice key, ValueType type)
{
    uint64_t hash = key_hash(key);
    Entry **slot = find_live(db, hash, key);
    if (slot == NULL) return NULL;
    if (G_LIKELY((*slot)->type == type)) announce_value(db, hash, *slot);
    return entry_touch(*slot);
}

void keyspace_will_change(Db *db, Slice key, const Entry *entry)
{
    announce_value(db, key_hash(key), entry);
}

/* So many hidden keys in a row, and there may be no others. */
#define RANDOM_HIDDEN_MAX 100

Entry *keyspace_random(Db *db)
{
    for (int hidden = 0; hidden < RANDOM_HIDDEN_MAX;) {
        Entry *entry = table_random(&db->table);
        if (entry == NULL || !keyspace_is_expired(entry)) return entry;
        if (db->keyspace->hide_expired) {
            hidden++;
            continue;
        }
        wheel_remove(&db->wheel, entry);
        keyspace_expire(db, entry);
    }
    return NULL;
}

uint64_t keyspace_scan(const Db *db, uint64_t cursor, TableVisit visit, void *context)
{
    return table_scan(&db->table, cursor, visit, context);
}

size_t keyspace_size(const Db *db)
{
    return db->table.count;
}

/* ---- storing ---- */

static bool fits_in_place(const Entry *entry, size_t len)
{
    if (entry->type != TYPE_STRING || entry->encoding == STRING_INT || len > entry->str.cap) return false;
    if (is_copied_later(entry) && checkpoint_needs_string(entry)) return false; /* its bytes stay as they are */
    size_t waste = entry->str.cap - len;
    return waste <= WASTE_MAX || waste <= entry->str.cap / 2;
}

/* Writes the bytes of a string that has room for them. They may be a part of its own. */
static void entry_write_string(Entry *entry, Slice value)
{
    memmove(entry_string_bytes(entry), value.ptr, value.len);
    entry->str.len = (uint32_t)value.len;
    entry->encoding = value.len <= EMBEDDED_MAX ? STRING_EMBEDDED : STRING_RAW;
}

static Entry *entry_new_string(Slice key, bool expires, Slice value)
{
    g_assert(value.len <= KEYSPACE_STRING_MAX);
    Entry *entry = entry_new(key, TYPE_STRING, expires, value.len);
    entry_write_string(entry, value);
    return entry;
}

static Entry *entry_new_int(Slice key, bool expires, int64_t value)
{
    Entry *entry = entry_new(key, TYPE_STRING, expires, 0);
    entry->encoding = STRING_INT;
    entry->number = value;
    return entry;
}

/* Stores an entry under its key: in the place of what was there, which is freed, or anew. */
static Entry *put_entry(Db *db, uint64_t hash, Entry **slot, Entry *entry)
{
    if (slot == NULL) {
        table_insert(&db->table, hash, entry);
        return entry;
    }
    Entry *old = *slot;
    entry_swap(db, slot, old, entry);
    entry_free(old);
    return entry;
}

Entry *keyspace_put_string(Db *db, Slice key, Slice value)
{
    int64_t number;
    if (number_parse_int(value, &number)) return keyspace_put_int(db, key, number);
    uint64_t hash = key_hash(key);
    Entry **slot = find_live(db, hash, key);
    announce_slot(db, hash, slot);
    if (slot != NULL && !(*slot)->expires && fits_in_place(*slot, value.len)) {
        entry_write_string(*slot, value);
        return entry_touch(*slot);
    }
    return put_entry(db, hash, slot, entry_new_string(key, false, value));
}

Entry *keyspace_put_int(Db *db, Slice key, int64_t value)
{
    uint64_t hash = key_hash(key);
    Entry **slot = find_live(db, hash, key);
    announce_slot(db, hash, slot);
    if (slot != NULL && !(*slot)->expires && (*slot)->type == TYPE_STRING && (*slot)->encoding == STRING_INT) {
        (*slot)->number = value;
        return entry_touch(*slot);
    }
    return put_entry(db, hash, slot, entry_new_int(key, false, value));
}

Entry *keyspace_put_string_until(Db *db, Slice key, Slice value, int64_t at_ms)
{
    int64_t number;
    bool is_int = number_parse_int(value, &number);
    uint64_t hash = key_hash(key);
    Entry **slot = find_live(db, hash, key);
    announce_slot(db, hash, slot);
    if (slot != NULL && (*slot)->expires && !is_int && fits_in_place(*slot, value.len)) {
        entry_write_string(*slot, value);
        return keyspace_set_deadline(db, entry_touch(*slot), at_ms);
    }
    Entry *entry = is_int ? entry_new_int(key, true, number) : entry_new_string(key, true, value);
    entry_deadline_block(entry)->at_ms = at_ms;
    if (slot == NULL) wheel_add(&db->wheel, entry);
    return put_entry(db, hash, slot, entry);
}

Entry *keyspace_new_string(Slice key, size_t len)
{
    g_assert(len <= KEYSPACE_STRING_MAX);
    Entry *entry = entry_new(key, TYPE_STRING, false, len);
    entry->str.len = (uint32_t)len;
    return entry;
}

void keyspace_put_entry(Db *db, Entry *entry)
{
    Slice key = entry_key(entry);
    uint64_t hash = table_hash(key);
    Entry **slot = find_live(db, hash, key);
    announce_slot(db, hash, slot);
    put_entry(db, hash, slot, entry);
}

Entry *keyspace_put_zeros(Db *db, Slice key, size_t len)
{
    Entry *entry = keyspace_new_string(key, len);
    memset(entry_string_bytes(entry), 0, len);
    keyspace_put_entry(db, entry);
    return entry;
}

Entry *keyspace_put_object(Db *db, Slice key, ValueType type, void *object)
{
    uint64_t hash = key_hash(key);
    Entry **slot = find_live(db, hash, key);
    announce_slot(db, hash, slot);
    Entry *entry = entry_new(key, type, false, 0);
    entry->object = object;
    return put_entry(db, hash, slot, entry);
}

/* Puts a new string entry with the same key and deadline into the place of an old one. */
static Entry *replace_entry(Db *db, Entry *old, Entry *entry)
{
    if (old->expires) *entry_deadline_block(entry) = *entry_deadline_block(old);
    entry_swap(db, slot_of(db, old), old, entry);
    g_free(old);
    return entry;
}

Entry *keyspace_replace_string(Db *db, Entry *entry, Slice value)
{
    g_assert(entry->type == TYPE_STRING);
    int64_t number;
    if (number_parse_int(value, &number)) return keyspace_replace_int(db, entry, number);
    if (fits_in_place(entry, value.len)) {
        entry_write_string(entry, value);
        return entry;
    }
    return replace_entry(db, entry, entry_new_string(entry_key(entry), entry->expires, value));
}

Entry *keyspace_replace_int(Db *db, Entry *entry, int64_t value)
{
    g_assert(entry->type == TYPE_STRING);
    if (entry->encoding == STRING_INT) {
        entry->number = value;
        return entry;
    }
    return replace_entry(db, entry, entry_new_int(entry_key(entry), entry->expires, value));
}

/* Gives an entry another size, wherever it ends up, and tells the table and the wheel. */
static Entry *entry_reallocate(Db *db, Entry *entry, size_t bytes)
{
    Entry **slot = slot_of(db, entry);
    entry = g_realloc(entry, bytes);
    *slot = entry;
    if (entry->expires) wheel_moved(&db->wheel, entry);
    return entry;
}

Entry *keyspace_resize_string(Db *db, Entry *entry, size_t len)
{
    g_assert(entry->type == TYPE_STRING && len <= KEYSPACE_STRING_MAX);
    if (entry->encoding == STRING_INT) {
        char digits[NUMBER_INT_CHARS];
        Entry *raw = entry_new_string(entry_key(entry), entry->expires, entry_string(entry, digits));
        entry = replace_entry(db, entry, raw);
    }
    size_t old_len = entry->str.len;
    if (len > entry->str.cap) {
        size_t cap = old_len == 0 ? len : MIN(len + MIN(len, GROWTH_MAX), (size_t)KEYSPACE_STRING_MAX);
        size_t head = entry_head_bytes(entry), bytes = mem_round(head + cap);
        entry = entry_reallocate(db, entry, bytes);
        entry->str.cap = (uint32_t)(bytes - head);
    }
    if (len > old_len) memset(entry_string_bytes(entry) + old_len, 0, len - old_len);
    entry->str.len = (uint32_t)len;
    entry->encoding = STRING_RAW;
    return entry;
}

bool keyspace_delete(Db *db, Slice key)
{
    uint64_t hash = key_hash(key);
    Entry **slot = find_live(db, hash, key);
    if (slot == NULL) return false;
    Entry *entry = *slot;
    announce(db, hash, entry);
    entry_detach(db, hash, slot);
    entry_free(entry);
    return true;
}

/* A copy of the entry's head and value, by ownership of its object, under another key and with or without a deadline.
 */
static Entry *entry_remake(const Entry *old, Slice key, bool expires)
{
    bool inline_value = old->type == TYPE_STRING && old->encoding != STRING_INT;
    Entry *entry = entry_new(key, old->type, expires, inline_value ? old->str.len : 0);
    entry->lru = old->lru;
    entry->encoding = old->encoding;
    if (inline_value) {
        memcpy(entry_string_bytes(entry), entry_string_bytes(old), old->str.len);
        entry->str.len = old->str.len;
    } else {
        entry->object = old->object;
    }
    return entry;
}

Entry *keyspace_rename(Db *from, Entry *old, Db *to, Slice key)
{
    Entry *entry = entry_remake(old, key, old->expires);
    if (old->expires) *entry_deadline_block(entry) = *entry_deadline_block(old);
    entry_detach(from, entry_hash(old), slot_of(from, old));
    g_free(old);
    to->own_records |= from->own_records;
    uint64_t hash = key_hash(key);
    Entry **slot = find_live(to, hash, key);
    announce_slot(to, hash, slot);
    if (slot != NULL) return put_entry(to, hash, slot, entry);
    if (entry->expires) wheel_add(&to->wheel, entry);
    return put_entry(to, hash, NULL, entry);
}

/* ---- loading ---- */

void keyspace_reserve(Db *db, size_t keys)
{
    table_reserve(&db->table, keys);
}

static bool load_entry(Db *db, Entry *entry, const EntryFacts *facts)
{
    entry->lru = facts->lru & 0xFFFFFF;
    uint64_t hash = entry_hash(entry);
    if (find_slot(db, hash, entry_key(entry)) != NULL) {
        entry_free(entry);
        return false;
    }
    if (entry->expires) {
        entry_deadline_block(entry)->at_ms = facts->deadline_ms;
        wheel_add(&db->wheel, entry);
    }
    table_insert(&db->table, hash, entry);
    return true;
}

bool keyspace_load_string(Db *db, Slice key, const EntryFacts *facts, StringEncoding encoding, Slice value)
{
    bool number = encoding == STRING_INT;
    Entry *entry = entry_new(key, TYPE_STRING, facts->deadline_ms >= 0, number ? 0 : value.len);
    entry->encoding = encoding;
    if (number) {
        memcpy(&entry->number, value.ptr, sizeof(entry->number));
    } else {
        memcpy(entry_string_bytes(entry), value.ptr, value.len);
        entry->str.len = (uint32_t)value.len;
    }
    return load_entry(db, entry, facts);
}

bool keyspace_load_text(Db *db, Slice key, const EntryFacts *facts, Slice text)
{
    int64_t number;
    if (number_parse_int(text, &number))
        return keyspace_load_string(db, key, facts, STRING_INT, (Slice){ (const char *)&number, sizeof(number) });
    return keyspace_load_string(db, key, facts, text.len <= EMBEDDED_MAX ? STRING_EMBEDDED : STRING_RAW, text);
}

bool keyspace_load_object(Db *db, Slice key, const EntryFacts *facts, ValueType type, void *object)
{
    Entry *entry = entry_new(key, type, facts->deadline_ms >= 0, 0);
    entry->object = object;
    return load_entry(db, entry, facts);
}

Entry *keyspace_set_deadline(Db *db, Entry *entry, int64_t at_ms)
{
    bool expires = at_ms >= 0;
    if (entry->expires && expires) {
        wheel_remove(&db->wheel, entry);
        entry_deadline_block(entry)->at_ms = at_ms;
        wheel_add(&db->wheel, entry);
        return entry;
    }
    if (entry->expires == expires) return entry;
    Entry *remade = entry_remake(entry, entry_key(entry), expires);
    if (expires) entry_deadline_block(remade)->at_ms = at_ms;
    remade->large = entry->large; /* the same key, the same value */
    entry->large = 0;
    entry_swap(db, slot_of(db, entry), entry, remade);
    g_free(entry);
    return remade;
}

bool keyspace_settle(Db *db, Entry *entry)
{
    if (is_copied_later(entry)) return false; /* a checkpoint may have its address; and it has pages of its own */
    void *object = NULL;
    PagedValue paged;
    if (entry->type != TYPE_STRING && !checkpoint_paged(entry->type, entry->object, &paged)) {
        object = entry->object;
        entry->object = mem_move(object);
    }
    bool moved = object != NULL && entry->object != object;
    Entry **slot = slot_of(db, entry);
    *slot = mem_move(entry);
    if (*slot == entry) return moved;
    if ((*slot)->expires) wheel_moved(&db->wheel, *slot);
    return true;
}

void keyspace_changed(Db *db, Slice key)
{
    db->keyspace->changes++;
    if (db->keyspace->hooks.changed != NULL) db->keyspace->hooks.changed(db, key);
}

/* ---- databases ---- */

static void db_init(Db *db, Keyspace *owner, int index)
{
    *db = (Db){ .keyspace = owner, .index = index };
    table_init(&db->table, entry_hash);
    wheel_init(&db->wheel, clock_unix_ms);
}

static void visit_free(void *element, void *context)
{
    (void)context;
    entry_free(element);
}

static void db_release(Db *db)
{
    table_each(&db->table, visit_free, NULL);
    table_free(&db->table);
    wheel_free(&db->wheel);
}

Keyspace *keyspace_new(int db_count)
{
    Keyspace *ks = g_new0(Keyspace, 1);
    ks->db_count = db_count;
    ks->dbs = g_new0(Db, db_count);
    for (int i = 0; i < db_count; i++)
        db_init(&ks->dbs[i], ks, i);
    return ks;
}

void keyspace_free(Keyspace *ks)
{
    for (int i = 0; i < ks->db_count; i++)
        db_release(&ks->dbs[i]);
    grave_drain();
    evict_forget(ks);
    g_free(ks->dbs);
    g_free(ks);
}

size_t keyspace_flush(Db *db)
{
    size_t count = db->table.count;
    db->keyspace->announced++;
    if (!checkpoint_adopt_db(db, visit_free)) grave_take_db(&db->table, &db->wheel, visit_free);
    struct PageMap *pages = db->pages;
    db_init(db, db->keyspace, db->index);
    db->pages = pages;
    return count;
}
