/* transactions.c: MULTI, EXEC, DISCARD, WATCH, UNWATCH. Called by the command table, and by command.c when a queue or a
 * watch is affected.
 *
 * Design. `watchers` maps a watched key (database and bytes) to the sessions that watch it; a session has a list of its
 * own of the same keys. A change to a key marks those sessions, and nothing is looked up while nobody watches anything.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/command.h"
#include "cmds/effect.h"
#include "cmds/handlers.h"
#include "cmds/replication.h"
#include "cmds/savepages.h"
#include "cmds/sync.h"
#include "repl/slave.h"

/* ---- the queue ---- */

/* One allocation: the head, the slices, the bytes. */
typedef struct QueuedCommand {
    const Command *command;
    int argc;
    Slice argv[];
} QueuedCommand;

static void queue(Session *session, const Command *command, const Slice *argv, int argc)
{
    size_t slices = sizeof(Slice) * (size_t)argc, bytes = 0;
    for (int i = 0; i < argc; i++)
        bytes += argv[i].len;
    QueuedCommand *queued = g_malloc(sizeof(QueuedCommand) + slices + bytes);
    queued->command = command;
    queued->argc = argc;
    char *at = (char *)queued + sizeof(QueuedCommand) + slices;
    for (int i = 0; i < argc; i++) {
        if (argv[i].len > 0) memcpy(at, argv[i].ptr, argv[i].len);
        queued->argv[i] = (Slice){ at, argv[i].len };
        at += argv[i].len;
    }
    if (session->queue == NULL) session->queue = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(session->queue, queued);
}

void transaction_queue(Request *r)
{
    queue(r->session, r->command, r->argv, r->argc);
}

bool transaction_adds(const Session *session)
{
    for (guint i = 0; session->queue != NULL && i < session->queue->len; i++) {
        const QueuedCommand *queued = session->queue->pdata[i];
        if (command_adds(queued->command)) return true;
    }
    return false;
}

bool transaction_save_pages(const Session *session)
{
    Db *db = session->db;
    for (guint i = 0; session->queue != NULL && i < session->queue->len; i++) {
        const QueuedCommand *queued = session->queue->pdata[i];
        if (queued->command->handler == cmd_select) db = select_db(queued->argv[1], db);
        if (!savepages_before(queued->command, db, queued->argv, (size_t)queued->argc)) return false;
    }
    return true;
}

/* ---- watched keys ---- */

typedef struct WatchedKey {
    const Db *db;
    GPtrArray *sessions; /* that watch it */
    size_t len;
    char bytes[];
} WatchedKey;

/* A set: each WatchedKey is its own key. NULL while nothing is watched. */
static GHashTable *watchers;

static guint watched_hash(gconstpointer key)
{
    const WatchedKey *watched = key;
    return (guint)(table_hash((Slice){ watched->bytes, watched->len }) ^ (uint64_t)(uint32_t)watched->db->index);
}

static gboolean watched_equal(gconstpointer a, gconstpointer b)
{
    const WatchedKey *x = a, *y = b;
    return x->db == y->db && x->len == y->len && memcmp(x->bytes, y->bytes, x->len) == 0;
}

static WatchedKey *watched_new(const Db *db, Slice key)
{
    WatchedKey *watched = g_malloc(sizeof(WatchedKey) + key.len);
    *watched = (WatchedKey){ .db = db, .len = key.len };
    if (key.len > 0) memcpy(watched->bytes, key.ptr, key.len);
    return watched;
}

static void watch(Session *session, const Db *db, Slice key)
{
    if (watchers == NULL) watchers = g_hash_table_new(watched_hash, watched_equal);
    if (session->watched == NULL) session->watched = g_ptr_array_new();
    WatchedKey *fresh = watched_new(db, key);
    WatchedKey *watched = g_hash_table_lookup(watchers, fresh);
    if (watched == NULL) {
        watched = fresh;
        watched->sessions = g_ptr_array_new();
        g_hash_table_add(watchers, watched);
    } else {
        g_free(fresh);
        if (g_ptr_array_find(session->watched, watched, NULL)) return;
    }
    g_ptr_array_add(watched->sessions, session);
    g_ptr_array_add(session->watched, watched);
}

