/* load.c: see load.h.
 *
 * Design. It's not known before how many databases there are. So the keyspace begins with a few, and all is loaded
 * again into more if a checkpoint says that it needs them, or the journal turns out to.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "tools/load.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/options.h"
#include "cmds/command.h"
#include "cmds/replay.h"
#include "store/checkpoint.h"
#include "store/grave.h"
#include "store/journal.h"
#include "store/manifest.h"
#include "store/state.h"
#include "store/table.h"
#include "tools/tools.h"

#define DATABASES_FIRST 16
#define DATABASES_MAX   16384
#define SLICE_US        100000

typedef struct Load {
    const char *directory;
    bool backup;
    Manifest manifest;
    bool failed[2]; /* the checkpoint isn't whole */
    int databases;
    bool too_few;
    uint64_t offset; /* where the journal goes on */
    uint64_t journal_bytes;
} Load;

/* Makes an empty one. */
static void begin_keyspace(int databases)
{
    if (keyspace != NULL) keyspace_free(keyspace);
    grave_drain();
    options.databases = databases;
    command_init(keyspace_new(databases));
}

static void prepare(const uint8_t *secret)
{
    options_reset();
    clock_refresh();
    table_set_secret(secret, MANIFEST_SECRET_BYTES);
}

/* ---- the checkpoint ---- */

/* The newest one that hasn't failed, or -1. */
static int next_slot(const Load *load)
{
    int slot = -1;
    for (int f = 0; f < 2; f++) {
        const CheckpointInfo *info = &load->manifest.checkpoint[f];
        if (!info->whole || load->failed[f]) continue;
        if (slot < 0 || info->offset > load->manifest.checkpoint[slot].offset) slot = f;
    }
    return slot;
}

static char *run_checkpoint(CheckpointLoad *checkpoint)
{
    char *error = NULL;
    while (checkpoint_load_step(checkpoint, SLICE_US, &error) > 0)
        tool_progress("checkpoint", checkpoint_load_progress(checkpoint));
    tool_progress("checkpoint", -1);
    checkpoint_load_free(checkpoint);
    return error;
}

bool load_is_possible(const char *path, const CheckpointInfo *info, const uint8_t *secret, char **error)
{
    CheckpointLoad *checkpoint = NULL;
    *error = NULL;
    prepare(secret);
    for (int databases = DATABASES_FIRST; checkpoint == NULL && databases > 0 && databases <= DATABASES_MAX;) {
        begin_keyspace(databases);
        databases = 0;
        checkpoint = checkpoint_load_begin(keyspace, path, info, -1, &databases, error);
    }
    if (checkpoint != NULL) *error = run_checkpoint(checkpoint);
    begin_keyspace(1);
    if (checkpoint == NULL && *error == NULL)
        *error = g_strdup_printf("%s: it has more databases than there can be", path);
    return *error == NULL;
}

static char *load_checkpoint(Load *load, int slot)
{
    const CheckpointInfo *info = &load->manifest.checkpoint[slot];
    const char *name = load->backup ? "checkpoint.gdbm" : checkpoint_file_name[slot];
    g_autofree char *path = g_build_filename(load->directory, name, NULL);
    char *error = NULL;
    /* The journal behind it may begin in one that has no keys. */
    int databases = info->db < load->databases ? 0 : MIN(info->db, DATABASES_MAX) + 1;
    load->offset = info->offset;
    CheckpointLoad *checkpoint =
        databases > 0 ? NULL : checkpoint_load_begin(keyspace, path, info, -1, &databases, &error);
    if (checkpoint != NULL) return run_checkpoint(checkpoint);
    if (databases == 0) return error;
    load->too_few = databases <= DATABASES_MAX;
    load->databases = databases;
    return g_strdup_printf("%s: it has %d databases, more than there can be", path, databases);
}

/* ---- the journal ---- */

