/* rollback.c: `ckv rollback`: takes a running server or its directory back to a backup or a moment.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "store/backup.h"
#include "store/state.h"
#include "tools/talk.h"
#include "tools/tools.h"

#define SECONDS_MAX 1e11 /* the year 5138 */

/* Unix seconds, or a date and time, local if it names no zone. */
static bool parse_moment(const char *text, int64_t *unix_ms)
{
    char *end;
    double seconds = g_ascii_strtod(text, &end);
    if (end != text && *end == '\0') {
        *unix_ms = (int64_t)floor(seconds * 1000 + 0.5);
        return seconds >= 0 && seconds < SECONDS_MAX;
    }
    g_autoptr(GTimeZone) local = g_time_zone_new_local();
    g_autoptr(GDateTime) time = g_date_time_new_from_iso8601(text, local);
    if (time == NULL) return false;
    *unix_ms = g_date_time_to_unix(time) * 1000 + g_date_time_get_microsecond(time) / 1000;
    return true;
}

static void on_progress(double part, void *context)
{
    tool_progress(context, part);
}

/* The id of the backup of what there was, or NULL and *error. */
static char *roll_back_offline(const RollbackTarget *target, char **error)
{
    char before[BACKUP_ID_CHARS + 1];
    bool begun;
    StateWork work = { on_progress, "rollback" };
    *error = rollback_build(talk_options.dir, target, NULL, &work);
    tool_progress("rollback", -1);
    if (*error != NULL) return NULL;
    g_autofree char *note = target->id != NULL
                                ? g_strdup_printf("before rollback to %s", target->id)
                                : g_strdup_printf("before rollback to %" G_GINT64_FORMAT, target->unix_ms);
    *error = rollback_swap(talk_options.dir, note, ROLLBACK_FIND_END, before, &begun);
    if (*error == NULL) return g_strdup(before);
    if (begun) {
        char *why = *error;
        *error = g_strdup_printf("%s; the next start of the server finishes it", why);
        g_free(why);
    } else {
        g_autofree char *building = g_build_filename(talk_options.dir, ROLLBACK_BUILDING, NULL);
        state_remove(building);
    }
    return NULL;
}

static char *roll_back_online(Talk *talk, const RollbackTarget *target, char **error)
{
    g_autofree char *moment = g_strdup_printf("%" G_GINT64_FORMAT, target->unix_ms);
    g_auto(GStrv) reply = target->id != NULL ? talk_ask(talk, error, "ROLLBACK", target->id, NULL)
                                             : talk_ask(talk, error, "ROLLBACK", "TO", moment, NULL);
    return reply == NULL ? NULL : talk_await(talk, "ROLLBACK", "rollback", error);
}

static ToolStatus roll_back(const RollbackTarget *target)
{
    Talk *talk;
    if (!talk_open(&talk)) return TOOL_FAILED;
    g_autofree char *error = NULL;
    g_autofree char *before = talk != NULL ? roll_back_online(talk, target, &error) : roll_back_offline(target, &error);
    talk_free(talk);
    if (before == NULL) return tool_fail("%s", error);
    printf("what there was is kept as backup %s\n", before);
    return TOOL_OK;
}

ToolStatus tool_rollback(int argc, char **argv)
{
    g_autofree char *to = NULL;
    const GOptionEntry entries[] = { { "to", 0, 0, G_OPTION_ARG_STRING, &to, "the moment, instead of an ID", "TIME" },
                                     TALK_OPTIONS,
                                     G_OPTION_ENTRY_NULL };
    const char *summary =
        "Goes back to a backup, or to what there was at a moment. What it replaces is kept as a backup, so it can be\n"
        "undone. TIME: seconds since 1970 (1795620600.25), \"2026-11-25 15:30:00\" in local time, or with a zone as\n"
        "2026-11-25T15:30:00Z. A running server answers LOADING while it loads the data.\n\n"
        "Exit status: 0 it's done; 1 it isn't; 2 wrong usage.";
    if (!talk_parse(&argc, &argv, "ID | --to TIME", summary, entries)) return TOOL_USAGE;
    RollbackTarget target = { .id = argc > 1 ? argv[1] : NULL };
    if (argc > 2 || (target.id == NULL) == (to == NULL)) {
        tool_fail("usage: ckv rollback ID | --to TIME; see ckv rollback --help");
        return TOOL_USAGE;
    }
    if (to != NULL && !parse_moment(to, &target.unix_ms)) {
        tool_fail("--to %s: not a time; write seconds since 1970, or \"YYYY-MM-DD HH:MM:SS\"", to);
        return TOOL_USAGE;
    }
    return roll_back(&target);
}
