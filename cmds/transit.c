/* transit.c: see transit.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/transit.h"

#include <errno.h>
#include <unistd.h>

#include "base/background.h"
#include "base/clock.h"
#include "base/log.h"
#include "cmds/checkpoints.h"
#include "cmds/command.h"
#include "cmds/effect.h"
#include "cmds/persist.h"
#include "store/checkpoint.h"
#include "store/io.h"
#include "store/state.h"

#define TRANSIT_DIRECTORY "upgrade.tmp"

static Manifest manifest; /* the secret is the hash's as long as the data lives, in whatever process */
static bool begun;
static GThread *remover;
static int removing; /* atomic */

void transit_init(void)
{
    manifest_init(&manifest);
    table_set_secret(manifest.secret, sizeof(manifest.secret));
}

/* ---- the directory ---- */

void transit_clean(void)
{
    if (!state_remove(TRANSIT_DIRECTORY))
        log_line(LOG_WARNING, TRANSIT_DIRECTORY " can't be removed: %s.", g_strerror(errno));
}

static gpointer remove_directory(gpointer unused)
{
    (void)unused;
    transit_clean();
    g_atomic_int_set(&removing, 0);
    return NULL;
}

static void leave_directory(void)
{
    if (chdir("..") != 0) {
        log_line(LOG_WARNING, "The data directory can't be entered again: %s.", g_strerror(errno));
        return;
    }
    g_autofree char *no_thread = NULL;
    g_atomic_int_set(&removing, 1);
    remover = background_start("ckv-remover", remove_directory, NULL, &no_thread);
    if (remover == NULL) remove_directory(NULL); /* it takes long, but else the data would be there twice */
}

void transit_finish(void)
{
    if (remover != NULL) g_thread_join(g_steal_pointer(&remover));
}

bool transit_idle(void)
{
    if (g_atomic_int_get(&removing)) return false;
    transit_finish();
    return true;
}

/* ---- the old process ---- */

/* NULL or what is wrong. */
static char *begin_files(void)
{
    const JournalStart start = {
        .db = -1,
        .history = manifest.history,
        .sync = JOURNAL_SYNC_NO,
        .segment_bytes = UINT64_MAX, /* only a finished one would be synced */
        .aside = true,
    };
    char *error = journal_open(&start);
    if (error != NULL) return error;
    effects_start_aside();
    checkpoint_start(journal_offset(), journal_db(), clock_unix_ms, &error);
    if (error == NULL) checkpoints_walk();
    return error;
}

bool transit_begin(char **error)
{
    if (io->mkdir(TRANSIT_DIRECTORY, 0700) != 0) {
        *error = state_errno(TRANSIT_DIRECTORY);
        return false;
    }
    if (chdir(TRANSIT_DIRECTORY) != 0) {
        *error = state_errno(TRANSIT_DIRECTORY);
        transit_clean();
        return false;
    }
    begun = true;
    checkpoint_init(keyspace, &manifest, NULL);
    *error = begin_files();
    if (*error != NULL) transit_end();
    return *error == NULL;
}

bool transit_is_whole(void)
{
    return manifest_newest(&manifest) >= 0;
}

const char *transit_trouble(void)
{
    if (!begun) return NULL;
    if (effects_lost()) return "a client changed more at once than can be handed over";
    const char *trouble = checkpoint_status().error;
    return trouble != NULL ? trouble : journal_trouble();
}

void transit_end(void)
{
    if (!begun) return;
    begun = false;
    checkpoint_forget_files();
    effects_stop_aside();
    journal_drop();
    leave_directory();
}

/* ---- the new process ---- */

bool transit_enter(char **error)
{
    if (chdir(TRANSIT_DIRECTORY) == 0) return true;
    *error = state_errno(TRANSIT_DIRECTORY);
    return false;
}

void transit_arrived(void)
{
    manifest = persist_manifest;
    manifest.checkpoint[0].whole = manifest.checkpoint[1].whole = false;
    persist_manifest = (Manifest){ 0 };
    leave_directory();
}
