/* out.c: see out.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "net/out.h"

#include <glib.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/number.h"

#define USUAL_ROOM      (OUT_BLOCK_BYTES - sizeof(OutBlock))
#define FREE_BLOCKS_MAX 256 /* 4 MB kept for reuse */

/* What there is beyond so much stands in blocks that are huge pages each: three quarters of the time that a reply of
 * hundreds of MB takes are the kernel's otherwise, for a fault at each small page. */
#define LONG_FROM_BYTES  (8UL << 20)
#define LONG_BLOCK_BYTES (2UL << 20)
#define LONG_ROOM        (LONG_BLOCK_BYTES - sizeof(OutBlock))

static OutBlock *free_blocks;
static unsigned free_count;

/* ---- blocks ---- */

static OutBlock *block_new(size_t room)
{
    OutBlock *block;
    if (room == LONG_ROOM) {
        block = aligned_alloc(LONG_BLOCK_BYTES, LONG_BLOCK_BYTES);
        if (block == NULL) g_error("out of memory: can't allocate %lu bytes", LONG_BLOCK_BYTES);
        block->room = LONG_ROOM;
    } else if (room <= USUAL_ROOM && free_blocks != NULL) {
        block = free_blocks;
        free_blocks = block->next;
        free_count--;
    } else {
        room = MAX(room, USUAL_ROOM);
        block = g_malloc(sizeof(OutBlock) + room);
        block->room = (uint32_t)room;
    }
    block->next = NULL;
    block->used = 0;
    return block;
}

static void block_release(OutBlock *block)
{
    if (block->room != USUAL_ROOM || free_count >= FREE_BLOCKS_MAX) {
        g_free(block);
        return;
    }
    block->next = free_blocks;
    free_blocks = block;
    free_count++;
}

static void add_block(Out *out, OutBlock *block)
{
    if (out->tail == NULL) {
        out->head = block;
    } else {
        out->tail->next = block;
    }
    out->tail = block;
}

char *out_reserve_block(Out *out, size_t len)
{
    if (out->muted) return NULL;
    add_block(out, block_new(out->bytes >= LONG_FROM_BYTES && len <= LONG_ROOM ? LONG_ROOM : len));
    return out->tail->data;
}

void out_write(Out *out, const void *bytes, size_t len)
{
    if (out->muted) return;
    /* Fill the last block first, so that a big reply doesn't leave it half empty. */
    for (const char *from = bytes; len > 0;) {
        size_t room = out->tail == NULL ? 0 : out->tail->room - out->tail->used;
        if (room == 0) {
            out_reserve_block(out, out->bytes >= LONG_FROM_BYTES ? MIN(len, LONG_ROOM) : len);
            room = out->tail->room;
        }
        size_t piece = MIN(room, len);
        memcpy(out->tail->data + out->tail->used, from, piece);
        out_commit(out, piece);
        from += piece;
        len -= piece;
    }
}

void out_consume(Out *out, size_t len)
{
    g_assert(len <= out->bytes);
    out->bytes -= len;
    while (out->head != NULL && len >= out->head->used - out->sent) {
        OutBlock *block = out->head;
        len -= block->used - out->sent;
        out->sent = 0;
        out->head = block->next;
        block_release(block);
    }
    if (out->head == NULL) out->tail = NULL;
    out->sent += len;
}

void out_clear(Out *out)
{
    out_consume(out, out->bytes);
}

size_t out_memory(const Out *out)
{
    size_t bytes = 0;
    for (const OutBlock *b = out->head; b != NULL; b = b->next)
        bytes += sizeof(OutBlock) + b->room;
    return bytes;
}

size_t out_blocks(const Out *out)
{
    size_t count = 0;
    for (const OutBlock *b = out->head; b != NULL; b = b->next)
        count++;
    return count;
}

/* ---- encoders ---- */

/* Room for a type byte, a number and CR LF. */
#define HEAD_CHARS (NUMBER_INT_CHARS + 3)

