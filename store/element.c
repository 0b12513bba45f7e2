/* element.c: see element.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/element.h"

#include "base/prefetch.h"

/* A length of 64 bits takes ten bytes. */
#define VARINT_BYTES_MAX 10

/* A walk asks for buckets this far ahead, and for the elements of buckets half as far. */
#define WALK_AHEAD 8

static size_t varint_bytes(size_t value)
{
    size_t bytes = 1;
    for (; value > 0x7f; value >>= 7)
        bytes++;
    return bytes;
}

static char *varint_write(char *out, size_t value)
{
    for (; value > 0x7f; value >>= 7)
        *out++ = (char)(value | 0x80);
    *out++ = (char)value;
    return out;
}

/* The length at `in` and, behind it, that many bytes. */
static inline Slice varint_slice(const char *in)
{
    const uint8_t *bytes = (const uint8_t *)in;
    size_t len = *bytes & 0x7f;
    for (unsigned shift = 7; *bytes++ & 0x80; shift += 7) {
        g_assert(shift < 7 * VARINT_BYTES_MAX);
        len |= (size_t)(*bytes & 0x7f) << shift;
    }
    return (Slice){ (const char *)bytes, len };
}

Slice element_key(const void *element)
{
    return varint_slice(element);
}

Slice element_value(const void *element)
{
    Slice key = varint_slice(element);
    return varint_slice(key.ptr + key.len);
}

static uint64_t element_hash(const void *element)
{
    return table_hash(element_key(element));
}

static bool element_matches(const void *element, Slice key)
{
    return slice_equal(varint_slice(element), key);
}

ElementTable *element_table_new(unsigned kind, bool has_values)
{
    ElementTable *elements = g_new(ElementTable, 1);
    elements->kind = kind & PACK_KIND_MASK;
    elements->has_values = has_values;
    elements->bytes = 0;
    elements->pages = NULL;
    table_init(&elements->table, element_hash);
    return elements;
}

void element_table_free(ElementTable *elements)
{
    if (elements->pages != NULL) checkpoint_forget_map(elements->pages); /* which may have to save elements */
    ElementWalk walk = element_walk(elements);
    for (const void *element; (element = element_next(&walk)) != NULL;)
        g_free((void *)(uintptr_t)element);
    table_free(&elements->table);
    g_free(elements);
}

static void visit_free(void *element, void *context)
{
    (void)context;
    g_free(element);
}

bool element_table_free_some(ElementTable *elements, size_t buckets)
{
    size_t before = elements->table.count;
    bool left = table_free_some(&elements->table, buckets, visit_free, NULL);
    /* By their number, since looking at each would be most of the work. */
    if (before > 0)
        elements->bytes = (size_t)((double)elements->bytes / (double)before * (double)elements->table.count);
    if (!left) g_free(elements);
    return left;
}

size_t element_table_bytes(const ElementTable *elements)
{
    return sizeof(*elements) + elements->bytes + table_bytes(&elements->table);
}

void **element_find(const ElementTable *elements, uint64_t hash, Slice key)
{
    return table_find(&elements->table, hash, key, element_matches);
}

void element_find_many(const ElementTable *elements, const Slice *keys, size_t count, const void **found)
{
    g_assert(count <= ELEMENT_BATCH);
    uint64_t hash[ELEMENT_BATCH];
    const Bucket *bucket[ELEMENT_BATCH];
    for (size_t i = 0; i < count; i++) {
        hash[i] = table_hash(keys[i]);
        bucket[i] = table_prefetch(&elements->table, hash[i]);
    }
    for (size_t i = 0; i < count; i++)
        table_prefetch_element(bucket[i], hash[i]);
    for (size_t i = 0; i < count; i++) {
        void **slot = element_find(elements, hash[i], keys[i]);
        found[i] = slot == NULL ? NULL : *slot;
    }
}

static size_t slice_bytes(Slice slice)
{
    return varint_bytes(slice.len) + slice.len;
}

static char *write_slice(char *out, Slice slice)
{
    out = varint_write(out, slice.len);
    if (slice.len > 0) memcpy(out, slice.ptr, slice.len);
    return out + slice.len;
}

