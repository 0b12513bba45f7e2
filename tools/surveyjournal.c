/* surveyjournal.c: reads a journal for `ckv check`, past damage: see survey.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdio.h>

#include "net/resp.h"
#include "store/ckj.h"
#include "store/io.h"
#include "tools/survey.h"
#include "tools/tools.h"

static void count_batch(BatchRun *run, const CkjBatch *head)
{
    run->durable = MAX(run->durable, head->durable);
    if (head->kind != CKJ_BATCH) return;
    run->batches++;
    run->last_ms = (int64_t)head->unix_ms;
    if (run->first_ms == 0) run->first_ms = run->last_ms;
}

/* The batch or seal at `at`, if it's whole. */
static bool batch_at(uint8_t *bytes, size_t len, size_t at, CkjBatch *head)
{
    if (len - at < CKJ_BATCH_HEAD_BYTES || !ckj_get_batch_head(bytes + at, head)) return false;
    if (len - at - CKJ_BATCH_HEAD_BYTES < head->payload_bytes) return false;
    return ckj_batch_intact(bytes + at, head);
}

/* Whether the batch holds whole commands, and transactions that begin and end in it: or no start can run it. */
static bool batch_runs(uint8_t *bytes, const CkjBatch *head, GArray *args)
{
    char *at = (char *)bytes + CKJ_BATCH_HEAD_BYTES, *end = at + head->payload_bytes;
    RespParser parser = { .offset = 0 };
    bool in_multi = false;
    for (; at < end; at += parser.offset, resp_next(&parser)) {
        /* Only inline commands would be written to. */
        if (*at != '*' || resp_parse(&parser, args, at, (size_t)(end - at)) != RESP_COMMAND || args->len == 0)
            return false;
        const RespArg *arg = &g_array_index(args, RespArg, 0);
        Slice name = { at + arg->offset, arg->len };
        bool multi = slice_is(name, "multi");
        if (!multi && !slice_is(name, "exec")) continue;
        if (multi == in_multi) return false;
        in_multi = multi;
    }
    return !in_multi;
}

/* Counts the whole batches behind the damage. */
static void count_rest(SegmentSurvey *segment, uint8_t *bytes, size_t len)
{
    for (size_t at = (size_t)segment->file_end; at < len;) {
        const uint8_t *found = memmem(bytes + at, len - at, CKJ_MARK, strlen(CKJ_MARK));
        if (found == NULL) return;
        at = (size_t)(found - bytes);
        CkjBatch head;
        bool whole = batch_at(bytes, len, at, &head);
        if (whole && head.offset >= segment->end) count_batch(&segment->rest, &head);
        at += whole ? CKJ_BATCH_HEAD_BYTES + head.payload_bytes : 1;
    }
}

static void read_batches(SegmentSurvey *segment, uint8_t *bytes, size_t len)
{
    size_t at = CKJ_HEAD_BYTES;
    CkjBatch head;
    g_autoptr(GArray) args = g_array_new(FALSE, FALSE, sizeof(RespArg));
    while (at < len && batch_at(bytes, len, at, &head) && head.offset == segment->end) {
        if (!batch_runs(bytes + at, &head, args)) {
            segment->problem = g_strdup_printf("the batch at byte %zu (offset %" G_GUINT64_FORMAT
                                               ") isn't made of whole commands and transactions: no start can run it",
                                               at, segment->end);
            break;
        }
        count_batch(&segment->good, &head);
        at += CKJ_BATCH_HEAD_BYTES + head.payload_bytes;
        segment->end += head.payload_bytes;
        segment->finished = head.kind == CKJ_FINISHED;
    }
    segment->file_end = at;
}

