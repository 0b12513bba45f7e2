/* resp.c: see resp.h. The limits, the texts and the accidents are those of Redis 3.2.13, found by experiment: lines are
 * looked for only as far as the first zero byte, CR LF behind an argument isn't looked at, and the end of an inline
 * command takes two bytes even where it's a bare LF.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "net/resp.h"

#include <stdio.h>

#include "base/number.h"

static RespStatus fail(RespParser *parser, const char *what)
{
    snprintf(parser->error, sizeof(parser->error), "ERR Protocol error: %s", what);
    return RESP_ERROR;
}

/* The first `wanted` in the bytes, unless a zero byte comes before it; NULL if there's none. */
static char *find_before_zero(char *bytes, size_t len, char wanted)
{
    char *found = memchr(bytes, wanted, len);
    size_t before = found == NULL ? len : (size_t)(found - bytes);
    return memchr(bytes, '\0', before) != NULL ? NULL : found;
}

/* ---- inline commands ---- */

/* Decodes the escape after a backslash at `at`; returns the position behind it. */
static char *decode_escape(char *at, const char *end, char *decoded)
{
    if (at[0] == 'x' && end - at >= 3 && g_ascii_xdigit_value(at[1]) >= 0 && g_ascii_xdigit_value(at[2]) >= 0) {
        *decoded = (char)(g_ascii_xdigit_value(at[1]) * 16 + g_ascii_xdigit_value(at[2]));
        return at + 3;
    }
    switch (at[0]) {
    case 'n': *decoded = '\n'; break;
    case 'r': *decoded = '\r'; break;
    case 't': *decoded = '\t'; break;
    case 'b': *decoded = '\b'; break;
    case 'a': *decoded = '\a'; break;
    default: *decoded = at[0];
    }
    return at + 1;
}

static bool is_blank(char c)
{
    return g_ascii_isspace(c) || c == '\v';
}

/* Decodes what stands between quotes, from behind the opening one, to *to; returns the position behind the closing one,
 * or NULL if there's none or it isn't followed by a blank. */
static char *decode_quoted(char *at, const char *end, char quote, char **to)
{
    while (at < end && *at != quote) {
        if (*at == '\\' && quote == '"' && at + 1 < end) {
            at = decode_escape(at + 1, end, (*to)++);
        } else if (*at == '\\' && quote == '\'' && at + 1 < end && at[1] == '\'') {
            *(*to)++ = '\'';
            at += 2;
        } else {
            *(*to)++ = *at++;
        }
    }
    if (at == end || (at + 1 < end && !is_blank(at[1]))) return NULL;
    return at + 1;
}

/* Splits a line into arguments, of which empty ones are dropped (3.2.13 does); false: quotes don't match. */
static bool split_line(GArray *args, char *line, size_t len)
{
    char *at = line;
    const char *end = line + len;
    for (;;) {
        while (at < end && is_blank(*at))
            at++;
        if (at == end) return true;
        char *start = at, *to = at;
        while (at < end && *at != '\0' && strchr(" \n\r\t\"'", *at) == NULL)
            *to++ = *at++;
        if (at < end && (*at == '"' || *at == '\'')) {
            char quote = *at;
            at = decode_quoted(at + 1, end, quote, &to); /* the closing quote ends the argument */
        }
        if (at == NULL) return false;
        RespArg arg = { (size_t)(start - line), (size_t)(to - start) };
        if (arg.len > 0) g_array_append_val(args, arg);
    }
}

static RespStatus parse_inline(RespParser *parser, GArray *args, char *bytes, size_t len)
{
    char *newline = find_before_zero(bytes, len, '\n');
    if (newline == NULL) return len > RESP_INLINE_MAX ? fail(parser, "too big inline request") : RESP_INCOMPLETE;
    size_t line = (size_t)(newline - bytes);
    if (line > 0 && newline[-1] == '\r') line--;
    parser->offset = MIN(line + 2, len);
    g_array_set_size(args, 0);
    return split_line(args, bytes, line) ? RESP_COMMAND : fail(parser, "unbalanced quotes in request");
}

/* ---- multibulk commands ---- */

/* Arguments for which there's room as soon as they're announced. */
#define ARGS_AT_ONCE RESP_USUAL_ARGS

/* What a head line begins with, how large its number may be, and what is answered to a line without end and to another
 * number. */
typedef struct HeadKind {
    char type;
    int64_t min, max;
    const char *endless, *invalid;
} HeadKind;

