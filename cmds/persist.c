/* persist.c: see persist.h.
 *
 * Design. Loading is a state machine run by a timer in slices, so that clients are answered (with LOADING) meanwhile:
 * the newest whole checkpoint, or the older one if that fails, or nothing if the journal reaches back to the beginning;
 * then the journal from there. If that can't be, the program ends: but if it came by a full sync just now, the master
 * has it still, so there's no data and no journal (persist_lost) until it's replaced by another.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/persist.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "base/random.h"
#include "cmds/backups.h"
#include "cmds/checkpoints.h"
#include "cmds/command.h"
#include "cmds/effect.h"
#include "cmds/replay.h"
#include "cmds/server.h"
#include "cmds/transit.h"
#include "repl/handover.h"
#include "repl/master.h"
#include "store/backup.h"
#include "store/building.h"
#include "store/checkpoint.h"
#include "store/grave.h"
#include "store/io.h"
#include "store/journal.h"

/* A slice of loading; between two of them clients are answered. */
#define LOAD_SLICE_US 10000

/* How long loading goes on before the first client is served, with LOADING. */
#define LOAD_AT_ONCE_US 200000

/* What fails while the server runs is tried again so often, at first at once, then after a pause. */
#define RETRIES_MAX    10
#define RETRY_PAUSE_US 100000

/* Progress is logged this often. */
#define LOAD_LOG_MS 2000

Manifest persist_manifest;

static struct {
    Loop *loop;
    void (*ready)(void);
    /* loading */
    CheckpointLoad *load;
    int slot; /* of the checkpoint that is being loaded; -1: none */
    bool tried[2];
    JournalReader *reader;
    uint64_t offset; /* where the journal goes on behind the checkpoint */
    bool torn;       /* writes at its end were cut off */
    int64_t load_started_us, load_started_ms, last_log_us;
    uint64_t journal_bytes; /* to be replayed */
    bool synced;            /* it came by a full sync, and wasn't loaded yet */
    char *lost;             /* persist_lost */
    uint64_t generation;
    int db2; /* the database that the stream is in at the manifest's offset2, if that is where it ends; -1: none */
} state;

static void refuse_start(const char *message) __attribute__((noreturn));

/* The data can't be loaded: nothing was changed on disk. */
static void refuse_start(const char *message)
{
    log_line(LOG_WARNING, "Can't load the data: %s", message);
    handover_refuse(message);
    fprintf(stderr, "ckv: dir %s: %s\n", options.dir, message);
    _exit(1);
}

static void empty_keyspace(void)
{
    for (int i = 0; i < keyspace->db_count; i++)
        keyspace_flush(&keyspace->dbs[i]);
}

/* Nothing of it stays in memory. On the disk it stays: a start refuses it as well, or can read it after all. */
static void lose(const char *why)
{
    state.lost = g_strdup(why); /* it may be the reader's */
    log_line(
        LOG_WARNING,
        "Failed trying to load the MASTER synchronization DB from disk: %s. Until another full sync there's no data.",
        why);
    g_clear_pointer(&state.load, checkpoint_load_free);
    g_clear_pointer(&state.reader, journal_reader_free);
    replay_end();
    checkpoint_forget_all();
    empty_keyspace();
    checkpoints_have_all();
    for (int f = 0; f < 2; f++)
        persist_manifest.checkpoint[f].whole |= state.tried[f]; /* as MANIFEST has it */
    server_loading = false;
}

/* The data can't be loaded. The caller is to return. */
static void cant_load(const char *message)
{
    if (!state.synced) refuse_start(message);
    lose(message);
}

/* For what can be done again, and without which the server would end: it doesn't for an error that is over soon, but
 * nobody is served meanwhile. A start ends, so that whoever started it knows. NULL, or what is wrong in the end. */
static char *insist(char *(*action)(void))
{
    char *error = action();
    for (int retries = 0; error != NULL && state.generation > 0 && retries < RETRIES_MAX; retries++) {
        if (retries == 0) log_line(LOG_WARNING, "%s: it's tried again.", error);
        if (retries > 0) g_usleep(RETRY_PAUSE_US);
        g_free(error);
        error = action();
    }
    return error;
}

