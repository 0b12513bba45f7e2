/* repair.c: see repair.h.
 *
 * Design. The order is such that a crash at any point leaves a directory that can be checked and repaired again, to the
 * same end: first what is only partly removed is copied, then MANIFEST is replaced, then whole files are moved away
 * (from both ends of the journal inwards, so that what is left is in one piece), and the last segment is cut.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "tools/repair.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "store/ckj.h"
#include "store/io.h"

#define LOST_DIRECTORY "lost"

/* ---- planning ---- */

Plan repair_plan(const Survey *survey)
{
    Plan plan = { .base = survey_best(survey) };
    if (!plan.base.found || survey->other_version || survey->unreadable != NULL)
        return (Plan){ .base = { .found = false } };
    guint segments = survey->segments->len;
    for (int f = 0; f < 2; f++) {
        const CheckpointSurvey *one = &survey->checkpoint[f];
        bool meant = survey->rebuilt ? one->exists : one->listed;
        bool needed = plan.base.slot == f;
        plan.drop[f] = meant && !needed && (one->problem != NULL || !survey_whole(one));
        plan.write_manifest |= plan.drop[f];
    }
    plan.write_manifest |= survey->rebuilt || survey_stranger(survey, &plan.base) != NULL;
    plan.head = plan.base.connected ? plan.base.chain : segments;
    plan.cut = plan.base.connected && segments > 0 &&
               (plan.base.last + 1 < segments || survey_segment(survey->segments, plan.base.last)->problem != NULL);
    plan.begin = plan.base.missing && plan.base.reach == plan.base.offset;
    plan.write_manifest |=
        plan.begin || plan.cut || (!plan.base.connected && segments > 0); /* slaves may have what is given up */
    return plan;
}

bool repair_needed(const Plan *plan)
{
    return plan->base.found && (plan->write_manifest || plan->head > 0 || plan->cut);
}

/* ---- telling ---- */

typedef struct Loss {
    uint64_t bytes;
    BatchRun whole;
} Loss;

static void add_run(Loss *loss, const BatchRun *run)
{
    loss->whole.durable = MAX(loss->whole.durable, run->durable);
    if (run->batches == 0) return;
    loss->whole.first_ms = loss->whole.batches == 0 ? run->first_ms : MIN(loss->whole.first_ms, run->first_ms);
    loss->whole.last_ms = MAX(loss->whole.last_ms, run->last_ms);
    loss->whole.batches += run->batches;
}

/* Of whole segments. */
static Loss loss_of(const Survey *survey, guint from, guint to)
{
    Loss loss = { 0 };
    for (guint i = from; i < to; i++) {
        const SegmentSurvey *segment = survey_segment(survey->segments, i);
        loss.bytes += segment->file.file_bytes;
        add_run(&loss, &segment->good);
        add_run(&loss, &segment->rest);
    }
    return loss;
}

static Loss loss_of_tail(const Survey *survey, const Plan *plan)
{
    const SegmentSurvey *last = survey_segment(survey->segments, plan->base.last);
    Loss loss = loss_of(survey, plan->base.last + 1, survey->segments->len);
    loss.bytes += last->file.file_bytes - last->file_end;
    add_run(&loss, &last->rest);
    return loss;
}

static void tell_loss(const Loss *loss)
{
    g_autofree char *bytes = survey_count(loss->bytes), *batches = survey_count(loss->whole.batches);
    printf("%s bytes", bytes);
    if (loss->whole.batches == 0) {
        printf(" in which there's no whole batch");
        return;
    }
    g_autofree char *from = survey_time(loss->whole.first_ms), *to = survey_time(loss->whole.last_ms);
    printf(" with %s whole batches of %s to %s (%.3f seconds)", batches, from, to,
           (double)(loss->whole.last_ms - loss->whole.first_ms) / 1000);
}

/* When the data is from that is kept; 0: unknown. */
static int64_t kept_ms(const Survey *survey, const Plan *plan)
{
    const Base *base = &plan->base;
    int64_t last_ms = base->slot >= 0 ? survey->checkpoint[base->slot].info.unix_ms : 0;
    for (guint i = base->first; base->connected && i < survey->segments->len && i <= base->last; i++)
        last_ms = MAX(last_ms, survey_segment(survey->segments, i)->good.last_ms);
    return last_ms;
}

static void tell_since(const Survey *survey, const Plan *plan)
{
    int64_t last_ms = kept_ms(survey, plan);
    g_autofree char *since = survey_time(last_ms);
    if (last_ms > 0) printf("; the last change that is kept is of %s", since);
    printf("\n");
}

