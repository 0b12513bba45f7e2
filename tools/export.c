/* export.c: `ckv export`: a dataset as an RDB file, for Redis 3.2 or later.
 *
 * Design. If all data are in a checkpoint (after a clean stop they are), its records are written as they come, in
 * bounded memory; otherwise the dataset is loaded as a start would. A directory that a server is using isn't read: the
 * server makes a backup, which is, and goes again.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmds/command.h"
#include "store/backup.h"
#include "store/io.h"
#include "store/journal.h"
#include "store/mem.h"
#include "store/rdb.h"
#include "store/state.h"
#include "tools/load.h"
#include "tools/survey.h"
#include "tools/talk.h"

static const char summary[] =
    "Writes the dataset of a data directory as an RDB file (dump.rdb) of version 7, which Redis 3.2 and later load; - "
    "is standard output. FILE is only there when it's whole, unless it's a pipe or a device.\n\n"
    "Nothing is changed in DIR. If a server is using it, the server makes a backup for this, which goes at the end (if "
    "export is killed it stays, with the note 'for an export'), and goes on serving; or name one by --backup ID.\n\n"
    "Exit status: 0 all was written; 1 something couldn't be read or written; 2 wrong usage.";

/* ---- the file ---- */

typedef struct Target {
    const char *path;
    char *place;     /* the same; if it's a link, what it leads to */
    char *temporary; /* beside it; NULL: it's written to as it is */
    int fd;
    RdbWriter *writer;
    uint64_t keys;
    int error; /* errno, 0: none */
} Target;

static bool write_bytes(void *context, Slice bytes)
{
    Target *target = context;
    while (bytes.len > 0) {
        ssize_t some = write(target->fd, bytes.ptr, bytes.len);
        if (some < 0 && errno == EINTR) continue;
        if (some < 0) {
            target->error = errno;
            return false;
        }
        bytes = (Slice){ bytes.ptr + some, bytes.len - (size_t)some };
    }
    return true;
}

/* A pipe or a device, which can't be replaced by a file. */
static bool is_special(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && !S_ISREG(about.st_mode) && !S_ISDIR(about.st_mode);
}

