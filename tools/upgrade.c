/* upgrade.c: `ckv upgrade`: has another process, of another version or with another configuration, take over from a
 * running server.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>

#include "tools/talk.h"
#include "tools/tools.h"

ToolStatus tool_upgrade(int argc, char **argv)
{
    g_autofree char *binary = NULL;
    const GOptionEntry entries[] = { { "binary", 0, 0, G_OPTION_ARG_FILENAME, &binary,
                                       "the program to go on with; the one at the running one's place", "PATH" },
                                     TALK_OPTIONS,
                                     G_OPTION_ENTRY_NULL };
    const char *summary =
        "Starts the program anew beside the running server. When it has loaded the data it takes over all connections\n"
        "with their state, and the old process ends: clients see a pause of milliseconds. Prints what happened; exit\n"
        "status 1: the old process goes on, and a line says why.";
    if (!talk_parse(&argc, &argv, NULL, summary, entries)) return TOOL_USAGE;
    if (argc != 1) {
        tool_fail("usage: ckv upgrade [--dir DIR] [--binary PATH]; see ckv upgrade --help");
        return TOOL_USAGE;
    }
    Talk *talk;
    if (!talk_open(&talk)) return TOOL_FAILED;
    if (talk == NULL) return tool_fail("%s: no server uses this directory", talk_options.dir);
    char *error = NULL;
    g_autofree char *program = binary != NULL ? g_canonicalize_filename(binary, NULL) : NULL;
    g_auto(GStrv) reply = talk_ask(talk, &error, "UPGRADE", program, NULL);
    if (reply != NULL) printf("%s\n", reply[0]);
    talk_free(talk);
    if (reply != NULL) return TOOL_OK;
    tool_fail("%s", error);
    g_free(error);
    return TOOL_FAILED;
}
