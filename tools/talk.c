/* talk.c: see talk.h. The client waits for each reply: one command at a time.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "tools/talk.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/number.h"
#include "store/backup.h"

#define OPERATOR_SOCKET "ckv.sock"
#define POLL_US         20000
#define BULK_MAX        (1 << 20) /* longer than anything that is asked for */
#define ELEMENTS_MAX    (1 << 20)

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
};

/* ---- connecting ---- */

static int connect_unix(const char *path, char **error)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (g_strlcpy(address.sun_path, path, sizeof(address.sun_path)) >= sizeof(address.sun_path)) {
        *error = g_strdup_printf("%s: too long a path for a socket", path);
        return -1;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) return fd;
    *error = g_strdup_printf("%s: %s", path, g_strerror(errno));
    if (fd >= 0) close(fd);
    return -1;
}

/* The directory's own socket, however long its path is. */
static int connect_directory(const char *directory, char **error)
{
    int at = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d/" OPERATOR_SOCKET, at);
    char *why = NULL;
    int fd = connect_unix(path, &why);
    if (fd < 0) {
        const char *text = strrchr(why, ':');
        *error = g_strdup_printf("%s/" OPERATOR_SOCKET "%s; the server that uses the directory can't be reached",
                                 directory, text);
    }
    g_free(why);
    if (at >= 0) close(at);
    return fd;
}

static int connect_port(int port, char **error)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) return fd;
    *error = g_strdup_printf("port %d: %s", port, g_strerror(errno));
    if (fd >= 0) close(fd);
    return -1;
}

static Talk *talk_new(int fd)
{
    if (fd < 0) return NULL;
    Talk *talk = g_new0(Talk, 1);
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
    g_free(talk);
}

static bool authenticate(Talk *talk, char **error)
{
    if (talk_options.password == NULL) return true;
    g_autofree char *words = g_strconcat("admin:", talk_options.password, NULL);
    g_auto(GStrv) reply = talk_ask(talk, error, "AUTH", words, NULL);
    return reply != NULL;
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
    *talk = talk_new(connect_directory(talk_options.dir, error));
    return *talk != NULL;
}

bool talk_open(Talk **talk)
{
    g_autofree char *error = NULL;
    *talk = NULL;
    if (talk_options.dir == NULL) talk_options.dir = g_strdup(TOOL_DIRECTORY);
    bool good = false;
    if (talk_names_server()) {
        *talk = talk_new(talk_options.socket != NULL ? connect_unix(talk_options.socket, &error)
                                                     : connect_port(talk_options.port, &error));
        good = *talk != NULL && authenticate(*talk, &error);
    } else {
        good = open_directory(talk, &error);
    }
    if (good) return true;
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

static char *error_text(const char *line)
{
    bool refused = g_str_has_prefix(line, "-ERR unknown command") || g_str_has_prefix(line, "-NOAUTH");
    if (refused && talk_options.port != 0)
        return g_strdup_printf("port %d: that is for operators; give the admin-password by --password",
                               talk_options.port);
    return g_strdup(g_str_has_prefix(line, "-ERR ") ? line + strlen("-ERR ") : line + 1);
}

/* One that is no array; NULL: the connection ended, or *error. */
static char *read_scalar(Talk *talk, const char *line, char **error)
{
    switch (line[0]) {
    case '+':
    case ':': return g_strdup(line + 1);
    case '-': *error = error_text(line); return NULL;
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
    if (!good && *error == NULL) *error = g_strdup("the server closed the connection");
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
        *error = g_strdup(g_str_has_prefix(text, "failed ") ? text + strlen("failed ") : text);
        return NULL;
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
