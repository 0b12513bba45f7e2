/* hash.c: see hash.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/hash.h"

#include "base/options.h"

/* They stand in images as well: none may change. */
enum { HASH_PACK, HASH_TABLE };

/* A pack doesn't grow beyond this, whatever the options say: every change moves what lies behind it. */
#define PACK_BYTES_MAX (64 << 20)

static bool is_pack(const Hash *hash)
{
    return ((const Pack *)(const void *)hash)->kind == HASH_PACK;
}

/* The block as what it is. */
static Pack *as_pack(const Hash *hash)
{
    return (Pack *)(uintptr_t)hash;
}

static ElementTable *as_table(const Hash *hash)
{
    return (ElementTable *)(uintptr_t)hash;
}

Hash *hash_new(void)
{
    return (Hash *)pack_new_one_way(HASH_PACK);
}

void hash_free(Hash *hash)
{
    if (is_pack(hash))
        pack_free(as_pack(hash));
    else
        element_table_free(as_table(hash));
}

bool hash_free_some(Hash *hash, size_t work)
{
    if (!is_pack(hash)) return element_table_free_some(as_table(hash), work);
    pack_free(as_pack(hash));
    return false;
}

size_t hash_length(const Hash *hash)
{
    return is_pack(hash) ? pack_count(as_pack(hash)) / 2 : as_table(hash)->table.count;
}

size_t hash_bytes(const Hash *hash)
{
    return is_pack(hash) ? pack_bytes(as_pack(hash)) : element_table_bytes(as_table(hash));
}

const char *hash_encoding(const Hash *hash)
{
    return is_pack(hash) ? "ziplist" : "hashtable";
}

/* ---- looking up ---- */

static PackPos pack_field(const Pack *pack, Slice field)
{
    PackPos first = pack_first(pack);
    return first == 0 ? 0 : pack_find(pack, first, field, 1);
}

static PackValue text_value(Slice text)
{
    return (PackValue){ .text = text };
}

bool hash_get(const Hash *hash, Slice field, PackValue *value)
{
    if (is_pack(hash)) {
        const Pack *pack = as_pack(hash);
        PackPos pos = pack_field(pack, field);
        if (pos == 0) return false;
        *value = pack_get(pack, pack_next(pack, pos));
        return true;
    }
    void **slot = element_find(as_table(hash), table_hash(field), field);
    if (slot == NULL) return false;
    *value = text_value(element_value(*slot));
    return true;
}

bool hash_has(const Hash *hash, Slice field)
{
    if (is_pack(hash)) return pack_field(as_pack(hash), field) != 0;
    return element_find(as_table(hash), table_hash(field), field) != NULL;
}

uint32_t hash_get_many(const Hash *hash, const Slice *fields, size_t count, PackValue *values)
{
    uint32_t found = 0;
    if (is_pack(hash)) {
        for (size_t i = 0; i < count; i++)
            found |= (uint32_t)hash_get(hash, fields[i], &values[i]) << i;
        return found;
    }
    const void *elements[HASH_BATCH];
    element_find_many(as_table(hash), fields, count, elements);
    for (size_t i = 0; i < count; i++) {
        if (elements[i] == NULL) continue;
        values[i] = text_value(element_value(elements[i]));
        found |= 1U << i;
    }
    return found;
}

/* ---- changing ---- */

static void make_big(Hash **hash)
{
    ElementTable *elements = element_table_new(HASH_TABLE, true);
    Pack *pack = as_pack(*hash);
    char field_digits[NUMBER_INT_CHARS], value_digits[NUMBER_INT_CHARS];
    for (PackPos pos = pack_first(pack); pos != 0; pos = pack_next(pack, pos)) {
        Slice field = pack_text(pack, pos, field_digits);
        pos = pack_next(pack, pos);
        element_insert(elements, table_hash(field), field, pack_text(pack, pos, value_digits));
    }
    pack_free(pack);
    *hash = (Hash *)elements;
}

void hash_admit(Hash **hash, const Slice *texts, size_t count)
{
    if (!is_pack(*hash)) return;
    for (size_t i = 0; i < count; i++) {
        if (texts[i].len <= (size_t)options.hash_max_ziplist_value) continue;
        make_big(hash);
        return;
    }
}

static bool pack_set(Hash **hash, Slice field, Slice value)
{
    Pack *pack = as_pack(*hash);
    PackPos pos = pack_field(pack, field);
    if (pos != 0) {
        *hash = (Hash *)pack_replace(pack, pack_next(pack, pos), value);
        return false;
    }
    pack = pack_append(pack_append(pack, field), value);
    *hash = (Hash *)pack;
    if (pack_count(pack) / 2 > (size_t)options.hash_max_ziplist_entries) make_big(hash);
    return true;
}

