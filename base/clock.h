/* clock.h: the time of this turn of the loop. The loop refreshes it; everyone reads it.
 *
 * Reading a kernel clock for each command costs more than many commands do, so commands see the time at which their
 * turn began (refreshed after any command that took longer than a millisecond).
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_BASE_CLOCK_H
#define CKV_BASE_CLOCK_H

#include <stdint.h>

/* Milliseconds and microseconds since the epoch; microseconds of a clock that never steps back. As of clock_refresh. */
extern int64_t clock_unix_ms;
extern int64_t clock_unix_us;
extern int64_t clock_mono_us;

/* Reads the kernel's clocks into the variables above. */
void clock_refresh(void);

/* The monotonic clock right now, in microseconds, without touching the variables: for measuring. */
int64_t clock_now_us(void);

#endif
