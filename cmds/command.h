/* command.h: what every command handler sees: the request, the session, the command table, and the helpers that read
 * arguments or answer an error.
 *
 * A handler is `void cmd_<name>(Request *r)`. By the time it runs, arity, plane, authentication and memory have been
 * checked. It reads r->argv (argv[0] is the name), changes data only through store/, and replies on r->out exactly
 * once.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_COMMAND_H
#define CKV_CMDS_COMMAND_H

#include <glib.h>

#include "base/slice.h"
#include "net/client.h"
#include "store/keyspace.h"
#include "store/pack.h"

typedef struct Command Command;
typedef struct Session Session;
typedef struct Request Request;

typedef void (*CommandHandler)(Request *r);

/* Flags, in the order in which COMMAND shows them. */
enum {
    CMD_WRITE = 1 << 0,
    CMD_READONLY = 1 << 1,
    CMD_DENYOOM = 1 << 2,
    CMD_ADMIN = 1 << 3,
    CMD_PUBSUB = 1 << 4,
    CMD_NOSCRIPT = 1 << 5,
    CMD_RANDOM = 1 << 6,
    CMD_SORT_FOR_SCRIPT = 1 << 7,
    CMD_LOADING = 1 << 8,
    CMD_STALE = 1 << 9,
    CMD_SKIP_MONITOR = 1 << 10,
    CMD_ASKING = 1 << 11,
    CMD_FAST = 1 << 12,
    CMD_MOVABLE_KEYS = 1 << 13,
    /* Not shown: */
    CMD_BARE_ONLY = 1 << 14,       /* its sub-commands aren't in the matrix */
    CMD_HIDDEN = 1 << 15,          /* COMMAND doesn't list it */
    CMD_NOT_QUEUED = 1 << 16,      /* runs at once inside MULTI */
    CMD_UNAUTHENTICATED = 1 << 17, /* runs before AUTH */
    CMD_UNCHECKED = 1 << 19,       /* runs whatever the state and the arguments: QUIT */
    CMD_HTTP = 1 << 20,            /* the start of a line of HTTP: the connection is closed */
    CMD_SUBSCRIBED = 1 << 18,      /* allowed while subscribed */
    CMD_ALL_DBS = 1 << 21,         /* changes every database: FLUSHALL */
};

typedef enum CommandFamily {
    FAMILY_CONNECTION,
    FAMILY_GEO,
    FAMILY_HASHES,
    FAMILY_HYPERLOGLOG,
    FAMILY_KEYS,
    FAMILY_LISTS,
    FAMILY_PUBSUB,
    FAMILY_SERVER,
    FAMILY_SETS,
    FAMILY_ZSETS,
    FAMILY_STRINGS,
    FAMILY_TRANSACTIONS,
    FAMILY_ADMIN,
} CommandFamily;

/* Who may run it: any client; only an operator; nobody (Redis 3.2 has it, CKV Master/Slave doesn't: refused by name).
 */
typedef enum CommandPlane { PLANE_SERVICE, PLANE_ADMIN, PLANE_REFUSED } CommandPlane;

struct Command {
    const char *name;
    int arity; /* arguments with the name; negative: at least that many; 0: any */
    unsigned flags;
    int first_key, last_key, key_step; /* as COMMAND shows them; 0: no keys, or movable ones */
    CommandFamily family;
    CommandPlane plane;
    CommandHandler handler; /* NULL on PLANE_REFUSED */
    const char *arguments;  /* "key value [EX seconds]" */
    const char *summary;
};

/* What INFO commandstats counts; same index as the table (command_stats_of). */
typedef struct CommandStats {
    uint64_t calls;
    double microseconds;
} CommandStats;

extern const Command command_table[];
extern const size_t command_count;
extern CommandStats command_stats[];
static inline CommandStats *command_stats_of(const Command *command)
{
    return &command_stats[command - command_table];
}

/* Commands run since the start (CONFIG RESETSTAT zeroes it). */
extern uint64_t commands_processed;

/* The name, as COMMAND shows it, of the flag of this bit (0 to COMMAND_FLAGS_SHOWN - 1), or NULL: the command lacks it.
 */
#define COMMAND_FLAGS_SHOWN 14
const char *command_flag_name(const Command *command, size_t bit);

/* The command of this name (any case), or NULL. */
const Command *command_find(Slice name);

/* Whether it may have so many arguments, with its name. */
static inline bool command_arity_fits(const Command *command, int argc)
{
    int arity = command->arity;
    return arity >= 0 ? arity == 0 || argc == arity : argc >= -arity;
}

