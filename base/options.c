/* options.c: the option table and the reading and writing of single values; see options.h. Files and the command line
 * are in optionfile.c, --help and the manual page in optionhelp.c.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/options.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/number.h"

Options options;

/* ---- the options with a form of their own ---- */

static const char *const output_classes[] = { "normal", "slave", "pubsub" };

static bool parse_memory(const char *text, int64_t *bytes);

/* "slave 256mb 64mb 60" into the limit of its class. */
static bool parse_output_limit(char **words, OutputLimit limits[])
{
    for (size_t class = 0; class < G_N_ELEMENTS(output_classes); class ++) {
        if (g_ascii_strcasecmp(words[0], output_classes[class]) != 0) continue;
        OutputLimit *limit = &limits[class];
        return parse_memory(words[1], &limit->hard_bytes) && parse_memory(words[2], &limit->soft_bytes) &&
               number_parse_int(slice_of(words[3]), &limit->soft_seconds) && limit->soft_seconds >= 0;
    }
    return false;
}

static bool set_output_limits(char **words, int count)
{
    OutputLimit limits[G_N_ELEMENTS(output_classes)];
    memcpy(limits, options.output_limit, sizeof(limits));
    bool good = count > 0 && count % 4 == 0;
    for (int i = 0; good && i < count; i += 4)
        good = parse_output_limit(words + i, limits);
    if (!good) return false;
    memcpy(options.output_limit, limits, sizeof(limits));
    return true;
}

static char *output_limits_text(void)
{
    GString *text = g_string_new(NULL);
    for (size_t class = 0; class < G_N_ELEMENTS(output_classes); class ++) {
        const OutputLimit *limit = &options.output_limit[class];
        g_string_append_printf(text, "%s%s %ld %ld %ld", class == 0 ? "" : " ", output_classes[class],
                               limit->hard_bytes, limit->soft_bytes, limit->soft_seconds);
    }
    return g_string_free(text, FALSE);
}

/* The classes of notify-keyspace-events: a letter's place is its bit (NOTIFY_… in cmds/command.h). A stands for all
 * but the first two, which say by which channels the events go. */
static const char notify_letters[] = "KEg$lshzxe";
#define NOTIFY_CHANNELS 0x003U
#define NOTIFY_ALL      0x3fcU

static bool set_notify(char **words, int count)
{
    unsigned events = 0;
    for (const char *at = count == 1 ? words[0] : "?"; *at != '\0'; at++) {
        const char *letter = strchr(notify_letters, *at);
        if (letter == NULL && *at != 'A') return false;
        events |= letter == NULL ? NOTIFY_ALL : 1U << (letter - notify_letters);
    }
    options.notify_events = events;
    return true;
}

static void append_letters(GString *text, unsigned events)
{
    for (unsigned bit = 0; notify_letters[bit] != '\0'; bit++) {
        if (events & (1U << bit)) g_string_append_c(text, notify_letters[bit]);
    }
}

static char *notify_text(void)
{
    GString *text = g_string_new(NULL);
    unsigned classes = options.notify_events & NOTIFY_ALL;
    if (classes == NOTIFY_ALL) {
        g_string_append_c(text, 'A');
    } else {
        append_letters(text, classes);
    }
    append_letters(text, options.notify_events & NOTIFY_CHANNELS);
    return g_string_free(text, FALSE);
}

static void replace(char **text, char *with)
{
    g_free(*text);
    *text = with;
}

/* The whole form that AUTH takes; anything else would be a password that no client can ever send. */
static bool set_requirepass(char **words, int count)
{
    const char *colon = count == 1 ? strchr(words[0], ':') : NULL;
    bool none = count == 1 && words[0][0] == '\0';
    if (!none && (colon == NULL || colon == words[0] || colon[1] == '\0')) return false;
    replace(&options.instance_id, none ? g_strdup("") : g_strndup(words[0], (gsize)(colon - words[0])));
    replace(&options.password, g_strdup(none ? "" : colon + 1));
    return true;
}

