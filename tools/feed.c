/* feed.c: see feed.h.
 *
 * Design. Other clients work with the server meanwhile, and it may be any Redis from 3.2 on. So nothing is sent of
 * which it matters whether what was sent before it succeeded, before that is known: neither keys behind a SELECT, nor a
 * deadline behind its key, nor keys behind one that is there already.
 *
 * Keys wait until many of them can be sent together. Unless they may be replaced, it's asked first which of them are
 * there; from the first such one on none is sent. Each then goes as one RESTORE with the time that it has left, so that
 * it's there with its deadline or not at all, and no key of another client's gets the deadline. (What it takes from
 * here to the server is added to the deadline. An exact one would need a second command, which could come when the key
 * is already somebody else's.)
 *
 * A large key goes as plain commands, so that none of them takes long: under a name that nobody else has, which gets
 * its own at the end. Until then what is replaced is there, and if something is refused it stays. What an import that
 * was killed leaves under that name goes after a day.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "tools/feed.h"

#include <stdio.h>

#include "base/clock.h"
#include "tools/commands.h"
#include "tools/survey.h"
#include "tools/talk.h"

/* Keys that may wait, and bytes of their payloads. */
#define WAITING_MAX       512
#define WAITING_BYTES_MAX (4UL << 20)

/* A payload that is longer goes as plain commands. Strings can't be cut. */
#define RESTORE_BYTES_MAX (256UL << 10)

/* From then on RESTORE takes a deadline, too. */
#define REDIS_WITH_ABSTTL 5

#define BUSY              "BUSYKEY Target key name already exists. Give --replace to replace what is there"

#define INCOMPLETE_S      (24 * 60 * 60)

/* A key that waits. */
typedef struct Item {
    GBytes *key;
    GByteArray *payload;
    int64_t deadline_ms; /* -1: none */
} Item;

typedef struct Feed {
    Talk *talk;
    Commands *commands;
    bool replace;
    int db;             /* selected; -1: none */
    GPtrArray *waiting; /* Items, of that database */
    uint64_t waiting_bytes;
    char *temporary; /* the name of a large key that isn't complete */
    uint64_t imported;
    char *error; /* NULL: all is well so far */
} Feed;

static void item_free(void *item)
{
    Item *one = item;
    g_bytes_unref(one->key);
    g_byte_array_free(one->payload, TRUE);
    g_free(one);
}

static Slice item_key(const Item *item)
{
    gsize len;
    const char *key = g_bytes_get_data(item->key, &len);
    return (Slice){ key, len };
}

/* ---- commands and their replies ---- */

/* Only the first error is kept. */
static void key_failed(Feed *feed, Slice key, const char *why)
{
    if (feed->error != NULL) return;
    g_autoptr(GString) shown = g_string_new(NULL);
    rdb_put_shown(shown, key);
    feed->error = g_strdup_printf("key \"%s\": %s", shown->str, why);
}

/* The reply of a command for the key; NULL: it's an error, which is kept. */
static char *await(Feed *feed, Slice key)
{
    g_autofree char *why = NULL;
    char *reply = talk_reply(feed->talk, &why);
    if (reply == NULL) key_failed(feed, key, why);
    return reply;
}

static char *ask(Feed *feed, Slice key, const Slice *argv, int argc)
{
    commands_write(feed->commands, argv, argc);
    fflush(talk_out(feed->talk)); /* what is wrong with it shows in the reply */
    return await(feed, key);
}

/* True: no error came. */
static bool select_db(Feed *feed, int db)
{
    if (feed->db == db) return true;
    g_autofree char *why = NULL;
    commands_select(feed->commands, db);
    fflush(talk_out(feed->talk));
    g_autofree char *reply = talk_reply(feed->talk, &why);
    if (reply == NULL) feed->error = g_strdup_printf("database %d of the file: the server says: %s", db, why);
    feed->db = db;
    return reply != NULL;
}

/* ---- keys that wait ---- */

