/* rollback.c: going back to a backup or a moment, and clones: see backup.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "base/random.h"
#include "store/backup.h"
#include "store/checkpoint.h"
#include "store/ckj.h"
#include "store/io.h"
#include "store/journal.h"

#define CLONE_MARKER    "clone.tmp"                 /* see "clones" below */
#define BUILDING_BEFORE ROLLBACK_BUILDING "/before" /* the MANIFEST of the backup of what there was */

static char *read_manifest(const char *dir, Manifest *manifest)
{
    char *error = NULL;
    switch (manifest_read(dir, manifest, &error)) {
    case MANIFEST_READ: return NULL;
    case MANIFEST_BAD: return error;
    case MANIFEST_MISSING: return g_strdup_printf("%s has no MANIFEST: it's no data directory", dir);
    }
    return error;
}

/* ---- whether it can be ---- */

/* A rename doesn't leave a file system, or what was mounted by itself. (Kernels before 5.8 don't tell the latter.) */
static bool same_mount(const struct statx *a, const struct statx *b)
{
    bool told = (a->stx_mask & b->stx_mask & STATX_MNT_ID) != 0;
    return a->stx_dev_major == b->stx_dev_major && a->stx_dev_minor == b->stx_dev_minor &&
           (!told || a->stx_mnt_id == b->stx_mnt_id);
}

char *rollback_possible(const char *dir)
{
    /* The journal itself is moved: a link would be, and its files stay, where it may lead nowhere from its new place.
     * Of the backups' directory what is in it. */
    static const struct {
        const char *name;
        int flags;
    } parts[] = { { JOURNAL_DIRECTORY, AT_SYMLINK_NOFOLLOW }, { BACKUP_DIRECTORY, 0 } };
    struct statx own, part;
    if (statx(AT_FDCWD, dir, 0, STATX_MNT_ID, &own) != 0) return NULL; /* whoever opens it says so */
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autofree char *path = g_build_filename(dir, parts[i].name, NULL);
        if (statx(AT_FDCWD, path, parts[i].flags, STATX_TYPE | STATX_MNT_ID, &part) != 0) continue;
        if (same_mount(&own, &part) && !S_ISLNK(part.stx_mode)) continue;
        return g_strdup_printf("%s is mounted, or links elsewhere: a rollback or a full sync can't move files between "
                               "it and the data directory; stop the server and make it a plain directory",
                               path);
    }
    return NULL;
}

/* ---- finding the state that leads to a moment ---- */

/* A journal, and what it's the journal of: the directory's, or a backup's. */
typedef struct Stream {
    char *directory;
    const Manifest *manifest; /* borrowed */
    const Backup *backup;     /* NULL: the directory's */
    uint64_t first;           /* offset of its first segment */
    bool has_first;
} Stream;

typedef struct Search {
    const char *dir;
    Manifest manifest;
    GPtrArray *backups;
    int64_t unix_ms;
    State best; /* checkpoint and directory NULL: none yet */
    char history[MANIFEST_ID_CHARS + 1];
    uint8_t secret[MANIFEST_SECRET_BYTES];
    int64_t oldest_ms; /* that could be reached; -1: none */
    bool only_backups; /* leave out what the directory itself could do */
    bool by_names;     /* segments are taken for good: INFO asks, and they may have to be read from the disk */
    uint64_t until;    /* an offset that is gone back to; 0: none */
    char *problem;     /* why something wasn't considered that may lead there; NULL: all was */
} Search;

static void search_clear(Search *search)
{
    state_clear(&search->best);
    manifest_clear(&search->manifest);
    g_clear_pointer(&search->backups, g_ptr_array_unref);
    g_clear_pointer(&search->problem, g_free);
}

static char *search_begin(Search *search, const char *dir)
{
    *search = (Search){ .dir = dir, .oldest_ms = -1, .unix_ms = STATE_ALL };
    char *error = read_manifest(dir, &search->manifest);
    if (error == NULL) search->backups = backup_list(dir, &search->problem);
    return error;
}

