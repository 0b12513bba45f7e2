/* pagesort.c: see pagesort.h.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/pagesort.h"

#include <errno.h>
#include <fcntl.h>

#include "base/clock.h"
#include "store/checkpointfile.h"
#include "store/checkpointwriter.h"
#include "store/grave.h"
#include "store/io.h"
#include "store/list.h"
#include "store/record.h"

#define PARTS_BITS  8
#define PARTS       (1U << PARTS_BITS)
#define PIECE_BYTES (32U << 10) /* of a part, in memory or in the file */
#define SPILL_FILE  "pagesort.spill"

/* No page has as many keys as this, by chance. */
#define PAGE_KEYS_MAX 256

/* A piece in the file. */
typedef struct Piece {
    uint64_t at;
    uint32_t len;
} Piece;

typedef struct Part {
    Image images;   /* each behind an ImageTag; those that aren't in the file */
    GArray *pieces; /* Piece; NULL: none is in the file */
} Part;

typedef struct ImageTag {
    uint64_t hash;
    uint32_t len;
    uint32_t db;
} ImageTag;

/* An image to be sorted. */
typedef struct Place {
    uint32_t db, page;
    uint64_t hash;
    Slice image;
} Place;

/* A key of so many bytes that few of them fit a page. */
typedef struct LongKey {
    uint32_t db, len;
    uint64_t hash;
} LongKey;

struct PageSort {
    Keyspace *keyspace;
    Manifest *manifest;
    uint64_t *keys;   /* so many of each database */
    unsigned *bits;   /* of each one's pages; from pagesort_finish on */
    GArray *long_key; /* LongKey */
    Part part[PARTS];
    int spill_fd; /* -1: all parts are in memory */
    uint64_t spill_end, spill_written_out;
    CheckpointWriter *writer; /* NULL: not started */
    Image batch;              /* of records, for the writer */
    GPtrArray *elements;      /* of the page that is being encoded */
    uint64_t records, sum, next_id;
    char *error; /* NULL: nothing is wrong */
};

PageSort *pagesort_new(Keyspace *keyspace, Manifest *manifest)
{
    PageSort *sort = g_new0(PageSort, 1);
    sort->keyspace = keyspace;
    sort->manifest = manifest;
    sort->keys = g_new0(uint64_t, (gsize)keyspace->db_count);
    sort->bits = g_new0(unsigned, (gsize)keyspace->db_count);
    sort->long_key = g_array_new(FALSE, FALSE, sizeof(LongKey));
    sort->elements = g_ptr_array_new();
    sort->spill_fd = -1;
    sort->next_id = 1;
    return sort;
}

void pagesort_free(PageSort *sort)
{
    if (sort->writer != NULL) writer_free(sort->writer);
    if (sort->spill_fd >= 0) io->close(sort->spill_fd);
    for (unsigned i = 0; i < PARTS; i++) {
        g_free(sort->part[i].images.bytes);
        if (sort->part[i].pieces != NULL) g_array_unref(sort->part[i].pieces);
    }
    g_ptr_array_unref(sort->elements);
    g_free(sort->batch.bytes);
    g_free(sort->error);
    g_array_unref(sort->long_key);
    g_free(sort->bits);
    g_free(sort->keys);
    g_free(sort);
}

static void fail(PageSort *sort, const char *what)
{
    if (sort->error == NULL) sort->error = g_strdup_printf(SPILL_FILE ": %s", what);
}

/* ---- records ---- */

static void send_batch(PageSort *sort)
{
    writer_send(sort->writer, &sort->batch);
    while (writer_waiting(sort->writer) > WRITER_QUEUE_BYTES && writer_error(sort->writer) == NULL)
        writer_wait(sort->writer);
}

static void end_record(PageSort *sort, size_t start)
{
    sort->sum += writer_end_record(&sort->batch, start, NULL);
    sort->records++;
    if (sort->batch.len >= WRITER_BATCH_BYTES) send_batch(sort);
}

/* ---- taking keys ---- */

static bool begin_spill(PageSort *sort)
{
    if (sort->spill_fd < 0) {
        sort->spill_fd = io->open(SPILL_FILE, O_RDWR | O_CREAT | O_TRUNC, 0600);
        if (sort->spill_fd >= 0) io->unlink(SPILL_FILE);
    }
    return sort->spill_fd >= 0;
}

