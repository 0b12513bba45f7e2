/* carry.c: see carry.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/carry.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "ckv.h"
#include "cmds/ack.h"
#include "cmds/backups.h"
#include "cmds/checkpoints.h"
#include "cmds/command.h"
#include "cmds/persist.h"
#include "cmds/server.h"
#include "cmds/slowlog.h"
#include "cmds/sync.h"
#include "cmds/transit.h"
#include "net/ahead.h"
#include "repl/handover.h"
#include "repl/master.h"
#include "repl/slave.h"

/* How long the old process may take for its next word while it has frozen its clients. */
#define FROZEN_MS 10000

static char **noted; /* by the option table's order */
static TapeReader begin, rest;

static void refuse(const char *format, ...) G_GNUC_PRINTF(1, 2) __attribute__((noreturn));

static void refuse(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *why = g_strdup_vprintf(format, args);
    va_end(args);
    handover_refuse(why);
    fprintf(stderr, "ckv: can't take over: %s\n", why);
    _exit(1);
}

/* ---- options ---- */

void carry_note_options(void)
{
    noted = g_new0(char *, option_count);
    for (size_t i = 0; i < option_count; i++)
        noted[i] = option_text(&option_table[i]);
}

void carry_save_options(Tape *tape)
{
    tape_put(tape, option_count);
    for (size_t i = 0; i < option_count; i++) {
        g_autofree char *now = option_text(&option_table[i]);
        tape_put_string(tape, option_table[i].name);
        tape_put_string(tape, noted[i]);
        tape_put_string(tape, now);
    }
}

/* What another process can't take over. */
static bool is_settled(const Option *option)
{
    static const char *const names[] = { "dir", "port", "bind", "unixsocket", "persistence" };
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (strcmp(option->name, names[i]) == 0) return true;
    }
    return false;
}

static bool changes_while_serving(const Option *option)
{
    return (option->flags & OPTION_LIVE) || strcmp(option->name, "slaveof") == 0;
}

static void take_option(const Option *option, const char *start, const char *now)
{
    g_autofree char *ours = option_text(option);
    if (option->value == &options.port && options.port == 0) {
        options.port = g_ascii_strtoll(now, NULL, 10);
    } else if (is_settled(option) && strcmp(ours, now) != 0) {
        refuse("%s can't be changed by an upgrade: it is '%s', and would be '%s'; stop the server and start it again "
               "for that",
               option->name, now, ours);
    }
    if (!changes_while_serving(option) || option->kind == OPTION_FIXED) return;
    if (strcmp(start, now) == 0 || strcmp(ours, start) != 0) return;
    g_auto(GStrv) words = option->flags & OPTION_WORDS ? g_strsplit(now, " ", -1) : g_new0(char *, 2);
    if (!(option->flags & OPTION_WORDS)) words[0] = g_strdup(now);
    g_autofree char *wrong = option_set(option, words, (int)g_strv_length(words));
    if (wrong != NULL) refuse("%s", wrong);
}

static void take_options(TapeReader *tape)
{
    for (size_t left = tape_get_count(tape); left > 0 && !tape->bad; left--) {
        g_autofree char *name = tape_get_string(tape), *start = tape_get_string(tape), *now = tape_get_string(tape);
        const Option *option = name != NULL ? option_find(slice_of(name)) : NULL;
        if (option != NULL && start != NULL && now != NULL) take_option(option, start, now);
    }
    if (tape->bad) refuse("what the old process says of its options can't be understood");
}

/* ---- figures ---- */

static uint64_t *const counters[] = {
    &commands_processed,     &client_stats.accepted, &client_stats.rejected,   &client_stats.bytes_in,
    &client_stats.bytes_out, &master_stats.full,     &master_stats.partial_ok, &master_stats.partial_err,
};

