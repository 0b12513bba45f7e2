/* transfer.c: see transfer.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "repl/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/number.h"

#define MARK_CHARS  40
#define WAITING_MAX (256U * 1024) /* bytes for the pipe; while more wait, the transfer is full */
#define PROGRAM     "/proc/self/exe"

struct Transfer {
    Loop *loop;
    void (*room)(void);
    /* the child */
    pid_t child;              /* 0: it has ended */
    int to_child, from_child; /* the first -1: closed */
    Watch *watch;             /* of to_child */
    int status;
    /* the data */
    bool begun, whole;
    bool marked; /* it ends with the mark */
    char mark[MARK_CHARS];
    uint64_t len, received;
    GByteArray *held;    /* the last bytes, which may be the beginning of the mark */
    GByteArray *waiting; /* for the pipe */
};

/* ---- the child ---- */

extern char **environ;

static int spawn(Transfer *transfer, char *const *words, int its_input, int its_errors)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, its_input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, its_errors, STDERR_FILENO);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    int failed = posix_spawn(&transfer->child, PROGRAM, &actions, &attributes, words, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return failed;
}

static void close_pipe(Transfer *transfer)
{
    if (transfer->to_child < 0) return;
    loop_unwatch(transfer->loop, transfer->watch);
    close(transfer->to_child);
    transfer->to_child = -1;
}

/* Writes what waits, as far as the pipe takes it. What a child that has ended doesn't take is of no use. */
static void write_waiting(Transfer *transfer)
{
    size_t done = 0;
    while (done < transfer->waiting->len) {
        ssize_t wrote = write(transfer->to_child, transfer->waiting->data + done, transfer->waiting->len - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0 && errno == EAGAIN) break;
        if (wrote < 0) done = transfer->waiting->len;
        if (wrote > 0) done += (size_t)wrote;
    }
    if (done > 0) g_byte_array_remove_range(transfer->waiting, 0, (guint)done);
    if (transfer->waiting->len == 0 && transfer->whole) {
        close_pipe(transfer);
    } else {
        loop_want(transfer->loop, transfer->watch, transfer->waiting->len > 0 ? LOOP_WRITE : 0);
    }
}

static void on_room(int fd, unsigned ready, void *context)
{
    Transfer *transfer = context;
    (void)fd;
    (void)ready;
    bool was_full = transfer_is_full(transfer);
    write_waiting(transfer);
    if (was_full && !transfer_is_full(transfer)) transfer->room();
}

static char *start_child(Transfer *transfer, char *const *words)
{
    int input[2] = { -1, -1 }, errors[2] = { -1, -1 };
    int failed = pipe2(input, O_CLOEXEC) != 0 || pipe2(errors, O_CLOEXEC) != 0 ? errno : 0;
    if (failed == 0) failed = spawn(transfer, words, input[0], errors[1]);
    if (input[0] >= 0) close(input[0]);
    if (errors[1] >= 0) close(errors[1]);
    transfer->to_child = input[1];
    transfer->from_child = errors[0];
    if (failed != 0) {
        if (input[1] >= 0) close(input[1]);
        if (errors[0] >= 0) close(errors[0]);
        return g_strdup_printf("%s can't be started: %s", PROGRAM, g_strerror(failed));
    }
    fcntl(transfer->to_child, F_SETFL, O_NONBLOCK);
    fcntl(transfer->from_child, F_SETFL, O_NONBLOCK);
    transfer->watch = loop_watch(transfer->loop, transfer->to_child, 0, on_room, transfer);
    return NULL;
}

/* Children that were killed: one with much memory takes its time to end, for which nobody waits. */
static GArray *dying; /* pid_t */

static void reap_dying(void)
{
    for (guint i = dying == NULL ? 0 : dying->len; i-- > 0;) {
        if (waitpid(g_array_index(dying, pid_t, i), NULL, WNOHANG) != 0) g_array_remove_index_fast(dying, i);
    }
}

bool transfer_all_ended(void)
{
    reap_dying();
    return dying == NULL || dying->len == 0;
}

static void kill_child(pid_t child)
{
    kill(child, SIGKILL);
    if (dying == NULL) dying = g_array_new(FALSE, FALSE, sizeof(pid_t));
    g_array_append_val(dying, child);
    reap_dying();
}

Transfer *transfer_new(Loop *loop, char *const *words, void (*room)(void), char **error)
{
    reap_dying();
    Transfer *transfer = g_new0(Transfer, 1);
    transfer->loop = loop;
    transfer->room = room;
    transfer->held = g_byte_array_new();
    transfer->waiting = g_byte_array_new();
    *error = start_child(transfer, words);
    if (*error == NULL) return transfer;
    g_byte_array_unref(transfer->held);
    g_byte_array_unref(transfer->waiting);
    g_free(transfer);
    return NULL;
}