static void unwatch_all(Session *session)
{
    session->watch_touched = false;
    if (session->watched == NULL) return;
    for (guint i = 0; i < session->watched->len; i++) {
        WatchedKey *watched = session->watched->pdata[i];
        g_ptr_array_remove_fast(watched->sessions, session);
        if (watched->sessions->len > 0) continue;
        g_hash_table_remove(watchers, watched);
        g_ptr_array_free(watched->sessions, TRUE);
        g_free(watched);
    }
    g_clear_pointer(&session->watched, g_ptr_array_unref);
    if (g_hash_table_size(watchers) == 0) g_clear_pointer(&watchers, g_hash_table_destroy);
}

static void touch_sessions(const WatchedKey *watched)
{
    for (guint i = 0; i < watched->sessions->len; i++)
        ((Session *)watched->sessions->pdata[i])->watch_touched = true;
}

void transaction_touch(Db *db, Slice key)
{
    if (watchers == NULL) return;
    WatchedKey *probe = watched_new(db, key);
    const WatchedKey *watched = g_hash_table_lookup(watchers, probe);
    if (watched != NULL) touch_sessions(watched);
    g_free(probe);
}

void transaction_touch_all(const Db *db)
{
    if (watchers == NULL) return;
    GHashTableIter iter;
    gpointer key;
    g_hash_table_iter_init(&iter, watchers);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        const WatchedKey *watched = key;
        if (db != NULL && watched->db != db) continue;
        if (keyspace_peek(&keyspace->dbs[watched->db->index], (Slice){ watched->bytes, watched->len }) != NULL) {
            touch_sessions(watched);
        }
    }
}

void transaction_data_replaced(void)
{
    if (watchers == NULL) return;
    GHashTableIter iter;
    gpointer key;
    g_hash_table_iter_init(&iter, watchers);
    while (g_hash_table_iter_next(&iter, &key, NULL))
        touch_sessions(key);
}

void transaction_discard(Session *session)
{
    g_clear_pointer(&session->queue, g_ptr_array_unref);
    session->in_multi = session->multi_broken = false;
    unwatch_all(session);
}

/* ---- passing to another process ---- */

void transaction_save(const Session *session, Tape *tape)
{
    guint queued = session->queue == NULL ? 0 : session->queue->len;
    guint watched = session->watched == NULL ? 0 : session->watched->len;
    tape_put(tape, queued);
    for (guint i = 0; i < queued; i++) {
        const QueuedCommand *each = session->queue->pdata[i];
        tape_put_string(tape, each->command->name);
        tape_put(tape, (uint64_t)each->argc);
        for (int a = 0; a < each->argc; a++)
            tape_put_text(tape, each->argv[a]);
    }
    tape_put(tape, watched);
    for (guint i = 0; i < watched; i++) {
        const WatchedKey *each = session->watched->pdata[i];
        tape_put(tape, (uint64_t)each->db->index);
        tape_put_text(tape, (Slice){ each->bytes, each->len });
    }
}

/* A command that this version doesn't have, or not with so many arguments: it can't run. */
static void restore_queued(Session *session, TapeReader *tape)
{
    g_autofree char *name = tape_get_string(tape);
    const Command *command = name == NULL ? NULL : command_find(slice_of(name));
    g_autoptr(GArray) argv = g_array_new(FALSE, FALSE, sizeof(Slice));
    for (size_t left = tape_get_count(tape); left > 0; left--) {
        Slice text = tape_get_text(tape);
        g_array_append_val(argv, text);
    }
    if (command == NULL || command->handler == NULL || argv->len == 0) tape->bad = true;
    if (!tape->bad) queue(session, command, (const Slice *)(const void *)argv->data, (int)argv->len);
}

void transaction_restore(Session *session, TapeReader *tape)
{
    for (size_t left = tape_get_count(tape); left > 0 && !tape->bad; left--)
        restore_queued(session, tape);
    for (size_t left = tape_get_count(tape); left > 0 && !tape->bad; left--) {
        const Db *db = &keyspace->dbs[tape_get_below(tape, (uint64_t)keyspace->db_count)];
        watch(session, db, tape_get_text(tape));
    }
}

