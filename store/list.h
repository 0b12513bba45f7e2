/* list.h: a value of type list. The commands call it, on entries they got from the keyspace.
 *
 * Design. Small: one pack. Big: a doubly linked chain of chunks, each a pack of up to options.list_max_ziplist_size (in
 * 3.2's sense: -1 to -5 for 4 to 64 kB, positive for a number of elements; longer elements have a chunk to themselves).
 * So pushing and popping touch one chunk at an end, an index is found chunk by chunk from the nearer end, and nothing
 * moves more than one chunk's bytes. A list that is left with one chunk is small again. What a List pointer points to
 * is one block whose kind byte says which; it may move when the list changes, so whatever changes it takes a pointer to
 * the pointer.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef CKV_STORE_LIST_H
#define CKV_STORE_LIST_H

#include "store/entry.h"
#include "store/pack.h"
#include "store/pages.h"

/* The two ends, also as directions: from the head on, from the tail back. */
typedef enum ListEnd { LIST_HEAD, LIST_TAIL } ListEnd;

List *list_new(void);
/* O(chunks). */
void list_free(List *list);
/* The same in slices of so many chunks. True while something is left, of which only list_chunks and
 * list_encoded_bytes_about may be asked. */
bool list_free_some(List *list, size_t chunks);

size_t list_length(const List *list);
/* Memory held. */
size_t list_bytes(const List *list);
/* How many packs it is held in. */
size_t list_chunks(const List *list);
/* OBJECT ENCODING's word: always "quicklist". */
const char *list_encoding(const List *list);

/* The text mustn't lie in the list, here and below. */
void list_push(List **list, ListEnd end, Slice text);

/* The element at a place from 0 to length - 1, good until the list changes. O(chunks to the nearer end). */
PackValue list_get(const List *list, size_t index);
void list_set(List **list, size_t index, Slice text);

/* Removes `count` elements from `start` on, all of which must be there. */
void list_remove_range(List **list, size_t start, size_t count);

/* Removes up to `limit` elements equal to text, searching from that end; returns how many there were. O(N). */
size_t list_remove_equal(List **list, Slice text, size_t limit, ListEnd from);

/* Inserts before or behind the first element equal to pivot; false: there's none. O(N). */
bool list_insert(List **list, Slice pivot, Slice text, bool behind);

/* A walk on the caller's stack from a place on (which may be the length: nothing) in either direction; the list mustn't
 * change until it ends. */
typedef struct ListWalk {
    const struct ListChunk *chunk; /* NULL: the list is one pack */
    const Pack *pack;
    PackPos pos;
    bool backwards;
} ListWalk;

ListWalk list_walk(const List *list, size_t start, ListEnd towards);
/* False at the end. */
bool list_next(ListWalk *walk, PackValue *value);

/* The list as bytes (see image.h), and back, chunk for chunk: NULL if they're damaged. And about how many there will
 * be, which takes the same time for any list. */
size_t list_encoded_bytes_about(const List *list);
void list_encode(const List *list, Image *image);
List *list_decode(Slice bytes);

/* The chunks of a big list, each of which pack_encode makes bytes of. NULL: the list is small; there's no further one.
 */
struct ListChunk *list_first_chunk(const List *list);
struct ListChunk *list_next_chunk(const struct ListChunk *chunk);
const Pack *list_chunk_pack(const struct ListChunk *chunk);
/* Adds a chunk from its bytes at the tail; the first one takes the place of an empty list. False: they're damaged. */
bool list_decode_chunk(List **list, Slice *in);

/* For checkpoints: the table of a big list's chunks (NULL before list_number_chunks, which is O(chunks)); false: it
 * isn't big. The bytes of one of them: a head, and its block's. And a list from such chunks: an empty one, a chunk from
 * its bytes, with the hash that says in which page it belongs (false: they're damaged), in any order, and the linking
 * of all when they're there (false: they don't make a list; it can still be freed). */
#define LIST_CHUNK_HEAD_BYTES_MAX 28
bool list_paged(const List *list, PagedValue *paged);
void list_number_chunks(List *list);
/* From now on each list's chunks are numbered as they come, so that that never takes long. */
void list_keep_numbers(void);
void list_chunk_encode_head(const struct ListChunk *chunk, Image *image);
Slice list_chunk_block(const struct ListChunk *chunk);
List *list_new_big(void);
bool list_decode_paged_chunk(List *list, Slice *in, uint64_t *hash);
/* Such a chunk alone: its number, that of the one behind it (0: none), and its pack, which the caller frees. */
bool list_read_paged_chunk(Slice *in, uint32_t *id, uint32_t *next, Pack **pack);
bool list_link_paged(List *list);

#endif
