/* link.h: a slave's connection to its master: bytes out, bytes in, broken. Knows nothing of what they mean; slave.c
 * does.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_REPL_LINK_H
#define CKV_REPL_LINK_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/slice.h"
#include "base/tape.h"
#include "net/loop.h"
#include "net/out.h"

typedef struct Link Link;

/* Any of these may close the link. */
typedef struct LinkHandlers {
    void (*connected)(void);
    void (*readable)(void);          /* link_read has something, or the end */
    void (*broken)(const char *why); /* it can't be found, connected, or written to; closes the link */
} LinkHandlers;

/* Begins to connect; if the host isn't an address, when its name has been looked up. NULL: *error says why not
 * (g_free). */
Link *link_open(Loop *loop, const char *host, int64_t port, const LinkHandlers *handlers, char **error);
void link_close(Link *link);

/* Sends a command, or bytes, as soon as they can go. */
void link_send(Link *link, const Slice *argv, int argc);
void link_send_raw(Link *link, Slice bytes);

/* As read(2): 0 at the end, -1 with errno (EAGAIN: nothing now). */
ssize_t link_read(Link *link, void *to, size_t len);
/* While paused, `readable` isn't called: what comes waits in the kernel. */
void link_pause(Link *link, bool paused);

int link_fd(const Link *link);
/* What waits to be sent; good until the link does something. */
const Out *link_out(const Link *link);

/* For the process that takes over, beside the descriptor: what waits to be sent. */
void link_save(const Link *link, Tape *tape);
Link *link_restore(Loop *loop, int fd, const LinkHandlers *handlers, TapeReader *tape);

#endif