const char *persist_lost(void)
{
    return state.lost;
}

char *persist_closed(void)
{
    if (state.lost == NULL) return g_strdup("persistence is off");
    return g_strdup_printf("what the master sent can't be loaded: %s", state.lost);
}

/* ---- opening ---- */

static bool has_checkpoint_file(void)
{
    return access(checkpoint_file_name[0], F_OK) == 0 || access(checkpoint_file_name[1], F_OK) == 0;
}

/* Files that a MANIFEST should tell of. */
static bool has_data(void)
{
    g_autofree char *unreadable = NULL;
    g_autoptr(GArray) segments = journal_segments(".", &unreadable);
    return has_checkpoint_file() || segments == NULL || segments->len > 0;
}

/* What MANIFEST says of the journal while this server has it open. */
static const char *open_state(void)
{
    return options.master_host[0] != '\0' ? MANIFEST_FOLLOWS : manifest_boot();
}

static void make_new_manifest(void)
{
    if (has_data()) {
        refuse_start("there's data here, but MANIFEST is missing. Nothing was changed; "
                     "run: ckv check DIR --repair (it makes a new one from the files), or choose another --dir");
    }
    manifest_init(&persist_manifest);
    g_strlcpy(persist_manifest.state, open_state(), sizeof(persist_manifest.state));
    char *message = manifest_write(".", &persist_manifest);
    if (message == NULL) return;
    g_autofree char *whole = g_strdup_printf("%s; make room or give a directory that can be written by --dir", message);
    refuse_start(whole);
}

void persist_open(void)
{
    char *error = NULL;
    if (!building_finish(".", &error) || !backup_finish_swap(".", &error)) refuse_start(error);
    switch (manifest_read(".", &persist_manifest, &error)) {
    case MANIFEST_READ: break;
    case MANIFEST_MISSING: make_new_manifest(); break;
    case MANIFEST_BAD: refuse_start(error);
    }
    table_set_secret(persist_manifest.secret, sizeof(persist_manifest.secret));
}

/* ---- loading ---- */

static void wake_loop(void)
{
    loop_wake(state.loop);
}

static void on_journal_progress(void *context)
{
    (void)context;
    loop_wake(state.loop);
}

static void begin_replay(void)
{
    g_autofree char *error = NULL;
    if (state.slot >= 0) {
        error = journal_check_begins(".", checkpoint_file_name[state.slot], state.offset, persist_manifest.start);
    }
    if (error != NULL) {
        cant_load(error);
        return;
    }
    /* Where there was a history before this one, the journal may have segments of both. (A repair doesn't know.) */
    bool repaired = strcmp(persist_manifest.state, MANIFEST_REPAIRED) == 0;
    const char *history = persist_manifest.history2[0] == '\0' && !repaired ? persist_manifest.history : NULL;
    state.reader = journal_reader_new(".", state.offset, history, &error);
    if (state.reader == NULL) {
        cant_load(error);
    } else {
        state.journal_bytes = journal_reader_left(state.reader);
    }
}

/* Whether the journal has all there ever was. */
static bool journal_reaches_start(void)
{
    g_autofree char *unreadable = NULL;
    g_autoptr(GArray) segments = journal_segments(".", &unreadable);
    if (segments == NULL || segments->len == 0 || !manifest_begins_empty(&persist_manifest)) return false;
    return g_array_index(segments, JournalSegment, 0).offset <= persist_manifest.start;
}

/* The newest whole checkpoint that wasn't tried yet, or -1. */
static int next_slot(void)
{
    const CheckpointInfo *all = persist_manifest.checkpoint;
    int slot = -1;
    for (int f = 0; f < 2; f++) {
        if (!all[f].whole || state.tried[f]) continue;
        if (slot < 0 || all[f].offset > all[slot].offset) slot = f;
    }
    return slot;
}

/* NULL, or that a master's stream is in a database that there's none of here (g_free). */
static char *check_stream_db(int db)
{
    if (db < keyspace->db_count) return NULL;
    return g_strdup_printf("the master's stream is in database %d; start with --databases %d or more", db, db + 1);
}

