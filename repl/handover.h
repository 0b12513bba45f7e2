/* handover.h: a live upgrade: what the process that serves and the one that is to take over say to each other, in which
 * order, and who may write the data directory meanwhile. cmds/upgrade.c drives it in the old one, ckv.c in the new one;
 * what is handed over is theirs.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Design. The new process is a child of the old one, by posix_spawn (no page table is copied), with the words and in
 * the directory that the old one was started with. A socket pair of whole messages joins the two. The steps, by who
 * speaks:
 *
 *   new  HELLO     which format it speaks, and its version. Nothing was opened or moved by then.
 *   old  BEGIN     the same, and a tape (base/tape.h) of the options in force; checkpoints are held from before it on
 *   new  ALIVE     each second, while it loads the newest checkpoint and the journal: it reads the data directory, and
 *                  writes nothing there
 *   new  LOADED    it has the journal up to this offset
 *   old  FOLLOW    go on up to this offset; with it a tape of what clients have unsent and unfinished so far, if that's
 *                  much: net/ahead.h. And so on with LOADED, until what is missing is little, and all before is durable
 *   old  STATE     the pause begins: a tape of all the rest, the clients above all, and the journal's end
 *   old  SOCKETS   their descriptors, in as many messages as it takes
 *   new  PREPARED  it has all of it
 *   old  COMMIT    the old one doesn't write the data directory any more, unless the new one is dead
 *   new  SERVING   its journal is open; the old one ends
 *   new  REFUSED   at any time: it can't, and why; it ends
 *
 * The one message that counts is COMMIT. Before it the old process alone may write the data directory; it has stopped
 * its journal, but has all of its state, and goes on when the new one refuses, dies, or takes too long (it's killed).
 * The new one ends when the old one dies; but once it has said PREPARED it has all that there is, and goes on as if it
 * had got COMMIT: the socket's end says that the old one is dead, since that one never closes its own end while the new
 * one lives. From COMMIT on the new one alone may; if the old one dies, that's no matter. If the new one dies before
 * SERVING, the old one, whose child it is, knows for certain, and goes on: the journal is as it was left, since no
 * client is served before. If it takes too long to say that, it's stopped first: it may have come to it meanwhile, and
 * have answered clients; then it goes on after all, and only if it hasn't it's killed. The locks of the data directory
 * are the same open files in both, which the new one inherits, so they're held for as long as either lives, and there's
 * no moment in between.
 *
 * With persistence no the same is said, of a checkpoint and a journal that are made for this upgrade, in a directory of
 * their own; cmds/transit.h says what is other then.
 *
 * HELLO and REFUSED keep their form in all formats; everything else may change with HANDOVER_FORMAT. So a version that
 * doesn't fit is told before anything is moved.
 */
#ifndef CKV_REPL_HANDOVER_H
#define CKV_REPL_HANDOVER_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/tape.h"

#ifndef HANDOVER_FORMAT /* the tests build others */
#define HANDOVER_FORMAT 4
#endif
#define HANDOVER_TEXT_CHARS 480

typedef enum HandoverKind {
    HANDOVER_HELLO = 1,
    HANDOVER_REFUSED,
    HANDOVER_BEGIN,
    HANDOVER_ALIVE,
    HANDOVER_LOADED,
    HANDOVER_FOLLOW,
    HANDOVER_STATE,
    HANDOVER_SOCKETS,
    HANDOVER_PREPARED,
    HANDOVER_COMMIT,
    HANDOVER_SERVING,
} HandoverKind;

typedef struct HandoverMessage {
    uint32_t kind, format;
    uint64_t value;                 /* an offset, or a number of descriptors */
    char text[HANDOVER_TEXT_CHARS]; /* a version; why it's refused */
} HandoverMessage;

/* Both fail if they can't send for HANDOVER_SEND_S; `fd` -1: none. */
#define HANDOVER_SEND_S 2
bool handover_send(int socket, HandoverKind kind, uint64_t value, const char *text, int fd);
bool handover_send_sockets(int socket, const GArray *fds);

typedef enum HandoverGot { HANDOVER_MESSAGE, HANDOVER_NOTHING, HANDOVER_GONE, HANDOVER_BAD } HandoverGot;
/* Waits for `wait_ms` at most (-1: for as long as it takes). Descriptors that came are appended to `fds` (int), or
 * closed if that is NULL. GONE: the other process has ended. BAD: it sends what is no message. */
HandoverGot handover_receive(int socket, int wait_ms, HandoverMessage *message, GArray *fds);

/* What is locked: ckv.lock, and the directory itself (-1: it can't be). */
typedef struct HandoverLocks {
    int file, directory;
} HandoverLocks;

/* ---- the old process ---- */

typedef struct HandoverChild {
    pid_t pid;  /* 0: none */
    int socket; /* -1: none, or it was killed */
} HandoverChild;

/* Starts the program with these words, in that directory. NULL, or why it can't be (g_free). */
char *handover_spawn(HandoverChild *child, const char *program, char *const *words, const char *directory,
                     HandoverLocks locks);
/* It's dead when this returns; how it ended, to g_free: "exit status 1". */
char *handover_end(HandoverChild *child);
/* Behind COMMIT, when nobody wants to wait any longer: whether it has said SERVING by now, and goes on. If not, it's
 * stopped, so it won't, and is to be ended. */
bool handover_serves(HandoverChild *child);
/* Kills it, before COMMIT; with much memory it takes its time to die, for which nobody waits. Whether it's gone: */
void handover_kill(HandoverChild *child);
bool handover_is_gone(HandoverChild *child);

/* ---- the new process ---- */

/* Whether this process is to take over; then its ends of the socket and of the locks are known. At the start, once. */
bool handover_inherited(void);
HandoverLocks handover_locks(void);
int handover_socket(void);
/* To be called now and then, while it loads: says that it lives; ends the program if the old one doesn't. */
void handover_alive(void);
/* Says why it can't take over, as far as somebody listens. The program is to end. Nothing if it isn't to take over. */
void handover_refuse(const char *why);
/* It has taken over: the socket goes. */
void handover_done(void);

#endif
