/* test_resp.c: net/resp: a table of streams with what 3.2.13 makes of them, each fed whole, byte by byte and cut in
 * two at every place; random commands against what they were made from; limits.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "net/resp.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define SEED 20260801

/* A stream of bytes that is parsed piece by piece, and what came out, as text: "[SET|k|v]", "[]" for an ignored
 * command, "!error" at last. */
typedef struct Stream {
    RespParser parser;
    GArray *args;
    char *bytes; /* the unfinished command, in a block of exactly its size */
    size_t len;
    GString *seen;
    bool failed;
} Stream;

static Stream stream_new(void)
{
    return (Stream){ .args = g_array_new(FALSE, FALSE, sizeof(RespArg)), .seen = g_string_new(NULL) };
}

/* Gives what was seen. */
static char *stream_end(Stream *stream)
{
    g_array_unref(stream->args);
    g_free(stream->bytes);
    return g_string_free(stream->seen, FALSE);
}

static void note_command(Stream *stream, const char *bytes)
{
    g_string_append_c(stream->seen, '[');
    for (guint i = 0; i < stream->args->len; i++) {
        RespArg arg = g_array_index(stream->args, RespArg, i);
        assert_true(arg.offset + arg.len <= stream->parser.offset);
        if (i > 0) g_string_append_c(stream->seen, '|');
        g_string_append_len(stream->seen, bytes + arg.offset, (gssize)arg.len);
    }
    g_string_append_c(stream->seen, ']');
}

static void stream_feed(Stream *stream, const char *more, size_t len)
{
    if (stream->failed || len == 0) return;
    char *bytes = g_malloc(stream->len + len);
    if (stream->len > 0) memcpy(bytes, stream->bytes, stream->len);
    memcpy(bytes + stream->len, more, len);
    size_t total = stream->len + len, taken = 0;
    RespStatus status = RESP_COMMAND;
    while (taken < total && status == RESP_COMMAND) {
        status = resp_parse(&stream->parser, stream->args, bytes + taken, total - taken);
        if (status != RESP_COMMAND) break;
        note_command(stream, bytes + taken);
        taken += stream->parser.offset;
        resp_next(&stream->parser);
    }
    stream->failed = status == RESP_ERROR;
    if (stream->failed) g_string_append_printf(stream->seen, "!%s", stream->parser.error);
    size_t needed = resp_needs(&stream->parser);
    assert_true(stream->failed || needed == 0 || needed > total - taken);
    g_free(stream->bytes);
    stream->len = total - taken;
    stream->bytes = g_memdup2(bytes + taken, stream->len);
    g_free(bytes);
}

/* ---- known streams ---- */

#define PROTOCOL "!ERR Protocol error: "

typedef struct Case {
    Slice bytes;
    const char *seen;
} Case;

#define CASE(bytes, seen)                                                                                              \
    {                                                                                                                  \
        { bytes, sizeof(bytes) - 1 }, seen                                                                             \
    }

