/* master.c: see master.h. (Snapshots are in fullsync.c.)
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "repl/master.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "repl/fullsync.h"
#include "repl/replica.h"
#include "repl/slave.h"
#include "store/journal.h"

#define TICK_MS      1000
#define DISK_TICK_MS 2

/* What is read in one turn of the journal before a slave's offset, to find it. */
#define SEEK_PIECE ((size_t)512 * 1024)

/* A slave with more unsent output than this is behind. */
#define LIVE_MAX ((size_t)4 * 1024 * 1024)

bool master_is_origin = true;
MasterStats master_stats;
GPtrArray *replicas;
MasterHooks master_hooks;

static Loop *loop;
static int64_t pinged_ms; /* clock_mono_ms, as all times here */
static bool disk_awaited; /* disk_tick runs */

/* ---- slaves ---- */

/* Where its connection comes from. */
static char *peer_ip(const Client *client)
{
    char address[CLIENT_ADDRESS_CHARS];
    client_address(client, address);
    *strrchr(address, ':') = '\0';
    size_t len = strlen(address);
    return address[0] == '[' ? g_strndup(address + 1, len - 2) : g_strdup(address);
}

/* The client's state as a slave, which it gets with its first word of replication. */
static Replica *replica_of(Client *client)
{
    if (client->replica == NULL) {
        Replica *replica = g_new0(Replica, 1);
        replica->client = client;
        replica->ip = peer_ip(client);
        client->replica = replica;
    }
    return client->replica;
}

char *replica_name(const Replica *replica)
{
    return replica->port > 0 ? g_strdup_printf("%s:%d", replica->ip, replica->port)
                             : g_strdup_printf("%s:<unknown-slave-port>", replica->ip);
}

static void attach(Replica *replica)
{
    replica->client->class = CLIENT_SLAVE;
    replica->taken_ms = clock_mono_ms();
    g_ptr_array_add(replicas, replica);
}

/* It's no slave any more, and needs nothing. */
static void detach(Replica *replica)
{
    client_feed_below(replica->client, 0);
    g_clear_pointer(&replica->reader, journal_reader_free);
    fullsync_leave(replica);
    replica->awaits_disk = false;
    replica->state = REPLICA_NEW;
    g_ptr_array_remove(replicas, replica);
}

void replica_drop(Replica *replica, const char *why)
{
    g_autofree char *name = replica_name(replica);
    log_line(LOG_WARNING, "Closing the connection of slave %s: %s", name, why);
    client_close_now(replica->client);
}

void master_drop_slaves(const char *why)
{
    while (replicas->len > 0) {
        Replica *replica = replicas->pdata[0];
        replica_drop(replica, why);
        detach(replica);
    }
    master_hooks.acked();
}

void master_closed(Client *client)
{
    Replica *replica = client->replica;
    if (replica == NULL) return;
    if (replica->state != REPLICA_NEW) {
        g_autofree char *name = replica_name(replica);
        log_line(LOG_WARNING, "Connection with slave %s lost.", name);
        detach(replica);
        master_hooks.acked();
    }
    g_free(replica->ip);
    g_free(replica);
    client->replica = NULL;
}

void master_set_port(Client *client, int port)
{
    replica_of(client)->port = port;
}

void master_set_ip(Client *client, Slice ip)
{
    Replica *replica = replica_of(client);
    g_free(replica->ip);
    replica->ip = ip.len == 0 ? peer_ip(client) : g_strndup(ip.ptr, ip.len);
}

void master_set_psync2(Client *client)
{
    replica_of(client)->psync2 = true;
}

void master_reject(Client *client, Slice command)
{
    g_autofree char *sent = g_strndup(command.ptr, MIN(command.len, 64));
    g_autofree char *shown = g_strescape(sent, NULL);
    g_autofree char *why = g_strdup_printf("it sent '%s', whose reply has no place in the stream", shown);
    replica_drop(client->replica, why);
}

static void fall_behind(Replica *replica)
{
    replica->behind = true;
    client_feed_below(replica->client, FEED_BELOW);
}

static void catch_up(Replica *replica)
{
    replica->behind = false;
    g_clear_pointer(&replica->reader, journal_reader_free);
    client_feed_below(replica->client, 0);
}

