/* command.c: from a parsed request to its handler: look-up, the checks that come before every command, MULTI's
 * queueing, the run itself with its statistics; and the helpers of command.h that handlers share. The net calls it with
 * a turn's batch.
 *
 * Design. A batch is run in chunks. For each chunk: find every command and prefetch the table bucket of its first key;
 * then prefetch the entries those buckets point to; then run the commands one after the other. So the memory latency of
 * a chunk's look-ups overlaps, and the chunk is small enough that nothing is evicted from the cache again before it's
 * used.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/command.h"

#include "base/clock.h"
#include "base/number.h"
#include "base/options.h"
#include "cmds/effect.h"
#include "cmds/failover.h"
#include "cmds/handlers.h"
#include "cmds/replication.h"
#include "cmds/savepages.h"
#include "cmds/server.h"
#include "cmds/slowlog.h"
#include "cmds/sync.h"
#include "repl/master.h"
#include "repl/slave.h"
#include "store/checkpoint.h"
#include "store/evict.h"

/* Commands in a chunk: enough to overlap every miss that the memory system can have in flight. */
#define CHUNK_COMMANDS 32

Keyspace *keyspace;
uint64_t commands_processed;

/* ---- finding a command by name: open addressing over a word of the name ---- */

#define INDEX_BITS  10
#define INDEX_SLOTS (1U << INDEX_BITS)

typedef struct IndexSlot {
    const Command *command; /* NULL: none */
    uint64_t word;
    size_t len;
    bool told; /* word and length tell all: up to eight letters */
} IndexSlot;

static IndexSlot command_index[INDEX_SLOTS];

/* The first and the last bytes of a name, eight at most, in lower case if they're letters. Of a name of up to eight
 * bytes these are all. */
static uint64_t name_word(Slice name)
{
    const uint64_t lower = 0x2020202020202020;
    if (name.len < sizeof(uint32_t)) {
        if (name.len == 0) return lower;
        const uint8_t *bytes = (const uint8_t *)name.ptr;
        return (bytes[0] | (uint64_t)bytes[name.len / 2] << 8 | (uint64_t)bytes[name.len - 1] << 16) | lower;
    }
    uint32_t first, last;
    memcpy(&first, name.ptr, sizeof(first));
    memcpy(&last, name.ptr + name.len - sizeof(last), sizeof(last));
    return (first | (uint64_t)last << 32) | lower;
}

/* Fibonacci hashing (Knuth, TAOCP 3, 6.4): the top bits. */
static unsigned word_slot(uint64_t word)
{
    return (unsigned)((word * 0x9E3779B97F4A7C15) >> (64 - INDEX_BITS));
}

static __attribute__((noinline)) const Command *find_further(Slice name, uint64_t word)
{
    for (unsigned i = word_slot(word); command_index[i].command != NULL; i = (i + 1) % INDEX_SLOTS) {
        const IndexSlot *slot = &command_index[i];
        if (slot->word != word || slot->len != name.len) continue;
        if (slot->told || slice_is(name, slot->command->name)) return slot->command;
    }
    return NULL;
}

const Command *command_find(Slice name)
{
    uint64_t word = name_word(name);
    const IndexSlot *first = &command_index[word_slot(word)];
    if (first->word == word && first->len == name.len && first->told) return first->command;
    return find_further(name, word);
}

static bool is_told(Slice name)
{
    bool letters = true;
    for (size_t i = 0; i < name.len; i++)
        letters = letters && g_ascii_isalpha(name.ptr[i]);
    return letters && name.len <= sizeof(uint64_t);
}

static void index_commands(void)
{
    memset(command_index, 0, sizeof(command_index)); /* a tool begins with other databases more than once */
    for (size_t c = 0; c < command_count; c++) {
        Slice name = slice_of(command_table[c].name);
        uint64_t word = name_word(name);
        unsigned i = word_slot(word);
        while (command_index[i].command != NULL)
            i = (i + 1) % INDEX_SLOTS;
        command_index[i] = (IndexSlot){ &command_table[c], word, name.len, is_told(name) };
    }
}