/* Takes the message. */
static void note_problem(Search *search, char *problem)
{
    if (search->problem == NULL) {
        search->problem = problem;
    } else {
        g_free(problem);
    }
}

static bool same_history(const Manifest *manifest, const CheckpointInfo *info)
{
    if (strcmp(info->history, manifest->history) == 0) return true;
    return manifest->history2[0] != '\0' && strcmp(info->history, manifest->history2) == 0 &&
           info->offset <= manifest->offset2;
}

/* A state that a stream may go on from: takes it if it's the best so far. */
static void consider(Search *search, const Stream *stream, State *state)
{
    bool linked = state->info.offset >= stream->first || !stream->has_first;
    if (search->until != 0 && state->info.offset > search->until) linked = false;
    if (linked && (search->oldest_ms < 0 || state->info.unix_ms < search->oldest_ms))
        search->oldest_ms = state->info.unix_ms;
    bool better = search->best.directory == NULL || state->info.offset > search->best.info.offset;
    if (!linked || state->info.unix_ms > search->unix_ms || !better) {
        state_clear(state);
        return;
    }
    state_clear(&search->best);
    g_free(state->directory);
    state->directory = g_strdup(stream->directory);
    search->best = *state;
    memcpy(search->history, stream->manifest->history, sizeof(search->history));
    memcpy(search->secret, stream->manifest->secret, sizeof(search->secret));
}

static void consider_backups(Search *search, const Stream *stream)
{
    for (guint i = 0; i < search->backups->len; i++) {
        const Backup *backup = search->backups->pdata[i];
        const CheckpointInfo *info = &backup->manifest.checkpoint[0];
        bool own = backup == stream->backup;
        if (!own && (!info->whole || !same_history(stream->manifest, info))) continue;
        if (!own && stream->backup != NULL && info->offset > stream->backup->offset) continue;
        State state;
        backup_state(search->dir, backup, &state);
        consider(search, stream, &state);
    }
}

static void consider_directory(Search *search, const Stream *stream)
{
    for (int slot = 0; slot < 2; slot++) {
        if (!search->manifest.checkpoint[slot].whole) continue;
        State state;
        directory_state(search->dir, &search->manifest, slot, &state);
        g_autofree char *problem =
            journal_check_begins(search->dir, checkpoint_file_name[slot], state.info.offset, search->manifest.start);
        if (problem == NULL) {
            consider(search, stream, &state);
            continue;
        }
        state_clear(&state);
        if (slot == manifest_newest(&search->manifest)) note_problem(search, g_steal_pointer(&problem));
    }
}

/* A journal that has all there ever was needs no checkpoint. */
static void consider_beginning(Search *search, const Stream *stream)
{
    if (!stream->has_first || stream->first > stream->manifest->start) return;
    if (!manifest_begins_empty(stream->manifest)) return;
    State state;
    if (directory_state(stream->directory, stream->manifest, -1, &state)) {
        consider(search, stream, &state);
    } else {
        state_clear(&state);
    }
}

static void search_stream(Search *search, const char *directory, const Manifest *manifest, const Backup *backup)
{
    char *error = NULL;
    g_autoptr(GArray) segments = search->by_names ? ckj_list(directory, &error) : journal_segments(directory, &error);
    if (segments == NULL) {
        note_problem(search, error);
        return;
    }
    Stream stream = { .directory = (char *)(uintptr_t)directory, .manifest = manifest, .backup = backup };
    stream.has_first = segments->len > 0;
    if (stream.has_first) stream.first = g_array_index(segments, JournalSegment, 0).offset;
    consider_backups(search, &stream);
    if (backup == NULL && !search->only_backups) consider_directory(search, &stream);
    if (backup != NULL || !search->only_backups) consider_beginning(search, &stream);
}

static int compare_end(gconstpointer a, gconstpointer b)
{
    const Backup *x = *(const Backup *const *)a, *y = *(const Backup *const *)b;
    return x->unix_ms < y->unix_ms ? -1 : x->unix_ms > y->unix_ms;
}

