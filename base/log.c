/* log.c: see log.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

LogLevel log_level = LOG_NOTICE;
_Atomic char log_role = 'M';
static char *log_path; /* NULL: stdout */

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
}

bool log_open(const char *path)
{
    if (path[0] != '\0') {
        int fd = open_file(path);
        if (fd < 0) return false;
        close(fd);
    }
    g_free(log_path);
    log_path = path[0] == '\0' ? NULL : g_strdup(path);
    return true;
}

/* The file is opened for each line, so that it may be renamed away at any time; lines are few. */
static void write_line(const GString *line)
{
    int fd = log_path == NULL ? STDOUT_FILENO : open_file(log_path);
    if (fd < 0) return;
    ssize_t written = write(fd, line->str, line->len);
    (void)written; /* there is nowhere left to complain */
    if (log_path != NULL) close(fd);
}

void log_line(LogLevel level, const char *format, ...)
{
    if (level < (LogLevel)g_atomic_int_get(&log_level)) return;
    struct timespec now;
    struct tm local;
    char date[32];
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &local);
    strftime(date, sizeof(date), "%d %b %H:%M:%S", &local);
    GString *line = g_string_new(NULL);
    g_string_append_printf(line, "%d:%c %s.%03ld %c ", (int)getpid(), log_role, date, now.tv_nsec / 1000000,
                           ".-*#"[level]);
    va_list args;
    va_start(args, format);
    g_string_append_vprintf(line, format, args);
    va_end(args);
    g_string_append_c(line, '\n');
    write_line(line);
    g_string_free(line, TRUE);
}
