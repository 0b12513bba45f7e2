/* checkpoints.c: see checkpoints.h.
 *
 * Design. Two timers: one looks whether a checkpoint is due, the other drives the one that runs, and gives its walk a
 * share of the loop's time while clients have commands and all of it while they haven't.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/checkpoints.h"

#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "cmds/backups.h"
#include "cmds/command.h"
#include "cmds/effect.h"
#include "cmds/persist.h"
#include "cmds/server.h"
#include "repl/master.h"
#include "store/checkpoint.h"
#include "store/journal.h"

/* While clients have commands, the walk gets this share of the time that has passed since its last slice. No slice is
 * longer than SLICE_US_MAX. */
#define WALK_SHARE_PERCENT 10
#define SLICE_US_MAX       900

#define DUE_TICK_MS        100 /* between two looks whether a checkpoint is due */
#define WAIT_TICK_MS       1
/* After a checkpoint failed; doubled each time, up to what `checkpoint-every` is by default. */
#define RETRY_MS     10000
#define RETRY_MS_MAX 300000
/* Behind the last checkpoint, what changes no data (a master's PINGs) makes none by its age until it's so many bytes: a
 * start reads them in no time. */
#define IDLE_BYTES_MAX (1UL << 20)

typedef struct Waiter {
    void (*done)(const char *error, void *context);
    void *context;
} Waiter;

static struct {
    Loop *loop;
    int64_t slice_ended_us, last_due_ms;
    int64_t retry_ms, retry_after_ms; /* the last one failed: when, and how long after that one; or 0 */
    uint64_t commands_seen;
    int holds; /* checkpoints_hold */
    bool walking, stopping;
    uint64_t changes_saved;  /* keyspace->changes when the last whole checkpoint began, and */
    uint64_t changes_saving; /* when the running one did */
    uint64_t announced[2];   /* keyspace->announced when the whole checkpoint in each file began, or UINT64_MAX; and */
    uint64_t announcing;     /* when the running one did */
    GArray *waiting;         /* of Waiter */
    char *not_begun;         /* why the last one couldn't even begin; NULL: it could */
} state;

/* Tells all who wait. */
static void finished(const char *error)
{
    GArray *waiting = g_steal_pointer(&state.waiting);
    if (waiting == NULL) return;
    for (guint i = 0; i < waiting->len; i++) {
        Waiter waiter = g_array_index(waiting, Waiter, i);
        waiter.done(error, waiter.context);
    }
    g_array_unref(waiting);
}

void checkpoints_when_done(void (*done)(const char *error, void *context), void *context)
{
    if (state.waiting == NULL) state.waiting = g_array_new(FALSE, FALSE, sizeof(Waiter));
    Waiter waiter = { done, context };
    g_array_append_val(state.waiting, waiter);
}

static void release_journal(void)
{
    const CheckpointInfo *all = persist_manifest.checkpoint;
    if (!all[0].whole || !all[1].whole || state.holds > 0) return;
    uint64_t needed = MIN(master_needed_offset(), MIN(all[0].offset, all[1].offset));
    journal_release(needed, options.journal_keep_sec, (uint64_t)options.journal_keep_bytes);
}

static void checkpoint_succeeded(void)
{
    if (!options.persistence) return; /* cmds/upgrade.c sees it */
    CheckpointStatus status = checkpoint_status();
    log_line(
        LOG_NOTICE, "Checkpoint done: %" G_GUINT64_FORMAT " pages, %" G_GUINT64_FORMAT " bytes in %.3f seconds (%s)",
        status.last_pages, status.last_bytes, (double)status.last_took_ms / 1000, checkpoint_file_name[status.last]);
    server.last_save_sec = clock_unix_ms / 1000;
    state.retry_ms = state.retry_after_ms = 0;
    g_clear_pointer(&state.not_begun, g_free);
    state.changes_saved = state.changes_saving;
    state.announced[status.last] = state.announcing;
    release_journal();
    backups_checkpointed();
    finished(NULL);
}

static bool makes_checkpoints(void) /* by itself */
{
    return options.checkpoint_every_sec > 0 || options.checkpoint_journal_bytes > 0;
}

/* Less and less often: it may take room that is missing. */
static void try_again_later(void)
{
    if (!makes_checkpoints()) return;
    state.retry_after_ms = MIN(MAX(state.retry_after_ms * 2, (int64_t)RETRY_MS), (int64_t)RETRY_MS_MAX);
    state.retry_ms = clock_unix_ms + state.retry_after_ms;
    log_line(LOG_NOTICE, "Trying to make a checkpoint again in %d s.", (int)(state.retry_after_ms / 1000));
}