/* Whether the journal has all there ever was. */
static bool journal_reaches_start(const Load *load)
{
    g_autofree char *unreadable = NULL;
    g_autoptr(GArray) segments = journal_segments(load->directory, &unreadable);
    if (segments == NULL || segments->len == 0 || !manifest_begins_empty(&load->manifest)) return false;
    return g_array_index(segments, JournalSegment, 0).offset <= load->manifest.start;
}

static char *run_batch(const JournalBatch *batch)
{
    g_autofree char *error = NULL;
    if (replay_run(batch->payload, batch->unix_ms, &error)) return NULL;
    return g_strdup_printf("%s, batch at byte %" G_GUINT64_FORMAT ": %s", batch->file, batch->file_offset, error);
}

static void show_journal_progress(const Load *load, const JournalReader *reader)
{
    double left = (double)journal_reader_left(reader);
    tool_progress("journal", load->journal_bytes == 0 ? 1 : 1 - left / (double)load->journal_bytes);
}

static char *run_journal(Load *load, JournalReader *reader)
{
    char *error = NULL;
    JournalBatch batch;
    JournalRead result;
    load->journal_bytes = journal_reader_left(reader);
    for (unsigned n = 0; (result = journal_read(reader, &batch)) == JOURNAL_BATCH; n++) {
        error = run_batch(&batch);
        if (error != NULL) return error;
        if (n % 1024 == 0) show_journal_progress(load, reader);
    }
    if (result == JOURNAL_BAD) return g_strdup(journal_reader_error(reader));
    if (result == JOURNAL_TORN) {
        tool_fail("note: %s; what is before that is used", journal_reader_error(reader));
    }
    return NULL;
}

/* `slot`: of the checkpoint that it goes on from; -1: none. */
static char *load_journal(Load *load, int slot)
{
    char *error = NULL;
    if (slot >= 0 && !load->backup) {
        error = journal_check_begins(load->directory, checkpoint_file_name[slot], load->offset, load->manifest.start);
        if (error != NULL) return error;
    }
    JournalReader *reader = journal_reader_new(load->directory, load->offset, NULL, &error);
    if (reader == NULL) return error;
    error = run_journal(load, reader);
    State state = { .directory = (char *)(uintptr_t)load->directory, .ends = load->backup, .end = load->manifest.end };
    if (error == NULL) error = state_check_end(&state, journal_reader_offset(reader));
    tool_progress("journal", -1);
    journal_reader_free(reader);
    /* It may be in a database that there's none of here. */
    load->too_few = error != NULL && load->databases < DATABASES_MAX;
    if (load->too_few) load->databases = DATABASES_MAX;
    return error;
}

/* ---- both ---- */

static char *load_base(Load *load, char *why)
{
    int slot = next_slot(load);
    begin_keyspace(load->databases);
    replay_begin(slot < 0 ? -1 : load->manifest.checkpoint[slot].db);
    if (slot < 0) {
        if (why != NULL && !journal_reaches_start(load)) return why;
        g_free(why);
        load->offset = load->manifest.start;
        return load_journal(load, slot);
    }
    g_free(why);
    char *error = load_checkpoint(load, slot);
    if (error == NULL) return load_journal(load, slot);
    if (load->too_few) return error;
    load->failed[slot] = true;
    tool_fail("note: %s: it isn't used", error);
    replay_end();
    return load_base(load, error);
}

char *load_directory(const char *directory, bool backup)
{
    Load load = { .directory = directory, .backup = backup, .databases = DATABASES_FIRST };
    char *error = NULL;
    switch (manifest_read(directory, &load.manifest, &error)) {
    case MANIFEST_READ: break;
    case MANIFEST_MISSING:
        return g_strdup_printf("%s/" MANIFEST_FILE " is missing; give a data directory by --dir", directory);
    case MANIFEST_BAD: return error;
    }
    prepare(load.manifest.secret);
    do {
        g_free(error);
        load.too_few = false;
        error = load_base(&load, NULL);
        replay_end();
    } while (load.too_few);
    manifest_clear(&load.manifest);
    return error;
}
