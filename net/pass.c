/* pass.c: clients pass to another process (see client.h): saved in the one, ahead of the pause (net/ahead.h) and in it,
 * and restored in the other.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/buffer.h"
#include "net/ahead.h"
#include "net/clientio.h"

bool client_is_gone(const Client *client)
{
    return client->io->close_now;
}

void client_ahead_begin(void)
{
    const GPtrArray *all = client_all();
    for (guint i = 0; i < all->len; i++) {
        ClientIo *io = ((Client *)all->pdata[i])->io;
        io->ahead_out = io->ahead_own = 0;
    }
}

/* Bytes of its waiting output, and of its input, that the other process has. */
static size_t out_ahead(const Client *client)
{
    const ClientIo *io = client->io;
    return io->ahead_out > io->passed ? io->ahead_out - io->passed : 0;
}

static size_t own_ahead(const ClientIo *io)
{
    return io->ahead_change == io->own_change ? io->ahead_own : 0;
}

static size_t out_not_ahead(const Client *client)
{
    return client->out.bytes - out_ahead(client);
}

static size_t own_not_ahead(const Client *client)
{
    return client_input_bytes(client) - own_ahead(client->io);
}

size_t client_ahead_left(void)
{
    const GPtrArray *all = client_all();
    size_t left = 0;
    for (guint i = 0; i < all->len; i++) {
        const Client *client = all->pdata[i];
        if (!client_is_gone(client)) left += out_not_ahead(client) + own_not_ahead(client);
    }
    return left;
}

/* `len` bytes of the output, behind the first `skip` of what waits. */
static void put_output(const Out *out, size_t skip, size_t len, Tape *tape)
{
    skip += out->sent;
    for (const OutBlock *block = out->head; block != NULL && len > 0; block = block->next) {
        size_t first = MIN(skip, block->used), part = MIN(block->used - first, len);
        tape_put_bytes(tape, block->data + first, part);
        skip -= first;
        len -= part;
    }
}

static size_t save_out_ahead(Client *client, Tape *tape, size_t room)
{
    size_t skip = out_ahead(client), part = MIN(out_not_ahead(client), room);
    if (part == 0) return 0;
    ahead_put(tape, client->id, AHEAD_OUTPUT, client->io->passed + skip, part);
    put_output(&client->out, skip, part, tape);
    client->io->ahead_out = client->io->passed + skip + part;
    return part;
}

static size_t save_own_ahead(Client *client, Tape *tape, size_t room)
{
    ClientIo *io = client->io;
    size_t skip = own_ahead(io), part = MIN(own_not_ahead(client), room);
    if (part == 0) return 0;
    ahead_put(tape, client->id, AHEAD_INPUT, skip, part);
    tape_put_bytes(tape, io->own + io->own_start + skip, part);
    io->ahead_change = io->own_change;
    io->ahead_own = skip + part;
    return part;
}

void client_save_ahead(Tape *tape, size_t bytes)
{
    const GPtrArray *all = client_all();
    for (guint i = 0; i < all->len && bytes > 0; i++) {
        Client *client = all->pdata[i];
        if (client_is_gone(client)) continue;
        bytes -= save_out_ahead(client, tape, bytes);
        bytes -= save_own_ahead(client, tape, bytes);
    }
}

static void save_output(const Client *client, Tape *tape)
{
    size_t ahead = out_ahead(client), left = out_not_ahead(client);
    tape_put(tape, client->out.muted);
    tape_put(tape, client->io->passed);
    tape_put(tape, ahead);
    tape_put(tape, left);
    put_output(&client->out, ahead, left, tape);
}

static void restore_output(Client *client, TapeReader *tape)
{
    bool muted = tape_get_bool(tape);
    client->io->passed = tape_get(tape);
    size_t ahead = tape_get(tape);
    Slice rest = tape_get_text(tape);
    if (!ahead_output(client->id, client->io->passed, ahead, &client->out)) tape->bad = true;
    out_write(&client->out, rest.ptr, rest.len);
    client->out.muted = muted;
}

