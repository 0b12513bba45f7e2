/* list.c: see list.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/list.h"

#include <glib.h>

#include "base/options.h"

/* They stand in images as well: none may change. */
enum { LIST_PACK, LIST_CHAIN };

typedef struct ListChunk {
    struct ListChunk *prev, *next;
    Pack *pack;
    uint32_t id; /* in a list that is kept as pages; 0: none yet */
} ListChunk;

/* Of a list that checkpoints keep as pages. A chunk's record has the id of the next one, so its page is touched when
 * either changes. */
typedef struct ListPages {
    Table table; /* of the chunks, by id */
    uint32_t last_id;
} ListPages;

/* At least two chunks. */
typedef struct Chain {
    uint32_t unused : 30;
    uint32_t kind : 2; /* where a Pack has its own */
    size_t length, chunks;
    ListChunk *head, *tail;
    PageMap *pages;   /* checkpoints keep it as pages; NULL: they don't */
    ListPages *by_id; /* NULL until they do */
} Chain;

/* Chains of so many chunks are numbered (list_keep_numbers): before a checkpoint may want that. */
#define NUMBERED_CHUNKS 8
static bool numbered;

/* A limit on bytes that holds also when options.list_max_ziplist_size counts elements, as in 3.2. */
#define COUNTED_CHUNK_BYTES 8192

static bool is_pack(const List *list)
{
    return ((const Pack *)(const void *)list)->kind == LIST_PACK;
}

/* The block as what it is. */
static Pack *as_pack(const List *list)
{
    return (Pack *)(uintptr_t)list;
}

static Chain *as_chain(const List *list)
{
    return (Chain *)(uintptr_t)list;
}

/* ---- chunks ---- */

static size_t chunk_bytes_max(void)
{
    int64_t size = options.list_max_ziplist_size;
    return size >= 0 ? COUNTED_CHUNK_BYTES : (size_t)2048 << MIN(-size, 5);
}

static bool fits(const Pack *pack, size_t more_bytes, size_t more_elements)
{
    if (options.list_max_ziplist_size > 0 && pack_count(pack) + more_elements > (size_t)options.list_max_ziplist_size) {
        return false;
    }
    return pack->bytes + more_bytes <= chunk_bytes_max();
}

static ListChunk *chunk_new(Pack *pack)
{
    ListChunk *chunk = g_new0(ListChunk, 1);
    chunk->pack = pack;
    return chunk;
}

/* Ids are small numbers: this spreads them over the table and its pages (Knuth's multiplier). */
static uint64_t id_hash(uint64_t id)
{
    return __builtin_bswap64(id * 0x9E3779B97F4A7C15ULL);
}

static uint64_t chunk_hash(const void *chunk)
{
    return id_hash(((const ListChunk *)chunk)->id);
}

/* The chunk, or which one comes next, is about to change. NULL: there's none. */
static void chunk_touch(Chain *chain, const ListChunk *chunk)
{
    if (chain->pages != NULL && chunk != NULL) pages_touch(chain->pages, chunk_hash(chunk));
}

/* A chunk that comes into the chain, or goes. */
static void chunk_enlist(Chain *chain, ListChunk *chunk)
{
    if (chain->by_id == NULL) return;
    chunk->id = ++chain->by_id->last_id;
    g_assert(chunk->id != 0);
    chunk_touch(chain, chunk);
    table_insert(&chain->by_id->table, chunk_hash(chunk), chunk);
}

static void chunk_delist(Chain *chain, const ListChunk *chunk)
{
    if (chain->by_id == NULL) return;
    chunk_touch(chain, chunk);
    uint64_t hash = chunk_hash(chunk);
    table_remove(&chain->by_id->table, hash, table_find_pointer(&chain->by_id->table, hash, chunk));
}

