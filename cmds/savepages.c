/* savepages.c: see savepages.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/savepages.h"

#include "base/number.h"
#include "cmds/handlers.h"
#include "repl/slave.h"
#include "store/checkpoint.h"
#include "store/checkpointfile.h"
#include "store/image.h"
#include "store/list.h"
#include "store/zset.h"

/* Pages of so many bytes (and of few elements for each) are saved in less than a turn's 1 ms: a command that changes no
 * more runs at once. */
#define AT_ONCE_BYTES (128UL << 10)
/* A range of more members is not gone through in each turn: all of its set is saved. */
#define RANGE_MAX 4096

/* What the command does to its key's value, of which pages are pending, or (without pages) to a long string. */
typedef struct Change {
    CommandHandler handler;
    const Entry *entry;
    PageMap *pages;
    const Slice *argv;
    size_t argc;
} Change;

/* Which members a command changes: of every so many arguments from `first` on, or as a function says. */
typedef struct Concern {
    CommandHandler handler;
    ValueType type;
    unsigned first, step;
    bool (*save)(const Change *change);
} Concern;

static bool save_members(const Change *change, size_t first, size_t step)
{
    for (size_t i = first; i < change->argc; i += step) {
        if (!pages_save_in_time(change->pages, table_hash(change->argv[i]))) return false;
    }
    return true;
}

/* Options before the first score shift the members by one or not. */
static bool save_scored(const Change *change)
{
    return save_members(change, 3 + change->argc % 2, 2);
}

/* Whether so many of the pages are more than can be saved at once. */
static bool are_too_many(const Change *change, size_t pages)
{
    size_t each = image_value_bytes(change->entry) >> change->pages->pending_bits;
    return pages > AT_ONCE_BYTES / (each + 1);
}

/* At most so many pages, nobody knows which. */
static bool save_any(const Change *change, size_t pages)
{
    return are_too_many(change, pages) ? pages_save_all_in_time(change->pages) : !checkpoint_is_pressed();
}

/* A chunk of a list, and its neighbours: most often they're saved already, or small. */
static bool save_chunks(const Change *change)
{
    return !are_too_many(change, 3) || pages_save_all_in_time(change->pages);
}

/* SPOP key [count], LREM key count element: a count below 0 is from the other end, LREM's 0 is all. */
static bool save_counted(const Change *change)
{
    int64_t count = 1;
    if (change->argc > 2 && !number_parse_int(change->argv[2], &count)) return true;
    if (count == 0) return change->handler == cmd_spop || pages_save_all_in_time(change->pages);
    return save_any(change, count < 0 ? (size_t)0 - (size_t)count : (size_t)count);
}

static bool save_trimmed(const Change *change)
{
    const List *list = change->entry->list;
    size_t removed;
    if (!ltrim_removes(list, change->argv, &removed)) return true;
    return save_any(change, removed / (list_length(list) / list_chunks(list) + 1));
}

static bool save_range(const Change *change)
{
    const Zset *zset = change->entry->zset;
    size_t first, count;
    if (!zremrange_removes(change->handler, zset, change->argv, &first, &count)) return true;
    if (count > RANGE_MAX) return pages_save_all_in_time(change->pages);
    ZsetPair pair;
    ZsetWalk walk = zset_walk(zset, first, false);
    for (; count > 0 && zset_next(&walk, &pair); count--) {
        if (!pages_save_in_time(change->pages, table_hash(pair.member.text))) return false;
    }
    return true;
}

static bool save_string(const Change *change)
{
    return checkpoint_copy_string(change->entry, true);
}

