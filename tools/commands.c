/* commands.c: see commands.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "tools/commands.h"

#include <glib.h>

#include "store/hash.h"
#include "store/list.h"
#include "store/set.h"
#include "store/zset.h"

#define CHUNK_ELEMENTS 64 /* of a collection, in one command */

/* A command in the making: its elements wait here, since their number comes first. */
struct Commands {
    FILE *to;
    GString *elements;
    int count;
    const char *command; /* "RPUSH" */
    Slice key;
    int seconds; /* for which it's there when its first command has run; 0: as long as it's meant to be */
    uint64_t written;
};

static void put_bulk(GString *to, Slice text)
{
    g_string_append_printf(to, "$%zu\r\n", text.len);
    g_string_append_len(to, text.ptr, (gssize)text.len);
    g_string_append_len(to, "\r\n", 2);
}

static void write_bytes(const Commands *commands, const GString *bytes)
{
    fwrite(bytes->str, 1, bytes->len, commands->to); /* an error stays until ferror */
}

/* Writes the command with the elements that wait, if there are any. */
static void end_command(Commands *commands)
{
    if (commands->count == 0) return;
    g_autoptr(GString) head = g_string_new(NULL);
    g_string_append_printf(head, "*%d\r\n", 2 + commands->count);
    put_bulk(head, slice_of(commands->command));
    put_bulk(head, commands->key);
    write_bytes(commands, head);
    write_bytes(commands, commands->elements);
    g_string_truncate(commands->elements, 0);
    commands->count = 0;
    commands->written++;
    if (commands->seconds == 0) return;
    char digits[NUMBER_INT_CHARS];
    Slice seconds = { digits, number_format_int(digits, commands->seconds) };
    commands->seconds = 0;
    commands_write(commands, (Slice[]){ SLICE("EXPIRE"), commands->key, seconds }, 3);
}

static void begin_command(Commands *commands, const char *command)
{
    commands->command = command;
}

static void put_argument(Commands *commands, Slice text)
{
    put_bulk(commands->elements, text);
    commands->count++;
}

static void put_value(Commands *commands, PackValue value)
{
    char digits[NUMBER_INT_CHARS];
    put_argument(commands, pack_value_text(value, digits));
}

/* An element of so many arguments is complete. */
static void end_element(Commands *commands, int arguments)
{
    if (commands->count >= CHUNK_ELEMENTS * arguments) end_command(commands);
}

/* ---- keys ---- */

static void write_string(Commands *commands, const Entry *entry)
{
    char digits[NUMBER_INT_CHARS];
    begin_command(commands, "SET");
    put_argument(commands, entry_string(entry, digits));
}

static void write_list(Commands *commands, const Entry *entry)
{
    begin_command(commands, "RPUSH");
    ListWalk walk = list_walk(entry->list, 0, LIST_TAIL);
    for (PackValue value; list_next(&walk, &value);) {
        put_value(commands, value);
        end_element(commands, 1);
    }
}

static void write_set(Commands *commands, const Entry *entry)
{
    begin_command(commands, "SADD");
    SetWalk walk = set_walk(entry->set);
    for (SetMember member; set_next(&walk, &member);) {
        put_value(commands, member);
        end_element(commands, 1);
    }
}

static void write_zset(Commands *commands, const Entry *entry)
{
    begin_command(commands, "ZADD");
    ZsetWalk walk = zset_walk(entry->zset, 0, false);
    for (ZsetPair pair; zset_next(&walk, &pair);) {
        char score[NUMBER_DOUBLE_CHARS];
        put_argument(commands, (Slice){ score, number_format_double(score, pair.score) });
        put_value(commands, pair.member);
        end_element(commands, 2);
    }
}

static void write_hash(Commands *commands, const Entry *entry)
{
    begin_command(commands, "HMSET");
    HashWalk walk = hash_walk(entry->hash);
    for (HashPair pair; hash_next(&walk, &pair);) {
        put_value(commands, pair.field);
        put_value(commands, pair.value);
        end_element(commands, 2);
    }
}

static void (*const write_by_type[])(Commands *commands, const Entry *entry) = {
    [TYPE_STRING] = write_string, [TYPE_LIST] = write_list, [TYPE_SET] = write_set,
    [TYPE_ZSET] = write_zset,     [TYPE_HASH] = write_hash,
};

static void write_deadline(Commands *commands, const Entry *entry)
{
    if (!entry->expires) return;
    char digits[NUMBER_INT_CHARS];
    begin_command(commands, "PEXPIREAT");
    put_argument(commands, (Slice){ digits, number_format_int(digits, entry_deadline(entry)) });
    end_command(commands);
}

/* ---- what others call ---- */

Commands *commands_new(FILE *to)
{
    Commands *commands = g_new0(Commands, 1);
    commands->to = to;
    commands->elements = g_string_new(NULL);
    return commands;
}

void commands_free(Commands *commands)
{
    g_string_free(commands->elements, TRUE);
    g_free(commands);
}

static void write_value(Commands *commands, Slice key, const Entry *entry)
{
    commands->key = key;
    write_by_type[entry->type](commands, entry);
    end_command(commands);
}

uint64_t commands_of_entry(Commands *commands, const Entry *entry)
{
    uint64_t before = commands->written;
    write_value(commands, entry_key(entry), entry);
    write_deadline(commands, entry);
    return commands->written - before;
}

uint64_t commands_of_value(Commands *commands, Slice key, const Entry *entry, int seconds)
{
    uint64_t before = commands->written;
    commands->seconds = seconds;
    write_value(commands, key, entry);
    return commands->written - before;
}

void commands_write(Commands *commands, const Slice *argv, int argc)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_string_append_printf(text, "*%d\r\n", argc);
    for (int i = 0; i < argc; i++)
        put_bulk(text, argv[i]);
    write_bytes(commands, text);
    commands->written++;
}

void commands_select(Commands *commands, int db)
{
    char digits[NUMBER_INT_CHARS];
    Slice index = { digits, number_format_int(digits, db) };
    commands_write(commands, (Slice[]){ SLICE("SELECT"), index }, 2);
}
