/* persist.h: the data on disk, as a whole: loading it at the start, opening the journal, closing it at the end. The
 * main program calls it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_PERSIST_H
#define CKV_CMDS_PERSIST_H

/* Loads what the data directory (the working directory) has and opens the journal, unless the option `persistence` is
 * no. NULL, or a message that says what keeps the server from starting (g_free it). After server_init. */
char *persist_start(void);

/* Makes all changes durable, lets go of the replies that waited for it, and closes the journal. */
void persist_stop(void);

#endif
