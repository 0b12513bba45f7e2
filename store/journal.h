/* journal.h: the one append-only stream of changes: durability log, replication stream and history. The command layer
 * appends and commits; checkpoints, start-up, tools and replication read it back.
 *
 * Design. The stream is RESP commands; an offset counts its bytes, from 0 at the beginning of the history. Changes are
 * collected in memory and committed as one batch, once a turn of the loop and before any reply of that turn leaves. On
 * disk a batch is a head { magic "CKVB", payload length u32, offset of its first byte u64, unix ms u64, what was
 * durable then u64, XXH3-64 of the head's other fields and the payload } and its payload, little endian. Batches stand
 * one behind the other in segment files journal/<offset of the first byte, 20 digits>.ckj, which begin with a head of
 * their own { magic "CKVJ", version u32, offset u64, history id 40 bytes, XXH3-64 of these }. A seal, which is a
 * batch's head without payload, says that the journal goes on in another segment, or that it was closed. (FORMAT.md has
 * all of them, byte by byte; ckj.h says what they are good for.)
 *
 * A write to the file is one system call and doesn't wait for the disk; room is reserved ahead (journalroom.h), so that
 * a full disk is known before a command runs. A segment is finished when it's long, or when its room is used up and the
 * next one is at hand. A thread syncs: `always`: what several turns of the loop wrote, as soon as those who were
 * answered after the sync before had the time to write again (journal_end_turn); `everysec`: once a second; `no`: only
 * when a segment is finished.
 *
 * A batch that can't be written stays in memory and is tried again; so long journal_trouble() says what is wrong. After
 * a failed sync the kernel may have dropped what it held, so what isn't durable yet is read back, verified, and written
 * again before the next sync.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_JOURNAL_H
#define CKV_STORE_JOURNAL_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/tape.h"

#define JOURNAL_DIRECTORY "journal"
#define JOURNAL_ID_CHARS  40

typedef enum JournalSync { JOURNAL_SYNC_EVERYSEC, JOURNAL_SYNC_ALWAYS, JOURNAL_SYNC_NO } JournalSync;

/* ---- writing: one journal a process, in the working directory ---- */

typedef struct JournalStart {
    uint64_t offset;     /* where the stream goes on: the end that journal_reader found, or a new beginning */
    int db;              /* the database that the stream is in there; -1: none yet */
    const char *history; /* JOURNAL_ID_CHARS characters; copied */
    JournalSync sync;
    uint64_t segment_bytes; /* a segment is finished when it is longer, or before */
    bool aside; /* for another process alone, as long as this one lives: journal_is_open doesn't count it, and nothing
                   of its directories is synced */
    void (*progressed)(
        void *context); /* called in the sync thread when journal_durable() or journal_trouble() changed */
    void *context;
} JournalStart;

/* Goes on in the last segment if it ends at `offset`, or begins a new one. Starts the thread. NULL, or a message that
 * names the file (g_free it). */
char *journal_open(const JournalStart *start);
/* Commits, syncs, ends the thread, and seals the last segment. False: something isn't durable. */
bool journal_close(void);
/* What was wrong when journal_close answered false, for then journal_trouble() is gone. Good until it's called again.
 */
const char *journal_close_failure(void);
bool journal_is_open(void);
/* Ends one that is aside, if it's open, as it is. */
void journal_drop(void);

/* Where a process left the journal: for the one that goes on there (which knows by it what would take time to find
 * out), or for itself. Texts and numbers, put on a tape by those below. */
typedef struct JournalPlace {
    uint64_t offset, batch, batches, failures;
    int db;
    uint64_t file_end, reserved_end; /* of the last segment */
    bool cannot_reserve;
    uint64_t durable;
    GArray *segments; /* journalsync.h's */
    int fd;           /* of the last segment, in the process that left it; -1: none. Not for tapes */
} JournalPlace;
/* What was committed is in the file, which isn't touched any more; it need not be durable. Nothing may be wrong with
 * the journal, or wait to be committed. */
