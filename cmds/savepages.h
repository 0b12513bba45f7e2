/* savepages.h: before a command runs, the pages that it's about to change are saved for a running checkpoint, over as
 * many turns of the loop as that takes. Asked by command.c and transactions.c.
 *
 * Design. What changes has its page saved first, wherever that is (pages_touch): nothing here is needed for a
 * checkpoint to be right. But a command of thousands of keys or members would save as many pages in one turn. So as
 * long as a checkpoint wants pages, a command is put off until those that it'll change are saved, as far as that can be
 * told from its arguments: its keys' and its members', or all of its value's. The next turn goes on where this one
 * ended, since what is saved stays saved.
 *
 * A master's stream is held up in the same way (slave.c). What has come of it is run before SLAVEOF and
 * PSYNC … FAILOVER: a slave that's made a master has all that it was sent.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_SAVEPAGES_H
#define CKV_CMDS_SAVEPAGES_H

#include "cmds/command.h"

/* Saves the pages that the command changes, those that the running checkpoint wants saved first, as many as there's
 * time for in this turn of the loop. The number of its arguments fits. True: all are, or it saves few when it runs. */
bool savepages_before(const Command *command, Db *db, const Slice *argv, size_t argc);

/* What commands will remove, by their arguments: from `first` on so many ranks (zsets.c), so many elements from both
 * ends (lists.c). False: they're wrong. */
bool zremrange_removes(CommandHandler handler, const Zset *zset, const Slice *argv, size_t *first, size_t *count);
bool ltrim_removes(const List *list, const Slice *argv, size_t *removed);

#endif
