/* set.h: a value of type set. The commands call it, on entries they got from the keyspace.
 *
 * Design. A set of integers is a sorted array (intset.h) of up to options.set_max_intset_entries. Any other is a pack
 * while it has few and short members, which saves some 800 bytes, and then a table of elements (element.h). The first
 * is what OBJECT ENCODING calls "intset", the other two are "hashtable", since Redis 3.2 has only that. A set never
 * goes back. What a Set pointer points to is one block whose kind byte says which; it moves when the set changes, so
 * whatever changes it takes a pointer to the pointer.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_SET_H
#define CKV_STORE_SET_H

#include "store/element.h"
#include "store/entry.h"

/* A member: its bytes, or (text.ptr NULL) an integer, which is the same member as its decimal digits. */
typedef PackValue SetMember;

static inline SetMember set_member(Slice text)
{
    return (SetMember){ .text = { text.ptr == NULL ? "" : text.ptr, text.len } };
}

/* How many members set_filter takes at most. */
#define SET_BATCH ELEMENT_BATCH

Set *set_new(void);
/* O(members). */
void set_free(Set *set);
/* The same in slices: does up to `work` small steps. True while something is left, of which only set_bytes may be
 * asked, for about the memory still held. */
bool set_free_some(Set *set, size_t work);

size_t set_length(const Set *set);
/* Memory held. */
size_t set_bytes(const Set *set);
/* OBJECT ENCODING's word: "intset" or "hashtable". */
const char *set_encoding(const Set *set);

bool set_has(const Set *set, SetMember member);

/* Keeps those of `count` <= SET_BATCH members that are in the set (or, not `wanted`, that aren't), in their order, and
 * returns how many are left; quicker than one by one. */
size_t set_filter(const Set *set, SetMember *members, size_t count, bool wanted);

/* False: it was there already. The member mustn't lie in the set. */
bool set_add(Set **set, SetMember member);
/* False: it wasn't there. The member may be the set's own. */
bool set_remove(Set **set, SetMember member);

/* A member, each with the same probability, good until the set changes. The set mustn't be empty. */
SetMember set_random(const Set *set);

/* A big set's table, for checkpoints; false: it isn't big. */
bool set_paged(const Set *set, PagedValue *paged);

/* A walk over all members on the caller's stack (integers of an intset ascending); the set mustn't change until it
 * ends. */
typedef struct SetWalk {
    const Set *set;
    uint32_t pos; /* of an intset or pack */
    ElementWalk elements;
} SetWalk;

SetWalk set_walk(const Set *set);
/* False at the end. */
bool set_next(SetWalk *walk, SetMember *member);

/* Visits some members and returns the next cursor, 0 at the end; see table_scan. A small set is visited whole. */
typedef void (*SetVisit)(SetMember member, void *context);
uint64_t set_scan(const Set *set, uint64_t cursor, SetVisit visit, void *context);

/* The set as bytes (see image.h), and back, held as it was: NULL if they're damaged. And about how many there will be.
 */
size_t set_encoded_bytes_about(const Set *set);
void set_encode(const Set *set, Image *image);
Set *set_decode(Slice bytes);

/* The elements of a set that is a table, each of which element_encode makes bytes of; NULL: it's none. And an empty set
 * that is one, for element_decode to fill. */
ElementTable *set_elements(const Set *set);
Set *set_new_big(void);

#endif