/* The journals that know of the moment: the one that ends first behind it was in force then. */
static void search_streams(Search *search)
{
    g_autoptr(GPtrArray) by_end = g_ptr_array_new();
    for (guint i = 0; i < search->backups->len; i++)
        g_ptr_array_add(by_end, search->backups->pdata[i]);
    g_ptr_array_sort(by_end, compare_end);
    for (guint i = 0; i < by_end->len && search->best.directory == NULL; i++) {
        const Backup *backup = by_end->pdata[i];
        if (!backup->has_journal || backup->unix_ms < search->unix_ms) continue;
        g_autofree char *directory = g_build_filename(search->dir, BACKUP_DIRECTORY, backup->id, NULL);
        search_stream(search, directory, &backup->manifest, backup);
    }
    if (search->best.directory == NULL) search_stream(search, search->dir, &search->manifest, NULL);
}

int64_t rollback_oldest_ms(const char *dir)
{
    Search search;
    g_autofree char *error = search_begin(&search, dir);
    search.unix_ms = -1; /* nothing is as old: all are looked at */
    search.only_backups = search.by_names = true;
    if (error == NULL) search_streams(&search);
    search_clear(&search);
    return search.oldest_ms;
}

static char *moment_text(int64_t unix_ms)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_local(unix_ms / 1000);
    g_autofree char *text = time == NULL ? NULL : g_date_time_format(time, "%Y-%m-%d %H:%M:%S");
    uint64_t ms = unix_ms < 0 ? -(uint64_t)unix_ms : (uint64_t)unix_ms;
    return g_strdup_printf("%s (%s%" G_GUINT64_FORMAT ".%03d)", text, unix_ms < 0 ? "-" : "", ms / 1000,
                           (int)(ms % 1000));
}

static char *find_moment(Search *search)
{
    int64_t now_ms = g_get_real_time() / 1000;
    if (search->unix_ms <= now_ms) search_streams(search);
    if (search->best.directory != NULL) return NULL;
    if (search->oldest_ms < 0) search_stream(search, search->dir, &search->manifest, NULL);
    g_autofree char *wanted = moment_text(search->unix_ms), *now = moment_text(now_ms);
    g_autofree char *first = search->oldest_ms < 0 ? NULL : moment_text(search->oldest_ms);
    if (first == NULL) {
        return g_strdup_printf("%s can't be reached: %s", wanted,
                               search->problem != NULL ? search->problem : "there's no checkpoint and no backup");
    }
    return g_strdup_printf("%s can't be reached: what can is from %s to now, %s", wanted, first, now);
}

/* The directory's own history alone leads to an offset of it. */
static char *find_offset(Search *search)
{
    search_stream(search, search->dir, &search->manifest, NULL);
    search->best.until = search->until;
    if (search->best.directory != NULL) return NULL;
    return g_strdup_printf("offset %" G_GUINT64_FORMAT " can't be reached: no checkpoint and no backup is as old",
                           search->until);
}

static char *find_backup(Search *search, const char *id)
{
    char *error = NULL;
    g_autoptr(Backup) backup = backup_find(search->dir, id, &error);
    if (backup == NULL) return error;
    backup_state(search->dir, backup, &search->best);
    search->best.ends = true;
    memcpy(search->history, backup->manifest.history, sizeof(search->history));
    memcpy(search->secret, backup->manifest.secret, sizeof(search->secret));
    search->unix_ms = STATE_ALL;
    return NULL;
}

/* ---- building a directory from a state ---- */

static char *build_checkpoint(const State *state, const char *to, const char *history, Manifest *manifest,
                              const StateWork *work)
{
    if (state->checkpoint == NULL) return NULL;
    g_autofree char *file = g_build_filename(to, checkpoint_file_name[0], NULL);
    char *error = state_copy_checkpoint(state, file, work);
    if (error == NULL) error = checkpoint_verify(file, &state->info, NULL, NULL);
    manifest->checkpoint[0] = state->info;
    memcpy(manifest->checkpoint[0].history, history, sizeof(manifest->checkpoint[0].history));
    return error;
}