/* ---- sessions ---- */

bool session_is_admin(const Session *session)
{
    return session->admin || options.admin_plane_all;
}

void command_opened(Client *client)
{
    Session *session = g_new0(Session, 1);
    session->client = client;
    session->db = &keyspace->dbs[0];
    session->authenticated = session->admin = client->operator_socket;
    client->session = session;
}

void command_closed(Client *client)
{
    Session *session = client->session;
    transaction_discard(session);
    pubsub_forget(session);
    sync_forget(session);
    master_closed(client);
    monitor_forget(session);
    g_free(session->name);
    g_free(session);
    client->session = NULL;
}

/* ---- the checks before a command runs ---- */

/* What a client sent as a command's name, as far as an error shows it: up to the first NUL. */
static int shown_chars(Slice name)
{
    return (int)strnlen(name.ptr, MIN(name.len, G_MAXINT));
}

static void refuse_unsupported(Request *r, const Command *command)
{
    bool sub_command = command->flags & CMD_BARE_ONLY;
    Slice name = r->argv[0], sub = sub_command ? r->argv[1] : (Slice){ "", 0 };
    reply_errorf(r->out, "ERR unknown command '%.*s%s%.*s' (not supported by CKV Master/Slave)", shown_chars(name),
                 name.ptr, sub_command ? " " : "", shown_chars(sub), sub.ptr);
    /* A browser tricked into speaking to us sends these two; its later lines mustn't run as commands. */
    if (command->flags & CMD_HTTP) client_close_after_reply(r->client);
}

/* COMMAND's sub-commands aren't in the matrix: operators have all but GETKEYS. One that Redis 3.2 doesn't have either
 * gets Redis' own words, from the handler. */
static bool is_refused_sub_command(const Request *r, bool admin)
{
    if (!(r->command->flags & CMD_BARE_ONLY) || r->argc == 1) return false;
    return arg_is(r, 1, "getkeys") || (!admin && (arg_is(r, 1, "count") || arg_is(r, 1, "info")));
}

static bool check_unusual(Request *r)
{
    const Command *command = r->command;
    if (command == NULL) {
        reply_errorf(r->out, "ERR unknown command '%.*s'", shown_chars(r->argv[0]), r->argv[0].ptr);
        return false;
    }
    bool admin = session_is_admin(r->session);
    if (command->handler == NULL || (command->plane == PLANE_ADMIN && !admin) || is_refused_sub_command(r, admin)) {
        refuse_unsupported(r, command);
        return false;
    }
    return true;
}

/* The name and the plane: false, with the error sent, if there's no such command for this client. */
static bool check_known(Request *r)
{
    const Command *command = r->command;
    bool for_all = command != NULL && command->plane == PLANE_SERVICE && !(command->flags & CMD_BARE_ONLY);
    return G_LIKELY(for_all) || check_unusual(r);
}

static bool check_arity(Request *r)
{
    if (command_arity_fits(r->command, r->argc)) return true;
    reply_errorf(r->out, "ERR wrong number of arguments for '%s' command", r->command->name);
    return false;
}

static bool is_let_in(const Session *session, const Command *command)
{
    return session->authenticated || options.password[0] == '\0' || (command->flags & CMD_UNAUTHENTICATED);
}

static bool check_authenticated(Request *r)
{
    if (is_let_in(r->session, r->command)) return true;
    reply_error(r->out, "NOAUTH Authentication required.");
    return false;
}

static bool check_memory(Request *r)
{
    /* While the journal can't be written, what is evicted would only move there; and what needs memory is a write,
     * refused by the next check. */
    if (options.maxmemory == 0 || !server_may_evict() || effect_in_trouble()) return true;
    if (!(r->command->flags & CMD_DENYOOM)) {
        if (!evict_is_pressed()) evict_run(keyspace);
        return true;
    }
    if (evict_for_command(keyspace)) return true;
    reply_error(r->out, "OOM command not allowed when used memory > 'maxmemory'.");
    return false;
}

