/* talk.c: see talk.h. The client waits for each reply: one command at a time. Only the first ones, which any server
 * answers at once, have a time limit: how long a backup or a rollback may take nobody knows.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "tools/talk.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/number.h"
#include "store/backup.h"

#define OPERATOR_SOCKET "ckv.sock"
#define POLL_US         20000
#define GREETING_S_MAX  5
#define BULK_MAX        (1 << 20) /* longer than anything that is asked for */
#define ELEMENTS_MAX    (1 << 20)
#define VERSION_FIELD   "redis_version:"

/* What redis-cli takes its password from, which no list of processes shows, and gives to AUTH as it is. */
#define PASSWORD_VARIABLE "REDISCLI_AUTH"

/* Import can't be given the directory of a running server. */
#define PASSWORD_REMEDY                                                                                                \
    "give the admin-password by --password, or admin:<admin-password> in the environment's " PASSWORD_VARIABLE         \
    ", or " OPERATOR_SOCKET " in the server's directory by --socket, which needs none (a Redis' password is given "    \
    "the same two ways)"
#define PLACE_REMEDY "name a running server by --port or --socket, or a data directory by --dir"

TalkOptions talk_options;

/* ---- options ---- */

gboolean talk_parse_port(const char *name, const char *value, gpointer data, GError **error)
{
    int64_t port;
    (void)data;
    if (number_parse_int(slice_of(value), &port) && port >= 1 && port <= UINT16_MAX) {
        talk_options.port = (int)port;
        return TRUE;
    }
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s %s: it must be a whole number from 1 to %d", name,
                value, UINT16_MAX);
    return FALSE;
}

bool talk_parse(int *argc, char ***argv, const char *parameters, const char *summary, const GOptionEntry *entries)
{
    if (!tool_parse(argc, argv, parameters, summary, entries)) return false;
    int named = (talk_options.dir != NULL) + (talk_options.socket != NULL) + (talk_options.port != 0);
    if (named <= 1) return true;
    fprintf(stderr, "%s: only one of --dir, --socket and --port can be given; see %s --help\n", g_get_prgname(),
            g_get_prgname());
    return false;
}

bool talk_names_server(void)
{
    return talk_options.socket != NULL || talk_options.port != 0;
}

struct Talk {
    FILE *in, *out;
    char *name;   /* for messages */
    bool greeted; /* it's known who is there */
    bool is_ckv;  /* rather than a Redis, */
    int redis;    /* of this major version; 0: not known */
    bool asks_password;
    char *directory; /* the server's own; NULL: not known, or not on this host */
};

/* ---- connecting ---- */

/* 0 seconds: no limit. */
static void limit_waiting(int fd, int seconds)
{
    struct timeval limit = { .tv_sec = seconds };
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)); /* of connecting, too */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

/* -1: errno says why not. */
static int connect_to(const struct sockaddr *address, socklen_t len)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    limit_waiting(fd, GREETING_S_MAX);
    if (connect(fd, address, len) == 0) return fd;
    int why = errno == EINPROGRESS || errno == EAGAIN ? ETIMEDOUT : errno;
    close(fd);
    errno = why;
    return -1;
}

static int connect_unix(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (g_strlcpy(address.sun_path, path, sizeof(address.sun_path)) < sizeof(address.sun_path))
        return connect_to((struct sockaddr *)&address, sizeof(address));
    errno = ENAMETOOLONG;
    return -1;
}

static int connect_port(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr = { htonl(INADDR_LOOPBACK) } };
    return connect_to((struct sockaddr *)&address, sizeof(address));
}

/* The directory's own socket, however long its path is. */
static int connect_directory(const char *directory)
{
    int at = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d/" OPERATOR_SOCKET, at);
    int fd = connect_unix(path), why = errno;
    if (at >= 0) close(at);
    errno = why;
    return fd;
}

/* Takes the name. `remedy`: what to do if fd is -1, for which errno says why. */
static Talk *talk_new(int fd, char *name, const char *remedy, char **error)
{
    if (fd < 0) {
        *error = g_strdup_printf("%s: %s; %s", name, g_strerror(errno), remedy);
        g_free(name);
        return NULL;
    }
    Talk *talk = g_new0(Talk, 1);
    talk->name = name;
    talk->out = fdopen(fcntl(fd, F_DUPFD_CLOEXEC, 0), "w");
    talk->in = fdopen(fd, "r");
    signal(SIGPIPE, SIG_IGN);
    return talk;
}

