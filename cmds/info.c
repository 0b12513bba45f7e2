/* info.c: INFO. Called by the command table only.
 *
 * Design. `seen` is filled with everything there is to say; the tables below it name its members, section by section,
 * in 3.2's order. What the tables can't say (a line for each command, for each database) is a function of the section.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/options.h"
#include "ckv.h"
#include "cmds/backups.h"
#include "cmds/checkpoints.h"
#include "cmds/command.h"
#include "cmds/handlers.h"
#include "cmds/persist.h"
#include "cmds/replication.h"
#include "cmds/server.h"
#include "cmds/sync.h"
#include "repl/master.h"
#include "repl/slave.h"
#include "store/checkpoint.h"
#include "store/journal.h"
#include "store/mem.h"

static struct {
    /* server */
    char *os, *policy;
    const char *api, *allocator, *executable, *config_file, *run_id;
    int64_t pid, port, uptime_sec, uptime_days, hz, lru_clock;
    /* clients */
    int64_t clients, longest_output, biggest_input, blocked;
    /* memory */
    int64_t used, resident, peak, system, max;
    double fragmentation;
    /* persistence */
    int64_t changes, last_save_sec, loading, saving, save_sec, saving_sec, journal_on, journal_offset, durable_offset,
        first_offset, journal_bytes, journal_segments, journal_pending, journal_syncs, journal_sync_us,
        checkpoint_time_ms, checkpoint_ms, checkpoint_offset, checkpoint_pages, checkpoint_bytes, pages_done,
        pages_total, waiting_bytes, oldest_ms, backing_up;
    const char *save_status, *write_status, *journal_error, *checkpoint_error, *backup_id, *backup_status;
    /* stats */
    int64_t connections, commands, commands_rate, bytes_in, bytes_out, rejected, expired, evicted, hits, misses,
        channels, patterns, sync_full, sync_partial_ok, sync_partial_err;
    double in_rate_kb, out_rate_kb;
    /* cpu */
    double cpu_system, cpu_user, children_system, children_user;
} seen;

/* ---- looking ---- */

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void look_at_server(void)
{
    if (seen.os == NULL) {
        struct utsname name;
        uname(&name);
        seen.os = g_strdup_printf("%s %s %s", name.sysname, name.release, name.machine);
    }
    seen.api = loop_api(server.loop);
    seen.executable = server.executable;
    seen.config_file = options.config_file;
    seen.run_id = server.run_id;
    seen.pid = getpid();
    seen.port = options.port;
    seen.uptime_sec = (clock_unix_ms - server.started_ms) / 1000;
    seen.uptime_days = seen.uptime_sec / 86400;
    seen.hz = options.hz;
    seen.lru_clock = keyspace_lru_clock();
}

static void look_at_clients(void)
{
    client_stats_sample();
    SlaveLink link;
    seen.clients = client_all()->len - (int64_t)master_slaves() + (slave_link(&link) ? 1 : 0);
    seen.blocked = (int64_t)sync_waiting();
    seen.longest_output = (int64_t)client_stats.longest_output;
    seen.biggest_input = (int64_t)client_stats.biggest_input;
}

static void look_at_memory(void)
{
    mem_note_peak();
    seen.used = (int64_t)mem_used();
    seen.resident = (int64_t)mem_resident();
    seen.peak = (int64_t)mem_peak();
    seen.system = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    seen.max = options.maxmemory;
    seen.fragmentation = (double)seen.resident / (double)seen.used;
    seen.allocator = mem_allocator();
    g_free(seen.policy);
    seen.policy = option_text(option_find(SLICE("maxmemory-policy")));
}

static void look_at_counters(void)
{
    ServerRates rates = server_rates();
    seen.connections = (int64_t)client_stats.accepted;
    seen.commands = (int64_t)commands_processed;
    seen.commands_rate = (int64_t)rates.commands;
    seen.bytes_in = (int64_t)client_stats.bytes_in;
    seen.bytes_out = (int64_t)client_stats.bytes_out;
    seen.in_rate_kb = (double)rates.bytes_in / 1024;
    seen.out_rate_kb = (double)rates.bytes_out / 1024;
    seen.rejected = (int64_t)client_stats.rejected;
    seen.expired = (int64_t)keyspace->expired;
    seen.evicted = (int64_t)keyspace->evicted;
    seen.hits = (int64_t)keyspace->hits;
    seen.misses = (int64_t)keyspace->misses;
    seen.channels = (int64_t)pubsub_channel_count();
    seen.patterns = (int64_t)pubsub_pattern_count();
    seen.sync_full = (int64_t)master_stats.full;
    seen.sync_partial_ok = (int64_t)master_stats.partial_ok;
    seen.sync_partial_err = (int64_t)master_stats.partial_err;
}

