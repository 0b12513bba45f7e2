/* pack.h: the compact encoding of small collections: byte strings and integers, one after the other in one block. The
 * value types call it, nobody else. See Redis' ziplist and listpack for the idea; the format is ours.
 *
 * Design. Pack: an 8-byte head { uint32 bytes in use (head included), uint16 count (saturating: 65535 = count by
 * walking), uint8 kind (the owner's: which type's object this block is), uint8 spare }, then the elements. An element
 * is a header byte that says "integer of n bytes" or "string" with its length (6 bits, or more bytes for longer ones),
 * its content, and a back-length (one byte up to 127, more for longer ones) that lets it be walked from the end. The
 * block is one g_malloc allocation, whose address changes as it grows: every call that may grow or shrink takes and
 * returns the pack.
 *
 * A position is a byte offset into the block: 0 means "no element". Text that is a canonical integer (number_parse_int)
 * is held as an integer and comes back as the same text.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_PACK_H
#define CKV_STORE_PACK_H

#include "base/number.h"
#include "base/slice.h"
#include "store/image.h"

typedef struct Pack {
    uint32_t bytes;
    uint16_t count;
    uint8_t kind;
    uint8_t spare;
    char data[];
} Pack;

typedef uint32_t PackPos;

/* What an element is: text.ptr != NULL: these bytes (inside the pack); NULL: the integer. */
typedef struct PackValue {
    Slice text;
    int64_t number;
} PackValue;

/* The value's bytes; `digits` (NUMBER_INT_CHARS) takes those of an integer. */
static inline Slice pack_value_text(PackValue value, char *digits)
{
    if (value.text.ptr != NULL) return value.text;
    return (Slice){ digits, number_format_int(digits, value.number) };
}

Pack *pack_new(uint8_t kind);
void pack_free(Pack *pack);
uint32_t pack_count(const Pack *pack);
size_t pack_bytes(const Pack *pack);

/* Walking: NULL-like 0 past either end. pack_at counts from 0, or from the end with -1 for the last. */
PackPos pack_first(const Pack *pack);
PackPos pack_last(const Pack *pack);
PackPos pack_next(const Pack *pack, PackPos pos);
PackPos pack_prev(const Pack *pack, PackPos pos);
PackPos pack_at(const Pack *pack, int64_t index);

PackValue pack_get(const Pack *pack, PackPos pos);
/* The element's bytes; `digits` (NUMBER_INT_CHARS) takes those of an integer. */
Slice pack_text(const Pack *pack, PackPos pos, char *digits);
bool pack_equals(const Pack *pack, PackPos pos, Slice text);
/* The first element from `from` on that equals text, looking at every `skip`+1-th (1: only fields of field-value
 * pairs); 0 if none. */
PackPos pack_find(const Pack *pack, PackPos from, Slice text, unsigned skip);

/* Insert before `pos`, or at the end with pos 0. `text` mustn't lie in the pack. */
Pack *pack_insert(Pack *pack, PackPos pos, Slice text);
Pack *pack_append(Pack *pack, Slice text);
Pack *pack_prepend(Pack *pack, Slice text);
Pack *pack_replace(Pack *pack, PackPos pos, Slice text);
/* Removes `count` elements from pos on; a position after them is pos again. */
Pack *pack_remove(Pack *pack, PackPos pos, uint32_t count);
/* Two packs become one: all of b's elements behind a's; b is freed. */
Pack *pack_join(Pack *a, Pack *b);
/* Cuts: what is from pos on moves to *tail (a new pack of the same kind), the rest is returned. */
Pack *pack_split(Pack *pack, PackPos pos, Pack **tail);
/* How many bytes an element of this text would add. */
size_t pack_element_bytes(Slice text);

/* Whether the block is well-formed, for data from outside: every element inside, the count right. */
bool pack_valid(const Pack *pack, size_t size);
/* Whether all elements differ; with `skip` 1, of field-value pairs the fields. */
bool pack_is_unique(const Pack *pack, unsigned skip);

/* The block as bytes, which know their own length, and back: NULL if there's no well-formed block of this kind with an
 * element at least. */
void pack_encode(const Pack *pack, Image *image);
Pack *pack_decode(Slice *in, uint8_t kind);

#endif
