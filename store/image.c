/* image.c: see image.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/image.h"

#include "store/hash.h"
#include "store/keyspace.h"
#include "store/list.h"
#include "store/mem.h"
#include "store/set.h"
#include "store/zset.h"

/* Integers are written as they lie in memory. */
G_STATIC_ASSERT(G_BYTE_ORDER == G_LITTLE_ENDIAN);

#define CAP_FIRST 256
/* A buffer from here on: the heap keeps a cache of what is smaller. */
#define BUFFER_BYTES_MIN (32UL << 10)

size_t image_bytes(const Image *image)
{
    return image->bytes == NULL ? 0 : mem_round(image->cap);
}

char *image_room_slow(Image *image, size_t len)
{
    g_assert(len <= SIZE_MAX / 4 && image->cap <= SIZE_MAX / 4);
    size_t cap = MAX(MAX(image->cap * 2, (size_t)CAP_FIRST), image->len + len);
    image->bytes = cap < BUFFER_BYTES_MIN ? g_realloc(image->bytes, cap) : mem_grow_buffer(image->bytes, cap);
    image->cap = cap;
    return image->bytes + image->len;
}

bool image_get_varint_slow(Slice *in, uint64_t *value)
{
    *value = 0;
    for (unsigned i = 0; i < IMAGE_VARINT_BYTES_MAX && i < in->len; i++) {
        uint8_t byte = (uint8_t)in->ptr[i];
        if (i == IMAGE_VARINT_BYTES_MAX - 1 && byte > 1) return false; /* 64 bits are full */
        *value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte & 0x80) continue;
        *in = (Slice){ in->ptr + i + 1, in->len - i - 1 };
        return byte != 0 || i == 0;
    }
    return false;
}

/* ---- the head ---- */

#define TYPE_MASK      7U
#define EXPIRES_BIT    8U
#define FORM_SHIFT     4
#define ENCODING_SHIFT 5
#define ENCODING_MASK  3U
#define LRU_SHIFT      8 /* in the first four bytes, which are one integer */

void image_put_head(Image *image, const Entry *entry, ImageForm form, uint64_t id, uint64_t count)
{
    Slice key = entry_key(entry);
    char *start = image_room(image, sizeof(uint32_t) + key.len + sizeof(int64_t) + 3UL * IMAGE_VARINT_BYTES_MAX);
    uint32_t first = entry->type | (entry->expires ? EXPIRES_BIT : 0) | (uint32_t)form << FORM_SHIFT |
                     (uint32_t)entry->encoding << ENCODING_SHIFT | (uint32_t)entry->lru << LRU_SHIFT;
    memcpy(start, &first, sizeof(first));
    char *to = image_write_varint(start + sizeof(first), key.len);
    memcpy(to, key.ptr, key.len);
    to += key.len;
    if (entry->expires) {
        int64_t deadline_ms = entry_deadline(entry);
        memcpy(to, &deadline_ms, sizeof(deadline_ms));
        to += sizeof(deadline_ms);
    }
    if (form == IMAGE_ELSEWHERE) to = image_write_varint(image_write_varint(to, id), count);
    image->len += (size_t)(to - start);
}

/* Takes the first four bytes apart. */
static bool first_valid(uint32_t first, ImageHead *head)
{
    unsigned type = first & TYPE_MASK, encoding = first >> ENCODING_SHIFT & ENCODING_MASK;
    if (type > TYPE_HASH || encoding > STRING_INT || (first >> (LRU_SHIFT - 1) & 1) != 0) return false;
    *head = (ImageHead){ .type = type,
                         .encoding = (uint8_t)encoding,
                         .expires = (first & EXPIRES_BIT) != 0,
                         .form = first >> FORM_SHIFT & 1,
                         .deadline_ms = -1,
                         .lru = first >> LRU_SHIFT };
    return type == TYPE_STRING || encoding == 0;
}

