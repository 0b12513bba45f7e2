/* test_glob.c: base/glob: a table of what 3.2.13 was seen to answer, a plain recursive model on random patterns, and
 * time on patterns with many stars.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/glob.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct Case {
    Slice pattern, text;
    bool matches;
} Case;

#define CASE(pattern, text, matches)                                                                                   \
    {                                                                                                                  \
        { pattern, sizeof(pattern) - 1 }, { text, sizeof(text) - 1 }, matches                                          \
    }

static const Case cases[] = {
    CASE("", "", true),
    CASE("", "a", false),
    CASE("a", "", false),
    CASE("*", "", true),
    CASE("**", "", true),
    CASE("*", "abc", true),
    CASE("?", "", false),
    CASE("?", "a", true),
    CASE("?", "ab", false),
    CASE("a*", "a", true),
    CASE("a**", "a", true),
    CASE("a*b", "ab", true),
    CASE("a*b", "axxb", true),
    CASE("a*b", "axxbc", false),
    CASE("*a*b*", "xxaxxbxx", true),
    CASE("a?c*", "abcde", true),
    CASE("abc", "ABC", false),
    /* classes */
    CASE("h[ae]llo", "hello", true),
    CASE("h[ae]llo", "hillo", false),
    CASE("h[^e]llo", "hallo", true),
    CASE("h[^e]llo", "hello", false),
    CASE("[a-c]", "b", true),
    CASE("[c-a]", "b", true),
    CASE("[a-c]", "d", false),
    CASE("[a-cx-z]", "y", true),
    CASE("[a-]", "-", false), /* a range from 'a' to ']', and nothing closes the class */
    CASE("[a-]", "_", true),
    CASE("[-a]", "-", true),
    CASE("[]", "a", false),
    CASE("[]a]", "]", false),
    CASE("[^]", "a", true),
    CASE("[\\]]", "]", true),
    CASE("[\\a-c]", "b", false),
    CASE("[\\a-c]", "-", true),
    CASE("[a", "a", true), /* the pattern's end closes it */
    CASE("[a", "ab", false),
    CASE("[ab", "b", true),
    CASE("[^a", "b", true),
    CASE("[^", "b", true),
    CASE("[", "a", false),
    CASE("[", "[", false),
    CASE("x[", "x", false),
    CASE("[^a]", "", false),
    CASE("*[ab]", "xxb", true),
    CASE("[\\", "\\", true),
    /* escapes */
    CASE("\\*", "*", true),
    CASE("\\*", "a", false),
    CASE("\\?", "?", true),
    CASE("\\[a]", "[a]", true),
    CASE("\\", "\\", true), /* nothing follows: itself */
    CASE("a\\", "a\\", true),
    CASE("\\\\", "\\", true),
    CASE("\\a", "a", true),
    /* bytes */
    CASE("a\0*", "a\0b", true),
    CASE("?", "\xff", true),
    CASE("[\x80-\xff]", "\xe4", true),
    CASE("[\x80-\xff]", "a", false),
    CASE("[a-\xff]", "\xff", true), /* signed, and swapped: from -1 to 'a' */
    CASE("[a-\xff]", "A", true),
    CASE("[a-\xff]", "b", false),
};

static void follows_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        if (glob_match(cases[i].pattern, cases[i].text, false) == cases[i].matches) continue;
        print_error("pattern %zu '%s' on '%s'\n", i, cases[i].pattern.ptr, cases[i].text.ptr);
        fail();
    }
}

static void ignores_case_when_told(void **state)
{
    (void)state;
    assert_true(glob_match(SLICE("MAX*"), SLICE("maxmemory"), true));
    assert_false(glob_match(SLICE("MAX*"), SLICE("maxmemory"), false));
    assert_true(glob_match(SLICE("[A-C]x"), SLICE("bX"), true));
    assert_true(glob_match(SLICE("[xY]"), SLICE("y"), true));
    assert_false(glob_match(SLICE("[\\Y]"), SLICE("y"), true)); /* escaped in a class: with its case */
}

/* The definition, without any care for time: classes as lists of bytes only. */
static bool model(const char *pattern, const char *text)
{
    if (*pattern == '\0') return *text == '\0';
    if (*pattern == '*') return model(pattern + 1, text) || (*text != '\0' && model(pattern, text + 1));
    if (*text == '\0') return false;
    if (*pattern == '?') return model(pattern + 1, text + 1);
    if (*pattern == '[') {
        const char *end = strchr(pattern, ']');
        bool negated = pattern[1] == '^', found = false;
        for (const char *p = pattern + 1 + negated; p < end; p++)
            found |= *p == *text;
        return found != negated && model(end + 1, text + 1);
    }
    return *pattern == *text && model(pattern + 1, text + 1);
}

static void agrees_with_the_model(void **state)
{
    (void)state;
    static const char *const pieces[] = { "*", "?", "a", "b", "c", "[ab]", "[^a]", "[abc]", "*" };
    GRand *rand = g_rand_new_with_seed(20160506);
    unsigned matches = 0;
    for (int round = 0; round < 200000; round++) {
        char text[12];
        int len = g_rand_int_range(rand, 0, 11);
        for (int i = 0; i < len; i++)
            text[i] = (char)('a' + g_rand_int_range(rand, 0, 3));
        text[len] = '\0';
        GString *pattern = g_string_new(NULL);
        for (int i = g_rand_int_range(rand, 0, 8); i > 0; i--)
            g_string_append(pattern, pieces[g_rand_int_range(rand, 0, G_N_ELEMENTS(pieces))]);
        bool expected = model(pattern->str, text);
        if (glob_match(slice_of(pattern->str), slice_of(text), false) != expected) {
            print_error("seed 20160506, round %d: pattern '%s' on '%s'\n", round, pattern->str, text);
            fail();
        }
        matches += expected;
        g_string_free(pattern, TRUE);
    }
    assert_in_range(matches, 20000, 180000);
    g_rand_free(rand);
}

static void many_stars_take_little_time(void **state)
{
    (void)state;
    char pattern[2001], text[20001];
    for (int i = 0; i < 1000; i++)
        memcpy(pattern + 2 * i, "*a", 2);
    pattern[2000] = 'b';
    memset(text, 'a', sizeof(text));
    int64_t start = g_get_monotonic_time();
    assert_false(glob_match((Slice){ pattern, 2001 }, (Slice){ text, sizeof(text) }, false));
    assert_true(g_get_monotonic_time() - start < 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_table),
        cmocka_unit_test(ignores_case_when_told),
        cmocka_unit_test(agrees_with_the_model),
        cmocka_unit_test(many_stars_take_little_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