/* Fills `to`, which is there and empty, but for MANIFEST, which it completes: it has its ids and the secret. */
static char *build(const State *state, int64_t until_ms, const char *to, Manifest *manifest, StateEnd *end,
                   const StateWork *work)
{
    manifest->start = state->start;
    char *error = build_checkpoint(state, to, manifest->history, manifest, work);
    if (error == NULL) error = state_copy_journal(state, until_ms, manifest->history, to, true, end, work);
    if (error == NULL) error = state_check_end(state, end->offset);
    if (error != NULL) return error;
    if (state->until != 0 && end->offset != state->until)
        return g_strdup_printf("the journal ends at offset %" G_GUINT64_FORMAT ", before %" G_GUINT64_FORMAT,
                               end->offset, state->until);
    if (state->until == 0 && manifest->history2[0] != '\0') manifest->offset2 = end->offset;
    return io_sync_directory(to) ? NULL : state_errno(to);
}

/* Nothing new begins at the offset: it's a part of the same history, however that came to be. */
static void keep_history(Manifest *to, const Manifest *from, uint64_t offset)
{
    memcpy(to->history, from->history, sizeof(to->history));
    memcpy(to->history2, from->history2, sizeof(to->history2));
    memcpy(to->rolled_back_from, from->rolled_back_from, sizeof(to->rolled_back_from));
    g_strlcpy(to->state, MANIFEST_FOLLOWS, sizeof(to->state)); /* nor may a start as a master go on with it */
    to->offset2 = MIN(from->offset2, offset);
    memcpy(to->older, from->older, sizeof(to->older));
    manifest_limit_older(to, offset);
}

/* What is left is named with those that were left before: a slave may be of one of these yet. */
static void leave_history(Manifest *to, const Manifest *from)
{
    int most = (MANIFEST_LEFT_MAX - 1) * (MANIFEST_ID_CHARS + 1) - 1;
    g_snprintf(to->rolled_back_from, sizeof(to->rolled_back_from), "%s%s%.*s", from->history,
               from->rolled_back_from[0] != '\0' ? "," : "", most, from->rolled_back_from);
}

static char *build_rollback(const Search *search, const char *to, StateEnd *end, const StateWork *work)
{
    Manifest manifest;
    manifest_init(&manifest);
    memcpy(manifest.instance, search->manifest.instance, sizeof(manifest.instance));
    if (search->until != 0) {
        keep_history(&manifest, &search->manifest, search->until);
    } else {
        memcpy(manifest.history2, search->history, sizeof(manifest.history2));
        leave_history(&manifest, &search->manifest);
    }
    memcpy(manifest.secret, search->secret, sizeof(manifest.secret));
    char *error = build(&search->best, search->unix_ms, to, &manifest, end, work);
    if (error == NULL) error = manifest_write(to, &manifest);
    manifest_clear(&manifest);
    return error;
}

char *rollback_build(const char *dir, const RollbackTarget *target, StateEnd *cut, const StateWork *work)
{
    StateEnd end;
    Search search;
    g_autofree char *to = g_build_filename(dir, ROLLBACK_BUILDING, NULL);
    char *error = rollback_possible(dir);
    if (error != NULL) return error;
    error = search_begin(&search, dir);
    if (target->id == NULL && target->offset != 0) {
        search.until = target->offset;
        if (error == NULL) error = find_offset(&search);
    } else {
        search.unix_ms = target->unix_ms;
        if (error == NULL) error = target->id != NULL ? find_backup(&search, target->id) : find_moment(&search);
    }
    if (error == NULL && (!state_remove(to) || io->mkdir(to, 0700) != 0)) error = state_errno(to);
    if (error == NULL) error = build_rollback(&search, to, cut != NULL ? cut : &end, work);
    if (error != NULL) state_remove(to);
    search_clear(&search);
    return error;
}

/* ---- the switch ----
 *
 * Each step does nothing if it was done before. What is in place is old as long as its successor is still in
 * rollback.tmp/. */

