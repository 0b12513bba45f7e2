/* survey.c: see survey.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "tools/survey.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/checkpoint.h"
#include "store/pagefile.h"
#include "store/record.h"
#include "tools/load.h"
#include "tools/tools.h"

char *survey_count(uint64_t number)
{
    g_autofree char *digits = g_strdup_printf("%" G_GUINT64_FORMAT, number);
    GString *text = g_string_new(NULL);
    for (size_t i = 0, len = strlen(digits); i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) g_string_append_c(text, ',');
        g_string_append_c(text, digits[i]);
    }
    return g_string_free(text, FALSE);
}

char *survey_time(int64_t unix_ms)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(unix_ms / 1000);
    return time == NULL ? g_strdup("an unknown time") : g_date_time_format(time, "%Y-%m-%d %H:%M:%S UTC");
}

/* ---- reading ---- */

/* A file that this user may not read isn't damaged. */
static void try_access(Survey *survey, const char *path)
{
    if (survey->unreadable != NULL || access(path, R_OK) == 0 || errno == ENOENT) return;
    survey->unreadable = g_strdup_printf("%s: %s", path, g_strerror(errno));
}

/* Nor does an error of the disk say that anything is damaged. What doesn't come back is damage in the copy. */
static void cant_read(Survey *survey, const char *why)
{
    if (survey->unreadable != NULL) return;
    survey->unreadable = g_strdup_printf("%s; try again. If it stays so, copy the directory to a good disk, with zeros "
                                         "for what can't be read (ddrescue; dd conv=noerror,sync), and repair the copy",
                                         why);
}

static char *path_of(const Survey *survey, const CheckpointSurvey *checkpoint)
{
    return g_build_filename(survey->directory, checkpoint->name, NULL);
}

/* Did a ckv to come write this file? Its record "ckv" says so, if it can be read. */
static bool is_of_other_version(const char *path)
{
    g_autofree char *error = NULL;
    PageFile *file = pagefile_open(path, PAGEFILE_READ, 0, &error);
    if (file == NULL) return false;
    Slice record = pagefile_get(file, RECORD_INFO, &error);
    g_autoptr(GKeyFile) facts = g_key_file_new();
    bool other = record.ptr != NULL &&
                 g_key_file_load_from_data(facts, record.ptr, record.len, G_KEY_FILE_NONE, NULL) &&
                 g_key_file_get_integer(facts, "ckv", "version", NULL) > MANIFEST_VERSION;
    free((void *)(uintptr_t)record.ptr);
    pagefile_abandon(file);
    return other;
}

static void count_problem(const char *text, void *context)
{
    (void)text;
    ++*(unsigned *)context;
}

static void verify_checkpoint(const Survey *survey, CheckpointSurvey *checkpoint)
{
    g_autofree char *path = path_of(survey, checkpoint);
    unsigned problems = 0;
    tool_progress(checkpoint->name, 0);
    g_autofree char *first = checkpoint_verify(path, &checkpoint->info, count_problem, &problems);
    tool_progress(checkpoint->name, -1);
    if (first == NULL) return;
    checkpoint->problem = problems < 2 ? g_strdup(first) : g_strdup_printf("%s (and %u more)", first, problems - 1);
}

/* Checksums say that nothing was changed by chance. That keys are in their pages, and that all there is fits together,
 * only a load tells; and what is damaged may be what a load doesn't need: the record "ckv". */
static void try_checkpoint(const Survey *survey, CheckpointSurvey *checkpoint, const uint8_t *secret)
{
    g_autofree char *path = path_of(survey, checkpoint), *error = NULL;
    verify_checkpoint(survey, checkpoint);
    checkpoint->loads = load_is_possible(path, &checkpoint->info, secret, &error);
    if (checkpoint->problem == NULL) checkpoint->problem = g_steal_pointer(&error);
}

/* What the file says about itself, for want of a MANIFEST. */
static void read_facts(Survey *survey, CheckpointSurvey *checkpoint)
{
    g_autofree char *path = path_of(survey, checkpoint);
    if (!checkpoint->exists) return;
    checkpoint->listed = checkpoint_read_info(path, &checkpoint->info, checkpoint->secret, &checkpoint->problem);
    if (checkpoint->listed) {
        struct stat now;
        if (stat(path, &now) == 0) checkpoint->info.file_bytes = (uint64_t)now.st_size;
        try_checkpoint(survey, checkpoint, checkpoint->secret);
    } else if (is_of_other_version(path)) {
        survey->other_version = true;
    }
}

