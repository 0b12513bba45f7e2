/* strings.c: the commands on string values: GET, SET, INCR, APPEND and their like. Called by the command table only.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>

#include "base/clock.h"
#include "cmds/command.h"
#include "cmds/effect.h"
#include "cmds/handlers.h"
#include "cmds/strings.h"

bool string_check_length(Request *r, size_t len)
{
    if (len <= KEYSPACE_STRING_MAX) return true;
    reply_error(r->out, ERROR_STRING_TOO_LONG);
    return false;
}

/* ---- SET and its forms ---- */

/* How a value is to be stored. */
typedef struct SetMode {
    bool if_missing, if_present;
    int64_t deadline_ms; /* unix ms; -1: none */
} SetMode;

/* Reads a lifetime in units of `unit_ms`, from now on, or answers the error. */
static bool arg_lifetime(Request *r, int index, int64_t unit_ms, int64_t *deadline_ms)
{
    int64_t amount;
    if (!arg_int(r, index, &amount, NULL)) return false;
    if (amount > 0 && !__builtin_mul_overflow(amount, unit_ms, deadline_ms) &&
        !__builtin_add_overflow(*deadline_ms, clock_unix_ms, deadline_ms))
        return true;
    reply_errorf(r->out, "ERR invalid expire time in %s", r->command->name);
    return false;
}

/* Stores argv[1]'s value and says so to WATCH and to the listeners. */
static void store_value(Request *r, Slice value, int64_t deadline_ms)
{
    Slice key = r->argv[1];
    if (deadline_ms < 0) {
        keyspace_put_string(r->db, key, value);
        key_changed(r, key, NOTIFY_STRING, "set");
    } else {
        keyspace_put_string_until(r->db, key, value, deadline_ms);
        key_changed(r, key, NOTIFY_STRING, "set");
        notify(r->db, NOTIFY_GENERIC, "expire", key);
    }
}

/* SET's options; false, with the error sent, if they make no sense. */
static bool read_set_mode(Request *r, SetMode *mode)
{
    int seconds_at = 0, ms_at = 0;
    for (int i = 3; i < r->argc; i++) {
        bool more = i + 1 < r->argc;
        if (arg_is(r, i, "nx") && !mode->if_present) {
            mode->if_missing = true;
        } else if (arg_is(r, i, "xx") && !mode->if_missing) {
            mode->if_present = true;
        } else if (arg_is(r, i, "ex") && ms_at == 0 && more) {
            seconds_at = ++i;
        } else if (arg_is(r, i, "px") && seconds_at == 0 && more) {
            ms_at = ++i;
        } else {
            reply_error(r->out, ERROR_SYNTAX);
            return false;
        }
    }
    if (seconds_at != 0) return arg_lifetime(r, seconds_at, 1000, &mode->deadline_ms);
    return ms_at == 0 || arg_lifetime(r, ms_at, 1, &mode->deadline_ms);
}

/* What is journaled with a deadline has the key twice. */
static bool check_effect(Request *r, Slice key, Slice value, int64_t deadline_ms)
{
    Slice effect[] = { key, key, value };
    return deadline_ms < 0 || effect_fits(r->out, effect_bytes(effect, G_N_ELEMENTS(effect)));
}

/* SET key value [EX seconds | PX milliseconds] [NX | XX] */
void cmd_set(Request *r)
{
    SetMode mode = { .deadline_ms = -1 };
    if (r->argc > 3 && !read_set_mode(r, &mode)) return;
    if (mode.if_missing || mode.if_present) {
        bool present = keyspace_use(r->db, r->argv[1]) != NULL;
        if (present != mode.if_present) {
            reply_nil(r->out);
            return;
        }
    }
    if (!string_check_length(r, r->argv[2].len)) return;
    if (!check_effect(r, r->argv[1], r->argv[2], mode.deadline_ms)) return;
    store_value(r, r->argv[2], mode.deadline_ms);
    if (r->argc > 3) effect_set(r->db, r->argv[1], r->argv[2], mode.deadline_ms);
    reply_ok(r->out);
}

/* SETNX key value */
void cmd_setnx(Request *r)
{
    if (keyspace_use(r->db, r->argv[1]) != NULL) {
        reply_int(r->out, 0);
        return;
    }
    if (!string_check_length(r, r->argv[2].len)) return;
    store_value(r, r->argv[2], -1);
    reply_int(r->out, 1);
}

static void set_with_lifetime(Request *r, int64_t unit_ms)
{
    int64_t deadline_ms;
    if (!arg_lifetime(r, 2, unit_ms, &deadline_ms) || !string_check_length(r, r->argv[3].len)) return;
    if (!check_effect(r, r->argv[1], r->argv[3], deadline_ms)) return;
    store_value(r, r->argv[3], deadline_ms);
    effect_set(r->db, r->argv[1], r->argv[3], deadline_ms);
    reply_ok(r->out);
}

