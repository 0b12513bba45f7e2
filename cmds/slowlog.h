/* slowlog.h: the slow log and the latency monitor, for those who have something to note. Their commands are in
 * slowlog.c.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_SLOWLOG_H
#define CKV_CMDS_SLOWLOG_H

#include "base/options.h"
#include "cmds/command.h"

/* What the slow log keeps, and the latency monitor. */
static inline bool slowlog_is_slow(int64_t took_us)
{
    return took_us >= options.slowlog_log_slower_than && options.slowlog_log_slower_than >= 0;
}

static inline bool latency_is_spike(int64_t took_us)
{
    return options.latency_monitor_threshold != 0 && took_us / 1000 >= options.latency_monitor_threshold;
}

/* A command ran for so long: kept if it's over one of the thresholds. */
void slowlog_keep(const Request *r, int64_t took_us);
static inline void slowlog_note(const Request *r, int64_t took_us)
{
    if (G_UNLIKELY(slowlog_is_slow(took_us) || latency_is_spike(took_us))) slowlog_keep(r, took_us);
}

/* An event took so long: kept if it's over latency-monitor-threshold. `event` is a literal. */
void latency_note(const char *event, int64_t took_ms);

/* Both, for the process that takes over. */
void slowlog_save(Tape *tape);
void slowlog_restore(TapeReader *tape);
void latency_save(Tape *tape);
void latency_restore(TapeReader *tape);

#endif
