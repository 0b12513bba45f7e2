/* stream.c: see stream.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "repl/stream.h"

#include <stdio.h>

#define READ_MIN    (16UL * 1024)
#define BUFFER_MIN  (64UL * 1024)
#define BUFFER_KEPT (4UL << 20) /* one that has grown beyond is given back when it's empty */

void stream_init(Stream *stream)
{
    *stream = (Stream){ .args = g_array_new(FALSE, FALSE, sizeof(RespArg)) };
}

void stream_clear(Stream *stream)
{
    g_free(stream->bytes);
    g_clear_pointer(&stream->args, g_array_unref);
    *stream = (Stream){ .bytes = NULL };
}

void stream_reset(Stream *stream)
{
    stream_clear(stream);
    stream_init(stream);
}

/* Moves what is left to the front. */
static void drop_taken(Stream *stream)
{
    if (stream->start == 0) return;
    memmove(stream->bytes, stream->bytes + stream->start, stream->end - stream->start);
    stream->end -= stream->start;
    stream->at -= stream->start;
    stream->start = 0;
    if (stream->end > 0 || stream->cap <= BUFFER_KEPT) return;
    g_clear_pointer(&stream->bytes, g_free);
    stream->cap = 0;
}

char *stream_room(Stream *stream, size_t *room)
{
    drop_taken(stream);
    if (stream->cap - stream->end < READ_MIN) {
        stream->cap = MAX(stream->cap * 2, BUFFER_MIN);
        stream->bytes = g_realloc(stream->bytes, stream->cap);
    }
    *room = stream->cap - stream->end;
    return stream->bytes + stream->end;
}

void stream_filled(Stream *stream, size_t len)
{
    g_assert(len <= stream->cap - stream->end);
    stream->end += len;
}

static StreamStatus bad(Stream *stream, const char *why)
{
    snprintf(stream->error, sizeof(stream->error), "%s", why);
    return STREAM_BAD;
}

/* Whether each argument ends as it should. (A client's needn't, in 3.2. Here, other bytes have come between.) */
static bool arguments_end(const Stream *stream)
{
    for (guint i = 0; i < stream->args->len; i++) {
        const RespArg *arg = &g_array_index(stream->args, RespArg, i);
        if (memcmp(stream->bytes + stream->at + arg->offset + arg->len, "\r\n", 2) != 0) return false;
    }
    return true;
}

/* Takes a whole command in: true if the unit ends with it. */
static bool ends_unit(Stream *stream)
{
    const RespArg *name = &g_array_index(stream->args, RespArg, 0);
    Slice word = { stream->bytes + stream->at + name->offset, name->len };
    stream->at += stream->parser.offset;
    resp_next(&stream->parser);
    if (slice_is(word, "multi")) {
        stream->in_multi = true;
    } else if (slice_is(word, "exec")) {
        stream->in_multi = false;
    }
    return !stream->in_multi;
}

StreamStatus stream_next(Stream *stream, Slice *unit)
{
    while (stream->at < stream->end) {
        char *bytes = stream->bytes + stream->at;
        if (bytes[0] != '*') return bad(stream, "a command doesn't begin with '*'");
        switch (resp_parse(&stream->parser, stream->args, bytes, stream->end - stream->at)) {
        case RESP_ERROR: return bad(stream, stream->parser.error);
        case RESP_INCOMPLETE:
            if (stream->end - stream->start > STREAM_UNIT_MAX) return bad(stream, "more than 768 MB in one change");
            return STREAM_INCOMPLETE;
        case RESP_COMMAND: break;
        }
        if (stream->args->len == 0) return bad(stream, "a command without a name");
        if (!arguments_end(stream)) return bad(stream, "an argument doesn't end where it says");
        if (!ends_unit(stream)) continue;
        *unit = (Slice){ stream->bytes + stream->start, stream->at - stream->start };
        stream->start = stream->at;
        return unit->len <= STREAM_UNIT_MAX ? STREAM_UNIT : bad(stream, "more than 768 MB in one change");
    }
    return STREAM_INCOMPLETE;
}
