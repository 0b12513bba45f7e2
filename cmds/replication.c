/* replication.c: SLAVEOF, ROLE, INFO's section; what a slave lets its clients do; and what repl/slave.c needs of
 * commands, data and files. Called by the command table; replication.h says by whom else.
 *
 * Design. A slave's data, journal and offsets are its master's: so nothing that happens here adds to the journal
 * (effect_muted), no key goes because its time is over (it's hidden), and nothing is evicted. What the master sends is
 * run as a client's commands are, and its bytes are appended as they came.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/replication.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/number.h"
#include "base/random.h"
#include "cmds/ack.h"
#include "cmds/backups.h"
#include "cmds/effect.h"
#include "cmds/failover.h"
#include "cmds/handlers.h"
#include "cmds/persist.h"
#include "cmds/replay.h"
#include "cmds/server.h"
#include "cmds/sync.h"
#include "repl/master.h"
#include "repl/slave.h"
#include "store/journal.h"

/* ---- what slave.c asks for ---- */

/* As long as a name in the DNS may be. */
#define HOST_CHARS_MAX 253

/* More than this waits for no turn to end: it's written at once. */
#define PENDING_MAX (1024 * 1024)

/* A backup isn't waited for: writes may wait for this slave, and it goes on by offset as a rule. */
static bool is_ready(void)
{
    return !server_loading && (journal_is_open() || persist_lost() != NULL) && !backups_replace_data() &&
           !backups_are_cleaning();
}

static void own_facts(GuardFacts *own)
{
    *own = (GuardFacts){ .known = true, .offset = journal_offset(), .offset2 = persist_manifest.offset2 };
    memcpy(own->history, persist_manifest.history, sizeof(own->history));
    memcpy(own->history2, persist_manifest.history2, sizeof(own->history2));
    for (int i = 0; i < keyspace->db_count; i++)
        own->keys += keyspace_size(&keyspace->dbs[i]);
    int newest = manifest_newest(&persist_manifest);
    own->lost = persist_lost() != NULL;
    if (!own->lost || newest < 0) return;
    own->keys = persist_manifest.checkpoint[newest].keys;
    own->offset = persist_manifest.checkpoint[newest].offset;
}

static bool in_units;

static void begin_units(void)
{
    replay_begin(journal_db());
    in_units = true;
}

static void end_units(void)
{
    if (in_units) replay_end();
    in_units = false;
}

static char *apply(Slice unit, int fd)
{
    bool partly;
    char *wrong = NULL;
    if (replay_run_live(unit, fd, &partly, &wrong)) {
        journal_append_raw(unit, replay_db());
        if (journal_pending_bytes() > PENDING_MAX) effect_commit();
        return NULL;
    }
    if (partly) {
        /* The first commands of a transaction: the journal hasn't got them, so they're gone with a reload. */
        end_units();
        effect_commit();
        persist_reload();
    }
    return wrong;
}

static bool journal_has_room(size_t bytes)
{
    return journal_is_open() && journal_trouble() == NULL && journal_reserve(bytes);
}

static char *follow_history(const char *history, const char *left, const char *older)
{
    char *error = NULL;
    return persist_follow_history(history, left, older, &error) ? NULL : error;
}

/* The tool gets what decides how values are held, and where there's room for them. */
static char **receiver_words(const char *history, uint64_t offset, const char *left, const char *older)
{
    GPtrArray *words = g_ptr_array_new();
    g_ptr_array_add(words, g_strdup("ckv"));
    g_ptr_array_add(words, g_strdup("receive"));
    g_ptr_array_add(words, g_strdup(history));
    g_ptr_array_add(words, g_strdup_printf("%" G_GUINT64_FORMAT, offset));
    g_ptr_array_add(words, g_strdup(left));
    g_ptr_array_add(words, g_strdup(older));
    for (size_t i = 0; i < option_count; i++) {
        const Option *option = &option_table[i];
        if (option->group != OPTIONS_ENCODING && option->value != &options.databases) continue;
        g_ptr_array_add(words, g_strconcat("--", option->name, NULL));
        g_ptr_array_add(words, option_text(option));
    }
    g_ptr_array_add(words, NULL);
    return (char **)g_ptr_array_free(words, FALSE);
}