static void look_at_journal(void)
{
    JournalStats stats = { 0 };
    seen.journal_on = journal_is_open();
    if (seen.journal_on) stats = journal_stats();
    seen.journal_offset = seen.journal_on ? (int64_t)journal_offset() : 0;
    seen.durable_offset = seen.journal_on ? (int64_t)journal_durable() : 0;
    seen.first_offset = (int64_t)stats.first_offset;
    seen.journal_bytes = (int64_t)stats.bytes;
    seen.journal_segments = (int64_t)stats.segments;
    seen.journal_pending = seen.journal_on ? (int64_t)journal_pending_bytes() : 0;
    seen.journal_syncs = (int64_t)stats.syncs;
    seen.journal_sync_us = stats.last_sync_us;
    const char *trouble = seen.journal_on ? journal_trouble() : NULL;
    seen.journal_error = trouble == NULL ? "" : trouble;
    seen.write_status = trouble == NULL ? "ok" : "err";
}

static void look_at_persistence(void)
{
    CheckpointStatus status = checkpoint_status();
    seen.changes = (int64_t)checkpoints_missing_changes();
    seen.last_save_sec = server.last_save_sec;
    seen.loading = server_loading;
    seen.saving = status.state != CHECKPOINT_IDLE;
    seen.saving_sec = seen.saving ? (clock_unix_ms - status.started_ms) / 1000 : -1;
    seen.save_sec = status.last_took_ms < 0 ? -1 : status.last_took_ms / 1000;
    const char *failure = checkpoints_error();
    seen.save_status = failure == NULL ? "ok" : "err";
    seen.checkpoint_error = failure == NULL ? "" : failure;
    seen.checkpoint_time_ms = status.last_ms;
    seen.checkpoint_ms = status.last_took_ms;
    seen.checkpoint_offset = status.last < 0 ? -1 : (int64_t)persist_manifest.checkpoint[status.last].offset;
    seen.checkpoint_pages = (int64_t)status.last_pages;
    seen.checkpoint_bytes = (int64_t)status.last_bytes;
    seen.pages_done = (int64_t)status.pages_done;
    seen.pages_total = (int64_t)status.pages_total;
    seen.waiting_bytes = (int64_t)status.waiting_bytes;
    seen.oldest_ms = backups_oldest_ms();
    BackupsSeen backups = backups_seen();
    seen.backing_up = backups.in_progress;
    seen.backup_id = backups.last_id;
    seen.backup_status = backups.last_status;
    look_at_journal();
}

/* While the data is being loaded, as 3.2 has them. */
static void append_loading(GString *info)
{
    if (!server_loading) return;
    PersistLoading loading = persist_loading();
    g_string_append_printf(info,
                           "loading_start_time:%ld\r\nloading_total_bytes:%lu\r\nloading_loaded_bytes:%lu\r\n"
                           "loading_loaded_perc:%.2f\r\nloading_eta_seconds:%ld\r\n",
                           loading.started_ms / 1000, loading.total_bytes, loading.loaded_bytes, loading.progress * 100,
                           loading.eta_sec);
}

static void look_at_cpu(void)
{
    struct rusage self, children;
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    seen.cpu_system = seconds(self.ru_stime);
    seen.cpu_user = seconds(self.ru_utime);
    seen.children_system = seconds(children.ru_stime);
    seen.children_user = seconds(children.ru_utime);
}

/* ---- the tables ---- */

typedef enum FieldKind { FIELD_FIXED, FIELD_TEXT, FIELD_NUMBER, FIELD_HUMAN, FIELD_DOUBLE } FieldKind;