static void save_figures(Tape *tape)
{
    tape_put_string(tape, server.run_id);
    tape_put(tape, (uint64_t)server.started_ms);
    tape_put(tape, (uint64_t)server.last_save_sec);
    for (size_t i = 0; i < G_N_ELEMENTS(counters); i++)
        tape_put(tape, *counters[i]);
    tape_put(tape, keyspace->hits);
    tape_put(tape, keyspace->misses);
    tape_put(tape, keyspace->expired);
    tape_put(tape, keyspace->evicted);
    tape_put(tape, command_count);
    for (size_t i = 0; i < command_count; i++) {
        tape_put_string(tape, command_table[i].name);
        tape_put(tape, command_stats[i].calls);
        tape_put(tape, (uint64_t)command_stats[i].microseconds);
    }
}

static void restore_figures(TapeReader *tape)
{
    g_autofree char *run_id = tape_get_string(tape);
    g_strlcpy(server.run_id, run_id != NULL ? run_id : "", sizeof(server.run_id));
    server.started_ms = (int64_t)tape_get(tape);
    server.last_save_sec = (int64_t)tape_get(tape);
    for (size_t i = 0; i < G_N_ELEMENTS(counters); i++)
        *counters[i] = tape_get(tape);
    keyspace->hits = tape_get(tape);
    keyspace->misses = tape_get(tape);
    keyspace->expired = tape_get(tape);
    keyspace->evicted = tape_get(tape);
    for (size_t left = tape_get_count(tape); left > 0 && !tape->bad; left--) {
        g_autofree char *name = tape_get_string(tape);
        CommandStats stats = { .calls = tape_get(tape) };
        stats.microseconds = (double)tape_get(tape);
        const Command *command = name != NULL ? command_find(slice_of(name)) : NULL;
        if (command != NULL) *command_stats_of(command) = stats;
    }
}

/* ---- clients ---- */

static void save_session(const Session *session, Tape *tape)
{
    tape_put(tape, (uint64_t)session->db->index);
    tape_put(tape, session->authenticated);
    tape_put(tape, session->admin);
    tape_put(tape, session->monitoring);
    tape_put(tape, session->in_multi);
    tape_put(tape, session->multi_broken);
    tape_put(tape, session->watch_touched);
    tape_put(tape, session->reply_off);
    tape_put(tape, (uint64_t)session->reply_skip);
    tape_put(tape, session->written);
    tape_put_string(tape, session->name);
    tape_put_string(tape, session->last != NULL ? session->last->name : NULL);
    transaction_save(session, tape);
}

static void restore_session(Session *session, TapeReader *tape)
{
    session->db = &keyspace->dbs[tape_get_below(tape, (uint64_t)keyspace->db_count)];
    session->authenticated = tape_get_bool(tape);
    session->admin = tape_get_bool(tape);
    bool monitoring = tape_get_bool(tape);
    session->in_multi = tape_get_bool(tape);
    session->multi_broken = tape_get_bool(tape);
    session->watch_touched = tape_get_bool(tape);
    session->reply_off = tape_get_bool(tape);
    session->reply_skip = (int)tape_get_below(tape, 3);
    session->written = tape_get(tape);
    session->name = tape_get_string(tape);
    g_autofree char *last = tape_get_string(tape);
    session->last = last != NULL ? command_find(slice_of(last)) : NULL;
    transaction_restore(session, tape);
    if (monitoring) monitor_begin(session);
}

void carry_save_clients(Tape *tape, GArray *fds)
{
    const GPtrArray *all = client_all();
    size_t staying = 0;
    for (guint i = 0; i < all->len; i++)
        staying += !client_is_gone(all->pdata[i]);
    tape_put(tape, staying);
    for (guint i = 0; i < all->len; i++) {
        const Client *client = all->pdata[i];
        if (client_is_gone(client)) continue;
        g_array_append_val(fds, client->fd);
        client_save(client, tape);
        save_session(client->session, tape);
        master_save(client, tape);
    }
}

