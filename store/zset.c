/* zset.c: see zset.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/zset.h"

#include <glib.h>
#include <math.h>

#include "base/options.h"
#include "store/pages.h"
#include "store/table.h"

/* They stand in images as well: none may change. */
enum { KIND_PACK, KIND_BIG };

/* What a big set's pointer points to. The kind is where a Pack has its own. */
typedef struct ZsetBuilder {
    uint32_t unused : 30;
    uint32_t kind : 2;
    size_t bytes;   /* of all elements, as asked from the allocator */
    PageMap *pages; /* checkpoints keep it as pages; NULL: they don't */
    Table table;
    RankTree tree; /* empty while it's in the making */
} Big;

/* How many elements are removed from the table together. */
#define REMOVE_BATCH 64

static bool is_pack(const Zset *zset)
{
    return ((const Pack *)zset)->kind == KIND_PACK;
}

/* No pack grows beyond this, however generous the options are: its sizes have 32 bits, and every change moves its
 * bytes.
 */
#define PACK_BYTES_MAX (64 << 20)

static bool may_be_small(size_t members, size_t longest, size_t bytes)
{
    return (int64_t)members <= options.zset_max_ziplist_entries && (int64_t)longest <= options.zset_max_ziplist_value &&
           bytes <= PACK_BYTES_MAX;
}

/* ---- scores in a pack ---- */

#define INT64_SPAN 9223372036854775808.0 /* 2^63 */

/* A score's text in a pack: digits if it's integral, else its bytes; with a NUL behind them if a pack would take them
 * for digits. */
typedef struct ScoreText {
    char bytes[NUMBER_INT_CHARS];
} ScoreText;

static Slice score_text(double score, ScoreText *text)
{
    /* Every int64 that comes from a double goes back to it; -0 doesn't. */
    if (score >= -INT64_SPAN && score < INT64_SPAN && (double)(int64_t)score == score &&
        !(score == 0 && signbit(score)))
        return (Slice){ text->bytes, number_format_int(text->bytes, (int64_t)score) };
    memcpy(text->bytes, &score, sizeof(score));
    text->bytes[sizeof(score)] = '\0';
    Slice raw = { text->bytes, sizeof(score) };
    int64_t number;
    if (number_parse_int(raw, &number)) raw.len++;
    return raw;
}

static double score_at(const Pack *pack, PackPos pos)
{
    PackValue value = pack_get(pack, pos);
    if (value.text.ptr == NULL) return (double)value.number;
    double score;
    memcpy(&score, value.text.ptr, sizeof(score));
    return score;
}

/* ---- small sets ---- */

static PackPos pair_find(const Pack *pack, Slice member)
{
    PackPos first = pack_first(pack);
    return first == 0 ? 0 : pack_find(pack, first, member, 1);
}

/* Whether the pair at `pos` comes before (score, member). */
static bool pair_is_before(const Pack *pack, PackPos pos, double score, Slice member)
{
    double own = score_at(pack, pack_next(pack, pos));
    if (own != score) return own < score;
    char digits[NUMBER_INT_CHARS];
    return slice_compare(pack_text(pack, pos, digits), member) < 0;
}

static PackPos pair_next(const Pack *pack, PackPos pos)
{
    return pack_next(pack, pack_next(pack, pos));
}

/* The first pair that doesn't come before (score, member), or 0: found from the end, where most sets grow, unless there
 * are few. */
static PackPos pair_behind(const Pack *pack, double score, Slice member)
{
    PackPos behind = 0;
    if (pack->one_way) {
        for (behind = pack_first(pack); behind != 0 && pair_is_before(pack, behind, score, member);)
            behind = pair_next(pack, behind);
        return behind;
    }
    for (PackPos last = pack_last(pack); last != 0;) {
        PackPos pos = pack_prev(pack, last);
        if (pair_is_before(pack, pos, score, member)) break;
        behind = pos;
        last = pack_prev(pack, pos);
    }
    return behind;
}

