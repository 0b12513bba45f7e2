/* number.c: see number.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/number.h"

#include <ctype.h>
#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The decimal forms of 0 to 99, two characters each: one division gives two digits. */
static const char digit_pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                                  "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                                  "8081828384858687888990919293949596979899";

unsigned number_digits(uint64_t value)
{
    static const uint64_t power[] = {
        0,
        10,
        100,
        1000,
        10000,
        100000,
        1000000,
        10000000,
        100000000,
        1000000000,
        10000000000,
        100000000000,
        1000000000000,
        10000000000000,
        100000000000000,
        1000000000000000,
        10000000000000000,
        100000000000000000,
        1000000000000000000,
        10000000000000000000U,
    };
    unsigned bits = 64 - (unsigned)__builtin_clzll(value | 1);
    unsigned guess = bits * 1233 >> 12; /* 1233 / 4096 is a little more than log10(2): right, or one too few */
    return guess + (value >= power[guess]);
}

size_t number_format_uint(char *out, uint64_t value)
{
    if (value < 10) {
        out[0] = (char)('0' + value);
        return 1;
    }
    if (value < 100) {
        memcpy(out, digit_pairs + value * 2, 2);
        return 2;
    }
    size_t len = number_digits(value);
    char *at = out + len;
    while (value >= 100) {
        at -= 2;
        memcpy(at, digit_pairs + value % 100 * 2, 2);
        value /= 100;
    }
    if (value >= 10) {
        memcpy(at - 2, digit_pairs + value * 2, 2);
    } else {
        at[-1] = (char)('0' + value);
    }
    return len;
}

size_t number_format_int(char *out, int64_t value)
{
    if (value >= 0) return number_format_uint(out, (uint64_t)value);
    out[0] = '-';
    return 1 + number_format_uint(out + 1, 0 - (uint64_t)value);
}

bool number_parse_int(Slice text, int64_t *value)
{
    if (text.len == 0) return false;
    bool negative = text.ptr[0] == '-';
    const char *digits = text.ptr + negative;
    size_t count = text.len - negative;
    if (count == 0 || count > 19) return false; /* 2^63 has 19 digits, so 64 bits always hold the sum below */
    if (digits[0] == '0' && text.len > 1) return false;
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned digit = (unsigned)(unsigned char)digits[i] - '0';
        if (digit > 9) return false;
        sum = sum * 10 + digit;
    }
    if (sum > (uint64_t)INT64_MAX + negative) return false;
    *value = (int64_t)(negative ? 0 - sum : sum);
    return true;
}

/* Reads what most scores look like, "-12.5": at most 15 digits, perhaps with a point among them. Such an integer and
 * such a power of ten are doubles without error, so one division rounds as strtod does (Clinger 1990). False: not of
 * this form, which says nothing about its being a number. */
static bool parse_short_decimal(Slice text, double *value)
{
    static const double power[] = {
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15
    };
    bool negative = text.len > 0 && text.ptr[0] == '-';
    uint64_t sum = 0;
    size_t digits = 0, fraction = 0;
    bool point = false;
    if (text.len > 17) return false;
    for (size_t i = negative; i < text.len; i++) {
        unsigned digit = (unsigned)(unsigned char)text.ptr[i] - '0';
        if (digit <= 9) {
            sum = sum * 10 + digit;
            digits++;
            fraction += point;
        } else if (text.ptr[i] == '.' && !point) {
            point = true;
        } else {
            return false;
        }
    }
    if (digits == 0 || digits > 15) return false;
    double magnitude = (double)sum / power[fraction];
    *value = negative ? -magnitude : magnitude;
    return true;
}

/* The text with the NUL that strtod needs: in `room` if it fits, else on the heap, to be freed as *heap. */
static const char *with_nul(Slice text, char *room, size_t room_len, char **heap)
{
    *heap = NULL;
    if (text.len >= room_len) return *heap = g_strndup(text.ptr, text.len);
    if (text.len > 0) memcpy(room, text.ptr, text.len);
    room[text.len] = '\0';
    return room;
}

bool number_parse_double(Slice text, double *value)
{
    if (parse_short_decimal(text, value)) return true;
    char room[NUMBER_DOUBLE_CHARS];
    char *heap, *end;
    const char *string = with_nul(text, room, sizeof(room), &heap);
    errno = 0;
    *value = strtod(string, &end);
    bool lost = errno == ERANGE && (isinf(*value) || *value == 0);
    bool good = !isspace((unsigned char)string[0]) && *end == '\0' && !lost && !isnan(*value);
    g_free(heap);
    return good;
}

bool number_parse_long_double(Slice text, long double *value)
{
    char room[NUMBER_DOUBLE_CHARS];
    char *heap, *end;
    const char *string = with_nul(text, room, sizeof(room), &heap);
    errno = 0;
    *value = strtold(string, &end);
    bool good = !isspace((unsigned char)string[0]) && *end == '\0' && errno != ERANGE && !isnan(*value);
    g_free(heap);
    return good;
}

size_t number_format_double(char *out, double value)
{
    /* Whole numbers of up to 16 digits have the same form as integers, twenty times as quickly; but -0 is "-0". */
    if (value > -1e16 && value < 1e16 && value == (double)(int64_t)value && !(value == 0 && signbit(value))) {
        return number_format_int(out, (int64_t)value);
    }
    if (isinf(value)) {
        memcpy(out, "-inf", 4);
        if (value < 0) return 4;
        memcpy(out, "inf", 3);
        return 3;
    }
    return (size_t)snprintf(out, NUMBER_DOUBLE_CHARS, "%.17g", value);
}

size_t number_format_long_double(char *out, long double value)
{
    size_t len = (size_t)snprintf(out, NUMBER_LONG_DOUBLE_CHARS, "%.17Lf", value);
    g_assert(len < NUMBER_LONG_DOUBLE_CHARS);
    if (isinf(value)) return len;
    while (out[len - 1] == '0')
        len--; /* stops at the point at the latest */
    return out[len - 1] == '.' ? len - 1 : len;
}

void number_format_bytes(char *out, uint64_t bytes)
{
    static const char unit[] = "BKMGTP";
    double scaled = (double)bytes;
    unsigned power = 0;
    for (uint64_t left = bytes; left >= 1024 && power < sizeof(unit) - 2; left /= 1024) {
        scaled /= 1024;
        power++;
    }
    if (power == 0) {
        snprintf(out, NUMBER_DOUBLE_CHARS, "%" PRIu64 "B", bytes);
    } else {
        snprintf(out, NUMBER_DOUBLE_CHARS, "%.2f%c", scaled, unit[power]);
    }
}
