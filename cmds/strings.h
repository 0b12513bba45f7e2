/* strings.h: what the commands on bytes and on bits of a string share: the limit of 32 MB and ranges. Only strings.c
 * and bits.c use it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_CMDS_STRINGS_H
#define CKV_CMDS_STRINGS_H

#include "cmds/command.h"

/* The bytes from `start` to `end`, both included; a negative one counts from the end, and what lies outside the text is
 * cut off. */
static inline Slice string_part(Slice text, int64_t start, int64_t end)
{
    int64_t len = (int64_t)text.len;
    if (start < 0) start = start + len < 0 ? 0 : start + len;
    if (end < 0) end = end + len < 0 ? 0 : end + len;
    if (end >= len) end = len - 1;
    if (start > end) return (Slice){ text.ptr, 0 };
    return (Slice){ text.ptr + start, (size_t)(end - start) + 1 };
}

/* GETRANGE and BITCOUNT, but not BITPOS, take such a range as empty even where both ends are cut off to 0. */
static inline bool string_range_is_backward(int64_t start, int64_t end)
{
    return start < 0 && end < 0 && start > end;
}

/* Answers the error and returns false if a string of this many bytes may not be. */
bool string_check_length(Request *r, size_t len);

#endif
