/* rdbcheckpoint.c: a checkpoint file's keys into an RDB file: see rdb.h.
 *
 * Design. One walk over the records in the order in which gdbm has them, as loading does, but each key is written as
 * soon as it's decoded. What an image refers to is fetched there and then: the pages of a big collection one after the
 * other. The chunks of a big list lie in pages by the hash of their numbers, so their order is found first, and each is
 * fetched again when its turn comes. Pages of several databases lie among each other, so the file selects a database
 * again whenever it changes. No function here knows a keyspace or the hash's secret, so it may run in any thread.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "store/hash.h"
#include "store/image.h"
#include "store/list.h"
#include "store/pagefile.h"
#include "store/ranktree.h"
#include "store/rdbformat.h"
#include "store/record.h"
#include "store/set.h"
#include "store/zset.h"

#define PROGRESS_RECORDS 256 /* between two calls */

typedef struct Stream {
    RdbWriter *writer;
    PageFile *file;
    const char *path;
    const CheckpointInfo *info;
    uint64_t records, sum, keys;
    int db;      /* selected last; -1: none */
    char *error; /* NULL: nothing is wrong */
} Stream;

static bool damaged(Stream *s, const char *what)
{
    if (s->error == NULL) s->error = g_strdup_printf("%s: %s", s->path, what);
    return false;
}

/* To be freed by forget. ptr NULL: there's no such record, or s->error. `counts`: it's read for the first time. */
static Slice fetch(Stream *s, Slice key, bool counts)
{
    Slice payload = pagefile_get(s->file, key, &s->error);
    if (payload.ptr == NULL || !counts) return payload;
    uint64_t checksum;
    memcpy(&checksum, payload.ptr + payload.len, sizeof(checksum));
    s->records++;
    s->sum += pagefile_sum(checksum);
    return payload;
}

static void forget(Slice payload)
{
    free((void *)(uintptr_t)payload.ptr);
}

/* ---- values ---- */

static void free_object(ValueType type, void *object)
{
    switch (type) {
    case TYPE_LIST: list_free(object); return;
    case TYPE_SET: set_free(object); return;
    case TYPE_HASH: hash_free(object); return;
    case TYPE_ZSET: zset_free(object); return;
    case TYPE_STRING: return;
    }
}

static void put_key(Stream *s, const ImageHead *head)
{
    s->keys++;
    rdb_put_key(s->writer, head->type, head->key, head->expires ? head->deadline_ms : -1);
}

/* A value that is in one piece, as image_put_value wrote it, without the length. */
static bool put_value(Stream *s, const ImageHead *head, Slice bytes)
{
    put_key(s, head);
    if (head->type == TYPE_STRING) {
        if (!image_string_valid(head->encoding, bytes)) return false;
        char digits[NUMBER_INT_CHARS];
        int64_t number;
        if (head->encoding == STRING_INT) {
            memcpy(&number, bytes.ptr, sizeof(number));
            bytes = (Slice){ digits, number_format_int(digits, number) };
        }
        rdb_put_string(s->writer, bytes);
        return true;
    }
    Entry entry = { .type = head->type, .object = image_get_object(head->type, bytes) };
    if (entry.object == NULL) return false;
    rdb_put_value(s->writer, &entry);
    free_object(head->type, entry.object);
    return true;
}

static bool put_large(Stream *s, const ImageHead *head)
{
    RecordKey key = record_value(head->id >> 6);
    Slice payload = fetch(s, record_slice(&key), true), in = payload, bytes;
    if (payload.ptr == NULL) return damaged(s, "a value's record is missing");
    bool good = image_get_slice(&in, &bytes) && in.len == 0 && put_value(s, head, bytes);
    forget(payload);
    return good;
}

/* ---- big sets, hashes and sorted sets: their elements, page by page ---- */

static bool put_ranked(Stream *s, Slice *in)
{
    g_autofree RankElement *element = rank_element_decode(in);
    if (element == NULL) return false;
    rdb_put_string(s->writer, rank_member(element));
    rdb_put_score(s->writer, element->score);
    return true;
}