static Item *waiting_item(const Feed *feed, guint i)
{
    return feed->waiting->pdata[i];
}

/* How many there are before the first one that the server has. */
static guint find_busy(Feed *feed)
{
    guint count = feed->waiting->len;
    for (guint i = 0; i < count; i++)
        commands_write(feed->commands, (Slice[]){ SLICE("EXISTS"), item_key(waiting_item(feed, i)) }, 2);
    fflush(talk_out(feed->talk));
    guint free_ones = count;
    for (guint i = 0; i < count; i++) {
        g_autofree char *reply = await(feed, item_key(waiting_item(feed, i)));
        bool is_free = reply != NULL && strcmp(reply, "0") == 0;
        if (!is_free) free_ones = MIN(free_ones, i);
    }
    return free_ones;
}

static void write_restore(const Feed *feed, const Item *item)
{
    int64_t ttl_ms = item->deadline_ms;
    bool absolute = ttl_ms > 0 && talk_redis_version(feed->talk) >= REDIS_WITH_ABSTTL;
    if (ttl_ms >= 0 && !absolute) {
        clock_refresh();
        ttl_ms = MAX(ttl_ms - clock_unix_ms, 1); /* 0 would be none; what is over goes at once */
    }
    char digits[NUMBER_INT_CHARS];
    Slice ttl = { digits, number_format_int(digits, MAX(ttl_ms, 0)) };
    Slice payload = { (const char *)item->payload->data, item->payload->len };
    Slice restore[6] = { SLICE("RESTORE"), item_key(item), ttl, payload };
    int argc = 4;
    if (feed->replace) restore[argc++] = SLICE("REPLACE");
    if (absolute) restore[argc++] = SLICE("ABSTTL");
    commands_write(feed->commands, restore, argc);
}

static void send_first(Feed *feed, guint count)
{
    for (guint i = 0; i < count; i++)
        write_restore(feed, waiting_item(feed, i));
    fflush(talk_out(feed->talk));
    for (guint i = 0; i < count; i++) {
        g_autofree char *reply = await(feed, item_key(waiting_item(feed, i)));
        if (reply != NULL) feed->imported++;
    }
}

/* True: no error came. */
static bool send_waiting(Feed *feed)
{
    guint count = feed->waiting->len, sent = count;
    if (feed->error == NULL && count > 0) {
        if (!feed->replace) sent = find_busy(feed);
        if (feed->error == NULL) send_first(feed, sent);
        if (sent < count) key_failed(feed, item_key(waiting_item(feed, sent)), BUSY);
    }
    g_ptr_array_set_size(feed->waiting, 0);
    feed->waiting_bytes = 0;
    return feed->error == NULL;
}

/* Takes the payload. */
static void add_waiting(Feed *feed, const Entry *entry, GByteArray *payload)
{
    Item *item = g_new(Item, 1);
    *item = (Item){ .key = g_bytes_new(entry_key(entry).ptr, entry_key(entry).len),
                    .payload = payload,
                    .deadline_ms = entry->expires ? entry_deadline(entry) : -1 };
    g_ptr_array_add(feed->waiting, item);
    feed->waiting_bytes += payload->len;
    if (feed->waiting->len >= WAITING_MAX || feed->waiting_bytes >= WAITING_BYTES_MAX) send_waiting(feed);
}

/* ---- large keys ---- */

/* Under the temporary name; true: all of it is there, with its deadline. */
static bool send_parts(Feed *feed, const Entry *entry)
{
    Slice key = entry_key(entry), name = slice_of(feed->temporary);
    uint64_t due = commands_of_value(feed->commands, name, entry, INCOMPLETE_S);
    fflush(talk_out(feed->talk));
    for (; due > 0; due--)
        g_free(await(feed, key));
    if (feed->error != NULL) return false;
    g_autofree char *kept = ask(feed, key, (Slice[]){ SLICE("PERSIST"), name }, 2);
    /* If it went, what came behind that made another one. */
    if (kept != NULL && strcmp(kept, "1") != 0) key_failed(feed, key, "it was evicted, or expired, while it was sent");
    if (feed->error != NULL || !entry->expires) return feed->error == NULL;
    char digits[NUMBER_INT_CHARS];
    Slice deadline = { digits, number_format_int(digits, entry_deadline(entry)) };
    g_free(ask(feed, key, (Slice[]){ SLICE("PEXPIREAT"), name, deadline }, 3));
    return feed->error == NULL;
}

