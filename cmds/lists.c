/* lists.c: the commands on lists. Called by the command table only.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/list.h"

#include "base/number.h"
#include "cmds/command.h"
#include "cmds/handlers.h"
#include "cmds/savepages.h"

/* ---- pushing and popping ---- */

static void push(Request *r, ListEnd end, bool only_if_exists, const char *event)
{
    Entry *entry;
    if (!key_write(r, r->argv[1], TYPE_LIST, &entry)) return;
    if (entry == NULL && only_if_exists) {
        reply_int(r->out, 0);
        return;
    }
    if (entry == NULL) entry = keyspace_put_object(r->db, r->argv[1], TYPE_LIST, list_new());
    for (int i = 2; i < r->argc; i++)
        list_push(&entry->list, end, r->argv[i]);
    reply_int(r->out, (int64_t)list_length(entry->list));
    key_changed(r, r->argv[1], NOTIFY_LIST, event);
}

/* LPUSH key value [value …] */
void cmd_lpush(Request *r)
{
    push(r, LIST_HEAD, false, "lpush");
}

/* RPUSH key value [value …] */
void cmd_rpush(Request *r)
{
    push(r, LIST_TAIL, false, "rpush");
}

/* LPUSHX key value */
void cmd_lpushx(Request *r)
{
    push(r, LIST_HEAD, true, "lpush");
}

/* RPUSHX key value */
void cmd_rpushx(Request *r)
{
    push(r, LIST_TAIL, true, "rpush");
}

static void pop(Request *r, ListEnd end, const char *event)
{
    Entry *entry;
    if (!key_write(r, r->argv[1], TYPE_LIST, &entry)) return;
    if (entry == NULL) {
        reply_nil(r->out);
        return;
    }
    size_t length = list_length(entry->list), index = end == LIST_HEAD ? 0 : length - 1;
    reply_value(r->out, list_get(entry->list, index));
    list_remove_range(&entry->list, index, 1);
    key_shrunk(r, r->argv[1], length == 1, NOTIFY_LIST, event);
}

/* LPOP key */
void cmd_lpop(Request *r)
{
    pop(r, LIST_HEAD, "lpop");
}

/* RPOP key */
void cmd_rpop(Request *r)
{
    pop(r, LIST_TAIL, "rpop");
}

/* Replies the last element of a list and moves it to the head of another one, or of the same. */
static void move_last(Request *r, Entry *source, Entry *target)
{
    PackValue last = list_get(source->list, list_length(source->list) - 1);
    reply_value(r->out, last);
    char digits[NUMBER_INT_CHARS];
    Slice text = pack_value_text(last, digits);
    g_autofree char *copy = source == target ? g_memdup2(text.ptr, text.len) : NULL;
    if (copy != NULL) text.ptr = copy;
    list_push(&target->list, LIST_HEAD, text);
    list_remove_range(&source->list, list_length(source->list) - 1, 1);
}

/* RPOPLPUSH source destination */
void cmd_rpoplpush(Request *r)
{
    Slice source_key = r->argv[1], target_key = r->argv[2];
    Entry *source, *target;
    if (!key_write(r, source_key, TYPE_LIST, &source)) return;
    if (source == NULL) {
        reply_nil(r->out);
        return;
    }
    if (!key_write(r, target_key, TYPE_LIST, &target)) return;
    /* Storing a new key may move entries, so the destination is made first and the source looked up again. */
    if (target == NULL) {
        target = keyspace_put_object(r->db, target_key, TYPE_LIST, list_new());
        source = keyspace_write(r->db, source_key);
    }
    move_last(r, source, target);
    key_changed(r, target_key, NOTIFY_LIST, "lpush");
    key_shrunk(r, source_key, list_length(source->list) == 0, NOTIFY_LIST, "rpop");
}

/* ---- reading ---- */

/* LLEN key */
void cmd_llen(Request *r)
{
    Entry *entry;
    if (!key_read(r, r->argv[1], TYPE_LIST, &entry)) return;
    reply_int(r->out, entry == NULL ? 0 : (int64_t)list_length(entry->list));
}

/* LINDEX key index */
void cmd_lindex(Request *r)
{
    Entry *entry;
    int64_t index;
    if (!key_read(r, r->argv[1], TYPE_LIST, &entry)) return;
    if (entry == NULL) {
        reply_nil(r->out);
        return;
    }
    if (!arg_int(r, 2, &index, NULL)) return;
    int64_t length = (int64_t)list_length(entry->list);
    if (index < 0) index += length;
    if (index < 0 || index >= length) {
        reply_nil(r->out);
    } else {
        reply_value(r->out, list_get(entry->list, (size_t)index));
    }
}

