/* intset.h: a sorted array of integers, two, four or eight bytes each: how a small set of integers is held. Only set.c
 * calls it.
 *
 * All integers have the width that the largest in size needed so far; it never goes down. A block is one allocation
 * whose address changes as it grows: calls that may change it take and return it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_INTSET_H
#define CKV_STORE_INTSET_H

#include "store/pack.h"

typedef struct Intset {
    uint32_t count : 30;
    uint32_t kind : 2; /* the owner's, where a Pack has its own */
    uint32_t width;    /* bytes an integer: 2, 4 or 8 */
    char data[];
} Intset;

Intset *intset_new(unsigned kind);
void intset_free(Intset *ints);
size_t intset_bytes(const Intset *ints);

/* The integer at an index < count: they ascend. */
int64_t intset_at(const Intset *ints, uint32_t index);
bool intset_has(const Intset *ints, int64_t value);

/* Each says whether there was anything to do. */
Intset *intset_add(Intset *ints, int64_t value, bool *added);
Intset *intset_remove(Intset *ints, int64_t value, bool *removed);

/* The set as bytes, and back: NULL unless they're just that, of this kind and with an integer at least. */
size_t intset_encoded_bytes(const Intset *ints);
void intset_encode(const Intset *ints, Image *image);
Intset *intset_decode(Slice bytes, unsigned kind);

#endif