void journal_leave(JournalPlace *place);
/* As journal_open, at that place; start->offset and start->db don't count. No file is read, and nothing is synced.
 * Takes the place's descriptor, if it has one; then it doesn't fail, but for a thread that can't be started. */
char *journal_adopt(const JournalStart *start, JournalPlace *place);
void journal_save_place(const JournalPlace *place, Tape *tape);
void journal_restore_place(JournalPlace *place, TapeReader *tape);
/* Closes its descriptor, if that is still its own. */
void journal_place_clear(JournalPlace *place);
/* In `always`, at the end of each turn of the loop, behind journal_commit: lets the sync begin if it's time. True: the
 * next turn is to come at once, and find out. */
bool journal_end_turn(void);
/* The thread makes durable what there is, as soon as it can. */
void journal_sync_soon(void);

/* CONFIG SET. */
void journal_set_sync(JournalSync sync);

/* Adds a command to the batch in the making, with a SELECT in front if the stream is in another database. `db` -1: any
 * (MULTI, EXEC, FLUSHALL). The arguments are copied. */
void journal_append(int db, const Slice *argv, int argc);

/* Adds whole commands as they are: a master's, in the bytes that it sent. `db`: where the stream is behind them. */
void journal_append_raw(Slice commands, int db);

/* Writes the batch in the making to the file. True when nothing is left to be written (also when there was nothing).
 * False: it stays in memory and journal_trouble() says why; call again later. Cheap when there's nothing to do. */
bool journal_commit(void);

/* Called, in the loop's thread, for each batch as soon as the file has it: the offset of its first byte, and the
 * payload, which is good until it returns. It may not write to the journal. NULL: nobody. Stays over closing and
 * opening. */
void journal_on_written(void (*written)(uint64_t offset, Slice payload));

/* The next command gets a SELECT in front of it, whatever database the stream is in: whoever begins to read there (a
 * slave that was sent a checkpoint) need not know. */
void journal_forget_db(void);

/* Offsets: where the next command will be; up to where the file has it; up to where it survives a power cut. Durable
 * may be read in any thread. */
uint64_t journal_offset(void);
uint64_t journal_written(void);
uint64_t journal_durable(void);
/* Unix ms of the batch that begins at `offset`, if that was the first one since the journal was opened; else -1. */
int64_t journal_first_ms(uint64_t offset);
/* The database that the stream is in at journal_offset(). */
int journal_db(void);
/* Bytes that wait in memory. */
size_t journal_pending_bytes(void);
/* A number that grows with each batch that is committed: commands with the same number share a batch. */
uint64_t journal_batch(void);

/* Whether a batch of this many bytes will find room on the disk: reserves it. False: journal_trouble() says why. Cheap
 * while what was reserved before is enough. */
bool journal_reserve(size_t bytes);

/* NULL, or what keeps the journal from being written: "journal/….ckj: No space left on device". Good until the next
 * call of a journal function by this thread. Tries again by itself (in journal_commit, journal_reserve, and the
 * thread), at most every 100 ms. */
const char *journal_trouble(void);
/* NULL, or what kept it from being made durable for a moment since the last call of this function: by now it may be
 * over. Cheap, and good as long as journal_trouble's. */
const char *journal_take_failure(void);

/* Waits until all that was committed is durable. False: it can't be made so now. */
bool journal_wait_durable(void);

/* Starts a new segment at the current offset (the old one is synced by the thread). */
bool journal_rotate(void);

/* The stream goes on as another history's, in a segment of its own and in the database `db`. Nothing is read, as
 * journal_open does to find the end. False: all is as before, and errno says why no segment can be begun; 0: nothing
 * was written to the one that there is, and closing and opening will do. Only when all that was appended is committed.
 */
bool journal_begin_history(const char *history, int db);

/* Removes segments that end at or before `offset`, in the thread, the oldest first, and none that was written to in the
 * last `keep_sec` seconds while all together have at most `keep_bytes`. Never the one being written. */
void journal_release(uint64_t offset, int64_t keep_sec, uint64_t keep_bytes);