static Pack *pair_insert(Pack *pack, double score, Slice member)
{
    if (pack_count(pack) / 2 >= ZSET_ONE_WAY_MAX) pack = pack_two_way(pack);
    PackPos behind = pair_behind(pack, score, member);
    ScoreText text;
    Slice score_slice = score_text(score, &text);
    if (behind == 0) return pack_append(pack_append(pack, member), score_slice);
    return pack_insert(pack_insert(pack, behind, score_slice), behind, member);
}

static ZsetPair pair_at(const Pack *pack, PackPos pos)
{
    return (ZsetPair){ .member = pack_get(pack, pos), .score = score_at(pack, pack_next(pack, pos)) };
}

/* ---- big sets ---- */

static uint64_t element_hash(const void *element)
{
    return table_hash(rank_member(element));
}

static bool element_matches(const void *element, Slice member)
{
    return slice_equal(rank_member(element), member);
}

static RankElement *big_find(const Big *big, Slice member)
{
    void **slot = table_find(&big->table, table_hash(member), member, element_matches);
    return slot == NULL ? NULL : *slot;
}

/* A new element, in the table only. */
static RankElement *big_add(Big *big, uint64_t hash, double score, Slice member)
{
    pages_touch(big->pages, hash);
    RankElement *element = rank_element_new(score, member);
    big->bytes += rank_element_bytes(member);
    table_insert(&big->table, hash, element);
    return element;
}

static void big_insert(Big *big, uint64_t hash, double score, Slice member)
{
    ranktree_insert(&big->tree, big_add(big, hash, score, member));
}

/* Out of the table, and freed: it's out of the tree already. */
static void big_forget(Big *big, RankElement *element)
{
    uint64_t hash = element_hash(element);
    table_remove(&big->table, hash, table_find_pointer(&big->table, hash, element));
    big->bytes -= rank_element_bytes(rank_member(element));
    g_free(element);
}

static Big *big_new(void)
{
    Big *big = g_new(Big, 1);
    big->kind = KIND_BIG;
    big->bytes = 0;
    big->pages = NULL;
    table_init(&big->table, element_hash);
    ranktree_init(&big->tree);
    return big;
}

static void big_free(Big *big)
{
    if (big->pages != NULL) checkpoint_forget_map(big->pages); /* which may have to save elements */
    RankWalk walk = ranktree_walk(&big->tree, 0, false);
    for (RankElement *element; (element = ranktree_next(&walk)) != NULL;)
        g_free(element);
    ranktree_free(&big->tree);
    table_free(&big->table);
    g_free(big);
}

static void visit_free(void *element, void *context)
{
    (void)context;
    g_free(element);
}

/* First the tree, leaf by leaf, then the elements, by the table's buckets. */
static bool big_free_some(Big *big, size_t work)
{
    if (ranktree_free_some(&big->tree, work)) return true;
    size_t before = big->table.count;
    bool left = table_free_some(&big->table, work, visit_free, NULL);
    /* By their number, since looking at each would be most of the work. */
    if (before > 0) big->bytes = (size_t)((double)big->bytes / (double)before * (double)big->table.count);
    if (!left) g_free(big);
    return left;
}

static ZsetPair big_pair(const RankElement *element)
{
    return (ZsetPair){ .member.text = rank_member(element), .score = element->score };
}

/* Makes a small set big. */
static void convert(Zset **zset)
{
    Big *big = big_new();
    ZsetWalk walk = zset_walk(*zset, 0, false);
    for (ZsetPair pair; zset_next(&walk, &pair);) {
        char digits[NUMBER_INT_CHARS];
        Slice member = pack_value_text(pair.member, digits);
        big_insert(big, table_hash(member), pair.score, member);
    }
    pack_free((Pack *)*zset);
    *zset = (Zset *)big;
}

/* ---- the whole set ---- */

Zset *zset_new(void)
{
    return (Zset *)pack_new_one_way(KIND_PACK);
}

