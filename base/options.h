/* options.h: the one option table: it drives the command line, the config file, CONFIG GET/SET/REWRITE, --help and the
 * manual page. Everyone may read the values; only options.c (at start) and CONFIG SET write them.
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
    OutputLimit output_limit[3]; /* by ClientClass */
    /* identity and access */
    char *instance_id, *password; /* what AUTH checks; both empty: no password */
    char *admin_password;
    bool admin_plane_all; /* admin-plane all */
    /* general */
    char *dir, *logfile, *pidfile, *config_file;
    bool daemonize;
    int64_t databases, hz;
    /* memory */
    int64_t maxmemory, maxmemory_samples;
    EvictPolicy maxmemory_policy;
    /* encodings */
    int64_t hash_max_ziplist_entries, hash_max_ziplist_value, list_max_ziplist_size, list_compress_depth,
        set_max_intset_entries, zset_max_ziplist_entries, zset_max_ziplist_value, hll_sparse_max_bytes;
    /* watching */
    unsigned notify_events; /* NOTIFY_… bits */
    int64_t slowlog_log_slower_than, slowlog_max_len, latency_monitor_threshold;
} Options;

extern Options options;

#endif
