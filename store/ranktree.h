/* ranktree.h: the order-statistic tree of a big sorted set: elements ordered by score and member, with rank and
 * selection in O(log n). Only zset.c calls it.
 *
 * Design. A B+tree. Leaves hold up to 99 element pointers each and are linked in order; inner nodes hold, for each
 * child, its first element with that element's score, and how many elements are below it. A leaf has 16 bits of every
 * element's score beside the pointers, counted from the leaf's own base in steps of its own width, so that a search
 * reads four cache lines instead of following pointers; only elements whose 16 bits agree are looked at. These bits
 * never decide anything else: base and width may be out of date, and are set anew when a leaf is split or joined.
 *
 * Scores are compared as integers in the same order (rank_order). Leaves are split only when a neighbour has no room to
 * take some elements, and at the very ends of the tree one element is split off, so they're about 80 % full after
 * random insertions and full after sorted ones.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_RANKTREE_H
#define CKV_STORE_RANKTREE_H

#include "base/slice.h"
#include "store/image.h"

/* A member with its score: one allocation, owned by whoever made it. */
typedef struct RankElement {
    double score;   /* not NaN; while the element is in a tree, only ranktree_move changes it */
    uint8_t length; /* of the member; RANK_LONG: four bytes with the length come first in data */
    char data[];
} RankElement;

#define RANK_LONG 255

typedef struct RankLeaf RankLeaf;

typedef struct RankTree {
    void *root;      /* a RankLeaf if height is 0 */
    unsigned height; /* levels of inner nodes */
    uint32_t leaves, inners;
    size_t count; /* elements */
} RankTree;

RankElement *rank_element_new(double score, Slice member);
/* Bytes of the element of such a member. */
size_t rank_element_bytes(Slice member);

/* The element as bytes: its block's. And back: NULL if they're damaged or the score isn't a number. */
void rank_element_encode(const RankElement *element, Image *image);
Slice rank_element_block(const RankElement *element);
RankElement *rank_element_decode(Slice *in);

static inline Slice rank_member(const RankElement *element)
{
    if (element->length != RANK_LONG) return (Slice){ element->data, element->length };
    uint32_t length;
    memcpy(&length, element->data, sizeof(length));
    return (Slice){ element->data + sizeof(length), length };
}

void ranktree_init(RankTree *tree);
/* Frees the tree's nodes, not the elements. */
void ranktree_free(RankTree *tree);
/* The same in slices: frees up to `leaves` leaves. True while something is left, of which only ranktree_bytes is good.
 */
bool ranktree_free_some(RankTree *tree, size_t leaves);
/* Bytes held by the tree's nodes. */
size_t ranktree_bytes(const RankTree *tree);

/* Adds an element whose score and member aren't both in the tree yet. */
void ranktree_insert(RankTree *tree, RankElement *element);
/* Gives an element that is in the tree another score. */
void ranktree_move(RankTree *tree, RankElement *element, double score);
/* Takes out an element that is in the tree. */
void ranktree_remove(RankTree *tree, const RankElement *element);
/* Takes out `count` elements from `rank` (counted from 0) on; they are all there. */
void ranktree_cut(RankTree *tree, size_t rank, size_t count);

/* How many elements come before one that is in the tree. */
size_t ranktree_rank(const RankTree *tree, const RankElement *element);
/* How many elements have a smaller score, or with `equal` a score at most this. */
size_t ranktree_rank_score(const RankTree *tree, double score, bool equal);
/* The same for members: how many come before (score, member), with `equal` that one included. */
size_t ranktree_rank_member(const RankTree *tree, double score, Slice member, bool equal);

/* A walk from the element of this rank on, either way, on the caller's stack; the tree mustn't change until it ends. */
typedef struct RankWalk {
    const RankLeaf *leaf; /* NULL: past the end */
    int slot;             /* the next element's */
    int step;             /* 1 or -1 */
} RankWalk;

RankWalk ranktree_walk(const RankTree *tree, size_t rank, bool reverse);
/* The next element, NULL at the end. */
RankElement *ranktree_next(RankWalk *walk);

#endif
