/* rdbinput.c: see rdbinput.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/rdbinput.h"

#include <errno.h>
#include <liblzf/lzf.h>

#include "store/crc64.h"
#include "store/rdbformat.h"

#define BUFFER_BYTES (64UL << 10) /* its usual size */

/* LZF makes at most 264 bytes of three: what promises more is damaged, and isn't given the memory. */
#define LZF_GROWTH_MAX 88

void rdb_input_init(RdbInput *input, const RdbSource *source)
{
    *input = (RdbInput){ .source = source, .buffer = g_malloc(BUFFER_BYTES), .cap = BUFFER_BYTES };
}

void rdb_input_init_memory(RdbInput *input, Slice bytes)
{
    *input = (RdbInput){ .buffer = (char *)(uintptr_t)bytes.ptr, .end = bytes.len, .ended = true };
}

void rdb_input_clear(RdbInput *input)
{
    if (input->source != NULL) g_free(input->buffer);
}

static void sum_up_to(RdbInput *input, size_t at)
{
    g_assert(input->summed <= at);
    input->crc = crc64(input->crc, (Slice){ input->buffer + input->summed, at - input->summed });
    input->summed = at;
}

uint64_t rdb_input_crc(RdbInput *input, size_t but)
{
    sum_up_to(input, input->at - but);
    return input->crc;
}

/* Moves what isn't used up to the buffer's beginning, and gives back a buffer that a long unit made large. */
static void compact(RdbInput *input)
{
    sum_up_to(input, input->start);
    size_t left = input->end - input->start;
    memmove(input->buffer, input->buffer + input->start, left);
    input->offset += input->start;
    input->end = left;
    input->start = input->at = input->summed = 0;
    if (input->cap <= BUFFER_BYTES || left + input->lacks > BUFFER_BYTES) return;
    input->cap = BUFFER_BYTES;
    input->buffer = g_realloc(input->buffer, input->cap);
}

RdbFill rdb_input_fill(RdbInput *input)
{
    if (input->ended) return RDB_FILL_END;
    if (input->start > 0) compact(input);
    if (input->end == input->cap) {
        input->cap *= 2;
        input->buffer = g_realloc(input->buffer, input->cap);
    }
    ssize_t got = input->source->read(input->source->context, input->buffer + input->end, input->cap - input->end);
    if (got < 0 && errno == EINTR) return RDB_FILLED; /* the caller sees that it still lacks something */
    if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK ? RDB_FILL_WAIT : RDB_FILL_ERROR;
    input->ended = got == 0;
    if (input->ended) return RDB_FILL_END;
    input->end += (size_t)got;
    input->lacks -= MIN(input->lacks, (size_t)got);
    return RDB_FILLED;
}

/* ---- the pieces ---- */

static bool is_wrong(RdbInput *input, const char *why)
{
    input->wrong = why;
    return false;
}

bool rdb_get_bytes(RdbInput *input, size_t len, Slice *bytes)
{
    size_t there = input->end - input->at;
    if (there < len) {
        input->lacks = len - there;
        return false;
    }
    *bytes = (Slice){ input->buffer + input->at, len };
    input->at += len;
    return true;
}

bool rdb_get_byte(RdbInput *input, uint8_t *byte)
{
    Slice bytes;
    if (!rdb_get_bytes(input, 1, &bytes)) return false;
    *byte = (uint8_t)*bytes.ptr;
    return true;
}

bool rdb_get_little(RdbInput *input, unsigned len, uint64_t *value)
{
    Slice bytes;
    if (!rdb_get_bytes(input, len, &bytes)) return false;
    *value = 0;
    memcpy(value, bytes.ptr, len);
    return true;
}

/* Behind the first byte of a length. */
static bool get_big(RdbInput *input, unsigned len, uint64_t *value)
{
    Slice bytes;
    if (!rdb_get_bytes(input, len, &bytes)) return false;
    *value = 0;
    for (unsigned i = 0; i < len; i++)
        *value = *value << 8 | (uint8_t)bytes.ptr[i];
    return true;
}