static void spill(PageSort *sort, Part *part)
{
    Piece piece = { sort->spill_end, (uint32_t)part->images.len };
    if (!begin_spill(sort) || !io_write_all(sort->spill_fd, part->images.bytes, piece.len, (off_t)piece.at) ||
        !io_write_out(sort->spill_fd, &sort->spill_written_out, piece.at + piece.len))
        fail(sort, g_strerror(errno));
    if (part->pieces == NULL) part->pieces = g_array_new(FALSE, FALSE, sizeof(Piece));
    g_array_append_val(part->pieces, piece);
    sort->spill_end += piece.len;
    part->images.len = 0;
}

/* Whether each of these pages fits a record. */
static bool pages_fit(PageSort *sort, const PagedValue *paged, unsigned bits)
{
    for (uint64_t page = 0; page < 1ULL << bits; page++) {
        g_ptr_array_set_size(sort->elements, 0);
        pages_collect(paged->table, bits, page, sort->elements);
        size_t bytes = 0;
        for (guint i = 0; i < sort->elements->len; i++)
            bytes += checkpoint_element_bytes(paged->table, paged->kind, sort->elements->pdata[i]).len;
        if (bytes > checkpoint_record_max && sort->elements->len > 1) return false;
    }
    return true;
}

/* The pages of a collection of so many bytes; the bits that they have. */
static unsigned put_collection(PageSort *sort, const PagedValue *paged, size_t bytes, uint64_t id)
{
    unsigned bits = pages_bits(paged->table->count, checkpoint_page_elements(paged->kind, bytes, paged->table->count));
    while (bytes > checkpoint_record_max && bits < PAGES_BITS_MAX && !pages_fit(sort, paged, bits))
        bits++;
    for (uint64_t page = 0; page < 1ULL << bits; page++) {
        g_ptr_array_set_size(sort->elements, 0);
        pages_collect(paged->table, bits, page, sort->elements);
        if (sort->elements->len == 0) continue;
        RecordKey key = record_page(paged->kind, id, bits, page);
        size_t start = writer_begin_record(&sort->batch, RECORD_PUT, &key);
        for (guint i = 0; i < sort->elements->len; i++)
            checkpoint_encode_element(sort->elements->pdata[i], paged->table, paged->kind, &sort->batch);
        end_record(sort, start);
    }
    return bits;
}

static bool is_paged(const Entry *entry, size_t bytes, PagedValue *paged)
{
    if (entry->type == TYPE_STRING || bytes < CHECKPOINT_PAGED_BYTES) return false;
    if (!checkpoint_paged(entry->type, entry->object, paged)) return false;
    if (entry->type == TYPE_LIST) {
        list_number_chunks(entry->list);
        list_paged(entry->list, paged);
    }
    return true;
}

/* The image, and before it what it refers to. */
static void put_image(PageSort *sort, const Entry *entry, Image *image)
{
    size_t bytes = image_value_bytes(entry);
    PagedValue paged;
    if (is_paged(entry, bytes, &paged)) {
        uint64_t id = sort->next_id++;
        unsigned bits = put_collection(sort, &paged, bytes, id);
        image_put_head(image, entry, IMAGE_ELSEWHERE, record_reference(id, bits), paged.table->count);
    } else if (bytes > CHECKPOINT_LARGE_BYTES) {
        uint64_t id = sort->next_id++;
        RecordKey key = record_value(id);
        size_t start = writer_begin_record(&sort->batch, RECORD_PUT, &key);
        image_put_value(&sort->batch, entry);
        end_record(sort, start);
        image_put_head(image, entry, IMAGE_ELSEWHERE, record_reference(id, RECORD_VALUE_BITS), bytes);
    } else {
        image_put_head(image, entry, IMAGE_INLINE, 0, 0);
        image_put_value(image, entry);
    }
}

typedef struct Taking {
    PageSort *sort;
    uint32_t db;
} Taking;

