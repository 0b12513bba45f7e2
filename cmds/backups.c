/* backups.c: BACKUP and ROLLBACK, and backups by schedule. Called by the command table, and see backups.h.
 *
 * Design. One job at a time. What reads or writes much runs in a thread, which a timer looks after. A backup is a new
 * checkpoint, begun after the command so that it has all that was acknowledged before, and a copy of that file; while
 * that goes on no other checkpoint is made. A rollback builds the new state while commands go on, whose changes are in
 * the backup that is made of what it replaces; then the journal is closed, files are renamed, and the data is loaded
 * anew.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/backups.h"

#include <unistd.h>

#include "base/background.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "cmds/checkpoints.h"
#include "cmds/command.h"
#include "cmds/diverged.h"
#include "cmds/effect.h"
#include "cmds/failover.h"
#include "cmds/handlers.h"
#include "cmds/persist.h"
#include "cmds/server.h"
#include "cmds/subcommand.h"
#include "cmds/sync.h"
#include "repl/slave.h"
#include "store/backup.h"
#include "store/checkpoint.h"
#include "store/journal.h"
#include "store/state.h"

#define TICK_MS          10
#define SCHEDULE_TICK_MS 1000
#define HELD_TICK_MS     100
#define RETRY_MS         60000 /* after a scheduled backup failed */

#define ERROR_UNWANTED   "the server follows another master by now, or none"

typedef enum JobKind { JOB_NONE, JOB_CREATE, JOB_VERIFY, JOB_DELETE, JOB_ROLLBACK, JOB_CLEAN, JOB_SWEEP } JobKind;

/* What STATUS says of the last job of a command. */
typedef struct Outcome {
    char *done;   /* an id */
    char *failed; /* why; both NULL: there was none yet */
} Outcome;

static struct {
    JobKind kind;
    char id[BACKUP_ID_CHARS + 1]; /* of the backup; "": a moment is gone back to */
    int64_t to_ms;
    uint64_t to_offset; /* 0: it isn't one that is gone back to */
    bool unwanted;      /* to go back, since the server follows another master by now, or none */
    char *note;
    bool holds;                          /* checkpoints, by checkpoints_hold */
    char history[MANIFEST_ID_CHARS + 1]; /* in which the checkpoint for it was begun */
    bool loading;                        /* the rollback's last part */
    char *failed;                        /* why what it built isn't put in place; it's removed; NULL: it may be */
    /* the thread's, while it runs; it has a copy of the manifest */
    GThread *thread;
    int done, percent; /* atomic */
    char *error;
    bool remains; /* it failed, and something is left in backups/ */
    Manifest manifest;
    int slot;
    int64_t keep; /* as options.backup_keep was */
} job;

static Outcome backup_outcome, rollback_outcome;
static char last_id[BACKUP_ID_CHARS + 1];
static char *last_error;
/* Unix: when the schedule began a backup last, or could have; when the newest one that there is was begun, 0: there's
 * none; when another one may be tried. */
static int64_t schedule_last_ms, scheduled_ms, schedule_retry_ms;

/* ---- jobs ---- */

static void on_progress(double part, void *context)
{
    (void)context;
    g_atomic_int_set(&job.percent, (int)(part * 100));
}

static const StateWork work = { on_progress, NULL };

static char *copy_backup(void)
{
    char *error = backup_create_from_file(".", job.id, &job.manifest, job.slot, job.note, &work);
    if (error == NULL && strcmp(job.note, BACKUP_SCHEDULED) == 0) error = backup_prune(".", job.keep);
    return error;
}

static char *build_rollback(void)
{
    RollbackTarget target = { job.id[0] != '\0' ? job.id : NULL, job.to_offset, job.to_ms };
    char *error = job.to_offset != 0 ? diverged_save(&job.manifest, job.to_offset) : NULL;
    if (error == NULL) error = rollback_build(".", &target, NULL, &work);
    Manifest built;
    if (error != NULL || manifest_read(ROLLBACK_BUILDING, &built, &error) != MANIFEST_READ) return error;
    bool same = memcmp(built.secret, job.manifest.secret, sizeof(built.secret)) == 0;
    manifest_clear(&built);
    if (same) return NULL;
    state_remove(ROLLBACK_BUILDING); /* else it takes room until the next one, or the next start */
    return g_strdup("it's another directory's backup; stop the server, and run: ckv rollback ID");
}