static char *replace_data(const char *note)
{
    char before[MANIFEST_ID_CHARS + 1], *error = NULL;
    if (!backups_idle()) return g_strdup("a backup or a rollback is in progress");
    bool was_lost = persist_lost() != NULL;
    effect_commit();
    transaction_data_replaced();
    if (!persist_roll_back(note, true, before, &error)) return error;
    sync_data_replaced();
    backups_data_replaced();
    if (was_lost) {
        /* Else each try that fails would leave one more. */
        backups_discard(before);
    } else {
        log_line(LOG_NOTICE, "What there was is kept as backup %s, until there is a checkpoint of what came.", before);
    }
    return NULL;
}

static char *go_back(uint64_t offset, const char *note)
{
    effect_commit();
    return backups_go_back(offset, note);
}

static const SlaveHooks hooks = {
    .ready = is_ready,
    .may_replace = backups_idle,
    .facts = own_facts,
    .begin_units = begin_units,
    .end_units = end_units,
    .apply = apply,
    .ack_asked = replay_ack_asked,
    .has_room = journal_has_room,
    .safe_offset = effect_local_offset,
    .follow_history = follow_history,
    .receiver = receiver_words,
    .replace = replace_data,
    .clean_up = backups_clean_up,
    .lost = persist_lost,
    .go_back = go_back,
    .going_back_failed = backups_rollback_failed,
    .handed_over = failover_answered,
};

/* ---- the part that this server plays ---- */

/* What goes for a slave, or for a master. */
static void take_part(bool slave)
{
    effect_muted = slave;
    log_role = slave ? 'S' : 'M';
    master_is_origin = !slave;
    keyspace_hide_expired(keyspace, slave);
}

void replication_init(Loop *loop)
{
    take_part(slave_is_one());
    slave_init(loop, &hooks);
    failover_init(loop);
}

/* Nobody is to wait for what only a master's slaves can say. */
static void end_waits(void)
{
    sync_demoted();
    ack_demoted();
}

/* Whoever was connected to a master isn't to take it for one any longer, nor a reply that waits for one. `but`: the id
 * of one that may stay; 0: none. */
static void close_clients(uint64_t but)
{
    const GPtrArray *all = client_all();
    for (guint i = 0; i < all->len; i++) {
        Client *client = all->pdata[i];
        const Session *session = client->session;
        if (client->id != but && client->class == CLIENT_NORMAL && !session->admin) client_close_now(client);
    }
}

static void become_slave(Request *r, const char *host, int64_t port)
{
    char address[CLIENT_ADDRESS_CHARS];
    bool was_master = !slave_is_one();
    effect_commit();
    backups_stay();
    options_set_master(host, port);
    client_address(r->client, address);
    log_line(LOG_NOTICE, "SLAVE OF %s:%" G_GINT64_FORMAT " enabled (user request from 'addr=%s')", host, port, address);
    master_drop_slaves("this server follows another master");
    take_part(true);
    end_waits();
    if (was_master) close_clients(r->client->id);
    slave_follow(true, was_master);
}

/* `whose`: request. False: the error is out. */
static bool become_master(Request *r, const char *whose)
{
    char address[CLIENT_ADDRESS_CHARS], history[MANIFEST_ID_CHARS + 1];
    char *error = NULL;
    effect_commit();
    random_hex(history, MANIFEST_ID_CHARS);
    if (!persist_change_history(history, &error)) {
        reply_errorf(r->out, "ERR the new history can't be noted: %s", error);
        g_free(error);
        return false;
    }
    slave_end();
    backups_stay();
    options_set_master("", 0);
    take_part(false);
    ack_promoted();
    client_address(r->client, address);
    log_line(LOG_NOTICE, "MASTER MODE enabled (%s request from 'addr=%s')", whose, address);
    return true;
}