/* Sets segment->problem if the head isn't that of this file. */
static void read_head(SegmentSurvey *segment, const uint8_t *bytes, size_t len)
{
    uint64_t offset = 0;
    uint32_t version = 0;
    CkjHead result = len < CKJ_HEAD_BYTES ? CKJ_HEAD_DAMAGED : ckj_get_head(bytes, &offset, segment->history, &version);
    segment->other_version = result == CKJ_HEAD_OTHER_VERSION;
    segment->head_good = result == CKJ_HEAD_GOOD && offset == segment->file.offset;
    if (segment->other_version) {
        segment->problem = g_strdup_printf("has version %u, and this ckv knows version %u only: another ckv wrote it, "
                                           "use that one",
                                           version, CKJ_VERSION);
    } else if (result == CKJ_HEAD_GOOD && !segment->head_good) {
        segment->problem = g_strdup_printf("its head says that it begins at offset %" G_GUINT64_FORMAT, offset);
    } else if (!segment->head_good) {
        segment->problem = g_strdup("its head is damaged");
    }
    if (!segment->head_good) segment->history[0] = '\0';
}

static void describe_rest(SegmentSurvey *segment, size_t len)
{
    g_autofree char *bytes = survey_count(len - segment->file_end), *batches = survey_count(segment->rest.batches);
    segment->problem = segment->rest.batches == 0
                           ? g_strdup_printf("from byte %" G_GUINT64_FORMAT " (offset %" G_GUINT64_FORMAT
                                             ") on there's no whole batch, but %s bytes",
                                             segment->file_end, segment->end, bytes)
                           : g_strdup_printf("damaged at byte %" G_GUINT64_FORMAT " (offset %" G_GUINT64_FORMAT
                                             "), %s bytes before its end; %s whole batches follow%s",
                                             segment->file_end, segment->end, bytes, batches,
                                             segment->rest.durable <= segment->end ? ", which were never synced" : "");
}

static void read_segment(SegmentSurvey *segment)
{
    size_t len;
    segment->end = segment->file.offset;
    g_autofree uint8_t *bytes = (uint8_t *)io_read_file(segment->file.path, &len);
    if (bytes == NULL) {
        segment->unreadable = errno != ENOENT;
        segment->problem = g_strdup(g_strerror(errno));
        return;
    }
    read_head(segment, bytes, len);
    if (segment->head_good) read_batches(segment, bytes, len);
    if (segment->file_end == len && segment->problem == NULL) return;
    count_rest(segment, bytes, len);
    if (segment->problem == NULL) describe_rest(segment, len);
}

static void clear_segment(void *segment)
{
    g_free(((SegmentSurvey *)segment)->problem);
}

/* What only shows when the next segment is known: whether it's the one that this one's seal speaks of; and, if it goes
 * on where this one ends, that what is left there is but a piece of a seal. */
static void link_segment(GArray *segments, guint index)
{
    SegmentSurvey *segment = survey_segment(segments, index);
    bool last = index + 1 == segments->len;
    bool goes_on = !last && survey_segment(segments, index + 1)->file.offset == segment->end;
    if (segment->head_good && goes_on && segment->file.file_bytes - segment->file_end <= CKJ_BATCH_HEAD_BYTES)
        g_clear_pointer(&segment->problem, g_free);
    if (!segment->finished || goes_on || segment->problem != NULL) return;
    char missing[CKJ_NAME_CHARS];
    ckj_path(missing, sizeof(missing), NULL, segment->end);
    segment->problem =
        g_strdup_printf("it's finished at offset %" G_GUINT64_FORMAT ", and the segment that follows, %s, is missing",
                        segment->end, missing);
}

GArray *survey_journal(const char *directory, char **error)
{
    g_autoptr(GArray) files = ckj_list(directory, error);
    if (files == NULL) return NULL;
    GArray *segments = g_array_new(FALSE, TRUE, sizeof(SegmentSurvey));
    g_array_set_clear_func(segments, clear_segment);
    for (guint i = 0; i < files->len; i++) {
        tool_progress("journal", (double)i / files->len);
        SegmentSurvey segment = { .file = g_array_index(files, JournalSegment, i) };
        read_segment(&segment);
        g_array_append_val(segments, segment);
    }
    for (guint i = 0; i < segments->len; i++)
        link_segment(segments, i);
    tool_progress("journal", -1);
    return segments;
}