void zset_free(Zset *zset)
{
    if (is_pack(zset)) {
        pack_free((Pack *)zset);
    } else {
        big_free((Big *)zset);
    }
}

bool zset_free_some(Zset *zset, size_t work)
{
    if (!is_pack(zset)) return big_free_some((Big *)zset, work);
    pack_free((Pack *)zset);
    return false;
}

size_t zset_length(const Zset *zset)
{
    return is_pack(zset) ? pack_count((const Pack *)zset) / 2 : ((const Big *)zset)->table.count;
}

size_t zset_bytes(const Zset *zset)
{
    if (is_pack(zset)) return pack_bytes((const Pack *)zset);
    const Big *big = (const Big *)zset;
    return sizeof(*big) + big->bytes + table_bytes(&big->table) + ranktree_bytes(&big->tree);
}

const char *zset_encoding(const Zset *zset)
{
    return is_pack(zset) ? "ziplist" : "skiplist";
}

/* ---- single members ---- */

bool zset_score(const Zset *zset, Slice member, double *score)
{
    if (is_pack(zset)) {
        const Pack *pack = (const Pack *)zset;
        PackPos pos = pair_find(pack, member);
        if (pos != 0) *score = score_at(pack, pack_next(pack, pos));
        return pos != 0;
    }
    const RankElement *element = big_find((const Big *)zset, member);
    if (element != NULL) *score = element->score;
    return element != NULL;
}

bool zset_rank(const Zset *zset, Slice member, size_t *rank)
{
    if (is_pack(zset)) {
        const Pack *pack = (const Pack *)zset;
        *rank = 0;
        for (PackPos pos = pack_first(pack); pos != 0; pos = pair_next(pack, pos), (*rank)++) {
            if (pack_equals(pack, pos, member)) return true;
        }
        return false;
    }
    const Big *big = (const Big *)zset;
    const RankElement *element = big_find(big, member);
    if (element != NULL) *rank = ranktree_rank(&big->tree, element);
    return element != NULL;
}

/* What is to become of a member that has the score `old`; *score becomes the new one. */
static ZsetChange decide_update(double old, double *score, unsigned flags)
{
    if (flags & ZSET_NX) return ZSET_KEPT;
    if (flags & ZSET_INCR) *score += old;
    if (isnan(*score)) return ZSET_NAN;
    return *score == old ? ZSET_SAME : ZSET_UPDATED;
}

static ZsetChange pack_add(Zset **zset, Slice member, double *score, unsigned flags)
{
    Pack *pack = (Pack *)*zset;
    PackPos pos = pair_find(pack, member);
    if (pos != 0) {
        ZsetChange change = decide_update(score_at(pack, pack_next(pack, pos)), score, flags);
        if (change == ZSET_UPDATED) *zset = (Zset *)pair_insert(pack_remove(pack, pos, 2), *score, member);
        return change;
    }
    if (flags & ZSET_XX) return ZSET_KEPT;
    if (!may_be_small(zset_length(*zset) + 1, member.len, pack_bytes(pack) + member.len)) {
        convert(zset);
        big_insert((Big *)*zset, table_hash(member), *score, member);
        return ZSET_ADDED;
    }
    *zset = (Zset *)pair_insert(pack, *score, member);
    return ZSET_ADDED;
}

ZsetChange zset_add(Zset **zset, Slice member, double *score, unsigned flags)
{
    if (is_pack(*zset)) return pack_add(zset, member, score, flags);
    Big *big = (Big *)*zset;
    uint64_t hash = table_hash(member);
    void **slot = table_find(&big->table, hash, member, element_matches);
    if (slot == NULL) {
        if (flags & ZSET_XX) return ZSET_KEPT;
        big_insert(big, hash, *score, member);
        return ZSET_ADDED;
    }
    RankElement *element = *slot;
    ZsetChange change = decide_update(element->score, score, flags);
    if (change != ZSET_UPDATED) return change;
    pages_touch(big->pages, hash);
    ranktree_move(&big->tree, element, *score);
    return change;
}

