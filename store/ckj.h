/* ckj.h: the bytes of a segment file, journal/….ckj. The journal's writing and reading halves call it, and
 * ckv check, which reads on behind damage.
 *
 * Design. A segment head: "CKVJ", version u32, offset u64, history id 40 bytes, XXH3-64 of these 56 bytes. Versions to
 * come keep these 64 bytes, so that a file of another version is told from a damaged one. A batch head: "CKVB", payload
 * length u32, offset u64, unix ms u64, durable u64, XXH3-64 of these 32 bytes with the payload behind them. All little
 * endian.
 *
 * `durable` is the offset up to which the journal was on the disk when the batch was written. So a whole batch behind
 * damage tells what the damage is: if it knows that the damaged place was durable, something was lost; if none does, a
 * power cut came before the sync, and the file system happened to write later blocks before earlier ones.
 *
 * A seal is a head without payload. "CKVF": the segment is finished, and goes on in the one that begins at this offset,
 * whose name is durable. "CKVC": the journal was closed, and all before is durable. Who goes on in a closed segment
 * writes behind the seal: what is durable is never written over, and the seal goes on vouching for what is before it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_CKJ_H
#define CKV_STORE_CKJ_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/journal.h"

#define CKJ_VERSION          2U
#define CKJ_HEAD_BYTES       64U
#define CKJ_BATCH_HEAD_BYTES 40U   /* a seal's, too */
#define CKJ_MARK             "CKV" /* how batches and seals begin */
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

typedef enum CkjKind { CKJ_BATCH, CKJ_FINISHED, CKJ_CLOSED, CKJ_KINDS } CkjKind;
typedef struct CkjBatch {
    CkjKind kind;           /* CKJ_BATCH, or which seal */
    uint32_t payload_bytes; /* of a seal: 0 */
    uint64_t offset, unix_ms, durable, checksum;
} CkjBatch;
/* Fills in the head in front of the payload, which stands behind CKJ_BATCH_HEAD_BYTES bytes of room. */
void ckj_put_batch_head(uint8_t *batch, CkjBatch head);
/* A seal at `offset`, up to which the journal is durable; of now. Any thread. */
void ckj_put_seal(uint8_t to[CKJ_BATCH_HEAD_BYTES], CkjKind kind, uint64_t offset);
/* False: the magic or the length can't be. */
bool ckj_get_batch_head(const uint8_t *from, CkjBatch *head);
/* Is the whole batch (or seal) what was written? (The bytes are changed for a moment: they're hashed in another
 * order.) */
bool ckj_batch_intact(uint8_t *batch, const CkjBatch *head);

/* What a damaged journal wants from its operator; all messages of it end with this. */
#define CKJ_REPAIR_HINT "; run: ckv check %s --repair"

/* The segments by their names alone, in order; empty if there's no directory. NULL and *error. */
GArray *ckj_list(const char *directory, char **error);

/* Removes the files in the making (in the working directory's journal/) whose names begin with `prefix`, but not the
 * one at the path `kept`; NULL: all of them. Any thread. */
void ckj_remove_temporaries(const char *prefix, const char *kept);

typedef struct CkjEnd {
    uint64_t offset, file_offset; /* behind the last batch and its seals */
    bool damaged;                 /* what follows isn't whole; or nothing does, and it's the head */
    CkjKind last;                 /* what stands last; CKJ_BATCH also if there's nothing */
    char history[JOURNAL_ID_CHARS + 1];
} CkjEnd;
/* Where the whole batches of a segment end. Verifies all of them. NULL or a message (g_free): it's torn or damaged. */
char *ckj_find_end(const char *directory, uint64_t segment, CkjEnd *end);

#endif