static bool begin_load_slot(int slot, char **error)
{
    const CheckpointInfo *info = &persist_manifest.checkpoint[slot];
    g_autofree char *too_few = check_stream_db(info->db);
    state.tried[slot] = true;
    state.offset = info->offset;
    if (too_few != NULL) {
        cant_load(too_few);
        return true;
    }
    replay_begin(info->db);
    int databases = 0;
    /* With persistence no there will be no further checkpoints of what is loaded. */
    int kept_slot = options.persistence ? slot : -1;
    state.load = checkpoint_load_begin(keyspace, checkpoint_file_name[slot], info, kept_slot, &databases, error);
    if (databases == 0) return state.load != NULL;
    g_autofree char *message = g_strdup_printf("%s has keys in database %d; start with --databases %d or more",
                                               checkpoint_file_name[slot], databases - 1, databases);
    cant_load(message);
    return true; /* no other will do */
}

static void load_failed(char *error);

/* Tries the newest checkpoint that wasn't tried yet, or the journal from its beginning. `why` is what was wrong with
 * the one before; NULL: there was none. */
static void begin_load(const char *why)
{
    char *error = NULL;
    state.slot = next_slot();
    if (state.slot >= 0) {
        if (!begin_load_slot(state.slot, &error)) load_failed(error);
        return;
    }
    if (why != NULL && !journal_reaches_start()) {
        g_autofree char *message =
            g_strdup_printf("%s, and there's no other checkpoint. Nothing was changed. To see what is left, run: "
                            "ckv check DIR; to go back to a backup: ckv backup list, ckv rollback ID",
                            why);
        cant_load(state.synced ? why : message);
        return;
    }
    state.offset = persist_manifest.start;
    replay_begin(-1);
    begin_replay();
}

/* The checkpoint is damaged: another one must do, if there is one. */
static void load_failed(char *error)
{
    if (!options.persistence) refuse_start(error); /* there's no other */
    log_line(LOG_WARNING, "%s: it isn't used.", error);
    g_clear_pointer(&state.load, checkpoint_load_free);
    checkpoint_forget_all();
    empty_keyspace();
    replay_end();
    persist_manifest.checkpoint[state.slot].whole = false;
    checkpoint_init(keyspace, &persist_manifest, wake_loop);
    begin_load(error);
    g_free(error);
}

static void load_pages_slice(void)
{
    char *error = NULL;
    switch (checkpoint_load_step(state.load, LOAD_SLICE_US, &error)) {
    case 1: return;
    case 0: break;
    default: load_failed(error); return;
    }
    g_clear_pointer(&state.load, checkpoint_load_free);
    begin_replay();
}

static void log_progress(void)
{
    if (clock_now_us() - state.last_log_us < LOAD_LOG_MS * 1000) return;
    state.last_log_us = clock_now_us();
    PersistLoading loading = persist_loading();
    log_line(LOG_NOTICE, "Loading: %.0f%% done, about %ld s left.", loading.progress * 100, loading.eta_sec);
}

static JournalStart journal_start(void)
{
    return (JournalStart){
        .history = persist_manifest.history,
        .sync = (JournalSync)options.fsync,
        .segment_bytes = (uint64_t)options.journal_segment_bytes,
        .progressed = on_journal_progress,
    };
}

/* NULL or what is wrong. */
static char *open_journal(uint64_t offset, int db)
{
    JournalStart start = journal_start();
    start.offset = offset;
    start.db = db;
    return journal_open(&start);
}

/* A server that is made master forgets the database, as its own stream names one first. But as long as nothing is
 * added, it may become the slave of one who goes on with the stream from before, and knows nothing of that. */
int persist_stream_db(void)
{
    int db = journal_db();
    return db < 0 && journal_offset() == persist_manifest.offset2 ? state.db2 : db;
}

/* The manifest with another history from the offset on. */
static Manifest with_history(const char *history, uint64_t offset)
{
    Manifest changed = persist_manifest;
    manifest_begin_history(&changed, history, offset);
    for (int f = 0; f < 2; f++) {
        CheckpointInfo *info = &changed.checkpoint[f];
        if (strcmp(info->history, persist_manifest.history) == 0)
            memcpy(info->history, changed.history, sizeof(info->history));
    }
    return changed;
}

