/* set.c: see set.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/set.h"

#include "base/options.h"
#include "base/random.h"
#include "store/intset.h"

/* They stand in images as well: none may change. */
enum { SET_INTS, SET_PACK, SET_TABLE };

/* A pack is searched from its beginning: up to here that takes no longer than a look-up in a table. */
#define PACK_MEMBERS_MAX      32
#define PACK_MEMBER_BYTES_MAX 64

static unsigned kind_of(const Set *set)
{
    return ((const Pack *)(const void *)set)->kind;
}

/* The block as what it is. */
static Intset *as_ints(const Set *set)
{
    return (Intset *)(uintptr_t)set;
}

static Pack *as_pack(const Set *set)
{
    return (Pack *)(uintptr_t)set;
}

static ElementTable *as_table(const Set *set)
{
    return (ElementTable *)(uintptr_t)set;
}

Set *set_new(void)
{
    return (Set *)intset_new(SET_INTS);
}

void set_free(Set *set)
{
    switch (kind_of(set)) {
    case SET_INTS: intset_free(as_ints(set)); break;
    case SET_PACK: pack_free(as_pack(set)); break;
    default: element_table_free(as_table(set)); break;
    }
}

bool set_free_some(Set *set, size_t work)
{
    if (kind_of(set) == SET_TABLE) return element_table_free_some(as_table(set), work);
    set_free(set);
    return false;
}

size_t set_length(const Set *set)
{
    switch (kind_of(set)) {
    case SET_INTS: return as_ints(set)->count;
    case SET_PACK: return pack_count(as_pack(set));
    default: return as_table(set)->table.count;
    }
}

size_t set_bytes(const Set *set)
{
    switch (kind_of(set)) {
    case SET_INTS: return intset_bytes(as_ints(set));
    case SET_PACK: return pack_bytes(as_pack(set));
    default: return element_table_bytes(as_table(set));
    }
}

const char *set_encoding(const Set *set)
{
    return kind_of(set) == SET_INTS ? "intset" : "hashtable";
}

/* ---- members ---- */

static bool member_int(SetMember member, int64_t *value)
{
    *value = member.number;
    return member.text.ptr == NULL || number_parse_int(member.text, value);
}

/* The member's bytes; `digits` (NUMBER_INT_CHARS) takes those of an integer. */
static Slice member_text(SetMember member, char *digits)
{
    return pack_value_text(member, digits);
}

static PackPos pack_member(const Pack *pack, Slice text)
{
    PackPos first = pack_first(pack);
    return first == 0 ? 0 : pack_find(pack, first, text, 0);
}

bool set_has(const Set *set, SetMember member)
{
    if (kind_of(set) == SET_INTS) {
        int64_t value;
        return member_int(member, &value) && intset_has(as_ints(set), value);
    }
    char digits[NUMBER_INT_CHARS];
    Slice text = member_text(member, digits);
    if (kind_of(set) == SET_PACK) return pack_member(as_pack(set), text) != 0;
    return element_find(as_table(set), table_hash(text), text) != NULL;
}

static size_t table_filter(const ElementTable *elements, SetMember *members, size_t count, bool wanted)
{
    char digits[SET_BATCH][NUMBER_INT_CHARS];
    Slice texts[SET_BATCH] = { 0 };
    const void *found[SET_BATCH];
    for (size_t i = 0; i < count; i++)
        texts[i] = member_text(members[i], digits[i]);
    element_find_many(elements, texts, count, found);
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        if ((found[i] != NULL) == wanted) members[left++] = members[i];
    }
    return left;
}

size_t set_filter(const Set *set, SetMember *members, size_t count, bool wanted)
{
    g_assert(count <= SET_BATCH);
    if (kind_of(set) == SET_TABLE) return table_filter(as_table(set), members, count, wanted);
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        if (set_has(set, members[i]) == wanted) members[left++] = members[i];
    }
    return left;
}

/* ---- changing ---- */

/* Makes the set a table that holds what it held. */
static void make_table(Set **set)
{
    ElementTable *elements = element_table_new(SET_TABLE, false);
    SetWalk walk = set_walk(*set);
    char digits[NUMBER_INT_CHARS];
    for (SetMember member; set_next(&walk, &member);) {
        Slice text = member_text(member, digits);
        element_insert(elements, table_hash(text), text, SLICE(""));
    }
    set_free(*set);
    *set = (Set *)elements;
}

/* Makes an intset, to which something that is no integer is about to be added, a pack. */
static void make_pack(Set **set)
{
    Pack *pack = pack_new(SET_PACK);
    char digits[NUMBER_INT_CHARS];
    SetWalk walk = set_walk(*set);
    for (SetMember member; set_next(&walk, &member);)
        pack = pack_append(pack, member_text(member, digits));
    set_free(*set);
    *set = (Set *)pack;
}

static bool fits_pack(const Set *set, Slice text)
{
    return set_length(set) < PACK_MEMBERS_MAX && text.len <= PACK_MEMBER_BYTES_MAX;
}

static bool ints_add(Set **set, int64_t value)
{
    bool added;
    *set = (Set *)intset_add(as_ints(*set), value, &added);
    if (!added || set_length(*set) <= (size_t)options.set_max_intset_entries) return added;
    if (set_length(*set) <= PACK_MEMBERS_MAX)
        make_pack(set);
    else
        make_table(set);
    return true;
}

static bool table_add(ElementTable *elements, Slice text)
{
    uint64_t hash = table_hash(text);
    if (element_find(elements, hash, text) != NULL) return false;
    element_insert(elements, hash, text, SLICE(""));
    return true;
}

