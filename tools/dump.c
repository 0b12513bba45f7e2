/* dump.c: `ckv dump`: a dataset as commands, that any Redis can run.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmds/command.h"
#include "store/hash.h"
#include "store/list.h"
#include "store/set.h"
#include "store/zset.h"
#include "tools/load.h"
#include "tools/tools.h"

#define CHUNK_ELEMENTS 64 /* of a collection, in one command */
#define BUFFER_BYTES   (1 << 20)

static const char summary[] =
    "Writes the dataset of a data directory as commands to standard output, for an empty server of any kind:\n\n"
    "  ckv dump --dir DIR | redis-cli --pipe\n\n"
    "Nothing is changed in DIR. While a server is using it, dump a backup: ckv dump --dir DIR --backup ID. Keys whose "
    "time has come are left out.\n\n"
    "Exit status: 0 all was written; 1 something couldn't be read or written; 2 wrong usage.";

/* ---- commands ---- */

/* A command in the making: its elements wait here, since their number comes first. */
typedef struct Dump {
    GString *elements;
    int count;
    const char *command; /* "RPUSH" */
    Slice key;
    uint64_t keys;
} Dump;

static void put_bulk(GString *to, Slice text)
{
    g_string_append_printf(to, "$%zu\r\n", text.len);
    g_string_append_len(to, text.ptr, (gssize)text.len);
    g_string_append_len(to, "\r\n", 2);
}

static void write_bytes(const GString *bytes)
{
    fwrite(bytes->str, 1, bytes->len, stdout); /* an error stays until ferror */
}

/* Writes the command with the elements that wait, if there are any. */
static void end_command(Dump *dump)
{
    if (dump->count == 0) return;
    g_autoptr(GString) head = g_string_new(NULL);
    g_string_append_printf(head, "*%d\r\n", 2 + dump->count);
    put_bulk(head, slice_of(dump->command));
    put_bulk(head, dump->key);
    write_bytes(head);
    write_bytes(dump->elements);
    g_string_truncate(dump->elements, 0);
    dump->count = 0;
}

static void begin_command(Dump *dump, const char *command)
{
    dump->command = command;
}

static void put_argument(Dump *dump, Slice text)
{
    put_bulk(dump->elements, text);
    dump->count++;
}

static void put_value(Dump *dump, PackValue value)
{
    char digits[NUMBER_INT_CHARS];
    put_argument(dump, pack_value_text(value, digits));
}

/* An element of so many arguments is complete. */
static void end_element(Dump *dump, int arguments)
{
    if (dump->count >= CHUNK_ELEMENTS * arguments) end_command(dump);
}

/* ---- keys ---- */

static void dump_string(Dump *dump, const Entry *entry)
{
    char digits[NUMBER_INT_CHARS];
    begin_command(dump, "SET");
    put_argument(dump, entry_string(entry, digits));
}

static void dump_list(Dump *dump, const Entry *entry)
{
    begin_command(dump, "RPUSH");
    ListWalk walk = list_walk(entry->list, 0, LIST_TAIL);
    for (PackValue value; list_next(&walk, &value);) {
        put_value(dump, value);
        end_element(dump, 1);
    }
}

static void dump_set(Dump *dump, const Entry *entry)
{
    begin_command(dump, "SADD");
    SetWalk walk = set_walk(entry->set);
    for (SetMember member; set_next(&walk, &member);) {
        put_value(dump, member);
        end_element(dump, 1);
    }
}

static void dump_zset(Dump *dump, const Entry *entry)
{
    begin_command(dump, "ZADD");
    ZsetWalk walk = zset_walk(entry->zset, 0, false);
    for (ZsetPair pair; zset_next(&walk, &pair);) {
        char score[NUMBER_DOUBLE_CHARS];
        put_argument(dump, (Slice){ score, number_format_double(score, pair.score) });
        put_value(dump, pair.member);
        end_element(dump, 2);
    }
}

static void dump_hash(Dump *dump, const Entry *entry)
{
    begin_command(dump, "HMSET");
    HashWalk walk = hash_walk(entry->hash);
    for (HashPair pair; hash_next(&walk, &pair);) {
        put_value(dump, pair.field);
        put_value(dump, pair.value);
        end_element(dump, 2);
    }
}

