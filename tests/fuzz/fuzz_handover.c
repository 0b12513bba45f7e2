/* fuzz_handover.c: any bytes as what an old process hands over of its clients: they're refused, or the clients that
 * come of them can be run, sent to and closed. The input is two tapes (what comes ahead, and the clients), or places
 * and values that change what two real clients were saved as.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <glib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/options.h"
#include "net/ahead.h"
#include "net/client.h"
#include "store/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define CLIENTS_MAX 4

static GByteArray *saved_ahead, *saved;

static void nothing(Client *client)
{
    (void)client;
}

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
    client_init(loop, (ClientHandlers){ .opened = nothing, .closed = nothing, .run = run, .drained = nothing });
    return loop;
}

static void finish(Loop *loop)
{
    client_gate_open(UINT64_MAX);
    client_shutdown();
    ahead_forget();
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

static GByteArray *bytes_of(Tape *tape)
{
    GByteArray *bytes = g_byte_array_new();
    g_byte_array_append(bytes, tape->bytes, (guint)tape->len);
    tape_close(tape);
    return bytes;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    Tape ahead, rest;
    int peers[2];
    options_reset();
    clock_refresh();
    Loop *loop = begin();
    Client *reader = client_adopt(connection(&peers[0]), false, false);
    Client *waiter = client_adopt(connection(&peers[1]), true, true);
    g_assert(tape_open(&ahead) && tape_open(&rest));
    reply_bulk_cstring(client_out(reader), "a reply that is unsent");
    client_save_ahead(&ahead, 12);
    reply_bulk_cstring(client_out(waiter), "a reply that waits");
    client_gate_close(waiter, 3, 5);
    client_gate_close(waiter, 7, 9);
    client_save(reader, &rest);
    client_save(waiter, &rest);
    saved_ahead = bytes_of(&ahead);
    saved = bytes_of(&rest);
    finish(loop);
    close(peers[0]);
    close(peers[1]);
    return 0;
}

static void restore(TapeReader ahead, TapeReader rest)
{
    int peers[CLIENTS_MAX];
    size_t count = 0;
    Loop *loop = begin();
    ahead_take(&ahead);
    while (!ahead.bad && !rest.bad && rest.at < rest.len && count < CLIENTS_MAX) {
        int fd = connection(&peers[count++]);
        Client *client = client_restore(&rest, fd);
        g_assert(client != NULL || rest.bad);
        if (client == NULL) close(fd);
    }
    if (!ahead.bad && !rest.bad) client_settle();
    finish(loop);
    while (count > 0)
        close(peers[--count]);
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
