/* failover.c: FAILOVER: a planned switch of this master and one of its slaves, as Redis 7 has it. Called by the command
 * table, by command.c before each command while a switch is on, and by repl/slave.c.
 *
 * Design. From FAILOVER on, what would write waits: no command is answered by an error, and nothing is added to the
 * stream but what time brings (PING, keys that expire). Once a slave has confirmed all of it, this server becomes that
 * one's slave, and asks for the stream by `PSYNC id offset FAILOVER`, which makes the other the master, of a new
 * history that goes on where this one ends.
 *
 * Then clients are closed, as by any master that is demoted: those that waited as well, whose commands were not run.
 * They find the new master where they found this one: by Sentinel, which hello.c tells of it, or a proxy that looks at
 * INFO. None has seen READONLY or lost an acknowledged write. (Redis 7 answers READONLY to each of them.)
 *
 * If the slave doesn't catch up within TIMEOUT, or refuses, or if FAILOVER ABORT comes, this server goes on as the
 * master, in its old history, with those that waited. From the moment when the other was asked until it answers that,
 * it isn't known whether it took over: so writes wait, whatever else is in the way of asking again (it's loading, say),
 * until it answers, TIMEOUT is over, or an operator decides. If it's seen to have taken over, for its history goes on
 * from ours, the switch is done; or, if it's a slave again by then, it's asked again, and not even TIMEOUT makes this
 * server the master: clients may have been answered there.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/failover.h"

#include "base/clock.h"
#include "base/log.h"
#include "cmds/backups.h"
#include "cmds/effect.h"
#include "cmds/handlers.h"
#include "cmds/hello.h"
#include "cmds/replication.h"
#include "repl/master.h"
#include "repl/slave.h"
#include "store/journal.h"

#define TICK_MS 2

FailoverState failover_state;

static struct {
    Loop *loop;
    char *host; /* the slave's that is to be the master; NULL: any */
    int port;
    bool force;
    int64_t until_ms; /* 0: no limit */
    GArray *held;     /* uint64_t: clients' ids */
} failover;

const char *failover_state_name(void)
{
    static const char *const names[] = { "no-failover", "waiting-for-sync", "failover-in-progress" };
    return names[failover_state];
}

/* ---- who waits ---- */

static bool may_add(const Session *session, const Command *command)
{
    return command->handler == cmd_exec ? transaction_adds(session) : command_adds(command);
}

bool failover_holds(Client *client, const Command *command)
{
    const Session *session = client->session;
    if (failover_state == FAILOVER_NONE || command == NULL) return false;
    /* While it's a slave already, it would refuse to read, too. */
    bool reads = (command->flags & CMD_READONLY) && !session_is_admin(session);
    if (!may_add(session, command) && !(reads && failover_state == FAILOVER_ASKS)) return false;
    client_hold(client, true);
    g_array_append_val(failover.held, client->id);
    return true;
}

static void release(bool close)
{
    for (guint i = 0; i < failover.held->len; i++) {
        Client *client = client_by_id(g_array_index(failover.held, uint64_t, i));
        if (client == NULL) continue;
        if (close) client_close_now(client);
        client_hold(client, false);
    }
    g_array_set_size(failover.held, 0);
}

/* ---- the switch ---- */

static void end(bool close)
{
    failover_state = FAILOVER_NONE;
    g_clear_pointer(&failover.host, g_free);
    release(close);
}

static void give_up(const char *why)
{
    if (failover.host != NULL) {
        log_line(LOG_NOTICE, "FAILOVER to %s:%d aborted: %s", failover.host, failover.port, why);
    } else {
        log_line(LOG_NOTICE, "FAILOVER to any slave aborted: %s", why);
    }
    if (failover_state == FAILOVER_ASKS) replication_take_back();
    end(false);
}

void failover_answered(const char *refusal)
{
    if (refusal != NULL) {
        give_up(refusal);
        return;
    }
    log_line(LOG_NOTICE, "FAILOVER: %s:%d is the master now", failover.host, failover.port);
    hello_tell(failover.host, failover.port);
    end(true);
    replication_close_clients();
}

static void ask(void)
{
    failover_state = FAILOVER_ASKS;
    replication_hand_over(failover.host, failover.port);
}

static bool is_target(const MasterSlave *slave)
{
    return failover.host == NULL || (slave->port == failover.port && strcmp(slave->ip, failover.host) == 0);
}

/* Whether a slave that may be the master has all there is; then it's the one. */
static bool find_caught_up(void)
{
    MasterSlave slave;
    for (size_t i = 0; master_slave_at(i, &slave); i++) {
        if (!slave.online || slave.acked < journal_offset() || !is_target(&slave)) continue;
        g_free(failover.host);
        failover.host = g_strdup(slave.ip);
        failover.port = slave.port;
        return true;
    }
    return false;
}