bool zset_remove(Zset **zset, Slice member)
{
    if (is_pack(*zset)) {
        PackPos pos = pair_find((Pack *)*zset, member);
        if (pos != 0) *zset = (Zset *)pack_remove((Pack *)*zset, pos, 2);
        return pos != 0;
    }
    Big *big = (Big *)*zset;
    RankElement *element = big_find(big, member);
    if (element == NULL) return false;
    if (big->pages != NULL) pages_touch(big->pages, element_hash(element));
    ranktree_remove(&big->tree, element);
    big_forget(big, element);
    return true;
}

/* ---- ranges ---- */

void zset_remove_ranks(Zset **zset, size_t rank, size_t count)
{
    if (is_pack(*zset)) {
        Pack *pack = (Pack *)*zset;
        if (count > 0) *zset = (Zset *)pack_remove(pack, pack_at(pack, (int64_t)rank * 2), (uint32_t)count * 2);
        return;
    }
    Big *big = (Big *)*zset;
    while (count > 0) {
        RankElement *removed[REMOVE_BATCH];
        size_t batch = MIN(count, REMOVE_BATCH);
        RankWalk walk = ranktree_walk(&big->tree, rank, false);
        for (size_t i = 0; i < batch; i++) {
            removed[i] = ranktree_next(&walk);
            uint64_t hash = element_hash(removed[i]);
            pages_touch(big->pages, hash);
            table_prefetch(&big->table, hash);
        }
        ranktree_cut(&big->tree, rank, batch);
        for (size_t i = 0; i < batch; i++)
            big_forget(big, removed[i]);
        count -= batch;
    }
}

size_t zset_rank_score(const Zset *zset, double score, bool equal)
{
    if (!is_pack(zset)) return ranktree_rank_score(&((const Big *)zset)->tree, score, equal);
    size_t rank = 0;
    ZsetWalk walk = zset_walk(zset, 0, false);
    for (ZsetPair pair; zset_next(&walk, &pair) && (pair.score < score || (equal && pair.score == score));)
        rank++;
    return rank;
}

static size_t pack_rank_member(const Pack *pack, Slice member, bool equal)
{
    size_t rank = 0;
    for (PackPos pos = pack_first(pack); pos != 0; pos = pair_next(pack, pos), rank++) {
        char digits[NUMBER_INT_CHARS];
        int compared = slice_compare(pack_text(pack, pos, digits), member);
        if (compared > 0 || (compared == 0 && !equal)) break;
    }
    return rank;
}

size_t zset_rank_member(const Zset *zset, Slice member, bool equal)
{
    if (is_pack(zset)) return pack_rank_member((const Pack *)zset, member, equal);
    const RankTree *tree = &((const Big *)zset)->tree;
    RankWalk walk = ranktree_walk(tree, 0, false);
    const RankElement *first = ranktree_next(&walk);
    return first == NULL ? 0 : ranktree_rank_member(tree, first->score, member, equal);
}

/* ---- walking ---- */

/* The walk begins at the rank of a small set, if it has that. */
static void pack_walk(ZsetWalk *walk, size_t rank)
{
    if (rank >= pack_count(walk->pack) / 2) return;
    if (walk->reverse && walk->pack->one_way) {
        walk->before = pack_places(walk->pack, 1, walk->places, (unsigned)rank + 1) - 1;
        walk->pos = walk->places[walk->before];
    } else {
        walk->pos = pack_at(walk->pack, (int64_t)rank * 2);
    }
}

ZsetWalk zset_walk(const Zset *zset, size_t rank, bool reverse)
{
    ZsetWalk walk; /* its places are set when they're needed */
    walk.pack = is_pack(zset) ? (const Pack *)zset : NULL;
    walk.pos = 0;
    walk.reverse = reverse;
    walk.before = 0;
    if (walk.pack != NULL) {
        pack_walk(&walk, rank);
    } else {
        walk.ranks = ranktree_walk(&((const Big *)zset)->tree, rank, reverse);
    }
    return walk;
}

