/* feed.h: an RDB file's keys into a running server: `ckv import --port`. import.c calls it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_TOOLS_FEED_H
#define CKV_TOOLS_FEED_H

#include "tools/rdbfile.h"
#include "tools/tools.h"

/* Into the server that the options name. `databases`: how many the file may have. */
ToolStatus feed_server(RdbFile *file, bool replace, int databases);

#endif
