/* slowlog.h: the slow log and the latency monitor, for those who have something to note. Their commands are in
 * slowlog.c.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_SLOWLOG_H
#define CKV_CMDS_SLOWLOG_H

#include "base/options.h"
#include "cmds/command.h"

/* A command ran for so long: kept if it's over the thresholds. */
void slowlog_keep(const Request *r, int64_t took_us);
static inline void slowlog_note(const Request *r, int64_t took_us)
{
    bool slow = took_us >= options.slowlog_log_slower_than && options.slowlog_log_slower_than >= 0;
    bool spike = options.latency_monitor_threshold != 0 && took_us / 1000 >= options.latency_monitor_threshold;
    if (G_UNLIKELY(slow || spike)) slowlog_keep(r, took_us);
}

/* An event took so long: kept if it's over latency-monitor-threshold. `event` is a literal. */
void latency_note(const char *event, int64_t took_ms);

/* Both, for the process that takes over. */
void slowlog_save(Tape *tape);
void slowlog_restore(TapeReader *tape);
void latency_save(Tape *tape);
void latency_restore(TapeReader *tape);

#endif