static void take_entry(void *element, void *context)
{
    const Taking *taking = context;
    const Entry *entry = element;
    ImageTag tag = { .hash = table_hash(entry_key(entry)), .db = taking->db };
    LongKey long_key = { taking->db, entry->key_len, tag.hash };
    if (long_key.len > checkpoint_record_max / PAGE_KEYS_MAX) g_array_append_val(taking->sort->long_key, long_key);
    Part *part = &taking->sort->part[tag.hash % PARTS];
    size_t start = part->images.len;
    image_put_bytes(&part->images, (Slice){ (const char *)&tag, sizeof(tag) });
    put_image(taking->sort, entry, &part->images);
    tag.len = (uint32_t)(part->images.len - start - sizeof(tag));
    memcpy(part->images.bytes + start, &tag, sizeof(tag));
    if (part->images.len >= PIECE_BYTES) spill(taking->sort, part);
}

/* `few`: there won't be more keys. */
static void take_all(PageSort *sort, bool few)
{
    size_t keys = 0;
    for (int i = 0; i < sort->keyspace->db_count; i++)
        keys += sort->keyspace->dbs[i].table.count;
    size_t expected = few ? keys / CHECKPOINT_PAGE_KEYS : SIZE_MAX;
    char *error = NULL;
    if (sort->writer == NULL)
        sort->writer = writer_start(sort->manifest, 0, false, PAGEFILE_NEW, expected, NULL, &error);
    if (sort->writer == NULL) g_error("%s", error); /* a tool's end */
    for (int i = 0; i < sort->keyspace->db_count; i++) {
        Db *db = &sort->keyspace->dbs[i];
        Taking taking = { sort, (uint32_t)i };
        table_each(&db->table, take_entry, &taking);
        sort->keys[i] += keyspace_flush(db);
    }
    grave_drain();
}

bool pagesort_take(PageSort *sort)
{
    take_all(sort, false);
    return sort->error == NULL && writer_error(sort->writer) == NULL;
}

/* ---- pages of databases ---- */

static int compare_long_keys(gconstpointer a, gconstpointer b, gpointer mask)
{
    const LongKey *first = a, *second = b;
    uint64_t page = first->hash & *(uint64_t *)mask, other = second->hash & *(uint64_t *)mask;
    return first->db != second->db ? (first->db < second->db ? -1 : 1) : (page > other) - (page < other);
}

/* Whether a page of the database has more of long keys than a record holds. */
static bool has_long_page(const PageSort *sort, uint32_t db, uint64_t mask)
{
    g_array_sort_with_data(sort->long_key, compare_long_keys, &mask);
    const LongKey *key = (const LongKey *)(const void *)sort->long_key->data, *end = key + sort->long_key->len;
    size_t bytes = 0, keys = 0;
    for (const LongKey *before = key; key < end; before = key++) {
        if (key->db != db) continue;
        if (before->db != db || ((before->hash ^ key->hash) & mask) != 0) bytes = keys = 0;
        bytes += key->len;
        if (++keys > 1 && bytes > checkpoint_record_max) return true;
    }
    return false;
}

/* A part has whole pages; one that isn't sorted alone needs that none of its own pages. */
static unsigned bits_of(const PageSort *sort, uint32_t db)
{
    unsigned bits = pages_bits(sort->keys[db], CHECKPOINT_PAGE_KEYS);
    if (sort->spill_fd >= 0) bits = MAX(bits, PARTS_BITS);
    while (bits < PAGES_BITS_MAX && has_long_page(sort, db, (1ULL << bits) - 1))
        bits++;
    return bits;
}

/* All of the part that is in the file, in front of what is in memory. */
static void unspill(PageSort *sort, Part *part)
{
    Image all = { 0 };
    for (guint i = 0; part->pieces != NULL && i < part->pieces->len && sort->error == NULL; i++) {
        Piece piece = g_array_index(part->pieces, Piece, i);
        if (!io_read_all(sort->spill_fd, image_room(&all, piece.len), piece.len, (off_t)piece.at))
            fail(sort, errno == 0 ? "its end is missing" : g_strerror(errno));
        all.len += piece.len;
    }
    image_put_bytes(&all, (Slice){ part->images.bytes, part->images.len });
    g_free(part->images.bytes);
    part->images = all;
}

