/* load.h: a directory's dataset into this process' memory, for the tools that only read it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_TOOLS_LOAD_H
#define CKV_TOOLS_LOAD_H

#include <stdbool.h>

#include "store/manifest.h"

/* Loads what a start would load: the newest whole checkpoint, or the older one, or none, and the journal from there.
 * Nothing is written there. `backup`: it's the directory of a backup. `keyspace` has it then. NULL, or a message
 * (g_free); what was passed over (a damaged checkpoint, a torn tail) is said on standard error. */
char *load_directory(const char *directory, bool backup);

/* Whether a start could load this checkpoint file, whatever is wrong with it; false: *error says why not (g_free).
 * Nothing of it is kept. */
bool load_is_possible(const char *path, const CheckpointInfo *info, const uint8_t *secret, char **error);

#endif