static bool put_element(Stream *s, ValueType type, Slice *in)
{
    Slice text[2];
    if (type == TYPE_ZSET) return put_ranked(s, in);
    for (int i = 0; i < (type == TYPE_HASH ? 2 : 1); i++) {
        if (!image_get_slice(in, &text[i])) return false;
        rdb_put_string(s->writer, text[i]);
    }
    return true;
}

static RecordKey page_of(const ImageHead *head, uint64_t page)
{
    return record_page(PAGE_ELEMENTS, head->id >> 6, head->id & RECORD_VALUE_BITS, page);
}

static uint64_t pages_of(const ImageHead *head)
{
    return 1ULL << (head->id & RECORD_VALUE_BITS);
}

static bool put_elements(Stream *s, const ImageHead *head)
{
    uint64_t elements = 0;
    put_key(s, head);
    rdb_put_length(s->writer, head->count);
    for (uint64_t page = 0; page < pages_of(head) && !rdb_writer_failed(s->writer); page++) {
        RecordKey key = page_of(head, page);
        Slice payload = fetch(s, record_slice(&key), true), in = payload;
        bool good = s->error == NULL;
        for (; good && in.len > 0; elements++)
            good = put_element(s, head->type, &in);
        forget(payload);
        if (!good) return false;
    }
    return elements == head->count || rdb_writer_failed(s->writer);
}

/* ---- big lists ---- */

typedef struct Chunk {
    uint32_t id, next; /* next 0: the last one */
    uint32_t page;
    bool follows; /* another one names it as its next */
} Chunk;

/* Reads all pages once: the chunks, and how many elements they have. */
static bool collect_chunks(Stream *s, const ImageHead *head, GArray *chunks, uint64_t *elements)
{
    for (uint64_t page = 0; page < pages_of(head); page++) {
        RecordKey key = page_of(head, page);
        Slice payload = fetch(s, record_slice(&key), true), in = payload;
        bool good = s->error == NULL;
        while (good && in.len > 0) {
            Chunk chunk = { .page = (uint32_t)page };
            Pack *pack;
            good = list_read_paged_chunk(&in, &chunk.id, &chunk.next, &pack);
            if (!good) break;
            *elements += pack_count(pack);
            g_array_append_val(chunks, chunk);
            pack_free(pack);
        }
        forget(payload);
        if (!good) return false;
    }
    return chunks->len == head->count && chunks->len > 0;
}

static int compare_chunks(gconstpointer a, gconstpointer b)
{
    uint32_t first = ((const Chunk *)a)->id, second = ((const Chunk *)b)->id;
    return (first > second) - (first < second);
}

static Chunk *find_chunk(GArray *chunks, uint32_t id)
{
    guint place;
    Chunk wanted = { .id = id };
    if (id == 0 || !g_array_binary_search(chunks, &wanted, compare_chunks, &place)) return NULL;
    return &g_array_index(chunks, Chunk, place);
}

/* The first chunk, or NULL: they aren't one chain. */
static Chunk *find_head(GArray *chunks)
{
    g_array_sort(chunks, compare_chunks);
    Chunk *all = (Chunk *)(void *)chunks->data;
    g_assert(all != NULL);
    for (guint i = 0; i < chunks->len; i++) {
        Chunk *next = find_chunk(chunks, all[i].next);
        if (all[i].next != 0 && (next == NULL || next->follows)) return NULL;
        if (next != NULL) next->follows = true;
    }
    for (guint i = 0; i < chunks->len; i++) {
        if (!all[i].follows) return &all[i];
    }
    return NULL;
}

static void put_pack(Stream *s, const Pack *pack)
{
    char digits[NUMBER_INT_CHARS];
    for (PackPos pos = pack_first(pack); pos != 0; pos = pack_next(pack, pos))
        rdb_put_string(s->writer, pack_text(pack, pos, digits));
}

/* Finds the chunk in its page. */
static bool put_chunk(Stream *s, const ImageHead *head, const Chunk *wanted)
{
    RecordKey key = page_of(head, wanted->page);
    Slice payload = fetch(s, record_slice(&key), false), in = payload;
    bool found = false;
    while (!found && in.len > 0) {
        uint32_t id, next;
        Pack *pack;
        if (!list_read_paged_chunk(&in, &id, &next, &pack)) break;
        found = id == wanted->id;
        if (found) put_pack(s, pack);
        pack_free(pack);
    }
    forget(payload);
    return found;
}

