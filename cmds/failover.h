/* failover.h: a planned switch of a master with one of its slaves: what others need of failover.c.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_FAILOVER_H
#define CKV_CMDS_FAILOVER_H

#include "cmds/command.h"

void failover_init(Loop *loop);

typedef enum FailoverState {
    FAILOVER_NONE,
    FAILOVER_WAITS, /* writes are held, a slave is to catch up */
    FAILOVER_ASKS,  /* this server is a slave by now, and its master is told to be one */
} FailoverState;
extern FailoverState failover_state;

/* Whether the client's command has to wait for the end of the switch; then so does whatever the client sends next. */
bool failover_holds(Client *client, const Command *command);

/* repl/slave.c's: the other server is the master (NULL), or it said why it won't be. */
void failover_answered(const char *refusal);

/* INFO's word. */
const char *failover_state_name(void);

#endif