static void read_checkpoint(Survey *survey, int slot, bool backup)
{
    CheckpointSurvey *checkpoint = &survey->checkpoint[slot];
    checkpoint->name = g_strdup(backup ? "checkpoint.gdbm" : checkpoint_file_name[slot]);
    g_autofree char *path = path_of(survey, checkpoint);
    checkpoint->exists = access(path, F_OK) == 0;
    try_access(survey, path);
    if (survey->manifest_state != MANIFEST_READ) {
        read_facts(survey, checkpoint);
        return;
    }
    checkpoint->info = survey->manifest.checkpoint[slot];
    checkpoint->listed = checkpoint->info.whole;
    if (checkpoint->listed) try_checkpoint(survey, checkpoint, survey->manifest.secret);
}

/* ---- a MANIFEST from the files ---- */

/* The history that was written last: that of the last segment whose head is good, or the checkpoint's. */
static const char *last_history(const Survey *survey, const CheckpointSurvey *newest)
{
    for (guint i = survey->segments->len; i-- > 0;) {
        const SegmentSurvey *segment = survey_segment(survey->segments, i);
        if (segment->head_good && (newest == NULL || segment->end >= newest->info.offset)) return segment->history;
    }
    return newest == NULL ? NULL : newest->info.history;
}

static const CheckpointSurvey *newest_whole(const Survey *survey)
{
    const CheckpointSurvey *newest = NULL;
    for (int f = 0; f < 2; f++) {
        const CheckpointSurvey *one = &survey->checkpoint[f];
        if (survey_whole(one) && (newest == NULL || one->info.offset > newest->info.offset)) newest = one;
    }
    return newest;
}

static void rebuild_manifest(Survey *survey)
{
    const CheckpointSurvey *newest = newest_whole(survey);
    const char *history = last_history(survey, newest);
    if (history == NULL) return; /* there's nothing to make one from */
    manifest_init(&survey->manifest);
    survey->rebuilt = true;
    g_strlcpy(survey->manifest.history, history, sizeof(survey->manifest.history));
    if (newest == NULL) return;
    memcpy(survey->manifest.secret, newest->secret, MANIFEST_SECRET_BYTES);
    for (int f = 0; f < 2; f++) {
        CheckpointSurvey *one = &survey->checkpoint[f];
        if (!survey_whole(one)) continue;
        if (memcmp(one->secret, newest->secret, MANIFEST_SECRET_BYTES) == 0) {
            survey->manifest.checkpoint[f] = one->info;
        } else {
            one->loads = false;
            g_free(one->problem);
            one->problem = g_strdup_printf("%s: it's of another directory: its secret is another one", one->name);
        }
    }
}

static void read_journal(Survey *survey)
{
    survey->segments = survey_journal(survey->directory, &survey->journal_problem);
    if (survey->segments == NULL) survey->segments = g_array_new(FALSE, TRUE, sizeof(SegmentSurvey));
    for (guint i = 0; i < survey->segments->len; i++) {
        const SegmentSurvey *segment = survey_segment(survey->segments, i);
        survey->other_version |= segment->other_version;
        try_access(survey, segment->file.path);
        g_autofree char *why = g_strdup_printf("%s: %s", segment->file.path, segment->problem);
        if (segment->unreadable) cant_read(survey, why);
    }
    if (survey->unreadable == NULL) survey->unreadable = g_strdup(survey->journal_problem);
}

/* Once it's known where the history begins. */
static void read_beginnings(Survey *survey)
{
    for (int f = 0; f < 2 && survey->journal_problem == NULL; f++) {
        CheckpointSurvey *one = &survey->checkpoint[f];
        if (!survey_whole(one)) continue;
        one->missing = journal_check_begins(survey->directory, one->name, one->info.offset, survey->manifest.start);
    }
}

void survey_read(Survey *survey, const char *directory, bool backup)
{
    *survey = (Survey){ .directory = g_strdup(directory) };
    g_autofree char *manifest = g_build_filename(directory, MANIFEST_FILE, NULL);
    try_access(survey, manifest);
    survey->manifest_state = manifest_read(directory, &survey->manifest, &survey->manifest_problem);
    if (survey->manifest_state == MANIFEST_BAD && errno != 0) cant_read(survey, survey->manifest_problem);
    g_free(pagefile_take_failure());
    if (survey->manifest_state == MANIFEST_MISSING)
        survey->manifest_problem = g_strdup_printf("%s/" MANIFEST_FILE " is missing", directory);
    /* The checksum is right then, and only the version isn't. */
    survey->other_version =
        survey->manifest_state == MANIFEST_BAD && strstr(survey->manifest_problem, "another ckv wrote it") != NULL;
    for (int slot = 0; slot < (backup ? 1 : 2); slot++)
        read_checkpoint(survey, slot, backup);
    g_autofree char *failure = pagefile_take_failure();
    if (failure != NULL) cant_read(survey, failure);
    read_journal(survey);
    if (survey->manifest_state != MANIFEST_READ) {
        manifest_clear(&survey->manifest);
        rebuild_manifest(survey);
    }
    if (!backup) read_beginnings(survey);
}