/* ---- limits ---- */

/* Up to where the slave has taken the stream; or has it by the snapshot that it's sent. */
static uint64_t taken_offset(const Replica *replica)
{
    if (replica->state == REPLICA_ONLINE) return replica->sent - MIN(replica->client->out.bytes, replica->sent);
    return replica->file != NULL ? syncfile_offset(replica->file) : journal_written();
}

/* What is in the journal on the disk for this slave alone: it's further behind than the journal is kept anyway. */
static int64_t held_bytes(const Replica *replica)
{
    int64_t behind = (int64_t)(journal_written() - taken_offset(replica));
    return MAX(behind - options.journal_keep_bytes, 0);
}

static bool within_limits(Replica *replica)
{
    const OutputLimit *limit = &options.output_limit[CLIENT_SLAVE];
    int64_t held = held_bytes(replica);
    if (limit->hard_bytes > 0 && held >= limit->hard_bytes) return false;
    if (limit->soft_bytes == 0 || held < limit->soft_bytes) {
        replica->soft_since_ms = 0;
        return true;
    }
    if (replica->soft_since_ms == 0) replica->soft_since_ms = clock_mono_ms();
    return clock_mono_ms() - replica->soft_since_ms <= limit->soft_seconds * 1000;
}

/* As Redis does when its buffer for a slave is full: here the journal is the buffer. */
static void check_limits(Replica *replica)
{
    Client *client = replica->client;
    if (client->closing || within_limits(replica)) return;
    char address[CLIENT_ADDRESS_CHARS];
    client_address(client, address);
    g_autofree char *name = replica_name(replica);
    log_line(LOG_WARNING,
             "Client id=%lu addr=%s scheduled to be closed ASAP for overcoming of output buffer limits: slave %s is "
             "%lu bytes behind.",
             client->id, address, name, journal_written() - taken_offset(replica));
    client_close_now(client);
}

/* ---- the stream ---- */

/* A batch is in the journal: whoever has all before it and takes it is given it. */
static void on_written(uint64_t offset, Slice payload)
{
    for (guint i = 0; i < replicas->len; i++) {
        Replica *replica = replicas->pdata[i];
        check_limits(replica);
        if (replica->state != REPLICA_ONLINE || replica->behind) continue;
        g_assert(replica->sent == offset);
        if (replica->client->out.bytes + payload.len > LIVE_MAX) {
            fall_behind(replica);
            continue;
        }
        out_write(client_out(replica->client), payload.ptr, payload.len);
        replica->sent += payload.len;
    }
}

static int64_t disk_tick(void *context)
{
    (void)context;
    disk_awaited = false;
    for (guint i = 0; i < replicas->len; i++) {
        Replica *replica = replicas->pdata[i];
        if (!replica->awaits_disk) continue;
        replica->awaits_disk = false;
        client_feed_below(replica->client, FEED_BELOW);
    }
    return -1;
}

void replica_feed_later(Replica *replica)
{
    replica->awaits_disk = true;
    client_feed_below(replica->client, 0);
    if (!disk_awaited) loop_timer(loop, DISK_TICK_MS, disk_tick, NULL);
    disk_awaited = true;
}

/* Brings the reader to the next byte, or nearer: its segment is read from the beginning. False: it isn't there yet, or
 * it can't be had, and the slave is closed. */
static bool find_place(Replica *replica)
{
    char *error = NULL;
    if (replica->reader == NULL) {
        replica->reader = journal_reader_begin(".", replica->sent, NULL, &error);
        replica->seeking = true;
    }
    if (replica->reader == NULL) {
        replica_drop(replica, error);
        g_free(error);
        return false;
    }
    journal_reader_dont_wait(replica->reader);
    JournalSeek seek = replica->seeking ? journal_reader_seek(replica->reader, SEEK_PIECE) : JOURNAL_FOUND;
    replica->seeking = seek == JOURNAL_SEEKING || seek == JOURNAL_SEEK_LATER;
    if (seek == JOURNAL_SEEK_LATER) replica_feed_later(replica);
    if (seek == JOURNAL_SEEKING) client_feed_below(replica->client, FEED_BELOW); /* in the next turn, though unfed */
    if (seek == JOURNAL_NOT_FOUND) replica_drop(replica, journal_reader_error(replica->reader));
    return seek == JOURNAL_FOUND;
}

