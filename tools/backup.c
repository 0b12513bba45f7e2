/* backup.c: `ckv backup`: makes, lists, verifies and deletes backups, of a running server or of its directory.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "store/backup.h"
#include "tools/talk.h"
#include "tools/tools.h"

static void on_progress(double part, void *context)
{
    tool_progress(context, part);
}

/* Whether it was the system that failed, here or in the server: that doesn't say that anything is damaged, as ckv check
 * has it, too. */
static bool is_systems(const char *error)
{
    static const int codes[] = { EIO, EACCES, EPERM, ELOOP, EMFILE, ENFILE, ENOMEM };
    for (size_t i = 0; i < G_N_ELEMENTS(codes); i++) {
        if (strstr(error, g_strerror(codes[i])) != NULL) return true;
    }
    return false;
}

/* Says what went wrong, if something did, and frees it. */
static ToolStatus result(char *error, ToolStatus status)
{
    if (error == NULL) return TOOL_OK;
    if (status == TOOL_DAMAGE && is_systems(error)) status = TOOL_FAILED;
    tool_fail("%s", error);
    g_free(error);
    return status;
}

/* ---- create ---- */

static ToolStatus create_online(Talk *talk, const char *note)
{
    char *error = NULL;
    g_autofree char *id = talk_make_backup(talk, note, &error);
    if (id != NULL) printf("%s\n", id);
    return result(error, TOOL_FAILED);
}

static ToolStatus create(Talk *talk, const char *note)
{
    if (!backup_note_valid(note)) return tool_fail("a note is one line of UTF-8, of at most %d bytes", BACKUP_NOTE_MAX);
    if (talk != NULL) return create_online(talk, note);
    char id[BACKUP_ID_CHARS + 1];
    StateWork work = { on_progress, "backup" };
    char *error = backup_create_offline(talk_options.dir, note, id, &work);
    tool_progress("backup", -1);
    if (error == NULL) printf("%s\n", id);
    return result(error, TOOL_FAILED);
}

/* ---- list ---- */

static void print_head(void)
{
    printf("%-19s %-23s %14s %12s %14s  %s\n", "ID", "TIME", "OFFSET", "KEYS", "BYTES", "NOTE");
}

static void print_line(const char *id, const char *offset, int64_t unix_ms, const char *keys, const char *bytes,
                       const char *note)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_local(unix_ms / 1000);
    g_autofree char *text = time != NULL ? g_date_time_format(time, "%Y-%m-%d %H:%M:%S") : g_strdup("-");
    printf("%-19s %19s.%03d %14s %12s %14s  %s\n", id, text, (int)(unix_ms % 1000), offset, keys, bytes, note);
}

static void print_backup(const Backup *backup)
{
    g_autofree char *offset = g_strdup_printf("%" G_GUINT64_FORMAT, backup->offset);
    g_autofree char *keys = g_strdup_printf("%" G_GUINT64_FORMAT, backup->keys);
    g_autofree char *bytes = g_strdup_printf("%" G_GUINT64_FORMAT, backup->bytes);
    print_line(backup->id, offset, backup->unix_ms, keys, bytes, backup->note);
}

static bool may_list(const char *dir)
{
    g_autofree char *path = g_build_filename(dir, BACKUP_DIRECTORY, NULL);
    return access(path, R_OK | X_OK) == 0 || errno == ENOENT;
}

/* Of a list with an error: one that can't be read isn't damaged for that. */
static ToolStatus status_of_list(const char *dir)
{
    g_autofree char *path = g_build_filename(dir, BACKUP_DIRECTORY, NULL);
    GDir *entries = may_list(dir) ? g_dir_open(path, 0, NULL) : NULL;
    ToolStatus status = entries != NULL ? TOOL_DAMAGE : TOOL_FAILED;
    for (const char *name; entries != NULL && (name = g_dir_read_name(entries)) != NULL;) {
        g_autofree char *manifest = g_build_filename(path, name, MANIFEST_FILE, NULL);
        if (access(manifest, R_OK) != 0 && errno == EACCES) status = TOOL_FAILED;
    }
    g_clear_pointer(&entries, g_dir_close);
    return status;
}

static ToolStatus list_directory(const char *dir)
{
    char *error = NULL;
    g_autoptr(GPtrArray) all = backup_list(dir, &error);
    if (error == NULL || all->len > 0) print_head(); /* those that can be read are listed */
    for (guint i = 0; i < all->len; i++)
        print_backup(all->pdata[i]);
    return result(error, status_of_list(dir));
}

/* The directory that was named, of a server that uses it; NULL: only the server knows which it is. */
static const char *named_directory(void)
{
    return talk_names_server() ? NULL : talk_options.dir;
}

