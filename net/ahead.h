/* ahead.h: in a process that takes over: what clients have unsent, and unfinished, that came before the rest of them,
 * so that the pause doesn't grow with it. For cmds/carry.c and net/client.c alone.
 *
 * Design. Slices come in any number while the old process serves (client_save_ahead). Output is a stream: a slice says
 * where in it it begins, and goes on where the one before ended, or the ones before are worth nothing. Input is what
 * the client has sent and what isn't run: a slice that begins at 0 replaces what was there. What is used of it in the
 * end is said by the client's own state, which comes last (client_restore).
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_NET_AHEAD_H
#define CKV_NET_AHEAD_H

#include "base/tape.h"
#include "net/out.h"

typedef enum AheadKind { AHEAD_OUTPUT, AHEAD_INPUT, AHEAD_KINDS } AheadKind;

/* Begins a slice on the tape; `len` bytes are to follow by tape_put_bytes. */
void ahead_put(Tape *tape, uint64_t client_id, AheadKind kind, uint64_t position, size_t len);

/* Takes all slices of a tape. */
void ahead_take(TapeReader *tape);
/* Gives the `len` bytes of output from `passed` on, which must end where the last slice did. False: that isn't there.
 */
bool ahead_output(uint64_t client_id, uint64_t passed, size_t len, Out *out);
/* The same for the first `len` bytes of input: a buffer (base/buffer.h). NULL: none were wanted, or that isn't
 * there. */
char *ahead_input(uint64_t client_id, size_t len, size_t *cap);
/* What is left isn't needed. */
void ahead_forget(void);

#endif