/* ---- the commands ---- */

/* MULTI */
void cmd_multi(Request *r)
{
    if (r->session->in_multi) {
        reply_error(r->out, "ERR MULTI calls can not be nested");
        return;
    }
    r->session->in_multi = true;
    reply_ok(r->out);
}

/* DISCARD */
void cmd_discard(Request *r)
{
    if (!r->session->in_multi) {
        reply_error(r->out, "ERR DISCARD without MULTI");
        return;
    }
    transaction_discard(r->session);
    reply_ok(r->out);
}

/* SLAVEOF may have been one of those before; or one that changed very much, as SORT … STORE may. False: the error is
 * out. */
static bool may_run(Request *part)
{
    if (!(part->command->flags & CMD_WRITE)) return true;
    int key = part->command->first_key;
    size_t expired = key > 0 && key < part->argc ? part->argv[key].len : 0; /* which may have to be deleted first */
    return (!slave_is_one() || replication_admits_write(part)) &&
           effect_fits(part->out, effect_bytes(part->argv, part->argc) + expired);
}

/* Runs what was queued; the session is out of MULTI by then. */
static void run_queue(Request *r, GPtrArray *queue)
{
    guint count = queue == NULL ? 0 : queue->len;
    reply_array(r->out, count);
    r->session->in_exec = true;
    effect_exec_begin();
    for (guint i = 0; i < count; i++) {
        const QueuedCommand *queued = queue->pdata[i];
        Request part = *r;
        part.db = r->session->db;
        part.command = queued->command;
        part.argc = queued->argc;
        part.argv = queued->argv;
        if (may_run(&part)) command_call(&part);
    }
    effect_exec_end();
    r->session->in_exec = false;
}

/* Whether the journal has room for what was queued, and a slave was to write nothing; if not, the error is out. */
static bool admit_queue(Request *r, const GPtrArray *queue)
{
    size_t bytes = 0;
    bool writes = false;
    for (guint i = 0; queue != NULL && i < queue->len; i++) {
        const QueuedCommand *queued = queue->pdata[i];
        if (!(queued->command->flags & CMD_WRITE)) continue;
        bytes += effect_bytes(queued->argv, queued->argc);
        writes = true;
    }
    if (!writes) return true;
    if (slave_is_one()) { /* as later versions; 3.2 would write */
        reply_error(r->out, "ERR Transaction contains write commands but instance is now a read-only slave. "
                            "EXEC aborted.");
        return false;
    }
    return !effects_on || effects_aside || (effect_admit(r->out, bytes) && sync_admits(r->out));
}

/* EXEC */
void cmd_exec(Request *r)
{
    Session *session = r->session;
    if (!session->in_multi) {
        reply_error(r->out, "ERR EXEC without MULTI");
        return;
    }
    bool broken = session->multi_broken, touched = session->watch_touched;
    GPtrArray *queue = g_steal_pointer(&session->queue);
    transaction_discard(session);
    if (broken) {
        reply_error(r->out, "EXECABORT Transaction discarded because of previous errors.");
    } else if (touched) {
        reply_nil_array(r->out);
    } else if (admit_queue(r, queue)) {
        run_queue(r, queue);
    }
    if (queue != NULL) g_ptr_array_unref(queue);
    Request shown = *r;
    shown.db = session->db; /* as 3.2: after what was queued, which may have been a SELECT */
    monitor_show(&shown);
}

/* WATCH key [key …] */
void cmd_watch(Request *r)
{
    if (r->session->in_multi) {
        reply_error(r->out, "ERR WATCH inside MULTI is not allowed");
        return;
    }
    for (int i = 1; i < r->argc; i++)
        watch(r->session, r->db, r->argv[i]);
    reply_ok(r->out);
}

/* UNWATCH */
void cmd_unwatch(Request *r)
{
    unwatch_all(r->session);
    reply_ok(r->out);
}
