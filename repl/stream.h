/* stream.h: a master's stream as it comes from a socket, cut into units: a command, or a transaction from MULTI to
 * EXEC. Pure: bytes in, slices out. slave.c calls it, and the fuzzer.
 *
 * Design. A unit is what is run and journaled as one: a link that breaks inside of it leaves nothing. The bytes lie in
 * one buffer, in which the units that were taken are dropped when there's need for room; it grows as bytes come, never
 * because a length says so.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_REPL_STREAM_H
#define CKV_REPL_STREAM_H

#include "net/resp.h"

/* The longest unit: what the journal takes as one change. */
#define STREAM_UNIT_MAX (768UL << 20)

typedef struct Stream {
    char *bytes;
    size_t cap, end;
    size_t start;  /* of the unit that isn't whole yet */
    size_t at;     /* of its command that isn't */
    bool in_multi; /* it began with MULTI */
    RespParser parser;
    GArray *args; /* RespArg */
    char error[128];
} Stream;

void stream_init(Stream *stream);
void stream_clear(Stream *stream);
/* Forgets all bytes: another link begins. */
void stream_reset(Stream *stream);

/* Room for at least a read's worth of bytes, `room` of them, and how many came. */
char *stream_room(Stream *stream, size_t *room);
void stream_filled(Stream *stream, size_t len);

typedef enum StreamStatus {
    STREAM_UNIT,
    STREAM_INCOMPLETE, /* more bytes are needed */
    STREAM_BAD,        /* stream->error says why: nothing that follows can be trusted */
} StreamStatus;
/* The next unit, good until the next call of any of these. */
StreamStatus stream_next(Stream *stream, Slice *unit);

#endif