static const HeadKind count_head = { '*', INT64_MIN, RESP_MULTIBULK_MAX, "too big mbulk count string",
                                     "invalid multibulk length" };
static const HeadKind bulk_head = { '$', 0, RESP_BULK_MAX, "too big bulk count string", "invalid bulk length" };

/* Reads the number in a head line ("*3" or "$5") that starts at parser->offset, and moves behind the line. */
static RespStatus parse_head(RespParser *parser, const HeadKind *kind, char *bytes, size_t len, int64_t *value)
{
    uint32_t usual;
    const char *behind = resp_usual_head(bytes + parser->offset, bytes + len, kind->type, &usual);
    if (behind != NULL) {
        parser->offset = (size_t)(behind - bytes);
        *value = usual;
        return RESP_COMMAND;
    }
    char *line = bytes + parser->offset;
    size_t left = len - parser->offset;
    char *end = find_before_zero(line, left, '\r');
    if (end == NULL) return left > RESP_INLINE_MAX ? fail(parser, kind->endless) : RESP_INCOMPLETE;
    size_t line_len = (size_t)(end - line);
    if (line_len + 2 > left) return RESP_INCOMPLETE;
    if (line[0] != kind->type) {
        snprintf(parser->error, sizeof(parser->error), "ERR Protocol error: expected '%c', got '%c'", kind->type,
                 line[0]);
        return RESP_ERROR;
    }
    parser->offset += line_len + 2;
    bool valid = number_parse_int((Slice){ line + 1, line_len - 1 }, value);
    return valid && *value >= kind->min && *value <= kind->max ? RESP_COMMAND : fail(parser, kind->invalid);
}

static RespStatus parse_argument(RespParser *parser, GArray *args, char *bytes, size_t len)
{
    if (parser->bulk_len == 0) {
        int64_t announced;
        RespStatus status = parse_head(parser, &bulk_head, bytes, len, &announced);
        if (status != RESP_COMMAND) return status;
        parser->bulk_len = (int32_t)announced + 1;
    }
    size_t bulk_len = (size_t)parser->bulk_len - 1;
    if (len - parser->offset < bulk_len + 2) return RESP_INCOMPLETE;
    if (parser->args_read == (int32_t)args->len) {
        /* Room for all, unless they're many: then it follows what has come. */
        g_array_set_size(args, (guint)MIN(parser->arg_count, MAX(parser->args_read * 2, ARGS_AT_ONCE)));
    }
    g_array_index(args, RespArg, parser->args_read++) = (RespArg){ parser->offset, bulk_len };
    parser->offset += bulk_len + 2;
    parser->bulk_len = 0;
    return RESP_COMMAND;
}

/* A command that is as nearly all are. Its length, or 0: look closer. */
static size_t parse_usual(GArray *args, char *bytes, size_t len)
{
    Slice usual[RESP_USUAL_ARGS];
    char *at = bytes;
    uint32_t count = resp_parse_usual(&at, bytes + len, usual);
    if (count == 0) return 0;
    if (args->len != count) g_array_set_size(args, count);
    RespArg *arg = (RespArg *)(void *)args->data;
    for (uint32_t i = 0; i < count; i++)
        arg[i] = (RespArg){ (size_t)(usual[i].ptr - bytes), usual[i].len };
    return (size_t)(at - bytes);
}

RespStatus resp_parse(RespParser *parser, GArray *args, char *bytes, size_t len)
{
    if (len == 0) return RESP_INCOMPLETE;
    if (bytes[0] != '*') return parse_inline(parser, args, bytes, len);
    if (parser->offset == 0) {
        size_t whole = parse_usual(args, bytes, len);
        if (whole > 0) {
            parser->offset = whole;
            return RESP_COMMAND;
        }
        int64_t count;
        RespStatus status = parse_head(parser, &count_head, bytes, len, &count);
        if (status != RESP_COMMAND) return status;
        parser->arg_count = (int32_t)MAX(count, 0);
        g_array_set_size(args, (guint)MIN(parser->arg_count, ARGS_AT_ONCE));
    }
    while (parser->args_read < parser->arg_count) {
        RespStatus status = parse_argument(parser, args, bytes, len);
        if (status != RESP_COMMAND) return status;
    }
    return RESP_COMMAND;
}

size_t resp_needs(const RespParser *parser)
{
    return parser->bulk_len == 0 ? 0 : parser->offset + (size_t)parser->bulk_len - 1 + 2;
}
