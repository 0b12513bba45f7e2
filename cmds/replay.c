/* replay.c: see replay.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/replay.h"

#include "base/clock.h"
#include "base/options.h"
#include "cmds/command.h"
#include "cmds/effect.h"
#include "cmds/handlers.h"
#include "cmds/newer.h"
#include "net/resp.h"

static struct {
    Client client; /* net doesn't know it */
    Session session;
    bool selected, in_multi;
    bool live; /* a master's stream */
    bool ack_asked;
    const Command *last; /* of a master */
    GArray *args;        /* RespArg */
    GArray *slices;      /* Slice */
    uint64_t commands;
    struct { /* what it's as before */
        bool effects_on;
        int64_t unix_ms;
        unsigned notify_events;
        uint64_t hits, misses;
    } before;
} replay;

void replay_begin(int db)
{
    g_assert(replay.args == NULL);
    replay.client = (Client){ .out = { .muted = true, .catching = true }, .session = &replay.session };
    replay.session =
        (Session){ .client = &replay.client, .db = &keyspace->dbs[MAX(db, 0)], .authenticated = true, .admin = true };
    replay.selected = db >= 0;
    replay.live = false;
    replay.in_multi = false;
    replay.args = g_array_new(FALSE, FALSE, sizeof(RespArg));
    replay.slices = g_array_new(FALSE, FALSE, sizeof(Slice));
    replay.commands = 0;
    keyspace_keep_expired(keyspace, true);
}

void replay_end(void)
{
    g_clear_pointer(&replay.args, g_array_unref);
    g_clear_pointer(&replay.slices, g_array_unref);
    keyspace_keep_expired(keyspace, false);
}

int replay_db(void)
{
    return replay.selected ? replay.session.db->index : -1;
}

uint64_t replay_commands(void)
{
    return replay.commands;
}

/* ---- one command ---- */

/* What the journal may hold: what changes data (PFCOUNT does, sometimes). */
static bool is_journaled(const Command *command)
{
    return command->handler != NULL && !(command->flags & CMD_ADMIN) &&
           ((command->flags & (CMD_WRITE | CMD_READONLY)) || command->handler == cmd_select);
}

/* Runs one that 3.2 knows. NULL, or what is wrong. */
static char *run_handler(const Command *command, const Slice *argv, int argc)
{
    if (!command_arity_fits(command, argc)) return g_strdup("it has a wrong number of arguments");
    Request r = {
        .client = &replay.client,
        .session = &replay.session,
        .out = &replay.client.out,
        .db = replay.session.db,
        .command = command,
        .argc = argc,
        .argv = argv,
    };
    if (replay.live) {
        replay.session.last = replay.in_multi ? command_find(SLICE("exec")) : command; /* as 3.2 counts it */
        command_call(&r);
    } else {
        command->handler(&r);
    }
    keyspace_expect((Slice){ NULL, 0 }, 0); /* another key may come to the same address */
    replay.selected |= command->handler == cmd_select || (command->flags & (CMD_WRITE | CMD_ALL_DBS)) == CMD_WRITE;
    return g_steal_pointer(&replay.client.out.error);
}

/* ---- what changes no data ---- */

static char *take_multi(const Command *command)
{
    bool begins = command->handler == cmd_multi;
    if (replay.in_multi == begins) return g_strdup(begins ? "MULTI is nested" : "there's no MULTI before it");
    replay.in_multi = begins;
    if (replay.live) command_note(command);
    return NULL;
}

/* What is in a stream for its slaves only. */
static bool is_notice(Slice name)
{
    return slice_is(name, "ping") || slice_is(name, "replconf") || slice_is(name, "publish") || newer_is_notice(name);
}

static char *take_notice(const Slice *argv, int argc)
{
    if (slice_is(argv[0], "replconf")) replay.ack_asked |= argc > 1 && slice_is(argv[1], "getack");
    const Command *command = command_find(argv[0]);
    if (!replay.live || command == NULL) return NULL;
    if (slice_is(argv[0], "publish")) return run_handler(command, argv, argc);
    command_note(command);
    return NULL;
}

/* ---- any ---- */