/* PING is refused like a write while the journal can't be written, as Redis does it: so Sentinel learns of a master
 * that can't do its work. */
static bool check_journal(Request *r)
{
    if (!effects_on || effects_aside || slave_is_one()) return true;
    if (r->command->handler == cmd_ping) return !effect_in_trouble() || effect_admit(r->out, 0);
    if (!(r->command->flags & CMD_WRITE)) return true;
    return effect_admit(r->out, effect_bytes(r->argv, r->argc)) && sync_admits(r->out);
}

static bool check_subscribed(Request *r)
{
    const Session *session = r->session;
    if (session->channels == NULL && session->patterns == NULL) return true;
    if ((r->command->flags & CMD_SUBSCRIBED) || session_subscriptions(session) == 0) return true;
    reply_error(r->out, "ERR only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT allowed in this context");
    return false;
}

static bool check_loaded(Request *r)
{
    if (!server_loading || (r->command->flags & CMD_LOADING)) return true;
    reply_error(r->out, "LOADING Redis is loading the dataset in memory");
    return false;
}

/* All checks, in 3.2's order. One of the first that fails while MULTI queues makes EXEC abort. */
static bool check_request(Request *r)
{
    if (check_known(r) && check_arity(r) && check_authenticated(r) && check_memory(r) && check_journal(r)) {
        bool slave = slave_is_one();
        return (!slave || replication_admits_write(r)) && check_subscribed(r) && (!slave || replication_admits(r)) &&
               check_loaded(r);
    }
    if (r->session->in_multi) r->session->multi_broken = true;
    return false;
}

/* ---- running ---- */

/* When the command that ran last ended, in ticks: the next one in the batch starts then, which saves every other
 * reading of the clock. */
static uint64_t last_end;

void command_call(Request *r)
{
    uint64_t start = last_end;
    monitor_feed(r);
    uint64_t changes = keyspace->changes;
    effect_begin();
    r->command->handler(r);
    if (effects_on && keyspace->changes != changes) effect_of(r);
    last_end = clock_ticks();
    double took_us = (double)(last_end - start) * clock_tick_us;
    commands_processed++;
    CommandStats *stats = command_stats_of(r->session->last); /* as 3.2: EXEC's, for what it runs */
    stats->calls++;
    stats->microseconds += took_us;
    slowlog_note(r, (int64_t)took_us);
    if (took_us > 1000) clock_refresh();
}

void command_note(const Command *command)
{
    commands_processed++;
    command_stats_of(command)->calls++;
}

bool command_adds(const Command *command)
{
    return (command->flags & CMD_WRITE) || command->handler == cmd_pfcount || command->handler == cmd_publish;
}

void command_begin_calls(void)
{
    last_end = clock_ticks();
}

static void run_checked(Request *r)
{
    if (!check_request(r)) return;
    if (r->session->in_multi && !(r->command->flags & CMD_NOT_QUEUED)) {
        transaction_queue(r);
        reply_status(r->out, "QUEUED");
        return;
    }
    command_call(r);
}

/* CLIENT REPLY: SKIP counts down from 2, so that the command after it is the silent one. */
static void apply_reply_mode(Session *session, Out *out)
{
    if (session->reply_skip > 0) session->reply_skip--;
    out->muted = session->reply_off || session->reply_skip == 1;
}

