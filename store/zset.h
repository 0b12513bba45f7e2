/* zset.h: a value of type sorted set. The commands call it, on entries they got from the keyspace.
 *
 * Design. Small: one pack of member, score, member, score, in score order; an integral score is an integer there, any
 * other its eight bytes. The pack has back-lengths (pack.h) once there are more than ZSET_ONE_WAY_MAX members. Big: a
 * table of elements (member and score in one block each) by member, and an order-statistic tree of the same elements
 * (ranktree.h). A sorted set becomes big when it has more than options.zset_max_ziplist_entries members, or gets one
 * longer than options.zset_max_ziplist_value; it never becomes small again. What a Zset pointer points to is one block
 * whose kind byte says which; it moves when the set changes, so whatever changes it takes a pointer to the pointer.
 *
 * Members are ordered by score, and among equal scores by their bytes. Ranks count from 0.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_ZSET_H
#define CKV_STORE_ZSET_H

#include "store/entry.h"
#include "store/pack.h"
#include "store/pages.h"
#include "store/ranktree.h"
#include "store/table.h"

/* Up to so many members, a pack does without back-lengths: a walk back first notes where the members are, which takes
 * some 50 ns. */
#define ZSET_ONE_WAY_MAX 12

typedef struct ZsetPair {
    PackValue member;
    double score;
} ZsetPair;

Zset *zset_new(void);
/* O(members). */
void zset_free(Zset *zset);
/* The same in slices: does up to `work` small steps. True while something is left, of which only zset_bytes may be
 * asked, for about the memory still held. */
bool zset_free_some(Zset *zset, size_t work);

size_t zset_length(const Zset *zset);
/* Memory held. */
size_t zset_bytes(const Zset *zset);
/* OBJECT ENCODING's word: "ziplist" or "skiplist". */
const char *zset_encoding(const Zset *zset);

/* False: there's no such member. */
bool zset_score(const Zset *zset, Slice member, double *score);
/* The member's rank from the lowest score; false: there's no such member. */
bool zset_rank(const Zset *zset, Slice member, size_t *rank);

/* What zset_add may do: only add, only update, add to the score that is there. */
enum { ZSET_NX = 1 << 0, ZSET_XX = 1 << 1, ZSET_INCR = 1 << 2 };

/* What it did. SAME: the member has this score already. KEPT: NX or XX forbade it. NAN: inf and -inf don't add up. */
typedef enum ZsetChange { ZSET_ADDED, ZSET_UPDATED, ZSET_SAME, ZSET_KEPT, ZSET_NAN } ZsetChange;

/* Gives a member, which mustn't lie in the set, this score (not NaN), or with ZSET_INCR adds it; *score is then the
 * sum.
 */
ZsetChange zset_add(Zset **zset, Slice member, double *score, unsigned flags);

/* False: it wasn't there. */
bool zset_remove(Zset **zset, Slice member);
/* Removes `count` members from `rank` on; they are all there. */
void zset_remove_ranks(Zset **zset, size_t rank, size_t count);

/* How many members have a smaller score, or with `equal` a score at most this: so a range of scores is one of ranks. */
size_t zset_rank_score(const Zset *zset, double score, bool equal);
/* The same for members, in a set whose members all have the same score: how many come before this one, with `equal`
 * itself included. In another set, it's some rank. */
size_t zset_rank_member(const Zset *zset, Slice member, bool equal);

/* A walk from the member of a rank on, on the caller's stack; the set mustn't change until it ends. */
typedef struct ZsetWalk {
    const Pack *pack; /* NULL: a big one */
    PackPos pos;      /* the next member's */
    bool reverse;
    unsigned before; /* back through a one-way pack: so many members come before that one, at these places */
    PackPos places[ZSET_ONE_WAY_MAX];
    RankWalk ranks;
} ZsetWalk;

ZsetWalk zset_walk(const Zset *zset, size_t rank, bool reverse);
/* False at the end. The pair is good until the set changes. */
bool zset_next(ZsetWalk *walk, ZsetPair *pair);

/* Visits some members and returns the next cursor, 0 at the end; see table_scan. A small set is visited whole. */
typedef void (*ZsetVisit)(ZsetPair pair, void *context);
uint64_t zset_scan(const Zset *zset, uint64_t cursor, ZsetVisit visit, void *context);

/* A big sorted set's table, for checkpoints; false: it isn't big. */
bool zset_paged(const Zset *zset, PagedValue *paged);
/* The set as bytes (see image.h), and back, held as it was: NULL if they're damaged. And about how many there will be.
 */
size_t zset_encoded_bytes_about(const Zset *zset);
void zset_encode(const Zset *zset, Image *image);
Zset *zset_decode(Slice bytes);

/* The table of a big set, of whose elements rank_element_encode makes bytes; NULL: it's small. And an empty big set,
 * with what adds an element to a big one, in any order, and gives its hash, which says in which page it belongs: false
 * if the bytes are damaged or the member is there already. */
const Table *zset_table(const Zset *zset);
Zset *zset_new_big(void);
bool zset_decode_element(Zset *zset, Slice *in, uint64_t *hash);

/* A sorted set in the making: scores may still change, so nothing is in order yet. */
typedef struct ZsetBuilder ZsetBuilder;

ZsetBuilder *zset_builder_new(void);
/* Where the member's score is, to be changed until the builder is finished. *added: the member is new, its score isn't
 * set yet. */
double *zset_builder_score(ZsetBuilder *builder, Slice member, bool *added);
/* Takes the builder and gives the set, small if it may be; NULL if it has no members. */
Zset *zset_builder_finish(ZsetBuilder *builder);

#endif
