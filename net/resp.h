/* resp.h: the request parser: RESP multibulk and inline commands, incremental. Pure: no state beyond what it is handed.
 * net/client.c calls it, and the fuzzer.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_NET_RESP_H
#define CKV_NET_RESP_H

#include <glib.h>

#include "base/slice.h"

#define RESP_INLINE_MAX    (64 * 1024)         /* an inline command or a head line without its newline yet, in bytes */
#define RESP_MULTIBULK_MAX (1024 * 1024)       /* arguments of one command */
#define RESP_BULK_MAX      (512 * 1024 * 1024) /* bytes of one argument */

typedef enum RespStatus {
    RESP_COMMAND,    /* a whole command (no arguments: one to be ignored) */
    RESP_INCOMPLETE, /* more bytes are needed */
    RESP_ERROR,      /* parser->error holds the text to answer; then the connection is closed */
} RespStatus;

/* An argument, counted from the command's first byte: the bytes may be moved between two calls. */
typedef struct RespArg {
    size_t offset, len;
} RespArg;

/* Where the parser stands in an incomplete command, so that a long one isn't read anew with each of its pieces. All
 * zeros: between commands. */
typedef struct RespParser {
    size_t offset;     /* bytes of the command taken in so far; after RESP_COMMAND: its length */
    int32_t arg_count; /* arguments of a multibulk; 0: its head hasn't been read */
    int32_t args_read; /* of these */
    int32_t bulk_len;  /* of the next argument, plus 1; 0: its head hasn't been read */
    char error[64];    /* after RESP_ERROR */
} RespParser;

/* Reads on in the command that starts at bytes[0]. After RESP_COMMAND `args` (RespArg) holds its arguments, and the
 * caller calls resp_next before the next command; while a command is incomplete `args` is the caller's to keep. An
 * inline command's quoted arguments are decoded in place, hence not const. */
RespStatus resp_parse(RespParser *parser, GArray *args, char *bytes, size_t len);

/* Readies the parser for another command. */
static inline void resp_next(RespParser *parser)
{
    parser->offset = 0;
    parser->arg_count = parser->args_read = parser->bulk_len = 0;
}

/* How long the command's bytes must be, at least, for the next call to get further; 0: not known. */
size_t resp_needs(const RespParser *parser);

/* ---- nearly every command ---- */

#define RESP_USUAL_ARGS 64 /* at most */

/* Digits of a usual number: behind its type there's room for as many, and for CR and LF, in any whole argument. */
#define RESP_USUAL_DIGITS 4

/* A head line with a short number as it should be: what is behind the line, or NULL: look closer. */
static inline char *resp_usual_head(char *at, const char *end, char type, uint32_t *value)
{
    if (end - at < RESP_USUAL_DIGITS + 3 || at[0] != type || at[1] == '0') return NULL;
    uint32_t number = 0;
#pragma GCC unroll 4
    for (int i = 1; i <= RESP_USUAL_DIGITS; i++) {
        uint32_t digit = (uint8_t)at[i] - (uint32_t)'0';
        if (digit > 9) return NULL;
        number = number * 10 + digit;
        if (at[i + 1] != '\r') continue;
        *value = number;
        return at + i + 3;
    }
    return NULL;
}

/* What resp_parse does with a command that is whole, and has few arguments and usual heads, without its state: *at
 * moves behind it, and `args` (room for RESP_USUAL_ARGS) are its arguments; returns how many. 0: nothing is changed but
 * what args holds, and resp_parse has to look. */
static inline uint32_t resp_parse_usual(char **at, const char *end, Slice *args)
{
    uint32_t count, len;
    char *here = resp_usual_head(*at, end, '*', &count);
    if (here == NULL || count > RESP_USUAL_ARGS) return 0;
    for (uint32_t i = 0; i < count; i++) {
        here = resp_usual_head(here, end, '$', &len);
        if (here == NULL || (size_t)(end - here) < len + 2) return 0;
        args[i] = (Slice){ here, len };
        here += len + 2;
    }
    *at = here;
    return count;
}

#endif