static char *write_state(const char *word)
{
    char place[MANIFEST_PLACE_CHARS + 1];
    manifest_place(place);
    if (strcmp(persist_manifest.state, word) == 0 && strcmp(persist_manifest.place, place) == 0) return NULL;
    Manifest changed = persist_manifest;
    memcpy(changed.place, place, sizeof(place));
    g_strlcpy(changed.state, word, sizeof(changed.state));
    char *message = manifest_write(".", &changed);
    if (message == NULL) persist_manifest = changed;
    return message;
}

/* Whether others may have other bytes at the offsets from here on, or will have, under the history's name: slaves that
 * were sent what is lost here, or the master that this server was a slave of. NULL: no. */
static const char *why_another_history(void)
{
    const char *was = persist_manifest.state, *place = persist_manifest.place;
    char here[MANIFEST_PLACE_CHARS + 1];
    if (options.master_host[0] != '\0') return NULL;
    manifest_place(here);
    if (place[0] != '\0' && strcmp(place, here) != 0) return "The data directory is a copy, or was put back";
    if (state.torn) return "The journal's last writes were cut off";
    if (strcmp(was, MANIFEST_CLOSED) == 0) return NULL;
    if (strcmp(was, MANIFEST_FOLLOWS) == 0) return "The server was a slave, and is none any more";
    if (strcmp(was, MANIFEST_REPAIRED) == 0) return "The data was repaired";
    bool same_boot = strcmp(was, manifest_boot()) == 0 && strcmp(was, MANIFEST_UNKNOWN) != 0;
    return same_boot ? NULL : "The machine was started anew and the journal wasn't closed";
}

/* MANIFEST says that the journal is open before anything is added to it: that it was closed, or by whom it was written,
 * isn't to be seen in it for sure after a power cut. NULL, or what is wrong. */
static char *settle_history(void)
{
    io->mkdir(JOURNAL_DIRECTORY, 0700); /* in vain: journal_open says why */
    const char *why = why_another_history();
    if (why == NULL) return write_state(open_state());
    char history[MANIFEST_ID_CHARS + 1];
    random_hex(history, MANIFEST_ID_CHARS);
    Manifest changed = with_history(history, state.offset);
    g_strlcpy(changed.state, open_state(), sizeof(changed.state));
    manifest_place(changed.place);
    char *message = manifest_write(".", &changed);
    if (message != NULL) return message;
    persist_manifest = changed;
    log_line(LOG_NOTICE, "%s: history %s begins at offset %" G_GUINT64_FORMAT ".", why, history, state.offset);
    return NULL;
}

/* A master's stream names the database first: a slave of it may have read up to here from another server, whose stream
 * was in another one. */
static char *open_journal_loaded(void)
{
    return open_journal(state.offset, options.master_host[0] == '\0' ? -1 : state.db2);
}

static void loading_done(void)
{
    state.db2 = replay_db();
    g_autofree char *message = insist(settle_history);
    if (message == NULL) message = insist(open_journal_loaded);
    if (message != NULL) {
        cant_load(message);
        return;
    }
    replay_end();
    effects_start();
    (void)backups_oldest_ms(); /* now, and not when INFO asks: it may read files */
    if (server_loading) {
        log_line(LOG_NOTICE, "DB loaded from disk: %.3f seconds",
                 (double)(clock_now_us() - state.load_started_us) / 1e6);
    }
    server_loading = state.synced = false;
    checkpoints_have_all();
    state.ready();
}

static void end_of_journal(bool torn)
{
    state.offset = journal_reader_offset(state.reader);
    state.torn = torn;
    if (torn) {
        log_line(LOG_WARNING,
                 "The journal's last writes were cut off: %" G_GUINT64_FORMAT " bytes behind offset %" G_GUINT64_FORMAT
                 " that were never synced are removed (%s).",
                 journal_reader_torn_bytes(state.reader), state.offset, journal_reader_error(state.reader));
    }
    g_clear_pointer(&state.reader, journal_reader_free);
    if (torn) {
        g_autofree char *message = journal_cut(".", state.offset);
        if (message != NULL) {
            cant_load(message);
            return;
        }
    }
    loading_done();
}