size_t carry_restore_clients(TapeReader *tape, const GArray *fds, size_t first)
{
    size_t count = tape_get_count(tape);
    if (count > fds->len - first) tape->bad = true;
    for (size_t i = 0; i < count && !tape->bad; i++) {
        Client *client = client_restore(tape, g_array_index(fds, int, first + i));
        if (client == NULL) return 0;
        restore_session(client->session, tape);
        master_restore(client, tape);
    }
    return tape->bad ? 0 : count;
}

/* ---- all of it ---- */

void carry_save(Tape *tape, GArray *fds, const JournalPlace *place, const Carried *carried)
{
    tape_put(tape, (uint64_t)getpid());
    tape_put(tape, (uint64_t)carried->begun_us);
    tape_put(tape, (uint64_t)carried->frozen_us);
    tape_put(tape, carried->asker);
    carry_save_options(tape);
    save_figures(tape);
    journal_save_place(place, tape);
    checkpoints_save_rest(tape);
    client_save_rest(tape);
    client_save_listeners(tape, fds);
    tape_put(tape, fds->len);
    carry_save_clients(tape, fds);
    pubsub_save(tape);
    sync_save(tape);
    ack_save(tape);
    slowlog_save(tape);
    latency_save(tape);
    backups_save(tape);
    slave_save(tape, fds);
}

static struct {
    char version[64];
    int64_t old_pid;
    Carried carried;
    JournalPlace place;
    size_t clients;
} taken;

static void restore(TapeReader *tape, const GArray *fds)
{
    taken.old_pid = (int64_t)tape_get(tape);
    taken.carried.begun_us = (int64_t)tape_get(tape);
    taken.carried.frozen_us = (int64_t)tape_get(tape);
    taken.carried.asker = tape_get(tape);
    take_options(tape);
    restore_figures(tape);
    journal_restore_place(&taken.place, tape);
    checkpoints_restore_rest(tape);
    client_restore_rest(tape);
    /* The listeners' descriptors come first; how many they are is said behind them, and by their number as well. */
    TapeReader ahead = *tape;
    size_t listeners = tape_get_count(&ahead);
    if (listeners > fds->len) tape->bad = true;
    if (!tape->bad) client_restore_listeners(tape, (const int *)(const void *)fds->data, listeners);
    if (tape_get(tape) != listeners) tape->bad = true;
    if (tape->bad) return;
    taken.clients = carry_restore_clients(tape, fds, listeners);
    pubsub_restore(tape);
    sync_restore(tape);
    ack_restore(tape);
    slowlog_restore(tape);
    latency_restore(tape);
    backups_restore(tape);
    size_t used = listeners + taken.clients;
    slave_restore(tape, used < fds->len ? g_array_index(fds, int, used) : -1);
    if (fds->len - used > 1 || tape->at != tape->len) tape->bad = true;
}

/* ---- the new process' side ---- */

static HandoverMessage await(HandoverKind kind, int wait_ms, GArray *fds)
{
    HandoverMessage message;
    HandoverGot got = handover_receive(handover_socket(), wait_ms, &message, fds);
    if (got == HANDOVER_GONE) _exit(1); /* the old process has ended, and its clients with it */
    if (got == HANDOVER_BAD) refuse("what the old process says can't be understood");
    if (got == HANDOVER_NOTHING) refuse("the old process doesn't go on");
    if (message.kind == kind) return message;
    refuse("the old process says %u where %u is due", message.kind, kind);
}

static TapeReader map_tape(GArray *fds)
{
    TapeReader tape;
    if (fds->len != 1 || !tape_map(g_array_index(fds, int, 0), &tape))
        refuse("what the old process hands over can't be read: %s", g_strerror(errno));
    close(g_array_index(fds, int, 0));
    g_array_set_size(fds, 0);
    return tape;
}

static void say(HandoverKind kind, uint64_t value)
{
    if (!handover_send(handover_socket(), kind, value, NULL, -1)) _exit(1);
}

