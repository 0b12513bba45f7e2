/* hashes.c: the commands on hashes. The command table calls them.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>

#include "cmds/effect.h"
#include "cmds/handlers.h"
#include "cmds/scan.h"
#include "store/hash.h"

/* The entry to set fields in, made if there is none; NULL: the key holds another type, which was answered. A new hash
 * is empty: the caller sets a field, whatever happens. */
static Entry *hash_for_writing(Request *r)
{
    Entry *entry;
    if (!key_write(r, r->argv[1], TYPE_HASH, &entry)) return NULL;
    return entry != NULL ? entry : keyspace_put_object(r->db, r->argv[1], TYPE_HASH, hash_new());
}

/* HSET key field value */
void cmd_hset(Request *r)
{
    Entry *entry = hash_for_writing(r);
    if (entry == NULL) return;
    hash_admit(&entry->hash, &r->argv[2], 2);
    bool added = hash_set(&entry->hash, r->argv[2], r->argv[3]);
    key_changed(r, r->argv[1], NOTIFY_HASH, "hset");
    reply_int(r->out, added);
}

/* HSETNX key field value */
void cmd_hsetnx(Request *r)
{
    Entry *entry = hash_for_writing(r);
    if (entry == NULL) return;
    hash_admit(&entry->hash, &r->argv[2], 2);
    bool add = !hash_has(entry->hash, r->argv[2]);
    if (add) {
        hash_set(&entry->hash, r->argv[2], r->argv[3]);
        key_changed(r, r->argv[1], NOTIFY_HASH, "hset");
    }
    reply_int(r->out, add);
}

/* HMSET key field value [field value ...] */
void cmd_hmset(Request *r)
{
    if (r->argc % 2 != 0) {
        reply_error(r->out, "ERR wrong number of arguments for HMSET");
        return;
    }
    Entry *entry = hash_for_writing(r);
    if (entry == NULL) return;
    hash_admit(&entry->hash, &r->argv[2], (size_t)r->argc - 2);
    for (int i = 2; i < r->argc; i += 2)
        hash_set(&entry->hash, r->argv[i], r->argv[i + 1]);
    key_changed(r, r->argv[1], NOTIFY_HASH, "hset");
    reply_ok(r->out);
}

/* Looks the key and its field up for changing. *found: there's such a field, `text` holds its value's bytes (in the
 * hash, or in `digits`). False: WRONGTYPE was answered. */
static bool field_for_writing(Request *r, Entry **entry, bool *found, Slice *text, char *digits)
{
    PackValue value;
    if (!key_write(r, r->argv[1], TYPE_HASH, entry)) return false;
    *found = *entry != NULL && hash_get((*entry)->hash, r->argv[2], &value);
    if (*found) *text = pack_value_text(value, digits);
    return true;
}

/* Stores what HINCRBY and HINCRBYFLOAT made of a field. */
static void field_store(Request *r, Entry *entry, Slice value, const char *event)
{
    if (entry == NULL) entry = keyspace_put_object(r->db, r->argv[1], TYPE_HASH, hash_new());
    hash_set(&entry->hash, r->argv[2], value);
    key_changed(r, r->argv[1], NOTIFY_HASH, event);
}

/* HINCRBY key field increment */
void cmd_hincrby(Request *r)
{
    int64_t increment, value = 0;
    Entry *entry;
    bool found;
    Slice text;
    char digits[NUMBER_INT_CHARS];
    if (!arg_int(r, 3, &increment, NULL)) return;
    if (!field_for_writing(r, &entry, &found, &text, digits)) return;
    if (found && !number_parse_int(text, &value)) {
        reply_error(r->out, "ERR hash value is not an integer");
        return;
    }
    if (__builtin_add_overflow(value, increment, &value)) {
        reply_error(r->out, "ERR increment or decrement would overflow");
        return;
    }
    field_store(r, entry, (Slice){ digits, number_format_int(digits, value) }, "hincrby");
    reply_int(r->out, value);
}

/* HINCRBYFLOAT key field increment */
void cmd_hincrbyfloat(Request *r)
{
    long double increment, value = 0;
    Entry *entry;
    bool found;
    Slice text;
    char digits[NUMBER_LONG_DOUBLE_CHARS];
    if (!arg_long_double(r, 3, &increment, NULL)) return;
    if (!field_for_writing(r, &entry, &found, &text, digits)) return;
    if (found && !number_parse_long_double(text, &value)) {
        reply_error(r->out, "ERR hash value is not a valid float");
        return;
    }
    value += increment;
    if (!isfinite(value)) {
        reply_error(r->out, isfinite(increment) ? "ERR increment would produce NaN or Infinity"
                                                : "ERR value is NaN or Infinity");
        return;
    }
    Slice sum = { digits, number_format_long_double(digits, value) };
    effect_put(r->db, (Slice[]){ SLICE("HSET"), r->argv[1], r->argv[2], sum }, 4);
    field_store(r, entry, sum, "hincrbyfloat");
    reply_bulk(r->out, sum);
}

