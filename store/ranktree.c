/* ranktree.c: see ranktree.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/ranktree.h"

#include <glib.h>
#include <math.h>

#include "base/prefetch.h"

#define LEAF_SLOTS  99
#define INNER_SLOTS 36
#define HEIGHT_MAX  16 /* joined nodes are at least a quarter full: 9^16 leaves are more than memory holds */

/* Leaves that hold no more than this take elements from a full neighbour; two that would together hold no more are
 * joined when one of them has fewer than LEAF_FEW. */
#define LEAF_ROOMY  (LEAF_SLOTS * 3 / 4)
#define LEAF_FEW    (LEAF_SLOTS / 3)

#define INNER_ROOMY (INNER_SLOTS * 3 / 4)
#define INNER_FEW   (INNER_SLOTS / 3)

#define KEY_MAX     UINT16_MAX
#define KEY_BITS    15 /* a leaf's elements span half of what a key can say, so that others fit beside them */
#define LINE        64
#define AHEAD_MAX   8 /* elements that a walk asks for before it needs them */

struct RankLeaf {
    RankLeaf *next, *prev;
    uint64_t base; /* order of the score whose key is 0 */
    uint16_t count;
    uint8_t shift; /* log2 of the width */
    uint16_t key[LEAF_SLOTS];
    RankElement *element[LEAF_SLOTS];
};

G_STATIC_ASSERT(sizeof(RankLeaf) == 1024);

typedef struct RankInner {
    uint32_t count;
    uint32_t size[INNER_SLOTS];  /* elements below the child */
    uint64_t order[INNER_SLOTS]; /* of the first of them */
    RankElement *first[INNER_SLOTS];
    void *child[INNER_SLOTS];
} RankInner;

G_STATIC_ASSERT(sizeof(RankInner) <= 1024);

/* A place between two elements. `self`, if not NULL, is the element that is sought. */
typedef struct RankBound {
    uint64_t order;
    bool has_member; /* among equal scores, the place is before (or after, if `equal`) this member; else before all */
    bool equal;
    Slice member;
    const RankElement *self;
} RankBound;

/* The way to a place: the inner nodes by level (0: the leaves' parents) with the child taken, and the leaf. */
typedef struct Path {
    RankInner *node[HEIGHT_MAX];
    unsigned index[HEIGHT_MAX];
    RankLeaf *leaf;
    unsigned slot; /* the first element behind the place; leaf->count if that's in the next leaf */
    size_t rank;
} Path;

/* ---- elements ---- */

size_t rank_element_bytes(Slice member)
{
    return offsetof(RankElement, data) + (member.len >= RANK_LONG ? sizeof(uint32_t) : 0) + member.len;
}

RankElement *rank_element_new(double score, Slice member)
{
    g_assert(member.len <= UINT32_MAX);
    RankElement *element = g_malloc(rank_element_bytes(member));
    element->score = score;
    element->length = (uint8_t)MIN(member.len, RANK_LONG);
    char *data = element->data;
    if (element->length == RANK_LONG) {
        uint32_t length = (uint32_t)member.len;
        memcpy(data, &length, sizeof(length));
        data += sizeof(length);
    }
    if (member.len > 0) memcpy(data, member.ptr, member.len);
    return element;
}

Slice rank_element_block(const RankElement *element)
{
    return (Slice){ (const char *)element, rank_element_bytes(rank_member(element)) };
}

void rank_element_encode(const RankElement *element, Image *image)
{
    image_put_bytes(image, rank_element_block(element));
}

RankElement *rank_element_decode(Slice *in)
{
    Slice head, member;
    double score;
    if (!image_get_bytes(in, offsetof(RankElement, data), &head)) return NULL;
    memcpy(&score, head.ptr, sizeof(score));
    if (isnan(score)) return NULL;
    uint32_t length = (uint8_t)head.ptr[offsetof(RankElement, length)];
    if (length == RANK_LONG) {
        if (!image_get_bytes(in, sizeof(length), &member)) return NULL;
        memcpy(&length, member.ptr, sizeof(length));
        if (length < RANK_LONG) return NULL;
    }
    return image_get_bytes(in, length, &member) ? rank_element_new(score, member) : NULL;
}

/* An integer that is ordered as the scores are: IEEE 754's bits with the sign bit turned, and for negative numbers all
 * others too. -0 and 0 are the same score. */
