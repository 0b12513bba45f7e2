/* newer.c: see newer.h.
 *
 * Design. A table says what each form comes to. A form may depend on the data there; then it's seen as it was when the
 * form came, and each command of those it comes to after the one before. What a master sends has been done there, so
 * conditions that were met (COPY without REPLACE, PEXPIREAT with NX) needn't be looked at again.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/newer.h"

#include "base/number.h"
#include "store/list.h"
#include "store/rdb.h"
#include "store/zset.h"

typedef struct Newer {
    Db *db;
    const Slice *argv;
    int argc;
    NewerRun run;
    void *context;
} Newer;

static char *run(const Newer *form, const Slice *argv, int argc)
{
    return form->run(form->context, argv, argc);
}

/* With another name, and only so many of the arguments. */
static char *run_as(const Newer *form, const char *name, int argc)
{
    g_autofree Slice *argv = g_memdup2(form->argv, sizeof(Slice) * (size_t)argc);
    argv[0] = slice_of(name);
    return run(form, argv, argc);
}

static char *run_with_number(const Newer *form, const char *name, Slice key, int64_t number)
{
    char digits[NUMBER_INT_CHARS];
    Slice text = { digits, number_format_int(digits, number) };
    return run(form, (Slice[]){ slice_of(name), key, text }, 3);
}

/* On ranks from `first` to `last`. */
static char *run_on_ranks(const Newer *form, const char *name, int64_t first, int64_t last)
{
    char digits[2][NUMBER_INT_CHARS];
    Slice from = { digits[0], number_format_int(digits[0], first) };
    Slice to = { digits[1], number_format_int(digits[1], last) };
    return run(form, (Slice[]){ slice_of(name), form->argv[1], from, to }, 4);
}

static bool option_is(const Newer *form, int index, const char *word)
{
    return index < form->argc && slice_is(form->argv[index], word);
}

static int64_t deadline_of(Db *db, Slice key)
{
    const Entry *entry = keyspace_peek(db, key);
    return entry != NULL && entry->expires ? entry_deadline_block(entry)->at_ms : -1;
}

/* ---- SET ---- */

/* What SET says about the deadline; the other arguments stay. */
typedef struct Until {
    bool found;
    int64_t at_ms; /* -1: none */
} Until;

/* Takes such an option at argv[index]; how many arguments it has, 0: it's none, or it can't be read. */
static int take_until(const Newer *form, int index, Until *until)
{
    int64_t unit_ms = option_is(form, index, "pxat") ? 1 : option_is(form, index, "exat") ? 1000 : 0;
    if (option_is(form, index, "keepttl")) {
        *until = (Until){ true, deadline_of(form->db, form->argv[1]) };
        return 1;
    }
    if (unit_ms == 0 || index + 1 == form->argc || !number_parse_int(form->argv[index + 1], &until->at_ms)) return 0;
    if (__builtin_mul_overflow(until->at_ms, unit_ms, &until->at_ms)) return 0;
    until->found = true;
    return 2;
}

/* SET key value … PXAT unix-ms | EXAT unix-seconds | KEEPTTL: 7.0 says PXAT for every lifetime, 6.0 KEEPTTL for
 * INCRBYFLOAT. */
static char *set(const Newer *form)
{
    Until until = { false, -1 };
    g_autofree Slice *kept = g_new(Slice, (size_t)form->argc);
    int count = 0;
    for (int i = 0; i < form->argc;) {
        int taken = i < 3 ? 0 : take_until(form, i, &until);
        if (taken == 0) kept[count++] = form->argv[i];
        i += MAX(taken, 1);
    }
    char *wrong = run(form, kept, count);
    if (wrong != NULL || !until.found || until.at_ms < 0) return wrong;
    return run_with_number(form, "PEXPIREAT", form->argv[1], until.at_ms);
}

/* ---- keys ---- */

/* A key made of a payload, with a deadline unless it's negative. */
static char *restore_as(const Newer *form, Slice key, Slice payload, int64_t at_ms)
{
    char *wrong = run(form, (Slice[]){ SLICE("RESTORE"), key, SLICE("0"), payload, SLICE("REPLACE") }, 5);
    return wrong != NULL || at_ms < 0 ? wrong : run_with_number(form, "PEXPIREAT", key, at_ms);
}

/* RESTORE key milliseconds payload [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency] */
static char *restore(const Newer *form)
{
    bool absolute = false;
    int64_t at_ms;
    for (int i = 4; i < form->argc; i++)
        absolute |= option_is(form, i, "absttl");
    if (!number_parse_int(form->argv[2], &at_ms)) return g_strdup("its time to live isn't a number");
    if (absolute) return restore_as(form, form->argv[1], form->argv[3], at_ms > 0 ? at_ms : -1);
    return run(form, (Slice[]){ SLICE("RESTORE"), form->argv[1], form->argv[2], form->argv[3], SLICE("REPLACE") }, 5);
}

