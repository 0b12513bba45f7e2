/* image.h: a key with its value as bytes, and back: what checkpoint records hold. store/ only.
 *
 * Design. An image is: a byte { bits 0-2 ValueType, bit 3 expires, bits 4-6 form }, the key's length (varint) and
 * bytes, the deadline (8 bytes, unix ms, if it expires), then by form: INLINE: the value (length as varint, bytes, see
 * image_put_value); ELSEWHERE: the id (varint) and the number of elements or bytes (varint) of a value that has records
 * of its own. All integers are little endian; varints have seven bits a byte, the low ones first.
 *
 * A value is its in-memory form where that is position-independent (packs, integer sets, string bytes), else its
 * elements one after the other. Decoding trusts nothing: it returns false for what no encoder could have written.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_IMAGE_H
#define CKV_STORE_IMAGE_H

#include <glib.h>

#include "store/entry.h"

/* A growing buffer: as a GByteArray, but appending small things is inlined. The bytes are g_malloc'd. */
typedef struct Image {
    char *bytes;
    size_t len, cap;
} Image;

char *image_room_slow(Image *image, size_t len);
/* Room for `len` more bytes at the end; then add to image->len what was used. */
static inline char *image_room(Image *image, size_t len)
{
    return image->cap - image->len >= len ? image->bytes + image->len : image_room_slow(image, len);
}
void image_put_varint(Image *image, uint64_t value);
void image_put_bytes(Image *image, Slice bytes); /* without a length */
void image_put_slice(Image *image, Slice bytes); /* varint length, bytes */
void image_put_u64(Image *image, uint64_t value);

/* Reading: moves `in` forward; false (and `in` anywhere) if there's less. Slices point into the input. */
bool image_get_varint(Slice *in, uint64_t *value);
bool image_get_slice(Slice *in, Slice *bytes);
bool image_get_bytes(Slice *in, size_t len, Slice *bytes);
bool image_get_u64(Slice *in, uint64_t *value);

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
/* The entry's value, whatever its type and however it is held. */
void image_put_value(Image *image, const Entry *entry);

/* A collection from its bytes (all of them), in the same in-memory form that it had; NULL: they're damaged. For strings
 * use the bytes as they are (a STRING_INT is 8 bytes). */
void *image_get_object(ValueType type, Slice bytes);

#endif
