/* debug.c: DEBUG and OBJECT: looking inside values, for tests and for the curious. Called by the command table only.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>

#include "base/options.h"
#include "cmds/checkpoints.h"
#include "cmds/command.h"
#include "cmds/digest.h"
#include "cmds/effect.h"
#include "cmds/handlers.h"
#include "cmds/persist.h"
#include "cmds/subcommand.h"
#include "repl/slave.h"
#include "store/hash.h"
#include "store/journal.h"
#include "store/list.h"
#include "store/set.h"
#include "store/zset.h"

/* ---- encodings ---- */

static const char *const string_encodings[] = {
    [STRING_RAW] = "raw", [STRING_EMBEDDED] = "embstr", [STRING_INT] = "int"
};

static const char *encoding_of(const Entry *entry)
{
    switch ((ValueType)entry->type) {
    case TYPE_STRING: return string_encodings[entry->encoding];
    case TYPE_LIST: return list_encoding(entry->list);
    case TYPE_SET: return set_encoding(entry->set);
    case TYPE_ZSET: return zset_encoding(entry->zset);
    case TYPE_HASH: return hash_encoding(entry->hash);
    }
    g_assert_not_reached();
}

/* The bytes that the value holds. */
static size_t value_bytes(const Entry *entry)
{
    switch ((ValueType)entry->type) {
    case TYPE_STRING: return entry_string_len(entry);
    case TYPE_LIST: return list_bytes(entry->list);
    case TYPE_SET: return set_bytes(entry->set);
    case TYPE_ZSET: return zset_bytes(entry->zset);
    case TYPE_HASH: return hash_bytes(entry->hash);
    }
    g_assert_not_reached();
}

/* OBJECT ENCODING | IDLETIME | REFCOUNT key */
void cmd_object(Request *r)
{
    bool refcount = arg_is(r, 1, "refcount"), encoding = arg_is(r, 1, "encoding");
    if (!refcount && !encoding && !arg_is(r, 1, "idletime")) {
        reply_error(r->out, "ERR Syntax error. Try OBJECT (refcount|encoding|idletime)");
        return;
    }
    const Entry *entry = keyspace_peek(r->db, r->argv[2]);
    if (entry == NULL) {
        reply_nil(r->out);
    } else if (refcount) {
        reply_int(r->out, 1);
    } else if (encoding) {
        reply_bulk_cstring(r->out, encoding_of(entry));
    } else {
        reply_int(r->out, (int64_t)(keyspace_idle_ms(entry) / 1000));
    }
}

/* ---- DEBUG ---- */

/* DIGEST: O(N), with all the elements of all keys */
static void debug_digest(Request *r)
{
    char text[DIGEST_CHARS + 1];
    digest_keyspace(text);
    reply_status(r->out, text);
}

static void append_list_details(GString *text, const List *list)
{
    g_string_append_printf(text,
                           " ql_nodes:%zu ql_avg_node:%.2f ql_ziplist_max:%ld ql_compressed:0 ql_uncompressed_size:%zu",
                           list_chunks(list), (double)list_length(list) / (double)list_chunks(list),
                           options.list_max_ziplist_size, list_bytes(list));
}

/* OBJECT key */
static void debug_object(Request *r)
{
    const Entry *entry = keyspace_peek(r->db, r->argv[2]);
    if (entry == NULL) {
        reply_error(r->out, ERROR_NO_SUCH_KEY);
        return;
    }
    const void *value = entry->type == TYPE_STRING ? (const void *)entry : entry->object;
    g_autoptr(GString) text = g_string_new(NULL);
    g_string_printf(text, "Value at:%p refcount:1 encoding:%s serializedlength:%zu lru:%u lru_seconds_idle:%lu", value,
                    encoding_of(entry), value_bytes(entry), (unsigned)entry->lru, keyspace_idle_ms(entry) / 1000);
    if (entry->type == TYPE_LIST) append_list_details(text, entry->list);
    reply_status(r->out, text->str);
}

/* SLEEP seconds: nobody is served meanwhile */
static void debug_sleep(Request *r)
{
    double seconds;
    if (!arg_double(r, 2, &seconds, NULL)) return;
    g_usleep((gulong)(CLAMP(seconds, 0, 86400) * 1e6));
    reply_ok(r->out);
}

/* ERROR text: answers it as an error, so that clients can be tested with those that are hard to come by */
static void debug_error(Request *r)
{
    g_autofree char *text = g_strndup(r->argv[2].ptr, r->argv[2].len);
    reply_error(r->out, text);
}