bool image_get_head(Slice *in, ImageHead *head)
{
    Slice bytes;
    uint32_t first;
    if (!image_get_bytes(in, sizeof(first), &bytes)) return false;
    memcpy(&first, bytes.ptr, sizeof(first));
    if (!first_valid(first, head) || !image_get_slice(in, &head->key) || head->key.len > UINT32_MAX) return false;
    uint64_t deadline_ms;
    if (head->expires) {
        if (!image_get_u64(in, &deadline_ms) || deadline_ms > INT64_MAX) return false;
        head->deadline_ms = (int64_t)deadline_ms;
    }
    if (head->form == IMAGE_INLINE) return true;
    return image_get_varint(in, &head->id) && image_get_varint(in, &head->count);
}

/* ---- collections ---- */

/* What each type says about itself; the casts are those of Entry's union. */
static size_t list_size(const void *object)
{
    return list_encoded_bytes_about(object);
}

static void list_put(const void *object, Image *image)
{
    list_encode(object, image);
}

static void *list_get_object(Slice bytes)
{
    return list_decode(bytes);
}

static size_t set_size(const void *object)
{
    return set_encoded_bytes_about(object);
}

static void set_put(const void *object, Image *image)
{
    set_encode(object, image);
}

static void *set_get_object(Slice bytes)
{
    return set_decode(bytes);
}

static size_t zset_size(const void *object)
{
    return zset_encoded_bytes_about(object);
}

static void zset_put(const void *object, Image *image)
{
    zset_encode(object, image);
}

static void *zset_get_object(Slice bytes)
{
    return zset_decode(bytes);
}

static size_t hash_size(const void *object)
{
    return hash_encoded_bytes_about(object);
}

static void hash_put(const void *object, Image *image)
{
    hash_encode(object, image);
}

static void *hash_get_object(Slice bytes)
{
    return hash_decode(bytes);
}

static const struct {
    size_t (*size)(const void *object); /* about */
    void (*put)(const void *object, Image *image);
    void *(*get)(Slice bytes);
} types[] = {
    [TYPE_LIST] = { list_size, list_put, list_get_object },
    [TYPE_SET] = { set_size, set_put, set_get_object },
    [TYPE_ZSET] = { zset_size, zset_put, zset_get_object },
    [TYPE_HASH] = { hash_size, hash_put, hash_get_object },
};

void *image_get_object(ValueType type, Slice bytes)
{
    g_assert(type > TYPE_STRING && type <= TYPE_HASH);
    return types[type].get(bytes);
}

/* ---- values ---- */

size_t image_value_bytes(const Entry *entry)
{
    size_t bytes = entry->type != TYPE_STRING      ? types[entry->type].size(entry->object)
                   : entry->encoding == STRING_INT ? sizeof(entry->number)
                                                   : entry->str.len;
    return image_varint_bytes(bytes) + bytes;
}

/* A collection, behind its length: how long that is, is a guess until the collection is there. */
static void put_object(Image *image, const Entry *entry)
{
    size_t about = types[entry->type].size(entry->object), place = image->len, guess = image_varint_bytes(about);
    image_room(image, 2 * IMAGE_VARINT_BYTES_MAX + about);
    image->len += guess;
    types[entry->type].put(entry->object, image);
    size_t bytes = image->len - place - guess, needed = image_varint_bytes(bytes);
    if (needed != guess) {
        image_room(image, IMAGE_VARINT_BYTES_MAX);
        memmove(image->bytes + place + needed, image->bytes + place + guess, bytes);
        image->len = place + needed + bytes;
    }
    image_write_varint(image->bytes + place, bytes);
}

void image_put_value(Image *image, const Entry *entry)
{
    if (entry->type != TYPE_STRING) {
        put_object(image, entry);
    } else if (entry->encoding == STRING_INT) {
        image_put_slice(image, (Slice){ (const char *)&entry->number, sizeof(entry->number) });
    } else {
        image_put_slice(image, (Slice){ entry_string_bytes(entry), entry->str.len });
    }
}

bool image_string_valid(StringEncoding encoding, Slice bytes)
{
    return encoding == STRING_INT ? bytes.len == sizeof(int64_t) : bytes.len <= KEYSPACE_STRING_MAX;
}
