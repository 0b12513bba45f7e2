/* clock.c: see clock.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/clock.h"

#include <time.h>

int64_t clock_unix_ms;
int64_t clock_unix_us;
int64_t clock_mono_us;

static int64_t read_us(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_now_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

void clock_refresh(void)
{
    clock_unix_us = read_us(CLOCK_REALTIME);
    clock_unix_ms = clock_unix_us / 1000;
    clock_mono_us = clock_now_us();
}