static void checkpoint_failed(void)
{
    if (!options.persistence) return;
    CheckpointStatus status = checkpoint_status();
    log_line(LOG_WARNING, "The checkpoint failed: %s. The one before and the journal have all data.", status.error);
    try_again_later();
    g_clear_pointer(&state.not_begun, g_free);
    finished(status.error);
}

/* After one that found out what the next has to do otherwise. */
static bool begin_again(void)
{
    g_autofree char *error = NULL;
    return options.persistence && checkpoints_begin(&error);
}

/* True while there's something left to do. */
static bool drive_checkpoint(int64_t budget_us, CheckpointStep *step)
{
    if (checkpoint_status().state == CHECKPOINT_IDLE) return false;
    *step = checkpoint_step(budget_us, journal_durable());
    if (*step == CHECKPOINT_AGAIN) *step = begin_again() ? CHECKPOINT_MORE : CHECKPOINT_FAILED;
    if (*step == CHECKPOINT_DONE) checkpoint_succeeded();
    if (*step == CHECKPOINT_FAILED) checkpoint_failed();
    return *step == CHECKPOINT_MORE || *step == CHECKPOINT_WAIT;
}

static bool begin_checkpoint(char **error)
{
    errno = 0;
    if (!effect_write() || !journal_rotate()) {
        *error = journal_trouble() != NULL
                     ? g_strdup(journal_trouble())
                     : g_strdup_printf(JOURNAL_DIRECTORY "/%020" G_GINT64_MODIFIER "u.ckj can't be begun: %s",
                                       journal_offset(), g_strerror(errno));
        return false;
    }
    if (!effect_muted) journal_forget_db(); /* a master's stream goes on as the master says */
    return checkpoint_start(journal_offset(), persist_stream_db(), clock_unix_ms, error);
}

/* A failure of the last one as any other: who watches INFO is told, and so is the log, whoever asked for it. */
static void checkpoint_not_begun(const char *why)
{
    g_free(state.not_begun);
    state.not_begun = g_strdup(why);
    if (state.stopping) return; /* it says so itself */
    log_line(LOG_WARNING, "No checkpoint can be made: %s", why);
    try_again_later();
}

const char *checkpoints_error(void)
{
    return state.not_begun != NULL ? state.not_begun : checkpoint_status().error;
}

bool checkpoints_begin(char **error)
{
    if (!journal_is_open() || server_loading) {
        *error = server_loading ? g_strdup("the data is being loaded") : persist_closed();
        return false;
    }
    /* At the end, one more doesn't touch the file that may be being copied, which is the newest. */
    if (state.holds > 0 && !state.stopping) {
        *error = g_strdup("a checkpoint is being copied, for a backup or a slave");
        return false;
    }
    if (!begin_checkpoint(error)) {
        checkpoint_not_begun(*error);
        return false;
    }
    state.changes_saving = keyspace->changes;
    state.announcing = keyspace->announced;
    state.last_due_ms = clock_unix_ms;
    checkpoints_walk();
    return true;
}

/* Bytes of the journal. */
static uint64_t grown_since_checkpoint(void)
{
    int newest = manifest_newest(&persist_manifest);
    return journal_offset() - (newest < 0 ? persist_manifest.start : persist_manifest.checkpoint[newest].offset);
}

/* Both files have all data that there is (a file that lacks some keeps the journal from there on), and what is behind
 * them in the journal is short. */
static bool nothing_to_save(void)
{
    uint64_t grown = grown_since_checkpoint();
    bool saved = true;
    for (int f = 0; f < 2; f++)
        saved &= persist_manifest.checkpoint[f].whole && state.announced[f] == keyspace->announced;
    return grown == 0 || (saved && grown <= IDLE_BYTES_MAX);
}

static bool period_is_over(void)
{
    return options.checkpoint_every_sec > 0 && clock_unix_ms - state.last_due_ms >= options.checkpoint_every_sec * 1000;
}

static bool checkpoint_is_due(void)
{
    /* The clock may have been set back. */
    state.last_due_ms = MIN(state.last_due_ms, clock_unix_ms);
    state.retry_ms = MIN(state.retry_ms, clock_unix_ms + state.retry_after_ms);
    if (!journal_is_open() || server_loading || state.holds > 0 || clock_unix_ms < state.retry_ms) return false;
    uint64_t grown = grown_since_checkpoint();
    if (grown == 0) return false;
    if (state.retry_ms > 0 && makes_checkpoints()) return true;
    if (options.checkpoint_journal_bytes > 0 && grown > (uint64_t)options.checkpoint_journal_bytes) return true;
    return period_is_over() && !nothing_to_save();
}

