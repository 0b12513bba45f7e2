/* backup.c: listing, making, verifying and deleting backups: see backup.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/backup.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/checkpoint.h"
#include "store/io.h"
#include "store/journal.h"

#define ID_TIME    "%Y%m%dT%H%M%SZ" /* how an id begins */
#define SETTLED_MS 2000             /* more than a file system's time is coarse */

static char *backup_path(const char *dir, const char *id)
{
    return g_build_filename(dir, BACKUP_DIRECTORY, id, NULL);
}

/* Where it's built, or goes to be deleted. */
static char *hidden_path(const char *dir, const char *id)
{
    g_autofree char *name = g_strdup_printf(".%s.tmp", id);
    return g_build_filename(dir, BACKUP_DIRECTORY, name, NULL);
}

/* ---- what there is ---- */

void backup_free(Backup *backup)
{
    if (backup == NULL) return;
    g_free(backup->note);
    manifest_clear(&backup->manifest);
    g_free(backup);
}

static uint64_t bytes_in(const char *path)
{
    struct stat about;
    if (stat(path, &about) != 0) return 0;
    if (!S_ISDIR(about.st_mode)) return (uint64_t)about.st_size;
    uint64_t sum = 0;
    GDir *dir = g_dir_open(path, 0, NULL);
    for (const char *name; dir != NULL && (name = g_dir_read_name(dir)) != NULL;) {
        g_autofree char *inside = g_build_filename(path, name, NULL);
        sum += bytes_in(inside);
    }
    g_clear_pointer(&dir, g_dir_close);
    return sum;
}

static bool id_valid(const char *id)
{
    size_t len = strlen(id);
    return len > 0 && len <= BACKUP_ID_CHARS && strspn(id, "0123456789TZ-") == len;
}

/* Without checkpoint: what a journal that begins at the beginning begins with. */
static void take_base(Backup *backup, const char *path)
{
    const CheckpointInfo *info = &backup->manifest.checkpoint[0];
    g_autofree char *journal = g_build_filename(path, JOURNAL_DIRECTORY, NULL);
    backup->has_journal = g_file_test(journal, G_FILE_TEST_IS_DIR);
    backup->keys = info->keys;
    backup->base_offset = info->whole ? info->offset : backup->manifest.start;
    backup->base_ms = info->whole ? info->unix_ms : state_first_ms(path, backup->base_offset);
    if (backup->base_ms < 0) backup->base_ms = backup->unix_ms;
}

static Backup *read_backup(const char *dir, const char *id, char **error)
{
    g_autofree char *path = backup_path(dir, id);
    g_autoptr(Backup) backup = g_new0(Backup, 1);
    switch (manifest_read(path, &backup->manifest, error)) {
    case MANIFEST_READ: break;
    case MANIFEST_BAD: return NULL;
    case MANIFEST_MISSING: *error = g_strdup_printf("%s has no MANIFEST: it's no backup", path); return NULL;
    }
    if (backup->manifest.note == NULL) {
        *error = g_strdup_printf("%s: its MANIFEST isn't a backup's", path);
        return NULL;
    }
    g_strlcpy(backup->id, id, sizeof(backup->id));
    backup->note = g_strdup(backup->manifest.note);
    backup->offset = backup->manifest.end;
    backup->unix_ms = backup->manifest.end_ms;
    backup->bytes = bytes_in(path);
    take_base(backup, path);
    return g_steal_pointer(&backup);
}

/* By time; those of one moment by id, of which the shorter is the older. */
static int compare(gconstpointer a, gconstpointer b)
{
    const Backup *x = *(const Backup *const *)a, *y = *(const Backup *const *)b;
    size_t x_len = strlen(x->id), y_len = strlen(y->id);
    int prefix = strncmp(x->id, y->id, strlen("20261125T153000Z"));
    if (prefix != 0) return prefix;
    if (x_len != y_len) return x_len < y_len ? -1 : 1;
    return strcmp(x->id, y->id);
}

