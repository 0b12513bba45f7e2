/* entry.h: one key with its value: one allocation. The keyspace makes, moves and frees entries; others only read them.
 *
 * Layout: the 16-byte head below, then the deadline (only if the key expires), then the key's bytes, then (strings that
 * aren't integers) the value's bytes. So a 16-byte key with a 64-byte value is one block of 96 bytes.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_ENTRY_H
#define CKV_STORE_ENTRY_H

#include "base/number.h"
#include "base/slice.h"

typedef struct List List;
typedef struct Set Set;
typedef struct Hash Hash;
typedef struct Zset Zset;

/* The order is that of Redis' own type numbers. */
typedef enum ValueType { TYPE_STRING, TYPE_LIST, TYPE_SET, TYPE_ZSET, TYPE_HASH } ValueType;

/* How a string is held. EMBEDDED and RAW have the same layout here; they differ only in what OBJECT ENCODING says, as
 * Redis' clients see it: a fresh string of up to 44 bytes is "embstr", a longer or a modified one "raw". */
typedef enum StringEncoding { STRING_RAW, STRING_EMBEDDED, STRING_INT } StringEncoding;

typedef struct Deadline {
    int64_t at_ms; /* unix time at which the key is gone */
    uint32_t slot; /* where the wheel (expire.c) holds the entry: slot and index in the slot */
    uint32_t index;
} Deadline;

typedef struct Entry {
    uint32_t key_len;
    uint32_t lru : 24; /* seconds / ENTRY_LRU_SECONDS of the last access, modulo 2^24 */
    uint32_t type : 3;
    uint32_t encoding : 3; /* StringEncoding; 0 for other types, whose value says it itself */
    uint32_t expires : 1;  /* a Deadline follows the head */
    uint32_t large : 1;    /* its value has a record of its own in checkpoints: large.h */
    union {
        struct {
            uint32_t len; /* bytes in use */
            uint32_t cap; /* bytes there is room for */
        } str;
        int64_t number;
        List *list;
        Set *set;
        Hash *hash;
        Zset *zset;
        void *object;
    };
    char data[];
} Entry;

static inline Deadline *entry_deadline_block(const Entry *entry)
{
    return (Deadline *)(uintptr_t)entry->data;
}

/* Unix ms, or -1 if the key doesn't expire. */
static inline int64_t entry_deadline(const Entry *entry)
{
    return entry->expires ? entry_deadline_block(entry)->at_ms : -1;
}

static inline char *entry_key_bytes(const Entry *entry)
{
    return (char *)(uintptr_t)entry->data + (entry->expires ? sizeof(Deadline) : 0);
}

static inline Slice entry_key(const Entry *entry)
{
    return (Slice){ entry_key_bytes(entry), entry->key_len };
}

/* The bytes of a string that isn't an integer; writable by whoever got the entry from keyspace_write. */
static inline char *entry_string_bytes(const Entry *entry)
{
    return entry_key_bytes(entry) + entry->key_len;
}

/* A string's bytes. `digits` (NUMBER_INT_CHARS) takes those of an integer. */
static inline Slice entry_string(const Entry *entry, char *digits)
{
    if (entry->encoding == STRING_INT) return (Slice){ digits, number_format_int(digits, entry->number) };
    return (Slice){ entry_string_bytes(entry), entry->str.len };
}

static inline size_t entry_string_len(const Entry *entry)
{
    char digits[NUMBER_INT_CHARS];
    return entry->encoding == STRING_INT ? number_format_int(digits, entry->number) : entry->str.len;
}

#endif