static const Case cases[] = {
    /* multibulk */
    CASE("", ""),
    CASE("*1\r\n$4\r\nPING\r\n", "[PING]"),
    CASE("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n", "[SET|k|]"),
    CASE("*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n*1\r\n$4\r\nPING\r\n", "[GET|a\r\nb][PING]"),
    CASE("*0\r\n*-10\r\n*1\r\n$4\r\nPING\r\n", "[][][PING]"),
    CASE("*1\r\n$4\r\nPING", ""),
    CASE("*1\r\n$4\r\nPINGxx*1\r\n$1\r\na\r\n", "[PING][a]"), /* what stands for CR LF isn't looked at */
    CASE("*1\r\n$1\r\na\r\n*", "[a]"),
    CASE("*1\r\n$1\r\na\r\n*9223372036854775808\r\n", "[a]" PROTOCOL "invalid multibulk length"),
    CASE("*1048577\r\n", PROTOCOL "invalid multibulk length"),
    CASE("*1048576\r\n", ""),
    CASE("*x\r\n", PROTOCOL "invalid multibulk length"),
    CASE("*\r\n", PROTOCOL "invalid multibulk length"),
    CASE("* 1\r\n", PROTOCOL "invalid multibulk length"),
    CASE("*01\r\n", PROTOCOL "invalid multibulk length"),
    CASE("*+1\r\n", PROTOCOL "invalid multibulk length"),
    CASE("*1\r\nfoo\r\n", PROTOCOL "expected '$', got 'f'"),
    CASE("*1\r\n*1\r\n", PROTOCOL "expected '$', got '*'"),
    CASE("*1\r\n\r\n", PROTOCOL "expected '$', got '\r'"),
    CASE("*1\r\n$-1\r\n", PROTOCOL "invalid bulk length"),
    CASE("*1\r\n$536870913\r\n", PROTOCOL "invalid bulk length"),
    CASE("*1\r\n$536870912\r\n", ""),
    CASE("*1\r\n$x\r\n", PROTOCOL "invalid bulk length"),
    CASE("*1\r\n$\r\n", PROTOCOL "invalid bulk length"),
    CASE("*2\r\n$1\r\na\r\n$2000000000\r\n", PROTOCOL "invalid bulk length"),
    CASE("*1\r\n$4\r\nPING\r\n*1\r\n$x\r\n$4\r\nPING\r\n", "[PING]" PROTOCOL "invalid bulk length"),
    CASE("*1\0\r\n$4\r\nPING\r\n", ""), /* nothing is found behind a zero byte */
    /* inline */
    CASE("PING\r\n", "[PING]"),
    CASE("PING\n", "[PING]"),
    CASE("\r\n\r\nPING\r\n", "[][][PING]"),
    CASE("  SET \t k  v \r\n", "[SET|k|v]"),
    CASE("SET k \"a b\"\r\n", "[SET|k|a b]"),
    CASE("SET k 'a \"b'\r\n", "[SET|k|a \"b]"),
    CASE("SET k \"\\x41\\n\\r\\t\\b\\a\\\\\\\"\\q\"\r\n", "[SET|k|A\n\r\t\b\a\\\"q]"),
    CASE("SET k \"\\x4\\xzz\"\r\n", "[SET|k|x4xzz]"),
    CASE("SET k 'it\\'s \\n'\r\n", "[SET|k|it's \\n]"),
    CASE("SET k a\"b\"\r\n", "[SET|k|ab]"),
    CASE("SET k \"a\"\vb\f\r\n", "[SET|k|a|b\f]"), /* these two end an argument only behind a quote */
    CASE("SET k \"\"\r\n", "[SET|k]"),             /* 3.2.13 drops empty arguments */
    CASE("SET k \"a\r\n", PROTOCOL "unbalanced quotes in request"),
    CASE("SET k 'a\r\n", PROTOCOL "unbalanced quotes in request"),
    CASE("SET k \"a\"b\r\n", PROTOCOL "unbalanced quotes in request"),
    CASE("SET k \"a\\\r\n", PROTOCOL "unbalanced quotes in request"),
    CASE("SET k \"\\x\r\n", PROTOCOL "unbalanced quotes in request"),
    CASE("PING\r\n*1\r\n$4\r\nPING\r\nPING\r\n", "[PING][PING][PING]"),
    CASE("a\0b\n", ""),
    CASE("$4\r\nPING\r\n", "[$4][PING]"),
};

static void expect_cut(const Case *c, size_t cut)
{
    Stream stream = stream_new();
    stream_feed(&stream, c->bytes.ptr, cut);
    stream_feed(&stream, c->bytes.ptr + cut, c->bytes.len - cut);
    g_autofree char *seen = stream_end(&stream);
    if (strcmp(seen, c->seen) != 0) fail_msg("'%s' cut at %zu: '%s' instead of '%s'", c->bytes.ptr, cut, seen, c->seen);
}

static void test_known(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        for (size_t cut = 0; cut <= cases[i].bytes.len; cut++)
            expect_cut(&cases[i], cut);
        Stream stream = stream_new();
        for (size_t b = 0; b < cases[i].bytes.len; b++)
            stream_feed(&stream, cases[i].bytes.ptr + b, 1);
        g_autofree char *seen = stream_end(&stream);
        assert_string_equal(seen, cases[i].seen);
    }
}

/* 3.2.13 takes two bytes for the end of an inline command, if they're there. */
static void test_bare_newline(void **state)
{
    (void)state;
    Stream stream = stream_new();
    stream_feed(&stream, "PING\nxPING\n", 11);
    stream_feed(&stream, "PING\n", 5);
    g_autofree char *seen = stream_end(&stream);
    assert_string_equal(seen, "[PING][PING][PING]");
}

