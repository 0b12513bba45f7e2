/* test_ahead.c: net/ahead: slices of output and input, put together in another process; what doesn't fit is refused.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/buffer.h"
#include "net/ahead.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* True: the slice was taken. */
static bool take(uint64_t id, AheadKind kind, uint64_t position, const char *text)
{
    Tape tape;
    TapeReader reader;
    assert_true(tape_open(&tape));
    ahead_put(&tape, id, kind, position, strlen(text));
    tape_put_bytes(&tape, text, strlen(text));
    assert_true(tape_is_whole(&tape) && tape_map(tape.fd, &reader));
    ahead_take(&reader);
    bool good = !reader.bad;
    tape_unmap(&reader);
    tape_close(&tape);
    return good;
}

static void assert_output(Out *out, const char *expected)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (const OutBlock *block = out->head; block != NULL; block = block->next) {
        size_t skip = block == out->head ? out->sent : 0;
        g_string_append_len(text, block->data + skip, (gssize)(block->used - skip));
    }
    assert_int_equal(out->bytes, strlen(expected));
    assert_string_equal(text->str, expected);
    out_clear(out);
}

/* What was sent by the old process meanwhile isn't wanted any more. */
static void output(void **state)
{
    (void)state;
    Out out = { .head = NULL };
    assert_true(take(5, AHEAD_OUTPUT, 100, "abcdef"));
    assert_true(take(6, AHEAD_OUTPUT, 0, "other"));
    assert_true(take(5, AHEAD_OUTPUT, 106, "ghi"));
    assert_false(ahead_output(5, 103, 5, &out)); /* doesn't end where the slices do */
    assert_false(ahead_output(5, 99, 10, &out)); /* begins before them */
    assert_false(ahead_output(7, 103, 6, &out));
    assert_true(ahead_output(5, 103, 6, &out));
    assert_output(&out, "defghi");
    assert_false(ahead_output(5, 103, 6, &out)); /* it's given once */
    assert_true(ahead_output(6, 77, 0, &out));
    assert_output(&out, "");
    ahead_forget();
    assert_false(ahead_output(6, 0, 5, &out));
}

/* All that was taken was sent: the next slice begins elsewhere. */
static void output_begins_anew(void **state)
{
    (void)state;
    Out out = { .head = NULL };
    assert_true(take(5, AHEAD_OUTPUT, 100, "abcdef"));
    assert_true(take(5, AHEAD_OUTPUT, 200, "xyz"));
    assert_false(ahead_output(5, 200, 9, &out));
    assert_true(ahead_output(5, 200, 3, &out));
    assert_output(&out, "xyz");
    ahead_forget();
}

static void input(void **state)
{
    (void)state;
    size_t cap;
    assert_true(take(5, AHEAD_INPUT, 0, "first"));
    assert_true(take(5, AHEAD_INPUT, 0, "abc"));
    assert_true(take(5, AHEAD_INPUT, 3, "def"));
    assert_false(take(5, AHEAD_INPUT, 7, "gap"));
    assert_null(ahead_input(5, 0, &cap));
    assert_null(ahead_input(5, 7, &cap));
    assert_int_equal(cap, 0);
    char *bytes = ahead_input(5, 6, &cap);
    assert_non_null(bytes);
    assert_memory_equal(bytes, "abcdef", 6);
    assert_true(cap >= 6);
    buffer_resize(bytes, &cap, 0);
    assert_null(ahead_input(5, 6, &cap));
    ahead_forget();
}

static void refusals(void **state)
{
    (void)state;
    assert_false(take(5, AHEAD_KINDS, 0, "abc"));
    assert_false(take(5, AHEAD_OUTPUT, 0, ""));
    assert_false(take(5, AHEAD_OUTPUT, UINT64_MAX, "abc"));
    ahead_forget();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output),
        cmocka_unit_test(output_begins_anew),
        cmocka_unit_test(input),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests_name("ahead", tests, NULL, NULL);
}
