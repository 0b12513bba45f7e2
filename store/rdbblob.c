/* rdbblob.c: see rdbblob.h. Each kind's form stands above its functions.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/rdbblob.h"

#include <glib.h>

#define COUNT_UNKNOWN 0xFFFF /* of a ziplist and a listpack with that many elements or more */
#define END_BYTE      0xFF   /* behind the last element of a ziplist, listpack or zipmap */

static const uint8_t *bytes_at(const RdbBlob *blob, size_t at)
{
    return (const uint8_t *)blob->bytes.ptr + at;
}

/* Whether so many bytes are there from `at` on, with the end byte, if there's one, behind them. */
static bool has(const RdbBlob *blob, size_t at, uint64_t len)
{
    return at <= blob->bytes.len && len <= blob->bytes.len - at;
}

static uint64_t read_little(const uint8_t *from, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)from[i] << (8 * i);
    return value;
}

/* Of 1 to 8 bytes, two's complement. */
static int64_t read_signed(const uint8_t *from, unsigned bytes)
{
    unsigned unused = 64 - 8 * bytes;
    return (int64_t)(read_little(from, bytes) << unused) >> unused;
}

static uint32_t read_big32(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

/* A string of `len` bytes, `head` bytes behind `at`. */
static bool take_string(const RdbBlob *blob, size_t at, size_t head, uint64_t len, PackValue *value)
{
    value->text = (Slice){ (const char *)bytes_at(blob, at) + head, len };
    return has(blob, at, head) && has(blob, at + head, len);
}

static bool take_int(const RdbBlob *blob, size_t at, size_t head, unsigned len, PackValue *value)
{
    value->text = (Slice){ NULL, 0 };
    if (!has(blob, at, head + len)) return false;
    value->number = read_signed(bytes_at(blob, at) + head, len);
    return true;
}

/* ---- ziplist: bytes (4), offset of the last element (4), count (2), elements, end byte. An element: the size of the
 * one before (1 byte, or 254 and 4), its own encoding and content ---- */

#define ZIPLIST_HEAD    10
#define ZIPLIST_BIG_LEN 254

static bool ziplist_open(RdbBlob *blob)
{
    if (blob->bytes.len <= ZIPLIST_HEAD) return false;
    uint64_t count = read_little(bytes_at(blob, 8), 2);
    blob->promised = count == COUNT_UNKNOWN ? UINT64_MAX : count;
    blob->tail = read_little(bytes_at(blob, 4), 4);
    blob->at = blob->last = ZIPLIST_HEAD;
    return read_little(bytes_at(blob, 0), 4) == blob->bytes.len && *bytes_at(blob, blob->bytes.len - 1) == END_BYTE;
}

/* The size of the element before, which must be right; returns its own bytes, 0: it isn't. */
static size_t ziplist_before(const RdbBlob *blob)
{
    uint64_t before = *bytes_at(blob, blob->at);
    size_t bytes = 1;
    if (before == ZIPLIST_BIG_LEN) {
        bytes = 5;
        if (!has(blob, blob->at, bytes)) return 0;
        before = read_little(bytes_at(blob, blob->at + 1), 4);
    }
    return before == blob->at - blob->last ? bytes : 0;
}

/* The integers' encoding bytes, with how many bytes follow. */
static bool ziplist_int(const RdbBlob *blob, size_t at, uint8_t encoding, unsigned *len, PackValue *value)
{
    static const struct {
        uint8_t encoding, len;
    } ints[] = { { 0xC0, 2 }, { 0xD0, 4 }, { 0xE0, 8 }, { 0xF0, 3 }, { 0xFE, 1 } };
    for (size_t i = 0; i < G_N_ELEMENTS(ints); i++) {
        if (ints[i].encoding != encoding) continue;
        *len = ints[i].len;
        return take_int(blob, at, 1, *len, value);
    }
    if (encoding < 0xF1 || encoding > 0xFD) return false;
    *len = 0;
    *value = (PackValue){ { NULL, 0 }, (encoding & 0x0F) - 1 }; /* 0 to 12, in the byte itself */
    return true;
}

/* An element without the size before; its bytes, 0: it's malformed. */
static size_t ziplist_content(const RdbBlob *blob, size_t at, PackValue *value)
{
    if (!has(blob, at, 1)) return 0;
    uint8_t first = *bytes_at(blob, at);
    unsigned len;
    if (first >= 0xC0) return ziplist_int(blob, at, first, &len, value) ? 1 + len : 0;
    size_t head = first >> 6 == 0 ? 1 : first >> 6 == 1 ? 2 : 5;
    if (!has(blob, at, head)) return 0;
    uint64_t bytes = head == 1   ? first & 0x3FU
                     : head == 2 ? (first & 0x3FU) << 8 | *bytes_at(blob, at + 1)
                                 : read_big32(bytes_at(blob, at + 1));
    return take_string(blob, at, head, bytes, value) ? head + bytes : 0;
}

static size_t ziplist_element(RdbBlob *blob, PackValue *value)
{
    size_t before = ziplist_before(blob);
    size_t content = before == 0 ? 0 : ziplist_content(blob, blob->at + before, value);
    if (content == 0) return 0;
    blob->last = blob->at;
    return before + content;
}

/* ---- listpack: bytes (4), count (2), elements, end byte. An element: encoding, content, and how many bytes these
 * take, readable from behind ---- */

#define LISTPACK_HEAD 6

static bool listpack_open(RdbBlob *blob)
{
    if (blob->bytes.len <= LISTPACK_HEAD) return false;
    uint64_t count = read_little(bytes_at(blob, 4), 2);
    blob->promised = count == COUNT_UNKNOWN ? UINT64_MAX : count;
    blob->at = LISTPACK_HEAD;
    return read_little(bytes_at(blob, 0), 4) == blob->bytes.len && *bytes_at(blob, blob->bytes.len - 1) == END_BYTE;
}

/* Bytes of the size behind an element of `size` bytes, 0: it isn't there. Redis takes a byte more than it has to for
 * some sizes (16383, 2097151, 268435455). */
static size_t listpack_size(const RdbBlob *blob, size_t at, size_t size)
{
    size_t bytes = size < 128 ? 1 : size < 16383 ? 2 : size < 2097151 ? 3 : size < 268435455 ? 4 : 5;
    if (!has(blob, at, bytes)) return 0;
    const uint8_t *stored = bytes_at(blob, at);
    for (size_t i = bytes; i-- > 0; size >>= 7) {
        if (stored[i] != ((size & 127) | (i > 0 ? 128 : 0))) return 0;
    }
    return bytes;
}

/* Encodings 0xF1 to 0xF4: integers of so many bytes. */
static const uint8_t listpack_ints[] = { 2, 3, 4, 8 };

/* Encodings whose first byte has a part of the content; the bytes of both, 0: malformed. */
static size_t listpack_short(const RdbBlob *blob, uint8_t first, PackValue *value)
{
    *value = (PackValue){ { NULL, 0 }, first };
    if (first < 0x80) return 1;
    uint64_t len = first & 0x3FU;
    if (first < 0xC0) return take_string(blob, blob->at, 1, len, value) ? 1 + len : 0;
    if (!has(blob, blob->at, 2)) return 0;
    uint8_t second = *bytes_at(blob, blob->at + 1);
    len = (first & 0x0FU) << 8 | second;
    if (first >= 0xE0) return take_string(blob, blob->at, 2, len, value) ? 2 + len : 0;
    uint32_t bits = (first & 0x1FU) << 8 | second; /* 13 of them */
    value->number = (int32_t)(bits << 19) >> 19;
    return 2;
}

static size_t listpack_content(const RdbBlob *blob, PackValue *value)
{
    uint8_t first = *bytes_at(blob, blob->at);
    if (first < 0xF0) return listpack_short(blob, first, value);
    if (first == 0xF0) {
        if (!has(blob, blob->at, 5)) return 0;
        uint64_t len = read_little(bytes_at(blob, blob->at + 1), 4);
        return take_string(blob, blob->at, 5, len, value) ? 5 + len : 0;
    }
    size_t index = first - 0xF1U;
    if (index >= G_N_ELEMENTS(listpack_ints)) return 0;
    return take_int(blob, blob->at, 1, listpack_ints[index], value) ? 1U + listpack_ints[index] : 0;
}

static size_t listpack_element(RdbBlob *blob, PackValue *value)
{
    size_t content = listpack_content(blob, value);
    size_t size = content == 0 ? 0 : listpack_size(blob, blob->at + content, content);
    return size == 0 ? 0 : content + size;
}

/* ---- intset: bytes of an integer (4), count (4), integers ---- */

#define INTSET_HEAD 8

static bool intset_open(RdbBlob *blob)
{
    if (blob->bytes.len < INTSET_HEAD) return false;
    uint64_t width = read_little(bytes_at(blob, 0), 4);
    blob->promised = read_little(bytes_at(blob, 4), 4);
    blob->at = INTSET_HEAD;
    blob->width = (unsigned)width;
    return (width == 2 || width == 4 || width == 8) && blob->bytes.len == INTSET_HEAD + width * blob->promised;
}

static size_t intset_element(RdbBlob *blob, PackValue *value)
{
    return take_int(blob, blob->at, 0, blob->width, value) ? blob->width : 0;
}

/* ---- zipmap (before Redis 2.6): number of pairs (1), fields and values in turn, end byte. A field: its length (1
 * byte, or 254 and 4) and bytes. A value has a byte behind its length: how many unused bytes follow it ---- */

#define ZIPMAP_BIG_LEN 254

static bool zipmap_open(RdbBlob *blob)
{
    if (blob->bytes.len < 2) return false;
    uint64_t pairs = *bytes_at(blob, 0);
    blob->promised = pairs >= ZIPMAP_BIG_LEN ? UINT64_MAX : 2 * pairs;
    blob->at = 1;
    return *bytes_at(blob, blob->bytes.len - 1) == END_BYTE;
}

static size_t zipmap_element(RdbBlob *blob, PackValue *value)
{
    uint64_t len = *bytes_at(blob, blob->at);
    size_t head = 1, unused = 0;
    if (len > ZIPMAP_BIG_LEN) return 0;
    if (len == ZIPMAP_BIG_LEN) {
        head = 5;
        if (!has(blob, blob->at, head)) return 0;
        len = read_little(bytes_at(blob, blob->at + 1), 4);
    }
    if (blob->count % 2 == 1) { /* a value */
        if (!has(blob, blob->at + head, 1)) return 0;
        unused = *bytes_at(blob, blob->at + head);
        head++;
    }
    if (!take_string(blob, blob->at, head, len + unused, value)) return 0;
    value->text.len = len;
    return head + len + unused;
}

/* ---- all ---- */

static const struct {
    const char *name;
    size_t end_bytes; /* behind the elements */
    bool (*open)(RdbBlob *blob);
    size_t (*element)(RdbBlob *blob, PackValue *value); /* returns its bytes, 0: malformed */
} kinds[] = {
    [RDB_BLOB_ZIPLIST] = { "ziplist", 1, ziplist_open, ziplist_element },
    [RDB_BLOB_LISTPACK] = { "listpack", 1, listpack_open, listpack_element },
    [RDB_BLOB_INTSET] = { "intset", 0, intset_open, intset_element },
    [RDB_BLOB_ZIPMAP] = { "zipmap", 1, zipmap_open, zipmap_element },
};

const char *rdb_blob_name(RdbBlobKind kind)
{
    return kinds[kind].name;
}

/* The end byte is kept out of the elements' sight. */
bool rdb_blob_open(RdbBlob *blob, RdbBlobKind kind, Slice bytes)
{
    *blob = (RdbBlob){ .kind = kind, .bytes = bytes };
    if (!kinds[kind].open(blob)) return false;
    blob->bytes.len -= kinds[kind].end_bytes;
    return true;
}

RdbBlobNext rdb_blob_next(RdbBlob *blob, PackValue *value)
{
    if (blob->at == blob->bytes.len) {
        bool whole = blob->promised == UINT64_MAX || blob->promised == blob->count;
        if (blob->kind == RDB_BLOB_ZIPLIST) whole &= blob->tail == blob->last;
        return whole ? RDB_BLOB_END : RDB_BLOB_BAD;
    }
    size_t bytes = kinds[blob->kind].element(blob, value);
    if (bytes == 0 || !has(blob, blob->at, bytes)) return RDB_BLOB_BAD;
    blob->at += bytes;
    blob->count++;
    return RDB_BLOB_ELEMENT;
}