/* ---- limits ---- */

/* What is answered to `head` and then x without end, and after how many bytes. */
static void expect_endless(const char *head, const char *error)
{
    Stream stream = stream_new();
    g_autofree char *filler = g_strnfill(RESP_INLINE_MAX - strlen(head), 'x');
    stream_feed(&stream, head, strlen(head));
    stream_feed(&stream, filler, strlen(filler));
    assert_false(stream.failed);
    for (int i = 0; i < 40 && !stream.failed; i++)
        stream_feed(&stream, "x", 1);
    assert_true(stream.failed);
    g_autofree char *seen = stream_end(&stream);
    assert_true(g_str_has_suffix(seen, error));
}

static void test_endless_lines(void **state)
{
    (void)state;
    expect_endless("x", "too big inline request");
    expect_endless("*", "too big mbulk count string");
    expect_endless("*1\r\n$", "too big bulk count string");
}

static void test_needs(void **state)
{
    (void)state;
    RespParser parser = { 0 };
    g_autoptr(GArray) args = g_array_new(FALSE, FALSE, sizeof(RespArg));
    char bytes[] = "*2\r\n$3\r\nGET\r\n$100000\r\nabc";
    assert_int_equal(resp_parse(&parser, args, bytes, 4), RESP_INCOMPLETE);
    assert_int_equal(resp_needs(&parser), 0);
    assert_int_equal(resp_parse(&parser, args, bytes, 9), RESP_INCOMPLETE);
    assert_int_equal(resp_needs(&parser), 4 + 4 + 3 + 2);
    assert_int_equal(resp_parse(&parser, args, bytes, sizeof(bytes) - 1), RESP_INCOMPLETE);
    assert_int_equal(resp_needs(&parser), 4 + 9 + 9 + 100000 + 2);
}

/* ---- random commands ---- */

/* Random bytes; mostly short. */
static GString *random_argument(GRand *rand)
{
    gsize len = (gsize)g_rand_int_range(rand, 0, g_rand_int_range(rand, 0, 50) == 0 ? 5000 : 12);
    GString *text = g_string_sized_new(len);
    for (gsize i = 0; i < len; i++)
        g_string_append_c(text, (char)g_rand_int(rand));
    return text;
}

/* Adds a random command to the stream's bytes, and what the parser must say of it. */
static void add_random_command(GRand *rand, GString *bytes, GString *expected)
{
    int count = g_rand_int_range(rand, 1, 6);
    g_string_append_printf(bytes, "*%d\r\n", count);
    g_string_append_c(expected, '[');
    for (int i = 0; i < count; i++) {
        GString *text = random_argument(rand);
        g_string_append_printf(bytes, "$%zu\r\n", text->len);
        g_string_append_len(bytes, text->str, (gssize)text->len);
        g_string_append(bytes, "\r\n");
        if (i > 0) g_string_append_c(expected, '|');
        g_string_append_len(expected, text->str, (gssize)text->len);
        g_string_free(text, TRUE);
    }
    g_string_append_c(expected, ']');
}

static void test_random(void **state)
{
    (void)state;
    print_message("seed %d\n", SEED);
    g_autoptr(GRand) rand = g_rand_new_with_seed(SEED);
    for (int round = 0; round < 200; round++) {
        GString *bytes = g_string_new(NULL), *expected = g_string_new(NULL);
        for (int i = 0; i < 20; i++)
            add_random_command(rand, bytes, expected);
        Stream stream = stream_new();
        int piece_max = g_rand_int_range(rand, 2, 3000);
        for (size_t at = 0; at < bytes->len;) {
            size_t piece = (size_t)g_rand_int_range(rand, 1, piece_max), end = MIN(at + piece, bytes->len);
            stream_feed(&stream, bytes->str + at, end - at);
            at = end;
        }
        assert_false(stream.failed);
        assert_true(g_string_equal(stream.seen, expected));
        g_free(stream_end(&stream));
        g_string_free(bytes, TRUE);
        g_string_free(expected, TRUE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known), cmocka_unit_test(test_bare_newline), cmocka_unit_test(test_endless_lines),
        cmocka_unit_test(test_needs), cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
