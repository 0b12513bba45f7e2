/* slave.h: this server as the slave of another: follows its stream, takes a full copy of its data when it must, and
 * goes on where it was whenever it can. cmds/replication.c starts it and tells it of SLAVEOF; INFO, ROLE and the checks
 * before a command ask it.
 *
 * Design. Which master it is stands in the options (master_host, master_port). A timer connects, and connects again a
 * second after it failed. The states:
 *
 *   CONNECT     nothing: the next try waits for its time, or for the data to be loaded
 *   CONNECTING  the socket is on its way
 *   HANDSHAKE   handshake.h
 *   TRANSFER    a full sync: transfer.h, until the child has made a data directory of it
 *   LOADING     which has taken the place of the old one and is being loaded; if that fails, there's no data until
 *               another full sync
 *   GOING_BACK  what the new master doesn't have was given up, the data is loaded as of before
 *   CONNECTED   units of the stream (stream.h) are run and journaled, in the very bytes
 *
 * The position is the journal's: its history and its offset, which are the master's. So whatever a crash leaves is a
 * position to go on from. What needs commands, data or files is a hook.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_REPL_SLAVE_H
#define CKV_REPL_SLAVE_H

#include "base/options.h"
#include "base/tape.h"
#include "net/loop.h"
#include "net/out.h"
#include "repl/guard.h"

typedef struct SlaveHooks {
    /* The data is loaded, or lost, nobody else is about to replace it, and `clean_up` has done its work. */
    bool (*ready)(void);
    /* Nor is a backup being made of it: `replace` and `go_back` may be called. */
    bool (*may_replace)(void);
    /* Our history, offset and number of keys. */
    void (*facts)(GuardFacts *own);

    /* Around the units of a turn. */
    void (*begin_units)(void);
    void (*end_units)(void);
    /* Runs a unit and adds it to the journal; `fd`: the link's. NULL, or what is wrong (g_free): then nothing of it is
     * in the data, or will be once that is `ready` again. */
    char *(*apply)(Slice unit, int fd);
    /* Whether REPLCONF GETACK was among the units since the last call. */
    bool (*ack_asked)(void);
    /* Whether the journal can take as many bytes now. */
    bool (*has_room)(size_t bytes);
    /* The offset up to which our disk has it. */
    uint64_t (*safe_offset)(void);

    /* What follows comes from a master, and is this history's; what was before is the same as in the old one. `left`:
     * the histories that rollbacks of the master left; `older`: those that this one was before (as in GuardFacts).
     * NULL, or what went wrong (g_free): nothing has changed. */
    char *(*follow_history)(const char *history, const char *left, const char *older);

    /* The words of the tool that makes a data directory of a full sync (g_strfreev). */
    char **(*receiver)(const char *history, uint64_t offset, const char *left, const char *older);
    /* Puts it in the place of ours, which becomes a backup with that note, and begins to load it. */
    char *(*replace)(const char *note);
    /* Begins to remove what the tool has made, which has ended. False: not now. */
    bool (*clean_up)(void);
    /* Why it couldn't be loaded, until it's replaced in its turn; NULL: it is, or is being loaded. */
    const char *(*lost)(void);

    /* Begins to go back to an offset: then `ready` is false for a while, and failed tells how it ended (NULL: well). */
    char *(*go_back)(uint64_t offset, const char *note);
    const char *(*going_back_failed)(void);

    /* How slave_hand_over ended: NULL: the other is the master, or why it won't be. */
    void (*handed_over)(const char *refusal);
} SlaveHooks;

/* At the start, before any data is loaded. The hooks are borrowed. */
void slave_init(Loop *loop, const SlaveHooks *hooks);

/* Follows the master that the options name by now, from the beginning. `consent`: its data may replace ours, whatever
 * that is: SLAVEOF was sent. `foreign`: what we have isn't of any master. */
void slave_follow(bool consent, bool foreign);
/* SLAVEOF was sent for the same master again. */
void slave_consent(void);
/* Follows the master that the options name by now, which is a slave of ours and is asked to become the master. */
void slave_hand_over(void);
/* The options name no master any more. */
void slave_end(void);

static inline bool slave_is_one(void)
{
    return options.master_host[0] != '\0';
}

/* Whether units of the stream have come and wait for the next turn of the loop. */
bool slave_has_units(void);

/* The journal was committed, or has become durable: tells the master. Each turn. */
void slave_committed(void);

/* Whether the state can pass to another process: not in the middle of a full sync. */
bool slave_may_pass(void);
/* What passes, beside the link's descriptor, which is appended to `fds` (int) if the link is up; if it isn't, the other
 * connects anew. In the other one `fd` is -1 if there's none. */
void slave_save(Tape *tape, GArray *fds);
void slave_restore(TapeReader *tape, int fd);

typedef enum SlaveState {
    SLAVE_NONE,
    SLAVE_CONNECT,
    SLAVE_CONNECTING,
    SLAVE_HANDSHAKE,
    SLAVE_TRANSFER,
    SLAVE_LOADING,
    SLAVE_GOING_BACK,
    SLAVE_CONNECTED,
} SlaveState;

typedef struct SlaveSeen {
    SlaveState state;
    int64_t last_io_ms;    /* clock_mono_ms; of what came last by the link; -1: there's no link */
    int64_t down_since_ms; /* the same; when it was lost, or the start; 0: there was none yet that our data is of */
    bool taken_over;       /* by slave_hand_over's other: it was a master since, but isn't one now */
    int64_t left_bytes;    /* of a transfer; -1: not known */
    const char *refused;   /* why the guard refuses a full sync; "": it doesn't */
    const char *error;     /* why the last link ended; "": it didn't, or as they do */
} SlaveSeen;
SlaveSeen slave_seen(void);

/* The link to the master, as one of the clients: it is one from when the stream begins on, and the same one until there
 * is a full sync or another master, also if it broke meanwhile. */
typedef struct SlaveLink {
    uint64_t id;
    int fd;
    int64_t created_ms, active_ms; /* clock_mono_ms */
    size_t unread_bytes, unread_room;
    const Out *out; /* borrowed; good until the link does something */
} SlaveLink;
/* False: there's none. */
bool slave_link(SlaveLink *link);
/* Ends it, if there is one: it's connected again, and goes on where it was. */
void slave_cut_link(void);

#endif
