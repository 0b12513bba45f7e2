/* talk.h: whom a tool works with: a data directory that no server uses, or the server that uses it, through its
 * operator's socket. The tools that can do both call it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_TOOLS_TALK_H
#define CKV_TOOLS_TALK_H

#include <stdio.h>

#include "tools/tools.h"

typedef struct TalkOptions {
    char *dir, *socket, *password; /* dir is never NULL behind talk_open */
    int port;                      /* 0: none was given */
} TalkOptions;
extern TalkOptions talk_options;

/* What a list of processes doesn't show is the variable that redis-cli has its password from. */
#define TALK_PASSWORD                                                                                                  \
    "its admin-password (a Redis' password); safer: as redis-cli's, admin:WORD (WORD) in REDISCLI_AUTH"

/* For the tool's own list of options, which talk_parse reads. */
#define TALK_OPTIONS                                                                                                   \
    { "dir", 0, 0, G_OPTION_ARG_FILENAME, &talk_options.dir, "the data directory; " TOOL_DIRECTORY, "DIR" },           \
        { "socket", 0, 0, G_OPTION_ARG_FILENAME, &talk_options.socket, "a running server's socket, instead", "PATH" }, \
        { "port", 0, 0, G_OPTION_ARG_CALLBACK, (gpointer)talk_parse_port, "its port on this host, instead", "N" },     \
    {                                                                                                                  \
        "password", 0, 0, G_OPTION_ARG_STRING, &talk_options.password, TALK_PASSWORD, "WORD"                           \
    }
gboolean talk_parse_port(const char *name, const char *value, gpointer data, GError **error);

/* As tool_parse. False also if more than one place is named. */
bool talk_parse(int *argc, char ***argv, const char *parameters, const char *summary, const GOptionEntry *entries);
/* Whether a server is named, rather than a directory. */
bool talk_names_server(void);

/* A connection to a server. */
typedef struct Talk Talk;

/* Finds out with whom. *talk NULL: with the directory talk_options.dir, which is locked for this process, and in which
 * an interrupted rollback has been finished. False: neither can be, which was said. */
bool talk_open(Talk **talk);
void talk_free(Talk *talk);

/* The major version of the Redis that is there; 0: it's a ckv, or doesn't say. */
int talk_redis_version(const Talk *talk);

/* Sends a command, the words up to NULL, and returns the reply's strings: one, or those of an array. NULL: *error, to
 * g_free. */
char **talk_ask(Talk *talk, char **error, ...) G_GNUC_NULL_TERMINATED;

/* For many commands without waiting for each: where they are written to (flush it before the replies are waited for),
 * and one reply's text (of an array, the first string). g_free it; NULL: *error. */
FILE *talk_out(Talk *talk);
char *talk_reply(Talk *talk, char **error);

/* Waits for the job whose STATUS `command` tells, showing progress under `name`. What follows "done " (g_free it);
 * NULL: *error. */
char *talk_await(Talk *talk, const char *command, const char *name, char **error);

/* Has the server make a backup: its id (g_free), or NULL and *error. */
char *talk_make_backup(Talk *talk, const char *note, char **error);
/* Deletes one that was made for a while, when no other work with backups hinders it. NULL, or why not (g_free). */
char *talk_drop_backup(Talk *talk, const char *id);

/* Whether the connection ended, or no reply came, rather than an error. */
bool talk_is_broken(const Talk *talk);

/* The directory of the server that is talked to (g_free), if it's on this host; NULL: *error. */
char *talk_directory(Talk *talk, char **error);

#endif
