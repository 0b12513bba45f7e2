/* zsets.c: the sorted set commands, but for ZUNIONSTORE and ZINTERSTORE (zstore.c). Called by the command table.
 *
 * Every range, whether of ranks, scores or members, becomes one of ranks first: then LIMIT, the length of the reply and
 * removal are the same for all.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "cmds/zsets.h"

#include <math.h>
#include <stdlib.h>

#include "base/number.h"
#include "cmds/handlers.h"
#include "cmds/savepages.h"
#include "cmds/scan.h"

/* Pairs of a ZADD whose scores are kept on the stack. */
#define PAIRS_ON_STACK 32

/* ---- adding and removing ---- */

void zadd_run(Request *r, ZaddPairs pairs, unsigned flags, bool count_changes)
{
    Entry *entry;
    if (!key_write(r, r->argv[1], TYPE_ZSET, &entry)) return;
    int added = 0, updated = 0;
    ZsetChange change = ZSET_KEPT;
    double score = 0;
    if (entry == NULL && !(flags & ZSET_XX)) entry = keyspace_put_object(r->db, r->argv[1], TYPE_ZSET, zset_new());
    for (int i = 0; entry != NULL && i < pairs.count; i++) {
        score = pairs.scores[i];
        change = zset_add(&entry->zset, r->argv[pairs.first_member + i * pairs.step], &score, flags);
        added += change == ZSET_ADDED;
        updated += change == ZSET_UPDATED;
    }
    if (change == ZSET_NAN) {
        reply_error(r->out, "ERR resulting score is not a number (NaN)");
    } else if (!(flags & ZSET_INCR)) {
        reply_int(r->out, count_changes ? added + updated : added);
    } else if (change == ZSET_KEPT) {
        reply_nil(r->out);
    } else {
        reply_double(r->out, score);
    }
    if (added + updated > 0) key_changed(r, r->argv[1], NOTIFY_ZSET, flags & ZSET_INCR ? "zincr" : "zadd");
}

/* Reads every score before anything changes. */
static bool read_scores(Request *r, int first, int count, double *scores)
{
    for (int i = 0; i < count; i++) {
        if (!arg_double(r, first + i * 2, &scores[i], NULL)) return false;
    }
    return true;
}

static void zadd_pairs(Request *r, int first, int count, unsigned flags, bool count_changes)
{
    double room[PAIRS_ON_STACK];
    double *scores = count <= PAIRS_ON_STACK ? room : g_new(double, count);
    if (read_scores(r, first, count, scores)) {
        ZaddPairs pairs = { .scores = scores, .count = count, .first_member = first + 1, .step = 2 };
        zadd_run(r, pairs, flags, count_changes);
    }
    if (scores != room) g_free(scores);
}

/* ZADD, and ZINCRBY with its flag: both look for options before the first score. */
static void zadd_general(Request *r, unsigned flags)
{
    bool count_changes = false;
    int first = 2;
    for (; first < r->argc; first++) {
        if (arg_is(r, first, "nx"))
            flags |= ZSET_NX;
        else if (arg_is(r, first, "xx"))
            flags |= ZSET_XX;
        else if (arg_is(r, first, "ch"))
            count_changes = true;
        else if (arg_is(r, first, "incr"))
            flags |= ZSET_INCR;
        else
            break;
    }
    int arguments = r->argc - first;
    if (arguments == 0 || arguments % 2 != 0) {
        reply_error(r->out, ERROR_SYNTAX);
    } else if ((flags & ZSET_NX) && (flags & ZSET_XX)) {
        reply_error(r->out, "ERR XX and NX options at the same time are not compatible");
    } else if ((flags & ZSET_INCR) && arguments > 2) {
        reply_error(r->out, "ERR INCR option supports a single increment-element pair");
    } else {
        zadd_pairs(r, first, arguments / 2, flags, count_changes);
    }
}

/* ZADD key [NX|XX] [CH] [INCR] score member [score member …] */
void cmd_zadd(Request *r)
{
    zadd_general(r, 0);
}

/* ZINCRBY key increment member */
void cmd_zincrby(Request *r)
{
    zadd_general(r, ZSET_INCR);
}

/* ZREM key member [member …] */
void cmd_zrem(Request *r)
{
    Entry *entry;
    if (!key_write(r, r->argv[1], TYPE_ZSET, &entry)) return;
    int removed = 0;
    for (int i = 2; entry != NULL && i < r->argc; i++)
        removed += zset_remove(&entry->zset, r->argv[i]);
    if (removed > 0) key_shrunk(r, r->argv[1], zset_length(entry->zset) == 0, NOTIFY_ZSET, "zrem");
    reply_int(r->out, removed);
}