/* Turns start and stop, either of which may count from the end, into a place and a number of elements. */
static void clip_range(int64_t length, int64_t *start, int64_t *stop, int64_t *count)
{
    if (*start < 0) *start = MAX(*start + length, 0);
    if (*stop < 0) *stop += length;
    if (*stop >= length) *stop = length - 1;
    *count = *start > *stop ? 0 : *stop - *start + 1;
}

/* LRANGE key start stop: O(elements replied). */
void cmd_lrange(Request *r)
{
    Entry *entry;
    int64_t start, stop, count;
    if (!arg_int(r, 2, &start, NULL) || !arg_int(r, 3, &stop, NULL)) return;
    if (!key_read(r, r->argv[1], TYPE_LIST, &entry)) return;
    if (entry == NULL) {
        reply_empty_array(r->out);
        return;
    }
    clip_range((int64_t)list_length(entry->list), &start, &stop, &count);
    reply_array(r->out, (size_t)count);
    ListWalk walk = list_walk(entry->list, (size_t)start, LIST_TAIL);
    PackValue value;
    for (; count > 0 && list_next(&walk, &value); count--)
        reply_value(r->out, value);
}

/* ---- changing ---- */

/* LSET key index value */
void cmd_lset(Request *r)
{
    Entry *entry;
    int64_t index;
    if (!key_write(r, r->argv[1], TYPE_LIST, &entry)) return;
    if (entry == NULL) {
        reply_error(r->out, ERROR_NO_SUCH_KEY);
        return;
    }
    if (!arg_int(r, 2, &index, NULL)) return;
    int64_t length = (int64_t)list_length(entry->list);
    if (index < 0) index += length;
    if (index < 0 || index >= length) {
        reply_error(r->out, ERROR_OUT_OF_RANGE);
        return;
    }
    list_set(&entry->list, (size_t)index, r->argv[3]);
    reply_ok(r->out);
    key_changed(r, r->argv[1], NOTIFY_LIST, "lset");
}

/* LINSERT key BEFORE|AFTER pivot value: O(N) */
void cmd_linsert(Request *r)
{
    bool behind = arg_is(r, 2, "after");
    if (!behind && !arg_is(r, 2, "before")) {
        reply_error(r->out, ERROR_SYNTAX);
        return;
    }
    Entry *entry;
    if (!key_write(r, r->argv[1], TYPE_LIST, &entry)) return;
    if (entry == NULL) {
        reply_int(r->out, 0);
    } else if (!list_insert(&entry->list, r->argv[3], r->argv[4], behind)) {
        reply_int(r->out, -1);
    } else {
        reply_int(r->out, (int64_t)list_length(entry->list));
        key_changed(r, r->argv[1], NOTIFY_LIST, "linsert");
    }
}

/* LREM key count value: O(N) */
void cmd_lrem(Request *r)
{
    Entry *entry;
    int64_t count;
    if (!arg_int(r, 2, &count, NULL)) return;
    if (!key_write(r, r->argv[1], TYPE_LIST, &entry)) return;
    if (entry == NULL) {
        reply_int(r->out, 0);
        return;
    }
    size_t limit = count == 0 ? SIZE_MAX : count > 0 ? (size_t)count : (size_t)0 - (size_t)count;
    size_t removed = list_remove_equal(&entry->list, r->argv[3], limit, count < 0 ? LIST_TAIL : LIST_HEAD);
    reply_int(r->out, (int64_t)removed);
    /* 3.2 has this one event of lists among those of all types. */
    if (removed > 0) key_shrunk(r, r->argv[1], list_length(entry->list) == 0, NOTIFY_GENERIC, "lrem");
}

bool ltrim_removes(const List *list, const Slice *argv, size_t *removed)
{
    int64_t start, stop, count;
    if (!number_parse_int(argv[2], &start) || !number_parse_int(argv[3], &stop)) return false;
    clip_range((int64_t)list_length(list), &start, &stop, &count);
    *removed = list_length(list) - (size_t)count;
    return true;
}

/* LTRIM key start stop: O(elements removed). */
void cmd_ltrim(Request *r)
{
    Entry *entry;
    int64_t start, stop, count;
    if (!arg_int(r, 2, &start, NULL) || !arg_int(r, 3, &stop, NULL)) return;
    if (!key_write(r, r->argv[1], TYPE_LIST, &entry)) return;
    if (entry == NULL) {
        reply_ok(r->out);
        return;
    }
    size_t length = list_length(entry->list);
    clip_range((int64_t)length, &start, &stop, &count);
    if (count == 0) {
        list_remove_range(&entry->list, 0, length);
    } else {
        list_remove_range(&entry->list, (size_t)stop + 1, length - (size_t)stop - 1);
        list_remove_range(&entry->list, 0, (size_t)start);
    }
    reply_ok(r->out);
    key_shrunk(r, r->argv[1], count == 0, NOTIFY_LIST, "ltrim");
}
