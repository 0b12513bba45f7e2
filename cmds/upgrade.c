/* upgrade.c: UPGRADE: another process takes over (see repl/handover.h): the old process' side. Called by the command
 * table; the main program stops it.
 *
 * Design. A timer waits for what has to end first (a checkpoint, a backup, a full sync to or from here), then starts
 * the new process, and holds further checkpoints until it is over, since the new one reads the newest (with persistence
 * no, one is made for it first: cmds/transit.h). It's let to
 * catch up while clients are served. Once it lacks little it's sent, in slices, what much is unsent or unfinished of
 * clients; then the disk is waited for. When it has all but little of both, all stops: the rest is handed over in one
 * go, waiting for each answer, and this process ends. Whatever goes wrong before that ends the other one, is one line
 * in the log and the answer to UPGRADE, and nothing has changed. If what the other one has read isn't what it's to take
 * over any more, as when a slave's master was failed over, it's ended, and another one started.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/upgrade.h"

#include <errno.h>
#include <signal.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "ckv.h"
#include "cmds/backups.h"
#include "cmds/carry.h"
#include "cmds/checkpoints.h"
#include "cmds/command.h"
#include "cmds/effect.h"
#include "cmds/failover.h"
#include "cmds/handlers.h"
#include "cmds/persist.h"
#include "cmds/server.h"
#include "cmds/transit.h"
#include "repl/handover.h"
#include "repl/master.h"
#include "repl/slave.h"

#define TICK_MS       1
#define BUSY_MS_MAX   60000     /* a checkpoint, backup or full sync may take so long */
#define SAVE_MS_MAX   1800000   /* what keeps nothing on disk is written there, 10 GB a minute or so */
#define SILENT_MS_MAX 30000     /* the new process says each second that it lives */
#define FOLLOW_MS_MAX 60000     /* it catches up with what clients write, or can't */
#define FROZEN_MS_MAX 2000      /* for each of its answers in the pause */
#define NEAR_BYTES    65536     /* what it may lack of the journal when the pause begins, and */
#define NEAR_CLIENTS  (1 << 20) /* of what clients have unsent or unfinished; */
#define AHEAD_MS_MAX  30000     /* or more, if that grows faster for so long */
#define AHEAD_BYTES   (2 << 20) /* of it, in one slice: a millisecond or two */
#define STARTS_MAX    10        /* of new processes for one upgrade */

#define DATA_CHANGED  "the data was replaced, or began another history, meanwhile"

typedef enum UpgradeState {
    UPGRADE_NONE,
    UPGRADE_WAITS,   /* for what has to end first */
    UPGRADE_SAVES,   /* with persistence no: the checkpoint that it's to load */
    UPGRADE_LOADS,   /* the new process does */
    UPGRADE_SENDS,   /* it has nearly all of the data; it's sent what clients have unsent or unfinished */
    UPGRADE_SYNCS,   /* it has nearly all; the disk is waited for */
    UPGRADE_SWITCHES /* it has been told to go on a last time */
} UpgradeState;

static struct {
    UpgradeState state;
    char *program;
    HandoverChild child;
    Carried carried;
    uint64_t generation, synced;
    char *master; /* whose slave this is */
    int64_t since_ms, heard_ms, followed_ms, ahead_ms;
    int starts;
    bool held;
} upgrade = { .child = { .socket = -1 } };

/* ---- the end ---- */

static char *master_text(void)
{
    return g_strdup_printf("%s %" G_GINT64_FORMAT, options.master_host, options.master_port);
}

static void answer(const char *why)
{
    Client *asker = client_by_id(upgrade.carried.asker);
    if (asker == NULL) return;
    reply_errorf(client_out(asker), "ERR the upgrade failed, and this process goes on: %s", why);
    client_hold(asker, false);
}

static void end(const char *why)
{
    if (upgrade.child.pid != 0) g_free(handover_end(&upgrade.child));
    if (upgrade.held) checkpoints_hold(false);
    upgrade.held = false;
    upgrade.state = UPGRADE_NONE;
    g_clear_pointer(&upgrade.program, g_free);
    g_clear_pointer(&upgrade.master, g_free);
    log_line(LOG_WARNING, "The upgrade failed, and this process goes on: %s", why);
    answer(why);
    transit_end();
}

void upgrade_abort(void)
{
    if (upgrade.state != UPGRADE_NONE) end("the server stops");
}

/* The new process has ended without a word of why. */
static void end_of_child(const char *step)
{
    g_autofree char *how = handover_end(&upgrade.child);
    g_autofree char *why = g_strdup_printf("the new process (%s) ended %s: %s", upgrade.program, step, how);
    end(why);
}

