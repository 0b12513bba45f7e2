/* diverged.h: what an old master had beyond the point from which the new one went on, put down before it's given up.
 * backups.c calls it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_DIVERGED_H
#define CKV_CMDS_DIVERGED_H

#include <stdint.h>

#include "store/manifest.h"

/* Writes the journal's commands from that offset on into a new file diverged-<unix ms>.resp in the data directory,
 * whose MANIFEST is given, with a SELECT in front if one is needed: redis-cli --pipe takes it. Says in the log how many
 * they are. No one may write to the journal meanwhile. Any thread. NULL, or what is wrong (g_free). */
char *diverged_save(const Manifest *manifest, uint64_t offset);

#endif