static void add_places(const PageSort *sort, const Part *part, GArray *places)
{
    Slice in = { part->images.bytes, part->images.len };
    while (in.len > 0) {
        ImageTag tag;
        memcpy(&tag, in.ptr, sizeof(tag));
        Place place = { .db = tag.db, .hash = tag.hash, .image = { in.ptr + sizeof(tag), tag.len } };
        place.page = (uint32_t)(tag.hash & ((1ULL << sort->bits[tag.db]) - 1));
        g_array_append_val(places, place);
        in = (Slice){ place.image.ptr + tag.len, in.len - sizeof(tag) - tag.len };
    }
}

static int compare_places(gconstpointer a, gconstpointer b)
{
    const Place *first = a, *second = b;
    if (first->db != second->db) return first->db < second->db ? -1 : 1;
    if (first->page != second->page) return first->page < second->page ? -1 : 1;
    return (first->hash > second->hash) - (first->hash < second->hash);
}

static bool same_page(const Place *a, const Place *b)
{
    return a->db == b->db && a->page == b->page;
}

static bool same_key(const Place *a, const Place *b)
{
    if (a->db != b->db || a->hash != b->hash) return false;
    Slice one = a->image, other = b->image;
    ImageHead first, second;
    return image_get_head(&one, &first) && image_get_head(&other, &second) && slice_equal(first.key, second.key);
}

static void put_pages(PageSort *sort, const GArray *places)
{
    const Place *place = (const Place *)(const void *)places->data, *end = place + places->len;
    while (place < end && sort->error == NULL) {
        const Place *first = place;
        RecordKey key = record_page(PAGE_ENTRIES, place->db, sort->bits[place->db], place->page);
        size_t start = writer_begin_record(&sort->batch, RECORD_PUT, &key);
        for (; place < end && same_page(first, place); place++) {
            if (place > first && same_key(place - 1, place)) sort->error = g_strdup("a key is there twice");
            image_put_bytes(&sort->batch, place->image);
        }
        end_record(sort, start);
    }
}

/* The pages of so many parts, which are empty then. */
static void sort_parts(PageSort *sort, unsigned from, unsigned count)
{
    g_autoptr(GArray) places = g_array_new(FALSE, FALSE, sizeof(Place));
    for (unsigned i = from; i < from + count; i++) {
        unspill(sort, &sort->part[i]);
        if (sort->error == NULL) add_places(sort, &sort->part[i], places);
    }
    g_array_sort(places, compare_places);
    put_pages(sort, places);
    for (unsigned i = from; i < from + count; i++) {
        g_free(sort->part[i].images.bytes);
        sort->part[i].images = (Image){ 0 };
    }
}

static void put_databases(PageSort *sort, CheckpointInfo *info)
{
    RecordKey key = { .len = (uint8_t)RECORD_DATABASES.len };
    memcpy(key.bytes, RECORD_DATABASES.ptr, key.len);
    size_t start = writer_begin_record(&sort->batch, RECORD_PUT, &key);
    for (int i = 0; i < sort->keyspace->db_count; i++) {
        if (sort->keys[i] == 0) continue;
        image_put_varint(&sort->batch, (uint64_t)i);
        image_put_varint(&sort->batch, sort->keys[i]);
        image_put_varint(&sort->batch, sort->bits[i]);
        info->keys += sort->keys[i];
    }
    end_record(sort, start);
}

char *pagesort_finish(PageSort *sort, const CheckpointInfo *about)
{
    int64_t started_us = clock_now_us();
    CheckpointInfo info = { .offset = about->offset, .db = about->db, .unix_ms = about->unix_ms };
    g_strlcpy(info.history, sort->manifest->history, sizeof(info.history));
    take_all(sort, sort->writer == NULL);
    for (uint32_t db = 0; db < (uint32_t)sort->keyspace->db_count; db++)
        sort->bits[db] = bits_of(sort, db);
    put_databases(sort, &info);
    unsigned step = sort->spill_fd < 0 ? PARTS : 1;
    for (unsigned part = 0; part < PARTS && sort->error == NULL; part += step)
        sort_parts(sort, part, step);
    if (sort->error != NULL) return g_strdup(sort->error);
    send_batch(sort);
    info.records = sort->records;
    info.sum = sort->sum;
    info.next_id = sort->next_id;
    info.took_ms = (clock_now_us() - started_us) / 1000;
    writer_finish(sort->writer, &info);
    while (!writer_is_done(sort->writer, sort->manifest))
        writer_wait(sort->writer);
    return g_strdup(writer_error(sort->writer));
}