static void replay_slice(void)
{
    for (int64_t until_us = clock_now_us() + LOAD_SLICE_US; clock_now_us() < until_us;) {
        JournalBatch batch;
        char *error = NULL;
        switch (journal_read(state.reader, &batch)) {
        case JOURNAL_BATCH: break;
        case JOURNAL_END: end_of_journal(false); return;
        case JOURNAL_TORN: end_of_journal(true); return;
        case JOURNAL_BAD: cant_load(journal_reader_error(state.reader)); return;
        case JOURNAL_LATER: g_assert_not_reached();
        }
        /* The first batch may begin before the checkpoint's offset only if that isn't between batches: never. */
        if (replay_run(batch.payload, batch.unix_ms, &error)) continue;
        g_autofree char *message = g_strdup_printf("%s, batch at byte %" G_GUINT64_FORMAT ": %s; run: ckv check DIR",
                                                   batch.file, batch.file_offset, error);
        g_free(error);
        cant_load(message);
        return;
    }
}

static int64_t load_tick(void *context)
{
    (void)context;
    /* What there was goes first: there may not be memory for both. */
    if (grave_step(LOAD_SLICE_US)) return 0;
    if (state.load != NULL) {
        load_pages_slice();
    } else if (state.reader != NULL) {
        replay_slice();
    }
    if (!server_loading) return -1;
    log_progress();
    return 0;
}

PersistLoading persist_loading(void)
{
    PersistLoading loading = { .started_ms = state.load_started_ms, .eta_sec = -1 };
    /* The checkpoint and the journal count the same: which takes longer depends on what is in them. */
    double pages = state.load != NULL ? checkpoint_load_progress(state.load) : 1, journal = 0;
    if (state.reader != NULL && state.journal_bytes > 0) {
        journal = 1 - (double)journal_reader_left(state.reader) / (double)state.journal_bytes;
    }
    loading.progress = state.reader != NULL ? 0.5 + journal / 2 : pages / 2;
    loading.total_bytes =
        state.journal_bytes + (state.slot >= 0 ? persist_manifest.checkpoint[state.slot].file_bytes : 0);
    loading.loaded_bytes = (uint64_t)(loading.progress * (double)loading.total_bytes);
    double elapsed_sec = (double)(clock_now_us() - state.load_started_us) / 1e6;
    if (loading.progress > 0.01) loading.eta_sec = (int64_t)(elapsed_sec / loading.progress - elapsed_sec) + 1;
    return loading;
}

static void begin_loading(void)
{
    state.load_started_us = state.last_log_us = clock_now_us();
    state.load_started_ms = clock_unix_ms;
    state.tried[0] = state.tried[1] = false;
    g_clear_pointer(&state.lost, g_free);
    checkpoint_init(keyspace, &persist_manifest, wake_loop);
    begin_load(NULL);
    if (state.lost != NULL) return;
    bool nothing = state.load == NULL && state.journal_bytes == 0;
    server_loading = !nothing;
    if (nothing) replay_slice();
}

/* ---- taking over ---- */

void persist_open_read_only(void)
{
    char *error = NULL;
    if (!options.persistence && !transit_enter(&error)) refuse_start(error);
    if (manifest_read(".", &persist_manifest, &error) != MANIFEST_READ)
        refuse_start(error != NULL ? error : "there's no MANIFEST");
    table_set_secret(persist_manifest.secret, sizeof(persist_manifest.secret));
}

/* The old process may write meanwhile: so what its journal ends in isn't looked at, but at what it says that is there.
 */
uint64_t persist_load_read_only(Loop *loop, void (*ready)(void))
{
    state.loop = loop;
    state.ready = ready;
    checkpoints_init(loop);
    server_loading = true;
    state.load_started_us = state.last_log_us = clock_now_us();
    if (options.persistence) checkpoint_init(keyspace, &persist_manifest, wake_loop);
    begin_load(NULL);
    while (state.load != NULL) {
        load_pages_slice();
        handover_alive();
    }
    return state.offset;
}