static char *requirepass_text(void)
{
    if (options.password[0] == '\0') return g_strdup("");
    return g_strconcat(options.instance_id, ":", options.password, NULL);
}

static bool set_socket_mode(char **words, int count)
{
    char *end = NULL;
    long mode = count == 1 ? strtol(words[0], &end, 8) : -1;
    if (mode < 0 || mode > 0777 || end == words[0] || *end != '\0') return false;
    options.unixsocketperm = mode;
    return true;
}

static char *socket_mode_text(void)
{
    return g_strdup_printf("%lo", (unsigned long)options.unixsocketperm);
}

static bool set_bind(char **words, int count)
{
    if (count == 0 || words[0][0] == '\0') return false;
    replace(&options.bind, g_strjoinv(" ", words));
    return true;
}

static char *bind_text(void)
{
    return g_strdup(options.bind);
}

/* "04:30" */
static bool parse_time_of_day(const char *text, int *minute)
{
    bool formed = strlen(text) == 5 && text[2] == ':';
    for (int i = 0; formed && i < 5; i++)
        formed = i == 2 || g_ascii_isdigit(text[i]);
    if (!formed) return false;
    int hours = (text[0] - '0') * 10 + text[1] - '0', minutes = (text[3] - '0') * 10 + text[4] - '0';
    *minute = hours * 60 + minutes;
    return hours < 24 && minutes < 60;
}

/* "every 30 minutes" */
static bool parse_interval(char **words, int64_t *seconds)
{
    int64_t count;
    if (g_strv_length(words) != 3 || g_ascii_strcasecmp(words[0], "every") != 0) return false;
    if (!number_parse_int(slice_of(words[1]), &count) || count < 1 || count > INT32_MAX) return false;
    bool minutes = g_ascii_strcasecmp(words[2], "minutes") == 0 || g_ascii_strcasecmp(words[2], "minute") == 0;
    bool hours = g_ascii_strcasecmp(words[2], "hours") == 0 || g_ascii_strcasecmp(words[2], "hour") == 0;
    bool secs = g_ascii_strcasecmp(words[2], "seconds") == 0 || g_ascii_strcasecmp(words[2], "second") == 0;
    *seconds = count * (hours ? 3600 : minutes ? 60 : 1);
    return minutes || hours || secs;
}

bool backup_schedule_parse(const char *text, BackupSchedule *schedule)
{
    *schedule = (BackupSchedule){ .daily = false };
    if (text[0] == '\0') return true;
    schedule->daily = parse_time_of_day(text, &schedule->minute);
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    return schedule->daily || parse_interval(words, &schedule->every_sec);
}

static bool set_backup_schedule(char **words, int count)
{
    BackupSchedule schedule;
    (void)count; /* no word at all: none */
    g_autofree char *text = g_strjoinv(" ", words);
    if (!backup_schedule_parse(text, &schedule)) return false;
    replace(&options.backup_schedule, g_steal_pointer(&text));
    return true;
}

static char *backup_schedule_text(void)
{
    return g_strdup(options.backup_schedule);
}

void options_set_master(const char *host, int64_t port)
{
    replace(&options.master_host, g_strdup(host));
    options.master_port = port;
}

/* "host port"; "no one", or no word at all: none. */
static bool set_slaveof(char **words, int count)
{
    bool none = count == 0 || (count == 1 && words[0][0] == '\0') ||
                (count == 2 && g_ascii_strcasecmp(words[0], "no") == 0 && g_ascii_strcasecmp(words[1], "one") == 0);
    int64_t port = 0;
    if (!none && (count != 2 || words[0][0] == '\0' || !number_parse_int(slice_of(words[1]), &port))) return false;
    if (!none && (port < 1 || port > 65535)) return false;
    options_set_master(none ? "" : words[0], port);
    return true;
}

static char *slaveof_text(void)
{
    if (options.master_host[0] == '\0') return g_strdup("");
    return g_strdup_printf("%s %" G_GINT64_FORMAT, options.master_host, options.master_port);
}

