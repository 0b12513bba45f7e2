/* handover.c: see handover.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "repl/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define VARIABLE      "CKV_HANDOVER" /* in the new process' environment: the two descriptors */
#define FDS_A_MESSAGE 200            /* Linux takes 253 */
#define ALIVE_US      1000000

/* ---- messages ---- */

static bool send_message(int socket, const HandoverMessage *message, const int *fds, size_t count)
{
    union {
        char bytes[CMSG_SPACE(FDS_A_MESSAGE * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec part = { (void *)(uintptr_t)message, sizeof(*message) };
    struct msghdr head = { .msg_iov = &part, .msg_iovlen = 1 };
    if (count > 0) {
        memset(&control, 0, sizeof(control));
        head.msg_control = control.bytes;
        head.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&head);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(rights), fds, count * sizeof(int));
    }
    ssize_t sent;
    do {
        sent = sendmsg(socket, &head, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)sizeof(*message);
}

bool handover_send(int socket, HandoverKind kind, uint64_t value, const char *text, int fd)
{
    HandoverMessage message = { .kind = kind, .format = HANDOVER_FORMAT, .value = value };
    if (text != NULL) g_strlcpy(message.text, text, sizeof(message.text));
    return send_message(socket, &message, &fd, fd >= 0 ? 1 : 0);
}

bool handover_send_sockets(int socket, const GArray *fds)
{
    const HandoverMessage message = { .kind = HANDOVER_SOCKETS, .format = HANDOVER_FORMAT, .value = fds->len };
    for (guint done = 0; done < fds->len; done += FDS_A_MESSAGE) {
        size_t count = MIN(FDS_A_MESSAGE, fds->len - done);
        if (!send_message(socket, &message, &g_array_index(fds, int, done), count)) return false;
    }
    return true;
}

static void take_descriptors(struct msghdr *head, GArray *fds)
{
    for (struct cmsghdr *each = CMSG_FIRSTHDR(head); each != NULL; each = CMSG_NXTHDR(head, each)) {
        if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(each) + i * sizeof(int), sizeof(fd));
            if (fds != NULL) g_array_append_val(fds, fd);
            if (fds == NULL) close(fd);
        }
    }
}