/* ---- before ---- */

/* NULL, or what has to end first. */
static const char *what_is_busy(void)
{
    if (server_loading) return "the data is being loaded";
    if (persist_lost() != NULL) return "what the master sent can't be loaded";
    if (checkpoints_are_running()) return "a checkpoint is being made";
    if (!backups_idle()) return "a backup or a rollback is in progress";
    if (!master_may_pass()) return "a slave is being sent a full sync";
    if (!transit_idle()) return "the last upgrade's files are being removed";
    if (failover_state != FAILOVER_NONE) return "a failover is in progress";
    return slave_may_pass() ? NULL : "a full sync is being received";
}

static void start_child(void)
{
    upgrade.starts++;
    upgrade.generation = persist_generation();
    upgrade.master = master_text();
    checkpoints_hold(true);
    upgrade.held = true;
    char *error = handover_spawn(&upgrade.child, upgrade.program, server.words, server.start_directory, server.locks);
    if (error != NULL) {
        end(error);
        g_free(error);
        return;
    }
    log_line(LOG_NOTICE, "Upgrade: %s is started as process %d.", upgrade.program, (int)upgrade.child.pid);
    upgrade.state = UPGRADE_LOADS;
    upgrade.heard_ms = clock_mono_ms();
}

static void begin_to_save(void)
{
    char *error = NULL;
    upgrade.state = UPGRADE_SAVES;
    upgrade.since_ms = clock_mono_ms();
    if (!transit_begin(&error)) end(error);
    g_free(error);
}

static void wait_for_save(void)
{
    if (transit_is_whole()) {
        start_child();
    } else if (clock_mono_ms() - upgrade.since_ms > SAVE_MS_MAX) {
        end("the data can't be written in time");
    }
}

static void wait_for_others(void)
{
    const char *busy = what_is_busy();
    if (busy == NULL && !handover_is_gone(&upgrade.child)) busy = "the last new process hasn't ended yet";
    if (busy == NULL && options.persistence) {
        start_child();
    } else if (busy == NULL) {
        begin_to_save();
    } else if (clock_mono_ms() - upgrade.since_ms > BUSY_MS_MAX) {
        end(busy);
    }
}

/* ---- what the new process has read isn't what there is ---- */

/* The data or its history: it may have found that, too, and taken it for damage. */
static bool has_stale_data(void)
{
    return upgrade.state >= UPGRADE_LOADS && upgrade.generation != persist_generation();
}

/* NULL, or why it can't go on with what it has. What a slave does counts in the end only. */
static const char *what_is_stale(void)
{
    g_autofree char *master = master_text();
    if (has_stale_data()) return DATA_CHANGED;
    if (strcmp(upgrade.master, master) != 0) return "SLAVEOF came meanwhile";
    return slave_may_pass() ? NULL : "a full sync is being received";
}

static void start_over(const char *why)
{
    if (upgrade.starts >= STARTS_MAX) {
        end(why);
        return;
    }
    log_line(LOG_NOTICE, "Upgrade: process %d is ended, and another one is to be started: %s.", (int)upgrade.child.pid,
             why);
    handover_kill(&upgrade.child);
    checkpoints_hold(false);
    upgrade.held = false;
    g_clear_pointer(&upgrade.master, g_free);
    upgrade.state = UPGRADE_WAITS;
    upgrade.since_ms = clock_mono_ms();
    upgrade.followed_ms = 0;
}

/* ---- the pause ---- */

/* The next message but one that only says that it lives. */
static HandoverGot receive(HandoverMessage *message)
{
    HandoverGot got;
    do {
        got = handover_receive(upgrade.child.socket, FROZEN_MS_MAX, message, NULL);
    } while (got == HANDOVER_MESSAGE && message->kind == HANDOVER_ALIVE);
    return got;
}

/* Waits for a word of the new process. NULL, or why it won't come (g_free). */
static char *await(HandoverKind kind)
{
    HandoverMessage message;
    switch (receive(&message)) {
    case HANDOVER_NOTHING: return g_strdup_printf("the new process took more than %d ms to take over", FROZEN_MS_MAX);
    case HANDOVER_BAD: return g_strdup("the new process says what can't be understood");
    case HANDOVER_GONE: {
        g_autofree char *how = handover_end(&upgrade.child);
        return g_strdup_printf("the new process (%s) ended while it took over: %s", upgrade.program, how);
    }
    case HANDOVER_MESSAGE: break;
    }
    if (message.kind == HANDOVER_REFUSED) return g_strdup(message.text);
    return message.kind == kind ? NULL : g_strdup_printf("the new process says %u where %d is due", message.kind, kind);
}

