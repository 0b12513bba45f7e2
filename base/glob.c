/* glob.c: see glob.h.
 *
 * Design. Every element of a pattern but the star takes exactly one byte, so it's enough to remember the last star:
 * when what follows it doesn't fit, the star takes one byte more and the rest is tried again. An earlier star never has
 * to, since whatever it could take besides, the later one can take too. Bytes are compared as signed, as 3.2.13 does on
 * x86-64, which shows in ranges with a bound above 127.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/glob.h"

#include <ctype.h>

/* The letter in lower case, if case doesn't matter. The C locale: only ASCII has cases. */
static int fold(char byte, bool ignore_case)
{
    return ignore_case ? tolower((signed char)byte) : (signed char)byte;
}

/* Whether the byte is between the bounds, which may come in either order; it's before folding that they're sorted. */
static bool range_match(char first, char last, char byte, bool ignore_case)
{
    bool swapped = (signed char)first > (signed char)last;
    int low = fold(swapped ? last : first, ignore_case), high = fold(swapped ? first : last, ignore_case);
    int value = fold(byte, ignore_case);
    return low <= value && value <= high;
}

/* Whether the byte is in the class whose '[' is at *at; moves *at behind the class. Nothing closes a class but ']' or
 * the pattern's end, and an escaped byte is compared with its case. */
static bool class_match(Slice pattern, size_t *at, char byte, bool ignore_case)
{
    size_t i = *at + 1;
    bool found = false, negated = i < pattern.len && pattern.ptr[i] == '^';
    if (negated) i++;
    while (i < pattern.len && pattern.ptr[i] != ']') {
        if (pattern.ptr[i] == '\\' && i + 1 < pattern.len) {
            found |= pattern.ptr[i + 1] == byte;
            i += 2;
        } else if (i + 2 < pattern.len && pattern.ptr[i + 1] == '-') {
            found |= range_match(pattern.ptr[i], pattern.ptr[i + 2], byte, ignore_case);
            i += 3;
        } else {
            found |= fold(pattern.ptr[i], ignore_case) == fold(byte, ignore_case);
            i++;
        }
    }
    *at = i < pattern.len ? i + 1 : i;
    return found != negated;
}

/* Whether the byte fits the element (not a star) at *at; moves *at behind the element. */
static bool element_match(Slice pattern, size_t *at, char byte, bool ignore_case)
{
    switch (pattern.ptr[*at]) {
    case '?': (*at)++; return true;
    case '[': return class_match(pattern, at, byte, ignore_case);
    case '\\':
        if (*at + 1 < pattern.len) (*at)++;
        break;
    default: break;
    }
    return fold(pattern.ptr[(*at)++], ignore_case) == fold(byte, ignore_case);
}

bool glob_match(Slice pattern, Slice text, bool ignore_case)
{
    size_t p = 0, t = 0;
    bool starred = false;
    size_t star_p = 0, star_t = 0; /* what follows the last star, and where the text was tried with it last */
    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            starred = true;
            star_p = ++p;
            star_t = t;
            if (p == pattern.len) return true;
        } else if (p < pattern.len && element_match(pattern, &p, text.ptr[t], ignore_case)) {
            t++;
        } else if (starred) {
            p = star_p;
            t = ++star_t;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}
