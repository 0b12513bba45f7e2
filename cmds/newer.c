/* newer.c: see newer.h.
 *
 * Design. UNLINK is DEL; HSET of several fields is HMSET; SET may say PXAT or EXAT (7.0 does for every lifetime) or
 * KEEPTTL (6.0 does for INCRBYFLOAT), which is SET and a PEXPIREAT behind it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/newer.h"

#include "base/number.h"

/* The same with another name. */
static char *run_as(const char *name, const Slice *argv, int argc, NewerRun run, void *context)
{
    g_autofree Slice *renamed = g_memdup2(argv, sizeof(Slice) * (size_t)argc);
    renamed[0] = slice_of(name);
    return run(context, renamed, argc);
}

/* What SET says about the deadline; the other arguments stay. */
typedef struct Until {
    bool found;
    int64_t at_ms; /* -1: none */
} Until;

static int64_t deadline_of(Db *db, Slice key)
{
    const Entry *entry = keyspace_peek(db, key);
    return entry != NULL && entry->expires ? entry_deadline_block(entry)->at_ms : -1;
}

/* Takes such an option at argv[index]; how many arguments it has, 0: it's none, or it can't be read. */
static int take_until(Db *db, const Slice *argv, int argc, int index, Until *until)
{
    int64_t unit_ms = slice_is(argv[index], "pxat") ? 1 : slice_is(argv[index], "exat") ? 1000 : 0;
    if (slice_is(argv[index], "keepttl")) {
        *until = (Until){ true, deadline_of(db, argv[1]) };
        return 1;
    }
    if (unit_ms == 0 || index + 1 == argc || !number_parse_int(argv[index + 1], &until->at_ms)) return 0;
    if (__builtin_mul_overflow(until->at_ms, unit_ms, &until->at_ms)) return 0;
    until->found = true;
    return 2;
}

static char *run_set(Db *db, const Slice *argv, int argc, NewerRun run, void *context)
{
    Until until = { false, -1 };
    g_autofree Slice *kept = g_new(Slice, (size_t)argc);
    int count = 0;
    for (int i = 0; i < argc;) {
        int taken = i < 3 ? 0 : take_until(db, argv, argc, i, &until);
        if (taken == 0) kept[count++] = argv[i];
        i += MAX(taken, 1);
    }
    char *wrong = run(context, kept, count);
    if (wrong != NULL || !until.found || until.at_ms < 0) return wrong;
    char digits[NUMBER_INT_CHARS];
    Slice text = { digits, number_format_int(digits, until.at_ms) };
    return run(context, (Slice[]){ SLICE("PEXPIREAT"), argv[1], text }, 3);
}

char *newer_run(Db *db, const Slice *argv, int argc, NewerRun run, void *context)
{
    if (argc > 3 && slice_is(argv[0], "set")) return run_set(db, argv, argc, run, context);
    if (argc > 4 && slice_is(argv[0], "hset")) return run_as("HMSET", argv, argc, run, context);
    if (slice_is(argv[0], "unlink")) return run_as("DEL", argv, argc, run, context);
    return run(context, argv, argc);
}
