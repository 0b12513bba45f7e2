/* check.c: `ckv check`: verifies a data directory, says what a start would make of it, and repairs it if asked.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/backup.h"
#include "tools/repair.h"
#include "tools/survey.h"
#include "tools/tools.h"

#define BACKUPS_DIRECTORY "backups"

static const char summary[] =
    "Verifies every record of the checkpoints, every batch of the journal, and the backups of a data directory that no "
    "server is using, and says what a start would load.\n\n"
    "If something is damaged, it says what --repair would do and what would be lost by it; with --repair it does that. "
    "What a repair takes away is kept in DIR/lost/TIME. Backups are never changed. Nothing is repaired while a file "
    "can't be read: that may go away, and what doesn't is damage in a copy that has zeros there (ddrescue).\n\n"
    "Exit status: 0 all is well, or was repaired; 1 it can't be checked, or nothing is left to repair; 2 wrong usage; "
    "3 something is damaged.";

/* ---- telling what there is: each returns the number of problems ---- */

static unsigned tell_manifest(const Survey *survey, const char *label)
{
    if (survey->manifest_state == MANIFEST_READ) {
        printf("%s" MANIFEST_FILE ": ok, history %s\n", label, survey->manifest.history);
        return 0;
    }
    printf("%s" MANIFEST_FILE ": PROBLEM: %s\n", label, survey->manifest_problem);
    return 1;
}

static unsigned tell_checkpoint(const CheckpointSurvey *one, const char *label)
{
    if (one->name == NULL || (!one->listed && !one->exists)) return 0;
    if (one->problem != NULL) {
        printf("%s%s: PROBLEM: %s%s\n", label, one->name, one->problem, one->loads ? "; it can be loaded" : "");
        return 1;
    }
    if (!one->listed) {
        printf("%s%s: not in use (one that wasn't finished)\n", label, one->name);
        return 0;
    }
    g_autofree char *records = survey_count(one->info.records), *keys = survey_count(one->info.keys);
    g_autofree char *when = survey_time(one->info.unix_ms);
    printf("%s%s: ok, %s records, %s keys, journal offset %" G_GUINT64_FORMAT ", of %s\n", label, one->name, records,
           keys, one->info.offset, when);
    return 0;
}

static void tell_whole_segment(const SegmentSurvey *segment, const char *label, const char *name)
{
    g_autofree char *batches = survey_count(segment->good.batches);
    printf("%s%s: ok, %s batches, offset %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, label, name, batches,
           segment->file.offset, segment->end);
    if (segment->good.batches > 0) {
        g_autofree char *from = survey_time(segment->good.first_ms), *to = survey_time(segment->good.last_ms);
        printf(", of %s to %s", from, to);
    }
    printf("\n");
}

static unsigned tell_segment(GArray *segments, guint index, const char *label)
{
    const SegmentSurvey *segment = survey_segment(segments, index);
    g_autofree char *base = g_path_get_basename(segment->file.path);
    g_autofree char *name = g_build_filename(JOURNAL_DIRECTORY, base, NULL);
    unsigned problems = 0;
    const SegmentSurvey *before = index == 0 ? NULL : segment - 1;
    if (before != NULL && before->problem == NULL && before->end != segment->file.offset) {
        printf("%s%s: PROBLEM: the segment before it ends at offset %" G_GUINT64_FORMAT ", not where this begins\n",
               label, name, before->end);
        problems++;
    }
    if (segment->problem == NULL) {
        tell_whole_segment(segment, label, name);
        return problems;
    }
    printf("%s%s: PROBLEM: %s\n", label, name, segment->problem);
    return problems + 1;
}

/* Whether the journal goes on from a whole checkpoint, as a start wants it to. The older one need not have it: it isn't
 * needed. */
static unsigned tell_continuity(const Survey *survey, int slot, bool newest, const char *label)
{
    Base base = survey_base(survey, slot);
    if (!base.found) return 0;
    const char *name = survey->checkpoint[slot].name;
    if (!base.connected || base.missing) {
        g_autofree char *why =
            base.connected
                ? g_strdup_printf("no segment begins at offset %" G_GUINT64_FORMAT ", where %s ends", base.offset, name)
                : g_strdup_printf("it doesn't go on from %s (offset %" G_GUINT64_FORMAT ")", name, base.offset);
        printf("%sjournal: %s%s%s\n", label, newest ? "PROBLEM: " : "", why,
               newest ? "" : ", which can't be fallen back to");
        return newest;
    }
    if (survey->segments->len > 0) {
        g_autofree char *bytes = survey_count(base.reach - base.offset);
        printf("%sjournal: goes on from %s without a gap to offset %" G_GUINT64_FORMAT " (%s bytes of commands)\n",
               label, name, base.reach, bytes);
    } else {
        printf("%sjournal: there's none behind %s\n", label, name);
    }
    return 0;
}

