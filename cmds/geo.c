/* geo.c: the GEO commands: positions as scores of sorted sets. Called by the command table.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/geohash.h"

#include <stdio.h>

#include "cmds/effect.h"
#include "cmds/handlers.h"
#include "cmds/zsets.h"

/* Triples of a GEOADD whose scores are kept on the stack. */
#define POINTS_ON_STACK 32

/* ---- arguments and replies ---- */

/* Reads a position from two arguments, or answers the error. */
static bool arg_point(Request *r, int index, GeoPoint *point)
{
    if (!arg_double(r, index, &point->longitude, NULL) || !arg_double(r, index + 1, &point->latitude, NULL))
        return false;
    if (geo_valid(*point)) return true;
    reply_errorf(r->out, "ERR invalid longitude,latitude pair %f,%f", point->longitude, point->latitude);
    return false;
}

/* Reads a unit (in lower case only), or answers the error. */
static bool arg_unit(Request *r, int index, double *metres)
{
    static const struct {
        Slice name;
        double metres;
    } units[] = { { SLICE("m"), 1 }, { SLICE("km"), 1000 }, { SLICE("ft"), 0.3048 }, { SLICE("mi"), 1609.34 } };
    for (size_t i = 0; i < G_N_ELEMENTS(units); i++) {
        if (!slice_equal(r->argv[index], units[i].name)) continue;
        *metres = units[i].metres;
        return true;
    }
    reply_error(r->out, "ERR unsupported unit provided. please use m, km, ft, mi");
    return false;
}

static void reply_distance(Out *out, double distance)
{
    char text[NUMBER_DOUBLE_CHARS];
    int len = snprintf(text, sizeof(text), "%.4f", distance);
    reply_bulk(out, (Slice){ text, (size_t)len });
}

static void reply_coordinate(Out *out, double degrees)
{
    char text[NUMBER_LONG_DOUBLE_CHARS];
    reply_bulk(out, (Slice){ text, number_format_long_double(text, degrees) });
}

static void reply_point(Out *out, GeoPoint point)
{
    reply_array(out, 2);
    reply_coordinate(out, point.longitude);
    reply_coordinate(out, point.latitude);
}

/* Where a member is; false: there's no such member. */
static bool member_point(const Entry *entry, Slice member, GeoPoint *point)
{
    double score;
    if (!zset_score(entry->zset, member, &score)) return false;
    *point = geohash_decode(score);
    return true;
}

/* ---- storing and reading positions ---- */

static bool read_points(Request *r, int count, double *scores)
{
    for (int i = 0; i < count; i++) {
        GeoPoint point;
        if (!arg_point(r, 2 + i * 3, &point)) return false;
        scores[i] = geohash_encode(point);
    }
    return true;
}

/* GEOADD key longitude latitude member [longitude latitude member …] */
void cmd_geoadd(Request *r)
{
    if ((r->argc - 2) % 3 != 0) {
        reply_error(r->out, "ERR syntax error. Try GEOADD key [x1] [y1] [name1] [x2] [y2] [name2] ... ");
        return;
    }
    int count = (r->argc - 2) / 3;
    double room[POINTS_ON_STACK];
    double *scores = count <= POINTS_ON_STACK ? room : g_new(double, count);
    if (read_points(r, count, scores))
        zadd_run(r, (ZaddPairs){ .scores = scores, .count = count, .first_member = 4, .step = 3 }, 0, false);
    if (scores != room) g_free(scores);
}

static void reply_geohash(Out *out, GeoPoint point)
{
    char text[GEOHASH_CHARS];
    geohash_text(point, text);
    reply_bulk(out, (Slice){ text, sizeof(text) });
}

/* Answers something for each member given, `missing` for one that isn't there. */
static void reply_members(Request *r, void (*reply)(Out *out, GeoPoint point), void (*missing)(Out *out))
{
    Entry *entry;
    if (!key_read(r, r->argv[1], TYPE_ZSET, &entry)) return;
    if (entry == NULL) {
        reply_empty_array(r->out);
        return;
    }
    reply_array(r->out, (size_t)r->argc - 2);
    for (int i = 2; i < r->argc; i++) {
        GeoPoint point;
        if (member_point(entry, r->argv[i], &point)) {
            reply(r->out, point);
        } else {
            missing(r->out);
        }
    }
}

/* GEOHASH key [member …] */
void cmd_geohash(Request *r)
{
    reply_members(r, reply_geohash, reply_nil);
}

/* GEOPOS key [member …] */
void cmd_geopos(Request *r)
{
    reply_members(r, reply_point, reply_nil_array);
}