GPtrArray *backup_list(const char *dir, char **error)
{
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)backup_free);
    g_autofree char *path = g_build_filename(dir, BACKUP_DIRECTORY, NULL);
    g_autoptr(GError) failure = NULL;
    GDir *entries = g_dir_open(path, 0, &failure);
    if (entries == NULL && error != NULL && !g_error_matches(failure, G_FILE_ERROR, G_FILE_ERROR_NOENT))
        *error = g_strdup(failure->message);
    for (const char *name; entries != NULL && (name = g_dir_read_name(entries)) != NULL;) {
        if (!id_valid(name)) continue;
        g_autofree char *problem = NULL;
        g_autofree char *entry = backup_path(dir, name);
        Backup *backup = read_backup(dir, name, &problem);
        if (backup != NULL) {
            g_ptr_array_add(list, backup);
        } else if (error != NULL && *error == NULL && access(entry, F_OK) == 0) { /* or a server just deleted it */
            *error = g_steal_pointer(&problem);
        }
    }
    g_clear_pointer(&entries, g_dir_close);
    g_ptr_array_sort(list, compare);
    return list;
}

Backup *backup_find(const char *dir, const char *id, char **error)
{
    g_autofree char *path = backup_path(dir, id);
    struct stat about;
    bool known = id_valid(id) && stat(path, &about) == 0;
    if (known && S_ISDIR(about.st_mode)) return read_backup(dir, id, error);
    if (id_valid(id) && !known && errno != ENOENT) {
        *error = state_errno(path);
        return NULL;
    }
    *error = g_strdup_printf("there's no backup %s; to see which there are: ckv backup list", id);
    return NULL;
}

void backup_state(const char *dir, const Backup *backup, State *state)
{
    g_autofree char *path = backup_path(dir, backup->id);
    const CheckpointInfo *info = &backup->manifest.checkpoint[0];
    *state = (State){
        .directory = g_strdup(path),
        .checkpoint = info->whole ? g_build_filename(path, BACKUP_FILE, NULL) : NULL,
        .info = *info,
        .start = backup->manifest.start,
        .end = backup->offset, /* `ends` only if all of it is wanted */
    };
    state->info.offset = backup->base_offset;
    state->info.unix_ms = backup->base_ms;
}

bool directory_state(const char *dir, const Manifest *manifest, int slot, State *state)
{
    *state = (State){ .directory = g_strdup(dir), .info = { .db = -1 }, .start = manifest->start };
    if (slot >= 0) {
        state->checkpoint = g_build_filename(dir, checkpoint_file_name[slot], NULL);
        state->info = manifest->checkpoint[slot];
        return true;
    }
    state->info.offset = manifest->start;
    state->info.unix_ms = state_first_ms(dir, manifest->start);
    return state->info.unix_ms >= 0;
}

char *directory_newest_state(const char *dir, const Manifest *manifest, State *state)
{
    int slot = manifest_newest(manifest);
    directory_state(dir, manifest, slot, state);
    return slot < 0 ? NULL : journal_check_begins(dir, checkpoint_file_name[slot], state->info.offset, state->start);
}

/* ---- what they let one go back to ---- */

static struct {
    GMutex lock;
    char *dir;
    struct timespec changed; /* of backups/ when it was looked at, which was so long after that */
    bool settled;            /* that a change since shows */
    uint64_t first_offset;
    int64_t oldest_ms;
} oldest;

int64_t backup_oldest_ms(const char *dir, uint64_t first_offset)
{
    g_autofree char *path = g_build_filename(dir, BACKUP_DIRECTORY, NULL);
    struct stat about;
    if (stat(path, &about) != 0) return -1;
    g_mutex_lock(&oldest.lock);
    bool known = oldest.settled && strcmp(oldest.dir, dir) == 0 && oldest.first_offset == first_offset &&
                 memcmp(&oldest.changed, &about.st_mtim, sizeof(oldest.changed)) == 0;
    if (!known) {
        g_free(oldest.dir);
        oldest.dir = g_strdup(dir);
        oldest.changed = about.st_mtim;
        oldest.first_offset = first_offset;
        oldest.settled = g_get_real_time() / 1000 - about.st_mtim.tv_sec * 1000 > SETTLED_MS;
        oldest.oldest_ms = rollback_oldest_ms(dir);
    }
    int64_t oldest_ms = oldest.oldest_ms;
    g_mutex_unlock(&oldest.lock);
    return oldest_ms;
}