/* The chain's pages, if it has any, go. */
static void drop_pages(Chain *chain)
{
    if (chain->pages != NULL) checkpoint_forget_map(g_steal_pointer(&chain->pages));
    if (chain->by_id == NULL) return;
    table_free(&chain->by_id->table);
    g_clear_pointer(&chain->by_id, g_free);
}

/* Puts a chunk behind another one; `prev` NULL: at the head. */
static void chunk_link(Chain *chain, ListChunk *prev, ListChunk *chunk)
{
    chunk_touch(chain, prev);
    if (chain->by_id != NULL && chain->by_id->last_id == UINT32_MAX) {
        /* All are used up, by a queue that is never empty. It's numbered anew, and all news to checkpoints. */
        drop_pages(chain);
        list_number_chunks((List *)chain);
    }
    if (numbered && chain->chunks == NUMBERED_CHUNKS) list_number_chunks((List *)chain);
    chunk_enlist(chain, chunk);
    chunk->prev = prev;
    chunk->next = prev == NULL ? chain->head : prev->next;
    *(chunk->prev == NULL ? &chain->head : &chunk->prev->next) = chunk;
    *(chunk->next == NULL ? &chain->tail : &chunk->next->prev) = chunk;
    chain->chunks++;
}

/* Takes a chunk out and frees it, but not its pack. */
static void chunk_unlink(Chain *chain, ListChunk *chunk)
{
    chunk_touch(chain, chunk->prev);
    chunk_delist(chain, chunk);
    *(chunk->prev == NULL ? &chain->head : &chunk->prev->next) = chunk->next;
    *(chunk->next == NULL ? &chain->tail : &chunk->next->prev) = chunk->prev;
    chain->chunks--;
    g_free(chunk);
}

/* Drops a chunk if it has become empty. */
static bool chunk_drop_empty(Chain *chain, ListChunk *chunk)
{
    if (chunk->pack->bytes > sizeof(Pack)) return false;
    pack_free(chunk->pack);
    chunk_unlink(chain, chunk);
    return true;
}

/* Moves the next chunk's elements into this one (NULL, or the last: nothing happens), if the two together leave room to
 * grow. */
static void chunk_join_next(Chain *chain, ListChunk *chunk)
{
    if (chunk == NULL || chunk->next == NULL) return;
    ListChunk *next = chunk->next;
    if (!fits(chunk->pack, next->pack->bytes + chunk_bytes_max() / 2, pack_count(next->pack))) return;
    chunk_touch(chain, chunk);
    chunk_touch(chain, next);
    chunk->pack = pack_join(chunk->pack, next->pack);
    chunk_unlink(chain, next);
}

/* ---- small and big ---- */

/* The list as a chain, made into one of a single chunk if it's a pack; list_normalize is due afterwards. */
static Chain *make_chain(List **list)
{
    if (!is_pack(*list)) return as_chain(*list);
    Chain *chain = g_new0(Chain, 1);
    chain->kind = LIST_CHAIN;
    chain->length = pack_count(as_pack(*list));
    chunk_link(chain, NULL, chunk_new(as_pack(*list)));
    *list = (List *)chain;
    return chain;
}

/* A chain of one chunk becomes its pack again, and one of none an empty pack. */
static void list_normalize(List **list)
{
    if (is_pack(*list) || as_chain(*list)->chunks > 1) return;
    Chain *chain = as_chain(*list);
    drop_pages(chain);
    Pack *pack = chain->head == NULL ? pack_new(LIST_PACK) : chain->head->pack;
    g_free(chain->head);
    g_free(chain);
    *list = (List *)pack;
}

List *list_new(void)
{
    return (List *)pack_new(LIST_PACK);
}

void list_free(List *list)
{
    if (is_pack(list)) {
        pack_free(as_pack(list));
        return;
    }
    drop_pages(as_chain(list));
    for (ListChunk *chunk = as_chain(list)->head; chunk != NULL;) {
        ListChunk *next = chunk->next;
        pack_free(chunk->pack);
        g_free(chunk);
        chunk = next;
    }
    g_free(list);
}

