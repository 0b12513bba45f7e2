/* clientio.h: what client.c keeps of a client, for it and pass.c alone.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_NET_CLIENTIO_H
#define CKV_NET_CLIENTIO_H

#include "net/client.h"
#include "net/resp.h"

/* What the client's output has from this byte on waits for the gate to be opened up to `offset`. */
typedef struct GateMark {
    uint64_t position; /* as ClientIo.passed counts */
    uint64_t offset;
} GateMark;

typedef struct ClientIo {
    Watch *watch;
    char *own; /* input from own_start to own_len: an unfinished command, or a backlog; NULL: none */
    size_t own_start, own_len, own_cap;
    size_t own_parsed;     /* where the commands end that are in the pending batch */
    uint64_t own_change;   /* grows whenever own isn't just longer than it was */
    RespParser parser;     /* of the unfinished command */
    GArray *args;          /* its arguments so far; NULL: none */
    char *error;           /* a protocol error, to be answered after the commands before it */
    uint64_t passed;       /* bytes of output ever sent */
    uint64_t ahead_out;    /* output up to here, as passed counts, was sent to another process (net/ahead.h); and */
    uint64_t ahead_change; /* of own as it is by this number */
    size_t ahead_own;      /* so many bytes */
    GArray *marks;         /* GateMark, in order; NULL: none */
    int64_t soft_since_us; /* when its output went over the soft limit; 0: it is not */
    size_t feed_below;     /* client_feed_below's; 0: it isn't fed */
    bool in_turn, close_now, paused;
    bool blocked;  /* client_hold */
    bool hungry;   /* it's among hungry_clients */
    bool ended;    /* no more input: end of file, or a protocol error */
    bool lost;     /* the connection is gone: what was read runs, and its output is dropped */
    bool backlog;  /* own may hold whole commands that weren't parsed yet */
    bool resuming; /* it's among resumed_clients */
    bool resumed;  /* it was in this turn, and nothing of it has run yet */
} ClientIo;

/* A new client with this id, which is greater than any other's. */
Client *client_new(uint64_t id, int fd, bool unix_socket, bool operator_socket);

#endif