/* What isn't here changes few elements, or replaces the value, which is handed over then. */
static const Concern concerns[] = {
    { cmd_hset, TYPE_HASH, 2, 2, NULL },
    { cmd_hmset, TYPE_HASH, 2, 2, NULL },
    { cmd_hsetnx, TYPE_HASH, 2, 2, NULL },
    { cmd_hincrby, TYPE_HASH, 2, 2, NULL },
    { cmd_hincrbyfloat, TYPE_HASH, 2, 2, NULL },
    { cmd_hdel, TYPE_HASH, 2, 1, NULL },
    { cmd_sadd, TYPE_SET, 2, 1, NULL },
    { cmd_srem, TYPE_SET, 2, 1, NULL },
    { cmd_smove, TYPE_SET, 3, 1, NULL },
    { cmd_spop, TYPE_SET, 0, 0, save_counted },
    { cmd_zadd, TYPE_ZSET, 0, 0, save_scored },
    { cmd_zincrby, TYPE_ZSET, 3, 1, NULL },
    { cmd_zrem, TYPE_ZSET, 2, 1, NULL },
    { cmd_geoadd, TYPE_ZSET, 4, 3, NULL },
    { cmd_zremrangebyrank, TYPE_ZSET, 0, 0, save_range },
    { cmd_zremrangebyscore, TYPE_ZSET, 0, 0, save_range },
    { cmd_zremrangebylex, TYPE_ZSET, 0, 0, save_range },
    { cmd_lpush, TYPE_LIST, 0, 0, save_chunks },
    { cmd_rpush, TYPE_LIST, 0, 0, save_chunks },
    { cmd_lpushx, TYPE_LIST, 0, 0, save_chunks },
    { cmd_rpushx, TYPE_LIST, 0, 0, save_chunks },
    { cmd_lpop, TYPE_LIST, 0, 0, save_chunks },
    { cmd_rpop, TYPE_LIST, 0, 0, save_chunks },
    { cmd_rpoplpush, TYPE_LIST, 0, 0, save_chunks },
    { cmd_lset, TYPE_LIST, 0, 0, save_chunks },
    { cmd_linsert, TYPE_LIST, 0, 0, save_chunks },
    { cmd_lrem, TYPE_LIST, 0, 0, save_counted },
    { cmd_ltrim, TYPE_LIST, 0, 0, save_trimmed },
    { cmd_append, TYPE_STRING, 0, 0, save_string },
    { cmd_setrange, TYPE_STRING, 0, 0, save_string },
    { cmd_setbit, TYPE_STRING, 0, 0, save_string },
    { cmd_expire, TYPE_STRING, 0, 0, save_string },
    { cmd_expireat, TYPE_STRING, 0, 0, save_string },
    { cmd_pexpire, TYPE_STRING, 0, 0, save_string },
    { cmd_pexpireat, TYPE_STRING, 0, 0, save_string },
    { cmd_persist, TYPE_STRING, 0, 0, save_string },
    { cmd_rename, TYPE_STRING, 0, 0, save_string },
    { cmd_renamenx, TYPE_STRING, 0, 0, save_string },
    { cmd_move, TYPE_STRING, 0, 0, save_string },
};

static const Concern *concern_of(const Command *command)
{
    for (size_t i = 0; i < G_N_ELEMENTS(concerns); i++) {
        if (concerns[i].handler == command->handler) return &concerns[i];
    }
    return NULL;
}

static bool save_value(const Concern *concern, const Entry *entry, const Slice *argv, size_t argc)
{
    if (entry->type != concern->type) return true;
    Change change = { .handler = concern->handler, .entry = entry, .argv = argv, .argc = argc };
    if (entry->type == TYPE_STRING) return save_string(&change);
    PagedValue paged;
    if (!checkpoint_paged(entry->type, entry->object, &paged)) return true;
    change.pages = *paged.pages;
    if (change.pages == NULL || change.pages->pending == NULL || pages_next(change.pages) < 0) return true;
    return concern->save != NULL ? concern->save(&change) : save_members(&change, concern->first, concern->step);
}

/* SLAVEOF NO ONE, PSYNC id offset FAILOVER. */
static bool makes_master(const Command *command, size_t argc)
{
    return command->handler == cmd_slaveof || (command->handler == cmd_psync && argc > 3);
}

bool savepages_before(const Command *command, Db *db, const Slice *argv, size_t argc)
{
    if (makes_master(command, argc)) return !slave_has_units();
    if (!(command->flags & CMD_WRITE) || command->first_key == 0) return true;
    const Concern *concern = concern_of(command);
    size_t end = command->last_key < 0 ? argc - (size_t)-command->last_key : (size_t)command->last_key;
    for (size_t key = (size_t)command->first_key; key <= end && key < argc; key += (size_t)command->key_step) {
        if (!keyspace_save_page(db, argv[key])) return false;
        const Entry *entry = concern == NULL ? NULL : keyspace_find(db, argv[key]);
        if (entry != NULL && !save_value(concern, entry, argv, argc)) return false;
    }
    return true;
}
