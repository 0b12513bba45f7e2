/* replication.h: this server's part in replication, master or slave: what others need of replication.c.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_REPLICATION_H
#define CKV_CMDS_REPLICATION_H

#include "cmds/command.h"

/* Takes the part that the options give, before any data is loaded. After server_init. */
void replication_init(Loop *loop);

/* Whether a slave runs the request's command for this client; if not, answers READONLY or MASTERDOWN. */
bool replication_admits_write(Request *r);
bool replication_admits(Request *r);

/* INFO's section. */
void replication_append_info(GString *info);

#endif
