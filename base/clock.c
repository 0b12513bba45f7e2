/* clock.c: see clock.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/clock.h"

#include <glib.h>
#include <time.h>

#define TICK_SPAN_US     1000000
#define TICK_SPAN_MIN_US 2000

int64_t clock_unix_ms;
int64_t clock_unix_us;
int64_t clock_mono_us;
bool clock_counter;
double clock_tick_us;

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

uint64_t clock_slow_ticks(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Whether the kernel's own clock is the processor's counter: then it runs evenly, and is the same on all processors. */
static bool kernel_counts(void)
{
    g_autofree char *source = NULL;
    return g_file_get_contents("/sys/devices/system/clocksource/clocksource0/current_clocksource", &source, NULL,
                               NULL) &&
           g_str_has_prefix(source, "tsc");
}

/* Measures a tick against the clock, over the last second or two. */
static void measure_tick(void)
{
    static int64_t since_us, next_us;
    static uint64_t since, next;
    uint64_t ticks = clock_ticks();
    if (since == 0) {
        clock_counter = kernel_counts();
        since = next = clock_ticks();
        since_us = next_us = clock_now_us();
        return;
    }
    if (clock_mono_us - next_us > TICK_SPAN_US) {
        since = next;
        since_us = next_us;
        next = ticks;
        next_us = clock_mono_us;
    }
    if (clock_mono_us - since_us >= TICK_SPAN_MIN_US && ticks > since)
        clock_tick_us = (double)(clock_mono_us - since_us) / (double)(ticks - since);
}

void clock_refresh(void)
{
    clock_unix_us = read_us(CLOCK_REALTIME);
    clock_unix_ms = clock_unix_us / 1000;
    clock_mono_us = clock_now_us();
    measure_tick();
}
