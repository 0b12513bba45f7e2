/* journalmodel.h: what the journal's tests compare it with: a plain string of what was appended, and where the
 * committed batches end. Each test runs in a temporary directory of its own.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_TESTS_JOURNALMODEL_H
#define CKV_TESTS_JOURNALMODEL_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/journal.h"

#define HISTORY "0123456789012345678901234567890123456789"

/* The stream from offset `base` on; where the committed batches end (of uint64_t); the database it's in. */
extern GString *stream;
extern GArray *ends;
extern uint64_t base;
extern int stream_db;

/* Set-up and tear-down. */
int model_enter(void **state);
int model_leave(void **state);
void empty_directory(const char *path);
/* An empty stream. */
void model_reset(uint64_t offset);

/* Goes on at the model's end, with small segments; no syncs. */
JournalStart model_start(void);
void model_open(JournalStart start);

/* Like journal_append and journal_commit, checking offsets. */
void model_append(int db, const Slice *argv, int argc);
void model_append_random(GRand *rand);
bool model_commit(void);
/* What was appended is a batch by now. */
void model_note_batch(void);
/* What is behind the offset, where a batch ends, is gone. */
void model_cut(uint64_t offset);
/* Some small batches. */
void model_write(int count);

/* Tries on for a second, by commits or else by reserving, until nothing is wrong with the journal any more. */
void model_wait_for_healing(bool commits);
/* What is wrong is with a segment, and has these words. */
void model_expect_trouble(const char *words);

/* How reading ended, and where; what is read must be what was written, batch by batch. */
typedef struct Found {
    JournalRead result;
    uint64_t offset, torn;
    char *error; /* g_free */
} Found;
Found model_read_on(JournalReader *reader);
Found model_read(const char *where, uint64_t from);
/* All of the stream is there. */
void model_check_all(void);

JournalSegment model_segment(guint index);
guint model_segments(void);

#endif