/* Reads the batch that has the next byte. False: it can't be had now, or not at all, and the slave is closed. */
static bool read_batch(Replica *replica)
{
    if (!find_place(replica)) return false;
    JournalBatch batch;
    JournalRead read = journal_read(replica->reader, &batch);
    if (read == JOURNAL_LATER) {
        replica_feed_later(replica);
        return false;
    }
    if (read != JOURNAL_BATCH) {
        const char *why = journal_reader_error(replica->reader);
        replica_drop(replica, why != NULL ? why : "the journal ends before its offset");
        return false;
    }
    g_assert(batch.offset <= replica->sent && replica->sent < batch.offset + batch.payload.len);
    size_t skip = (size_t)(replica->sent - batch.offset); /* a resync may begin inside a batch */
    replica->rest = (Slice){ batch.payload.ptr + skip, batch.payload.len - skip };
    return true;
}

static void feed_stream(Replica *replica)
{
    size_t room = FEED_PIECE;
    while (room > 0 && replica->sent < journal_written()) {
        if (replica->rest.len == 0 && !read_batch(replica)) return;
        size_t part = MIN(room, replica->rest.len);
        out_write(client_out(replica->client), replica->rest.ptr, part);
        replica->rest.ptr += part;
        replica->rest.len -= part;
        replica->sent += part;
        room -= part;
    }
    if (replica->sent == journal_written()) catch_up(replica);
}

void replica_go_online(Replica *replica, uint64_t offset)
{
    replica->state = REPLICA_ONLINE;
    replica->online_ms = clock_mono_ms();
    replica->sent = offset;
    fall_behind(replica);
}

void master_drained(Client *client)
{
    Replica *replica = client->replica;
    if (replica->state == REPLICA_SENDING) {
        fullsync_feed(replica);
    } else if (replica->state == REPLICA_ONLINE && replica->behind) {
        feed_stream(replica);
    }
}

/* Whether something may be put into the stream for slaves only: not while what clients write has no room in it. */
static bool can_append(void)
{
    return journal_is_open() && journal_trouble() == NULL;
}

/* ---- confirmations ---- */

void master_ack(Client *client, uint64_t offset)
{
    Replica *replica = client->replica;
    if (replica == NULL || replica->state != REPLICA_ONLINE) return;
    offset = MIN(offset, replica->sent);
    if (offset <= replica->acked) return;
    replica->acked = offset;
    master_hooks.acked();
}

void master_request_acks(void)
{
    static uint64_t asked_end;
    if (!master_is_origin || master_online() == 0 || !can_append() || journal_offset() == asked_end) return;
    journal_append(-1, (Slice[]){ SLICE("REPLCONF"), SLICE("GETACK"), SLICE("*") }, 3);
    asked_end = journal_offset(); /* asking again is of no use until something follows */
}

/* When it was last heard of: whatever it sends is a sign of life. */
static int64_t heard_ms(const Replica *replica)
{
    return MAX(replica->client->active_ms, replica->online_ms);
}

size_t master_slaves(void)
{
    return replicas == NULL ? 0 : replicas->len;
}

static size_t count_online(uint64_t acked, int64_t heard_since_ms)
{
    size_t count = 0;
    for (guint i = 0; i < replicas->len; i++) {
        const Replica *replica = replicas->pdata[i];
        if (replica->state != REPLICA_ONLINE) continue;
        count += replica->acked >= acked && heard_ms(replica) >= heard_since_ms;
    }
    return count;
}

size_t master_online(void)
{
    return count_online(0, INT64_MIN);
}

size_t master_good_slaves(int64_t lag_sec)
{
    return count_online(0, clock_mono_ms() - (lag_sec + 1) * 1000 + 1); /* whole seconds, as INFO's lag */
}

size_t master_acked_by(uint64_t offset)
{
    return count_online(offset, INT64_MIN);
}