/* ---- making one ---- */

bool backup_note_valid(const char *note)
{
    if (strlen(note) > BACKUP_NOTE_MAX || !g_utf8_validate(note, -1, NULL)) return false;
    for (const char *c = note; *c != '\0'; c++) {
        if (g_ascii_iscntrl(*c)) return false;
    }
    return true;
}

const char *backup_note_reserved(const char *note)
{
    if (strcmp(note, BACKUP_SCHEDULED) == 0)
        return "the note '" BACKUP_SCHEDULED "' is for backups by schedule, which backup-keep deletes; choose another";
    if (g_str_has_prefix(note, BACKUP_REPLACED))
        return "a note that begins with '" BACKUP_REPLACED "' is for what is deleted soon; choose another";
    return NULL;
}

static bool id_taken(const char *dir, const char *id)
{
    g_autofree char *path = backup_path(dir, id), *hidden = hidden_path(dir, id);
    return access(path, F_OK) == 0 || access(hidden, F_OK) == 0;
}

void backup_new_id(const char *dir, char id[BACKUP_ID_CHARS + 1])
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *base = g_date_time_format(now, ID_TIME);
    g_strlcpy(id, base, BACKUP_ID_CHARS + 1);
    for (int i = 2; id_taken(dir, id); i++)
        g_snprintf(id, BACKUP_ID_CHARS + 1, "%s-%d", base, i);
}

static bool is_hidden(const char *name)
{
    return name[0] == '.' && g_str_has_suffix(name, ".tmp");
}

bool backup_has_remains(const char *dir)
{
    bool found = false;
    g_autofree char *directory = g_build_filename(dir, BACKUP_DIRECTORY, NULL);
    GDir *entries = g_dir_open(directory, 0, NULL);
    for (const char *name; entries != NULL && !found && (name = g_dir_read_name(entries)) != NULL;)
        found = is_hidden(name);
    g_clear_pointer(&entries, g_dir_close);
    return found;
}

char *backup_remove_remains(const char *dir)
{
    char *error = NULL;
    bool durable = false;
    g_autofree char *directory = g_build_filename(dir, BACKUP_DIRECTORY, NULL);
    GDir *entries = g_dir_open(directory, 0, NULL);
    for (const char *name; entries != NULL && (name = g_dir_read_name(entries)) != NULL;) {
        if (!is_hidden(name)) continue;
        g_autofree char *path = g_build_filename(directory, name, NULL);
        if (!durable && !io_sync_directory(directory)) { /* no power cut may bring back what lacks a part */
            error = state_errno(directory);
            break;
        }
        durable = true;
        if (!state_remove(path) && error == NULL) error = state_errno(path);
    }
    g_clear_pointer(&entries, g_dir_close);
    return error;
}

/* Makes backups/.<id>.tmp/. */
static char *begin(const char *dir, const char *building)
{
    g_autofree char *directory = g_build_filename(dir, BACKUP_DIRECTORY, NULL);
    if (io->mkdir(directory, 0700) != 0 && errno != EEXIST) return state_errno(directory);
    if (!io_sync_directory(dir)) return state_errno(dir);
    char *error = backup_remove_remains(dir);
    if (error != NULL) return error;
    return io->mkdir(building, 0700) == 0 ? NULL : state_errno(building);
}

/* MANIFEST, and the rename that makes it a backup. */
static char *finish(const char *dir, const char *id, const char *building, const Manifest *manifest)
{
    g_autofree char *directory = g_build_filename(dir, BACKUP_DIRECTORY, NULL), *path = backup_path(dir, id);
    char *error = manifest_write(building, manifest);
    if (error != NULL) return error;
    if (!io_sync_directory(building)) return state_errno(building);
    if (io->rename(building, path) != 0 || !io_sync_directory(directory)) return state_errno(path);
    return NULL;
}

/* What a backup's manifest takes over of the directory's. */
static Manifest derive(const Manifest *from, const State *state, const char *note)
{
    Manifest manifest = *from;
    manifest.checkpoint[0] = state->info;
    manifest.checkpoint[1] = (CheckpointInfo){ .db = -1 };
    manifest.note = (char *)(uintptr_t)note; /* borrowed */
    return manifest;
}