static void tell_cut(const Survey *survey, const Plan *plan)
{
    Loss loss = loss_of_tail(survey, plan);
    bool missing = plan->begin || survey_segment(survey->segments, plan->base.last)->finished;
    printf("  - cut the journal at offset %" G_GUINT64_FORMAT ". Lost: %s", plan->base.reach,
           missing ? "what was in the missing segment, and " : "");
    tell_loss(&loss);
    if (!missing && loss.whole.durable <= plan->base.reach)
        printf(" (of a write that was cut off, or damaged; a start does the same)");
    tell_since(survey, plan);
}

static void tell_head(const Survey *survey, const Plan *plan)
{
    Loss loss = loss_of(survey, 0, plan->head);
    if (plan->base.connected) {
        printf("  - move the first %u journal files away, which don't lead to the rest. No data is lost that a start "
               "would load, but going back to a moment before it is: ",
               plan->head);
        tell_loss(&loss);
        printf("\n");
        return;
    }
    printf("  - move the whole journal away: it doesn't go on from the checkpoint. Lost: ");
    tell_loss(&loss);
    tell_since(survey, plan);
}

static void tell_begin(const Survey *survey, const Plan *plan)
{
    printf("  - begin the journal anew at offset %" G_GUINT64_FORMAT
           ". Lost: whatever was written since the checkpoint "
           "in %s",
           plan->base.offset, survey->checkpoint[plan->base.slot].name);
    tell_since(survey, plan);
}

static void tell_checkpoint(const Survey *survey, int slot)
{
    const CheckpointSurvey *one = &survey->checkpoint[slot];
    printf("  - %s %s. Nothing is lost by that: the rest has its data\n",
           one->exists ? "move away and take out of MANIFEST:" : "take out of MANIFEST:", one->name);
}

static void tell_result(const Survey *survey, const Plan *plan, bool will)
{
    const Base *base = &plan->base;
    const char *from = base->slot < 0 ? "the journal from its beginning" : survey->checkpoint[base->slot].name;
    printf("A start %s then load: %s, and the journal up to offset %" G_GUINT64_FORMAT ".\n", will ? "will" : "would",
           from, base->reach);
}

void repair_tell(const Survey *survey, const Plan *plan, bool will)
{
    printf(will ? "Repairing. What is taken away is kept in %s/" LOST_DIRECTORY ":\n"
                : "ckv check --repair would do this (what is taken away is kept in %s/" LOST_DIRECTORY "):\n",
           survey->directory);
    if (survey->rebuilt) {
        printf("  - make a new MANIFEST from the files: history %s, %s. Lost: this instance's name and what it knew "
               "of an earlier history (replicas copy everything once)\n",
               survey->manifest.history,
               survey->manifest.checkpoint[0].whole || survey->manifest.checkpoint[1].whole
                   ? "the checkpoints that are whole"
                   : "no checkpoint");
    }
    if (survey_stranger(survey, &plan->base) != NULL)
        printf(
            "  - note in MANIFEST that the journal goes on in another history. Nothing is lost by that (replicas copy "
            "everything once)\n");
    for (int f = 0; f < 2; f++) {
        if (plan->drop[f]) tell_checkpoint(survey, f);
    }
    if (plan->head > 0) tell_head(survey, plan);
    if (plan->cut) tell_cut(survey, plan);
    if (plan->begin && !plan->cut) tell_begin(survey, plan);
    tell_result(survey, plan, will);
    fflush(stdout);
}

/* ---- doing ---- */

typedef struct Repair {
    const Survey *survey;
    const Plan *plan;
    char *lost; /* DIR/lost/<time> */
    char *journal;
} Repair;

static char *failed(const char *path)
{
    int saved = errno;
    return g_strdup_printf("%s: %s", path, g_strerror(saved));
}

/* Makes a directory last. */
static char *make_directory(const char *parent, const char *path)
{
    if (io->mkdir(path, 0700) != 0 && errno != EEXIST) return failed(path);
    return io_sync_directory(parent) ? NULL : failed(parent);
}

static char *make_lost(Repair *repair)
{
    g_autofree char *parent = g_build_filename(repair->survey->directory, LOST_DIRECTORY, NULL);
    char *error = make_directory(repair->survey->directory, parent);
    for (int n = 0; error == NULL; n++) {
        g_autoptr(GDateTime) now = g_date_time_new_now_utc();
        g_autofree char *time = g_date_time_format(now, "%Y%m%dT%H%M%SZ");
        g_free(repair->lost);
        repair->lost = n == 0 ? g_build_filename(parent, time, NULL) : g_strdup_printf("%s/%s-%d", parent, time, n);
        if (io->mkdir(repair->lost, 0700) == 0) break;
        if (errno != EEXIST) return failed(repair->lost);
    }
    if (error != NULL) return error;
    return io_sync_directory(parent) ? NULL : failed(parent);
}

static char *copy_away(const Repair *repair, const char *path)
{
    g_autofree char *name = g_path_get_basename(path), *to = g_build_filename(repair->lost, name, NULL);
    if (!io_copy_file(path, to, NULL, NULL)) return failed(to);
    return io_sync_directory(repair->lost) ? NULL : failed(repair->lost);
}

