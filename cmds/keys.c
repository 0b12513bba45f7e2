/* keys.c: the commands on keys of any type, but SORT. Called by the command table only.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/clock.h"
#include "base/glob.h"
#include "base/prefetch.h"
#include "cmds/command.h"
#include "cmds/effect.h"
#include "cmds/handlers.h"
#include "cmds/scan.h"

/* Keys whose look-ups overlap, where a command takes or walks many. */
#define BATCH_KEYS 16

/* Brings what the keys from argument `first` on, at most BATCH_KEYS, are looked up in towards the cache. */
static void prefetch_batch(const Request *r, int first)
{
    KeyPlace places[BATCH_KEYS];
    int count = MIN(r->argc - first, BATCH_KEYS);
    for (int i = 0; i < count; i++)
        places[i] = keyspace_prefetch(r->db, r->argv[first + i]);
    for (int i = 0; i < count; i++)
        keyspace_prefetch_entry(places[i]);
}

/* What MOVE and PERSIST change is counted, but 3.2 tells neither those who WATCH the key nor those who listen. */
static void count_untold_change(Request *r)
{
    r->db->keyspace->changes++;
}

/* ---- existence ---- */

/* DEL key [key ...] */
void cmd_del(Request *r)
{
    int64_t deleted = 0;
    for (int i = 1; i < r->argc; i++) {
        if (r->argc > 2 && i % BATCH_KEYS == 1) prefetch_batch(r, i);
        if (!keyspace_delete(r->db, r->argv[i])) continue;
        key_changed(r, r->argv[i], NOTIFY_GENERIC, "del");
        deleted++;
    }
    reply_int(r->out, deleted);
}

/* EXISTS key [key ...] */
void cmd_exists(Request *r)
{
    int64_t found = 0;
    for (int i = 1; i < r->argc; i++) {
        if (r->argc > 2 && i % BATCH_KEYS == 1) prefetch_batch(r, i);
        if (keyspace_peek(r->db, r->argv[i]) != NULL) found++;
    }
    reply_int(r->out, found);
}

/* TYPE key */
void cmd_type(Request *r)
{
    static const char *const names[] = {
        [TYPE_STRING] = "string", [TYPE_LIST] = "list", [TYPE_SET] = "set", [TYPE_ZSET] = "zset", [TYPE_HASH] = "hash",
    };
    const Entry *entry = keyspace_look(r->db, r->argv[1]);
    reply_status(r->out, entry == NULL ? "none" : names[entry->type]);
}

/* RANDOMKEY */
void cmd_randomkey(Request *r)
{
    const Entry *entry = keyspace_random(r->db);
    if (entry == NULL) {
        reply_nil(r->out);
    } else {
        reply_bulk(r->out, entry_key(entry));
    }
}

/* ---- other names, other databases ---- */

static void rename_key(Request *r, bool only_if_new)
{
    Slice from = r->argv[1], to = r->argv[2];
    Entry *entry = keyspace_write(r->db, from);
    if (entry == NULL) {
        reply_error(r->out, ERROR_NO_SUCH_KEY);
        return;
    }
    bool same = slice_equal(from, to);
    if (only_if_new && (same || keyspace_peek(r->db, to) != NULL)) {
        reply_int(r->out, 0);
        return;
    }
    if (!same) {
        keyspace_rename(r->db, entry, r->db, to);
        key_changed(r, from, NOTIFY_GENERIC, "rename_from");
        key_changed(r, to, NOTIFY_GENERIC, "rename_to");
    }
    if (only_if_new) {
        reply_int(r->out, 1);
    } else {
        reply_ok(r->out);
    }
}

/* RENAME key newkey */
void cmd_rename(Request *r)
{
    rename_key(r, false);
}

/* RENAMENX key newkey */
void cmd_renamenx(Request *r)
{
    rename_key(r, true);
}

/* MOVE key db */
void cmd_move(Request *r)
{
    Slice key = r->argv[1];
    int64_t index;
    if (!number_parse_int(r->argv[2], &index) || index < 0 || index >= keyspace->db_count) {
        reply_error(r->out, ERROR_OUT_OF_RANGE);
        return;
    }
    Db *to = &keyspace->dbs[index];
    if (to == r->db) {
        reply_error(r->out, "ERR source and destination objects are the same");
        return;
    }
    Entry *entry = keyspace_write(r->db, key);
    if (entry == NULL || keyspace_peek(to, key) != NULL) {
        reply_int(r->out, 0);
        return;
    }
    keyspace_rename(r->db, entry, to, key);
    count_untold_change(r);
    reply_int(r->out, 1);
}

/* ---- deadlines ---- */

/* Sets the deadline to argv[2], in units of `unit_ms`, after `base_ms`. Redis 3.2 lets the sum overflow; what later
 * versions answer is better. */
