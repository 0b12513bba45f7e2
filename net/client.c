/* client.c: see client.h. (Listening is in listen.c.)
 *
 * Design. Where a client's input lies: a readable client without unfinished input is read into the turn's arena. What
 * is left there after the last whole command moves to a buffer of the client's own, and further reads go straight into
 * that until the command is whole. Neither moves while a turn's batch is pending, so arguments are slices of them. The
 * batch runs when every ready client was read, or when the arena is full.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "net/client.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "net/listen.h"
#include "net/resp.h"

#define ARENA_BYTES  (2 * 1024 * 1024)
#define READ_MAX     (64 * 1024)       /* from one client in one turn into the arena: a pipeline's share */
#define READ_OWN     (1024 * 1024)     /* the same into its own buffer, for big arguments */
#define WRITE_MAX    (4 * 1024 * 1024) /* to one client in one turn */
#define WRITE_BLOCKS 64
#define INPUT_MAX    (1024L * 1024 * 1024) /* of one client, as in Redis */
#define BATCH_MAX    16384                 /* commands; then the batch runs, so that slices and arena stay small */

/* While a command runs that produces output without end, try to send whenever so much more waits. */
#define OUTPUT_EAGER (1024 * 1024)

typedef struct ClientIo {
    Watch *watch;
    char *own; /* unfinished input; NULL: none */
    size_t own_len, own_cap;
    size_t own_parsed;     /* bytes of it that belong to commands in the pending batch */
    RespParser parser;     /* of the unfinished command */
    GArray *args;          /* its arguments so far; NULL: none */
    char *error;           /* a protocol error, to be answered after the pending batch */
    int64_t soft_since_us; /* when its output went over the soft limit; 0: it is not */
    size_t eager_bytes;    /* output beyond which it's sent in the middle of a turn */
    bool in_turn, has_output, close_now, paused;
} ClientIo;

static Loop *loop;
static ClientHandlers handlers;
static GPtrArray *clients; /* by id */
static uint64_t last_id;
static int64_t paused_until_ms;

/* The turn: input, the batch, and who took part. */
static char *arena;
static size_t arena_used;
static GArray *batch;       /* Incoming; argv is an index into slices until it runs */
static GArray *slices;      /* Slice */
static GArray *shared_args; /* RespArg, of the command being parsed in the arena */
static GPtrArray *turn_clients;
static GPtrArray *writers; /* clients whose output isn't empty, or that are to be closed */

ClientStats client_stats;

/* ---- looking at clients ---- */

GPtrArray *client_all(void)
{
    return clients;
}

