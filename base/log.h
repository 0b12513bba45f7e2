/* log.h: the server's log, in Redis 3.2's line format, to stdout or to the log file. Anyone may call it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_BASE_LOG_H
#define CKV_BASE_LOG_H

#include <glib.h>
#include <stdbool.h>

typedef enum LogLevel { LOG_DEBUG, LOG_VERBOSE, LOG_NOTICE, LOG_WARNING } LogLevel;

/* Lines below this are dropped. Read by all threads, so the loop sets it atomically. */
extern LogLevel log_level;

/* What each line says of the server's part: 'M', a master, or 'S', a slave. */
extern _Atomic char log_role;

/* Sends further lines to the file at `path` (opened for appending, created if missing), or to stdout for "".
 * False: it can't be opened, errno says why, and the log stays where it was. */
bool log_open(const char *path);

/* One line: "pid:M 22 Nov 12:00:00.000 * text". A '\n' inside is written as it is. */
void log_line(LogLevel level, const char *format, ...) G_GNUC_PRINTF(2, 3);

#endif