/* What a full sync that was given up has made so far, or a rollback that failed. */
static char *clean(void)
{
    return state_remove(ROLLBACK_BUILDING) ? NULL : state_errno(ROLLBACK_BUILDING);
}

static gpointer run_thread(gpointer context)
{
    (void)context;
    switch (job.kind) {
    case JOB_CREATE: job.error = copy_backup(); break;
    case JOB_VERIFY: job.error = backup_verify(".", job.id, &work); break;
    case JOB_DELETE:
    case JOB_SWEEP: job.error = backup_remove_remains("."); break;
    case JOB_ROLLBACK: job.error = job.failed == NULL ? build_rollback() : clean(); break;
    case JOB_CLEAN: job.error = clean(); break;
    case JOB_NONE: break;
    }
    job.remains = job.error != NULL && backup_has_remains(".");
    g_atomic_int_set(&job.done, 1);
    loop_wake(server.loop);
    return NULL;
}

static void set_outcome(Outcome *outcome, const char *done, const char *failed)
{
    g_free(outcome->done);
    g_free(outcome->failed);
    *outcome = (Outcome){ g_strdup(done), g_strdup(failed) };
}

/* When the newest of those that are there was begun, which its id says; its own time may be that of the last change. 0:
 * there's none, or only of a clock that was set back since. */
static int64_t newest_scheduled_ms(void)
{
    g_autoptr(GPtrArray) list = backup_list(".", NULL);
    for (guint i = list->len; i > 0; i--) {
        const Backup *backup = list->pdata[i - 1];
        if (strcmp(backup->note, BACKUP_SCHEDULED) != 0) continue;
        g_autofree char *text = g_strndup(backup->id, strlen("20261125T153000Z"));
        g_autoptr(GDateTime) begun = g_date_time_new_from_iso8601(text, NULL);
        int64_t begun_ms = begun == NULL ? INT64_MAX : g_date_time_to_unix(begun) * 1000;
        if (begun_ms <= clock_unix_ms) return begun_ms;
    }
    return 0;
}

/* What the job is about, for the log. */
static char *job_target(void)
{
    if (job.id[0] != '\0') return g_strdup(job.id);
    if (job.to_offset != 0) return g_strdup_printf("to offset %" G_GUINT64_FORMAT, job.to_offset);
    return g_strdup_printf("to %" G_GINT64_FORMAT, job.to_ms);
}

static void scheduled_job_ended(bool good)
{
    /* It may be there although it failed: when those before it couldn't be deleted. */
    scheduled_ms = good ? schedule_last_ms : newest_scheduled_ms();
    if (!good) schedule_retry_ms = clock_unix_ms + RETRY_MS;
}

/* In backups/ is what a job couldn't remove, or a process that was ended meanwhile. It isn't listed, so nobody else has
 * it deleted; and it may be as much as all data. */
static bool remains;
/* The same of rollback.tmp/, in which a full sync or a rollback worked. */
static bool unremoved;

/* No command's: it has no outcome. */
static void end_cleaning(const char *error)
{
    static char *told[2]; /* it's tried again and again */
    bool sweeps = job.kind == JOB_SWEEP;
    job.kind = JOB_NONE;
    if (sweeps) remains = error != NULL;
    if (error == NULL || g_strcmp0(error, told[sweeps]) == 0) return;
    log_line(LOG_WARNING, "What a %s has left can't be removed: %s", sweeps ? "backup" : "full sync or a rollback",
             error);
    g_free(told[sweeps]);
    told[sweeps] = g_strdup(error);
}

