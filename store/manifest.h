/* manifest.h: the file MANIFEST: which checkpoints of a directory are whole, and which history they belong to. Reads
 * and writes it; knows nothing of what a checkpoint holds.
 *
 * Design. A GKeyFile, so that people can read it, with a checksum over all lines before it in the last one. It is only
 * ever replaced whole (io_replace_file). It lists a checkpoint while that file is whole: before a file is written again
 * its entry is taken out.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_MANIFEST_H
#define CKV_STORE_MANIFEST_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define MANIFEST_FILE         "MANIFEST"
#define MANIFEST_VERSION      2
#define MANIFEST_ID_CHARS     40
#define MANIFEST_SECRET_BYTES 192
#define MANIFEST_BOOT_CHARS   36
#define MANIFEST_PLACE_CHARS  48
#define MANIFEST_LEFT_MAX     8 /* a slave that was away for more rollbacks wants SLAVEOF again */

#define MANIFEST_OLDER_MAX    6 /* a slave that was away for two promotions more wants a full sync */

/* One checkpoint file. The same facts stand in the file itself, in the record with the key "ckv". */
typedef struct CheckpointInfo {
    bool whole;
    char history[MANIFEST_ID_CHARS + 1];
    uint64_t offset; /* the journal's, of the moment that it holds */
    int db;          /* the database that the stream was in there; -1: none */
    int64_t unix_ms; /* when that was */
    int64_t took_ms;
    uint64_t records; /* of the file, but "ckv" */
    uint64_t sum;     /* of their checksums, modulo 2^64: no record is missing, stale or one too many */
    uint64_t keys;
    uint64_t file_bytes;
    uint64_t next_id; /* the first id that no record of its own has yet */
} CheckpointInfo;

/* A history that the stream was before. */
typedef struct OlderHistory {
    char id[MANIFEST_ID_CHARS + 1]; /* "": none, nor behind it */
    uint64_t offset;                /* up to there it's the same as the one that is being written */
} OlderHistory;

typedef struct Manifest {
    char instance[MANIFEST_ID_CHARS + 1]; /* this directory's identity: a clone gets its own */
    char history[MANIFEST_ID_CHARS + 1];  /* the replication id of the stream that is being written */
    char history2[MANIFEST_ID_CHARS + 1]; /* the one before a promotion, valid up to offset2; "" : none */
    uint64_t offset2;
    OlderHistory older[MANIFEST_OLDER_MAX]; /* others before, also as the master knows them: the longest first */
    /* Those that operators' rollbacks left, here or at the master, the last one first, with commas between. */
    char rolled_back_from[MANIFEST_LEFT_MAX * (MANIFEST_ID_CHARS + 1)];
    uint64_t start; /* the offset at which the history began: no checkpoint is needed to load from there, unless the
                       data came from elsewhere (manifest_begins_empty) */
    bool from_elsewhere; /* it did, says the file; the checkpoint that tells of it may have been replaced since */
    uint8_t secret[MANIFEST_SECRET_BYTES]; /* the hash's */
    char state[MANIFEST_BOOT_CHARS + 1];   /* of the journal: one of the words below, or the kernel's run in which a
                                              master has it open; only in the same one is all there that was written */
    char place[MANIFEST_PLACE_CHARS + 1];  /* of the journal that it was last open in: manifest_place; "": not known */
    CheckpointInfo checkpoint[2]; /* checkpoint-a.gdbm, checkpoint-b.gdbm (in a backup: checkpoint.gdbm, none) */
    char *note;                   /* of a backup: why it was made; NULL otherwise. g_free'd by manifest_clear */
    uint64_t end;                 /* of a backup: up to where it has all, and when that was */
    int64_t end_ms;
} Manifest;

extern const char *const checkpoint_file_name[2];

/* The journal is closed, and all is there; a slave writes it, or was the last to; something of it was given up. */
#define MANIFEST_CLOSED   ""
#define MANIFEST_FOLLOWS  "slave"
#define MANIFEST_REPAIRED "repaired"

/* The kernel's id of its run, from which one tells that the power was cut; "unknown" is none that is ever the same. */
#define MANIFEST_UNKNOWN "unknown"
const char *manifest_boot(void);

/* What the journal's directory, in the working directory, doesn't share with any copy of it, nor with what was there
 * before it was put back; "" if there's nothing of that kind. */
void manifest_place(char place[MANIFEST_PLACE_CHARS + 1]);

/* A new identity, history and secret; no checkpoint. */
void manifest_init(Manifest *manifest);
/* The stream goes on from the offset as another history; what was the history is the one before it. */
void manifest_begin_history(Manifest *manifest, const char *history, uint64_t offset);
/* No history that was before is worth anything beyond the offset. */
void manifest_limit_older(Manifest *manifest, uint64_t offset);
/* "id:offset,id:offset" of the older ones. g_free */
char *manifest_older(const Manifest *manifest);
/* Adds to what is known of the histories before, also the one before the last, what another of the same history knows,
 * in that form; of too many, those with the most in common stay. False: it's not of that form; what was good is added.
 */
bool manifest_add_older(Manifest *manifest, const char *text);
/* Sets rolled_back_from. False: it's not of that form, and is "" then. */
bool manifest_set_left(Manifest *manifest, const char *ids);
void manifest_clear(Manifest *manifest);

typedef enum ManifestRead { MANIFEST_READ, MANIFEST_MISSING, MANIFEST_BAD } ManifestRead;
/* Of `directory`. BAD: *error names the file and what is wrong with it (g_free); errno 0: with what it holds. */
ManifestRead manifest_read(const char *directory, Manifest *manifest, char **error);
/* NULL, or a message that names the file (g_free). Any thread. */
char *manifest_write(const char *directory, const Manifest *manifest);
/* The same by way of the file `name`, which becomes it; if that fails, it's gone. */
char *manifest_write_by(const char *directory, const char *name, const Manifest *manifest);

/* A checkpoint's facts as bytes for its "ckv" record (with the secret), and back. */
GBytes *checkpoint_info_encode(const CheckpointInfo *info, const uint8_t *secret);
bool checkpoint_info_decode(const void *bytes, size_t len, CheckpointInfo *info, uint8_t *secret);

/* Whether nothing was there at `start`. No: a checkpoint of that moment, which may be damaged or replaced by now, has
 * or had keys: a master's, or a clone's original's. */
bool manifest_begins_empty(const Manifest *manifest);

/* The index of the newest whole checkpoint of the manifest's history, by its offset and its time, or -1. */
int manifest_newest(const Manifest *manifest);

#endif
