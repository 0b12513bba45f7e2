/* number.h: numbers to text and back, exactly as Redis 3.2 writes and reads them. Anyone may call it; it keeps no
 * state.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_BASE_NUMBER_H
#define CKV_BASE_NUMBER_H

#include "base/slice.h"

/* Room that every formatter below needs at most; a long double near its maximum has 4933 digits before the point. */
#define NUMBER_INT_CHARS         21
#define NUMBER_DOUBLE_CHARS      128
#define NUMBER_LONG_DOUBLE_CHARS 5120

/* Reads a canonical decimal integer: no sign but a leading '-', no leading zero or blank, no "-0", within int64.
 * Only such text may be stored as an integer, since it must come back byte for byte. False: the text is something else.
 */
bool number_parse_int(Slice text, int64_t *value);

/* Reads a double as 3.2 does: strtod over the whole text, which a NUL ends; empty text is 0. Leading blanks, trailing
 * bytes, NaN and what is too big or too small for a double are refused; "inf", "+inf", "-inf", "1e3", "0x10" are taken.
 */
bool number_parse_double(Slice text, double *value);

/* The same in extended precision (INCRBYFLOAT, HINCRBYFLOAT). */
bool number_parse_long_double(Slice text, long double *value);

/* Writes the decimal form; returns its length. No NUL. `out` has NUMBER_INT_CHARS. */
size_t number_format_int(char *out, int64_t value);
size_t number_format_uint(char *out, uint64_t value);

/* Writes a double as 3.2 replies it (scores, distances): "inf", "-inf", else %.17g, integers without a fraction.
 * `out` has NUMBER_DOUBLE_CHARS; returns the length. */
size_t number_format_double(char *out, double value);

/* Writes %.17Lf with trailing zeros (and a bare point) trimmed: INCRBYFLOAT's form.
 * `out` has NUMBER_LONG_DOUBLE_CHARS; returns the length. */
size_t number_format_long_double(char *out, long double value);

/* "1.50K", "2.00M": INFO's *_human fields. `out` has NUMBER_DOUBLE_CHARS; NUL-terminated. */
void number_format_bytes(char *out, uint64_t bytes);

/* Digits of a value, for sizing a length header. */
unsigned number_digits(uint64_t value);

#endif