static int newest_slot(const Survey *survey)
{
    int newest = -1;
    for (int f = 0; f < 2; f++) {
        const CheckpointSurvey *one = &survey->checkpoint[f];
        if (!survey_whole(one)) continue;
        if (newest < 0 || one->info.offset > survey->checkpoint[newest].info.offset) newest = f;
    }
    return newest;
}

static unsigned tell_all(const Survey *survey, const char *label)
{
    unsigned problems = tell_manifest(survey, label);
    for (int f = 0; f < 2; f++)
        problems += tell_checkpoint(&survey->checkpoint[f], label);
    if (survey->journal_problem != NULL) {
        printf("%sjournal: PROBLEM: %s\n", label, survey->journal_problem);
        problems++;
    }
    for (guint i = 0; i < survey->segments->len; i++)
        problems += tell_segment(survey->segments, i, label);
    int newest = newest_slot(survey);
    if (newest >= 0) problems += tell_continuity(survey, newest, true, label);
    if (newest >= 0) problems += tell_continuity(survey, 1 - newest, false, label);
    return problems;
}

/* Whether the journal is of the history that a start wants it to be of: how many problems that makes. */
static unsigned tell_history(const Survey *survey)
{
    Base base = survey_best(survey);
    const SegmentSurvey *stranger = survey_stranger(survey, &base);
    if (stranger == NULL) return 0;
    printf("journal: PROBLEM: %s is of history %s, and MANIFEST of %s\n", stranger->file.path, stranger->history,
           survey->manifest.history);
    return 1;
}

/* ---- what a start would load ---- */

/* Reads the journal as a start does. True: it would be content with it. */
static bool try_journal(const Survey *survey, uint64_t offset, uint64_t *end, char **error)
{
    JournalReader *reader = journal_reader_new(survey->directory, offset, survey_history(survey), error);
    if (reader == NULL) return false;
    JournalBatch batch;
    JournalRead result;
    do {
        result = journal_read(reader, &batch);
    } while (result == JOURNAL_BATCH);
    *end = journal_reader_offset(reader);
    if (result == JOURNAL_BAD) *error = g_strdup(journal_reader_error(reader));
    journal_reader_free(reader);
    return result != JOURNAL_BAD;
}

static void tell_start(const Survey *survey)
{
    int slot = newest_slot(survey);
    Base base = survey_base(survey, slot);
    g_autofree char *error = NULL;
    uint64_t end = 0;
    if (survey->manifest_state != MANIFEST_READ) {
        printf("A start would refuse this directory: %s.\n", survey->manifest_problem);
    } else if (!base.found) {
        printf("A start would refuse this directory: no checkpoint is whole, and the journal doesn't begin with the "
               "history.\n");
    } else if (base.missing) {
        printf("A start would refuse this directory: %s.\n", survey->checkpoint[slot].missing);
    } else if (!try_journal(survey, base.offset, &end, &error)) {
        printf("A start would refuse this directory: %s.\n", error);
    } else {
        printf("A start would load %s, and the journal from offset %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT ".\n",
               slot < 0 ? "no checkpoint" : survey->checkpoint[slot].name, base.offset, end);
    }
}

/* ---- backups ---- */

static unsigned check_backup(const char *directory, const char *id, bool *unreadable)
{
    g_autofree char *path = g_build_filename(directory, BACKUPS_DIRECTORY, id, NULL);
    g_autofree char *label = g_strdup_printf(BACKUPS_DIRECTORY "/%s/", id);
    Survey survey;
    survey_read(&survey, path, true);
    unsigned problems = tell_all(&survey, label);
    if (survey.manifest_state == MANIFEST_READ && !survey.checkpoint[0].listed && !survey_base(&survey, -1).found) {
        printf("%s: PROBLEM: it has no checkpoint\n", label);
        problems++;
    }
    Base base = survey_base(&survey, survey.checkpoint[0].listed ? 0 : -1);
    if (survey.manifest_state == MANIFEST_READ && base.found && base.connected && base.reach != survey.manifest.end) {
        printf("%sjournal: PROBLEM: it ends at offset %" G_GUINT64_FORMAT ", not at %" G_GUINT64_FORMAT
               " as MANIFEST says\n",
               label, base.reach, survey.manifest.end);
        problems++;
    }
    if (survey.unreadable != NULL) tool_fail("%s", survey.unreadable);
    *unreadable |= survey.unreadable != NULL;
    survey_clear(&survey);
    return problems;
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Their ids, in order. NULL: *error. */
static GPtrArray *list_backups(const char *path, char **error)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(GDir) dir = g_dir_open(path, 0, &failure);
    if (dir == NULL && !g_error_matches(failure, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
        *error = g_strdup(failure->message);
        return NULL;
    }
    GPtrArray *ids = g_ptr_array_new_with_free_func(g_free);
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *one = g_build_filename(path, name, NULL);
        struct stat about;
        bool unfinished = name[0] == '.' || g_str_has_suffix(name, ".tmp");
        /* What can't be looked at may be one: then its MANIFEST can't be read, which is said. */
        bool other = stat(one, &about) == 0 && !S_ISDIR(about.st_mode);
        if (!unfinished && !other) g_ptr_array_add(ids, g_strdup(name));
    }
    g_ptr_array_sort(ids, compare_names);
    return ids;
}