uint64_t master_acked_offset(void)
{
    uint64_t most = 0;
    for (guint i = 0; i < replicas->len; i++) {
        const Replica *replica = replicas->pdata[i];
        if (replica->state == REPLICA_ONLINE) most = MAX(most, replica->acked);
    }
    return most;
}

uint64_t master_needed_offset(void)
{
    uint64_t needed = UINT64_MAX;
    for (guint i = 0; i < replicas->len; i++) {
        const Replica *replica = replicas->pdata[i];
        if (replica->state == REPLICA_ONLINE) needed = MIN(needed, replica->sent);
        if (replica->file != NULL) needed = MIN(needed, syncfile_offset(replica->file));
    }
    return needed;
}

bool master_slave_at(size_t index, MasterSlave *slave)
{
    if (index >= master_slaves()) return false;
    const Replica *replica = replicas->pdata[index];
    *slave = (MasterSlave){
        .port = replica->port,
        .online = replica->state == REPLICA_ONLINE,
        .acked = replica->acked,
    };
    g_strlcpy(slave->ip, replica->ip, sizeof(slave->ip));
    return true;
}

/* ---- SYNC and PSYNC ---- */

static bool is_of_older(const Manifest *manifest, Slice id, uint64_t offset)
{
    for (int i = 0; i < MANIFEST_OLDER_MAX && manifest->older[i].id[0] != '\0'; i++) {
        if (slice_equal(id, slice_of(manifest->older[i].id)) && offset <= manifest->older[i].offset) return true;
    }
    return false;
}

/* Whether the id is that of the stream up to `offset`. One of 3.2 that came by SYNC, to a slave, counts from 0 under
 * the last id that it was told by PSYNC: of an id from before a promotion, nobody knows what its offset is worth. */
static bool is_of_history(const Replica *replica, Slice id, uint64_t offset)
{
    const Manifest *manifest = master_hooks.manifest;
    if (slice_equal(id, slice_of(manifest->history))) return true;
    if (!replica->psync2 || id.len == 0) return false;
    return (slice_equal(id, slice_of(manifest->history2)) && offset <= manifest->offset2) ||
           is_of_older(manifest, id, offset);
}

/* Whether the slave can go on from `wanted`, which counts from 1; says why not in the log. */
static bool can_continue(const Replica *replica, Slice id, int64_t wanted)
{
    g_autofree char *name = replica_name(replica);
    if (slice_equal(id, SLICE("?"))) {
        log_line(LOG_NOTICE, "Full resync requested by slave %s", name);
        return false;
    }
    if (wanted < 1 || !is_of_history(replica, id, (uint64_t)wanted - 1)) {
        log_line(
            LOG_NOTICE,
            "Partial resynchronization not accepted: Replication ID mismatch (Slave %s asked for '%.*s' at %ld, my "
            "replication IDs are '%s' and '%s')",
            name, (int)MIN(id.len, 64), id.ptr, wanted, master_hooks.manifest->history,
            master_hooks.manifest->history2);
        return false;
    }
    uint64_t offset = (uint64_t)wanted - 1, first = journal_stats().first_offset, end = journal_written();
    if (offset >= first && offset <= end) return true;
    log_line(LOG_NOTICE,
             "Unable to partial resync with slave %s for lack of backlog (Slave request was: %ld; the journal has %lu "
             "to %lu)",
             name, wanted, first + 1, end + 1);
    return false;
}

static void continue_from(Replica *replica, uint64_t offset)
{
    g_autofree char *name = replica_name(replica);
    log_line(LOG_NOTICE,
             "Partial resynchronization request from %s accepted. Sending %lu bytes of backlog starting from offset "
             "%lu.",
             name, journal_written() - offset, offset + 1);
    master_stats.partial_ok++;
    attach(replica);
    Out *out = client_out(replica->client);
    out_write(out, "+CONTINUE", strlen("+CONTINUE"));
    if (replica->psync2) {
        out_write(out, " ", 1);
        out_write(out, master_hooks.manifest->history, JOURNAL_ID_CHARS);
    }
    out_write(out, "\r\n", 2);
    replica_go_online(replica, offset);
}