/* A value that never changes, or where one is (const char *, int64_t, int64_t in K, M, G, double). */
typedef struct Field {
    const char *name;
    FieldKind kind;
    const void *value;
} Field;

#define STRING_OF(number)                #number
#define GCC_VERSION(major, minor, patch) STRING_OF(major) "." STRING_OF(minor) "." STRING_OF(patch)

static const Field server_fields[] = {
    { "redis_version", FIELD_FIXED, CKV_REDIS_VERSION },
    { "redis_git_sha1", FIELD_FIXED, "00000000" },
    { "redis_git_dirty", FIELD_FIXED, "0" },
    { "redis_build_id", FIELD_FIXED, "0" },
    { "redis_mode", FIELD_FIXED, "standalone" },
    { "os", FIELD_TEXT, &seen.os },
    { "arch_bits", FIELD_FIXED, "64" },
    { "multiplexing_api", FIELD_TEXT, &seen.api },
    { "gcc_version", FIELD_FIXED, GCC_VERSION(__GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__) },
    { "process_id", FIELD_NUMBER, &seen.pid },
    { "run_id", FIELD_TEXT, &seen.run_id },
    { "tcp_port", FIELD_NUMBER, &seen.port },
    { "uptime_in_seconds", FIELD_NUMBER, &seen.uptime_sec },
    { "uptime_in_days", FIELD_NUMBER, &seen.uptime_days },
    { "hz", FIELD_NUMBER, &seen.hz },
    { "lru_clock", FIELD_NUMBER, &seen.lru_clock },
    { "executable", FIELD_TEXT, &seen.executable },
    { "config_file", FIELD_TEXT, &seen.config_file },
    { "ckv_version", FIELD_FIXED, CKV_VERSION },
};

static const Field clients_fields[] = {
    { "connected_clients", FIELD_NUMBER, &seen.clients },
    { "client_longest_output_list", FIELD_NUMBER, &seen.longest_output },
    { "client_biggest_input_buf", FIELD_NUMBER, &seen.biggest_input },
    { "blocked_clients", FIELD_NUMBER, &seen.blocked },
};

static const Field memory_fields[] = {
    { "used_memory", FIELD_NUMBER, &seen.used },
    { "used_memory_human", FIELD_HUMAN, &seen.used },
    { "used_memory_rss", FIELD_NUMBER, &seen.resident },
    { "used_memory_rss_human", FIELD_HUMAN, &seen.resident },
    { "used_memory_peak", FIELD_NUMBER, &seen.peak },
    { "used_memory_peak_human", FIELD_HUMAN, &seen.peak },
    { "total_system_memory", FIELD_NUMBER, &seen.system },
    { "total_system_memory_human", FIELD_HUMAN, &seen.system },
    { "used_memory_lua", FIELD_FIXED, "0" },
    { "used_memory_lua_human", FIELD_FIXED, "0B" },
    { "maxmemory", FIELD_NUMBER, &seen.max },
    { "maxmemory_human", FIELD_HUMAN, &seen.max },
    { "maxmemory_policy", FIELD_TEXT, &seen.policy },
    { "mem_fragmentation_ratio", FIELD_DOUBLE, &seen.fragmentation },
    { "mem_allocator", FIELD_TEXT, &seen.allocator },
};

