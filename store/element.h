/* element.h: the members of big sets and the fields of big hashes: one small block each, in a table. Only set.c and
 * hash.c call it.
 *
 * Design. An element is a length (varint: seven bits a byte, the low ones first, the top bit says that more follow),
 * the key's bytes and, in a hash, another length and the value's bytes. So a 14-byte field with a 16-byte value is one
 * block of 32 bytes.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_ELEMENT_H
#define CKV_STORE_ELEMENT_H

#include <glib.h>

#include "store/pack.h"
#include "store/pages.h"
#include "store/table.h"

/* What a big collection's entry points to. The kind is where a Pack has its own. */
typedef struct ElementTable {
    uint32_t unused : 30;
    uint32_t kind : 2;
    bool has_values; /* a hash's */
    size_t bytes;    /* of all elements, as asked from the allocator */
    PageMap *pages;  /* checkpoints keep it as pages; NULL: they don't */
    Table table;
} ElementTable;

/* How many look-ups element_find_many overlaps at most. */
#define ELEMENT_BATCH 16

ElementTable *element_table_new(unsigned kind, bool has_values);
void element_table_free(ElementTable *elements);
/* The same in slices of so many buckets: true while something is left, of which only element_table_bytes may be asked
 * (and about right). */
bool element_table_free_some(ElementTable *elements, size_t buckets);
/* Memory held, the table's buckets included. */
size_t element_table_bytes(const ElementTable *elements);

/* The slot of the element with this key, or NULL. */
void **element_find(const ElementTable *elements, uint64_t hash, Slice key);

/* Looks up `count` <= ELEMENT_BATCH keys whose memory accesses overlap: found[i] is the element or NULL. */
void element_find_many(const ElementTable *elements, const Slice *keys, size_t count, const void **found);

/* Adds a key that isn't there yet. Both are copied; a set's member has no value: pass an empty one. */
void element_insert(ElementTable *elements, uint64_t hash, Slice key, Slice value);

/* Gives the element in a slot (of element_find) another value, which mustn't lie in the table. */
void element_set_value(ElementTable *elements, void **slot, Slice value);

/* Removes and frees the element with this key, which may be the element's own bytes. False: there's none. */
bool element_remove(ElementTable *elements, Slice key);

Slice element_key(const void *element);
/* Only of a hash's elements. */
Slice element_value(const void *element);

/* An element as bytes, and back into a table, with its hash, which says in which page it belongs: false if they're
 * damaged or the key is there already. An element's bytes are those of its block. */
void element_encode(const void *element, bool has_value, Image *image);
bool element_decode(ElementTable *elements, Slice *in, uint64_t *hash);

/* All elements with their number before them, and back: NULL unless the bytes are just that, with an element at least.
 */
size_t element_table_encoded_bytes(const ElementTable *elements);
void element_table_encode(const ElementTable *elements, Image *image);
ElementTable *element_table_decode(Slice bytes, uint8_t kind, bool has_values);

/* A walk over all elements on the caller's stack; nothing may change until it ends. */
typedef struct ElementWalk {
    const Table *table;
    const Bucket *bucket;
    uint32_t index; /* the bucket's */
    uint32_t slot;  /* the next one to look at */
} ElementWalk;

ElementWalk element_walk(const ElementTable *elements);
/* The next element, NULL at the end. */
const void *element_next(ElementWalk *walk);

#endif