/* ---- ranges ---- */

typedef enum RangeKind { RANGE_RANK, RANGE_SCORE, RANGE_LEX } RangeKind;

/* One end of a range of scores or members. */
typedef struct Bound {
    double score;
    Slice member;
    int beyond; /* of members: -1 is before all ("-"), 1 behind all ("+") */
    bool open;  /* the end itself is outside */
} Bound;

typedef struct Range {
    RangeKind kind;
    Bound min, max;
    int64_t start, end; /* RANGE_RANK: from 0, or from -1 backwards */
} Range;

/* The ranks that are in a range. */
typedef struct Ranks {
    size_t first, count;
} Ranks;

/* "1.5", "(1.5", "-inf": as strtod reads it, so unlike elsewhere with blanks before it, a size too great for a double,
 * or a NUL behind it. */
static bool parse_score_bound(Slice text, Bound *bound)
{
    *bound = (Bound){ .open = text.len > 0 && text.ptr[0] == '(' };
    text.ptr += bound->open;
    text.len -= bound->open;
    if (number_parse_double(text, &bound->score)) return true;
    char *copy = g_strndup(text.ptr, text.len), *end;
    bound->score = strtod(copy, &end);
    bool good = *end == '\0' && !isnan(bound->score);
    g_free(copy);
    return good;
}

/* "[member", "(member", "-", "+" */
static bool parse_lex_bound(Slice text, Bound *bound)
{
    if (text.len == 0) return false;
    char first = text.ptr[0];
    *bound = (Bound){ .member = { text.ptr + 1, text.len - 1 }, .open = first == '(' };
    if (text.len == 1 && first == '-') bound->beyond = -1;
    if (text.len == 1 && first == '+') bound->beyond = 1;
    return bound->beyond != 0 || first == '[' || first == '(';
}

/* NULL, or what is wrong. */
static const char *parse_bounds(RangeKind kind, Slice min, Slice max, Range *range)
{
    range->kind = kind;
    switch (kind) {
    case RANGE_RANK:
        if (number_parse_int(min, &range->start) && number_parse_int(max, &range->end)) return NULL;
        return ERROR_NOT_INTEGER;
    case RANGE_SCORE:
        if (parse_score_bound(min, &range->min) && parse_score_bound(max, &range->max)) return NULL;
        return "ERR min or max is not a float";
    case RANGE_LEX:
        if (parse_lex_bound(min, &range->min) && parse_lex_bound(max, &range->max)) return NULL;
        return "ERR min or max not valid string range item";
    }
    g_assert_not_reached();
}

/* Reads a range from two arguments, or answers the error. */
static bool parse_range(Request *r, RangeKind kind, int min, int max, Range *range)
{
    const char *error = parse_bounds(kind, r->argv[min], r->argv[max], range);
    if (error != NULL) reply_error(r->out, error);
    return error == NULL;
}

/* How many members come before the bound; those equal to it included or not. */
static size_t bound_rank(const Zset *zset, RangeKind kind, const Bound *bound, bool equal)
{
    if (kind == RANGE_SCORE) return zset_rank_score(zset, bound->score, equal);
    if (bound->beyond != 0) return bound->beyond < 0 ? 0 : zset_length(zset);
    return zset_rank_member(zset, bound->member, equal);
}

static Ranks ranks_between(const Zset *zset, int64_t start, int64_t end)
{
    int64_t length = (int64_t)zset_length(zset);
    if (start < 0) start = MAX(start + length, 0);
    if (end < 0) end += length;
    if (end >= length) end = length - 1;
    if (start > end) return (Ranks){ 0, 0 };
    return (Ranks){ (size_t)start, (size_t)(end - start + 1) };
}

static Ranks range_ranks(const Zset *zset, const Range *range)
{
    if (range->kind == RANGE_RANK) return ranks_between(zset, range->start, range->end);
    size_t first = bound_rank(zset, range->kind, &range->min, range->min.open);
    size_t behind = bound_rank(zset, range->kind, &range->max, !range->max.open);
    return (Ranks){ first, behind > first ? behind - first : 0 };
}