static uint64_t rank_order(double score)
{
    uint64_t bits;
    score += 0.0; /* -0 becomes 0 */
    memcpy(&bits, &score, sizeof(bits));
    return bits >> 63 ? ~bits : bits | 1ULL << 63;
}

/* ---- searching in a node ---- */

/* How many of the ascending keys are below `limit`. Without branches, since they would be guessed wrong half the time.
 */
static unsigned keys_below(const uint16_t *key, unsigned count, unsigned limit)
{
    const uint16_t *base = key;
    while (count > 1) {
        unsigned half = count / 2;
        base += base[half - 1] < limit ? half : 0;
        count -= half;
    }
    return (unsigned)(base - key) + (count == 1 && *base < limit);
}

static unsigned orders_below(const uint64_t *order, unsigned count, uint64_t limit)
{
    unsigned below = 0;
    for (unsigned i = 0; i < count; i++)
        below += order[i] < limit;
    return below;
}

/* Whether the element is before the place. */
static bool is_before(const RankElement *element, const RankBound *bound)
{
    uint64_t order = rank_order(element->score);
    if (order != bound->order || !bound->has_member) return order < bound->order;
    int compared = slice_compare(rank_member(element), bound->member);
    return compared < 0 || (compared == 0 && bound->equal);
}

/* The first of element[low..high) that isn't before the place; high if all are. */
static unsigned first_not_before(RankElement *const *element, unsigned low, unsigned high, const RankBound *bound)
{
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (is_before(element[middle], bound)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static unsigned leaf_key(const RankLeaf *leaf, uint64_t order)
{
    if (order <= leaf->base) return 0;
    uint64_t steps = (order - leaf->base) >> leaf->shift;
    return steps < KEY_MAX ? (unsigned)steps : KEY_MAX;
}

static unsigned leaf_search(const RankLeaf *leaf, const RankBound *bound)
{
    for (unsigned line = 0; line < offsetof(RankLeaf, element); line += LINE)
        prefetch((const char *)leaf + line);
    unsigned key = leaf_key(leaf, bound->order);
    unsigned low = keys_below(leaf->key, leaf->count, key);
    unsigned high = low + keys_below(leaf->key + low, leaf->count - low, key + 1);
    if (bound->self == NULL) return first_not_before(leaf->element, low, high, bound);
    while (leaf->element[low] != bound->self)
        g_assert(++low < high);
    return low;
}

/* The last child that begins before the place, or the first one. */
static unsigned inner_search(const RankInner *inner, const RankBound *bound)
{
    unsigned low = orders_below(inner->order, inner->count, bound->order);
    if (bound->has_member) {
        unsigned high = low + orders_below(inner->order + low, inner->count - low, bound->order + 1);
        low = first_not_before(inner->first, low, high, bound);
    }
    /* The element sought may itself begin the child. */
    if (bound->self != NULL && low < inner->count && inner->first[low] == bound->self) return low;
    return low == 0 ? 0 : low - 1;
}

static Path path_to_bound(const RankTree *tree, const RankBound *bound)
{
    Path path;
    path.rank = 0;
    void *node = tree->root;
    for (unsigned level = tree->height; level-- > 0;) {
        RankInner *inner = path.node[level] = node;
        unsigned index = path.index[level] = inner_search(inner, bound);
        for (unsigned i = 0; i < index; i++)
            path.rank += inner->size[i];
        node = inner->child[index];
    }
    path.leaf = node;
    path.slot = leaf_search(path.leaf, bound);
    path.rank += path.slot;
    return path;
}

static Path path_to_rank(const RankTree *tree, size_t rank)
{
    g_assert(rank < tree->count);
    Path path;
    path.rank = rank;
    void *node = tree->root;
    for (unsigned level = tree->height; level-- > 0;) {
        RankInner *inner = path.node[level] = node;
        unsigned index = 0;
        for (; rank >= inner->size[index]; index++)
            rank -= inner->size[index];
        path.index[level] = index;
        node = inner->child[index];
    }
    path.leaf = node;
    path.slot = (unsigned)rank;
    return path;
}

static RankBound bound_of(const RankElement *element)
{
    return (RankBound){
        .order = rank_order(element->score), .has_member = true, .member = rank_member(element), .self = element
    };
}

/* ---- leaves ---- */

static RankLeaf *leaf_new(RankTree *tree)
{
    RankLeaf *leaf = g_malloc(sizeof(RankLeaf));
    leaf->next = leaf->prev = NULL;
    leaf->base = 0;
    leaf->shift = 64 - KEY_BITS;
    leaf->count = 0;
    tree->leaves++;
    return leaf;
}

/* Gives the leaf the base and width that suit its elements now. */
static void leaf_rebase(RankLeaf *leaf)
{
    for (unsigned i = 0; i < leaf->count; i++)
        prefetch(leaf->element[i]);
    leaf->base = rank_order(leaf->element[0]->score);
    uint64_t span = rank_order(leaf->element[leaf->count - 1]->score) - leaf->base;
    int bits = span == 0 ? 0 : 64 - __builtin_clzll(span);
    leaf->shift = (uint8_t)MAX(bits - KEY_BITS, 0);
    for (unsigned i = 0; i < leaf->count; i++)
        leaf->key[i] = (uint16_t)leaf_key(leaf, rank_order(leaf->element[i]->score));
}

static void leaf_put(RankLeaf *leaf, unsigned slot, RankElement *element, uint64_t order)
{
    unsigned behind = leaf->count - slot;
    memmove(&leaf->key[slot + 1], &leaf->key[slot], behind * sizeof(leaf->key[0]));
    memmove(&leaf->element[slot + 1], &leaf->element[slot], behind * sizeof(leaf->element[0]));
    leaf->key[slot] = (uint16_t)leaf_key(leaf, order);
    leaf->element[slot] = element;
    leaf->count++;
}

static void leaf_take(RankLeaf *leaf, unsigned slot, unsigned count)
{
    unsigned behind = leaf->count - slot - count;
    memmove(&leaf->key[slot], &leaf->key[slot + count], behind * sizeof(leaf->key[0]));
    memmove(&leaf->element[slot], &leaf->element[slot + count], behind * sizeof(leaf->element[0]));
    leaf->count = (uint16_t)(leaf->count - count);
}

/* Moves elements between two neighbours so that the left one has `left_count`. One that is left with none keeps its
 * base. */
static void leaf_share(RankLeaf *left, RankLeaf *right, unsigned left_count)
{
    unsigned total = (unsigned)left->count + right->count;
    RankElement *all[2 * LEAF_SLOTS];
    memcpy(all, left->element, left->count * sizeof(all[0]));
    memcpy(all + left->count, right->element, right->count * sizeof(all[0]));
    left->count = (uint16_t)left_count;
    right->count = (uint16_t)(total - left_count);
    memcpy(left->element, all, left->count * sizeof(all[0]));
    memcpy(right->element, all + left_count, right->count * sizeof(all[0]));
    if (left->count > 0) leaf_rebase(left);
    if (right->count > 0) leaf_rebase(right);
    /* A leaf of one score knows no width yet; its neighbour's is the best guess. */
    if (right->count == 1) right->shift = left->shift;
    if (left->count == 1) left->shift = right->shift;
}

static RankLeaf *leaf_split(RankTree *tree, RankLeaf *leaf, unsigned left_count)
{
    RankLeaf *right = leaf_new(tree);
    right->prev = leaf;
    right->next = leaf->next;
    if (right->next != NULL) right->next->prev = right;
    leaf->next = right;
    leaf_share(leaf, right, left_count);
    return right;
}

static void leaf_drop(RankTree *tree, RankLeaf *leaf)
{
    if (leaf->next != NULL) leaf->next->prev = leaf->prev;
    if (leaf->prev != NULL) leaf->prev->next = leaf->next;
    g_free(leaf);
    tree->leaves--;
}

/* ---- inner nodes ---- */

static RankInner *inner_new(RankTree *tree)
{
    tree->inners++;
    return g_new0(RankInner, 1);
}

static void inner_drop(RankTree *tree, RankInner *inner)
{
    g_free(inner);
    tree->inners--;
}

/* Moves `count` entries from one place to another, in the same node or not. The counts are the caller's. */
static void inner_move(RankInner *to, unsigned to_index, RankInner *from, unsigned from_index, unsigned count)
{
    memmove(&to->size[to_index], &from->size[from_index], count * sizeof(to->size[0]));
    memmove(&to->order[to_index], &from->order[from_index], count * sizeof(to->order[0]));
    memmove(&to->first[to_index], &from->first[from_index], count * sizeof(to->first[0]));
    memmove(&to->child[to_index], &from->child[from_index], count * sizeof(to->child[0]));
}

/* Sets what an entry says about its child, which is a leaf if level is 0. */
static void inner_describe(RankInner *inner, unsigned index, unsigned level)
{
    if (level == 0) {
        const RankLeaf *leaf = inner->child[index];
        inner->size[index] = leaf->count;
        inner->first[index] = leaf->element[0];
        inner->order[index] = rank_order(leaf->element[0]->score);
        return;
    }
    const RankInner *child = inner->child[index];
    inner->first[index] = child->first[0];
    inner->order[index] = child->order[0];
    inner->size[index] = 0;
    for (unsigned i = 0; i < child->count; i++)
        inner->size[index] += child->size[i];
}

static void inner_insert(RankInner *inner, unsigned index, void *child, unsigned level)
{
    inner_move(inner, index + 1, inner, index, inner->count - index);
    inner->count++;
    inner->child[index] = child;
    inner_describe(inner, index, level);
}

static void inner_remove(RankInner *inner, unsigned index)
{
    inner_move(inner, index, inner, index + 1, inner->count - index - 1);
    inner->count--;
}

static RankInner *inner_split(RankTree *tree, RankInner *inner, unsigned left_count)
{
    RankInner *right = inner_new(tree);
    right->count = inner->count - left_count;
    inner_move(right, 0, inner, left_count, right->count);
    inner->count = left_count;
    return right;
}

/* ---- the tree ---- */

void ranktree_init(RankTree *tree)
{
    *tree = (RankTree){ 0 };
    tree->root = leaf_new(tree);
}

static void node_free(void *node, unsigned height)
{
    if (height > 0) {
        RankInner *inner = node;
        for (unsigned i = 0; i < inner->count; i++)
            node_free(inner->child[i], height - 1);
    }
    g_free(node);
}

void ranktree_free(RankTree *tree)
{
    node_free(tree->root, tree->height);
}

/* Frees the last leaf and the inner nodes in which it was the only one. */
static void free_last_leaf(RankTree *tree)
{
    RankInner *path[HEIGHT_MAX];
    void *node = tree->root;
    for (unsigned level = tree->height; level-- > 0;) {
        path[level] = node;
        node = path[level]->child[path[level]->count - 1];
    }
    g_free(node);
    tree->leaves--;
    unsigned level = 0;
    for (; level < tree->height && --path[level]->count == 0; level++)
        inner_drop(tree, path[level]);
    if (level == tree->height) tree->root = NULL;
}

bool ranktree_free_some(RankTree *tree, size_t leaves)
{
    for (; leaves > 0 && tree->root != NULL; leaves--)
        free_last_leaf(tree);
    return tree->root != NULL;
}

size_t ranktree_bytes(const RankTree *tree)
{
    return tree->leaves * sizeof(RankLeaf) + tree->inners * sizeof(RankInner);
}

static void grow_root(RankTree *tree)
{
    g_assert(tree->height < HEIGHT_MAX);
    RankInner *root = inner_new(tree);
    inner_insert(root, 0, tree->root, tree->height);
    tree->root = root;
    tree->height++;
}

/* Makes two of a full node at `level` (-1: the leaf), whose parent has room. */
static void split_node(RankTree *tree, const Path *path, int level)
{
    unsigned above = (unsigned)(level + 1), index = path->index[above];
    RankInner *parent = path->node[above];
    void *right;
    if (level < 0) {
        RankLeaf *leaf = path->leaf;
        unsigned at = leaf->count / 2U;
        if (path->slot == leaf->count && leaf->next == NULL) at = leaf->count - 1U;
        if (path->slot == 0 && leaf->prev == NULL) at = 1;
        right = leaf_split(tree, leaf, at);
    } else {
        RankInner *node = path->node[level];
        bool at_end = path->index[level] == node->count - 1;
        right = inner_split(tree, node, at_end ? node->count - 1 : node->count / 2);
    }
    inner_describe(parent, index, above);
    inner_insert(parent, index + 1, right, above);
}

/* Evens out a full leaf and a neighbour that has room. False: there's none, or the elements come in order at an end. */
static bool share_leaf(const RankTree *tree, const Path *path)
{
    RankLeaf *leaf = path->leaf;
    bool at_end = (path->slot == leaf->count && leaf->next == NULL) || (path->slot == 0 && leaf->prev == NULL);
    if (tree->height == 0 || at_end) return false;
    RankInner *parent = path->node[0];
    unsigned index = path->index[0];
    bool to_right = index + 1 < parent->count && ((RankLeaf *)parent->child[index + 1])->count <= LEAF_ROOMY;
    bool to_left = index > 0 && ((RankLeaf *)parent->child[index - 1])->count <= LEAF_ROOMY;
    if (!to_right && !to_left) return false;
    if (!to_right) index--;
    RankLeaf *left = parent->child[index], *right = parent->child[index + 1];
    leaf_share(left, right, ((unsigned)left->count + right->count) / 2);
    inner_describe(parent, index, 0);
    inner_describe(parent, index + 1, 0);
    return true;
}

/* One step towards room in a full leaf; the path must be looked for again after it. */
static void make_room(RankTree *tree, const Path *path)
{
    if (share_leaf(tree, path)) return;
    /* The lowest node above the leaf that has room: what is below it on the path is full. */
    unsigned level = 0;
    while (level < tree->height && path->node[level]->count == INNER_SLOTS)
        level++;
    if (level == tree->height) {
        grow_root(tree);
    } else {
        split_node(tree, path, (int)level - 1);
    }
}

/* The entries on the path hear of `change` more elements in the leaf, and of its first one. */
static void path_update(const RankTree *tree, const Path *path, int change)
{
    bool first_changed = path->slot == 0;
    for (unsigned level = 0; level < tree->height; level++) {
        RankInner *inner = path->node[level];
        unsigned index = path->index[level];
        if (first_changed) {
            inner_describe(inner, index, level);
        } else {
            inner->size[index] += (uint32_t)change;
        }
        first_changed = first_changed && index == 0;
    }
}

void ranktree_insert(RankTree *tree, RankElement *element)
{
    g_assert(tree->count < UINT32_MAX);
    RankBound bound = bound_of(element);
    bound.self = NULL;
    Path path = path_to_bound(tree, &bound);
    while (path.leaf->count == LEAF_SLOTS) {
        make_room(tree, &path);
        path = path_to_bound(tree, &bound);
    }
    leaf_put(path.leaf, path.slot, element, bound.order);
    tree->count++;
    path_update(tree, &path, 1);
}

/* Joins the path's leaf with a neighbour under the same parent if it has become small. */
static void join_leaf(RankTree *tree, const Path *path)
{
    RankInner *parent = path->node[0];
    unsigned index = path->index[0];
    if (path->leaf->count >= LEAF_FEW || parent->count == 1) return;
    if (index + 1 == parent->count) index--;
    RankLeaf *left = parent->child[index], *right = parent->child[index + 1];
    unsigned total = (unsigned)left->count + right->count;
    if (total > LEAF_ROOMY) return;
    leaf_share(left, right, total);
    leaf_drop(tree, right);
    inner_remove(parent, index + 1);
    inner_describe(parent, index, 0);
}

/* The same for the inner node at `level`, under its parent on the level above. */
static void join_inner(RankTree *tree, const Path *path, unsigned level)
{
    RankInner *parent = path->node[level + 1];
    unsigned index = path->index[level + 1];
    if (path->node[level]->count >= INNER_FEW || parent->count == 1) return;
    if (index + 1 == parent->count) index--;
    RankInner *left = parent->child[index], *right = parent->child[index + 1];
    if (left->count + right->count > INNER_ROOMY) return;
    inner_move(left, left->count, right, 0, right->count);
    left->count += right->count;
    inner_drop(tree, right);
    inner_remove(parent, index + 1);
    inner_describe(parent, index, level + 1);
}

/* Removes the path's leaf, which has become empty, and every inner node that has become empty with it. Returns the
 * level of the first node on the path that is still there. */
static unsigned drop_empty(RankTree *tree, const Path *path)
{
    leaf_drop(tree, path->leaf);
    unsigned level = 0;
    inner_remove(path->node[0], path->index[0]);
    while (path->node[level]->count == 0) {
        inner_drop(tree, path->node[level]);
        level++;
        inner_remove(path->node[level], path->index[level]);
    }
    for (unsigned above = level + 1; above < tree->height; above++)
        inner_describe(path->node[above], path->index[above], above);
    return level;
}

static void shrink_root(RankTree *tree)
{
    while (tree->height > 0 && ((RankInner *)tree->root)->count == 1) {
        RankInner *root = tree->root;
        tree->root = root->child[0];
        tree->height--;
        inner_drop(tree, root);
    }
}

/* Takes `count` elements of one leaf out, from the path's place on. */
static void path_cut(RankTree *tree, const Path *path, unsigned count)
{
    tree->count -= count;
    leaf_take(path->leaf, path->slot, count);
    unsigned level = 0;
    if (path->leaf->count > 0) {
        path_update(tree, path, -(int)count);
        if (tree->height > 0) join_leaf(tree, path);
    } else if (tree->count > 0) {
        level = drop_empty(tree, path);
    }
    for (; tree->count > 0 && level + 1 < tree->height; level++)
        join_inner(tree, path, level);
    shrink_root(tree);
}

void ranktree_remove(RankTree *tree, const RankElement *element)
{
    RankBound bound = bound_of(element);
    Path path = path_to_bound(tree, &bound);
    path_cut(tree, &path, 1);
}

/* Moves an element inside its leaf if its new place is surely there, between the leaf's first and last: nothing above
 * the leaf changes then. */
static bool move_in_leaf(RankLeaf *leaf, unsigned slot, const RankBound *target)
{
    unsigned key = leaf_key(leaf, target->order);
    bool inside = slot > 0 && slot + 1U < leaf->count;
    if (!inside || key <= leaf->key[0] || key >= leaf->key[leaf->count - 1]) return false;
    RankElement *element = leaf->element[slot];
    unsigned place = leaf_search(leaf, target);
    leaf_take(leaf, slot, 1);
    leaf_put(leaf, place > slot ? place - 1 : place, element, target->order);
    return true;
}

void ranktree_move(RankTree *tree, RankElement *element, double score)
{
    RankBound from = bound_of(element), to = from;
    to.order = rank_order(score);
    to.self = NULL;
    Path path = path_to_bound(tree, &from);
    if (move_in_leaf(path.leaf, path.slot, &to)) {
        element->score = score;
        return;
    }
    path_cut(tree, &path, 1);
    element->score = score;
    ranktree_insert(tree, element);
}

void ranktree_cut(RankTree *tree, size_t rank, size_t count)
{
    while (count > 0) {
        Path path = path_to_rank(tree, rank);
        size_t part = MIN(count, path.leaf->count - path.slot);
        path_cut(tree, &path, (unsigned)part);
        count -= part;
    }
}

size_t ranktree_rank(const RankTree *tree, const RankElement *element)
{
    RankBound bound = bound_of(element);
    return path_to_bound(tree, &bound).rank;
}

size_t ranktree_rank_score(const RankTree *tree, double score, bool equal)
{
    /* Before all of the next greater score is after all of this one. */
    RankBound bound = { .order = rank_order(score) + equal };
    return path_to_bound(tree, &bound).rank;
}

size_t ranktree_rank_member(const RankTree *tree, double score, Slice member, bool equal)
{
    RankBound bound = { .order = rank_order(score), .has_member = true, .equal = equal, .member = member };
    return path_to_bound(tree, &bound).rank;
}

/* ---- walking ---- */

static bool leaf_has(const RankLeaf *leaf, int slot)
{
    return slot >= 0 && slot < leaf->count;
}

/* A walk comes to a leaf: its first elements are asked for together. */
static void walk_enter(const RankWalk *walk)
{
    const RankLeaf *leaf = walk->leaf;
    for (int i = 0, slot = walk->slot; i < AHEAD_MAX && leaf_has(leaf, slot); i++, slot += walk->step)
        prefetch(leaf->element[slot]);
}

RankWalk ranktree_walk(const RankTree *tree, size_t rank, bool reverse)
{
    if (rank >= tree->count) return (RankWalk){ 0 };
    Path path = path_to_rank(tree, rank);
    RankWalk walk = { .leaf = path.leaf, .slot = (int)path.slot, .step = reverse ? -1 : 1 };
    walk_enter(&walk);
    return walk;
}

RankElement *ranktree_next(RankWalk *walk)
{
    if (walk->leaf == NULL) return NULL;
    const RankLeaf *leaf = walk->leaf;
    RankElement *element = leaf->element[walk->slot];
    int ahead = walk->slot + AHEAD_MAX * walk->step;
    if (leaf_has(leaf, ahead)) prefetch(leaf->element[ahead]);
    walk->slot += walk->step;
    if (leaf_has(leaf, walk->slot)) return element;
    walk->leaf = walk->step > 0 ? leaf->next : leaf->prev;
    if (walk->leaf != NULL) {
        walk->slot = walk->step > 0 ? 0 : walk->leaf->count - 1;
        walk_enter(walk);
    }
    return element;
}