#define POPULATE_COMMIT_BYTES (16UL << 20)

/* POPULATE count [prefix]: sets prefix:0 to value:0 and so on, but for those that are there */
static void debug_populate(Request *r)
{
    int64_t count;
    if (!arg_int(r, 2, &count, NULL)) return;
    if (slave_is_one()) {
        reply_error(r->out, ERROR_READONLY);
        return;
    }
    g_autoptr(GString) key = g_string_new(NULL);
    Slice prefix = r->argc == 4 ? r->argv[3] : SLICE("key");
    for (int64_t i = 0; i < count; i++) {
        char value[64];
        g_string_truncate(key, 0);
        g_string_append_len(key, prefix.ptr, (gssize)prefix.len);
        g_string_append_printf(key, ":%ld", i);
        Slice name = { key->str, key->len };
        if (keyspace_use(r->db, name) != NULL) continue;
        int len = snprintf(value, sizeof(value), "value:%ld", i);
        keyspace_put_string(r->db, name, (Slice){ value, (size_t)len });
        effect_set(r->db, name, (Slice){ value, (size_t)len }, -1);
        keyspace_changed(r->db, name);
        if (journal_pending_bytes() > POPULATE_COMMIT_BYTES) effect_write(); /* each key is a change of its own */
    }
    reply_ok(r->out);
}

/* SET-ACTIVE-EXPIRE 0 | 1: whether keys are gone at their deadline, or only when they are touched after it */
static void debug_set_active_expire(Request *r)
{
    int64_t active = 0;
    keyspace->expire_paused = !number_parse_int(r->argv[2], &active) || active == 0;
    reply_ok(r->out);
}

/* Empties memory and loads it from disk. */
static void reload(Request *r, bool save)
{
    char *error = NULL;
    if (save && !checkpoints_save(&error)) {
        reply_errorf(r->out, "ERR Can't save: %s", error);
        g_free(error);
        return;
    }
    if (!persist_reload_now(&error)) {
        reply_errorf(r->out, "ERR Can't load: %s", error);
        g_free(error);
        return;
    }
    reply_ok(r->out);
}

/* RELOAD: saves a checkpoint and loads that */
static void debug_reload(Request *r)
{
    reload(r, true);
}

/* LOADAOF: loads what is on disk: the last checkpoint, and the journal behind it */
static void debug_loadaof(Request *r)
{
    reload(r, false);
}

static void debug_help(Request *r)
{
    static const char *const lines[] = {
        "DEBUG <subcommand> arg arg ... arg. Subcommands:",
        "object <key> -- How the key's value is held.",
        "sleep <seconds> -- Stop the server for <seconds>. Decimals allowed.",
        "error <string> -- Answer <string> as an error.",
        "digest -- A checksum of the whole dataset, by which two servers can be compared.",
        "populate <count> [prefix] -- Create <count> string keys named key:<num>, or <prefix>:<num>.",
        "reload -- Save a checkpoint, empty memory, and load it again.",
        "loadaof -- Empty memory, and load the last checkpoint and the journal behind it.",
        "set-active-expire (0|1) -- Whether expired keys go by themselves (1), or only when they are touched (0).",
    };
    reply_array(r->out, G_N_ELEMENTS(lines));
    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++)
        reply_status(r->out, lines[i]);
}

static const SubCommand sub_commands[] = {
    { "help", 2, 2, debug_help },
    { "object", 3, 3, debug_object },
    { "sleep", 3, 3, debug_sleep },
    { "error", 3, 3, debug_error },
    { "digest", 2, 2, debug_digest },
    { "populate", 3, 4, debug_populate },
    { "reload", 2, 2, debug_reload },
    { "loadaof", 2, 2, debug_loadaof },
    { "set-active-expire", 3, 3, debug_set_active_expire },
};

/* DEBUG HELP | OBJECT key | SLEEP seconds | ERROR text | DIGEST | POPULATE count [prefix] | RELOAD | LOADAOF |
 * SET-ACTIVE-EXPIRE 0|1 */
void cmd_debug(Request *r)
{
    if (r->argc == 1) {
        reply_error(r->out, "ERR You must specify a subcommand for DEBUG. Try DEBUG HELP for info.");
        return;
    }
    if (subcommand_run(r, sub_commands, G_N_ELEMENTS(sub_commands)) == SUBCOMMAND_RAN) return;
    reply_errorf(r->out, "ERR Unknown DEBUG subcommand or wrong number of arguments for '%.*s'", (int)r->argv[1].len,
                 r->argv[1].ptr);
}
