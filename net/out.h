/* out.h: one client's replies on their way out, and the RESP encoders that fill them. Commands write here; net/client.c
 * sends.
 *
 * Design. A chain of blocks; small replies are formatted in place at the end of the last block, so a pipeline's replies
 * leave with one write. Blocks of the usual size come from a free list and go back when sent, so an idle client holds
 * none.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_NET_OUT_H
#define CKV_NET_OUT_H

#include "base/slice.h"

#define OUT_BLOCK_BYTES 16384 /* a usual block, its head included */

typedef struct OutBlock {
    struct OutBlock *next;
    uint32_t used;
    uint32_t room;
    char data[];
} OutBlock;

typedef struct Out {
    OutBlock *head, *tail;
    size_t sent;   /* bytes of head already written */
    size_t bytes;  /* waiting to be written: what output limits look at */
    bool muted;    /* replies are dropped: CLIENT REPLY OFF or SKIP, or a client that is being closed */
    bool catching; /* the first error that is answered is kept, too: */
    char *error;   /* its text (g_free it), or NULL */
} Out;

/* Appends raw bytes (already RESP). */
void out_write(Out *out, const void *bytes, size_t len);
/* `len` contiguous bytes to fill at the end; then out_commit says how many were used. NULL if muted. */
char *out_reserve_block(Out *out, size_t len); /* in a new block */
static inline char *out_reserve(Out *out, size_t len)
{
    OutBlock *tail = out->tail;
    if (tail == NULL || out->muted || tail->room - tail->used < len) return out_reserve_block(out, len);
    return tail->data + tail->used;
}
static inline void out_commit(Out *out, size_t len)
{
    out->tail->used += (uint32_t)len;
    out->bytes += len;
}
/* Drops `len` bytes from the front: they were sent. */
void out_consume(Out *out, size_t len);
void out_clear(Out *out);
/* The memory held, unused room included (CLIENT LIST's oll/omem), and the number of blocks. */
size_t out_memory(const Out *out);
size_t out_blocks(const Out *out);

/* The encoders. */
void reply_ok(Out *out);                       /* +OK */
void reply_status(Out *out, const char *text); /* +text */
/* -text; `text` starts with the code ("ERR syntax error"). CR and LF in it become blanks. */
void reply_error(Out *out, const char *text);
void reply_errorf(Out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
void reply_int(Out *out, int64_t value); /* :value */
void reply_nil(Out *out);                /* $-1 */
void reply_nil_array(Out *out);          /* *-1 */
void reply_bulk(Out *out, Slice text);   /* $len text */
void reply_bulk_cstring(Out *out, const char *text);
void reply_bulk_int(Out *out, int64_t value); /* a bulk of the decimal digits */
void reply_double(Out *out, double value);    /* a bulk in number_format_double's form */
void reply_array(Out *out, size_t elements);  /* *elements */
void reply_empty_array(Out *out);

/* An array whose length isn't known yet: begin, write the elements, then set. Between the two the client's `out` isn't
 * sent. The mark dies with _set. */
typedef struct OutMark {
    OutBlock *block;
} OutMark;
OutMark reply_array_begin(Out *out);
void reply_array_set(Out *out, OutMark mark, size_t elements);

#endif
