/* fuzz_stream.c: any bytes as a master's stream: the units are the same whether the bytes come at once or in pieces,
 * and they are the bytes, one behind the other.
 *
 * The input: two bytes that choose the pieces, then the stream.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <glib.h>
#include <string.h>

#include "repl/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Seen {
    Stream stream;
    GByteArray *units; /* each with its length in front */
    size_t taken;      /* bytes of the stream that were in units */
    bool bad;
} Seen;

static void feed(Seen *seen, const uint8_t *bytes, size_t len, const uint8_t *all)
{
    Slice unit;
    while (len > 0) {
        size_t room;
        char *to = stream_room(&seen->stream, &room);
        size_t part = MIN(room, len);
        memcpy(to, bytes, part);
        stream_filled(&seen->stream, part);
        bytes += part;
        len -= part;
    }
    StreamStatus status;
    while (!seen->bad && (status = stream_next(&seen->stream, &unit)) != STREAM_INCOMPLETE) {
        seen->bad = status == STREAM_BAD;
        if (seen->bad) break;
        g_assert(memcmp(unit.ptr, all + seen->taken, unit.len) == 0);
        seen->taken += unit.len;
        g_byte_array_append(seen->units, (const guint8 *)&unit.len, sizeof(unit.len));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) return 0;
    const uint8_t *bytes = data + 2;
    size_t len = size - 2;
    Seen whole = { .units = g_byte_array_new() }, pieces = { .units = g_byte_array_new() };
    stream_init(&whole.stream);
    stream_init(&pieces.stream);
    feed(&whole, bytes, len, bytes);
    GRand *rand = g_rand_new_with_seed(data[0]);
    for (size_t at = 0; at < len && !pieces.bad;) {
        size_t piece = (size_t)g_rand_int_range(rand, 1, data[1] + 2);
        piece = MIN(piece, len - at);
        feed(&pieces, bytes + at, piece, bytes);
        at += piece;
    }
    g_rand_free(rand);
    g_assert(whole.bad == pieces.bad && whole.taken == pieces.taken);
    g_assert(whole.units->len == pieces.units->len);
    g_assert(whole.units->len == 0 || memcmp(whole.units->data, pieces.units->data, whole.units->len) == 0);
    stream_clear(&whole.stream);
    stream_clear(&pieces.stream);
    g_byte_array_unref(whole.units);
    g_byte_array_unref(pieces.units);
    return 0;
}
