/* import.c: `ckv import`: an RDB file into a new data directory, or into a running server.
 *
 * Design. A directory is made in DIR/import.tmp: the whole dataset in memory, the journal's first segment, and one
 * checkpoint, from which the journal goes on; when MANIFEST names that, all is there, and is moved in place
 * (store/building.h). The history begins before the checkpoint, so a start never takes the journal alone for all there
 * is.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/options.h"
#include "store/building.h"
#include "store/checkpoint.h"
#include "store/io.h"
#include "store/journal.h"
#include "store/state.h"
#include "tools/feed.h"
#include "tools/rdbfile.h"
#include "tools/talk.h"

#define DATABASES     16
#define DATABASES_MAX 16384
#define SLICE_US      100000

/* Where the journal goes on behind the checkpoint; the history begins at 0. */
#define OFFSET 1

static const char summary[] =
    "Reads an RDB file (dump.rdb) of Redis up to 7.0; - is standard input.\n\n"
    "With --dir, makes a data directory of it, which ckv --dir DIR then serves. DIR mustn't have data. With --port or "
    "--socket, adds its keys to a running server's, which goes on serving; a key that is there already stays as it is "
    "and ends it, unless --replace is given. If it's killed, what was imported stays, and of a large key a part, as "
    "ckv-import-..., for a day. Keys that have expired are left out. Streams and values of modules can't be kept.\n\n"
    "Exit status: 0 all was imported; 1 it wasn't; 2 wrong usage.";

/* ---- into a new directory ---- */

/* Removes what isn't in place. */
static void give_up(void)
{
    if (chdir("..") == 0) state_remove(BUILDING_DIRECTORY);
}

static char *save_checkpoint(Keyspace *ks, Manifest *manifest)
{
    char *error = NULL;
    checkpoint_init(ks, manifest, NULL);
    if (!checkpoint_start(OFFSET, -1, clock_unix_ms, &error)) return error;
    for (;;) {
        switch (checkpoint_step(SLICE_US, OFFSET)) {
        case CHECKPOINT_AGAIN:
            if (!checkpoint_start(OFFSET, -1, clock_unix_ms, &error)) return error;
            break;
        case CHECKPOINT_DONE: tool_progress("checkpoint", -1); return NULL;
        case CHECKPOINT_FAILED: return g_strdup(checkpoint_status().error);
        case CHECKPOINT_WAIT: checkpoint_wait(); break;
        case CHECKPOINT_MORE: break;
        }
        CheckpointStatus status = checkpoint_status();
        tool_progress("checkpoint", (double)status.pages_done / (double)MAX(status.pages_total, 1));
    }
}

static void on_progress(void *context)
{
    (void)context;
}

static char *begin_journal(const Manifest *manifest)
{
    JournalStart start = { .offset = OFFSET,
                           .db = -1,
                           .history = manifest->history,
                           .sync = JOURNAL_SYNC_NO,
                           .segment_bytes = (uint64_t)options.journal_segment_bytes,
                           .progressed = on_progress };
    char *error = journal_open(&start);
    if (error != NULL) return error;
    return journal_close() ? NULL : g_strdup_printf("the journal: %s", journal_close_failure());
}

/* In the working directory. */
static char *build(RdbFile *file, int databases, RdbStats *stats)
{
    Manifest manifest;
    manifest_init(&manifest);
    table_set_secret(manifest.secret, sizeof(manifest.secret));
    Keyspace *ks = keyspace_new(databases);
    char *error = rdbfile_read(file, ks, stats);
    if (error == NULL) error = begin_journal(&manifest);
    if (error == NULL) error = save_checkpoint(ks, &manifest);
    manifest_clear(&manifest);
    return error; /* the keyspace goes with the process */
}

static char *refuse_data(const char *directory)
{
    static const char *const names[] = { MANIFEST_FILE, JOURNAL_DIRECTORY, "checkpoint-a.gdbm", "checkpoint-b.gdbm" };
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(directory, names[i], NULL);
        if (access(path, F_OK) == 0)
            return g_strdup_printf("%s has data (%s); give a new directory by --dir, or import into the server that "
                                   "uses it: --port, --socket",
                                   directory, names[i]);
    }
    return NULL;
}

/* Makes, locks and enters DIR/import.tmp. */
static char *enter_directory(const char *directory)
{
    char *error = NULL;
    bool running;
    g_autofree char *building = g_build_filename(directory, BUILDING_DIRECTORY, NULL);
    if (io->mkdir(directory, 0700) != 0 && errno != EEXIST) return state_errno(directory);
    if (!tool_lock(directory, &running, &error) || !building_finish(directory, &error)) return error;
    error = refuse_data(directory);
    if (error != NULL) return error;
    if (io->mkdir(building, 0700) != 0 || chdir(building) != 0) return state_errno(building);
    return NULL;
}

static ToolStatus import_directory(RdbFile *file, const char *directory, int databases)
{
    RdbStats stats;
    g_autofree char *error = enter_directory(directory);
    if (error != NULL) return tool_fail("%s", error);
    error = build(file, databases, &stats);
    if (error != NULL) {
        give_up();
        return tool_fail("%s; nothing was imported", error);
    }
    error = building_put_in_place("..");
    if (error != NULL) return tool_fail("%s; ckv --dir %s puts it in place when it can", error, directory);
    give_up(); /* nothing is left there */
    rdbfile_tell(file, &stats, "were imported");
    printf("Start it by: ckv --dir %s", directory);
    if (databases != DATABASES) printf(" --databases %d", databases);
    printf("\n");
    return TOOL_OK;
}

/* ---- the tool ---- */

ToolStatus tool_import(int argc, char **argv)
{
    int databases = DATABASES;
    gboolean replace = FALSE;
    const GOptionEntry entries[] = {
        { "databases", 0, 0, G_OPTION_ARG_INT, &databases, "how many there may be; 16", "N" },
        { "replace", 0, 0, G_OPTION_ARG_NONE, &replace, "replace keys that a running server has", NULL },
        TALK_OPTIONS,
        G_OPTION_ENTRY_NULL,
    };
    if (!talk_parse(&argc, &argv, "FILE", summary, entries)) return TOOL_USAGE;
    if (argc != 2 || databases < 1 || databases > DATABASES_MAX) {
        tool_fail("usage: ckv import FILE --dir DIR, or ckv import FILE --port N; see ckv import --help");
        return TOOL_USAGE;
    }
    RdbFile file;
    g_autofree char *error = NULL;
    if (!rdbfile_open(&file, argv[1], &error)) return tool_fail("%s", error);
    options_reset();
    clock_refresh();
    if (talk_names_server()) return feed_server(&file, replace, databases);
    return import_directory(&file, talk_options.dir == NULL ? TOOL_DIRECTORY : talk_options.dir, databases);
}
