/* scan.c: see scan.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/scan.h"

#include "base/glob.h"

/* A sparse table is given up on after this many empty steps for each member asked for, as in Redis. */
#define STEPS_PER_MEMBER 10

static void reply_cursor(Out *out, uint64_t cursor)
{
    char digits[NUMBER_INT_CHARS];
    reply_array(out, 2);
    reply_bulk(out, (Slice){ digits, number_format_uint(digits, cursor) });
}

/* Reads a cursor as strtoul does, so that "" is 0, "-1" the highest, and a zero byte the end. */
static bool parse_cursor(Slice text, uint64_t *cursor)
{
    text.len = strnlen(text.ptr, text.len);
    bool negative = text.len > 1 && text.ptr[0] == '-';
    size_t i = negative || (text.len > 1 && text.ptr[0] == '+') ? 1 : 0;
    uint64_t value = 0;
    for (; i < text.len; i++) {
        unsigned digit = (unsigned char)text.ptr[i] - (unsigned)'0';
        if (digit > 9 || __builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, digit, &value))
            return false;
    }
    *cursor = negative ? -value : value;
    return true;
}

static bool refuse_syntax(Request *r)
{
    reply_error(r->out, ERROR_SYNTAX);
    return false;
}

bool scan_options(Request *r, int index, ScanOptions *options)
{
    *options = (ScanOptions){ .count = 10 };
    if (!parse_cursor(r->argv[index], &options->cursor)) {
        reply_error(r->out, "ERR invalid cursor");
        return false;
    }
    for (int i = index + 1; i < r->argc; i += 2) {
        bool has_value = i + 1 < r->argc;
        if (has_value && arg_is(r, i, "count")) {
            if (!arg_int(r, i + 1, &options->count, NULL)) return false;
            if (options->count < 1) return refuse_syntax(r);
        } else if (has_value && arg_is(r, i, "match")) {
            options->pattern = r->argv[i + 1];
            options->has_pattern = !slice_equal(options->pattern, SLICE("*"));
        } else {
            return refuse_syntax(r);
        }
    }
    return true;
}

bool scan_begin(Request *r, ValueType type, ScanOptions *options, Entry **entry)
{
    Request head = *r;
    head.argc = 3;
    if (!scan_options(&head, 2, options) || !key_read(r, r->argv[1], type, entry)) return false;
    if (*entry != NULL) return scan_options(r, 2, options);
    reply_cursor(r->out, 0);
    reply_empty_array(r->out);
    return false;
}

void scan_start(Scan *scan)
{
    scan->cursor = scan->options.cursor;
    scan->steps_left = (uint64_t)MIN(scan->options.count, INT64_MAX / STEPS_PER_MEMBER) * STEPS_PER_MEMBER;
    scan->visited = 0;
    scan->started = false;
    scan->found = g_array_new(FALSE, FALSE, sizeof(PackValue));
}

bool scan_more(Scan *scan)
{
    bool first = !scan->started;
    scan->started = true;
    return first || (scan->cursor != 0 && scan->visited < scan->options.count && scan->steps_left-- > 0);
}

void scan_found(Scan *scan, PackValue member, const PackValue *value)
{
    char digits[NUMBER_INT_CHARS];
    scan->visited++;
    if (scan->options.has_pattern && !glob_match(scan->options.pattern, pack_value_text(member, digits), false)) return;
    g_array_append_val(scan->found, member);
    if (value != NULL) g_array_append_vals(scan->found, value, 1);
}

void scan_reply(Scan *scan, Out *out)
{
    reply_cursor(out, scan->cursor);
    reply_array(out, scan->found->len);
    for (guint i = 0; i < scan->found->len; i++)
        reply_value(out, g_array_index(scan->found, PackValue, i));
    g_array_free(scan->found, TRUE);
}
