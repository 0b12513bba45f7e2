/* tape.h: typed values in a row of bytes: what a process writes for the one that takes over from it (cmds/carry.c), and
 * how that one reads it. Pure, but for the memory's descriptor.
 *
 * Design. Numbers are 8 bytes, little endian, whatever they count; a text is its length and its bytes. A tape is a
 * memfd, so what is on it is copied once on each side, however long it is. The reader trusts nothing: what isn't there
 * reads as 0 or "", and `bad` stays true from then on, so that whoever reads need look only now and then.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_BASE_TAPE_H
#define CKV_BASE_TAPE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

typedef struct Tape {
    int fd;
    uint8_t *bytes;
    size_t len, cap;
} Tape;

/* False: errno; the tape can't be had, or (later) grow. Nothing more is put on it then. */
bool tape_open(Tape *tape);
void tape_close(Tape *tape);
/* Whether all that was put is on it. */
bool tape_is_whole(const Tape *tape);

void tape_put(Tape *tape, uint64_t value);
void tape_put_text(Tape *tape, Slice text);
/* The same for strings; NULL is told from "". */
void tape_put_string(Tape *tape, const char *string);
/* A text that comes in pieces: its length by tape_put, then these. */
void tape_put_bytes(Tape *tape, const void *bytes, size_t len);

typedef struct TapeReader {
    const uint8_t *bytes;
    size_t len, at;
    bool bad;
} TapeReader;

/* Maps the tape of that descriptor. False: errno. */
bool tape_map(int fd, TapeReader *reader);
void tape_unmap(TapeReader *reader);

uint64_t tape_get(TapeReader *reader);
/* As tape_get, of a number below `limit`. */
uint64_t tape_get_below(TapeReader *reader, uint64_t limit);
/* 0 or 1. */
bool tape_get_bool(TapeReader *reader);
/* A count of things that take at least 8 bytes each: so it's never more than the tape has room for. */
size_t tape_get_count(TapeReader *reader);
/* Good as long as the map is. */
Slice tape_get_text(TapeReader *reader);
/* To g_free; without any NUL inside. NULL if NULL was put. */
char *tape_get_string(TapeReader *reader);

#endif
