/* rdb.h: Redis' RDB files and DUMP payloads: reads versions 1 to 10 (Redis 1.0 to 7.0), writes version 7 (3.2's).
 * Import and export, DUMP and RESTORE, and the full sync of replication call it.
 *
 * Design. Nothing is ever held but one element of a collection (or one blob, which is how Redis writes a small
 * collection), so both ways take bounded memory, and both can stop inside a collection. The reader pulls bytes from the
 * caller, in steps; the writer pushes them into a sink. Collections are written one element after the other, which
 * every Redis reads (and makes small ones compact again), never as Redis' blobs.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_RDB_H
#define CKV_STORE_RDB_H

#include <glib.h>
#include <sys/types.h>

#include "store/keyspace.h"
#include "store/manifest.h"

#define RDB_VERSION     7  /* written */
#define RDB_VERSION_MAX 10 /* read */

/* ---- reading ---- */

typedef struct RdbReader RdbReader;

typedef struct RdbSource {
    /* As read(2): how many bytes it put there, 0 at the end, -1 with errno. EAGAIN: there are none now. */
    ssize_t (*read)(void *context, void *to, size_t len);
    void *context;
    bool drop_expired; /* keys whose time is over at clock_unix_ms are left out; otherwise they're kept */
    /* Hears of each auxiliary field, and of each key once it's stored, which it may delete again. Each may be NULL. The
     * slices are good until it returns. */
    void (*aux)(void *context, Slice name, Slice value);
    void (*loaded)(void *context, Db *db, Entry *entry);
} RdbSource;

typedef struct RdbStats {
    uint64_t keys[TYPE_HASH + 1]; /* stored, by ValueType */
    uint64_t expiring;            /* of these, with a deadline */
    uint64_t expired;             /* left out: drop_expired */
    uint64_t empty;               /* left out: collections without elements, which old bugs of Redis left behind */
    uint64_t functions;           /* left out: libraries of functions */
    uint64_t module_fields;       /* left out: auxiliary data of modules */
} RdbStats;

/* Reads a file into an empty keyspace, which nobody else changes meanwhile. All is borrowed. */
RdbReader *rdb_reader_new(Keyspace *keyspace, const RdbSource *source);
/* Frees what was half read, too; the keys stay where they are. */
void rdb_reader_free(RdbReader *reader);

typedef enum RdbStep {
    RDB_MORE,   /* call again */
    RDB_WAIT,   /* call again when there's something to read */
    RDB_DONE,   /* the whole file was read, and its checksum is right */
    RDB_FAILED, /* see rdb_reader_error */
} RdbStep;
/* Works for about `budget_us`; more only by one element or key, or by one call of `read`. */
RdbStep rdb_read_step(RdbReader *reader, int64_t budget_us);

/* Appends a key as messages show it: its first bytes, as text. */
void rdb_put_shown(GString *to, Slice text);
/* What is wrong: names the byte offset and the key. NULL: nothing yet. */
const char *rdb_reader_error(const RdbReader *reader);
const RdbStats *rdb_reader_stats(const RdbReader *reader);
/* Bytes of the file that have been dealt with. */
uint64_t rdb_reader_offset(const RdbReader *reader);
/* Behind the end of the file (RDB_DONE): what `read` gave that is no part of it. */
Slice rdb_reader_rest(const RdbReader *reader);

/* ---- writing ---- */

typedef struct RdbWriter RdbWriter;

/* Takes the next bytes, at most RDB_WRITE_BYTES of them. False: it can't, and the writing has failed. */
#define RDB_WRITE_BYTES (64 * 1024)
typedef bool (*RdbSink)(void *context, Slice bytes);

RdbWriter *rdb_writer_new(RdbSink sink, void *context);
void rdb_writer_free(RdbWriter *writer);

/* In this order: the head, any more auxiliary fields, then for each database its number (-1 for keys or deadlines: not
 * known) and its entries, and the end, which sends what still waits. Databases may come again. False: the sink failed,
 * now or before. */
bool rdb_write_head(RdbWriter *writer, int64_t unix_ms, uint64_t used_memory);
bool rdb_write_aux(RdbWriter *writer, Slice name, Slice value);
bool rdb_write_db(RdbWriter *writer, int db, int64_t keys, int64_t expiring);
bool rdb_write_entry(RdbWriter *writer, const Entry *entry);
bool rdb_write_end(RdbWriter *writer);

/* The same in steps of about so many bytes of the file: begin, then step until it returns false. The entry mustn't
 * change in between. A failed sink ends it early; rdb_writer_failed tells. */
void rdb_entry_begin(RdbWriter *writer, const Entry *entry);
bool rdb_entry_step(RdbWriter *writer, size_t bytes);

bool rdb_writer_failed(const RdbWriter *writer);
/* Bytes of the file so far. */
uint64_t rdb_writer_offset(const RdbWriter *writer);

/* The databases of a whole checkpoint file, read record by record: between the head and the end of the file, which the
 * caller writes. Needs no keyspace, and may run in a thread of its own while nobody changes the file. `info` is what
 * the file must agree with; `progress` (may be NULL) hears of the part that is done, from 0 to 1. Memory: one page, or
 * one value that isn't kept as pages; of a list of many chunks also 16 bytes for each. NULL, or what is wrong (g_free).
 */
typedef void (*RdbProgress)(void *context, double part);
char *rdb_write_checkpoint(RdbWriter *writer, const char *path, const CheckpointInfo *info, RdbProgress progress,
                           void *context);

/* ---- DUMP and RESTORE ---- */

/* The value alone, with version and checksum. NULL: it would be longer than a client could send back. */
#define RDB_DUMP_MAX (512UL << 20)
GByteArray *rdb_dump(const Entry *entry);

/* Whether the payload's version (which *version gets) can be read, and its checksum is right. */
bool rdb_payload_valid(Slice payload, unsigned *version);
/* Stores the value of a valid payload under the key (announced as a write; the key no longer expires). NULL:
 * nothing was changed, and *error says why (g_free). */
Entry *rdb_restore(Db *db, Slice key, Slice payload, char **error);

#endif
