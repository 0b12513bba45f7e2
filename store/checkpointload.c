/* checkpointload.c: loads and verifies checkpoint files: see checkpoint.h.
 *
 * Design. One walk over all records of the file in the order in which gdbm has them, which is the quickest; a thread
 * reads them ahead. A page of a database becomes entries, whose buckets were asked for when the page before was loaded;
 * what its images refer to is fetched there and then. At the end the number of records and
 * the sum of their checksums must be those of the manifest, so that nothing is missing, stale or one too many.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "base/clock.h"
#include "store/checkpoint.h"
#include "store/checkpointfile.h"
#include "store/hash.h"
#include "store/image.h"
#include "store/large.h"
#include "store/list.h"
#include "store/pageahead.h"
#include "store/pagefile.h"
#include "store/record.h"
#include "store/set.h"
#include "store/zset.h"

struct CheckpointLoad {
    Keyspace *keyspace;
    PageFile *file; /* for what pages refer to */
    PageAhead *ahead;
    char *path;
    CheckpointInfo info;
    int slot; /* -1: the file is none of this server's */
    uint64_t records, sum, keys;
    uint32_t databases_sum;
    Db *db;        /* of the page being read */
    int databases; /* that the file needs, if the keyspace has fewer */
};

/* Adds a record to what the file must have. */
static void count_record(CheckpointLoad *load, uint32_t sum)
{
    load->records++;
    load->sum += sum;
}

static Slice fetch(CheckpointLoad *load, Slice key, uint32_t *sum, char **error)
{
    Slice payload = pagefile_get(load->file, key, error);
    if (payload.ptr == NULL) return payload;
    uint64_t checksum;
    memcpy(&checksum, payload.ptr + payload.len, sizeof(checksum));
    *sum = pagefile_sum(checksum);
    return payload;
}

static char *say(const CheckpointLoad *load, const char *what)
{
    return g_strdup_printf("%s: %s", load->path, what);
}

/* ---- values that have records of their own ---- */

static EntryFacts facts_of(const ImageHead *head)
{
    return (EntryFacts){ head->expires ? head->deadline_ms : -1, head->lru };
}

/* Adds a key with its value's bytes (as image_put_value wrote them, without the length). */
static bool load_value(CheckpointLoad *load, const ImageHead *head, Slice bytes)
{
    EntryFacts facts = facts_of(head);
    load->keys++;
    if (head->type == TYPE_STRING) {
        if (head->encoding == STRING_INT ? bytes.len != sizeof(int64_t) : bytes.len > KEYSPACE_STRING_MAX) return false;
        return keyspace_load_string(load->db, head->key, &facts, head->encoding, bytes);
    }
    void *object = image_get_object(head->type, bytes);
    return object != NULL && keyspace_load_object(load->db, head->key, &facts, head->type, object);
}

static bool load_large(CheckpointLoad *load, const ImageHead *head, char **error)
{
    uint64_t id = head->id >> 6;
    RecordKey key = record_value(id);
    uint32_t sum;
    Slice payload = fetch(load, record_slice(&key), &sum, error);
    if (payload.ptr == NULL) return false;
    count_record(load, sum);
    Slice in = payload, bytes;
    bool good = image_get_slice(&in, &bytes) && in.len == 0 && load_value(load, head, bytes);
    free((void *)(uintptr_t)payload.ptr);
    if (!good || load->slot < 0) return good;
    LargeValue *large = large_add(load->db, keyspace_find(load->db, head->key), id);
    large->epoch[load->slot] = checkpoint_files[load->slot].epoch;
    large->sum[load->slot] = sum;
    large->dirty[load->slot] = false;
    return true;
}

/* The set of a map that was just loaded from the file: nothing in it is dirty. */
static PageSet *clean_set(PageMap *map, int slot, unsigned bits)
{
    PageSet *set = &map->set[slot];
    pages_set_reset(set, checkpoint_files[slot].epoch, bits);
    memset(set->dirty, 0, pages_words(bits) * sizeof(uint64_t));
    return set;
}