static char *run_select(const Newer *form, int db)
{
    char digits[NUMBER_INT_CHARS];
    Slice text = { digits, number_format_int(digits, db) };
    return run(form, (Slice[]){ SLICE("SELECT"), text }, 2);
}

/* COPY source destination [DB database] [REPLACE] */
static char *copy(const Newer *form)
{
    int64_t to = form->db->index;
    const Entry *entry = keyspace_peek(form->db, form->argv[1]);
    for (int i = 3; i < form->argc; i++) {
        if (option_is(form, i, "db") && i + 1 < form->argc && !number_parse_int(form->argv[++i], &to))
            return g_strdup("its database isn't a number");
    }
    if (to < 0 || to > INT_MAX) return g_strdup("there's no such database");
    g_autoptr(GByteArray) payload = entry == NULL ? NULL : rdb_dump(entry);
    if (payload == NULL) return g_strdup("there's nothing to copy, or it's larger than RESTORE can take (512MB)");
    int64_t at_ms = deadline_of(form->db, form->argv[1]);
    char *wrong = to == form->db->index ? NULL : run_select(form, (int)to);
    if (wrong == NULL)
        wrong = restore_as(form, form->argv[2], (Slice){ (const char *)payload->data, payload->len }, at_ms);
    if (to != form->db->index && wrong == NULL) wrong = run_select(form, form->db->index);
    return wrong;
}

/* UNLINK key [key …] */
static char *unlink_keys(const Newer *form)
{
    return run_as(form, "DEL", form->argc);
}

/* PEXPIREAT key unix-ms NX | XX | GT | LT */
static char *pexpireat(const Newer *form)
{
    return run(form, form->argv, 3);
}

/* FLUSHDB | FLUSHALL ASYNC | SYNC */
static char *flush(const Newer *form)
{
    return run(form, form->argv, 1);
}

/* ---- hashes and lists ---- */

/* HSET key field value field value … */
static char *hset(const Newer *form)
{
    return run_as(form, "HMSET", form->argc);
}

/* LPUSHX | RPUSHX key value value … */
static char *pushx(const Newer *form)
{
    if (keyspace_peek(form->db, form->argv[1]) == NULL) return NULL;
    return run_as(form, option_is(form, 0, "lpushx") ? "LPUSH" : "RPUSH", form->argc);
}

static bool take_count(const Newer *form, int64_t *count)
{
    *count = 1;
    return form->argc < 3 || (number_parse_int(form->argv[2], count) && *count > 0);
}

/* LPOP | RPOP key count */
static char *pop(const Newer *form)
{
    int64_t count;
    if (!take_count(form, &count)) return g_strdup("its count isn't a positive number");
    return option_is(form, 0, "lpop") ? run_on_ranks(form, "LTRIM", count, -1)
                                      : run_on_ranks(form, "LTRIM", 0, -1 - count);
}

/* LMOVE source destination LEFT | RIGHT LEFT | RIGHT */
static char *lmove(const Newer *form)
{
    Slice from = form->argv[1], to = form->argv[2];
    bool left = option_is(form, 3, "left"), to_left = option_is(form, 4, "left");
    if (!left && to_left) return run_as(form, "RPOPLPUSH", 3);
    const Entry *entry = keyspace_peek(form->db, from);
    if (entry == NULL || entry->type != TYPE_LIST) return g_strdup("there's no such list");
    size_t length = list_length(entry->list);
    if (length == 1 && slice_equal(from, to)) return NULL; /* its deadline must not go with its only element */
    char digits[NUMBER_INT_CHARS];
    Slice element = pack_value_text(list_get(entry->list, left ? 0 : length - 1), digits);
    g_autofree char *text = g_memdup2(element.ptr, element.len);
    char *wrong = run(form, (Slice[]){ left ? SLICE("LPOP") : SLICE("RPOP"), from }, 2);
    if (wrong != NULL) return wrong;
    return run(form, (Slice[]){ to_left ? SLICE("LPUSH") : SLICE("RPUSH"), to, { text, element.len } }, 3);
}

/* ---- sorted sets ---- */

/* ZPOPMIN key [count] */
static char *zpopmin(const Newer *form)
{
    int64_t count;
    if (!take_count(form, &count)) return g_strdup("its count isn't a positive number");
    return run_on_ranks(form, "ZREMRANGEBYRANK", 0, count - 1);
}