void talk_free(Talk *talk)
{
    if (talk == NULL) return;
    fclose(talk->in);
    fclose(talk->out);
    g_free(talk->name);
    g_free(talk->directory);
    g_free(talk);
}

bool talk_is_broken(const Talk *talk)
{
    return feof(talk->in) || ferror(talk->in);
}

static bool log_in(Talk *talk, const char *words, char **error)
{
    g_auto(GStrv) reply = talk_ask(talk, error, "AUTH", words, NULL);
    return reply != NULL;
}

/* By --password. A Redis knows no admin; and who is there, it says only behind AUTH. */
static bool authenticate(Talk *talk, char **error)
{
    g_autofree char *words = g_strconcat("admin:", talk_options.password, NULL), *ignored = NULL;
    if (log_in(talk, words, error)) return true;
    if (talk_is_broken(talk)) return false;
    g_autofree char *why = *error;
    if (log_in(talk, talk_options.password, &ignored)) {
        *error = NULL;
        return true;
    }
    *error = g_strdup_printf("%s: AUTH was refused (%s); %s", talk->name, why, PASSWORD_REMEDY);
    return false;
}

/* By the environment: it may be meant for another server, so this goes on without, as redis-cli does. */
static void authenticate_by_environment(Talk *talk)
{
    const char *words = g_getenv(PASSWORD_VARIABLE);
    g_autofree char *why = NULL;
    if (words != NULL && !log_in(talk, words, &why))
        tool_fail("%s: AUTH by " PASSWORD_VARIABLE " was refused (%s)", talk->name, why);
}

static char **ask_who(Talk *talk, char **error)
{
    return talk_ask(talk, error, "INFO", "server", NULL);
}

/* A ckv's socket never asks for a password, and a wrong one would take the operator's rights there. By port, it may be
 * that only the operator needs one. */
static char **greet_with_environment(Talk *talk, char **error)
{
    if (talk_options.port != 0) authenticate_by_environment(talk);
    char **reply = ask_who(talk, error);
    if (reply != NULL || talk_options.port != 0 || !talk->asks_password) return reply;
    g_clear_pointer(error, g_free);
    authenticate_by_environment(talk);
    return ask_who(talk, error);
}

/* Finds out who is there. A Redis may have been told not to say so. */
static bool greet(Talk *talk, char **error)
{
    if (talk_options.password != NULL && !authenticate(talk, error)) return false;
    g_auto(GStrv) reply = talk_options.password != NULL ? ask_who(talk, error) : greet_with_environment(talk, error);
    bool unsaid = reply == NULL && !talk_is_broken(talk) &&
                  (g_str_has_prefix(*error, "unknown command") || g_str_has_prefix(*error, "NOPERM"));
    if (reply == NULL && !unsaid) return false;
    g_clear_pointer(error, g_free);
    const char *said = reply == NULL || reply[0] == NULL ? "" : reply[0], *version = strstr(said, VERSION_FIELD);
    talk->is_ckv = strstr(said, "ckv_version:") != NULL;
    if (version != NULL && !talk->is_ckv) talk->redis = (int)strtol(version + strlen(VERSION_FIELD), NULL, 10);
    g_autofree char *ignored = NULL;
    talk->directory = talk_directory(talk, &ignored);
    talk->greeted = true;
    limit_waiting(fileno(talk->in), 0);
    return true;
}

/* The directory alone: locked, or its server. */
static bool open_directory(Talk **talk, char **error)
{
    bool running = false;
    g_autofree char *manifest = g_build_filename(talk_options.dir, MANIFEST_FILE, NULL);
    g_autofree char *server = g_build_filename(talk_options.dir, OPERATOR_SOCKET, NULL); /* which may keep no data */
    if (access(manifest, F_OK) != 0 && access(server, F_OK) != 0) {
        *error = g_strdup_printf("%s: %s; give a data directory by --dir", manifest, g_strerror(errno));
        return false;
    }
    if (tool_lock(talk_options.dir, &running, error)) return backup_finish_swap(talk_options.dir, error);
    if (!running) return false;
    g_clear_pointer(error, g_free);
    *talk = talk_new(connect_directory(talk_options.dir), g_strdup_printf("%s/" OPERATOR_SOCKET, talk_options.dir),
                     "the directory is in use by a server that can't be reached, or by another tool", error);
    return *talk != NULL && greet(*talk, error);
}

