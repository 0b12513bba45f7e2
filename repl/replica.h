/* replica.h: one slave's state, for repl/master.c and repl/fullsync.c only.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_REPL_REPLICA_H
#define CKV_REPL_REPLICA_H

#include "repl/master.h"
#include "repl/syncfile.h"
#include "store/journal.h"
#include "store/warm.h"

/* A piece that a slave is given in one turn, and how much may be unsent for it to get one. */
#define FEED_PIECE ((size_t)256 * 1024)
#define FEED_BELOW ((size_t)1024 * 1024)

typedef enum ReplicaState { REPLICA_NEW, REPLICA_WAITING, REPLICA_SENDING, REPLICA_ONLINE } ReplicaState;

typedef struct Replica {
    Client *client;
    ReplicaState state; /* NEW: it only said REPLCONF so far */
    bool psync2;        /* it understands +CONTINUE with an id */
    bool plain;         /* came by SYNC: it may never confirm anything */
    int port;           /* that it listens on; 0: it didn't say */
    char *ip;           /* where others reach it: as it said, or where its connection comes from */
    int64_t online_ms;  /* since when it is */
    uint64_t acked;     /* confirmed */
    /* The stream. */
    uint64_t sent;         /* up to where it is in its output */
    bool behind;           /* it's fed from the files: */
    JournalReader *reader; /* NULL: not opened yet */
    bool seeking;          /* it isn't at `sent` yet */
    Slice rest;            /* of the batch that was read last */
    /* The snapshot; NULL: none, or not yet. It must not be older than `asked`. */
    SyncFile *file;
    uint64_t asked;
    uint64_t file_sent;
    Warm *warm;       /* which reads it; NULL: nothing was read yet */
    bool awaits_disk; /* what it's to be fed next, of the journal or the snapshot, is to come from there first */
    /* When its connection last took something, and what it had taken by then. */
    uint64_t taken;
    int64_t taken_ms;
    int64_t soft_since_ms; /* when it got further behind than the soft limit; 0: it isn't */
} Replica;

/* Every slave that asked for the stream. */
extern GPtrArray *replicas;
extern MasterHooks master_hooks;

/* "127.0.0.1:6380", as logs name it, to g_free. */
char *replica_name(const Replica *replica);
/* It has all up to `offset` and is online from now on. */
void replica_go_online(Replica *replica, uint64_t offset);
/* It's fed again when what comes next may be in the page cache. */
void replica_feed_later(Replica *replica);
/* Ends its connection, with a line in the log. */
void replica_drop(Replica *replica, const char *why);

#endif
