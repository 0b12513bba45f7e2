/* fullsync.c: see fullsync.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "repl/fullsync.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "repl/slave.h"
#include "store/checkpoint.h"

#define POLL_MS 10

/* A snapshot is too old if the journal behind it is longer than itself, and than this. */
#define JOURNAL_BEHIND_MAX (64UL << 20)

static struct {
    Loop *loop;
    SyncFile *making;        /* no checkpoint is written to meanwhile; NULL: none is made now */
    SyncFile *latest;        /* the last one that was ready; not a reference: it lives while a slave has it */
    bool checkpoint_awaited; /* somebody will call on_checkpoint */
    bool refusal_told;       /* that no checkpoint can be begun is in the log */
} state;

static void serve_waiting(void);

/* ---- which snapshot ---- */

static bool is_recent(uint64_t offset, uint64_t bytes, uint64_t asked)
{
    return offset >= asked && offset >= journal_stats().first_offset &&
           journal_written() - offset <= MAX(JOURNAL_BEHIND_MAX, bytes);
}

/* The index of a checkpoint that will do, or -1. Behind one that ends in a database, the stream doesn't say SELECT
 * again, but where a master's history began; and a slave of 3.2 expects to be in the first. (Others are told, and a
 * stream that is passed on has no other.) */
static int find_checkpoint(uint64_t asked)
{
    const Manifest *manifest = master_hooks.manifest;
    int newest = manifest_newest(manifest);
    if (newest < 0) return -1;
    const CheckpointInfo *info = &manifest->checkpoint[newest];
    bool named = info->db <= 0 || info->offset == manifest->offset2;
    return (named || slave_is_one()) && is_recent(info->offset, info->file_bytes, asked) ? newest : -1;
}

static SyncFile *find_file(uint64_t asked)
{
    SyncFile *making = state.making, *latest = state.latest;
    if (making != NULL && is_recent(syncfile_offset(making), 0, asked)) return making;
    if (latest == NULL || !is_recent(syncfile_offset(latest), syncfile_bytes(latest), asked)) return NULL;
    return latest;
}

static bool is_used(const SyncFile *file)
{
    for (guint i = 0; i < replicas->len; i++) {
        if (((const Replica *)replicas->pdata[i])->file == file) return true;
    }
    return false;
}

/* ---- the file is made ---- */

static void fail_slaves(const SyncFile *file)
{
    g_autofree char *why = g_strdup_printf("no snapshot can be made: %s", syncfile_error(file));
    for (guint i = 0; i < replicas->len; i++) {
        Replica *replica = replicas->pdata[i];
        if (replica->file == file) replica_drop(replica, why);
    }
}

static void send_head(Replica *replica)
{
    g_autofree char *name = replica_name(replica);
    g_autofree char *head = g_strdup_printf("$%lu\r\n", syncfile_bytes(replica->file));
    log_line(LOG_NOTICE, "Sending %lu bytes of snapshot to slave %s", syncfile_bytes(replica->file), name);
    out_write(client_out(replica->client), head, strlen(head));
    replica->state = REPLICA_SENDING;
    client_feed_below(replica->client, FEED_BELOW);
}

static void begin_sending(const SyncFile *file)
{
    for (guint i = 0; i < replicas->len; i++) {
        Replica *replica = replicas->pdata[i];
        if (replica->file == file && replica->state == REPLICA_WAITING) send_head(replica);
    }
}

/* It's made, or given up. */
static void end_making(void)
{
    syncfile_unref(g_steal_pointer(&state.making));
    master_hooks.hold(false);
}

static int64_t poll_file(void *context)
{
    (void)context;
    SyncFile *file = state.making;
    if (file == NULL) return -1;
    if (syncfile_state(file) == SYNCFILE_MAKING) return POLL_MS;
    if (syncfile_state(file) == SYNCFILE_FAILED) {
        fail_slaves(file);
    } else {
        state.latest = file;
        begin_sending(file);
    }
    end_making();
    serve_waiting();
    return -1;
}

/* False: it can't be made now; the log says why. */
static bool make_file(int checkpoint)
{
    char *error = NULL;
    state.making =
        syncfile_new(checkpoint_file_name[checkpoint], &master_hooks.manifest->checkpoint[checkpoint], &error);
    if (state.making == NULL) {
        log_line(LOG_WARNING, "No snapshot for slaves can be made: %s", error);
        g_free(error);
        return false;
    }
    log_line(LOG_NOTICE, "Making a snapshot for slaves of the checkpoint at offset %lu", syncfile_offset(state.making));
    master_hooks.hold(true);
    loop_timer(state.loop, POLL_MS, poll_file, NULL);
    return true;
}

