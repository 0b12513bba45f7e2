/* server.c: DBSIZE, TIME and COMMAND, and what server.h promises. (INFO is in info.c.)
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/server.h"

#include <stdio.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "base/random.h"
#include "cmds/command.h"
#include "cmds/effect.h"
#include "cmds/handlers.h"
#include "cmds/slowlog.h"
#include "repl/master.h"
#include "repl/slave.h"
#include "store/compact.h"
#include "store/evict.h"
#include "store/grave.h"
#include "store/mem.h"

Server server;
bool server_loading;

/* ---- rates ---- */

#define SAMPLES         16
#define SAMPLE_EVERY_MS 100

typedef struct Metric {
    uint64_t last; /* the counter when it was last looked at */
    uint64_t samples[SAMPLES];
} Metric;

static struct {
    Metric commands, bytes_in, bytes_out;
    int64_t last_us;
    unsigned next;
} rates;

static void sample(Metric *metric, uint64_t counter, int64_t elapsed_us)
{
    /* CONFIG RESETSTAT may have set the counter back. */
    uint64_t grown = counter > metric->last ? counter - metric->last : 0;
    metric->samples[rates.next] = elapsed_us > 0 ? grown * 1000000 / (uint64_t)elapsed_us : 0;
    metric->last = counter;
}

static uint64_t average(const Metric *metric)
{
    uint64_t sum = 0;
    for (int i = 0; i < SAMPLES; i++)
        sum += metric->samples[i];
    return sum / SAMPLES;
}

ServerRates server_rates(void)
{
    return (ServerRates){ average(&rates.commands), average(&rates.bytes_in), average(&rates.bytes_out) };
}

static int64_t sample_tick(void *context)
{
    (void)context;
    int64_t now_us = clock_now_us(), elapsed_us = now_us - rates.last_us;
    rates.last_us = now_us;
    sample(&rates.commands, commands_processed, elapsed_us);
    sample(&rates.bytes_in, client_stats.bytes_in, elapsed_us);
    sample(&rates.bytes_out, client_stats.bytes_out, elapsed_us);
    rates.next = (rates.next + 1) % SAMPLES;
    mem_note_peak();
    if (rates.next == 0) compact_look();
    return SAMPLE_EVERY_MS;
}

void server_reset_stats(void)
{
    commands_processed = 0;
    client_stats.accepted = client_stats.rejected = client_stats.bytes_in = client_stats.bytes_out = 0;
    master_stats = (MasterStats){ 0 };
    keyspace->hits = keyspace->misses = keyspace->expired = keyspace->evicted = 0;
    for (size_t i = 0; i < command_count; i++)
        command_stats[i] = (CommandStats){ 0 };
}

/* ---- the timer ---- */

bool server_may_evict(void)
{
    return options.maxmemory != 0 && !server_loading && !slave_is_one();
}

/* One run of the background work takes about this long at most; what is left is done after a pause as long, so that
 * clients get half of the time even then. */
#define UPKEEP_US_MAX   1000
#define UPKEEP_PAUSE_MS 1

/* Of this, at least so much is for freeing what was deleted, however much expires. */
#define GRAVE_US_MIN (UPKEEP_US_MAX / 4)

/* And so much besides for moving entries together, which is never urgent: a fifth of the time at most. */
#define COMPACT_US_MAX 250

/* The longest pause otherwise: an expired key is to be gone within 100 ms. */
#define UPKEEP_EVERY_MS_MAX 50

static int64_t upkeep_tick(void *context)
{
    (void)context;
    /* Each key that goes is a DEL in the journal, so none does while that piles up. */
    if (effect_in_trouble()) return UPKEEP_EVERY_MS_MAX;
    int64_t start_us = clock_now_us();
    bool more = expire_run(keyspace, UPKEEP_US_MAX);
    int64_t expire_us = clock_now_us() - start_us;
    latency_note("expire-cycle", expire_us / 1000);
    more |= grave_step(MAX(UPKEEP_US_MAX - expire_us, GRAVE_US_MIN));
    if (server_may_evict()) more |= evict_run(keyspace) && evict_used() > (size_t)options.maxmemory;
    more |= compact_run(keyspace, COMPACT_US_MAX);
    return more ? UPKEEP_PAUSE_MS : MIN(1000 / options.hz, UPKEEP_EVERY_MS_MAX);
}

void server_init(Loop *loop, char *executable)
{
    server.loop = loop;
    server.executable = executable;
    server.started_ms = clock_unix_ms;
    server.last_save_sec = clock_unix_ms / 1000;
    random_hex(server.run_id, sizeof(server.run_id) - 1);
    rates.last_us = clock_now_us();
    loop_timer(loop, 0, upkeep_tick, NULL);
    loop_timer(loop, SAMPLE_EVERY_MS, sample_tick, NULL);
}