/* GEODIST key member1 member2 [unit] */
void cmd_geodist(Request *r)
{
    double metres = 1;
    if (r->argc > 5) {
        reply_error(r->out, ERROR_SYNTAX);
        return;
    }
    if (r->argc == 5 && !arg_unit(r, 4, &metres)) return;
    Entry *entry;
    GeoPoint from, to;
    if (!key_read(r, r->argv[1], TYPE_ZSET, &entry)) return;
    if (entry == NULL) {
        reply_bulk(r->out, SLICE(""));
    } else if (member_point(entry, r->argv[2], &from) && member_point(entry, r->argv[3], &to)) {
        reply_distance(r->out, geo_distance(from, to) / metres);
    } else {
        reply_nil(r->out);
    }
}

/* ---- searching in a circle ---- */

typedef enum SearchOrder { ORDER_NONE, ORDER_ASC, ORDER_DESC } SearchOrder;

typedef struct Search {
    GeoPoint centre;
    double radius_m;
    double unit_m; /* distances are answered in units of this many metres */
    bool with_distance, with_hash, with_point;
    SearchOrder order;
    int64_t count; /* 0: all */
    bool store, store_distance;
    Slice target;
} Search;

/* A member in the circle. */
typedef struct Hit {
    ZsetPair pair;
    GeoPoint point;
    double distance_m;
} Hit;

/* Reads "radius unit", or answers the error. */
static bool arg_radius(Request *r, int index, Search *search)
{
    double radius;
    if (!arg_double(r, index, &radius, "ERR need numeric radius")) return false;
    if (radius < 0) {
        reply_error(r->out, "ERR radius cannot be negative");
        return false;
    }
    if (!arg_unit(r, index + 1, &search->unit_m)) return false;
    search->radius_m = radius * search->unit_m;
    return true;
}

/* Reads COUNT's number, or answers the error. */
static bool arg_count(Request *r, int index, Search *search)
{
    if (!arg_int(r, index, &search->count, NULL)) return false;
    if (search->count > 0) return true;
    reply_error(r->out, "ERR COUNT must be > 0");
    return false;
}

/* An option of one word; false: it's something else. */
static bool parse_search_word(Request *r, int index, Search *search)
{
    if (arg_is(r, index, "withdist"))
        search->with_distance = true;
    else if (arg_is(r, index, "withhash"))
        search->with_hash = true;
    else if (arg_is(r, index, "withcoord"))
        search->with_point = true;
    else if (arg_is(r, index, "asc"))
        search->order = ORDER_ASC;
    else if (arg_is(r, index, "desc"))
        search->order = ORDER_DESC;
    else
        return false;
    return true;
}

/* Reads the options from an argument on, or answers the error. */
static bool parse_search_options(Request *r, int index, Search *search)
{
    for (; index < r->argc; index++) {
        if (parse_search_word(r, index, search)) continue;
        bool more = index + 1 < r->argc;
        if (more && arg_is(r, index, "count")) {
            if (!arg_count(r, index + 1, search)) return false;
        } else if (more && (arg_is(r, index, "store") || arg_is(r, index, "storedist"))) {
            search->store = true;
            search->store_distance = arg_is(r, index, "storedist");
            search->target = r->argv[index + 1];
        } else {
            reply_error(r->out, ERROR_SYNTAX);
            return false;
        }
        index++;
    }
    if (search->count > 0 && search->order == ORDER_NONE) search->order = ORDER_ASC;
    if (!search->store || !(search->with_distance || search->with_hash || search->with_point)) return true;
    reply_error(r->out,
                "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORDS options");
    return false;
}

/* Every member in the circle (GArray of Hit), range by range in score order. */
static GArray *find_hits(const Zset *zset, const Search *search)
{
    GArray *hits = g_array_new(FALSE, FALSE, sizeof(Hit));
    GeoRange ranges[GEO_RANGES_MAX];
    size_t count = geo_cover(search->centre, search->radius_m, ranges);
    for (size_t i = 0; i < count; i++) {
        ZsetWalk walk = zset_walk(zset, zset_rank_score(zset, ranges[i].min, false), false);
        for (Hit hit; zset_next(&walk, &hit.pair) && hit.pair.score < ranges[i].max;) {
            hit.point = geohash_decode(hit.pair.score);
            hit.distance_m = geo_distance(search->centre, hit.point);
            if (hit.distance_m <= search->radius_m) g_array_append_val(hits, hit);
        }
    }
    return hits;
}

static gint compare_ascending(gconstpointer a, gconstpointer b)
{
    double left = ((const Hit *)a)->distance_m, right = ((const Hit *)b)->distance_m;
    return (left > right) - (left < right);
}

static gint compare_descending(gconstpointer a, gconstpointer b)
{
    return compare_ascending(b, a);
}