void transfer_free(Transfer *transfer)
{
    close_pipe(transfer);
    if (transfer->child > 0) kill_child(transfer->child);
    close(transfer->from_child);
    g_byte_array_unref(transfer->held);
    g_byte_array_unref(transfer->waiting);
    g_free(transfer);
}

/* Its last line on standard error, or how it ended. */
static char *why_failed(const Transfer *transfer)
{
    char text[1024];
    ssize_t got = read(transfer->from_child, text, sizeof(text) - 1);
    text[MAX(got, 0)] = '\0';
    g_strchomp(text);
    const char *line = strrchr(text, '\n') != NULL ? strrchr(text, '\n') + 1 : text;
    if (line[0] != '\0') return g_strdup(line);
    if (WIFSIGNALED(transfer->status)) return g_strdup_printf("it was ended by signal %d", WTERMSIG(transfer->status));
    return g_strdup_printf("its exit status was %d", WEXITSTATUS(transfer->status));
}

int transfer_poll(Transfer *transfer, char **error)
{
    if (transfer->child > 0 && waitpid(transfer->child, &transfer->status, WNOHANG) != 0) transfer->child = 0;
    if (transfer->child > 0) return 1;
    if (transfer->status == 0 && transfer->whole) return 0;
    *error = why_failed(transfer);
    return -1;
}

/* ---- the data ---- */

bool transfer_begin(Transfer *transfer, Slice line)
{
    static const Slice prefix = { "$EOF:", 5 };
    int64_t len;
    if (line.len == prefix.len + MARK_CHARS && memcmp(line.ptr, prefix.ptr, prefix.len) == 0) {
        transfer->marked = true;
        memcpy(transfer->mark, line.ptr + prefix.len, MARK_CHARS);
    } else if (line.len > 1 && line.ptr[0] == '$' && number_parse_int((Slice){ line.ptr + 1, line.len - 1 }, &len) &&
               len >= 0) {
        transfer->len = (uint64_t)len;
    } else {
        return false;
    }
    transfer->begun = true;
    return true;
}

bool transfer_has_begun(const Transfer *transfer)
{
    return transfer->begun;
}

static void pass_on(Transfer *transfer, const void *bytes, size_t len)
{
    g_byte_array_append(transfer->waiting, bytes, (guint)len);
}

static size_t take_counted(Transfer *transfer, Slice bytes)
{
    size_t taken = (size_t)MIN((uint64_t)bytes.len, transfer->len - transfer->received);
    pass_on(transfer, bytes.ptr, taken);
    transfer->received += taken;
    transfer->whole = transfer->received == transfer->len;
    return taken;
}

/* Looks for the mark in what is held and the bytes; whatever can't be the beginning of it goes on. */
static size_t take_marked(Transfer *transfer, Slice bytes)
{
    size_t before = transfer->held->len;
    g_byte_array_append(transfer->held, (const guint8 *)bytes.ptr, (guint)bytes.len);
    const guint8 *data = transfer->held->data;
    const guint8 *mark = memmem(data, transfer->held->len, transfer->mark, MARK_CHARS);
    size_t kept = MIN(transfer->held->len, MARK_CHARS - 1);
    size_t passed = mark != NULL ? (size_t)(mark - data) : transfer->held->len - kept;
    pass_on(transfer, data, passed);
    transfer->received += passed;
    transfer->whole = mark != NULL;
    g_byte_array_remove_range(transfer->held, 0, (guint)passed);
    return mark != NULL ? passed + MARK_CHARS - before : bytes.len;
}

size_t transfer_take(Transfer *transfer, Slice bytes)
{
    if (!transfer->begun || transfer->whole) return 0;
    size_t taken = transfer->marked ? take_marked(transfer, bytes) : take_counted(transfer, bytes);
    if (transfer->to_child >= 0) write_waiting(transfer);
    return taken;
}

bool transfer_is_full(const Transfer *transfer)
{
    return transfer->waiting->len >= WAITING_MAX;
}

bool transfer_is_whole(const Transfer *transfer)
{
    return transfer->whole;
}

uint64_t transfer_received(const Transfer *transfer)
{
    return transfer->received;
}

int64_t transfer_left(const Transfer *transfer)
{
    return transfer->marked || !transfer->begun ? -1 : (int64_t)(transfer->len - transfer->received);
}
