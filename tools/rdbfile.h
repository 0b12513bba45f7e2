/* rdbfile.h: an RDB file as the tools read it, with progress and what is told at the end.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_TOOLS_RDBFILE_H
#define CKV_TOOLS_RDBFILE_H

#include "store/rdb.h"

typedef struct RdbFile {
    const char *name; /* for messages */
    int fd;
    uint64_t bytes;   /* 0: not known (a pipe) */
    char made_by[32]; /* what the file says of its Redis; "": nothing */
    bool is_base;     /* Redis 7 wrote it as the base of an append-only file */
    /* Hears of each key once it's stored, see rdb.h; true: that's enough. NULL: nobody does. */
    bool (*loaded)(void *context, Db *db, Entry *entry);
    void *context;
    bool enough;
} RdbFile;

/* "-": standard input. False: *error (g_free). */
bool rdbfile_open(RdbFile *file, const char *path, char **error);

/* Reads all of it into the empty keyspace, without keys that have expired. NULL, or what is wrong (g_free); then some
 * keys may be there. */
char *rdbfile_read(RdbFile *file, Keyspace *keyspace, RdbStats *stats);

/* Prints what was read, to standard output: "3 keys (1 string, …)" and what was left out. */
void rdbfile_tell(const RdbFile *file, const RdbStats *stats, const char *done);

#endif