static void run_one(const Incoming *in, const Command *command)
{
    Session *session = in->client->session;
    if (in->client->class == CLIENT_SLAVE && !sync_takes_from_slave(in->client, in->argv, in->argc)) return;
    Request r = {
        .client = in->client,
        .session = session,
        .out = client_out(in->client),
        .db = session->db,
        .command = command,
        .argc = (int)in->argc,
        .argv = in->argv,
    };
    size_t waiting = r.out->bytes;
    session->last = command;
    if (command != NULL && (command->flags & CMD_UNCHECKED)) {
        command->handler(&r);
    } else {
        run_checked(&r);
    }
    if (session->reply_off || session->reply_skip > 0 || r.out->muted) apply_reply_mode(session, r.out);
    if (effect_unanswered) {
        effect_answered(in->client, waiting);
    } else if (effect_piled_up) {
        effect_commit();
    }
    client_output_grew(in->client);
}

/* What the first two passes over a chunk find out about each command. */
typedef struct Planned {
    const Command *command;
    Db *db; /* where the first key was looked for; NULL: the command has none */
    KeyPlace at;
    bool saves; /* its page, for a checkpoint, if it's a change */
} Planned;

/* `pressed`: what has a page saved won't run in this turn. */
static Planned plan(const Incoming *in, bool pressed)
{
    const Session *session = in->client->session;
    Planned planned = { .command = command_find(in->argv[0]) };
    if (planned.command == NULL) return planned;
    unsigned key = (unsigned)planned.command->first_key;
    if (key == 0 || key >= in->argc) return planned;
    planned.db = session->db;
    planned.at = keyspace_prefetch(session->db, in->argv[key]);
    planned.saves = (planned.command->flags & CMD_WRITE) && keyspace_saves_page(session->db, planned.at.hash);
    if (planned.saves && !pressed) keyspace_prefetch_page(session->db, planned.at.hash);
    return planned;
}

/* A longer command (in bytes) takes more time than its pages, and to keep it from turn to turn takes as much each time.
 */
#define PUT_OFF_MAX (1UL << 20)

static bool is_long(const Incoming *in)
{
    size_t bytes = 0;
    for (size_t i = 0; i < in->argc && bytes <= PUT_OFF_MAX; i++)
        bytes += in->argv[i].len;
    return bytes > PUT_OFF_MAX;
}

/* A turn saves pages for a checkpoint and evicts keys for a bounded time only. May the command run in this one? Nothing
 * about it has been checked. */
static bool fits_turn(const Incoming *in, const Command *command, bool walking)
{
    const Session *session = in->client->session;
    if (command == NULL || !command_arity_fits(command, (int)in->argc) || !is_let_in(session, command)) return true;
    if (evict_is_behind() && (command->flags & CMD_DENYOOM)) return false;
    if (!walking) return true;
    if (command->handler == cmd_exec) return transaction_save_pages(session);
    if (session->in_multi) return true;
    return savepages_before(command, session->db, in->argv, in->argc);
}

static void run_chunk(Incoming *batch, size_t count)
{
    Planned planned[CHUNK_COMMANDS];
    bool walking = checkpoint_is_walking() || slave_has_units(), pressed = checkpoint_is_pressed();
    for (size_t i = 0; i < count; i++)
        planned[i] = plan(&batch[i], pressed);
    for (size_t i = 0; i < count; i++) {
        if (planned[i].saves && !pressed)
            keyspace_prefetch_page_entries(planned[i].db, planned[i].at.hash);
        else if (planned[i].db != NULL)
            keyspace_prefetch_entry(planned[i].at);
    }
    for (size_t i = 0; i < count; i++) {
        batch[i].skipped = batch[i].client->closing || batch[i].client->held ||
                           (failover_state != FAILOVER_NONE && failover_holds(batch[i].client, planned[i].command));
        if (batch[i].skipped) continue;
        /* The hash belongs to the bytes at this address, and those stay until the batch ends. */
        bool keyed = planned[i].db != NULL;
        keyspace_expect(keyed ? batch[i].argv[planned[i].command->first_key] : (Slice){ NULL, 0 }, planned[i].at.hash);
        if ((walking || evict_is_behind()) && !fits_turn(&batch[i], planned[i].command, walking) &&
            !is_long(&batch[i])) {
            client_put_off(batch[i].client);
            batch[i].skipped = true;
            continue;
        }
        run_one(&batch[i], planned[i].command);
    }
}

