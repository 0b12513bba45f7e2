/* handshake.h: what a slave and its master say to each other before the stream: PING, AUTH, who the slave is, what the
 * master has, PSYNC. slave.c drives it.
 *
 * Design. One question at a time, in the order of a table; the master's answers are lines, but for INFO's, which is a
 * bulk. Bare newlines are a master's signs of life. What is behind the last answer stays in `input`: it's the stream's.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_REPL_HANDSHAKE_H
#define CKV_REPL_HANDSHAKE_H

#include <glib.h>

#include "repl/guard.h"
#include "repl/link.h"

typedef struct Handshake {
    Link *link; /* borrowed */
    unsigned step;
    GByteArray *input;
    GuardFacts master;                /* INFO's, once it was read */
    char history[GUARD_ID_CHARS + 1]; /* PSYNC's answer; "": it names none */
    uint64_t offset;
    bool failover; /* was asked for */
    bool refused;  /* that was, by what will be answered again */
    char error[320];
} Handshake;

void handshake_init(Handshake *handshake);
void handshake_clear(Handshake *handshake);

/* Begins on a new connection. */
void handshake_begin(Handshake *handshake, Link *link);

typedef enum HandshakeStatus {
    HANDSHAKE_MORE,     /* more bytes are needed */
    HANDSHAKE_INFO,     /* `master` is known: one of the two below is to be called, to go on */
    HANDSHAKE_CONTINUE, /* the stream follows, from where we are; under `history`, if it names one */
    HANDSHAKE_FULL,     /* a full sync follows: of `history`, at `offset` */
    HANDSHAKE_FAILED,   /* `error` says why */
} HandshakeStatus;
/* Deals with what is in `input`. */
HandshakeStatus handshake_step(Handshake *handshake);

/* Asks for the stream behind `offset` bytes of the history; `failover`: and the other, a slave, to become a master. */
void handshake_psync(Handshake *handshake, const char *history, uint64_t offset, bool failover);

/* Asks for a full sync: there's nothing to go on from. */
void handshake_ask_full(Handshake *handshake);

/* Takes the next line out of the input (without its end). False: there's none yet. Good until the input changes. */
bool handshake_take_line(Handshake *handshake, Slice *line);

#endif
