/* client.h: connections: accept, read, parse, hand over whole commands, write replies, limits and timeouts. Knows bytes
 * and clients, not commands.
 *
 * Design. One turn of the loop: every ready socket is read into one shared arena (a client holds bytes of its own only
 * while a command is incomplete); all complete commands of all clients become one batch, which goes to handlers.run in
 * one call; then every client with output is written to. So an idle connection holds only its Client, and argument
 * slices point straight into the arena. They're good until run() returns.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_NET_CLIENT_H
#define CKV_NET_CLIENT_H

#include <glib.h>

#include "base/slice.h"
#include "base/tape.h"
#include "net/loop.h"
#include "net/out.h"

/* The order and names of client-output-buffer-limit's classes. */
typedef enum ClientClass { CLIENT_NORMAL, CLIENT_SLAVE, CLIENT_PUBSUB, CLIENT_CLASSES } ClientClass;

typedef struct Client {
    uint64_t id; /* 1, 2, …: never used again */
    int fd;
    bool unix_socket;     /* came in by any Unix socket */
    bool operator_socket; /* came in by the operator's socket in the data directory */
    bool closing;         /* no further command is run; closed when its output is sent, or at the end of the turn */
    bool held;            /* its commands wait: too much of its output is unsent, or one of the calls below said so */
    bool never_idle;      /* `timeout` doesn't apply: MONITOR */
    bool has_output;      /* is among those that are written to at the end of the turn */
    ClientClass class;
    int64_t created_ms, active_ms; /* clock_mono_ms of the accept; of the last bytes from the client, or to it */
    Out out;
    size_t eager_bytes;  /* at so much output some is sent in the middle of a turn */
    void *session;       /* the commands' own state: set and freed by the handlers */
    void *replica;       /* the same of repl/master.c, if it is a slave or says that it will be; NULL: it isn't */
    struct ClientIo *io; /* private to client.c */
} Client;

/* A whole command, as slices of the input. argc > 0. */
typedef struct Incoming {
    Client *client;
    uint32_t argc;
    bool skipped; /* by run() */
    Slice *argv;
} Incoming;

/* What net calls. */
typedef struct ClientHandlers {
    void (*opened)(Client *client);
    void (*closed)(Client *client); /* the session must be freed; the client is about to be */
    /* Runs a turn's commands, in order. It skips those whose client is `closing` or `held` by then, and marks them as
     * skipped. It may read argv's bytes only until it returns. */
    void (*run)(Incoming *batch, size_t count);
    /* Called before output leaves, each turn and between two commands: what the replies promise is to be true then, or
     * they're to be held back by client_gate_close. NULL: nothing to do. */
    void (*before_send)(void);
    /* Called when a turn ends, behind before_send and in front of the output. True: the next turn is to come at once,
     * whether a client is ready or not. NULL: it never need. */
    bool (*turn_ends)(void);
    /* Less of the client's output is unsent than client_feed_below said: it may be given more. At most once a turn.
     * NULL: nobody feeds. */
    void (*drained)(Client *client);
} ClientHandlers;

void client_init(Loop *loop, ClientHandlers handlers);
/* The next id, for a connection that is shown among the clients and isn't one. */
uint64_t client_new_id(void);
/* Takes a connected, non-blocking socket as a new client. */
Client *client_adopt(int fd, bool unix_socket, bool operator_socket);
/* Closes all clients and listeners. */
void client_shutdown(void);

/* Listens. Each returns NULL, or a message saying what can't be had and why (g_free it). Port 0 takes a free port,
 * found in *port afterwards. `bind` is an address, or NULL for all. A stale Unix socket is replaced, one that answers
 * is an error. */
char *client_listen_tcp(const char *bind, int *port, int backlog);
char *client_listen_unix(const char *path, int mode, bool operator_socket);
/* Closes the TCP listeners (before others are opened elsewhere). */
void client_close_listeners(void);

/* The client's output, to be written at the end of this turn (also that of another client than the one whose command
 * runs: PUBLISH, MONITOR). */
void client_note_writer(Client *client);
static inline Out *client_out(Client *client)
{
    if (!client->has_output) client_note_writer(client);
    return &client->out;
}

/* To be called after a client's output grew by a command: sends some of it when very much waits, and looks at the
 * limits; then the client may be closing, or held. */
void client_output_is_much(Client *client);
static inline void client_output_grew(Client *client)
{
    if (client->out.bytes >= client->eager_bytes) client_output_is_much(client);
}

