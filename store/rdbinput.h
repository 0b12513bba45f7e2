/* rdbinput.h: the bytes of an RDB file on their way in: a buffer that is read again from where the last whole unit
 * ended. rdbread.c's lower half.
 *
 * Design. The reader takes a unit (an opcode, a key, an element) from the buffer piece by piece. If a piece isn't there
 * yet, the unit is given up, the input says how much it lacks, and the unit is tried again from its start once that is
 * there: so no unit has to remember where it was, and reading never blocks. The buffer grows only as bytes come, never
 * because a length says so.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_RDBINPUT_H
#define CKV_STORE_RDBINPUT_H

#include "store/pack.h"
#include "store/rdb.h"

/* The longest string that Redis 3.2 to 7.0 has by default, and that a client could send here. */
#define RDB_BYTES_MAX (512UL << 20)

typedef struct RdbInput {
    const RdbSource *source; /* NULL: there's only what is in the buffer, which is borrowed */
    char *buffer;
    size_t start, at, end, cap; /* what is used up is before `start`; the unit being taken is at `at` */
    size_t lacks;               /* bytes behind `end` that the unit needs; 0: none */
    uint64_t offset;            /* of the buffer's first byte in the file */
    size_t summed;              /* up to where in the buffer the checksum is */
    uint64_t crc;
    bool ended;        /* the source has no more */
    const char *wrong; /* the unit can't be right: why */
} RdbInput;

void rdb_input_init(RdbInput *input, const RdbSource *source);
/* For a payload in memory, which is borrowed. */
void rdb_input_init_memory(RdbInput *input, Slice bytes);
void rdb_input_clear(RdbInput *input);

typedef enum RdbFill { RDB_FILLED, RDB_FILL_WAIT, RDB_FILL_END, RDB_FILL_ERROR } RdbFill;
/* Reads once. What was taken moves: slices of it are void. ERROR: errno. */
RdbFill rdb_input_fill(RdbInput *input);

/* A unit begins; it's complete: its bytes are used up. */
static inline void rdb_input_begin(RdbInput *input)
{
    input->at = input->start;
    input->lacks = 0;
}
static inline void rdb_input_commit(RdbInput *input)
{
    input->start = input->at;
}

/* The checksum of all bytes but the last `but` before `at`: at the end of a unit that won't be tried again. */
uint64_t rdb_input_crc(RdbInput *input, size_t but);
/* Offset of `at` in the file. */
static inline uint64_t rdb_input_offset(const RdbInput *input)
{
    return input->offset + input->at;
}

/* ---- the pieces: false if there isn't enough (`lacks`), or it's wrong (`wrong`) ---- */

bool rdb_get_bytes(RdbInput *input, size_t len, Slice *bytes);
bool rdb_get_byte(RdbInput *input, uint8_t *byte);
bool rdb_get_little(RdbInput *input, unsigned bytes, uint64_t *value);
/* A length that is one, and no encoding of a string. */
bool rdb_get_length(RdbInput *input, uint64_t *length);

/* A string as it stands there. */
typedef struct RdbString {
    Slice bytes;   /* in the buffer; ptr NULL: an integer */
    size_t packed; /* not 0: it's compressed, and this is the length of the text */
    int64_t number;
} RdbString;
/* Of at most `max` bytes, KEYSPACE_STRING_MAX or RDB_BYTES_MAX. */
bool rdb_get_string(RdbInput *input, size_t max, RdbString *string);

typedef struct RdbRoom {
    char *bytes;
    size_t cap;
    char digits[NUMBER_INT_CHARS];
} RdbRoom;
/* Its text: in the buffer, or unpacked into `room` (begin with an empty one), good until either changes. False: the
 * compressed bytes are damaged. */
bool rdb_string_text(const RdbString *string, RdbRoom *room, Slice *text);

#endif