static const Field persistence_fields[] = {
    { "loading", FIELD_NUMBER, &seen.loading },
    { "rdb_changes_since_last_save", FIELD_NUMBER, &seen.changes },
    { "rdb_bgsave_in_progress", FIELD_NUMBER, &seen.saving },
    { "rdb_last_save_time", FIELD_NUMBER, &seen.last_save_sec },
    { "rdb_last_bgsave_status", FIELD_TEXT, &seen.save_status },
    { "rdb_last_bgsave_time_sec", FIELD_NUMBER, &seen.save_sec },
    { "rdb_current_bgsave_time_sec", FIELD_NUMBER, &seen.saving_sec },
    { "aof_enabled", FIELD_FIXED, "0" },
    { "aof_rewrite_in_progress", FIELD_FIXED, "0" },
    { "aof_rewrite_scheduled", FIELD_FIXED, "0" },
    { "aof_last_rewrite_time_sec", FIELD_FIXED, "-1" },
    { "aof_current_rewrite_time_sec", FIELD_FIXED, "-1" },
    { "aof_last_bgrewrite_status", FIELD_FIXED, "ok" },
    { "aof_last_write_status", FIELD_TEXT, &seen.write_status },
    { "ckv_journal_enabled", FIELD_NUMBER, &seen.journal_on },
    { "ckv_journal_offset", FIELD_NUMBER, &seen.journal_offset },
    { "ckv_journal_durable_offset", FIELD_NUMBER, &seen.durable_offset },
    { "ckv_journal_first_offset", FIELD_NUMBER, &seen.first_offset },
    { "ckv_journal_bytes", FIELD_NUMBER, &seen.journal_bytes },
    { "ckv_journal_segments", FIELD_NUMBER, &seen.journal_segments },
    { "ckv_journal_pending_bytes", FIELD_NUMBER, &seen.journal_pending },
    { "ckv_journal_syncs", FIELD_NUMBER, &seen.journal_syncs },
    { "ckv_journal_last_sync_us", FIELD_NUMBER, &seen.journal_sync_us },
    { "ckv_journal_error", FIELD_TEXT, &seen.journal_error },
    { "ckv_last_checkpoint_time_ms", FIELD_NUMBER, &seen.checkpoint_time_ms },
    { "ckv_last_checkpoint_ms", FIELD_NUMBER, &seen.checkpoint_ms },
    { "ckv_last_checkpoint_offset", FIELD_NUMBER, &seen.checkpoint_offset },
    { "ckv_last_checkpoint_pages", FIELD_NUMBER, &seen.checkpoint_pages },
    { "ckv_last_checkpoint_bytes", FIELD_NUMBER, &seen.checkpoint_bytes },
    { "ckv_last_checkpoint_error", FIELD_TEXT, &seen.checkpoint_error },
    { "ckv_checkpoint_pages_done", FIELD_NUMBER, &seen.pages_done },
    { "ckv_checkpoint_pages_total", FIELD_NUMBER, &seen.pages_total },
    { "ckv_checkpoint_waiting_bytes", FIELD_NUMBER, &seen.waiting_bytes },
    { "ckv_oldest_rollback_time_ms", FIELD_NUMBER, &seen.oldest_ms },
    { "ckv_backup_in_progress", FIELD_NUMBER, &seen.backing_up },
    { "ckv_last_backup_id", FIELD_TEXT, &seen.backup_id },
    { "ckv_last_backup_status", FIELD_TEXT, &seen.backup_status },
};

static const Field stats_fields[] = {
    { "total_connections_received", FIELD_NUMBER, &seen.connections },
    { "total_commands_processed", FIELD_NUMBER, &seen.commands },
    { "instantaneous_ops_per_sec", FIELD_NUMBER, &seen.commands_rate },
    { "total_net_input_bytes", FIELD_NUMBER, &seen.bytes_in },
    { "total_net_output_bytes", FIELD_NUMBER, &seen.bytes_out },
    { "instantaneous_input_kbps", FIELD_DOUBLE, &seen.in_rate_kb },
    { "instantaneous_output_kbps", FIELD_DOUBLE, &seen.out_rate_kb },
    { "rejected_connections", FIELD_NUMBER, &seen.rejected },
    { "sync_full", FIELD_NUMBER, &seen.sync_full },
    { "sync_partial_ok", FIELD_NUMBER, &seen.sync_partial_ok },
    { "sync_partial_err", FIELD_NUMBER, &seen.sync_partial_err },
    { "expired_keys", FIELD_NUMBER, &seen.expired },
    { "evicted_keys", FIELD_NUMBER, &seen.evicted },
    { "keyspace_hits", FIELD_NUMBER, &seen.hits },
    { "keyspace_misses", FIELD_NUMBER, &seen.misses },
    { "pubsub_channels", FIELD_NUMBER, &seen.channels },
    { "pubsub_patterns", FIELD_NUMBER, &seen.patterns },
    { "latest_fork_usec", FIELD_FIXED, "0" },
    { "migrate_cached_sockets", FIELD_FIXED, "0" },
};

static const Field cpu_fields[] = {
    { "used_cpu_sys", FIELD_DOUBLE, &seen.cpu_system },
    { "used_cpu_user", FIELD_DOUBLE, &seen.cpu_user },
    { "used_cpu_sys_children", FIELD_DOUBLE, &seen.children_system },
    { "used_cpu_user_children", FIELD_DOUBLE, &seen.children_user },
};

