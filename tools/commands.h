/* commands.h: keys as commands that make them again, in RESP: what `ckv dump` and `ckv import` write.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_TOOLS_COMMANDS_H
#define CKV_TOOLS_COMMANDS_H

#include <stdio.h>

#include "store/entry.h"

typedef struct Commands Commands;

/* They go to `to`, which is borrowed and buffered; an error stays until ferror. */
Commands *commands_new(FILE *to);
void commands_free(Commands *commands);

/* Writes what makes a key that isn't there; big collections take many commands. Returns their number. */
uint64_t commands_of_entry(Commands *commands, const Entry *entry);
/* Its value under another name, which is to be given up after so many seconds unless PERSIST comes. */
uint64_t commands_of_value(Commands *commands, Slice key, const Entry *entry, int seconds);
/* One command. */
void commands_write(Commands *commands, const Slice *argv, int argc);
void commands_select(Commands *commands, int db);

#endif