typedef struct Swap {
    const char *dir;
    char before[BACKUP_ID_CHARS + 1];
    int newest;          /* the old checkpoint that the backup keeps; -1: there was none */
    bool has_checkpoint; /* the new state has one */
    char *hidden;        /* backups/.<before>.tmp */
} Swap;

static char *in(const Swap *swap, const char *directory, const char *name)
{
    return g_build_filename(swap->dir, directory, name, NULL);
}

static bool there(const Swap *swap, const char *directory, const char *name)
{
    g_autofree char *path = in(swap, directory, name);
    return access(path, F_OK) == 0;
}

/* Moves it if it's there. */
static char *move(const Swap *swap, const char *from_directory, const char *from_name, const char *to_directory,
                  const char *to_name)
{
    g_autofree char *from = in(swap, from_directory, from_name), *to = in(swap, to_directory, to_name);
    if (io->rename(from, to) == 0 || errno == ENOENT) return NULL;
    return g_strdup_printf("%s to %s: %s", from, to, g_strerror(errno));
}

static char *sync_in(const Swap *swap, const char *directory)
{
    g_autofree char *path = g_build_filename(swap->dir, directory, NULL);
    return io_sync_directory(path) || errno == ENOENT ? NULL : state_errno(path);
}

static char *move_old_checkpoints(const Swap *swap)
{
    if (swap->has_checkpoint && !there(swap, ROLLBACK_BUILDING, checkpoint_file_name[0])) return NULL;
    char *error = NULL;
    if (swap->newest >= 0) error = move(swap, "", checkpoint_file_name[swap->newest], swap->hidden, BACKUP_FILE);
    for (int f = 0; f < 2 && error == NULL; f++) {
        if (f == swap->newest) continue;
        g_autofree char *path = in(swap, "", checkpoint_file_name[f]);
        if (io->unlink(path) != 0 && errno != ENOENT) error = state_errno(path);
    }
    return error;
}

/* What was there becomes a backup. */
static char *move_old(const Swap *swap)
{
    g_autofree char *backups = g_build_filename(swap->dir, BACKUP_DIRECTORY, NULL);
    if (io->mkdir(backups, 0700) != 0 && errno != EEXIST) return state_errno(backups);
    char *error = move(swap, BUILDING_BEFORE, "", swap->hidden, "");
    if (error == NULL && !io_sync_directory(swap->dir)) error = state_errno(swap->dir);
    if (error == NULL) error = sync_in(swap, BACKUP_DIRECTORY);
    if (error == NULL && !there(swap, swap->hidden, MANIFEST_FILE) && !there(swap, BACKUP_DIRECTORY, swap->before))
        error = g_strdup_printf("%s: the backup %s is neither there nor being made", backups, swap->before);
    if (error == NULL) error = move_old_checkpoints(swap);
    if (error == NULL && there(swap, ROLLBACK_BUILDING, JOURNAL_DIRECTORY))
        error = move(swap, "", JOURNAL_DIRECTORY, swap->hidden, JOURNAL_DIRECTORY);
    if (error == NULL) error = sync_in(swap, swap->hidden);
    if (error == NULL) error = move(swap, swap->hidden, "", BACKUP_DIRECTORY, swap->before);
    if (error == NULL) error = sync_in(swap, BACKUP_DIRECTORY);
    if (error == NULL) error = sync_in(swap, "");
    return error;
}

static char *move_new(const Swap *swap)
{
    char *error = move(swap, ROLLBACK_BUILDING, JOURNAL_DIRECTORY, "", JOURNAL_DIRECTORY);
    if (error == NULL) error = move(swap, ROLLBACK_BUILDING, checkpoint_file_name[0], "", checkpoint_file_name[0]);
    if (error == NULL) error = sync_in(swap, "");
    if (error == NULL) error = move(swap, ROLLBACK_BUILDING, MANIFEST_FILE, "", MANIFEST_FILE);
    if (error == NULL) error = sync_in(swap, "");
    return error;
}

