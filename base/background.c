/* background.c: see background.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/background.h"

#include <sched.h>
#include <stdint.h>
#include <sys/param.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

/* How much nicer the thread is than the loop, and for how long it may go on when the loop wants the core: the
 * scheduler's own slice is 3 ms, which is a stall. (Kernels before 6.12 take no slice; and any looks at it only in its
 * tick, each 4 ms here, so the thread has to give the core away itself.) On a core that the loop fills, the thread gets
 * a tenth of it at most: a fixed 15, beside a loop at -10, was less than a hundredth, and a checkpoint didn't end while
 * the load lasted. */
#define NICER    10
#define SLICE_US 200
#define NICE_MAX 19

/* struct sched_attr of sched_setattr(2), which glibc has no header for that goes with its own. */
typedef struct SchedAttr {
    uint32_t size, policy; /* policy 0: SCHED_OTHER */
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
} SchedAttr;

static __thread int64_t rested_us; /* 0: it's no such thread */

GThread *background_start(const char *name, GThreadFunc run, void *context, char **error)
{
    g_autoptr(GError) refused = NULL;
    GThread *thread = g_thread_try_new(name, run, context, &refused);
    if (thread == NULL) {
        *error = g_strdup_printf("%s (%s); raise the limit of threads: ulimit -u, or the service's TasksMax",
                                 refused->message, name);
    }
    return thread;
}

static gpointer work(gpointer context)
{
    BackgroundWorker *worker = context;
    g_mutex_lock(&worker->lock);
    for (;;) {
        while (worker->run == NULL)
            g_cond_wait(&worker->changed, &worker->lock);
        GThreadFunc run = worker->run;
        g_mutex_unlock(&worker->lock);
        run(NULL);
        g_mutex_lock(&worker->lock);
        worker->run = NULL;
        g_cond_broadcast(&worker->changed);
    }
    return NULL;
}

bool background_work(BackgroundWorker *worker, const char *name, GThreadFunc run, char **error)
{
    background_wait(worker);
    if (worker->thread == NULL) worker->thread = background_start(name, work, worker, error);
    if (worker->thread == NULL) return false;
    g_mutex_lock(&worker->lock);
    worker->run = run;
    g_cond_broadcast(&worker->changed);
    g_mutex_unlock(&worker->lock);
    return true;
}

void background_wait(BackgroundWorker *worker)
{
    g_mutex_lock(&worker->lock);
    while (worker->run != NULL)
        g_cond_wait(&worker->changed, &worker->lock);
    g_mutex_unlock(&worker->lock);
}

/* Linux: each thread has its own priority. */
void background_enter(void)
{
    int nice = MIN(getpriority(PRIO_PROCESS, (id_t)gettid()) + NICER, NICE_MAX);
    SchedAttr attr = { .size = sizeof(attr), .nice = nice, .runtime_ns = SLICE_US * 1000 };
    if (syscall(SYS_sched_setattr, 0, &attr, 0) != 0) setpriority(PRIO_PROCESS, (id_t)gettid(), nice);
    rested_us = clock_now_us();
}

void background_rest(void)
{
    if (rested_us == 0 || clock_now_us() - rested_us < SLICE_US) return;
    sched_yield();
    rested_us = clock_now_us();
}
