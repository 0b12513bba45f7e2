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

/* This server follows another: what is waited for won't be. All who are in WAIT get an error, and are closed. */
void sync_demoted(void);
/* The same after a rollback. What clients have written up to now isn't there to be waited for, and its offsets will be
 * those of other writes. */
void sync_data_replaced(void);

/* Whether a command of an attached slave is to be run. What would be answered isn't, and ends its connection: a reply
 * would be taken for a part of the stream. (3.2.13 answers; later versions don't.) */
bool sync_takes_from_slave(Client *client, const Slice *argv, size_t argc);

/* Whether the slaves allow a write (min-slaves-to-write, ack slave); if not, answers NOREPLICAS. */
bool sync_admits(Out *out);

/* Clients in WAIT: INFO's blocked_clients. */
size_t sync_waiting(void);

/* Those, for the process that takes over. */
void sync_save(Tape *tape);
void sync_restore(TapeReader *tape);

#endif
