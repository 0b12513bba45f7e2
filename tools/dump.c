/* dump.c: `ckv dump`: a dataset as commands, that any Redis can run.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmds/command.h"
#include "store/backup.h"
#include "tools/commands.h"
#include "tools/load.h"
#include "tools/tools.h"

#define BUFFER_BYTES (1 << 20)

static const char summary[] =
    "Writes the dataset of a data directory as commands to standard output, for an empty server of any kind:\n\n"
    "  ckv dump --dir DIR | redis-cli --pipe\n\n"
    "Nothing is changed in DIR. While a server is using it, dump a backup: ckv dump --dir DIR --backup ID. Keys whose "
    "time has come are left out.\n\n"
    "Exit status: 0 all was written; 1 something couldn't be read or written; 2 wrong usage.";

typedef struct Dump {
    Commands *commands;
    uint64_t keys;
} Dump;

static void dump_entry(void *element, void *context)
{
    const Entry *entry = element;
    Dump *dump = context;
    if (entry->expires && entry_deadline(entry) <= clock_unix_ms) return;
    commands_of_entry(dump->commands, entry);
    dump->keys++;
}

static void dump_db(Dump *dump, const Db *db)
{
    if (db->table.count == 0) return;
    commands_select(dump->commands, db->index);
    uint64_t cursor = 0;
    do {
        cursor = keyspace_scan(db, cursor, dump_entry, dump);
    } while (cursor != 0 && !ferror(stdout));
}

static ToolStatus dump_all(void)
{
    Dump dump = { .commands = commands_new(stdout) };
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOFBF, BUFFER_BYTES);
    clock_refresh();
    for (int i = 0; i < keyspace->db_count && !ferror(stdout); i++)
        dump_db(&dump, &keyspace->dbs[i]);
    int error = ferror(stdout) || fflush(stdout) != 0 ? errno : 0;
    commands_free(dump.commands);
    if (error != 0) return tool_fail("standard output: %s; the dump isn't complete", g_strerror(error));
    if (!isatty(STDOUT_FILENO)) fprintf(stderr, "%" G_GUINT64_FORMAT " keys were written.\n", dump.keys);
    return TOOL_OK;
}

/* ---- the tool ---- */

/* Only a directory that had a server has ckv.lock, and nothing is to be made here. */
static bool lock_if_any(const char *directory, bool *running, char **error)
{
    g_autofree char *path = g_build_filename(directory, "ckv.lock", NULL);
    return access(path, F_OK) == 0 ? tool_lock(directory, running, error) : tool_lock_itself(directory, running, error);
}

static bool has_backup(const char *directory, const char *id, char **error)
{
    g_autoptr(Backup) backup = backup_find(directory, id, error);
    return backup != NULL;
}

static ToolStatus dump_directory(const char *directory, const char *backup)
{
    bool running;
    g_autofree char *error = NULL;
    g_autofree char *path =
        backup == NULL ? g_strdup(directory) : g_build_filename(directory, BACKUP_DIRECTORY, backup, NULL);
    if (backup == NULL && !lock_if_any(directory, &running, &error)) {
        return running ? tool_fail("%s; dump a backup: ckv dump --dir %s --backup ID (ckv backup list shows them)",
                                   error, directory)
                       : tool_fail("%s", error);
    }
    if (backup == NULL) error = backup_unfinished_swap(directory);
    if (error != NULL) return tool_fail("%s", error);
    if (backup == NULL || has_backup(directory, backup, &error)) error = load_directory(path, backup != NULL);
    return error == NULL ? dump_all() : tool_fail("%s", error);
}

ToolStatus tool_dump(int argc, char **argv)
{
    g_autofree char *directory = NULL, *backup = NULL;
    const GOptionEntry entries[] = {
        { "dir", 0, 0, G_OPTION_ARG_FILENAME, &directory, "the data directory (" TOOL_DIRECTORY ")", "DIR" },
        { "backup", 0, 0, G_OPTION_ARG_STRING, &backup, "a backup in it, instead of the data itself", "ID" },
        G_OPTION_ENTRY_NULL,
    };
    if (!tool_parse(&argc, &argv, "[DIR]", summary, entries)) return TOOL_USAGE;
    bool odd_id = backup != NULL && (strchr(backup, '/') != NULL || backup[0] == '.' || backup[0] == '\0');
    if (argc > 2 || (argc == 2 && directory != NULL) || odd_id) {
        fprintf(stderr, "ckv dump: %s; see ckv dump --help\n",
                odd_id ? "that's no backup's ID" : "one directory at a time");
        return TOOL_USAGE;
    }
    if (directory == NULL) directory = g_strdup(argc == 2 ? argv[1] : TOOL_DIRECTORY);
    return dump_directory(directory, backup);
}