static void (*const dump_by_type[])(Dump *dump, const Entry *entry) = {
    [TYPE_STRING] = dump_string, [TYPE_LIST] = dump_list, [TYPE_SET] = dump_set,
    [TYPE_ZSET] = dump_zset,     [TYPE_HASH] = dump_hash,
};

static void dump_deadline(Dump *dump, const Entry *entry)
{
    if (!entry->expires) return;
    char digits[NUMBER_INT_CHARS];
    begin_command(dump, "PEXPIREAT");
    put_argument(dump, (Slice){ digits, number_format_int(digits, entry_deadline(entry)) });
    end_command(dump);
}

static void dump_entry(void *element, void *context)
{
    const Entry *entry = element;
    Dump *dump = context;
    if (entry->expires && entry_deadline(entry) <= clock_unix_ms) return;
    dump->key = entry_key(entry);
    dump_by_type[entry->type](dump, entry);
    end_command(dump);
    dump_deadline(dump, entry);
    dump->keys++;
}

static void dump_select(int db)
{
    g_autofree char *index = g_strdup_printf("%d", db);
    printf("*2\r\n$6\r\nSELECT\r\n$%zu\r\n%s\r\n", strlen(index), index);
}

static void dump_db(Dump *dump, const Db *db)
{
    if (db->table.count == 0) return;
    dump_select(db->index);
    uint64_t cursor = 0;
    do {
        cursor = keyspace_scan(db, cursor, dump_entry, dump);
    } while (cursor != 0 && !ferror(stdout));
}

static ToolStatus dump_all(void)
{
    Dump dump = { .elements = g_string_new(NULL) };
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOFBF, BUFFER_BYTES);
    clock_refresh();
    for (int i = 0; i < keyspace->db_count && !ferror(stdout); i++)
        dump_db(&dump, &keyspace->dbs[i]);
    int error = ferror(stdout) || fflush(stdout) != 0 ? errno : 0;
    g_string_free(dump.elements, TRUE);
    if (error != 0) return tool_fail("standard output: %s; the dump isn't complete", g_strerror(error));
    if (!isatty(STDOUT_FILENO)) fprintf(stderr, "%" G_GUINT64_FORMAT " keys were written.\n", dump.keys);
    return TOOL_OK;
}

/* ---- the tool ---- */

/* Only a directory that had a server has its lock, and nothing is to be made here. */
static bool lock_if_any(const char *directory, bool *running, char **error)
{
    g_autofree char *path = g_build_filename(directory, "ckv.lock", NULL);
    *running = false;
    return access(path, F_OK) != 0 || tool_lock(directory, running, error);
}

static ToolStatus dump_directory(const char *directory, const char *backup)
{
    bool running;
    g_autofree char *error = NULL;
    g_autofree char *path = backup == NULL ? g_strdup(directory) : g_build_filename(directory, "backups", backup, NULL);
    if (backup == NULL && !lock_if_any(directory, &running, &error)) {
        return running ? tool_fail("%s; dump a backup: ckv dump --dir %s --backup ID (ckv backup list shows them)",
                                   error, directory)
                       : tool_fail("%s", error);
    }
    error = load_directory(path, backup != NULL);
    return error == NULL ? dump_all() : tool_fail("%s", error);
}

ToolStatus tool_dump(int argc, char **argv)
{
    g_autofree char *directory = NULL, *backup = NULL;
    const GOptionEntry entries[] = {
        { "dir", 0, 0, G_OPTION_ARG_FILENAME, &directory, "the data directory (" TOOL_DIRECTORY ")", "DIR" },
        { "backup", 0, 0, G_OPTION_ARG_STRING, &backup, "a backup in it, instead of the data itself", "ID" },
        G_OPTION_ENTRY_NULL,
    };
    if (!tool_parse(&argc, &argv, "[DIR]", summary, entries)) return TOOL_USAGE;
    bool odd_id = backup != NULL && (strchr(backup, '/') != NULL || backup[0] == '.' || backup[0] == '\0');
    if (argc > 2 || (argc == 2 && directory != NULL) || odd_id) {
        fprintf(stderr, "ckv dump: %s; see ckv dump --help\n",
                odd_id ? "that's no backup's ID" : "one directory at a time");
        return TOOL_USAGE;
    }
    if (directory == NULL) directory = g_strdup(argc == 2 ? argv[1] : TOOL_DIRECTORY);
    return dump_directory(directory, backup);
}
