/* background.h: threads that work beside the loop on what nobody waits for.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_BASE_BACKGROUND_H
#define CKV_BASE_BACKGROUND_H

#include <glib.h>
#include <stdbool.h>

/* A new thread; NULL: there can be none now, and *error says why (g_free it). */
GThread *background_start(const char *name, GThreadFunc run, void *context, char **error);

/* A thread that is kept, for work that ends and begins again: it can begin also when there can be no further threads.
 * Zeroed at first. */
typedef struct BackgroundWorker {
    GMutex lock;
    GCond changed;
    GThread *thread; /* NULL: there's none yet */
    GThreadFunc run; /* NULL: it has nothing to do */
} BackgroundWorker;

/* Has it run that, once what it did before has ended. False: it has no thread yet and can have none now; *error says
 * why (g_free it). */
bool background_work(BackgroundWorker *worker, const char *name, GThreadFunc run, char **error);
/* Waits until that has ended. */
void background_wait(BackgroundWorker *worker);

/* The calling thread lets the loop go first from now on, where they share a core. */
void background_enter(void);

/* Called between small pieces of such a thread's work: lets the loop go on, if it waits for the core and the thread has
 * had it for long enough. In other threads it does nothing. */
void background_rest(void);

#endif