/* Descriptors that aren't clients': listeners, files, the loop's own. As many as 3.2 sets aside. */
#define RESERVED_FILES 32

int64_t server_make_room_for(int64_t clients)
{
    struct rlimit limit;
    rlim_t needed = (rlim_t)(clients + RESERVED_FILES);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return clients;
    if (limit.rlim_cur >= needed) return clients;
    rlim_t before = limit.rlim_cur;
    struct rlimit raised = { needed, MAX(needed, limit.rlim_max) };
    if (setrlimit(RLIMIT_NOFILE, &raised) != 0) {
        /* Only root may go over the hard limit. */
        raised = (struct rlimit){ MIN(needed, limit.rlim_max), limit.rlim_max };
        if (setrlimit(RLIMIT_NOFILE, &raised) != 0) raised.rlim_cur = before;
    }
    if (raised.rlim_cur > before) {
        log_line(LOG_NOTICE, "Increased maximum number of open files to %lu (it was originally set to %lu).",
                 raised.rlim_cur, before);
    }
    return MIN(clients, (int64_t)raised.rlim_cur - RESERVED_FILES);
}

/* ---- commands ---- */

/* DBSIZE */
void cmd_dbsize(Request *r)
{
    reply_int(r->out, (int64_t)keyspace_size(r->db));
}

/* TIME */
void cmd_time(Request *r)
{
    int64_t now_us = g_get_real_time(); /* the turn's clock stands still */
    reply_array(r->out, 2);
    reply_bulk_int(r->out, now_us / 1000000);
    reply_bulk_int(r->out, now_us % 1000000);
}

/* The names of the flags by their bits. */
static const char *const flag_names[COMMAND_FLAGS_SHOWN] = {
    "write",           "readonly", "denyoom", "admin",        "pubsub", "noscript", "random",
    "sort_for_script", "loading",  "stale",   "skip_monitor", "asking", "fast",     "movablekeys",
};
#define SHOWN_FLAGS ((1U << COMMAND_FLAGS_SHOWN) - 1)

const char *command_flag_name(const Command *command, size_t bit)
{
    return command->flags & SHOWN_FLAGS & (1U << bit) ? flag_names[bit] : NULL;
}

static void reply_command(Out *out, const Command *command)
{
    reply_array(out, 6);
    reply_bulk_cstring(out, command->name);
    reply_int(out, command->arity);
    reply_array(out, (size_t)__builtin_popcount(command->flags & SHOWN_FLAGS));
    for (size_t bit = 0; bit < COMMAND_FLAGS_SHOWN; bit++) {
        const char *name = command_flag_name(command, bit);
        if (name != NULL) reply_status(out, name);
    }
    reply_int(out, command->first_key);
    reply_int(out, command->last_key);
    reply_int(out, command->key_step);
}

/* What this client may run. */
static bool is_listed(const Request *r, const Command *command)
{
    if (command->flags & CMD_HIDDEN) return false;
    return command->plane == PLANE_SERVICE || (command->plane == PLANE_ADMIN && session_is_admin(r->session));
}

static void list_commands(Request *r)
{
    OutMark mark = reply_array_begin(r->out);
    size_t listed = 0;
    for (size_t i = 0; i < command_count; i++) {
        if (!is_listed(r, &command_table[i])) continue;
        reply_command(r->out, &command_table[i]);
        listed++;
    }
    reply_array_set(r->out, mark, listed);
}

static void count_commands(Request *r)
{
    int64_t listed = 0;
    for (size_t i = 0; i < command_count; i++)
        listed += is_listed(r, &command_table[i]);
    reply_int(r->out, listed);
}

static void describe_commands(Request *r)
{
    reply_array(r->out, (size_t)(r->argc - 2));
    for (int i = 2; i < r->argc; i++) {
        const Command *command = command_find(r->argv[i]);
        if (command != NULL && is_listed(r, command)) {
            reply_command(r->out, command);
        } else {
            reply_nil_array(r->out);
        }
    }
}

/* COMMAND [COUNT | INFO name ...] */
void cmd_command(Request *r)
{
    if (r->argc == 1) {
        list_commands(r);
    } else if (arg_is(r, 1, "count") && r->argc == 2) {
        count_commands(r);
    } else if (arg_is(r, 1, "info")) {
        describe_commands(r);
    } else {
        reply_error(r->out, "ERR Unknown subcommand or wrong number of arguments.");
    }
}