/* HDEL key field [field ...] */
void cmd_hdel(Request *r)
{
    Entry *entry;
    if (!key_write(r, r->argv[1], TYPE_HASH, &entry)) return;
    int removed = 0;
    bool empty = false;
    for (int i = 2; i < r->argc && entry != NULL && !empty; i++) {
        if (!hash_remove(&entry->hash, r->argv[i])) continue;
        removed++;
        empty = hash_length(entry->hash) == 0;
    }
    if (removed > 0) key_shrunk(r, r->argv[1], empty, NOTIFY_HASH, "hdel");
    reply_int(r->out, removed);
}

/* HGET key field */
void cmd_hget(Request *r)
{
    Entry *entry;
    PackValue value;
    if (!key_read(r, r->argv[1], TYPE_HASH, &entry)) return;
    if (entry != NULL && hash_get(entry->hash, r->argv[2], &value))
        reply_value(r->out, value);
    else
        reply_nil(r->out);
}

/* HMGET key field [field ...] */
void cmd_hmget(Request *r)
{
    Entry *entry;
    if (!key_read(r, r->argv[1], TYPE_HASH, &entry)) return;
    reply_array(r->out, (size_t)r->argc - 2);
    for (int from = 2; from < r->argc; from += HASH_BATCH) {
        PackValue values[HASH_BATCH];
        int count = MIN(r->argc - from, HASH_BATCH);
        uint32_t found = entry == NULL ? 0 : hash_get_many(entry->hash, &r->argv[from], (size_t)count, values);
        for (int i = 0; i < count; i++) {
            if (found & (1U << i))
                reply_value(r->out, values[i]);
            else
                reply_nil(r->out);
        }
    }
}

/* HLEN key */
void cmd_hlen(Request *r)
{
    Entry *entry;
    if (!key_read(r, r->argv[1], TYPE_HASH, &entry)) return;
    reply_int(r->out, entry == NULL ? 0 : (int64_t)hash_length(entry->hash));
}

/* HSTRLEN key field */
void cmd_hstrlen(Request *r)
{
    Entry *entry;
    PackValue value;
    char digits[NUMBER_INT_CHARS];
    if (!key_read(r, r->argv[1], TYPE_HASH, &entry)) return;
    bool found = entry != NULL && hash_get(entry->hash, r->argv[2], &value);
    reply_int(r->out, found ? (int64_t)pack_value_text(value, digits).len : 0);
}

/* HEXISTS key field */
void cmd_hexists(Request *r)
{
    Entry *entry;
    if (!key_read(r, r->argv[1], TYPE_HASH, &entry)) return;
    reply_int(r->out, entry != NULL && hash_has(entry->hash, r->argv[2]));
}

/* Answers all fields, all values, or both. O(fields). */
static void reply_pairs(Request *r, bool fields, bool values)
{
    Entry *entry;
    if (!key_read(r, r->argv[1], TYPE_HASH, &entry)) return;
    if (entry == NULL) {
        reply_empty_array(r->out);
        return;
    }
    reply_array(r->out, hash_length(entry->hash) * ((size_t)fields + values));
    HashWalk walk = hash_walk(entry->hash);
    for (HashPair pair; hash_next(&walk, &pair);) {
        if (fields) reply_value(r->out, pair.field);
        if (values) reply_value(r->out, pair.value);
    }
}

/* HKEYS key */
void cmd_hkeys(Request *r)
{
    reply_pairs(r, true, false);
}

/* HVALS key */
void cmd_hvals(Request *r)
{
    reply_pairs(r, false, true);
}

/* HGETALL key */
void cmd_hgetall(Request *r)
{
    reply_pairs(r, true, true);
}

static void visit_pair(HashPair pair, void *context)
{
    scan_found(context, pair.field, &pair.value);
}

/* HSCAN key cursor [MATCH pattern] [COUNT count] */
void cmd_hscan(Request *r)
{
    Entry *entry;
    Scan scan;
    if (!scan_begin(r, TYPE_HASH, &scan.options, &entry)) return;
    scan_start(&scan);
    while (scan_more(&scan))
        scan.cursor = hash_scan(entry->hash, scan.cursor, visit_pair, &scan);
    scan_reply(&scan, r->out);
}
