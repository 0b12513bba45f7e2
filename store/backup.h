/* backup.h: backups of a data directory, rolling it back, and clones. The server's BACKUP and ROLLBACK and the tools
 * call it.
 *
 * Design. A backup is backups/<id>/ { MANIFEST, checkpoint.gdbm, journal/ }: MANIFEST lists the file as its first
 * checkpoint, and says up to where the backup goes; journal/ has what follows the checkpoint, if anything does;
 * checkpoint.gdbm is missing if all there ever was is in the journal. It's built as backups/.<id>.tmp, and renamed when
 * all of it is durable: half-made ones are never listed, and the next backup removes them.
 *
 * A rollback builds the whole new state in rollback.tmp/ first, under a new history. Then the file ROLLBACK is written,
 * and from there on the switch goes forward only: what was there moves to backups/, as a backup that can be rolled back
 * to, and the new state takes its place, MANIFEST last. A start finishes what a crash interrupted, or, if ROLLBACK
 * wasn't there yet, removes rollback.tmp/.
 *
 * Which moments can be reached: a backup that has a journal tells what was between its checkpoint and its end, the
 * directory what was since its checkpoints; and any backup whose checkpoint belongs to the same history is a beginning
 * too. After a rollback the directory's own journal doesn't know what was between the moment that was gone back to and
 * the rollback, but the backup made then does: so the one that ends first at or behind a moment is asked first.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_BACKUP_H
#define CKV_STORE_BACKUP_H

#include "store/state.h"

#define BACKUP_DIRECTORY  "backups"
#define BACKUP_FILE       "checkpoint.gdbm"
#define BACKUP_ID_CHARS   31
#define BACKUP_NOTE_MAX   200
#define BACKUP_SCHEDULED  "scheduled" /* the note of those that backup_prune may delete */
#define ROLLBACK_MARKER   "ROLLBACK"
#define ROLLBACK_BUILDING "rollback.tmp"

/* The note of a backup of what a full sync replaced begins so; it's deleted when there's a checkpoint of what came. */
#define BACKUP_REPLACED "before full sync from "

typedef struct Backup {
    char id[BACKUP_ID_CHARS + 1];
    uint64_t offset; /* up to which it has all */
    int64_t unix_ms; /* when that was */
    uint64_t keys;   /* in its checkpoint */
    uint64_t bytes;  /* on disk */
    char *note;
    bool has_journal;
    uint64_t base_offset; /* of its checkpoint */
    int64_t base_ms;
    Manifest manifest;
} Backup;

void backup_free(Backup *backup);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Backup, backup_free)

/* All of a data directory, oldest first: Backup *, freed with the array. One whose MANIFEST can't be read is left out,
 * and *error (may be NULL; g_free) says what is wrong with the first such, or with the directory of all. */
GPtrArray *backup_list(const char *dir, char **error);
/* NULL and *error if there's no such. */
Backup *backup_find(const char *dir, const char *id, char **error);

/* NULL, or what is wrong (g_free): all below. */
char *backup_verify(const char *dir, const char *id, const StateWork *work);
char *backup_delete(const char *dir, const char *id);
/* The same in two steps: it's gone from the list at once, though a power cut may bring it back; what may take long,
 * after which none does, with all that is half-made or half-deleted. */
char *backup_hide(const char *dir, const char *id);
char *backup_remove_remains(const char *dir);
/* Whether there's such a thing. */
bool backup_has_remains(const char *dir);
/* Deletes scheduled ones but the newest `keep`; 0 keeps all. */
char *backup_prune(const char *dir, int64_t keep);

/* Whether a note is one line of reasonable length. */
bool backup_note_valid(const char *note);
/* Why a user may not give it: by such notes the server knows the backups that it deletes by itself. NULL: he may. */
const char *backup_note_reserved(const char *note);

/* An id that isn't taken, for now. */
void backup_new_id(const char *dir, char id[BACKUP_ID_CHARS + 1]);

/* Of the directory as it is, for a user; no one may write to it meanwhile. `id` gets the new backup's. */
char *backup_create_offline(const char *dir, const char *note, char id[BACKUP_ID_CHARS + 1], const StateWork *work);
/* Of the checkpoint `slot` that the manifest lists; no one may write to that file meanwhile. */
char *backup_create_from_file(const char *dir, const char *id, const Manifest *manifest, int slot, const char *note,
                              const StateWork *work);

/* Unix ms of the oldest moment that a backup lets one go back to, if the directory's journal begins at `first_offset`;
 * -1: none. Cheap: INFO calls it. Any thread. */
int64_t backup_oldest_ms(const char *dir, uint64_t first_offset);

/* What to go back to: a backup, or (id NULL) an offset of the directory's own history, which stays the history then; or
 * (offset 0) a moment. */
typedef struct RollbackTarget {
    const char *id;
    uint64_t offset;
    int64_t unix_ms;
} RollbackTarget;

/* NULL, or why nothing can take the place of what is in the directory (g_free): its parts can't be moved. */
char *rollback_possible(const char *dir);
/* Builds the new state in rollback.tmp/. The directory may be written to, as long as its checkpoints stay and its
 * journal only grows. `cut` (may be NULL) is where it ends. */
char *rollback_build(const char *dir, const RollbackTarget *target, StateEnd *cut, const StateWork *work);
/* Puts it in place; no one may have the directory's files open. What was there becomes the backup `before`, whose
 * journal ends at `end`. *begun: it failed halfway, and backup_finish_swap has to finish it; otherwise nothing has
 * changed, and the caller removes rollback.tmp/, which may take a while. */
#define ROLLBACK_FIND_END UINT64_MAX /* it isn't known: a piece of each segment is read, and all of the last one */
char *rollback_swap(const char *dir, const char *note, uint64_t end, char before[BACKUP_ID_CHARS + 1], bool *begun);
/* Finishes an interrupted switch, or removes what was only being built: at each start. False: *error, also where a
 * clone isn't complete. */
bool backup_finish_swap(const char *dir, char **error);
/* For those who change nothing: NULL, or that there's a switch or a clone to be finished first, and how (g_free). */
char *backup_unfinished_swap(const char *dir);

/* Makes a data directory with an identity of its own from a backup, or (id NULL) from the directory as it is, which no
 * one may write to meanwhile. `to` mustn't exist, or be empty, or what a clone that was killed has left. */
char *backup_clone(const char *dir, const char *id, const char *to, const StateWork *work);

/* As backup_oldest_ms, by looking. */
int64_t rollback_oldest_ms(const char *dir);

/* For rollback.c: the state that a backup, or the directory with a checkpoint, has. */
void backup_state(const char *dir, const Backup *backup, State *state);
bool directory_state(const char *dir, const Manifest *manifest, int slot, State *state);
/* The directory's as a start loads it. NULL, or why none would (g_free). */
char *directory_newest_state(const char *dir, const Manifest *manifest, State *state);

#endif