/* `directory` is the one that the file is in. */
static char *move_away(const Repair *repair, const char *directory, const char *path)
{
    g_autofree char *name = g_path_get_basename(path), *to = g_build_filename(repair->lost, name, NULL);
    if (io->rename(path, to) != 0) return errno == ENOENT ? NULL : failed(path);
    if (!io_sync_directory(repair->lost)) return failed(repair->lost);
    return io_sync_directory(directory) ? NULL : failed(directory);
}

static char *copy_first(const Repair *repair)
{
    const Plan *plan = repair->plan;
    g_autofree char *manifest = g_build_filename(repair->survey->directory, MANIFEST_FILE, NULL);
    bool has_manifest = repair->survey->manifest_state != MANIFEST_MISSING;
    char *error = plan->write_manifest && has_manifest ? copy_away(repair, manifest) : NULL;
    if (error == NULL && plan->cut)
        error = copy_away(repair, survey_segment(repair->survey->segments, plan->base.last)->file.path);
    return error;
}

static char *replace_manifest(const Repair *repair)
{
    Manifest manifest = repair->survey->manifest;
    for (int f = 0; f < 2; f++) {
        if (repair->plan->drop[f]) manifest.checkpoint[f].whole = false;
    }
    g_strlcpy(manifest.state, MANIFEST_REPAIRED, sizeof(manifest.state));
    return manifest_write(repair->survey->directory, &manifest);
}

static char *move_checkpoints(const Repair *repair)
{
    char *error = NULL;
    for (int f = 0; f < 2 && error == NULL; f++) {
        const CheckpointSurvey *one = &repair->survey->checkpoint[f];
        if (!repair->plan->drop[f] || !one->exists) continue;
        g_autofree char *path = g_build_filename(repair->survey->directory, one->name, NULL);
        error = move_away(repair, repair->survey->directory, path);
    }
    return error;
}

static char *move_segments(const Repair *repair)
{
    const Plan *plan = repair->plan;
    GArray *segments = repair->survey->segments;
    char *error = NULL;
    for (guint i = segments->len; plan->cut && i > plan->base.last + 1 && error == NULL; i--)
        error = move_away(repair, repair->journal, survey_segment(segments, i - 1)->file.path);
    if (!plan->base.connected) { /* all of it, from the end: the beginning may be a base of its own */
        for (guint i = segments->len; i > 0 && error == NULL; i--)
            error = move_away(repair, repair->journal, survey_segment(segments, i - 1)->file.path);
        return error;
    }
    for (guint i = 0; i < plan->head && error == NULL; i++)
        error = move_away(repair, repair->journal, survey_segment(segments, i)->file.path);
    return error;
}

/* A start takes a checkpoint whose own segment of the journal is missing for damaged: what was written since is given
 * up, so there's an empty one. */
static char *begin_journal(const Repair *repair)
{
    Manifest manifest;
    char *error = NULL, path[4096];
    if (manifest_read(repair->survey->directory, &manifest, &error) != MANIFEST_READ) return error;
    int newest = manifest_newest(&manifest);
    if (newest < 0) return NULL;
    uint64_t offset = manifest.checkpoint[newest].offset;
    if (!ckj_path(path, sizeof(path), repair->survey->directory, offset))
        return g_strdup_printf("%s: too long a path", repair->journal);
    if (g_file_test(path, G_FILE_TEST_EXISTS)) return NULL;
    error = make_directory(repair->survey->directory, repair->journal);
    if (error != NULL) return error;
    char head[CKJ_HEAD_BYTES];
    ckj_put_head((uint8_t *)head, offset, manifest.history);
    return io_replace_file(path, (Slice){ head, sizeof(head) }) ? NULL : failed(path);
}

static char *run_steps(Repair *repair)
{
    const Plan *plan = repair->plan;
    char *error = make_lost(repair);
    if (error == NULL) error = copy_first(repair);
    if (error == NULL && plan->write_manifest) error = replace_manifest(repair);
    if (error == NULL) error = move_checkpoints(repair);
    if (error == NULL) error = move_segments(repair);
    if (error == NULL && plan->cut) error = journal_cut(repair->survey->directory, plan->base.reach);
    return error == NULL ? begin_journal(repair) : error;
}

char *repair_run(const Survey *survey, const Plan *plan)
{
    Repair repair = { .survey = survey, .plan = plan };
    repair.journal = g_build_filename(survey->directory, JOURNAL_DIRECTORY, NULL);
    char *error = run_steps(&repair);
    if (error == NULL) printf("Done; what was taken away is in %s.\n", repair.lost);
    g_free(repair.lost);
    g_free(repair.journal);
    return error;
}