/* NULL: the new process serves. */
static char *hand_over(const JournalPlace *place, Tape *tape, GArray *fds)
{
    carry_save(tape, fds, place, &upgrade.carried);
    if (!tape_is_whole(tape)) return g_strdup_printf("no memory for the clients' state: %s", g_strerror(errno));
    int socket = upgrade.child.socket;
    char *why = NULL;
    if (!handover_send(socket, HANDOVER_STATE, place->offset, NULL, tape->fd) || !handover_send_sockets(socket, fds))
        return g_strdup_printf("the clients' sockets can't be handed over: %s", g_strerror(errno));
    if ((why = await(HANDOVER_PREPARED)) != NULL) return why;
    if (!handover_send(socket, HANDOVER_COMMIT, 0, NULL, -1)) return g_strdup("the new process has ended");
    why = await(HANDOVER_SERVING);
    if (why != NULL && upgrade.child.pid != 0 && handover_serves(&upgrade.child)) g_clear_pointer(&why, g_free);
    return why;
}

/* The new process serves: this one has nothing left to do, and nothing to close that isn't the other's by now. Whoever
 * told this one to stop meanwhile meant the server: a signal that comes from here on is passed on at once. */
static void finish(void) __attribute__((noreturn));
static void finish(void)
{
    server.successor = upgrade.child.pid;
    if (server.stop_signal != 0) kill(upgrade.child.pid, server.stop_signal);
    log_line(LOG_NOTICE, "Upgrade: process %d has taken over, bye.", (int)upgrade.child.pid);
    sd_notifyf(0, "MAINPID=%d", (int)upgrade.child.pid);
    _exit(0);
}

/* NULL, or what has come up meanwhile. */
static const char *what_changed(void)
{
    if (loop_is_stopping(server.loop)) return "the server stops";
    if (journal_trouble() != NULL) return journal_trouble();
    if (transit_trouble() != NULL) return transit_trouble();
    return what_is_busy();
}

static void switch_over(void)
{
    Tape tape;
    JournalPlace place;
    const char *changed;
    upgrade.carried.frozen_us = clock_now_us();
    client_settle();
    if ((changed = what_is_stale()) != NULL) {
        start_over(changed);
        return;
    }
    if ((changed = what_changed()) != NULL) {
        end(changed);
        return;
    }
    if (!tape_open(&tape)) {
        end("no memory for the clients' state");
        return;
    }
    persist_leave(&place);
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
    char *why = hand_over(&place, &tape, fds);
    if (why == NULL) finish();
    if (upgrade.child.pid != 0) g_free(handover_end(&upgrade.child)); /* now it writes nothing */
    if (options.persistence) persist_take_back(&place);
    journal_place_clear(&place);
    tape_close(&tape);
    end(why);
    g_free(why);
}

/* ---- while the new process loads ---- */

static void begin(const HandoverMessage *hello)
{
    Tape tape;
    if (hello->format != HANDOVER_FORMAT) {
        g_autofree char *why =
            g_strdup_printf("%s (ckv %s) speaks hand-over format %u, and this one (ckv %s) format %d", upgrade.program,
                            hello->text, hello->format, CKV_VERSION, HANDOVER_FORMAT);
        end(why);
        return;
    }
    bool good = tape_open(&tape);
    if (good) carry_save_options(&tape);
    good = good && tape_is_whole(&tape) && handover_send(upgrade.child.socket, HANDOVER_BEGIN, 0, CKV_VERSION, tape.fd);
    tape_close(&tape);
    if (!good) end("no memory for the options");
}

static void tell_to_follow(int ahead_fd)
{
    effect_commit();
    if (!handover_send(upgrade.child.socket, HANDOVER_FOLLOW, journal_written(), NULL, ahead_fd))
        end_of_child("while it followed");
}

/* Whether much of the clients' output and input is left for the pause, and it's worth to send it before. */
static bool clients_are_far(void)
{
    return clock_mono_ms() - upgrade.ahead_ms < AHEAD_MS_MAX && client_ahead_left() > NEAR_CLIENTS;
}

static void send_ahead(void)
{
    Tape tape;
    if (!tape_open(&tape)) {
        end("no memory for the clients' state");
        return;
    }
    client_save_ahead(&tape, AHEAD_BYTES);
    if (tape_is_whole(&tape)) {
        tell_to_follow(tape.fd);
    } else {
        end("no memory for the clients' state");
    }
    tape_close(&tape);
}