static bool put_list(Stream *s, const ImageHead *head)
{
    g_autoptr(GArray) chunks = g_array_new(FALSE, FALSE, sizeof(Chunk));
    uint64_t elements = 0;
    if (!collect_chunks(s, head, chunks, &elements)) return false;
    put_key(s, head);
    rdb_put_length(s->writer, elements);
    guint left = chunks->len;
    for (const Chunk *chunk = find_head(chunks); chunk != NULL; chunk = find_chunk(chunks, chunk->next), left--) {
        if (rdb_writer_failed(s->writer)) return true;
        if (!put_chunk(s, head, chunk)) return false;
    }
    return left == 0; /* a ring beside the chain would be left */
}

/* ---- pages of databases ---- */

static bool put_image(Stream *s, Slice *in)
{
    ImageHead head;
    if (!image_get_head(in, &head)) return false;
    if (head.form == IMAGE_INLINE) {
        Slice bytes;
        return image_get_slice(in, &bytes) && put_value(s, &head, bytes);
    }
    unsigned bits = head.id & RECORD_VALUE_BITS;
    if (bits == RECORD_VALUE_BITS) return put_large(s, &head);
    if (bits > 31 || head.type == TYPE_STRING || head.count == 0 || head.count > s->info->file_bytes) return false;
    return head.type == TYPE_LIST ? put_list(s, &head) : put_elements(s, &head);
}

static bool put_page(Stream *s, Slice key)
{
    uint16_t db;
    unsigned bits;
    uint32_t page;
    if (!record_get_page(key, &db, &bits, &page)) return false;
    if (db != s->db) rdb_write_db(s->writer, db, -1, -1);
    s->db = db;
    Slice payload = fetch(s, key, true), in = payload;
    bool good = payload.ptr != NULL;
    while (good && in.len > 0 && !rdb_writer_failed(s->writer))
        good = put_image(s, &in);
    forget(payload);
    return good;
}

/* ---- the whole file ---- */

static bool put_databases(Stream *s)
{
    Slice payload = fetch(s, RECORD_DATABASES, true), in = payload;
    if (payload.ptr == NULL) return false;
    bool good = true;
    while (good && in.len > 0) {
        uint64_t index, keys, bits;
        good = image_get_varint(&in, &index) && image_get_varint(&in, &keys) && image_get_varint(&in, &bits) &&
               index <= UINT16_MAX && keys <= s->info->keys;
        if (!good) break;
        s->db = (int)index;
        rdb_write_db(s->writer, s->db, (int64_t)keys, 0);
    }
    forget(payload);
    return good;
}

static bool put_pages(Stream *s, RdbProgress progress, void *context)
{
    Slice key = { NULL, 0 };
    bool good = true;
    for (uint64_t told = 0; good && !rdb_writer_failed(s->writer) && pagefile_next(s->file, &key, &s->error);) {
        if (!record_is(key, RECORD_PAGE)) continue; /* fetched when something refers to it */
        good = s->records <= s->info->records && put_page(s, key);
        if (progress == NULL || s->records - told < PROGRESS_RECORDS) continue;
        told = s->records;
        progress(context, MIN(1.0, (double)told / (double)MAX(s->info->records, 1)));
    }
    free((void *)(uintptr_t)key.ptr);
    return good && s->error == NULL;
}

static bool is_whole(const Stream *s)
{
    return s->records == s->info->records && s->sum == s->info->sum && s->keys == s->info->keys;
}

char *rdb_write_checkpoint(RdbWriter *writer, const char *path, const CheckpointInfo *info, RdbProgress progress,
                           void *context)
{
    Stream s = { .writer = writer, .path = path, .info = info, .db = -1 };
    s.file = pagefile_open(path, PAGEFILE_READ, 0, &s.error);
    if (s.file == NULL) return s.error;
    bool good = put_databases(&s) && put_pages(&s, progress, context);
    if (rdb_writer_failed(writer)) {
        g_free(s.error);
        s.error = g_strdup("the RDB file can't be written on");
    } else if (!good) {
        damaged(&s, "a record of it is damaged");
    } else if (!is_whole(&s)) {
        damaged(&s, "its records aren't those that the manifest promises");
    }
    pagefile_abandon(s.file);
    return s.error;
}
