/* test_number.c: base/number.c against the C library.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/number.h"

#include <glib.h>
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SEED   20240613
#define ROUNDS 300000

/* Values of every length, and those next to the powers of two and ten. */
static int64_t interesting_int(GRand *rand)
{
    uint64_t bits = (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand);
    uint64_t value = bits >> g_rand_int_range(rand, 0, 64);
    if (g_rand_boolean(rand)) value = (1ULL << g_rand_int_range(rand, 0, 64)) + (uint64_t)g_rand_int_range(rand, -2, 3);
    if (g_rand_boolean(rand)) value = (uint64_t)pow(10, g_rand_int_range(rand, 0, 19)) - (bits & 1);
    return (int64_t)(bits & 2 ? value : 0 - value);
}

static void test_integers_round_trip(void **state)
{
    (void)state;
    print_message("seed %d\n", SEED);
    g_autoptr(GRand) rand = g_rand_new_with_seed(SEED);
    for (int round = 0; round < ROUNDS; round++) {
        int64_t value = interesting_int(rand), back = 0;
        char text[NUMBER_INT_CHARS], expected[NUMBER_INT_CHARS + 1];
        size_t len = number_format_int(text, value);
        assert_int_equal(len, snprintf(expected, sizeof(expected), "%" PRId64, value));
        assert_memory_equal(text, expected, len);
        assert_true(number_parse_int((Slice){ text, len }, &back));
        assert_true(back == value);

        len = number_format_uint(text, (uint64_t)value);
        assert_int_equal(len, snprintf(expected, sizeof(expected), "%" PRIu64, (uint64_t)value));
        assert_memory_equal(text, expected, len);
        assert_int_equal(number_digits((uint64_t)value), len);
    }
}

static void test_only_canonical_integers_are_read(void **state)
{
    (void)state;
    static const char *const refused[] = {
        "",
        "-",
        "+1",
        "01",
        "-01",
        "-0",
        "00",
        " 1",
        "1 ",
        "1.0",
        "1e3",
        "0x10",
        "--1",
        "1-",
        "a",
        "12a",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "10000000000000000000",
        "99999999999999999999",
        "-99999999999999999999",
    };
    int64_t value;
    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
        if (number_parse_int(slice_of(refused[i]), &value)) fail_msg("took \"%s\"", refused[i]);
    }
    assert_false(number_parse_int((Slice){ "1\0", 2 }, &value));
    assert_false(number_parse_int((Slice){ NULL, 0 }, &value));
    assert_true(number_parse_int(SLICE("9223372036854775807"), &value) && value == INT64_MAX);
    assert_true(number_parse_int(SLICE("-9223372036854775808"), &value) && value == INT64_MIN);
    assert_true(number_parse_int(SLICE("0"), &value) && value == 0);
}

/* The decimal texts that clients send: short ones, long ones, with exponents. */
static void random_decimal(GRand *rand, char *text, size_t room)
{
    static const char *const sign[] = { "", "-", "+" };
    double value = g_rand_double_range(rand, -1, 1) * pow(10, g_rand_int_range(rand, -20, 20));
    switch (g_rand_int_range(rand, 0, 4)) {
    case 0: snprintf(text, room, "%.*f", g_rand_int_range(rand, 0, 18), value); break;
    case 1: snprintf(text, room, "%.*g", g_rand_int_range(rand, 1, 18), value); break;
    case 2: snprintf(text, room, "%d.%u", g_rand_int_range(rand, -100, 100), g_rand_int(rand)); break;
    default: snprintf(text, room, "%s%u", sign[g_rand_int_range(rand, 0, 3)], g_rand_int(rand));
    }
}

static void test_doubles_are_read_as_by_strtod(void **state)
{
    (void)state;
    g_autoptr(GRand) rand = g_rand_new_with_seed(SEED);
    for (int round = 0; round < ROUNDS; round++) {
        char text[128];
        random_decimal(rand, text, sizeof(text));
        double value, expected = strtod(text, NULL);
        assert_true(number_parse_double(slice_of(text), &value));
        assert_memory_equal(&value, &expected, sizeof(value));
        long double longer;
        assert_true(number_parse_long_double(slice_of(text), &longer));
        assert_true(longer == strtold(text, NULL));
    }
}

