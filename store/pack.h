/* pack.h: the compact encoding of small collections: byte strings and integers, one after the other in one block. The
 * value types call it, nobody else. See Redis' ziplist and listpack for the idea; the format is ours.
 *
 * Design. Pack: the six-byte head below, then the elements. An element is a header byte that says "integer of n bytes"
 * or "string" with its length (7 bits, or more bytes for longer ones), its content, and a back-length (one byte up to
 * 127, more for longer ones) that lets it be walked from the end. Who never does that keeps a one-way pack, without
 * back-lengths; in checkpoints both look the same, with them. The block is one g_malloc allocation, whose address
 * changes as it grows: every call that may grow or shrink takes and returns the pack.
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

/* The blocks of all collections, packed or not, begin with 30 bits of their own and the owner's two bits that say which
 * of its forms this one is. */
#define PACK_KIND_MASK 3U

typedef struct Pack {
    uint32_t bytes : 30; /* in use, these six included */
    uint32_t kind : 2;
    uint16_t count : 15;  /* of elements; saturating: 32767 = count by walking */
    uint16_t one_way : 1; /* there are no back-lengths */
    char data[];
} __attribute__((packed, aligned(2))) Pack;

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

/* An empty pack that can be walked both ways, and one that can't. */
Pack *pack_new(unsigned kind);
Pack *pack_new_one_way(unsigned kind);
void pack_free(Pack *pack);
/* The same elements with back-lengths: a pack that has them stays as it is. */
Pack *pack_two_way(Pack *pack);
uint32_t pack_count(const Pack *pack);
size_t pack_bytes(const Pack *pack);

/* Walking: NULL-like 0 past either end. pack_at counts from 0, or from the end with -1 for the last. No pack_last and
 * no pack_prev in a one-way pack. */
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
/* Where every `skip`+1-th element from the first on is: at most `max` of them. Returns how many. */
unsigned pack_places(const Pack *pack, unsigned skip, PackPos *places, unsigned max);

/* Insert before `pos`, or at the end with pos 0. `text` mustn't lie in the pack. */
Pack *pack_insert(Pack *pack, PackPos pos, Slice text);
Pack *pack_append(Pack *pack, Slice text);
Pack *pack_prepend(Pack *pack, Slice text);
Pack *pack_replace(Pack *pack, PackPos pos, Slice text);
/* Removes `count` elements from pos on; a position after them is pos again. */
Pack *pack_remove(Pack *pack, PackPos pos, uint32_t count);
/* Two packs become one: all of b's elements behind a's, which go the same ways; b is freed. */
Pack *pack_join(Pack *a, Pack *b);
/* Cuts: what is from pos on moves to *tail (a new pack of the same kind and ways), the rest is returned. */
Pack *pack_split(Pack *pack, PackPos pos, Pack **tail);
/* How many bytes an element of this text would add to a pack that can be walked both ways. */
size_t pack_element_bytes(Slice text);

/* Whether the block is well-formed, for data from outside: every element inside, the count right. */
bool pack_valid(const Pack *pack, size_t size);
/* Whether all elements differ; with `skip` 1, of field-value pairs the fields. */
bool pack_is_unique(const Pack *pack, unsigned skip);

/* The pack as bytes, which know their own length, and back, one-way with up to `one_way_max` elements: NULL if there's
 * no well-formed pack of this kind with an element at least. And the most bytes that there will be. */
size_t pack_encoded_bytes_max(const Pack *pack);
void pack_encode(const Pack *pack, Image *image);
Pack *pack_decode(Slice *in, unsigned kind, uint32_t one_way_max);

#endif
