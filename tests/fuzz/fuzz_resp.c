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
    bool failed;
} Stream;

static Stream stream_new(void)
{
    return (Stream){
        .args = g_array_new(FALSE, FALSE, sizeof(RespArg)),
        .seen = g_byte_array_new(),
        .unfinished = g_byte_array_new(),
    };
}

static void stream_free(Stream *stream)
{
    g_array_unref(stream->args);
    g_byte_array_unref(stream->seen);
    g_byte_array_unref(stream->unfinished);
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
        taken += stream->parser.offset;
        stream->parser = (RespParser){ 0 };
        g_array_set_size(stream->args, 0);
    }
    g_assert(stream->failed || resp_needs(&stream->parser) == 0 || resp_needs(&stream->parser) > total - taken);
    g_byte_array_set_size(stream->unfinished, 0);
    g_byte_array_append(stream->unfinished, (const guint8 *)bytes + taken, (guint)(total - taken));
    g_free(bytes);
}

/* Behind a bare newline the pieces may matter: 3.2.13 takes a further byte there, but only if it has come. Which
 * newline is bare is the parser's to know, so there's no cut behind any. */
static bool may_cut(const uint8_t *bytes, size_t at)
{
    return bytes[at - 1] != '\n';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) return 0;
    GRand *rand = g_rand_new_with_seed(data[0]);
    int piece_max = data[1] + 2;
    const uint8_t *bytes = data + 2;
    size_t len = size - 2;
    Stream whole = stream_new(), pieces = stream_new();
    stream_feed(&whole, bytes, len);
    for (size_t at = 0; at < len && !pieces.failed;) {
        size_t end = at + (size_t)g_rand_int_range(rand, 1, piece_max);
        end = MIN(end, len);
        while (end < len && !may_cut(bytes, end))
            end++;
        stream_feed(&pieces, bytes + at, end - at);
        at = end;
    }
    g_assert(whole.failed == pieces.failed);
    g_assert(whole.seen->len == pieces.seen->len);
    g_assert(whole.seen->len == 0 || memcmp(whole.seen->data, pieces.seen->data, whole.seen->len) == 0);
    stream_free(&whole);
    stream_free(&pieces);
    g_rand_free(rand);
    return 0;
}