/* A backup of a state: with the journal behind it if `with_journal`. */
static char *create(const char *dir, const char *id, const State *state, Manifest *manifest, bool with_journal,
                    const StateWork *work)
{
    g_autofree char *building = hidden_path(dir, id), *file = g_build_filename(building, BACKUP_FILE, NULL);
    char *error = begin(dir, building);
    if (error != NULL) return error;
    StateEnd end = { state->info.offset, state->info.unix_ms };
    if (state->checkpoint != NULL) error = state_copy_checkpoint(state, file, work);
    if (error == NULL && with_journal)
        error = state_copy_journal(state, STATE_ALL, manifest->history, building, false, &end, work);
    manifest->end = end.offset;
    manifest->end_ms = end.unix_ms >= 0 ? end.unix_ms : g_get_real_time() / 1000;
    if (error == NULL) error = finish(dir, id, building, manifest);
    if (error != NULL) state_remove(building);
    return error;
}

char *backup_create_from_file(const char *dir, const char *id, const Manifest *manifest, int slot, const char *note,
                              const StateWork *work)
{
    State state;
    directory_state(dir, manifest, slot, &state);
    Manifest derived = derive(manifest, &state, note);
    char *error = create(dir, id, &state, &derived, false, work);
    state_clear(&state);
    return error;
}

char *backup_create_offline(const char *dir, const char *note, char id[BACKUP_ID_CHARS + 1], const StateWork *work)
{
    char *error = NULL;
    Manifest manifest;
    if (backup_note_reserved(note) != NULL) return g_strdup(backup_note_reserved(note));
    switch (manifest_read(dir, &manifest, &error)) {
    case MANIFEST_READ: break;
    case MANIFEST_BAD: return error;
    case MANIFEST_MISSING: return g_strdup_printf("%s has no MANIFEST: it's no data directory", dir);
    }
    State state;
    error = directory_newest_state(dir, &manifest, &state);
    Manifest derived = derive(&manifest, &state, note);
    backup_new_id(dir, id);
    if (error == NULL) error = create(dir, id, &state, &derived, true, work);
    state_clear(&state);
    manifest_clear(&manifest);
    return error;
}

/* ---- looking after them ---- */

char *backup_verify(const char *dir, const char *id, const StateWork *work)
{
    char *error = NULL;
    g_autoptr(Backup) backup = backup_find(dir, id, &error);
    if (backup == NULL) return error;
    State state;
    StateEnd end;
    backup_state(dir, backup, &state);
    state.ends = true;
    error = state_verify(&state, &end, work);
    state_clear(&state);
    return error;
}

char *backup_hide(const char *dir, const char *id)
{
    char *error = NULL;
    g_autofree char *path = backup_path(dir, id), *hidden = hidden_path(dir, id);
    if (!id_valid(id) || !g_file_test(path, G_FILE_TEST_IS_DIR)) {
        backup_free(backup_find(dir, id, &error));
        return error;
    }
    return io->rename(path, hidden) == 0 ? NULL : state_errno(path);
}

char *backup_delete(const char *dir, const char *id)
{
    char *error = backup_hide(dir, id);
    return error != NULL ? error : backup_remove_remains(dir);
}

char *backup_prune(const char *dir, int64_t keep)
{
    char *error = NULL;
    g_autoptr(GPtrArray) list = backup_list(dir, NULL);
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *now_id = g_date_time_format(now, ID_TIME);
    int64_t seen = 0;
    /* Those of a clock that was set back since aren't the newest: or else each new one would go at once. */
    for (int future = 0; future < 2; future++) {
        for (guint i = list->len; keep > 0 && i > 0 && error == NULL; i--) {
            const Backup *backup = list->pdata[i - 1];
            bool later = strncmp(backup->id, now_id, strlen(now_id)) > 0;
            if (strcmp(backup->note, BACKUP_SCHEDULED) != 0 || later != (future == 1)) continue;
            if (++seen > keep) error = backup_delete(dir, backup->id);
        }
    }
    return error;
}