/* The server lists those that can be read, and doesn't tell of others: so the directory is looked into if it can be. */
static ToolStatus list_online(Talk *talk)
{
    char *error = NULL;
    const char *dir = named_directory();
    g_autofree char *manifest = dir == NULL ? NULL : g_build_filename(dir, MANIFEST_FILE, NULL);
    if (dir != NULL && access(manifest, R_OK) == 0 && may_list(dir)) return list_directory(dir);
    g_auto(GStrv) lines = talk_ask(talk, &error, "BACKUP", "LIST", NULL);
    if (lines != NULL) print_head();
    for (int i = 0; lines != NULL && lines[i] != NULL; i++) {
        g_auto(GStrv) words = g_strsplit(lines[i], " ", 6);
        if (g_strv_length(words) < 6) continue;
        print_line(words[0], words[1], g_ascii_strtoll(words[2], NULL, 10), words[3], words[4], words[5]);
    }
    return result(error, TOOL_FAILED);
}

static ToolStatus list(Talk *talk)
{
    return talk != NULL ? list_online(talk) : list_directory(talk_options.dir);
}

/* ---- verify, delete ---- */

/* Of one that can't be found: whether it's there, with a damaged MANIFEST. `dir` NULL: not known. */
static ToolStatus status_of_unknown(const char *dir, const char *id)
{
    if (dir == NULL) return TOOL_FAILED;
    Manifest manifest;
    g_autofree char *path = g_build_filename(dir, BACKUP_DIRECTORY, id, NULL), *error = NULL;
    g_autofree char *file = g_build_filename(path, MANIFEST_FILE, NULL);
    if (access(file, R_OK) != 0) return TOOL_FAILED;
    bool damaged = manifest_read(path, &manifest, &error) == MANIFEST_BAD;
    if (error == NULL) manifest_clear(&manifest);
    return damaged ? TOOL_DAMAGE : TOOL_FAILED;
}

static ToolStatus verify_online(Talk *talk, const char *id)
{
    char *error = NULL;
    g_auto(GStrv) reply = talk_ask(talk, &error, "BACKUP", "VERIFY", id, NULL);
    if (reply == NULL) return result(error, status_of_unknown(named_directory(), id));
    g_autofree char *done = talk_await(talk, "BACKUP", "verifying", &error);
    if (done == NULL) return result(error, talk_is_broken(talk) ? TOOL_FAILED : TOOL_DAMAGE);
    if (strcmp(done, id) != 0) return tool_fail("another backup came right behind it; verify %s again", id);
    printf("%s is whole\n", id);
    return TOOL_OK;
}

static ToolStatus verify(Talk *talk, const char *id)
{
    if (talk != NULL) return verify_online(talk, id);
    char *error = NULL;
    g_autoptr(Backup) backup = backup_find(talk_options.dir, id, &error);
    if (backup == NULL) return result(error, status_of_unknown(talk_options.dir, id));
    StateWork work = { on_progress, "verifying" };
    error = backup_verify(talk_options.dir, id, &work);
    tool_progress("verifying", -1);
    if (error == NULL) printf("%s is whole\n", id);
    return result(error, TOOL_DAMAGE);
}

static ToolStatus delete (Talk *talk, const char *id)
{
    char *error = NULL;
    if (talk == NULL) return result(backup_delete(talk_options.dir, id), TOOL_FAILED);
    g_auto(GStrv) reply = talk_ask(talk, &error, "BACKUP", "DELETE", id, NULL);
    if (reply != NULL) g_free(talk_await(talk, "BACKUP", "deleting", &error));
    return result(error, TOOL_FAILED);
}

/* ---- */

static ToolStatus usage(void)
{
    tool_fail("usage: ckv backup create|list|verify ID|delete ID; see ckv backup --help");
    return TOOL_USAGE;
}

ToolStatus tool_backup(int argc, char **argv)
{
    g_autofree char *note = NULL;
    const GOptionEntry entries[] = { { "note", 0, 0, G_OPTION_ARG_STRING, &note, "create: why it is made", "TEXT" },
                                     TALK_OPTIONS,
                                     G_OPTION_ENTRY_NULL };
    const char *summary =
        "Makes a backup in DIR/backups and prints its id; lists them; verifies every byte of one; deletes one. A\n"
        "running server goes on meanwhile.\n\n"
        "Exit status: 0 all is well; 1 it can't be done; 2 wrong usage; 3 a backup is damaged.";
    if (!talk_parse(&argc, &argv, "create | list | verify ID | delete ID", summary, entries)) return TOOL_USAGE;
    bool alone = argc == 2 && (strcmp(argv[1], "create") == 0 || strcmp(argv[1], "list") == 0);
    bool with_id = argc == 3 && (strcmp(argv[1], "verify") == 0 || strcmp(argv[1], "delete") == 0);
    if (!alone && !with_id) return usage();
    Talk *talk;
    if (!talk_open(&talk)) return TOOL_FAILED;
    ToolStatus status;
    switch (argv[1][0]) {
    case 'c': status = create(talk, note != NULL ? note : ""); break;
    case 'l': status = list(talk); break;
    case 'v': status = verify(talk, argv[2]); break;
    default: status = delete (talk, argv[2]); break;
    }
    talk_free(talk);
    return status;
}