HandoverGot handover_receive(int socket, int wait_ms, HandoverMessage *message, GArray *fds)
{
    union {
        char bytes[CMSG_SPACE(FDS_A_MESSAGE * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct pollfd poll_fd = { .fd = socket, .events = POLLIN };
    int ready;
    do {
        ready = poll(&poll_fd, 1, wait_ms);
    } while (ready < 0 && errno == EINTR);
    if (ready == 0) return HANDOVER_NOTHING;
    struct iovec part = { message, sizeof(*message) };
    struct msghdr head = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes };
    head.msg_controllen = sizeof(control.bytes);
    ssize_t got = recvmsg(socket, &head, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got == 0) return HANDOVER_GONE;
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return HANDOVER_NOTHING;
    /* The first if it has ended with something unread. */
    if (got < 0) return errno == ECONNRESET || errno == EPIPE ? HANDOVER_GONE : HANDOVER_BAD;
    take_descriptors(&head, fds);
    message->text[sizeof(message->text) - 1] = '\0';
    bool whole = got == (ssize_t)sizeof(*message) && !(head.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
    return whole ? HANDOVER_MESSAGE : HANDOVER_BAD;
}

/* ---- the old process ---- */

extern char **environ;

/* The descriptors keep their numbers, but not their close-on-exec. */
static int spawn(HandoverChild *child, const char *program, char *const *words, const char *directory, int its_socket,
                 HandoverLocks locks)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    g_autofree char *value = g_strdup_printf("%d %d %d", its_socket, locks.file, locks.directory);
    g_auto(GStrv) its_environ = g_environ_setenv(g_strdupv(environ), VARIABLE, value, TRUE);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, its_socket, its_socket);
    posix_spawn_file_actions_adddup2(&actions, locks.file, locks.file);
    if (locks.directory >= 0) posix_spawn_file_actions_adddup2(&actions, locks.directory, locks.directory);
    posix_spawn_file_actions_addchdir_np(&actions, directory);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    int failed = posix_spawn(&child->pid, program, &actions, &attributes, words, its_environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return failed;
}

char *handover_spawn(HandoverChild *child, const char *program, char *const *words, const char *directory,
                     HandoverLocks locks)
{
    int ends[2];
    *child = (HandoverChild){ .socket = -1 };
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return g_strdup_printf("no socket pair can be had: %s", g_strerror(errno));
    const struct timeval limit = { .tv_sec = HANDOVER_SEND_S };
    for (int i = 0; i < 2; i++)
        setsockopt(ends[i], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    int failed = spawn(child, program, words, directory, ends[1], locks);
    close(ends[1]);
    child->socket = ends[0];
    if (failed == 0) return NULL;
    close(child->socket);
    *child = (HandoverChild){ .socket = -1 };
    return g_strdup_printf("%s can't be started: %s", program, g_strerror(failed));
}

char *handover_end(HandoverChild *child)
{
    int status = 0;
    pid_t ended = waitpid(child->pid, &status, WNOHANG);
    for (int waits = 0; ended == 0 && waits < 20; waits++) { /* one that has refused is about to end */
        g_usleep(1000);
        ended = waitpid(child->pid, &status, WNOHANG);
    }
    bool killed = ended == 0;
    if (killed) {
        kill(child->pid, SIGKILL);
        waitpid(child->pid, &status, 0);
    }
    if (child->socket >= 0) close(child->socket);
    *child = (HandoverChild){ .socket = -1 };
    if (killed) return g_strdup("it was ended");
    if (WIFSIGNALED(status)) return g_strdup_printf("signal %d", WTERMSIG(status));
    return g_strdup_printf("exit status %d", WEXITSTATUS(status));
}

/* (One that has died may have said it, too.) */
bool handover_serves(HandoverChild *child)
{
    siginfo_t how;
    HandoverMessage message;
    HandoverGot got;
    kill(child->pid, SIGSTOP);
    while (waitid(P_PID, (id_t)child->pid, &how, WSTOPPED | WEXITED | WNOWAIT) != 0 && errno == EINTR)
        continue;
    do {
        got = handover_receive(child->socket, 0, &message, NULL);
    } while (got == HANDOVER_MESSAGE && message.kind == HANDOVER_ALIVE);
    bool serves = got == HANDOVER_MESSAGE && message.kind == HANDOVER_SERVING;
    if (serves) kill(child->pid, SIGCONT);
    return serves;
}

void handover_kill(HandoverChild *child)
{
    g_assert(child->pid > 0); /* 0 is this process and its group */
    kill(child->pid, SIGKILL);
    close(child->socket);
    child->socket = -1;
}

bool handover_is_gone(HandoverChild *child)
{
    if (child->pid != 0 && waitpid(child->pid, NULL, WNOHANG) != 0) child->pid = 0;
    return child->pid == 0;
}

/* ---- the new process ---- */

static int socket_fd = -1;
static HandoverLocks inherited = { -1, -1 };

bool handover_inherited(void)
{
    const char *value = getenv(VARIABLE);
    /* An older build, which locks ckv.lock alone, says two numbers; and reads two. */
    if (value == NULL || sscanf(value, "%d %d %d", &socket_fd, &inherited.file, &inherited.directory) < 2) return false;
    unsetenv(VARIABLE); /* no child of ours inherits them */
    fcntl(socket_fd, F_SETFD, FD_CLOEXEC);
    fcntl(inherited.file, F_SETFD, FD_CLOEXEC);
    if (inherited.directory >= 0) fcntl(inherited.directory, F_SETFD, FD_CLOEXEC);
    return true;
}

HandoverLocks handover_locks(void)
{
    return inherited;
}

int handover_socket(void)
{
    return socket_fd;
}

void handover_alive(void)
{
    static int64_t said_us;
    struct pollfd poll_fd = { .fd = socket_fd, .events = 0 };
    if (socket_fd < 0 || clock_now_us() - said_us < ALIVE_US / 10) return;
    if (poll(&poll_fd, 1, 0) > 0) _exit(1); /* the old process is gone, and its clients with it */
    if (clock_now_us() - said_us < ALIVE_US) return;
    said_us = clock_now_us();
    handover_send(socket_fd, HANDOVER_ALIVE, 0, NULL, -1);
}

void handover_refuse(const char *why)
{
    if (socket_fd >= 0) handover_send(socket_fd, HANDOVER_REFUSED, 0, why, -1);
}

void handover_done(void)
{
    close(socket_fd);
    socket_fd = -1;
}