static void begin_to_send(void)
{
    upgrade.state = UPGRADE_SENDS;
    upgrade.ahead_ms = clock_mono_ms();
    client_ahead_begin();
}

static void begin_to_sync(void)
{
    upgrade.state = UPGRADE_SYNCS;
    upgrade.synced = options.persistence ? journal_written() : 0;
    if (options.persistence) journal_sync_soon();
}

/* The new process has all up to that offset. */
static void loaded(uint64_t offset)
{
    bool near = journal_offset() - offset <= NEAR_BYTES;
    if (upgrade.followed_ms == 0) upgrade.followed_ms = clock_mono_ms();
    if (clock_mono_ms() - upgrade.followed_ms > FOLLOW_MS_MAX) {
        end("the new process can't keep up with what is written");
        return;
    }
    if (near && upgrade.state == UPGRADE_LOADS) begin_to_send();
    if (upgrade.state == UPGRADE_SWITCHES && clients_are_far()) upgrade.state = UPGRADE_SENDS;
    if (upgrade.state == UPGRADE_SENDS && clients_are_far()) {
        send_ahead();
    } else if (near && upgrade.state == UPGRADE_SENDS) {
        begin_to_sync();
    } else if (near && upgrade.state == UPGRADE_SWITCHES) {
        switch_over();
    } else {
        tell_to_follow(-1);
    }
}

static void take_message(const HandoverMessage *message)
{
    upgrade.heard_ms = clock_mono_ms();
    switch (message->kind) {
    case HANDOVER_HELLO: begin(message); break;
    case HANDOVER_ALIVE: break;
    case HANDOVER_LOADED: loaded(message->value); break;
    case HANDOVER_REFUSED: end(message->text); break;
    default: end("the new process says what isn't due");
    }
}

static void listen_to_child(void)
{
    HandoverMessage message;
    switch (handover_receive(upgrade.child.socket, 0, &message, NULL)) {
    case HANDOVER_MESSAGE: take_message(&message); break;
    case HANDOVER_GONE: end_of_child("before it took over; is it a version that can?"); break;
    case HANDOVER_BAD: end("the new process says what can't be understood"); break;
    case HANDOVER_NOTHING:
        if (clock_mono_ms() - upgrade.heard_ms > SILENT_MS_MAX) end("the new process says nothing for too long");
    }
}

/* What was near is durable: so the journal's thread has nothing to do when it is to stop. */
static void wait_for_disk(void)
{
    if (journal_trouble() != NULL) {
        end(journal_trouble());
    } else if (journal_durable() >= upgrade.synced) {
        upgrade.state = UPGRADE_SWITCHES;
        tell_to_follow(-1);
    }
}

static int64_t tick(void *context)
{
    (void)context;
    const char *trouble = transit_trouble();
    if (trouble != NULL) end(trouble);
    if (has_stale_data()) start_over(DATA_CHANGED);
    switch (upgrade.state) {
    case UPGRADE_NONE: break;
    case UPGRADE_WAITS: wait_for_others(); break;
    case UPGRADE_SAVES: wait_for_save(); break;
    case UPGRADE_SYNCS: wait_for_disk(); break;
    case UPGRADE_LOADS:
    case UPGRADE_SENDS:
    case UPGRADE_SWITCHES: listen_to_child(); break;
    }
    return upgrade.state == UPGRADE_NONE ? -1 : TICK_MS;
}

/* ---- the command ---- */

/* UPGRADE [program]: answers when another process serves, or this one goes on */
void cmd_upgrade(Request *r)
{
    if (upgrade.state != UPGRADE_NONE) {
        reply_error(r->out, "ERR an upgrade is in progress");
    } else if (failover_state != FAILOVER_NONE) {
        reply_error(r->out, "ERR a failover is in progress");
    } else if (r->session->in_exec) {
        reply_error(r->out, "ERR UPGRADE isn't for transactions");
    } else {
        upgrade.program = r->argc > 1 ? g_strndup(r->argv[1].ptr, r->argv[1].len) : g_strdup(server.executable);
        upgrade.carried = (Carried){ .begun_us = clock_now_us(), .asker = r->client->id };
        upgrade.state = UPGRADE_WAITS;
        upgrade.since_ms = clock_mono_ms();
        upgrade.followed_ms = upgrade.starts = 0;
        client_hold(r->client, true);
        loop_timer(server.loop, 0, tick, NULL);
    }
}