static void expire_key(Request *r, int64_t unit_ms, int64_t base_ms)
{
    Slice key = r->argv[1];
    int64_t at_ms;
    if (!arg_int(r, 2, &at_ms, NULL)) return;
    if (__builtin_mul_overflow(at_ms, unit_ms, &at_ms) || __builtin_add_overflow(at_ms, base_ms, &at_ms)) {
        reply_errorf(r->out, "ERR invalid expire time in '%s' command", r->command->name);
        return;
    }
    Entry *entry = keyspace_write(r->db, key);
    if (entry == NULL) {
        reply_int(r->out, 0);
        return;
    }
    if (at_ms <= clock_unix_ms && !keyspace->keep_expired) {
        keyspace_delete(r->db, key);
        effect_del(r->db, key);
        key_changed(r, key, NOTIFY_GENERIC, "del");
    } else {
        keyspace_set_deadline(r->db, entry, MAX(at_ms, 0));
        effect_deadline(r->db, key, at_ms);
        key_changed(r, key, NOTIFY_GENERIC, "expire");
    }
    reply_int(r->out, 1);
}

/* EXPIRE key seconds */
void cmd_expire(Request *r)
{
    expire_key(r, 1000, clock_unix_ms);
}

/* EXPIREAT key timestamp */
void cmd_expireat(Request *r)
{
    expire_key(r, 1000, 0);
}

/* PEXPIRE key milliseconds */
void cmd_pexpire(Request *r)
{
    expire_key(r, 1, clock_unix_ms);
}

/* PEXPIREAT key milliseconds-timestamp */
void cmd_pexpireat(Request *r)
{
    expire_key(r, 1, 0);
}

/* The seconds left, rounded, in units of which one has `unit`; -1: doesn't expire, -2: no such key. */
static void reply_time_to_live(Request *r, int64_t unit)
{
    const Entry *entry = keyspace_look(r->db, r->argv[1]);
    if (entry == NULL || !entry->expires) {
        reply_int(r->out, entry == NULL ? -2 : -1);
        return;
    }
    int64_t left_ms = MAX(entry_deadline(entry) - clock_unix_ms, 0);
    reply_int(r->out, (left_ms / 1000 + (left_ms % 1000 >= 500)) * unit);
}

/* TTL key */
void cmd_ttl(Request *r)
{
    reply_time_to_live(r, 1);
}

/* PTTL key: counts in whole seconds, which is CKV's contract */
void cmd_pttl(Request *r)
{
    reply_time_to_live(r, 1000);
}

/* PERSIST key */
void cmd_persist(Request *r)
{
    Entry *entry = keyspace_write(r->db, r->argv[1]);
    if (entry == NULL || !entry->expires) {
        reply_int(r->out, 0);
        return;
    }
    keyspace_set_deadline(r->db, entry, -1);
    count_untold_change(r);
    reply_int(r->out, 1);
}

/* ---- walks ---- */

/* KEYS in progress. Entries wait in a ring until their memory has had the time to arrive. */
typedef struct KeysWalk {
    Out *out;
    Slice pattern;
    bool all;
    size_t found;
    unsigned seen;
    const Entry *ring[BATCH_KEYS];
} KeysWalk;

static void keys_answer(KeysWalk *walk, const Entry *entry)
{
    if (entry == NULL || keyspace_is_expired(entry)) return;
    if (!walk->all && !glob_match(walk->pattern, entry_key(entry), false)) return;
    reply_bulk(walk->out, entry_key(entry));
    walk->found++;
}

static void keys_visit(void *element, void *context)
{
    KeysWalk *walk = context;
    const Entry **place = &walk->ring[walk->seen++ % BATCH_KEYS];
    prefetch(element);
    keys_answer(walk, *place);
    *place = element;
}

/* KEYS pattern: O(keys), in one go, on purpose: that's the command. A star with a zero byte takes all, as in 3.2. */
void cmd_keys(Request *r)
{
    Slice pattern = r->argv[1];
    bool starts_with_star = pattern.len > 0 && pattern.ptr[0] == '*';
    KeysWalk walk = { .out = r->out, .pattern = pattern };
    walk.all = starts_with_star && (pattern.len == 1 || pattern.ptr[1] == '\0');
    OutMark mark = reply_array_begin(r->out);
    table_each(&r->db->table, keys_visit, &walk);
    for (int i = 0; i < BATCH_KEYS; i++)
        keys_answer(&walk, walk.ring[i]);
    reply_array_set(r->out, mark, walk.found);
}

static void scan_visit(void *element, void *context)
{
    const Entry *entry = element;
    if (!keyspace_is_expired(entry)) scan_found(context, (PackValue){ .text = entry_key(entry) }, NULL);
}

/* SCAN cursor [MATCH pattern] [COUNT count] */
void cmd_scan(Request *r)
{
    Scan scan;
    if (!scan_options(r, 1, &scan.options)) return;
    scan_start(&scan);
    while (scan_more(&scan))
        scan.cursor = keyspace_scan(r->db, scan.cursor, scan_visit, &scan);
    scan_reply(&scan, r->out);
}