void replication_hand_over(const char *host, int port)
{
    effect_commit();
    options_set_master(host, port);
    master_drop_slaves("this server hands over to a slave");
    take_part(true);
    slave_hand_over();
}

void replication_take_back(void)
{
    slave_end();
    options_set_master("", 0);
    take_part(false);
    /* The slave had confirmed what waits for our own disk, and is to do so again. */
    if (client_gate_waiting() > 0) ack_awaited(journal_offset());
}

void replication_close_clients(void)
{
    end_waits();
    close_clients(0);
}

bool replication_take_over(Request *r, Slice history)
{
    log_line(LOG_WARNING, "Failover request received for replid %.*s.", (int)MIN(history.len, 64), history.ptr);
    if (!slave_is_one()) {
        reply_error(r->out, "ERR PSYNC FAILOVER can't be sent to a master.");
    } else if (backups_replace_data()) {
        reply_error(r->out, "ERR PSYNC FAILOVER not allowed while going back to an earlier offset.");
    } else if (!journal_is_open()) {
        g_autofree char *why = persist_closed();
        reply_errorf(r->out, "ERR PSYNC FAILOVER not possible: %s", why);
    } else if (!slice_equal(history, slice_of(persist_manifest.history))) {
        reply_error(r->out, "ERR PSYNC FAILOVER replid must match my replid.");
    } else {
        return become_master(r, "failover");
    }
    return false;
}

/* A word: it stands in the config file and in notes. */
static bool is_host(Slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!g_ascii_isgraph(text.ptr[i])) return false;
    }
    return text.len > 0 && text.len <= HOST_CHARS_MAX;
}

/* SLAVEOF host port | NO ONE */
void cmd_slaveof(Request *r)
{
    int64_t port;
    if (failover_state != FAILOVER_NONE) {
        reply_error(r->out, "ERR SLAVEOF not allowed while failing over.");
        return;
    }
    if (arg_is(r, 1, "no") && arg_is(r, 2, "one")) {
        if (!slave_is_one() || become_master(r, "user")) reply_ok(r->out);
        return;
    }
    if (!arg_int(r, 2, &port, NULL)) return;
    if (port < 1 || port > 65535 || !is_host(r->argv[1])) {
        reply_error(r->out, "ERR SLAVEOF takes a host and a port, or NO ONE");
    } else if (!journal_is_open() && persist_lost() == NULL) {
        reply_error(r->out, "ERR a slave needs the journal, and this server runs with persistence no");
    } else {
        g_autofree char *host = g_strndup(r->argv[1].ptr, r->argv[1].len);
        bool same = slave_is_one() && strcmp(options.master_host, host) == 0 && options.master_port == port;
        if (same) {
            /* Said again, it's consent to whatever that master has. */
            slave_consent();
            reply_status(r->out, "OK Already connected to specified master");
        } else {
            become_slave(r, host, port);
            reply_ok(r->out);
        }
    }
}

/* ---- what a slave does for clients ---- */

bool replication_admits_write(Request *r)
{
    if (!(r->command->flags & CMD_WRITE)) return true;
    reply_error(r->out, ERROR_READONLY);
    return false;
}

bool replication_admits(Request *r)
{
    bool reads = r->command->flags & CMD_READONLY, admin = session_is_admin(r->session);
    if (reads && !options.read_only_slave && !admin) {
        reply_error(r->out, "READONLY reads from the slave are disabled (read-only-slave no)");
        return false;
    }
    if (options.serve_stale_data || (r->command->flags & CMD_STALE) || slave_seen().state == SLAVE_CONNECTED)
        return true;
    /* Unlike 3.2, whose Sentinel can't make such a slave the master: its SLAVEOF stands in a MULTI with CLIENT KILL. */
    if (admin && !reads) return true;
    reply_error(r->out, "MASTERDOWN Link with MASTER is down and slave-serve-stale-data is set to 'no'.");
    return false;
}

/* ---- INFO and ROLE ---- */

static int64_t seconds_since(int64_t mono_ms)
{
    return mono_ms < 0 ? -1 : (clock_mono_ms() - mono_ms) / 1000;
}