uint64_t persist_follow(uint64_t offset)
{
    journal_reader_look_again(state.reader);
    while (journal_reader_offset(state.reader) < offset) {
        JournalBatch batch;
        g_autofree char *error = NULL;
        if (journal_read(state.reader, &batch) != JOURNAL_BATCH) {
            const char *why = journal_reader_error(state.reader);
            refuse_start(why != NULL ? why : "the journal ends before the offset that it was said to have");
        }
        if (!replay_run(batch.payload, batch.unix_ms, &error)) refuse_start(error);
        handover_alive();
    }
    return journal_reader_offset(state.reader);
}

bool persist_take_over(JournalPlace *place, char **error)
{
    JournalStart start = journal_start();
    g_clear_pointer(&state.reader, journal_reader_free);
    if (options.persistence) *error = journal_adopt(&start, place);
    if (*error != NULL) return false;
    state.db2 = replay_db();
    replay_end();
    server_loading = false;
    if (!options.persistence) return true;
    effects_start();
    checkpoints_start();
    backups_start();
    return true;
}

void persist_leave(JournalPlace *place)
{
    effects_on = false;
    journal_leave(place);
}

void persist_take_back(JournalPlace *place)
{
    JournalStart start = journal_start();
    char *error = journal_adopt(&start, place);
    g_assert(error == NULL); /* its file was never closed, and without its threads there is no going on */
    effects_on = true;
}

uint64_t persist_generation(void)
{
    return state.generation;
}

static void load_again(void)
{
    begin_loading();
    /* What is quickly there is there before the next client is served: nobody is told LOADING for that. */
    for (int64_t until_us = clock_now_us() + LOAD_AT_ONCE_US; server_loading && clock_now_us() < until_us;)
        load_tick(NULL);
    if (server_loading) loop_timer(state.loop, 0, load_tick, NULL);
}

/* ---- the life ---- */

void persist_start(Loop *loop, void (*ready)(void))
{
    state.loop = loop;
    state.ready = ready;
    checkpoints_init(loop);
    if (!options.persistence) {
        ready();
        return;
    }
    load_again();
    checkpoints_start();
    backups_start();
}

static void drop_dataset(void)
{
    state.generation++;
    checkpoints_abort("the dataset is loaded anew");
    checkpoint_forget_all();
    effects_stop();
    if (state.lost == NULL) journal_close();
    empty_keyspace();
}

void persist_reload(void)
{
    drop_dataset();
    load_again();
}

/* The manifest that a rollback left. */
static char *read_manifest_again(void)
{
    char *error = NULL;
    Manifest manifest;
    if (manifest_read(".", &manifest, &error) != MANIFEST_READ)
        return error != NULL ? error : g_strdup("no " MANIFEST_FILE);
    manifest_clear(&persist_manifest);
    persist_manifest = manifest;
    return NULL;
}

static char *finish_swap(void)
{
    char *error = NULL;
    backup_finish_swap(".", &error);
    return error;
}

bool persist_roll_back(const char *note, bool synced, char *before, char **error)
{
    if (state.lost == NULL && (!effect_write() || !journal_wait_durable())) {
        *error = g_strdup(journal_trouble() != NULL ? journal_trouble() : "the journal can't be written");
        return false;
    }
    /* Its journal may be long, and only on the disk. */
    uint64_t end = state.lost == NULL ? journal_written() : ROLLBACK_FIND_END;
    master_drop_slaves("the data goes back to an earlier state");
    drop_dataset();
    bool begun;
    *error = rollback_swap(".", note, end, before, &begun);
    if (*error != NULL && begun) {
        log_line(LOG_WARNING, "%s: it's tried again.", *error);
        g_free(*error);
        *error = insist(finish_swap);
        if (*error != NULL) refuse_start(*error); /* the next start finishes it */
    }
    g_autofree char *unreadable = insist(read_manifest_again);
    if (unreadable != NULL) refuse_start(unreadable);
    if (*error == NULL) state.synced = synced;
    load_again();
    return *error == NULL;
}

