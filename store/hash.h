/* hash.h: a value of type hash: fields with values. The commands call it, on entries they got from the keyspace.
 *
 * Design. Small: one pack of field, value, field, value, in the order in which fields were first set; it's only ever
 * walked forward. Big: a table of elements (element.h). A hash becomes big when it has more than
 * options.hash_max_ziplist_entries fields, on hash_admit, or rather than have its pack grow beyond 64 MB; it never
 * becomes small again. What a Hash pointer points to is one block whose kind byte says which; it moves when the hash
 * changes, so whatever changes it takes a pointer to the pointer.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_HASH_H
#define CKV_STORE_HASH_H

#include "store/element.h"
#include "store/entry.h"

typedef struct HashPair {
    PackValue field, value;
} HashPair;

/* How many fields hash_get_many takes at most. */
#define HASH_BATCH ELEMENT_BATCH

Hash *hash_new(void);
/* O(fields). */
void hash_free(Hash *hash);
/* The same in slices: does up to `work` small steps. True while something is left, of which only hash_bytes may be
 * asked, for about the memory still held. */
bool hash_free_some(Hash *hash, size_t work);

size_t hash_length(const Hash *hash);
/* Memory held. */
size_t hash_bytes(const Hash *hash);
/* OBJECT ENCODING's word: "ziplist" or "hashtable". */
const char *hash_encoding(const Hash *hash);

/* The field's value, good until the hash changes; false: there's no such field. */
bool hash_get(const Hash *hash, Slice field, PackValue *value);
bool hash_has(const Hash *hash, Slice field);

/* Looks up `count` <= HASH_BATCH fields at once, quicker than one by one. Bit i of the result is set if there's the
 * i-th; then values[i] is its value. */
uint32_t hash_get_many(const Hash *hash, const Slice *fields, size_t count, PackValue *values);

/* A field or value longer than options.hash_max_ziplist_value makes the hash big. Redis 3.2 looks at what HSET, HSETNX
 * and HMSET bring before it sets anything, and not at all at what HINCRBY and HINCRBYFLOAT store: hence a call of its
 * own. */
void hash_admit(Hash **hash, const Slice *texts, size_t count);

/* Sets a field; neither slice may lie in the hash. True if the field is new. A field that is set again keeps its place.
 */
bool hash_set(Hash **hash, Slice field, Slice value);

/* False: there's no such field. */
bool hash_remove(Hash **hash, Slice field);

/* A big hash's table, for checkpoints; false: it isn't big. */
bool hash_paged(const Hash *hash, PagedValue *paged);

/* A walk over all fields on the caller's stack; the hash mustn't change until it ends. */
typedef struct HashWalk {
    const Hash *hash;
    PackPos pos;
    ElementWalk elements;
} HashWalk;

HashWalk hash_walk(const Hash *hash);
/* False at the end. */
bool hash_next(HashWalk *walk, HashPair *pair);

/* Visits some fields and returns the next cursor, 0 at the end; see table_scan. A small hash is visited whole. */
typedef void (*HashVisit)(HashPair pair, void *context);
uint64_t hash_scan(const Hash *hash, uint64_t cursor, HashVisit visit, void *context);

/* The hash as bytes (see image.h), and back, held as it was: NULL if they're damaged. And about how many there will be.
 */
size_t hash_encoded_bytes_about(const Hash *hash);
void hash_encode(const Hash *hash, Image *image);
Hash *hash_decode(Slice bytes);

/* The elements of a big hash, each of which element_encode makes bytes of; NULL: it's small. And an empty big hash,
 * for element_decode to fill. */
ElementTable *hash_elements(const Hash *hash);
Hash *hash_new_big(void);

#endif