bool list_free_some(List *list, size_t chunks)
{
    if (is_pack(list)) {
        pack_free(as_pack(list));
        return false;
    }
    Chain *chain = as_chain(list);
    drop_pages(chain);
    for (ListChunk *chunk; chunks > 0 && (chunk = chain->head) != NULL; chunks--) {
        pack_free(chunk->pack);
        chunk_unlink(chain, chunk);
    }
    if (chain->head != NULL) return true;
    g_free(chain);
    return false;
}

size_t list_length(const List *list)
{
    return is_pack(list) ? pack_count(as_pack(list)) : as_chain(list)->length;
}

size_t list_bytes(const List *list)
{
    if (is_pack(list)) return pack_bytes(as_pack(list));
    size_t bytes = sizeof(Chain);
    for (const ListChunk *c = as_chain(list)->head; c != NULL; c = c->next)
        bytes += sizeof(*c) + pack_bytes(c->pack);
    return bytes;
}

size_t list_chunks(const List *list)
{
    return is_pack(list) ? 1 : as_chain(list)->chunks;
}

const char *list_encoding(const List *list)
{
    (void)list;
    return "quicklist";
}

/* ---- places ---- */

/* A place in the list: a chunk (NULL: the list is one pack) and an index in its pack. */
typedef struct Place {
    ListChunk *chunk;
    size_t index;
} Place;

static Place place_of(const List *list, size_t index)
{
    if (is_pack(list)) return (Place){ NULL, index };
    const Chain *chain = as_chain(list);
    ListChunk *chunk;
    if (index < chain->length / 2) {
        for (chunk = chain->head; index >= pack_count(chunk->pack); chunk = chunk->next)
            index -= pack_count(chunk->pack);
        return (Place){ chunk, index };
    }
    size_t behind = chain->length - index; /* elements from the place to the end */
    for (chunk = chain->tail; behind > pack_count(chunk->pack); chunk = chunk->prev)
        behind -= pack_count(chunk->pack);
    return (Place){ chunk, pack_count(chunk->pack) - behind };
}

static Pack *pack_at_place(const List *list, Place place)
{
    return place.chunk == NULL ? as_pack(list) : place.chunk->pack;
}

/* Where the pointer to the pack of a chunk (NULL: of a small list) is kept. */
static Pack **pack_slot(List **list, ListChunk *chunk)
{
    return chunk == NULL ? (Pack **)(void *)list : &chunk->pack;
}

PackValue list_get(const List *list, size_t index)
{
    Place place = place_of(list, index);
    const Pack *pack = pack_at_place(list, place);
    return pack_get(pack, pack_at(pack, (int64_t)place.index));
}

/* ---- walking ---- */

ListWalk list_walk(const List *list, size_t start, ListEnd towards)
{
    ListWalk walk = { .backwards = towards == LIST_HEAD };
    if (start >= list_length(list)) return walk;
    Place place = place_of(list, start);
    walk.chunk = place.chunk;
    walk.pack = pack_at_place(list, place);
    walk.pos = pack_at(walk.pack, (int64_t)place.index);
    return walk;
}

bool list_next(ListWalk *walk, PackValue *value)
{
    if (walk->pos == 0) {
        if (walk->chunk == NULL) return false;
        walk->chunk = walk->backwards ? walk->chunk->prev : walk->chunk->next;
        if (walk->chunk == NULL) return false;
        walk->pack = walk->chunk->pack;
        walk->pos = walk->backwards ? pack_last(walk->pack) : pack_first(walk->pack);
    }
    *value = pack_get(walk->pack, walk->pos);
    walk->pos = walk->backwards ? pack_prev(walk->pack, walk->pos) : pack_next(walk->pack, walk->pos);
    return true;
}

/* ---- changing ---- */

static Pack *push_into(Pack *pack, ListEnd end, Slice text)
{
    return end == LIST_HEAD ? pack_prepend(pack, text) : pack_append(pack, text);
}