/* Answers the members of these ranks. */
static void reply_ranks(Request *r, const Zset *zset, Ranks ranks, bool reverse, bool with_scores)
{
    reply_array(r->out, with_scores ? ranks.count * 2 : ranks.count);
    if (ranks.count == 0) return;
    ZsetWalk walk = zset_walk(zset, reverse ? ranks.first + ranks.count - 1 : ranks.first, reverse);
    for (size_t i = 0; i < ranks.count; i++) {
        ZsetPair pair;
        zset_next(&walk, &pair);
        reply_value(r->out, pair.member);
        if (with_scores) reply_double(r->out, pair.score);
    }
}

static void range_by_rank(Request *r, bool reverse)
{
    Range range;
    if (!parse_range(r, RANGE_RANK, 2, 3, &range)) return;
    bool with_scores = r->argc == 5 && arg_is(r, 4, "withscores");
    if (r->argc > 4 && !with_scores) {
        reply_error(r->out, ERROR_SYNTAX);
        return;
    }
    Entry *entry;
    if (!key_read(r, r->argv[1], TYPE_ZSET, &entry)) return;
    if (entry == NULL) {
        reply_empty_array(r->out);
        return;
    }
    Ranks ranks = range_ranks(entry->zset, &range);
    if (reverse) ranks.first = zset_length(entry->zset) - ranks.first - ranks.count;
    reply_ranks(r, entry->zset, ranks, reverse, with_scores);
}

/* ZRANGE key start stop [WITHSCORES] */
void cmd_zrange(Request *r)
{
    range_by_rank(r, false);
}

/* ZREVRANGE key start stop [WITHSCORES] */
void cmd_zrevrange(Request *r)
{
    range_by_rank(r, true);
}

typedef struct RangeOptions {
    bool with_scores;
    int64_t offset, limit; /* limit < 0: none */
} RangeOptions;

/* Reads [WITHSCORES] [LIMIT offset count] from argument 4 on, or answers the error. */
static bool parse_range_options(Request *r, RangeKind kind, RangeOptions *wanted)
{
    *wanted = (RangeOptions){ .limit = -1 };
    for (int i = 4; i < r->argc; i++) {
        if (kind == RANGE_SCORE && arg_is(r, i, "withscores")) {
            wanted->with_scores = true;
        } else if (i + 2 < r->argc && arg_is(r, i, "limit")) {
            if (!arg_int(r, i + 1, &wanted->offset, NULL) || !arg_int(r, i + 2, &wanted->limit, NULL)) return false;
            i += 2;
        } else {
            reply_error(r->out, ERROR_SYNTAX);
            return false;
        }
    }
    return true;
}

static Ranks limit_ranks(Ranks ranks, RangeOptions wanted, bool reverse)
{
    if (wanted.offset < 0 || (uint64_t)wanted.offset >= ranks.count) return (Ranks){ 0, 0 };
    size_t left = ranks.count - (size_t)wanted.offset;
    size_t count = wanted.limit < 0 ? left : MIN(left, (size_t)wanted.limit);
    size_t skipped = reverse ? left - count : (size_t)wanted.offset;
    return (Ranks){ ranks.first + skipped, count };
}

static void range_by(Request *r, RangeKind kind, bool reverse)
{
    Range range;
    RangeOptions wanted;
    if (!parse_range(r, kind, reverse ? 3 : 2, reverse ? 2 : 3, &range)) return;
    if (!parse_range_options(r, kind, &wanted)) return;
    Entry *entry;
    if (!key_read(r, r->argv[1], TYPE_ZSET, &entry)) return;
    if (entry == NULL) {
        reply_empty_array(r->out);
        return;
    }
    Ranks ranks = limit_ranks(range_ranks(entry->zset, &range), wanted, reverse);
    reply_ranks(r, entry->zset, ranks, reverse, wanted.with_scores);
}

/* ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count] */
void cmd_zrangebyscore(Request *r)
{
    range_by(r, RANGE_SCORE, false);
}

/* ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count] */
void cmd_zrevrangebyscore(Request *r)
{
    range_by(r, RANGE_SCORE, true);
}

/* ZRANGEBYLEX key min max [LIMIT offset count] */
void cmd_zrangebylex(Request *r)
{
    range_by(r, RANGE_LEX, false);
}

/* ZREVRANGEBYLEX key max min [LIMIT offset count] */
void cmd_zrevrangebylex(Request *r)
{
    range_by(r, RANGE_LEX, true);
}

static void count_range(Request *r, RangeKind kind)
{
    Range range;
    Entry *entry;
    if (!parse_range(r, kind, 2, 3, &range) || !key_read(r, r->argv[1], TYPE_ZSET, &entry)) return;
    reply_int(r->out, entry == NULL ? 0 : (int64_t)range_ranks(entry->zset, &range).count);
}