/* How long the next slice may be: all of it when nobody else has work. */
static int64_t slice_budget(void)
{
    bool idle = commands_processed == state.commands_seen;
    state.commands_seen = commands_processed;
    if (idle) return SLICE_US_MAX;
    return MIN((clock_now_us() - state.slice_ended_us) * WALK_SHARE_PERCENT / 100, SLICE_US_MAX);
}

static int64_t walk_tick(void *context)
{
    (void)context;
    CheckpointStep step;
    bool more = drive_checkpoint(slice_budget(), &step);
    state.slice_ended_us = clock_now_us();
    /* Whoever waited for this one may have begun the next. */
    state.walking = more || checkpoint_status().state != CHECKPOINT_IDLE;
    if (!state.walking) return -1;
    return more && step == CHECKPOINT_WAIT ? WAIT_TICK_MS : 0;
}

void checkpoints_walk(void)
{
    state.slice_ended_us = clock_now_us();
    if (!state.walking) loop_timer(state.loop, 0, walk_tick, NULL);
    state.walking = true;
}

static int64_t due_tick(void *context)
{
    (void)context;
    if (checkpoint_status().state != CHECKPOINT_IDLE) return DUE_TICK_MS;
    if (checkpoint_is_due()) {
        g_autofree char *error = NULL;
        (void)checkpoints_begin(&error); /* which logs why not */
    } else if (journal_is_open() && !server_loading && period_is_over() && nothing_to_save()) {
        state.last_due_ms = clock_unix_ms;
        release_journal(); /* which has grown older all the same */
    }
    return DUE_TICK_MS;
}

/* Drives a running checkpoint to its end. NULL or what went wrong: one that waits for a journal that can't be made
 * durable is given up, since nobody is served meanwhile. */
static const char *complete_checkpoint(void)
{
    CheckpointStep step = CHECKPOINT_MORE;
    while (drive_checkpoint(INT32_MAX, &step)) {
        if (step != CHECKPOINT_WAIT) continue;
        effect_tell_trouble();
        if (!journal_wait_durable()) {
            checkpoint_abort(journal_trouble() != NULL ? journal_trouble() : "the journal can't be written");
            checkpoint_failed();
            return checkpoint_status().error;
        }
        checkpoint_wait();
    }
    return step == CHECKPOINT_FAILED ? checkpoint_status().error : NULL;
}

bool checkpoints_save(char **error)
{
    complete_checkpoint();
    if (!checkpoints_begin(error)) return false;
    const char *why = complete_checkpoint();
    if (why != NULL) *error = g_strdup(why);
    return why == NULL;
}

void checkpoints_hold(bool held)
{
    state.holds += held ? 1 : -1;
    g_assert(state.holds >= 0);
}

bool checkpoints_are_held(void)
{
    return state.holds > 0;
}

/* ---- the life ---- */

void checkpoints_init(Loop *loop)
{
    state.loop = loop;
    state.last_due_ms = clock_unix_ms;
    state.announced[0] = state.announced[1] = UINT64_MAX;
}

void checkpoints_start(void)
{
    loop_timer(state.loop, DUE_TICK_MS, due_tick, NULL);
}

void checkpoints_abort(const char *why)
{
    checkpoint_abort(why);
    finished(why);
}

void checkpoints_stop(bool save)
{
    state.stopping = true;
    if (save && grown_since_checkpoint() > 0) {
        char *error = NULL;
        log_line(LOG_NOTICE, "Saving a checkpoint before the stop.");
        if (!checkpoints_save(&error)) log_line(LOG_WARNING, "No checkpoint: %s. The journal has all data.", error);
        g_free(error);
    } else if (!save) {
        checkpoint_abort("the server stops");
    } else {
        complete_checkpoint();
    }
}

void checkpoints_have_all(void)
{
    state.changes_saved = keyspace->changes;
    state.announced[0] = state.announced[1] = UINT64_MAX; /* of the data that there was before */
}

uint64_t checkpoints_missing_changes(void)
{
    return keyspace->changes - state.changes_saved;
}

bool checkpoints_are_running(void)
{
    return checkpoint_status().state != CHECKPOINT_IDLE || state.walking;
}

void checkpoints_save_rest(Tape *tape)
{
    tape_put(tape, checkpoints_missing_changes());
    tape_put(tape, (uint64_t)state.last_due_ms);
    tape_put(tape, (uint64_t)state.retry_ms);
}

void checkpoints_restore_rest(TapeReader *tape)
{
    state.changes_saved = keyspace->changes - tape_get(tape);
    state.last_due_ms = (int64_t)tape_get(tape);
    state.retry_ms = (int64_t)tape_get(tape);
    state.retry_after_ms = CLAMP(state.retry_ms - clock_unix_ms, 0, RETRY_MS_MAX);
}