/* ---- the table ---- */

static const char *const no_yes[] = { "no", "yes", NULL };
static const char *const planes[] = { "auth", "all", NULL };
static const char *const log_levels[] = { "debug", "verbose", "notice", "warning", NULL };
static const char *const policies[] = {
    "volatile-lru", "volatile-random", "volatile-ttl", "allkeys-lru", "allkeys-random", "noeviction", NULL,
};

static const char *const ack_modes[] = { "local", "slave", NULL };
static const char *const ack_policies[] = { "refuse", "degrade", NULL };
static const char *const fsync_policies[] = { "everysec", "always", "no", NULL };

#define NUMBER(GROUP, NAME, FIELD, START, MIN, MAX, FLAGS, HELP)                                                       \
    {                                                                                                                  \
        .name = NAME, .group = OPTIONS_##GROUP, .kind = OPTION_NUMBER, .flags = FLAGS, .value = &options.FIELD,        \
        .start = START, .min = MIN, .max = MAX, .help = HELP                                                           \
    }
#define MEMORY(GROUP, NAME, FIELD, START, MIN, FLAGS, HELP)                                                            \
    {                                                                                                                  \
        .name = NAME, .group = OPTIONS_##GROUP, .kind = OPTION_MEMORY, .flags = FLAGS, .value = &options.FIELD,        \
        .start = START, .min = MIN, .max = INT64_MAX, .help = HELP                                                     \
    }
#define BOOL(GROUP, NAME, FIELD, START, NAMES, FLAGS, HELP)                                                            \
    {                                                                                                                  \
        .name = NAME, .group = OPTIONS_##GROUP, .kind = OPTION_BOOL, .flags = FLAGS, .value = &options.FIELD,          \
        .start = START, .names = NAMES, .help = HELP                                                                   \
    }
#define CHOICE(GROUP, NAME, VALUE, START, NAMES, FLAGS, HELP)                                                          \
    {                                                                                                                  \
        .name = NAME, .group = OPTIONS_##GROUP, .kind = OPTION_CHOICE, .flags = FLAGS, .value = VALUE, .start = START, \
        .names = NAMES, .help = HELP                                                                                   \
    }
#define TEXT(GROUP, NAME, FIELD, START, USAGE, FLAGS, HELP)                                                            \
    {                                                                                                                  \
        .name = NAME, .group = OPTIONS_##GROUP, .kind = OPTION_TEXT, .flags = FLAGS, .value = &options.FIELD,          \
        .start = START, .usage = USAGE, .help = HELP                                                                   \
    }
#define SPECIAL(GROUP, NAME, SET, SHOW, START, USAGE, FLAGS, HELP)                                                     \
    {                                                                                                                  \
        .name = NAME, .group = OPTIONS_##GROUP, .kind = OPTION_SPECIAL, .flags = FLAGS, .start = START, .set = SET,    \
        .text = SHOW, .usage = USAGE, .help = HELP                                                                     \
    }
#define FIXED(NAME, START, FLAGS)                                                                                      \
    {                                                                                                                  \
        .name = NAME, .group = OPTIONS_UNUSED, .kind = OPTION_FIXED, .flags = (FLAGS) | OPTION_WORDS, .start = START   \
    }