void list_push(List **list, ListEnd end, Slice text)
{
    size_t bytes = pack_element_bytes(text);
    if (is_pack(*list) && (list_length(*list) == 0 || fits(as_pack(*list), bytes, 1))) {
        *list = (List *)push_into(as_pack(*list), end, text);
        return;
    }
    Chain *chain = make_chain(list);
    ListChunk *chunk = end == LIST_HEAD ? chain->head : chain->tail;
    if (!fits(chunk->pack, bytes, 1)) {
        ListChunk *fresh = chunk_new(pack_new(LIST_PACK));
        chunk_link(chain, end == LIST_HEAD ? NULL : chunk, fresh);
        chunk = fresh;
    }
    chunk_touch(chain, chunk);
    chunk->pack = push_into(chunk->pack, end, text);
    chain->length++;
}

/* Cuts a chunk in two before pos; the second part is the next chunk. */
static void chunk_split(Chain *chain, ListChunk *chunk, PackPos pos)
{
    Pack *tail;
    chunk_touch(chain, chunk);
    chunk->pack = pack_split(chunk->pack, pos, &tail);
    chunk_link(chain, chunk, chunk_new(tail));
}

/* The chunk for an element between `prev` (NULL: the head) and the next chunk, which is one of these if it has room;
 * and the element's place there. Or else every insertion between two full chunks would add a chunk. */
static ListChunk *chunk_between(Chain *chain, ListChunk *prev, size_t bytes, PackPos *pos)
{
    ListChunk *next = prev == NULL ? chain->head : prev->next;
    *pos = 0;
    if (prev != NULL && fits(prev->pack, bytes, 1)) return prev;
    if (next != NULL && fits(next->pack, bytes, 1)) {
        *pos = pack_first(next->pack);
        return next;
    }
    ListChunk *fresh = chunk_new(pack_new(LIST_PACK));
    chunk_link(chain, prev, fresh);
    return fresh;
}

/* Inserts a text before pos (0: at the end) of a chunk (NULL: of a small list). */
static void insert_at(List **list, ListChunk *chunk, PackPos pos, Slice text)
{
    size_t bytes = pack_element_bytes(text);
    Pack **slot = pack_slot(list, chunk);
    if (!fits(*slot, bytes, 1)) {
        Chain *chain = make_chain(list);
        if (chunk == NULL) chunk = chain->head;
        bool at_start = pos == pack_first(chunk->pack);
        if (pos != 0 && !at_start) chunk_split(chain, chunk, pos);
        chunk = chunk_between(chain, at_start ? chunk->prev : chunk, bytes, &pos);
        slot = &chunk->pack;
    }
    if (!is_pack(*list)) {
        chunk_touch(as_chain(*list), chunk);
        as_chain(*list)->length++;
    }
    *slot = pack_insert(*slot, pos, text);
}

void list_set(List **list, size_t index, Slice text)
{
    Place place = place_of(*list, index);
    Pack **slot = pack_slot(list, place.chunk);
    PackPos pos = pack_at(*slot, (int64_t)place.index);
    if (pack_count(*slot) == 1 || fits(*slot, pack_element_bytes(text), 0)) {
        if (place.chunk != NULL) chunk_touch(as_chain(*list), place.chunk);
        *slot = pack_replace(*slot, pos, text);
        return;
    }
    /* The longer text would overfill the chunk: it's inserted, which splits the chunk, and the old one behind it goes.
     */
    insert_at(list, place.chunk, pos, text);
    list_remove_range(list, index + 1, 1);
}