/* ---- slaves that wait ---- */

static void on_checkpoint(const char *error, void *context)
{
    (void)context;
    state.checkpoint_awaited = false;
    /* If it was given up, the history or the dataset may be changing right now, and no other may begin: fullsync_tick
     * goes on. */
    if (error == NULL) serve_waiting();
}

/* Waits for a checkpoint: the one that is running, or a new one. */
static void await_checkpoint(void)
{
    char *error = NULL;
    if (state.checkpoint_awaited) return;
    bool running = checkpoint_status().state != CHECKPOINT_IDLE || master_hooks.begin_checkpoint(&error);
    if (running) {
        state.checkpoint_awaited = true;
        master_hooks.when_done(on_checkpoint, NULL);
    } else if (!state.refusal_told) {
        log_line(LOG_NOTICE, "A slave waits for a checkpoint, which can't be begun yet: %s", error);
    }
    state.refusal_told = !running;
    g_free(error);
}

static void join(Replica *replica, SyncFile *file)
{
    replica->file = syncfile_ref(file);
    if (!replica->plain) {
        g_autofree char *reply =
            g_strdup_printf("+FULLRESYNC %s %lu\r\n", master_hooks.manifest->history, syncfile_offset(file));
        out_write(client_out(replica->client), reply, strlen(reply));
    }
    if (syncfile_state(file) == SYNCFILE_READY) send_head(replica);
}

/* Whoever has no snapshot yet gets one, or it's begun. Who needs a newer one than there is keeps no other from what
 * will do for that one. */
static void serve_waiting(void)
{
    bool awaited = false, refused = false; /* a checkpoint was, its file was: none is asked for again */
    for (guint i = 0; i < replicas->len; i++) {
        Replica *replica = replicas->pdata[i];
        if (replica->state != REPLICA_WAITING || replica->file != NULL || replica->client->closing) continue;
        SyncFile *file = find_file(replica->asked);
        if (file == NULL && state.making == NULL) {
            int checkpoint = find_checkpoint(replica->asked);
            if (checkpoint < 0) {
                if (!awaited) await_checkpoint();
                awaited = true;
            } else if (!refused) {
                refused = !make_file(checkpoint);
                file = state.making;
            }
        }
        if (file != NULL) join(replica, file); /* else on_checkpoint, poll_file or fullsync_tick goes on */
    }
}

void fullsync_begin(Replica *replica)
{
    replica->state = REPLICA_WAITING;
    serve_waiting();
}

void fullsync_tick(void)
{
    serve_waiting();
}

void fullsync_leave(Replica *replica)
{
    SyncFile *file = g_steal_pointer(&replica->file);
    g_clear_pointer(&replica->warm, warm_free);
    if (file == NULL) return;
    bool used = is_used(file);
    if (state.latest == file && !used) state.latest = NULL;
    syncfile_unref(file);
    if (state.making == file && !used) end_making();
}

/* ---- sending ---- */

/* Who came by SYNC isn't told the stream's database otherwise, and begins in the first. */
static void select_db(Replica *replica)
{
    int db = syncfile_db(replica->file);
    if (!replica->plain || db <= 0) return;
    Out *out = client_out(replica->client);
    reply_array(out, 2);
    reply_bulk_cstring(out, "SELECT");
    reply_bulk_int(out, db);
}

void fullsync_feed(Replica *replica)
{
    uint64_t left = syncfile_bytes(replica->file) - replica->file_sent;
    size_t part = (size_t)MIN(left, FEED_PIECE);
    Out *out = client_out(replica->client);
    if (replica->warm == NULL) replica->warm = warm_new();
    if (!syncfile_read(replica->file, replica->warm, out_reserve(out, part), part, replica->file_sent)) {
        if (errno == EAGAIN) {
            replica_feed_later(replica);
        } else {
            replica_drop(replica, g_strerror(errno));
        }
        return;
    }
    out_commit(out, part);
    replica->file_sent += part;
    if (part < left) return;
    g_autofree char *name = replica_name(replica);
    log_line(LOG_NOTICE, "Synchronization with slave %s succeeded", name);
    uint64_t offset = syncfile_offset(replica->file);
    select_db(replica);
    fullsync_leave(replica);
    replica_go_online(replica, offset);
}

void fullsync_init(Loop *loop)
{
    state.loop = loop;
}
