/* background.c: see background.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/background.h"

#include <stdint.h>
#include <sys/param.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How much nicer the thread is than the loop, and for how long it may go on when the loop wants the core: the
 * scheduler's own slice is 3 ms, which is a stall. (Kernels before 6.12 take no slice.) On a core that the loop fills,
 * the thread gets a tenth of it: a fixed 15, beside a loop at -10, was less than a hundredth, and a checkpoint didn't
 * end while the load lasted. */
#define NICER    10
#define SLICE_NS 200000
#define NICE_MAX 19

/* struct sched_attr of sched_setattr(2), which glibc has no header for that goes with its own. */
typedef struct SchedAttr {
    uint32_t size, policy; /* policy 0: SCHED_OTHER */
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
} SchedAttr;

/* Linux: each thread has its own priority. */
void background_enter(void)
{
    int nice = MIN(getpriority(PRIO_PROCESS, (id_t)gettid()) + NICER, NICE_MAX);
    SchedAttr attr = { .size = sizeof(attr), .nice = nice, .runtime_ns = SLICE_NS };
    if (syscall(SYS_sched_setattr, 0, &attr, 0) != 0) setpriority(PRIO_PROCESS, (id_t)gettid(), nice);
}
