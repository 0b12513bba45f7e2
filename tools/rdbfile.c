/* rdbfile.c: see rdbfile.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "tools/rdbfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/grave.h"
#include "tools/survey.h"
#include "tools/tools.h"

#define SLICE_US 50000

bool rdbfile_open(RdbFile *file, const char *path, char **error)
{
    struct stat status;
    bool standard = strcmp(path, "-") == 0;
    *file = (RdbFile){ .name = standard ? "standard input" : path };
    file->fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (file->fd < 0 || fstat(file->fd, &status) != 0) {
        *error = g_strdup_printf("%s: %s", path, g_strerror(errno));
        return false;
    }
    if (S_ISREG(status.st_mode)) file->bytes = (uint64_t)status.st_size;
    return true;
}

static ssize_t read_some(void *context, void *to, size_t len)
{
    return read(((const RdbFile *)context)->fd, to, len);
}

static void note_field(void *context, Slice name, Slice value)
{
    RdbFile *file = context;
    if (slice_equal(name, SLICE("redis-ver")))
        g_snprintf(file->made_by, sizeof(file->made_by), "%.*s", (int)MIN(value.len, 20), value.ptr);
    if (slice_equal(name, SLICE("aof-base"))) file->is_base = slice_equal(value, SLICE("1"));
}

static void note_key(void *context, Db *db, Entry *entry)
{
    RdbFile *file = context;
    if (!file->enough) file->enough = file->loaded(file->context, db, entry);
}

/* Redis 4 to 6 begin an append-only file with an RDB file. (redis-cli leaves a mark of letters and digits behind one
 * that it was sent.) */
static bool commands_follow(const RdbFile *file, const RdbReader *reader)
{
    char next;
    Slice rest = rdb_reader_rest(reader);
    if (rest.len == 0 && read(file->fd, &next, 1) == 1) rest = (Slice){ &next, 1 };
    return rest.len > 0 && rest.ptr[0] == '*';
}

char *rdbfile_read(RdbFile *file, Keyspace *keyspace, RdbStats *stats)
{
    RdbSource source = { .read = read_some,
                         .context = file,
                         .drop_expired = true,
                         .aux = note_field,
                         .loaded = file->loaded == NULL ? NULL : note_key };
    RdbReader *reader = rdb_reader_new(keyspace, &source);
    RdbStep step;
    while ((step = rdb_read_step(reader, SLICE_US)) != RDB_DONE && step != RDB_FAILED && !file->enough) {
        grave_drain();
        if (file->bytes > 0) tool_progress(file->name, (double)rdb_reader_offset(reader) / (double)file->bytes);
    }
    tool_progress(file->name, -1);
    char *error = step != RDB_FAILED ? NULL : g_strdup_printf("%s: %s", file->name, rdb_reader_error(reader));
    if (step == RDB_DONE && commands_follow(file, reader))
        error = g_strdup_printf("%s: commands follow at byte %" G_GUINT64_FORMAT ": it's an append-only file, of which "
                                "this reads the beginning only; import what a Redis that has loaded it then SAVEs",
                                file->name, rdb_reader_offset(reader));
    *stats = *rdb_reader_stats(reader);
    rdb_reader_free(reader);
    return error;
}

/* ---- what is told ---- */

static void tell_left_out(uint64_t number, const char *what)
{
    if (number == 0) return;
    g_autofree char *count = survey_count(number);
    printf("Left out: %s %s.\n", count, what);
}

void rdbfile_tell(const RdbFile *file, const RdbStats *stats, const char *done)
{
    static const char *const names[] = { "strings", "lists", "sets", "sorted sets", "hashes" };
    uint64_t keys = 0;
    g_autoptr(GString) types = g_string_new(NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(stats->keys); i++) {
        keys += stats->keys[i];
        if (stats->keys[i] == 0) continue;
        g_autofree char *count = survey_count(stats->keys[i]);
        g_string_append_printf(types, "%s%s %s", types->len > 0 ? ", " : ": ", count, names[i]);
    }
    g_autofree char *count = survey_count(keys), *expiring = survey_count(stats->expiring);
    const char *by = file->made_by[0] == '\0' ? "" : " of Redis ";
    printf("%s%s%s: %s keys %s%s", file->name, by, file->made_by, count, done, types->str);
    if (stats->expiring > 0) printf("; %s of them expire", expiring);
    printf(".\n");
    if (file->is_base)
        printf(
            "It's the base of an append-only file, and what was written since is in the .incr.aof files beside it: if "
            "there is more in them, import what SAVE writes instead.\n");
    tell_left_out(stats->expired, "keys that have expired");
    tell_left_out(stats->empty, "collections without elements");
    tell_left_out(stats->functions, "libraries of functions");
    tell_left_out(stats->module_fields, "fields of modules");
}