static bool open_server(Talk **talk, char **error)
{
    if (talk_options.socket != NULL) {
        *talk = talk_new(connect_unix(talk_options.socket), g_strdup(talk_options.socket), PLACE_REMEDY, error);
    } else {
        *talk = talk_new(connect_port(talk_options.port), g_strdup_printf("port %d", talk_options.port), PLACE_REMEDY,
                         error);
    }
    return *talk != NULL && greet(*talk, error);
}

bool talk_open(Talk **talk)
{
    g_autofree char *error = NULL;
    *talk = NULL;
    if (talk_options.dir == NULL) talk_options.dir = g_strdup(TOOL_DIRECTORY);
    if (talk_names_server() ? open_server(talk, &error) : open_directory(talk, &error)) return true;
    tool_fail("%s", error);
    g_clear_pointer(talk, talk_free);
    return false;
}

/* ---- replies ---- */

static bool read_line(Talk *talk, char *line, int size)
{
    if (fgets(line, size, talk->in) == NULL) return false;
    size_t len = strlen(line);
    if (len < 3 || strcmp(line + len - 2, "\r\n") != 0) return false;
    line[len - 2] = '\0';
    return true;
}

/* What the server says of a file, by its own path: relative ones are its directory's, not this process'. */
static char *name_in_full(const Talk *talk, const char *text)
{
    if (talk->directory == NULL) return g_strdup(text);
    g_autofree char *name = g_strndup(text, strcspn(text, ":"));
    g_autofree char *path = g_build_filename(talk->directory, name, NULL);
    if (g_str_has_prefix(text, "./")) return g_build_filename(talk->directory, text + 2, NULL);
    bool known = name[0] != '\0' && name[0] != '/' && g_file_test(path, G_FILE_TEST_EXISTS);
    return known ? g_build_filename(talk->directory, text, NULL) : g_strdup(text);
}

static char *error_text(Talk *talk, const char *line)
{
    talk->asks_password = g_str_has_prefix(line, "-NOAUTH");
    const char *text = g_str_has_prefix(line, "-ERR ") ? line + strlen("-ERR ") : line + 1;
    bool unknown = talk->greeted && g_str_has_prefix(text, "unknown command");
    if (unknown && !talk->is_ckv) return g_strdup_printf("%s: that's no ckv; it says: %s", talk->name, text);
    if (talk->asks_password) return g_strdup_printf("%s: it asks for a password; %s", talk->name, PASSWORD_REMEDY);
    if (talk_names_server() && unknown)
        return g_strdup_printf("%s: that is for operators; %s", talk->name, PASSWORD_REMEDY);
    return name_in_full(talk, text);
}

/* One that is no array; NULL: the connection ended, or *error. */
static char *read_scalar(Talk *talk, const char *line, char **error)
{
    switch (line[0]) {
    case '+':
    case ':': return g_strdup(line + 1);
    case '-': *error = error_text(talk, line); return NULL;
    case '$': break;
    default: return NULL;
    }
    int64_t len = g_ascii_strtoll(line + 1, NULL, 10);
    if (len < 0) return g_strdup("");
    if (len > BULK_MAX) return NULL;
    char *text = g_malloc((gsize)len + 3);
    if (fread(text, 1, (size_t)len + 2, talk->in) != (size_t)len + 2) {
        g_free(text);
        return NULL;
    }
    text[len] = '\0';
    return text;
}

/* Why no reply came, or none that can be one. */
static char *silence_text(const Talk *talk)
{
    if (talk->greeted || !ferror(talk->in) || (errno != EAGAIN && errno != EWOULDBLOCK))
        return g_strdup_printf("%s: the server closed the connection", talk->name);
    return g_strdup_printf("%s: the server hasn't answered for %d seconds: it's stopped, or busy; try again later",
                           talk->name, GREETING_S_MAX);
}

static char **read_reply(Talk *talk, char **error)
{
    char line[4096];
    int64_t count = 1;
    bool good = read_line(talk, line, sizeof(line));
    bool array = good && line[0] == '*';
    if (array) count = g_ascii_strtoll(line + 1, NULL, 10);
    if (count > ELEMENTS_MAX) good = false;
    GPtrArray *texts = g_ptr_array_new_with_free_func(g_free);
    for (int64_t i = 0; good && i < count; i++) {
        if (array) good = read_line(talk, line, sizeof(line));
        char *text = good ? read_scalar(talk, line, error) : NULL;
        good = text != NULL;
        if (good) g_ptr_array_add(texts, text);
    }
    if (!good && *error == NULL) *error = silence_text(talk);
    if (good) {
        g_ptr_array_add(texts, NULL);
        return (char **)g_ptr_array_free(texts, FALSE);
    }
    g_ptr_array_free(texts, TRUE);
    return NULL;
}