typedef struct JournalStats {
    uint64_t segments, bytes; /* on disk */
    uint64_t first_offset;    /* the oldest that can still be read */
    uint64_t batches, syncs, failures;
    int64_t last_sync_us; /* how long it took */
} JournalStats;
JournalStats journal_stats(void);

/* ---- reading ---- */

typedef struct JournalReader JournalReader;

typedef struct JournalBatch {
    uint64_t offset; /* of its first byte */
    int64_t unix_ms;
    Slice payload;    /* good until the next call */
    const char *file; /* the segment, and where in it the batch's head is */
    uint64_t file_offset;
} JournalBatch;

typedef enum JournalRead {
    JOURNAL_BATCH,
    JOURNAL_END,  /* nothing follows */
    JOURNAL_TORN, /* what follows isn't whole, and nothing says that it was durable: writes that a crash cut off */
    JOURNAL_BAD,  /* something durable is damaged, segments are missing or not of this journal, or reading failed */
    JOURNAL_LATER /* after journal_reader_dont_wait: it has to come from the disk first */
} JournalRead;

/* Reads from the batch that contains or begins at `from` on, in `directory` (the data directory). NULL: *error says why
 * (g_free it): there's no segment that has this offset, for example. A directory without segments, or one whose last
 * segment ends at `from`, gives a reader that is at its end. `history` NULL: any. */
JournalReader *journal_reader_new(const char *directory, uint64_t from, const char *history, char **error);
/* The same in two steps, the second of which may take many calls, for those who can't wait until a segment has been
 * read through: each reads up to `bytes`, or one batch more, of what is before `from`. journal_reader_error says why it
 * isn't found. */
JournalReader *journal_reader_begin(const char *directory, uint64_t from, const char *history, char **error);
typedef enum JournalSeek { JOURNAL_SEEKING, JOURNAL_FOUND, JOURNAL_NOT_FOUND, JOURNAL_SEEK_LATER } JournalSeek;
JournalSeek journal_reader_seek(JournalReader *reader, uint64_t bytes);
/* From now on reading doesn't wait for the disk: what isn't in the page cache is brought there by a thread, and until
 * then journal_read says JOURNAL_LATER, and journal_reader_seek JOURNAL_SEEK_LATER. */
void journal_reader_dont_wait(JournalReader *reader);
/* Forgets what was seen of the file behind the last batch: it may have been half written then. */
void journal_reader_look_again(JournalReader *reader);
void journal_reader_free(JournalReader *reader);
JournalRead journal_read(JournalReader *reader, JournalBatch *batch);
/* After JOURNAL_TORN and JOURNAL_BAD: what is wrong, naming file and offset; and, if TORN, how many bytes follow the
 * last batch that can be used: in its segment and in those behind it. */
const char *journal_reader_error(const JournalReader *reader);
uint64_t journal_reader_torn_bytes(const JournalReader *reader);
/* The offset behind the last batch that was read; and how much of the files is left to read, in bytes, for progress. */
uint64_t journal_reader_offset(const JournalReader *reader);
uint64_t journal_reader_left(const JournalReader *reader);

/* Cuts the journal at `offset`, which must be between batches: what follows is removed for good, and so are seals that
 * say that something follows. A crash in the middle leaves a journal that can be cut there again, and by which a start
 * cuts it there if it would have before. NULL or a message (g_free). */
char *journal_cut(const char *directory, uint64_t offset);

/* The segments there are, in order: each a JournalSegment (free the array). NULL and *error if a name or head is bad.
 */
typedef struct JournalSegment {
    uint64_t offset;
    uint64_t file_bytes;
    char path[4096]; /* with the directory */
} JournalSegment;
GArray *journal_segments(const char *directory, char **error);

/* A checkpoint begins a segment of the journal: if that isn't there, neither is what was written since. Only where a
 * history begins (`start`: a clone, an import) there may be none yet. NULL, or what is wrong with the journal behind
 * the checkpoint `name` at `offset` (g_free). Not for backups, which say themselves how far they go. */
char *journal_check_begins(const char *directory, const char *name, uint64_t offset, uint64_t start);

#endif