static const Field cluster_fields[] = { { "cluster_enabled", FIELD_FIXED, "0" } };

static void append_command_stats(GString *info)
{
    for (size_t i = 0; i < command_count; i++) {
        const CommandStats *stats = &command_stats[i];
        if (stats->calls == 0) continue;
        uint64_t usec = (uint64_t)stats->microseconds;
        g_string_append_printf(info, "cmdstat_%s:calls=%lu,usec=%lu,usec_per_call=%.2f\r\n", command_table[i].name,
                               stats->calls, usec, (double)usec / (double)stats->calls);
    }
}

static void append_keyspace(GString *info)
{
    for (int i = 0; i < keyspace->db_count; i++) {
        const Db *db = &keyspace->dbs[i];
        if (keyspace_size(db) == 0) continue;
        g_string_append_printf(info, "db%d:keys=%zu,expires=%zu,avg_ttl=%ld\r\n", i, keyspace_size(db), db->wheel.count,
                               wheel_average_ttl(&db->wheel, clock_unix_ms));
    }
}

typedef struct Section {
    const char *title;
    const Field *fields;
    size_t count;
    void (*look)(void);            /* NULL: nothing to look at */
    void (*append)(GString *info); /* NULL: the fields are all */
    bool only_if_asked;            /* shown by its name and by "all" */
} Section;

#define FIELDS(fields) (fields), G_N_ELEMENTS(fields)

static const Section sections[] = {
    { .title = "Server", FIELDS(server_fields), .look = look_at_server },
    { .title = "Clients", FIELDS(clients_fields), .look = look_at_clients },
    { .title = "Memory", FIELDS(memory_fields), .look = look_at_memory },
    { .title = "Persistence", FIELDS(persistence_fields), .look = look_at_persistence, .append = append_loading },
    { .title = "Stats", FIELDS(stats_fields), .look = look_at_counters },
    { .title = "Replication", .append = replication_append_info },
    { .title = "CPU", FIELDS(cpu_fields), .look = look_at_cpu },
    { .title = "Commandstats", .append = append_command_stats, .only_if_asked = true },
    { .title = "Cluster", FIELDS(cluster_fields) },
    { .title = "Keyspace", .append = append_keyspace },
};

/* ---- writing ---- */

static void append_field(GString *info, const Field *field)
{
    char human[NUMBER_DOUBLE_CHARS];
    g_string_append_printf(info, "%s:", field->name);
    switch (field->kind) {
    case FIELD_FIXED: g_string_append(info, field->value); break;
    case FIELD_TEXT: g_string_append(info, *(const char *const *)field->value); break;
    case FIELD_NUMBER: g_string_append_printf(info, "%ld", *(const int64_t *)field->value); break;
    case FIELD_DOUBLE: g_string_append_printf(info, "%.2f", *(const double *)field->value); break;
    case FIELD_HUMAN:
        number_format_bytes(human, (uint64_t) * (const int64_t *)field->value);
        g_string_append(info, human);
        break;
    }
    g_string_append(info, "\r\n");
}

static void append_section(GString *info, const Section *section)
{
    if (section->look != NULL) section->look();
    g_string_append_printf(info, "%s# %s\r\n", info->len > 0 ? "\r\n" : "", section->title);
    for (size_t i = 0; i < section->count; i++)
        append_field(info, &section->fields[i]);
    if (section->append != NULL) section->append(info);
}

/* INFO [section] */
void cmd_info(Request *r)
{
    if (r->argc > 2) {
        reply_error(r->out, ERROR_SYNTAX);
        return;
    }
    bool all = r->argc == 2 && arg_is(r, 1, "all");
    bool usual = r->argc == 1 || arg_is(r, 1, "default");
    g_autoptr(GString) info = g_string_new(NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(sections); i++) {
        bool asked = r->argc == 2 && arg_is(r, 1, sections[i].title);
        if (all || asked || (usual && !sections[i].only_if_asked)) append_section(info, &sections[i]);
    }
    reply_bulk(r->out, (Slice){ info->str, info->len });
}