static char *run_known(void *context, const Slice *argv, int argc)
{
    (void)context;
    const Command *command = command_find(argv[0]);
    if (command == NULL || command->handler == NULL) return g_strdup("ckv doesn't have this command, or this form");
    if (!is_journaled(command)) return g_strdup("it has no place in a journal");
    return run_handler(command, argv, argc);
}

/* NULL, or what is wrong. */
static char *run_command(const Slice *argv, int argc)
{
    const Command *command = command_find(argv[0]);
    if (replay.live) replay.last = command;
    if (command != NULL && (command->handler == cmd_multi || command->handler == cmd_exec)) return take_multi(command);
    replay.commands++;
    if (is_notice(argv[0])) return take_notice(argv, argc);
    return newer_run(replay.session.db, argv, argc, run_known, NULL);
}

/* ---- a batch ---- */

/* The next command's arguments into replay.slices; returns the bytes it takes, or 0 if there's none. */
static size_t parse(RespParser *parser, Slice rest)
{
    /* Only inline commands would be written to, and journals have none. */
    char *bytes = (char *)(uintptr_t)rest.ptr;
    if (bytes[0] != '*' || resp_parse(parser, replay.args, bytes, rest.len) != RESP_COMMAND) return 0;
    g_array_set_size(replay.slices, replay.args->len);
    for (guint i = 0; i < replay.args->len; i++) {
        const RespArg *arg = &g_array_index(replay.args, RespArg, i);
        g_array_index(replay.slices, Slice, i) = (Slice){ bytes + arg->offset, arg->len };
    }
    return replay.args->len > 0 ? parser->offset : 0;
}

static char *run_payload(Slice payload)
{
    RespParser parser = { .offset = 0 };
    for (size_t at = 0; at < payload.len;) {
        size_t taken = parse(&parser, (Slice){ payload.ptr + at, payload.len - at });
        if (taken == 0) return g_strdup_printf("byte %zu of the batch doesn't begin a command", at);
        const Slice *argv = (const Slice *)(const void *)replay.slices->data;
        g_autofree char *wrong = run_command(argv, (int)replay.slices->len);
        if (wrong != NULL) {
            return g_strdup_printf("'%.*s' at byte %zu of the batch can't be run: %s", (int)MIN(argv[0].len, 64),
                                   argv[0].ptr, at, wrong);
        }
        at += taken;
        resp_next(&parser);
    }
    return replay.in_multi ? g_strdup("the batch ends between MULTI and EXEC") : NULL;
}

/* Nothing is journaled that comes out of a journal, and nobody is told of it. */
static void silence(void)
{
    replay.before.effects_on = effects_on;
    replay.before.unix_ms = clock_unix_ms;
    replay.before.notify_events = options.notify_events;
    replay.before.hits = keyspace->hits;
    replay.before.misses = keyspace->misses;
    effects_on = false;
    options.notify_events = 0;
}

static void end_silence(void)
{
    effects_on = replay.before.effects_on;
    clock_unix_ms = replay.before.unix_ms;
    options.notify_events = replay.before.notify_events;
    keyspace->hits = replay.before.hits;
    keyspace->misses = replay.before.misses;
}

bool replay_run(Slice payload, int64_t unix_ms, char **error)
{
    g_assert(replay.args != NULL);
    silence();
    clock_unix_ms = unix_ms;
    *error = run_payload(payload);
    end_silence();
    return *error == NULL;
}

bool replay_run_live(Slice unit, int fd, bool *partly, char **error)
{
    g_assert(replay.args != NULL);
    bool on = effects_on;
    uint64_t changes = keyspace->changes;
    effects_on = false;
    replay.live = true;
    replay.client.fd = fd;
    command_begin_calls();
    *error = run_payload(unit);
    replay.live = replay.in_multi = false;
    effects_on = on;
    *partly = *error != NULL && keyspace->changes != changes;
    return *error == NULL;
}

const char *replay_last_name(void)
{
    return replay.last == NULL ? NULL : replay.last->name;
}

bool replay_ack_asked(void)
{
    bool asked = replay.ack_asked;
    replay.ack_asked = false;
    return asked;
}
