/* server.h: the process as a whole, for the main program, INFO and the operator's commands: when it started, who it is,
 * its loop, and the work that a timer does.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_SERVER_H
#define CKV_CMDS_SERVER_H

#include <signal.h>
#include <sys/types.h>

#include "net/loop.h"
#include "repl/handover.h"

typedef struct Server {
    Loop *loop;
    int64_t started_ms; /* unix */
    char run_id[41];
    char *executable;                  /* absolute path */
    char **words;                      /* that the process was started with, in */
    char *start_directory;             /* this directory */
    HandoverLocks locks;               /* what keeps others from the data directory */
    int64_t last_save_sec;             /* unix; of the last checkpoint, or of the start */
    bool stop_without_save;            /* SHUTDOWN NOSAVE */
    volatile sig_atomic_t stop_signal; /* the one that ends it; 0: none came */
    volatile pid_t successor;          /* the process that has taken over, to which it's passed on; 0: none */
} Server;

extern Server server;

/* The data is being loaded: only commands with CMD_LOADING are answered. */
extern bool server_loading;

/* Whether keys may go for want of memory: not a slave's, nor while data is loaded, as the journal wouldn't have it. */
bool server_may_evict(void);

/* Fills in the above and starts the timers: expiry, eviction, sampling. After command_init. Takes `executable`. */
void server_init(Loop *loop, char *executable);

/* Raises the process' limit of open files so that `clients` can be connected; returns how many really can. */
int64_t server_make_room_for(int64_t clients);

/* Rates over the last 1.6 s, a second. */
typedef struct ServerRates {
    uint64_t commands, bytes_in, bytes_out;
} ServerRates;
ServerRates server_rates(void);

/* Zeroes what INFO counts, as CONFIG RESETSTAT does. */
void server_reset_stats(void);

#endif