// clang-format off
const Option option_table[] = {
    NUMBER(NETWORK, "port", port, "6379", 0, 65535, 0, "TCP port; 0 takes a free one and says which"),
    SPECIAL(NETWORK, "bind", set_bind, bind_text, "127.0.0.1", "addresses, or * for all", OPTION_WORDS,
            "addresses to listen on"),
    TEXT(NETWORK, "unixsocket", unixsocket, "", "a path", 0, "a Unix socket for clients, besides the operator's"),
    SPECIAL(NETWORK, "unixsocketperm", set_socket_mode, socket_mode_text, "0", "an octal mode, such as 770", 0,
            "its mode; 0 leaves it to the umask"),
    NUMBER(NETWORK, "tcp-backlog", tcp_backlog, "511", 1, 65535, 0, "connections waiting to be accepted"),
    NUMBER(NETWORK, "tcp-keepalive", tcp_keepalive, "300", 0, INT32_MAX, OPTION_LIVE,
           "seconds of silence before a connection is probed; 0: never"),
    NUMBER(NETWORK, "timeout", timeout, "0", 0, INT32_MAX, OPTION_LIVE,
           "seconds before an idle client is closed; 0: never"),
    NUMBER(NETWORK, "maxclients", maxclients, "10000", 1, INT32_MAX, OPTION_LIVE, "clients at a time"),
    BOOL(NETWORK, "protected-mode", protected_mode, "yes", no_yes, OPTION_LIVE,
         "without a password, take connections from this machine only"),
    SPECIAL(NETWORK, "client-output-buffer-limit", set_output_limits, output_limits_text,
            "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
            "groups of: normal, slave or pubsub; hard limit; soft limit; seconds", OPTION_LIVE | OPTION_WORDS,
            "unread replies at which a client of the class is closed; 0: no limit"),
    BOOL(NETWORK, "plain-poll", plain_poll, "no", no_yes, 0, "watch all connections with poll(2) only, without epoll"),

    TEXT(ACCESS, "instance-id", instance_id, "", "a name", 0, "AUTH's first half: clients send instance-id:password"),
    TEXT(ACCESS, "password", password, "", "a password", 0, "AUTH's second half"),
    SPECIAL(ACCESS, "requirepass", set_requirepass, requirepass_text, "", "instance-id:password, as AUTH does, or \"\"",
            OPTION_LIVE | OPTION_ALIAS, "both at once"),
    TEXT(ACCESS, "admin-password", admin_password, "", "a password", OPTION_LIVE,
         "AUTH admin:<admin-password> opens the admin plane"),
    BOOL(ACCESS, "admin-plane", admin_plane_all, "auth", planes, 0,
         "who may run the operator's commands: who proved to be one, or (for test suites) everyone"),

    TEXT(GENERAL, "dir", dir, "./data", "a directory", 0,
         "the data directory, made if missing; relative paths of other options start there"),
    NUMBER(GENERAL, "databases", databases, "16", 1, 16384, 0, "databases for SELECT"),
    CHOICE(GENERAL, "loglevel", &log_level, "notice", log_levels, OPTION_LIVE, "the least level that is logged"),
    TEXT(GENERAL, "logfile", logfile, "", "a path, or \"\" for standard output", 0, "the log"),
    BOOL(GENERAL, "daemonize", daemonize, "no", no_yes, 0, "go to the background when ready"),
    TEXT(GENERAL, "pidfile", pidfile, "", "a path", 0, "a file to hold the process id"),
    NUMBER(GENERAL, "hz", hz, "10", 1, 500, OPTION_LIVE | OPTION_CLAMP, "runs of the background work a second"),

    MEMORY(MEMORY, "maxmemory", maxmemory, "0", 0, OPTION_LIVE, "memory for data and clients; 0: no limit"),
    CHOICE(MEMORY, "maxmemory-policy", &options.maxmemory_policy, "noeviction", policies, OPTION_LIVE,
           "which keys go when it is used up"),
    NUMBER(MEMORY, "maxmemory-samples", maxmemory_samples, "5", 1, INT32_MAX, OPTION_LIVE,
           "keys looked at to find the one to evict"),

    BOOL(PERSISTENCE, "persistence", persistence, "yes", no_yes, 0, "keep the data on disk"),
    CHOICE(PERSISTENCE, "fsync", &options.fsync, "everysec", fsync_policies, OPTION_LIVE,
           "when changes are made to survive a power cut: a second later at most, before they are answered, or when the"
           " system thinks fit; they survive the end of the process in any case"),
    CHOICE(PERSISTENCE, "appendfsync", &options.fsync, "everysec", fsync_policies, OPTION_LIVE | OPTION_ALIAS,
           "Redis' name for fsync"),
    MEMORY(PERSISTENCE, "journal-segment-bytes", journal_segment_bytes, "67108864", 4096, 0,
           "size at which another file of the journal begins, at the latest"),
    NUMBER(PERSISTENCE, "journal-keep", journal_keep_sec, "3600", 0, INT64_MAX, OPTION_LIVE,
           "seconds for which the journal is kept although no checkpoint needs it, to go back to"),
    MEMORY(PERSISTENCE, "journal-keep-bytes", journal_keep_bytes, "1073741824", 0, OPTION_LIVE,
           "the most that is kept for that"),
    NUMBER(PERSISTENCE, "checkpoint-every", checkpoint_every_sec, "300", 0, INT32_MAX, OPTION_LIVE,
           "seconds after which changes get a checkpoint; 0: never for their age"),
    MEMORY(PERSISTENCE, "checkpoint-journal-bytes", checkpoint_journal_bytes, "268435456", 0, OPTION_LIVE,
           "growth of the journal that starts a checkpoint; 0: never for its size"),
    SPECIAL(PERSISTENCE, "backup-schedule", set_backup_schedule, backup_schedule_text, "",
            "HH:MM of every day, every N seconds, every N minutes, every N hours, or \"\"", OPTION_LIVE | OPTION_WORDS,
            "when backups are made"),
    NUMBER(PERSISTENCE, "backup-keep", backup_keep, "7", 0, INT32_MAX, OPTION_LIVE,
           "scheduled backups that are kept; 0: all"),

    NUMBER(REPLICATION, "repl-timeout", repl_timeout, "60", 1, INT32_MAX, OPTION_LIVE,
           "seconds of silence after which the other side is given up"),
    NUMBER(REPLICATION, "repl-ping-slave-period", repl_ping_slave_period, "10", 1, INT32_MAX, OPTION_LIVE,
           "seconds between a master's signs of life"),
    NUMBER(REPLICATION, "min-slaves-to-write", min_slaves_to_write, "0", 0, INT32_MAX, OPTION_LIVE,
           "slaves that must be there for a master to take writes; 0: none"),
    NUMBER(REPLICATION, "min-slaves-max-lag", min_slaves_max_lag, "10", 0, INT32_MAX, OPTION_LIVE,
           "seconds within which such a slave must have been heard of"),
    CHOICE(REPLICATION, "ack", &options.ack, "local", ack_modes, OPTION_LIVE,
           "what the reply to a write waits for: this server (see fsync), or a slave's confirmation as well"),
    NUMBER(REPLICATION, "ack-timeout", ack_timeout_ms, "1000", 1, INT32_MAX, OPTION_LIVE,
           "milliseconds for which ack slave waits"),
    CHOICE(REPLICATION, "ack-timeout-policy", &options.ack_timeout_policy, "refuse", ack_policies, OPTION_LIVE,
           "what then: close the clients that wait and refuse writes, or do without, until a slave confirms again"),
    BOOL(REPLICATION, "ack-alone-if-promoted", ack_alone, "no", no_yes, OPTION_LIVE,
         "with ack slave: one that was made master does without, until it has a slave that has caught up"),
    SPECIAL(REPLICATION, "slaveof", set_slaveof, slaveof_text, "", "a host and a port, or \"\"", OPTION_WORDS,
            "the master whose copy this is; SLAVEOF changes it"),
    TEXT(REPLICATION, "masterauth", masterauth, "", "what AUTH takes there: instance-id:password", OPTION_LIVE,
         "what to send to the master first; for CKV as the master: admin:<its admin-password>"),
    BOOL(REPLICATION, "slave-serve-stale-data", serve_stale_data, "yes", no_yes, OPTION_LIVE,
         "a slave without a link to its master answers with what it has"),
    BOOL(REPLICATION, "read-only-slave", read_only_slave, "no", no_yes, OPTION_LIVE,
         "a slave answers what reads keys; without, only operators may read there. It never takes writes"),
    NUMBER(REPLICATION, "slave-priority", slave_priority, "100", 0, INT32_MAX, OPTION_LIVE,
           "for Redis Sentinel: the slave with the least becomes master; 0: this one never"),
    TEXT(REPLICATION, "slave-announce-ip", slave_announce_ip, "", "an address", OPTION_LIVE,
         "the address that the master tells others; \"\": the one it sees"),
    NUMBER(REPLICATION, "slave-announce-port", slave_announce_port, "0", 0, 65535, OPTION_LIVE,
           "the port that the master tells others; 0: this server's"),
    BOOL(REPLICATION, "accept-data-loss", accept_data_loss, "no", no_yes, OPTION_LIVE,
         "a slave lets its data be replaced even by an older, empty or smaller copy of an unrelated master"),

    NUMBER(ENCODING, "hash-max-ziplist-entries", hash_max_ziplist_entries, "512", 0, INT64_MAX, OPTION_LIVE,
           "fields of a packed hash"),
    NUMBER(ENCODING, "hash-max-ziplist-value", hash_max_ziplist_value, "64", 0, INT64_MAX, OPTION_LIVE,
           "bytes of a packed hash's longest field or value"),
    NUMBER(ENCODING, "list-max-ziplist-size", list_max_ziplist_size, "-2", INT32_MIN, INT32_MAX, OPTION_LIVE,
           "elements of a list's chunk; -1 to -5: 4, 8, 16, 32 or 64 kB"),
    NUMBER(ENCODING, "list-compress-depth", list_compress_depth, "0", 0, INT32_MAX, OPTION_LIVE,
           "kept for Redis' tools: lists are never compressed"),
    NUMBER(ENCODING, "set-max-intset-entries", set_max_intset_entries, "512", 0, INT64_MAX, OPTION_LIVE,
           "members of a set held as an array of integers"),
    NUMBER(ENCODING, "zset-max-ziplist-entries", zset_max_ziplist_entries, "128", 0, INT64_MAX, OPTION_LIVE,
           "members of a packed sorted set"),
    NUMBER(ENCODING, "zset-max-ziplist-value", zset_max_ziplist_value, "64", 0, INT64_MAX, OPTION_LIVE,
           "bytes of a packed sorted set's longest member"),
    NUMBER(ENCODING, "hll-sparse-max-bytes", hll_sparse_max_bytes, "3000", 0, INT64_MAX, OPTION_LIVE,
           "bytes of a sparse HyperLogLog"),

    SPECIAL(WATCHING, "notify-keyspace-events", set_notify, notify_text, "", "letters of KEg$lshzxeA", OPTION_LIVE,
            "events to publish: by K, E channels; of classes g $ l s h z x e, A for all"),
    NUMBER(WATCHING, "slowlog-log-slower-than", slowlog_log_slower_than, "10000", -1, INT64_MAX, OPTION_LIVE,
           "microseconds from which SLOWLOG keeps a command; -1: none"),
    NUMBER(WATCHING, "slowlog-max-len", slowlog_max_len, "128", 0, UINT32_MAX, OPTION_LIVE, "entries of SLOWLOG"),
    NUMBER(WATCHING, "latency-monitor-threshold", latency_monitor_threshold, "0", 0, INT64_MAX, OPTION_LIVE,
           "milliseconds from which LATENCY keeps an event; 0: none"),

    /* What they show is what CKV does, or 3.2's default where that says nothing about CKV. */
    FIXED("save", "", OPTION_LIVE),
    FIXED("appendonly", "no", OPTION_LIVE),
    FIXED("appendfilename", NULL, 0),
    FIXED("no-appendfsync-on-rewrite", "no", OPTION_LIVE),
    FIXED("auto-aof-rewrite-percentage", "100", OPTION_LIVE),
    FIXED("auto-aof-rewrite-min-size", "67108864", OPTION_LIVE),
    FIXED("aof-rewrite-incremental-fsync", "yes", OPTION_LIVE),
    FIXED("aof-load-truncated", "yes", OPTION_LIVE),
    FIXED("dbfilename", "dump.rdb", OPTION_LIVE),
    FIXED("rdbcompression", "yes", OPTION_LIVE),
    FIXED("rdbchecksum", "yes", OPTION_LIVE),
    FIXED("stop-writes-on-bgsave-error", "yes", OPTION_LIVE),
    FIXED("slave-read-only", "yes", OPTION_LIVE),
    FIXED("repl-disable-tcp-nodelay", "no", OPTION_LIVE),
    FIXED("repl-diskless-sync", "no", OPTION_LIVE),
    FIXED("repl-diskless-sync-delay", "5", OPTION_LIVE),
    FIXED("repl-backlog-size", "1048576", OPTION_LIVE),
    FIXED("repl-backlog-ttl", "3600", OPTION_LIVE),
    FIXED("cluster-enabled", NULL, 0),
    FIXED("cluster-config-file", NULL, 0),
    FIXED("cluster-node-timeout", "15000", OPTION_LIVE),
    FIXED("cluster-migration-barrier", "1", OPTION_LIVE),
    FIXED("cluster-slave-validity-factor", "10", OPTION_LIVE),
    FIXED("cluster-require-full-coverage", "yes", OPTION_LIVE),
    FIXED("lua-time-limit", "5000", OPTION_LIVE),
    FIXED("activerehashing", "yes", OPTION_LIVE),
    FIXED("watchdog-period", "0", OPTION_LIVE),
    FIXED("list-max-ziplist-entries", NULL, 0),
    FIXED("list-max-ziplist-value", NULL, 0),
    FIXED("rename-command", NULL, 0),
    FIXED("supervised", "no", 0),
    FIXED("syslog-enabled", NULL, 0),
    FIXED("syslog-ident", NULL, 0),
    FIXED("syslog-facility", "local0", 0),
};
// clang-format on
const size_t option_count = G_N_ELEMENTS(option_table);

