/* fuzz_resp.c: any bytes as requests: the parser never reads too far, and what comes out is the same whether they come
 * at once or in pieces.
 *
 * The input: two bytes that choose the pieces, then the requests.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <glib.h>

#include "net/resp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What came out: for each command its arguments, each with its length in front; then the error. */
typedef struct Stream {
    RespParser parser;
    GArray *args;
    GByteArray *seen, *unfinished;
    GArray *lengths; /* size_t: of the commands, in the stream */
    bool failed;
} Stream;

static Stream stream_new(void)
{
    return (Stream){
        .args = g_array_new(FALSE, FALSE, sizeof(RespArg)),
        .seen = g_byte_array_new(),
        .unfinished = g_byte_array_new(),
        .lengths = g_array_new(FALSE, FALSE, sizeof(size_t)),
    };
}

static void stream_free(Stream *stream)
{
    g_array_unref(stream->args);
    g_byte_array_unref(stream->seen);
    g_byte_array_unref(stream->unfinished);
    g_array_unref(stream->lengths);
}

static void note_command(Stream *stream, const char *bytes)
{
    g_byte_array_append(stream->seen, (const guint8 *)&stream->args->len, sizeof(guint));
    for (guint i = 0; i < stream->args->len; i++) {
        RespArg arg = g_array_index(stream->args, RespArg, i);
        g_assert(arg.offset + arg.len <= stream->parser.offset);
        g_byte_array_append(stream->seen, (const guint8 *)&arg.len, sizeof(arg.len));
        g_byte_array_append(stream->seen, (const guint8 *)bytes + arg.offset, (guint)arg.len);
    }
}

/* Parses what is there, in a block of exactly its size, so that the sanitizer sees every byte too far. */
static void stream_feed(Stream *stream, const uint8_t *more, size_t len)
{
    g_byte_array_append(stream->unfinished, more, (guint)len);
    size_t total = stream->unfinished->len, taken = 0;
    char *bytes = g_memdup2(stream->unfinished->data, total);
    while (taken < total && !stream->failed) {
        RespStatus status = resp_parse(&stream->parser, stream->args, bytes + taken, total - taken);
        if (status == RESP_INCOMPLETE) break;
        if (status == RESP_ERROR) {
            stream->failed = true;
            g_byte_array_append(stream->seen, (const guint8 *)stream->parser.error,
                                (guint)strlen(stream->parser.error));
            break;
        }
        g_assert(stream->parser.offset > 0 && stream->parser.offset <= total - taken);
        note_command(stream, bytes + taken);
        g_array_append_val(stream->lengths, stream->parser.offset);
        taken += stream->parser.offset;
        resp_next(&stream->parser);
    }
    g_assert(stream->failed || resp_needs(&stream->parser) == 0 || resp_needs(&stream->parser) > total - taken);
    g_byte_array_set_size(stream->unfinished, 0);
    g_byte_array_append(stream->unfinished, (const guint8 *)bytes + taken, (guint)(total - taken));
    g_free(bytes);
}

/* Where the stream may be cut: not behind a bare newline, because 3.2.13 takes a further byte there, but only if it has
 * come. `may` has a place for each byte, and one for the end. */
static void find_cuts(const uint8_t *bytes, const GArray *lengths, bool *may, size_t len)
{
    memset(may, true, len + 1);
    const uint8_t *at = bytes;
    for (guint i = 0; i < lengths->len; i++) {
        const uint8_t *next = at + g_array_index(lengths, size_t, i);
        const uint8_t *newline = memchr(at, '\n', (size_t)(next - at));
        if (at[0] != '*' && newline != NULL && newline + 1 < next) may[newline + 1 - bytes] = false;
        at = next;
    }
}

/* Feeds the stream in random pieces. */
static void feed_pieces(Stream *stream, const uint8_t *bytes, const bool *may_cut, size_t len, const uint8_t *choice)
{
    GRand *rand = g_rand_new_with_seed(choice[0]);
    for (size_t at = 0; at < len && !stream->failed;) {
        size_t piece = (size_t)g_rand_int_range(rand, 1, choice[1] + 2), end = MIN(at + piece, len);
        while (!may_cut[end])
            end++;
        stream_feed(stream, bytes + at, end - at);
        at = end;
    }
    g_rand_free(rand);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) return 0;
    const uint8_t *bytes = data + 2;
    size_t len = size - 2;
    Stream whole = stream_new(), pieces = stream_new();
    stream_feed(&whole, bytes, len);
    g_autofree bool *may_cut = g_new(bool, len + 1);
    find_cuts(bytes, whole.lengths, may_cut, len);
    feed_pieces(&pieces, bytes, may_cut, len, data);
    g_assert(whole.failed == pieces.failed);
    g_assert(whole.seen->len == pieces.seen->len);
    g_assert(whole.seen->len == 0 || memcmp(whole.seen->data, pieces.seen->data, whole.seen->len) == 0);
    g_assert(whole.lengths->len == pieces.lengths->len);
    stream_free(&whole);
    stream_free(&pieces);
    return 0;
}