static char *end_swap(const Swap *swap)
{
    g_autofree char *building = in(swap, ROLLBACK_BUILDING, ""), *marker = in(swap, "", ROLLBACK_MARKER);
    if (io->unlink(marker) != 0 && errno != ENOENT) return state_errno(marker);
    char *error = sync_in(swap, "");
    if (error == NULL && !state_remove(building)) error = state_errno(building);
    return error;
}

static char *run_swap(const Swap *swap)
{
    char *error = move_old(swap);
    if (error == NULL) error = move_new(swap);
    if (error == NULL) error = end_swap(swap);
    return error;
}

/* ---- its marker ---- */

static char *write_marker(const Swap *swap)
{
    g_autofree char *path = in(swap, "", ROLLBACK_MARKER);
    g_autofree char *text = g_strdup_printf("[rollback]\nbefore=%s\nnewest=%d\nhas-checkpoint=%d\n", swap->before,
                                            swap->newest, swap->has_checkpoint);
    return io_replace_file(path, slice_of(text)) ? NULL : state_errno(path);
}

static void take_before(Swap *swap, const char *before)
{
    g_strlcpy(swap->before, before, sizeof(swap->before));
    swap->hidden = g_strdup_printf("%s/.%s.tmp", BACKUP_DIRECTORY, before);
}

/* False: there's none, or *error. */
static bool read_marker(const char *dir, Swap *swap, char **error)
{
    *swap = (Swap){ .dir = dir };
    g_autofree char *path = in(swap, "", ROLLBACK_MARKER);
    size_t len;
    g_autofree char *text = io_read_file(path, &len);
    if (text == NULL) {
        if (errno != ENOENT) *error = state_errno(path);
        return false;
    }
    g_autoptr(GKeyFile) file = g_key_file_new();
    bool parsed = g_key_file_load_from_data(file, text, len, G_KEY_FILE_NONE, NULL);
    g_autofree char *before = parsed ? g_key_file_get_string(file, "rollback", "before", NULL) : NULL;
    if (before == NULL || strspn(before, "0123456789TZ-") != strlen(before)) {
        *error = g_strdup_printf("%s is damaged; what a rollback was to make is in %s", path, ROLLBACK_BUILDING);
        return false;
    }
    take_before(swap, before);
    swap->newest = CLAMP(g_key_file_get_integer(file, "rollback", "newest", NULL), -1, 1);
    swap->has_checkpoint = g_key_file_get_integer(file, "rollback", "has-checkpoint", NULL) != 0;
    return true;
}

static bool has_file(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    return access(path, F_OK) == 0;
}

/* Whether a clone is being made there, or was when it was killed. */
static bool is_half_made(const char *dir)
{
    return has_file(dir, CLONE_MARKER) && !has_file(dir, MANIFEST_FILE);
}

static char *unfinished_clone(const char *dir)
{
    if (!is_half_made(dir)) return NULL;
    return g_strdup_printf("%s is a clone that isn't complete; make it by the same ckv clone again, or delete it", dir);
}

bool backup_finish_swap(const char *dir, char **error)
{
    *error = unfinished_clone(dir);
    if (*error != NULL) return false;
    Swap swap;
    if (read_marker(dir, &swap, error)) {
        *error = rollback_possible(dir);
        if (*error == NULL) *error = run_swap(&swap);
        g_free(swap.hidden);
        return *error == NULL;
    }
    if (*error != NULL) return false;
    g_autofree char *building = g_build_filename(dir, ROLLBACK_BUILDING, NULL);
    /* What stays on a read-only file system is in nobody's way: nothing can be built there. */
    if (!state_remove(building) && errno != EROFS) *error = state_errno(building);
    return *error == NULL;
}

char *backup_unfinished_swap(const char *dir)
{
    g_autofree char *path = g_build_filename(dir, ROLLBACK_MARKER, NULL);
    if (access(path, F_OK) != 0) return unfinished_clone(dir);
    return g_strdup_printf("%s: a rollback was interrupted here; a start finishes it, or ckv backup list --dir %s: "
                           "then try again",
                           path, dir);
}

/* ---- beginning it ---- */

