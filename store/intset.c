/* intset.c: see intset.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/intset.h"

#include <glib.h>

#define COUNT_MAX 0x3FFFFFFFU

static uint32_t width_of(int64_t value)
{
    if (value >= INT16_MIN && value <= INT16_MAX) return sizeof(int16_t);
    if (value >= INT32_MIN && value <= INT32_MAX) return sizeof(int32_t);
    return sizeof(int64_t);
}

static size_t bytes_for(uint32_t width, uint32_t count)
{
    return sizeof(Intset) + (size_t)width * count;
}

Intset *intset_new(unsigned kind)
{
    Intset *ints = g_malloc(bytes_for(sizeof(int16_t), 1));
    *ints = (Intset){ .kind = kind & PACK_KIND_MASK, .width = sizeof(int16_t) };
    return ints;
}

void intset_free(Intset *ints)
{
    g_free(ints);
}

size_t intset_bytes(const Intset *ints)
{
    return bytes_for(ints->width, ints->count);
}

static char *place(const Intset *ints, uint32_t index)
{
    return (char *)(uintptr_t)ints->data + (size_t)index * ints->width;
}

int64_t intset_at(const Intset *ints, uint32_t index)
{
    g_assert(index < ints->count);
    const char *from = place(ints, index);
    int64_t wide;
    int32_t middle;
    int16_t narrow;
    switch (ints->width) {
    case sizeof(narrow): memcpy(&narrow, from, sizeof(narrow)); return narrow;
    case sizeof(middle): memcpy(&middle, from, sizeof(middle)); return middle;
    default: memcpy(&wide, from, sizeof(wide)); return wide;
    }
}

static void put(Intset *ints, uint32_t index, int64_t value)
{
    int32_t middle = (int32_t)value;
    int16_t narrow = (int16_t)value;
    char *to = place(ints, index);
    switch (ints->width) {
    case sizeof(narrow): memcpy(to, &narrow, sizeof(narrow)); break;
    case sizeof(middle): memcpy(to, &middle, sizeof(middle)); break;
    default: memcpy(to, &value, sizeof(value)); break;
    }
}

/* The index of the first integer that isn't below `value`; the count if all are. */
static uint32_t lower_bound(const Intset *ints, int64_t value)
{
    uint32_t low = 0, high = ints->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (intset_at(ints, middle) < value)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool intset_has(const Intset *ints, int64_t value)
{
    uint32_t index = lower_bound(ints, value);
    return index < ints->count && intset_at(ints, index) == value;
}

/* The same integers, each in more bytes. */
static Intset *widened(Intset *ints, uint32_t width)
{
    Intset *wide = g_malloc(bytes_for(width, ints->count + 1));
    *wide = *ints;
    wide->width = width;
    for (uint32_t i = 0; i < ints->count; i++)
        put(wide, i, intset_at(ints, i));
    g_free(ints);
    return wide;
}

Intset *intset_add(Intset *ints, int64_t value, bool *added)
{
    /* Integers that arrive in order go to the end without a search. */
    bool at_end = ints->count == 0 || intset_at(ints, ints->count - 1) < value;
    uint32_t index = at_end ? ints->count : lower_bound(ints, value);
    *added = index == ints->count || intset_at(ints, index) != value;
    if (!*added) return ints;

    g_assert(ints->count < COUNT_MAX);
    if (width_of(value) > ints->width)
        ints = widened(ints, width_of(value));
    else
        ints = g_realloc(ints, bytes_for(ints->width, ints->count + 1));
    memmove(place(ints, index + 1), place(ints, index), (size_t)(ints->count - index) * ints->width);
    ints->count++;
    put(ints, index, value);
    return ints;
}

Intset *intset_remove(Intset *ints, int64_t value, bool *removed)
{
    uint32_t index = lower_bound(ints, value);
    *removed = index < ints->count && intset_at(ints, index) == value;
    if (!*removed) return ints;
    ints->count--;
    memmove(place(ints, index), place(ints, index + 1), (size_t)(ints->count - index) * ints->width);
    return g_realloc(ints, bytes_for(ints->width, ints->count));
}

/* ---- as bytes ---- */

/* What stands in front of the integers. */
typedef struct IntsetHead {
    uint32_t count;
    uint8_t zeros[2];
    uint8_t kind;
    uint8_t width;
} IntsetHead;

size_t intset_encoded_bytes(const Intset *ints)
{
    return sizeof(IntsetHead) + (size_t)ints->width * ints->count;
}

void intset_encode(const Intset *ints, Image *image)
{
    IntsetHead head = { .count = ints->count, .kind = ints->kind, .width = (uint8_t)ints->width };
    image_put_bytes(image, (Slice){ (const char *)&head, sizeof(head) });
    image_put_bytes(image, (Slice){ ints->data, (size_t)ints->width * ints->count });
}

static bool ascends(const Intset *ints)
{
    for (uint32_t i = 1; i < ints->count; i++) {
        if (intset_at(ints, i - 1) >= intset_at(ints, i)) return false;
    }
    return true;
}

Intset *intset_decode(Slice bytes, unsigned kind)
{
    IntsetHead head;
    if (bytes.len < sizeof(head)) return NULL;
    memcpy(&head, bytes.ptr, sizeof(head));
    IntsetHead expected = { .count = head.count, .kind = (uint8_t)kind, .width = head.width };
    bool width_valid = head.width == sizeof(int16_t) || head.width == sizeof(int32_t) || head.width == sizeof(int64_t);
    if (!width_valid || memcmp(&head, &expected, sizeof(head)) != 0) return NULL;
    size_t content = bytes.len - sizeof(head);
    if (head.count == 0 || head.count > COUNT_MAX || content != (size_t)head.width * head.count) return NULL;
    Intset *ints = g_malloc(bytes_for(head.width, head.count));
    *ints = (Intset){ .count = head.count & COUNT_MAX, .kind = kind & PACK_KIND_MASK, .width = head.width };
    memcpy(ints->data, bytes.ptr + sizeof(head), content);
    if (ascends(ints)) return ints;
    intset_free(ints);
    return NULL;
}
