/* building.c: see building.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/building.h"

#include <glib.h>
#include <unistd.h>

#include "store/checkpoint.h"
#include "store/io.h"
#include "store/journal.h"
#include "store/state.h"

static char *move(const char *dir, const char *name)
{
    g_autofree char *from = g_build_filename(dir, BUILDING_DIRECTORY, name, NULL);
    g_autofree char *to = g_build_filename(dir, name, NULL);
    if (access(from, F_OK) != 0) return NULL; /* it's in place */
    if (io->rename(from, to) != 0) return state_errno(to);
    return io_sync_directory(dir) ? NULL : state_errno(dir);
}

char *building_put_in_place(const char *dir)
{
    static const char *const names[] = { JOURNAL_DIRECTORY, "checkpoint-a.gdbm", MANIFEST_FILE };
    char *error = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(names) && error == NULL; i++)
        error = move(dir, names[i]);
    return error;
}

/* Whether its MANIFEST names the checkpoint. It doesn't from the checkpoint's first byte on until that is finished.
 * False with *error: MANIFEST can't be read. */
static bool is_whole(const char *building, char **error)
{
    Manifest manifest;
    *error = NULL;
    if (manifest_read(building, &manifest, error) != MANIFEST_READ) return false;
    bool whole = manifest_newest(&manifest) == 0;
    manifest_clear(&manifest);
    return whole;
}

bool building_finish(const char *dir, char **error)
{
    g_autofree char *building = g_build_filename(dir, BUILDING_DIRECTORY, NULL);
    g_autofree char *manifest = g_build_filename(dir, MANIFEST_FILE, NULL);
    *error = NULL;
    if (access(manifest, F_OK) != 0 && is_whole(building, error)) *error = building_put_in_place(dir);
    if (*error == NULL && !state_remove(building)) *error = state_errno(building);
    return *error == NULL;
}