static size_t format_head(char *at, char type, int64_t value)
{
    at[0] = type;
    size_t len = 1 + number_format_int(at + 1, value);
    at[len] = '\r';
    at[len + 1] = '\n';
    return len + 2;
}

static void reply_head(Out *out, char type, int64_t value)
{
    char *at = out_reserve(out, HEAD_CHARS);
    if (at != NULL) out_commit(out, format_head(at, type, value));
}

/* A whole reply of constant length, in one block. */
static inline __attribute__((always_inline)) void reply_literal(Out *out, const char *text, size_t len)
{
    char *at = out_reserve(out, len);
    if (at == NULL) return;
    memcpy(at, text, len);
    out_commit(out, len);
}

void reply_ok(Out *out)
{
    reply_literal(out, "+OK\r\n", 5);
}

void reply_status(Out *out, const char *text)
{
    size_t len = strlen(text);
    char *at = out_reserve(out, len + 3);
    if (at == NULL) return;
    at[0] = '+';
    memcpy(at + 1, text, len);
    memcpy(at + 1 + len, "\r\n", 2);
    out_commit(out, len + 3);
}

void reply_error(Out *out, const char *text)
{
    reply_errorf(out, "%s", text);
}

void reply_errorf(Out *out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_strdelimit(text, "\r\n", ' ');
    if (out->catching && out->error == NULL) out->error = g_strdup(text);
    out_write(out, "-", 1);
    out_write(out, text, strlen(text));
    out_write(out, "\r\n", 2);
}

void reply_int(Out *out, int64_t value)
{
    reply_head(out, ':', value);
}

void reply_nil(Out *out)
{
    reply_literal(out, "$-1\r\n", 5);
}

void reply_nil_array(Out *out)
{
    reply_literal(out, "*-1\r\n", 5);
}

/* A bulk up to this is written into one block in one go; a longer one may continue in the next. */
#define BULK_WHOLE_MAX 1024

void reply_bulk(Out *out, Slice text)
{
    if (text.len > BULK_WHOLE_MAX) {
        reply_head(out, '$', (int64_t)text.len);
        out_write(out, text.ptr, text.len);
        out_write(out, "\r\n", 2);
        return;
    }
    char *at = out_reserve(out, HEAD_CHARS + text.len + 2);
    if (at == NULL) return;
    size_t head = format_head(at, '$', (int64_t)text.len);
    memcpy(at + head, text.ptr, text.len);
    memcpy(at + head + text.len, "\r\n", 2);
    out_commit(out, head + text.len + 2);
}

void reply_bulk_cstring(Out *out, const char *text)
{
    reply_bulk(out, slice_of(text));
}

void reply_bulk_int(Out *out, int64_t value)
{
    char digits[NUMBER_INT_CHARS];
    reply_bulk(out, (Slice){ digits, number_format_int(digits, value) });
}

void reply_double(Out *out, double value)
{
    char digits[NUMBER_DOUBLE_CHARS];
    reply_bulk(out, (Slice){ digits, number_format_double(digits, value) });
}

void reply_array(Out *out, size_t elements)
{
    reply_head(out, '*', (int64_t)elements);
}

void reply_empty_array(Out *out)
{
    reply_array(out, 0);
}

OutMark reply_array_begin(Out *out)
{
    /* A block of its own keeps the place of the head, whose length isn't known; what follows goes to the next. */
    if (out->muted) return (OutMark){ NULL };
    OutMark mark = { g_malloc(sizeof(OutBlock) + HEAD_CHARS) };
    *mark.block = (OutBlock){ .room = 0 };
    add_block(out, mark.block);
    return mark;
}

void reply_array_set(Out *out, OutMark mark, size_t elements)
{
    if (mark.block == NULL) return;
    size_t len = format_head(mark.block->data, '*', (int64_t)elements);
    mark.block->used = mark.block->room = (uint32_t)len;
    out->bytes += len;
}
