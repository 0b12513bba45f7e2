/* ckj.h: the bytes of a segment file, journal/….ckj. The journal's writing and reading halves call it, and
 * ckv check, which reads on behind damage.
 *
 * Design. A segment head: "CKVJ", version u32, offset u64, history id 40 bytes, XXH3-64 of these 56 bytes. Versions to
 * come keep these 64 bytes, so that a file of another version is told from a damaged one. A batch head: "CKVB", payload
 * length u32, offset u64, unix ms u64, XXH3-64 of these 24 bytes with the payload behind them. All little endian.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_CKJ_H
#define CKV_STORE_CKJ_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/journal.h"

#define CKJ_VERSION          1U
#define CKJ_HEAD_BYTES       64U
#define CKJ_BATCH_HEAD_BYTES 32U
#define CKJ_BATCH_MAGIC      "CKVB"
#define CKJ_SUFFIX           ".ckj"
#define CKJ_PAYLOAD_MAX      (1U << 30) /* more than any turn of the loop makes; what a damaged length can't exceed */
#define CKJ_NAME_CHARS       64         /* room for journal/<20 digits>.ckj, and .tmp */

/* journal/<20 digits>.ckj in `directory`, or in the working directory for NULL. False: too long. */
bool ckj_path(char *out, size_t size, const char *directory, uint64_t offset);
/* The offset in a file's name. False: that's no segment's name. */
bool ckj_parse_name(const char *name, uint64_t *offset);

typedef enum CkjHead { CKJ_HEAD_GOOD, CKJ_HEAD_DAMAGED, CKJ_HEAD_OTHER_VERSION } CkjHead;
void ckj_put_head(uint8_t to[CKJ_HEAD_BYTES], uint64_t offset, const char *history);
/* `history` has JOURNAL_ID_CHARS + 1. Whatever the result, *version is what stands there. */
CkjHead ckj_get_head(const uint8_t *from, uint64_t *offset, char *history, uint32_t *version);

typedef struct CkjBatch {
    uint32_t payload_bytes;
    uint64_t offset, unix_ms, checksum;
} CkjBatch;
/* Fills in the head in front of the payload, which stands behind CKJ_BATCH_HEAD_BYTES bytes of room. */
void ckj_seal_batch(uint8_t *batch, CkjBatch head);
/* False: the magic or the length can't be. */
bool ckj_get_batch_head(const uint8_t *from, CkjBatch *head);
/* Is the whole batch what was sealed? (The bytes are changed for a moment: they're hashed in another order.) */
bool ckj_batch_intact(uint8_t *batch, const CkjBatch *head);

/* What a damaged journal wants from its operator; all messages of it end with this. */
#define CKJ_REPAIR_HINT "; run: ckv check %s --repair"

/* The segments by their names alone, in order; empty if there's no directory. NULL and *error. */
GArray *ckj_list(const char *directory, char **error);

typedef struct CkjEnd {
    uint64_t offset, file_offset;
    bool damaged; /* what follows isn't whole; or nothing does, and it's the head */
    char history[JOURNAL_ID_CHARS + 1];
} CkjEnd;
/* Where the whole batches of a segment end. Verifies all of them. NULL or a message (g_free): it's torn or damaged. */
char *ckj_find_end(const char *directory, uint64_t segment, CkjEnd *end);

#endif
