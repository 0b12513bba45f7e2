/* persist.h: the data on disk over the server's life: loading it at start, histories, and a clean stop. The main
 * program starts and stops it; the operator's commands and INFO ask it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_PERSIST_H
#define CKV_CMDS_PERSIST_H

#include "net/loop.h"
#include "store/journal.h"
#include "store/manifest.h"

/* Reads MANIFEST in the working directory, or makes a new one for an empty directory, and sets the hash's secret:
 * before the keyspace is made. Ends the program with a message if that can't be. */
void persist_open(void);

/* Begins to load what there is, in slices of the loop; server_loading is set until that is done, and then `ready` is
 * called (at once if there's nothing to load). After server_init. */
void persist_start(Loop *loop, void (*ready)(void));

/* ---- taking over from another process, which serves meanwhile ---- */

/* Instead of persist_open and persist_start: reads MANIFEST, and then loads what there is, all at once; nothing is
 * written. `ready` is called when there was a reload later. Ends the program with a message if that can't be. Returns
 * the offset up to which there is all. */
void persist_open_read_only(void);
uint64_t persist_load_read_only(Loop *loop, void (*ready)(void));
/* Goes on up to an offset that is between two batches, and in the file. */
uint64_t persist_follow(uint64_t offset);
/* The rest of it: the journal is this process' now (with persistence no it isn't needed any more). False: *error
 * (g_free it). */
bool persist_take_over(JournalPlace *place, char **error);
/* In the old one: leaves the journal, or takes it back. */
void persist_leave(JournalPlace *place);
void persist_take_back(JournalPlace *place);
/* A number that grows whenever the data is replaced, or begins another history. */
uint64_t persist_generation(void);

/* What a clean stop does: a last checkpoint unless `save` is false or nothing changed, and everything on disk. False:
 * something isn't (it was logged). */
bool persist_stop(bool save);

/* Empties all databases in memory and loads them from disk again, in slices as at the start: after a rollback. */
void persist_reload(void);
/* Puts what rollback_build made in place, or (`synced`) what a full sync brought, and loads it as persist_reload does;
 * `before` gets the id of the backup of what there was. False: *error (g_free it), and nothing has changed. */
bool persist_roll_back(const char *note, bool synced, char *before, char **error);
/* Why what a full sync brought can't be loaded, which doesn't end the program; NULL: it's loaded, or being loaded.
 * Until something else takes its place there's no data, and the journal isn't open; what can't be loaded is in the
 * directory and in the manifest. */
const char *persist_lost(void);
/* Why the journal isn't open, but for the data being loaded (g_free). */
char *persist_closed(void);
/* The same at once, serving nobody meanwhile: DEBUG RELOAD. False: *error (g_free it), and nothing happened. */
bool persist_reload_now(char **error);

/* The stream is another history's from here on, and what was before belongs to both: a promotion. Slaves of this server
 * are closed. False: *error (g_free it), and nothing has changed. */
bool persist_change_history(const char *history, char **error);
/* The same for a slave: what follows comes from its master, and is of this history, which may be the one that it was.
 * `left`: those that the master left, as in its Manifest; `older`: for manifest_add_older; passed on to slaves of this
 * one. */
bool persist_follow_history(const char *history, const char *left, const char *older, char **error);

/* The database that the stream is in, for who goes on with it at journal_offset(): a master of before, too, as long as
 * nothing is added. -1: none, or it's named next. */
int persist_stream_db(void);

extern Manifest persist_manifest;

typedef struct PersistLoading {
    int64_t started_ms; /* unix */
    double progress;    /* 0 to 1 */
    int64_t eta_sec;    /* seconds left, as far as one can tell; -1: can't tell */
    uint64_t total_bytes, loaded_bytes;
} PersistLoading;
PersistLoading persist_loading(void);

#endif