/* *special: it's the number of an encoding. */
static bool get_length(RdbInput *input, uint64_t *length, bool *special)
{
    uint8_t first;
    if (!rdb_get_byte(input, &first)) return false;
    *special = first >= RDB_LENGTH_SPECIAL;
    *length = first & 0x3f;
    if (*special || first < RDB_LENGTH_14) return true;
    if (first == RDB_LENGTH_32) return get_big(input, 4, length);
    if (first == RDB_LENGTH_64) return get_big(input, 8, length);
    if (first >= RDB_LENGTH_32) return is_wrong(input, "a length of an unknown form");
    uint8_t second;
    if (!rdb_get_byte(input, &second)) return false;
    *length = *length << 8 | second;
    return true;
}

bool rdb_get_length(RdbInput *input, uint64_t *length)
{
    bool special;
    if (!get_length(input, length, &special)) return false;
    return !special || is_wrong(input, "an encoding where a length should be");
}

static bool too_long(RdbInput *input, size_t max)
{
    return is_wrong(input, max == KEYSPACE_STRING_MAX ? "a string of more than the 32 MB that there may be"
                                                      : "a string of more than 512 MB");
}

static bool get_packed(RdbInput *input, size_t max, RdbString *string)
{
    uint64_t len, packed;
    if (!rdb_get_length(input, &len) || !rdb_get_length(input, &packed)) return false;
    if (len > RDB_BYTES_MAX || packed > max) return too_long(input, max);
    if (packed == 0 || packed / LZF_GROWTH_MAX > len)
        return is_wrong(input, "compressed bytes that can't be as many as they say");
    string->packed = packed;
    return rdb_get_bytes(input, len, &string->bytes);
}

static bool get_int(RdbInput *input, unsigned len, RdbString *string)
{
    uint64_t value;
    if (!rdb_get_little(input, len, &value)) return false;
    unsigned unused = 64 - 8 * len;
    string->number = (int64_t)(value << unused) >> unused;
    return true;
}

bool rdb_get_string(RdbInput *input, size_t max, RdbString *string)
{
    uint64_t len;
    bool special;
    *string = (RdbString){ .packed = 0 };
    if (!get_length(input, &len, &special)) return false;
    if (!special) {
        if (len > max) return too_long(input, max);
        return rdb_get_bytes(input, len, &string->bytes);
    }
    switch (len) {
    case RDB_SPECIAL_INT8: return get_int(input, 1, string);
    case RDB_SPECIAL_INT16: return get_int(input, 2, string);
    case RDB_SPECIAL_INT32: return get_int(input, 4, string);
    case RDB_SPECIAL_LZF: return get_packed(input, max, string);
    default: return is_wrong(input, "a string of an unknown encoding");
    }
}

/* Room for one text, as much as it takes now if it was much more before. */
static char *room_for(RdbRoom *room, size_t len)
{
    if (len <= room->cap && room->cap <= BUFFER_BYTES) return room->bytes;
    if (len > room->cap || len <= BUFFER_BYTES) {
        room->cap = MAX(len, BUFFER_BYTES);
        g_free(room->bytes);
        room->bytes = g_malloc(room->cap);
    }
    return room->bytes;
}

bool rdb_string_text(const RdbString *string, RdbRoom *room, Slice *text)
{
    *text = string->bytes;
    if (string->bytes.ptr == NULL) {
        *text = (Slice){ room->digits, number_format_int(room->digits, string->number) };
    } else if (string->packed != 0) {
        char *to = room_for(room, string->packed);
        unsigned len = lzf_decompress(string->bytes.ptr, (unsigned)string->bytes.len, to, (unsigned)string->packed);
        *text = (Slice){ to, string->packed };
        return len == string->packed;
    }
    return true;
}