/* Where the directory's journal ends, behind what its newest checkpoint has. */
static char *find_end(const char *dir, const Manifest *manifest, const State *state, StateEnd *end)
{
    char *error = NULL;
    *end = (StateEnd){ state->info.offset, g_get_real_time() / 1000 };
    g_autoptr(GArray) segments = journal_segments(dir, &error);
    if (segments == NULL || segments->len == 0) return error;
    State last = { .directory = state->directory, .info = { .unix_ms = end->unix_ms }, .start = manifest->start };
    last.info.offset = MAX(g_array_index(segments, JournalSegment, segments->len - 1).offset, state->info.offset);
    StateEnd found = *end;
    error = state_verify(&last, &found, NULL);
    end->offset = found.offset;
    return error;
}

/* The MANIFEST of the backup of what there is. */
static char *prepare_before(Swap *swap, const char *note, uint64_t known_end)
{
    Manifest manifest;
    char *error = read_manifest(swap->dir, &manifest);
    if (error != NULL) return error;
    State state;
    StateEnd end = { known_end, g_get_real_time() / 1000 };
    swap->newest = manifest_newest(&manifest);
    directory_state(swap->dir, &manifest, swap->newest, &state);
    if (known_end == ROLLBACK_FIND_END) error = find_end(swap->dir, &manifest, &state, &end);
    g_autofree char *path = in(swap, BUILDING_BEFORE, "");
    if (error == NULL && io->mkdir(path, 0700) != 0 && errno != EEXIST) error = state_errno(path);
    manifest.checkpoint[0] = state.info;
    manifest.checkpoint[1] = (CheckpointInfo){ .db = -1 };
    manifest.note = g_strdup(note);
    manifest.end = end.offset;
    manifest.end_ms = end.unix_ms;
    if (error == NULL) error = manifest_write(path, &manifest);
    manifest_clear(&manifest);
    state_clear(&state);
    return error;
}

char *rollback_swap(const char *dir, const char *note, uint64_t end, char before[BACKUP_ID_CHARS + 1], bool *begun)
{
    Swap swap = { .dir = dir };
    *begun = false;
    backup_new_id(dir, before);
    take_before(&swap, before);
    swap.has_checkpoint = there(&swap, ROLLBACK_BUILDING, checkpoint_file_name[0]);
    char *error = rollback_possible(dir);
    if (error == NULL) error = prepare_before(&swap, note, end);
    if (error == NULL && (error = sync_in(&swap, ROLLBACK_BUILDING)) == NULL) error = write_marker(&swap);
    g_autofree char *marker = in(&swap, "", ROLLBACK_MARKER);
    *begun = access(marker, F_OK) == 0;
    if (error == NULL) error = run_swap(&swap);
    g_free(swap.hidden);
    return error;
}

/* ---- clones ----
 *
 * A new directory has the file clone.tmp before it has any other, until all of it is there: then that becomes MANIFEST.
 * So where there's a clone.tmp, what is beside it is half-made; and whoever makes it has it locked. */

static bool has_segments_only(const char *journal)
{
    GDir *entries = g_dir_open(journal, 0, NULL);
    bool good = entries != NULL;
    for (const char *name; good && (name = g_dir_read_name(entries)) != NULL;)
        good = g_str_has_suffix(name, ".ckj") || g_str_has_suffix(name, ".ckj.tmp");
    g_clear_pointer(&entries, g_dir_close);
    return good;
}

/* Whether a clone, or a start that was refused, made it. */
static bool is_clones(const char *path, const char *name)
{
    static const char *const files[] = { CLONE_MARKER, "ckv.lock", NULL };
    struct stat about;
    if (lstat(path, &about) != 0) return false;
    if (strcmp(name, JOURNAL_DIRECTORY) == 0) return S_ISDIR(about.st_mode) && has_segments_only(path);
    return S_ISREG(about.st_mode) && (g_strv_contains(files, name) || strcmp(name, checkpoint_file_name[0]) == 0);
}