/* ZCOUNT key min max */
void cmd_zcount(Request *r)
{
    count_range(r, RANGE_SCORE);
}

/* ZLEXCOUNT key min max */
void cmd_zlexcount(Request *r)
{
    count_range(r, RANGE_LEX);
}

static void remove_range(Request *r, RangeKind kind, const char *event)
{
    Range range;
    Entry *entry;
    if (!parse_range(r, kind, 2, 3, &range) || !key_write(r, r->argv[1], TYPE_ZSET, &entry)) return;
    Ranks ranks = entry == NULL ? (Ranks){ 0, 0 } : range_ranks(entry->zset, &range);
    if (ranks.count > 0) {
        zset_remove_ranks(&entry->zset, ranks.first, ranks.count);
        key_shrunk(r, r->argv[1], zset_length(entry->zset) == 0, NOTIFY_ZSET, event);
    }
    reply_int(r->out, (int64_t)ranks.count);
}

bool zremrange_removes(CommandHandler handler, const Zset *zset, const Slice *argv, size_t *first, size_t *count)
{
    RangeKind kind = handler == cmd_zremrangebyrank    ? RANGE_RANK
                     : handler == cmd_zremrangebyscore ? RANGE_SCORE
                                                       : RANGE_LEX;
    Range range;
    if (parse_bounds(kind, argv[2], argv[3], &range) != NULL) return false;
    Ranks ranks = range_ranks(zset, &range);
    *first = ranks.first;
    *count = ranks.count;
    return true;
}

/* ZREMRANGEBYRANK key start stop */
void cmd_zremrangebyrank(Request *r)
{
    remove_range(r, RANGE_RANK, "zremrangebyrank");
}

/* ZREMRANGEBYSCORE key min max */
void cmd_zremrangebyscore(Request *r)
{
    remove_range(r, RANGE_SCORE, "zremrangebyscore");
}

/* ZREMRANGEBYLEX key min max */
void cmd_zremrangebylex(Request *r)
{
    remove_range(r, RANGE_LEX, "zremrangebylex");
}

/* ---- single members ---- */

/* ZCARD key */
void cmd_zcard(Request *r)
{
    Entry *entry;
    if (!key_read(r, r->argv[1], TYPE_ZSET, &entry)) return;
    reply_int(r->out, entry == NULL ? 0 : (int64_t)zset_length(entry->zset));
}

/* ZSCORE key member */
void cmd_zscore(Request *r)
{
    Entry *entry;
    double score;
    if (!key_read(r, r->argv[1], TYPE_ZSET, &entry)) return;
    if (entry != NULL && zset_score(entry->zset, r->argv[2], &score)) {
        reply_double(r->out, score);
    } else {
        reply_nil(r->out);
    }
}

static void reply_rank(Request *r, bool reverse)
{
    Entry *entry;
    size_t rank;
    if (!key_read(r, r->argv[1], TYPE_ZSET, &entry)) return;
    if (entry != NULL && zset_rank(entry->zset, r->argv[2], &rank)) {
        reply_int(r->out, (int64_t)(reverse ? zset_length(entry->zset) - 1 - rank : rank));
    } else {
        reply_nil(r->out);
    }
}

/* ZRANK key member */
void cmd_zrank(Request *r)
{
    reply_rank(r, false);
}

/* ZREVRANK key member */
void cmd_zrevrank(Request *r)
{
    reply_rank(r, true);
}

typedef struct ZscanVisit {
    Scan scan;
    GStringChunk *texts; /* of the scores */
} ZscanVisit;

static void visit_pair(ZsetPair pair, void *context)
{
    ZscanVisit *visit = context;
    char text[NUMBER_DOUBLE_CHARS];
    size_t len = number_format_double(text, pair.score);
    PackValue score = { .text = { g_string_chunk_insert_len(visit->texts, text, (gssize)len), len } };
    scan_found(&visit->scan, pair.member, &score);
}

/* ZSCAN key cursor [MATCH pattern] [COUNT count] */
void cmd_zscan(Request *r)
{
    ZscanVisit visit;
    Entry *entry;
    if (!scan_begin(r, TYPE_ZSET, &visit.scan.options, &entry)) return;
    visit.texts = g_string_chunk_new(1024);
    for (scan_start(&visit.scan); scan_more(&visit.scan);)
        visit.scan.cursor = zset_scan(entry->zset, visit.scan.cursor, visit_pair, &visit);
    scan_reply(&visit.scan, r->out);
    g_string_chunk_free(visit.texts);
}