/* Ends the job; `error` NULL: all went well. */
static void end_job(const char *error)
{
    if (job.kind == JOB_CLEAN || job.kind == JOB_ROLLBACK) unremoved = access(ROLLBACK_BUILDING, F_OK) == 0;
    if (job.kind == JOB_CLEAN || job.kind == JOB_SWEEP) {
        end_cleaning(error);
        return;
    }
    remains |= job.remains;
    static const char *const names[] = { "", "Backup", "Verifying backup", "Deleting backup", "Rollback" };
    g_autofree char *target = job_target();
    if (error != NULL) log_line(LOG_WARNING, "%s %s failed: %s", names[job.kind], target, error);
    if (error == NULL) log_line(LOG_NOTICE, "%s %s done.", names[job.kind], target);
    set_outcome(job.kind == JOB_ROLLBACK ? &rollback_outcome : &backup_outcome, error == NULL ? job.id : NULL, error);
    if (job.kind == JOB_CREATE) {
        g_free(last_error);
        last_error = g_strdup(error);
        if (error == NULL) memcpy(last_id, job.id, sizeof(last_id));
        if (strcmp(job.note, BACKUP_SCHEDULED) == 0) scheduled_job_ended(error == NULL);
    }
    g_clear_pointer(&job.note, g_free);
    job.kind = JOB_NONE;
    if (job.holds) checkpoints_hold(false);
    job.holds = false;
}

static void hold(void)
{
    job.holds = true;
    checkpoints_hold(true);
}

static void run(void)
{
    job.done = job.percent = 0;
    job.unwanted = false;
    job.remains = job.kind == JOB_DELETE; /* if there's no thread */
    job.manifest = persist_manifest;
    job.keep = options.backup_keep;
    job.thread = background_start("ckv-backup", run_thread, NULL, &job.error);
    if (job.thread == NULL) job.done = 1;
}

/* The job isn't over until what it has built is gone, which may be as much as all data. Takes the message. */
static void undo(char *error)
{
    job.failed = error;
    run();
}

/* The new state is built: in with it. */
static void switch_over(void)
{
    char before[BACKUP_ID_CHARS + 1], *error = NULL;
    log_line(LOG_NOTICE, "%s: the data is loaded anew.", job.note);
    transaction_data_replaced();
    job.loading = persist_roll_back(job.note, false, before, &error);
    if (!job.loading) {
        undo(error);
        return;
    }
    log_line(LOG_NOTICE, "What there was is kept as backup %s.", before);
    sync_data_replaced();
    g_strlcpy(job.id, before, sizeof(job.id));
}

static void thread_ended(void)
{
    if (job.thread != NULL) g_thread_join(g_steal_pointer(&job.thread));
    job.done = 0;
    g_autofree char *error = g_steal_pointer(&job.error), *failed = g_steal_pointer(&job.failed);
    if (failed != NULL) {
        end_job(failed);
    } else if (error != NULL || job.kind != JOB_ROLLBACK) {
        end_job(error);
    } else if (job.unwanted) {
        undo(g_strdup(ERROR_UNWANTED));
    } else {
        switch_over();
    }
}

static int64_t job_tick(void *context)
{
    (void)context;
    if (job.loading && !server_loading) {
        job.loading = false;
        end_job(NULL);
    } else if (g_atomic_int_get(&job.done) != 0) {
        thread_ended();
    }
    return job.kind == JOB_NONE ? -1 : TICK_MS;
}

static void start_thread(void)
{
    run();
    loop_timer(server.loop, TICK_MS, job_tick, NULL);
}

/* ---- making a backup ---- */

static int64_t begin_own_checkpoint(void *context);

/* A promotion, or a switch, ends the checkpoint: the backup is of what follows, then. */
static int64_t begin_again(void *context)
{
    if (strcmp(job.history, persist_manifest.history) != 0) {
        g_clear_pointer(&job.error, g_free);
        return begin_own_checkpoint(context);
    }
    g_autofree char *error = g_steal_pointer(&job.error);
    end_job(error);
    return -1;
}

static void on_checkpoint(const char *error, void *context)
{
    (void)context;
    if (job.kind != JOB_CREATE) return;
    if (error != NULL) {
        /* If the history changes, it's about to do so. */
        job.error = g_strdup(error);
        loop_timer(server.loop, 0, begin_again, NULL);
        return;
    }
    hold();
    job.slot = checkpoint_status().last;
    start_thread();
}

static void on_earlier_checkpoint(const char *error, void *context)
{
    (void)error;
    loop_timer(server.loop, 0, begin_own_checkpoint, context);
}