bool set_add(Set **set, SetMember member)
{
    char digits[NUMBER_INT_CHARS];
    if (kind_of(*set) == SET_INTS) {
        int64_t value;
        if (member_int(member, &value)) return ints_add(set, value);
        if (fits_pack(*set, member.text))
            make_pack(set);
        else
            make_table(set);
    }
    Slice text = member_text(member, digits);
    if (kind_of(*set) == SET_PACK) {
        if (pack_member(as_pack(*set), text) != 0) return false;
        if (fits_pack(*set, text)) {
            *set = (Set *)pack_append(as_pack(*set), text);
            return true;
        }
        make_table(set);
    }
    return table_add(as_table(*set), text);
}

bool set_remove(Set **set, SetMember member)
{
    if (kind_of(*set) == SET_INTS) {
        int64_t value;
        bool removed = false;
        if (member_int(member, &value)) *set = (Set *)intset_remove(as_ints(*set), value, &removed);
        return removed;
    }
    char digits[NUMBER_INT_CHARS];
    Slice text = member_text(member, digits);
    if (kind_of(*set) == SET_TABLE) return element_remove(as_table(*set), text);
    PackPos pos = pack_member(as_pack(*set), text);
    if (pos != 0) *set = (Set *)pack_remove(as_pack(*set), pos, 1);
    return pos != 0;
}

bool set_paged(const Set *set, PagedValue *paged)
{
    if (kind_of(set) != SET_TABLE) return false;
    *paged = (PagedValue){ &as_table(set)->table, &as_table(set)->pages, PAGE_ELEMENTS };
    return true;
}

/* ---- walking ---- */

static SetMember element_member(const void *element)
{
    return set_member(element_key(element));
}

SetMember set_random(const Set *set)
{
    g_assert(set_length(set) > 0);
    if (kind_of(set) == SET_TABLE) return element_member(table_random(&as_table(set)->table));
    uint32_t index = (uint32_t)random_below(set_length(set));
    if (kind_of(set) == SET_INTS) return (SetMember){ .number = intset_at(as_ints(set), index) };
    return pack_get(as_pack(set), pack_at(as_pack(set), index));
}

SetWalk set_walk(const Set *set)
{
    SetWalk walk = { .set = set };
    if (kind_of(set) == SET_PACK) walk.pos = pack_first(as_pack(set));
    if (kind_of(set) == SET_TABLE) walk.elements = element_walk(as_table(set));
    return walk;
}

static bool next_int(SetWalk *walk, SetMember *member)
{
    if (walk->pos >= as_ints(walk->set)->count) return false;
    *member = (SetMember){ .number = intset_at(as_ints(walk->set), walk->pos++) };
    return true;
}

static bool next_packed(SetWalk *walk, SetMember *member)
{
    if (walk->pos == 0) return false;
    *member = pack_get(as_pack(walk->set), walk->pos);
    walk->pos = pack_next(as_pack(walk->set), walk->pos);
    return true;
}

bool set_next(SetWalk *walk, SetMember *member)
{
    if (kind_of(walk->set) == SET_INTS) return next_int(walk, member);
    if (kind_of(walk->set) == SET_PACK) return next_packed(walk, member);
    const void *element = element_next(&walk->elements);
    if (element == NULL) return false;
    *member = element_member(element);
    return true;
}

typedef struct ScanTarget {
    SetVisit visit;
    void *context;
} ScanTarget;

static void scan_element(void *element, void *context)
{
    const ScanTarget *target = context;
    target->visit(element_member(element), target->context);
}

uint64_t set_scan(const Set *set, uint64_t cursor, SetVisit visit, void *context)
{
    if (kind_of(set) == SET_TABLE) {
        ScanTarget target = { visit, context };
        return table_scan(&as_table(set)->table, cursor, scan_element, &target);
    }
    SetWalk walk = set_walk(set);
    for (SetMember member; set_next(&walk, &member);)
        visit(member, context);
    return 0;
}

/* ---- as bytes ---- */

size_t set_encoded_bytes_about(const Set *set)
{
    switch (kind_of(set)) {
    case SET_INTS: return 1 + intset_encoded_bytes(as_ints(set));
    case SET_PACK: return 1 + pack_encoded_bytes_max(as_pack(set));
    default: return 1 + element_table_encoded_bytes(as_table(set));
    }
}

void set_encode(const Set *set, Image *image)
{
    image_put_varint(image, kind_of(set));
    switch (kind_of(set)) {
    case SET_INTS: intset_encode(as_ints(set), image); break;
    case SET_PACK: pack_encode(as_pack(set), image); break;
    default: element_table_encode(as_table(set), image); break;
    }
}

static Pack *decode_pack(Slice bytes)
{
    Pack *pack = pack_decode(&bytes, SET_PACK, 0);
    if (pack == NULL) return NULL;
    if (bytes.len == 0 && pack_is_unique(pack, 0)) return pack;
    pack_free(pack);
    return NULL;
}

Set *set_decode(Slice bytes)
{
    uint64_t kind;
    if (!image_get_varint(&bytes, &kind) || kind > SET_TABLE) return NULL;
    if (kind == SET_INTS) return (Set *)intset_decode(bytes, SET_INTS);
    if (kind == SET_PACK) return (Set *)decode_pack(bytes);
    return (Set *)element_table_decode(bytes, SET_TABLE, false);
}

ElementTable *set_elements(const Set *set)
{
    return kind_of(set) == SET_TABLE ? as_table(set) : NULL;
}

Set *set_new_big(void)
{
    return (Set *)element_table_new(SET_TABLE, false);
}