const Option *option_find(Slice name)
{
    for (size_t i = 0; i < option_count; i++) {
        if (slice_is(name, option_table[i].name)) return &option_table[i];
    }
    return NULL;
}

/* ---- the name nearest to a wrong one ---- */

#define NAME_CHARS 64

/* Levenshtein's distance, by one row of its matrix. `b` has at most NAME_CHARS characters. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[NAME_CHARS + 1], columns = strlen(b);
    for (size_t j = 0; j <= columns; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= columns; j++) {
            size_t changed = diagonal + (g_ascii_tolower(a[i - 1]) != b[j - 1]);
            diagonal = row[j];
            row[j] = MIN(changed, MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[columns];
}

const char *option_nearest(const char *name)
{
    const char *nearest = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < option_count; i++) {
        size_t distance = edit_distance(name, option_table[i].name);
        if (distance >= least) continue;
        least = distance;
        nearest = option_table[i].name;
    }
    return nearest;
}

/* ---- values ---- */

static const struct {
    const char *suffix;
    int64_t bytes;
} memory_units[] = {
    { "", 1 },
    { "b", 1 },
    { "k", 1000 },
    { "kb", 1 << 10 },
    { "m", 1000 * 1000 },
    { "mb", 1 << 20 },
    { "g", 1000 * 1000 * 1000 },
    { "gb", 1 << 30 },
};