void survey_clear(Survey *survey)
{
    for (int f = 0; f < 2; f++) {
        g_free(survey->checkpoint[f].name);
        g_free(survey->checkpoint[f].problem);
        g_free(survey->checkpoint[f].missing);
    }
    g_array_unref(survey->segments);
    manifest_clear(&survey->manifest);
    g_free(survey->directory);
    g_free(survey->manifest_problem);
    g_free(survey->journal_problem);
    g_free(survey->unreadable);
}

/* ---- what can be made of it ---- */

bool survey_whole(const CheckpointSurvey *checkpoint)
{
    return checkpoint->listed && (checkpoint->problem == NULL || checkpoint->loads);
}

static bool follows(GArray *segments, guint index)
{
    const SegmentSurvey *segment = survey_segment(segments, index), *before = segment - 1;
    return before->problem == NULL && before->end == segment->file.offset;
}

/* Follows the journal from base->offset on. */
static void connect_journal(const Survey *survey, Base *base)
{
    GArray *segments = survey->segments;
    base->reach = base->offset;
    base->connected = segments->len == 0 && survey->journal_problem == NULL;
    guint at = segments->len;
    while (at > 0 && survey_segment(segments, at - 1)->file.offset > base->offset)
        at--;
    if (at == 0 || survey_segment(segments, at - 1)->end < base->offset) return;
    base->connected = true;
    base->first = base->last = base->chain = at - 1;
    while (base->last + 1 < segments->len && follows(segments, base->last + 1))
        base->last++;
    while (base->chain > 0 && follows(segments, base->chain))
        base->chain--;
    base->reach = survey_segment(segments, base->last)->end;
}

/* Whether the journal has all there ever was, or there never was anything. */
static bool has_beginning(const Survey *survey)
{
    bool listed = survey->checkpoint[0].listed || survey->checkpoint[1].listed;
    if (survey->segments->len == 0) return survey->journal_problem == NULL && !listed && !survey->rebuilt;
    if (survey_segment(survey->segments, 0)->file.offset > survey->manifest.start) return false;
    Manifest manifest = survey->manifest;
    for (int f = 0; f < 2; f++) { /* one that was made from the files hasn't those that are damaged */
        const CheckpointSurvey *one = &survey->checkpoint[f];
        if (one->listed) manifest.checkpoint[f] = one->info;
    }
    return manifest_begins_empty(&manifest);
}

Base survey_base(const Survey *survey, int slot)
{
    bool manifest = survey->manifest_state == MANIFEST_READ || survey->rebuilt;
    Base base = { .slot = slot };
    base.found = manifest && (slot < 0 ? has_beginning(survey) : survey_whole(&survey->checkpoint[slot]));
    if (!base.found) return base;
    base.offset = slot < 0 ? survey->manifest.start : survey->checkpoint[slot].info.offset;
    base.missing = slot >= 0 && survey->checkpoint[slot].missing != NULL;
    connect_journal(survey, &base);
    base.found = slot >= 0 || base.connected;
    return base;
}

const char *survey_history(const Survey *survey)
{
    const Manifest *manifest = &survey->manifest;
    bool any = survey->manifest_state != MANIFEST_READ || manifest->history2[0] != '\0' ||
               strcmp(manifest->state, MANIFEST_REPAIRED) == 0;
    return any ? NULL : manifest->history;
}

const SegmentSurvey *survey_stranger(const Survey *survey, const Base *base)
{
    const char *history = survey_history(survey);
    if (history == NULL || !base->found || !base->connected) return NULL;
    for (guint i = base->first; i < survey->segments->len && i <= base->last; i++) {
        const SegmentSurvey *segment = survey_segment(survey->segments, i);
        if (segment->head_good && strcmp(segment->history, history) != 0) return segment;
    }
    return NULL;
}

static bool sound(const Survey *survey, const Base *base)
{
    return base->slot < 0 || survey->checkpoint[base->slot].problem == NULL;
}

static bool better(const Survey *survey, const Base *a, const Base *b)
{
    if (!a->found || !b->found) return a->found;
    if (a->reach != b->reach) return a->reach > b->reach;
    if (a->connected != b->connected) return a->connected;
    if (sound(survey, a) != sound(survey, b)) return sound(survey, a);
    return a->offset > b->offset;
}

Base survey_best(const Survey *survey)
{
    Base best = survey_base(survey, -1);
    for (int slot = 0; slot < 2; slot++) {
        Base base = survey_base(survey, slot);
        if (better(survey, &base, &best)) best = base;
    }
    return best;
}