static char *open_target(Target *target, const char *path)
{
    char *place = realpath(path, NULL);
    *target = (Target){ .path = path, .place = place != NULL ? place : g_strdup(path), .fd = STDOUT_FILENO };
    signal(SIGPIPE, SIG_IGN);
    if (strcmp(path, "-") != 0) {
        bool special = is_special(path);
        target->temporary = special ? NULL : g_strdup_printf("%s.%d.tmp", target->place, (int)getpid());
        target->fd = special ? open(path, O_WRONLY | O_CLOEXEC)
                             : open(target->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (target->fd < 0) return state_errno(path);
    }
    target->writer = rdb_writer_new(write_bytes, target);
    return NULL;
}

/* The file is whole: it's put in place. */
static char *finish_target(Target *target)
{
    rdb_write_end(target->writer);
    if (rdb_writer_failed(target->writer)) return g_strdup_printf("%s: %s", target->path, g_strerror(target->error));
    if (target->temporary == NULL) return NULL;
    if (fsync(target->fd) != 0) return state_errno(target->path);
    if (rename(target->temporary, target->place) != 0) return state_errno(target->path);
    g_clear_pointer(&target->temporary, g_free);
    g_autofree char *directory = g_path_get_dirname(target->place);
    return io_sync_directory(directory) ? NULL : state_errno(directory);
}

static void close_target(Target *target)
{
    rdb_writer_free(target->writer);
    if (target->temporary != NULL) unlink(target->temporary);
    g_free(target->temporary);
    g_free(target->place);
}

/* ---- from a checkpoint ---- */

static void on_progress(void *context, double part)
{
    (void)context;
    tool_progress("export", part);
}

/* Whether the journal has nothing behind the checkpoint, nor lacks anything. */
static bool is_all(const char *directory, bool backup, const Manifest *manifest, int newest)
{
    JournalBatch batch;
    const CheckpointInfo *info = &manifest->checkpoint[newest];
    if (backup && info->offset != manifest->end) return false;
    g_autofree char *error =
        backup ? NULL : journal_check_begins(directory, checkpoint_file_name[newest], info->offset, manifest->start);
    if (error != NULL) return false;
    JournalReader *reader = journal_reader_new(directory, info->offset, NULL, &error);
    if (reader == NULL) return false;
    bool all = journal_read(reader, &batch) == JOURNAL_END;
    journal_reader_free(reader);
    return all;
}

/* False: the dataset has to be loaded; *error, or nothing was written. */
static bool export_checkpoint(Target *target, const char *directory, bool backup, char **error)
{
    Manifest manifest;
    g_autofree char *unreadable = NULL;
    if (manifest_read(directory, &manifest, &unreadable) != MANIFEST_READ) return false;
    int newest = manifest_newest(&manifest);
    const CheckpointInfo *info = newest < 0 ? NULL : &manifest.checkpoint[newest];
    bool all = info != NULL && is_all(directory, backup, &manifest, newest);
    if (all) {
        const char *name = backup ? "checkpoint.gdbm" : checkpoint_file_name[newest];
        g_autofree char *path = g_build_filename(directory, name, NULL);
        rdb_write_head(target->writer, info->unix_ms, 0);
        *error = rdb_write_checkpoint(target->writer, path, info, on_progress, NULL);
        tool_progress("export", -1);
        target->keys = info->keys;
    }
    manifest_clear(&manifest);
    return all;
}

/* ---- from memory ---- */

static void export_entry(void *element, void *context)
{
    Target *target = context;
    rdb_write_entry(target->writer, element);
    target->keys++;
}

static void export_db(Target *target, const Db *db)
{
    if (db->table.count == 0) return;
    rdb_write_db(target->writer, db->index, (int64_t)db->table.count, (int64_t)db->wheel.count);
    uint64_t cursor = 0;
    do {
        cursor = keyspace_scan(db, cursor, export_entry, target);
    } while (cursor != 0 && !rdb_writer_failed(target->writer));
}

static char *export_loaded(Target *target, const char *directory, bool backup)
{
    char *error = load_directory(directory, backup);
    if (error != NULL) return error;
    rdb_write_head(target->writer, clock_unix_ms, mem_used());
    for (int i = 0; i < keyspace->db_count; i++)
        export_db(target, &keyspace->dbs[i]);
    return NULL;
}

/* ---- the tool ---- */

static char *export_directory(const char *directory, bool backup, const char *path)
{
    Target target;
    char *error = open_target(&target, path);
    if (error != NULL) {
        g_clear_pointer(&target.temporary, g_free);
        close_target(&target);
        return error;
    }
    if (!export_checkpoint(&target, directory, backup, &error)) error = export_loaded(&target, directory, backup);
    if (error == NULL || target.error != 0) {
        g_free(error);
        error = finish_target(&target);
    }
    g_autofree char *count = survey_count(target.keys);
    if (error == NULL) fprintf(stderr, "%s keys were written.\n", count);
    close_target(&target);
    return error;
}

static char *export_backup(const char *directory, const char *id, const char *path)
{
    char *error = NULL;
    g_autofree char *backup = g_build_filename(directory, BACKUP_DIRECTORY, id, NULL);
    g_autoptr(Backup) found = backup_find(directory, id, &error);
    return found != NULL ? export_directory(backup, true, path) : error;
}

/* The server makes a backup for it, which goes again. */
static char *export_served(Talk *talk, const char *directory, const char *path)
{
    char *error = NULL;
    g_autofree char *id = talk_make_backup(talk, "for an export", &error);
    if (id == NULL) return error;
    error = export_backup(directory, id, path);
    char *second = talk_drop_backup(talk, id);
    if (error == NULL) return second;
    g_free(second);
    return error;
}

static char *export_online(Talk *talk, const char *backup, const char *path)
{
    char *error = NULL;
    g_autofree char *directory = talk_directory(talk, &error);
    if (directory == NULL) return error;
    return backup != NULL ? export_backup(directory, backup, path) : export_served(talk, directory, path);
}

/* A backup is only read, so a directory's lock doesn't matter for it. */
static ToolStatus export(const char *backup, const char *path)
{
    Talk *talk = NULL;
    g_autofree char *error = NULL;
    if (backup != NULL && !talk_names_server()) {
        error = export_backup(talk_options.dir == NULL ? TOOL_DIRECTORY : talk_options.dir, backup, path);
    } else if (!talk_open(&talk)) {
        return TOOL_FAILED;
    } else {
        error = talk != NULL ? export_online(talk, backup, path) : export_directory(talk_options.dir, false, path);
    }
    talk_free(talk);
    return error == NULL ? TOOL_OK : tool_fail("%s", error);
}

ToolStatus tool_export(int argc, char **argv)
{
    g_autofree char *backup = NULL;
    const GOptionEntry entries[] = {
        { "backup", 0, 0, G_OPTION_ARG_STRING, &backup, "a backup in DIR, instead of the data itself", "ID" },
        TALK_OPTIONS,
        G_OPTION_ENTRY_NULL,
    };
    if (!talk_parse(&argc, &argv, "FILE", summary, entries)) return TOOL_USAGE;
    bool odd_id = backup != NULL && (strchr(backup, '/') != NULL || backup[0] == '.' || backup[0] == '\0');
    if (argc != 2 || odd_id) {
        tool_fail("%s; see ckv export --help", odd_id ? "that's no backup's ID" : "usage: ckv export FILE --dir DIR");
        return TOOL_USAGE;
    }
    return export(backup, argv[1]);
}