static ToolStatus check_backups(const char *directory)
{
    g_autofree char *path = g_build_filename(directory, BACKUPS_DIRECTORY, NULL), *error = NULL;
    g_autoptr(GPtrArray) ids = list_backups(path, &error);
    if (ids == NULL) return tool_fail("%s; the backups weren't verified", error);
    unsigned problems = 0;
    bool unreadable = false;
    for (guint i = 0; i < ids->len; i++)
        problems += check_backup(directory, ids->pdata[i], &unreadable);
    if (unreadable) return TOOL_FAILED; /* which was said: it may not be damaged */
    if (problems == 0) return TOOL_OK;
    printf("%u problems in backups, which aren't repaired: make a new one, and delete those that are damaged.\n",
           problems);
    return TOOL_DAMAGE;
}

/* ---- the tool ---- */

/* Why nothing can be done. */
static ToolStatus tell_nothing_left(const Survey *survey)
{
    if (survey->unreadable != NULL) return tool_fail("%s. Nothing was changed", survey->unreadable);
    if (survey->other_version) {
        return tool_fail("%s: it was written by another version of ckv; use that one. Nothing was changed",
                         survey->directory);
    }
    return tool_fail("%s: nothing whole is left that a repair could begin from. Nothing was changed; to go back to a "
                     "backup: ckv backup list, ckv rollback ID",
                     survey->directory);
}

static ToolStatus repair_data(const Survey *survey, const Plan *plan, bool repair)
{
    if (!repair_needed(plan)) {
        printf("There's nothing to repair: the next two checkpoints write the files anew.\n");
        return TOOL_DAMAGE;
    }
    repair_tell(survey, plan, repair);
    if (!repair) return TOOL_DAMAGE;
    g_autofree char *error = repair_run(survey, plan);
    if (error != NULL) return tool_fail("%s; run ckv check again", error);
    if (plan->base.slot < 0 || survey->checkpoint[plan->base.slot].problem == NULL) return TOOL_OK;
    printf("%s stays as it is, since it's needed; the next two checkpoints write the files anew.\n",
           survey->checkpoint[plan->base.slot].name);
    return TOOL_DAMAGE;
}

static ToolStatus check_data(const char *directory, bool repair)
{
    Survey survey;
    survey_read(&survey, directory, false);
    unsigned problems = tell_all(&survey, "") + tell_history(&survey);
    tell_start(&survey);
    fflush(stdout);
    Plan plan = repair_plan(&survey);
    ToolStatus status = !plan.base.found ? tell_nothing_left(&survey)
                        : problems > 0   ? repair_data(&survey, &plan, repair)
                                         : TOOL_OK;
    survey_clear(&survey);
    return status;
}

/* NULL, or why there's nothing to check. */
static char *look_for_data(const char *directory)
{
    static const char *const names[] = { MANIFEST_FILE, JOURNAL_DIRECTORY, "checkpoint-a.gdbm", "checkpoint-b.gdbm" };
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(directory, names[i], NULL);
        if (access(path, F_OK) == 0) return NULL;
        if (errno != ENOENT) return g_strdup_printf("%s: %s", path, g_strerror(errno));
    }
    return g_strdup_printf("%s: there's no data here", directory);
}

static ToolStatus check_directory(const char *directory, bool repair)
{
    bool running;
    g_autofree char *error = look_for_data(directory);
    if (error != NULL) return tool_fail("%s", error);
    if (!tool_lock(directory, &running, &error)) {
        return running ? tool_fail("%s; stop it first, or verify a backup: ckv backup verify", error)
                       : tool_fail("%s", error);
    }
    error = backup_unfinished_swap(directory);
    if (error != NULL) return tool_fail("%s", error);
    ToolStatus status = check_data(directory, repair), backups = check_backups(directory);
    return status == TOOL_OK ? backups : status;
}

ToolStatus tool_check(int argc, char **argv)
{
    g_autofree char *directory = NULL;
    gboolean repair = FALSE;
    const GOptionEntry entries[] = {
        { "repair", 0, 0, G_OPTION_ARG_NONE, &repair, "do what is needed for a start, and keep what is removed", NULL },
        { "dir", 0, 0, G_OPTION_ARG_FILENAME, &directory, "the data directory (" TOOL_DIRECTORY ")", "DIR" },
        G_OPTION_ENTRY_NULL,
    };
    if (!tool_parse(&argc, &argv, "[DIR]", summary, entries)) return TOOL_USAGE;
    if (argc > 2 || (argc == 2 && directory != NULL)) {
        fprintf(stderr, "ckv check: one directory at a time; see ckv check --help\n");
        return TOOL_USAGE;
    }
    if (directory == NULL) directory = g_strdup(argc == 2 ? argv[1] : TOOL_DIRECTORY);
    return check_directory(directory, repair);
}