/* "100", "1k" (1000), "1kb" (1024), … in any case; "0100" as well, which Redis takes. */
static bool parse_memory(const char *text, int64_t *bytes)
{
    while (text[0] == '0' && g_ascii_isdigit(text[1]))
        text++;
    size_t digits = strspn(text, "0123456789");
    int64_t count;
    if (!number_parse_int((Slice){ text, digits }, &count)) return false;
    for (size_t i = 0; i < G_N_ELEMENTS(memory_units); i++) {
        if (g_ascii_strcasecmp(text + digits, memory_units[i].suffix) != 0) continue;
        return !__builtin_mul_overflow(count, memory_units[i].bytes, bytes);
    }
    return false;
}

/* The place of the word among the names, or -1. */
static int find_name(const char *const *names, const char *word)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (g_ascii_strcasecmp(names[i], word) == 0) return i;
    }
    return -1;
}

static bool set_number(const Option *option, const char *word)
{
    int64_t number;
    bool parsed =
        option->kind == OPTION_MEMORY ? parse_memory(word, &number) : number_parse_int(slice_of(word), &number);
    if (!parsed) return false;
    if ((option->flags & OPTION_CLAMP) && number >= 0) number = CLAMP(number, option->min, option->max);
    if (number < option->min || number > option->max) return false;
    *(int64_t *)option->value = number;
    return true;
}