static void reply_hit(Out *out, const Hit *hit, const Search *search)
{
    int extras = search->with_distance + search->with_hash + search->with_point;
    if (extras > 0) reply_array(out, 1 + (size_t)extras);
    reply_value(out, hit->pair.member);
    if (search->with_distance) reply_distance(out, hit->distance_m / search->unit_m);
    if (search->with_hash) reply_int(out, (int64_t)hit->pair.score);
    if (search->with_point) reply_point(out, hit->point);
}

/* Which hits there are, and in what order, depends on the last bits of distances: so what was stored is journaled. */
static void put_stored(const Request *r, Slice target)
{
    const Entry *entry = keyspace_peek(r->db, target);
    if (entry == NULL) {
        effect_del(r->db, target);
        return;
    }
    effect_together();
    effect_del(r->db, target);
    EffectPieces *pieces = effect_pieces_begin(r->db, SLICE("ZADD"), target);
    ZsetWalk walk = zset_walk(entry->zset, 0, false);
    for (ZsetPair pair; pieces != NULL && zset_next(&walk, &pair);) {
        char score[NUMBER_DOUBLE_CHARS], digits[NUMBER_INT_CHARS];
        size_t len = number_format_double(score, pair.score);
        effect_pieces_add(pieces, (Slice[]){ { score, len }, pack_value_text(pair.member, digits) }, 2);
    }
    effect_pieces_end(pieces);
    effect_together_end();
}

/* Of their members and scores, about. */
static size_t hits_bytes(const Hit *hits, size_t count)
{
    size_t bytes = 0;
    char digits[NUMBER_INT_CHARS];
    for (size_t i = 0; i < count; i++)
        bytes += pack_value_text(hits[i].pair.member, digits).len + NUMBER_DOUBLE_CHARS;
    return bytes;
}

/* Stores the hits and answers their number. */
static void store_hits(Request *r, const Hit *hits, size_t count, const Search *search)
{
    if (!effect_fits(r->out, effect_pieces_bytes(search->target, 2 * count, hits_bytes(hits, count)))) return;
    ZsetBuilder *builder = zset_builder_new();
    for (size_t i = 0; i < count; i++) {
        char digits[NUMBER_INT_CHARS];
        bool added;
        *zset_builder_score(builder, pack_value_text(hits[i].pair.member, digits), &added) =
            search->store_distance ? hits[i].distance_m / search->unit_m : hits[i].pair.score;
    }
    uint64_t changes = keyspace->changes;
    /* The event's class is that of lists, as in Redis 3.2. */
    zset_store(r, search->target, zset_builder_finish(builder), NOTIFY_LIST, "georadiusstore");
    if (keyspace->changes != changes) put_stored(r, search->target);
    reply_int(r->out, (int64_t)count);
}

static void run_search(Request *r, const Zset *zset, const Search *search)
{
    GArray *found = find_hits(zset, search);
    if (search->order == ORDER_ASC) g_array_sort(found, compare_ascending);
    if (search->order == ORDER_DESC) g_array_sort(found, compare_descending);
    const Hit *hits = (const Hit *)(const void *)found->data;
    size_t count = search->count == 0 ? found->len : (size_t)MIN(search->count, (int64_t)found->len);
    if (search->store) {
        store_hits(r, hits, count, search);
    } else {
        reply_array(r->out, count);
        for (size_t i = 0; i < count; i++)
            reply_hit(r->out, &hits[i], search);
    }
    g_array_free(found, TRUE);
}

/* Looks up the sorted set to search; false: an answer is out already. */
static bool open_search(Request *r, Entry **entry)
{
    if (!key_read(r, r->argv[1], TYPE_ZSET, entry)) return false;
    if (*entry == NULL) reply_empty_array(r->out);
    return *entry != NULL;
}

/* GEORADIUS key longitude latitude radius unit [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count] [ASC|DESC] [STORE key]
 * [STOREDIST key] */
void cmd_georadius(Request *r)
{
    Entry *entry;
    Search search = { 0 };
    if (open_search(r, &entry) && arg_point(r, 2, &search.centre) && arg_radius(r, 4, &search) &&
        parse_search_options(r, 6, &search))
        run_search(r, entry->zset, &search);
}

/* GEORADIUSBYMEMBER key member radius unit [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count] [ASC|DESC] [STORE key]
 * [STOREDIST key] */
void cmd_georadiusbymember(Request *r)
{
    Entry *entry;
    Search search = { 0 };
    if (!open_search(r, &entry)) return;
    if (!member_point(entry, r->argv[2], &search.centre)) {
        reply_error(r->out, "ERR could not decode requested zset member");
        return;
    }
    if (arg_radius(r, 3, &search) && parse_search_options(r, 5, &search)) run_search(r, entry->zset, &search);
}