static void look_at_slaves(void)
{
    bool late = failover.until_ms != 0 && clock_mono_ms() >= failover.until_ms;
    effect_commit();
    if (find_caught_up()) {
        log_line(LOG_NOTICE, "Failover target %s:%d is synced, failing over.", failover.host, failover.port);
        ask();
    } else if (late && failover.force) {
        log_line(LOG_NOTICE, "FAILOVER to %s:%d time out exceeded, failing over.", failover.host, failover.port);
        ask();
    } else if (late) {
        give_up("Slave never caught up before timeout");
    }
}

static int64_t tick(void *context)
{
    (void)context;
    if (failover_state == FAILOVER_WAITS) {
        look_at_slaves();
    } else if (failover_state == FAILOVER_ASKS && !failover.force && failover.until_ms != 0 &&
               clock_mono_ms() >= failover.until_ms && !slave_seen().taken_over) {
        give_up("there was no answer before timeout; if the slave has become a master, make it a slave again");
    }
    return failover_state == FAILOVER_NONE ? -1 : TICK_MS;
}

/* ---- the command ---- */

typedef struct FailoverWords {
    Slice host; /* ptr NULL: any */
    int64_t port, timeout_ms;
    bool force;
} FailoverWords;

/* False: the error is out. */
static bool read_words(Request *r, FailoverWords *words)
{
    for (int i = 1; i < r->argc; i++) {
        if (arg_is(r, i, "timeout") && i + 1 < r->argc && words->timeout_ms == 0) {
            if (!arg_int(r, ++i, &words->timeout_ms, NULL)) return false;
            if (words->timeout_ms > 0 && words->timeout_ms <= INT32_MAX) continue;
            reply_error(r->out, "ERR FAILOVER timeout must be greater than 0");
            return false;
        }
        if (arg_is(r, i, "to") && i + 2 < r->argc && words->host.ptr == NULL) {
            if (!arg_int(r, i + 2, &words->port, NULL)) return false;
            words->host = r->argv[i + 1];
            i += 2;
        } else if (arg_is(r, i, "force") && !words->force) {
            words->force = true;
        } else {
            reply_error(r->out, ERROR_SYNTAX);
            return false;
        }
    }
    return true;
}

/* NULL, or why there can't be such a switch. */
static const char *why_not(const FailoverWords *words)
{
    MasterSlave slave;
    if (failover_state != FAILOVER_NONE) return "ERR FAILOVER already in progress.";
    if (slave_is_one()) return "ERR FAILOVER is not valid when server is a replica.";
    if (backups_replace_data()) return "ERR FAILOVER not allowed while a rollback is in progress.";
    if (master_slaves() == 0) return "ERR FAILOVER requires connected replicas.";
    if (words->force && (words->timeout_ms == 0 || words->host.ptr == NULL))
        return "ERR FAILOVER with force option requires both a timeout and target HOST and IP.";
    if (words->host.ptr == NULL) return NULL;
    for (size_t i = 0; master_slave_at(i, &slave); i++) {
        if (slave.port != words->port || !slice_equal(words->host, slice_of(slave.ip))) continue;
        return slave.online ? NULL : "ERR FAILOVER target replica is not online.";
    }
    return "ERR FAILOVER target HOST and PORT is not a replica.";
}

static void begin(const FailoverWords *words)
{
    bool any = words->host.ptr == NULL;
    failover.host = any ? NULL : g_strndup(words->host.ptr, words->host.len);
    failover.port = (int)words->port;
    failover.force = words->force;
    failover.until_ms = words->timeout_ms == 0 ? 0 : clock_mono_ms() + words->timeout_ms;
    failover_state = FAILOVER_WAITS;
    log_line(LOG_NOTICE, "FAILOVER requested to %s.", any ? "any slave" : failover.host);
    master_request_acks();
    loop_timer(failover.loop, TICK_MS, tick, NULL);
}

/* FAILOVER [TO host port [FORCE]] [TIMEOUT milliseconds] | ABORT */
void cmd_failover(Request *r)
{
    FailoverWords words = { .force = false };
    if (r->argc == 2 && arg_is(r, 1, "abort")) {
        if (failover_state == FAILOVER_NONE) {
            reply_error(r->out, "ERR No failover in progress.");
            return;
        }
        give_up("Failover manually aborted");
        reply_ok(r->out);
        return;
    }
    if (!read_words(r, &words)) return;
    const char *refusal = why_not(&words);
    if (refusal != NULL) {
        reply_error(r->out, refusal);
        return;
    }
    begin(&words);
    reply_ok(r->out);
}

void failover_init(Loop *loop)
{
    failover.loop = loop;
    failover.held = g_array_new(FALSE, FALSE, sizeof(uint64_t));
}