/* As soon as none is running that was begun before, and none is being copied, for a slave. */
static int64_t begin_own_checkpoint(void *context)
{
    char *error = NULL;
    if (checkpoints_are_held()) return HELD_TICK_MS;
    memcpy(job.history, persist_manifest.history, sizeof(job.history));
    if (checkpoint_status().state != CHECKPOINT_IDLE) {
        checkpoints_when_done(on_earlier_checkpoint, context);
    } else if (checkpoints_begin(&error)) {
        checkpoints_when_done(on_checkpoint, NULL);
    } else {
        end_job(error);
    }
    g_free(error);
    return -1;
}

static void begin_backup(const char *note)
{
    job.kind = JOB_CREATE;
    job.percent = 0;
    job.note = g_strdup(note);
    backup_new_id(".", job.id);
    if (begin_own_checkpoint(NULL) > 0) loop_timer(server.loop, HELD_TICK_MS, begin_own_checkpoint, NULL);
}

/* ---- by schedule ---- */

/* The last moment at or before now at which the clock showed the minute of the day. */
static int64_t last_time_of_day_ms(int minute)
{
    g_autoptr(GDateTime) now = g_date_time_new_from_unix_local(clock_unix_ms / 1000);
    for (int days = 0; days < 2; days++) {
        g_autoptr(GDateTime) day = g_date_time_add_days(now, -days);
        g_autoptr(GDateTime) due =
            g_date_time_new_local(g_date_time_get_year(day), g_date_time_get_month(day),
                                  g_date_time_get_day_of_month(day), minute / 60, minute % 60, 0);
        if (due != NULL && g_date_time_compare(due, now) <= 0) return g_date_time_to_unix(due) * 1000;
    }
    return 0;
}

/* At an interval, what is overdue is made up for, also over a restart: a server that is restarted more often than that
 * would never come to it. What was due at a time of day while no server ran isn't. */
static bool is_due(void)
{
    BackupSchedule schedule;
    if (!backup_schedule_parse(options.backup_schedule, &schedule)) return false;
    if (schedule.daily) return schedule_last_ms < last_time_of_day_ms(schedule.minute);
    return schedule.every_sec > 0 && clock_unix_ms - scheduled_ms >= schedule.every_sec * 1000;
}

/* ---- what a full sync replaced ---- */

static bool checkpointed;
static bool none_replaced; /* there's no backup of it, as was seen once: to look may have to wait for the disk */

void backups_checkpointed(void)
{
    checkpointed = true;
}

void backups_data_replaced(void)
{
    checkpointed = none_replaced = false;
}

/* Hides a backup, which the job is to delete. False: it can't be. */
static bool hide(const char *id)
{
    g_autofree char *error = backup_hide(".", id);
    if (error != NULL) log_line(LOG_WARNING, "Backup %s can't be deleted: %s", id, error);
    if (error == NULL) g_strlcpy(job.id, id, sizeof(job.id));
    return error == NULL;
}

/* Hides all backups of what full syncs replaced; true if there were any. */
static bool hide_replaced(void)
{
    g_autofree char *unreadable = NULL;
    g_autoptr(GPtrArray) list = backup_list(".", &unreadable);
    guint found = 0, hidden = 0;
    for (guint i = 0; i < list->len; i++) {
        const Backup *backup = list->pdata[i];
        if (!g_str_has_prefix(backup->note, BACKUP_REPLACED)) continue;
        found++;
        if (hide(backup->id)) hidden++;
    }
    none_replaced = hidden == found && unreadable == NULL;
    return hidden > 0;
}

void backups_discard(const char *id)
{
    if (!hide(id)) return;
    job.kind = JOB_DELETE;
    start_thread();
}

bool backups_clean_up(void)
{
    if (job.kind != JOB_NONE) return false;
    if (access(ROLLBACK_BUILDING, F_OK) != 0) return true;
    job.kind = JOB_CLEAN;
    start_thread();
    return true;
}

static void drop_replaced(void)
{
    checkpointed = false;
    if (none_replaced || !hide_replaced()) return;
    job.kind = JOB_DELETE;
    start_thread();
}

static void sweep(void)
{
    job.kind = JOB_SWEEP;
    start_thread();
}

/* A full sync works in the same place, and none begins until this is done. */
static void clean_again(void)
{
    SlaveState of = slave_seen().state;
    if (of == SLAVE_NONE || of == SLAVE_CONNECT || of == SLAVE_CONNECTED) unremoved = !backups_clean_up();
}

/* What nobody asked for begins only here, and not while checkpoints are held: by an upgrade, perhaps, which would fail
 * of a job. */
