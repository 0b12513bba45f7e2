/* simio.h: a table of file operations for tests: the kernel's, with faults, with a disk that gets full, and with a log
 * from which the directory is rebuilt as a power cut might have left it. Syncs aren't passed on: they cost time.
 *
 * Everything below is for one thread; the operations themselves may be called in several.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_TESTS_SIMIO_H
#define CKV_TESTS_SIMIO_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/io.h"

typedef enum SimOp {
    SIM_OPEN,
    SIM_CLOSE,
    SIM_READ,
    SIM_WRITE,
    SIM_SYNC,
    SIM_ALLOCATE,
    SIM_TRUNCATE,
    SIM_RENAME,
    SIM_UNLINK,
    SIM_MKDIR,
    SIM_OPS
} SimOp;

extern const char *const sim_op_name[SIM_OPS];

/* Puts the table in force, without faults, limits or a log; and the kernel's back. */
void sim_start(void);
void sim_stop(void);

/* The nth call (from 1) from now on of an operation fails, and `times` - 1 after it. A write that fails has written
 * half; a close that fails has closed; a sync that fails has lost what it should have made durable (but reading gives
 * it still). nth 0: none fails. */
void sim_fail(SimOp op, uint64_t nth, uint64_t times, int error);
/* Did it come to that, since it was set? */
bool sim_has_failed(SimOp op);
/* Calls of an operation since sim_start. */
uint64_t sim_calls(SimOp op);
uint64_t sim_calls_here(SimOp op); /* in the thread that called sim_start */

/* Bytes that can yet be written or allocated before the disk is full (overwriting costs too); negative: no limit. */
void sim_set_room(int64_t bytes);
/* Whether the page cache has only what another thread than that of sim_start has read just now. (sim_stop waits for
 * the threads that are begun to read it.) */
void sim_set_cold(bool is_cold);
/* How long a sync takes. */
void sim_set_sync_us(unsigned long us);
/* Bytes that the kernel was told to begin to write. */
uint64_t sim_begun_bytes(void);

/* From now on keeps a log of what happens to files below the working directory. What is there already is durable. */
void sim_record(void);
/* Notes in the log that from here on something is promised to be durable. */
void sim_note(uint64_t value);
/* Events in the log. */
size_t sim_events(void);
/* Builds in `directory` (empty, existing) what a power cut after so many events might leave: what was synced, and of
 * what wasn't, anything. The largest note before. */
uint64_t sim_power_cut(size_t events, GRand *rand, const char *directory);

#endif