static void *new_collection(ValueType type)
{
    switch (type) {
    case TYPE_SET: return set_new_big();
    case TYPE_HASH: return hash_new_big();
    case TYPE_ZSET: return zset_new_big();
    case TYPE_LIST: return list_new_big();
    default: return NULL;
    }
}

static bool decode_element(ValueType type, void *object, Slice *in, uint64_t *hash)
{
    switch (type) {
    case TYPE_SET: return element_decode(set_elements(object), in, hash);
    case TYPE_HASH: return element_decode(hash_elements(object), in, hash);
    case TYPE_ZSET: return zset_decode_element(object, in, hash);
    default: return list_decode_paged_chunk(object, in, hash);
    }
}

/* Reads the pages of a collection into it. */
static bool load_pages(CheckpointLoad *load, const ImageHead *head, void *object, PageSet *set, char **error)
{
    unsigned bits = head->id & RECORD_VALUE_BITS;
    for (uint64_t page = 0; page < 1ULL << bits; page++) {
        RecordKey key = record_page(PAGE_ELEMENTS, head->id >> 6, bits, page);
        uint32_t sum;
        Slice payload = fetch(load, record_slice(&key), &sum, error);
        if (payload.ptr == NULL && *error != NULL) return false;
        if (payload.ptr == NULL) continue;
        count_record(load, sum);
        if (set != NULL) set->sums[page] = sum;
        bool good = true;
        uint64_t hash, mask = (1ULL << bits) - 1;
        for (Slice in = payload; good && in.len > 0;)
            good = decode_element(head->type, object, &in, &hash) && (hash & mask) == page;
        free((void *)(uintptr_t)payload.ptr);
        if (!good) return false;
    }
    return true;
}

static bool load_collection(CheckpointLoad *load, const ImageHead *head, char **error)
{
    unsigned bits = head->id & RECORD_VALUE_BITS;
    void *object = bits > 31 || head->count > load->info.file_bytes ? NULL : new_collection(head->type);
    if (object == NULL) return false;
    PageSet *set = NULL;
    PagedValue paged;
    bool is_paged = checkpoint_paged(head->type, object, &paged);
    g_assert(is_paged);
    table_reserve((Table *)(uintptr_t)paged.table, head->count);
    PageMap *map = load->slot < 0 ? NULL : pages_new(paged.table, paged.kind, head->id >> 6);
    load->db->own_records |= map != NULL;
    if (map != NULL) set = clean_set(map, load->slot, bits);
    bool good = load_pages(load, head, object, set, error) && paged.table->count == head->count && head->count > 0;
    if (head->type == TYPE_LIST) good &= list_link_paged(object);
    *paged.pages = map;
    EntryFacts facts = facts_of(head);
    load->keys++;
    return keyspace_load_object(load->db, head->key, &facts, head->type, object) && good;
}

/* ---- pages of databases ---- */

static bool load_image(CheckpointLoad *load, Slice *in, uint64_t mask, uint64_t page, char **error)
{
    ImageHead head;
    if (!image_get_head(in, &head) || (table_hash(head.key) & mask) != page) return false;
    if (head.form == IMAGE_INLINE) {
        Slice bytes;
        return image_get_slice(in, &bytes) && load_value(load, &head, bytes);
    }
    return (head.id & RECORD_VALUE_BITS) == RECORD_VALUE_BITS ? load_large(load, &head, error)
                                                              : load_collection(load, &head, error);
}

/* Takes the key of a database's page apart. */
static bool page_key(const CheckpointLoad *load, Slice key, Db **db, unsigned *bits, uint64_t *page)
{
    uint16_t index;
    uint32_t number;
    if (!record_get_page(key, &index, bits, &number)) return false;
    *page = number;
    if (index >= load->keyspace->db_count || *bits > 31 || *page >> *bits != 0) return false;
    *db = &load->keyspace->dbs[index];
    return true;
}