static void save_io(const ClientIo *io, Tape *tape)
{
    size_t start = io->own_start + own_ahead(io);
    tape_put(tape, own_ahead(io));
    tape_put_text(tape, io->own == NULL ? SLICE("") : (Slice){ io->own + start, io->own_len - start });
    tape_put_string(tape, io->error);
    tape_put(tape, io->blocked);
    tape_put(tape, io->ended);
    tape_put(tape, (uint64_t)io->soft_since_us); /* by a clock that all processes share */
    guint marks = io->marks == NULL ? 0 : io->marks->len;
    tape_put(tape, marks);
    for (guint i = 0; i < marks; i++) {
        const GateMark *mark = &g_array_index(io->marks, GateMark, i);
        tape_put(tape, mark->position);
        tape_put(tape, mark->offset);
    }
}

/* The marks are in order, and each is in what waits; the client's `passed` and output are there. */
static void restore_marks(Client *client, TapeReader *tape)
{
    uint64_t passed = client->io->passed, least = passed, offset = 0;
    for (size_t left = tape_get_count(tape); left > 0; left--) {
        GateMark mark = { tape_get(tape), tape_get(tape) };
        if (mark.position < least || mark.position - passed > client->out.bytes || mark.offset < offset)
            tape->bad = true;
        if (tape->bad) return;
        client_gate_close(client, (size_t)(mark.position - passed), mark.offset);
        least = mark.position;
        offset = mark.offset;
    }
}

/* Whole commands may be among what was read, so it's all parsed anew. */
static void restore_own(Client *client, size_t ahead, Slice rest)
{
    ClientIo *io = client->io;
    if (ahead + rest.len == 0) return;
    if (io->own == NULL || io->own_cap < ahead + rest.len) {
        io->own = buffer_resize(io->own, &io->own_cap, ahead + rest.len);
    }
    if (rest.len > 0) memcpy(io->own + ahead, rest.ptr, rest.len);
    io->own_len = ahead + rest.len;
    io->backlog = true;
}

static void restore_io(Client *client, TapeReader *tape)
{
    ClientIo *io = client->io;
    size_t ahead = tape_get(tape);
    Slice rest = tape_get_text(tape);
    io->own = ahead_input(client->id, ahead, &io->own_cap);
    if ((io->own != NULL) != (ahead > 0)) tape->bad = true;
    io->error = tape_get_string(tape);
    io->blocked = tape_get_bool(tape);
    io->ended = tape_get_bool(tape);
    io->soft_since_us = (int64_t)tape_get(tape);
    restore_marks(client, tape);
    if (!tape->bad) restore_own(client, ahead, rest);
}

void client_save(const Client *client, Tape *tape)
{
    tape_put(tape, client->id);
    tape_put(tape, client->unix_socket);
    tape_put(tape, client->operator_socket);
    tape_put(tape, client->closing);
    tape_put(tape, client->held);
    tape_put(tape, client->never_idle);
    tape_put(tape, client->class);
    tape_put(tape, (uint64_t)client->created_ms);
    tape_put(tape, (uint64_t)client->active_ms);
    save_output(client, tape);
    save_io(client->io, tape);
}

Client *client_restore(TapeReader *tape, int fd)
{
    const GPtrArray *all = client_all();
    uint64_t id = tape_get(tape);
    bool unix_socket = tape_get_bool(tape), operator_socket = tape_get_bool(tape);
    const Client *before = all->len > 0 ? all->pdata[all->len - 1] : NULL;
    if (tape->bad || (before != NULL && before->id >= id)) {
        tape->bad = true;
        return NULL;
    }
    Client *client = client_new(id, fd, unix_socket, operator_socket);
    client->closing = tape_get_bool(tape);
    client->held = tape_get_bool(tape);
    client->never_idle = tape_get_bool(tape);
    client->class = (ClientClass)tape_get_below(tape, CLIENT_CLASSES);
    client->created_ms = (int64_t)tape_get(tape);
    client->active_ms = (int64_t)tape_get(tape);
    restore_output(client, tape);
    restore_io(client, tape);
    client_out(client); /* it's looked at in the first turn */
    return client;
}