/* Output that comes in pieces, from a file: handlers.drained is called, each turn and from now on, while less than
 * `bytes` of the client's output is unsent. 0: no more. */
void client_feed_below(Client *client, size_t bytes);

/* Makes the client's further commands wait, or lets them go on: WAIT, FAILOVER. One that hangs up
 * meanwhile, or has, is closed at once, and what waits doesn't run. */
void client_hold(Client *client, bool hold);

/* For handlers.run: the command at hand, which it then skips, and all further ones of the client wait for the next
 * turn, which comes at once. None who was put off before is overtaken by what is read then. */
void client_put_off(Client *client);

/* The reply gate: output that waits for an offset, which only grows, to be reached: the journal's.
 *
 * client_gate_close holds back what the client's output has from byte `position` on (as Out.bytes counts what waits:
 * the reply of the first command that is to be held) until the gate is opened up to `offset` or further. For one client
 * neither falls from call to call. client_gate_open lets go of all that waits for `offset` or less; it's sent at the
 * end of this turn. Held output counts as any other; clients that are closed after their reply wait for it. */
void client_gate_close(Client *client, size_t position, uint64_t offset);
void client_gate_open(uint64_t offset);
/* Closes at once, with their replies unsent, the clients whose first held byte waits for `offset` or less: what they
 * asked for can't be promised. Returns how many. */
size_t client_gate_abandon(uint64_t offset);
/* Clients with output that is held. */
size_t client_gate_waiting(void);

/* Closes: after its pending output is sent (QUIT, errors), or at once at the end of the turn (CLIENT KILL, limits).
 * Never frees during run(). */
void client_close_after_reply(Client *client);
void client_close_now(Client *client);

/* No command of clients of class NORMAL and PUBSUB, but of operators, is taken until this clock_mono_ms: CLIENT PAUSE.
 */
void client_pause(int64_t until_ms);

/* Every open client (GPtrArray of Client *), in the order of their ids; borrowed. */
GPtrArray *client_all(void);
Client *client_by_id(uint64_t id);

/* "127.0.0.1:50234", "[::1]:50234" or "/path:0"; the first two, of any socket. NUL-terminated; `out` has
 * CLIENT_ADDRESS_CHARS. */
#define CLIENT_ADDRESS_CHARS 160
void client_address(const Client *client, char *out);
void client_peer_address(int fd, char *out);
/* For CLIENT LIST: bytes read and not run yet, and the room left in that buffer. */
size_t client_input_bytes(const Client *client);
size_t client_input_room(const Client *client);

/* ---- what passes to the process that takes over (its descriptors pass beside it) ---- */

/* In the old process: what is much of output and input goes ahead of the rest, in slices, while clients are served
 * (net/ahead.h is the other side). client_ahead_begin forgets what went to another process before; client_ahead_left is
 * in bytes, what client_save would have to save by now; client_save_ahead puts `bytes` of that on the tape, at most. */
void client_ahead_begin(void);
size_t client_ahead_left(void);
void client_save_ahead(Tape *tape, size_t bytes);

/* Between two turns, or in a timer: runs what was read, and sends what can be. Then all of a client's state is in its
 * Client, and it may be saved: none that is about to be closed at once need be. Nothing changes by that. */
void client_settle(void);
bool client_is_gone(const Client *client);
void client_save(const Client *client, Tape *tape);
/* A client as it was saved, by its descriptor; handlers.opened is called for it. In the order of their ids. NULL: the
 * tape is bad, and the descriptor is still the caller's. */
Client *client_restore(TapeReader *tape, int fd);
/* The last id that was given, and until when clients are paused. */
void client_save_rest(Tape *tape);
void client_restore_rest(TapeReader *tape);

/* The listeners: their descriptors are appended to `fds` (int), and taken from it, of `count`. */
void client_save_listeners(Tape *tape, GArray *fds);
void client_restore_listeners(TapeReader *tape, const int *fds, size_t count);

/* Counters for INFO and CONFIG RESETSTAT. */
typedef struct ClientStats {
    uint64_t accepted, rejected;
    uint64_t bytes_in, bytes_out;
    size_t longest_output; /* blocks, and */
    size_t biggest_input;  /* bytes: of the clients there are now (filled in by client_stats_sample) */
} ClientStats;
extern ClientStats client_stats;
void client_stats_sample(void);

#endif
