/* replication.h: this server's part in replication, master or slave: what others need of replication.c.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_REPLICATION_H
#define CKV_CMDS_REPLICATION_H

#include "cmds/command.h"

/* Takes the part that the options give, before any data is loaded. After server_init. */
void replication_init(Loop *loop);

/* Whether this server, a slave, runs the request's command for this client; if not, answers READONLY or MASTERDOWN. */
bool replication_admits_write(Request *r);
bool replication_admits(Request *r);

/* A planned switch (failover.c): this server, a master, becomes the slave of one of its slaves, which is asked to be
 * the master, and says so to failover_answered; or it's a master again as before; or the switch is done, and whoever
 * was connected to the master isn't to take this server for one any longer. */
void replication_hand_over(const char *host, int port);
void replication_take_back(void);
void replication_close_clients(void);

/* The other side of it: `history` is what the master that asks for it has. False: the error is out. */
bool replication_take_over(Request *r, Slice history);

/* INFO's section. */
void replication_append_info(GString *info);

#endif