static int64_t schedule_tick(void *context)
{
    (void)context;
    /* The clock may have been set back. */
    schedule_last_ms = MIN(schedule_last_ms, clock_unix_ms);
    scheduled_ms = MIN(scheduled_ms, clock_unix_ms);
    schedule_retry_ms = MIN(schedule_retry_ms, clock_unix_ms + RETRY_MS);
    if (checkpoints_are_held()) return SCHEDULE_TICK_MS;
    if (checkpointed && job.kind == JOB_NONE) drop_replaced();
    if (remains && job.kind == JOB_NONE) sweep();
    if (unremoved && job.kind == JOB_NONE) clean_again();
    if (server_loading || !journal_is_open() || job.kind != JOB_NONE || clock_unix_ms < schedule_retry_ms || !is_due())
        return SCHEDULE_TICK_MS;
    schedule_last_ms = clock_unix_ms;
    begin_backup(BACKUP_SCHEDULED);
    return SCHEDULE_TICK_MS;
}

void backups_start(void)
{
    /* Unless it's handed over: what became due while an upgrade kept the old process from it is due yet. */
    if (schedule_last_ms == 0) schedule_last_ms = clock_unix_ms;
    scheduled_ms = newest_scheduled_ms();
    remains = backup_has_remains(".");
    unremoved = access(ROLLBACK_BUILDING, F_OK) == 0;
    loop_timer(server.loop, SCHEDULE_TICK_MS, schedule_tick, NULL);
}

static void save_outcome(const Outcome *outcome, Tape *tape)
{
    tape_put_string(tape, outcome->done);
    tape_put_string(tape, outcome->failed);
}

static void restore_outcome(Outcome *outcome, TapeReader *tape)
{
    outcome->done = tape_get_string(tape);
    outcome->failed = tape_get_string(tape);
}

void backups_save(Tape *tape)
{
    tape_put(tape, (uint64_t)schedule_last_ms);
    tape_put(tape, (uint64_t)schedule_retry_ms);
    save_outcome(&backup_outcome, tape);
    save_outcome(&rollback_outcome, tape);
    tape_put_string(tape, last_id);
    tape_put_string(tape, last_error);
    tape_put(tape, checkpointed);
}

void backups_restore(TapeReader *tape)
{
    schedule_last_ms = (int64_t)tape_get(tape);
    schedule_retry_ms = (int64_t)tape_get(tape);
    restore_outcome(&backup_outcome, tape);
    restore_outcome(&rollback_outcome, tape);
    g_autofree char *id = tape_get_string(tape);
    g_strlcpy(last_id, id != NULL ? id : "", sizeof(last_id));
    last_error = tape_get_string(tape);
    checkpointed = tape_get_bool(tape);
}

BackupsSeen backups_seen(void)
{
    return (BackupsSeen){ job.kind == JOB_CREATE, last_id, last_error == NULL ? "ok" : last_error };
}

/* ---- BACKUP ---- */

/* Neither loading, nor without a directory, nor at work. */
static bool check_ready(Request *r)
{
    if (server_loading) {
        reply_error(r->out, "LOADING CKV is loading the dataset in memory");
    } else if (!journal_is_open()) {
        g_autofree char *why = persist_closed();
        reply_errorf(r->out, "ERR %s", why);
    } else if (job.kind != JOB_NONE) {
        reply_error(r->out, job.kind == JOB_CLEAN   ? "ERR what a full sync or a rollback has left is being removed"
                            : job.kind == JOB_SWEEP ? "ERR what a backup has left is being removed"
                                                    : "ERR a backup or a rollback is in progress");
    } else {
        return true;
    }
    return false;
}

/* Answers with the error and frees it. */
static void reply_failure(Request *r, char *error)
{
    reply_errorf(r->out, "ERR %s", error);
    g_free(error);
}

static void reply_outcome(Request *r, const Outcome *outcome, bool running)
{
    g_autofree char *text = NULL;
    int percent = job.loading ? 50 + (int)(persist_loading().progress * 50) : g_atomic_int_get(&job.percent);
    if (job.kind == JOB_ROLLBACK && !job.loading) percent /= 2;
    if (running) {
        text = g_strdup_printf("running %d", percent);
    } else if (outcome->failed != NULL) {
        text = g_strdup_printf("failed %s", outcome->failed);
    } else {
        text = outcome->done != NULL ? g_strdup_printf("done %s", outcome->done) : g_strdup("idle");
    }
    reply_bulk_cstring(r->out, text);
}

