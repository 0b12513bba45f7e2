/* ckj.c: see ckj.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/ckj.h"

#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define NAME_DIGITS   20
#define BATCH_FIELDS  32 /* bytes of a batch head but its checksum */
#define HEAD_FIELDS   56 /* of a segment head */
#define SEGMENT_MAGIC "CKVJ"
#define MAGIC_BYTES   4

static const char kind_magic[CKJ_KINDS][MAGIC_BYTES + 1] = {
    [CKJ_BATCH] = CKJ_MARK "B", [CKJ_FINISHED] = CKJ_MARK "F", [CKJ_CLOSED] = CKJ_MARK "C"
};

static void put_u32(uint8_t *to, uint32_t value)
{
    value = GUINT32_TO_LE(value);
    memcpy(to, &value, sizeof(value));
}

static void put_u64(uint8_t *to, uint64_t value)
{
    value = GUINT64_TO_LE(value);
    memcpy(to, &value, sizeof(value));
}

static uint32_t get_u32(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof(value));
    return GUINT32_FROM_LE(value);
}

static uint64_t get_u64(const uint8_t *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof(value));
    return GUINT64_FROM_LE(value);
}

/* ---- names ---- */

bool ckj_path(char *out, size_t size, const char *directory, uint64_t offset)
{
    int len = snprintf(out, size, "%s%s" JOURNAL_DIRECTORY "/%0*" G_GUINT64_FORMAT CKJ_SUFFIX,
                       directory != NULL ? directory : "", directory != NULL ? "/" : "", NAME_DIGITS, offset);
    return len > 0 && (size_t)len < size;
}

bool ckj_parse_name(const char *name, uint64_t *offset)
{
    if (strlen(name) != NAME_DIGITS + strlen(CKJ_SUFFIX) || strcmp(name + NAME_DIGITS, CKJ_SUFFIX) != 0) return false;
    if (strspn(name, "0123456789") != NAME_DIGITS) return false;
    char digits[NAME_DIGITS + 1];
    memcpy(digits, name, NAME_DIGITS);
    digits[NAME_DIGITS] = '\0';
    guint64 value;
    if (!g_ascii_string_to_unsigned(digits, 10, 0, G_MAXUINT64, &value, NULL)) return false;
    *offset = value;
    return true;
}

/* ---- heads ---- */

void ckj_put_head(uint8_t to[CKJ_HEAD_BYTES], uint64_t offset, const char *history)
{
    memcpy(to, SEGMENT_MAGIC, MAGIC_BYTES);
    put_u32(to + 4, CKJ_VERSION);
    put_u64(to + 8, offset);
    memcpy(to + 16, history, JOURNAL_ID_CHARS);
    put_u64(to + HEAD_FIELDS, XXH3_64bits(to, HEAD_FIELDS));
}

CkjHead ckj_get_head(const uint8_t *from, uint64_t *offset, char *history, uint32_t *version)
{
    *version = get_u32(from + 4);
    *offset = get_u64(from + 8);
    memcpy(history, from + 16, JOURNAL_ID_CHARS);
    history[JOURNAL_ID_CHARS] = '\0';
    if (memcmp(from, SEGMENT_MAGIC, MAGIC_BYTES) != 0) return CKJ_HEAD_DAMAGED;
    if (get_u64(from + HEAD_FIELDS) != XXH3_64bits(from, HEAD_FIELDS)) return CKJ_HEAD_DAMAGED;
    return *version == CKJ_VERSION ? CKJ_HEAD_GOOD : CKJ_HEAD_OTHER_VERSION;
}

/* The fields of a batch head are hashed as if they stood right in front of the payload, where the checksum is: so one
 * call does it, which is quicker than hashing in two steps. `fields` are they; they're put there, and stay. */
static uint64_t hash_batch(uint8_t *batch, const uint8_t fields[BATCH_FIELDS], size_t payload_bytes)
{
    uint8_t *start = batch + CKJ_BATCH_HEAD_BYTES - BATCH_FIELDS;
    memcpy(start, fields, BATCH_FIELDS);
    return XXH3_64bits(start, BATCH_FIELDS + payload_bytes);
}

void ckj_put_batch_head(uint8_t *batch, CkjBatch head)
{
    g_assert(head.payload_bytes <= CKJ_PAYLOAD_MAX && (head.payload_bytes == 0) == (head.kind != CKJ_BATCH));
    g_assert(head.durable <= head.offset);
    uint8_t fields[BATCH_FIELDS];
    memcpy(fields, kind_magic[head.kind], MAGIC_BYTES);
    put_u32(fields + 4, head.payload_bytes);
    put_u64(fields + 8, head.offset);
    put_u64(fields + 16, head.unix_ms);
    put_u64(fields + 24, head.durable);
    uint64_t checksum = hash_batch(batch, fields, head.payload_bytes);
    memcpy(batch, fields, BATCH_FIELDS);
    put_u64(batch + BATCH_FIELDS, checksum);
}

void ckj_put_seal(uint8_t to[CKJ_BATCH_HEAD_BYTES], CkjKind kind, uint64_t offset)
{
    uint64_t unix_ms = (uint64_t)(g_get_real_time() / 1000);
    ckj_put_batch_head(to, (CkjBatch){ .kind = kind, .offset = offset, .unix_ms = unix_ms, .durable = offset });
}

bool ckj_get_batch_head(const uint8_t *from, CkjBatch *head)
{
    *head = (CkjBatch){
        .kind = CKJ_BATCH,
        .payload_bytes = get_u32(from + 4),
        .offset = get_u64(from + 8),
        .unix_ms = get_u64(from + 16),
        .durable = get_u64(from + 24),
        .checksum = get_u64(from + BATCH_FIELDS),
    };
    while (head->kind < CKJ_KINDS && memcmp(from, kind_magic[head->kind], MAGIC_BYTES) != 0)
        head->kind++;
    if (head->kind == CKJ_BATCH) return head->payload_bytes > 0 && head->payload_bytes <= CKJ_PAYLOAD_MAX;
    return head->kind < CKJ_KINDS && head->payload_bytes == 0;
}

bool ckj_batch_intact(uint8_t *batch, const CkjBatch *head)
{
    uint8_t saved[CKJ_BATCH_HEAD_BYTES];
    memcpy(saved, batch, sizeof(saved));
    bool intact = hash_batch(batch, saved, head->payload_bytes) == head->checksum;
    memcpy(batch, saved, sizeof(saved));
    return intact;
}
