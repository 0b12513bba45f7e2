/* sync.c: SYNC, PSYNC, REPLCONF and WAIT: the commands of a master and its slaves. repl/master.c does what the first
 * three ask for. Called by the command table; sync.h says by whom else.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/sync.h"

#include "base/clock.h"
#include "base/options.h"
#include "cmds/ack.h"
#include "cmds/checkpoints.h"
#include "cmds/failover.h"
#include "cmds/handlers.h"
#include "cmds/persist.h"
#include "cmds/replication.h"
#include "repl/master.h"
#include "repl/slave.h"
#include "store/journal.h"

/* ---- slaves ---- */

/* Whether there's a stream to be had; if not, the error is out. */
static bool check_stream(Request *r)
{
    if (failover_state != FAILOVER_NONE) {
        reply_error(r->out, "NOMASTERLINK Can't SYNC while failing over");
        return false;
    }
    if (slave_is_one() && slave_seen().state != SLAVE_CONNECTED) {
        reply_error(r->out, "NOMASTERLINK Can't SYNC while not connected with my master");
        return false;
    }
    if (journal_is_open()) {
        /* Whatever the client has said about replies, it takes the stream. */
        r->session->reply_off = r->out->muted = false;
        r->session->reply_skip = 0;
        return true;
    }
    reply_error(r->out, "ERR replication needs the journal, and this server runs with persistence no");
    return false;
}

/* SYNC */
void cmd_sync(Request *r)
{
    if (!r->session->monitoring && check_stream(r)) master_sync(r->client);
}

/* PSYNC id offset [FAILOVER] */
void cmd_psync(Request *r)
{
    int64_t offset;
    if (r->session->monitoring) return; /* as 3.2: what it is shown isn't to get into the stream */
    if (r->argc > 3 && arg_is(r, 3, "failover") && !replication_take_over(r, r->argv[1])) return;
    if (!check_stream(r) || !arg_int(r, 2, &offset, NULL)) return;
    master_psync(r->client, r->argv[1], offset);
}

/* As long as Redis allows an address to be. */
#define IP_CHARS_MAX 45

/* One option and its value at `index`. False: nothing more is to be answered. */
static bool run_option(Request *r, int index)
{
    Slice value = r->argv[index + 1];
    int64_t number;
    if (arg_is(r, index, "listening-port")) {
        if (!arg_int(r, index + 1, &number, NULL)) return false;
        master_set_port(r->client, (int)CLAMP(number, 0, 65535));
    } else if (arg_is(r, index, "ip-address")) {
        if (value.len > IP_CHARS_MAX) {
            reply_errorf(r->out, "ERR REPLCONF ip-address provided by slave instance is too long: %zu bytes",
                         value.len);
            return false;
        }
        master_set_ip(r->client, value);
    } else if (arg_is(r, index, "capa")) {
        if (slice_is(value, "psync2")) master_set_psync2(r->client);
    } else if (arg_is(r, index, "ack")) {
        if (number_parse_int(value, &number) && number >= 0) master_ack(r->client, (uint64_t)number);
        return false;
    } else if (!arg_is(r, index, "getack")) {
        reply_errorf(r->out, "ERR Unrecognized REPLCONF option: %.*s", (int)r->argv[index].len, r->argv[index].ptr);
        return false;
    }
    return true;
}

/* REPLCONF option value ... */
void cmd_replconf(Request *r)
{
    if (r->argc % 2 == 0) {
        reply_error(r->out, ERROR_SYNTAX);
        return;
    }
    for (int i = 1; i < r->argc; i += 2) {
        if (!run_option(r, i)) return;
    }
    reply_ok(r->out);
}

bool sync_takes_from_slave(Client *client, const Slice *argv, size_t argc)
{
    if (slice_is(argv[0], "replconf") && argc % 2 == 1 && argc > 1 && slice_is(argv[1], "ack")) return true;
    bool again = slice_is(argv[0], "sync") || slice_is(argv[0], "psync"); /* which isn't answered either */
    if (!again) master_reject(client, argv[0]);
    return false;
}

/* ---- WAIT ---- */

#define WAIT_TICK_MS 10

typedef struct Waiter {
    Client *client;
    int64_t slaves; /* that are to have confirmed */
    uint64_t offset;
    int64_t until_ms;
} Waiter;

static Loop *loop;
static GArray *waiters;

size_t sync_waiting(void)
{
    return waiters->len;
}

static void end_wait(guint index)
{
    Client *client = g_array_index(waiters, Waiter, index).client;
    ((Session *)client->session)->waiting = false;
    client_hold(client, false);
    g_array_remove_index(waiters, index);
}