void carry_hello(void)
{
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
    handover_send(handover_socket(), HANDOVER_HELLO, 0, CKV_VERSION, -1);
    HandoverMessage message = await(HANDOVER_BEGIN, -1, fds);
    if (message.format != HANDOVER_FORMAT) {
        refuse("it speaks hand-over format %d, and the server that runs (ckv %s) format %u", HANDOVER_FORMAT,
               message.text, message.format);
    }
    g_strlcpy(taken.version, message.text, sizeof(taken.version));
    begin = map_tape(fds);
}

void carry_take_options(void)
{
    take_options(&begin);
    tape_unmap(&begin);
}

/* What clients have unsent and unfinished so far. */
static void take_ahead(GArray *fds)
{
    TapeReader tape = map_tape(fds);
    ahead_take(&tape);
    if (tape.bad) refuse("what the old process says of its clients can't be understood");
    tape_unmap(&tape);
}

/* Goes on reading the journal until the old process stops; what it hands over then. */
static TapeReader follow(uint64_t offset, GArray *fds)
{
    HandoverMessage message;
    for (;;) {
        say(HANDOVER_LOADED, offset);
        HandoverGot got = handover_receive(handover_socket(), -1, &message, fds);
        if (got != HANDOVER_MESSAGE) _exit(1);
        if (message.kind == HANDOVER_STATE) break;
        if (message.kind != HANDOVER_FOLLOW) refuse("the old process says %u while it is followed", message.kind);
        if (fds->len > 0) take_ahead(fds);
        offset = persist_follow(message.value);
    }
    TapeReader tape = map_tape(fds);
    persist_follow(message.value);
    return tape;
}

static void take_sockets(GArray *fds)
{
    HandoverMessage message;
    do {
        message = await(HANDOVER_SOCKETS, FROZEN_MS, fds);
    } while (fds->len < message.value);
}

/* An old process that is dead by now can't say it. It was the one that served until it said STATE, and what it has
 * answered is in the journal's file: so this one goes on. */
static void await_commit(void)
{
    HandoverMessage message;
    HandoverGot got;
    do {
        got = handover_receive(handover_socket(), -1, &message, NULL);
    } while (got == HANDOVER_NOTHING);
    if (got == HANDOVER_GONE) {
        log_line(LOG_WARNING, "Upgrade: the old process died; what it handed over is all that there was.");
    } else if (got == HANDOVER_BAD || message.kind != HANDOVER_COMMIT) {
        refuse("the old process doesn't say that it ends");
    }
}

void carry_prepare(Loop *loop, void (*ready)(void))
{
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
    rest = follow(persist_load_read_only(loop, ready), fds);
    take_sockets(fds);
    clock_refresh();
    restore(&rest, fds);
    if (rest.bad) refuse("what the old process hands over can't be understood");
    ahead_forget();
}

void carry_take_over(void)
{
    handover_send(handover_socket(), HANDOVER_PREPARED, 0, NULL, -1);
    await_commit();
    char *error = NULL;
    if (!persist_take_over(&taken.place, &error)) refuse("%s", error);
    journal_place_clear(&taken.place);
    handover_send(handover_socket(), HANDOVER_SERVING, 0, NULL, -1); /* if it's gone by now, it's gone */
    handover_done();
    if (!options.persistence) transit_arrived();
    tape_unmap(&rest);
}

void carry_taken_over(void)
{
    int64_t now_us = clock_now_us();
    g_autofree char *text = g_strdup_printf("ckv %s, process %d, has taken over from ckv %s, process %" G_GINT64_FORMAT
                                            ": %zu connections, a pause of %.1f ms, %.2f s in all",
                                            CKV_VERSION, (int)getpid(), taken.version, taken.old_pid, taken.clients,
                                            (double)(now_us - taken.carried.frozen_us) / 1000,
                                            (double)(now_us - taken.carried.begun_us) / 1e6);
    log_line(LOG_WARNING, "Upgrade: %s", text);
    Client *asker = client_by_id(taken.carried.asker);
    if (asker == NULL) return;
    reply_bulk_cstring(client_out(asker), text);
    client_hold(asker, false);
}
