/* client.c: see client.h. (Listening is in listen.c.)
 *
 * Design. Where a client's input lies: a readable client is read into the turn's arena. What is left there after the
 * last whole command moves to a buffer of the client's own, and back in front of the next read; but when a big argument
 * is due, reads go straight into the client's buffer until the command is whole. Neither moves while a turn's batch is
 * pending, so arguments are slices of them. The batch runs when every ready client was read, or when the arena is full.
 *
 * A client with very much unsent output is held: its commands wait, those of the batch that were skipped (written as
 * RESP again) and what else comes, as its backlog. It's read from all the same, because it may be one that sends
 * everything before it reads anything. Once it has read enough, the backlog runs bit by bit, and only then is it read
 * from again.
 *
 * The gate: a client has marks, each a place in the stream of its output and the offset that what comes behind it waits
 * for. Only what is before the first mark is sent. Most clients never have one.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "net/client.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/number.h"
#include "base/options.h"
#include "net/clientio.h"
#include "net/listen.h"
#include "net/resp.h"

#define ARENA_BYTES  (2 * 1024 * 1024)
#define READ_MAX     (64 * 1024)       /* from one client in one turn into the arena: a pipeline's share */
#define READ_OWN     (1024 * 1024)     /* the same into its own buffer, for big arguments */
#define LIFT_MAX     (16 * 1024)       /* unfinished input up to this is copied in front of the next read */
#define WRITE_MAX    (4 * 1024 * 1024) /* to one client in one turn */
#define WRITE_BLOCKS 64
#define INPUT_MAX    (1024UL * 1024 * 1024) /* of one client, as in Redis */
#define BATCH_MAX    16384                  /* commands; then the batch runs, so that slices and arena stay small */
#define RESUMED_MAX  64                     /* commands of a batch of those who go on, at most one client's more */
#define BATCH_FIRST  1024
#define SLICES_FIRST 4096
#define SLICES_MAX   (20 * 1024) /* arguments; the same, so that one client's share more still fits into: */
#define SLICES_KEPT  (32 * 1024) /* the room for more isn't kept for the next batch */

/* In the middle of a turn, try to send whenever so much more waits. */
#define OUTPUT_EAGER (1024 * 1024)

/* Unsent output at which a client's commands begin to wait, and at which they go on. */
#define OUTPUT_HOLD    (64 * 1024 * 1024)
#define OUTPUT_RELEASE (32 * 1024 * 1024)

static Loop *loop;
static ClientHandlers handlers;
static GPtrArray *clients; /* by id */
static uint64_t last_id;
static int64_t paused_until_ms;

/* The turn: input, the batch, and who took part. */
static char *arena;
static size_t arena_used;
static GArray *batch;                  /* Incoming; argv is in slices */
static GArray *slices;                 /* Slice */
static guint batch_count, slice_count; /* what is used of these two */
static GArray *shared_args;            /* RespArg, of the command being parsed in the arena */
static GPtrArray *turn_clients;
static GQueue resumed_clients;    /* those whose backlog runs next, in order */
static GList *passed_over;        /* the last of those at their front whose turn came in vain */
static bool put_off;              /* in this turn: client_put_off */
static GPtrArray *hungry_clients; /* those that are given more output next */
static GPtrArray *writers;        /* clients whose output isn't empty, or that are to be closed */
static GPtrArray *gated;          /* clients with marks */

ClientStats client_stats;

/* ---- looking at clients ---- */

GPtrArray *client_all(void)
{
    return clients;
}

/* Where the client of this id is, or would be. */
static guint find_place(uint64_t id)
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
    return low;
}

Client *client_by_id(uint64_t id)
{
    guint place = find_place(id);
    Client *found = place < clients->len ? clients->pdata[place] : NULL;
    return found != NULL && found->id == id ? found : NULL;
}

size_t client_input_bytes(const Client *client)
{
    return client->io->own_len - client->io->own_start;
}