/* Answers those who have waited long enough, in either sense. */
static void look_at_waiters(void)
{
    for (guint i = waiters->len; i-- > 0;) {
        const Waiter *waiter = &g_array_index(waiters, Waiter, i);
        int64_t acked = (int64_t)master_acked_by(waiter->offset);
        if (acked < waiter->slaves && clock_mono_ms() < waiter->until_ms) continue;
        reply_int(client_out(waiter->client), acked);
        end_wait(i);
    }
}

static int64_t wait_tick(void *context)
{
    (void)context;
    look_at_waiters();
    return waiters->len > 0 ? WAIT_TICK_MS : -1;
}

static void add_waiter(Waiter waiter)
{
    g_array_append_val(waiters, waiter);
    ((Session *)waiter.client->session)->waiting = true;
    if (waiters->len == 1) loop_timer(loop, WAIT_TICK_MS, wait_tick, NULL);
}

void sync_save(Tape *tape)
{
    tape_put(tape, waiters->len);
    for (guint i = 0; i < waiters->len; i++) {
        const Waiter *waiter = &g_array_index(waiters, Waiter, i);
        tape_put(tape, waiter->client->id);
        tape_put(tape, (uint64_t)waiter->slaves);
        tape_put(tape, waiter->offset);
        tape_put(tape, (uint64_t)waiter->until_ms);
    }
}

void sync_restore(TapeReader *tape)
{
    for (size_t left = tape_get_count(tape); left > 0 && !tape->bad; left--) {
        Waiter waiter = { .client = client_by_id(tape_get(tape)) };
        waiter.slaves = (int64_t)tape_get(tape);
        waiter.offset = tape_get(tape);
        waiter.until_ms = (int64_t)tape_get(tape);
        if (waiter.client != NULL) add_waiter(waiter); /* else it was about to be closed */
    }
}

static void begin_wait(Request *r, int64_t slaves, int64_t timeout_ms)
{
    int64_t until_ms;
    if (timeout_ms == 0 || __builtin_add_overflow(clock_mono_ms(), timeout_ms, &until_ms)) until_ms = INT64_MAX;
    Waiter waiter = { r->client, slaves, r->session->written, until_ms };
    add_waiter(waiter);
    client_hold(r->client, true);
    master_request_acks();
}

/* WAIT numslaves timeout: until so many slaves have confirmed what this client wrote, or (0: never) so many ms passed
 */
void cmd_wait(Request *r)
{
    int64_t slaves, timeout_ms;
    if (!arg_int(r, 1, &slaves, NULL)) return;
    if (!arg_int(r, 2, &timeout_ms, "ERR timeout is not an integer or out of range")) return;
    if (timeout_ms < 0) {
        reply_error(r->out, "ERR timeout is negative");
        return;
    }
    int64_t acked = (int64_t)master_acked_by(r->session->written);
    if (acked >= slaves || r->session->in_exec) {
        reply_int(r->out, acked);
    } else {
        begin_wait(r, slaves, timeout_ms);
    }
}

void sync_forget(Session *session)
{
    for (guint i = 0; session->waiting && i < waiters->len; i++) {
        if (g_array_index(waiters, Waiter, i).client == session->client) end_wait(i);
    }
}

void sync_demoted(void)
{
    while (waiters->len > 0) {
        Client *client = g_array_index(waiters, Waiter, 0).client;
        reply_error(client_out(client), "UNBLOCKED force unblock from blocking operation, instance state changed "
                                        "(master -> slave?)");
        client_close_after_reply(client);
        end_wait(0);
    }
}

void sync_data_replaced(void)
{
    const GPtrArray *all = client_all();
    for (guint i = 0; i < all->len; i++) {
        const Client *client = all->pdata[i];
        ((Session *)client->session)->written = 0;
    }
    sync_demoted();
}

/* ---- writes that need slaves ---- */

bool sync_admits(Out *out)
{
    bool needed = options.min_slaves_to_write > 0 && options.min_slaves_max_lag > 0;
    if (needed && (int64_t)master_good_slaves(options.min_slaves_max_lag) < options.min_slaves_to_write) {
        reply_error(out, "NOREPLICAS Not enough good slaves to write.");
        return false;
    }
    return ack_admits(out);
}

/* ---- set-up ---- */

void sync_init(Loop *the_loop)
{
    loop = the_loop;
    waiters = g_array_new(FALSE, FALSE, sizeof(Waiter));
    ack_init(loop);
    master_init(loop, (MasterHooks){ .manifest = &persist_manifest,
                                     .begin_checkpoint = checkpoints_begin,
                                     .when_done = checkpoints_when_done,
                                     .hold = checkpoints_hold,
                                     .acked = look_at_waiters });
}