/* SETEX key seconds value */
void cmd_setex(Request *r)
{
    set_with_lifetime(r, 1000);
}

/* PSETEX key milliseconds value */
void cmd_psetex(Request *r)
{
    set_with_lifetime(r, 1);
}

/* ---- reading ---- */

/* The entry's bytes as a bulk, nil if there's none. */
static void reply_string(Request *r, const Entry *entry)
{
    char digits[NUMBER_INT_CHARS];
    if (entry == NULL) {
        reply_nil(r->out);
    } else {
        reply_bulk(r->out, entry_string(entry, digits));
    }
}

/* GET key */
void cmd_get(Request *r)
{
    Entry *entry;
    if (key_read(r, r->argv[1], TYPE_STRING, &entry)) reply_string(r, entry);
}

/* GETSET key value */
void cmd_getset(Request *r)
{
    Entry *entry;
    if (!key_read(r, r->argv[1], TYPE_STRING, &entry) || !string_check_length(r, r->argv[2].len)) return;
    reply_string(r, entry);
    store_value(r, r->argv[2], -1);
}

/* STRLEN key */
void cmd_strlen(Request *r)
{
    Entry *entry;
    if (!key_read(r, r->argv[1], TYPE_STRING, &entry)) return;
    reply_int(r->out, entry == NULL ? 0 : (int64_t)entry_string_len(entry));
}

/* GETRANGE key start end */
void cmd_getrange(Request *r)
{
    int64_t start, end;
    Entry *entry;
    if (!arg_int(r, 2, &start, NULL) || !arg_int(r, 3, &end, NULL)) return;
    if (!key_read(r, r->argv[1], TYPE_STRING, &entry)) return;
    char digits[NUMBER_INT_CHARS];
    Slice text = entry == NULL ? SLICE("") : entry_string(entry, digits);
    reply_bulk(r->out, string_range_is_backward(start, end) ? SLICE("") : string_part(text, start, end));
}

/* MGET key [key ...] */
void cmd_mget(Request *r)
{
    reply_array(r->out, (size_t)r->argc - 1);
    for (KeyWalk walk = keys_from(1, 1); keys_next(r, &walk);) {
        const Entry *entry = keyspace_read(r->db, r->argv[walk.index]);
        reply_string(r, entry != NULL && entry->type == TYPE_STRING ? entry : NULL);
    }
}

/* ---- several keys at once ---- */

/* MSET's and MSETNX's arguments: false, with the error sent, if a value is missing. */
static bool check_pairs(Request *r)
{
    if (r->argc % 2 == 1) return true;
    reply_error(r->out, "ERR wrong number of arguments for MSET");
    return false;
}

/* Stores all pairs; false, with the error sent, and none stored if a value is too long. */
static bool store_pairs(Request *r)
{
    for (int i = 2; i < r->argc; i += 2) {
        if (!string_check_length(r, r->argv[i].len)) return false;
    }
    for (KeyWalk walk = keys_from(1, 2); keys_next(r, &walk);) {
        Slice key = r->argv[walk.index];
        keyspace_put_string(r->db, key, r->argv[walk.index + 1]);
        key_changed(r, key, NOTIFY_STRING, "set");
    }
    return true;
}

/* MSET key value [key value ...] */
void cmd_mset(Request *r)
{
    if (check_pairs(r) && store_pairs(r)) reply_ok(r->out);
}

/* MSETNX key value [key value ...] */
void cmd_msetnx(Request *r)
{
    if (!check_pairs(r)) return;
    for (KeyWalk walk = keys_from(1, 2); keys_next(r, &walk);) {
        if (keyspace_use(r->db, r->argv[walk.index]) == NULL) continue;
        reply_int(r->out, 0);
        return;
    }
    if (store_pairs(r)) reply_int(r->out, 1);
}

/* ---- changing a part ---- */

/* APPEND key value */
void cmd_append(Request *r)
{
    Slice key = r->argv[1], value = r->argv[2];
    Entry *entry;
    if (!key_use(r, key, TYPE_STRING, &entry)) return;
    size_t old_len = entry == NULL ? 0 : entry_string_len(entry);
    if (!string_check_length(r, old_len + value.len)) return;
    if (entry == NULL) {
        keyspace_put_string(r->db, key, value);
    } else {
        keyspace_will_change(r->db, key, entry);
        entry = keyspace_resize_string(r->db, entry, old_len + value.len);
        memcpy(entry_string_bytes(entry) + old_len, value.ptr, value.len);
    }
    key_changed(r, key, NOTIFY_STRING, "append");
    reply_int(r->out, (int64_t)(old_len + value.len));
}