/* ZPOPMAX key [count] */
static char *zpopmax(const Newer *form)
{
    int64_t count;
    if (!take_count(form, &count)) return g_strdup("its count isn't a positive number");
    return run_on_ranks(form, "ZREMRANGEBYRANK", -count, -1);
}

static bool score_of(const Newer *form, Slice member, double *score)
{
    const Entry *entry = keyspace_peek(form->db, form->argv[1]);
    return entry != NULL && entry->type == TYPE_ZSET && zset_score(entry->zset, member, score);
}

/* ZADD's and GEOADD's options. */
typedef struct AddOptions {
    int end; /* behind them */
    bool if_missing, if_present, if_greater, if_less, increments;
} AddOptions;

static AddOptions add_options(const Newer *form)
{
    AddOptions options = { .end = 2 };
    for (;; options.end++) {
        bool *option = option_is(form, options.end, "nx")     ? &options.if_missing
                       : option_is(form, options.end, "xx")   ? &options.if_present
                       : option_is(form, options.end, "gt")   ? &options.if_greater
                       : option_is(form, options.end, "lt")   ? &options.if_less
                       : option_is(form, options.end, "incr") ? &options.increments
                                                              : NULL;
        if (option != NULL) {
            *option = true;
        } else if (!option_is(form, options.end, "ch")) {
            return options;
        }
    }
}

/* Whether the member is to get what is said: `score`, or more by that; NULL for a position. */
static bool is_wanted(const Newer *form, const AddOptions *options, Slice member, const double *score)
{
    double before;
    if (!score_of(form, member, &before)) return !options->if_present;
    double after = score == NULL ? 0 : options->increments ? before + *score : *score;
    return !options->if_missing && (!options->if_greater || after > before) && (!options->if_less || after < before);
}

/* ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member …] */
static char *zadd(const Newer *form)
{
    AddOptions options = add_options(form);
    if (!options.if_greater && !options.if_less) return run(form, form->argv, form->argc);
    const char *name = options.increments ? "ZINCRBY" : "ZADD";
    char *wrong = NULL;
    for (int i = options.end; i + 1 < form->argc && wrong == NULL; i += 2) {
        double score;
        const Slice *pair = form->argv + i;
        if (!number_parse_double(pair[0], &score)) return g_strdup("a score isn't a number");
        if (is_wanted(form, &options, pair[1], &score))
            wrong = run(form, (Slice[]){ slice_of(name), form->argv[1], pair[0], pair[1] }, 4);
    }
    return wrong;
}

/* GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member …] */
static char *geoadd(const Newer *form)
{
    AddOptions options = add_options(form);
    char *wrong = NULL;
    for (int i = options.end; i + 2 < form->argc && wrong == NULL; i += 3) {
        const Slice *place = form->argv + i;
        if (is_wanted(form, &options, place[2], NULL))
            wrong = run(form, (Slice[]){ SLICE("GEOADD"), form->argv[1], place[0], place[1], place[2] }, 5);
    }
    return wrong;
}

/* ---- all ---- */

#define FORM(name, argc_min, come_to)                                                                                  \
    {                                                                                                                  \
        name, sizeof(name) - 1, argc_min, come_to                                                                      \
    }

static const struct {
    const char *name;
    size_t name_len;
    int argc_min; /* with fewer arguments it's 3.2's form */
    char *(*come_to)(const Newer *form);
} forms[] = {
    FORM("set", 4, set),       FORM("hset", 5, hset),       FORM("unlink", 2, unlink_keys),
    FORM("copy", 3, copy),     FORM("restore", 5, restore), FORM("pexpireat", 4, pexpireat),
    FORM("flushdb", 2, flush), FORM("flushall", 2, flush),  FORM("lpushx", 4, pushx),
    FORM("rpushx", 4, pushx),  FORM("lpop", 3, pop),        FORM("rpop", 3, pop),
    FORM("lmove", 5, lmove),   FORM("zpopmin", 2, zpopmin), FORM("zpopmax", 2, zpopmax),
    FORM("zadd", 5, zadd),     FORM("geoadd", 6, geoadd),
};

char *newer_run(Db *db, const Slice *argv, int argc, NewerRun run_one, void *context)
{
    for (size_t i = 0; i < G_N_ELEMENTS(forms); i++) {
        if (argv[0].len != forms[i].name_len || argc < forms[i].argc_min || !slice_is(argv[0], forms[i].name)) continue;
        return forms[i].come_to(&(Newer){ .db = db, .argv = argv, .argc = argc, .run = run_one, .context = context });
    }
    return run_one(context, argv, argc);
}

bool newer_is_notice(Slice name)
{
    return slice_is(name, "spublish") || slice_is(name, "script") || slice_is(name, "function");
}