bool persist_reload_now(char **error)
{
    if (!journal_is_open()) {
        *error = persist_closed();
        return false;
    }
    if (!effect_write()) {
        *error = g_strdup(journal_trouble());
        return false;
    }
    uint64_t changes = keyspace->changes;
    drop_dataset();
    begin_loading();
    while (server_loading)
        load_tick(NULL);
    keyspace->changes = changes;
    checkpoints_have_all();
    return true;
}

/* ---- another history ---- */

/* The journal goes on in the other history. False with *error: the one before goes on, or none is open. */
static bool begin_history(const char *history, uint64_t offset, int db, const Manifest *changed, char **error)
{
    bool begun = journal_begin_history(history, db);
    if (!begun && errno != 0) {
        *error = g_strdup_printf(JOURNAL_DIRECTORY ": a segment can't be begun: %s", g_strerror(errno));
        return false;
    }
    persist_manifest = *changed;
    if (begun) return true;
    journal_close();
    *error = open_journal(offset, db);
    return *error == NULL;
}

/* The history from here on, and whether a master's stream is followed in it. */
static bool change_manifest(const char *history, const char *word, const char *left, const char *older, char **error)
{
    if (state.lost != NULL) {
        *error = persist_closed();
        return false;
    }
    if (!effect_write() || !journal_wait_durable()) {
        *error = g_strdup(journal_trouble() != NULL ? journal_trouble() : "the journal can't be written");
        return false;
    }
    bool follows = strcmp(word, MANIFEST_FOLLOWS) == 0;
    uint64_t offset = journal_offset();
    int before_db = journal_db(), db = persist_stream_db();
    state.generation++;
    master_drop_slaves("the history changes");
    checkpoints_abort("the history changes");
    g_assert(checkpoint_status().state == CHECKPOINT_IDLE); /* it would write the old history down at its end */
    Manifest before = persist_manifest, changed = with_history(history, offset);
    g_strlcpy(changed.state, word, sizeof(changed.state));
    if (left != NULL) (void)manifest_set_left(&changed, left);
    if (older != NULL) (void)manifest_add_older(&changed, older);
    *error = manifest_write(".", &changed);
    if (*error != NULL) return false;
    /* A crash from here on: the start begins the new history's segment. */
    if (begin_history(history, offset, follows ? db : -1, &changed, error)) { /* the database: as at a start */
        state.db2 = db;
        return true;
    }
    persist_manifest = before;
    /* If that can't be written either, the next checkpoint does. A start before that finds a history which ends for
     * everyone else where it begins, and a slave has its master's again from there on. */
    g_autofree char *unwritten = manifest_write(".", &before);
    if (unwritten != NULL) log_line(LOG_WARNING, "%s", unwritten);
    char *worse = journal_is_open() ? NULL : open_journal(offset, before_db);
    if (worse != NULL) refuse_start(worse);
    return false;
}

bool persist_change_history(const char *history, char **error)
{
    return change_manifest(history, manifest_boot(), NULL, NULL, error);
}

bool persist_follow_history(const char *history, const char *left, const char *older, char **error)
{
    if (strcmp(history, persist_manifest.history) != 0)
        return change_manifest(history, MANIFEST_FOLLOWS, left, older, error);
    if (strcmp(persist_manifest.state, MANIFEST_FOLLOWS) == 0) return true;
    /* The writer of a checkpoint has a manifest of its own. */
    checkpoints_abort("the server becomes a slave");
    state.generation++;
    *error = write_state(MANIFEST_FOLLOWS);
    return *error == NULL;
}

bool persist_stop(bool save)
{
    if (!journal_is_open()) return true;
    checkpoints_stop(save);
    effects_stop();
    bool good = journal_close();
    if (!good) log_line(LOG_WARNING, "Not everything could be written: %s", journal_close_failure());
    bool follows = strcmp(persist_manifest.state, MANIFEST_FOLLOWS) == 0;
    g_autofree char *message = good && !follows ? write_state(MANIFEST_CLOSED) : NULL;
    if (message != NULL) log_line(LOG_WARNING, "%s: the stop isn't noted.", message);
    return good;
}