static bool set_name(const Option *option, const char *word)
{
    int place = find_name(option->names, word);
    if (place < 0) return false;
    if (option->kind == OPTION_BOOL) {
        *(bool *)option->value = place == 1;
    } else {
        g_atomic_int_set((gint *)option->value, place); /* log_level is for all threads */
    }
    return true;
}

/* One word into the value of a kind that takes just one. */
static bool set_word(const Option *option, const char *word)
{
    switch (option->kind) {
    case OPTION_NUMBER:
    case OPTION_MEMORY: return set_number(option, word);
    case OPTION_BOOL:
    case OPTION_CHOICE: return set_name(option, word);
    default: replace(option->value, g_strdup(word)); return true;
    }
}

char *option_usage(const Option *option)
{
    if (option->usage != NULL) return g_strdup(option->usage);
    switch (option->kind) {
    case OPTION_NUMBER:
        if (option->max == INT64_MAX) return g_strdup_printf("a whole number from %ld", option->min);
        return g_strdup_printf("a whole number from %ld to %ld", option->min, option->max);
    case OPTION_MEMORY:
        if (option->min <= 0) return g_strdup("a number of bytes, such as 100mb or 1gb");
        return g_strdup_printf("a number of bytes from %ld, such as 100mb or 1gb", option->min);
    case OPTION_BOOL:
    case OPTION_CHOICE: return g_strjoinv(" | ", (char **)(uintptr_t)option->names);
    default: return g_strdup("anything");
    }
}