Client *client_by_id(uint64_t id)
{
    guint low = 0, high = clients->len;
    while (low < high) {
        guint middle = (low + high) / 2;
        if (((Client *)clients->pdata[middle])->id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Client *found = low < clients->len ? clients->pdata[low] : NULL;
    return found != NULL && found->id == id ? found : NULL;
}

size_t client_input_bytes(const Client *client)
{
    return client->io->own_len;
}

size_t client_input_room(const Client *client)
{
    return client->io->own_cap - client->io->own_len;
}

bool client_wants_write(const Client *client)
{
    return client->out.bytes > 0;
}

void client_stats_sample(void)
{
    client_stats.longest_output = client_stats.biggest_input = 0;
    for (guint i = 0; i < clients->len; i++) {
        const Client *client = clients->pdata[i];
        client_stats.longest_output = MAX(client_stats.longest_output, out_blocks(&client->out));
        client_stats.biggest_input = MAX(client_stats.biggest_input, client->io->own_cap);
    }
}

/* ---- output ---- */

static void note_writer(Client *client)
{
    if (client->io->has_output) return;
    client->io->has_output = true;
    g_ptr_array_add(writers, client);
}

Out *client_out(Client *client)
{
    note_writer(client);
    return &client->out;
}

void client_close_now(Client *client)
{
    client->closing = client->io->close_now = true;
    note_writer(client);
}

void client_close_after_reply(Client *client)
{
    client->closing = true;
    note_writer(client);
}

/* Sends what the kernel takes, up to WRITE_MAX. False: the connection is gone. */
static bool send_output(Client *client)
{
    size_t sent = 0;
    while (client->out.bytes > 0 && sent < WRITE_MAX) {
        struct iovec parts[WRITE_BLOCKS];
        int count = 0;
        for (OutBlock *b = client->out.head; b != NULL && count < WRITE_BLOCKS; b = b->next) {
            size_t skip = b == client->out.head ? client->out.sent : 0;
            parts[count++] = (struct iovec){ b->data + skip, b->used - skip };
        }
        ssize_t got =
            count == 1 ? write(client->fd, parts[0].iov_base, parts[0].iov_len) : writev(client->fd, parts, count);
        if (got < 0) return errno == EAGAIN || errno == EINTR;
        out_consume(&client->out, (size_t)got);
        client_stats.bytes_out += (size_t)got;
        sent += (size_t)got;
    }
    return true;
}

/* Whether the client's class allows so much output, for so long. */
static bool output_within_limits(Client *client)
{
    const OutputLimit *limit = &options.output_limit[client->class];
    int64_t bytes = (int64_t)client->out.bytes;
    if (limit->hard_bytes > 0 && bytes >= limit->hard_bytes) return false;
    if (limit->soft_bytes == 0 || bytes < limit->soft_bytes) {
        client->io->soft_since_us = 0;
        return true;
    }
    if (client->io->soft_since_us == 0) client->io->soft_since_us = clock_mono_us;
    return clock_mono_us - client->io->soft_since_us <= limit->soft_seconds * 1000000;
}

static void check_output_limits(Client *client)
{
    if (client->io->close_now || output_within_limits(client)) return;
    char address[CLIENT_ADDRESS_CHARS];
    client_address(client, address);
    log_line(LOG_WARNING, "Client id=%" G_GUINT64_FORMAT " addr=%s closed for overcoming of output buffer limits.",
             client->id, address);
    client_close_now(client);
}

void client_output_grew(Client *client)
{
    ClientIo *io = client->io;
    if (client->out.bytes < io->eager_bytes) return;
    if (!client->io->close_now && !send_output(client)) client_close_now(client);
    check_output_limits(client);
    io->eager_bytes = client->out.bytes + OUTPUT_EAGER;
}

static void free_client(Client *client)
{
    ClientIo *io = client->io;
    handlers.closed(client);
    loop_unwatch(loop, io->watch);
    close(client->fd);
    out_clear(&client->out);
    g_ptr_array_remove(clients, client);
    g_free(io->own);
    g_free(io->error);
    if (io->args != NULL) g_array_unref(io->args);
    g_free(io);
    g_free(client);
}

/* Sends to one client; frees it if it's done with. */
static void flush_client(Client *client)
{
    ClientIo *io = client->io;
    if (!io->close_now) check_output_limits(client);
    io->has_output = false; /* not before: a client that is being closed asks to be written to */
    bool alive = !io->close_now && send_output(client);
    io->eager_bytes = client->out.bytes + OUTPUT_EAGER;
    if (!alive || (client->closing && client->out.bytes == 0)) {
        free_client(client);
        return;
    }
    bool reads = !client->closing && !io->paused;
    loop_want(loop, io->watch, (reads ? LOOP_READ : 0) | (client->out.bytes > 0 ? LOOP_WRITE : 0));
}

static void flush_all(void *context)
{
    (void)context;
    while (writers->len > 0)
        flush_client(g_ptr_array_remove_index_fast(writers, writers->len - 1));
}

/* ---- input ---- */

/* Adds a whole command to the batch. */
static void add_command(Client *client, const GArray *args, const char *bytes)
{
    if (args->len == 0) return;
    Incoming incoming = { .client = client, .argc = args->len, .argv = GSIZE_TO_POINTER((gsize)slices->len) };
    g_array_append_val(batch, incoming);
    guint first = slices->len;
    g_array_set_size(slices, first + args->len);
    const RespArg *arg = (const RespArg *)(const void *)args->data;
    Slice *slice = &g_array_index(slices, Slice, first);
    for (guint i = 0; i < args->len; i++)
        slice[i] = (Slice){ bytes + arg[i].offset, arg[i].len };
}

/* Parses all whole commands; returns the bytes they take. */
static size_t parse_commands(Client *client, GArray *args, char *bytes, size_t len)
{
    ClientIo *io = client->io;
    size_t taken = 0;
    while (taken < len) {
        RespStatus status = resp_parse(&io->parser, args, bytes + taken, len - taken);
        if (status == RESP_INCOMPLETE) break;
        if (status == RESP_ERROR) {
            io->error = g_strdup(io->parser.error);
            return len;
        }
        add_command(client, args, bytes + taken);
        taken += io->parser.offset;
        io->parser = (RespParser){ 0 };
        g_array_set_size(args, 0);
    }
    return taken;
}

static void join_turn(Client *client)
{
    if (client->io->in_turn) return;
    client->io->in_turn = true;
    g_ptr_array_add(turn_clients, client);
}

/* What is left in the arena of an unfinished command becomes the client's own. */
static void keep_rest(Client *client, const char *rest, size_t len)
{
    ClientIo *io = client->io;
    if (len == 0) return;
    io->own_cap = MAX(len, 64);
    io->own = g_malloc(io->own_cap);
    io->own_len = len;
    memcpy(io->own, rest, len);
    if (shared_args->len == 0) return;
    io->args = shared_args;
    shared_args = g_array_new(FALSE, FALSE, sizeof(RespArg));
}

/* Makes room in the client's own buffer: for the whole argument that is due, but never for more than as much again as
 * has come. */
static void grow_own(ClientIo *io)
{
    size_t wanted = MAX(resp_needs(&io->parser), io->own_len + 1024);
    size_t allowed = MAX(io->own_len * 2, READ_MAX);
    size_t cap = MIN(wanted, allowed);
    if (cap <= io->own_cap) cap = io->own_cap + (io->own_cap == io->own_len ? 1024 : 0);
    if (cap == io->own_cap) return;
    io->own = g_realloc(io->own, cap);
    io->own_cap = cap;
}

/* Reads once; -1: nothing there, 0: the connection is gone. */
static ssize_t read_some(Client *client, char *to, size_t room)
{
    ssize_t got = read(client->fd, to, room);
    if (got < 0) return errno == EAGAIN || errno == EINTR ? -1 : 0;
    client_stats.bytes_in += (size_t)got;
    return got;
}

static ssize_t read_own(Client *client)
{
    ClientIo *io = client->io;
    grow_own(io);
    ssize_t got = read_some(client, io->own + io->own_len, MIN(io->own_cap - io->own_len, READ_OWN));
    if (got <= 0) return got;
    io->own_len += (size_t)got;
    if (io->args == NULL) io->args = g_array_new(FALSE, FALSE, sizeof(RespArg));
    io->own_parsed = parse_commands(client, io->args, io->own, io->own_len);
    return got;
}

static ssize_t read_arena(Client *client)
{
    char *to = arena + arena_used;
    ssize_t got = read_some(client, to, MIN(ARENA_BYTES - arena_used, READ_MAX));
    if (got <= 0) return got;
    arena_used += (size_t)got;
    size_t taken = parse_commands(client, shared_args, to, (size_t)got);
    keep_rest(client, to + taken, (size_t)got - taken);
    g_array_set_size(shared_args, 0);
    return got;
}

/* After the batch ran: what it used of the client's own buffer goes. */
static void settle_own(ClientIo *io)
{
    if (io->own_parsed == 0) return;
    io->own_len -= io->own_parsed;
    memmove(io->own, io->own + io->own_parsed, io->own_len);
    io->own_parsed = 0;
    if (io->own_len > 0) {
        io->own_cap = MAX(io->own_len, 64);
        io->own = g_realloc(io->own, io->own_cap);
        return;
    }
    g_clear_pointer(&io->own, g_free);
    g_clear_pointer(&io->args, g_array_unref);
    io->own_cap = 0;
}

static void settle(Client *client)
{
    ClientIo *io = client->io;
    io->in_turn = false;
    settle_own(io);
    if (io->error != NULL && !client->closing) {
        reply_error(client_out(client), io->error);
        client_close_after_reply(client);
    }
    if ((int64_t)io->own_len > INPUT_MAX) client_close_now(client);
}

/* Runs the batch and forgets the turn's input. */
static void run_batch(void *context)
{
    (void)context;
    Incoming *incoming = (Incoming *)(void *)batch->data;
    for (guint i = 0; i < batch->len; i++) {
        incoming[i].argv = &g_array_index(slices, Slice, GPOINTER_TO_SIZE(incoming[i].argv));
    }
    if (batch->len > 0) handlers.run(incoming, batch->len);
    for (guint i = 0; i < turn_clients->len; i++)
        settle(turn_clients->pdata[i]);
    g_ptr_array_set_size(turn_clients, 0);
    g_array_set_size(batch, 0);
    g_array_set_size(slices, 0);
    arena_used = 0;
}

static bool is_paused(const Client *client)
{
    return paused_until_ms > clock_unix_ms && client->class != CLIENT_SLAVE;
}

static void read_client(Client *client)
{
    ClientIo *io = client->io;
    if (is_paused(client)) {
        io->paused = true;
        note_writer(client);
        return;
    }
    if (arena_used > ARENA_BYTES - READ_MAX || batch->len > BATCH_MAX || io->in_turn) run_batch(NULL);
    if (client->closing) return;
    ssize_t got = io->own != NULL ? read_own(client) : read_arena(client);
    if (got == 0) {
        client_close_now(client);
    } else if (got > 0) {
        client->active_ms = clock_unix_ms;
        join_turn(client);
    }
}

static void client_ready(int fd, unsigned ready, void *context)
{
    (void)fd;
    Client *client = context;
    if (ready & LOOP_WRITE) note_writer(client);
    if (!(ready & LOOP_READ) || client->io->close_now) return;
    if (client->closing || client->io->paused) {
        /* Reading isn't wanted: it's ready because the connection broke, or it's readable along with being writable. */
        char probe;
        ssize_t got = recv(client->fd, &probe, 1, MSG_PEEK);
        if (got == 0 || (got < 0 && errno != EAGAIN)) client_close_now(client);
        return;
    }
    read_client(client);
}

/* ---- pausing ---- */

static int64_t end_pause(void *context)
{
    (void)context;
    if (paused_until_ms > clock_unix_ms) return paused_until_ms - clock_unix_ms;
    for (guint i = 0; i < clients->len; i++) {
        Client *client = clients->pdata[i];
        if (!client->io->paused) continue;
        client->io->paused = false;
        note_writer(client);
    }
    return -1;
}

void client_pause(int64_t until_unix_ms)
{
    bool running = paused_until_ms > clock_unix_ms;
    paused_until_ms = MAX(paused_until_ms, until_unix_ms);
    if (!running) loop_timer(loop, paused_until_ms - clock_unix_ms, end_pause, NULL);
}

/* ---- idle clients ---- */

#define IDLE_TICK_MS 100

/* A tenth of the clients in each tick, so that each is looked at once a second; and the soft limits of those that have
 * stopped reading. */
static int64_t check_idle(void *context)
{
    (void)context;
    static guint next;
    for (guint checks = clients->len / 10 + 1; checks > 0 && clients->len > 0; checks--) {
        Client *client = clients->pdata[next++ % clients->len];
        if (client->out.bytes > 0) check_output_limits(client);
        bool exempt = client->class != CLIENT_NORMAL || options.timeout == 0;
        if (exempt || clock_unix_ms - client->active_ms <= options.timeout * 1000) continue;
        log_line(LOG_VERBOSE, "Closing idle client");
        client_close_now(client);
    }
    return IDLE_TICK_MS;
}

/* ---- clients come and go ---- */

Client *client_adopt(int fd, bool unix_socket, bool operator_socket)
{
    Client *client = g_new0(Client, 1);
    *client = (Client){
        .id = ++last_id,
        .fd = fd,
        .unix_socket = unix_socket,
        .operator_socket = operator_socket,
        .created_ms = clock_unix_ms,
        .active_ms = clock_unix_ms,
    };
    client->io = g_new0(struct ClientIo, 1);
    client->io->eager_bytes = OUTPUT_EAGER;
    client->io->watch = loop_watch(loop, fd, LOOP_READ, client_ready, client);
    g_ptr_array_add(clients, client);
    handlers.opened(client);
    return client;
}

void client_init(Loop *the_loop, ClientHandlers the_handlers)
{
    loop = the_loop;
    handlers = the_handlers;
    clients = g_ptr_array_new();
    arena = g_malloc(ARENA_BYTES);
    batch = g_array_new(FALSE, FALSE, sizeof(Incoming));
    slices = g_array_new(FALSE, FALSE, sizeof(Slice));
    shared_args = g_array_new(FALSE, FALSE, sizeof(RespArg));
    turn_clients = g_ptr_array_new();
    writers = g_ptr_array_new();
    loop_set_hooks(loop, flush_all, run_batch, NULL);
    loop_timer(loop, IDLE_TICK_MS, check_idle, NULL);
    listen_init(loop);
}

void client_shutdown(void)
{
    client_close_listeners();
    flush_all(NULL);
    while (clients->len > 0)
        free_client(clients->pdata[clients->len - 1]);
    g_ptr_array_free(clients, TRUE);
    g_ptr_array_free(writers, TRUE);
    g_ptr_array_free(turn_clients, TRUE);
    g_array_free(batch, TRUE);
    g_array_free(slices, TRUE);
    g_array_free(shared_args, TRUE);
    g_free(arena);
}
