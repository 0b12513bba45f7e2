/* test_tape.c: base/tape: what is put is read again; nothing is read that isn't there.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/tape.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SEED   20261129
#define VALUES 3000

static TapeReader reader_of(Tape *tape)
{
    TapeReader reader;
    assert_true(tape_is_whole(tape));
    assert_true(tape_map(tape->fd, &reader));
    assert_int_equal(reader.len, tape->len);
    return reader;
}

/* Numbers and texts, in all more than a tape begins with. */
static void all_comes_back(void **state)
{
    (void)state;
    Tape tape;
    g_autofree char *bytes = g_malloc(10000);
    memset(bytes, 'x', 10000);
    assert_true(tape_open(&tape));
    GRand *rand = g_rand_new_with_seed(SEED);
    for (int i = 0; i < VALUES; i++) {
        tape_put(&tape, (uint64_t)i << g_rand_int_range(rand, 0, 50));
        tape_put_text(&tape, (Slice){ bytes, (size_t)g_rand_int_range(rand, 0, 10000) });
    }
    assert_true(tape.len > 4 << 20);
    TapeReader reader = reader_of(&tape);
    tape_close(&tape);
    g_rand_set_seed(rand, SEED);
    for (int i = 0; i < VALUES; i++) {
        assert_int_equal(tape_get(&reader), (uint64_t)i << g_rand_int_range(rand, 0, 50));
        Slice text = tape_get_text(&reader);
        assert_int_equal(text.len, g_rand_int_range(rand, 0, 10000));
        assert_memory_equal(text.ptr, bytes, text.len);
    }
    assert_false(reader.bad);
    assert_int_equal(reader.at, reader.len);
    tape_unmap(&reader);
    g_rand_free(rand);
}

static void strings(void **state)
{
    (void)state;
    Tape tape;
    assert_true(tape_open(&tape));
    tape_put_string(&tape, NULL);
    tape_put_string(&tape, "");
    tape_put_string(&tape, "abc");
    tape_put_text(&tape, (Slice){ "a\0c", 3 });
    TapeReader reader = reader_of(&tape);
    g_autofree char *none = tape_get_string(&reader), *empty = tape_get_string(&reader);
    g_autofree char *abc = tape_get_string(&reader);
    assert_null(none);
    assert_string_equal(empty, "");
    assert_string_equal(abc, "abc");
    assert_false(reader.bad);
    assert_null(tape_get_string(&reader));
    assert_true(reader.bad);
    tape_unmap(&reader);
    tape_close(&tape);
}

/* A tape that ends too early reads as nothing from there on. */
static void cut_off(void **state)
{
    (void)state;
    Tape tape;
    assert_true(tape_open(&tape));
    tape_put(&tape, 7);
    tape_put_text(&tape, SLICE("text"));
    tape_put_string(&tape, "string");
    for (size_t len = 0; len <= tape.len; len++) {
        g_autofree uint8_t *exact = g_memdup2(tape.bytes, len); /* so that reading past it is seen */
        TapeReader reader = { .bytes = exact, .len = len };
        assert_int_equal(tape_get(&reader), len < 8 ? 0 : 7);
        assert_int_equal(tape_get_text(&reader).len, len < 20 ? 0 : 4);
        g_autofree char *string = tape_get_string(&reader);
        assert_string_equal(string, len < tape.len ? "" : "string");
        assert_int_equal(reader.bad, len < tape.len);
        assert_int_equal(tape_get(&reader), 0);
        assert_true(reader.bad);
        assert_int_equal(tape_get_count(&reader), 0);
    }
    tape_close(&tape);
}

static void limits(void **state)
{
    (void)state;
    const uint64_t values[] = { GUINT64_TO_LE(2), GUINT64_TO_LE(3), GUINT64_TO_LE(UINT64_MAX) };
    TapeReader below = { .bytes = (const uint8_t *)values, .len = sizeof(values) };
    assert_int_equal(tape_get_below(&below, 3), 2);
    assert_int_equal(tape_get_below(&below, 3), 0);
    assert_true(below.bad);
    TapeReader truth = { .bytes = (const uint8_t *)values, .len = sizeof(values) };
    assert_false(tape_get_bool(&truth));
    assert_true(truth.bad);
    TapeReader count = { .bytes = (const uint8_t *)values, .len = sizeof(values) };
    assert_int_equal(tape_get_count(&count), 2);
    assert_int_equal(tape_get_count(&count), 0);
    assert_true(count.bad);
    TapeReader text = { .bytes = (const uint8_t *)(values + 2), .len = sizeof(values[2]) };
    assert_int_equal(tape_get_text(&text).len, 0);
    assert_true(text.bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_comes_back),
        cmocka_unit_test(strings),
        cmocka_unit_test(cut_off),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests_name("tape", tests, NULL, NULL);
}