/* NULL, or the name (g_free) of something in the directory that is none of a clone's, or that it can't be read. */
static char *find_others(const char *to)
{
    char *found = NULL;
    GDir *entries = g_dir_open(to, 0, NULL);
    if (entries == NULL) return g_strdup(to);
    for (const char *name; found == NULL && (name = g_dir_read_name(entries)) != NULL;) {
        g_autofree char *path = g_build_filename(to, name, NULL);
        if (!is_clones(path, name)) found = g_strdup(name);
    }
    g_dir_close(entries);
    return found;
}

/* Removes what is half-made, but for the marker. */
static char *remove_half_made(const char *to)
{
    g_autofree char *journal = g_build_filename(to, JOURNAL_DIRECTORY, NULL);
    g_autofree char *file = g_build_filename(to, checkpoint_file_name[0], NULL);
    g_autofree char *other = find_others(to);
    if (other != NULL)
        return g_strdup_printf("%s isn't empty, and %s in it isn't from a clone that was interrupted; give a directory "
                               "that doesn't exist yet",
                               to, other);
    if (io->unlink(file) != 0 && errno != ENOENT) return state_errno(file);
    return state_remove(journal) ? NULL : state_errno(journal);
}

static char *refuse_full(const char *to)
{
    GDir *dir = g_dir_open(to, 0, NULL);
    if (dir == NULL) return g_strdup_printf("%s is no directory", to);
    bool empty = g_dir_read_name(dir) == NULL;
    g_dir_close(dir);
    return empty ? NULL : g_strdup_printf("%s isn't empty; give a directory that doesn't exist yet", to);
}

/* Makes the directory, *made, if it isn't there, and in it the marker, to which *marker is open. */
static char *prepare_clone(const char *to, bool *made, int *marker)
{
    g_autofree char *path = g_build_filename(to, CLONE_MARKER, NULL);
    *made = io->mkdir(to, 0700) == 0;
    if (!*made && errno != EEXIST) return state_errno(to);
    char *error = *made || is_half_made(to) ? NULL : refuse_full(to);
    if (error != NULL) return error;
    int fd = io->open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (fd < 0) return state_errno(path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        io->close(fd);
        return g_strdup_printf("%s: another ckv clone is making it", to);
    }
    *marker = fd;
    error = remove_half_made(to);
    return error != NULL || io_sync_directory(to) ? error : state_errno(to);
}

/* It could be made, but not filled. What isn't from a clone stays, and so does the marker then. */
static void discard_clone(const char *to, bool made)
{
    g_autofree char *path = g_build_filename(to, CLONE_MARKER, NULL);
    g_autofree char *left = remove_half_made(to);
    if (left == NULL && (io->unlink(path) == 0 || errno == ENOENT) && made) (void)rmdir(to);
}

static char *fill_clone(const char *to, Search *search, const StateWork *work)
{
    StateEnd end;
    Manifest manifest;
    manifest_init(&manifest);
    memcpy(manifest.secret, search->secret, sizeof(manifest.secret));
    char *error = build(&search->best, STATE_ALL, to, &manifest, &end, work);
    if (error == NULL) error = manifest_write_by(to, CLONE_MARKER, &manifest);
    g_autofree char *parent = g_path_get_dirname(to);
    if (error == NULL && !io_sync_directory(parent)) error = state_errno(parent);
    manifest_clear(&manifest);
    return error;
}

char *backup_clone(const char *dir, const char *id, const char *to, const StateWork *work)
{
    Search search;
    bool made = false;
    int marker = -1;
    char *error = search_begin(&search, dir);
    if (error == NULL && id != NULL) {
        error = find_backup(&search, id);
    } else if (error == NULL) {
        error = directory_newest_state(dir, &search.manifest, &search.best);
        memcpy(search.secret, search.manifest.secret, sizeof(search.secret));
    }
    if (error == NULL) error = prepare_clone(to, &made, &marker);
    if (error == NULL) error = fill_clone(to, &search, work);
    if (error != NULL && marker >= 0 && !has_file(to, MANIFEST_FILE)) discard_clone(to, made);
    if (marker >= 0) io->close(marker);
    search_clear(&search);
    return error;
}
