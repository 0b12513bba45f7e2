/* diverged.c: see diverged.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/diverged.h"

#include <errno.h>
#include <fcntl.h>

#include "base/log.h"
#include "base/number.h"
#include "net/resp.h"
#include "store/io.h"
#include "store/journal.h"
#include "store/state.h"

typedef struct Tail {
    uint64_t from;
    int64_t db; /* that the stream is in before `from`; -1: not known */
    uint64_t commands;
    char *path;
    int fd;
    uint64_t written, written_out;
    GArray *args; /* RespArg */
} Tail;

static bool put(Tail *tail, const void *bytes, size_t len)
{
    if (!io_write_all(tail->fd, bytes, len, (off_t)tail->written)) return false;
    tail->written += len;
    return io_write_out(tail->fd, &tail->written_out, tail->written);
}

static bool put_select(Tail *tail)
{
    char digits[NUMBER_INT_CHARS];
    int len = (int)number_format_int(digits, tail->db);
    g_autofree char *text = g_strdup_printf("*2\r\n$6\r\nSELECT\r\n$%d\r\n%.*s\r\n", len, len, digits);
    return put(tail, text, strlen(text));
}

/* Whether it's SELECT, whose database is noted. */
static bool note_select(Tail *tail, const char *bytes)
{
    const RespArg *args = (const RespArg *)(const void *)tail->args->data;
    if (tail->args->len != 2 || !slice_is((Slice){ bytes + args[0].offset, args[0].len }, "select")) return false;
    if (!number_parse_int((Slice){ bytes + args[1].offset, args[1].len }, &tail->db)) tail->db = -1;
    return true;
}

/* False: errno. */
static bool take_batch(Tail *tail, const JournalBatch *batch)
{
    RespParser parser = { .offset = 0 };
    const char *bytes = batch->payload.ptr;
    for (size_t at = 0; at < batch->payload.len; resp_next(&parser)) {
        const char *command = bytes + at;
        RespStatus status = resp_parse(&parser, tail->args, (char *)(uintptr_t)command, batch->payload.len - at);
        if (status != RESP_COMMAND || tail->args->len == 0) break; /* journals hold nothing else */
        bool before = batch->offset + at < tail->from, selects = note_select(tail, command);
        if (!before && !selects && tail->commands++ == 0 && tail->written == 0 && tail->db >= 0 && !put_select(tail))
            return false;
        if (!before && !put(tail, command, parser.offset)) return false;
        at += parser.offset;
    }
    return true;
}

static char *take_all(Tail *tail, JournalReader *reader)
{
    JournalBatch batch;
    for (;;) {
        switch (journal_read(reader, &batch)) {
        case JOURNAL_BATCH: break;
        case JOURNAL_BAD: return g_strdup(journal_reader_error(reader));
        case JOURNAL_TORN:
        case JOURNAL_END: return io->sync(tail->fd) == 0 && io_sync_directory(".") ? NULL : state_errno(tail->path);
        case JOURNAL_LATER: g_assert_not_reached();
        }
        if (!take_batch(tail, &batch)) return state_errno(tail->path);
    }
}

/* Where to begin so that the database is known that the stream is in at the offset, and which it's in there. A slave's
 * segments begin in any, and the master may not have said it for long: a checkpoint knows it. */
static uint64_t find_begin(const Manifest *manifest, uint64_t offset, int64_t *db)
{
    g_autofree char *error = NULL;
    g_autoptr(GArray) segments = journal_segments(".", &error);
    uint64_t begin = offset; /* which isn't there, then: reading says so */
    if (segments != NULL && segments->len > 0) begin = MIN(begin, g_array_index(segments, JournalSegment, 0).offset);
    *db = -1;
    for (int f = 0; f < 2; f++) {
        const CheckpointInfo *info = &manifest->checkpoint[f];
        if (!info->whole || info->offset < begin || info->offset > offset) continue;
        begin = info->offset;
        *db = info->db;
    }
    return begin;
}

char *diverged_save(const Manifest *manifest, uint64_t offset)
{
    char *error = NULL;
    Tail tail = { .from = offset };
    JournalReader *reader = journal_reader_new(".", find_begin(manifest, offset, &tail.db), NULL, &error);
    if (reader == NULL) return error;
    tail.args = g_array_new(FALSE, FALSE, sizeof(RespArg));
    tail.path = g_strdup_printf("diverged-%" G_GINT64_FORMAT ".resp", g_get_real_time() / 1000);
    tail.fd = io->open(tail.path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    error = tail.fd < 0 ? state_errno(tail.path) : take_all(&tail, reader);
    if (tail.fd >= 0) io->close(tail.fd);
    if (tail.fd >= 0 && error != NULL) io->unlink(tail.path); /* a part of it would look like all */
    if (error == NULL) {
        log_line(LOG_WARNING, "%" G_GUINT64_FORMAT " commands that the new master doesn't have are in %s.",
                 tail.commands, tail.path);
    }
    journal_reader_free(reader);
    g_array_unref(tail.args);
    g_free(tail.path);
    return error;
}
