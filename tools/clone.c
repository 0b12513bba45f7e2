/* clone.c: `ckv clone`: makes a new data directory from a backup, or from what there is now.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>

#include "store/backup.h"
#include "tools/talk.h"
#include "tools/tools.h"

static void on_progress(double part, void *context)
{
    tool_progress(context, part);
}

/* From a backup that is there, or (id NULL) from the directory, which is locked then. */
static char *clone_from(const char *dir, const char *id, const char *to)
{
    StateWork work = { on_progress, "clone" };
    char *error = backup_clone(dir, id, to, &work);
    tool_progress("clone", -1);
    return error;
}

/* A running server makes a backup for it, which goes again. */
static char *clone_now(Talk *talk, const char *dir, const char *to)
{
    char *error = NULL;
    g_autofree char *id = talk_make_backup(talk, "for a clone", &error);
    if (id == NULL) return error;
    error = clone_from(dir, id, to);
    char *second = talk_drop_backup(talk, id);
    if (error == NULL) return second;
    g_free(second);
    return error;
}

static char *clone_online(Talk *talk, const char *id, const char *to)
{
    char *error = NULL;
    g_autofree char *dir = talk_directory(talk, &error);
    if (dir == NULL) return error;
    return id != NULL ? clone_from(dir, id, to) : clone_now(talk, dir, to);
}

ToolStatus tool_clone(int argc, char **argv)
{
    gboolean now = FALSE;
    const GOptionEntry entries[] = { { "now", 0, 0, G_OPTION_ARG_NONE, &now,
                                       "from what there is now, instead of a backup", NULL },
                                     TALK_OPTIONS,
                                     G_OPTION_ENTRY_NULL };
    const char *summary =
        "Makes the data directory NEWDIR, which doesn't exist yet, or is empty. It starts by itself\n"
        "(ckv --dir NEWDIR), with an identity of its own. A running server goes on meanwhile; with --now it makes a\n"
        "backup for this, which goes at the end. If clone is killed, what it has made is no data directory: run it\n"
        "again, and it begins anew, or delete NEWDIR; and with --now delete the backup with the note 'for a clone'.\n\n"
        "Exit status: 0 it's made; 1 it isn't; 2 wrong usage.";
    if (!talk_parse(&argc, &argv, "ID NEWDIR | --now NEWDIR", summary, entries)) return TOOL_USAGE;
    if (argc != (now ? 2 : 3)) {
        tool_fail("usage: ckv clone ID NEWDIR, or ckv clone --now NEWDIR; see ckv clone --help");
        return TOOL_USAGE;
    }
    const char *id = now ? NULL : argv[1], *to = argv[argc - 1];
    Talk *talk;
    if (!talk_open(&talk)) return TOOL_FAILED;
    g_autofree char *error = talk != NULL ? clone_online(talk, id, to) : clone_from(talk_options.dir, id, to);
    talk_free(talk);
    if (error != NULL) return tool_fail("%s", error);
    printf("%s is a data directory of its own; start it by: ckv --dir %s\n", to, to);
    return TOOL_OK;
}