/* Asks for the buckets of all keys of the page that is next: their cache misses are a sixth of a load otherwise. */
static void prefetch_next(const CheckpointLoad *load)
{
    PageRecord next;
    Db *db;
    unsigned bits;
    uint64_t page;
    if (!pageahead_peek(load->ahead, &next) || !page_key(load, next.key, &db, &bits, &page)) return;
    ImageHead head;
    Slice value;
    while (next.payload.len > 0 && image_get_head(&next.payload, &head)) {
        table_prefetch(&db->table, table_hash(head.key));
        if (head.form == IMAGE_INLINE && !image_get_slice(&next.payload, &value)) return;
    }
}

static bool load_page(CheckpointLoad *load, const PageRecord *record, char **error)
{
    unsigned bits;
    uint64_t page;
    if (!page_key(load, record->key, &load->db, &bits, &page)) return false;
    count_record(load, record->sum);
    for (Slice in = record->payload; in.len > 0;)
        if (!load_image(load, &in, (1ULL << bits) - 1, page, error)) return false;
    if (load->slot < 0) return true;
    PageMap *map = load->db->pages;
    if (map == NULL || map->set[load->slot].bits != bits) return false;
    map->set[load->slot].sums[page] = record->sum;
    return true;
}

/* ---- the whole file ---- */

bool checkpoint_read_info(const char *path, CheckpointInfo *info, uint8_t *secret, char **error)
{
    PageFile *file = pagefile_open(path, PAGEFILE_READ, 0, error);
    if (file == NULL) return false;
    Slice payload = pagefile_get(file, RECORD_INFO, error);
    bool good = payload.ptr != NULL && checkpoint_info_decode(payload.ptr, payload.len, info, secret);
    if (!good && *error == NULL) *error = g_strdup_printf("%s: it has no valid record \"ckv\"", path);
    free((void *)(uintptr_t)payload.ptr);
    pagefile_abandon(file);
    return good;
}

/* Makes room for the database's keys. False: there's no such database, or the numbers make no sense. */
static bool reserve_database(CheckpointLoad *load, Slice *in)
{
    uint64_t index, keys, bits;
    if (!image_get_varint(in, &index) || !image_get_varint(in, &keys) || !image_get_varint(in, &bits)) return false;
    if (bits > 31 || keys > load->info.keys) return false;
    if (index >= (uint64_t)load->keyspace->db_count) {
        load->databases = (int)MIN(index + 1, (uint64_t)INT32_MAX);
        return false;
    }
    Db *db = &load->keyspace->dbs[index];
    if (db->table.count > 0 || db->pages != NULL) return false;
    keyspace_reserve(db, keys);
    if (load->slot < 0) return true;
    db->pages = pages_new(&db->table, PAGE_ENTRIES, index);
    clean_set(db->pages, load->slot, (unsigned)bits);
    return true;
}

static bool load_databases(CheckpointLoad *load, char **error)
{
    Slice payload = fetch(load, RECORD_DATABASES, &load->databases_sum, error);
    if (payload.ptr == NULL) {
        if (*error == NULL) *error = say(load, "its record \"dbs\" is missing");
        return false;
    }
    count_record(load, load->databases_sum);
    bool good = true;
    for (Slice in = payload; good && in.len > 0;)
        good = reserve_database(load, &in);
    free((void *)(uintptr_t)payload.ptr);
    if (!good && load->databases == 0) *error = say(load, "its record \"dbs\" is damaged");
    return good;
}

CheckpointLoad *checkpoint_load_begin(Keyspace *keyspace, const char *path, const CheckpointInfo *info, int slot,
                                      int *databases, char **error)
{
    *error = NULL;
    PageFile *file = pagefile_open(path, PAGEFILE_READ, 0, error);
    if (file == NULL) return NULL;
    CheckpointLoad *load = g_new0(CheckpointLoad, 1);
    *load = (CheckpointLoad){ .keyspace = keyspace, .file = file, .path = g_strdup(path), .info = *info, .slot = slot };
    if (load_databases(load, error)) {
        load->ahead = pageahead_new(path);
        return load;
    }
    *databases = load->databases;
    checkpoint_load_free(load);
    return NULL;
}