/* One client's state, as the commands see it. */
struct Session {
    Client *client;
    Db *db;
    bool authenticated;
    bool admin; /* the admin plane is open to it */
    bool monitoring;
    bool in_multi;                   /* between MULTI and EXEC */
    bool multi_broken;               /* a command was refused while queueing: EXEC will abort */
    bool watch_touched;              /* a watched key changed: EXEC will answer nil */
    bool reply_off;                  /* CLIENT REPLY OFF */
    bool in_exec;                    /* EXEC is running what was queued */
    bool waiting;                    /* in WAIT */
    uint64_t answer_noted;           /* effect.c's */
    uint64_t written;                /* the journal's offset behind what it changed last */
    int reply_skip;                  /* CLIENT REPLY SKIP: 2 when just asked for, 1 for the command to be skipped */
    char *name;                      /* CLIENT SETNAME; NULL: none */
    const Command *last;             /* what was sent last: CLIENT LIST's cmd=, and whom command_stats count */
    GPtrArray *queue;                /* MULTI's commands (QueuedCommand *); NULL: none */
    GPtrArray *watched;              /* transactions.c; NULL: none */
    GHashTable *channels, *patterns; /* pubsub.c; NULL: none */
};

struct Request {
    Client *client;
    Session *session;
    Out *out;
    Db *db; /* the session's database */
    const Command *command;
    int argc;
    const Slice *argv;
};

/* All databases. Set by command_init; replaced whole when a slave has loaded a new dataset. */
extern Keyspace *keyspace;

/* Whether the admin plane is open to the session. */
bool session_is_admin(const Session *session);

/* Channels and patterns that it is subscribed to (pubsub.c). */
size_t session_subscriptions(const Session *session);

/* Sets the database that all sessions use, and hears of its changes. Before the first client. */
void command_init(Keyspace *data);
/* The net handlers. */
void command_opened(Client *client);
void command_closed(Client *client);
void command_run_batch(Incoming *batch, size_t count);
void command_before_send(void);

/* Whether it may add to the stream: what writes does, and PFCOUNT and PUBLISH do. */
bool command_adds(const Command *command);

/* Runs the request's command now, with its statistics, slow log and monitors, and journals what it changed: what EXEC
 * does for each queued command. */
void command_call(Request *r);
/* Counts one that isn't run as that, in no time: a master's MULTI. */
void command_note(const Command *command);
/* Before the first command_call outside of a client's batch: the time that commands take counts from now. */
void command_begin_calls(void);

/* Queues the request's command for EXEC (transactions.c). */
void transaction_queue(Request *r);
/* Forgets MULTI's queue and all watched keys: DISCARD, and the end of a connection. */
void transaction_discard(Session *session);
/* Whether what is queued may add to the stream. */
bool transaction_adds(const Session *session);
/* savepages_before for all that is queued. */
bool transaction_save_pages(const Session *session);
/* For the process that takes over: what the session has queued, and watches. */
void transaction_save(const Session *session, Tape *tape);
void transaction_restore(Session *session, TapeReader *tape);
/* A key changed, or all keys of the database (NULL: of every one) are about to go: EXEC of those who watch one that is
 * there fails. */
void transaction_touch(Db *db, Slice key);
void transaction_touch_all(const Db *db);
/* Other data takes the place of all: so does that of those who watch one that isn't there, as it may be then. */
void transaction_data_replaced(void);

/* The database that SELECT's argument names; `otherwise`, if there's none of that name (connection.c). */
Db *select_db(Slice index, Db *otherwise);

/* Ends a closing session's subscriptions (pubsub.c). */
void pubsub_forget(Session *session);
/* Sends a message to whoever is subscribed here; returns to how many. Borrows both. */
int64_t pubsub_publish(Slice channel, Slice message);
/* For the process that takes over: all subscriptions, in the order in which they were made. */
void pubsub_save(Tape *tape);
void pubsub_restore(TapeReader *tape);
/* Channels that somebody is subscribed to, and subscriptions to patterns: for INFO. */
size_t pubsub_channel_count(void);
size_t pubsub_pattern_count(void);

/* ---- errors every family uses ---- */
#define ERROR_SYNTAX          "ERR syntax error"
#define ERROR_WRONG_TYPE      "WRONGTYPE Operation against a key holding the wrong kind of value"
#define ERROR_NOT_INTEGER     "ERR value is not an integer or out of range"
#define ERROR_READONLY        "READONLY You can't write against a read only slave."
#define ERROR_NOT_FLOAT       "ERR value is not a valid float"
#define ERROR_NO_SUCH_KEY     "ERR no such key"
#define ERROR_OUT_OF_RANGE    "ERR index out of range"
#define ERROR_STRING_TOO_LONG "ERR string exceeds maximum allowed size (32MB)"

