/* slice.h: a borrowed run of bytes. Shared by every part; knows nothing.
 *
 * A slice never owns its bytes and never outlives the call it was passed to: whoever keeps the bytes copies them. Bytes
 * may hold anything, NUL included; there is no terminator.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_BASE_SLICE_H
#define CKV_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

typedef struct Slice {
    const char *ptr;
    size_t len;
} Slice;

/* The slice of a string literal. */
#define SLICE(literal) ((Slice){ (literal), sizeof(literal) - 1 })

static inline Slice slice_of(const char *cstring)
{
    return (Slice){ cstring, strlen(cstring) };
}

/* memcmp(a, b, len) == 0, without a call for eight to sixteen bytes, which is what most keys have. */
static inline bool bytes_equal(const char *a, const char *b, size_t len)
{
    uint64_t first[2], last[2];
    if (len - sizeof(first[0]) > sizeof(last[0])) return memcmp(a, b, len) == 0;
    size_t to_last = len - sizeof(last[0]);
    memcpy(&first[0], a, sizeof(first[0]));
    memcpy(&first[1], b, sizeof(first[1]));
    memcpy(&last[0], a + to_last, sizeof(last[0]));
    memcpy(&last[1], b + to_last, sizeof(last[1]));
    return ((first[0] ^ first[1]) | (last[0] ^ last[1])) == 0;
}

static inline bool slice_equal(Slice a, Slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Compares with a C string, ignoring ASCII case: how option words such as "WITHSCORES" are recognised. */
static inline bool slice_is(Slice a, const char *word)
{
    return a.len == strlen(word) && strncasecmp(a.ptr, word, a.len) == 0;
}

/* memcmp order, the shorter first when one is the other's beginning. */
static inline int slice_compare(Slice a, Slice b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common == 0 ? 0 : memcmp(a.ptr, b.ptr, common);
    if (order != 0) return order;
    return (a.len > b.len) - (a.len < b.len);
}

#endif
