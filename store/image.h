/* image.h: a key with its value as bytes, and back: what checkpoint records hold. store/ only.
 *
 * Design. An image is: a byte { bits 0-2 ValueType, bit 3 expires, bit 4 form, bits 5-6 StringEncoding }, Entry.lru
 * (three bytes), the key's length (varint) and bytes, the deadline (8 bytes, unix ms, if it expires), then by form:
 * INLINE: the value (length as varint, bytes, see image_put_value); ELSEWHERE: the id (varint) and the number of
 * elements or bytes (varint) of a value that has records of its own. All integers are little endian; varints have seven
 * bits a byte, the low ones first, and no more bytes than they need.
 *
 * A string's value is its bytes, or for STRING_INT the integer in eight. A collection's is a byte that says how it is
 * held, and then packs and integer sets nearly as they lie in memory, anything else as its elements one after the
 * other: <type>_encode and <type>_decode of each type write and read it, so nothing is known about it here.
 * Decoding trusts nothing: it returns false for what no encoder could have written.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_IMAGE_H
#define CKV_STORE_IMAGE_H

#include <glib.h>

#include "store/entry.h"

/* A growing buffer: as a GByteArray, but appending small things is inlined. g_free takes the bytes. */
typedef struct Image {
    char *bytes;
    size_t len, cap;
} Image;

/* The memory that its bytes take. */
size_t image_bytes(const Image *image);

char *image_room_slow(Image *image, size_t len);
/* Room for `len` more bytes at the end; then add to image->len what was used. */
static inline char *image_room(Image *image, size_t len)
{
    return image->cap - image->len >= len ? image->bytes + image->len : image_room_slow(image, len);
}

/* A varint has no more bytes than this. */
#define IMAGE_VARINT_BYTES_MAX 10

/* Writes a varint where there's room for it, and returns its end. */
static inline char *image_write_varint(char *to, uint64_t value)
{
    for (; value > 0x7f; value >>= 7)
        *to++ = (char)(value | 0x80);
    *to++ = (char)value;
    return to;
}

static inline size_t image_varint_bytes(uint64_t value)
{
    return value <= 0x7f ? 1 : (size_t)(63 - __builtin_clzll(value)) / 7 + 1;
}

static inline void image_put_varint(Image *image, uint64_t value)
{
    char *to = image_room(image, IMAGE_VARINT_BYTES_MAX);
    image->len += (size_t)(image_write_varint(to, value) - to);
}

/* Without a length. */
static inline void image_put_bytes(Image *image, Slice bytes)
{
    if (bytes.len > 0) memcpy(image_room(image, bytes.len), bytes.ptr, bytes.len);
    image->len += bytes.len;
}

/* Varint length, bytes. */
static inline void image_put_slice(Image *image, Slice bytes)
{
    image_put_varint(image, bytes.len);
    image_put_bytes(image, bytes);
}

static inline void image_put_u64(Image *image, uint64_t value)
{
    memcpy(image_room(image, sizeof(value)), &value, sizeof(value));
    image->len += sizeof(value);
}

bool image_get_varint_slow(Slice *in, uint64_t *value);
/* Reading: moves `in` forward; false (and `in` anywhere) if there's less, or a varint with needless bytes. Slices point
 * into the input. */
static inline bool image_get_varint(Slice *in, uint64_t *value)
{
    if (in->len == 0 || *in->ptr < 0) return image_get_varint_slow(in, value);
    *value = (uint8_t)*in->ptr;
    *in = (Slice){ in->ptr + 1, in->len - 1 };
    return true;
}

static inline bool image_get_bytes(Slice *in, size_t len, Slice *bytes)
{
    if (len > in->len) return false;
    *bytes = (Slice){ in->ptr, len };
    *in = (Slice){ in->ptr + len, in->len - len };
    return true;
}

static inline bool image_get_slice(Slice *in, Slice *bytes)
{
    uint64_t len;
    return image_get_varint(in, &len) && image_get_bytes(in, len, bytes);
}

static inline bool image_get_u64(Slice *in, uint64_t *value)
{
    Slice bytes;
    if (!image_get_bytes(in, sizeof(*value), &bytes)) return false;
    memcpy(value, bytes.ptr, sizeof(*value));
    return true;
}

typedef enum ImageForm { IMAGE_INLINE, IMAGE_ELSEWHERE } ImageForm;

/* What stands in front of a value. */
typedef struct ImageHead {
    ValueType type;
    uint8_t encoding; /* of a string: StringEncoding */
    bool expires;
    ImageForm form;
    int64_t deadline_ms;
    uint32_t lru;
    Slice key;
    uint64_t id, count; /* ELSEWHERE */
} ImageHead;
void image_put_head(Image *image, const Entry *entry, ImageForm form, uint64_t id, uint64_t count);
bool image_get_head(Slice *in, ImageHead *head);

/* About how many bytes image_put_value will add, without walking the value. */
size_t image_value_bytes(const Entry *entry);
/* The entry's value, whatever its type and however it is held, behind its length: image_get_slice gets it back. */
void image_put_value(Image *image, const Entry *entry);

/* Whether these can be the bytes of a string that is held so. */
bool image_string_valid(StringEncoding encoding, Slice bytes);

/* A collection from its bytes (all of them), in the same in-memory form that it had; NULL: they're damaged. For strings
 * use the bytes as they are (a STRING_INT is 8 bytes). */
void *image_get_object(ValueType type, Slice bytes);

#endif
