/* checkpointwriter.h: the thread that owns a checkpoint's gdbm file. Only checkpoint.c and pagesort.c call it.
 *
 * Design. The loop sends batches of records; the thread stores them, and gives the buffers back so that the loop uses
 * them again; it frees big ones itself. When more than SPILL_BYTES wait in memory, the thread first moves them to a
 * file without a name, which takes a fraction of the time that gdbm needs, and stores them from there when nothing new
 * waits. After an error it takes batches as before and drops them.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_CHECKPOINTWRITER_H
#define CKV_STORE_CHECKPOINTWRITER_H

#include <glib.h>

#include "store/image.h"
#include "store/manifest.h"
#include "store/pagefile.h"
#include "store/record.h"

/* What may wait for the thread before its caller pauses, and what a batch holds. */
#define WRITER_QUEUE_BYTES (8UL << 20)
#define WRITER_BATCH_BYTES (64UL << 10)

/* What stands in front of each record of a batch; behind it are the key, and of a RECORD_PUT the payload and the
 * checksum. */
typedef enum RecordOp { RECORD_PUT, RECORD_DELETE } RecordOp;
typedef struct RecordHead {
    uint32_t payload_len; /* with the checksum */
    uint8_t op;
    uint8_t key_len;
} RecordHead;

/* Appends a record's head and key to a batch; the payload follows. Returns where the record starts. */
size_t writer_begin_record(Image *batch, RecordOp op, const RecordKey *key);
/* Behind the payload: its checksum, and the length into the head. Returns the record's sum; *payload_len, unless NULL,
 * is what it has with the checksum. */
uint32_t writer_seal_record(Image *batch, size_t start, uint64_t checksum, size_t *payload_len);
/* The same, with the checksum computed. */
uint32_t writer_end_record(Image *batch, size_t start, size_t *payload_len);

typedef struct CheckpointWriter CheckpointWriter;

/* Starts the thread; NULL: it can't be started, and *error says why (g_free it). It takes the file of `slot` out of the
 * manifest on the disk (where it may be listed, unless there's none yet), and then opens it; both the manifest and all
 * further errors are found out later. */
CheckpointWriter *writer_start(const Manifest *manifest, int slot, bool may_be_listed, PageFileMode mode,
                               size_t expected, void (*progressed)(void), char **error);

/* Takes the batch's bytes, and makes it empty. */
void writer_send(CheckpointWriter *writer, Image *batch);
/* Bytes sent that are still in memory. Also frees, or keeps for writer_send's next batch, what the thread is done with.
 */
size_t writer_waiting(CheckpointWriter *writer);
/* The memory that this takes, with the buffers that are kept. */
size_t writer_held(CheckpointWriter *writer);

/* No more batches come: `info` (without file_bytes) goes into the file and, with it, into the manifest. */
void writer_finish(CheckpointWriter *writer, const CheckpointInfo *info);

/* What went wrong, or NULL; borrowed. Any time. */
const char *writer_error(CheckpointWriter *writer);
/* Whether it has finished: then *manifest is what is on disk, unless there's an error. */
bool writer_is_done(CheckpointWriter *writer, Manifest *manifest);
/* Waits until it has done something. */
void writer_wait(CheckpointWriter *writer);
/* Ends the thread, whatever it is at. */
void writer_free(CheckpointWriter *writer);

#endif