void checkpoint_load_free(CheckpointLoad *load)
{
    pageahead_free(load->ahead);
    pagefile_abandon(load->file);
    g_free(load->path);
    g_free(load);
}

double checkpoint_load_progress(const CheckpointLoad *load)
{
    return load->info.records == 0 ? 1 : MIN(1.0, (double)load->records / (double)load->info.records);
}

static int load_fail(const CheckpointLoad *load, const char *what, char **error)
{
    if (*error == NULL) *error = say(load, what);
    return -1;
}

static int load_finish(CheckpointLoad *load, char **error)
{
    const CheckpointInfo *info = &load->info;
    if (load->records != info->records || load->sum != info->sum || load->keys != info->keys) {
        *error = g_strdup_printf("%s: it has %" G_GUINT64_FORMAT " records and %" G_GUINT64_FORMAT
                                 " keys that aren't the %" G_GUINT64_FORMAT " and %" G_GUINT64_FORMAT
                                 " that the manifest promises",
                                 load->path, load->records, load->keys, info->records, info->keys);
        return -1;
    }
    if (load->slot < 0) return 0;
    CheckpointFile *file = &checkpoint_files[load->slot];
    file->usable = true;
    file->records = load->records;
    file->sum = load->sum;
    file->databases_sum = load->databases_sum;
    checkpoint_next_id = MAX(checkpoint_next_id, info->next_id);
    return 0;
}

int checkpoint_load_step(CheckpointLoad *load, int64_t budget_us, char **error)
{
    *error = NULL;
    PageRecord record;
    for (int64_t until_us = clock_now_us() + budget_us; clock_now_us() < until_us;) {
        switch (pageahead_next(load->ahead, until_us, &record, error)) {
        case PAGEAHEAD_RECORD: break;
        case PAGEAHEAD_LATER: return 1;
        case PAGEAHEAD_END: return load_finish(load, error);
        case PAGEAHEAD_FAILED: return -1;
        }
        prefetch_next(load);
        if (load->records > load->info.records) return load_fail(load, "it has more records than it should", error);
        if (!load_page(load, &record, error)) return load_fail(load, "a page of it is damaged", error);
    }
    return 1;
}

/* ---- verifying ---- */

char *checkpoint_verify(const char *path, const CheckpointInfo *expected,
                        void (*problem)(const char *text, void *context), void *context)
{
    char *error = NULL, *first = NULL;
    PageFile *file = pagefile_open(path, PAGEFILE_READ, 0, &error);
    if (file == NULL) return error;
    uint64_t records = 0, sum = 0;
    Slice key = { NULL, 0 };
    while (pagefile_next(file, &key, &error) && records <= expected->records + 1) {
        Slice payload = pagefile_get(file, key, &error);
        if (payload.ptr == NULL) {
            if (error == NULL) error = g_strdup_printf("%s: gdbm lists a record that it can't find", path);
            if (problem != NULL) problem(error, context);
            if (first == NULL) first = g_steal_pointer(&error);
            g_clear_pointer(&error, g_free);
            continue;
        }
        uint64_t checksum;
        memcpy(&checksum, payload.ptr + payload.len, sizeof(checksum));
        if (!slice_equal(key, RECORD_INFO)) {
            records++;
            sum += pagefile_sum(checksum);
        }
        free((void *)(uintptr_t)payload.ptr);
    }
    free((void *)(uintptr_t)key.ptr);
    if (error == NULL && first == NULL && (records != expected->records || sum != expected->sum)) {
        error = g_strdup_printf("%s: its records aren't those that the manifest promises", path);
    }
    if (error != NULL && problem != NULL) problem(error, context);
    if (first == NULL) first = g_steal_pointer(&error);
    g_free(error);
    pagefile_abandon(file);
    return first;
}
