/* tools.h: the sub-commands of the one binary: `ckv backup`, `ckv check` and so on. The main program calls tool_run,
 * the tools share the rest.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_TOOLS_TOOLS_H
#define CKV_TOOLS_TOOLS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* What scripts can rely on. */
typedef enum ToolStatus {
    TOOL_OK = 0,
    TOOL_FAILED = 1, /* one line on standard error says why, and what to do */
    TOOL_USAGE = 2,
    TOOL_DAMAGE = 3, /* check: something is damaged */
} ToolStatus;

/* The data directory if none is named: the server's default. */
#define TOOL_DIRECTORY "./data"

typedef struct Tool {
    const char *name;
    ToolStatus (*run)(int argc, char **argv); /* argv[0] is the tool's name */
    const char *summary;                      /* NULL: it isn't for people */
} Tool;

/* The tool of that name, or NULL. */
const Tool *tool_find(const char *name);
/* The list of tools, for --help. */
void tools_print_list(void);

/* What a program ends with that had this to say: TOOL_FAILED if not all of it could be written to standard output, and
 * nothing else went wrong. */
ToolStatus tool_end(ToolStatus status);

/* Each tool, in a file of its name. */
ToolStatus tool_backup(int argc, char **argv);
ToolStatus tool_rollback(int argc, char **argv);
ToolStatus tool_clone(int argc, char **argv);
ToolStatus tool_check(int argc, char **argv);
ToolStatus tool_dump(int argc, char **argv);
ToolStatus tool_import(int argc, char **argv);
ToolStatus tool_export(int argc, char **argv);
ToolStatus tool_upgrade(int argc, char **argv);
ToolStatus tool_receive(int argc, char **argv);

/* "ckv: …" on standard error; returns TOOL_FAILED. */
ToolStatus tool_fail(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* Reads options (g_option; `parameters` is what stands behind them in --help, `summary` the text below). What remains
 * stays in argv. False: the usage is wrong, which was said; --help ends the program. */
bool tool_parse(int *argc, char ***argv, const char *parameters, const char *summary, const GOptionEntry *entries);

/* Shows progress on standard error, if that's a terminal: "name: 42%". A part below 0 ends the line. */
void tool_progress(const char *name, double part);

/* Takes the lock of a data directory, for as long as the process lives; of one that can only be read, too. False: a
 * server has it, or there's no such directory (*error, to g_free). `*running`: it's a server that has it. */
bool tool_lock(const char *directory, bool *running, char **error);
/* The same, without ckv.lock: nothing is made. */
bool tool_lock_itself(const char *directory, bool *running, char **error);

#endif
