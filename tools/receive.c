/* receive.c: `ckv receive HISTORY OFFSET LEFT OLDER [--option value ...]`: what a slave starts for a full sync, with
 * its data directory as the working directory: an RDB file from standard input becomes a whole data directory in
 * rollback.tmp/. Nobody else has a use for it.
 *
 * It has the identity and the hash's secret of the directory that it's to replace, HISTORY as its history, LEFT (which
 * may be empty) as those that rollbacks of the master left, OLDER (which may be, too) as those that the history was
 * before, and begins at OFFSET. On standard error there's what went wrong, in its last line.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/number.h"
#include "base/options.h"
#include "store/backup.h"
#include "store/io.h"
#include "store/journal.h"
#include "store/mem.h"
#include "store/pagesort.h"
#include "store/rdb.h"
#include "store/state.h"
#include "tools/tools.h"

#define STEP_US 5000 /* so that little more is read than may be held */

typedef struct Receive {
    uint64_t offset;
    int64_t db; /* that the stream is in there; -1: it begins by saying so */
    Manifest manifest;
    Keyspace *keyspace;
    PageSort *sort;
} Receive;

/* ---- reading ---- */

static ssize_t read_input(void *context, void *to, size_t len)
{
    (void)context;
    ssize_t got;
    do {
        got = read(STDIN_FILENO, to, len);
    } while (got < 0 && errno == EINTR);
    return got;
}

static void take_aux(void *context, Slice name, Slice value)
{
    Receive *receive = context;
    int64_t db;
    if (slice_is(name, "repl-stream-db") && number_parse_int(value, &db)) receive->db = CLAMP(db, -1, INT32_MAX);
}

/* Reads all there is; what is too much to be held goes to the disk. */
static char *read_data(Receive *receive)
{
    RdbSource source = { .read = read_input, .context = receive, .aux = take_aux };
    RdbReader *reader = rdb_reader_new(receive->keyspace, &source);
    RdbStep step;
    bool going_on = true;
    do {
        clock_refresh();
        step = rdb_read_step(reader, STEP_US);
        if (mem_used() > PAGESORT_BYTES) going_on = pagesort_take(receive->sort);
    } while (going_on && (step == RDB_MORE || step == RDB_WAIT));
    char *error = step == RDB_FAILED ? g_strdup(rdb_reader_error(reader)) : NULL;
    rdb_reader_free(reader);
    if (error == NULL && receive->db >= receive->keyspace->db_count)
        error = g_strdup_printf("the stream behind it is in database %" G_GINT64_FORMAT ", and there are %d here",
                                receive->db, receive->keyspace->db_count);
    return error;
}

/* ---- writing: all of it in rollback.tmp/, which is the working directory ---- */

/* One that is empty, and goes on behind the checkpoint. */
static char *write_journal(const Receive *receive)
{
    JournalStart start = { .offset = receive->offset,
                           .db = (int)receive->db,
                           .history = receive->manifest.history,
                           .sync = JOURNAL_SYNC_NO,
                           .segment_bytes = (uint64_t)options.journal_segment_bytes };
    char *error = journal_open(&start);
    if (error != NULL) return error;
    return journal_close() ? NULL : g_strdup("the journal can't be synced");
}

static char *enter_directory(void)
{
    if (!state_remove(ROLLBACK_BUILDING) || io->mkdir(ROLLBACK_BUILDING, 0700) != 0)
        return state_errno(ROLLBACK_BUILDING);
    return chdir(ROLLBACK_BUILDING) == 0 ? NULL : state_errno(ROLLBACK_BUILDING);
}

/* A slave's, also if it's killed before it has loaded it: nobody else may go on with the history. */
static char *take_identity(Receive *receive, const char *history, const char *left, const char *older)
{
    char *error = NULL;
    Manifest own;
    if (manifest_read(".", &own, &error) != MANIFEST_READ)
        return error != NULL ? error : g_strdup("there's no " MANIFEST_FILE " here");
    manifest_init(&receive->manifest);
    memcpy(receive->manifest.instance, own.instance, sizeof(own.instance));
    memcpy(receive->manifest.secret, own.secret, sizeof(own.secret));
    g_strlcpy(receive->manifest.history, history, sizeof(receive->manifest.history));
    g_strlcpy(receive->manifest.state, MANIFEST_FOLLOWS, sizeof(receive->manifest.state));
    (void)manifest_set_left(&receive->manifest, left);
    (void)manifest_add_older(&receive->manifest, older);
    /* It begins at 0, from where this journal won't have it: the checkpoint is needed. */
    manifest_clear(&own);
    return NULL;
}

static char *receive_all(Receive *receive, const char *history, const char *left, const char *older)
{
    char *error = rollback_possible("."); /* before all of it is received in vain */
    if (error == NULL) error = take_identity(receive, history, left, older);
    if (error != NULL) return error;
    table_set_secret(receive->manifest.secret, sizeof(receive->manifest.secret));
    if ((error = enter_directory()) != NULL) return error;
    receive->keyspace = keyspace_new((int)options.databases);
    receive->sort = pagesort_new(receive->keyspace, &receive->manifest);
    error = read_data(receive);
    if (error == NULL) error = write_journal(receive);
    CheckpointInfo info = { .offset = receive->offset, .db = (int)receive->db, .unix_ms = clock_unix_ms };
    if (error == NULL) error = pagesort_finish(receive->sort, &info);
    pagesort_free(receive->sort);
    keyspace_free(receive->keyspace);
    if (error == NULL && !io_sync_directory(".")) error = state_errno(ROLLBACK_BUILDING);
    if (error != NULL && chdir("..") == 0) state_remove(ROLLBACK_BUILDING);
    return error;
}

ToolStatus tool_receive(int argc, char **argv)
{
    int64_t offset;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody else takes what is made here */
    options_reset();
    if (argc < 5 || strlen(argv[1]) != MANIFEST_ID_CHARS || !number_parse_int(slice_of(argv[2]), &offset) ||
        offset < 0) {
        tool_fail("receive takes a history, an offset, those left and those before; a slave starts it for a full sync");
        return TOOL_USAGE;
    }
    g_autofree char *wrong = options_load(argc - 4, argv + 4);
    if (wrong != NULL) return tool_fail("%s", wrong);
    Receive receive = { .offset = (uint64_t)offset, .db = -1 };
    g_autofree char *error = receive_all(&receive, argv[1], argv[3], argv[4]);
    return error == NULL ? TOOL_OK : tool_fail("%s", error);
}