static void test_which_doubles_are_read(void **state)
{
    (void)state;
    static const char *const taken[] = { "",   "0",   "-0",   "1.",   ".5",       "-.5",    "1e3",   "0x10",
                                         "+1", "inf", "+inf", "-inf", "INFINITY", "1e-310", "-1e308" };
    static const char *const refused[] = { " 1",     "\t1", "1 ",   "1,5",   ".",      "-",      "a",   "nan",  "-nan",
                                           "nan(1)", "1e",  "1..2", "1e400", "-1e400", "1e-400", "--1", "1.2.3" };
    double value;
    long double longer;
    for (size_t i = 0; i < G_N_ELEMENTS(taken); i++) {
        if (!number_parse_double(slice_of(taken[i]), &value)) fail_msg("refused \"%s\"", taken[i]);
        if (!number_parse_long_double(slice_of(taken[i]), &longer)) fail_msg("refused \"%s\"", taken[i]);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
        if (number_parse_double(slice_of(refused[i]), &value)) fail_msg("took \"%s\"", refused[i]);
    }
    assert_true(number_parse_long_double(SLICE("1e4000"), &longer));
    assert_false(number_parse_long_double(SLICE("1e5000"), &longer));
    assert_false(number_parse_long_double(SLICE("nan"), &longer));
    assert_true(number_parse_double((Slice){ "2\0x", 3 }, &value) && value == 2);
    assert_true(number_parse_double((Slice){ "12", 1 }, &value) && value == 1); /* not beyond the slice */

    g_autofree char *zeros = g_strdup_printf("%0*d.25", 5000, 7);
    assert_true(number_parse_double(slice_of(zeros), &value) && value == 7.25);
    assert_true(number_parse_long_double(slice_of(zeros), &longer) && longer == 7.25L);
}

static void assert_double_text(double value, const char *expected)
{
    char text[NUMBER_DOUBLE_CHARS];
    size_t len = number_format_double(text, value);
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(text, expected, len);
}

static void test_doubles_are_written_as_by_printf(void **state)
{
    (void)state;
    g_autoptr(GRand) rand = g_rand_new_with_seed(SEED);
    for (int round = 0; round < ROUNDS / 3; round++) {
        double value = (double)interesting_int(rand) / (1 << g_rand_int_range(rand, 0, 8));
        char expected[NUMBER_DOUBLE_CHARS];
        snprintf(expected, sizeof(expected), "%.17g", value);
        assert_double_text(value, expected);
    }
    assert_double_text(0.0, "0");
    assert_double_text(-0.0, "-0");
    assert_double_text(1e16, "10000000000000000");
    assert_double_text(1e17, "1e+17");
    assert_double_text(0.1, "0.10000000000000001");
    assert_double_text(INFINITY, "inf");
    assert_double_text(-INFINITY, "-inf");
}

static void assert_long_double_text(long double value, const char *expected)
{
    char text[NUMBER_LONG_DOUBLE_CHARS];
    size_t len = number_format_long_double(text, value);
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(text, expected, len);
}

static void test_long_doubles(void **state)
{
    (void)state;
    assert_long_double_text(0, "0");
    assert_long_double_text(-0.0L, "-0");
    assert_long_double_text(100, "100");
    assert_long_double_text(3.0L + 1.1L, "4.1");
    assert_long_double_text(-12.5L, "-12.5");
    assert_long_double_text(1e-17L, "0.00000000000000001");
    assert_long_double_text(1e-18L, "0");
    assert_long_double_text(INFINITY, "inf");
    assert_long_double_text(-INFINITY, "-inf");

    char text[NUMBER_LONG_DOUBLE_CHARS];
    assert_int_equal(number_format_long_double(text, __LDBL_MAX__), 4933);
    assert_int_equal(number_format_long_double(text, -__LDBL_MAX__), 4934);
    long double back;
    assert_true(number_parse_long_double((Slice){ text, 4934 }, &back) && back == -__LDBL_MAX__);
}

static void test_bytes_for_people(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        { 0, "0B" },
        { 1023, "1023B" },
        { 1024, "1.00K" },
        { 1536, "1.50K" },
        { 1048575, "1024.00K" },
        { 1048576, "1.00M" },
        { 3ULL << 30, "3.00G" },
        { 5ULL << 40, "5.00T" },
        { 1ULL << 50, "1.00P" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        char text[NUMBER_DOUBLE_CHARS];
        number_format_bytes(text, cases[i].bytes);
        assert_string_equal(text, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers_round_trip),
        cmocka_unit_test(test_only_canonical_integers_are_read),
        cmocka_unit_test(test_doubles_are_read_as_by_strtod),
        cmocka_unit_test(test_which_doubles_are_read),
        cmocka_unit_test(test_doubles_are_written_as_by_printf),
        cmocka_unit_test(test_long_doubles),
        cmocka_unit_test(test_bytes_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