void list_remove_range(List **list, size_t start, size_t count)
{
    if (count == 0) return;
    if (is_pack(*list)) {
        Pack *pack = as_pack(*list);
        *list = (List *)pack_remove(pack, pack_at(pack, (int64_t)start), (uint32_t)count);
        return;
    }
    Chain *chain = as_chain(*list);
    Place place = place_of(*list, start);
    chain->length -= count;
    for (ListChunk *chunk = place.chunk, *next; count > 0; chunk = next, place.index = 0) {
        next = chunk->next;
        size_t here = MIN(count, pack_count(chunk->pack) - place.index);
        count -= here;
        chunk_touch(chain, chunk);
        chunk->pack = pack_remove(chunk->pack, pack_at(chunk->pack, (int64_t)place.index), (uint32_t)here);
        if (chunk_drop_empty(chain, chunk) || count > 0) continue;
        /* This was the last one, so that neither neighbour is visited any more. */
        chunk_join_next(chain, chunk);
        chunk_join_next(chain, chunk->prev);
    }
    list_normalize(list);
}

/* Removes up to `limit` equal elements of one pack. */
static size_t pack_remove_equal(Pack **slot, Slice text, size_t limit, ListEnd from)
{
    size_t removed = 0;
    if (from == LIST_HEAD) {
        PackPos pos = pack_first(*slot);
        while (removed < limit && pos != 0 && pos < (*slot)->bytes && (pos = pack_find(*slot, pos, text, 0)) != 0) {
            *slot = pack_remove(*slot, pos, 1);
            removed++;
        }
        return removed;
    }
    for (PackPos pos = pack_last(*slot), prev; removed < limit && pos != 0; pos = prev) {
        prev = pack_prev(*slot, pos);
        if (!pack_equals(*slot, pos, text)) continue;
        *slot = pack_remove(*slot, pos, 1);
        removed++;
    }
    return removed;
}

size_t list_remove_equal(List **list, Slice text, size_t limit, ListEnd from)
{
    if (is_pack(*list)) return pack_remove_equal(pack_slot(list, NULL), text, limit, from);
    Chain *chain = as_chain(*list);
    size_t removed = 0;
    ListChunk *chunk = from == LIST_HEAD ? chain->head : chain->tail, *further;
    for (; chunk != NULL && removed < limit; chunk = further) {
        if (pack_find(chunk->pack, pack_first(chunk->pack), text, 0) != 0) chunk_touch(chain, chunk);
        size_t here = pack_remove_equal(&chunk->pack, text, limit - removed, from);
        removed += here;
        further = from == LIST_HEAD ? chunk->next : chunk->prev;
        if (here == 0 || chunk_drop_empty(chain, chunk)) continue;
        /* With the neighbour that was visited already. */
        chunk_join_next(chain, from == LIST_HEAD ? chunk->prev : chunk);
    }
    chain->length -= removed;
    list_normalize(list);
    return removed;
}

bool list_insert(List **list, Slice pivot, Slice text, bool behind)
{
    ListChunk *chunk = is_pack(*list) ? NULL : as_chain(*list)->head;
    do {
        const Pack *pack = *pack_slot(list, chunk);
        PackPos first = pack_first(pack), pos = first == 0 ? 0 : pack_find(pack, first, pivot, 0);
        if (pos != 0) {
            insert_at(list, chunk, behind ? pack_next(pack, pos) : pos, text);
            return true;
        }
        chunk = chunk == NULL ? NULL : chunk->next;
    } while (chunk != NULL);
    return false;
}

/* ---- as bytes ---- */

ListChunk *list_first_chunk(const List *list)
{
    return is_pack(list) ? NULL : as_chain(list)->head;
}

ListChunk *list_next_chunk(const ListChunk *chunk)
{
    return chunk->next;
}

const Pack *list_chunk_pack(const ListChunk *chunk)
{
    return chunk->pack;
}

/* The bytes of the list's packs as images have them. Those of all of a big list are told from its first `chunks_max`
 * chunks. */