/* BACKUP CREATE [note] */
static void backup_create(Request *r)
{
    g_autofree char *note = r->argc > 2 ? g_strndup(r->argv[2].ptr, r->argv[2].len) : g_strdup("");
    if (!check_ready(r)) return;
    if ((r->argc > 2 && strlen(note) != r->argv[2].len) || !backup_note_valid(note)) {
        reply_errorf(r->out, "ERR a note is one line of UTF-8, of at most %d bytes", BACKUP_NOTE_MAX);
        return;
    }
    if (backup_note_reserved(note) != NULL) {
        reply_errorf(r->out, "ERR %s", backup_note_reserved(note));
        return;
    }
    begin_backup(note);
    if (job.kind == JOB_NONE) {
        reply_errorf(r->out, "ERR %s", backup_outcome.failed);
    } else {
        reply_status(r->out, job.id);
    }
}

static void backup_status(Request *r)
{
    bool running = job.kind == JOB_CREATE || job.kind == JOB_VERIFY || job.kind == JOB_DELETE;
    reply_outcome(r, &backup_outcome, running);
}

/* BACKUP LIST: "id offset unix_ms keys bytes note" each */
static void backups_list(Request *r)
{
    char *error = NULL;
    g_autoptr(GPtrArray) list = options.persistence ? backup_list(".", &error) : g_ptr_array_new();
    if (list->len == 0 && error != NULL) {
        reply_failure(r, error);
        return;
    }
    g_free(error);
    reply_array(r->out, list->len);
    for (guint i = 0; i < list->len; i++) {
        const Backup *backup = list->pdata[i];
        g_autofree char *text = g_strdup_printf(
            "%s %" G_GUINT64_FORMAT " %" G_GINT64_FORMAT " %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %s", backup->id,
            backup->offset, backup->unix_ms, backup->keys, backup->bytes, backup->note);
        reply_bulk_cstring(r->out, text);
    }
}

/* The argument as an id; false with the error answered if there's no such backup. */
static bool take_id(Request *r, int index)
{
    char *error = NULL;
    g_autofree char *id = g_strndup(r->argv[index].ptr, r->argv[index].len);
    g_autoptr(Backup) backup = backup_find(".", id, &error);
    if (backup == NULL) {
        reply_failure(r, error);
        return false;
    }
    g_strlcpy(job.id, backup->id, sizeof(job.id));
    return true;
}

/* BACKUP VERIFY id */
static void backup_verify_command(Request *r)
{
    if (!check_ready(r) || !take_id(r, 2)) return;
    job.kind = JOB_VERIFY;
    start_thread();
    reply_ok(r->out);
}

/* BACKUP DELETE id */
static void backup_delete_command(Request *r)
{
    if (!check_ready(r)) return;
    g_autofree char *id = g_strndup(r->argv[2].ptr, r->argv[2].len);
    char *error = backup_hide(".", id);
    if (error != NULL) {
        reply_failure(r, error);
        return;
    }
    g_strlcpy(job.id, id, sizeof(job.id));
    job.kind = JOB_DELETE;
    start_thread();
    reply_ok(r->out);
}

void cmd_backup(Request *r)
{
    static const SubCommand table[] = {
        { "create", 2, 3, backup_create },
        { "status", 2, 2, backup_status },
        { "list", 2, 2, backups_list },
        { "verify", 3, 3, backup_verify_command },
        { "delete", 3, 3, backup_delete_command },
    };
    if (subcommand_run(r, table, G_N_ELEMENTS(table)) == SUBCOMMAND_RAN) return;
    reply_error(r->out, "ERR Syntax error. Try BACKUP (CREATE [note]|LIST|STATUS|VERIFY id|DELETE id)");
}

/* ---- ROLLBACK ---- */

/* Takes the note. `offset`: as job.to_offset. */
static void begin_rollback(char *note, uint64_t offset)
{
    job.kind = JOB_ROLLBACK;
    job.note = note;
    job.to_offset = offset;
    hold();
    start_thread();
}

