/* tools.c: see tools.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "tools/tools.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/dirlock.h"

#define LOCK_FILE "ckv.lock"

static const Tool tools[] = {
    { "backup", tool_backup, "makes, lists, verifies and deletes backups" },
    { "rollback", tool_rollback, "goes back to a backup, or to a moment" },
    { "clone", tool_clone, "makes a new data directory from a backup, or from what there is now" },
    { "check", tool_check, "verifies a data directory, and repairs it if asked" },
    { "dump", tool_dump, "writes a dataset as commands, for redis-cli --pipe" },
    { "import", tool_import, "makes a dataset of Redis' RDB file, or adds it to a running server's" },
    { "export", tool_export, "writes a dataset as an RDB file, for Redis" },
    { "upgrade", tool_upgrade, "has a new process take over from a running server, with all connections" },
    { "receive", tool_receive, NULL },
};

const Tool *tool_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(tools); i++) {
        if (strcmp(tools[i].name, name) == 0) return &tools[i];
    }
    return NULL;
}

void tools_print_list(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(tools); i++)
        if (tools[i].summary != NULL) printf("  ckv %-10s %s\n", tools[i].name, tools[i].summary);
}

ToolStatus tool_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    fprintf(stderr, "ckv: %s\n", text);
    return TOOL_FAILED;
}

ToolStatus tool_end(ToolStatus status)
{
    errno = 0;
    bool good = fflush(stdout) == 0 && !ferror(stdout);
    if (good || status != TOOL_OK) return status;
    return tool_fail("standard output: %s", errno != 0 ? g_strerror(errno) : "not all could be written");
}

bool tool_parse(int *argc, char ***argv, const char *parameters, const char *summary, const GOptionEntry *entries)
{
    gboolean help = FALSE;
    const GOptionEntry more[] = { { "help", 'h', 0, G_OPTION_ARG_NONE, &help, "shows this", NULL },
                                  G_OPTION_ENTRY_NULL };
    g_autoptr(GOptionContext) context = g_option_context_new(parameters);
    g_autoptr(GError) error = NULL;
    g_autofree char *name = g_strdup_printf("ckv %s", (*argv)[0]);
    g_set_prgname(name);
    g_option_context_set_summary(context, summary);
    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_add_main_entries(context, more, NULL);
    g_option_context_set_help_enabled(context, FALSE); /* it ends the program, written or not */
    if (!g_option_context_parse(context, argc, argv, &error)) {
        fprintf(stderr, "%s: %s; see %s --help\n", name, error->message, name);
        return false;
    }
    if (!help) return true;
    g_autofree char *text = g_option_context_get_help(context, TRUE, NULL);
    fputs(text, stdout);
    _exit((int)tool_end(TOOL_OK)); /* all is written; what was allocated goes with the process */
}

void tool_progress(const char *name, double part)
{
    if (!isatty(STDERR_FILENO)) return;
    if (part < 0) {
        fprintf(stderr, "\r\033[K");
    } else {
        fprintf(stderr, "\r%s: %.0f%%", name, part * 100);
    }
    fflush(stderr);
}

/* -1: errno; *unused: it isn't there, and on a file system that is read-only no server can make one. */
static int open_lock(const char *path, bool *unused)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    *unused = false;
    if (fd >= 0) return fd;
    int saved = errno;
    fd = open(path, O_RDONLY | O_CLOEXEC); /* which is enough to lock it */
    *unused = fd < 0 && errno == ENOENT && saved == EROFS;
    errno = saved;
    return fd;
}

static char *in_use(const char *directory)
{
    return g_strdup_printf("%s: a server is using this directory", directory);
}

bool tool_lock_itself(const char *directory, bool *running, char **error)
{
    *running = dirlock_take(directory) < 0 && errno == EWOULDBLOCK; /* what is taken is closed with the process */
    if (*running) *error = in_use(directory);
    return !*running;
}

bool tool_lock(const char *directory, bool *running, char **error)
{
    g_autofree char *path = g_build_filename(directory, LOCK_FILE, NULL);
    bool unused;
    int fd = open_lock(path, &unused);
    if (unused || (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)) return tool_lock_itself(directory, running, error);
    *running = fd >= 0 && errno == EWOULDBLOCK;
    *error = *running ? in_use(directory) : g_strdup_printf("%s: %s", path, g_strerror(errno));
    if (fd >= 0) close(fd);
    return false;
}
