/* ahead.c: see ahead.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "net/ahead.h"

#include <glib.h>

#include "base/buffer.h"

/* What comes last for a client fits behind its input without moving that. */
#define SPARE_BYTES ((size_t)2 << 20)

typedef struct Ahead {
    Out out;
    uint64_t end; /* of the output, as a place in the client's stream */
    char *input;
    size_t len, cap;
} Ahead;

static GHashTable *all; /* by the client's id; NULL: nothing came */

static void ahead_free(void *one)
{
    Ahead *ahead = one;
    out_clear(&ahead->out);
    buffer_resize(ahead->input, &ahead->cap, 0);
    g_free(ahead);
}

static Ahead *find(uint64_t client_id)
{
    return all != NULL ? g_hash_table_lookup(all, &client_id) : NULL;
}

static Ahead *find_or_add(uint64_t client_id)
{
    Ahead *found = find(client_id);
    if (found != NULL) return found;
    if (all == NULL) all = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, ahead_free);
    found = g_new0(Ahead, 1);
    g_hash_table_insert(all, g_memdup2(&client_id, sizeof(client_id)), found);
    return found;
}

void ahead_put(Tape *tape, uint64_t client_id, AheadKind kind, uint64_t position, size_t len)
{
    tape_put(tape, client_id);
    tape_put(tape, kind);
    tape_put(tape, position);
    tape_put(tape, len);
}

static void take_output(Ahead *ahead, uint64_t position, Slice bytes)
{
    if (position != ahead->end) out_clear(&ahead->out);
    out_write(&ahead->out, bytes.ptr, bytes.len);
    ahead->end = position + bytes.len;
}

/* False: it doesn't go on where the input ended. */
static bool take_input(Ahead *ahead, uint64_t position, Slice bytes)
{
    if (position == 0) ahead->len = 0;
    if (position != ahead->len) return false;
    if (ahead->cap - ahead->len < bytes.len + SPARE_BYTES) {
        size_t cap = MAX(ahead->len * 2, ahead->len + bytes.len) + SPARE_BYTES;
        ahead->input = buffer_resize(ahead->input, &ahead->cap, cap);
    }
    memcpy(ahead->input + ahead->len, bytes.ptr, bytes.len);
    ahead->len += bytes.len;
    return true;
}

void ahead_take(TapeReader *tape)
{
    while (!tape->bad && tape->at < tape->len) {
        uint64_t client_id = tape_get(tape);
        AheadKind kind = (AheadKind)tape_get_below(tape, AHEAD_KINDS);
        uint64_t position = tape_get(tape);
        Slice bytes = tape_get_text(tape);
        if (bytes.len == 0 || position > UINT64_MAX - bytes.len) tape->bad = true;
        if (tape->bad) return;
        Ahead *ahead = find_or_add(client_id);
        if (kind == AHEAD_OUTPUT) {
            take_output(ahead, position, bytes);
        } else if (!take_input(ahead, position, bytes)) {
            tape->bad = true;
        }
    }
}

bool ahead_output(uint64_t client_id, uint64_t passed, size_t len, Out *out)
{
    Ahead *ahead = find(client_id);
    if (len == 0) return true;
    if (ahead == NULL || len > ahead->out.bytes || ahead->end - len != passed) return false;
    out_consume(&ahead->out, ahead->out.bytes - len);
    *out = ahead->out;
    ahead->out = (Out){ .head = NULL };
    return true;
}

char *ahead_input(uint64_t client_id, size_t len, size_t *cap)
{
    Ahead *ahead = find(client_id);
    *cap = 0;
    if (len == 0 || ahead == NULL || len > ahead->len) return NULL;
    *cap = ahead->cap;
    ahead->len = ahead->cap = 0;
    return g_steal_pointer(&ahead->input);
}

void ahead_forget(void)
{
    g_clear_pointer(&all, g_hash_table_unref);
}