/* SETRANGE key offset value */
void cmd_setrange(Request *r)
{
    Slice key = r->argv[1], value = r->argv[3];
    int64_t offset;
    Entry *entry;
    if (!arg_int(r, 2, &offset, NULL)) return;
    if (offset < 0) {
        reply_error(r->out, "ERR offset is out of range");
        return;
    }
    if (!key_use(r, key, TYPE_STRING, &entry)) return;
    size_t len = entry == NULL ? 0 : entry_string_len(entry), end = (size_t)offset + value.len;
    if (value.len == 0) {
        reply_int(r->out, (int64_t)len);
        return;
    }
    if (!string_check_length(r, end)) return;
    len = MAX(len, end);
    if (entry != NULL) keyspace_will_change(r->db, key, entry);
    entry = entry == NULL ? keyspace_put_zeros(r->db, key, len) : keyspace_resize_string(r->db, entry, len);
    memcpy(entry_string_bytes(entry) + offset, value.ptr, value.len);
    key_changed(r, key, NOTIFY_STRING, "setrange");
    reply_int(r->out, (int64_t)len);
}

/* ---- counting ---- */

/* Reads the number that the entry holds, 0 if there is none, or answers the error. */
static bool read_counter(Request *r, const Entry *entry, int64_t *value)
{
    *value = 0;
    if (entry == NULL) return true;
    if (entry->encoding == STRING_INT) {
        *value = entry->number;
        return true;
    }
    if (number_parse_int((Slice){ entry_string_bytes(entry), entry->str.len }, value)) return true;
    reply_error(r->out, ERROR_NOT_INTEGER);
    return false;
}

static void add_to_counter(Request *r, int64_t amount)
{
    Slice key = r->argv[1];
    Entry *entry;
    int64_t value;
    if (!key_use(r, key, TYPE_STRING, &entry) || !read_counter(r, entry, &value)) return;
    if (__builtin_add_overflow(value, amount, &value)) {
        reply_error(r->out, "ERR increment or decrement would overflow");
        return;
    }
    if (entry == NULL) {
        keyspace_put_int(r->db, key, value);
    } else {
        keyspace_will_change(r->db, key, entry);
        keyspace_replace_int(r->db, entry, value);
    }
    key_changed(r, key, NOTIFY_STRING, "incrby");
    reply_int(r->out, value);
}

/* INCR key */
void cmd_incr(Request *r)
{
    add_to_counter(r, 1);
}

/* DECR key */
void cmd_decr(Request *r)
{
    add_to_counter(r, -1);
}

/* INCRBY key increment */
void cmd_incrby(Request *r)
{
    int64_t amount;
    if (arg_int(r, 2, &amount, NULL)) add_to_counter(r, amount);
}

/* DECRBY key decrement */
void cmd_decrby(Request *r)
{
    int64_t amount;
    if (!arg_int(r, 2, &amount, NULL)) return;
    /* The negative of the lowest integer wraps to itself, as in 3.2; later versions refuse it here, and take it there.
     */
    uint64_t changes = keyspace->changes;
    add_to_counter(r, (int64_t)(0 - (uint64_t)amount));
    if (amount == INT64_MIN && keyspace->changes != changes)
        effect_put(r->db, (Slice[]){ SLICE("INCRBY"), r->argv[1], r->argv[2] }, 3);
}

/* INCRBYFLOAT key increment */
void cmd_incrbyfloat(Request *r)
{
    Slice key = r->argv[1];
    Entry *entry;
    long double value = 0, amount;
    char digits[NUMBER_INT_CHARS], text[NUMBER_LONG_DOUBLE_CHARS];
    if (!key_use(r, key, TYPE_STRING, &entry)) return;
    if (entry != NULL && !number_parse_long_double(entry_string(entry, digits), &value)) {
        reply_error(r->out, ERROR_NOT_FLOAT);
        return;
    }
    if (!arg_long_double(r, 2, &amount, NULL)) return;
    value += amount;
    if (!isfinite(value)) {
        reply_error(r->out, "ERR increment would produce NaN or Infinity");
        return;
    }
    Slice result = { text, number_format_long_double(text, value) };
    int64_t deadline_ms = entry == NULL ? -1 : entry_deadline(entry);
    if (!check_effect(r, key, result, deadline_ms)) return;
    effect_set(r->db, key, result, deadline_ms);
    if (entry == NULL) {
        keyspace_put_string(r->db, key, result);
    } else {
        keyspace_will_change(r->db, key, entry);
        keyspace_replace_string(r->db, entry, result);
    }
    key_changed(r, key, NOTIFY_STRING, "incrbyfloat");
    reply_bulk(r->out, result);
}