/* ---- arguments: convert, or answer the error and return false ---- */
/* `error` NULL: the usual text. arg_double puts "0" or what is before a NUL in the place of a text that only 3.2 takes
 * for a number, so that what is journaled is one for later versions, too. */
bool arg_int(Request *r, int index, int64_t *value, const char *error);
bool arg_double(Request *r, int index, double *value, const char *error);
bool arg_long_double(Request *r, int index, long double *value, const char *error);
/* True, when the argument is this word in any case. */
static inline bool arg_is(const Request *r, int index, const char *word)
{
    return slice_is(r->argv[index], word);
}

/* The argument as a log may show it: what AUTH is given is nobody's business. */
static inline Slice arg_shown(const Request *r, int index)
{
    return index > 0 && (r->command->flags & CMD_UNAUTHENTICATED) ? SLICE("(redacted)") : r->argv[index];
}

/* ---- keys: look up, or answer WRONGTYPE and return false; *entry is NULL if there's no such key ---- */
bool key_type_fits(Request *r, const Entry *entry, ValueType type);
static inline bool key_read(Request *r, Slice key, ValueType type, Entry **entry)
{
    *entry = keyspace_read(r->db, key);
    return (*entry != NULL && (*entry)->type == type) || key_type_fits(r, *entry, type);
}
static inline bool key_write(Request *r, Slice key, ValueType type, Entry **entry)
{
    *entry = keyspace_write_type(r->db, key, type);
    return (*entry != NULL && (*entry)->type == type) || key_type_fits(r, *entry, type);
}
/* For what may turn out to change nothing: keyspace_will_change is up to the caller. */
static inline bool key_use(Request *r, Slice key, ValueType type, Entry **entry)
{
    *entry = keyspace_use(r->db, key);
    return (*entry != NULL && (*entry)->type == type) || key_type_fits(r, *entry, type);
}

/* Walks a command's keys, every `step`-th argument from `first` on, with the memory latency of their look-ups
 * overlapped: for (KeyWalk walk = keys_from(1, 1); keys_next(r, &walk);) keyspace_read(r->db, r->argv[walk.index]); */
#define KEYS_AHEAD 16
typedef struct KeyWalk {
    int index, step; /* the argument that is the key */
    int used, known; /* of: */
    KeyPlace place[KEYS_AHEAD];
} KeyWalk;
static inline KeyWalk keys_from(int first, int step)
{
    return (KeyWalk){ .index = first - step, .step = step };
}
bool keys_next(const Request *r, KeyWalk *walk);

/* The key was changed: counts it, tells WATCH, publishes the keyspace event (class and name: see notify). Call after
 * the change, before another key's. */
void key_changed(Request *r, Slice key, unsigned event_class, const char *event);
/* As key_changed, for a collection from which something was taken: if `empty`, deletes the key and publishes "del" as
 * well, after the event. */
void key_shrunk(Request *r, Slice key, bool empty, unsigned event_class, const char *event);

/* ---- values as hashes, sets and lists give them ---- */
static inline void reply_value(Out *out, PackValue value)
{
    if (value.text.ptr != NULL)
        reply_bulk(out, value.text);
    else
        reply_bulk_int(out, value.number);
}

/* ---- keyspace events (pubsub.c): notify-keyspace-events' classes ---- */
enum {
    NOTIFY_KEYSPACE = 1 << 0, /* K */
    NOTIFY_KEYEVENT = 1 << 1, /* E */
    NOTIFY_GENERIC = 1 << 2,  /* g */
    NOTIFY_STRING = 1 << 3,   /* $ */
    NOTIFY_LIST = 1 << 4,     /* l */
    NOTIFY_SET = 1 << 5,      /* s */
    NOTIFY_HASH = 1 << 6,     /* h */
    NOTIFY_ZSET = 1 << 7,     /* z */
    NOTIFY_EXPIRED = 1 << 8,  /* x */
    NOTIFY_EVICTED = 1 << 9,  /* e */
};
void notify(Db *db, unsigned event_class, const char *event, Slice key);

/* How many MONITOR clients there are (admin.c). */
extern guint monitor_count;
/* Sends one command line to each of them. */
void monitor_show(const Request *r);
/* The same, unless the command's flags say that it isn't shown, or only later, as EXEC is. */
static inline void monitor_feed(const Request *r)
{
    if (G_UNLIKELY(monitor_count > 0) && !(r->command->flags & (CMD_SKIP_MONITOR | CMD_ADMIN))) monitor_show(r);
}
/* The session is shown every command from now on (admin.c). */
void monitor_begin(Session *session);
/* Ends a closing session's monitoring (admin.c). */
void monitor_forget(Session *session);

#endif
