/* loop.h: the readiness loop: descriptors, timers, wake-ups from threads. Knows descriptors only.
 *
 * Design. One epoll descriptor watches all those that are only read from, which is nearly all of them nearly all the
 * time; while there are others, poll(2) waits for them and for that one, else epoll itself does. Measured with clients
 * on the other core of a two-core machine, keeping busy readers in poll's own array instead took 19 % more CPU a
 * request at 50 connections and 40 % more at 2,000 (few are ready at once, and poll asks each), and a thousand times as
 * much at 10,000 idle ones. Without epoll, or with the plain-poll option, poll watches all.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_NET_LOOP_H
#define CKV_NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Loop Loop;
typedef struct Watch Watch;

/* Bits as poll's: what is wanted, and what is ready (errors and hang-ups show as readable and writable). */
#define LOOP_READ  1
#define LOOP_WRITE 2

typedef void (*LoopReady)(int fd, unsigned ready, void *context);
typedef void (*LoopTask)(void *context);
/* Returns the delay in ms until the next run, or -1 to end the timer. */
typedef int64_t (*LoopTimer)(void *context);

Loop *loop_new(bool plain_poll);
void loop_free(Loop *loop);

/* Watches a descriptor; `wanted` may be 0: then errors and hang-ups don't show either. The watch is freed by
 * loop_unwatch (safe inside any callback; no further call of it comes). */
Watch *loop_watch(Loop *loop, int fd, unsigned wanted, LoopReady ready, void *context);
void loop_want(Loop *loop, Watch *watch, unsigned wanted);
void loop_unwatch(Loop *loop, Watch *watch);

/* Calls `timer` after `delay_ms`, and again as it says. */
void loop_timer(Loop *loop, int64_t delay_ms, LoopTimer timer, void *context);

/* Called every turn: before the wait (flush what is due) and after all ready callbacks (run the batch). One each. */
void loop_set_hooks(Loop *loop, LoopTask before_wait, LoopTask after_ready, void *context);

/* Keeps the next wait from blocking: there is work left. */
void loop_no_wait(Loop *loop);

/* From any thread, or a signal handler: wakes the loop. */
void loop_wake(Loop *loop);

/* Runs until loop_stop; may be called again then. Refreshes base/clock after each wait. */
void loop_run(Loop *loop);
void loop_stop(Loop *loop);
bool loop_is_stopping(const Loop *loop);

/* "poll+epoll" or "poll": INFO's multiplexing_api. */
const char *loop_api(const Loop *loop);

#endif