/* Gives it its own name. */
static void name_key(Feed *feed, const Entry *entry)
{
    Slice rename[] = { feed->replace ? SLICE("RENAME") : SLICE("RENAMENX"), slice_of(feed->temporary),
                       entry_key(entry) };
    g_autofree char *reply = ask(feed, entry_key(entry), rename, 3);
    clock_refresh();
    if (reply == NULL && entry->expires && entry_deadline(entry) <= clock_unix_ms) {
        g_clear_pointer(&feed->error, g_free); /* its time is over, so it isn't there any more */
    } else if (reply != NULL && strcmp(reply, "0") == 0) {
        key_failed(feed, entry_key(entry), BUSY);
    } else if (reply != NULL) {
        feed->imported++;
    }
}

static void send_large(Feed *feed, const Entry *entry)
{
    Slice key = entry_key(entry);
    if (!send_waiting(feed)) return;
    if (!feed->replace) {
        g_autofree char *there = ask(feed, key, (Slice[]){ SLICE("EXISTS"), key }, 2);
        if (there != NULL && strcmp(there, "0") != 0) key_failed(feed, key, BUSY);
        if (feed->error != NULL) return;
    }
    if (send_parts(feed, entry)) name_key(feed, entry);
    if (feed->error != NULL) g_free(ask(feed, key, (Slice[]){ SLICE("DEL"), slice_of(feed->temporary) }, 2));
}

/* ---- the file ---- */

static bool send_key(void *context, Db *db, Entry *entry)
{
    Feed *feed = context;
    bool ready = feed->db == db->index || (send_waiting(feed) && select_db(feed, db->index));
    GByteArray *payload = ready ? rdb_dump(entry) : NULL;
    if (payload != NULL && (entry->type == TYPE_STRING || payload->len <= RESTORE_BYTES_MAX)) {
        add_waiting(feed, entry, payload);
    } else {
        if (payload != NULL) g_byte_array_free(payload, TRUE);
        if (ready) send_large(feed, entry);
    }
    keyspace_delete(db, entry_key(entry));
    return feed->error != NULL;
}

static ToolStatus feed_file(RdbFile *file, Feed *feed, int databases)
{
    RdbStats stats;
    Keyspace *ks = keyspace_new(databases);
    file->loaded = send_key;
    file->context = feed;
    g_autofree char *error = rdbfile_read(file, ks, &stats);
    send_waiting(feed);
    keyspace_free(ks);
    if (error == NULL) error = g_strdup(feed->error);
    if (error == NULL) {
        rdbfile_tell(file, &stats, "were imported");
        return TOOL_OK;
    }
    g_autofree char *count = survey_count(feed->imported);
    if (g_str_has_suffix(error, ".")) error[strlen(error) - 1] = '\0';
    return tool_fail("%s. %s keys were imported, and stay", error, count);
}

ToolStatus feed_server(RdbFile *file, bool replace, int databases)
{
    Feed feed = { .replace = replace, .db = -1 };
    if (!talk_open(&feed.talk)) return TOOL_FAILED;
    feed.waiting = g_ptr_array_new_with_free_func(item_free);
    g_autofree char *unique = g_uuid_string_random();
    feed.temporary = g_strconcat("ckv-import-", unique, NULL);
    feed.commands = commands_new(talk_out(feed.talk));
    ToolStatus status = feed_file(file, &feed, databases);
    commands_free(feed.commands);
    g_ptr_array_free(feed.waiting, TRUE);
    g_free(feed.temporary);
    g_free(feed.error);
    talk_free(feed.talk);
    return status;
}
