/* background.h: threads that work beside the loop on what nobody waits for.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_BASE_BACKGROUND_H
#define CKV_BASE_BACKGROUND_H

#include <glib.h>

/* A new thread; NULL: there can be none now, and *error says why (g_free it). */
GThread *background_start(const char *name, GThreadFunc run, void *context, char **error);

/* The calling thread lets the loop go first from now on, where they share a core. */
void background_enter(void);

/* Called between small pieces of such a thread's work: lets the loop go on, if it waits for the core and the thread has
 * had it for long enough. In other threads it does nothing. */
void background_rest(void);

#endif
