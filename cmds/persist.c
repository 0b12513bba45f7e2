/* persist.c: see persist.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/persist.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "base/random.h"
#include "cmds/effect.h"
#include "cmds/replay.h"
#include "cmds/server.h"
#include "store/journal.h"

/* ---- loading ---- */

/* A write that a crash cut off: nobody was answered that it's there. */
static char *cut_torn_end(const JournalReader *reader)
{
    log_line(LOG_WARNING, "%s; the last %" G_GUINT64_FORMAT " bytes are cut off", journal_reader_error(reader),
             journal_reader_torn_bytes(reader));
    return journal_cut(".", journal_reader_offset(reader));
}

static char *run_batch(const JournalBatch *batch)
{
    char *wrong;
    if (replay_run(batch->payload, &wrong)) return NULL;
    char *message =
        g_strdup_printf("%s, batch at byte %" G_GUINT64_FORMAT " (journal offset %" G_GUINT64_FORMAT "): %s",
                        batch->file, batch->file_offset, batch->offset, wrong);
    g_free(wrong);
    return message;
}

static char *run_all(JournalReader *reader)
{
    for (;;) {
        JournalBatch batch;
        switch (journal_read(reader, &batch)) {
        case JOURNAL_END: return NULL;
        case JOURNAL_TORN: return cut_torn_end(reader);
        case JOURNAL_BAD: return g_strdup(journal_reader_error(reader));
        case JOURNAL_BATCH: break;
        }
        char *wrong = run_batch(&batch);
        if (wrong != NULL) return wrong;
    }
}

static char *load(uint64_t *offset, int *db)
{
    int64_t start_us = clock_now_us();
    char *wrong;
    JournalReader *reader = journal_reader_new(".", 0, NULL, &wrong);
    if (reader == NULL) return wrong;
    replay_begin(-1);
    wrong = run_all(reader);
    *offset = journal_reader_offset(reader);
    *db = replay_db();
    replay_end();
    journal_reader_free(reader);
    if (wrong == NULL && *offset > 0) {
        log_line(LOG_NOTICE, "Loaded %" G_GUINT64_FORMAT " commands from the journal in %.3f seconds",
                 replay_commands(), (double)(clock_now_us() - start_us) / 1e6);
    }
    return wrong;
}

/* ---- the history's name ---- */

/* Where a segment's head has it. */
#define HEAD_HISTORY_AT 16

/* That of the segments that are there, or a new one. */
static char *find_history(char history[JOURNAL_ID_CHARS + 1])
{
    char *wrong;
    random_hex(history, JOURNAL_ID_CHARS);
    GArray *segments = journal_segments(".", &wrong);
    if (segments == NULL) return wrong;
    g_autofree char *text = NULL;
    gsize len = 0;
    if (segments->len > 0 &&
        g_file_get_contents(g_array_index(segments, JournalSegment, segments->len - 1).path, &text, &len, NULL) &&
        len >= HEAD_HISTORY_AT + JOURNAL_ID_CHARS)
        memcpy(history, text + HEAD_HISTORY_AT, JOURNAL_ID_CHARS);
    g_array_free(segments, TRUE);
    return NULL;
}

/* ---- start and stop ---- */

static void on_progress(void *context)
{
    (void)context;
    loop_wake(server.loop); /* to open the gate */
}

char *persist_start(void)
{
    if (!options.persistence) return NULL;
    char history[JOURNAL_ID_CHARS + 1] = "";
    JournalStart how = {
        .history = history,
        .sync = (JournalSync)options.fsync,
        .segment_bytes = (uint64_t)options.journal_segment_bytes,
        .progressed = on_progress,
    };
    char *wrong = load(&how.offset, &how.db);
    if (wrong == NULL) wrong = find_history(history);
    if (wrong == NULL) wrong = journal_open(&how);
    if (wrong == NULL) effects_start();
    return wrong;
}

void persist_stop(void)
{
    if (!journal_is_open()) return;
    effects_stop();
    g_autofree char *trouble = g_strdup(journal_trouble());
    if (journal_close()) return;
    log_line(LOG_WARNING, "The last changes could not be made durable: %s", trouble != NULL ? trouble : "see above");
}