static size_t packs_bytes(const List *list, size_t chunks_max)
{
    if (is_pack(list)) return pack_encoded_bytes_max(as_pack(list));
    size_t bytes = 0, seen = 0;
    for (const ListChunk *c = as_chain(list)->head; c != NULL && seen < chunks_max; c = c->next, seen++)
        bytes += pack_encoded_bytes_max(c->pack);
    return seen == 0 || seen == as_chain(list)->chunks ? bytes : bytes / seen * as_chain(list)->chunks;
}

/* Chunks looked at to tell how big a list is. */
#define SAMPLE_CHUNKS 16

size_t list_encoded_bytes_about(const List *list)
{
    return 1 + (is_pack(list) ? 0 : image_varint_bytes(as_chain(list)->chunks)) + packs_bytes(list, SAMPLE_CHUNKS);
}

void list_encode(const List *list, Image *image)
{
    if (is_pack(list)) {
        image_put_varint(image, LIST_PACK);
        pack_encode(as_pack(list), image);
        return;
    }
    image_put_varint(image, LIST_CHAIN);
    image_put_varint(image, as_chain(list)->chunks);
    for (const ListChunk *c = as_chain(list)->head; c != NULL; c = c->next)
        pack_encode(c->pack, image);
}

bool list_decode_chunk(List **list, Slice *in)
{
    Pack *pack = pack_decode(in, LIST_PACK, 0);
    if (pack == NULL) return false;
    if (list_length(*list) == 0) {
        list_free(*list);
        *list = (List *)pack;
        return true;
    }
    Chain *chain = make_chain(list);
    chunk_link(chain, chain->tail, chunk_new(pack));
    chain->length += pack_count(pack);
    return true;
}

List *list_decode(Slice bytes)
{
    uint64_t kind, chunks = 1;
    if (!image_get_varint(&bytes, &kind) || kind > LIST_CHAIN) return NULL;
    if (kind == LIST_CHAIN && (!image_get_varint(&bytes, &chunks) || chunks < 2)) return NULL;
    List *list = list_new();
    while (chunks > 0 && list_decode_chunk(&list, &bytes))
        chunks--;
    if (chunks == 0 && bytes.len == 0) return list;
    list_free(list);
    return NULL;
}

/* ---- checkpoints ---- */

bool list_paged(const List *list, PagedValue *paged)
{
    if (is_pack(list)) return false;
    Chain *chain = as_chain(list);
    *paged = (PagedValue){ chain->by_id == NULL ? NULL : &chain->by_id->table, &chain->pages, PAGE_CHUNKS };
    return true;
}

void list_keep_numbers(void)
{
    numbered = true;
}

void list_number_chunks(List *list)
{
    Chain *chain = as_chain(list);
    g_assert(!is_pack(list));
    if (chain->by_id != NULL) return;
    chain->by_id = g_new0(ListPages, 1);
    table_init(&chain->by_id->table, chunk_hash);
    for (ListChunk *chunk = chain->head; chunk != NULL; chunk = chunk->next)
        chunk_enlist(chain, chunk);
}

void list_chunk_encode_head(const ListChunk *chunk, Image *image)
{
    image_put_varint(image, chunk->id);
    image_put_varint(image, chunk->next == NULL ? 0 : chunk->next->id);
    pack_encode_head(chunk->pack, image);
}

Slice list_chunk_block(const ListChunk *chunk)
{
    return pack_elements(chunk->pack);
}

List *list_new_big(void)
{
    Chain *chain = g_new0(Chain, 1);
    chain->kind = LIST_CHAIN;
    chain->by_id = g_new0(ListPages, 1);
    table_init(&chain->by_id->table, chunk_hash);
    return (List *)chain;
}

bool list_read_paged_chunk(Slice *in, uint32_t *id, uint32_t *next, Pack **pack)
{
    uint64_t first, second;
    if (!image_get_varint(in, &first) || first == 0 || first > UINT32_MAX) return false;
    if (!image_get_varint(in, &second) || second > UINT32_MAX) return false;
    *id = (uint32_t)first;
    *next = (uint32_t)second;
    *pack = pack_decode(in, LIST_PACK, 0);
    return *pack != NULL;
}

