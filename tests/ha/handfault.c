/* handfault.c: a library for LD_PRELOAD that sends a signal to one of the two processes of a live upgrade when one of
 * them says a chosen word to the other (repl/handover.h). Nothing of CKV knows of it.
 *
 * What is to be done is in the file that HANDFAULT names, which goes when it's done: "KIND WHEN WHOM SIGNAL": the
 * number of the message; before or after it's sent; self, the process that sends it, or peer, the other one; a number.
 * The id of the new process is then in HANDFAULT.new: the old one may not have come to log it. With "late" for whom and
 * signal, the new one doesn't send it before the old one has given it up, and is about to end it; which it does when it
 * has been said, and the new one has had time to go on.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <dlfcn.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "repl/handover.h"

#define SERVED_US 100000

static pid_t child; /* 0: this isn't the old process */
static bool late;   /* the message that is being sent */

typedef int Spawn(pid_t *restrict, const char *restrict, const posix_spawn_file_actions_t *,
                  const posix_spawnattr_t *restrict, char *const[restrict], char *const[restrict]);

int posix_spawn(pid_t *restrict pid, const char *restrict path, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *restrict attributes, char *const argv[restrict], char *const envp[restrict])
{
    Spawn *real = (Spawn *)(uintptr_t)dlsym(RTLD_NEXT, "posix_spawn");
    int failed = real(pid, path, actions, attributes, argv, envp);
    child = failed == 0 ? *pid : 0;
    return failed;
}

static void tell_new(const char *plan)
{
    char path[512];
    snprintf(path, sizeof(path), "%s.new", plan);
    FILE *file = fopen(path, "we");
    if (file == NULL) abort();
    fprintf(file, "%d\n", (int)(child != 0 ? child : getpid()));
    fclose(file);
}

/* HANDFAULT with `ending` behind it; "" without. */
static void beside_plan(const char *ending, char path[512])
{
    const char *plan = getenv("HANDFAULT");
    snprintf(path, 512, "%s%s", plan != NULL ? plan : "", plan != NULL ? ending : "");
}

static void touch(const char *ending)
{
    char path[512];
    beside_plan(ending, path);
    FILE *file = fopen(path, "we");
    if (file == NULL) abort();
    fclose(file);
}

static void wait_for_end_of(const char *ending)
{
    char path[512];
    beside_plan(ending, path);
    while (access(path, F_OK) == 0)
        usleep(1000);
}

/* The old process is about to end the new one: if a message is late, it's sent now. */
static void let_late_go(void)
{
    char path[512];
    beside_plan(".late", path);
    if (child == 0 || access(path, F_OK) != 0) return;
    touch(".unsaid");
    unlink(path);
    wait_for_end_of(".unsaid");
    usleep(SERVED_US);
}

int kill(pid_t pid, int number)
{
    let_late_go();
    return (int)syscall(SYS_kill, pid, number);
}

pid_t waitpid(pid_t pid, int *status, int options)
{
    let_late_go();
    return (pid_t)syscall(SYS_wait4, pid, status, options, NULL);
}

/* Does what is asked for, if it is for this moment. */
static void act(uint32_t kind, const char *moment)
{
    const char *path = getenv("HANDFAULT");
    FILE *file = path != NULL ? fopen(path, "re") : NULL;
    unsigned wanted = 0;
    int number = 0;
    char when[8] = "", whom[8] = "";
    if (file == NULL) return;
    int words = fscanf(file, "%u %7s %7s %d", &wanted, when, whom, &number);
    fclose(file);
    if (words != 4 || wanted != kind || strcmp(when, moment) != 0) return;
    tell_new(path);
    unlink(path);
    if ((late = strcmp(whom, "late") == 0)) {
        touch(".late");
        wait_for_end_of(".late");
        return;
    }
    pid_t other = child != 0 ? child : getppid();
    kill(strcmp(whom, "self") == 0 ? getpid() : other, number);
}

static bool is_message(int fd, const struct msghdr *head)
{
    int type = 0;
    socklen_t len = sizeof(type);
    if (head->msg_iovlen != 1 || head->msg_iov[0].iov_len != sizeof(HandoverMessage)) return false;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET;
}

ssize_t sendmsg(int fd, const struct msghdr *head, int flags)
{
    uint32_t kind = 0;
    if (is_message(fd, head)) memcpy(&kind, head->msg_iov[0].iov_base, sizeof(kind));
    if (kind != 0) act(kind, "before");
    ssize_t sent = syscall(SYS_sendmsg, fd, head, flags);
    if (kind != 0 && sent > 0) act(kind, "after");
    if (kind != 0 && late) {
        char path[512];
        beside_plan(".unsaid", path);
        unlink(path);
        late = false;
    }
    return sent;
}