size_t client_input_room(const Client *client)
{
    return client->io->own_cap - client->io->own_len;
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

void client_note_writer(Client *client)
{
    if (client->has_output) return;
    client->has_output = true;
    g_ptr_array_add(writers, client);
}

void client_close_now(Client *client)
{
    client->closing = client->io->close_now = true;
    client_note_writer(client);
}

void client_close_after_reply(Client *client)
{
    client->closing = true;
    client_note_writer(client);
}

/* ---- the gate ---- */

size_t client_gate_waiting(void)
{
    return gated->len;
}

void client_gate_close(Client *client, size_t position, uint64_t offset)
{
    ClientIo *io = client->io;
    if (io->marks == NULL) {
        io->marks = g_array_new(FALSE, FALSE, sizeof(GateMark));
        g_ptr_array_add(gated, client);
    }
    GateMark mark = { io->passed + position, offset };
    if (io->marks->len > 0) {
        const GateMark *last = &g_array_index(io->marks, GateMark, io->marks->len - 1);
        g_assert(mark.position >= last->position && offset >= last->offset);
        if (offset == last->offset) return;
    }
    g_array_append_val(io->marks, mark);
}

static void drop_marks(Client *client)
{
    if (client->io->marks == NULL) return;
    g_clear_pointer(&client->io->marks, g_array_unref);
    g_ptr_array_remove_fast(gated, client);
}

void client_gate_open(uint64_t offset)
{
    for (guint i = gated->len; i-- > 0;) {
        Client *client = gated->pdata[i];
        const GArray *marks = client->io->marks;
        guint passed = 0;
        while (passed < marks->len && g_array_index(marks, GateMark, passed).offset <= offset)
            passed++;
        if (passed == 0) continue;
        client_note_writer(client);
        if (passed == marks->len) {
            drop_marks(client);
        } else {
            g_array_remove_range(client->io->marks, 0, passed);
        }
    }
}

/* Bytes that may be sent now. */
static size_t sendable(const Client *client)
{
    const ClientIo *io = client->io;
    return io->marks == NULL ? client->out.bytes : g_array_index(io->marks, GateMark, 0).position - io->passed;
}

size_t client_gate_abandon(uint64_t offset)
{
    size_t abandoned = 0;
    for (guint i = 0; i < gated->len; i++) {
        Client *client = gated->pdata[i];
        if (client->io->close_now || g_array_index(client->io->marks, GateMark, 0).offset > offset) continue;
        client_close_now(client);
        abandoned++;
    }
    return abandoned;
}

/* ---- sending ---- */

/* At most `len` bytes from the front of the output. */
static int gather(const Out *out, size_t len, struct iovec parts[WRITE_BLOCKS], size_t *gathered)
{
    int count = 0;
    *gathered = 0;
    for (OutBlock *b = out->head; b != NULL && count < WRITE_BLOCKS && *gathered < len; b = b->next) {
        size_t skip = b == out->head ? out->sent : 0, part = MIN(b->used - skip, len - *gathered);
        parts[count++] = (struct iovec){ b->data + skip, part };
        *gathered += part;
    }
    return count;
}

/* Sends what the gate lets pass and the kernel takes, up to WRITE_MAX. False: the connection is gone. */
static bool send_output(Client *client)
{
    size_t sent = 0, left;
    while ((left = sendable(client)) > 0 && sent < WRITE_MAX) {
        struct iovec parts[WRITE_BLOCKS];
        size_t wanted;
        int count = gather(&client->out, left, parts, &wanted);
        ssize_t got =
            count == 1 ? send(client->fd, parts[0].iov_base, parts[0].iov_len, 0) : writev(client->fd, parts, count);
        if (got < 0) return errno == EAGAIN || errno == EINTR;
        out_consume(&client->out, (size_t)got);
        client_stats.bytes_out += (size_t)got;
        client->io->passed += (size_t)got;
        if (client->class != CLIENT_SLAVE) client->active_ms = clock_mono_ms(); /* a slave is judged by what it says */
        sent += (size_t)got;
        if ((size_t)got < wanted) return true; /* the kernel's buffer is full */
    }
    return true;
}

/* Held because it didn't read its replies. */
static bool is_unread(const Client *client)
{
    return client->held && client->out.bytes > OUTPUT_RELEASE;
}

/* The connection is gone. What was read from it runs all the same, also if it was put off, since who sends changes may
 * leave without waiting for the answers; nobody gets those. A slave's needn't, nor what comes after WAIT, nor what
 * waited for replies to be read: with nobody to read them, it would run for as long as it takes. */
static void lose_connection(Client *client)
{
    ClientIo *io = client->io;
    bool runs = (io->in_turn || io->backlog) && !io->blocked && !is_unread(client) && !client->closing &&
                client->class != CLIENT_SLAVE;
    if (runs) {
        io->lost = io->ended = true;
    } else {
        client_close_now(client);
    }
}

static void send_or_drop(Client *client)
{
    ClientIo *io = client->io;
    if (!io->close_now && !io->lost && !send_output(client)) lose_connection(client);
    if (!io->lost) return;
    drop_marks(client);
    io->passed += client->out.bytes;
    out_clear(&client->out);
}

/* Whether the client's class allows so much output, for so long. Slaves are judged by how far they are behind, which
 * isn't known here (repl/master.c): what waits for one is only the part of it that was read from the journal. */
static bool output_within_limits(Client *client)
{
    if (client->class == CLIENT_SLAVE) return true;
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

void client_output_is_much(Client *client)
{
    if (handlers.before_send != NULL) handlers.before_send();
    send_or_drop(client);
    check_output_limits(client);
    client->eager_bytes = client->out.bytes + OUTPUT_EAGER;
    /* Not a slave's, which are acknowledgements without an answer. Who is gone is given as much in each turn as another
     * one may be sent. */
    bool much = client->io->lost || client->out.bytes >= OUTPUT_HOLD;
    if (much && client->class != CLIENT_SLAVE) client->held = true;
}

static void free_client(Client *client)
{
    ClientIo *io = client->io;
    client->has_output = true; /* whatever the handler does, it isn't written to again */
    handlers.closed(client);
    loop_unwatch(loop, io->watch);
    close(client->fd);
    out_clear(&client->out);
    g_ptr_array_remove_index(clients, find_place(client->id));
    if (passed_over != NULL && passed_over->data == client) passed_over = passed_over->prev;
    if (io->resuming) g_queue_remove(&resumed_clients, client);
    if (io->hungry) g_ptr_array_remove_fast(hungry_clients, client);
    drop_marks(client);
    buffer_resize(io->own, &io->own_cap, 0);
    g_free(io->error);
    if (io->args != NULL) g_array_unref(io->args);
    g_free(io);
    g_free(client);
}

/* A backlog that isn't held any more runs in the next turn, which is to come at once. */
static void resume(Client *client)
{
    ClientIo *io = client->io;
    if (client->held || !io->backlog || io->paused || io->resuming) return;
    io->resuming = true;
    loop_no_wait(loop);
    if (!io->resumed) {
        g_queue_push_tail(&resumed_clients, client);
    } else if (passed_over == NULL) {
        g_queue_push_head(&resumed_clients, client);
        passed_over = resumed_clients.head;
    } else {
        g_queue_insert_after(&resumed_clients, passed_over, client);
        passed_over = passed_over->next;
    }
}

void client_hold(Client *client, bool hold)
{
    ClientIo *io = client->io;
    io->blocked = hold;
    if (hold) client->held = true;
    if (hold && io->ended && (io->lost || io->error == NULL)) client_close_now(client); /* it won't be read again */
    client_note_writer(client); /* which looks whether it goes on */
}

void client_put_off(Client *client)
{
    client->held = true;
    put_off = true;
    client_note_writer(client); /* which lets it go on */
}

void client_feed_below(Client *client, size_t bytes)
{
    client->io->feed_below = bytes;
    if (bytes > 0) client_note_writer(client);
}

/* It's given more in the next turn, which is to come at once. */
static void note_hungry(Client *client)
{
    ClientIo *io = client->io;
    if (io->hungry || client->closing || client->out.bytes >= io->feed_below) return;
    io->hungry = true;
    g_ptr_array_add(hungry_clients, client);
    loop_no_wait(loop);
}

static void feed_hungry(void)
{
    while (hungry_clients->len > 0) {
        Client *client = g_ptr_array_remove_index_fast(hungry_clients, hungry_clients->len - 1);
        client->io->hungry = false;
        if (!client->closing && client->io->feed_below > 0) handlers.drained(client);
    }
}

static bool is_paused(const Client *client)
{
    return paused_until_ms > clock_mono_ms() && client->class != CLIENT_SLAVE && !client->operator_socket;
}

static bool takes_input(const Client *client)
{
    const ClientIo *io = client->io;
    return !client->closing && !io->paused && !io->ended && (client->held || !io->backlog);
}

/* Sends to one client; frees it if it's done with. */
static void flush_client(Client *client)
{
    ClientIo *io = client->io;
    if (!io->close_now) check_output_limits(client);
    send_or_drop(client);
    if (io->close_now || (client->closing && client->out.bytes == 0)) {
        free_client(client);
        return;
    }
    client->has_output = false;
    client->eager_bytes = client->out.bytes + (client->out.bytes < OUTPUT_HOLD ? OUTPUT_EAGER : 0); /* or it's held */
    if (client->held && !io->blocked && client->out.bytes <= OUTPUT_RELEASE) client->held = false;
    resume(client);
    io->resumed = false;
    note_hungry(client);
    loop_want(loop, io->watch, (takes_input(client) ? LOOP_READ : 0) | (sendable(client) > 0 ? LOOP_WRITE : 0));
}

static void flush_all(void *context)
{
    (void)context;
    if (handlers.before_send != NULL) handlers.before_send();
    if (handlers.turn_ends != NULL && handlers.turn_ends()) loop_no_wait(loop);
    put_off = false;
    passed_over = NULL;
    for (guint i = 0; i < writers->len; i++) /* in order, so that none who was put off is overtaken; more may come */
        flush_client(writers->pdata[i]);
    g_ptr_array_set_size(writers, 0);
}

/* ---- input: parsing ---- */

static GArray *new_array(guint element_bytes, guint count)
{
    return g_array_set_size(g_array_new(FALSE, FALSE, element_bytes), count);
}

static __attribute__((noinline)) void grow_room(guint argc)
{
    if (batch_count == batch->len) g_array_set_size(batch, batch->len * 2);
    if (slices->len - slice_count >= argc) return;
    uintptr_t before = (uintptr_t)slices->data;
    g_array_set_size(slices, MAX(slices->len * 2, slice_count + argc));
    for (guint i = 0; i < batch_count; i++) {
        Incoming *in = &g_array_index(batch, Incoming, i);
        in->argv = (Slice *)(void *)(slices->data + ((uintptr_t)in->argv - before));
    }
}

/* Room for a command of so many arguments. */
static inline void make_room(guint argc)
{
    if (G_UNLIKELY(batch_count == batch->len || slices->len - slice_count < argc)) grow_room(argc);
}

/* Adds a command whose arguments stand behind the slices in use. */
static inline void add_command(Client *client, guint argc)
{
    g_array_index(batch, Incoming, batch_count++) =
        (Incoming){ .client = client, .argc = argc, .argv = &g_array_index(slices, Slice, slice_count) };
    slice_count += argc;
}

/* Adds all commands that are as nearly all are, up to one that isn't; returns the bytes they take. */
static size_t parse_usual(Client *client, char *bytes, const char *limit, const char *end)
{
    char *at = bytes;
    while (at < limit) {
        make_room(RESP_USUAL_ARGS);
        uint32_t argc = resp_parse_usual(&at, end, &g_array_index(slices, Slice, slice_count));
        if (argc == 0) break;
        add_command(client, argc);
    }
    return (size_t)(at - bytes);
}

static void add_parsed(Client *client, const GArray *args, const char *bytes)
{
    if (args->len == 0) return;
    make_room(args->len);
    const RespArg *arg = (const RespArg *)(const void *)args->data;
    for (guint i = 0; i < args->len; i++)
        g_array_index(slices, Slice, slice_count + i) = (Slice){ bytes + arg[i].offset, arg[i].len };
    add_command(client, args->len);
}

/* Parses all whole commands that begin before `limit`; returns the bytes they take. */
static size_t parse_commands(Client *client, GArray *args, char *bytes, size_t len, size_t limit)
{
    ClientIo *io = client->io;
    size_t taken = 0;
    limit = MIN(len, limit);
    while (taken < limit) {
        if (io->parser.offset == 0) taken += parse_usual(client, bytes + taken, bytes + limit, bytes + len);
        if (taken >= limit) break;
        if (client->class == CLIENT_SLAVE && bytes[taken] == '\n') {
            /* It lives, and says no more. As a client's command it would take the byte behind it along (resp.c). */
            taken++;
            continue;
        }
        RespStatus status = resp_parse(&io->parser, args, bytes + taken, len - taken);
        if (status == RESP_INCOMPLETE) break;
        if (status == RESP_ERROR) {
            io->error = g_strdup(io->parser.error);
            io->ended = true;
            resp_next(&io->parser);
            return len;
        }
        add_parsed(client, args, bytes + taken);
        taken += io->parser.offset;
        resp_next(&io->parser);
    }
    return taken;
}

static void join_turn(Client *client)
{
    if (client->io->in_turn) return;
    client->io->in_turn = true;
    g_ptr_array_add(turn_clients, client);
}

/* ---- input: the client's own buffer ---- */

static void drop_own(ClientIo *io)
{
    io->own = buffer_resize(io->own, &io->own_cap, 0);
    g_clear_pointer(&io->args, g_array_unref);
    io->own_start = io->own_len = 0;
    io->own_change++;
}

/* What is left in the arena of an unfinished command becomes the client's own. */
static void keep_rest(ClientIo *io, const char *rest, size_t len)
{
    if (len == 0) {
        drop_own(io);
        return;
    }
    if (len > io->own_cap || io->own_cap > LIFT_MAX) io->own = buffer_resize(io->own, &io->own_cap, MAX(len, 64));
    memcpy(io->own, rest, len);
    io->own_len = len;
    io->own_change++;
    if (io->parser.offset == 0 || io->args != NULL) return;
    io->args = shared_args;
    shared_args = g_array_new(FALSE, FALSE, sizeof(RespArg));
}

/* Makes room for `wanted` bytes in all, but never for much more than as much again as has come: what a client only
 * announces costs no memory. */
static void grow_own(ClientIo *io, size_t wanted)
{
    size_t cap = MIN(wanted, MAX(io->own_len * 2, READ_MAX));
    if (cap > io->own_cap) io->own = buffer_resize(io->own, &io->own_cap, cap);
}

/* The capacity that has room for `least` more bytes: if it has to grow, by the more the longer it is. */
static size_t with_room(const ClientIo *io, size_t least)
{
    bool has_room = io->own_cap - io->own_len >= least;
    return has_room ? io->own_cap : io->own_len + MAX(least, io->own_len / 4);
}

/* After the batch ran: what it used of the client's own buffer goes. What remains of a backlog is moved to the front
 * only now and then; in front of a long one pages are given back, but for the room that keep_skipped may want. */
static void settle_own(ClientIo *io)
{
    if (io->own_parsed == 0) return;
    io->own_start = io->own_parsed;
    io->own_parsed = 0;
    io->own_change++;
    size_t left = io->own_len - io->own_start;
    if (left == 0) {
        drop_own(io);
        return;
    }
    if (io->backlog && buffer_is_big(left)) {
        size_t cut = io->own_start < 2 * READ_OWN ? 0 : io->own_start - READ_OWN;
        cut = buffer_cut(&io->own, &io->own_cap, cut);
        io->own_start -= cut;
        io->own_len -= cut;
        return;
    }
    if (io->backlog && io->own_start < left) return;
    memmove(io->own, io->own + io->own_start, left);
    io->own_start = 0;
    io->own_len = left;
    io->own = buffer_resize(io->own, &io->own_cap, left);
}

/* ---- input: reading ---- */

/* Reads once; -1: nothing there, 0: no more will come. */
static ssize_t read_some(Client *client, char *to, size_t room)
{
    ssize_t got = recv(client->fd, to, room, 0);
    if (got > 0) {
        client_stats.bytes_in += (size_t)got;
        return got;
    }
    if (got == 0) {
        client->io->ended = true; /* what it sent before is answered */
        return 0;
    }
    if (errno == EAGAIN || errno == EINTR) return -1;
    lose_connection(client);
    return 0;
}

/* Behind what is there, without parsing it. */
static ssize_t append_own(Client *client, size_t wanted)
{
    ClientIo *io = client->io;
    grow_own(io, wanted);
    ssize_t got = read_some(client, io->own + io->own_len, MIN(io->own_cap - io->own_len, READ_OWN));
    if (got <= 0) return got;
    io->own_len += (size_t)got;
    if (client_input_bytes(client) > INPUT_MAX) {
        log_line(LOG_WARNING, "Closing client id=%" G_GUINT64_FORMAT " that reached max query buffer length",
                 client->id);
        client_close_now(client);
    }
    return got;
}

static ssize_t read_own(Client *client)
{
    ClientIo *io = client->io;
    ssize_t got = append_own(client, MAX(resp_needs(&io->parser), with_room(io, LIFT_MAX)));
    if (got <= 0) return got;
    if (io->args == NULL) io->args = g_array_new(FALSE, FALSE, sizeof(RespArg));
    io->own_parsed = parse_commands(client, io->args, io->own, io->own_len, io->own_len);
    return got;
}

static ssize_t read_arena(Client *client)
{
    ClientIo *io = client->io;
    char *to = arena + arena_used;
    if (io->own_len > 0) memcpy(to, io->own, io->own_len);
    ssize_t got = read_some(client, to + io->own_len, READ_MAX);
    if (got <= 0) return got;
    size_t len = io->own_len + (size_t)got;
    arena_used += len;
    size_t taken = parse_commands(client, io->args != NULL ? io->args : shared_args, to, len, len);
    keep_rest(io, to + taken, len - taken);
    return got;
}

static ssize_t read_more(Client *client)
{
    const ClientIo *io = client->io;
    if (io->own_len > LIFT_MAX || resp_needs(&io->parser) > READ_MAX) return read_own(client);
    return read_arena(client);
}

/* ---- the batch ---- */

/* "*3\r\n", "$10\r\n". */
#define HEAD_BYTES_MAX (NUMBER_INT_CHARS + 3)

static char *put_head(char *to, char type, size_t value)
{
    *to++ = type;
    to += number_format_uint(to, value);
    memcpy(to, "\r\n", 2);
    return to + 2;
}

static size_t encoded_bytes_max(const Incoming *in)
{
    size_t bytes = HEAD_BYTES_MAX;
    for (uint32_t a = 0; a < in->argc; a++)
        bytes += HEAD_BYTES_MAX + in->argv[a].len + 2;
    return bytes;
}

static char *put_command(char *to, const Incoming *in)
{
    to = put_head(to, '*', in->argc);
    for (uint32_t a = 0; a < in->argc; a++) {
        to = put_head(to, '$', in->argv[a].len);
        memcpy(to, in->argv[a].ptr, in->argv[a].len);
        memcpy(to + in->argv[a].len, "\r\n", 2);
        to += in->argv[a].len + 2;
    }
    return to;
}

/* The commands that the batch skipped among those from `begin` to `end`, as RESP; to g_free. */
static Slice encode_skipped(guint begin, guint end)
{
    size_t bytes_max = 0;
    for (guint i = begin; i < end; i++) {
        const Incoming *in = &g_array_index(batch, Incoming, i);
        if (in->skipped) bytes_max += encoded_bytes_max(in);
    }
    char *encoded = g_malloc(bytes_max), *to = encoded;
    for (guint i = begin; i < end; i++) {
        const Incoming *in = &g_array_index(batch, Incoming, i);
        if (in->skipped) to = put_command(to, in);
    }
    return (Slice){ encoded, (size_t)(to - encoded) };
}

/* Puts a held client's skipped commands in front of its other input: in the place where they were, if they came from
 * its own buffer. */
static void keep_skipped(Client *client, guint begin, guint end)
{
    ClientIo *io = client->io;
    Slice skipped = encode_skipped(begin, end);
    size_t left = io->own_len - io->own_parsed;
    if (skipped.len > io->own_parsed) {
        size_t cap = 0;
        char *joined = buffer_resize(NULL, &cap, skipped.len + left);
        if (left > 0) memcpy(joined + skipped.len, io->own + io->own_parsed, left);
        buffer_resize(io->own, &io->own_cap, 0);
        io->own = joined;
        io->own_cap = cap;
        io->own_parsed = skipped.len;
        io->own_len = skipped.len + left;
    }
    io->own_start = io->own_parsed - skipped.len;
    if (skipped.len > 0) memcpy(io->own + io->own_start, skipped.ptr, skipped.len);
    g_free((char *)skipped.ptr);
    io->own_parsed = 0;
    io->own_change++;
    resp_next(&io->parser);
    io->backlog = io->own_len > io->own_start;
    if (!io->backlog) drop_own(io);
}

/* Its commands are those of the batch from `begin` to `end`. */
static void settle(Client *client, guint begin, guint end)
{
    ClientIo *io = client->io;
    io->in_turn = false;
    if (begin < end && !g_array_index(batch, Incoming, begin).skipped) io->resumed = false;
    if (client->closing) return;
    if (client->held) {
        keep_skipped(client, begin, end);
    } else {
        settle_own(io);
    }
    if (!io->ended || io->backlog) return;
    /* A slave would take it for a part of the stream. */
    if (io->error != NULL && client->class != CLIENT_SLAVE) reply_error(client_out(client), io->error);
    client_close_after_reply(client);
}

/* Runs the batch and forgets the turn's input. */
static void run_batch(void)
{
    Incoming *incoming = (Incoming *)(void *)batch->data;
    if (batch_count > 0) handlers.run(incoming, batch_count);
    for (guint i = 0, begin = 0, end = 0; i < turn_clients->len; i++, begin = end) {
        while (end < batch_count && incoming[end].client == turn_clients->pdata[i])
            end++;
        settle(turn_clients->pdata[i], begin, end);
    }
    g_ptr_array_set_size(turn_clients, 0);
    if (slices->len > SLICES_KEPT) {
        g_array_free(slices, TRUE);
        slices = new_array(sizeof(Slice), SLICES_FIRST);
    }
    batch_count = slice_count = 0;
    arena_used = 0;
}

static bool is_batch_full(void)
{
    return batch_count > BATCH_MAX || slice_count > SLICES_MAX;
}

/* Adds a part of the backlog to the batch. */
static void parse_backlog(Client *client)
{
    ClientIo *io = client->io;
    io->resuming = false;
    io->resumed = true;
    client_note_writer(client);
    if (is_paused(client)) io->paused = true;
    if (client->closing || client->held || io->paused) return;
    if (io->args == NULL) io->args = g_array_new(FALSE, FALSE, sizeof(RespArg));
    size_t len = io->own_len - io->own_start;
    size_t taken = parse_commands(client, io->args, io->own + io->own_start, len, READ_MAX);
    io->own_parsed = io->own_start + taken;
    io->backlog = taken >= READ_MAX && taken < len;
    join_turn(client);
}

/* They come before what is read in this turn. Where commands are put off they run in small batches, and once one is in
 * this turn the others wait, too. */
static void parse_resumed(void)
{
    while (resumed_clients.length > 0 && !put_off) {
        if (batch_count >= RESUMED_MAX || is_batch_full())
            run_batch();
        else
            parse_backlog(g_queue_pop_head(&resumed_clients));
    }
}

static void finish_turn(void *context)
{
    (void)context;
    parse_resumed();
    run_batch();
    feed_hungry();
    if (resumed_clients.length > 0) loop_no_wait(loop);
}

static void read_client(Client *client)
{
    if (is_paused(client)) {
        client->active_ms = clock_mono_ms();
        client->io->paused = true;
        client_note_writer(client);
        return;
    }
    parse_resumed();
    if (arena_used > ARENA_BYTES - READ_MAX - LIFT_MAX || is_batch_full() || client->io->in_turn) run_batch();
    if (!takes_input(client)) return;
    ssize_t got = client->held ? append_own(client, with_room(client->io, READ_OWN)) : read_more(client);
    if (got < 0) return;
    if (got > 0) client->active_ms = clock_mono_ms();
    if (client->io->ended && client->io->blocked) client_close_now(client); /* nobody waits any more */
    if (client->held) {
        client->io->backlog = true;
        client_note_writer(client);
    } else {
        join_turn(client);
    }
}

static void client_ready(int fd, unsigned ready, void *context)
{
    (void)fd;
    Client *client = context;
    if (ready & LOOP_WRITE) client_note_writer(client);
    if ((ready & LOOP_READ) && takes_input(client)) read_client(client);
}

/* ---- pausing ---- */

/* The longest that its timer waits, whose microseconds must not overflow. */
#define PAUSE_LOOK_MS (60 * 60 * 1000)

static int64_t pause_left_ms(void)
{
    return MIN(paused_until_ms - clock_mono_ms(), PAUSE_LOOK_MS);
}

static int64_t end_pause(void *context)
{
    (void)context;
    if (pause_left_ms() > 0) return pause_left_ms();
    for (guint i = 0; i < clients->len; i++) {
        Client *client = clients->pdata[i];
        if (!client->io->paused) continue;
        client->io->paused = false;
        client_note_writer(client);
    }
    return -1;
}

void client_pause(int64_t until_ms)
{
    bool running = paused_until_ms > clock_mono_ms();
    paused_until_ms = MAX(paused_until_ms, until_ms);
    if (!running) loop_timer(loop, pause_left_ms(), end_pause, NULL);
}

/* ---- idle clients ---- */

#define IDLE_TICK_MS 100

/* Not those who wait for the server, or for others. */
static bool is_idle(const Client *client)
{
    const ClientIo *io = client->io;
    return clock_mono_ms() - client->active_ms > options.timeout * 1000 && !io->blocked && !io->resuming &&
           io->marks == NULL;
}

/* A tenth of the clients in each tick, so that each is looked at once a second; and the soft limits of those that have
 * stopped reading. */
static int64_t check_idle(void *context)
{
    (void)context;
    static guint next;
    for (guint checks = clients->len / 10 + 1; checks > 0 && clients->len > 0; checks--) {
        Client *client = clients->pdata[next++ % clients->len];
        if (client->out.bytes > 0) check_output_limits(client);
        bool exempt = client->class != CLIENT_NORMAL || client->never_idle || options.timeout == 0;
        if (exempt || !is_idle(client)) continue;
        log_line(LOG_VERBOSE, "Closing idle client");
        client_close_now(client);
    }
    return IDLE_TICK_MS;
}

/* ---- clients come and go ---- */

uint64_t client_new_id(void)
{
    return ++last_id;
}

Client *client_new(uint64_t id, int fd, bool unix_socket, bool operator_socket)
{
    Client *client = g_new0(Client, 1);
    *client = (Client){
        .id = id,
        .fd = fd,
        .unix_socket = unix_socket,
        .operator_socket = operator_socket,
        .created_ms = clock_mono_ms(),
        .active_ms = clock_mono_ms(),
    };
    client->io = g_new0(struct ClientIo, 1);
    client->eager_bytes = OUTPUT_EAGER;
    client->io->watch = loop_watch(loop, fd, LOOP_READ, client_ready, client);
    g_ptr_array_add(clients, client);
    handlers.opened(client);
    return client;
}

Client *client_adopt(int fd, bool unix_socket, bool operator_socket)
{
    return client_new(client_new_id(), fd, unix_socket, operator_socket);
}

/* ---- clients pass to another process ---- */

void client_settle(void)
{
    finish_turn(NULL);
    flush_all(NULL);
}

void client_save_rest(Tape *tape)
{
    tape_put(tape, last_id);
    tape_put(tape, (uint64_t)paused_until_ms);
}

void client_restore_rest(TapeReader *tape)
{
    last_id = tape_get(tape);
    int64_t until_ms = (int64_t)tape_get(tape);
    if (until_ms > clock_mono_ms()) client_pause(until_ms);
}

void client_init(Loop *the_loop, ClientHandlers the_handlers)
{
    loop = the_loop;
    handlers = the_handlers;
    clients = g_ptr_array_new();
    arena = g_malloc(ARENA_BYTES);
    batch = new_array(sizeof(Incoming), BATCH_FIRST);
    slices = new_array(sizeof(Slice), SLICES_FIRST);
    shared_args = g_array_new(FALSE, FALSE, sizeof(RespArg));
    turn_clients = g_ptr_array_new();
    g_queue_init(&resumed_clients);
    put_off = false;
    hungry_clients = g_ptr_array_new();
    writers = g_ptr_array_new();
    gated = g_ptr_array_new();
    loop_set_hooks(loop, flush_all, finish_turn, NULL);
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
    g_ptr_array_free(gated, TRUE);
    g_queue_clear(&resumed_clients);
    g_ptr_array_free(hungry_clients, TRUE);
    g_ptr_array_free(turn_clients, TRUE);
    g_array_free(batch, TRUE);
    g_array_free(slices, TRUE);
    g_array_free(shared_args, TRUE);
    g_free(arena);
}