bool hash_set(Hash **hash, Slice field, Slice value)
{
    if (is_pack(*hash)) {
        if (as_pack(*hash)->bytes + field.len + value.len <= PACK_BYTES_MAX) return pack_set(hash, field, value);
        make_big(hash);
    }
    ElementTable *elements = as_table(*hash);
    uint64_t key_hash = table_hash(field);
    void **slot = element_find(elements, key_hash, field);
    if (slot == NULL)
        element_insert(elements, key_hash, field, value);
    else
        element_set_value(elements, slot, value);
    return slot == NULL;
}

bool hash_remove(Hash **hash, Slice field)
{
    if (!is_pack(*hash)) return element_remove(as_table(*hash), field);
    PackPos pos = pack_field(as_pack(*hash), field);
    if (pos == 0) return false;
    *hash = (Hash *)pack_remove(as_pack(*hash), pos, 2);
    return true;
}

bool hash_paged(const Hash *hash, PagedValue *paged)
{
    if (is_pack(hash)) return false;
    *paged = (PagedValue){ &as_table(hash)->table, &as_table(hash)->pages, PAGE_ELEMENTS };
    return true;
}

/* ---- walking ---- */

/* Reads the pair whose field is at *pos and moves *pos to the next field. */
static HashPair pack_pair(const Pack *pack, PackPos *pos)
{
    PackPos value_pos = pack_next(pack, *pos);
    HashPair pair = { pack_get(pack, *pos), pack_get(pack, value_pos) };
    *pos = pack_next(pack, value_pos);
    return pair;
}

static HashPair element_pair(const void *element)
{
    return (HashPair){ text_value(element_key(element)), text_value(element_value(element)) };
}

HashWalk hash_walk(const Hash *hash)
{
    HashWalk walk = { .hash = hash };
    if (is_pack(hash))
        walk.pos = pack_first(as_pack(hash));
    else
        walk.elements = element_walk(as_table(hash));
    return walk;
}

bool hash_next(HashWalk *walk, HashPair *pair)
{
    if (is_pack(walk->hash)) {
        if (walk->pos == 0) return false;
        *pair = pack_pair(as_pack(walk->hash), &walk->pos);
        return true;
    }
    const void *element = element_next(&walk->elements);
    if (element == NULL) return false;
    *pair = element_pair(element);
    return true;
}

typedef struct ScanTarget {
    HashVisit visit;
    void *context;
} ScanTarget;

static void scan_element(void *element, void *context)
{
    const ScanTarget *target = context;
    target->visit(element_pair(element), target->context);
}

uint64_t hash_scan(const Hash *hash, uint64_t cursor, HashVisit visit, void *context)
{
    if (!is_pack(hash)) {
        ScanTarget target = { visit, context };
        return table_scan(&as_table(hash)->table, cursor, scan_element, &target);
    }
    for (PackPos pos = pack_first(as_pack(hash)); pos != 0;)
        visit(pack_pair(as_pack(hash), &pos), context);
    return 0;
}

/* ---- as bytes ---- */

size_t hash_encoded_bytes_about(const Hash *hash)
{
    return 1 + (is_pack(hash) ? pack_encoded_bytes_max(as_pack(hash)) : element_table_encoded_bytes(as_table(hash)));
}

void hash_encode(const Hash *hash, Image *image)
{
    image_put_varint(image, as_pack(hash)->kind);
    if (is_pack(hash))
        pack_encode(as_pack(hash), image);
    else
        element_table_encode(as_table(hash), image);
}

static Pack *decode_pack(Slice bytes)
{
    Pack *pack = pack_decode(&bytes, HASH_PACK, UINT32_MAX);
    if (pack == NULL) return NULL;
    if (bytes.len == 0 && pack_count(pack) % 2 == 0 && pack_is_unique(pack, 1)) return pack;
    pack_free(pack);
    return NULL;
}

Hash *hash_decode(Slice bytes)
{
    uint64_t kind;
    if (!image_get_varint(&bytes, &kind) || kind > HASH_TABLE) return NULL;
    if (kind == HASH_PACK) return (Hash *)decode_pack(bytes);
    return (Hash *)element_table_decode(bytes, HASH_TABLE, true);
}

ElementTable *hash_elements(const Hash *hash)
{
    return is_pack(hash) ? NULL : as_table(hash);
}

Hash *hash_new_big(void)
{
    return (Hash *)element_table_new(HASH_TABLE, true);
}
