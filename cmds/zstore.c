/* zstore.c: ZUNIONSTORE and ZINTERSTORE, and storing a computed sorted set. Called by the command table and by geo.c.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>

#include "cmds/handlers.h"
#include "cmds/zsets.h"
#include "store/set.h"

typedef double (*Aggregate)(double a, double b);

/* An input: a sorted set, or a set, whose members count as having score 1. */
typedef struct Source {
    const Entry *entry; /* NULL: there's no such key */
    double weight;
    size_t length;
} Source;

typedef struct Combination {
    Source *sources;
    int64_t count;
    Aggregate aggregate;
} Combination;

static double aggregate_sum(double a, double b)
{
    double sum = a + b;
    return isnan(sum) ? 0 : sum; /* inf and -inf */
}

static double aggregate_min(double a, double b)
{
    return b < a ? b : a;
}

static double aggregate_max(double a, double b)
{
    return b > a ? b : a;
}

void zset_store(Request *r, Slice key, Zset *result, unsigned event_class, const char *event)
{
    if (result != NULL) {
        keyspace_put_object(r->db, key, TYPE_ZSET, result);
        key_changed(r, key, event_class, event);
    } else if (keyspace_delete(r->db, key)) {
        key_changed(r, key, NOTIFY_GENERIC, "del");
    }
}

/* ---- sources ---- */

static bool source_open(Request *r, Slice key, Source *source)
{
    const Entry *entry = keyspace_use(r->db, key); /* no hit or miss: what stores is no read to Redis */
    *source = (Source){ .entry = entry, .weight = 1 };
    if (entry == NULL) return true;
    if (entry->type == TYPE_ZSET) {
        source->length = zset_length(entry->zset);
    } else if (entry->type == TYPE_SET) {
        source->length = set_length(entry->set);
    } else {
        reply_error(r->out, ERROR_WRONG_TYPE);
        return false;
    }
    return true;
}

/* A walk over a source of either type. */
typedef struct SourceWalk {
    bool is_set;
    SetWalk set;
    ZsetWalk zset;
} SourceWalk;

static SourceWalk source_walk(const Source *source)
{
    SourceWalk walk = { .is_set = source->entry->type == TYPE_SET };
    if (walk.is_set) {
        walk.set = set_walk(source->entry->set);
    } else {
        walk.zset = zset_walk(source->entry->zset, 0, false);
    }
    return walk;
}

static bool source_next(SourceWalk *walk, ZsetPair *pair)
{
    if (!walk->is_set) return zset_next(&walk->zset, pair);
    pair->score = 1;
    return set_next(&walk->set, &pair->member);
}

static bool source_score(const Source *source, PackValue member, double *score)
{
    char digits[NUMBER_INT_CHARS];
    if (source->entry->type == TYPE_ZSET)
        return zset_score(source->entry->zset, pack_value_text(member, digits), score);
    *score = 1;
    return set_has(source->entry->set, member);
}

/* What a member's first score counts; 0 times infinity is 0. */
static double weigh(const Source *source, double score)
{
    double weighed = source->weight * score;
    return isnan(weighed) ? 0 : weighed;
}

/* The smallest first. */
static gint compare_sources(gconstpointer a, gconstpointer b, gpointer context)
{
    (void)context;
    size_t left = ((const Source *)a)->length, right = ((const Source *)b)->length;
    return (left > right) - (left < right);
}

/* ---- combining ---- */

static ZsetBuilder *combine_union(const Combination *wanted)
{
    ZsetBuilder *builder = zset_builder_new();
    for (int64_t i = 0; i < wanted->count; i++) {
        const Source *source = &wanted->sources[i];
        if (source->length == 0) continue;
        SourceWalk walk = source_walk(source);
        for (ZsetPair pair; source_next(&walk, &pair);) {
            char digits[NUMBER_INT_CHARS];
            bool added;
            double *score = zset_builder_score(builder, pack_value_text(pair.member, digits), &added);
            double weighed = weigh(source, pair.score);
            *score = added ? weighed : wanted->aggregate(*score, weighed);
        }
    }
    return builder;
}