/* As in 3.2, a slave that never had anything of its master says that it's without it since 1970: Sentinel makes none
 * the master whose link was down for so long. */
static int64_t down_sec(int64_t since_ms)
{
    bool has_something = journal_is_open() && journal_offset() > 0;
    return has_something && since_ms != 0 ? seconds_since(since_ms) : clock_unix_ms / 1000;
}

static void append_slave(GString *info)
{
    SlaveSeen seen = slave_seen();
    bool up = seen.state == SLAVE_CONNECTED;
    bool syncing = seen.state == SLAVE_TRANSFER || seen.state == SLAVE_LOADING;
    g_string_append_printf(info,
                           "master_host:%s\r\nmaster_port:%ld\r\nmaster_link_status:%s\r\n"
                           "master_last_io_seconds_ago:%ld\r\nmaster_sync_in_progress:%d\r\nslave_repl_offset:%lu\r\n",
                           options.master_host, options.master_port, up ? "up" : "down",
                           up ? seconds_since(seen.last_io_ms) : -1, syncing, journal_is_open() ? journal_offset() : 0);
    if (syncing) {
        g_string_append_printf(info, "master_sync_left_bytes:%ld\r\nmaster_sync_last_io_seconds_ago:%ld\r\n",
                               seen.left_bytes, seconds_since(seen.last_io_ms));
    }
    if (!up) g_string_append_printf(info, "master_link_down_since_seconds:%ld\r\n", down_sec(seen.down_since_ms));
    g_string_append_printf(info, "slave_priority:%ld\r\nslave_read_only:1\r\n", options.slave_priority);
    if (seen.refused[0] != '\0') g_string_append_printf(info, "ckv_sync_refused:%s\r\n", seen.refused);
    if (seen.error[0] != '\0') g_string_append_printf(info, "ckv_sync_error:%s\r\n", seen.error);
}

void replication_append_info(GString *info)
{
    g_string_append_printf(info, "role:%s\r\n", slave_is_one() ? "slave" : "master");
    if (slave_is_one()) append_slave(info);
    master_append_info(info);
    g_autofree char *older = manifest_older(&persist_manifest);
    if (older[0] != '\0') g_string_append_printf(info, "ckv_older_replids:%s\r\n", older);
    const char *left = persist_manifest.rolled_back_from, *before = strchr(left, ',');
    if (left[0] != '\0') g_string_append_printf(info, "ckv_rolled_back_from:%.*s\r\n", MANIFEST_ID_CHARS, left);
    if (before != NULL) g_string_append_printf(info, "ckv_rolled_back_before:%s\r\n", before + 1);
    g_string_append_printf(info,
                           "master_failover_state:%s\r\nckv_ack_lost:%d\r\nckv_ack_alone:%d\r\n"
                           "ckv_unconfirmed_closed:%lu\r\n",
                           failover_state_name(), ack_is_lost(), ack_is_alone(), ack_closed());
}

/* ROLE's words for the states, 3.2's. */
static const char *const state_words[] = {
    [SLAVE_NONE] = "none",           [SLAVE_CONNECT] = "connect",     [SLAVE_CONNECTING] = "connecting",
    [SLAVE_HANDSHAKE] = "handshake", [SLAVE_TRANSFER] = "sync",       [SLAVE_LOADING] = "sync",
    [SLAVE_GOING_BACK] = "sync",     [SLAVE_CONNECTED] = "connected",
};

/* ROLE */
void cmd_role(Request *r)
{
    if (!slave_is_one()) {
        master_reply_role(r->out);
        return;
    }
    SlaveState state = slave_seen().state;
    bool knows = state == SLAVE_CONNECTED && journal_is_open();
    reply_array(r->out, 5);
    reply_bulk(r->out, SLICE("slave"));
    reply_bulk_cstring(r->out, options.master_host);
    reply_int(r->out, options.master_port);
    reply_bulk_cstring(r->out, state_words[state]);
    reply_int(r->out, knows ? (int64_t)journal_offset() : -1);
}
