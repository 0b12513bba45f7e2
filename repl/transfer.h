/* transfer.h: a full sync's data on its way from the master into a child process, which makes a data directory of it.
 * slave.c drives it.
 *
 * Design. The master sends "$<bytes>" and so many bytes, or "$EOF:<40 characters>", bytes, and these characters again.
 * The bytes go through a pipe into the child's standard input; what the pipe doesn't take waits here, and meanwhile no
 * more is to be read from the master: neither a slow child nor a slow disk ever holds up the loop. What the child says
 * on its standard error is why it failed.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_REPL_TRANSFER_H
#define CKV_REPL_TRANSFER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "net/loop.h"

typedef struct Transfer Transfer;

/* Starts this program's tool with these words. `room` is called when more bytes can be taken again. NULL: *error
 * (g_free). */
Transfer *transfer_new(Loop *loop, char *const *words, void (*room)(void), char **error);
/* Ends the child, if it still runs; and whether all that were so ended are gone. */
void transfer_free(Transfer *transfer);
bool transfer_all_ended(void);

/* The line "$…", without its end. False: it's none. */
bool transfer_begin(Transfer *transfer, Slice line);
bool transfer_has_begun(const Transfer *transfer);

/* Takes bytes; returns how many of them belong to the data, the rest is what follows. */
size_t transfer_take(Transfer *transfer, Slice bytes);
/* No more should be taken now. */
bool transfer_is_full(const Transfer *transfer);
/* All has come. */
bool transfer_is_whole(const Transfer *transfer);

uint64_t transfer_received(const Transfer *transfer);
/* Bytes that are still to come; -1: not known. */
int64_t transfer_left(const Transfer *transfer);

/* 1: the child still works; 0: it ended well; -1: *error says what went wrong (g_free). */
int transfer_poll(Transfer *transfer, char **error);

#endif
