/* options.h: the one option table: it drives the command line, the config file, CONFIG GET/SET/REWRITE, --help and the
 * manual page. Everyone may read the values; only options.c (at start) and CONFIG SET write them. The main program
 * loads them, CONFIG walks the table.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_BASE_OPTIONS_H
#define CKV_BASE_OPTIONS_H

#include <glib.h>

#include "base/slice.h"

/* maxmemory-policy, in the order of 3.2's names. */
typedef enum EvictPolicy {
    EVICT_VOLATILE_LRU,
    EVICT_VOLATILE_RANDOM,
    EVICT_VOLATILE_TTL,
    EVICT_ALLKEYS_LRU,
    EVICT_ALLKEYS_RANDOM,
    EVICT_NONE,
} EvictPolicy;

/* fsync, in the order of the journal's JournalSync. */
typedef enum FsyncPolicy { FSYNC_EVERYSEC, FSYNC_ALWAYS, FSYNC_NO } FsyncPolicy;

/* ack and ack-timeout-policy. */
typedef enum AckMode { ACK_LOCAL, ACK_SLAVE } AckMode;
typedef enum AckPolicy { ACK_REFUSE, ACK_DEGRADE } AckPolicy;

typedef struct OutputLimit {
    int64_t hard_bytes, soft_bytes, soft_seconds; /* 0: no limit */
} OutputLimit;

/* The values in force. Strings are never NULL. */
typedef struct Options {
    /* network */
    int64_t port; /* 0 on the command line: a free one; then the one taken */
    char *bind;   /* addresses, blank-separated */
    char *unixsocket;
    int64_t unixsocketperm;
    int64_t tcp_backlog, tcp_keepalive, timeout, maxclients;
    bool plain_poll; /* watch all descriptors with poll(2) */
    bool protected_mode;
    bool admin_plane_all;        /* admin-plane all */
    OutputLimit output_limit[3]; /* by ClientClass */
    /* identity and access */
    char *instance_id, *password; /* what AUTH checks; both empty: no password */
    char *admin_password;
    /* general */
    char *dir, *logfile, *pidfile, *config_file;
    bool daemonize;
    int64_t databases, hz;
    /* memory */
    int64_t maxmemory, maxmemory_samples;
    EvictPolicy maxmemory_policy;
    /* replication: the slave's half */
    char *master_host; /* "": none, this is a master */
    int64_t master_port;
    char *masterauth;
    int64_t slave_priority, slave_announce_port;
    char *slave_announce_ip;
    bool serve_stale_data, read_only_slave, accept_data_loss;
    bool ack_alone; /* the master's half: if promoted */
    /* persistence */
    bool persistence;
    FsyncPolicy fsync;
    int64_t journal_segment_bytes, journal_keep_sec, journal_keep_bytes;
    int64_t checkpoint_every_sec, checkpoint_journal_bytes; /* 0: never */
    char *backup_schedule;                                  /* see backup_schedule_parse; "": none */
    int64_t backup_keep;                                    /* 0: all */
    /* replication: the master's half */
    AckMode ack;
    AckPolicy ack_timeout_policy;
    int64_t ack_timeout_ms, repl_ping_slave_period, repl_timeout, min_slaves_to_write, min_slaves_max_lag;
    /* encodings */
    int64_t hash_max_ziplist_entries, hash_max_ziplist_value, list_max_ziplist_size, list_compress_depth,
        set_max_intset_entries, zset_max_ziplist_entries, zset_max_ziplist_value, hll_sparse_max_bytes;
    /* watching */
    unsigned notify_events; /* NOTIFY_… bits */
    int64_t slowlog_log_slower_than, slowlog_max_len, latency_monitor_threshold;
} Options;

extern Options options;

/* What --help groups the options by. */
typedef enum OptionGroup {
    OPTIONS_NETWORK,
    OPTIONS_ACCESS,
    OPTIONS_GENERAL,
    OPTIONS_MEMORY,
    OPTIONS_PERSISTENCE,
    OPTIONS_REPLICATION,
    OPTIONS_ENCODING,
    OPTIONS_WATCHING,
    OPTIONS_UNUSED, /* Redis 3.2 has it, CKV has no use for it: accepted, logged, and without any effect */
    OPTIONS_GROUPS,
} OptionGroup;

typedef enum OptionKind {
    OPTION_NUMBER,  /* int64_t */
    OPTION_MEMORY,  /* int64_t, written as 100mb */
    OPTION_BOOL,    /* bool: the second of two names */
    OPTION_CHOICE,  /* an enum: the place among the names */
    OPTION_TEXT,    /* char * */
    OPTION_SPECIAL, /* by functions of its own */
    OPTION_FIXED,   /* nothing: always reads as its default */
} OptionKind;

enum {
    OPTION_LIVE = 1 << 0,  /* CONFIG SET may change it */
    OPTION_WORDS = 1 << 1, /* takes several words */
    OPTION_CLAMP = 1 << 2, /* a number out of range, unless negative, is brought into it, as in 3.2 */
    OPTION_ALIAS = 1 << 3, /* says what others say: not written to the file */
};

typedef struct Option {
    const char *name;
    OptionGroup group;
    OptionKind kind;
    unsigned flags;
    void *value;       /* into `options`, by kind */
    const char *start; /* the default, as CONFIG GET shows it; NULL: CONFIG GET doesn't */
    int64_t min, max;  /* of numbers */
    const char *const *names;
    /* Of specials: sets the value, all of it or (returns false) nothing; the value as CONFIG GET shows it, to g_free.
     */
    bool (*set)(char **words, int count);
    char *(*text)(void);
    const char *usage; /* what it takes: for messages and --help; NULL: what its kind says */
    const char *help;
} Option;

extern const Option option_table[];
extern const size_t option_count;

/* The option of this name, in any case, or NULL. And the name nearest to one that isn't there, by edit distance. */
const Option *option_find(Slice name);
const char *option_nearest(const char *name);

/* Sets the value from a directive's words (`count` of them, then NULL). Returns NULL, or a message that names the
 * option, what it takes and what it was given (g_free it); then the value is as before. */
char *option_set(const Option *option, char **words, int count);

/* The value as CONFIG GET shows it, or NULL if it doesn't; and what the option takes, in words. g_free both. */
char *option_text(const Option *option);
char *option_usage(const Option *option);

/* Sets every option to its default. */
void options_reset(void);

/* Reads `ckv [config-file] [--option value ...]`. Returns NULL, or a message that names file and line (g_free it). */
char *options_load(int argc, char **argv);

/* Makes this a slave of that master, or (host "") of none: what slaveof sets. `host` is copied. */
void options_set_master(const char *host, int64_t port);

/* What backup-schedule says: daily at `minute` of the day (local time), or every `every_sec` seconds (otherwise 0);
 * neither if it's empty. False: it can't be understood. */
typedef struct BackupSchedule {
    bool daily;
    int minute;
    int64_t every_sec;
} BackupSchedule;
bool backup_schedule_parse(const char *text, BackupSchedule *schedule);

/* The names of the unused directives that options_load met, in their order; borrowed. */
GPtrArray *options_unused(void);

/* Writes the values in force to the config file: changes lines in place, adds what differs from the default at the end,
 * keeps comments. Returns NULL or a message (g_free it). */
char *options_rewrite(void);

/* Print --help, and the manual page in roff. */
void options_print_help(void);
void options_print_manual(void);

#endif
