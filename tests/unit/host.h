/* host.h: the commands' server without a listener, for tests that give it commands themselves.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_TESTS_UNIT_HOST_H
#define CKV_TESTS_UNIT_HOST_H

#include "net/client.h"
#include "net/loop.h"
#include "store/keyspace.h"
#include "store/manifest.h"

/* Makes a directory for the test's files and goes there; and removes it, and is in / then. False: it can't. */
bool host_enter_directory(void);
bool host_leave_directory(void);

/* Makes such a directory with a MANIFEST, whose secret keyspaces that are made from now on have; and leaves it, and
 * frees the keyspace, and what there was to know of its checkpoints. False: it can't. */
bool host_enter_checkpoints(Manifest *manifest);
bool host_leave_checkpoints(Keyspace *ks, Manifest *manifest);

/* Whether threads can be started from now on; false: as where there are as many as there may be. */
void host_allow_threads(bool allowed);

/* A loop, clients' handlers and an empty keyspace of 16 databases, which the caller frees. */
Loop *host_start(void);

/* A client that may do all, and (unless NULL) the other end of its connection. */
Client *host_client(int *other_end);

/* In such a directory: the options as they are at first, and host_start with changes noted for checkpoints. NULL: it
 * can't. The client may do all. */
Loop *host_start_checkpoints(Client **client);
bool host_stop_checkpoints(void);

/* What the client has been answered since; to g_free. */
char *host_take_reply(Client *client);

#endif