static void begin_full(Replica *replica)
{
    master_stats.full++;
    attach(replica);
    fullsync_begin(replica);
}

/* NULL if it's a slave already, which is ignored, or can't become one now: the error is out. */
static Replica *new_slave(Client *client)
{
    Replica *replica = replica_of(client);
    if (replica->state != REPLICA_NEW) return NULL;
    if (client->out.bytes > 0) {
        reply_error(&client->out, "ERR SYNC and PSYNC are invalid with pending output");
        return NULL;
    }
    g_autofree char *name = replica_name(replica);
    log_line(LOG_NOTICE, "Slave %s asks for synchronization", name);
    return replica;
}

void master_sync(Client *client)
{
    Replica *replica = new_slave(client);
    if (replica == NULL) return;
    replica->plain = true;
    /* It isn't told an offset, and may want no more than the snapshot: redis-cli --rdb makes a backup so. */
    replica->asked = journal_offset();
    begin_full(replica);
}

void master_psync(Client *client, Slice id, int64_t offset)
{
    Replica *replica = new_slave(client);
    if (replica == NULL) return;
    if (slave_is_one() && !replica->psync2) {
        /* A stream that is passed on doesn't say SELECT behind a snapshot, and 3.2 isn't told otherwise. It tries SYNC
         * then, where a SELECT can be put in between, as nobody counts offsets: nor can it go on from one later. */
        reply_error(&client->out,
                    "ERR a slave of this version can't go on by PSYNC here, at a slave of another: SYNC, or follow the "
                    "master");
        return;
    }
    if (can_continue(replica, id, offset)) {
        continue_from(replica, (uint64_t)offset - 1);
        return;
    }
    if (!slice_equal(id, SLICE("?"))) master_stats.partial_err++;
    /* What came from another master may be in a later Redis' words, which one of 3.2 leaves out without a word. */
    if (!replica->psync2) replica->asked = master_hooks.manifest->offset2;
    begin_full(replica);
}

/* ---- passing to another process ---- */

bool master_may_pass(void)
{
    for (guint i = 0; i < replicas->len; i++) {
        const Replica *replica = replicas->pdata[i];
        if (replica->state != REPLICA_ONLINE) return false;
    }
    return true;
}

void master_save(const Client *client, Tape *tape)
{
    const Replica *replica = client->replica;
    tape_put(tape, replica != NULL);
    if (replica == NULL) return;
    tape_put(tape, replica->state == REPLICA_ONLINE);
    tape_put(tape, replica->psync2);
    tape_put(tape, replica->plain);
    tape_put(tape, (uint64_t)replica->port);
    tape_put_string(tape, replica->ip);
    tape_put(tape, (uint64_t)replica->online_ms);
    tape_put(tape, replica->acked);
    tape_put(tape, replica->sent);
    tape_put(tape, replica->behind);
}

void master_restore(Client *client, TapeReader *tape)
{
    if (!tape_get_bool(tape)) return;
    Replica *replica = replica_of(client);
    bool online = tape_get_bool(tape);
    replica->psync2 = tape_get_bool(tape);
    replica->plain = tape_get_bool(tape);
    replica->port = (int)tape_get_below(tape, 65536);
    g_free(replica->ip);
    replica->ip = tape_get_string(tape);
    replica->online_ms = (int64_t)tape_get(tape);
    replica->acked = tape_get(tape);
    replica->sent = tape_get(tape);
    bool behind = tape_get_bool(tape);
    if (replica->ip == NULL) tape->bad = true;
    if (!online || tape->bad) return;
    attach(replica);
    replica->state = REPLICA_ONLINE;
    if (behind) fall_behind(replica);
}

/* ---- INFO and ROLE ---- */

static const char *const state_names[] = {
    [REPLICA_WAITING] = "wait_bgsave",
    [REPLICA_SENDING] = "send_bulk",
    [REPLICA_ONLINE] = "online",
};

static void append_slaves(GString *info)
{
    for (guint i = 0; i < replicas->len; i++) {
        const Replica *replica = replicas->pdata[i];
        bool online = replica->state == REPLICA_ONLINE;
        g_string_append_printf(info, "slave%u:ip=%s,port=%d,state=%s,offset=%lu,lag=%ld\r\n", i, replica->ip,
                               replica->port, state_names[replica->state], replica->acked,
                               online ? (clock_mono_ms() - heard_ms(replica)) / 1000 : 0);
    }
}