char *option_set(const Option *option, char **words, int count)
{
    bool good = true;
    if (option->kind == OPTION_SPECIAL) {
        good = option->set(words, count);
    } else if (option->kind != OPTION_FIXED) {
        good = count == 1 && set_word(option, words[0]);
    }
    if (good) return NULL;
    g_autofree char *usage = option_usage(option), *given = g_strjoinv(" ", words);
    return g_strdup_printf("%s takes %s, not '%s'", option->name, usage, given);
}

char *option_text(const Option *option)
{
    switch (option->kind) {
    case OPTION_NUMBER:
    case OPTION_MEMORY: return g_strdup_printf("%ld", *(const int64_t *)option->value);
    case OPTION_BOOL: return g_strdup(option->names[*(const bool *)option->value]);
    case OPTION_CHOICE: return g_strdup(option->names[*(const unsigned *)option->value]);
    case OPTION_TEXT: return g_strdup(*(char *const *)option->value);
    case OPTION_SPECIAL: return option->text();
    default: return g_strdup(option->start);
    }
}

void options_reset(void)
{
    for (size_t i = 0; i < option_count; i++) {
        const Option *option = &option_table[i];
        if (option->kind == OPTION_FIXED) continue;
        bool words = option->flags & OPTION_WORDS;
        g_auto(GStrv) parts = words ? g_strsplit(option->start, " ", -1) : NULL;
        char *whole[] = { (char *)(uintptr_t)option->start, NULL };
        char *message = option_set(option, words ? parts : whole, words ? (int)g_strv_length(parts) : 1);
        g_assert(message == NULL);
    }
    replace(&options.config_file, g_strdup(""));
}
