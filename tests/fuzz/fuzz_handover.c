/* fuzz_handover.c: any bytes as what an old process hands over of its clients: they're refused, or the clients that
 * come of them can be run, sent to and closed. The input is two tapes (what comes ahead; the clients with their
 * sessions, subscriptions, who waits by WAIT, and SLOWLOG), or places and values that change what two real clients were
 * saved as.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <glib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/options.h"
#include "cmds/carry.h"
#include "cmds/command.h"
#include "cmds/handlers.h"
#include "cmds/slowlog.h"
#include "cmds/sync.h"
#include "net/ahead.h"
#include "net/client.h"
#include "repl/master.h"
#include "store/journal.h"
#include "store/keyspace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define CLIENTS_MAX 4

static GByteArray *saved_ahead, *saved;

static void run(Incoming *batch, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        batch[i].skipped = batch[i].client->closing || batch[i].client->held;
        if (!batch[i].skipped) reply_bulk(client_out(batch[i].client), batch[i].argv[0]);
    }
}

static Loop *begin(void)
{
    Loop *loop = loop_new(false);
    client_init(loop, (ClientHandlers){
                          .opened = command_opened, .closed = command_closed, .run = run, .drained = master_drained });
    return loop;
}

static void forget_slowlog(void)
{
    Out out = { 0 };
    Request reset = { .argv = (Slice[]){ SLICE("slowlog"), SLICE("reset") }, .argc = 2, .out = &out };
    cmd_slowlog(&reset);
    out_clear(&out);
}

static void finish(Loop *loop)
{
    client_gate_open(UINT64_MAX);
    client_shutdown();
    ahead_forget();
    forget_slowlog();
    loop_free(loop);
}

/* A connection's end; the other end is `other`. */
static int connection(int *other)
{
    int ends[2];
    g_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    *other = ends[1];
    return ends[0];
}

/* Runs a command's handler for the client. */
static void call(Client *client, void (*handler)(Request *r), const Slice *argv, int argc)
{
    Request r = { .client = client, .session = client->session, .out = client_out(client), .argv = argv, .argc = argc };
    r.db = r.session->db;
    r.command = command_find(argv[0]);
    handler(&r);
}

static GByteArray *bytes_of(Tape *tape)
{
    GByteArray *bytes = g_byte_array_new();
    g_byte_array_append(bytes, tape->bytes, (guint)tape->len);
    tape_close(tape);
    return bytes;
}

static void save_rest(Tape *tape)
{
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
    carry_save_clients(tape, fds);
    pubsub_save(tape);
    sync_save(tape);
    slowlog_save(tape);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    Tape ahead, rest;
    int peers[2];
    options_reset();
    clock_refresh();
    command_init(keyspace_new(2));
    sync_init(loop_new(false)); /* its timers never run */
    Loop *loop = begin();
    Client *reader = client_adopt(connection(&peers[0]), false, false);
    Client *waiter = client_adopt(connection(&peers[1]), true, true);
    g_assert(tape_open(&ahead) && tape_open(&rest));
    reply_bulk_cstring(client_out(reader), "a reply that is unsent");
    client_save_ahead(&ahead, 12);
    reply_bulk_cstring(client_out(waiter), "a reply that waits");
    client_gate_close(waiter, 3, 5);
    client_gate_close(waiter, 7, 9);
    call(reader, cmd_subscribe, (Slice[]){ SLICE("subscribe"), SLICE("news") }, 2);
    call(reader, cmd_psubscribe, (Slice[]){ SLICE("psubscribe"), SLICE("n*") }, 2);
    call(waiter, cmd_watch, (Slice[]){ SLICE("watch"), SLICE("key") }, 2);
    call(waiter, cmd_multi, (Slice[]){ SLICE("multi") }, 1);
    call(waiter, transaction_queue, (Slice[]){ SLICE("set"), SLICE("key"), SLICE("value") }, 3);
    call(waiter, cmd_wait, (Slice[]){ SLICE("wait"), SLICE("1"), SLICE("1000") }, 3);
    save_rest(&rest);
    saved_ahead = bytes_of(&ahead);
    saved = bytes_of(&rest);
    finish(loop);
    close(peers[0]);
    close(peers[1]);
    return 0;
}

static void restore_others(TapeReader *rest)
{
    pubsub_restore(rest);
    sync_restore(rest);
    slowlog_restore(rest);
}

static void restore(TapeReader ahead, TapeReader rest)
{
    int peers[CLIENTS_MAX];
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
    Loop *loop = begin();
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        int fd = connection(&peers[i]);
        g_array_append_val(fds, fd);
    }
    ahead_take(&ahead);
    if (!ahead.bad) carry_restore_clients(&rest, fds, 0);
    for (size_t i = client_all()->len; i < CLIENTS_MAX; i++)
        close(g_array_index(fds, int, i));
    if (!ahead.bad) restore_others(&rest);
    if (!ahead.bad && !rest.bad) client_settle();
    finish(loop);
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        close(peers[i]);
}

/* Of exactly this size, so that reading past it is seen. */
static TapeReader tape_of(const uint8_t *bytes, size_t len)
{
    return (TapeReader){ .bytes = g_memdup2(bytes, len), .len = len };
}

/* Each edit is a place, the byte that is put there, and whether the tape ends there. */
static void change(TapeReader *tape, const uint8_t *edits, size_t len)
{
    uint8_t *bytes = (uint8_t *)(uintptr_t)tape->bytes;
    for (; len >= 4 && tape->len > 0; edits += 4, len -= 4) {
        size_t at = (size_t)(edits[0] | edits[1] << 8) % tape->len;
        bytes[at] = edits[2];
        if (edits[3] & 1) tape->len = at;
    }
}

static void read_place(const uint8_t *data, size_t size)
{
    TapeReader tape = tape_of(data, size);
    JournalPlace place;
    journal_restore_place(&place, &tape);
    g_assert(tape.bad || place.segments->len > 0);
    journal_place_clear(&place);
    g_free((void *)(uintptr_t)tape.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    size_t first = MIN(data[1], size - 2);
    const uint8_t *bytes = data + 2;
    bool raw = data[0] & 1;
    TapeReader ahead = raw ? tape_of(bytes, first) : tape_of(saved_ahead->data, saved_ahead->len);
    TapeReader rest = raw ? tape_of(bytes + first, size - 2 - first) : tape_of(saved->data, saved->len);
    if (!raw) change(&ahead, bytes, first);
    if (!raw) change(&rest, bytes + first, size - 2 - first);
    restore(ahead, rest);
    g_free((void *)(uintptr_t)ahead.bytes);
    g_free((void *)(uintptr_t)rest.bytes);
    read_place(bytes, size - 2);
    return 0;
}
