/* building.h: a new data directory that was built in DIR/import.tmp, and how it's put in place: by `ckv import`, or, if
 * that ended in the middle, by the server that starts on DIR. Whoever calls this has DIR locked.
 *
 * Design. import.tmp is whole if its MANIFEST names the checkpoint, which is made last. The files are moved one after
 * the other, MANIFEST last, so DIR has a MANIFEST if it has all of them.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_BUILDING_H
#define CKV_STORE_BUILDING_H

#include <stdbool.h>

#define BUILDING_DIRECTORY "import.tmp"

/* Puts in place what isn't yet. NULL, or a message (g_free it). */
char *building_put_in_place(const char *dir);

/* Puts in place what is whole, and removes what isn't, or isn't needed any more. False: *error says why (g_free it). */
bool building_finish(const char *dir, char **error);

#endif
