/* master.h: the master's half of replication: who is a slave of this server, what they are sent, what they have
 * confirmed. The commands (cmds/sync.c), INFO and the data's keeper (cmds/persist.c) call it.
 *
 * Design. The journal is the replication stream: its offset is master_repl_offset, its history id is the replication
 * id. On the wire Redis counts bytes from 1, so `PSYNC id 8` asks for what follows offset 7. A slave is a client of
 * class CLIENT_SLAVE in one of these states:
 *
 *   waiting   for a snapshot (fullsync.c); it's sent a newline every second, so that it knows of it
 *   sending   the snapshot is on its way, in pieces
 *   online    it gets the stream
 *
 * While it keeps up, an online slave is given each batch of the journal as it is written. One that doesn't (much of its
 * output is unsent), or that comes with an older offset, is behind: it's fed from the journal's files, in pieces, until
 * it has caught up. So a slow slave costs no memory, and one that was away resumes as far back as the journal reaches,
 * also over restarts of this server. What an attached slave still needs is kept (master_needed_offset), up to a limit:
 * one that is further behind than the journal is kept anyway (journal-keep-bytes) by more than
 * client-output-buffer-limit says for slaves is disconnected.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_REPL_MASTER_H
#define CKV_REPL_MASTER_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/client.h"
#include "store/manifest.h"

/* What replication needs of those who keep the data. */
typedef struct MasterHooks {
    const Manifest *manifest;               /* borrowed; it changes */
    bool (*begin_checkpoint)(char **error); /* false: *error (g_free it) */
    /* `done` is called once, when the running checkpoint has ended: with NULL or what went wrong. */
    void (*when_done)(void (*done)(const char *error, void *context), void *context);
    void (*hold)(bool hold); /* no checkpoint file is written to, no segment of the journal goes; calls are counted */
    void (*acked)(void);     /* a slave has confirmed more, or went: replies that wait for that may be due */
} MasterHooks;

/* Starts the timers. Once, before the first client. */
void master_init(Loop *loop, MasterHooks hooks);

/* Whether the stream begins here: the slave's half clears it while this server has a master of its own, whose PINGs it
 * passes on. */
extern bool master_is_origin;

/* ---- what clients say; each answers on the client's output, or says nothing if it says so ---- */

/* SYNC; PSYNC id offset. The journal must be open. */
void master_sync(Client *client);
void master_psync(Client *client, Slice id, int64_t offset);
/* REPLCONF listening-port, ip-address, capa psync2: no answer. */
void master_set_port(Client *client, int port);
void master_set_ip(Client *client, Slice ip);
void master_set_psync2(Client *client);
/* A slave sent something that would be answered, which has no place in its stream: it's closed. */
void master_reject(Client *client, Slice command);
/* REPLCONF ACK: no answer. */
void master_ack(Client *client, uint64_t offset);

/* net's: the client is about to be freed; its output has room. */
void master_closed(Client *client);
void master_drained(Client *client);

/* ---- asking ---- */

/* Slaves in any state; those that are online. */
size_t master_slaves(void);
size_t master_online(void);
/* Online slaves heard of in the last `lag_sec` seconds; those that have confirmed `offset`. */
size_t master_good_slaves(int64_t lag_sec);
size_t master_acked_by(uint64_t offset);
/* The most that an online slave has confirmed; 0: none. */
uint64_t master_acked_offset(void);
/* The smallest offset from which a slave still needs the journal; UINT64_MAX: none does. */
uint64_t master_needed_offset(void);

/* The address and port of a slave as it announced them, or as its connection comes; the most that it has confirmed. */
typedef struct MasterSlave {
    char ip[64];
    int port;
    bool online;
    uint64_t acked;
} MasterSlave;
/* The slave of that number, from 0. False: there are fewer. */
bool master_slave_at(size_t index, MasterSlave *slave);

typedef struct MasterStats {
    uint64_t full, partial_ok, partial_err;
} MasterStats;
extern MasterStats master_stats;

/* INFO's lines from connected_slaves to repl_backlog_histlen; ROLE's reply of a master. */
void master_append_info(GString *info);
void master_reply_role(Out *out);

/* ---- passing to another process ---- */

/* No slave is in the middle of a full sync. (Otherwise the state is none that could pass.) */
bool master_may_pass(void);
/* The client's state as a slave, if it has one. To be restored when the journal's place is known. */
void master_save(const Client *client, Tape *tape);
void master_restore(Client *client, TapeReader *tape);

/* ---- telling ---- */

/* Puts REPLCONF GETACK into the stream, if it begins here. Between two commands only. */
void master_request_acks(void);

/* Closes the connections of all slaves: the stream doesn't go on for them. */
void master_drop_slaves(const char *why);

#endif