/* While a list is loaded, its chunks' `next` holds an id, and they are linked by `prev` in the order in which they
 * came.
 */
bool list_decode_paged_chunk(List *list, Slice *in, uint64_t *hash)
{
    Chain *chain = as_chain(list);
    uint32_t id, next;
    Pack *pack;
    if (!list_read_paged_chunk(in, &id, &next, &pack)) return false;
    ListChunk *chunk = chunk_new(pack);
    chunk->id = id;
    chunk->next = GSIZE_TO_POINTER((gsize)next);
    chunk->prev = chain->head;
    chain->head = chunk;
    chain->chunks++;
    chain->length += pack_count(pack);
    chain->by_id->last_id = MAX(chain->by_id->last_id, chunk->id);
    *hash = chunk_hash(chunk);
    table_insert(&chain->by_id->table, *hash, chunk);
    return pack_count(pack) > 0;
}

static bool chunk_has_id(const void *chunk, Slice id)
{
    return memcmp(&((const ListChunk *)chunk)->id, id.ptr, id.len) == 0;
}

static ListChunk *chunk_by_id(const Chain *chain, uint32_t id)
{
    Slice key = { (const char *)&id, sizeof(id) };
    void **slot = table_find(&chain->by_id->table, id_hash(id), key, chunk_has_id);
    return slot == NULL ? NULL : *slot;
}

/* The chunk that no other is followed by; NULL unless there's exactly one, and every next one is there. */
static ListChunk *find_head(const Chain *chain)
{
    g_autoptr(GHashTable) followed = g_hash_table_new(g_direct_hash, g_direct_equal);
    for (const ListChunk *chunk = chain->head; chunk != NULL; chunk = chunk->prev) {
        gsize next = GPOINTER_TO_SIZE(chunk->next);
        if (next == 0) continue;
        ListChunk *follower = chunk_by_id(chain, (uint32_t)next);
        if (follower == NULL || !g_hash_table_add(followed, follower)) return NULL;
    }
    if (g_hash_table_size(followed) + 1 != chain->chunks) return NULL;
    for (ListChunk *chunk = chain->head; chunk != NULL; chunk = chunk->prev) {
        if (!g_hash_table_contains(followed, chunk)) return chunk;
    }
    return NULL;
}

/* Links all chunks in whatever order, for freeing: they don't make a list. */
static void link_anyhow(Chain *chain)
{
    ListChunk *before = NULL;
    for (ListChunk *chunk = chain->head, *following; chunk != NULL; before = chunk, chunk = following) {
        following = chunk->prev;
        chunk->prev = before;
        chunk->next = following;
    }
    chain->tail = before;
}

bool list_link_paged(List *list)
{
    Chain *chain = as_chain(list);
    ListChunk *head = chain->chunks < 2 ? NULL : find_head(chain);
    if (head == NULL) {
        link_anyhow(chain);
        return false;
    }
    size_t linked = 1;
    ListChunk *last = head, *all = chain->head;
    GPtrArray *order = g_ptr_array_new();
    g_ptr_array_add(order, head);
    for (gsize next; (next = GPOINTER_TO_SIZE(last->next)) != 0 && linked < chain->chunks; linked++) {
        last = chunk_by_id(chain, (uint32_t)next);
        g_ptr_array_add(order, last);
    }
    if (linked != chain->chunks || last->next != NULL) { /* a ring beside the chain */
        g_ptr_array_free(order, TRUE);
        chain->head = all;
        link_anyhow(chain);
        return false;
    }
    for (guint i = 0; i < order->len; i++) {
        ListChunk *chunk = order->pdata[i];
        chunk->prev = i == 0 ? NULL : order->pdata[i - 1];
        chunk->next = i + 1 == order->len ? NULL : order->pdata[i + 1];
    }
    chain->head = head;
    chain->tail = last;
    g_ptr_array_free(order, TRUE);
    return true;
}