/* The score that a member of the first source gets; false: some other source doesn't have it. */
static bool intersect_member(const Combination *wanted, ZsetPair pair, double *score)
{
    *score = weigh(&wanted->sources[0], pair.score);
    for (int64_t i = 1; i < wanted->count; i++) {
        double other;
        if (!source_score(&wanted->sources[i], pair.member, &other)) return false;
        /* Not weighed as the first is: as in Redis, 0 times infinity makes the whole sum 0 here. */
        *score = wanted->aggregate(*score, wanted->sources[i].weight * other);
    }
    return true;
}

static ZsetBuilder *combine_intersection(const Combination *wanted)
{
    ZsetBuilder *builder = zset_builder_new();
    if (wanted->sources[0].length == 0) return builder;
    SourceWalk walk = source_walk(&wanted->sources[0]);
    for (ZsetPair pair; source_next(&walk, &pair);) {
        char digits[NUMBER_INT_CHARS];
        bool added;
        double score;
        if (intersect_member(wanted, pair, &score))
            *zset_builder_score(builder, pack_value_text(pair.member, digits), &added) = score;
    }
    return builder;
}

/* ---- arguments ---- */

static bool parse_aggregate(Request *r, int index, Aggregate *aggregate)
{
    static const struct {
        const char *word;
        Aggregate function;
    } words[] = { { "sum", aggregate_sum }, { "min", aggregate_min }, { "max", aggregate_max } };
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        if (!arg_is(r, index, words[i].word)) continue;
        *aggregate = words[i].function;
        return true;
    }
    reply_error(r->out, ERROR_SYNTAX);
    return false;
}

/* Reads what follows the keys, or answers the error. */
static bool parse_combination_options(Request *r, int index, Combination *wanted)
{
    while (index < r->argc) {
        if (r->argc - index > wanted->count && arg_is(r, index, "weights")) {
            for (int64_t i = 0; i < wanted->count; i++) {
                if (!arg_double(r, ++index, &wanted->sources[i].weight, "ERR weight value is not a float"))
                    return false;
            }
        } else if (r->argc - index > 1 && arg_is(r, index, "aggregate")) {
            if (!parse_aggregate(r, ++index, &wanted->aggregate)) return false;
        } else {
            reply_error(r->out, ERROR_SYNTAX);
            return false;
        }
        index++;
    }
    return true;
}

static bool open_sources(Request *r, Combination *wanted)
{
    for (int i = 0; i < wanted->count; i++) {
        if (!source_open(r, r->argv[3 + i], &wanted->sources[i])) return false;
    }
    return true;
}

static bool parse_count(Request *r, int64_t *count)
{
    if (!arg_int(r, 2, count, NULL)) return false;
    if (*count >= 1 && *count <= r->argc - 3) return true;
    reply_error(r->out, *count < 1 ? "ERR at least 1 input key is needed for ZUNIONSTORE/ZINTERSTORE" : ERROR_SYNTAX);
    return false;
}

static void combine(Request *r, ZsetBuilder *(*how)(const Combination *), const char *event)
{
    Combination wanted = { .aggregate = aggregate_sum };
    if (!parse_count(r, &wanted.count)) return;
    wanted.sources = g_new(Source, wanted.count);
    if (open_sources(r, &wanted) && parse_combination_options(r, 3 + (int)wanted.count, &wanted)) {
        g_qsort_with_data(wanted.sources, (gint)wanted.count, sizeof(Source), compare_sources, NULL);
        Zset *result = zset_builder_finish(how(&wanted));
        reply_int(r->out, result == NULL ? 0 : (int64_t)zset_length(result));
        zset_store(r, r->argv[1], result, NOTIFY_ZSET, event);
    }
    g_free(wanted.sources);
}

/* ZUNIONSTORE destination numkeys key [key …] [WEIGHTS weight [weight …]] [AGGREGATE SUM|MIN|MAX] */
void cmd_zunionstore(Request *r)
{
    combine(r, combine_union, "zunionstore");
}

/* ZINTERSTORE destination numkeys key [key …] [WEIGHTS weight [weight …]] [AGGREGATE SUM|MIN|MAX] */
void cmd_zinterstore(Request *r)
{
    combine(r, combine_intersection, "zinterstore");
}