bool zset_next(ZsetWalk *walk, ZsetPair *pair)
{
    if (walk->pack == NULL) {
        const RankElement *element = ranktree_next(&walk->ranks);
        if (element != NULL) *pair = big_pair(element);
        return element != NULL;
    }
    const Pack *pack = walk->pack;
    PackPos pos = walk->pos;
    if (pos == 0) return false;
    *pair = pair_at(pack, pos);
    if (!walk->reverse) {
        walk->pos = pair_next(pack, pos);
    } else if (pack->one_way) {
        walk->pos = walk->before == 0 ? 0 : walk->places[--walk->before];
    } else {
        PackPos score = pack_prev(pack, pos);
        walk->pos = score == 0 ? 0 : pack_prev(pack, score);
    }
    return true;
}

typedef struct ScanVisit {
    ZsetVisit visit;
    void *context;
} ScanVisit;

static void visit_element(void *element, void *context)
{
    const ScanVisit *scan = context;
    scan->visit(big_pair(element), scan->context);
}

uint64_t zset_scan(const Zset *zset, uint64_t cursor, ZsetVisit visit, void *context)
{
    if (!is_pack(zset))
        return table_scan(&((const Big *)zset)->table, cursor, visit_element, &(ScanVisit){ visit, context });
    ZsetWalk walk = zset_walk(zset, 0, false);
    for (ZsetPair pair; zset_next(&walk, &pair);)
        visit(pair, context);
    return 0;
}

/* ---- checkpoints ---- */

bool zset_paged(const Zset *zset, PagedValue *paged)
{
    if (is_pack(zset)) return false;
    Big *big = (Big *)(uintptr_t)zset;
    *paged = (PagedValue){ &big->table, &big->pages, PAGE_RANKED };
    return true;
}

/* ---- building ---- */

ZsetBuilder *zset_builder_new(void)
{
    return big_new();
}

double *zset_builder_score(ZsetBuilder *builder, Slice member, bool *added)
{
    uint64_t hash = table_hash(member);
    void **slot = table_find(&builder->table, hash, member, element_matches);
    *added = slot == NULL;
    RankElement *element = slot == NULL ? big_add(builder, hash, 0, member) : *slot;
    return &element->score;
}

typedef struct Finish {
    Big *big;
    size_t longest; /* member */
} Finish;

static void visit_finish(void *element, void *context)
{
    Finish *finish = context;
    finish->longest = MAX(finish->longest, rank_member(element).len);
    ranktree_insert(&finish->big->tree, element);
}

static Zset *pack_from(const Big *big)
{
    Pack *pack = big->table.count <= ZSET_ONE_WAY_MAX ? pack_new_one_way(KIND_PACK) : pack_new(KIND_PACK);
    RankWalk walk = ranktree_walk(&big->tree, 0, false);
    for (const RankElement *element; (element = ranktree_next(&walk)) != NULL;) {
        ScoreText text;
        pack = pack_append(pack_append(pack, rank_member(element)), score_text(element->score, &text));
    }
    return (Zset *)pack;
}

Zset *zset_builder_finish(ZsetBuilder *builder)
{
    Finish finish = { .big = builder };
    table_each(&builder->table, visit_finish, &finish);
    if (!may_be_small(builder->table.count, finish.longest, builder->bytes)) return (Zset *)builder;
    Zset *small = builder->table.count == 0 ? NULL : pack_from(builder);
    big_free(builder);
    return small;
}

/* ---- as bytes ---- */

size_t zset_encoded_bytes_about(const Zset *zset)
{
    if (is_pack(zset)) return 1 + pack_encoded_bytes_max((const Pack *)zset);
    const Big *big = (const Big *)zset;
    return 1 + image_varint_bytes(big->table.count) + big->bytes;
}