/* A slave's history is its master's. */
static bool check_may_roll_back(Request *r)
{
    if (failover_state != FAILOVER_NONE) {
        reply_error(r->out, "ERR ROLLBACK not allowed while failing over.");
        return false;
    }
    if (!slave_is_one()) return check_ready(r);
    reply_error(r->out,
                "ERR this is a slave, whose data is its master's; roll that back, or send SLAVEOF NO ONE first");
    return false;
}

bool backups_idle(void)
{
    return job.kind == JOB_NONE;
}

bool backups_replace_data(void)
{
    return job.kind == JOB_ROLLBACK;
}

bool backups_are_cleaning(void)
{
    return job.kind == JOB_CLEAN;
}

const char *backups_rollback_failed(void)
{
    return rollback_outcome.failed;
}

char *backups_go_back(uint64_t offset, const char *note)
{
    if (!backups_idle() || !journal_is_open()) return g_strdup("a backup or a rollback is in progress");
    if (!effect_write()) return g_strdup(journal_trouble());
    job.id[0] = '\0';
    begin_rollback(g_strdup(note), offset);
    return NULL;
}

void backups_stay(void)
{
    if (job.kind == JOB_ROLLBACK && job.to_offset != 0) job.unwanted = true;
}

static void rollback_status(Request *r)
{
    reply_outcome(r, &rollback_outcome, job.kind == JOB_ROLLBACK);
}

/* ROLLBACK TO unix-ms */
static void rollback_to(Request *r)
{
    if (!check_may_roll_back(r) || !arg_int(r, 2, &job.to_ms, NULL)) return;
    if (!effect_write()) {
        reply_errorf(r->out, "ERR %s", journal_trouble());
        return;
    }
    job.id[0] = '\0';
    begin_rollback(g_strdup_printf("before rollback to %" G_GINT64_FORMAT, job.to_ms), 0);
    reply_status(r->out, "Rollback started");
}

/* ROLLBACK id */
static void rollback_id(Request *r)
{
    if (!check_may_roll_back(r) || !take_id(r, 1)) return;
    begin_rollback(g_strdup_printf("before rollback to %s", job.id), 0);
    reply_status(r->out, "Rollback started");
}

void cmd_rollback(Request *r)
{
    static const SubCommand table[] = { { "status", 2, 2, rollback_status }, { "to", 3, 3, rollback_to } };
    if (subcommand_run(r, table, G_N_ELEMENTS(table)) == SUBCOMMAND_RAN) return;
    if (r->argc == 2 && !arg_is(r, 1, "to")) {
        rollback_id(r);
    } else {
        reply_error(r->out, "ERR Syntax error. Try ROLLBACK (id|TO unix-ms|STATUS)");
    }
}

/* ---- how far back ---- */

/* When the journal began, if nothing was before it; -1: something was. INFO asks often, so it's kept. */
static int64_t beginning_ms(uint64_t first_offset)
{
    static uint64_t known_offset;
    static int64_t known_ms = -1;
    static char known_history[MANIFEST_ID_CHARS + 1];
    if (first_offset > persist_manifest.start || !manifest_begins_empty(&persist_manifest)) return -1;
    if (known_ms < 0 || known_offset != first_offset || strcmp(known_history, persist_manifest.history) != 0) {
        known_offset = first_offset;
        known_ms = journal_first_ms(first_offset);
        if (known_ms < 0 && journal_offset() > first_offset) known_ms = state_first_ms(".", first_offset);
        memcpy(known_history, persist_manifest.history, sizeof(known_history));
    }
    return known_ms;
}

int64_t backups_oldest_ms(void)
{
    if (!journal_is_open()) return -1;
    uint64_t first = journal_stats().first_offset;
    int64_t oldest_ms = backup_oldest_ms(".", first), start_ms = beginning_ms(first);
    if (start_ms >= 0 && (oldest_ms < 0 || start_ms < oldest_ms)) oldest_ms = start_ms;
    for (int f = 0; f < 2; f++) {
        const CheckpointInfo *info = &persist_manifest.checkpoint[f];
        if (info->whole && info->offset >= first && (oldest_ms < 0 || info->unix_ms < oldest_ms))
            oldest_ms = info->unix_ms;
    }
    return oldest_ms;
}
