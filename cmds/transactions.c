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
#include "cmds/sync.h"

/* ---- the queue ---- */

/* One allocation: the head, the slices, the bytes. */
typedef struct QueuedCommand {
    const Command *command;
    int argc;
    Slice argv[];
} QueuedCommand;

void transaction_queue(Request *r)
{
    size_t slices = sizeof(Slice) * (size_t)r->argc, bytes = 0;
    for (int i = 0; i < r->argc; i++)
        bytes += r->argv[i].len;
    QueuedCommand *queued = g_malloc(sizeof(QueuedCommand) + slices + bytes);
    queued->command = r->command;
    queued->argc = r->argc;
    char *at = (char *)queued + sizeof(QueuedCommand) + slices;
    for (int i = 0; i < r->argc; i++) {
        if (r->argv[i].len > 0) memcpy(at, r->argv[i].ptr, r->argv[i].len);
        queued->argv[i] = (Slice){ at, r->argv[i].len };
        at += r->argv[i].len;
    }
    if (r->session->queue == NULL) r->session->queue = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(r->session->queue, queued);
}

bool transaction_adds(const Session *session)
{
    for (guint i = 0; session->queue != NULL && i < session->queue->len; i++) {
        const QueuedCommand *queued = session->queue->pdata[i];
        if (command_adds(queued->command)) return true;
    }
    return false;
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

static void watch(Session *session, Slice key)
{
    if (watchers == NULL) watchers = g_hash_table_new(watched_hash, watched_equal);
    if (session->watched == NULL) session->watched = g_ptr_array_new();
    WatchedKey *fresh = watched_new(session->db, key);
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

void transaction_discard(Session *session)
{
    g_clear_pointer(&session->queue, g_ptr_array_unref);
    session->in_multi = session->multi_broken = false;
    unwatch_all(session);
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
        command_call(&part);
    }
    effect_exec_end();
    r->session->in_exec = false;
}

/* Whether the journal has room for what was queued; if not, the error is out. */
static bool admit_queue(Request *r, const GPtrArray *queue)
{
    size_t bytes = 0;
    bool writes = false;
    for (guint i = 0; effects_on && queue != NULL && i < queue->len; i++) {
        const QueuedCommand *queued = queue->pdata[i];
        if (!(queued->command->flags & CMD_WRITE)) continue;
        bytes += effect_bytes(queued->argv, queued->argc);
        writes = true;
    }
    return !writes || (effect_admit(r->out, bytes) && sync_admits(r->out));
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
    monitor_show(r);
}

/* WATCH key [key …] */
void cmd_watch(Request *r)
{
    if (r->session->in_multi) {
        reply_error(r->out, "ERR WATCH inside MULTI is not allowed");
        return;
    }
    for (int i = 1; i < r->argc; i++)
        watch(r->session, r->argv[i]);
    reply_ok(r->out);
}

/* UNWATCH */
void cmd_unwatch(Request *r)
{
    unwatch_all(r->session);
    reply_ok(r->out);
}