void zset_encode(const Zset *zset, Image *image)
{
    if (is_pack(zset)) {
        image_put_varint(image, KIND_PACK);
        pack_encode((const Pack *)zset, image);
        return;
    }
    const Big *big = (const Big *)zset;
    image_put_varint(image, KIND_BIG);
    image_put_varint(image, big->table.count);
    RankWalk walk = ranktree_walk(&big->tree, 0, false);
    for (const RankElement *element; (element = ranktree_next(&walk)) != NULL;)
        rank_element_encode(element, image);
}

/* Whether the element at `pos` is a score as score_text writes it. */
static bool score_valid(const Pack *pack, PackPos pos)
{
    PackValue value = pack_get(pack, pos);
    if (value.text.ptr != NULL && value.text.len != sizeof(double) && value.text.len != sizeof(double) + 1)
        return false;
    double score = score_at(pack, pos);
    ScoreText text;
    return !isnan(score) && pack_equals(pack, pos, score_text(score, &text));
}

/* Whether a well-formed pack holds pairs in order. */
static bool pairs_valid(const Pack *pack)
{
    if (pack_count(pack) % 2 != 0) return false;
    PackPos before = 0;
    for (PackPos pos = pack_first(pack), score; pos != 0; before = pos, pos = pack_next(pack, score)) {
        score = pack_next(pack, pos);
        if (!score_valid(pack, score)) return false;
        char digits[NUMBER_INT_CHARS];
        if (before != 0 && !pair_is_before(pack, before, score_at(pack, score), pack_text(pack, pos, digits)))
            return false;
    }
    return pack_is_unique(pack, 1);
}

static Zset *decode_pack(Slice bytes)
{
    Pack *pack = pack_decode(&bytes, KIND_PACK, 2 * ZSET_ONE_WAY_MAX);
    if (pack == NULL) return NULL;
    if (bytes.len == 0 && pairs_valid(pack)) return (Zset *)pack;
    pack_free(pack);
    return NULL;
}

/* Reads an element and adds it to the table and the tree. It must come behind `before`, if that isn't NULL. NULL: it
 * can't be. */
static const RankElement *big_decode_element(Big *big, const RankElement *before, Slice *in, uint64_t *hash)
{
    RankElement *element = rank_element_decode(in);
    if (element == NULL) return NULL;
    Slice member = rank_member(element);
    bool in_order = before == NULL || before->score < element->score ||
                    (before->score == element->score && slice_compare(rank_member(before), member) < 0);
    *hash = table_hash(member);
    if (!in_order || table_find(&big->table, *hash, member, element_matches) != NULL) {
        g_free(element);
        return NULL;
    }
    big->bytes += rank_element_bytes(member);
    table_insert(&big->table, *hash, element);
    ranktree_insert(&big->tree, element);
    return element;
}

static Zset *decode_big(Slice bytes)
{
    uint64_t count, hash;
    if (!image_get_varint(&bytes, &count) || count == 0) return NULL;
    Big *big = big_new();
    for (const RankElement *element = NULL; count > 0; count--) {
        if ((element = big_decode_element(big, element, &bytes, &hash)) == NULL) break;
    }
    if (count == 0 && bytes.len == 0) return (Zset *)big;
    big_free(big);
    return NULL;
}

Zset *zset_decode(Slice bytes)
{
    uint64_t kind;
    if (!image_get_varint(&bytes, &kind) || kind > KIND_BIG) return NULL;
    return kind == KIND_PACK ? decode_pack(bytes) : decode_big(bytes);
}

const Table *zset_table(const Zset *zset)
{
    return is_pack(zset) ? NULL : &((const Big *)zset)->table;
}

Zset *zset_new_big(void)
{
    return (Zset *)big_new();
}

bool zset_decode_element(Zset *zset, Slice *in, uint64_t *hash)
{
    g_assert(!is_pack(zset));
    return big_decode_element((Big *)zset, NULL, in, hash) != NULL;
}
