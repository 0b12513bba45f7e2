/* sync.h: the commands of a master and its slaves, and WAIT: what others need of sync.c.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_SYNC_H
#define CKV_CMDS_SYNC_H

#include "cmds/command.h"

/* Starts the master's half. Before the first client. */
void sync_init(Loop *loop);

/* Ends a closing session's WAIT. */
void sync_forget(Session *session);

/* Whether the slaves allow a write (min-slaves-to-write, ack slave); if not, answers NOREPLICAS. */
bool sync_admits(Out *out);

/* Clients in WAIT: INFO's blocked_clients. */
size_t sync_waiting(void);

#endif