void element_insert(ElementTable *elements, uint64_t hash, Slice key, Slice value)
{
    pages_touch(elements->pages, hash);
    size_t bytes = slice_bytes(key) + (elements->has_values ? slice_bytes(value) : 0);
    char *element = g_malloc(bytes), *end = write_slice(element, key);
    if (elements->has_values) end = write_slice(end, value);
    g_assert(end == element + bytes);
    elements->bytes += bytes;
    table_insert(&elements->table, hash, element);
}

void element_set_value(ElementTable *elements, void **slot, Slice value)
{
    if (elements->pages != NULL) pages_touch(elements->pages, element_hash(*slot));
    size_t key_bytes = slice_bytes(element_key(*slot)), old_bytes = slice_bytes(element_value(*slot));
    size_t bytes = slice_bytes(value);
    if (bytes != old_bytes) {
        elements->bytes += bytes - old_bytes;
        *slot = g_realloc(*slot, key_bytes + bytes);
    }
    write_slice((char *)*slot + key_bytes, value);
}

bool element_remove(ElementTable *elements, Slice key)
{
    uint64_t hash = table_hash(key);
    void **slot = element_find(elements, hash, key);
    if (slot == NULL) return false;
    pages_touch(elements->pages, hash);
    void *element = *slot;
    elements->bytes -= slice_bytes(key) + (elements->has_values ? slice_bytes(element_value(element)) : 0);
    table_remove(&elements->table, hash, slot);
    g_free(element);
    return true;
}

static void walk_enter(ElementWalk *walk)
{
    walk->bucket = table_bucket(walk->table, walk->index);
    walk->slot = 0;
    if (walk->index + WALK_AHEAD >= walk->table->buckets) return;
    prefetch(table_bucket(walk->table, walk->index + WALK_AHEAD));
    const Bucket *near = table_bucket(walk->table, walk->index + WALK_AHEAD / 2);
    for (unsigned i = 0; i < TABLE_SLOTS; i++)
        prefetch(near->slot[i]);
}

ElementWalk element_walk(const ElementTable *elements)
{
    ElementWalk walk = { .table = &elements->table };
    walk_enter(&walk);
    return walk;
}

const void *element_next(ElementWalk *walk)
{
    for (;;) {
        for (; walk->slot < TABLE_SLOTS; walk->slot++) {
            if (walk->bucket->tag[walk->slot] != 0) return walk->bucket->slot[walk->slot++];
        }
        if (walk->bucket->chained) {
            walk->bucket = walk->bucket->slot[TABLE_SLOTS - 1];
            walk->slot = 0;
            continue;
        }
        if (walk->index + 1 >= walk->table->buckets) return NULL;
        walk->index++;
        walk_enter(walk);
    }
}

/* ---- as bytes ---- */

Slice element_block(const void *element, bool has_value)
{
    Slice last = varint_slice(element);
    if (has_value) last = varint_slice(last.ptr + last.len);
    return (Slice){ element, (size_t)(last.ptr + last.len - (const char *)element) };
}

void element_encode(const void *element, bool has_value, Image *image)
{
    image_put_bytes(image, element_block(element, has_value));
}

bool element_decode(ElementTable *elements, Slice *in, uint64_t *hash)
{
    Slice key, value = SLICE("");
    if (!image_get_slice(in, &key) || (elements->has_values && !image_get_slice(in, &value))) return false;
    *hash = table_hash(key);
    if (element_find(elements, *hash, key) != NULL) return false;
    element_insert(elements, *hash, key, value);
    return true;
}

size_t element_table_encoded_bytes(const ElementTable *elements)
{
    return image_varint_bytes(elements->table.count) + elements->bytes;
}

void element_table_encode(const ElementTable *elements, Image *image)
{
    image_put_varint(image, elements->table.count);
    ElementWalk walk = element_walk(elements);
    for (const void *element; (element = element_next(&walk)) != NULL;)
        element_encode(element, elements->has_values, image);
}

ElementTable *element_table_decode(Slice bytes, uint8_t kind, bool has_values)
{
    uint64_t count, hash;
    if (!image_get_varint(&bytes, &count) || count == 0) return NULL;
    ElementTable *elements = element_table_new(kind, has_values);
    while (count > 0 && element_decode(elements, &bytes, &hash))
        count--;
    if (count == 0 && bytes.len == 0) return elements;
    element_table_free(elements);
    return NULL;
}
