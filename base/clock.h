/* clock.h: the time of this turn of the loop. The loop refreshes it; everyone reads it.
 *
 * Reading a kernel clock for each command costs more than many commands do, so commands see the time at which their
 * turn began (refreshed after any command that took longer than a millisecond).
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_BASE_CLOCK_H
#define CKV_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* Milliseconds and microseconds since the epoch; microseconds of a clock that never steps back. As of clock_refresh. */
extern int64_t clock_unix_ms;
extern int64_t clock_unix_us;
extern int64_t clock_mono_us;

/* Milliseconds of the latter: for what waits, or is waited for, since the epoch's clock may be set at any time. All
 * processes see the same, so that it may be passed to another one. */
static inline int64_t clock_mono_ms(void)
{
    return clock_mono_us / 1000;
}

/* Reads the kernel's clocks into the variables above. */
void clock_refresh(void);

/* The monotonic clock right now, in microseconds, without touching the variables: for measuring. */
int64_t clock_now_us(void);

/* The same for what is measured by the million: ticks of the processor's counter, where the kernel trusts it too. The
 * kernel's clocks, even those that need no system call, wait until all memory that was asked for has come, which undoes
 * what prefetching gains; this doesn't. */
extern double clock_tick_us; /* microseconds in a tick; 0 until the first milliseconds are over */
/* Whether the counter is read: set by the first clock_refresh. Else a tick is a nanosecond of clock_now_us's clock. */
extern bool clock_counter;
uint64_t clock_slow_ticks(void);

static inline uint64_t clock_ticks(void)
{
#ifdef __x86_64__
    if (__builtin_expect(clock_counter, 1)) return __builtin_ia32_rdtsc();
#endif
    return clock_slow_ticks();
}

#endif