void command_run_batch(Incoming *batch, size_t count)
{
    command_begin_calls();
    for (size_t done = 0; done < count; done += CHUNK_COMMANDS) {
        run_chunk(batch + done, MIN(count - done, CHUNK_COMMANDS));
    }
    keyspace_expect((Slice){ NULL, 0 }, 0);
    effect_commit();
}

void command_before_send(void)
{
    effect_commit();
    slave_committed();
}

/* ---- set-up ---- */

static void on_expired(Db *db, Slice key)
{
    effect_gone(db, key);
    notify(db, NOTIFY_EXPIRED, "expired", key);
}

static void on_evicted(Db *db, Slice key)
{
    effect_gone(db, key);
    notify(db, NOTIFY_EVICTED, "evicted", key);
}

void command_init(Keyspace *data)
{
    index_commands();
    keyspace = data;
    keyspace->hooks = (KeyspaceHooks){ .changed = transaction_touch, .expired = on_expired, .evicted = on_evicted };
}

/* ---- what handlers share ---- */

bool arg_int(Request *r, int index, int64_t *value, const char *error)
{
    if (number_parse_int(r->argv[index], value)) return true;
    reply_error(r->out, error != NULL ? error : ERROR_NOT_INTEGER);
    return false;
}

/* An empty text, or one with a NUL in it, is a number in 3.2 and none in later versions: what they would read in its
 * place is journaled. */
static Slice plain_number(Slice text)
{
    size_t len = text.len == 0 ? 0 : strnlen(text.ptr, text.len);
    return len == 0 ? SLICE("0") : (Slice){ text.ptr, len };
}

bool arg_double(Request *r, int index, double *value, const char *error)
{
    Slice *text = (Slice *)(uintptr_t)&r->argv[index]; /* const for handlers only */
    if (number_parse_double(*text, value)) {
        *text = plain_number(*text);
        return true;
    }
    reply_error(r->out, error != NULL ? error : ERROR_NOT_FLOAT);
    return false;
}

bool arg_long_double(Request *r, int index, long double *value, const char *error)
{
    if (number_parse_long_double(r->argv[index], value)) return true;
    reply_error(r->out, error != NULL ? error : ERROR_NOT_FLOAT);
    return false;
}

bool key_type_fits(Request *r, const Entry *entry, ValueType type)
{
    if (entry == NULL || entry->type == type) return true;
    reply_error(r->out, ERROR_WRONG_TYPE);
    return false;
}

/* Prefetches the buckets of the next keys, then, when those are there, what they point to. */
static void look_ahead(const Request *r, KeyWalk *walk)
{
    walk->used = walk->known = 0;
    for (int i = walk->index; i < r->argc && walk->known < KEYS_AHEAD; i += walk->step) {
        walk->place[walk->known++] = keyspace_prefetch(r->db, r->argv[i]);
    }
    for (int i = 0; i < walk->known; i++)
        keyspace_prefetch_entry(walk->place[i]);
}

bool keys_next(const Request *r, KeyWalk *walk)
{
    walk->index += walk->step;
    if (walk->index >= r->argc) return false;
    if (walk->used == walk->known) look_ahead(r, walk);
    keyspace_expect(r->argv[walk->index], walk->place[walk->used++].hash);
    return true;
}

void key_changed(Request *r, Slice key, unsigned event_class, const char *event)
{
    keyspace_changed(r->db, key);
    if (options.notify_events != 0) notify(r->db, event_class, event, key);
}

void key_shrunk(Request *r, Slice key, bool empty, unsigned event_class, const char *event)
{
    if (empty) keyspace_delete(r->db, key);
    key_changed(r, key, event_class, event);
    if (empty && options.notify_events != 0) notify(r->db, NOTIFY_GENERIC, "del", key);
}