char **talk_ask(Talk *talk, char **error, ...)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new();
    va_list args;
    va_start(args, error);
    for (char *word = va_arg(args, char *); word != NULL; word = va_arg(args, char *))
        g_ptr_array_add(words, word);
    va_end(args);
    fprintf(talk->out, "*%u\r\n", words->len);
    for (guint i = 0; i < words->len; i++)
        fprintf(talk->out, "$%zu\r\n%s\r\n", strlen(words->pdata[i]), (char *)words->pdata[i]);
    *error = NULL;
    fflush(talk->out);
    return read_reply(talk, error);
}

int talk_redis_version(const Talk *talk)
{
    return talk->redis;
}

FILE *talk_out(Talk *talk)
{
    return talk->out;
}

char *talk_reply(Talk *talk, char **error)
{
    g_auto(GStrv) reply = read_reply(talk, error);
    return reply == NULL ? NULL : g_strdup(reply[0] == NULL ? "" : reply[0]);
}

/* ---- what servers do ---- */

char *talk_await(Talk *talk, const char *command, const char *name, char **error)
{
    for (;;) {
        g_auto(GStrv) reply = talk_ask(talk, error, command, "STATUS", NULL);
        if (reply == NULL || reply[0] == NULL) return NULL;
        const char *text = reply[0];
        if (g_str_has_prefix(text, "running ")) {
            tool_progress(name, g_ascii_strtod(text + strlen("running "), NULL) / 100);
            g_usleep(POLL_US);
            continue;
        }
        tool_progress(name, -1);
        if (g_str_has_prefix(text, "done ")) return g_strdup(text + strlen("done "));
        *error = name_in_full(talk, g_str_has_prefix(text, "failed ") ? text + strlen("failed ") : text);
        return NULL;
    }
}

static bool is_listed(Talk *talk, const char *id)
{
    g_autofree char *error = NULL, *begin = g_strconcat(id, " ", NULL);
    g_auto(GStrv) lines = talk_ask(talk, &error, "BACKUP", "LIST", NULL);
    for (int i = 0; lines != NULL && lines[i] != NULL; i++) {
        if (g_str_has_prefix(lines[i], begin)) return true;
    }
    return false;
}

char *talk_make_backup(Talk *talk, const char *note, char **error)
{
    g_auto(GStrv) reply = talk_ask(talk, error, "BACKUP", "CREATE", note, NULL);
    if (reply == NULL || reply[0] == NULL) return NULL;
    g_autofree char *done = talk_await(talk, "BACKUP", "backup", error);
    bool made = done != NULL && strcmp(done, reply[0]) == 0;
    /* One by schedule may have come right behind it, and what was heard is how that went. */
    if (!made && !talk_is_broken(talk)) made = is_listed(talk, reply[0]);
    if (made) {
        g_clear_pointer(error, g_free);
        return g_strdup(reply[0]);
    }
    if (*error == NULL) *error = g_strdup_printf("the backup %s wasn't made; the server's log says why", reply[0]);
    return NULL;
}

char *talk_drop_backup(Talk *talk, const char *id)
{
    for (;;) {
        char *error = NULL;
        g_auto(GStrv) reply = talk_ask(talk, &error, "BACKUP", "DELETE", id, NULL);
        if (reply != NULL) { /* it's gone; before its files are, no other work can begin */
            g_autofree char *ignored = NULL;
            g_free(talk_await(talk, "BACKUP", "deleting", &ignored));
            return NULL;
        }
        bool waits = strstr(error, "in progress") != NULL || g_str_has_prefix(error, "LOADING"); /* by a rollback */
        if (!waits) return error;
        g_free(error);
        g_usleep(POLL_US);
    }
}

char *talk_directory(Talk *talk, char **error)
{
    g_auto(GStrv) reply = talk_ask(talk, error, "CONFIG", "GET", "dir", NULL);
    if (reply == NULL) return NULL;
    if (g_strv_length(reply) == 2 && g_file_test(reply[1], G_FILE_TEST_IS_DIR)) return g_strdup(reply[1]);
    *error = g_strdup("the server's directory isn't on this host");
    return NULL;
}
