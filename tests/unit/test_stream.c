/* test_stream.c: repl/stream: units come out the same however the bytes come in; what can't be a stream is refused.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "repl/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define PING   "*1\r\n$4\r\nPING\r\n"
#define MULTI  "*1\r\n$5\r\nMULTI\r\n"
#define EXEC   "*1\r\n$4\r\neXec\r\n"
#define SET(V) "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\n" V "\r\n"

static void feed(Stream *stream, const char *bytes, size_t len)
{
    while (len > 0) {
        size_t room;
        char *to = stream_room(stream, &room);
        size_t part = MIN(room, len);
        memcpy(to, bytes, part);
        stream_filled(stream, part);
        bytes += part;
        len -= part;
    }
}

/* Feeds pieces of `piece` bytes, and expects these units (NULL behind the last). */
static void expect_units(const char *bytes, const char *const *units, size_t piece)
{
    Stream stream;
    Slice unit;
    stream_init(&stream);
    for (size_t at = 0, len = strlen(bytes); at < len; at += piece) {
        feed(&stream, bytes + at, MIN(piece, len - at));
        while (stream_next(&stream, &unit) == STREAM_UNIT) {
            assert_non_null(*units);
            assert_int_equal(unit.len, strlen(*units));
            assert_memory_equal(unit.ptr, *units, unit.len);
            units++;
        }
    }
    assert_int_equal(stream_next(&stream, &unit), STREAM_INCOMPLETE);
    assert_null(*units);
    stream_clear(&stream);
}

static void units(void **state)
{
    (void)state;
    const char *const expected[] = { PING, SET("a"), MULTI SET("b") PING SET("c") EXEC, SET("d"), MULTI EXEC, NULL };
    for (size_t piece = 1; piece < 200; piece++)
        expect_units(PING SET("a") MULTI SET("b") PING SET("c") EXEC SET("d") MULTI EXEC MULTI SET("e"), expected,
                     piece);
}

static void long_units(void **state)
{
    (void)state;
    g_autofree char *value = g_strnfill(5000000, 'x');
    g_autofree char *command = g_strdup_printf("*2\r\n$3\r\nDEL\r\n$5000000\r\n%s\r\n", value);
    g_autofree char *bytes = g_strconcat(command, PING, command, NULL);
    const char *const expected[] = { command, PING, command, NULL };
    expect_units(bytes, expected, 30000);
    expect_units(bytes, expected, strlen(bytes));
}

static void refusals(void **state)
{
    (void)state;
    const char *const bad[] = { "PING\r\n",        "\r\n",          "*0\r\n",
                                "*-1\r\n",         "*1\r\n+OK\r\n", "*1\r\n$4\r\nPING-E",
                                "*2000000000\r\n", PING "$3\r\n" };
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        Stream stream;
        Slice unit;
        stream_init(&stream);
        feed(&stream, bad[i], strlen(bad[i]));
        StreamStatus status;
        while ((status = stream_next(&stream, &unit)) == STREAM_UNIT) {
        }
        print_message("%s: %s\n", bad[i], stream.error);
        assert_int_equal(status, STREAM_BAD);
        stream_reset(&stream);
        feed(&stream, PING, strlen(PING));
        assert_int_equal(stream_next(&stream, &unit), STREAM_UNIT);
        stream_clear(&stream);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units),
        cmocka_unit_test(long_units),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