void master_append_info(GString *info)
{
    static const char no_id[] = "0000000000000000000000000000000000000000";
    const Manifest *manifest = master_hooks.manifest;
    bool active = journal_is_open(), second = manifest->history2[0] != '\0';
    uint64_t end = active ? journal_offset() : 0, first = active ? journal_stats().first_offset : 0;
    g_string_append_printf(info, "connected_slaves:%u\r\n", replicas->len);
    if (options.min_slaves_to_write > 0 && options.min_slaves_max_lag > 0)
        g_string_append_printf(info, "min_slaves_good_slaves:%zu\r\n", master_good_slaves(options.min_slaves_max_lag));
    append_slaves(info);
    g_string_append_printf(info, "master_replid:%s\r\nmaster_replid2:%s\r\n",
                           manifest->history[0] != '\0' ? manifest->history : no_id,
                           second ? manifest->history2 : no_id);
    g_string_append_printf(info, "master_repl_offset:%lu\r\nsecond_repl_offset:%ld\r\n", end,
                           second ? (int64_t)manifest->offset2 + 1 : -1);
    g_string_append_printf(info,
                           "repl_backlog_active:%d\r\nrepl_backlog_size:%ld\r\nrepl_backlog_first_byte_offset:%lu\r\n"
                           "repl_backlog_histlen:%lu\r\n",
                           active, options.journal_keep_bytes, active ? first + 1 : 0, end - first);
}

void master_reply_role(Out *out)
{
    reply_array(out, 3);
    reply_bulk(out, SLICE("master"));
    reply_int(out, journal_is_open() ? (int64_t)journal_offset() : 0);
    reply_array(out, master_online());
    for (guint i = 0; i < replicas->len; i++) {
        const Replica *replica = replicas->pdata[i];
        if (replica->state != REPLICA_ONLINE) continue;
        reply_array(out, 3);
        reply_bulk_cstring(out, replica->ip);
        reply_bulk_int(out, replica->port);
        reply_bulk_int(out, (int64_t)replica->acked);
    }
}

/* ---- the timer ---- */

/* True: it was silent for too long; or its connection took nothing, if it's one that says nothing: a plain one, or one
 * that is receiving the snapshot. (One that loads it says that it lives, and reads no stream for as long as that
 * takes.) */
static bool is_lost(Replica *replica)
{
    int64_t since_ms = clock_mono_ms() - options.repl_timeout * 1000;
    uint64_t taken = replica->sent + replica->file_sent - replica->client->out.bytes;
    if (replica->client->out.bytes == 0 || taken != replica->taken) {
        replica->taken = taken;
        replica->taken_ms = clock_mono_ms();
    }
    if (replica->state == REPLICA_ONLINE && !replica->plain) return heard_ms(replica) < since_ms;
    return replica->taken_ms < since_ms;
}

static int64_t tick(void *context)
{
    (void)context;
    if (replicas->len == 0) pinged_ms = clock_mono_ms();
    bool streaming = master_is_origin && can_append();
    if (streaming && clock_mono_ms() - pinged_ms >= options.repl_ping_slave_period * 1000) {
        pinged_ms = clock_mono_ms();
        journal_append(-1, &SLICE("PING"), 1);
    }
    for (guint i = 0; i < replicas->len; i++) {
        Replica *replica = replicas->pdata[i];
        if (replica->state == REPLICA_WAITING) out_write(client_out(replica->client), "\n", 1);
        check_limits(replica);
        if (is_lost(replica)) replica_drop(replica, "it was silent for longer than repl-timeout");
    }
    fullsync_tick();
    return TICK_MS;
}

void master_init(Loop *the_loop, MasterHooks hooks)
{
    loop = the_loop;
    replicas = g_ptr_array_new();
    master_hooks = hooks;
    pinged_ms = clock_mono_ms();
    fullsync_init(loop);
    journal_on_written(on_written);
    loop_timer(loop, TICK_MS, tick, NULL);
}
