/* rdbformat.h: the bytes of Redis' RDB format that reader and writer share. store/rdb*.c only.
 *
 * A file is "REDIS", four digits of version, and then records: opcodes with their arguments, or a value's type with the
 * key and the value. Lengths have their form in the top two bits of the first byte: 6 bits, 14 bits, or four or eight
 * bytes behind it; or (SPECIAL) the number of an encoding of a string. Lengths are big endian, all else is little.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_RDBFORMAT_H
#define CKV_STORE_RDBFORMAT_H

#include "store/rdb.h"

#define RDB_MAGIC      "REDIS"
#define RDB_HEAD_BYTES 9 /* magic and version */

/* From this version on a file ends in a checksum. */
#define RDB_VERSION_CHECKSUM 5

/* The opcodes: from the first of them on, a byte isn't a value's type. */
#define RDB_OPS_FIRST 245
enum {
    RDB_OP_FUNCTION = 245,
    RDB_OP_FUNCTION_PRE_GA = 246,
    RDB_OP_MODULE_AUX = 247,
    RDB_OP_IDLE = 248,
    RDB_OP_FREQ = 249,
    RDB_OP_AUX = 250,
    RDB_OP_RESIZEDB = 251,
    RDB_OP_EXPIRE_MS = 252,
    RDB_OP_EXPIRE_SEC = 253,
    RDB_OP_SELECTDB = 254,
    RDB_OP_EOF = 255,
};

enum {
    RDB_STRING = 0,
    RDB_LIST = 1,
    RDB_SET = 2,
    RDB_ZSET = 3, /* scores as text */
    RDB_HASH = 4,
    RDB_ZSET_2 = 5, /* scores as doubles */
    RDB_MODULE = 6,
    RDB_MODULE_2 = 7,
    RDB_HASH_ZIPMAP = 9,
    RDB_LIST_ZIPLIST = 10,
    RDB_SET_INTSET = 11,
    RDB_ZSET_ZIPLIST = 12,
    RDB_HASH_ZIPLIST = 13,
    RDB_LIST_QUICKLIST = 14,
    RDB_STREAM = 15,
    RDB_HASH_LISTPACK = 16,
    RDB_ZSET_LISTPACK = 17,
    RDB_LIST_QUICKLIST_2 = 18,
    RDB_STREAM_2 = 19,
    RDB_SET_LISTPACK = 20,
    RDB_STREAM_3 = 21,
    RDB_TYPES,
};

/* The first byte of a length. */
enum {
    RDB_LENGTH_6 = 0x00,
    RDB_LENGTH_14 = 0x40,
    RDB_LENGTH_32 = 0x80,
    RDB_LENGTH_64 = 0x81,
    RDB_LENGTH_SPECIAL = 0xC0, /* the low six bits: */
    RDB_SPECIAL_INT8 = 0,
    RDB_SPECIAL_INT16 = 1,
    RDB_SPECIAL_INT32 = 2,
    RDB_SPECIAL_LZF = 3,
};

/* The length byte of a score as text that isn't one. */
enum { RDB_SCORE_NAN = 253, RDB_SCORE_INF = 254, RDB_SCORE_MINUS_INF = 255 };

/* A node of RDB_LIST_QUICKLIST_2. */
enum { RDB_NODE_PLAIN = 1, RDB_NODE_PACKED = 2 };

/* What a module's data are made of. */
enum { RDB_MODULE_EOF, RDB_MODULE_SINT, RDB_MODULE_UINT, RDB_MODULE_FLOAT, RDB_MODULE_DOUBLE, RDB_MODULE_STRING };

#define RDB_PAYLOAD_TAIL 10 /* version (two bytes) and checksum of a DUMP */

/* ---- the writer's parts, for rdbcheckpoint.c: a key with its deadline (-1: none), whose value follows: the number of
 * elements, and then these ---- */
void rdb_put_key(RdbWriter *writer, ValueType type, Slice key, int64_t deadline_ms);
void rdb_put_length(RdbWriter *writer, uint64_t length);
void rdb_put_string(RdbWriter *writer, Slice text);
void rdb_put_score(RdbWriter *writer, double score);
/* The value alone; whole. */
void rdb_put_value(RdbWriter *writer, const Entry *entry);

#endif
